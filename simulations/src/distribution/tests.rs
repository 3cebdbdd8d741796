//! Every scenario holds in small, a seed decides its run, and the observer sees each kind of fault.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

use super::report::Report;
use super::scenario::{Sabotage, Scenario};
use super::world::run;
use crate::scenario::{Simulation, all, parse, preamble};

/// Nodes of a small mesh.
const SMALL: usize = 100;

const REVOKE: &str = include_str!("../../scenarios/revoke-100.toml");
const LOSSY: &str = include_str!("../../scenarios/revoke-1000-lossy.toml");
const CHURN: &str = include_str!("../../scenarios/churn.toml");
const BYZANTINE: &str = include_str!("../../scenarios/byzantine.toml");
const PARTITION: &str = include_str!("../../scenarios/partition-longer-than-lease-healed.toml");
const LIFT: &str = include_str!("../../scenarios/lift.toml");
const RETIRED: &str = include_str!("../../scenarios/retired-admin.toml");
const EPOCH: &str = include_str!("../../scenarios/epoch.toml");
const ISSUER: &str = include_str!("../../scenarios/issuer-since.toml");
const CLOCKS: &str = include_str!("../../scenarios/clocks-off.toml");
const FULL_DISK: &str = include_str!("../../scenarios/full-disk.toml");
const RESENT: &str = include_str!("../../scenarios/revoke-1000-resent.toml");
const REJOIN: &str = include_str!("../../scenarios/offline-rejoin.toml");

/// The scenario with at most [`SMALL`] nodes.
fn small(text: &str) -> Scenario {
    let mut scenario: Scenario = parse(text).unwrap();
    scenario.shrink(SMALL).unwrap();
    scenario
}

fn sabotaged(text: &str, sabotage: Sabotage) -> Report {
    let mut scenario = small(text);
    scenario.sabotage = sabotage;
    run("sabotaged", &scenario, 1).unwrap()
}

fn violates(report: &Report, invariant: &str) -> bool {
    !report.ok && report.violations.iter().any(|v| v.invariant == invariant)
}

#[test]
fn every_scenario_holds_in_small() {
    for (name, text) in all() {
        if preamble(&text).unwrap().simulation != Simulation::Distribution {
            continue;
        }
        let report = run(&name, &small(&text), 1).unwrap();
        assert!(report.ok, "{}", report.human());
        assert!(report.effective > 0, "{}", report.human());
    }
}

#[test]
fn a_seed_decides_the_run() {
    for text in [CHURN, BYZANTINE] {
        let mut scenario = small(text);
        scenario.mesh.nodes = 60;
        scenario.churn.to_ms /= 2;
        let of = |seed| serde_json::to_string(&run("twice", &scenario, seed).unwrap()).unwrap();
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
    }
}

#[test]
fn a_node_that_goes_back_is_seen() {
    let report = sabotaged(REVOKE, Sabotage::GoBack);
    assert!(violates(&report, "never_back"), "{}", report.human());
}

#[test]
fn a_node_that_forgets_its_disk_is_seen() {
    let report = sabotaged(CHURN, Sabotage::ForgetDisk);
    assert!(violates(&report, "persisted_kept"), "{}", report.human());
}

#[test]
fn a_disk_that_keeps_nothing_is_seen() {
    let report = sabotaged(CHURN, Sabotage::PersistNothing);
    assert!(violates(&report, "persisted_kept"), "{}", report.human());
}

#[test]
fn nodes_that_go_on_with_the_revoked_are_seen() {
    let report = sabotaged(REVOKE, Sabotage::AcceptRevoked);
    assert!(violates(&report, "revoked_refused"), "{}", report.human());
}

#[test]
fn nodes_that_forward_nothing_are_seen() {
    let report = sabotaged(REVOKE, Sabotage::KeepToYourself);
    assert!(violates(&report, "converges"), "{}", report.human());
    assert!(violates(&report, "expected"), "{}", report.human());
    assert_eq!(report.effective_ms.p99, None);
}

#[test]
fn accusations_of_the_honest_are_seen() {
    let report = sabotaged(CHURN, Sabotage::GarbleHonest);
    assert!(violates(&report, "honest_accused"), "{}", report.human());
}

