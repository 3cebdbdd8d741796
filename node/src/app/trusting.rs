//! What the control API asks about trust, done: what is in force, proposals, revocations and how
//! far one has spread.
//!
//! Nothing here decides what is in force: documents go to the [`Driver`], which treats them as if
//! a peer had sent them. Kept here is only what is no document yet, the [`Proposals`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use protocol::control::{
    BundleFile, Failure, FailureKind, MAX_LISTED_MISSING, MAX_LISTED_REVOCATIONS, MissingNode,
    Preview, Propose, Proposed, Publication, Publish, PublishedDocument, RevocationQuery,
    Revocations, Spread, SpreadQuery, Took, Trust,
};
use protocol::crypto::Crypto;
use protocol::distribution::{LogRow, Since};
use protocol::id::{Digest, EntryId, NodeId};
use protocol::name::Name;
use protocol::time::UnixMillis;
use protocol::trust::proposal::Proposed as Content;
use protocol::trust::{Document, Missing, Offer, Proposal, TrustError, TrustState, VerifiedRoot};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::clock::Clock;
use crate::control::{Caller, TrustOperations};

mod driver;
mod neighbours;
pub mod proposals;
mod views;

pub use driver::Running;
pub use neighbours::Neighbours;
pub use proposals::{KeepError, Proposals};

/// Shortest pause between two reports of a spread that grows.
const REPORT_PAUSE: Duration = Duration::from_millis(200);

/// What keeps the trust documents of this node and passes them on.
#[async_trait]
pub trait Driver: Send + Sync {
    /// This node.
    fn node(&self) -> NodeId;

    /// Everything in force now. Cheap: its parts are shared.
    fn in_force(&self) -> TrustState;

    /// Takes a document as if a peer had sent it. Returns once what it brought into force is on
    /// disk and on its way to every peer.
    ///
    /// # Errors
    /// Why it does not hold, or that it could not be kept.
    async fn publish(&self, document: Document) -> Result<Offer, DriverError>;

    /// Asks every node whether it has the first `length` entries of this admin's log in force and
    /// on disk. Verified acknowledgements, this node's own among them, come until `life` is over
    /// or the receiver is dropped, of each node at most one; and, at most once, that somebody was
    /// too busy to pass the question on.
    ///
    /// # Errors
    /// Nobody can be asked now.
    async fn pull(
        &self,
        log: LogRow,
        life: Duration,
    ) -> Result<mpsc::Receiver<Answer>, DriverError>;
}

/// Why the driver did not do it.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The document does not hold.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The disk did not take it.
    #[error("the store takes no more writes: {0}")]
    Store(String),
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
    /// Too many pulls at once.
    #[error("too many questions of this kind are open")]
    Busy,
}

/// What comes when nodes are asked whether they have a log in force and on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// A node's verified word that it has.
    Acknowledged {
        /// The node.
        node: NodeId,
        /// Since when, by its clock; none if it has started since.
        since: Option<Since>,
    },
    /// Somebody had no room for the question: nodes behind it may not be asked.
    Busy,
}

/// A node that should have everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: NodeId,
    /// Its name.
    pub name: Name,
    /// Whether there is a link to it now.
    pub linked: bool,
}

/// Who is in the mesh, as known here.
pub trait Directory: Send + Sync {
    /// Every node with a valid membership that is not revoked, this one included, by name.
    fn nodes(&self) -> Vec<Listed>;

    /// The name of a node, revoked ones and those long gone included where they are known.
    fn name(&self, node: &NodeId) -> Option<Name>;
}

/// The operations.
pub struct Trusting {
    driver: Arc<dyn Driver>,
    directory: Arc<dyn Directory>,
    proposals: Arc<Proposals>,
    crypto: Arc<dyn Crypto>,
    clock: Arc<dyn Clock>,
}

