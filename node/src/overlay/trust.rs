//! Drives the distribution machine of [`protocol::distribution`]: one task owns it, feeds it what
//! peers send and what the command line publishes, and carries out what it says.
//!
//! What the machine verified is in force at once ([`Standing`], the directory, open links), is on
//! disk before it is acknowledged, and is forwarded without waiting for the disk. The task never
//! waits for a peer: each has an outbox of its own, and one that does not take what it is sent
//! loses its link, dials again and syncs anew.
//!
//! It signs nothing but acknowledgements and, where this host keeps a timestamper's key, the
//! mesh's timestamps.

mod asking;
mod herald;
mod keep;
mod outbox;
mod stamp;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt as _};
use hedgerow_crypto::SigningKeys;
use protocol::control::DocumentVersions;
use protocol::crypto::SigningSet;
use protocol::distribution::pull::MAX_PULL_MS;
use protocol::distribution::{
    Ack, Config, Context, Effect, Event, LogRow, Machine, Message, PullId,
};
use protocol::id::NodeId;
use protocol::trust::{Change, Document, ForkOf, HeadSet, Offer, TrustError, TrustState};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use asking::Asking;
pub use herald::Gossiped;
use herald::{ANNOUNCEMENTS, Herald};
use keep::Keeper;
pub(crate) use keep::everything;
pub use keep::{PastBundle, RestoreError, founded, restore};
pub use outbox::{TrustStreamError, receive};
use stamp::Stamp;

use crate::clock::Clock;
use crate::identity::Identity;
use crate::members::Members;
use crate::standing::Standing;
use crate::store::{Store, StoreError};
use crate::telemetry::Counters;
use crate::transport::{LinkEvent, Links, Reason};

/// Commands and messages waiting for the task; whoever brings more waits.
const INBOX: usize = 256;

/// For how long after a link came up a peer's word that it has synced is waited for.
pub const SYNC_GRACE: Duration = Duration::from_secs(2);

/// Longest pause of the task: the machine's clock may jump, this one does not.
const LONGEST_SLEEP_MS: u64 = 60_000;

/// Shortest time between two comparisons with all peers that the operator's looking asks for: a
/// command that looks again and again costs each peer a few hundred bytes so often.
const COMPARE_PAUSE: Duration = Duration::from_millis(100);

/// Where the outcome of a publication goes.
type Reply = oneshot::Sender<Result<Offer, PublishError>>;

/// What the task is asked.
enum Command {
    Message(NodeId, Box<Message>),
    Gossip(NodeId, Box<Message>, Gossiped),
    Publish(Box<Document>, Reply),
    Compare,
    Ask(NodeId),
    StampWith(Box<SigningKeys>),
    Pull {
        log: LogRow,
        life: Duration,
        opened: oneshot::Sender<Result<mpsc::Receiver<Pulled>, PullError>>,
    },
    EndPull(PullId),
}

/// Reacts to what came into force beyond links and directory: sessions, records, files.
pub trait Effected: Send + Sync {
    /// A newer document is in force.
    fn changed(&self, change: &Change, state: &TrustState);

    /// A node that was restored from a backup has heard of the present.
    fn caught_up(&self);
}

/// The trust documents of a running node. Cheap to clone.
#[derive(Clone)]
pub struct Trust {
    commands: mpsc::Sender<Command>,
    syncs: Arc<Syncs>,
    announcements: broadcast::Sender<Bytes>,
}

/// What the task works on.
pub struct Parts {
    /// This node.
    pub identity: Arc<Identity>,
    /// The directory.
    pub members: Arc<Members>,
    /// What everyone decides by.
    pub standing: Arc<Standing>,
    /// The links.
    pub links: Links,
    /// Where documents are kept.
    pub store: Store,
    /// Refusals by name.
    pub counters: Arc<Counters>,
    /// The local clock.
    pub clock: Arc<dyn Clock>,
    /// What else reacts.
    pub effected: Arc<dyn Effected>,
}

