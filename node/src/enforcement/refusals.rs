//! Refusals made around `enforce`, and how many of them are written down.
//!
//! What no envelope bears out (a frame nobody can read, a session that is not there, a hello that
//! was refused) is a decision too and leaves a record. A peer can cause any number of them for
//! nothing, so each node (this one for its own agents and servers) has [`RECORDED_REFUSALS`] records in [`REFUSAL_WINDOW_MS`]; the rest are
//! counted, and one record says how many there were. All peers that are no members share one such
//! allowance: their keys cost nothing.
//!
//! Bounded in the same way are the refusals of `enforce` itself, which cost a peer no more. What
//! policy denies is not: whoever causes it has signed it. Only what servers tell of resources is, which
//! nobody asks for one by one.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use protocol::id::{NodeId, RequestId};
use protocol::name::{Name, PolicyName};
use protocol::policy::Verdict;
use protocol::record::{DecisionRecord, Point};
use protocol::time::UnixMillis;

use super::updates::is_of_update;
use super::{Enforcer, Stopped};

/// Refusals of one peer recorded one by one in a window. An honest peer with a wrong clock or an
/// old version is explained by far fewer; as many records are about 20 kB a minute.
pub const RECORDED_REFUSALS: u32 = 60;

/// Length of the window.
pub const REFUSAL_WINDOW_MS: u64 = 60_000;

/// The reason in a record that sums up.
pub const FURTHER_REFUSALS: &str = "further_refusals";

/// Peers with a window of their own; the others share that of strangers.
const MAX_PEERS: usize = crate::members::MAX_MEMBERS;

/// What was refused, as far as it is known.
#[derive(Debug, Clone)]
pub struct Occasion {
    /// Where this node stands.
    pub point: Point,
    /// From whom it came, or for whom it was.
    pub peer: NodeId,
    /// On whose behalf.
    pub agent: Option<Name>,
    /// With which server.
    pub server: Option<Name>,
    /// The call.
    pub request: Option<RequestId>,
}

impl Occasion {
    /// All that is known is the peer.
    #[must_use]
    pub const fn of_peer(point: Point, peer: NodeId) -> Self {
        Self {
            point,
            peer,
            agent: None,
            server: None,
            request: None,
        }
    }
}

/// A window in which refusals were left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LeftOut {
    /// The peer; `None` for all that are no members.
    pub(super) peer: Option<NodeId>,
    /// How many.
    pub(super) count: u64,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    since: UnixMillis,
    recorded: u32,
    left_out: u64,
}

/// What each peer has used of its allowance.
#[derive(Debug, Default)]
pub(super) struct Allowances(Mutex<HashMap<Option<NodeId>, Window>>);

impl Allowances {
    /// Whether one more refusal of `peer` (`None`: of no member) is recorded by itself, and what
    /// is to be summed up before it.
    pub(super) fn take(&self, peer: Option<NodeId>, now: UnixMillis) -> (bool, Option<LeftOut>) {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = windows.len() >= MAX_PEERS;
        let peer = peer.filter(|_| !full || windows.contains_key(&peer));
        let fresh = Window {
            since: now,
            recorded: 0,
            left_out: 0,
        };
        let window = windows.entry(peer).or_insert(fresh);
        let mut ended = None;
        if is_over(window, now) {
            ended = left_out(peer, window);
            *window = fresh;
        }
        let recorded = window.recorded < RECORDED_REFUSALS;
        if recorded {
            window.recorded += 1;
        } else {
            window.left_out = window.left_out.saturating_add(1);
        }
        (recorded, ended)
    }

    /// Forgets the windows that are over, or all of them, and returns what they left out.
    pub(super) fn settle(&self, now: UnixMillis, all: bool) -> Vec<LeftOut> {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ended = Vec::new();
        windows.retain(|peer, window| {
            let over = all || is_over(window, now);
            if over {
                ended.extend(left_out(*peer, window));
            }
            !over
        });
        ended
    }
}

/// A clock that was stepped back ends the window too: it must not hide refusals until it is back.
fn is_over(window: &Window, now: UnixMillis) -> bool {
    now < window.since || now.since(window.since) >= REFUSAL_WINDOW_MS
}

fn left_out(peer: Option<NodeId>, window: &Window) -> Option<LeftOut> {
    let count = window.left_out;
    (count > 0).then_some(LeftOut { peer, count })
}

impl Enforcer {
    /// Counts a refusal that was made around `enforce`, records it, and hands it on: of a frame no
    /// envelope was read from, of a session, of a bound of the stream itself. It is on disk when
    /// this returns, unless the peer has used up its records.
    pub async fn refused(&self, occasion: Occasion, stopped: Stopped) -> Stopped {
        self.refused_with(occasion, stopped, None).await
    }

    /// As [`Enforcer::refused`], of what breaks a document that wants an alert raised.
    pub async fn refused_with(
        &self,
        occasion: Occasion,
        stopped: Stopped,
        alert: Option<&PolicyName>,
    ) -> Stopped {
        self.counters.count(stopped.reason().to_owned());
        let mut record = self.blank_record(occasion.point, self.clock.now());
        record.issuer = occasion.peer;
        record.agent = occasion.agent;
        record.server = occasion.server;
        record.request = occasion.request;
        record.alerts = alert.map(|policy| vec![policy.to_string()]);
        self.record_refusal(record, occasion.peer, &stopped).await;
        stopped
    }

