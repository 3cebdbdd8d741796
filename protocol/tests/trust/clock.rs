//! Clocks that are an hour, a day, ten years off, both ways.

use protocol::limits::MAX_TIME_AHEAD_S;
use protocol::trust::{Freshness, Offer};

use crate::world::{NOW, World, refusal};

const OFF: [u64; 3] = [3600, 86_400, 10 * 365 * 86_400];

#[test]
fn a_clock_behind_takes_no_time_and_fails_closed() {
    let world = World::new(2);
    let source = world.node();
    for off in OFF {
        let mut node = world.node();
        node.now = NOW.minus(off);
        let stamp = world.stamp(&source.state, 0, NOW);
        assert_eq!(refusal(node.timestamp(&stamp)), "timestamp_ahead");
        assert_eq!(node.state.freshness(node.now), Freshness::None);
    }
}

#[test]
fn a_clock_set_back_fails_closed_and_recovers() {
    let world = World::new(2);
    let mut node = world.node();
    node.timestamp(&world.stamp(&node.state, 0, NOW)).unwrap();
    for off in OFF {
        let behind = Freshness::ClockBehind { by_s: off };
        assert_eq!(node.state.freshness(NOW.minus(off)), behind);
    }
    let tolerated = NOW.minus(MAX_TIME_AHEAD_S);
    assert_eq!(
        node.state.freshness(tolerated),
        Freshness::Fresh { age_s: 0 }
    );
    assert_eq!(node.state.freshness(NOW), Freshness::Fresh { age_s: 0 });
}

#[test]
fn a_clock_ahead_is_stale_once_the_lease_is_over_and_moves_nobody() {
    let world = World::new(2);
    let mut node = world.node();
    for off in OFF {
        node.now = NOW.plus(off);
        let stamp = world.stamp(&node.state, 0, NOW);
        assert!(matches!(node.timestamp(&stamp), Ok(Offer::New(_))), "{off}");
        assert_eq!(node.state.greatest_time(), NOW);
        let fresh = matches!(node.state.freshness(node.now), Freshness::Fresh { .. });
        assert_eq!(fresh, off <= 86_400, "{off}");
    }
    // Put right, it is as before.
    assert_eq!(node.state.freshness(NOW), Freshness::Fresh { age_s: 0 });
}

#[test]
fn a_timestamper_whose_clock_is_ahead_misleads_nobody() {
    let world = World::new(2);
    let mut node = world.node();
    node.timestamp(&world.stamp(&node.state, 1, NOW)).unwrap();
    for off in OFF {
        let stamp = world.stamp(&node.state, 0, NOW.plus(off));
        assert_eq!(refusal(node.timestamp(&stamp)), "timestamp_ahead");
    }
    assert_eq!(node.state.greatest_time(), NOW);
    // Behind: it neither sets time back nor keeps anything fresh.
    for off in OFF {
        let stamp = world.stamp(&node.state, 0, NOW.minus(off));
        assert!(matches!(node.timestamp(&stamp), Ok(Offer::New(_))));
        assert_eq!(node.state.greatest_time(), NOW);
        assert_eq!(node.state.freshness(NOW), Freshness::Fresh { age_s: 0 });
    }
}

#[test]
fn a_new_epoch_begins_time_anew() {
    let world = World::new(2);
    let mut node = world.node();
    // A timestamper and this node were both ten years ahead.
    let wrong = NOW.plus(OFF[2]);
    node.now = wrong;
    node.timestamp(&world.stamp(&node.state, 0, wrong)).unwrap();
    node.now = NOW;
    let behind = Freshness::ClockBehind { by_s: OFF[2] };
    assert_eq!(node.state.freshness(NOW), behind);
    let old = world.stamp(&node.state, 0, NOW);
    let root = world.root_after(node.state.root(), &world.admins, |r| r.epoch = 2);
    node.root(&root).unwrap();
    assert_eq!(node.state.freshness(NOW), Freshness::None);
    assert_eq!(refusal(node.timestamp(&old)), "wrong_epoch");
    node.timestamp(&world.stamp(&node.state, 0, NOW)).unwrap();
    assert_eq!(node.state.freshness(NOW), Freshness::Fresh { age_s: 0 });
}
