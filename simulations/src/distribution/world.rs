//! The run: a mesh of nodes and everything that can happen to it, stepped from event to event.
//!
//! What a step does is in [`super::machines`] (the production machine), [`super::connections`]
//! (links), [`super::plan`] (what the scenario plans) and [`super::verdict`] (the end).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use protocol::crypto::SigningSet;
use protocol::distribution::{Effect, HeadSet, Members, Message, PullId};
use protocol::id::NodeId;
use protocol::trust::TrustState;

use super::adversary::{Adversary, Kind};
use super::authority::Authority;
use super::crypto::SeededCrypto;
use super::disk::Disk;
use super::host::Host;
use super::invariants::Invariants;
use super::links::{Links, MS};
use super::report::{Effective, Report};
use super::scenario::Scenario;
use super::topology;
use super::trace::Trace;
use crate::queue::Queue;
use crate::rng::Rng;

/// Everything that can happen.
#[derive(Debug)]
pub(crate) enum Event {
    /// A message reaches a node over the connection with this number of a link.
    Arrive {
        link: usize,
        epoch: u32,
        to: usize,
        message: Arc<Message>,
    },
    /// A node's machine is to be called.
    Tick {
        node: usize,
        process: u32,
    },
    /// A node's machine is told that a write is done, and it is not.
    Pretend {
        node: usize,
        process: u32,
        id: u64,
    },
    /// A node's write is done.
    Written {
        node: usize,
        process: u32,
        id: u64,
    },
    /// A node closed a connection by itself; its machine is told.
    Gone {
        node: usize,
        process: u32,
        peer: usize,
    },
    /// An end of a connection learns that it is gone.
    Closed {
        link: usize,
        epoch: u32,
        end: usize,
    },
    /// An end of a connection looks whether its peer is still there.
    Probe {
        link: usize,
        epoch: u32,
        end: usize,
    },
    /// A link is to be connected.
    Dial {
        link: usize,
        attempt: u32,
    },
    /// A handshake ends.
    Connect {
        link: usize,
        attempt: u32,
    },
    /// The item of this number in the scenario's list is published.
    Publish(usize),
    /// The pull of this number begins.
    Pull(usize),
    /// A timestamper publishes its next timestamp.
    Timestamp(usize),
    /// Nodes die.
    Die,
    /// One of the nodes leaves for a while.
    Leave,
    /// A node comes back.
    Return(usize),
    /// A partition begins or ends.
    Split(usize),
    Heal(usize),
    /// Clocks go wrong, or right again.
    ClockWrong(usize),
    ClockRight(usize),
    /// Disks are full, or have room again.
    DiskFull(usize),
    DiskRoom(usize),
    /// A node's write has failed.
    Unwritten {
        node: usize,
        process: u32,
    },
    /// Nodes are switched off, or on again.
    SwitchOff(usize),
    SwitchOn(usize),
    /// A node that misbehaves does something.
    Mischief(usize),
    /// A node that nobody wants tries to connect with somebody else.
    Intrude(usize),
    /// A node is made to forget.
    GoBack,
    /// The observer looks at all nodes.
    Look,
}

/// Who the members are: everyone.
#[derive(Debug, Default)]
pub(crate) struct Everyone(HashMap<NodeId, SigningSet>);

impl Members for Everyone {
    fn signing_set(&self, node: &NodeId) -> Option<SigningSet> {
        self.0.get(node).cloned()
    }
}

/// What was counted.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) verified: u64,
}