    /// As [`Enforcer::refused`], of a link or what came on it beside messages. The caller counts.
    pub async fn refused_on_link(&self, peer: NodeId, reason: &str) {
        let mut record = self.blank_record(Point::Link, self.clock.now());
        record.issuer = peer;
        let stopped = Stopped::refuse(reason, "");
        self.record_refusal(record, peer, &stopped).await;
    }

    /// Records how many refusals were left out, of every window that is over; of all windows when
    /// the node `ends`.
    pub async fn sum_up(&self, ends: bool) {
        let now = self.clock.now();
        for left_out in self.allowances.settle(now, ends) {
            self.record_left_out(left_out, now).await;
        }
    }

    /// Records a refusal durably, within what `peer` may cause. A store that does not take it
    /// cannot make the refusal milder: what was refused stays refused.
    pub(super) async fn record_refusal(
        &self,
        mut record: DecisionRecord,
        peer: NodeId,
        stopped: &Stopped,
    ) {
        record.verdict = stopped.verdict.name().to_owned();
        if let Some(denial) = stopped.verdict.denial() {
            record.reason = Some(denial.reason.clone());
            record.policy.clone_from(&denial.policy);
        }
        if !stopped.by_policy || is_of_update(&record) {
            let member = self.members.member(&peer).map(|_| peer);
            let (recorded, ended) = self.allowances.take(member, record.time);
            if let Some(left_out) = ended {
                self.record_left_out(left_out, record.time).await;
            }
            if !recorded {
                return;
            }
        }
        self.append(record).await;
    }

    async fn record_left_out(&self, left_out: LeftOut, now: UnixMillis) {
        let mut record = self.blank_record(Point::Link, now);
        record.issuer = left_out.peer.unwrap_or_else(|| self.identity.node());
        record.verdict = Verdict::DENY.to_owned();
        record.reason = Some(FURTHER_REFUSALS.to_owned());
        record.stands_for = Some(left_out.count);
        self.append(record).await;
    }

    async fn append(&self, record: DecisionRecord) {
        let reason = record.reason.clone().unwrap_or_default();
        if let Err(error) = self.ledger.record(record, true).await {
            tracing::error!(%error, reason, "a refusal could not be recorded");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Option<NodeId> = Some(NodeId::from_bytes([1; 32]));
    const B: Option<NodeId> = Some(NodeId::from_bytes([2; 32]));

    fn at(ms: u64) -> UnixMillis {
        UnixMillis(1_000_000 + ms)
    }

    fn recorded(allowances: &Allowances, peer: Option<NodeId>, ms: u64, times: u32) -> u32 {
        let taken = (0..times).filter(|_| allowances.take(peer, at(ms)).0);
        u32::try_from(taken.count()).unwrap()
    }

    #[test]
    fn a_flood_is_recorded_up_to_its_bound_and_summed_up() {
        let allowances = Allowances::default();
        assert_eq!(recorded(&allowances, A, 0, 500), RECORDED_REFUSALS);
        assert_eq!(recorded(&allowances, B, 0, 5), 5, "another's is its own");
        assert_eq!(recorded(&allowances, None, 0, 5), 5);
        assert!(
            allowances
                .settle(at(REFUSAL_WINDOW_MS - 1), false)
                .is_empty()
        );
        let count = u64::from(500 - RECORDED_REFUSALS);
        let (again, ended) = allowances.take(A, at(REFUSAL_WINDOW_MS));
        assert!(again, "a new window");
        assert_eq!(ended, Some(LeftOut { peer: A, count }));
        assert!(
            allowances
                .settle(at(2 * REFUSAL_WINDOW_MS), false)
                .is_empty()
        );
        assert!(allowances.0.lock().unwrap().is_empty(), "nothing is kept");
    }

    #[test]
    fn the_end_of_the_node_sums_up_what_is_open() {
        let allowances = Allowances::default();
        recorded(&allowances, None, 0, RECORDED_REFUSALS + 3);
        let left_out = LeftOut {
            peer: None,
            count: 3,
        };
        assert_eq!(allowances.settle(at(1), true), [left_out]);
    }

    #[test]
    fn a_clock_stepped_back_hides_nothing() {
        let allowances = Allowances::default();
        recorded(&allowances, A, 10_000, RECORDED_REFUSALS + 1);
        let (again, ended) = allowances.take(A, at(0));
        assert!(again);
        assert_eq!(ended.map(|e| e.count), Some(1));
    }

    #[test]
    fn more_peers_than_there_can_be_share() {
        let allowances = Allowances::default();
        for n in 0..MAX_PEERS as u64 {
            let mut id = [9; 32];
            id[..8].copy_from_slice(&n.to_be_bytes());
            allowances.take(Some(NodeId::from_bytes(id)), at(0));
        }
        assert_eq!(recorded(&allowances, A, 0, 40), 40);
        assert_eq!(recorded(&allowances, B, 0, 40), RECORDED_REFUSALS - 40);
        assert!(allowances.0.lock().unwrap().len() <= MAX_PEERS + 1);
    }
}
