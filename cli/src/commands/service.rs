//! `hedgerow service`: the node as a hardened systemd service, and without it again.
//!
//! Installing twice changes nothing the second time. Only a unit that this command wrote and
//! nobody changed is ever replaced or removed; state and user stay unless `--purge` is given.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::Context;
use crate::confirm::Confirmation;
use crate::exit::{Exit, Failed, say};
use crate::output::print;

mod account;
mod files;
mod unit;

use account::Account;
use unit::{Found, Unit};

/// Where systemd says that it is the init system of this host.
const SYSTEMD_RUNS: &str = "/run/systemd/system";

/// What MCP servers started by the service use as home and cache.
const CACHE: &str = "/var/cache/hedgerow";

/// Run the node as a hardened systemd service.
///
/// The service runs as a system user of its own, which is made if there is none, with its state in
/// /var/lib/hedgerow (or --state-dir), sees nothing of home directories, may write nothing but its
/// state and a cache, and logs to the journal. MCP servers that the node starts live under the same
/// rules; the unit's comments say which drop-in lets them do more.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct ServiceCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Install(Install),
    /// Stop the service and remove what `install` wrote; its state stays
    Uninstall(Uninstall),
}

/// Write the unit, make its user and its state directory.
///
/// A state directory that belongs to root (because a mesh was founded or joined as root) is handed
/// to the service's user. Running it again changes nothing; a unit that this command did not write,
/// or that was edited since, is left alone.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hedgerow service install --print            see the unit; needs no root
  sudo hedgerow service install --enable      start it now and at every boot
  sudo hedgerow --state-dir /var/lib/hedgerow status
  sudo systemctl edit hedgerow                changes that survive the next install")]
struct Install {
    /// The user it runs as
    #[arg(long, value_name = "NAME", default_value = account::DEFAULT_USER, value_parser = account::name)]
    user: String,
    /// Where to write the unit
    #[arg(long, value_name = "DIR", default_value = unit::DEFAULT_DIR)]
    unit_dir: PathBuf,
    /// The program to run [default: this one]
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Also forbid code made at run time: for hosts without node.js, Java or .NET servers
    #[arg(long)]
    no_jit: bool,
    /// Start it now, if there is a node to run, and at every boot
    #[arg(long)]
    enable: bool,
    /// Print the unit and do nothing
    #[arg(long, conflicts_with = "enable")]
    print: bool,
}

/// Stop the service and remove what `install` wrote; its state stays.
#[derive(Debug, Args)]
struct Uninstall {
    /// Where the unit stands
    #[arg(long, value_name = "DIR", default_value = unit::DEFAULT_DIR)]
    unit_dir: PathBuf,
    /// Also remove the state, keys included, the cache, and the user if `install` made it
    #[arg(long)]
    purge: bool,
    #[command(flatten)]
    confirmation: Confirmation,
}

/// What is printed of an installation.
#[derive(Debug, serde::Serialize)]
struct Installed {
    unit: PathBuf,
    user: String,
    state_dir: PathBuf,
    /// Whether anything had to be written.
    changed: bool,
    enabled: bool,
    /// Whether there is a node to run.
    member: bool,
}

/// What is printed of a removal.
#[derive(Debug, serde::Serialize)]
struct Removed {
    unit: Option<PathBuf>,
    /// The state directory that stays, if it does.
    kept: Option<PathBuf>,
    user_removed: bool,
}

impl ServiceCommand {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failed> {
        match self.action {
            Action::Install(install) => install.run(context),
            Action::Uninstall(uninstall) => uninstall.run(context),
        }
    }
}

