//! Keeping links up: dial whoever is known and not linked, with back-off.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use protocol::id::NodeId;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::members::Members;
use crate::standing::Standing;
use crate::transport::{LinkEvent, Links};

/// First pause after a failed dial.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Longest pause between dials of one peer: a host that comes back is found within it.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How often the list is looked over when nothing happens.
const LOOK: Duration = Duration::from_millis(500);

/// Links a node keeps without being asked: to every member of a mesh that is not larger, to so many
/// of a larger one. What is distributed reaches 10,000 nodes over three such links each; calls dial
/// whom they need.
pub const STANDING_LINKS: usize = 64;

/// Failures in a row after which another is dialed in the place of a peer.
const HOPELESS_AFTER: u32 = 3;

/// Dials started in one look, so that a large directory does not become a storm.
const DIALS_PER_LOOK: usize = 32;

/// A place to try: a peer known by configuration rather than by its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seed {
    /// The node expected there, where that is known.
    pub node: Option<NodeId>,
    /// `host:port`.
    pub address: String,
}

impl Seed {
    fn target(&self) -> Target {
        match self.node {
            Some(node) => Target::Node(node),
            None => Target::Address(self.address.clone()),
        }
    }
}

/// Why a dial failed: a stable name and a line for people.
struct Failed {
    reason: String,
    message: String,
}

/// What dialing looks like to an operator.
#[derive(Debug, Clone, Default)]
pub struct Attempt {
    /// Failures in a row.
    pub failures: u32,
    /// Why the last one failed.
    pub last_error: Option<String>,
    /// The stable name of that reason.
    pub last_reason: Option<String>,
    next: Option<Instant>,
    running: bool,
}

/// The state of dialing, shared with `peers`.
#[derive(Default)]
pub struct Dialing {
    attempts: Mutex<HashMap<Target, Attempt>>,
    seeds: Mutex<Vec<Seed>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Target {
    Node(NodeId),
    Address(String),
}

impl Dialing {
    /// Dialing that starts from `seeds`.
    #[must_use]
    pub fn new(seeds: Vec<Seed>) -> Self {
        Self {
            attempts: Mutex::default(),
            seeds: Mutex::new(seeds),
        }
    }

    /// The last attempt at a node.
    #[must_use]
    pub fn attempt(&self, node: &NodeId) -> Option<Attempt> {
        let attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.get(&Target::Node(*node)).cloned()
    }

    /// The addresses it starts from, and why the last dial of each failed, where it did.
    #[must_use]
    pub fn starting_points(&self) -> Vec<(Seed, Option<Attempt>)> {
        let seeds = self.seeds();
        let attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let attempt = |seed: Seed| {
            let found = attempts.get(&seed.target()).cloned();
            (seed, found)
        };
        seeds.into_iter().map(attempt).collect()
    }

    /// The places to try, as configured or found since.
    #[must_use]
    pub fn seeded(&self) -> Vec<Seed> {
        self.seeds()
    }

    /// Ends every pause: what kept peers from admitting this node is over.
    pub fn again(&self) {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        for attempt in attempts.values_mut() {
            attempt.next = None;
            attempt.failures = 0;
        }
    }

    /// Does not dial a node for so long.
    pub fn pause(&self, node: NodeId, pause: Duration) {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let attempt = attempts.entry(Target::Node(node)).or_default();
        attempt.next = Some(Instant::now() + pause);
        attempt.last_reason = Some("severed".to_owned());
        attempt.last_error = Some("it delivered a broken chain of hop records".to_owned());
    }

