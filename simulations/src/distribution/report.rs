//! What a run says when it is over. Every field follows from scenario and seed, so two runs of
//! one seed print the same bytes.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::scenario::Expect;
use crate::violations::Violation;

/// Points of the curve after its first.
const CURVE_STEPS: usize = 100;

/// How long revocations took to be effective: verified, persisted, and the connections of whoever
/// was revoked closed. Counted for each pair of a revocation and a node that follows the protocol,
/// from when both were there: the revocation published, the node up and on the publisher's side.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Effective {
    /// For half of the pairs; absent while fewer have come to be.
    pub(crate) p50: Option<u64>,
    /// For 99 of 100.
    pub(crate) p99: Option<u64>,
    /// For all.
    pub(crate) max: Option<u64>,
}

/// The outcome of one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    pub(crate) scenario: String,
    pub(crate) seed: u64,
    /// Whether all invariants and expectations held.
    pub(crate) ok: bool,
    /// How many nodes there are in all.
    pub(crate) nodes: u64,
    /// How many of them follow the protocol, and are up and not revoked at the end.
    pub(crate) honest: u64,
    /// How many of those have no way to the publishers but through others, or none at all.
    pub(crate) isolated: u64,
    pub(crate) effective_ms: Effective,
    /// Messages one node sent on average since the first publication, those of nodes that do not
    /// follow the protocol left out.
    pub(crate) messages_per_node: u64,
    /// And bytes.
    pub(crate) bytes_per_node: u64,
    /// Signatures one node verified on average in the whole run.
    pub(crate) verifications_per_node: u64,
    pub(crate) invariant_violations: u64,
    /// The first of them.
    pub(crate) violations: Vec<Violation>,
    /// Virtual milliseconds until the last event.
    pub(crate) virtual_ms: u64,
    pub(crate) events: u64,
    /// Revocations published.
    pub(crate) revocations: u64,
    /// Pairs of a revocation and a node for which it is effective.
    pub(crate) effective: u64,
    /// Pairs for which it never came to be.
    pub(crate) missing: u64,
    /// Connections closed because the peer was revoked, and refused because it was.
    pub(crate) closed: u64,
    pub(crate) refused_connections: u64,
    /// Acknowledgements that came back to who asked, of all pulls.
    pub(crate) acknowledged: u64,
    /// Times a node came back.
    pub(crate) returns: u64,
    /// Most nodes whose lease was over at once.
    pub(crate) stale: u64,
    /// Times a node stopped because its disk was full.
    pub(crate) full_disks: u64,
    /// Most nodes at once that saw their clock behind verified time.
    pub(crate) clocks_behind: u64,
    /// What nodes that misbehave sent, by the name under which it was refused.
    pub(crate) refused: BTreeMap<String, u64>,
    /// Alarms raised, by name.
    pub(crate) alarms: BTreeMap<String, u64>,
    /// After how many milliseconds 0, 1, 2 … 100 of a hundred pairs were effective.
    pub(crate) curve_ms: Vec<u64>,
    /// A digest over every event and what became of it, in order.
    pub(crate) trace: String,
}

impl Effective {
    /// Of the `samples`, in milliseconds and sorted, of `due` pairs.
    pub(crate) fn of(samples: &[u64], due: usize) -> (Self, Vec<u64>) {
        let at = |share: usize, of: usize| {
            let rank = (due * share).div_ceil(of).max(1);
            samples.get(rank - 1).copied()
        };
        let effective = Self {
            p50: at(50, 100),
            p99: at(99, 100),
            max: at(1, 1),
        };
        let curve = (0..=CURVE_STEPS).map_while(|i| at(i, CURVE_STEPS));
        (
            effective,
            if due > 0 { curve.collect() } else { Vec::new() },
        )
    }

    /// What of `expect` does not hold.
    pub(crate) fn broken(&self, expect: &Expect) -> Vec<String> {
        let bounds = [
            ("p50", self.p50, expect.p50_ms),
            ("p99", self.p99, expect.p99_ms),
            ("max", self.max, expect.max_ms),
        ];
        let over = |(name, found, bound): &(&str, Option<u64>, Option<u64>)| match (found, bound) {
            (_, None) => None,
            (None, Some(bound)) => Some(format!("{name} within {bound} ms: never")),
            (Some(found), Some(bound)) => {
                (found > bound).then(|| format!("{name} within {bound} ms: it took {found} ms"))
            }
        };
        bounds.iter().filter_map(over).collect()
    }
}

impl Report {
    /// For people.
    pub(crate) fn human(&self) -> String {
        let mut out = String::new();
        let ms = |v: Option<u64>| v.map_or_else(|| "never".to_owned(), |v| format!("{v} ms"));
        let Effective { p50, p99, max } = self.effective_ms;
        let verdict = if self.ok { "ok" } else { "FAILED" };
        let lines = [
            format!("{} with seed {}: {verdict}", self.scenario, self.seed),
            format!(
                "  {} nodes, {} honest and up at the end, {} of these isolated; {} virtual ms, {} events",
                self.nodes, self.honest, self.isolated, self.virtual_ms, self.events
            ),
            format!(
                "  effective: p50 {}, p99 {}, max {} ({} revocations; {} of {} pairs with a node)",
                ms(p50),
                ms(p99),
                ms(max),
                self.revocations,
                self.effective,
                self.effective + self.missing
            ),
            format!(
                "  per node: {} messages, {} bytes, {} signatures verified",
                self.messages_per_node, self.bytes_per_node, self.verifications_per_node
            ),
            format!(
                "  connections: {} closed, {} refused; {} returns, {} nodes stale at once, {} acks",
                self.closed, self.refused_connections, self.returns, self.stale, self.acknowledged
            ),
            format!(
                "  full disks: {}; clocks behind at once: {}",
                self.full_disks, self.clocks_behind
            ),
        ];
        for line in lines {
            let _ = writeln!(out, "{line}");
        }
        for (title, counts) in [("refused", &self.refused), ("alarms", &self.alarms)] {
            let counts: Vec<String> = counts.iter().map(|(k, v)| format!("{k} {v}")).collect();
            if !counts.is_empty() {
                let _ = writeln!(out, "  {title}: {}", counts.join(", "));
            }
        }
        for v in &self.violations {
            let (at, invariant, what) = (v.at_ms, v.invariant, &v.what);
            let _ = writeln!(out, "  VIOLATED {invariant} at {at} ms: {what}");
        }
        if self.invariant_violations > self.violations.len() as u64 {
            let _ = writeln!(out, "  {} violations in all", self.invariant_violations);
        }
        let _ = writeln!(out, "  trace {}", self.trace);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_count_those_who_never_got_it() {
        let samples: Vec<u64> = (1..=99).collect();
        let (effective, curve) = Effective::of(&samples, 100);
        assert_eq!((effective.p50, effective.p99), (Some(50), Some(99)));
        assert_eq!(effective.max, None);
        assert_eq!(curve.len(), 100);
        let (all, curve) = Effective::of(&samples, 99);
        assert_eq!((all.max, curve.len()), (Some(99), 101));
        assert_eq!(Effective::of(&[], 0), (Effective::default(), Vec::new()));
    }

    #[test]
    fn what_never_happens_is_within_no_bound() {
        let (effective, _) = Effective::of(&[10, 20], 3);
        let expect = |p50, p99| Expect {
            p50_ms: p50,
            p99_ms: p99,
            ..Expect::default()
        };
        assert!(effective.broken(&expect(Some(20), None)).is_empty());
        assert_eq!(
            effective.broken(&expect(Some(19), Some(1_000_000))).len(),
            2
        );
    }
}
