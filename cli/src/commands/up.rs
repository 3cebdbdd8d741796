//! `hedgerow up`: from an empty host to a running node, and the part of `run` they share.

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use protocol::control::{Status, route};
use protocol::name::Name;
use protocol::policy::{CompiledBundle, starter_bundle};
use protocol::trust::admission::MAX_ADMISSION_BYTES;
use protocol::trust::bundle::BundleBody;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::run::Overrides;
use super::run::seam::{self, Passphrase};
use super::{Context, read_file};
use crate::client::Client;
use crate::exit::{Exit, Failed, say};
use crate::output::{Output, Text};
use crate::passphrase::PassphraseOption;
use crate::state::{Standing, State};

/// Pause between looks at a node that is starting.
const STARTING_PAUSE: Duration = Duration::from_millis(25);
/// How long a node whose starter is gone may take to stop before it is ended.
const ORPHAN_STOP: Duration = Duration::from_secs(10);

/// Start a node here: found a mesh, or run the node that is here.
///
/// On a host without state it founds a mesh of one node, this one, and makes it the issuer of
/// memberships. Then, and every time after, it runs the node in the foreground until ctrl-c or
/// SIGTERM. Other hosts join with tickets (`hedgerow invite` here, `hedgerow join` there), or, where
/// they reach no issuer, with two files carried by hand.
///
/// A mesh is founded with policies: by default the starter, which `hedgerow policy show starter`
/// shows. Agents of nodes in the groups named with --group (of all nodes, if none is) may call pinned tools
/// that only read; anything else of theirs waits until it is approved (`hedgerow approvals`), and what
/// agents of other groups call is refused (`not_permitted`).
///
/// Founding makes the mesh's first admin key, which signs what the mesh is and who is cut off from
/// it. It is encrypted on disk and the running node never opens it. With --passphrase-file or
/// HEDGEROW_PASSPHRASE the passphrase is yours; else one is generated and shown this once.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow up                                 found a mesh here, or run the node that is here
  hedgerow up --name hub --mesh acme --listen 0.0.0.0:7443
  hedgerow up --group agents --policy rules.json

A second host, b, joins the mesh founded on a:
  a$ hedgerow invite --group tool-hosts
  b$ hedgerow join hedgerow1…

The same with files:
  b$ hedgerow id --request b.request          make keys and a request, note the node id
  a$ hedgerow membership issue b.request --name b --out b.admission
  b$ hedgerow up --admission b.admission")]
pub(crate) struct Up {
    /// The name of this node [default: the host's name]
    #[arg(long, value_name = "NODE", conflicts_with = "admission")]
    name: Option<Name>,
    /// The name of the mesh to found [default: mesh]
    #[arg(long, value_name = "MESH", conflicts_with = "admission")]
    mesh: Option<Name>,
    /// A group to put the founding node in; the starter policy permits calls to its agents only
    /// (repeatable)
    #[arg(long = "group", value_name = "GROUP", conflicts_with = "admission")]
    groups: Vec<Name>,
    /// The site the founding node stands at
    #[arg(long, conflicts_with = "admission")]
    site: Option<Name>,
    /// Join with this file, which `hedgerow membership issue` wrote on the founding host
    #[arg(long, value_name = "FILE")]
    admission: Option<PathBuf>,
    /// The policies to found the mesh with: `starter` or `open` (none) alone, or files of your own
    /// (repeatable)
    #[arg(
        long = "policy",
        value_name = "starter|open|FILE",
        conflicts_with = "admission"
    )]
    policies: Vec<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseOption,
    #[command(flatten)]
    overrides: Overrides,
}

/// How the node came to be, for what is said once it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// It was there.
    Existing,
    /// It founded its mesh just now.
    Founded,
    /// It joined just now.
    Joined,
}

