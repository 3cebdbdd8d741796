//! What was decided a moment ago, and what of it an operator should look at.
//!
//! The ledger tells every record as it is written, in the writer's own thread: nothing here waits
//! for a reader, and without a reader nothing is copied. A reader that is too slow misses records
//! and learns that it did.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use protocol::id::NodeId;
use protocol::name::Name;
use protocol::record::DecisionRecord;
use protocol::time::UnixMillis;
use tokio::sync::broadcast;

use super::limits::{MAX_ALERTS, RING};

/// The reason shown for what passed and a policy asks an alert for.
const ALERTED: &str = "alert";

/// How much an alert asks for attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// A policy asked for an alert and let it pass.
    Notice,
    /// Something was refused.
    Warning,
    /// Somebody was cut off.
    Severe,
}

/// Something an operator should look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// When it last happened.
    pub time: UnixMillis,
    /// How bad it is.
    pub severity: Severity,
    /// The stable name of the reason.
    pub reason: String,
    /// The policy that was violated, where it was one.
    pub policy: Option<String>,
    /// The node it came from.
    pub node: Option<NodeId>,
    /// The agent on it.
    pub agent: Option<Name>,
    /// The server addressed.
    pub server: Option<Name>,
    /// The tool, prompt or resource.
    pub target: Option<String>,
    /// The newest decision record about it.
    pub decision: Option<u64>,
    /// How often it happened.
    pub times: u64,
}

impl Alert {
    /// The alert that a record is, if it is one: whatever was severed, what was refused by a check
    /// rather than by policy, and what a policy asks an alert for, also where it lets the message
    /// pass.
    fn of(record: &DecisionRecord) -> Option<Self> {
        let asked_by = record.alerts.as_ref().and_then(|alerts| alerts.first());
        let severity = match record.verdict.as_str() {
            "sever" => Severity::Severe,
            "deny" if record.policy.is_none() => Severity::Warning,
            "deny" if asked_by.is_some() => Severity::Warning,
            _ if asked_by.is_some() => Severity::Notice,
            _ => return None,
        };
        Some(Self {
            time: record.time,
            severity,
            reason: record.reason.clone().unwrap_or_else(|| ALERTED.to_owned()),
            policy: record.policy.clone().or_else(|| asked_by.cloned()),
            node: Some(record.issuer),
            agent: record.agent.clone(),
            server: record.server.clone(),
            target: record.target.clone(),
            decision: Some(record.sequence),
            times: record.stands_for.unwrap_or(1),
        })
    }

    /// Whether both tell of the same, another time.
    fn is_again(&self, other: &Self) -> bool {
        fn about(a: &Alert) -> impl PartialEq {
            let who = (a.node, &a.agent, &a.server, &a.target);
            (a.severity, &a.reason, &a.policy, who)
        }
        about(self) == about(other)
    }
}

/// The newest decisions, as they are taken, and the newest alerts.
pub struct Tail {
    ring: broadcast::Sender<Arc<DecisionRecord>>,
    /// The newest first.
    alerts: Mutex<VecDeque<Alert>>,
}

impl Default for Tail {
    fn default() -> Self {
        Self {
            ring: broadcast::Sender::new(RING),
            alerts: Mutex::default(),
        }
    }
}

impl Tail {
    /// Tells that a record was written. Never blocks on a reader.
    pub fn saw(&self, record: &DecisionRecord) {
        if let Some(alert) = Alert::of(record) {
            self.raise(alert);
        }
        if self.ring.receiver_count() > 0 {
            // The last reader may just have gone.
            drop(self.ring.send(Arc::new(record.clone())));
        }
    }

    /// Adds an alert; one that is there already happened again.
    pub fn raise(&self, mut alert: Alert) {
        let mut alerts = self.alerts.lock().unwrap_or_else(PoisonError::into_inner);
        let again = alerts.iter().position(|known| known.is_again(&alert));
        if let Some(known) = again.and_then(|at| alerts.remove(at)) {
            alert.times = alert.times.saturating_add(known.times);
        }
        alerts.push_front(alert);
        alerts.truncate(MAX_ALERTS);
    }

    /// The alerts, the newest first.
    #[must_use]
    pub fn alerts(&self) -> Vec<Alert> {
        let alerts = self.alerts.lock().unwrap_or_else(PoisonError::into_inner);
        alerts.iter().cloned().collect()
    }

    /// Every record from now on.
    pub(super) fn follow(&self) -> broadcast::Receiver<Arc<DecisionRecord>> {
        self.ring.subscribe()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use protocol::record::{GENESIS, Point};

    use super::*;

    pub(in crate::page) fn record(sequence: u64, verdict: &str) -> DecisionRecord {
        DecisionRecord {
            sequence,
            previous: GENESIS,
            time: UnixMillis(1_795_351_203_000 + sequence),
            node: NodeId::from_bytes([1; 32]),
            point: Point::Ingress,
            envelope: None,
            request: None,
            issuer: NodeId::from_bytes([2; 32]),
            agent: Some("claude".parse().unwrap()),
            audience: None,
            server: Some("shop".parse().unwrap()),
            kind: None,
            direction: None,
            method: Some("tools/call".to_owned()),
            target: Some("update_price".to_owned()),
            verdict: verdict.to_owned(),
            reason: (verdict != "allow").then(|| "replayed".to_owned()),
            policy: None,
            bundle_version: 3,
            body_digest: None,
            stands_for: None,
            alerts: None,
            observed: None,
            approval: None,
            basis: None,
        }
    }

    #[test]
    fn what_happens_again_is_one_alert_with_a_count() {
        let tail = Tail::default();
        tail.saw(&record(1, "deny"));
        tail.saw(&record(2, "sever"));
        let mut many = record(3, "deny");
        many.stands_for = Some(40);
        tail.saw(&many);
        tail.saw(&record(4, "allow"));
        let alerts = tail.alerts();
        assert_eq!(alerts.len(), 2);
        assert_eq!((alerts[0].times, alerts[0].decision), (41, Some(3)));
        assert_eq!(alerts[1].severity, Severity::Severe);
    }

    #[test]
    fn a_policys_denial_is_routine() {
        let tail = Tail::default();
        let mut denied = record(1, "deny");
        denied.policy = Some("read_only".to_owned());
        tail.saw(&denied);
        assert_eq!(tail.alerts(), []);
    }

    #[test]
    fn alerts_are_bounded() {
        let tail = Tail::default();
        for n in 0..2 * MAX_ALERTS as u64 {
            let mut denied = record(n, "deny");
            denied.target = Some(format!("tool-{n}"));
            tail.saw(&denied);
        }
        let alerts = tail.alerts();
        assert_eq!(alerts.len(), MAX_ALERTS);
        assert_eq!(alerts[0].decision, Some(2 * MAX_ALERTS as u64 - 1));
    }

    #[test]
    fn a_reader_that_does_not_read_delays_nobody() {
        let tail = Tail::default();
        let mut slow = tail.follow();
        for n in 0..RING as u64 + 10 {
            tail.saw(&record(n, "allow"));
        }
        assert!(matches!(
            slow.try_recv(),
            Err(broadcast::error::TryRecvError::Lagged(10))
        ));
    }
}
