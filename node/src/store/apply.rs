//! Making the writes of one group inside one transaction.
//!
//! Each request is checked whole before its first write, so that a refused request leaves
//! nothing behind in the transaction it shares with others.

use std::panic::{AssertUnwindSafe, catch_unwind};

use protocol::id::{Digest, NodeId};
use protocol::name::Name;
use protocol::time::UnixSeconds;
use redb::{Key, ReadableTable, ReadableTableMetadata, Table, Value, WriteTransaction};

use super::approvals;
use super::books::Books;
use super::error::panic_text;
use super::tables::{self, MakeDecision, Outcome, Prune, Write, meta};
use super::{MAX_WRITES_AT_ONCE, StorageFault, StoreError};

/// What a write without a value of its own is counted as in the queue.
const SMALL_COST: usize = 256;

/// What a decision record is counted as in the queue: the usual one, header digests included.
const DECISION_COST: usize = 1024;

/// What `writes` take of the queue, after checking the bounds that need no table.
pub(super) fn cost(writes: &[Write]) -> Result<usize, StoreError> {
    if writes.len() > MAX_WRITES_AT_ONCE {
        return Err(StoreError::TooMany {
            max: MAX_WRITES_AT_ONCE,
            found: writes.len(),
        });
    }
    let mut cost = 0_usize;
    for write in writes {
        let size = match tables::value_bound(write) {
            Some((table, found, max)) if found > max => {
                return Err(StoreError::TooLarge { table, max, found });
            }
            Some((_, found, _)) => found.saturating_add(SMALL_COST),
            None if matches!(write, Write::Decision(_)) => DECISION_COST,
            None => SMALL_COST,
        };
        cost = cost.saturating_add(size);
    }
    Ok(cost)
}

/// The end of the chain of decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// The next sequence.
    pub(super) next: u64,
    /// The hash of the last record.
    pub(super) hash: Digest,
    /// Bytes of the records kept.
    pub(super) bytes: u64,
}

/// The tables of one write transaction.
pub(super) struct Batch<'t> {
    /// The issuer's books are opened when something is written there: most commits have nothing.
    transaction: &'t WriteTransaction,
    head: Head,
    /// What [`meta::DECISION_BYTES`] says.
    bytes_before: u64,
    meta: Table<'t, &'static str, u64>,
    floors: Table<'t, &'static [u8; 32], u64>,
    decisions: Table<'t, u64, &'static [u8]>,
    pruned: Table<'t, u64, &'static [u8; 32]>,
    agents: Table<'t, &'static str, &'static [u8]>,
    servers: Table<'t, &'static str, &'static [u8]>,
    records: Table<'t, &'static [u8; 32], &'static [u8]>,
    memberships: Table<'t, &'static [u8; 32], &'static [u8]>,
    trust: Table<'t, &'static [u8], &'static [u8]>,
}

/// New entries a request makes, by table.
#[derive(Default)]
struct Growth {
    floors: u64,
    agents: u64,
    servers: u64,
    records: u64,
    memberships: u64,
    trust: u64,
}

/// A record that has its place and is not yet written.
struct Placed {
    sequence: u64,
    hash: Digest,
    value: Vec<u8>,
}

/// A write whose record, if it is one, has been made.
enum Ready {
    Write(Write),
    Decision(Placed),
}

impl<'t> Batch<'t> {
    pub(super) fn new(transaction: &'t WriteTransaction, head: Head) -> Result<Self, StorageFault> {
        Ok(Self {
            transaction,
            head,
            bytes_before: head.bytes,
            meta: transaction.open_table(tables::META)?,
            floors: transaction.open_table(tables::FLOORS)?,
            decisions: transaction.open_table(tables::DECISIONS)?,
            pruned: transaction.open_table(tables::PRUNED)?,
            agents: transaction.open_table(tables::AGENTS)?,
            servers: transaction.open_table(tables::SERVERS)?,
            records: transaction.open_table(tables::RECORDS)?,
            memberships: transaction.open_table(tables::MEMBERSHIPS)?,
            trust: transaction.open_table(tables::TRUST)?,
        })
    }