/// One run.
pub(crate) struct World<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) rng: Rng,
    pub(crate) crypto: SeededCrypto,
    pub(crate) queue: Queue<Event>,
    pub(crate) authority: Authority,
    pub(crate) hosts: Vec<Host>,
    pub(crate) numbers: HashMap<NodeId, usize>,
    pub(crate) everyone: Everyone,
    pub(crate) links: Links,
    /// What every node holds at the beginning.
    pub(crate) genesis: TrustState,
    /// Which side of a partition each node is on, while there is one.
    pub(crate) sides: Option<Vec<bool>>,
    /// What each honest end of a link was promised when it was connected, and when that was, until
    /// calls flow.
    pub(crate) promised: BTreeMap<(usize, usize), (u64, HeadSet)>,
    /// How much of what is planned is still to come.
    pub(crate) planned: u64,
    /// When the observer saw that nothing is missing.
    pub(crate) settled_at: Option<u64>,
    /// Who is switched off, by the number of the absence.
    pub(crate) absent: Vec<(usize, usize)>,
    /// Whose clock is wrong, by the number of the while.
    pub(crate) wrong_clocks: Vec<(usize, usize)>,
    /// Whose clock was set right, and when.
    pub(crate) righted: BTreeMap<usize, u64>,
    /// Whose disk is full, by the number of the while.
    pub(crate) full_disks: Vec<(usize, usize)>,
    /// Whether what is published now is what nobody may take.
    pub(crate) rogue: bool,
    /// Whom an entry was published against, once.
    pub(crate) targets: BTreeSet<usize>,
    /// For each node and revocation, after how many microseconds it was effective.
    pub(crate) effective: Vec<HashMap<usize, u64>>,
    /// For each pull, who has acknowledged.
    pub(crate) acknowledged: BTreeMap<PullId, BTreeSet<usize>>,
    pub(crate) counts: Counts,
    /// When the first item was published.
    pub(crate) published_at: Option<u64>,
    pub(crate) invariants: Invariants,
    pub(crate) report: Report,
    pub(crate) trace: Trace,
    /// Effects of the step under way; kept for its capacity.
    pub(crate) effects: Vec<Effect>,
    /// The message last encoded and its size: a push to all peers is one message.
    pub(crate) sized: Option<(Arc<Message>, u64)>,
}

/// Runs `scenario` with `seed` to its end.
pub(crate) fn run(name: &str, scenario: &Scenario, seed: u64) -> anyhow::Result<Report> {
    let mut world = World::new(name, scenario, seed)?;
    world.plan();
    let end = scenario.seconds * 1000 * MS;
    while let Some(event) = world.queue.pop() {
        if world.queue.now > end || world.is_over() {
            break;
        }
        world.report.events += 1;
        world.step(event)?;
    }
    Ok(world.finish())
}

impl<'a> World<'a> {
    fn new(name: &str, scenario: &'a Scenario, seed: u64) -> anyhow::Result<Self> {
        let mut rng = Rng::new(seed);
        let crypto = SeededCrypto::new(Rng::new(rng.bits()));
        let authority = Authority::found(&crypto, &mut rng, &scenario.mesh)?;
        let (genesis, heads) = (authority.state().clone(), authority.heads());
        let disk = Disk::of(&genesis);
        let nodes = scenario.mesh.nodes;
        let off = scenario.host.clock_off_ms;
        let hosts: Vec<Host> = (0..nodes)
            .map(|_| Host::new(&mut rng, &disk, &heads, off))
            .collect();
        let set = |host: &Host| (host.id, host.signing_set().clone());
        let mut world = Self {
            scenario,
            crypto,
            queue: Queue::new(),
            numbers: hosts.iter().enumerate().map(|(n, h)| (h.id, n)).collect(),
            everyone: Everyone(hosts.iter().map(set).collect()),
            links: Links::new(scenario.links.clone(), nodes),
            sides: None,
            promised: BTreeMap::new(),
            planned: 0,
            settled_at: None,
            absent: Vec::new(),
            wrong_clocks: Vec::new(),
            righted: BTreeMap::new(),
            full_disks: Vec::new(),
            rogue: false,
            targets: BTreeSet::new(),
            effective: vec![HashMap::new(); nodes],
            acknowledged: BTreeMap::new(),
            counts: Counts::default(),
            published_at: None,
            invariants: Invariants::default(),
            report: empty_report(name, seed, nodes),
            trace: Trace::new(),
            effects: Vec::new(),
            sized: None,
            authority,
            hosts,
            genesis,
            rng,
        };
        world.invariants.published(&heads);
        world.enrol();
        world.corrupt();
        for node in 0..nodes {
            world.boot(node)?;
        }
        let pairs = topology::connect(&mut world.rng, nodes, scenario.mesh.degree);
        for (a, b) in pairs {
            let ends = if world.rng.chance(500) {
                [a, b]
            } else {
                [b, a]
            };
            let link = world.links.add(&mut world.rng, ends);
            world.dial_in(link, 0);
        }
        Ok(world)
    }

