//! The books of an issuer: tickets, who redeemed them, to whom names and keys are bound, what was
//! issued when, and who waits for a person.
//!
//! They are changed by [`Store::books`] alone: the caller's function runs inside the write
//! transaction, so what it reads cannot change before what it writes, and a ticket has no use more
//! than it has. The store keeps the books and bounds them; what they mean is the issuer's business.
//! A function that refuses should have written nothing: what it wrote is committed all the same.

use std::sync::{Arc, Mutex, PoisonError};

use protocol::id::{Kid, NodeId, SignerId, TicketId};
use protocol::name::Name;
use protocol::time::UnixSeconds;
use redb::{
    ReadableTable, ReadableTableMetadata as _, Table, TableDefinition, TableError, WriteTransaction,
};

use super::snapshot::Snapshot;
use super::tables::Write;
use super::{StorageFault, Store, StoreError, tables};

/// Most tickets kept, ended ones included until they are forgotten.
pub const MAX_TICKETS: u64 = 10_000;

/// Most nodes that wait for a person, refused ones included until they are forgotten.
pub const MAX_PENDING: u64 = 1024;

/// Most redemptions remembered.
pub const MAX_REDEMPTIONS: u64 = 4 * tables::MAX_NODES;

type Bytes32 = &'static [u8; 32];

/// Ticket → [`KeptTicket`] in CBOR.
const TICKETS: TableDefinition<'_, Bytes32, &[u8]> = TableDefinition::new("tickets");
/// Ticket ‖ node → [`Redemption`] in CBOR.
const REDEMPTIONS: TableDefinition<'_, &[u8; 64], &[u8]> = TableDefinition::new("redemptions");
/// Name → the node it is bound to.
const NAMES: TableDefinition<'_, &str, Bytes32> = TableDefinition::new("bound_names");
/// Key → the node it is bound to.
const KIDS: TableDefinition<'_, Bytes32, Bytes32> = TableDefinition::new("bound_kids");
/// Sequence of a membership issued here → the second it was issued.
const ISSUED: TableDefinition<'_, u64, u64> = TableDefinition::new("issued");
/// Node → [`PendingJoin`] in CBOR.
const PENDING: TableDefinition<'_, Bytes32, &[u8]> = TableDefinition::new("pending_joins");
/// Node that was replaced → the membership that replaces it, as signed.
const REPLACED: TableDefinition<'_, Bytes32, &[u8]> = TableDefinition::new("replaced");
/// Node that is revoked → the name it had.
const REVOKED_NAMES: TableDefinition<'_, Bytes32, &str> = TableDefinition::new("revoked_names");
/// Issuer → the node it runs on.
const ISSUERS: TableDefinition<'_, Bytes32, Bytes32> = TableDefinition::new("issuer_nodes");

/// What somebody is let in with.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Grant {
    /// The groups.
    #[n(1)]
    pub groups: Vec<Name>,
    /// The site.
    #[n(2)]
    pub site: Option<Name>,
    /// The life of the membership, seconds.
    #[n(3)]
    pub life_s: u64,
}

/// A ticket as its issuer keeps it. Its key lets whoever reads it join, like the ticket.
#[derive(Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct KeptTicket {
    /// [`protocol::trust::MacKey`].
    #[cbor(n(1), with = "minicbor::bytes")]
    pub mac_key: [u8; 32],
    /// What it lets in with.
    #[n(2)]
    pub grant: Grant,
    /// The name its redeemer gets, where the ticket says so.
    #[n(3)]
    pub name: Option<Name>,
    /// When it was made.
    #[n(4)]
    pub created: UnixSeconds,
    /// From when on nobody may redeem it.
    #[n(5)]
    pub expires: UnixSeconds,
    /// How often it may be redeemed in all.
    #[n(6)]
    pub uses: u64,
    /// How often it still may.
    #[n(7)]
    pub left: u64,
    /// Whether a person must approve each redeemer.
    #[n(8)]
    pub pending: bool,
    /// When it was revoked here.
    #[n(9)]
    pub revoked: Option<UnixSeconds>,
}