impl Trusting {
    /// Puts the operations together.
    #[must_use]
    pub fn new(
        driver: Arc<dyn Driver>,
        directory: Arc<dyn Directory>,
        proposals: Proposals,
        crypto: Arc<dyn Crypto>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            driver,
            directory,
            proposals: Arc::new(proposals),
            crypto,
            clock,
        }
    }

    /// A proposal for people.
    fn shown(&self, state: &TrustState, proposal: &Proposal) -> protocol::control::Proposal {
        let effects = self.effects(state, proposal);
        let overtaken = views::overtaken(state, proposal);
        views::proposal(&*self.crypto, proposal, effects, overtaken)
    }

    /// What a proposal that follows the root in force would do here: to the revocations held, or to
    /// the bundle in force.
    fn effects(&self, state: &TrustState, proposal: &Proposal) -> Vec<String> {
        let root = match proposal.proposed() {
            Content::Root(root) => root,
            Content::Bundle { body, .. } => return views::bundle_effects(state, proposal, body),
        };
        if proposal.follows() != state.root().hash() {
            return Vec::new();
        }
        let name = |node: &NodeId| self.directory.name(node);
        let own = self.driver.node();
        views::effects(&state.shifts(&*self.crypto, root), root, own, &name)
    }

    /// Does what waits for the disk where it may.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Proposals) -> Result<T, KeepError> + Send + 'static,
    ) -> Result<T, Failure> {
        let proposals = Arc::clone(&self.proposals);
        match tokio::task::spawn_blocking(move || work(&proposals)).await {
            Ok(done) => done.map_err(|error| not_kept(&error)),
            Err(_) => Err(Failure::new(
                FailureKind::Internal,
                "node_stopping",
                "the node is stopping",
            )),
        }
    }

    /// Publishes a proposal that has every signature; whether it is in force then.
    async fn settle(&self, proposal: &Proposal) -> Result<bool, Failure> {
        if proposal.signatures(&*self.crypto).missing > 0 {
            return Ok(false);
        }
        for document in proposal.documents() {
            let offer = self.driver.publish(document).await.map_err(refused)?;
            contradicted(&offer)?;
        }
        let state = self.driver.in_force();
        let root = Arc::clone(state.root());
        let id = proposal.id();
        self.blocking(move |proposals| {
            proposals.prune(&root)?;
            // A complete one waits for nobody.
            proposals.forget(&id)
        })
        .await?;
        Ok(in_force(&state, proposal))
    }
}

/// Whether what was proposed is in force, or was and another root followed it at once.
fn in_force(state: &TrustState, proposal: &Proposal) -> bool {
    match proposal.proposed() {
        Content::Root(root) => {
            let of_version = state.root_of(root.version);
            of_version.is_some_and(|root| root.hash() == proposal.id())
        }
        Content::Bundle { .. } => {
            let bundle = state.bundle();
            bundle.is_some_and(|bundle| bundle.hash() == proposal.id())
        }
    }
}

#[async_trait]
impl TrustOperations for Trusting {
    async fn in_force(&self) -> Result<Trust, Failure> {
        let state = self.driver.in_force();
        let proposals = self.proposals.list(state.root());
        let proposals = proposals.iter().map(|p| self.shown(&state, p)).collect();
        let now = self.clock.now().seconds();
        Ok(views::trust(&state, proposals, now))
    }

    async fn bundle(&self) -> Result<BundleFile, Failure> {
        Ok(views::bundle(&self.driver.in_force()))
    }

    async fn publish(&self, _: Caller, publish: Publish) -> Result<Publication, Failure> {
        let mut new = false;
        for document in publish.documents {
            let document = taken(document);
            // Entries are not signed: those nobody waits for are known, or of no use.
            let entries = matches!(document, Document::LogEntries { .. });
            let root = matches!(document, Document::Root(_));
            let offer = self.driver.publish(document).await.map_err(refused)?;
            if !(entries && offer == Offer::Stale) {
                contradicted(&offer)?;
            }
            if let (true, Offer::Wanted(Missing::Roots { from })) = (root, &offer) {
                return Err(skipped(*from));
            }
            new |= matches!(offer, Offer::New(_));
        }
        Ok(Publication { new })
    }

