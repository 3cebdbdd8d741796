//! What a run says when it is over. Every field follows from scenario and seed, so two runs of
//! one seed print the same bytes.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::violations::Violation;

/// The outcome of one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    pub(crate) scenario: String,
    pub(crate) seed: u64,
    /// Whether all invariants and expectations held.
    pub(crate) ok: bool,
    /// Virtual milliseconds until the last event.
    pub(crate) virtual_ms: u64,
    pub(crate) events: u64,
    pub(crate) calls: u64,
    pub(crate) completed: u64,
    /// Envelopes the receiver acted on.
    pub(crate) acted: u64,
    pub(crate) restarts: u64,
    /// Reservations renewed before they were over.
    pub(crate) renewals: u64,
    /// Refusals by name, at the receiver and at the senders.
    pub(crate) refused: BTreeMap<String, u64>,
    pub(crate) refused_answers: BTreeMap<String, u64>,
    /// Most envelopes remembered at once.
    pub(crate) peak_remembered: usize,
    pub(crate) violated: u64,
    /// The first of them.
    pub(crate) violations: Vec<Violation>,
    /// A digest over every event and what became of it, in order.
    pub(crate) trace: String,
}

impl Report {
    /// The report of a run in which nothing has happened yet.
    pub(crate) fn new(scenario: &str, seed: u64) -> Self {
        Self {
            scenario: scenario.to_owned(),
            seed,
            ok: false,
            virtual_ms: 0,
            events: 0,
            calls: 0,
            completed: 0,
            acted: 0,
            restarts: 0,
            renewals: 0,
            refused: BTreeMap::new(),
            refused_answers: BTreeMap::new(),
            peak_remembered: 0,
            violated: 0,
            violations: Vec::new(),
            trace: String::new(),
        }
    }

    /// For people.
    pub(crate) fn human(&self) -> String {
        let mut out = String::new();
        let seconds = self.virtual_ms / 1000;
        let _ = writeln!(
            out,
            "{} with seed {}: {}",
            self.scenario,
            self.seed,
            if self.ok { "ok" } else { "FAILED" }
        );
        let _ = writeln!(
            out,
            "  {seconds} virtual seconds, {} events, {} restarts, {} reservations renewed",
            self.events, self.restarts, self.renewals
        );
        let _ = writeln!(
            out,
            "  {} of {} calls answered, {} envelopes acted on, {} remembered at most",
            self.completed, self.calls, self.acted, self.peak_remembered
        );
        for (title, counts) in [
            ("refused", &self.refused),
            ("answers refused", &self.refused_answers),
        ] {
            let counts: Vec<String> = counts.iter().map(|(k, v)| format!("{k} {v}")).collect();
            if !counts.is_empty() {
                let _ = writeln!(out, "  {title}: {}", counts.join(", "));
            }
        }
        for v in &self.violations {
            let _ = writeln!(
                out,
                "  VIOLATED {} at {} ms: {}",
                v.invariant, v.at_ms, v.what
            );
        }
        if self.violated > self.violations.len() as u64 {
            let _ = writeln!(out, "  {} violations in all", self.violated);
        }
        let _ = writeln!(out, "  trace {}", self.trace);
        out
    }
}
