//! How a command ends: its exit code, and what it says on stderr when it failed.

use std::io::{self, Write};
use std::process::ExitCode;

use protocol::control::{Failure, FailureKind};

use crate::inert::inert;

/// The exit codes of `hedgerow`, a public interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0: done.
    Ok,
    /// 1: it could not be done: no node running, unreachable, a tool that failed.
    Failure,
    /// 2: refused: by policy, by a check of a signature or membership, or not permitted.
    Denied,
    /// 3: the command line, a file or a value cannot be used.
    InvalidInput,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Ok => 0,
            Exit::Failure => 1,
            Exit::Denied => 2,
            Exit::InvalidInput => 3,
        })
    }
}

/// Why a command failed: a line for people and what they can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failed {
    /// The exit code.
    pub(crate) exit: Exit,
    /// The stable name of the reason, where whoever refused gave one.
    pub(crate) reason: Option<String>,
    /// What happened: lowercase, one line. Empty for an end that was reported already.
    pub(crate) message: String,
    /// What to do.
    pub(crate) hint: Option<String>,
}

impl Failed {
    /// A failure with this exit code.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            reason: None,
            message: message.into(),
            hint: None,
        }
    }

    /// Input that cannot be used.
    pub(crate) fn input(message: impl Into<String>) -> Self {
        Self::new(Exit::InvalidInput, message)
    }

    /// With what the user can do.
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With the name of the reason, which is shown in brackets.
    pub(crate) fn with_reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// An end whose output already says what happened: only the exit code is left to tell.
    pub(crate) fn silent(exit: Exit) -> Self {
        Self::new(exit, "")
    }

    /// A failed read or write of a file or of stdout.
    pub(crate) fn io(doing: &str, error: &io::Error) -> Self {
        let exit = match error.kind() {
            // Whoever read our output has enough of it.
            io::ErrorKind::BrokenPipe => return Self::silent(Exit::Ok),
            io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists => Exit::InvalidInput,
            _ => Exit::Failure,
        };
        Self::new(exit, format!("{doing}: {error}"))
    }
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        let exit = match failure.kind {
            FailureKind::Denied => Exit::Denied,
            FailureKind::Invalid | FailureKind::TooLarge => Exit::InvalidInput,
            FailureKind::NotFound
            | FailureKind::Conflict
            | FailureKind::Timeout
            | FailureKind::Unavailable
            | FailureKind::Internal => Exit::Failure,
        };
        Self {
            exit,
            reason: Some(failure.reason),
            message: failure.message,
            hint: failure.hint,
        }
    }
}

/// Says on stderr why a command failed and gives its exit code.
pub(crate) fn report(outcome: Result<(), Failed>) -> ExitCode {
    let Err(failed) = outcome else {
        return Exit::Ok.into();
    };
    if !failed.message.is_empty() {
        // Errors of the node carry their hint as a second line.
        let (message, hint) = match failed.message.split_once("\nhint: ") {
            Some((message, hint)) => (message, failed.hint.or_else(|| Some(hint.to_owned()))),
            None => (failed.message.as_str(), failed.hint),
        };
        let reason = failed
            .reason
            .map(|reason| format!(" [{}]", inert(&reason)))
            .unwrap_or_default();
        say(&format!("error: {}{reason}", inert(message)));
        if let Some(hint) = hint {
            say(&format!("hint: {}", inert(&hint)));
        }
    }
    failed.exit.into()
}

/// Shows help or version on stdout, or what is wrong with the command line on stderr.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    // A closed stdout or stderr leaves nothing to be said.
    let _ = error.print();
    if error.use_stderr() {
        Exit::InvalidInput.into()
    } else {
        Exit::Ok.into()
    }
}

/// One line on stderr: progress, warnings, errors. A closed stderr is nobody's failure.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_of_the_node_has_an_exit_code() {
        for (kind, exit) in [
            (FailureKind::Denied, Exit::Denied),
            (FailureKind::Invalid, Exit::InvalidInput),
            (FailureKind::TooLarge, Exit::InvalidInput),
            (FailureKind::NotFound, Exit::Failure),
            (FailureKind::Timeout, Exit::Failure),
        ] {
            assert_eq!(Failed::from(Failure::new(kind, "r", "m")).exit, exit);
        }
    }

    #[test]
    fn a_broken_pipe_is_success() {
        let failed = Failed::io("x", &io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((failed.exit, failed.message.as_str()), (Exit::Ok, ""));
    }
}
