//! Typed reads of the last committed state.

use core::ops::RangeBounds;

use protocol::id::{Digest, NodeId};
use protocol::name::Name;
use protocol::time::{UnixMillis, UnixSeconds};
use redb::{Key, ReadOnlyTable, ReadTransaction, ReadableTable, Value};

use super::books::is_missing;
use super::tables::{self, Agent, meta};
use super::{StorageFault, StoreError, TrustRow};

/// Most decision records returned by one read: at the usual kilobyte each, a megabyte.
pub const READ_AT_ONCE: usize = 1024;

/// One decision record as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Its sequence.
    pub sequence: u64,
    /// Its hash, which the next record names.
    pub hash: Digest,
    /// Its canonical bytes.
    pub bytes: Vec<u8>,
}

/// Where the decision records kept begin, once older ones were forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrunePoint {
    /// The sequence of the last record forgotten.
    pub sequence: u64,
    /// Its hash, which the first record kept names as the one before it.
    pub hash: Digest,
}

/// A state of the store that does not change. While it is held, space freed by later writes is
/// not reused: hold it for one read, not for a session.
pub struct Snapshot {
    transaction: ReadTransaction,
}

impl core::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Snapshot")
    }
}

type Result<T> = core::result::Result<T, StoreError>;

fn fault(error: impl Into<StorageFault>) -> StoreError {
    StoreError::Read(error.into())
}

impl Snapshot {
    pub(super) fn new(transaction: ReadTransaction) -> Self {
        Self { transaction }
    }

    /// The greatest verified time, if any was stored.
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub fn greatest_time(&self) -> Result<Option<UnixMillis>> {
        Ok(self.meta(meta::GREATEST_TIME)?.map(UnixMillis))
    }

    /// When the last process that said so started.
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub fn process_start(&self) -> Result<Option<UnixMillis>> {
        Ok(self.meta(meta::PROCESS_START)?.map(UnixMillis))
    }

    /// Every issuer's replay floor, by issuer; at most [`tables::MAX_NODES`].
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub fn replay_floors(&self) -> Result<Vec<(NodeId, UnixSeconds)>> {
        self.all("replay floor", tables::FLOORS, |key, value| {
            Some((NodeId::from_bytes(*key), UnixSeconds(value)))
        })
    }

    /// One agent.
    ///
    /// # Errors
    /// [`StoreError::Read`], [`StoreError::Malformed`].
    pub fn agent(&self, name: &Name) -> Result<Option<Agent>> {
        let table = self.table(tables::AGENTS)?;
        let found = table.get(name.as_str()).map_err(fault)?;
        let decode = |bytes: &[u8]| decode_agent(bytes).ok_or(malformed("agent"));
        found.map(|v| decode(v.value())).transpose()
    }

    /// Every agent, by name; at most [`tables::MAX_AGENTS`].
    ///
    /// # Errors
    /// [`StoreError::Read`], [`StoreError::Malformed`].
    pub fn agents(&self) -> Result<Vec<(Name, Agent)>> {
        self.all("agent", tables::AGENTS, |name, bytes| {
            Some((name.parse().ok()?, decode_agent(bytes)?))
        })
    }

    /// Every server's JSON specification, by name; at most [`tables::MAX_SERVERS`].
    ///
    /// # Errors
    /// [`StoreError::Read`], [`StoreError::Malformed`].
    pub fn servers(&self) -> Result<Vec<(Name, Vec<u8>)>> {
        self.all("server", tables::SERVERS, |name, bytes| {
            Some((name.parse().ok()?, bytes.to_vec()))
        })
    }

    /// A node's signed record.
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub fn node_record(&self, id: &NodeId) -> Result<Option<Vec<u8>>> {
        let table = self.table(tables::RECORDS)?;
        let found = table.get(id.as_bytes()).map_err(fault)?;
        Ok(found.map(|v| v.value().to_vec()))
    }

    /// Shows every node's signed record, by node, one at a time: all of them together may be more
    /// than memory should hold. At most [`tables::MAX_NODES`].
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub fn each_node_record(&self, mut see: impl FnMut(NodeId, &[u8])) -> Result<()> {
        let table = self.table(tables::RECORDS)?;
        for entry in table.iter().map_err(fault)? {
            let (key, value) = entry.map_err(fault)?;
            see(NodeId::from_bytes(*key.value()), value.value());
        }
        Ok(())
    }

    /// Every node a record is kept of; at most [`tables::MAX_NODES`].
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub fn recorded_nodes(&self) -> Result<Vec<NodeId>> {
        self.all("node record", tables::RECORDS, |key, _| {
            Some(NodeId::from_bytes(*key))
        })
    }

    /// A node's membership.
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub fn membership(&self, id: &NodeId) -> Result<Option<Vec<u8>>> {
        let table = self.table(tables::MEMBERSHIPS)?;
        let found = table.get(id.as_bytes()).map_err(fault)?;
        Ok(found.map(|v| v.value().to_vec()))
    }

    /// Every node's membership, by node; at most [`tables::MAX_NODES`].
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub fn memberships(&self) -> Result<Vec<(NodeId, Vec<u8>)>> {
        self.all("membership", tables::MEMBERSHIPS, |key, bytes| {
            Some((NodeId::from_bytes(*key), bytes.to_vec()))
        })
    }

    /// Shows every node's membership, by node, one at a time.
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub fn each_membership(&self, mut see: impl FnMut(NodeId, &[u8])) -> Result<()> {
        let table = self.table(tables::MEMBERSHIPS)?;
        for entry in table.iter().map_err(fault)? {
            let (key, value) = entry.map_err(fault)?;
            see(NodeId::from_bytes(*key.value()), value.value());
        }
        Ok(())
    }