    async fn propose(&self, _: Caller, propose: Propose) -> Result<Proposed, Failure> {
        let state = self.driver.in_force();
        let read = Proposal::read(&*self.crypto, &propose.file.0)
            .map_err(|error| not_kept(&KeepError::Proposal(error)))?;
        if in_force(&state, &read) {
            let proposal = self.shown(&state, &read);
            let in_force = true;
            return Ok(Proposed { proposal, in_force });
        }
        let root: Arc<VerifiedRoot> = Arc::clone(state.root());
        let join = move |proposals: &Proposals| proposals.join(&root, &propose.file.0);
        let proposal = self.blocking(join).await?;
        // As it stands before: afterwards there is nothing left that would change.
        let shown = self.shown(&state, &proposal);
        let in_force = self.settle(&proposal).await?;
        let proposal = shown;
        Ok(Proposed { proposal, in_force })
    }

    async fn preview(&self, propose: Propose) -> Result<Preview, Failure> {
        let state = self.driver.in_force();
        let read = Proposal::read(&*self.crypto, &propose.file.0)
            .map_err(|error| not_kept(&KeepError::Proposal(error)))?;
        if read.follows() != state.root().hash() {
            let held = state.root().root().version;
            return Err(not_kept(&KeepError::OtherRoot(held)));
        }
        let effects = self.effects(&state, &read);
        Ok(Preview { effects })
    }

    async fn discard(&self, _: Caller, id: Digest) -> Result<(), Failure> {
        if self
            .blocking(move |proposals| proposals.forget(&id))
            .await?
        {
            return Ok(());
        }
        let message = format!("no proposal {} waits here", id.short());
        Err(
            Failure::new(FailureKind::NotFound, "unknown_proposal", message)
                .with_hint("see `hedgerow admin pending`"),
        )
    }

    async fn revocations(&self, query: RevocationQuery) -> Result<Revocations, Failure> {
        let state = self.driver.in_force();
        let limit = query.limit.unwrap_or(MAX_LISTED_REVOCATIONS);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let name = |node: &NodeId| self.directory.name(node);
        Ok(views::revocations(
            &state,
            query.entry.as_deref(),
            limit,
            &name,
        ))
    }

    async fn spread(
        &self,
        query: SpreadQuery,
        progress: mpsc::Sender<Spread>,
    ) -> Result<Spread, Failure> {
        let state = self.driver.in_force();
        let (log, at) = views::place(&state, &query.entry).ok_or_else(|| {
            let message = format!("there is no revocation {} here", query.entry.short());
            Failure::new(FailureKind::NotFound, "unknown_revocation", message)
                .with_hint("see `hedgerow revocations list`")
        })?;
        let life = Duration::from_millis(query.wait_ms);
        let until = Instant::now() + life;
        let mut acks = self.driver.pull(log, life).await.map_err(refused)?;
        let mut gathered = Gathered::new(query.entry, self.directory.nodes(), at);
        let mut reported = Instant::now();
        while gathered.has_missing() {
            match timeout_at(until, acks.recv()).await {
                Ok(Some(Answer::Acknowledged { node, since })) => gathered.take(node, since),
                Ok(Some(Answer::Busy)) => gathered.partly_asked = true,
                Ok(None) | Err(_) => break,
            }
            if reported.elapsed() >= REPORT_PAUSE {
                reported = Instant::now();
                // A slow reader gets the next one.
                drop(progress.try_send(gathered.spread(self.driver.node())));
            }
        }
        Ok(gathered.spread(self.driver.node()))
    }
}

/// Acknowledgements so far.
struct Gathered {
    entry: EntryId,
    nodes: BTreeMap<NodeId, Listed>,
    have: BTreeMap<NodeId, Option<Since>>,
    made: UnixMillis,
    partly_asked: bool,
}

impl Gathered {
    fn new(entry: EntryId, nodes: Vec<Listed>, made: UnixMillis) -> Self {
        Self {
            entry,
            nodes: nodes.into_iter().map(|node| (node.id, node)).collect(),
            have: BTreeMap::new(),
            made,
            partly_asked: false,
        }
    }

    /// Nodes not in the directory are left out: somebody who was revoked still answers.
    fn take(&mut self, node: NodeId, since: Option<Since>) {
        if self.nodes.contains_key(&node) {
            self.have.entry(node).or_insert(since);
        }
    }

    fn has_missing(&self) -> bool {
        self.have.len() < self.nodes.len()
    }

