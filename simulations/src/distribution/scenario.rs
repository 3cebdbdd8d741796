//! Scenario files of the distribution: what happens to which part of a mesh, without the seed.
//!
//! Shares of nodes or messages are per thousand. Times are virtual; those named `at_ms`, `from_ms`
//! and `to_ms` count from the beginning of the run, all others are durations.

use anyhow::ensure;
use protocol::limits::MAX_ROLE_KEYS;
use serde::Deserialize;

use crate::scenario::{Kind, Simulation};

/// Most nodes, so that a typing error does not eat the machine.
const MAX_NODES: usize = 100_000;

/// Most peers of one node at the beginning.
const MAX_DEGREE: usize = 64;

/// Longest run: a virtual day.
const MAX_SECONDS: u64 = 86_400;

/// Most revocations of one run.
const MAX_REVOCATIONS: u64 = 20_000;

/// Most policies of a bundle in a mesh that was made smaller.
const SMALL_POLICIES: usize = 1_500;

/// Most entries published at once in a mesh that was made smaller.
const SMALL_ENTRIES: u64 = 200;

/// A whole scenario.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// Virtual seconds after which the run ends at the latest. It ends before when everything
    /// planned has happened and every node that can has everything, and `linger_ms` have passed.
    pub(crate) seconds: u64,
    /// For how long the run goes on after that.
    #[serde(default = "default_linger")]
    pub(crate) linger_ms: u64,
    /// Who there is.
    pub(crate) mesh: Mesh,
    /// What happens to messages and connections.
    #[serde(default)]
    pub(crate) links: Links,
    /// How fast a node is.
    #[serde(default)]
    pub(crate) host: Host,
    /// Nodes that die.
    #[serde(default)]
    pub(crate) dead: Dead,
    /// Nodes that come and go.
    #[serde(default)]
    pub(crate) churn: Churn,
    /// Nodes that do not follow the protocol.
    #[serde(default)]
    pub(crate) byzantine: Byzantine,
    /// Timestamps.
    #[serde(default)]
    pub(crate) timestamps: Timestamps,
    /// When the mesh falls apart, and when it is whole again.
    #[serde(default)]
    pub(crate) partition: Vec<Span>,
    /// Nodes that are switched off for a while, and come back with what they persisted.
    #[serde(default)]
    pub(crate) offline: Vec<Span>,
    /// Nodes whose clocks are wrong for a while, by more than `host.clock_off_ms`.
    #[serde(default)]
    pub(crate) clock: Vec<ClockSpan>,
    /// Nodes whose disk takes nothing for a while: they stop at the first write, and come back
    /// with what they had persisted when there is room again.
    #[serde(default)]
    pub(crate) full_disk: Vec<Span>,
    /// What the admins publish.
    pub(crate) publish: Vec<Publish>,
    /// When the operators ask which nodes have a revocation.
    #[serde(default)]
    pub(crate) pull: Vec<Pull>,
    /// What must hold at the end, beyond the invariants.
    #[serde(default)]
    pub(crate) expect: Expect,
    /// A deliberate fault, to show that the checker can fail.
    #[serde(default)]
    pub(crate) sabotage: Sabotage,
}

const fn default_linger() -> u64 {
    2_000
}

/// Who there is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mesh {
    /// How many nodes, those that misbehave included.
    pub(crate) nodes: usize,
    /// How many peers each has at the beginning, one less where two draws coincide.
    #[serde(default = "default_degree")]
    pub(crate) degree: usize,
    /// Admins the root names.
    #[serde(default = "one")]
    pub(crate) admins: usize,
    /// How many of them sign roots and bundles, and confirm a revocation.
    #[serde(default = "one")]
    pub(crate) threshold: usize,
    /// Timestampers the root names; as many nodes each hold the key of one.
    #[serde(default = "one")]
    pub(crate) timestampers: usize,
    /// Oldest timestamp with which a node is fresh.
    #[serde(default = "default_lease")]
    pub(crate) lease_s: u64,
}