    /// Takes the chain's end as it was found, its bytes to be noted.
    pub(super) fn adopt(mut self, head: Head) -> Self {
        self.head = head;
        self
    }

    /// Ends the use of the tables; the chain's end is to be kept when the commit succeeds.
    pub(super) fn finish(mut self) -> Result<Head, StorageFault> {
        if self.head.bytes != self.bytes_before {
            put(&mut self.meta, meta::DECISION_BYTES, self.head.bytes)?;
        }
        Ok(self.head)
    }

    /// Makes one request's writes. The outer error ends the whole group.
    pub(super) fn request(
        &mut self,
        writes: Vec<Write>,
    ) -> Result<Result<Vec<Outcome>, StoreError>, StorageFault> {
        if let Some(refusal) = self.refusal(&writes)? {
            return Ok(Err(refusal));
        }
        let (head, ready) = match place(self.head, writes) {
            Ok(placed) => placed,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let mut outcomes = Vec::with_capacity(ready.len());
        self.head = head;
        for write in ready {
            outcomes.push(match write {
                Ready::Write(write) => self.write(write)?,
                Ready::Decision(placed) => self.decide(placed)?,
            });
        }
        Ok(Ok(outcomes))
    }

    /// Why the tables cannot take a request, if so. Removals in the same request make no room.
    fn refusal(&self, writes: &[Write]) -> Result<Option<StoreError>, StorageFault> {
        let mut new = Growth::default();
        let mut held = Vec::new();
        for write in writes {
            match write {
                Write::PutApproval(id, _) => held.push(*id),
                Write::ReplayFloor { issuer, .. } => {
                    new.floors += absent(&self.floors, issuer.as_bytes())?;
                }
                Write::PutAgent(name, _) => new.agents += absent(&self.agents, name.as_str())?,
                Write::PutServer(name, _) => new.servers += absent(&self.servers, name.as_str())?,
                Write::PutNodeRecord(id, _) => {
                    new.records += absent(&self.records, id.as_bytes())?;
                }
                Write::PutMembership(id, _) => {
                    new.memberships += absent(&self.memberships, id.as_bytes())?;
                }
                Write::PutTrust(row, _) => {
                    new.trust += absent(&self.trust, row.key().as_slice())?;
                }
                _ => {}
            }
        }
        let (held_new, held) = approvals::growth(self.transaction, &held)?;
        let bounds = [
            ("approval", held, held_new, approvals::MAX_APPROVALS),
            (
                "replay floor",
                self.floors.len()?,
                new.floors,
                tables::MAX_NODES,
            ),
            ("agent", self.agents.len()?, new.agents, tables::MAX_AGENTS),
            (
                "server",
                self.servers.len()?,
                new.servers,
                tables::MAX_SERVERS,
            ),
            (
                "node record",
                self.records.len()?,
                new.records,
                tables::MAX_NODES,
            ),
            (
                "membership",
                self.memberships.len()?,
                new.memberships,
                tables::MAX_NODES,
            ),
            (
                "trust document",
                self.trust.len()?,
                new.trust,
                super::trust::MAX_ROWS,
            ),
        ];
        let full = bounds
            .into_iter()
            .find(|(_, held, new, max)| *new > 0 && held.saturating_add(*new) > *max);
        Ok(full.map(|(table, _, _, max)| StoreError::TableFull { table, max }))
    }

    fn write(&mut self, write: Write) -> Result<Outcome, StorageFault> {
        match write {
            Write::GreatestTime(time) => raise(&mut self.meta, meta::GREATEST_TIME, time.0)?,
            Write::ProcessStart(time) => put(&mut self.meta, meta::PROCESS_START, time.0)?,
            Write::ReplayFloor { issuer, until } => {
                raise(&mut self.floors, issuer.as_bytes(), until.0)?;
            }
            Write::PruneFloors(before) => return self.prune_floors(before),
            Write::PruneDecisions(prune) => return self.prune_decisions(&prune),
            Write::PutAgent(name, agent) => {
                let bytes = minicbor::to_vec(&agent)
                    .map_err(|e| StorageFault::Io(super::error::one_line(&e.to_string())))?;
                put(&mut self.agents, name.as_str(), bytes.as_slice())?;
            }
            Write::PutServer(name, spec) => {
                put(&mut self.servers, name.as_str(), spec.as_slice())?;
            }
            Write::PutNodeRecord(id, bytes) => {
                put(&mut self.records, id.as_bytes(), bytes.as_slice())?;
            }
            Write::PutMembership(id, bytes) => {
                put(&mut self.memberships, id.as_bytes(), bytes.as_slice())?;
            }
            Write::RemoveAgent(name) => return remove_named(&mut self.agents, &name),
            Write::RemoveServer(name) => return remove_named(&mut self.servers, &name),
            Write::RemoveNodeRecord(id) => return remove_node(&mut self.records, &id),
            Write::RemoveMembership(id) => return remove_node(&mut self.memberships, &id),
            Write::Books(work) => {
                work(&mut Books::open(self.transaction, &mut self.memberships)?)?;
            }
            Write::PutApproval(id, bytes) => {
                return approvals::put(self.transaction, &id, &bytes);
            }
            Write::RemoveApproval(id) => return approvals::remove(self.transaction, &id),
            Write::PutTrust(row, bytes) => {
                put(&mut self.trust, row.key().as_slice(), bytes.as_slice())?;
            }
            Write::RemoveTrust(row) => {
                let gone = self.trust.remove(row.key().as_slice())?.is_some();
                return Ok(Outcome::Removed(gone));
            }
            Write::PastBundle(version, bytes) => {
                super::history::put(self.transaction, version, &bytes)?;
            }
            // `place` has made a record of every one of these.
            Write::Decision(_) => {}
        }
        Ok(Outcome::Stored)
    }

    fn decide(&mut self, placed: Placed) -> Result<Outcome, StorageFault> {
        put(
            &mut self.decisions,
            placed.sequence,
            placed.value.as_slice(),
        )?;
        Ok(Outcome::Decided {
            sequence: placed.sequence,
            hash: placed.hash,
        })
    }

    fn prune_floors(&mut self, before: UnixSeconds) -> Result<Outcome, StorageFault> {
        // One pass over at most `MAX_NODES` entries, seldom asked for.
        let held = self.floors.len()?;
        self.floors.retain(|_, until| until >= before.0)?;
        let pruned = held.saturating_sub(self.floors.len()?);
        Ok(Outcome::Pruned(
            usize::try_from(pruned).unwrap_or(usize::MAX),
        ))
    }
}

impl Batch<'_> {
    /// Forgets from the oldest record on until one is to be kept, and notes where it stopped.
    fn prune_decisions(&mut self, prune: &Prune) -> Result<Outcome, StorageFault> {
        let newest = self.decisions.last()?.map(|(sequence, _)| sequence.value());
        let mut last = None;
        let mut pruned = 0;
        while pruned < tables::PRUNE_AT_ONCE {
            let Some(oldest) = self.oldest(prune, newest)? else {
                break;
            };
            self.decisions.remove(oldest.sequence)?;
            self.head.bytes = self.head.bytes.saturating_sub(oldest.bytes);
            last = Some(oldest);
            pruned = pruned.saturating_add(1);
        }
        if let Some(Oldest { sequence, hash, .. }) = last {
            self.pruned.retain(|_, _| false)?;
            put(&mut self.pruned, sequence, hash.as_bytes())?;
        }
        Ok(Outcome::Pruned(pruned))
    }