impl core::fmt::Debug for KeptTicket {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("KeptTicket")
            .field("grant", &self.grant)
            .field("expires", &self.expires)
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

impl Drop for KeptTicket {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.mac_key);
    }
}

/// One use of a ticket.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Redemption {
    /// When.
    #[n(1)]
    pub at: UnixSeconds,
    /// The name the node got.
    #[n(2)]
    pub name: Name,
}

/// A node that waits for a person, or was refused by one.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct PendingJoin {
    /// Its membership request, as signed.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub request: Vec<u8>,
    /// The ticket it came with.
    #[n(2)]
    pub ticket: TicketId,
    /// What it is let in with.
    #[n(3)]
    pub grant: Grant,
    /// The name kept for it.
    #[n(4)]
    pub name: Name,
    /// Since when.
    #[n(5)]
    pub since: UnixSeconds,
    /// When a person said no.
    #[n(6)]
    pub denied: Option<UnixSeconds>,
}

/// A function that works on the books.
pub type BooksWork = Box<dyn FnOnce(&mut Books<'_, '_>) -> Result<(), StorageFault> + Send>;

/// The books inside one write transaction.
pub struct Books<'b, 't> {
    tickets: Table<'t, Bytes32, &'static [u8]>,
    redemptions: Table<'t, &'static [u8; 64], &'static [u8]>,
    names: Table<'t, &'static str, Bytes32>,
    kids: Table<'t, Bytes32, Bytes32>,
    issued: Table<'t, u64, u64>,
    pending: Table<'t, Bytes32, &'static [u8]>,
    replaced: Table<'t, Bytes32, &'static [u8]>,
    revoked_names: Table<'t, Bytes32, &'static str>,
    issuers: Table<'t, Bytes32, Bytes32>,
    memberships: &'b mut Table<'t, Bytes32, &'static [u8]>,
}

type BooksResult<T> = Result<T, StorageFault>;

impl<'b, 't> Books<'b, 't> {
    pub(super) fn open(
        transaction: &'t WriteTransaction,
        memberships: &'b mut Table<'t, Bytes32, &'static [u8]>,
    ) -> BooksResult<Self> {
        Ok(Self {
            tickets: transaction.open_table(TICKETS)?,
            redemptions: transaction.open_table(REDEMPTIONS)?,
            names: transaction.open_table(NAMES)?,
            kids: transaction.open_table(KIDS)?,
            issued: transaction.open_table(ISSUED)?,
            pending: transaction.open_table(PENDING)?,
            replaced: transaction.open_table(REPLACED)?,
            revoked_names: transaction.open_table(REVOKED_NAMES)?,
            issuers: transaction.open_table(ISSUERS)?,
            memberships,
        })
    }

    /// A ticket.
    ///
    /// # Errors
    /// [`StorageFault`], which ends the whole transaction, here as everywhere below.
    pub fn ticket(&self, id: &TicketId) -> BooksResult<Option<KeptTicket>> {
        read(&self.tickets, id.as_bytes())
    }

    /// How many tickets are kept.
    ///
    /// # Errors
    /// [`StorageFault`].
    pub fn tickets(&self) -> BooksResult<u64> {
        Ok(self.tickets.len()?)
    }

    /// Keeps a ticket.
    ///
    /// # Errors
    /// [`StorageFault`].
    pub fn put_ticket(&mut self, id: &TicketId, ticket: &KeptTicket) -> BooksResult<()> {
        let bytes = zeroize::Zeroizing::new(protocol::codec::encode(ticket));
        self.tickets.insert(id.as_bytes(), bytes.as_slice())?;
        Ok(())
    }