/// Refuses the words that stand for a whole set of policies beside other ones.
fn alone(policies: &[PathBuf]) -> Result<(), Failed> {
    let word = |path: &&PathBuf| {
        ["starter", "open"]
            .iter()
            .any(|word| path.as_os_str() == *word)
    };
    match policies.iter().find(word) {
        None => Ok(()),
        Some(word) => {
            let word = word.display();
            Err(
                Failed::input(format!("`--policy {word}` does not go with other policies"))
                    .with_reason("policies_conflict")
                    .with_hint(format!(
                        "found the mesh with one of them and `hedgerow policy apply` the rest; a \
                         file of that name is `./{word}`"
                    )),
            )
        }
    }
}

impl Up {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failed> {
        let state = context.state()?;
        let mut generated = None;
        let origin = match (state.standing(), &self.admission) {
            (Standing::Member, Some(_)) => {
                return Err(Failed::input(format!(
                    "`{}` is a member of a mesh already",
                    state.path().display()
                ))
                .with_hint("run it with `hedgerow up`, or join with another `--state-dir`"));
            }
            (Standing::Member, None) => {
                let founding = self.name.is_some() || self.mesh.is_some();
                if founding || !self.groups.is_empty() || !self.policies.is_empty() {
                    say(
                        "note: the mesh is founded already; --name, --mesh, --group and --policy change nothing (found another mesh with another `--state-dir`)",
                    );
                }
                Origin::Existing
            }
            (Standing::Outsider, Some(file)) => {
                let admission = read_file(file, MAX_ADMISSION_BYTES)?;
                seam::check(state.path(), &self.overrides)?;
                seam::join(state.path(), &admission)?;
                Origin::Joined
            }
            (Standing::Outsider, None) => {
                generated = self.found(context, &state)?;
                Origin::Founded
            }
        };
        serve(context, &state, &self.overrides, origin, generated)
    }

    /// Founds a mesh; the passphrase of its admin key comes back if it was generated and has not
    /// been shown yet.
    fn found(&self, context: &Context, state: &State) -> Result<Option<Passphrase>, Failed> {
        let founding = self.founding()?;
        let policies = self.first_policies()?;
        seam::check(state.path(), &self.overrides)?;
        let found =
            |admin: &Passphrase| seam::found(state.path(), &founding, admin, policies.as_ref());
        if let Some(given) = self.passphrase.given()? {
            // A key made before opens with what it was sealed with, however short.
            let given = match seam::admin_form(state.path())? {
                Some(_) => given,
                None => given
                    .fit_for_new()
                    .map_err(|error| Failed::input(error.to_string()))?,
            };
            found(&given)?;
            return Ok(None);
        }
        if seam::admin_form(state.path())?.is_some() {
            self.passphrase.open(found)?;
            return Ok(None);
        }
        let generated = seam::generated_passphrase()?;
        found(&generated)?;
        match context.output.format {
            crate::output::Format::Json => Ok(Some(generated)),
            crate::output::Format::Human => {
                context.output.show(|text| show_once(&generated, text))?;
                Ok(None)
            }
        }
    }

    /// The policies of the first bundle, if the mesh is to begin with some.
    fn first_policies(&self) -> Result<Option<BundleBody>, Failed> {
        let word = match self.policies.as_slice() {
            [] => Some("starter"),
            [one] => one.to_str(),
            several => {
                alone(several)?;
                None
            }
        };
        let body = match word {
            Some("open") => return Ok(None),
            Some("starter") => starter_bundle(&self.groups),
            _ => super::policy::bundle_of(&self.policies)?,
        };
        CompiledBundle::compile(1, &body).map_err(|errors| super::policy::refused(1, errors))?;
        Ok(Some(body))
    }

    fn founding(&self) -> Result<seam::Founding, Failed> {
        let named = |given: &Option<Name>, default: &str| match given {
            Some(name) => Ok(name.clone()),
            None => default
                .parse()
                .map_err(|error: protocol::name::NameError| Failed::input(error.to_string())),
        };
        Ok(seam::Founding {
            mesh: named(&self.mesh, "mesh")?,
            node: named(&self.name, &host_name())?,
            groups: self.groups.clone(),
            site: self.site.clone(),
        })
    }
}

