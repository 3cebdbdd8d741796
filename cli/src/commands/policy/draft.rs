//! The next bundle: the one in force, and what is to be different.

use std::path::PathBuf;
use std::time::Duration;

use hedgerow_crypto::Primitives;
use protocol::control::{BundleFile, FileBytes, Propose, Proposed, Tool, Trust, route};
use protocol::policy::CompiledBundle;
use protocol::trust::Proposal;
use protocol::trust::bundle::BundleBody;
use protocol::trust::changes::bundle as changes;
use serde::Serialize;

use super::{definitions, files, spread};
use crate::client::Client;
use crate::commands::admin::{now, outcome, refused, sign_with};
use crate::commands::{Context, write_new};
use crate::confirm::Confirmation;
use crate::exit::{Exit, Failed, say};
use crate::passphrase::PassphraseOption;

/// What every change of the bundle has.
#[derive(Debug, clap::Args)]
pub(super) struct Signing {
    #[command(flatten)]
    confirmation: Confirmation,
    #[command(flatten)]
    passphrase: PassphraseOption,
    /// Also write the proposal to this new file, for other admins to sign
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// For how long to wait until every linked node has it
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=600))]
    wait: u64,
}

/// A bundle being changed.
pub(super) struct Draft {
    client: Client,
    trust: Trust,
    pub(super) version: u64,
    pub(super) before: BundleBody,
    pub(super) body: BundleBody,
    pub(super) tools: Vec<Tool>,
}

/// What a change came to.
#[derive(Serialize)]
struct Applied {
    version: u64,
    in_force: bool,
    changes: Vec<String>,
    proposal: Proposed,
    #[serde(skip_serializing_if = "Option::is_none")]
    spread: Option<spread::Spread>,
}

impl Draft {
    /// Begins with what is in force.
    pub(super) async fn begin(context: &Context) -> Result<Self, Failed> {
        let client = context.client()?;
        let trust: Trust = client.read(route::TRUST).await?;
        let bundle: BundleFile = client.read(route::BUNDLE).await?;
        let tools: Vec<Tool> = client.read(route::TOOLS).await?;
        let before = match &bundle.body {
            None => BundleBody::default(),
            Some(FileBytes(bytes)) => BundleBody::decode(bytes).map_err(|error| {
                Failed::new(Exit::Failure, format!("the bundle in force: {error}"))
            })?,
        };
        Ok(Self {
            client,
            trust,
            version: bundle.version.saturating_add(1),
            body: before.clone(),
            before,
            tools,
        })
    }

    /// Approves one definition of a tool.
    pub(super) fn pin(&mut self, tool: &Tool) -> Result<(), Failed> {
        definitions::approve(&mut self.body, &self.tools, tool)
    }

    /// Shows what differs, asks, signs, hands it in, and waits until the mesh has it.
    pub(super) async fn publish(self, context: &Context, signing: Signing) -> Result<(), Failed> {
        self.compiles()?;
        let changes = changes(&self.before, &self.body);
        if changes.is_empty() {
            return Err(Failed::new(
                Exit::Failure,
                "this is in force already; nothing was changed",
            )
            .with_reason("nothing_to_change"));
        }
        say(&format!(
            "bundle {} of mesh `{}`",
            self.version, self.trust.root.name
        ));
        for change in &changes {
            say(&crate::inert::inert(&format!("  - {change}")));
        }
        signing
            .confirmation
            .ask("sign this with the admin key of this host?")?;
        let base = &self.trust.root.file.0;
        let proposal = Proposal::bundle(&Primitives, base, now(), self.version, &self.body)
            .map_err(refused)?;
        let proposal = sign_with(context, proposal, &signing.passphrase)?;
        if let Some(path) = &signing.out {
            write_new(path, &proposal.file())?;
        }
        let propose = Propose {
            file: FileBytes(proposal.file()),
        };
        let proposed: Proposed = self.client.submit(route::PROPOSALS, &propose).await?;
        let spread = if proposed.in_force {
            let wait = Duration::from_secs(signing.wait);
            Some(spread::follow(&self.client, self.version, wait).await?)
        } else {
            None
        };
        let applied = Applied {
            version: self.version,
            in_force: proposed.in_force,
            changes,
            proposal: proposed,
            spread,
        };
        context.output.data(&applied, |text| match &applied.spread {
            Some(spread) => spread::show(spread, text),
            None => outcome(&applied.proposal, text),
        })
    }

    /// What no node could use is not signed.
    fn compiles(&self) -> Result<(), Failed> {
        let too_much = |error: protocol::trust::TrustError| {
            Failed::input(format!("the bundle cannot be made: {error}")).with_reason(error.reason())
        };
        self.body.validate().map_err(too_much)?;
        CompiledBundle::compile(self.version, &self.body).map_err(|errors| {
            let errors: Vec<_> = errors
                .into_iter()
                .map(|error| (PathBuf::from(format!("bundle {}", self.version)), error))
                .collect();
            files::refused(&errors)
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use protocol::id::Digest;
    use protocol::trust::bundle::{Label, Pin, Policy as Carried};

    use super::*;

    fn policy(name: &str, bytes: &[u8]) -> Carried {
        Carried {
            name: name.parse().unwrap(),
            media_type: protocol::policy::JSON_MEDIA_TYPE.to_owned(),
            bytes: bytes.to_vec(),
        }
    }

    #[test]
    fn every_difference_is_said() {
        let pin = |byte| Pin {
            server: "shop".parse().unwrap(),
            tool: "buy".to_owned(),
            digest: Digest::from_bytes([byte; 32]),
        };
        let label = |target: &str, labels: &[&str]| Label {
            target: target.to_owned(),
            labels: labels.iter().map(|&l| l.to_owned()).collect(),
        };
        let before = BundleBody {
            policies: vec![policy("a", b"1"), policy("b", b"1"), policy("c", b"1")],
            pins: vec![pin(1)],
            labels: vec![label("crm/*", &["phi"]), label("shop/buy", &["old", "pci"])],
            ..BundleBody::default()
        };
        let after = BundleBody {
            policies: vec![policy("b", b"1"), policy("c", b"2"), policy("d", b"1")],
            pins: vec![pin(2)],
            labels: vec![label("shop/buy", &["new", "pci"])],
            ..BundleBody::default()
        };
        assert_eq!(
            changes(&before, &after),
            [
                "changes policy `c`".to_owned(),
                "adds policy `d`".to_owned(),
                "removes policy `a`".to_owned(),
                format!(
                    "approves `shop/buy` as {}",
                    Digest::from_bytes([2; 32]).short()
                ),
                format!(
                    "approves no longer `shop/buy` as {}",
                    Digest::from_bytes([1; 32]).short()
                ),
                "labels `shop/buy` as `new`".to_owned(),
                "labels `crm/*` no longer as `phi`".to_owned(),
                "labels `shop/buy` no longer as `old`".to_owned(),
            ]
        );
        assert!(changes(&after, &after).is_empty());
    }
}
