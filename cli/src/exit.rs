//! How a command ends: its exit code, and what it says on stderr when it failed.

use std::io::{self, Write};
use std::process::ExitCode;

use protocol::control::{Failure, FailureKind};
use serde_json::json;

use crate::inert::{inert, inert_json};
use crate::output::Format;

/// The exit codes of `hedgerow`, a public interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0: done.
    Ok,
    /// 1: it could not be done: no node running, unreachable, a tool that failed.
    Failure,
    /// 2: refused: by policy, by a check of a signature or membership, or not permitted.
    Denied,
    /// 3: the command line, a file or a value cannot be used; a name or id that nothing known here
    /// has, or several, is such a value, whether this command or the node looked for it.
    InvalidInput,
}

impl Exit {
    const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failure => 1,
            Self::Denied => 2,
            Self::InvalidInput => 3,
        }
    }

    /// The name of the reason where nobody gave a closer one.
    const fn reason(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failure => "failed",
            Self::Denied => "denied",
            Self::InvalidInput => "invalid_input",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
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
    /// Everything that is wrong with what was given, where it was read whole.
    pub(crate) problems: Vec<Problem>,
}

/// One thing that is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Problem {
    /// What it was read from.
    pub(crate) file: String,
    /// Where in it, as a JSON pointer; empty for the whole.
    pub(crate) path: String,
    /// The stable name of the reason.
    pub(crate) reason: String,
    /// What is wrong: lowercase, one line.
    pub(crate) message: String,
    /// What its author can do.
    pub(crate) mend: String,
}

impl Failed {
    /// A failure with this exit code.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            reason: None,
            message: message.into(),
            hint: None,
            problems: Vec::new(),
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

    /// With everything that is wrong, each told on its own.
    pub(crate) fn with_problems(mut self, problems: Vec<Problem>) -> Self {
        self.problems = problems;
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
            FailureKind::Invalid | FailureKind::NotFound | FailureKind::TooLarge => {
                Exit::InvalidInput
            }
            FailureKind::Conflict
            | FailureKind::Timeout
            | FailureKind::Unavailable
            | FailureKind::Internal => Exit::Failure,
        };
        Self {
            exit,
            reason: Some(failure.reason),
            message: failure.message,
            hint: failure.hint,
            problems: Vec::new(),
        }
    }
}

/// Says on stderr why a command failed and gives its exit code: lines for people, or as the last
/// line one JSON object. stdout stays what was asked for, whole or begun.
pub(crate) fn report(outcome: Result<(), Failed>, format: Format) -> ExitCode {
    let Err(failed) = outcome else {
        return Exit::Ok.into();
    };
    if !failed.message.is_empty() {
        say(&failed.told(format));
    }
    failed.exit.into()
}

impl Failed {
    /// What is said of it; nothing in it moves a terminal.
    fn told(&self, format: Format) -> String {
        // Errors of the node carry their hint as a second line.
        let (message, hint) = match self.message.split_once("\nhint: ") {
            Some((message, hint)) => (message, self.hint.as_deref().or(Some(hint))),
            None => (self.message.as_str(), self.hint.as_deref()),
        };
        if format == Format::Json {
            let mut error = json!({
                "reason": self.reason.as_deref().unwrap_or(self.exit.reason()),
                "message": message,
                "hint": hint,
                "exit_code": self.exit.code(),
            });
            if let Some(error) = error.as_object_mut().filter(|_| !self.problems.is_empty()) {
                error.insert("problems".to_owned(), json!(self.problems));
            }
            let error = json!({ "error": error });
            return inert_json(&error.to_string()).to_string();
        }
        let reason = self.reason.as_deref().map(inert);
        let reason = reason.map(|reason| format!(" [{reason}]"));
        let mut told = String::new();
        for problem in &self.problems {
            let Problem { file, message, .. } = problem;
            let line = format!("{file}: {message} [{}]", problem.reason);
            let mend = format!("  mend: {}", problem.mend);
            told.push_str(&format!("{}\n{}\n", inert(&line), inert(&mend)));
        }
        told.push_str(&format!(
            "error: {}{}",
            inert(message),
            reason.unwrap_or_default()
        ));
        if let Some(hint) = hint {
            told.push_str(&format!("\nhint: {}", inert(hint)));
        }
        told
    }
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
            (FailureKind::NotFound, Exit::InvalidInput),
            (FailureKind::Conflict, Exit::Failure),
            (FailureKind::Timeout, Exit::Failure),
        ] {
            assert_eq!(Failed::from(Failure::new(kind, "r", "m")).exit, exit);
        }
    }

    #[test]
    fn a_failure_is_one_json_object_for_scripts() {
        let failed = Failed::new(Exit::Denied, "no\u{1b}[2J\u{202e}\nhint: ask `b`");
        let told = failed.with_reason("policy").told(Format::Json);
        assert!(
            !told.chars().any(|c| c.is_control() || c == '\u{202e}'),
            "{told}"
        );
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        let expected = json!({"error": {"reason": "policy", "message": "no\u{1b}[2J\u{202e}",
            "hint": "ask `b`", "exit_code": 2}});
        assert_eq!(told, expected);
        let plain: serde_json::Value =
            serde_json::from_str(&Failed::input("x").told(Format::Json)).unwrap();
        assert_eq!(plain["error"]["reason"], "invalid_input");
        assert_eq!(plain["error"]["hint"], serde_json::Value::Null);
        assert_eq!(Failed::input("x").told(Format::Human), "error: x");
    }

    #[test]
    fn every_problem_is_told_within_the_one_object() {
        let problem = |at: &str| Problem {
            file: "bad\u{1b}.json".to_owned(),
            path: at.to_owned(),
            reason: "policy_unknown_key".to_owned(),
            message: "unknown".to_owned(),
            mend: "remove it".to_owned(),
        };
        let failed = Failed::input("2 things").with_problems(vec![problem("/a"), problem("/b")]);
        let told = failed.told(Format::Json);
        assert!(!told.contains(['\u{1b}', '\n']), "{told}");
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        let second = json!({"file": "bad\u{1b}.json", "path": "/b", "message": "unknown",
            "reason": "policy_unknown_key", "mend": "remove it"});
        assert_eq!(told["error"]["problems"][1], second);
        let told = failed.told(Format::Human);
        assert!(!told.contains('\u{1b}'), "{told}");
        assert_eq!(told.lines().count(), 5, "{told}");
        assert!(told.ends_with("\nerror: 2 things"), "{told}");
    }

    #[test]
    fn a_broken_pipe_is_success() {
        let failed = Failed::io("x", &io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((failed.exit, failed.message.as_str()), (Exit::Ok, ""));
    }
}
