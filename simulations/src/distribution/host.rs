//! One node of the mesh: the production machine, its disk, its processor and its clock.

use std::collections::BTreeSet;

use protocol::crypto::SigningSet;
use protocol::distribution::{Document, HeadSet, Machine};
use protocol::id::NodeId;
use protocol::time::UnixMillis;
use protocol::trust::state::Memory;

use super::adversary::Adversary;
use super::crypto::KeySet;
use super::disk::Disk;
use super::links::MS;
use crate::rng::Rng;

/// True time at the beginning: far enough from 1970 that every clock can be off.
pub(crate) const EPOCH_MS: u64 = 1_800_000_000_000;

/// A write under way.
#[derive(Debug)]
pub(crate) struct Write {
    id: u64,
    /// What will be durable with it.
    heads: HeadSet,
    documents: Vec<Document>,
    memory: Memory,
}

/// One node.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) id: NodeId,
    pub(crate) keys: KeySet,
    /// How it misbehaves, if it does.
    pub(crate) adversary: Option<Adversary>,
    /// What runs while it is up; nothing in most that misbehave.
    pub(crate) machine: Option<Machine>,
    pub(crate) up: bool,
    /// Counts its processes: what an earlier one began is void.
    pub(crate) process: u32,
    /// Whether it is gone for good.
    pub(crate) dead: bool,
    /// Whether an entry that revokes it was signed beside another in its place.
    pub(crate) disputed: bool,
    /// Whether an entry that revokes it was published, and is not void.
    pub(crate) revoked: bool,
    /// What was last seen in force.
    pub(crate) known: HeadSet,
    /// What is on disk, as versions and as documents.
    pub(crate) durable: HeadSet,
    pub(crate) disk: Disk,
    writes: Vec<Write>,
    /// When its processor, disk and uplink have done what they were given.
    busy_until: u64,
    disk_until: u64,
    uplink_until: u64,
    /// When it closed the last connection of somebody revoked.
    pub(crate) closed_at: u64,
    /// When its machine wants to be called.
    pub(crate) tick_at: Option<u64>,
    /// Since when it could have heard of everything.
    pub(crate) reachable_since: u64,
    /// By how many milliseconds its clock is off.
    clock_off: i64,
    /// Which issuer's membership it has, and with which sequence.
    pub(crate) membership: (usize, u64),
    /// Whether its disk takes nothing now.
    pub(crate) disk_full: bool,
    /// Whom it took for revoked when it was last looked at, in this process.
    pub(crate) refusing: BTreeSet<usize>,
}

impl Host {
    /// A node that is up and holds what everybody holds at the beginning.
    pub(crate) fn new(rng: &mut Rng, disk: &Disk, heads: &HeadSet, clock_off_ms: u64) -> Self {
        let off = |ms: u64| i64::try_from(ms).unwrap_or(0);
        Self {
            id: NodeId::from_bytes(rng.bytes()),
            keys: KeySet::new(rng),
            adversary: None,
            machine: None,
            up: true,
            process: 0,
            dead: false,
            disputed: false,
            revoked: false,
            known: heads.clone(),
            durable: heads.clone(),
            disk: disk.clone(),
            writes: Vec::new(),
            busy_until: 0,
            disk_until: 0,
            uplink_until: 0,
            closed_at: 0,
            tick_at: None,
            reachable_since: 0,
            clock_off: off(rng.between(0, 2 * clock_off_ms)) - off(clock_off_ms),
            membership: (0, 0),
            disk_full: false,
            refusing: BTreeSet::new(),
        }
    }

    /// Whether it follows the protocol and nobody revoked it.
    pub(crate) const fn is_honest(&self) -> bool {
        self.adversary.is_none() && !self.revoked
    }

    /// The public half of its signing set.
    pub(crate) fn signing_set(&self) -> &SigningSet {
        protocol::crypto::Signer::public(&self.keys)
    }

    /// What its clock shows at `now`.
    pub(crate) fn clock(&self, now: u64) -> UnixMillis {
        UnixMillis((EPOCH_MS + now / MS).saturating_add_signed(self.clock_off))
    }

    /// When that clock shows `time`, rounded up.
    pub(crate) fn when(&self, time: UnixMillis) -> u64 {
        let shown = time.0.saturating_add_signed(-self.clock_off);
        shown.saturating_sub(EPOCH_MS).saturating_mul(MS)
    }

    /// Its clock is set by so much.
    pub(crate) const fn set_clock(&mut self, by_ms: i64) {
        self.clock_off += by_ms;
        self.tick_at = None;
    }

    /// Computes for `cost_us` as soon as it can from `now` on; when it is done.
    pub(crate) fn compute(&mut self, now: u64, cost_us: u64) -> u64 {
        self.busy_until = self.busy_until.max(now) + cost_us;
        self.busy_until
    }

    /// Sends `bytes` at `mbit` a second as soon as it can from `at` on; when the last is out.
    pub(crate) fn send(&mut self, at: u64, bytes: u64, mbit: u64) -> u64 {
        if mbit == 0 {
            return at;
        }
        self.uplink_until = self.uplink_until.max(at) + bytes * 8 / mbit;
        self.uplink_until
    }

    /// Begins a write at `at` that takes `takes_us`; when it is done.
    pub(crate) fn write(
        &mut self,
        at: u64,
        takes_us: u64,
        id: u64,
        documents: Vec<Document>,
    ) -> u64 {
        let state = self.machine.as_ref().map(|m| m.state());
        let memory = state.map(|s| s.memory()).unwrap_or_default();
        self.disk_until = self.disk_until.max(at) + takes_us;
        self.writes.push(Write {
            id,
            heads: self.known.clone(),
            documents,
            memory,
        });
        self.disk_until
    }

    /// The write `id` is done, and every one before it. False if there is none such.
    pub(crate) fn written(&mut self, id: u64) -> bool {
        let done = self.writes.iter().take_while(|w| w.id <= id).count();
        for write in self.writes.drain(..done) {
            self.disk.write(write.documents, write.memory);
            self.durable = write.heads;
        }
        done > 0
    }

    /// Stops: what was in memory and what was being written is gone.
    pub(crate) fn stop(&mut self) {
        self.up = false;
        self.process += 1;
        self.machine = None;
        self.writes.clear();
        self.refusing.clear();
        self.tick_at = None;
    }

    /// Starts again at `now` with `machine`.
    pub(crate) fn start(&mut self, now: u64, machine: Machine) {
        self.up = true;
        self.known = machine.state().heads();
        self.machine = Some(machine);
        self.reachable_since = now;
        self.busy_until = now;
        self.disk_until = now;
        self.uplink_until = now;
    }
}