impl Install {
    fn run(self, context: &Context) -> Result<(), Failed> {
        let state = state_dir(context)?;
        let program = self.program()?;
        let account = account::look_up(&self.user)?;
        let mut unit = Unit {
            made_user: account.is_none_or(|account| account.made),
            user: self.user,
            state,
            program,
        };
        let path = self.unit_dir.join(unit::NAME);
        let written = files::read(&path, unit::MAX_BYTES)?;
        let found = unit::recognise(written.as_deref());
        if let Found::Ours(before) = &found {
            unit.made_user |= before.made_user && before.user == unit.user;
        }
        if self.print {
            return print(&unit.text());
        }
        let manages = manages(&self.unit_dir);
        if self.enable && !manages {
            return Err(Failed::input("there is no systemd to enable it with")
                .with_hint("leave out `--enable`, or run this where systemd runs, with its own unit directory"));
        }
        refuse_strange(&found, &path)?;
        let account = match account {
            Some(account) => account,
            None => account::create(&unit.user)?,
        };
        let mut changed = files::own_state(&unit.state, account)?;
        // One of an older version is ours too, and replaced.
        let text = unit.text();
        if written.as_deref() != Some(&text) {
            files::replace(&path, &text)?;
            changed = true;
        }
        if self.no_jit {
            changed |= files::drop_in(&path, unit::NO_JIT_NAME, unit::NO_JIT)?;
        }
        let member = unit
            .state
            .join("membership.cose")
            .symlink_metadata()
            .is_ok();
        if manages {
            account::run("systemctl", &["daemon-reload"])?;
        }
        if self.enable {
            account::run("systemctl", &["enable", unit::NAME])?;
            if member {
                let verb = if changed { "restart" } else { "start" };
                account::run("systemctl", &[verb, unit::NAME])?;
            }
        }
        let installed = Installed {
            unit: path,
            user: unit.user,
            state_dir: unit.state,
            changed,
            enabled: self.enable,
            member,
        };
        context
            .output
            .data(&installed, |text| next(&installed, text))
    }

    fn program(&self) -> Result<PathBuf, Failed> {
        let program = match &self.program {
            Some(program) => program.clone(),
            None => std::env::current_exe()
                .map_err(|error| Failed::io("cannot tell where this program is", &error))?,
        };
        match unit::unusable(&program) {
            None => Ok(program),
            Some(why) => Err(Failed::input(format!(
                "`{}` cannot be the service's program: {why}",
                program.display()
            ))
            .with_hint(
                "copy it to /usr/local/bin and run it from there, or name it with `--program`",
            )),
        }
    }
}

impl Uninstall {
    fn run(self, context: &Context) -> Result<(), Failed> {
        let path = self.unit_dir.join(unit::NAME);
        let found = look_at(&path)?;
        refuse_strange(&found, &path)?;
        let Found::Ours(unit) = found else {
            let removed = Removed {
                unit: None,
                kept: None,
                user_removed: false,
            };
            return context.output.data(&removed, |text| {
                text.line(format!(
                    "there is no service: `{}` does not exist",
                    path.display()
                ));
            });
        };
        self.ask(&unit)?;
        if self.purge {
            refuse_purge(&unit)?;
        }
        let manages = manages(&self.unit_dir);
        if manages {
            account::run("systemctl", &["disable", "--now", unit::NAME])?;
        }
        files::remove_unit(&path)?;
        if manages {
            account::run("systemctl", &["daemon-reload"])?;
        }
        let mut user_removed = false;
        if self.purge {
            files::remove_tree(&unit.state)?;
            // systemd made it for the service of this host; a unit elsewhere never ran here.
            if self.unit_dir == Path::new(unit::DEFAULT_DIR) {
                files::remove_tree(Path::new(CACHE))?;
            }
            if unit.made_user {
                account::remove(&unit.user)?;
                user_removed = true;
            }
        }
        let removed = Removed {
            unit: Some(path),
            kept: (!self.purge).then_some(unit.state),
            user_removed,
        };
        context.output.data(&removed, |text| {
            text.line("the service is removed");
            if let Some(kept) = &removed.kept {
                text.line(format!(
                    "its state and its user stay: `{}`; `hedgerow service install` takes them up again",
                    kept.display()
                ));
            }
        })
    }