/// What has no story of its own: each sabotage, and what it violates.
#[test]
fn every_other_fault_is_seen() {
    for (text, sabotage, invariant) in [
        (REVOKE, Sabotage::PublishUnseen, "nothing_forged"),
        (REVOKE, Sabotage::IgnoreRevocations, "revocation_effective"),
        (REVOKE, Sabotage::IgnoreRevocations, "nodes_agree"),
        (REVOKE, Sabotage::RefuseHonest, "nobody_else_revoked"),
        (REVOKE, Sabotage::CutMessages, "wire_round_trip"),
        (REVOKE, Sabotage::NeverCall, "synced_at_last"),
        (PARTITION, Sabotage::NeverStale, "lease_kept"),
        (LIFT, Sabotage::LiftAlone, "taken_back"),
        (RETIRED, Sabotage::KeepCut, "nobody_else_revoked"),
        (EPOCH, Sabotage::KeepOldEpoch, "nothing_forged"),
        (ISSUER, Sabotage::LoneIssuer, "nobody_else_revoked"),
        (CLOCKS, Sabotage::IgnoreClock, "clock_closed"),
        (FULL_DISK, Sabotage::IgnoreFullDisk, "acknowledged_durable"),
    ] {
        let report = sabotaged(text, sabotage);
        assert!(violates(&report, invariant), "{}", report.human());
    }
}

/// Disks are slow here, and the operator asks before any write can be done.
#[test]
fn acknowledgements_before_the_write_are_seen() {
    let mut scenario = small(REVOKE);
    scenario.host.persist_min_ms = 3_000;
    scenario.host.persist_max_ms = 3_000;
    let first = scenario.publish.first().unwrap().at_ms;
    scenario.pull.first_mut().unwrap().at_ms = first + 500;
    scenario.sabotage = Sabotage::AcknowledgeEarly;
    scenario.expect = super::scenario::Expect::default();
    let report = run("early", &scenario, 1).unwrap();
    let seen = violates(&report, "acknowledged_durable");
    assert!(seen, "{}", report.human());
    scenario.sabotage = Sabotage::Off;
    let report = run("late", &scenario, 1).unwrap();
    assert!(report.ok && report.acknowledged > 0, "{}", report.human());
}

#[test]
fn calls_before_everything_is_there_are_seen() {
    let report = sabotaged(REJOIN, Sabotage::CallBeforeSync);
    assert!(violates(&report, "synced_first"), "{}", report.human());
}

/// Connections that the revoked try to make again, with whomever.
#[test]
fn the_revoked_try_and_are_refused() {
    let report = run("revoke", &small(REVOKE), 1).unwrap();
    assert!(
        report.closed > 0 && report.refused_connections > 0,
        "{}",
        report.human()
    );
}

#[test]
fn the_lossy_mesh_holds_with_other_seeds() {
    for seed in 10..13 {
        let report = run("lossy", &small(LOSSY), seed).unwrap();
        assert!(report.ok, "{}", report.human());
    }
}

/// What is lost comes later here instead of never, so that calls flow as well.
#[test]
fn what_is_sent_again_arrives() {
    for (resend_ms, flows) in [(25, true), (0, false)] {
        let mut scenario = small(RESENT);
        scenario.links.resend_ms = resend_ms;
        scenario.sabotage = Sabotage::NeverCall;
        let report = run("resent", &scenario, 1).unwrap();
        assert_eq!(
            violates(&report, "synced_at_last"),
            flows,
            "{}",
            report.human()
        );
    }
}

#[test]
fn a_drawing_shows_what_the_report_says() {
    let report = run("a & b", &small(REVOKE), 1).unwrap();
    let drawn = super::svg::draw(&report);
    let p99 = report.effective_ms.p99.unwrap();
    assert!(drawn.starts_with("<svg ") && drawn.ends_with("</svg>\n"));
    assert!(drawn.contains("a &amp; b") && drawn.contains(&format!("p99 {p99} ms")));
}

#[test]
fn bad_scenarios_are_refused() {
    let refused = |from: &str, to: &str, expected: &str| {
        assert!(REVOKE.contains(from));
        let error = parse::<Scenario>(&REVOKE.replace(from, to)).unwrap_err();
        assert!(format!("{error:#}").contains(expected), "{error:#}");
    };
    refused("nodes = 100", "nodes = 3", "`mesh.nodes`");
    refused("nodes = 100", "nodes = 100\ndegree = 100", "`mesh.degree`");
    refused("nodes = 100", "nodes = 100\nadmins = 0", "`mesh.admins`");
    refused(
        "nodes = 100",
        "nodes = 100\nthreshold = 2",
        "`mesh.threshold`",
    );
    refused("seconds = 30", "seconds = 0", "`seconds`");
    refused("seconds = 30", "seconds = 2", "after the end");
    refused("policies = 20", "pollicies = 20", "pollicies");
    refused("policies = 20", "admin = 1", "`publish.admin`");
    refused("policies = 20", "count = 0", "`publish.count`");
    refused("[expect]", "[links]\nloss = 1000\n[expect]", "`links.loss`");
    refused(
        "[expect]",
        "[byzantine]\nforgers = 1\n[expect]",
        "`byzantine.every_ms`",
    );
    refused(
        "[expect]",
        "[byzantine]\nforgers = 50\nevery_ms = 1\n[expect]",
        "misbehave",
    );
    refused(
        "[expect]",
        "[[offline]]\nfrom_ms = 2\nto_ms = 1\nshare = 1\n[expect]",
        "absence",
    );
}