    /// Forgets tickets that ended before this second, and who redeemed them.
    ///
    /// # Errors
    /// [`StorageFault`].
    pub fn forget_tickets(&mut self, before: UnixSeconds) -> BooksResult<usize> {
        let held = self.tickets.len()?;
        let mut gone: Vec<[u8; 32]> = Vec::new();
        self.tickets.retain(|id, bytes| {
            let ended = decode::<KeptTicket>(bytes).is_none_or(|t| t.expires < before);
            if ended {
                gone.push(*id);
            }
            !ended
        })?;
        self.redemptions.retain(|key, _| {
            let ticket = key.first_chunk::<32>();
            !ticket.is_some_and(|ticket| gone.contains(ticket))
        })?;
        let left = held.saturating_sub(self.tickets.len()?);
        Ok(usize::try_from(left).unwrap_or(usize::MAX))
    }

    /// A node's use of a ticket.
    ///
    /// # Errors
    /// [`StorageFault`].
    pub fn redemption(&self, ticket: &TicketId, node: &NodeId) -> BooksResult<Option<Redemption>> {
        read(&self.redemptions, &pair(ticket, node))
    }

    /// How many uses are remembered.
    ///
    /// # Errors
    /// [`StorageFault`].
    pub fn redemptions(&self) -> BooksResult<u64> {
        Ok(self.redemptions.len()?)
    }

    /// Notes a node's use of a ticket.
    ///
    /// # Errors
    /// [`StorageFault`].
    pub fn put_redemption(
        &mut self,
        ticket: &TicketId,
        node: &NodeId,
        redemption: &Redemption,
    ) -> BooksResult<()> {
        let bytes = protocol::codec::encode(redemption);
        self.redemptions
            .insert(&pair(ticket, node), bytes.as_slice())?;
        Ok(())
    }

    /// Who has a name.
    ///
    /// # Errors
    /// [`StorageFault`].
    pub fn holder_of_name(&self, name: &Name) -> BooksResult<Option<NodeId>> {
        let held = self.names.get(name.as_str())?;
        Ok(held.map(|node| NodeId::from_bytes(*node.value())))
    }

    /// Who has a key.
    ///
    /// # Errors
    /// [`StorageFault`].
    pub fn holder_of_kid(&self, kid: &Kid) -> BooksResult<Option<NodeId>> {
        let held = self.kids.get(kid.as_bytes())?;
        Ok(held.map(|node| NodeId::from_bytes(*node.value())))
    }

    /// Binds a name and keys to a node, whoever had the name before.
    ///
    /// # Errors
    /// [`StorageFault`].
    pub fn bind(&mut self, node: &NodeId, name: &Name, kids: &[Kid]) -> BooksResult<()> {
        self.names.insert(name.as_str(), node.as_bytes())?;
        for kid in kids {
            self.kids.insert(kid.as_bytes(), node.as_bytes())?;
        }
        Ok(())
    }

    /// Lets go of a node's name; its keys stay bound to it.
    ///
    /// # Errors
    /// [`StorageFault`].
    pub fn unbind_name(&mut self, node: &NodeId, name: &Name) -> BooksResult<()> {
        if self.holder_of_name(name)? == Some(*node) {
            self.names.remove(name.as_str())?;
        }
        Ok(())
    }

    /// The membership last issued to a node here.
    ///
    /// # Errors
    /// [`StorageFault`].
    pub fn membership(&self, node: &NodeId) -> BooksResult<Option<Vec<u8>>> {
        let held = self.memberships.get(node.as_bytes())?;
        Ok(held.map(|bytes| bytes.value().to_vec()))
    }

    /// How many nodes have a membership issued here.
    ///
    /// # Errors
    /// [`StorageFault`].
    pub fn memberships(&self) -> BooksResult<u64> {
        Ok(self.memberships.len()?)
    }

    /// Keeps the membership issued to a node, with its sequence and second.
    ///
    /// # Errors
    /// [`StorageFault`].
    pub fn put_membership(
        &mut self,
        node: &NodeId,
        sequence: u64,
        at: UnixSeconds,
        bytes: &[u8],
    ) -> BooksResult<()> {
        self.memberships.insert(node.as_bytes(), bytes)?;
        self.note_issued(sequence, at)
    }

