//! What a caller in this node is told of a stream that did not go on.

use crate::call::conversation::Broken;
use crate::session::{ErrorKind, ServerRef, SessionError};

/// What is said where nobody can know whether the server acted. Not even of a call that was said to
/// wait for approval: it may have gone on since. But an approval lets a call pass once, so whoever
/// makes that call again does not have it run twice.
const UNKNOWN: &str = "whether the call took effect is not known; check before calling again. One that \
    waited for approval can simply be made again: it waits on, or passes if it was approved meanwhile; \
    an approval that was used lets nothing pass twice";

pub(super) fn broken(broken: Broken) -> SessionError {
    match broken {
        Broken::Stopped(stopped) => stopped.into_error(),
        Broken::Unreachable(error) => error,
        Broken::Stream(e) => {
            SessionError::new(ErrorKind::BrokenStream, e.reason(), e.to_string()).with_hint(UNKNOWN)
        }
        Broken::Transport(text) => {
            let message = format!("the stream to the node failed: {text}");
            SessionError::new(ErrorKind::BrokenStream, "stream_failed", message).with_hint(UNKNOWN)
        }
    }
}

/// With the server it concerns, unless it says where already.
pub(super) fn place(error: SessionError, server: &ServerRef) -> SessionError {
    if error.node.is_some() {
        return error;
    }
    error.at(server.node.to_string(), server.server.to_string())
}
