//! What a caller in this node is told of a stream that did not go on.

use crate::call::conversation::Broken;
use crate::session::{EFFECT_UNKNOWN, ErrorKind, ServerRef, SessionError};

pub(super) fn broken(broken: Broken) -> SessionError {
    match broken {
        Broken::Stopped(stopped) => stopped.into_error(),
        Broken::Unreachable(error) => error,
        Broken::Stream(e) => SessionError::new(ErrorKind::BrokenStream, e.reason(), e.to_string())
            .with_hint(EFFECT_UNKNOWN),
        Broken::Transport(text) => {
            let message = format!("the stream to the node failed: {text}");
            SessionError::new(ErrorKind::BrokenStream, "stream_failed", message)
                .with_hint(EFFECT_UNKNOWN)
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