const fn default_degree() -> usize {
    12
}

const fn one() -> usize {
    1
}

const fn default_lease() -> u64 {
    86_400
}

/// What happens to messages and connections.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Links {
    /// Every link has a latency of its own, at least this.
    pub(crate) latency_min_ms: u64,
    /// And at most this.
    pub(crate) latency_max_ms: u64,
    /// What one message may take longer.
    pub(crate) jitter_ms: u64,
    /// Whether the messages of one link keep their order, as on one QUIC stream.
    pub(crate) ordered: bool,
    /// Messages lost, of a thousand. Without `resend_ms` they are gone: nothing sends them again
    /// but the machine itself, while QUIC would within a round trip or two.
    pub(crate) loss: u64,
    /// How long after a round trip without an answer a lost message is sent again, twice as long
    /// each further time, as QUIC does it; 0: never.
    pub(crate) resend_ms: u64,
    /// Messages delivered twice, of a thousand.
    pub(crate) duplicate: u64,
    /// What a node can send, in megabits a second; 0: any amount.
    pub(crate) uplink_mbit: u64,
    /// How long a peer can be silent before the connection is given up.
    pub(crate) idle_timeout_ms: u64,
    /// How long until the next attempt to connect, doubled after every failure up to sixteen
    /// times as long.
    pub(crate) redial_ms: u64,
}

impl Default for Links {
    fn default() -> Self {
        Self {
            latency_min_ms: 10,
            latency_max_ms: 50,
            jitter_ms: 0,
            ordered: true,
            loss: 0,
            resend_ms: 0,
            duplicate: 0,
            uplink_mbit: 0,
            idle_timeout_ms: 10_000,
            redial_ms: 1_000,
        }
    }
}

/// How fast a node is. What it computes is done in the order in which it came, on one core.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Host {
    /// To take one event, verification excepted.
    pub(crate) handle_us: u64,
    /// To verify one signature.
    pub(crate) verify_us: u64,
    /// To make one.
    pub(crate) sign_us: u64,
    /// To persist, at least. A node's writes follow each other.
    pub(crate) persist_min_ms: u64,
    /// And at most.
    pub(crate) persist_max_ms: u64,
    /// To close the connections of who was revoked.
    pub(crate) close_ms: u64,
    /// How far a node's clock is off at most, either way.
    pub(crate) clock_off_ms: u64,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            handle_us: 20,
            verify_us: 150,
            sign_us: 500,
            persist_min_ms: 2,
            persist_max_ms: 15,
            close_ms: 1,
            clock_off_ms: 500,
        }
    }
}

/// Nodes that die for good, without a word.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Dead {
    /// How many, of a thousand.
    pub(crate) share: u64,
    /// When. Their peers notice after `links.idle_timeout_ms`.
    pub(crate) at_ms: u64,
}

/// Nodes that come and go: half of them say goodbye, half crash in the middle of what they do.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Churn {
    /// Since when.
    pub(crate) from_ms: u64,
    /// Until when nodes leave.
    pub(crate) to_ms: u64,
    /// How often one of them leaves, on average; 0: never.
    pub(crate) every_ms: u64,
    /// For how long, at least.
    pub(crate) down_min_ms: u64,
    /// And at most.
    pub(crate) down_max_ms: u64,
}

/// How many nodes do not follow the protocol, and in which way.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Byzantine {
    /// Push documents with forged signatures, own keys, and changed content.
    pub(crate) forgers: usize,
    /// Push what they heard before, in any order.
    pub(crate) replayers: usize,
    /// Take everything and say nothing.
    pub(crate) withholders: usize,
    /// Claim versions that do not exist, and cannot deliver them.
    pub(crate) announcers: usize,
    /// Follow the protocol, and change a bit in what they pass on.
    pub(crate) tamperers: usize,
    /// How often each acts, on average.
    pub(crate) every_ms: u64,
}

