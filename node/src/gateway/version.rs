//! The protocol versions the gateway speaks with clients.
//!
//! The gateway negotiates for every server behind it: a client that asks for a version unknown here
//! has the newest asked for in its place, and a server that answers with one unknown here is not
//! passed on. So a session's version is always one that the gateway speaks.

use bytes::Bytes;

use crate::gateway::message;
use crate::gateway::refusal::Refusal;
use crate::session::{ErrorKind, SessionError};

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
        Err(Refusal::Version(shown(version)))
    }
}

fn shown(version: &str) -> String {
    let inert = version.chars().filter(|c| !c.is_control());
    inert.take(SHOWN).collect()
}

/// `initialize` as it is sent on: with a version that is spoken here, whatever the client asks for.
pub(crate) fn asked(initialize: Bytes) -> Bytes {
    let Some(requested) = message::asked_version(&initialize) else {
        // What is wrong with it the server says.
        return initialize;
    };
    let negotiated = negotiate(Some(&requested));
    if negotiated == requested {
        return initialize;
    }
    message::ask_version(&initialize, negotiated).unwrap_or(initialize)
}

/// Checks the version a server answers with; an answer that names none is the client's to judge.
///
/// # Errors
/// `server_version`, when it is none that is spoken here.
pub(crate) fn check_answer(answer: &[u8]) -> Result<(), SessionError> {
    match message::answered_version(answer) {
        Some(version) if check(&version).is_err() => {
            let message = format!(
                "the server answers with protocol version `{}`, which is not supported",
                shown(&version)
            );
            let hint = format!(
                "have the server speak one of {}, or update hedgerow on this node",
                SUPPORTED.join(", ")
            );
            Err(SessionError::new(ErrorKind::Upstream, "server_version", message).with_hint(hint))
        }
        _ => Ok(()),
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
