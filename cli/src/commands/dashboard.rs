//! `hedgerow dashboard`: the way into the node's status page.

use std::ffi::OsString;
use std::process::{Command, Stdio};

use protocol::control::{PageLogin, PageSessionsEnded, route};

use super::Context;
use crate::exit::Failed;
use crate::output::Format;

/// What opens an address in the user's browser (xdg-utils).
const OPENER: &str = "xdg-open";

/// Open the node's status page in a browser.
///
/// Prints an address whose code signs one browser in, once and within a minute, and opens it if
/// there is a display and no JSON was asked for. The page is read-only and on this host's loopback; from elsewhere, forward
/// its port: `ssh -L 7481:127.0.0.1:7481 HOST`, run this there, and open the address here.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow dashboard
  hedgerow dashboard --no-open
  hedgerow dashboard --revoke")]
pub(crate) struct Dashboard {
    /// Print the address only
    #[arg(long)]
    no_open: bool,
    /// End every browser session instead, and void codes that were not used
    #[arg(long, conflicts_with = "no_open")]
    revoke: bool,
}

impl Dashboard {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        let client = context.client()?;
        if self.revoke {
            let ended: PageSessionsEnded = client.submit(route::REVOKE_PAGE_SESSIONS, &()).await?;
            return context.output.data(&ended, |text| {
                text.line(format!(
                    "ended {} {} with the status page",
                    ended.ended,
                    if ended.ended == 1 {
                        "session"
                    } else {
                        "sessions"
                    }
                ));
            });
        }
        let login: PageLogin = client.submit(route::PAGE_CODES, &()).await?;
        context.output.data(&login, |text| {
            text.line(login.url.expose());
            text.line(format!("works once, within {} s", login.expires_s));
        })?;
        // A script that asks for JSON opens what it wants itself.
        let for_people = context.output.format == Format::Human;
        if for_people && !self.no_open && has_display(&|name| std::env::var_os(name)) {
            open(login.url.expose());
        }
        Ok(())
    }
}

/// Whether a browser could show itself here.
fn has_display(variable: &dyn Fn(&str) -> Option<OsString>) -> bool {
    let set = |name| variable(name).is_some_and(|value| !value.is_empty());
    ["DISPLAY", "WAYLAND_DISPLAY"].into_iter().any(set)
}

/// Opens the address. The code stands in the opener's arguments, where this user's and root's
/// processes can read it until it is used; they could ask for one themselves. That there is no
/// opener is no failure: the address was printed.
fn open(url: &str) {
    let started = Command::new(OPENER)
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    if let Err(error) = started {
        crate::exit::say(&format!(
            "`{OPENER}` does not run ({error}); open the address by hand"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_needs_a_display() {
        let with = |set: &'static str, value: &'static str| {
            move |name: &str| (name == set).then(|| OsString::from(value))
        };
        assert!(has_display(&with("DISPLAY", ":0")));
        assert!(has_display(&with("WAYLAND_DISPLAY", "wayland-0")));
        assert!(!has_display(&with("DISPLAY", "")));
        assert!(!has_display(&with("TERM", "xterm")));
    }
}
