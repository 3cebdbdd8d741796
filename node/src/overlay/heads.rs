//! Document heads by gossip: a second way for what the sync streams push.
//!
//! What this node has just taken as in force it announces, and what comes is handed to the one
//! machine that judges pushes too. Passed on is only what this node would say itself, byte for
//! byte, and took only just now: forged is rejected at the first hop, anything else goes no
//! further. A forgery costs its deliverer score, not its link: gossip is an extra, and what is cut
//! for it would be the first carrier too.
//!
//! Nothing waits for this carrier, and it makes nothing wait: where it is slow or full, messages
//! are dropped.

use std::collections::HashMap;

use bytes::Bytes;
use protocol::codec::{self, CodecError};
use protocol::distribution::{MAX_PEERS, Message};
use protocol::id::NodeId;
use tokio::sync::broadcast;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::trust::{Gossiped, Trust};
use crate::telemetry::Counters;
use crate::transport::{Gossip, GossipError, GossipMessage, Verdict, limits::GOSSIP_BYTES};

/// The gossip topic of document heads.
pub const HEADS_TOPIC: &str = "hedgerow/1/heads";

/// Largest announcement. Beyond it a head, which only very many signatures make so large, goes by
/// the sync streams alone.
pub const MAX_ANNOUNCEMENT: usize = GOSSIP_BYTES;

/// Announcements one peer may deliver at once: as many as there are logs and timestampers at most,
/// after a partition has healed.
pub const HEADS_BURST: u32 = 256;

/// Announcements refilled per second and peer. Timestamps of 32 timestampers come every few
/// minutes; what admins sign is rarer still.
pub const HEADS_PER_S: u32 = 16;

/// What each peer may deliver.
#[derive(Debug, Default)]
pub struct HeadBudgets {
    table: HashMap<NodeId, Budget>,
}

#[derive(Debug, Clone, Copy)]
struct Budget {
    left: u32,
    at: Instant,
}

impl Budget {
    const fn full(now: Instant) -> Self {
        let left = HEADS_BURST;
        Self { left, at: now }
    }

    fn refill(&mut self, now: Instant) {
        let gained = now.saturating_duration_since(self.at).as_millis() * u128::from(HEADS_PER_S);
        let gained = u32::try_from(gained / 1000).unwrap_or(u32::MAX);
        if gained > 0 {
            self.left = self.left.saturating_add(gained).min(HEADS_BURST);
            self.at = now;
        }
    }
}

impl HeadBudgets {
    /// Whether `peer` may deliver one more. As many peers are remembered as there may be links;
    /// those who have been silent are forgotten first, and beyond that nobody else is heard.
    fn take(&mut self, peer: NodeId, now: Instant) -> bool {
        if self.table.len() >= MAX_PEERS && !self.table.contains_key(&peer) {
            self.table.retain(|_, budget| {
                budget.refill(now);
                budget.left < HEADS_BURST
            });
            if self.table.len() >= MAX_PEERS {
                return false;
            }
        }
        let budget = self.table.entry(peer).or_insert(Budget::full(now));
        budget.refill(now);
        let may = budget.left > 0;
        budget.left = budget.left.saturating_sub(1);
        may
    }
}

/// Hands an announcement to the task that owns the documents, which says the verdict; or says it
/// here, where it is no announcement or one too many.
pub fn hear(budgets: &mut HeadBudgets, trust: &Trust, counters: &Counters, heard: GossipMessage) {
    let GossipMessage {
        data,
        from,
        verdict,
        ..
    } = heard;
    if !budgets.take(from, Instant::now()) {
        counters.count("gossip_over_rate");
        return verdict.say(Verdict::Ignore);
    }
    match read(&data) {
        Ok(message) => {
            let heard = Gossiped { data, verdict };
            if !trust.heard_by_gossip(from, message, heard) {
                counters.count("gossip_not_judged");
            }
        }
        Err(error) => {
            counters.count("gossip_rejected");
            tracing::debug!(peer = %from.short(), error, "rejected a gossiped head");
            verdict.say(Verdict::Reject);
        }
    }
}

/// The message in it: a pushed head, and no other kind.
fn read(data: &Bytes) -> Result<Message, String> {
    if data.len() > MAX_ANNOUNCEMENT {
        let (max, found) = (MAX_ANNOUNCEMENT, data.len());
        return Err(CodecError::Oversized { max, found }.to_string());
    }
    codec::scan(data, MAX_ANNOUNCEMENT).map_err(|error| error.to_string())?;
    match Message::decode(data).map_err(|error| error.to_string())? {
        message @ Message::Head(_) => Ok(message),
        _ => Err("no document's head".to_owned()),
    }
}

/// Publishes what the task that owns the documents announces, until `stop`.
pub async fn announce(
    gossip: Gossip,
    mut announcements: broadcast::Receiver<Bytes>,
    stop: CancellationToken,
) {
    loop {
        let announced = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            announced = announcements.recv() => announced,
        };
        let head = match announced {
            Ok(head) => head,
            // Peers hear of what was missed by the sync streams.
            Err(broadcast::error::RecvError::Lagged(_)) => continue,
            Err(broadcast::error::RecvError::Closed) => {
                stop.cancelled().await;
                return;
            }
        };
        match gossip.publish(HEADS_TOPIC, head).await {
            // What came by gossip goes on by gossip; without listeners there is nobody to tell.
            Ok(()) | Err(GossipError::NobodyListens | GossipError::Duplicate) => {}
            Err(error) => tracing::debug!(%error, "a document's head was not gossiped"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use protocol::distribution::message::{Head, Want};

    use super::*;

    fn peer(number: usize) -> NodeId {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        NodeId::from_bytes(bytes)
    }

    #[test]
    fn a_peer_delivers_a_burst_and_then_at_its_rate() {
        let (mut budgets, start) = (HeadBudgets::default(), Instant::now());
        for _ in 0..HEADS_BURST {
            assert!(budgets.take(peer(0), start));
        }
        assert!(!budgets.take(peer(0), start));
        // Nobody else pays for it.
        assert!(budgets.take(peer(1), start));
        let later = start + Duration::from_secs(2);
        let granted = (0..HEADS_BURST).filter(|_| budgets.take(peer(0), later));
        assert_eq!(granted.count(), 2 * HEADS_PER_S as usize);
    }

    #[test]
    fn as_many_peers_are_remembered_as_there_are_links() {
        let (mut budgets, start) = (HeadBudgets::default(), Instant::now());
        for number in 0..MAX_PEERS {
            assert!(budgets.take(peer(number), start));
        }
        assert!(!budgets.take(peer(MAX_PEERS), start));
        assert!(budgets.take(peer(0), start));
        // Once the others have been silent for a while, they are forgotten.
        let later = start + Duration::from_secs(1);
        assert!(budgets.take(peer(MAX_PEERS), later));
        assert!(budgets.table.len() <= 2);
    }

    #[test]
    fn only_heads_are_read() {
        let head = Message::Head(Head::Root(b"root".as_slice().into()));
        assert_eq!(read(&head.encode().into()), Ok(head.clone()));
        let want = Message::Fetch(Want::Roots { from: 1 });
        read(&want.encode().into()).unwrap_err();
        read(&Bytes::new()).unwrap_err();
        let mut longer = head.encode();
        longer.push(0);
        read(&longer.into()).unwrap_err();
        let large = Message::Head(Head::Root(vec![0; MAX_ANNOUNCEMENT].into()));
        read(&large.encode().into()).unwrap_err();
    }
}
