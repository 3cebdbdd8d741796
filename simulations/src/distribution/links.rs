//! Connections between nodes, and what happens to a message on one.
//!
//! A link is a pair of nodes that connect whenever both can. Each end believes for itself that the
//! connection stands: one whose peer died without a word goes on sending until it notices. Every
//! connection has a number of its own (`epoch`), so that what was under way on the one before is
//! gone. Loss takes a message for good unless the scenario says how long after it is sent again;
//! what follows on an ordered link then waits for it.

use super::scenario;
use crate::rng::Rng;

/// Microseconds in a millisecond: the simulation's clock counts the former, scenarios the latter.
pub(crate) const MS: u64 = 1_000;

/// Most times a lost message is sent again before its connection would be given up.
const MAX_RESENDS: u32 = 10;

/// Most times the waiting time between two attempts to connect is doubled.
const MAX_BACKOFF: u32 = 4;

/// One pair of nodes.
#[derive(Debug)]
pub(crate) struct Link {
    /// The two nodes; the first dials.
    pub(crate) ends: [usize; 2],
    /// How long a message takes.
    latency_us: u64,
    /// Whether each end believes that there is a connection.
    open: [bool; 2],
    /// Which connection it is, counted from 1; 0 before the first.
    pub(crate) epoch: u32,
    /// Whether an attempt to connect is planned or under way.
    pub(crate) dialling: bool,
    /// Which attempt that is: one planned before it is void.
    pub(crate) attempt: u32,
    /// Never dialled again: one end is revoked or has misbehaved in the eyes of the other.
    pub(crate) given_up: bool,
    failures: u32,
    /// For each direction, when its last message arrives.
    last: [u64; 2],
}

impl Link {
    /// The other end; the first if `node` is neither.
    pub(crate) const fn other(&self, node: usize) -> usize {
        let [a, b] = self.ends;
        if a == node { b } else { a }
    }

    /// Whether `node` believes that there is a connection.
    pub(crate) const fn is_open(&self, node: usize) -> bool {
        let ([a, _], [first, second]) = (self.ends, self.open);
        if a == node { first } else { second }
    }

    /// Whether both ends believe it.
    pub(crate) const fn is_up(&self) -> bool {
        let [first, second] = self.open;
        first && second
    }

    /// How long a message takes.
    pub(crate) const fn latency_us(&self) -> u64 {
        self.latency_us
    }

    /// How long it takes to connect: TLS and the hello, two round trips.
    pub(crate) const fn handshake_us(&self) -> u64 {
        4 * self.latency_us
    }

    /// A connection is made.
    pub(crate) const fn connect(&mut self) {
        self.open = [true, true];
        self.dialling = false;
        self.failures = 0;
        self.epoch += 1;
    }

    /// `node` no longer believes in the connection; whether it did.
    pub(crate) const fn close(&mut self, node: usize) -> bool {
        let was = self.is_open(node);
        let ([a, _], [first, second]) = (self.ends, self.open);
        self.open = if a == node {
            [false, second]
        } else {
            [first, false]
        };
        was
    }

    /// An attempt failed; after how long the next follows.
    pub(crate) fn backoff_us(&mut self, rng: &mut Rng, redial_ms: u64) -> u64 {
        let wait = redial_ms << self.failures.min(MAX_BACKOFF);
        self.failures = self.failures.saturating_add(1);
        rng.between(wait * MS / 2, wait * MS * 3 / 2)
    }
}

/// All links of a mesh.
#[derive(Debug)]
pub(crate) struct Links {
    behaviour: scenario::Links,
    links: Vec<Link>,
    /// For each node, its links.
    of: Vec<Vec<usize>>,
}

impl Links {
    /// No links yet between `nodes` nodes.
    pub(crate) fn new(behaviour: scenario::Links, nodes: usize) -> Self {
        Self {
            behaviour,
            links: Vec::new(),
            of: vec![Vec::new(); nodes],
        }
    }

    /// Adds a link that is down.
    pub(crate) fn add(&mut self, rng: &mut Rng, ends: [usize; 2]) -> usize {
        let (low, high) = (self.behaviour.latency_min_ms, self.behaviour.latency_max_ms);
        let number = self.links.len();
        self.links.push(Link {
            ends,
            latency_us: rng.between(low * MS, high * MS),
            open: [false; 2],
            epoch: 0,
            dialling: false,
            attempt: 0,
            given_up: false,
            failures: 0,
            last: [0; 2],
        });
        for end in ends {
            if let Some(of) = self.of.get_mut(end) {
                of.push(number);
            }
        }
        number
    }

    /// How many there are.
    pub(crate) const fn len(&self) -> usize {
        self.links.len()
    }

    /// One of them.
    pub(crate) fn link(&self, number: usize) -> Option<&Link> {
        self.links.get(number)
    }

    /// One of them, to be changed.
    pub(crate) fn link_mut(&mut self, number: usize) -> Option<&mut Link> {
        self.links.get_mut(number)
    }

    /// The links of `node`, up or down.
    pub(crate) fn of(&self, node: usize) -> &[usize] {
        self.of.get(node).map_or(&[], Vec::as_slice)
    }

    /// The link between two nodes, if there is one.
    pub(crate) fn between(&self, a: usize, b: usize) -> Option<usize> {
        let mut of = self.of(a).iter().copied();
        of.find(|&l| self.link(l).is_some_and(|link| link.other(a) == b))
    }

    /// When each copy arrives of a message that `from` sends at `at`; none if it is lost.
    pub(crate) fn arrivals(
        &mut self,
        rng: &mut Rng,
        number: usize,
        from: usize,
        at: u64,
    ) -> Arrivals {
        let behaviour = &self.behaviour;
        let Some(link) = self.links.get_mut(number) else {
            return [None; 2];
        };
        let (mut at, mut resends) = (at, 0);
        while behaviour.loss > 0 && rng.chance(behaviour.loss) {
            if behaviour.resend_ms == 0 || resends >= MAX_RESENDS {
                return [None; 2];
            }
            at += (2 * link.latency_us + behaviour.resend_ms * MS) << resends;
            resends += 1;
        }
        let again = behaviour.duplicate > 0 && rng.chance(behaviour.duplicate);
        let direction = usize::from(link.ends.first() != Some(&from));
        let mut one = || {
            let jitter = match behaviour.jitter_ms {
                0 => 0,
                most => rng.between(0, most * MS),
            };
            let mut arrives = at + link.latency_us + jitter;
            if behaviour.ordered
                && let Some(last) = link.last.get_mut(direction)
            {
                arrives = arrives.max(*last);
                *last = arrives;
            }
            arrives
        };
        let first = one();
        [Some(first), again.then(one)]
    }
}

/// When a message arrives, and when a copy of it.
pub(crate) type Arrivals = [Option<u64>; 2];
