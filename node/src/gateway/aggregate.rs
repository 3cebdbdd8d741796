//! placeholder
use crate::gateway::{Limits, message::Head};
use crate::session::*;
use bytes::Bytes;
use std::sync::Arc;
struct Nothing;
#[async_trait::async_trait]
impl McpSession for Nothing {
    async fn request(&self, _message: Bytes) -> Result<McpCall, SessionError> {
        Err(SessionError::new(
            ErrorKind::Unreachable,
            "later",
            "not yet",
        ))
    }
    async fn send(&self, _message: Bytes) -> Result<(), SessionError> {
        Ok(())
    }
    async fn close(&self) {}
}
pub(crate) fn open(
    _fabric: Arc<dyn Fabric>,
    _principal: Principal,
    _head: &Head,
    _initialize: Bytes,
    _limits: Arc<Limits>,
) -> OpenSession {
    let (_tx, events) = tokio::sync::mpsc::channel(1);
    OpenSession {
        response: Bytes::new(),
        session: Arc::new(Nothing),
        events,
    }
}