    /// Gives out memberships: of every second node that holds no role by the second issuer.
    fn enrol(&mut self) {
        let stable = self.stable();
        for (number, host) in self.hosts.iter_mut().enumerate() {
            let issuer = if number < stable { 0 } else { number % 2 };
            host.membership = (issuer, number as u64);
        }
    }

    /// Draws who misbehaves, among those that hold no role.
    fn corrupt(&mut self) {
        let byzantine = &self.scenario.byzantine;
        let kinds = [
            (Kind::Forger, byzantine.forgers),
            (Kind::Replayer, byzantine.replayers),
            (Kind::Withholder, byzantine.withholders),
            (Kind::Announcer, byzantine.announcers),
            (Kind::Tamperer, byzantine.tamperers),
        ];
        let order = topology::shuffled(&mut self.rng, self.hosts.len());
        let stable = self.stable();
        let mut order = order.into_iter().filter(|&node| node >= stable);
        for (kind, count) in kinds {
            for node in order.by_ref().take(count) {
                if let Some(host) = self.hosts.get_mut(node) {
                    host.adversary = Some(Adversary::new(kind));
                }
            }
        }
    }

    /// How many of the first nodes are always up and honest, so that what is published is not lost
    /// with who published it: one for each admin and timestamper.
    pub(crate) fn stable(&self) -> usize {
        let mesh = &self.scenario.mesh;
        mesh.admins.max(mesh.timestampers)
    }

    fn step(&mut self, event: Event) -> anyhow::Result<()> {
        match event {
            Event::Arrive {
                link,
                epoch,
                to,
                message,
            } => self.arrive(link, epoch, to, &message),
            Event::Tick { node, process } => self.tick(node, process),
            Event::Written { node, process, id } => self.written(node, process, id),
            Event::Pretend { node, process, id } => self.pretend(node, process, id),
            Event::Gone {
                node,
                process,
                peer,
            } => self.gone(node, process, peer),
            Event::Closed { link, epoch, end } => self.closed(link, epoch, end),
            Event::Probe { link, epoch, end } => self.probe(link, epoch, end),
            Event::Dial { link, attempt } => self.dial(link, attempt),
            Event::Connect { link, attempt } => self.connect(link, attempt),
            Event::Publish(number) => self.publish(number)?,
            Event::Pull(number) => self.pull(number),
            Event::Timestamp(number) => self.timestamp(number)?,
            Event::Die => self.die(),
            Event::Leave => self.leave(),
            Event::Return(node) => self.come_back(node)?,
            Event::Split(number) => self.split(number),
            Event::Heal(number) => self.heal(number),
            Event::ClockWrong(number) => self.clock_wrong(number),
            Event::ClockRight(number) => self.clock_right(number),
            Event::DiskFull(number) => self.disk_full(number),
            Event::DiskRoom(number) => self.disk_room(number)?,
            Event::Unwritten { node, process } => self.unwritten(node, process),
            Event::SwitchOff(number) => self.switch_off(number),
            Event::SwitchOn(number) => self.switch_on(number)?,
            Event::Mischief(node) => self.mischief(node),
            Event::Intrude(node) => self.intrude(node),
            Event::GoBack => self.go_back(),
            Event::Look => self.look(),
        }
        Ok(())
    }

    /// Milliseconds since the beginning.
    pub(crate) const fn at_ms(&self) -> u64 {
        self.queue.now / MS
    }
}

fn empty_report(name: &str, seed: u64, nodes: usize) -> Report {
    Report {
        scenario: name.to_owned(),
        seed,
        ok: false,
        nodes: nodes as u64,
        honest: 0,
        isolated: 0,
        effective_ms: Effective::default(),
        messages_per_node: 0,
        bytes_per_node: 0,
        verifications_per_node: 0,
        invariant_violations: 0,
        violations: Vec::new(),
        virtual_ms: 0,
        events: 0,
        revocations: 0,
        effective: 0,
        missing: 0,
        closed: 0,
        refused_connections: 0,
        returns: 0,
        acknowledged: 0,
        stale: 0,
        full_disks: 0,
        clocks_behind: 0,
        refused: BTreeMap::new(),
        alarms: BTreeMap::new(),
        curve_ms: Vec::new(),
        trace: String::new(),
    }
}
