//! Trust documents on disk, and back.
//!
//! Roots stand in their file, everything else in the store, each document as received. At the
//! start every one is verified again: a damaged or exchanged file is refused by name, not trusted
//! because it was here before.

use std::collections::{BTreeMap, HashMap};

use protocol::codec::{self, CodecError};
use protocol::crypto::Crypto;
use protocol::id::{Digest, SignerId};
use protocol::time::UnixSeconds;
use protocol::trust::document::Document;
use protocol::trust::document::MAX_ENTRIES_AT_ONCE;
use protocol::trust::state::{AdminLog, Branch, Kept, KeptLog, Memory, TrustState};
use protocol::trust::{Bytes, Proposal, TrustError};

use crate::roots::{self, RootsError};
use crate::state_dir::StateDir;
use crate::store::{Store, StoreError, TrustRow, Write};

/// A bundle that was in force, as it is kept: what a history tells of it, and its body.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct PastBundle {
    /// When it was made, by its author's clock.
    #[n(1)]
    pub created: UnixSeconds,
    /// The hash of its head's content.
    #[n(2)]
    pub hash: Digest,
    /// Its body, as encoded.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub body: Vec<u8>,
}

/// Why what was kept cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The genesis root cannot be read.
    #[error("cannot read the genesis root: {0}")]
    Genesis(#[from] std::io::Error),
    /// The roots.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A document in the store does not hold.
    #[error("a trust document kept in the store does not hold: {0}")]
    Trust(#[from] TrustError),
    /// The bundle the mesh was founded with cannot be put in force.
    #[error("the policies this mesh was founded with cannot be put in force: {0}")]
    Founding(String),
    /// What stands beside the documents is damaged.
    #[error("what is kept beside the trust documents is damaged: {0}")]
    Memory(#[from] CodecError),
}

/// The state as it was kept.
///
/// # Errors
/// [`RestoreError`].
pub fn restore(
    dir: &StateDir,
    store: &Store,
    crypto: &dyn Crypto,
) -> Result<TrustState, RestoreError> {
    let genesis = std::fs::read(dir.root())?;
    let chain = roots::read(dir)?;
    let mut kept = Kept {
        roots: [genesis]
            .into_iter()
            .chain(chain)
            .map(Bytes::from)
            .collect(),
        ..Kept::default()
    };
    let (mut head, mut body) = (None, None);
    let mut logs: BTreeMap<(SignerId, u8), KeptLog> = BTreeMap::new();
    for (row, bytes) in store.snapshot()?.trust()? {
        match row {
            TrustRow::BundleHead => head = Some(Bytes::from(bytes)),
            TrustRow::BundleBody => body = Some(Bytes::from(bytes)),
            TrustRow::LogHead(admin, branch) => {
                log(&mut logs, admin, branch).head = Some(bytes.into());
            }
            TrustRow::LogEntries(admin, branch, _) => {
                if let Document::LogEntries { entries, .. } = Document::decode(&bytes)? {
                    log(&mut logs, admin, branch).entries.extend(entries);
                }
            }
            TrustRow::Timestamp(_) | TrustRow::Complete => kept.timestamps.push(bytes.into()),
            TrustRow::Memory => kept.memory = Memory::decode(&bytes)?,
        }
    }
    kept.bundle = head.zip(body);
    kept.logs = logs.into_values().collect();
    Ok(TrustState::restore(crypto, kept)?)
}

/// Puts the bundle in force that the mesh was founded with, where it was with one and its first node
/// runs for the first time. It is verified like any other; what cannot be used is an error, because
/// a mesh that is to have policies must not run without.
///
/// # Errors
/// [`RestoreError`].
pub async fn founded(
    dir: &StateDir,
    store: &Store,
    crypto: &dyn Crypto,
    now: UnixSeconds,
    mut state: TrustState,
) -> Result<TrustState, RestoreError> {
    let file = dir.founding_bundle();
    let bytes = match std::fs::read(&file) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(state),
        Err(e) => return Err(RestoreError::Founding(e.to_string())),
    };
    if state.bundle().is_none() {
        let failed = |e: &dyn core::fmt::Display| RestoreError::Founding(e.to_string());
        let proposal = Proposal::read(crypto, &bytes).map_err(|e| failed(&e))?;
        for document in proposal.documents() {
            state.offer(crypto, now, &document)?;
        }
        if state.bundle().is_none() {
            return Err(failed(&"it is not signed by enough admins"));
        }
        store.durable(everything(&state)).await?;
    }
    std::fs::remove_file(&file).map_err(|e| RestoreError::Founding(e.to_string()))?;
    Ok(state)
}

/// The writes that put all of a state into a store that holds no trust document.
pub(crate) fn everything(state: &TrustState) -> Vec<Write> {
    // After a root everything is looked at.
    let root = Document::Root(state.root().shared());
    Keeper::default().writes(state, &[root])
}

fn log(logs: &mut BTreeMap<(SignerId, u8), KeptLog>, admin: SignerId, branch: u8) -> &mut KeptLog {
    logs.entry((admin, branch)).or_insert_with(|| KeptLog {
        admin,
        head: None,
        entries: Vec::new(),
    })
}

/// What of the state is on disk or on its way there.
#[derive(Default)]
pub(super) struct Keeper {
    /// How many entries of each branch.
    lengths: HashMap<(SignerId, u8), u64>,
}

impl Keeper {
    /// Of a state that was restored.
    pub(super) fn of(state: &TrustState) -> Self {
        let mut keeper = Self::default();
        for log in state.logs() {
            for (branch, kept) in branches(log) {
                let length = kept.log().length();
                keeper.lengths.insert((log.admin(), branch), length);
            }
        }
        keeper
    }

    /// The writes that put these documents, as they came into force in `state`, on disk.
    pub(super) fn writes(&mut self, state: &TrustState, documents: &[Document]) -> Vec<Write> {
        let mut writes = Vec::new();
        let mut admins: Vec<SignerId> = Vec::new();
        let (mut bundle, mut timestamps, mut root) = (false, false, false);
        for document in documents {
            match document {
                Document::Root(_) => root = true,
                Document::BundleHead(_) | Document::BundleBody(_) => bundle = true,
                Document::LogEntries { admin, .. } => admins.push(*admin),
                // Which log a head is of is read where it is verified.
                Document::LogHead(_) => admins.extend(state.logs().map(AdminLog::admin)),
                Document::Timestamp(_) => timestamps = true,
            }
        }
        if root {
            // A root can retire an admin and begin an epoch: everything is looked at.
            admins.extend(state.logs().map(AdminLog::admin));
            (bundle, timestamps) = (true, true);
        }
        if bundle {
            match state.bundle() {
                Some(bundle) => {
                    put(&mut writes, TrustRow::BundleHead, &bundle.head().shared());
                    put(&mut writes, TrustRow::BundleBody, &bundle.body_bytes());
                    let kept = PastBundle {
                        created: bundle.head().content().created,
                        hash: bundle.hash(),
                        body: bundle.body_bytes().to_vec(),
                    };
                    writes.push(Write::PastBundle(bundle.version(), codec::encode(&kept)));
                }
                None => {
                    writes.push(Write::RemoveTrust(TrustRow::BundleHead));
                    writes.push(Write::RemoveTrust(TrustRow::BundleBody));
                }
            }
        }
        admins.sort_unstable();
        admins.dedup();
        for log in admins.iter().filter_map(|admin| state.log(admin)) {
            self.log(&mut writes, log);
        }
        if timestamps {
            for timestamp in state.timestamps() {
                let row = TrustRow::Timestamp(timestamp.content().timestamper);
                put(&mut writes, row, &timestamp.shared());
            }
            if let Some(complete) = state.complete_timestamp() {
                put(&mut writes, TrustRow::Complete, &complete.shared());
            }
        }
        writes.push(Write::PutTrust(TrustRow::Memory, state.memory().encode()));
        writes
    }

    fn log(&mut self, writes: &mut Vec<Write>, log: &AdminLog) {
        let admin = log.admin();
        for (branch, kept) in branches(log) {
            let entries = kept.log();
            let length = self.lengths.entry((admin, branch)).or_default();
            // Of a retired admin's log less may count than did: what is kept beyond that is cut
            // again at the next start.
            let mut from = *length;
            while from < entries.length() {
                let piece = entries.encoded(from, MAX_ENTRIES_AT_ONCE);
                let next = from + piece.len() as u64;
                let document = Document::LogEntries {
                    admin,
                    from,
                    entries: piece,
                };
                let row = TrustRow::LogEntries(admin, branch, from);
                writes.push(Write::PutTrust(row, document.encode()));
                if next == from {
                    break;
                }
                from = next;
            }
            *length = from;
            let row = TrustRow::LogHead(admin, branch);
            match kept.head() {
                Some(head) => put(writes, row, &head),
                None => writes.push(Write::RemoveTrust(row)),
            }
        }
        // A head without entries, until they are here or the root says what counts.
        let row = TrustRow::LogHead(admin, SECOND);
        match (log.contested(), log.branches().count()) {
            (Some(head), _) => put(writes, row, &head),
            (None, 1) => writes.push(Write::RemoveTrust(row)),
            (None, _) => {}
        }
    }
}

/// The number of a forked log's second branch.
const SECOND: u8 = 1;

fn branches(log: &AdminLog) -> impl Iterator<Item = (u8, &Branch)> {
    (0_u8..).zip(log.branches())
}

fn put(writes: &mut Vec<Write>, row: TrustRow, bytes: &Bytes) {
    writes.push(Write::PutTrust(row, bytes.to_vec()));
}
