//! Lines from a pipe, with a bound that holds while they are read: an endless line costs its
//! bound in memory and no more.

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// What came from the pipe.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// One line, without its end.
    Whole(Vec<u8>),
    /// The line passed the bound just now; the rest of it is skipped.
    TooLong,
    /// The rest passed the second bound too, and still no end.
    Endless,
    /// The pipe was closed, or broke.
    End,
}

/// Reads lines of at most `max` bytes and skips longer ones up to `max_skipped` bytes.
pub(super) struct Lines<R> {
    reader: R,
    max: usize,
    max_skipped: usize,
    line: Vec<u8>,
    /// Bytes of an overlong line that were skipped so far.
    skipping: Option<usize>,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    pub(super) const fn new(reader: R, max: usize, max_skipped: usize) -> Self {
        Self {
            reader,
            max,
            max_skipped,
            line: Vec::new(),
            skipping: None,
        }
    }

    /// The next line. Cancel safe: what was read stays for the next call.
    pub(super) async fn next(&mut self) -> Line {
        loop {
            let Ok(chunk) = self.reader.fill_buf().await else {
                return Line::End;
            };
            if chunk.is_empty() {
                return self.last();
            }
            let end = chunk.iter().position(|&b| b == b'\n');
            let part = chunk.get(..end.unwrap_or(chunk.len())).unwrap_or(chunk);
            let used = part.len().saturating_add(usize::from(end.is_some()));
            let outcome = match &mut self.skipping {
                Some(skipped) => {
                    *skipped = skipped.saturating_add(part.len());
                    let endless = *skipped > self.max_skipped;
                    if end.is_some() {
                        self.skipping = None;
                    }
                    endless.then_some(Line::Endless)
                }
                None if self.line.len().saturating_add(part.len()) > self.max => {
                    self.line = Vec::new();
                    self.skipping = end.is_none().then_some(part.len());
                    Some(Line::TooLong)
                }
                None => {
                    self.line.extend_from_slice(part);
                    end.map(|_| Line::Whole(core::mem::take(&mut self.line)))
                }
            };
            self.reader.consume(used);
            if let Some(line) = outcome {
                return line;
            }
        }
    }

    /// A last line without an end counts once.
    fn last(&mut self) -> Line {
        self.skipping = None;
        match core::mem::take(&mut self.line) {
            line if line.is_empty() => Line::End,
            line => Line::Whole(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::BufReader;

    async fn all(input: &[u8], max: usize, max_skipped: usize) -> Vec<Line> {
        // A buffer of three bytes, so that lines span many reads.
        let mut lines = Lines::new(BufReader::with_capacity(3, input), max, max_skipped);
        let mut out = Vec::new();
        loop {
            match lines.next().await {
                Line::End => return out,
                Line::Endless => {
                    out.push(Line::Endless);
                    return out;
                }
                line => out.push(line),
            }
        }
    }

    fn whole(text: &str) -> Line {
        Line::Whole(text.as_bytes().to_vec())
    }

    #[tokio::test]
    async fn lines_come_whole_and_the_last_needs_no_end() {
        assert_eq!(
            all(b"a\n\nlonger line\nend", 64, 64).await,
            [whole("a"), whole(""), whole("longer line"), whole("end")]
        );
        assert_eq!(all(b"", 64, 64).await, []);
    }

    #[tokio::test]
    async fn the_bound_is_exact_and_the_line_after_is_read() {
        assert_eq!(
            all(b"12345678\n123456789\nnext\n", 8, 64).await,
            [whole("12345678"), Line::TooLong, whole("next")]
        );
    }

    #[tokio::test]
    async fn a_line_without_end_is_named_after_the_second_bound() {
        let endless = [b'x'; 1000];
        assert_eq!(all(&endless, 8, 64).await, [Line::TooLong, Line::Endless]);
    }
}
