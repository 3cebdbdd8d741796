//! What the benchmarks share: nodes as child processes, a small MCP server and client, figures.
//!
//! A benchmark prints one table for people, or with `--format json` one object, on stdout. Every
//! figure that has a bar is a difference or ratio to a baseline of the same run, the two measured
//! in turns, so that what else the machine does hits both.
#![allow(dead_code, reason = "not every benchmark uses all of it")]

use std::time::Duration;

pub(crate) mod client;
pub(crate) mod control;
pub(crate) mod echo;
pub(crate) mod nodes;

/// What the command line asked for. `cargo bench` adds words of its own, which are ignored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    /// One object instead of a table.
    pub(crate) json: bool,
    /// Just enough to see that it works; the figures mean little.
    pub(crate) quick: bool,
}

impl Request {
    pub(crate) fn from_arguments() -> Self {
        let words: Vec<String> = std::env::args().skip(1).collect();
        let format_json = words
            .windows(2)
            .any(|pair| pair[0] == "--format" && pair[1] == "json");
        Self {
            json: format_json || words.iter().any(|word| word == "--format=json"),
            quick: words.iter().any(|word| word == "--quick"),
        }
    }
}

/// Durations of one kind of call.
#[derive(Debug, Default, Clone)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    pub(crate) fn push(&mut self, took: Duration) {
        self.0.push(took);
    }

    pub(crate) fn extend(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The mean in milliseconds, as sums are compared with.
    pub(crate) fn mean(&self) -> f64 {
        let sum = milliseconds(self.0.iter().sum());
        sum / f64::from(u32::try_from(self.0.len()).expect("few samples"))
    }

    /// The `q`-quantile in milliseconds (nearest rank).
    pub(crate) fn quantile(&self, q: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index below the number of samples"
        )]
        let index = (q * last as f64).round() as usize;
        milliseconds(sorted[index])
    }
}

pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// The middle one of several figures.
pub(crate) fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
