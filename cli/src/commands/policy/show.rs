//! `hedgerow policy show`: what is in force.

use protocol::control::{BundleFile, FileBytes, route};
use protocol::name::PolicyName;
use protocol::policy::Action;
use protocol::policy::compile::CompiledPolicy;
use protocol::trust::bundle::{BundleBody, Policy as Carried};
use serde::Serialize;

use crate::commands::Context;
use crate::exit::{Exit, Failed};
use crate::output::{Text, counted, instant};

/// Show the policies in force, or one of them as its author wrote it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow policy show
  hedgerow policy show mcp_read_only_enforcement --cedar
  hedgerow policy show mcp_read_only_enforcement > mine.json")]
pub(super) struct Show {
    /// Only this one, whole
    name: Option<PolicyName>,
    /// As the Cedar it became
    #[arg(long)]
    cedar: bool,
    /// The approved definitions of tools too
    #[arg(long)]
    pins: bool,
}

#[derive(Serialize)]
struct Shown {
    version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
    policies: Vec<ShownPolicy>,
    pins: Vec<ShownPin>,
    labels: Vec<ShownLabel>,
}

#[derive(Serialize)]
struct ShownPolicy {
    name: String,
    media_type: String,
    grants: bool,
    /// Whether it permits what was approved under it.
    permits_approved: bool,
    effect: &'static str,
    mode: Option<&'static str>,
    action: Option<&'static str>,
    rules: usize,
    /// The document as its author wrote it, or the Cedar it became.
    text: String,
}

#[derive(Serialize)]
struct ShownPin {
    server: String,
    tool: String,
    digest: String,
}

#[derive(Serialize)]
struct ShownLabel {
    target: String,
    labels: Vec<String>,
}

impl Show {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failed> {
        let bundle: BundleFile = context.client()?.read(route::BUNDLE).await?;
        let body = match &bundle.body {
            None => BundleBody::default(),
            Some(FileBytes(bytes)) => BundleBody::decode(bytes).map_err(|error| {
                Failed::new(Exit::Failure, format!("the bundle in force: {error}"))
            })?,
        };
        let wanted = |policy: &&Carried| self.name.as_ref().is_none_or(|name| policy.name == *name);
        let policies: Vec<ShownPolicy> = body
            .policies
            .iter()
            .filter(wanted)
            .map(|policy| shown(policy, self.cedar))
            .collect();
        if let (Some(name), true) = (&self.name, policies.is_empty()) {
            return Err(Failed::input(format!("no policy `{name}` is in force"))
                .with_reason("unknown_policy")
                .with_hint("see `hedgerow policy show`"));
        }
        let pins = body.pins.iter().map(|pin| ShownPin {
            server: pin.server.to_string(),
            tool: pin.tool.clone(),
            digest: pin.digest.to_string(),
        });
        let labels = body.labels.iter().map(|label| ShownLabel {
            target: label.target.clone(),
            labels: label.labels.clone(),
        });
        let shown = Shown {
            version: bundle.version,
            hash: bundle.hash.map(|hash| hash.to_string()),
            policies,
            pins: pins.collect(),
            labels: labels.collect(),
        };
        let whole = self.name.is_some() || self.cedar;
        context.output.data(&shown, |text| {
            if whole {
                for policy in &shown.policies {
                    for line in policy.text.lines() {
                        text.line(line);
                    }
                }
            } else {
                list(&shown, &bundle, text);
                labelled(&shown.labels, text);
            }
            if self.pins {
                pinned(&shown.pins, text);
            }
        })
    }
}

fn shown(policy: &Carried, cedar: bool) -> ShownPolicy {
    let compiled = CompiledPolicy::compile(policy).ok();
    let document = compiled.as_ref().and_then(CompiledPolicy::document);
    let text = match &compiled {
        Some(compiled) if cedar => compiled.cedar(),
        _ => String::from_utf8_lossy(&policy.bytes).into_owned(),
    };
    ShownPolicy {
        name: policy.name.to_string(),
        media_type: policy.media_type.clone(),
        grants: compiled.as_ref().is_some_and(CompiledPolicy::grants),
        permits_approved: (compiled.as_ref()).is_some_and(CompiledPolicy::permits_approved),
        effect: compiled.as_ref().map_or("unknown", CompiledPolicy::effect),
        mode: document.map(|d| d.mode.name()),
        action: compiled
            .as_ref()
            .and_then(CompiledPolicy::action)
            .map(Action::name),
        rules: compiled.as_ref().map_or(0, |c| c.rules().len()),
        text,
    }
}

fn list(shown: &Shown, bundle: &BundleFile, text: &mut Text) {
    let Some(created) = bundle.created else {
        text.line("no bundle yet: members may call everything");
        text.line("write a policy, then: hedgerow policy apply FILE");
        return;
    };
    let made = instant(created.0);
    text.heading(format!("Bundle {} ({made})", shown.version));
    if shown.policies.is_empty() {
        text.line("no policy: nothing may be called");
        return;
    }
    let rows: Vec<Vec<String>> = shown
        .policies
        .iter()
        .map(|policy| {
            vec![
                policy.name.clone(),
                policy.effect.to_owned(),
                policy.mode.unwrap_or("cedar").to_owned(),
                policy.action.unwrap_or("-").to_owned(),
            ]
        })
        .collect();
    text.table(&["POLICY", "EFFECT", "MODE", "ON VIOLATION"], &rows);
    text.line(counted(
        shown.pins.len(),
        "approved tool definition",
        "approved tool definitions",
    ));
}

fn labelled(labels: &[ShownLabel], text: &mut Text) {
    if labels.is_empty() {
        return;
    }
    let rows: Vec<Vec<String>> = labels
        .iter()
        .map(|label| vec![label.target.clone(), label.labels.join(", ")])
        .collect();
    text.table(&["LABELLED", "AS"], &rows);
}

fn pinned(pins: &[ShownPin], text: &mut Text) {
    let rows: Vec<Vec<String>> = pins
        .iter()
        .map(|pin| vec![format!("{}/{}", pin.server, pin.tool), pin.digest.clone()])
        .collect();
    text.table(&["APPROVED TOOL", "DEFINITION"], &rows);
}