impl Byzantine {
    /// How many in all.
    pub(crate) const fn total(&self) -> usize {
        self.forgers + self.replayers + self.withholders + self.announcers + self.tamperers
    }
}

/// Timestamps, beyond the one that every run begins with.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Timestamps {
    /// How often each timestamper publishes one; 0: never.
    pub(crate) every_ms: u64,
}

/// A while in which something is the case for some of the nodes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Span {
    /// Since when.
    pub(crate) from_ms: u64,
    /// Until when.
    pub(crate) to_ms: u64,
    /// For how many of a thousand nodes, drawn by the seed.
    pub(crate) share: u64,
}

/// A while in which the clocks of some nodes are wrong.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClockSpan {
    /// Since when.
    pub(crate) from_ms: u64,
    /// Until when.
    pub(crate) to_ms: u64,
    /// For how many of a thousand nodes, drawn by the seed.
    pub(crate) share: u64,
    /// By how much they go later, or earlier.
    pub(crate) by_ms: i64,
}

/// Something the admins publish.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Publish {
    /// When.
    pub(crate) at_ms: u64,
    /// What.
    pub(crate) what: What,
    /// How many entries in one head, of a revocation.
    #[serde(default = "one_entry")]
    pub(crate) count: u64,
    /// Which admin's log, of a revocation.
    #[serde(default)]
    pub(crate) admin: usize,
    /// How many policies, of a bundle.
    #[serde(default = "one")]
    pub(crate) policies: usize,
}

const fn one_entry() -> u64 {
    1
}

/// What is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum What {
    /// The revocation of a node of this mesh, drawn by the seed among those that follow the
    /// protocol and publish nothing; `count` of them.
    RevokeNode,
    /// The revocation of every node and issuer that another admin has revoked.
    Confirm,
    /// The revocation of what the second issuer has issued from a sequence on, so that `count`
    /// nodes are hit.
    RevokeIssuer,
    /// This admin's lift of every revocation of a node by others.
    Lift,
    /// A root in which this admin is none any more, and the last `count` entries of its log count
    /// for nothing.
    Retire,
    /// What an admin who is none any more goes on to sign: the revocation of a node, handed to
    /// several nodes, which nobody may take.
    Rogue,
    /// Two different entries at the same place of an admin's log, each revoking a node, signed
    /// both and handed to different nodes. Nothing of this admin may follow.
    Fork,
    /// The revocation of `count` agents.
    RevokeAgent,
    /// The next bundle.
    Bundle,
    /// The next root, which changes nothing but its version.
    Root,
    /// The next root, of a new epoch.
    Epoch,
}

/// A request for acknowledgements of everything in an admin's log, at the node at which the admin
/// sits.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pull {
    /// When.
    pub(crate) at_ms: u64,
    /// Of which admin's log.
    #[serde(default)]
    pub(crate) admin: usize,
    /// For how long answers are wanted.
    #[serde(default = "default_life")]
    pub(crate) life_ms: u64,
}

const fn default_life() -> u64 {
    10_000
}

/// What must hold at the end. Times are virtual, so a bound that holds for a seed holds always.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Expect {
    /// Half of the nodes have a revocation effective within this.
    pub(crate) p50_ms: Option<u64>,
    /// 99 of 100 have.
    pub(crate) p99_ms: Option<u64>,
    /// All have.
    pub(crate) max_ms: Option<u64>,
    /// Most messages sent by one node on average, from the first publication on.
    pub(crate) messages_per_node: Option<u64>,
    /// Refusals (by name) that must have occurred, so that the scenario shows what it says.
    pub(crate) refusals: Vec<String>,
    /// How many nodes are revoked in the eyes of every connected node at the end.
    pub(crate) revoked_nodes: Option<usize>,
    /// Alarms (by name) that must have been raised.
    pub(crate) alarms: Vec<String>,
    /// Whether every pull must have been answered by every node that is honest and connected at
    /// the end.
    pub(crate) acknowledged: bool,
    /// Whether some node must have been stale for a while, its lease over.
    pub(crate) stale: bool,
    /// Whether some node must have stopped because its disk was full.
    pub(crate) full_disks: bool,
    /// Whether some node must have seen that its clock is behind verified time.
    pub(crate) clocks_behind: bool,
}