    /// Notes that a sequence was used.
    ///
    /// # Errors
    /// [`StorageFault`].
    pub fn note_issued(&mut self, sequence: u64, at: UnixSeconds) -> BooksResult<()> {
        self.issued.insert(sequence, at.0)?;
        Ok(())
    }

    /// Forgets a node's membership.
    ///
    /// # Errors
    /// [`StorageFault`].
    pub fn remove_membership(&mut self, node: &NodeId) -> BooksResult<()> {
        self.memberships.remove(node.as_bytes())?;
        Ok(())
    }

    /// The sequence of the next membership: one more than the greatest used.
    ///
    /// # Errors
    /// [`StorageFault`].
    pub fn next_sequence(&self) -> BooksResult<u64> {
        let last = self.issued.last()?.map_or(0, |(key, _)| key.value());
        Ok(last.saturating_add(1))
    }

    /// How many memberships were issued less than `seconds` before or after `at`, counted up to
    /// `most`: after, where the clock was set back.
    ///
    /// # Errors
    /// [`StorageFault`].
    pub fn issued_around(&self, at: UnixSeconds, seconds: u64, most: u64) -> BooksResult<u64> {
        let mut count = 0_u64;
        for entry in self.issued.iter()?.rev() {
            let (_, issued) = entry?;
            count += u64::from(issued.value().abs_diff(at.0) < seconds);
            if count >= most {
                break;
            }
        }
        Ok(count)
    }

    /// Forgets when memberships were issued before this second, the last one excepted.
    ///
    /// # Errors
    /// [`StorageFault`].
    pub fn forget_issued(&mut self, before: UnixSeconds) -> BooksResult<()> {
        let last = self.issued.last()?.map_or(0, |(key, _)| key.value());
        self.issued
            .retain(|sequence, at| sequence == last || at >= before.0)?;
        Ok(())
    }

    /// A node that waits.
    ///
    /// # Errors
    /// [`StorageFault`].
    pub fn pending(&self, node: &NodeId) -> BooksResult<Option<PendingJoin>> {
        read(&self.pending, node.as_bytes())
    }

    /// How many wait.
    ///
    /// # Errors
    /// [`StorageFault`].
    pub fn pendings(&self) -> BooksResult<u64> {
        Ok(self.pending.len()?)
    }

    /// Has a node wait, or notes that it was refused.
    ///
    /// # Errors
    /// [`StorageFault`].
    pub fn put_pending(&mut self, node: &NodeId, pending: &PendingJoin) -> BooksResult<()> {
        let bytes = protocol::codec::encode(pending);
        self.pending.insert(node.as_bytes(), bytes.as_slice())?;
        Ok(())
    }

    /// A node waits no more.
    ///
    /// # Errors
    /// [`StorageFault`].
    pub fn remove_pending(&mut self, node: &NodeId) -> BooksResult<()> {
        self.pending.remove(node.as_bytes())?;
        Ok(())
    }

    /// Forgets who has waited, or was refused, since before this second; their names are free.
    ///
    /// # Errors
    /// [`StorageFault`].
    pub fn forget_pending(&mut self, before: UnixSeconds) -> BooksResult<()> {
        let mut gone: Vec<(NodeId, Option<Name>)> = Vec::new();
        self.pending.retain(|node, bytes| {
            let kept = decode::<PendingJoin>(bytes);
            let over = kept.as_ref().is_none_or(|p| p.since < before);
            if over {
                gone.push((NodeId::from_bytes(*node), kept.map(|p| p.name)));
            }
            !over
        })?;
        for (node, name) in gone {
            if let Some(name) = name {
                self.unbind_name(&node, &name)?;
            }
        }
        Ok(())
    }