/// The host's name made a valid one, or `node`.
pub(super) fn host_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    as_name(host.split('.').next().unwrap_or_default().trim())
}

fn as_name(text: &str) -> String {
    let words: Vec<String> = text
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    let name: String = words.join("-").chars().take(Name::MAX).collect();
    match name.trim_end_matches('-') {
        "" => "node".to_owned(),
        name => name.to_owned(),
    }
}

/// Runs the node in the foreground until it is told to stop, and says when it is ready.
pub(super) fn serve(
    context: &Context,
    state: &State,
    overrides: &Overrides,
    origin: Origin,
    generated: Option<Passphrase>,
) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failed::new(Exit::Failure, format!("cannot start: {error}")))?;
    let outcome = super::wait_for(&runtime, async {
        let stop = Stop::listen(overrides.until_stdin_closes)?;
        let announcement = announce(Client::new(state), context.output, origin, generated);
        let announcement = tokio::spawn(announcement);
        let outcome = seam::run(state.path(), overrides, stop.requested()).await;
        announcement.abort();
        outcome
    });
    // Blocking reads (of stdin) are not waited for.
    runtime.shutdown_background();
    outcome.map_err(|failed| after(origin, failed))
}

/// Says what stays of a host that was set up just now and whose node then did not run.
fn after(origin: Origin, failed: Failed) -> Failed {
    let done = match origin {
        Origin::Existing => return failed,
        Origin::Founded => "the mesh is founded",
        Origin::Joined => "this host has joined the mesh",
    };
    let again = format!("{done}: when that is mended, run `hedgerow up` to start its node");
    let hint = match &failed.hint {
        Some(hint) => format!("{hint}; {again}"),
        None => again,
    };
    failed.with_hint(hint)
}

/// What can tell the node to stop.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
    starter_gone: Option<oneshot::Receiver<()>>,
}

impl Stop {
    fn listen(until_stdin_closes: bool) -> Result<Self, Failed> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Failed::new(Exit::Failure, format!("cannot listen for signals: {error}"))
            })
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            starter_gone: until_stdin_closes.then(watch_stdin),
        })
    }

    /// Done at the first request to stop. A second signal ends the process at once.
    async fn requested(mut self) {
        let starter_gone = async {
            match self.starter_gone.take() {
                Some(gone) => {
                    // Either way nobody holds the other end any more.
                    let _ = gone.await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = starter_gone => {}
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
            }
            std::process::exit(1);
        });
    }
}

/// A thread that reads stdin to its end, which comes when whoever holds the other end is gone,
/// however it went. It then makes sure that this process follows.
fn watch_stdin() -> oneshot::Receiver<()> {
    let (gone, watched) = oneshot::channel();
    std::thread::spawn(move || {
        let mut sink = [0; 64];
        while matches!(std::io::stdin().read(&mut sink), Ok(read) if read > 0) {}
        let _ = gone.send(());
        std::thread::sleep(ORPHAN_STOP);
        std::process::exit(1);
    });
    watched
}

/// Waits until the node answers and is ready, then says so: one line of JSON, or what to do next.
async fn announce(client: Client, output: Output, origin: Origin, generated: Option<Passphrase>) {
    let generated = Unsaid(generated);
    let own = std::process::id();
    let status = loop {
        match client.read::<Status>(route::STATUS).await {
            Ok(status) if status.ready && status.pid == own => break status,
            _ => tokio::time::sleep(STARTING_PAUSE).await,
        }
    };
    // A closed stdout is no reason to stop a node.
    let _ = match output.format {
        crate::output::Format::Json => output.json_line(&Announcement {
            status: &status,
            admin_passphrase: generated.tell().as_ref().map(Passphrase::expose),
        }),
        crate::output::Format::Human => output.show(|text| welcome(&status, origin, text)),
    };
}