    /// `own` is this node, from whose time on the others are measured.
    fn spread(&self, own: NodeId) -> Spread {
        let own = self.have.get(&own).copied().flatten();
        let since = own.map_or(self.made, |own| own.in_force);
        let known = || self.have.values().flatten();
        let in_force = known().map(|there| there.in_force.since(since));
        let effective = known().map(|there| there.on_disk.since(since));
        let mut missing: Vec<MissingNode> = self
            .nodes
            .values()
            .filter(|node| !self.have.contains_key(&node.id))
            .map(|node| MissingNode {
                id: node.id,
                name: node.name.clone(),
                linked: node.linked,
            })
            .collect();
        missing.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        missing.truncate(MAX_LISTED_MISSING);
        Spread {
            entry: self.entry,
            nodes: self.nodes.len() as u64,
            have: self.have.len() as u64,
            since,
            in_force: took(in_force.collect()),
            effective: took(effective.collect()),
            partly_asked: self.partly_asked && !missing.is_empty(),
            missing,
        }
    }
}

/// The percentiles of some times; none of none.
fn took(mut times: Vec<u64>) -> Option<Took> {
    times.sort_unstable();
    Some(Took {
        p50_ms: percentile(&times, 50)?,
        p99_ms: percentile(&times, 99)?,
        max_ms: times.last().copied()?,
    })
}

/// The least of the sorted values that `percent` of them do not exceed (nearest rank).
fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

fn taken(document: PublishedDocument) -> Document {
    match document {
        PublishedDocument::Root(file) => Document::Root(file.0.into()),
        PublishedDocument::BundleHead(file) => Document::BundleHead(file.0.into()),
        PublishedDocument::BundleBody(file) => Document::BundleBody(file.0.into()),
        PublishedDocument::LogHead(file) => Document::LogHead(file.0.into()),
        PublishedDocument::LogEntries {
            admin,
            from,
            entries,
        } => Document::LogEntries {
            admin,
            from,
            entries: entries.into_iter().map(|entry| entry.0.into()).collect(),
        },
    }
}

/// A document that contradicts what is in force is said so, though it is verified.
fn contradicted(offer: &Offer) -> Result<(), Failure> {
    match offer {
        Offer::Fork(_) => Err(Failure::new(
            FailureKind::Conflict,
            "document_fork",
            "another document of this version is in force; what is in force stays",
        )
        .with_hint("somebody signed two documents of one version: see `hedgerow trust`")),
        Offer::Stale => Err(Failure::new(
            FailureKind::Conflict,
            "document_stale",
            "a newer document is in force",
        )
        .with_hint("make the change again on what is in force: `hedgerow trust`")),
        Offer::New(_) | Offer::Known | Offer::Wanted(_) => Ok(()),
    }
}

/// A root that does not follow the one in force was not taken.
fn skipped(next: u64) -> Failure {
    let message = format!("this node does not hold the roots before it: root {next} is next");
    Failure::new(FailureKind::Conflict, "root_version_skipped", message)
        .with_hint("publish those first, or let the node hear of them: `hedgerow peers`")
}

fn refused(error: DriverError) -> Failure {
    let message = error.to_string();
    match &error {
        DriverError::Trust(trust) => Failure::new(FailureKind::Denied, trust.reason(), message),
        DriverError::Store(_) => Failure::new(FailureKind::Internal, "store_failed", message)
            .with_hint("see the node's log"),
        DriverError::Stopping => Failure::new(FailureKind::Unavailable, "node_stopping", message),
        DriverError::Busy => Failure::new(FailureKind::Unavailable, "too_many_pulls", message)
            .with_hint("wait until the others have ended"),
    }
}

fn not_kept(error: &KeepError) -> Failure {
    let message = error.to_string();
    match error {
        KeepError::Proposal(proposal) => {
            Failure::new(FailureKind::Denied, proposal.reason(), message)
        }
        KeepError::OtherRoot(_) => {
            Failure::new(FailureKind::Conflict, "proposal_of_another_root", message)
                .with_hint("make the change again: the root has changed since")
        }
        KeepError::Full | KeepError::NoRoom => {
            Failure::new(FailureKind::Conflict, "too_many_proposals", message)
                .with_hint("discard one: `hedgerow admin discard ID`")
        }
        KeepError::Write { .. } => {
            Failure::new(FailureKind::Internal, "proposal_not_kept", message)
        }
    }
}

#[cfg(test)]
mod tests;