    /// Every trust document and part of one, in the order of their keys: the
    /// entries of a log by place.
    ///
    /// # Errors
    /// [`StoreError::Read`], [`StoreError::Malformed`].
    pub fn trust(&self) -> Result<Vec<(TrustRow, Vec<u8>)>> {
        self.all("trust document", tables::TRUST, |key, bytes| {
            Some((TrustRow::from_key(key)?, bytes.to_vec()))
        })
    }

    /// The decision records of a range of sequences, in order, at most [`READ_AT_ONCE`] of them:
    /// go on from the last one's sequence.
    ///
    /// # Errors
    /// [`StoreError::Read`], [`StoreError::Malformed`].
    pub fn decisions(&self, range: impl RangeBounds<u64>) -> Result<Vec<Decision>> {
        let table = self.table(tables::DECISIONS)?;
        let entries = table.range::<u64>(range).map_err(fault)?;
        let mut records = Vec::new();
        for entry in entries.take(READ_AT_ONCE) {
            let (sequence, value) = entry.map_err(fault)?;
            let decision = split_decision(sequence.value(), value.value());
            records.push(decision.ok_or(malformed("decision"))?);
        }
        Ok(records)
    }

    /// The last decision record, if there is one.
    ///
    /// # Errors
    /// [`StoreError::Read`], [`StoreError::Malformed`].
    pub fn last_decision(&self) -> Result<Option<Decision>> {
        let table = self.table(tables::DECISIONS)?;
        let Some((sequence, value)) = table.last().map_err(fault)? else {
            return Ok(None);
        };
        let decision = split_decision(sequence.value(), value.value());
        decision.ok_or(malformed("decision")).map(Some)
    }

    /// Where the records kept begin; `None` while none was forgotten.
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub fn prune_point(&self) -> Result<Option<PrunePoint>> {
        let table = self.table(tables::PRUNED)?;
        let found = table.last().map_err(fault)?;
        Ok(found.map(|(sequence, hash)| PrunePoint {
            sequence: sequence.value(),
            hash: Digest::from_bytes(*hash.value()),
        }))
    }

    fn meta(&self, name: &str) -> Result<Option<u64>> {
        let found = self.table(tables::META)?.get(name).map_err(fault)?;
        Ok(found.map(|v| v.value()))
    }

    fn table<K: Key + 'static, V: Value + 'static>(
        &self,
        definition: redb::TableDefinition<'_, K, V>,
    ) -> Result<ReadOnlyTable<K, V>> {
        self.transaction.open_table(definition).map_err(fault)
    }

    /// One entry of a table that may not be there yet.
    pub(super) fn one<K: Key + 'static, T>(
        &self,
        what: &'static str,
        definition: redb::TableDefinition<'_, K, &'static [u8]>,
        key: K::SelfType<'_>,
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Option<T>> {
        let table = match self.transaction.open_table(definition) {
            Ok(table) => table,
            Err(e) if is_missing(&e) => return Ok(None),
            Err(e) => return Err(fault(e)),
        };
        let found = table.get(key).map_err(fault)?;
        found
            .map(|v| read(v.value()).ok_or(malformed(what)))
            .transpose()
    }

    /// Every entry of a table that may not be there yet, and whose size the writer bounds.
    pub(super) fn every<K: Key + 'static, V: Value + 'static, T>(
        &self,
        what: &'static str,
        definition: redb::TableDefinition<'_, K, V>,
        read: impl Fn(K::SelfType<'_>, V::SelfType<'_>) -> Option<T>,
    ) -> Result<Vec<T>> {
        match self.transaction.open_table(definition) {
            Ok(table) => collect(what, &table, read),
            Err(e) if is_missing(&e) => Ok(Vec::new()),
            Err(e) => Err(fault(e)),
        }
    }

    /// Every entry of a table whose size the writer bounds.
    fn all<K: Key + 'static, V: Value + 'static, T>(
        &self,
        what: &'static str,
        definition: redb::TableDefinition<'_, K, V>,
        read: impl Fn(K::SelfType<'_>, V::SelfType<'_>) -> Option<T>,
    ) -> Result<Vec<T>> {
        collect(what, &self.table(definition)?, read)
    }
}

fn collect<K: Key + 'static, V: Value + 'static, T>(
    what: &'static str,
    table: &ReadOnlyTable<K, V>,
    read: impl Fn(K::SelfType<'_>, V::SelfType<'_>) -> Option<T>,
) -> Result<Vec<T>> {
    let mut entries = Vec::new();
    for entry in table.iter().map_err(fault)? {
        let (key, value) = entry.map_err(fault)?;
        entries.push(read(key.value(), value.value()).ok_or(malformed(what))?);
    }
    Ok(entries)
}

const fn malformed(table: &'static str) -> StoreError {
    StoreError::Malformed { table }
}

fn decode_agent(bytes: &[u8]) -> Option<Agent> {
    let agent: Agent = minicbor::decode(bytes).ok()?;
    (minicbor::to_vec(&agent).ok()? == bytes).then_some(agent)
}

pub(super) fn split_decision(sequence: u64, value: &[u8]) -> Option<Decision> {
    let (hash, bytes) = value.split_first_chunk::<{ Digest::LEN }>()?;
    Some(Decision {
        sequence,
        hash: Digest::from_bytes(*hash),
        bytes: bytes.to_vec(),
    })
}
