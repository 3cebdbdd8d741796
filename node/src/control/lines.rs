//! Answers of lines: one JSON value each, while the answer still grows.

use axum::body::Bytes;
use serde::Serialize;

/// One event as one line. Raw JSON from a server may hold line breaks between its tokens; inside
/// strings JSON allows none, so each becomes a space.
pub(super) fn event_line(event: &impl Serialize) -> Result<Bytes, serde_json::Error> {
    let mut line = serde_json::to_vec(event)?;
    for byte in &mut line {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    line.push(b'\n');
    Ok(line.into())
}