    /// Keeps the name a revoked node had; says whether there was room for it.
    ///
    /// # Errors
    /// [`StorageFault`].
    pub fn put_revoked_name(&mut self, node: &NodeId, name: &Name) -> BooksResult<bool> {
        let room = self.revoked_names.len()? < tables::MAX_NODES
            || self.revoked_names.get(node.as_bytes())?.is_some();
        if room {
            self.revoked_names.insert(node.as_bytes(), name.as_str())?;
        }
        Ok(room)
    }

    /// The membership that replaces a node, if one does.
    ///
    /// # Errors
    /// [`StorageFault`].
    pub fn replaced(&self, node: &NodeId) -> BooksResult<Option<Vec<u8>>> {
        let held = self.replaced.get(node.as_bytes())?;
        Ok(held.map(|bytes| bytes.value().to_vec()))
    }

    /// Notes which membership replaces a node; the table is as bounded as the directory.
    ///
    /// # Errors
    /// [`StorageFault`].
    pub fn put_replaced(&mut self, node: &NodeId, membership: &[u8]) -> BooksResult<bool> {
        let room = self.replaced.len()? < tables::MAX_NODES
            || self.replaced.get(node.as_bytes())?.is_some();
        if room {
            self.replaced.insert(node.as_bytes(), membership)?;
        }
        Ok(room)
    }

    /// Notes which node an issuer runs on; only as many as a root may name are kept.
    ///
    /// # Errors
    /// [`StorageFault`].
    pub fn put_issuer_node(&mut self, issuer: &SignerId, node: &NodeId) -> BooksResult<()> {
        let known = self.issuers.get(issuer.as_bytes())?.is_some();
        let most = u64::try_from(protocol::limits::MAX_ROLE_KEYS).unwrap_or(u64::MAX);
        if !known && self.issuers.len()? >= most.saturating_mul(2) {
            self.issuers.pop_first()?;
        }
        self.issuers.insert(issuer.as_bytes(), node.as_bytes())?;
        Ok(())
    }
}

impl Store {
    /// Runs `work` on the books inside one write transaction and returns what it came to once that
    /// is on disk.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was written, except as [`Store::durable`] says.
    pub async fn books<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Books<'_, '_>) -> Result<T, StorageFault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let slot: Arc<Mutex<Option<T>>> = Arc::new(Mutex::new(None));
        let filled = Arc::clone(&slot);
        let work: BooksWork = Box::new(move |books| {
            let value = work(books)?;
            *filled.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
            Ok(())
        });
        self.durable(vec![Write::Books(work)]).await?;
        let value = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        value.ok_or(StoreError::Closed)
    }
}

impl Snapshot {
    /// A ticket.
    ///
    /// # Errors
    /// [`StoreError::Read`], [`StoreError::Malformed`].
    pub fn ticket(&self, id: &TicketId) -> Result<Option<KeptTicket>, StoreError> {
        self.one("ticket", TICKETS, id.as_bytes(), decode)
    }

    /// Every ticket.
    ///
    /// # Errors
    /// [`StoreError::Read`], [`StoreError::Malformed`].
    pub fn tickets(&self) -> Result<Vec<(TicketId, KeptTicket)>, StoreError> {
        self.every("ticket", TICKETS, |id, bytes| {
            Some((TicketId::from_bytes(*id), decode(bytes)?))
        })
    }

    /// Every use of a ticket that is remembered.
    ///
    /// # Errors
    /// [`StoreError::Read`], [`StoreError::Malformed`].
    pub fn redemptions(&self) -> Result<Vec<(TicketId, NodeId, Redemption)>, StoreError> {
        self.every("redemption", REDEMPTIONS, |key, bytes| {
            let (ticket, node) = key.split_first_chunk::<32>()?;
            let node = NodeId::try_from(node).ok()?;
            Some((TicketId::from_bytes(*ticket), node, decode(bytes)?))
        })
    }

