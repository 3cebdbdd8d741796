//! The protocol versions the gateway speaks with clients.

use crate::gateway::refusal::Refusal;

/// Supported versions, newest first. 2024-11-05 has no streamable HTTP of its own, but a client
/// that negotiated it with an old server through this gateway sends it in the header.
pub const SUPPORTED: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/// JSON-RPC code of an unsupported protocol version (MCP 2026-07-28).
pub const UNSUPPORTED_CODE: i64 = -32022;

/// The first version that opens with [`DISCOVER`]; not supported yet.
pub(crate) const NEXT: &str = "2026-07-28";

/// The method that only clients of 2026-07-28 and later open with.
pub(crate) const DISCOVER: &str = "server/discover";

/// The version after which an event stream may open with an empty event that carries only an id.
const PRIMED_SINCE: &str = "2025-11-25";

/// Longest version text repeated in an error.
const SHOWN: usize = 32;

/// Checks a version a client names.
///
/// # Errors
/// [`Refusal::Version`].
pub(crate) fn check(version: &str) -> Result<(), Refusal> {
    if SUPPORTED.contains(&version) {
        Ok(())
    } else {
        let shown = version.chars().filter(|c| !c.is_control()).take(SHOWN);
        Err(Refusal::Version(shown.collect()))
    }
}

/// The version to answer `initialize` with: the client's own if supported, else our newest.
pub(crate) fn negotiate(requested: Option<&str>) -> &'static str {
    SUPPORTED
        .into_iter()
        .find(|v| Some(*v) == requested)
        .unwrap_or(PRIMED_SINCE)
}

/// Whether a client of this version understands an event without data (SSE priming).
pub(crate) fn takes_primer(version: Option<&str>) -> bool {
    version == Some(PRIMED_SINCE)
}
