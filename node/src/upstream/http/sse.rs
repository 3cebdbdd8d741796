//! The event stream format (WHATWG HTML §9.2) as MCP uses it, read piece by piece with a bound
//! on what one event may hold.

use core::time::Duration;

use crate::upstream::limits::{MAX_TOKEN_BYTES, RESUME_DELAY_MAX};

/// One event, after its blank line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    /// Its data; none for another type than `message`, or without data.
    pub(super) data: Option<Vec<u8>>,
    /// Its id, from which the stream can be resumed.
    pub(super) id: Option<String>,
    /// How long to wait before resuming.
    pub(super) retry: Option<Duration>,
}

/// An event holds more than the bound.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

/// Bytes in, events out.
pub(super) struct Parser {
    max: usize,
    line: Vec<u8>,
    /// The last byte was CR: an LF right after it belongs to it.
    after_cr: bool,
    first_line: bool,
    data: Vec<u8>,
    has_data: bool,
    foreign: bool,
    event: Event,
}

impl Parser {
    /// Refuses events and lines of more than `max` bytes.
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            line: Vec::new(),
            after_cr: false,
            first_line: true,
            data: Vec::new(),
            has_data: false,
            foreign: false,
            event: Event::default(),
        }
    }

    /// Takes a piece of the stream and appends the events it completes.
    pub(super) fn push(&mut self, piece: &[u8], out: &mut Vec<Event>) -> Result<(), TooLarge> {
        let mut rest = piece;
        if self.after_cr && !rest.is_empty() {
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
            self.after_cr = false;
        }
        while let Some(end) = rest.iter().position(|b| matches!(b, b'\n' | b'\r')) {
            let (part, tail) = rest.split_at(end);
            self.extend_line(part)?;
            let cr = tail.first() == Some(&b'\r');
            rest = tail.get(1..).unwrap_or_default();
            if cr {
                self.after_cr = rest.is_empty();
                rest = rest.strip_prefix(b"\n").unwrap_or(rest);
            }
            let line = core::mem::take(&mut self.line);
            self.take_line(&line, out)?;
        }
        self.extend_line(rest)
    }

    fn extend_line(&mut self, part: &[u8]) -> Result<(), TooLarge> {
        // A field name and its colon stand before the data.
        let room = self.max.saturating_add(16);
        if self.line.len().saturating_add(part.len()) > room {
            return Err(TooLarge);
        }
        self.line.extend_from_slice(part);
        Ok(())
    }

    fn take_line(&mut self, line: &[u8], out: &mut Vec<Event>) -> Result<(), TooLarge> {
        let line = if core::mem::take(&mut self.first_line) {
            line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line)
        } else {
            line
        };
        if line.is_empty() {
            self.complete(out);
            return Ok(());
        }
        let colon = line.iter().position(|&b| b == b':');
        let (field, value) = line.split_at(colon.unwrap_or(line.len()));
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                if self.data.len().saturating_add(value.len()) >= self.max {
                    return Err(TooLarge);
                }
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.has_data = true;
                self.data.extend_from_slice(value);
            }
            b"event" => self.foreign = !value.is_empty() && value != b"message",
            b"id" => self.event.id = token(value),
            b"retry" => self.event.retry = delay(value).or(self.event.retry),
            // Comments and fields nobody knows.
            _ => {}
        }
        Ok(())
    }

    fn complete(&mut self, out: &mut Vec<Event>) {
        let mut event = core::mem::take(&mut self.event);
        let data = core::mem::take(&mut self.data);
        let foreign = core::mem::take(&mut self.foreign);
        self.has_data = false;
        event.data = (!foreign && !data.is_empty()).then_some(data);
        if event != Event::default() {
            out.push(event);
        }
    }
}

/// An id that can be sent back in a header; others cannot be resumed from.
fn token(value: &[u8]) -> Option<String> {
    let text = core::str::from_utf8(value).ok()?;
    let fits = !text.is_empty() && text.len() <= MAX_TOKEN_BYTES;
    let sendable = text.bytes().all(|b| (0x20..0x7f).contains(&b));
    (fits && sendable).then(|| text.to_owned())
}

fn delay(value: &[u8]) -> Option<Duration> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let text = core::str::from_utf8(value).ok().filter(|_| digits)?;
    let millis = text.parse::<u64>().unwrap_or(u64::MAX);
    Some(Duration::from_millis(millis).min(RESUME_DELAY_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(stream: &[u8], piece: usize) -> Result<Vec<Event>, TooLarge> {
        let mut parser = Parser::new(64);
        let mut out = Vec::new();
        for piece in stream.chunks(piece) {
            parser.push(piece, &mut out)?;
        }
        Ok(out)
    }

    fn data(text: &str) -> Event {
        Event {
            data: Some(text.as_bytes().to_vec()),
            ..Event::default()
        }
    }

    #[test]
    fn events_are_the_same_however_the_stream_is_cut() {
        let stream = "\u{feff}: hello\r\nevent: message\r\ndata: {\"a\":\r\ndata:1}\r\n\r\nid: 7\rretry: 250\rdata\r\rdata: x\n\nevent: ping\ndata: y\n\ndata: unfinished";
        let expected = vec![
            data("{\"a\":\n1}"),
            Event {
                data: None,
                id: Some("7".into()),
                retry: Some(Duration::from_millis(250)),
            },
            data("x"),
        ];
        for piece in 1..stream.len() {
            assert_eq!(
                parse(stream.as_bytes(), piece).as_ref(),
                Ok(&expected),
                "{piece}"
            );
        }
    }

    #[test]
    fn an_event_over_the_bound_is_refused_in_one_line_or_many() {
        let one = format!("data: {}\n\n", "x".repeat(100));
        assert_eq!(parse(one.as_bytes(), 7), Err(TooLarge));
        let many = "data: xxxxxxxx\n".repeat(20);
        assert_eq!(parse(many.as_bytes(), 7), Err(TooLarge));
        assert_eq!(parse(&[b'x'; 200], 7), Err(TooLarge));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_depend_on_how_they_are_cut(
            stream in "(data|id|event|retry|:|: | |[a-c]|[0-9]|\n|\r|\r\n|\u{feff}){0,60}",
            piece in 1_usize..9,
        ) {
            let whole = parse(stream.as_bytes(), stream.len().max(1));
            proptest::prop_assert_eq!(parse(stream.as_bytes(), piece), whole);
        }
    }

    #[test]
    fn ids_that_cannot_be_sent_back_do_not_count() {
        for bad in ["id: a\0b\n\n".to_owned(), format!("id: {}\n\n", "ä")] {
            assert_eq!(parse(bad.as_bytes(), 3), Ok(vec![]), "{bad:?}");
        }
    }
}