    /// The oldest record, if it is to be forgotten.
    fn oldest(&self, prune: &Prune, newest: Option<u64>) -> Result<Option<Oldest>, StorageFault> {
        let Some((sequence, value)) = self.decisions.first()? else {
            return Ok(None);
        };
        let (sequence, value) = (sequence.value(), value.value());
        // One too short to be a record stays, and is found when the store is opened.
        let Some((hash, record)) = value.split_first_chunk::<{ Digest::LEN }>() else {
            return Ok(None);
        };
        let too_many = self.head.bytes > prune.keep_bytes;
        let forgotten = Some(sequence) != newest && (too_many || (prune.expired)(record));
        Ok(forgotten.then(|| Oldest {
            sequence,
            hash: Digest::from_bytes(*hash),
            bytes: byte_count(value),
        }))
    }
}

/// A record about to be forgotten.
struct Oldest {
    sequence: u64,
    hash: Digest,
    bytes: u64,
}

/// The length of a stored value.
pub(super) fn byte_count(value: &[u8]) -> u64 {
    u64::try_from(value.len()).unwrap_or(u64::MAX)
}

/// Gives each decision of a request its place after `head`, and returns the head after them.
fn place(mut head: Head, writes: Vec<Write>) -> Result<(Head, Vec<Ready>), StoreError> {
    let mut ready = Vec::with_capacity(writes.len());
    for write in writes {
        ready.push(match write {
            Write::Decision(make) => Ready::Decision(place_one(&mut head, make)?),
            other => Ready::Write(other),
        });
    }
    Ok((head, ready))
}