/// A deliberate fault.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Sabotage {
    /// None.
    #[default]
    Off,
    /// A node that returns starts from what it knew at the beginning.
    ForgetDisk,
    /// A node starts anew from what it knew at the beginning, in the middle of its life.
    GoBack,
    /// Nodes neither close the connections of who is revoked nor refuse new ones.
    AcceptRevoked,
    /// Nodes forward nothing.
    KeepToYourself,
    /// A bit of some honest message changes on the way.
    GarbleHonest,
    /// Writes are said to be done at once, and are lost in a crash.
    PersistNothing,
    /// The observer is not told of what is published.
    PublishUnseen,
    /// Every second node does not look at whom it is to refuse.
    IgnoreRevocations,
    /// Some node refuses one that nobody revoked.
    RefuseHonest,
    /// Nodes say they are fresh, whatever their timestamps.
    NeverStale,
    /// The last byte of every message is lost.
    CutMessages,
    /// Calls never flow.
    NeverCall,
    /// Machines are told that a write is done when it begins.
    AcknowledgeEarly,
    /// Calls flow as soon as a connection stands.
    CallBeforeSync,
    /// Every second node takes the word of one admin for a lift.
    LiftAlone,
    /// Nodes go by entries that a root has cut off.
    KeepCut,
    /// Nodes keep the bundle of the epoch before.
    KeepOldEpoch,
    /// Every second node takes the word of one admin against an issuer.
    LoneIssuer,
    /// Nodes say they are fresh, whatever their clock.
    IgnoreClock,
    /// Nodes go on as if what a full disk does not take were on it.
    IgnoreFullDisk,
}

impl Kind for Scenario {
    const SIMULATION: Simulation = Simulation::Distribution;

    fn validate(&self) -> anyhow::Result<()> {
        let mesh = &self.mesh;
        ensure!(
            (4..=MAX_NODES).contains(&mesh.nodes),
            "`mesh.nodes` must be 4 to {MAX_NODES}"
        );
        ensure!(
            (2..=MAX_DEGREE).contains(&mesh.degree) && mesh.degree < mesh.nodes,
            "`mesh.degree` must be 2 to {MAX_DEGREE}, and less than `mesh.nodes`"
        );
        for (name, count) in [("admins", mesh.admins), ("timestampers", mesh.timestampers)] {
            ensure!(
                (1..=MAX_ROLE_KEYS).contains(&count) && count <= mesh.nodes,
                "`mesh.{name}` must be 1 to {MAX_ROLE_KEYS}"
            );
        }
        ensure!(
            (1..=mesh.admins).contains(&mesh.threshold),
            "`mesh.threshold` must be 1 to `mesh.admins`"
        );
        ensure!(mesh.lease_s > 0, "`mesh.lease_s` must not be 0");
        ensure!(
            (1..=MAX_SECONDS).contains(&self.seconds),
            "`seconds` must be 1 to {MAX_SECONDS}"
        );
        ensure!(self.links.redial_ms > 0, "`links.redial_ms` must not be 0");
        self.validate_faults()?;
        self.validate_publications()
    }
}

