//! How many streams of each peer are being served, so that a link need not be closed before those
//! that end have said why.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use protocol::id::NodeId;
use tokio::sync::Notify;

/// The streams being served.
#[derive(Debug, Default)]
pub(super) struct Serving {
    streams: Mutex<HashMap<NodeId, usize>>,
    ended: Notify,
}

/// A stream being served; counts until it is dropped.
#[derive(Debug)]
pub(super) struct Served<'a> {
    serving: &'a Serving,
    peer: NodeId,
}

impl Drop for Served<'_> {
    fn drop(&mut self) {
        let mut streams = self.serving.streams();
        if let Some(count) = streams.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                streams.remove(&self.peer);
                self.serving.ended.notify_waiters();
            }
        }
    }
}

impl Serving {
    pub(super) fn begin(&self, peer: NodeId) -> Served<'_> {
        *self.streams().entry(peer).or_default() += 1;
        Served {
            serving: self,
            peer,
        }
    }

    /// Resolves once no stream of this peer is served. Cancel safe.
    pub(super) async fn nothing_of(&self, peer: NodeId) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            // Registered before the look: what ends after it wakes this.
            ended.as_mut().enable();
            if !self.streams().contains_key(&peer) {
                return;
            }
            ended.await;
        }
    }

    fn streams(&self) -> std::sync::MutexGuard<'_, HashMap<NodeId, usize>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_is_told_when_the_last_stream_has_ended() {
        let serving = Serving::default();
        let (a, b) = (NodeId::from_bytes([1; 32]), NodeId::from_bytes([2; 32]));
        serving.nothing_of(a).await;
        let (first, second) = (serving.begin(a), serving.begin(a));
        let _other = serving.begin(b);
        let mut waits = Box::pin(serving.nothing_of(a));
        drop(first);
        assert!(futures::poll!(&mut waits).is_pending());
        drop(second);
        waits.await;
    }
}