fn place_one(head: &mut Head, make: MakeDecision) -> Result<Placed, StoreError> {
    let sequence = head.next;
    let previous = head.hash;
    // The caller's code: a panic in it must not unwind through redb's transaction.
    let made = catch_unwind(AssertUnwindSafe(move || make(sequence, previous)));
    let (bytes, hash) = made.map_err(|panic| StoreError::RecordFailed {
        what: panic_text(&*panic).into(),
    })?;
    if bytes.len() > tables::MAX_DECISION_BYTES {
        return Err(StoreError::TooLarge {
            table: "decision",
            max: tables::MAX_DECISION_BYTES,
            found: bytes.len(),
        });
    }
    let mut value = Vec::with_capacity(Digest::LEN.saturating_add(bytes.len()));
    value.extend_from_slice(hash.as_bytes());
    value.extend_from_slice(&bytes);
    head.next = sequence.saturating_add(1);
    head.hash = hash;
    head.bytes = head.bytes.saturating_add(byte_count(&value));
    Ok(Placed {
        sequence,
        hash,
        value,
    })
}

/// 1 when `key` is not in the table, else 0.
fn absent<'k, K: Key + 'static, V: Value + 'static>(
    table: &Table<'_, K, V>,
    key: impl core::borrow::Borrow<K::SelfType<'k>>,
) -> Result<u64, StorageFault> {
    Ok(u64::from(table.get(key)?.is_none()))
}

fn put<'k, 'v, K: Key + 'static, V: Value + 'static>(
    table: &mut Table<'_, K, V>,
    key: impl core::borrow::Borrow<K::SelfType<'k>>,
    value: impl core::borrow::Borrow<V::SelfType<'v>>,
) -> Result<(), StorageFault> {
    table.insert(key, value)?;
    Ok(())
}

/// Stores a number unless a greater one is stored.
fn raise<'k, K: Key + 'static>(
    table: &mut Table<'_, K, u64>,
    key: K::SelfType<'k>,
    value: u64,
) -> Result<(), StorageFault> {
    let held = table.get(&key)?.map(|v| v.value());
    if held.is_none_or(|held| held < value) {
        table.insert(&key, value)?;
    }
    Ok(())
}

fn remove_named(
    table: &mut Table<'_, &'static str, &'static [u8]>,
    name: &Name,
) -> Result<Outcome, StorageFault> {
    Ok(Outcome::Removed(table.remove(name.as_str())?.is_some()))
}

fn remove_node(
    table: &mut Table<'_, &'static [u8; 32], &'static [u8]>,
    id: &NodeId,
) -> Result<Outcome, StorageFault> {
    Ok(Outcome::Removed(table.remove(id.as_bytes())?.is_some()))
}