    /// Every node that waits or was refused.
    ///
    /// # Errors
    /// [`StoreError::Read`], [`StoreError::Malformed`].
    pub fn pending_joins(&self) -> Result<Vec<(NodeId, PendingJoin)>, StoreError> {
        self.every("pending join", PENDING, |id, bytes| {
            Some((NodeId::from_bytes(*id), decode(bytes)?))
        })
    }

    /// Whether another node took the place of this one.
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub fn is_replaced(&self, node: &NodeId) -> Result<bool, StoreError> {
        let found = self.one("replaced node", REPLACED, node.as_bytes(), |_| Some(()))?;
        Ok(found.is_some())
    }

    /// Every node that was replaced, with the membership that replaces it.
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub fn replaced(&self) -> Result<Vec<(NodeId, Vec<u8>)>, StoreError> {
        self.every("replaced node", REPLACED, |id, bytes| {
            Some((NodeId::from_bytes(*id), bytes.to_vec()))
        })
    }

    /// The names that revoked nodes had, as far as they were known.
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub fn revoked_names(&self) -> Result<Vec<(NodeId, Name)>, StoreError> {
        self.every("name of a revoked node", REVOKED_NAMES, |id, name| {
            Some((NodeId::from_bytes(*id), name.parse().ok()?))
        })
    }

    /// The node each known issuer runs on.
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub fn issuer_nodes(&self) -> Result<Vec<(SignerId, NodeId)>, StoreError> {
        self.every("issuer node", ISSUERS, |issuer, node| {
            Some((SignerId::from_bytes(*issuer), NodeId::from_bytes(*node)))
        })
    }
}

/// Whether a table is missing because nothing was ever written to it.
pub(super) const fn is_missing(error: &TableError) -> bool {
    matches!(error, TableError::TableDoesNotExist(_))
}

fn pair(ticket: &TicketId, node: &NodeId) -> [u8; 64] {
    let mut key = [0; 64];
    let bytes = ticket.as_bytes().iter().chain(node.as_bytes());
    for (to, from) in key.iter_mut().zip(bytes) {
        *to = *from;
    }
    key
}

fn read<'k, K: redb::Key + 'static, T>(
    table: &Table<'_, K, &'static [u8]>,
    key: impl core::borrow::Borrow<K::SelfType<'k>>,
) -> BooksResult<Option<T>>
where
    T: for<'b> minicbor::Decode<'b, ()> + minicbor::Encode<()>,
{
    let Some(bytes) = table.get(key)? else {
        return Ok(None);
    };
    let value = decode(bytes.value());
    value
        .map(Some)
        .ok_or_else(|| StorageFault::Corrupt("an entry of the issuer's books".to_owned()))
}

fn decode<T>(bytes: &[u8]) -> Option<T>
where
    T: for<'b> minicbor::Decode<'b, ()> + minicbor::Encode<()>,
{
    protocol::codec::decode(bytes, protocol::limits::MAX_DOCUMENT_BYTES).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_read_back() {
        let grant = Grant {
            groups: vec!["g".parse().unwrap()],
            site: Some("s".parse().unwrap()),
            life_s: 9,
        };
        let ticket = KeptTicket {
            mac_key: [7; 32],
            grant: grant.clone(),
            name: Some("n".parse().unwrap()),
            created: UnixSeconds(1),
            expires: UnixSeconds(2),
            uses: 3,
            left: 2,
            pending: true,
            revoked: Some(UnixSeconds(4)),
        };
        let bytes = protocol::codec::encode(&ticket);
        assert_eq!(decode::<KeptTicket>(&bytes), Some(ticket.clone()));
        assert!(!format!("{ticket:?}").contains("mac_key"));
        let pending = PendingJoin {
            request: vec![1],
            ticket: TicketId::from_bytes([1; 32]),
            grant,
            name: "n".parse().unwrap(),
            since: UnixSeconds(1),
            denied: Some(UnixSeconds(2)),
        };
        let bytes = protocol::codec::encode(&pending);
        assert_eq!(decode::<PendingJoin>(&bytes), Some(pending));
    }
}