/// Why a document was not published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// It does not hold.
    #[error(transparent)]
    Refused(#[from] TrustError),
    /// It is in force and on its way, and the disk did not take it.
    #[error("it is in force and could not be kept: {0}")]
    NotKept(String),
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

/// An answer to whoever asks how far a revocation log has spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pulled {
    /// A node's verified acknowledgement; one for each node.
    Ack(Ack),
    /// Somebody on the way had too many such questions open: nodes behind it may not be asked.
    Busy,
}

/// Why nobody was asked how far a revocation log has spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PullError {
    /// This node has too many such questions open, or has begun too many just now.
    #[error("too many questions of this kind are open")]
    TooMany,
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

/// Which linked peers have synced, for whoever sends a call their way.
#[derive(Default)]
struct Syncs {
    peers: Mutex<HashMap<NodeId, Progress>>,
    changed: tokio::sync::Notify,
}

#[derive(Clone, Copy)]
struct Progress {
    up: Instant,
    done: bool,
    versions: Option<DocumentVersions>,
}

impl Syncs {
    fn set(&self, peer: NodeId, sync: Option<Progress>) {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        match sync {
            Some(sync) => {
                peers.insert(peer, sync);
            }
            None => {
                peers.remove(&peer);
            }
        }
        drop(peers);
        self.changed.notify_waiters();
    }

    fn heard(&self, peer: NodeId, versions: DocumentVersions) {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sync) = peers.get_mut(&peer) {
            sync.versions = Some(versions);
        }
    }

    fn done(&self, peer: NodeId) {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sync) = peers.get_mut(&peer) {
            sync.done = true;
        }
        drop(peers);
        self.changed.notify_waiters();
    }

    /// How many peers are linked, if none of them has synced though each has had its time.
    fn unsynced(&self, now: Instant) -> Option<usize> {
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let overdue = |sync: &Progress| !sync.done && sync.up + SYNC_GRACE <= now;
        (!peers.is_empty() && peers.values().all(overdue)).then_some(peers.len())
    }

    /// Until when to wait for a peer; `None` if there is no reason to.
    fn pending(&self, peer: &NodeId) -> Option<Instant> {
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let sync = peers.get(peer).filter(|sync| !sync.done)?;
        Some(sync.up + SYNC_GRACE)
    }
}

impl Trust {
    /// Waits until this node holds what `peer` holds, so that a call over a link that just came up
    /// passes by the newest policy and revocations; for [`SYNC_GRACE`] after the link came up at
    /// most. Beyond that the freshness lease decides.
    pub async fn synced(&self, peer: &NodeId) {
        loop {
            // Registered before the look, so that a change between the two is not missed.
            let changed = self.syncs.changed.notified();
            let Some(until) = self.syncs.pending(peer) else {
                return;
            };
            if tokio::time::timeout_at(until, changed).await.is_err() {
                return;
            }
        }
    }

    /// How many peers are linked, if this node has synced with none of them though each has had
    /// [`SYNC_GRACE`]: what is in force here may be old, and the freshness lease decides.
    #[must_use]
    pub fn unsynced(&self) -> Option<usize> {
        self.syncs.unsynced(Instant::now())
    }

    /// The versions of the documents a linked peer was heard to hold.
    #[must_use]
    pub fn heard_of(&self, peer: &NodeId) -> Option<DocumentVersions> {
        let peers = self
            .syncs
            .peers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        peers.get(peer)?.versions
    }

    /// Hands a peer's message to the machine, waiting while it is busy.
    pub async fn heard(&self, peer: NodeId, message: Message) {
        // Fails only when the node is stopping.
        drop(
            self.commands
                .send(Command::Message(peer, Box::new(message)))
                .await,
        );
    }

    /// Hands a head that came by gossip to the machine, which judges it as if its deliverer had
    /// pushed it. False if there is no room now; it is then ignored.
    #[must_use]
    pub fn heard_by_gossip(&self, from: NodeId, message: Message, heard: Gossiped) -> bool {
        let command = Command::Gossip(from, Box::new(message), heard);
        self.commands.try_send(command).is_ok()
    }

    /// Compares documents with a linked peer that seems to hold newer ones, now rather than in its
    /// turn. Not done while there is much else to do.
    pub fn ask(&self, peer: NodeId) {
        // Whoever waits for it waits for a short time only.
        drop(self.commands.try_send(Command::Ask(peer)));
    }

