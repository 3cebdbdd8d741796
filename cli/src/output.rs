//! What goes to stdout: data, for people or as JSON.
//!
//! Whatever [`Text`] is given is made inert before it is kept, so no command can forget it.

use std::io::{self, IsTerminal, Write};

use protocol::time::UnixSeconds;
use serde::Serialize;

use crate::exit::Failed;
use crate::inert::{inert, inert_json};

/// The form of a command's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Text for people; may change between versions.
    Human,
    /// JSON; field names are stable.
    Json,
}

/// Where and how to print.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// The form asked for.
    pub(crate) format: Format,
    color: bool,
}

impl Output {
    /// Colour only on a terminal, and never against `NO_COLOR`.
    pub(crate) fn new(format: Format) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            format,
            color: !refused && !dumb && io::stdout().is_terminal(),
        }
    }

    /// An empty text in this output's style.
    pub(crate) fn text(self) -> Text {
        Text {
            out: String::new(),
            color: self.color,
        }
    }

    /// Prints `value` as JSON, or what `human` makes of it.
    pub(crate) fn data<T: Serialize + ?Sized>(
        self,
        value: &T,
        human: impl FnOnce(&mut Text),
    ) -> Result<(), Failed> {
        match self.format {
            Format::Json => self.json(value),
            Format::Human => {
                let mut text = self.text();
                human(&mut text);
                print(&text.out)
            }
        }
    }

    /// Prints `value` as indented JSON.
    fn json<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Failed> {
        let json = serde_json::to_string_pretty(value).map_err(unserialisable)?;
        print(&format!("{}\n", inert_json(&json)))
    }

    /// Prints `value` as one line of JSON, for what is read while the command still runs.
    pub(crate) fn json_line<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Failed> {
        let json = serde_json::to_string(value).map_err(unserialisable)?;
        print(&format!("{}\n", inert_json(&json)))
    }

    /// Prints text now, if the format is for people.
    pub(crate) fn show(self, human: impl FnOnce(&mut Text)) -> Result<(), Failed> {
        if self.format == Format::Json {
            return Ok(());
        }
        let mut text = self.text();
        human(&mut text);
        print(&text.out)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape `map_err` wants")]
fn unserialisable(error: serde_json::Error) -> Failed {
    Failed::new(
        crate::exit::Exit::Failure,
        format!("the answer cannot be printed as JSON: {error}"),
    )
}

/// Prints exactly these bytes.
pub(crate) fn print(text: &str) -> Result<(), Failed> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| Failed::io("cannot write to stdout", &error))
}

/// Text being laid out for people.
#[derive(Debug)]
pub(crate) struct Text {
    out: String,
    color: bool,
}

/// Widest cell of a table, in characters: somebody else's name must not push the rest out of sight.
/// An id, a digest and any name within its own bound fit. JSON and what shows one thing have it whole.
pub(crate) const MAX_CELL: usize = 72;

/// Widest cell of a table's last column, in characters.
pub(crate) const MAX_LAST_CELL: usize = 160;

const BOLD: &str = "1";
const GREEN: &str = "32";
const RED: &str = "31";
const YELLOW: &str = "33";