    fn seeds(&self) -> Vec<Seed> {
        self.seeds
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Learns who answered at an address that was dialed without knowing.
    fn identify(&self, address: &str, node: NodeId) {
        let mut seeds = self.seeds.lock().unwrap_or_else(PoisonError::into_inner);
        for seed in seeds.iter_mut().filter(|s| s.address == address) {
            seed.node = Some(node);
        }
    }

    /// Claims a target for one dial if its pause is over.
    fn claim(&self, target: &Target, now: Instant) -> bool {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let attempt = attempts.entry(target.clone()).or_default();
        let due = attempt.next.is_none_or(|at| at <= now) && !attempt.running;
        attempt.running |= due;
        due
    }

    fn settle(&self, target: &Target, outcome: Result<(), Failed>) {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let attempt = attempts.entry(target.clone()).or_default();
        attempt.running = false;
        match outcome {
            Ok(()) => *attempt = Attempt::default(),
            Err(error) => {
                let pause = FIRST_PAUSE * 2_u32.saturating_pow(attempt.failures.min(8));
                attempt.failures = attempt.failures.saturating_add(1);
                attempt.last_error = Some(error.message);
                attempt.last_reason = Some(error.reason);
                attempt.next = Some(Instant::now() + pause.min(LONGEST_PAUSE));
            }
        }
    }
}

/// Dials until `stop`: seeds, and every member whose record names addresses.
pub async fn keep_links(
    links: Links,
    members: Arc<Members>,
    standing: Arc<Standing>,
    dialing: Arc<Dialing>,
    stop: CancellationToken,
) {
    let mut events = links.events();
    let mut changes = members.changes();
    loop {
        let mut wanted = wanted(&links, &members, &dialing);
        wanted.retain(|(_, node, _)| node.is_none_or(|node| standing.node(&node).is_ok()));
        let claimed = wanted
            .into_iter()
            .filter(|(target, ..)| dialing.claim(target, Instant::now()))
            .take(DIALS_PER_LOOK);
        for (target, node, addresses) in claimed {
            let (links, dialing) = (links.clone(), Arc::clone(&dialing));
            tokio::spawn(async move {
                let outcome = dial(&links, &dialing, node, &addresses).await;
                dialing.settle(&target, outcome);
            });
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            event = events.recv() => {
                // A link that just went down is worth a look at once; ups are not.
                if matches!(event, Ok(LinkEvent::Up { .. })) {
                    tokio::task::yield_now().await;
                }
            }
            _ = changes.changed() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

type Wanted = (Target, Option<NodeId>, Vec<String>);

fn wanted(links: &Links, members: &Members, dialing: &Dialing) -> Vec<Wanted> {
    let me = links.node();
    let mut wanted: Vec<Wanted> = Vec::new();
    for seed in dialing.seeds() {
        if seed
            .node
            .is_some_and(|node| node == me || links.get(node).is_some())
        {
            continue;
        }
        let target = seed.target();
        match wanted.iter_mut().find(|(t, ..)| *t == target) {
            Some((_, _, addresses)) => addresses.push(seed.address),
            None => wanted.push((target, seed.node, vec![seed.address])),
        }
    }
    let room = STANDING_LINKS.saturating_sub(links.all().len() + wanted.len());
    let mut others = members.all();
    // Its own relays before all: who calls this node over them relies on these links. Of the rest
    // each node prefers others, and the same ones for as long as they are there: the mesh stays
    // connected, and links do not come and go.
    let own = members.member(&me).and_then(|m| m.record.clone());
    let relays = own.map(|r| r.relays.clone()).unwrap_or_default();
    others.sort_by_cached_key(|m| {
        let node = m.membership.node();
        (!relays.contains(&node), nearness(&me, &node))
    });
    let mut hopeful = 0;
    for member in others {
        if hopeful >= room {
            break;
        }
        let node = member.membership.node();
        if node == me || links.get(node).is_some() {
            continue;
        }
        let Some(record) = &member.record else {
            continue;
        };
        let target = Target::Node(node);
        let addresses = record.addresses.clone();
        match wanted.iter_mut().find(|(t, ..)| *t == target) {
            Some((_, _, known)) => known.extend(addresses),
            None if addresses.is_empty() => {}
            None => {
                // Those who do not answer are tried again, and others in their place.
                let attempt = dialing.attempt(&node).unwrap_or_default();
                hopeful += usize::from(attempt.failures < HOPELESS_AFTER);
                wanted.push((target, Some(node), addresses));
            }
        }
    }
    wanted
}

/// A place of `peer` in the order in which `me` prefers peers: as good as random, and the same both
/// ways, so that two nodes agree on whether they want a link.
fn nearness(me: &NodeId, peer: &NodeId) -> u64 {
    let mut hasher = DefaultHasher::new();
    (me.min(peer), me.max(peer)).hash(&mut hasher);
    hasher.finish()
}

async fn dial(
    links: &Links,
    dialing: &Dialing,
    node: Option<NodeId>,
    addresses: &[String],
) -> Result<(), Failed> {
    let failed = |reason: &str, message: String| Failed {
        reason: reason.to_owned(),
        message,
    };
    let mut last = failed("no_address", "no address to dial".to_owned());
    for address in addresses {
        let resolved: Vec<SocketAddr> = match tokio::net::lookup_host(address).await {
            Ok(found) => found.collect(),
            Err(e) => {
                last = failed("unresolved", format!("cannot resolve `{address}`: {e}"));
                continue;
            }
        };
        for remote in resolved {
            match links.dial(remote, node).await {
                Ok(link) => {
                    dialing.identify(address, link.peer);
                    return Ok(());
                }
                Err(e) => last = failed(e.name(), format!("{address}: {e}")),
            }
        }
    }
    tracing::debug!(error = %last.message, "dial failed");
    Err(last)
}
