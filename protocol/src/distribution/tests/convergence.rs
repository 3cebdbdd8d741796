//! Whatever happens on the way: once honest machines are connected and time passes, they agree.

use proptest::collection::vec;
use proptest::prelude::*;

use super::net::{Net, Weather, node};
use super::world::World;
use crate::distribution::{Document, HeadSet, Machine};
use crate::time::UnixMillis;

/// Machines in a net.
const COUNT: usize = 5;

/// One thing that happens.
#[derive(Debug, Clone)]
enum Step {
    Link(usize, usize),
    Unlink(usize, usize),
    Revoke(usize, u64),
    Bundle(usize),
    Timestamp,
    Rotate,
    NewEpoch,
    Restart(usize),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Step> {
    let at = 0..COUNT;
    prop_oneof![
        4 => (at.clone(), at.clone()).prop_map(|(a, b)| Step::Link(a, b)),
        3 => (at.clone(), at.clone()).prop_map(|(a, b)| Step::Unlink(a, b)),
        4 => (0..3_usize, 1..4_u64).prop_map(|(admin, count)| Step::Revoke(admin, count)),
        2 => prop_oneof![Just(100), Just(200_000)].prop_map(Step::Bundle),
        2 => Just(Step::Timestamp),
        1 => Just(Step::Rotate),
        1 => Just(Step::NewEpoch),
        1 => (1..COUNT).prop_map(Step::Restart),
        4 => (1..8_000_u64).prop_map(Step::Pass),
    ]
}

/// No version ever goes back, within an epoch.
fn never_back(before: &HeadSet, after: &HeadSet) -> bool {
    let same = before.epoch == after.epoch;
    let bundle = |heads: &HeadSet| heads.bundle.map_or(0, |b| b.version);
    let logs = before.logs.iter();
    before.epoch <= after.epoch
        && before.root.version <= after.root.version
        && (!same || bundle(before) <= bundle(after))
        && logs
            .into_iter()
            .all(|log| log.length <= after.log_length(&log.admin))
}

fn run(weather: Weather, seed: u64, steps: &[Step]) {
    let mut world = World::new(3, 2);
    let genesis = world.state();
    let mut net = Net::new(&world, COUNT, seed);
    net.weather = weather;
    let mut heads: Vec<HeadSet> = (0..COUNT).map(|at| net.heads(at).clone()).collect();
    for step in steps {
        match *step {
            Step::Link(a, b) if a != b => net.link(a, b),
            Step::Unlink(a, b) => net.unlink(a, b),
            // Machine 0 is where all is published, so that it is complete somewhere.
            Step::Revoke(admin, count) => {
                let log = world.revoke(admin, count);
                net.publish(0, log);
            }
            Step::Bundle(size) => {
                let bundle = world.bundle(size);
                net.publish(0, bundle);
            }
            Step::Timestamp => {
                let timestamp = world.timestamp();
                net.publish(0, vec![timestamp]);
            }
            Step::Rotate => {
                let root = world.rotate();
                net.publish(0, vec![root]);
            }
            Step::NewEpoch => {
                let root = world.new_epoch();
                net.publish(0, vec![root]);
            }
            Step::Restart(at) => {
                for other in 0..COUNT {
                    net.unlink(at, other);
                }
                let writes = net.hosts[at].told.writes.iter();
                let documents: Vec<Document> = writes.flat_map(|(_, d)| d.clone()).collect();
                let state = super::world::replayed(&net.fake, genesis.clone(), &documents);
                assert_eq!(state.heads(), heads[at], "nothing is lost or found");
                let now = UnixMillis(net.now);
                net.hosts[at].machine = Machine::new(node(at), Default::default(), state, now);
            }
            Step::Pass(ms) => net.pass(ms),
            Step::Link(..) => {}
        }
        for (at, before) in heads.iter_mut().enumerate() {
            let after = net.heads(at).clone();
            assert!(never_back(before, &after), "{before:?} then {after:?}");
            *before = after;
        }
    }
    net.ring(2);
    net.pass(300_000);
    for at in 0..COUNT {
        assert_eq!(net.heads(at), net.heads(0), "machine {at}");
        assert_eq!(net.hosts[at].machine.buffered(), 0);
        assert!(net.hosts[at].machine.is_synced(&node((at + 1) % COUNT)));
        assert_eq!(net.hosts[at].told.alarms, []);
    }
    net.nobody_misbehaved();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn connected_machines_agree_in_the_end(
        loss in 0..40_u64,
        repeat in 0..30_u64,
        reorder in 0..60_u64,
        seed in 1..u64::from(u32::MAX),
        steps in vec(steps(), 5..40),
    ) {
        run(Weather { loss, repeat, reorder }, seed, &steps);
    }
}