    fn ask(&self, unit: &Unit) -> Result<(), Failed> {
        let what = if self.purge {
            format!(
                "stop the service, and remove its unit, `{}` with the node's keys{}",
                unit.state.display(),
                if unit.made_user { ", and its user" } else { "" }
            )
        } else {
            "stop the service and remove its unit".to_owned()
        };
        say(&format!("this will {what}"));
        self.confirmation.ask("go on?")
    }
}

fn state_dir(context: &Context) -> Result<PathBuf, Failed> {
    let state = match &context.global.state_dir {
        Some(_) => context.state()?.path().to_owned(),
        None => PathBuf::from(unit::DEFAULT_STATE),
    };
    match unit::unusable(&state) {
        None => Ok(state),
        Some(why) => Err(Failed::input(format!(
            "`{}` cannot be the state directory of a service: {why}",
            state.display()
        ))
        .with_hint(format!("leave out --state-dir for {}", unit::DEFAULT_STATE))),
    }
}

/// Whether the host's systemd reads this directory.
fn manages(unit_dir: &Path) -> bool {
    unit_dir == Path::new(unit::DEFAULT_DIR) && Path::new(SYSTEMD_RUNS).is_dir()
}

fn look_at(path: &Path) -> Result<Found, Failed> {
    files::read(path, unit::MAX_BYTES).map(|text| unit::recognise(text.as_deref()))
}

fn refuse_strange(found: &Found, path: &Path) -> Result<(), Failed> {
    let refused = |what: &str, hint: &str| {
        let message = format!("`{}` {what}", path.display());
        Err(Failed::new(Exit::Denied, message)
            .with_reason("not_our_unit")
            .with_hint(hint))
    };
    match found {
        Found::Nothing | Found::Ours(_) => Ok(()),
        Found::Edited => refused(
            "was changed after `service install` wrote it",
            "move your changes to a drop-in (`systemctl edit hedgerow`) and remove the file",
        ),
        Found::Foreign => refused(
            "was not written by `service install`",
            "remove it yourself, or choose another `--unit-dir`",
        ),
    }
}

/// Whatever is purged must be what it is said to be: a node's state, of the unit's user.
fn refuse_purge(unit: &Unit) -> Result<(), Failed> {
    let Ok(meta) = unit.state.symlink_metadata() else {
        return Ok(());
    };
    let owner: Option<Account> = account::look_up(&unit.user)?;
    let owned = owner.is_some_and(|account| account.uid == meta.uid());
    let contents = std::fs::read_dir(&unit.state).map(|mut found| found.next().is_some());
    let state = !contents.unwrap_or(true) || unit.state.join("keys").is_dir();
    if meta.is_dir() && owned && state {
        return Ok(());
    }
    let message = format!(
        "`{}` is not the state directory of user `{}`",
        unit.state.display(),
        unit.user
    );
    Err(Failed::new(Exit::Denied, message)
        .with_reason("not_a_state_directory")
        .with_hint("remove it yourself; without `--purge` it stays"))
}

fn next(installed: &Installed, text: &mut crate::output::Text) {
    let state = installed.state_dir.display();
    text.line(if installed.changed {
        format!("wrote {}", installed.unit.display())
    } else {
        format!("{} is as it should be", installed.unit.display())
    });
    text.field("user", &installed.user);
    text.field("state", state.to_string());
    if !installed.member {
        text.line("there is no node to run yet; join a mesh as the service's user, and start it:");
        text.line(format!(
            "  runuser -u {} -- hedgerow --state-dir {state} join --no-run TICKET",
            installed.user
        ));
        text.line(if installed.enabled {
            "  systemctl start hedgerow"
        } else {
            "  systemctl enable --now hedgerow"
        });
    } else if installed.enabled {
        text.line("it runs, now and at every boot:");
        text.line("  systemctl status hedgerow");
        text.line(format!("  hedgerow --state-dir {state} doctor"));
    } else {
        text.line("start it now and at every boot:");
        text.line("  systemctl enable --now hedgerow");
    }
}
