//! The log on standard error, and named counters for `status`.
//!
//! Where stderr is the systemd journal, which has its own clock, lines carry none.
//!
//! The log is for people and their collectors; it is no evidence. Decision records go their own
//! durable way and never through here. Payloads and secrets are never logged.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

mod journal;

use crate::config::{LogFormat, LogSection, environment};

/// Most names counted; later ones are counted together as [`OTHER`]. The code has fewer than
/// 200 reasons, so this is reached only if a name were ever made from what a peer sent.
pub const MAX_COUNTER_NAMES: usize = 512;

/// The name under which counts beyond [`MAX_COUNTER_NAMES`] stand.
pub const OTHER: &str = "other";

/// Why logging was not set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not one.
    #[error("`{filter}` is not a log filter: {what}")]
    Filter {
        /// What was given, cut.
        filter: String,
        /// What is wrong with it.
        what: String,
    },
    /// Something else has set up logging for this process.
    #[error("logging is set up already")]
    AlreadySet,
}

impl TelemetryError {
    /// What the operator can do about it.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Filter { .. } => Some("use a level (`info`), or `info,node::call=debug`"),
            Self::AlreadySet => None,
        }
    }
}

/// Sets up the log of this process. `variable` reads the environment (for `NO_COLOR`).
///
/// # Errors
/// [`TelemetryError`].
pub fn init(
    section: &LogSection,
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Result<(), TelemetryError> {
    let plain = variable(environment::NO_COLOR).is_some_and(|v| !v.is_empty());
    let lines = if journal::is_stderr(variable) {
        Lines::Journal
    } else if !plain && std::io::stderr().is_terminal() {
        Lines::Coloured
    } else {
        Lines::Plain
    };
    subscriber(section, lines, BoxMakeWriter::new(std::io::stderr))?
        .try_init()
        .map_err(|_| TelemetryError::AlreadySet)
}

/// What libraries say that means nothing to an operator: that a record which came twice is not
/// gossiped twice, and the peer id once more. Their errors stay. It stands before the operator's
/// filter, which wins.
const QUIET: &str = "libp2p_gossipsub=error,libp2p_swarm=error";

/// How lines for people look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lines {
    /// With the time.
    Plain,
    /// With the time, in colours.
    Coloured,
    /// As the journal wants them.
    Journal,
}

fn subscriber(
    section: &LogSection,
    lines: Lines,
    writer: BoxMakeWriter,
) -> Result<tracing::Dispatch, TelemetryError> {
    let filter = format!("{QUIET},{}", section.filter);
    let filter = EnvFilter::try_new(filter).map_err(|error| TelemetryError::Filter {
        filter: printable(&section.filter),
        what: printable(&error.to_string()),
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer);
    Ok(match (section.format, lines) {
        (LogFormat::Human, Lines::Journal) => {
            let builder = builder.with_ansi(false);
            builder.event_format(journal::Journal::new()).into()
        }
        (LogFormat::Human, lines) => builder.with_ansi(lines == Lines::Coloured).into(),
        (LogFormat::Json, _) => builder.json().flatten_event(true).into(),
    })
}

fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(100).collect()
}

/// Counts by name, such as how often each refusal happened. Bounded and never reset, so that a
/// difference of two snapshots is a rate.
#[derive(Debug, Default)]
pub struct Counters {
    counts: Mutex<BTreeMap<Cow<'static, str>, u64>>,
}

impl Counters {
    /// None counted yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            counts: Mutex::new(BTreeMap::new()),
        }
    }

    /// Counts one. Names are the stable reasons of errors (`replayed`), literals in the code;
    /// one made from foreign text could only push others into [`OTHER`].
    pub fn count(&self, name: impl Into<Cow<'static, str>>) {
        self.add(name, 1);
    }

    /// Counts several at once.
    pub fn add(&self, name: impl Into<Cow<'static, str>>, by: u64) {
        let mut name = name.into();
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= MAX_COUNTER_NAMES && !counts.contains_key(&name) {
            name = Cow::Borrowed(OTHER);
        }
        let count = counts.entry(name).or_default();
        *count = count.saturating_add(by);
    }

    /// How often a name was counted.
    #[must_use]
    pub fn of(&self, name: &str) -> u64 {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(name).copied().unwrap_or_default()
    }

    /// Every name and its count, by name; at most [`MAX_COUNTER_NAMES`] and one.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<String, u64> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = counts.iter().map(|(n, c)| (n.clone().into_owned(), *c));
        entries.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(filter: &str, format: LogFormat) -> String {
        logged_as(filter, format, Lines::Plain)
    }

    fn logged_as(filter: &str, format: LogFormat, lines: Lines) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        let section = LogSection {
            filter: filter.to_owned(),
            format,
        };
        let make = BoxMakeWriter::new(move || writer.clone());
        let dispatch = subscriber(&section, lines, make).unwrap();
        tracing::dispatcher::with_default(&dispatch, || {
            tracing::info!(peer = "Qm", "a line\nwith \u{1b}[31m escapes");
            tracing::debug!("not this");
        });
        let bytes = captured.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_is_one_object_a_line() {
        let text = logged("info", LogFormat::Json);
        assert_eq!(text.lines().count(), 1, "{text}");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["peer"], "Qm");
        assert_eq!(value["level"], "INFO");
    }

    #[test]
    fn human_lines_have_no_colour_unless_asked_and_no_foreign_escapes() {
        let text = logged("info", LogFormat::Human);
        assert!(
            text.contains("a line") && !text.contains("not this"),
            "{text}"
        );
        assert!(!text.contains('\u{1b}'), "{text:?}");
        assert!(logged("debug", LogFormat::Human).contains("not this"));
    }

    #[test]
    fn the_journal_gets_priorities_and_no_second_timestamp() {
        let text = logged_as("debug", LogFormat::Human, Lines::Journal);
        let mut lines = text.lines();
        let info = lines.next().unwrap();
        assert!(
            info.starts_with("<6> INFO") || info.starts_with("<6>INFO"),
            "{info}"
        );
        assert!(text.contains("\n<7>"), "{text}");
        assert!(!text.contains("T0") && !text.contains("20"), "{text}");
        // A stream named by the environment that is not our stderr is somebody else's.
        assert!(!journal::is_stderr(&|_| Some("1:1".into())));
    }

    #[test]
    fn a_wrong_filter_is_named() {
        let section = LogSection {
            filter: "info,=,=".to_owned(),
            format: LogFormat::Human,
        };
        let make = BoxMakeWriter::new(std::io::sink);
        let error = subscriber(&section, Lines::Plain, make).unwrap_err();
        assert!(matches!(error, TelemetryError::Filter { .. }), "{error}");
        assert!(error.hint().is_some());
    }

    #[test]
    fn counters_add_up_and_are_bounded() {
        let counters = Counters::new();
        counters.count("replayed");
        counters.add("replayed", 2);
        counters.add("huge", u64::MAX);
        counters.count("huge");
        assert_eq!(counters.of("replayed"), 3);
        assert_eq!(counters.of("huge"), u64::MAX);
        for n in 0..2 * MAX_COUNTER_NAMES {
            counters.count(format!("n{n}"));
        }
        let snapshot = counters.snapshot();
        assert_eq!(snapshot.len(), MAX_COUNTER_NAMES + 1);
        assert_eq!(counters.of("replayed"), 3);
        let expected = u64::try_from(MAX_COUNTER_NAMES + 2).unwrap();
        assert_eq!(counters.of(OTHER), expected);
    }
}
