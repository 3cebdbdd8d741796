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
use crate::transport::{LinkEvent, Links, Reason};

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

/// How long a peer that broke a chain is neither dialed nor admitted: long enough that calls go
/// another way and an operator sees it, short enough that a repaired one is back within a minute.
pub const COOL_DOWN: Duration = Duration::from_secs(30);

/// The reasons for which a node is kept off, as hellos are refused with them.
const KEPT_OFF: [Reason; 2] = [Reason::Severed, Reason::NodeSevered];

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
    /// Until when one of the two ends keeps the other off: no dial before it.
    kept_off: Option<Instant>,
    running: bool,
}

impl Attempt {
    /// Whether a dial is due or under way, and has not failed yet.
    #[must_use]
    pub fn is_hopeful(&self) -> bool {
        self.failures == 0 && !self.is_kept_off(Instant::now())
    }

    /// Whether a dial is under way, the first since there was a link or since the start.
    #[must_use]
    pub const fn is_first(&self) -> bool {
        self.running && self.failures == 0
    }

    fn is_kept_off(&self, now: Instant) -> bool {
        self.kept_off.is_some_and(|until| now < until)
    }
}

/// The state of dialing, shared with `peers`.
pub struct Dialing {
    /// How long who is severed by policy is kept off.
    cool_down: Duration,
    attempts: Mutex<HashMap<Target, Attempt>>,
    seeds: Mutex<Vec<Seed>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Target {
    Node(NodeId),
    Address(String),
}

impl Dialing {
    /// Dialing that starts from `seeds`; whom policies sever is kept off for `cool_down`.
    #[must_use]
    pub fn new(seeds: Vec<Seed>, cool_down: Duration) -> Self {
        Self {
            cool_down,
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
            // Not of who keeps this node off for what it did: that is another matter.
            attempt.next = None;
            attempt.failures = 0;
        }
    }

    /// Does not dial a node for so long, because one of the two keeps the other off; `reason` by its
    /// stable name.
    pub fn keep_off(&self, node: NodeId, pause: Duration, reason: &str, why: String) {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let attempt = attempts.entry(Target::Node(node)).or_default();
        attempt.kept_off = attempt.kept_off.max(Some(Instant::now() + pause));
        attempt.last_reason = Some(reason.to_owned());
        attempt.last_error = Some(why);
    }

    /// Why a node is not dialed now that could be: the reason's name, and a line for people.
    #[must_use]
    pub fn kept_off(&self, node: &NodeId) -> Option<(String, String)> {
        let attempt = self.attempt(node)?;
        let kept = attempt.is_kept_off(Instant::now());
        kept.then_some((attempt.last_reason?, attempt.last_error?))
    }

    /// Notes that a peer has closed the link and keeps this node off. Dialing it again before that is
    /// over would be refused.
    fn cut_by(&self, peer: NodeId, reason: Reason) {
        let pause = match reason {
            Reason::Severed => COOL_DOWN,
            _ => self.cool_down,
        };
        if self.kept_off(&peer).is_none() {
            tracing::warn!(peer = %peer.short(), reason = reason.name(), "the peer cut this node off");
            let why = format!("it keeps this node off: {reason}");
            self.keep_off(peer, pause, reason.name(), why);
        }
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
        let waits = attempt.next.is_some_and(|at| now < at) || attempt.is_kept_off(now);
        let due = !waits && !attempt.running;
        attempt.running |= due;
        due
    }

    fn settle(&self, target: &Target, outcome: Result<(), Failed>) {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let attempt = attempts.entry(target.clone()).or_default();
        attempt.running = false;
        match outcome {
            Ok(()) => *attempt = Attempt::default(),
            // It began before; why it failed is known better.
            Err(_) if attempt.is_kept_off(Instant::now()) => {}
            Err(error) if KEPT_OFF.iter().any(|reason| reason.name() == error.reason) => {
                // By a cut of which this process has not heard.
                attempt.kept_off = Some(Instant::now() + LONGEST_PAUSE);
                attempt.last_error = Some(error.message);
                attempt.last_reason = Some(error.reason);
            }
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

/// Dials until `stop`: seeds, and every member whose record names addresses. A peer that cuts this
/// node off is left alone for as long as that lasts.
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
            event = events.recv() => match event {
                // A link that just went down is worth a look at once; ups are not.
                Ok(LinkEvent::Up { .. }) => tokio::task::yield_now().await,
                Ok(LinkEvent::Down { peer, reason }) if reason.keeps_off() => {
                    dialing.cut_by(peer, reason);
                }
                _ => {}
            },
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

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn dialing() -> (Dialing, NodeId, Target) {
        let node = NodeId::from_bytes([1; 32]);
        (Dialing::new(Vec::new(), MINUTE), node, Target::Node(node))
    }

    #[test]
    fn who_cut_this_node_off_is_left_alone() {
        let (dialing, node, target) = dialing();
        let now = Instant::now();
        assert!(dialing.claim(&target, now));
        dialing.cut_by(node, Reason::NodeSevered);
        let refused = Failed {
            reason: "node_severed".to_owned(),
            message: "said later".to_owned(),
        };
        dialing.settle(&target, Err(refused));
        // A renewed membership changes nothing of it.
        dialing.again();
        assert!(!dialing.claim(&target, now + MINUTE / 2));
        let (reason, why) = dialing.kept_off(&node).unwrap();
        assert_eq!(reason, "node_severed");
        assert!(why.starts_with("it keeps this node off: "), "{why}");
        assert!(dialing.claim(&target, now + 2 * MINUTE), "it is over");
    }

    #[test]
    fn a_cut_that_is_only_heard_of_in_a_refusal_counts_too() {
        let (dialing, node, target) = dialing();
        let now = Instant::now();
        assert!(dialing.claim(&target, now));
        let refused = Failed {
            reason: "node_severed".to_owned(),
            message: "the peer does not admit this node".to_owned(),
        };
        dialing.settle(&target, Err(refused));
        assert!(!dialing.claim(&target, now + LONGEST_PAUSE / 2));
        assert!(!dialing.attempt(&node).unwrap().is_hopeful());
        assert!(dialing.claim(&target, now + 2 * LONGEST_PAUSE));
        dialing.settle(&target, Ok(()));
        assert!(dialing.attempt(&node).unwrap().is_hopeful());
    }

    #[test]
    fn what_this_node_has_done_stays_the_reason() {
        let (dialing, node, _) = dialing();
        dialing.keep_off(node, MINUTE, "severed", "own word".to_owned());
        dialing.cut_by(node, Reason::NodeSevered);
        assert_eq!(dialing.kept_off(&node).unwrap().1, "own word");
    }
}