    /// What this node has taken as in force from now on, encoded to be gossiped.
    #[must_use]
    pub fn announcements(&self) -> broadcast::Receiver<Bytes> {
        self.announcements.subscribe()
    }

    /// Takes a document of local origin as if a peer had sent it. Returns once what it brought into
    /// force is on disk and on its way to every peer.
    ///
    /// # Errors
    /// [`PublishError`].
    pub async fn publish(&self, document: Document) -> Result<Offer, PublishError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Publish(Box::new(document), reply);
        let sent = self.commands.send(command).await;
        sent.map_err(|_| PublishError::Stopping)?;
        answer.await.map_err(|_| PublishError::Stopping)?
    }

    /// Has this timestamper's key sign, whenever the root in force names it.
    pub async fn stamp_with(&self, keys: SigningKeys) {
        // Fails only when the node is stopping.
        drop(self.commands.send(Command::StampWith(Box::new(keys))).await);
    }

    /// Has the linked peers asked what they hold now, for whoever looks next; what is known of them
    /// else is what they said last. Not more often than every `COMPARE_PAUSE`, and not while the
    /// task has other work to do.
    pub fn compare(&self) {
        // Full or stopping: whoever looks sees what was said before.
        drop(self.commands.try_send(Command::Compare));
    }

    /// Asks every node of the mesh whether it has a log up to this state; their answers come on the
    /// channel for at least `life`, which must not be longer than [`MAX_PULL_MS`], or until it is
    /// dropped: then the mesh is told that nobody waits any more.
    ///
    /// # Errors
    /// [`PullError`].
    pub async fn pull(
        &self,
        log: LogRow,
        life: Duration,
    ) -> Result<mpsc::Receiver<Pulled>, PullError> {
        let (opened, open) = oneshot::channel();
        let command = Command::Pull { log, life, opened };
        let sent = self.commands.send(command).await;
        sent.map_err(|_| PullError::Stopping)?;
        open.await.map_err(|_| PullError::Stopping)?
    }
}

/// Whose acknowledgements hold: members that nobody has revoked.
struct Unbarred<'a>(&'a Parts);

impl protocol::distribution::Members for Unbarred<'_> {
    fn signing_set(&self, node: &NodeId) -> Option<SigningSet> {
        let member = self.0.members.member(node)?;
        self.0.standing.member(&member.membership).ok()?;
        Some(member.membership.signing.clone())
    }
}

fn versions(heads: &HeadSet) -> DocumentVersions {
    DocumentVersions {
        root: heads.root.version,
        bundle: heads.bundle.map(|row| row.version),
        revocations: Some(heads.logs.iter().map(|row| row.length).sum()),
    }
}

/// The task and its state.
struct Driver {
    parts: Parts,
    machine: Machine,
    outboxes: HashMap<NodeId, mpsc::Sender<Arc<Message>>>,
    syncs: Arc<Syncs>,
    asking: Asking,
    /// For those who wait to say that they wait no more.
    own_commands: mpsc::WeakSender<Command>,
    /// When all peers were asked for their heads last, because somebody looked.
    compared_at: Option<Instant>,
    persisting: FuturesOrdered<BoxFuture<'static, (u64, Result<(), StoreError>)>>,
    keeper: Keeper,
    /// The last write under way.
    unkept: Option<u64>,
    /// Publications that wait for a write.
    published: Vec<(u64, Offer, Reply)>,
    stamp: Stamp,
    herald: Herald,
}

/// Makes the task and the handle to it; the task ends with `stop`.
pub fn start(
    parts: Parts,
    state: TrustState,
    timestamper: Option<SigningKeys>,
    stop: CancellationToken,
) -> (Trust, impl Future<Output = ()> + Send) {
    let (commands, inbox) = mpsc::channel(INBOX);
    let (announcements, _) = broadcast::channel(ANNOUNCEMENTS);
    let syncs = Arc::new(Syncs::default());
    let keeper = Keeper::of(&state);
    let machine = Machine::new(
        parts.identity.node(),
        Config::default(),
        state,
        parts.clock.now(),
    );
    let driver = Driver {
        parts,
        machine,
        outboxes: HashMap::new(),
        syncs: Arc::clone(&syncs),
        asking: Asking::default(),
        own_commands: commands.downgrade(),
        compared_at: None,
        persisting: FuturesOrdered::new(),
        keeper,
        unkept: None,
        published: Vec::new(),
        stamp: Stamp::new(timestamper),
        herald: Herald::new(announcements.clone()),
    };
    let trust = Trust {
        commands,
        syncs,
        announcements,
    };
    (trust, driver.run(inbox, stop))
}

