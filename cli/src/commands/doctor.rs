//! `hedgerow doctor`: what is wrong, why, and how to mend it; with or without a running node.

use std::io;

use protocol::control::{Check, Level, route};
use tokio::net::UnixStream;

use super::Context;
use super::run::seam;
use crate::exit::{Exit, Failed};
use crate::output::{Text, counted};
use crate::state::State;

/// Say what is wrong with this node, why, and how to mend it.
///
/// Looks at the state directory, and asks the node if it runs. Every check has a name and stands
/// in the report whether it is well or not. The exit code is 1 if any check fails; warnings alone
/// leave it 0. Nothing is changed and no key is read.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow doctor
  sudo hedgerow --state-dir /var/lib/hedgerow doctor
  hedgerow --format json doctor | jq '.checks[] | select(.level != \"ok\")'")]
pub(crate) struct Doctor {}

/// What is printed.
#[derive(Debug, serde::Serialize)]
struct Report {
    /// Whether no check fails.
    healthy: bool,
    /// Whether a node answered.
    running: bool,
    checks: Vec<Check>,
}

impl Doctor {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        let state = context.state()?;
        let found = ask(context, &state).await;
        let running = !matches!(found, Found::Nobody(_));
        let mut checks = seam::examine(state.path(), running);
        match found {
            Found::Checks(of_node) => checks.extend(of_node),
            Found::Nobody(check) | Found::Silent(check) => checks.push(check),
        }
        let report = Report {
            healthy: checks.iter().all(|c| c.level != Level::Fail),
            running,
            checks,
        };
        context.output.data(&report, |text| show(&report, text))?;
        if report.healthy {
            Ok(())
        } else {
            Err(Failed::silent(Exit::Failure))
        }
    }
}

/// What came of asking the node.
enum Found {
    /// It answered.
    Checks(Vec<Check>),
    /// None runs.
    Nobody(Check),
    /// One runs and does not say.
    Silent(Check),
}

async fn ask(context: &Context, state: &State) -> Found {
    const NAME: &str = "node";
    // Connecting tells a node that does not run from one that does and refuses.
    if let Err(error) = UnixStream::connect(state.control_socket()).await {
        let nobody = matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
        );
        if nobody {
            let check = Check::fail(NAME, "no node runs on this state directory")
                .because("it was not started, or it ended: its log says why")
                .mend("`systemctl start hedgerow`, or `hedgerow run` in the foreground");
            return Found::Nobody(check);
        }
        let check = Check::fail(NAME, format!("the control socket does not answer: {error}"))
            .because("this user may not connect to it")
            .mend("run the command as the user the node runs as, or as root");
        return Found::Silent(check);
    }
    let answer = match context.client() {
        Ok(client) => client.read::<Vec<Check>>(route::DOCTOR).await,
        Err(failed) => Err(failed),
    };
    match answer {
        Ok(checks) => Found::Checks(checks),
        Err(failed) => {
            let check = Check::fail(NAME, failed.message);
            Found::Silent(match failed.hint {
                Some(hint) => check.mend(hint),
                None => check,
            })
        }
    }
}

fn show(report: &Report, text: &mut Text) {
    for check in &report.checks {
        let line = format!("{:<15} {}", check.name, check.message);
        match check.level {
            Level::Ok => text.check(true, line),
            Level::Warn => text.warning(line),
            Level::Fail => text.check(false, line),
        }
        if let Some(cause) = &check.cause {
            text.line(format!("                    likely: {cause}"));
        }
        if let Some(mend) = &check.mend {
            text.line(format!("                    mend:   {mend}"));
        }
    }
    let count = |level| report.checks.iter().filter(|c| c.level == level).count();
    text.line("");
    text.line(format!(
        "{} ok, {}, {}",
        count(Level::Ok),
        counted(count(Level::Warn), "warning", "warnings"),
        counted(count(Level::Fail), "failure", "failures")
    ));
}