/// The line of JSON a node that is ready prints.
#[derive(serde::Serialize)]
struct Announcement<'a> {
    #[serde(flatten)]
    status: &'a Status,
    /// The generated passphrase of the admin key, in the one line ever printed of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    admin_passphrase: Option<&'a str>,
}

/// A generated passphrase nobody has seen. One that is dropped unseen (the node did not become
/// ready) goes to stderr: otherwise the admin key would be lost.
struct Unsaid(Option<Passphrase>);

impl Unsaid {
    fn tell(mut self) -> Option<Passphrase> {
        self.0.take()
    }
}

impl Drop for Unsaid {
    fn drop(&mut self) {
        if let Some(passphrase) = self.0.take() {
            say(&format!(
                "note: the passphrase of the new admin key, shown this once: {}",
                passphrase.expose()
            ));
        }
    }
}

fn show_once(passphrase: &Passphrase, text: &mut Text) {
    text.heading("The passphrase of this mesh's admin key, shown this once:");
    text.line("");
    text.line(format!("  {}", passphrase.expose()));
    text.line("");
    text.line("Write it down now. It is stored nowhere, and without it (or a second admin) nobody");
    text.line("can revoke a node or change the mesh. Another one: `hedgerow admin passphrase`.");
    text.line("");
}

fn welcome(status: &Status, origin: Origin, text: &mut Text) {
    let (node, mesh) = (&status.node.name, &status.mesh.name);
    text.heading(match origin {
        Origin::Founded => format!("Founded mesh `{mesh}`; its first node `{node}` is up."),
        Origin::Joined => format!("Joined mesh `{mesh}` as `{node}`; the node is up."),
        Origin::Existing => format!("Node `{node}` of mesh `{mesh}` is up."),
    });
    text.field("mesh", status.mesh.id.to_string());
    text.field("node", status.node.id.to_string());
    text.field("listens", &status.listen);
    text.field("gateway", status.gateway_url.as_deref().unwrap_or("down"));
    text.heading("Next, in another terminal:");
    text.line("  hedgerow server add NAME -- COMMAND   attach an MCP server to this node");
    text.line("  hedgerow agent add NAME               a token for an MCP client on this host");
    text.line("  hedgerow tools                        what can be called");
    if origin == Origin::Founded {
        text.line("  hedgerow policy show                  what may be called, and what waits");
        text.line("  hedgerow approvals                    the calls that wait for your approval");
        text.line("  hedgerow invite --group GROUP         a ticket for a second host");
    } else {
        text.line("  hedgerow peers                        the other nodes");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_after_a_start_that_failed_is_said() {
        let failed = || Failed::input("no").with_hint("mend it");
        assert_eq!(after(Origin::Existing, failed()), failed());
        let founded = after(Origin::Founded, failed()).hint.unwrap_or_default();
        assert!(
            founded.starts_with("mend it; the mesh is founded: "),
            "{founded}"
        );
        let joined = after(Origin::Joined, Failed::input("no")).hint;
        assert!(joined.is_some_and(|hint| hint.contains("hedgerow up")));
    }

    #[test]
    fn words_for_whole_sets_stand_alone() {
        let paths = |list: &[&str]| list.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert!(alone(&paths(&["a.json", "b.json"])).is_ok());
        for list in [["a.json", "starter"], ["open", "a.json"]] {
            let refused = alone(&paths(&list)).unwrap_err();
            assert!(refused.message.contains("does not go with"), "{list:?}");
        }
    }

    #[test]
    fn any_host_name_becomes_a_name() {
        for (host, name) in [
            ("Web_01", "web-01"),
            ("--", "node"),
            ("", "node"),
            ("größe", "gr-e"),
            (
                "a-very-long-host-name-for-a-test-x-y",
                "a-very-long-host-name-for-a-test",
            ),
        ] {
            assert_eq!(as_name(host), name);
            assert!(as_name(host).parse::<Name>().is_ok(), "{host}");
        }
    }
}