impl Scenario {
    /// Makes the mesh one of at most `nodes`, with as many that misbehave and leave in proportion,
    /// and smaller documents.
    pub(crate) fn shrink(&mut self, nodes: usize) -> anyhow::Result<()> {
        let before = self.mesh.nodes;
        let nodes = nodes.min(before);
        self.mesh.nodes = nodes;
        self.mesh.degree = self.mesh.degree.min(nodes.saturating_sub(1));
        let byzantine = &mut self.byzantine;
        for count in [
            &mut byzantine.forgers,
            &mut byzantine.replayers,
            &mut byzantine.withholders,
            &mut byzantine.announcers,
            &mut byzantine.tamperers,
        ] {
            *count = *count * nodes / before;
        }
        self.churn.every_ms = self.churn.every_ms * before as u64 / nodes.max(1) as u64;
        for publish in &mut self.publish {
            publish.policies = publish.policies.min(SMALL_POLICIES);
            publish.count = publish.count.min(SMALL_ENTRIES);
        }
        self.validate()
    }

    fn validate_faults(&self) -> anyhow::Result<()> {
        let links = &self.links;
        ensure!(
            links.latency_min_ms <= links.latency_max_ms,
            "`links.latency_min_ms` is more than `links.latency_max_ms`"
        );
        ensure!(links.loss < 1000, "`links.loss` must be less than 1000");
        ensure!(
            self.host.persist_min_ms <= self.host.persist_max_ms,
            "`host.persist_min_ms` is more than `host.persist_max_ms`"
        );
        ensure!(
            self.churn.down_min_ms <= self.churn.down_max_ms,
            "`churn.down_min_ms` is more than `churn.down_max_ms`"
        );
        let byzantine = self.byzantine.total();
        ensure!(
            byzantine == 0 || self.byzantine.every_ms > 0,
            "`byzantine.every_ms` must not be 0"
        );
        ensure!(
            byzantine < self.mesh.nodes / 2,
            "half of the nodes at most may misbehave"
        );
        let spans = self.partition.iter().chain(&self.offline);
        let spans = spans.chain(&self.full_disk);
        let spans = spans.map(|s| (s.from_ms, s.to_ms, s.share));
        let clocks = self.clock.iter().map(|s| (s.from_ms, s.to_ms, s.share));
        for (from, to, share) in spans.chain(clocks) {
            ensure!(
                from < to && share <= 1000,
                "a partition, absence, wrong clock or full disk must end after it begins, for at \
                 most 1000 of a thousand"
            );
        }
        Ok(())
    }

    fn validate_publications(&self) -> anyhow::Result<()> {
        let mut revoked_nodes = 0_u64;
        let mut revocations = 0_u64;
        for publish in &self.publish {
            ensure!(
                publish.admin < self.mesh.admins,
                "`publish.admin` counts from 0 to less than `mesh.admins`"
            );
            ensure!(publish.count > 0, "`publish.count` must not be 0");
            revocations = revocations.saturating_add(publish.count);
            ensure!(
                publish.what != What::Fork || mesh_has_two(&self.mesh),
                "a fork needs two nodes that publish: more admins or timestampers"
            );
            ensure!(
                publish.what != What::Retire || self.mesh.threshold < self.mesh.admins,
                "who stays when an admin is retired must be enough to sign"
            );
            if matches!(publish.what, What::RevokeNode | What::RevokeIssuer) {
                revoked_nodes = revoked_nodes.saturating_add(publish.count);
            }
            ensure!(
                publish.at_ms < self.seconds.saturating_mul(1000),
                "something is published after the end"
            );
        }
        ensure!(
            self.pull.iter().all(|p| p.admin < self.mesh.admins),
            "`pull.admin` counts from 0 to less than `mesh.admins`"
        );
        ensure!(
            revocations <= MAX_REVOCATIONS && revoked_nodes <= self.mesh.nodes as u64 / 4,
            "more than {MAX_REVOCATIONS} revocations, or more than a quarter of the nodes revoked"
        );
        Ok(())
    }
}

/// Whether at least two nodes publish.
const fn mesh_has_two(mesh: &Mesh) -> bool {
    mesh.admins > 1 || mesh.timestampers > 1
}
