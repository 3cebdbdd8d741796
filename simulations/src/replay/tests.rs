//! Every scenario holds, a seed decides its run, and the observer sees each kind of fault.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

use super::report::Report;
use super::scenario::{Sabotage, Scenario};
use super::world::run;
use crate::scenario::{Simulation, all, parse, preamble};

/// Virtual seconds of a brief run.
const BRIEF_S: u64 = 6;

fn brief(text: &str) -> Scenario {
    let mut scenario: Scenario = parse(text).unwrap();
    scenario.seconds = scenario.seconds.min(BRIEF_S);
    // What a scenario shows in full it need not show in a few seconds.
    scenario.expect.refusals.clear();
    scenario
}

fn sabotaged(text: &str, sabotage: Sabotage, seconds: u64) -> Report {
    let mut scenario = brief(text);
    scenario.seconds = seconds;
    scenario.sabotage = sabotage;
    run("sabotaged", &scenario, 1).unwrap()
}

fn violates(report: &Report, invariant: &str) -> bool {
    !report.ok && report.violations.iter().any(|v| v.invariant == invariant)
}

const REPLAYS: &str = include_str!("../../scenarios/replays.toml");
const RESTARTS: &str = include_str!("../../scenarios/restarts.toml");
const SLOW_WRITES: &str = include_str!("../../scenarios/slow-writes.toml");
const LATE_COPIES: &str = include_str!("../../scenarios/late-copies.toml");
const REORDERING: &str = include_str!("../../scenarios/reordering.toml");

#[test]
fn every_scenario_holds_briefly() {
    for (name, text) in all() {
        if preamble(&text).unwrap().simulation != Simulation::Replay {
            continue;
        }
        let scenario = brief(&text);
        for seed in 1..=2 {
            let report = run(&name, &scenario, seed).unwrap();
            assert!(report.ok, "{}", report.human());
            assert!(report.completed > 0, "{}", report.human());
        }
    }
}

#[test]
fn a_seed_decides_the_run() {
    let scenario = brief(RESTARTS);
    let of = |seed| serde_json::to_string(&run("restarts", &scenario, seed).unwrap()).unwrap();
    assert_eq!(of(7), of(7));
    assert_ne!(of(7), of(8));
}

#[test]
fn a_window_that_accepts_replays_is_seen() {
    let report = sabotaged(REPLAYS, Sabotage::AcceptReplays, BRIEF_S);
    assert!(violates(&report, "accepted_once"), "{}", report.human());
    assert!(violates(&report, "started_once"), "{}", report.human());
}

#[test]
fn a_window_that_refuses_fresh_envelopes_is_seen() {
    let report = sabotaged(REPLAYS, Sabotage::RefuseFresh, BRIEF_S);
    assert!(violates(&report, "fresh_accepted"), "{}", report.human());
    assert!(violates(&report, "all_complete"), "{}", report.human());
}

/// Senders' clocks run ahead here, so what they issued before a crash is younger than the new
/// process: only the reservation stands between it and a second acceptance.
#[test]
fn reservations_that_are_lost_are_seen() {
    let report = sabotaged(RESTARTS, Sabotage::LoseReservations, 10);
    assert!(violates(&report, "accepted_once"), "{}", report.human());
}

/// Many seeds of the settings in which an earlier replay window, whose reservations counted before
/// they were durable and whose requests started again after a restart, was found wrong.
#[test]
fn crashes_with_writes_under_way_hold() {
    for (name, text) in [("slow-writes", SLOW_WRITES), ("late-copies", LATE_COPIES)] {
        let mut scenario = brief(text);
        scenario.seconds = 8;
        for seed in 1..=20 {
            let report = run(name, &scenario, seed).unwrap();
            assert!(report.ok, "{}", report.human());
            assert!(report.restarts > 0, "{}", report.human());
        }
    }
}

/// What they found: an envelope is acted on under a reservation that an earlier one is still
/// writing, and the crash loses the write.
#[test]
fn reservations_that_count_at_once_are_seen() {
    let report = sabotaged(SLOW_WRITES, Sabotage::ReserveAtOnce, 20);
    assert!(violates(&report, "accepted_once"), "{}", report.human());
}

/// While envelopes keep coming, reservations are renewed before they are over; a renewal that
/// fails or that a crash loses is no different from one that was never asked for.
#[test]
fn renewals_happen_and_may_be_lost() {
    let calm = include_str!("../../scenarios/calm.toml");
    let failing = include_str!("../../scenarios/failing-store.toml");
    for text in [calm, failing, SLOW_WRITES] {
        let mut scenario = brief(text);
        scenario.seconds = 20;
        let report = run("renewals", &scenario, 3).unwrap();
        assert!(report.ok, "{}", report.human());
        assert!(report.renewals > 0, "{}", report.human());
    }
}

/// And: a copy issued after a restart starts a request that was started before it.
#[test]
fn copies_judged_by_their_own_time_are_seen() {
    let report = sabotaged(LATE_COPIES, Sabotage::IgnoreFirstIssued, 10);
    assert!(violates(&report, "started_once"), "{}", report.human());
}

#[test]
fn senders_that_ignore_order_are_seen() {
    let report = sabotaged(REORDERING, Sabotage::IgnoreOrder, BRIEF_S);
    assert!(violates(&report, "answers_whole"), "{}", report.human());
}

#[test]
fn bad_scenarios_are_refused() {
    let refused = |from: &str, to: &str, expected: &str| {
        assert!(REPLAYS.contains(from));
        let error = parse::<Scenario>(&REPLAYS.replace(from, to)).unwrap_err();
        assert!(format!("{error:#}").contains(expected), "{error:#}");
    };
    refused("senders = 10", "senders = 0", "`load.senders`");
    refused("every_ms = 300", "every_ms = 0", "`load.every_ms`");
    refused("life_s = 30", "life_s = 61", "`load.life_s`");
    refused("seconds = 120", "seconds = 99999999999", "calls");
    refused("duplicate = 100", "dupe = 100", "dupe");
}