impl Text {
    /// An empty text without colours.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self {
            out: String::new(),
            color: false,
        }
    }

    /// What was laid out so far.
    #[cfg(test)]
    pub(crate) fn shown(&self) -> &str {
        &self.out
    }

    /// One line, made inert.
    pub(crate) fn line(&mut self, line: impl AsRef<str>) {
        self.out.push_str(&inert(line.as_ref()));
        self.out.push('\n');
    }

    /// A heading, after an empty line unless it comes first.
    pub(crate) fn heading(&mut self, line: impl AsRef<str>) {
        let apart = self.out.is_empty() || self.out == "\n" || self.out.ends_with("\n\n");
        if !apart {
            self.out.push('\n');
        }
        self.painted(BOLD, line.as_ref());
        self.out.push('\n');
    }

    /// A labelled value in a column.
    pub(crate) fn field(&mut self, label: &str, value: impl AsRef<str>) {
        self.line(format!("  {label:<12} {}", value.as_ref()));
    }

    /// A line with a mark: something that held, or did not.
    pub(crate) fn check(&mut self, holds: bool, line: impl AsRef<str>) {
        self.out.push_str("  ");
        self.painted(
            if holds { GREEN } else { RED },
            if holds { "✓" } else { "✗" },
        );
        self.out.push(' ');
        self.line(line);
    }

    /// A line with the mark of a warning.
    pub(crate) fn warning(&mut self, line: impl AsRef<str>) {
        self.out.push_str("  ");
        self.painted(YELLOW, "!");
        self.out.push(' ');
        self.line(line);
    }

    /// An indented block, its own line breaks kept.
    pub(crate) fn block(&mut self, text: &str) {
        for line in text.lines() {
            self.line(format!("    {line}"));
        }
    }

    /// A table with as much room per column as its widest cell, of which at most [`MAX_CELL`]
    /// characters are shown. The last column widens no other and has [`MAX_LAST_CELL`].
    pub(crate) fn table(&mut self, headers: &[&str], rows: &[Vec<String>]) {
        let shown = |row: &Vec<String>| -> Vec<String> {
            let bound = |column: usize| match column + 1 < headers.len() {
                true => MAX_CELL,
                false => MAX_LAST_CELL,
            };
            let cells = row.iter().enumerate();
            cells
                .map(|(column, cell)| cut(&inert(cell), bound(column)))
                .collect()
        };
        let rows: Vec<Vec<String>> = rows.iter().map(shown).collect();
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            let widest = cells.map(|cell| cell.chars().count()).max();
            let header = headers.get(column).map_or(0, |h| h.chars().count());
            widest.unwrap_or_default().max(header)
        };
        let widths: Vec<usize> = (0..headers.len()).map(width).collect();
        let lay = |cells: &mut dyn Iterator<Item = &str>| {
            let padded: Vec<String> = cells
                .zip(&widths)
                .map(|(cell, &width)| format!("{cell:<width$}"))
                .collect();
            padded.join("  ").trim_end().to_owned()
        };
        let header = lay(&mut headers.iter().copied());
        self.painted(BOLD, &header);
        self.out.push('\n');
        for row in &rows {
            let line = lay(&mut row.iter().map(String::as_str));
            self.out.push_str(&line);
            self.out.push('\n');
        }
    }

    fn painted(&mut self, style: &str, text: &str) {
        let text = inert(text);
        if self.color {
            self.out
                .push_str(&format!("\u{1b}[{style}m{text}\u{1b}[0m"));
        } else {
            self.out.push_str(&text);
        }
    }
}

/// An instant as people read it: `2026-11-22 12:40:03Z`.
pub(crate) fn instant(seconds: u64) -> String {
    UnixSeconds(seconds).calendar()
}

/// The time of this host.
pub(crate) fn now() -> UnixSeconds {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    UnixSeconds(since.map_or(0, |d| d.as_secs()))
}

/// Seconds as people say them, in at most eight columns for ten thousand days.
pub(crate) fn lasting(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// How long before `now` something was; `now` for what is at most as old as a keep-alive.
pub(crate) fn ago(then: u64, now: u64) -> String {
    match now.saturating_sub(then) {
        0..5 => "now".to_owned(),
        seconds => lasting(seconds),
    }
}

/// A count with its noun: `1 node`, `2 nodes`.
pub(crate) fn counted<C>(count: C, one: &str, many: &str) -> String
where
    C: std::fmt::Display + PartialEq + From<u8>,
{
    let noun = if count == C::from(1) { one } else { many };
    format!("{count} {noun}")
}

/// `text` in at most `columns` characters.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    let kept: String = text.chars().take(columns.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// A value or a dash.
pub(crate) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Milliseconds to a tenth, or a dash.
pub(crate) fn millis(value: Option<f64>) -> String {
    or_dash(value.map(|ms| format!("{ms:.1} ms")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> Text {
        Text::plain()
    }

    #[test]
    fn tables_align_and_disarm() {
        let mut text = text();
        let rows = [
            vec!["a\u{1b}[2J".to_owned(), "1".to_owned()],
            vec!["b".to_owned(), "22".to_owned()],
        ];
        text.table(&["NAME", "N"], &rows);
        assert_eq!(text.out, "NAME        N\na\\u{1b}[2J  1\nb           22\n");
    }

    #[test]
    fn a_count_has_its_noun() {
        let nodes = |count: u64| counted(count, "node", "nodes");
        assert_eq!(
            [nodes(0), nodes(1), nodes(2)],
            ["0 nodes", "1 node", "2 nodes"]
        );
    }

    #[test]
    fn a_long_name_is_cut_in_tables() {
        let long = "\u{202e}".repeat(300);
        let mut text = text();
        let row = |name: &str| vec![name.to_owned(), name.to_owned()];
        text.table(&["NAME", "SAID"], &[row(&long), row("b")]);
        let widths: Vec<usize> = text.out.lines().map(|line| line.chars().count()).collect();
        assert_eq!(widths[0], MAX_CELL + 2 + "SAID".len());
        assert_eq!(widths[1], MAX_CELL + 2 + MAX_LAST_CELL);
        assert_eq!(widths[2], MAX_CELL + 2 + 1);
        assert_eq!(text.out.matches('…').count(), 2);
    }

    #[test]
    fn blocks_keep_lines_and_nothing_else() {
        let mut text = text();
        text.block("one\ntwo\u{7}");
        assert_eq!(text.out, "    one\n    two\\u{7}\n");
    }
}
