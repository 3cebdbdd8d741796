//! One file per command, and the way from arguments to one of them.

use std::pin::Pin;

use crate::args::{Cli, Command, Global};
use crate::client::Client;
use crate::exit::{Exit, Failed};
use crate::output::Output;
use crate::state::State;

pub(crate) mod admin;
pub(crate) mod agent;
pub(crate) mod approvals;
pub(crate) mod backup;
pub(crate) mod call;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod dashboard;
pub(crate) mod decisions;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod envelope;
pub(crate) mod id;
pub(crate) mod invite;
pub(crate) mod join;
pub(crate) mod mcp;
pub(crate) mod membership;
pub(crate) mod peers;
pub(crate) mod policy;
pub(crate) mod restore;
pub(crate) mod revocations;
pub(crate) mod revoke;
pub(crate) mod run;
pub(crate) mod server;
pub(crate) mod service;
pub(crate) mod sign;
pub(crate) mod status;
pub(crate) mod tickets;
pub(crate) mod tools;
pub(crate) mod trust;
pub(crate) mod up;

/// What every command is given.
#[derive(Debug)]
pub(crate) struct Context {
    global: Global,
    /// Where to print.
    pub(crate) output: Output,
}

impl Context {
    /// The state directory this command is about.
    pub(crate) fn state(&self) -> Result<State, Failed> {
        State::locate(self.global.state_dir.as_deref())
    }

    /// A client of the node that runs on it.
    pub(crate) fn client(&self) -> Result<Client, Failed> {
        Ok(Client::new(&self.state()?))
    }
}

/// Runs the command.
pub(crate) fn dispatch(cli: Cli) -> Result<(), Failed> {
    let context = Context {
        output: Output::new(cli.global.format),
        global: cli.global,
    };
    match cli.command {
        Command::Up(up) => up.run(&context),
        Command::Invite(invite) => blocking(invite.run(&context)),
        Command::Join(join) => join.run(&context),
        Command::Tickets(tickets) => blocking(tickets.run(&context)),
        Command::Run(run) => run.run(&context),
        Command::Demo(demo) => demo.run(&context),
        Command::Status(status) => blocking(status.run(&context)),
        Command::Dashboard(dashboard) => blocking(dashboard.run(&context)),
        Command::Doctor(doctor) => blocking(doctor.run(&context)),
        Command::Peers(peers) => blocking(peers.run(&context)),
        Command::Server(server) => blocking(server.run(&context)),
        Command::Backup(backup) => backup.run(&context),
        Command::Restore(restore) => restore.run(&context),
        Command::Service(service) => service.run(&context),
        Command::Approvals(approvals) => blocking(approvals.run(&context)),
        Command::Agent(agent) => blocking(agent.run(&context)),
        Command::Tools(tools) => blocking(tools.run(&context)),
        Command::Call(call) => blocking(call.run(&context)),
        Command::Mcp(mcp) => mcp.run(&context),
        Command::Envelope(envelope) => envelope.run(&context),
        Command::Id(id) => id.run(&context),
        Command::Membership(membership) => blocking(membership.run(&context)),
        Command::Admin(admin) => blocking(admin.run(&context)),
        Command::Revoke(revoke) => blocking(revoke.run(&context)),
        Command::Revocations(revocations) => blocking(revocations.run(&context)),
        Command::Sign(sign) => blocking(sign.run(&context)),
        Command::Trust(trust) => blocking(trust.run(&context)),
        Command::Decisions(decisions) => blocking(decisions.run(&context)),
        Command::Policy(policy) => blocking(policy.run(&context)),
        Command::Config(config) => config.run(&context),
        Command::Completions(completions) => completions.run(&context),
        Command::SampleServer(server) => server.run(),
    }
}

/// Runs a client command on a runtime of one thread. Ctrl-c ends the process as usual; what a
/// dropped connection means is the node's business.
fn blocking(command: impl Future<Output = Result<(), Failed>>) -> Result<(), Failed> {
    wait_for(&runtime()?, command)
}

/// Runs a future to its end. As a trait object: `block_on` would else hold three copies of whatever
/// it is given, a running node's pages among them.
fn wait_for<T>(runtime: &tokio::runtime::Runtime, future: impl Future<Output = T>) -> T {
    let future: Pin<Box<dyn Future<Output = T> + '_>> = Box::pin(future);
    runtime.block_on(future)
}

/// A runtime of one thread.
fn runtime() -> Result<tokio::runtime::Runtime, Failed> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Failed::new(
                Exit::Failure,
                format!("cannot start the async runtime: {error}"),
            )
        })
}

/// Reads a file of at most `max` bytes.
fn read_file(path: &std::path::Path, max: usize) -> Result<Vec<u8>, Failed> {
    use std::io::Read;
    let failed = |error: std::io::Error| {
        let failed = Failed::io(&format!("cannot read `{}`", path.display()), &error);
        Failed {
            exit: Exit::InvalidInput,
            ..failed
        }
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    let bound = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    file.take(bound).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > max {
        return Err(Failed::input(format!(
            "`{}` is larger than {max} bytes",
            path.display()
        )));
    }
    Ok(bytes)
}

/// Writes a new file; one that exists is left alone.
fn write_new(path: &std::path::Path, bytes: &[u8]) -> Result<(), Failed> {
    use std::io::Write;
    std::fs::File::create_new(path)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .map_err(|error| {
            let failed = Failed::io(&format!("cannot write `{}`", path.display()), &error);
            if error.kind() == std::io::ErrorKind::AlreadyExists {
                failed.with_hint("choose another name, or remove that file first")
            } else {
                failed
            }
        })
}