impl Driver {
    async fn run(mut self, mut inbox: mpsc::Receiver<Command>, stop: CancellationToken) {
        let mut events = self.parts.links.events();
        self.meet_links();
        self.stamp.due_now();
        loop {
            let wake = self.wake();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some((id, kept)) = self.persisting.next() => self.persisted(id, kept),
                event = events.recv() => self.link_event(event),
                command = inbox.recv() => match command {
                    Some(command) => self.command(command),
                    None => return,
                },
                () = tokio::time::sleep_until(wake) => self.tick(),
            }
        }
    }

    /// When the machine or the timestamper is due.
    fn wake(&self) -> Instant {
        let now = self.parts.clock.now();
        let machine = self.machine.next_tick().0.saturating_sub(now.0);
        let machine = Instant::now() + Duration::from_millis(machine.min(LONGEST_SLEEP_MS));
        self.stamp.due().map_or(machine, |due| due.min(machine))
    }

    fn tick(&mut self) {
        self.handle(Event::Tick);
        if self.stamp.is_due() {
            self.sign_timestamp();
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Message(peer, message) => self.message(peer, &message),
            Command::Gossip(from, message, heard) => {
                self.herald.hear(from);
                self.message(from, &message);
                heard.verdict.say(self.herald.verdict(&heard.data));
            }
            Command::Publish(document, reply) => {
                let outcome = self.handle(Event::Publish(*document));
                match (outcome.unwrap_or(Ok(Offer::Known)), self.unkept) {
                    // On disk with everything that was written before it.
                    (Ok(offer), Some(id)) => self.published.push((id, offer, reply)),
                    // Whoever asked may have left; the document is in force all the same.
                    (Ok(offer), None) => drop(reply.send(Ok(offer))),
                    (Err(error), _) => drop(reply.send(Err(error.into()))),
                }
            }
            Command::Compare => {
                let due = |at: Instant| at.elapsed() >= COMPARE_PAUSE;
                if self.compared_at.is_none_or(due) {
                    self.compared_at = Some(Instant::now());
                    self.handle(Event::Compare);
                }
            }
            Command::Ask(peer) => {
                self.handle(Event::Ask(peer));
            }
            Command::StampWith(keys) => self.stamp.sign_with(*keys),
            Command::Pull { log, life, opened } => {
                let pulled = self.open_pull(log, life);
                // Whoever asked may have left, and with it the channel.
                drop(opened.send(pulled));
            }
            Command::EndPull(id) => {
                if self.asking.is_over(&id) {
                    self.handle(Event::EndPull(id));
                }
            }
        }
    }

    /// Asks the mesh, or joins whoever asks it the same already.
    fn open_pull(
        &mut self,
        log: LogRow,
        life: Duration,
    ) -> Result<mpsc::Receiver<Pulled>, PullError> {
        let until = Instant::now() + life;
        let (id, pulled) = if let Some(joined) = self.asking.join(&log, until) {
            joined
        } else {
            let mut id = [0; 16];
            let drawn = self.parts.identity.crypto.fill_random(&mut id);
            drawn.map_err(|_| PullError::Stopping)?;
            let id = PullId(id);
            let ends = Instant::now() + Duration::from_millis(MAX_PULL_MS);
            let pulled = self.asking.open(id, log, ends);
            let life_ms = MAX_PULL_MS;
            self.handle(Event::Pull { id, log, life_ms });
            if !self.asking.is_open(&id) {
                return Err(PullError::TooMany);
            }
            (id, pulled)
        };
        if let Some(answers) = self.asking.newest(&id) {
            let commands = self.own_commands.clone();
            tokio::spawn(async move {
                answers.closed().await;
                if let Some(commands) = commands.upgrade() {
                    // Fails only when the node is stopping.
                    drop(commands.send(Command::EndPull(id)).await);
                }
            });
        }
        Ok(pulled)
    }

    fn message(&mut self, peer: NodeId, message: &Message) {
        // What a peer sent before its link went down concerns nobody.
        if !self.outboxes.contains_key(&peer) {
            return;
        }
        self.handle(Event::Message(peer, message));
        if let Some(heads) = self.machine.peer_heads(&peer) {
            self.syncs.heard(peer, versions(heads));
        }
    }

    /// Gives the machine an event and carries out what it says; what became of a document of local
    /// origin is returned.
    fn handle(&mut self, event: Event<'_>) -> Option<Result<Offer, TrustError>> {
        let mut effects = Vec::new();
        let parts = &self.parts;
        let context = Context {
            crypto: &*parts.identity.crypto,
            signer: &*parts.identity.signing,
            members: &Unbarred(parts),
            now: parts.clock.now(),
        };
        self.machine.handle(&context, event, &mut effects);
        let mut published = None;
        for effect in effects {
            match effect {
                Effect::Changed(change) => self.changed(&change),
                Effect::Send(peer, message) => self.send(peer, message),
                Effect::Persist { id, documents } => self.persist(id, documents),
                Effect::Misbehaved(peer, error) => self.misbehaved(peer, &error),
                Effect::Alarm(fork) => self.alarm(&fork),
                Effect::Synced(peer) => self.synced(peer),
                Effect::Published(outcome) => published = Some(outcome),
                Effect::Acked { id, ack } => self.asking.acked(&id, ack),
                Effect::PullRefused { id, by: Some(_) } => self.asking.busy(&id),
                Effect::PullRefused { id, by: None } => self.asking.forget(&id),
            }
        }
        published
    }

    /// Something newer is in force: everyone decides by it from now on, and who is barred by it is
    /// cut off.
    fn changed(&mut self, change: &Change) {
        self.herald.announce(&self.machine, change);
        let parts = &self.parts;
        let state = Arc::new(self.machine.state().clone());
        parts.identity.replace_root(Arc::clone(state.root()));
        parts.standing.replace(Arc::clone(&state));
        match change {
            Change::Timestamp { version, .. } => tracing::debug!(version, "timestamp"),
            Change::Root { version } => tracing::info!(version, "root in force"),
            Change::Bundle { version } => tracing::info!(version, "bundle in force"),
            Change::Log {
                admin,
                from,
                length,
            } => tracing::info!(admin = %admin.short(), from, length, "revocations in force"),
        }
        if let Change::Root { .. } = change {
            parts.members.replace_root(Arc::clone(state.root()));
        }
        let barred: Vec<NodeId> = parts
            .members
            .all()
            .iter()
            .filter(|m| parts.standing.member(&m.membership).is_err())
            .map(|m| m.membership.node())
            .collect();
        for peer in parts.links.all().into_iter().map(|link| link.peer) {
            let unknown = parts.members.member(&peer).is_none();
            if unknown || barred.contains(&peer) {
                parts.counters.count("link_revoked");
                parts.links.close(peer, Reason::Revoked);
            }
        }
        parts.effected.changed(change, &state);
        if !matches!(change, Change::Timestamp { .. }) {
            self.stamp.soon();
        }
    }

    fn synced(&self, peer: NodeId) {
        if self.parts.standing.release() {
            tracing::info!(peer = %peer.short(), "heard of the present after a restore");
            self.parts.effected.caught_up();
        }
        self.syncs.done(peer);
    }

    fn send(&mut self, peer: NodeId, message: Arc<Message>) {
        let Some(outbox) = self.outboxes.get(&peer) else {
            return;
        };
        if outbox.try_send(message).is_err() {
            tracing::warn!(peer = %peer.short(), "takes no trust documents; cut off");
            self.parts.counters.count("trust_outbox_full");
            self.parts.links.close(peer, Reason::Closed);
        }
    }

    fn persist(&mut self, id: u64, documents: Vec<Document>) {
        self.unkept = Some(id);
        let store = self.parts.store.clone();
        let writes = self.keeper.writes(self.machine.state(), &documents);
        self.persisting.push_back(Box::pin(async move {
            let kept = store.durable(writes).await.map(drop);
            (id, kept)
        }));
    }

    fn persisted(&mut self, id: u64, kept: Result<(), StoreError>) {
        if self.unkept == Some(id) {
            self.unkept = None;
        }
        let waiting = std::mem::take(&mut self.published);
        let (due, later): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(of, ..)| *of <= id);
        self.published = later;
        let failed = kept.as_ref().err().map(ToString::to_string);
        for (_, offer, reply) in due {
            let outcome = match &failed {
                None => Ok(offer),
                Some(why) => Err(PublishError::NotKept(why.clone())),
            };
            // Whoever asked may have left.
            drop(reply.send(outcome));
        }
        match kept {
            Ok(()) => {
                self.handle(Event::Persisted(id));
            }
            // The node stops on a store that fails; nothing is acknowledged meanwhile.
            Err(error) => tracing::error!(%error, "trust documents were not kept"),
        }
    }

    /// Only valid documents are ever sent on, so whoever sends another is no honest node.
    fn misbehaved(&mut self, peer: NodeId, error: &TrustError) {
        if self.herald.forged(peer) {
            tracing::warn!(peer = %peer.short(), %error, "gossiped a document that does not hold");
            self.parts.counters.count("gossip_rejected");
            return;
        }
        tracing::warn!(peer = %peer.short(), %error, "sent a document that does not hold; cut off");
        self.parts.counters.count(error.reason());
        self.parts.links.close(peer, Reason::Closed);
    }

    fn alarm(&self, fork: &ForkOf) {
        // Nothing else may be in force, and whoever asks is to hear of it all the same.
        let state = Arc::new(self.machine.state().clone());
        self.parts.standing.replace(state);
        tracing::error!(
            ?fork,
            "two documents where there must be one; what was in force stays"
        );
        self.parts.counters.count("trust_fork");
    }

    fn sign_timestamp(&mut self) {
        // A version this host has signed before, over other content, would be a fork.
        if self.parts.standing.is_held() {
            return self.stamp.soon_again();
        }
        let now = self.parts.clock.now().seconds();
        let nodes = self.parts.members.all().len() as u64;
        let crypto = &*self.parts.identity.crypto;
        let signed = self.stamp.sign(crypto, self.machine.state(), now, nodes);
        match signed {
            Ok(Some(document)) => {
                if let Some(Err(error)) = self.handle(Event::Publish(document)) {
                    tracing::error!(%error, "this node's own timestamp was refused");
                }
            }
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "no timestamp was signed"),
        }
    }

    fn link_event(&mut self, event: Result<LinkEvent, broadcast::error::RecvError>) {
        match event {
            Ok(LinkEvent::Up { peer, .. }) => self.meet(peer),
            Ok(LinkEvent::Down { peer, .. }) => self.part(peer),
            // Events were missed: what there is now counts.
            Err(broadcast::error::RecvError::Lagged(_)) => self.meet_links(),
            Err(broadcast::error::RecvError::Closed) => {}
        }
    }

    fn meet_links(&mut self) {
        let linked: Vec<NodeId> = self.parts.links.all().iter().map(|l| l.peer).collect();
        let gone: Vec<NodeId> = self
            .outboxes
            .keys()
            .filter(|peer| !linked.contains(peer))
            .copied()
            .collect();
        gone.into_iter().for_each(|peer| self.part(peer));
        linked.into_iter().for_each(|peer| self.meet(peer));
    }

    fn meet(&mut self, peer: NodeId) {
        self.part(peer);
        let (outbox, messages) = mpsc::channel(outbox::OUTBOX);
        self.outboxes.insert(peer, outbox);
        let up = Instant::now();
        self.syncs.set(
            peer,
            Some(Progress {
                up,
                done: false,
                versions: None,
            }),
        );
        let links = self.parts.links.clone();
        tokio::spawn(async move {
            if let Err(error) = outbox::send(links, peer, messages).await {
                tracing::debug!(peer = %peer.short(), %error, "trust stream ended");
            }
        });
        self.handle(Event::PeerUp(peer));
    }

    fn part(&mut self, peer: NodeId) {
        if self.outboxes.remove(&peer).is_some() {
            self.syncs.set(peer, None);
            self.handle(Event::PeerDown(peer));
        }
    }
}
