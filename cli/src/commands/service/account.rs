//! The system user a service runs as.

use std::process::Command;

use crate::exit::{Exit, Failed};

/// The user unless another is named.
pub(super) const DEFAULT_USER: &str = "hedgerow";

/// What stands for its full name, by which a user that [`create`] made is known.
const COMMENT: &str = "Hedgerow node";

/// Its home, which there is not.
const NO_HOME: &str = "/nonexistent";

/// Longest user name that useradd takes.
const MAX_USER_BYTES: usize = 32;

/// A user there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Account {
    /// Its id, never 0.
    pub(super) uid: u32,
    /// Its primary group.
    pub(super) gid: u32,
    /// Whether it is as [`create`] makes users: another installation may have made it.
    pub(super) made: bool,
}

/// Checks a user's name: it stands in a unit and on command lines.
pub(super) fn name(text: &str) -> Result<String, String> {
    let first = text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    if !first || !text.chars().all(plain) || text.len() > MAX_USER_BYTES {
        return Err(
            "a user name begins with a-z or _, holds a-z, 0-9, _ and -, and is at most 32 bytes"
                .to_owned(),
        );
    }
    if text == "root" {
        return Err("the node does not run as root: it needs nothing of it".to_owned());
    }
    Ok(text.to_owned())
}

/// The user of this name, as the system's databases have it.
pub(super) fn look_up(user: &str) -> Result<Option<Account>, Failed> {
    let output = Command::new("getent").args(["passwd", "--", user]).output();
    let output = output.map_err(|error| Failed::io("cannot run `getent`", &error))?;
    if !output.status.success() {
        return Ok(None);
    }
    let line = String::from_utf8_lossy(&output.stdout);
    let mut fields = line.trim_end().split(':');
    let found = fields.next() == Some(user);
    let ids = (fields.nth(1).map(str::parse), fields.next().map(str::parse));
    let made = (fields.next(), fields.next()) == (Some(COMMENT), Some(NO_HOME));
    match ids {
        (Some(Ok(0)), _) => Err(Failed::input(format!(
            "user `{user}` is root by another name"
        ))),
        (Some(Ok(uid)), Some(Ok(gid))) if found => Ok(Some(Account { uid, gid, made })),
        _ => Err(Failed::new(
            Exit::Failure,
            format!("`getent passwd {user}` says nothing that can be understood"),
        )),
    }
}

/// Makes a system user without a password, a shell or a home.
pub(super) fn create(user: &str) -> Result<Account, Failed> {
    let words = [
        "--system",
        "--user-group",
        "--no-create-home",
        "--home-dir",
        NO_HOME,
        "--shell",
        "/usr/sbin/nologin",
        "--comment",
        COMMENT,
        "--",
        user,
    ];
    run("useradd", &words)?;
    look_up(user)?.ok_or_else(|| {
        Failed::new(
            Exit::Failure,
            format!("user `{user}` was made and is not there"),
        )
    })
}

/// Removes a user that [`create`] made; its group of the same name goes with it.
pub(super) fn remove(user: &str) -> Result<(), Failed> {
    run("userdel", &["--", user])
}

/// Runs a program of the system; what it says on stderr is the reason when it fails.
pub(super) fn run(program: &str, words: &[&str]) -> Result<(), Failed> {
    let output = Command::new(program)
        .args(words)
        .output()
        .map_err(|error| Failed::io(&format!("cannot run `{program}`"), &error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().next().unwrap_or("it does not say why");
    Err(
        Failed::new(Exit::Failure, format!("`{program}` failed: {said}"))
            .with_hint("`service install` and `service uninstall` need root; `--print` does not"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_are_users_and_root_never_is() {
        for bad in [
            "",
            "root",
            "-x",
            "a b",
            "a;b",
            "A",
            "a%h",
            "x\n",
            &"a".repeat(33),
        ] {
            assert!(name(bad).is_err(), "{bad}");
        }
        for good in ["hedgerow", "_h", "h-1"] {
            assert_eq!(name(good).as_deref(), Ok(good));
        }
    }

    #[test]
    fn users_are_looked_up_and_root_is_refused() {
        assert_eq!(look_up("no-such-user-here").unwrap(), None);
        assert!(look_up("root").is_err());
    }
}
