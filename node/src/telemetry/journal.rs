//! Log lines for the systemd journal, which has its own clock and its own levels.
//!
//! When stderr *is* the journal's stream (`JOURNAL_STREAM`, systemd.exec(5)), a line carries no
//! timestamp, which would stand there twice, and no colour, and begins with its priority as
//! sd-daemon(3) has it (`<4>`), so that `journalctl -p warning` finds what it should.

use std::ffi::OsString;
use std::fmt;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{Format, FormatEvent, FormatFields, Full, Writer};
use tracing_subscriber::registry::LookupSpan;

/// The variable that names the journal's stream as `DEVICE:INODE`.
const JOURNAL_STREAM: &str = "JOURNAL_STREAM";

/// Whether standard error goes to the journal. `variable` reads the environment.
pub(super) fn is_stderr(variable: &dyn Fn(&str) -> Option<OsString>) -> bool {
    let Some(named) = variable(JOURNAL_STREAM).and_then(|v| v.into_string().ok()) else {
        return false;
    };
    let Ok(found) = rustix::fs::fstat(std::io::stderr()) else {
        return false;
    };
    // The variable is inherited by children whose stderr goes elsewhere: it must be this very file.
    named == format!("{}:{}", found.st_dev, found.st_ino)
}

/// The usual line behind a priority, without the time.
pub(super) struct Journal(Format<Full, ()>);

impl Journal {
    pub(super) fn new() -> Self {
        Self(Format::default().without_time().with_ansi(false))
    }
}

impl<S, N> FormatEvent<S, N> for Journal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        write!(writer, "<{}>", priority(*event.metadata().level()))?;
        self.0.format_event(context, writer, event)
    }
}

/// The syslog priority of a level (RFC 5424 §6.2.1).
const fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}
