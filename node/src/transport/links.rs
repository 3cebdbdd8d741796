//! The links of a node: dialing, accepting, admitting, and the registry everyone else uses.
//!
//! Invariants: a connection is in the registry only after both sides admitted each other; one
//! link per pair of nodes ([`registry`](super::registry)); every refusal is counted; every task
//! runs under the tracker given at start, and ends when the token is cancelled.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use hedgerow_crypto::TlsIdentity;
use protocol::crypto::Crypto;
use protocol::id::NodeId;
use protocol::time::UnixMillis;
use quinn::{ConnectionError, Incoming};
use tokio::sync::{broadcast, mpsc};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::admission::{self, Admission, Greeted, HelloError, Instance};
use super::copies::Copies;
use super::endpoint::{Config, Endpoint, Gate, Pass, Place, Proven, widen};
use super::error::{BindError, LinkError};
use super::limits;
use super::link::{Dispatch, Facts, Libp2pStream, Link, LinkInfo};
use super::refusal::{Counters, Reason, Refusal, Side};
use super::registry::{Claim, Outcome, Registry};
use super::stream::{RecvStream, SendStream, StreamHandler, StreamKind};

/// How long closing tells peers before the sockets go.
const FAREWELL: Duration = Duration::from_secs(1);

/// What happens to links. A reader that falls behind by [`limits::EVENTS`] is told so by the
/// channel and reads [`Links::all`] again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkEvent {
    /// A peer has a link. When a link is superseded by another of the same pair, `Down` comes
    /// first, with [`Reason::Superseded`].
    Up {
        /// The peer.
        peer: NodeId,
        /// Whether this node dialed.
        dialed: bool,
    },
    /// A peer has none any more.
    Down {
        /// The peer.
        peer: NodeId,
        /// Why.
        reason: Reason,
    },
}

/// An admitted link on its way to the swarm.
pub(super) struct SwarmLink {
    pub(super) link: Arc<Link>,
    pub(super) streams: mpsc::Receiver<Libp2pStream>,
}

/// The links of this node. Cheap to clone.
#[derive(Clone)]
pub struct Links(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) endpoint: Endpoint,
    pub(super) config: Config,
    admission: Arc<dyn Admission>,
    instance: Instance,
    pub(super) counters: Arc<Counters>,
    registry: Mutex<Registry>,
    copies: Mutex<Copies>,
    /// Held while a dial decides whether it supersedes, one per peer.
    greeting: Mutex<HashMap<NodeId, Weak<tokio::sync::Mutex<()>>>>,
    events: broadcast::Sender<LinkEvent>,
    pub(super) handler: OnceLock<Arc<dyn StreamHandler>>,
    swarm: OnceLock<mpsc::Sender<SwarmLink>>,
    tasks: TaskTracker,
    pub(super) stop: CancellationToken,
}

impl Links {
    /// Binds the port. Nothing is dialed or accepted before [`Links::serve`].
    ///
    /// # Errors
    /// See [`BindError`].
    pub fn bind(
        config: Config,
        identity: Arc<TlsIdentity>,
        crypto: Arc<dyn Crypto>,
        admission: Arc<dyn Admission>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self, BindError> {
        let mut instance = [0; 8];
        let random = crypto.fill_random(&mut instance);
        random.map_err(|_| BindError::NoRandomness)?;
        let endpoint = Endpoint::bind(&config, identity, crypto)?;
        Ok(Self(Arc::new(Inner {
            registry: Mutex::new(Registry::new(endpoint.node())),
            endpoint,
            config,
            admission,
            instance: Instance(instance),
            counters: Arc::default(),
            copies: Mutex::default(),
            greeting: Mutex::default(),
            events: broadcast::Sender::new(limits::EVENTS),
            handler: OnceLock::new(),
            swarm: OnceLock::new(),
            tasks,
            stop,
        })))
    }

    /// Starts accepting; streams that peers open go to `handler`. Called once; a second call
    /// changes nothing.
    pub fn serve(&self, handler: Arc<dyn StreamHandler>) {
        if self.0.handler.set(handler).is_ok() {
            let inner = Arc::clone(&self.0);
            self.0.tasks.spawn(inner.accept());
        }
    }

    /// Sends every admitted link to the swarm from now on; before [`Links::serve`].
    pub(super) fn feed(&self, swarm: mpsc::Sender<SwarmLink>) {
        // A second swarm would get nothing; there is one per node.
        let _ = self.0.swarm.set(swarm);
    }

    pub(super) fn tasks(&self) -> (&TaskTracker, &CancellationToken) {
        (&self.0.tasks, &self.0.stop)
    }

    /// This node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.0.endpoint.node()
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.0.endpoint.quinn.local_addr()
    }

    /// The link with this peer.
    #[must_use]
    pub fn get(&self, peer: NodeId) -> Option<LinkInfo> {
        self.0.registry().current(peer).map(|link| link.info())
    }

    /// Every link, sorted by peer.
    #[must_use]
    pub fn all(&self) -> Vec<LinkInfo> {
        let mut links: Vec<_> = self.0.registry().links().map(|link| link.info()).collect();
        links.sort_by_key(|link| link.peer);
        links
    }

    /// When a peer was heard last on a link that is down since; none of one that had none since this
    /// process started.
    #[must_use]
    pub fn last_heard(&self, peer: NodeId) -> Option<UnixMillis> {
        self.0.registry().heard(peer)
    }

    /// The peers of which two processes took turns within [`COPY_WINDOW`](super::COPY_WINDOW):
    /// somebody runs a copy of that node. Sorted.
    #[must_use]
    pub fn copied(&self) -> Vec<NodeId> {
        self.0.copies().of_peers(Instant::now())
    }

    /// Whether somebody runs a copy of this node: peers take its links for another process of the
    /// same key.
    #[must_use]
    pub fn is_copied(&self) -> bool {
        self.0.copies().of_own(Instant::now())
    }

    /// How often each reason was given since start.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.0.counters
    }

    /// Ups and downs from now on.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<LinkEvent> {
        self.0.events.subscribe()
    }

    /// Dials `remote` and admits who answers, who must be `expected` where that is given.
    /// Returns at once when `expected` has a link; otherwise the peer's link when done, be it
    /// this connection or another that was there first.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub async fn dial(
        &self,
        remote: SocketAddr,
        expected: Option<NodeId>,
    ) -> Result<LinkInfo, LinkError> {
        if let Some(link) = expected.and_then(|peer| self.get(peer)) {
            return Ok(link);
        }
        if self.0.handler.get().is_none() {
            return Err(LinkError::NotServing);
        }
        let dialed = Arc::clone(&self.0).dial(remote, expected);
        let stopped = self.0.stop.cancelled();
        let link = tokio::select! {
            biased;
            () = stopped => Err(LinkError::NotServing),
            link = Box::pin(dialed) => link,
        }?;
        Ok(link.info())
    }

    /// Opens a stream to a peer that has a link, waiting while its budget is used up. The peer
    /// sees it with the first bytes written: see [`SendStream`].
    ///
    /// # Errors
    /// [`LinkError::NoLink`] or [`LinkError::Down`].
    pub async fn open(
        &self,
        peer: NodeId,
        kind: StreamKind,
    ) -> Result<(SendStream, RecvStream), LinkError> {
        let link = self.0.registry().current(peer);
        let link = link.ok_or(LinkError::NoLink { peer })?;
        link.open(kind).await
    }

    /// Closes every connection with a peer at once: its streams fail on both ends before this
    /// returns here, and within one way of the path there. True if there was a link.
    pub fn close(&self, peer: NodeId, reason: Reason) -> bool {
        self.0.close(peer, reason)
    }
}

impl Inner {
    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn copies(&self) -> MutexGuard<'_, Copies> {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, peer: NodeId, reason: Reason) -> bool {
        let (current, draining) = self.registry().take(peer);
        for link in current.iter().chain(&draining) {
            link.close(reason);
        }
        if current.is_some() {
            self.tell(LinkEvent::Down { peer, reason });
        }
        current.is_some()
    }

    fn tell(&self, event: LinkEvent) {
        match event {
            LinkEvent::Up { peer, dialed } => {
                tracing::info!(peer = %peer.short(), dialed, "link up");
            }
            LinkEvent::Down { peer, reason } => {
                // One that fell silent was heard last before that was noticed.
                let silent = match reason {
                    Reason::TimedOut => self.config.idle_timeout,
                    _ => Duration::ZERO,
                };
                let silent = u64::try_from(silent.as_millis()).unwrap_or(u64::MAX);
                let heard = UnixMillis(now().0.saturating_sub(silent));
                self.registry().note_heard(peer, heard);
                tracing::info!(peer = %peer.short(), reason = reason.name(), "link down");
            }
        }
        // Nobody listening is fine.
        let _ = self.events.send(event);
    }

    async fn accept(self: Arc<Self>) {
        let gate = Arc::new(Gate::new(&self.config));
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                incoming = self.endpoint.quinn.accept() => match incoming {
                    Some(incoming) => self.meet(incoming, &gate),
                    None => break,
                },
            }
        }
        self.farewell().await;
    }

    async fn farewell(&self) {
        let peers = self.registry().peers();
        for peer in peers {
            self.close(peer, Reason::Stopping);
        }
        let reason = Reason::Stopping;
        let endpoint = &self.endpoint.quinn;
        endpoint.close(reason.code(), reason.name().as_bytes());
        // A peer that does not acknowledge finds out by its idle timeout.
        let _ = timeout(FAREWELL, endpoint.wait_idle()).await;
    }

    /// Decides on a connection attempt before any cryptography.
    fn meet(self: &Arc<Self>, incoming: Incoming, gate: &Arc<Gate>) {
        let (remote, proven) = (
            incoming.remote_address(),
            incoming.remote_address_validated(),
        );
        match gate.pass(remote, proven, incoming.may_retry(), Instant::now()) {
            Pass::Accept(place) => {
                let inner = Arc::clone(self);
                self.tasks
                    .spawn(async move { Box::pin(inner.receive(incoming, place)).await });
            }
            // Fails only for a source that is proven, which is not asked to retry.
            Pass::Retry => drop(incoming.retry()),
            Pass::Ignore(reason) => {
                self.counters.count(reason);
                incoming.ignore();
            }
            Pass::Refuse(reason) => {
                self.counters.count(reason);
                incoming.refuse();
            }
        }
    }

    /// Takes one connection attempt to a link or a refusal.
    async fn receive(self: Arc<Self>, incoming: Incoming, place: Place) {
        let remote = incoming.remote_address();
        let accepted = tokio::select! {
            biased;
            () = self.stop.cancelled() => return,
            accepted = self.endpoint.accept(incoming) => accepted,
        };
        let proven = match accepted {
            Ok(proven) => proven,
            Err((reason, side)) => {
                // The peer's verdict on us is not ours on it.
                let reason = match side {
                    Side::Here => reason,
                    Side::Peer => Reason::HandshakeFailed,
                };
                self.counters.count(reason);
                tracing::debug!(%remote, reason = reason.name(), "{reason}");
                return;
            }
        };
        let connection = proven.connection.clone();
        let mut held = None;
        let answered = timeout(
            self.config.hello_timeout,
            admission::answer(
                &connection,
                self.admission.as_ref(),
                self.instance,
                &proven.peer,
                || widen(&connection),
                &mut held,
            ),
        );
        let started = Instant::now();
        let answered = tokio::select! {
            biased;
            () = self.stop.cancelled() => return,
            answered = answered => answered,
        };
        drop(place);
        // The refusal is counted and told; there is nobody here to hand it to.
        match self.judged(&proven, answered.ok()).await {
            Ok(Greeted::Admitted(instance)) => {
                let _ = self.admit(proven, instance, false, started.elapsed()).await;
            }
            Ok(Greeted::Joins(send, recv)) => self.enrol(proven, send, recv).await,
            Err(_) => {}
        }
    }

    async fn dial(
        self: Arc<Self>,
        remote: SocketAddr,
        expected: Option<NodeId>,
    ) -> Result<Arc<Link>, LinkError> {
        let proven = self.endpoint.dial(remote, expected).await;
        let proven = proven.inspect_err(|error| match error {
            LinkError::Refused { reason } | LinkError::RefusedByPeer { reason } => {
                self.counters.count(*reason);
            }
            _ => {}
        })?;
        let peer = proven.peer.node;
        let connection = proven.connection.clone();
        let started = Instant::now();
        let turn = self.turn(peer);
        let mut held = None;
        let greeting = async {
            // One dial per peer at a time decides whether it supersedes.
            let turn = turn.lock_owned().await;
            let keep = |instance| {
                let claim = Claim {
                    instance,
                    dialed: true,
                };
                self.registry().would_win(peer, claim)
            };
            let (own, admission) = (self.instance, self.admission.as_ref());
            let stream = &mut held;
            let greeted = admission::greet(&connection, admission, own, &proven.peer, keep, stream);
            (greeted.await, turn)
        };
        let (greeted, _turn) = timeout(self.config.hello_timeout, greeting)
            .await
            .map_or((None, None), |(greeted, turn)| (Some(greeted), Some(turn)));
        let superseded = LinkError::Refused {
            reason: Reason::Superseded,
        };
        match self.judged(&proven, greeted).await {
            Ok(instance) => {
                widen(&connection);
                self.admit(proven, instance, true, started.elapsed()).await
            }
            // The peer has a link: that is what was asked for.
            Err(error) if error == superseded => self.registry().current(peer).ok_or(superseded),
            Err(error) => Err(error),
        }
    }

    /// The lock that dials to `peer` take turns by.
    fn turn(&self, peer: NodeId) -> Arc<tokio::sync::Mutex<()>> {
        let mut greeting = self.greeting.lock().unwrap_or_else(PoisonError::into_inner);
        greeting.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = greeting.get(&peer).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::default();
        greeting.insert(peer, Arc::downgrade(&turn));
        turn
    }

    /// What came of hello; closes the connection with the reason where it is a refusal. `None`
    /// means that time ran out.
    async fn judged<T>(
        &self,
        proven: &Proven,
        outcome: Option<Result<T, HelloError>>,
    ) -> Result<T, LinkError> {
        let connection = &proven.connection;
        let error = match outcome {
            Some(Ok(greeted)) => return Ok(greeted),
            Some(Err(error)) => error,
            None => HelloError::Refused(Reason::HelloTimeout),
        };
        let error = match error {
            HelloError::Refused(reason) => {
                // Giving way to the other connection of a pair is no refusal of the peer.
                if reason != Reason::Superseded {
                    self.counters.count(reason);
                    self.admission
                        .refused(proven.peer.node, reason.name())
                        .await;
                }
                connection.close(reason.code(), reason.name().as_bytes());
                LinkError::Refused { reason }
            }
            HelloError::NotAdmitted(refusal) => {
                self.counters.count_refusal(&refusal);
                self.admission
                    .refused(proven.peer.node, &refusal.reason)
                    .await;
                connection.close(Reason::NotAdmitted.code(), &refusal.to_bytes());
                LinkError::NotAdmitted(refusal)
            }
            HelloError::Connection(error) => by_peer(proven.peer.node, &error),
        };
        tracing::debug!(peer = %proven.peer.node.short(), reason = error.name(), "{error}");
        Err(error)
    }

    /// Enters an admitted connection into the registry and starts serving it.
    async fn admit(
        self: &Arc<Self>,
        proven: Proven,
        instance: Instance,
        dialed: bool,
        hello: Duration,
    ) -> Result<Arc<Link>, LinkError> {
        let peer = proven.peer.node;
        let facts = Facts {
            peer,
            instance,
            dialed,
            group: proven.group,
            signature_scheme: proven.signature_scheme,
            handshake: proven.took,
            hello,
            rtts: proven.rtts,
            since: now(),
        };
        let Some(handler) = self.handler.get().map(Arc::clone) else {
            return Err(LinkError::NotServing);
        };
        let link = Arc::new(Link::new(facts, proven.connection));
        if self.copies().met(peer, instance, Instant::now()) {
            tracing::warn!(
                peer = %peer.short(),
                "two processes use the key of this peer by turns: a copy of that node runs"
            );
        }
        let outcome = self.registry().admit(&link);
        match outcome {
            Outcome::Current { superseded } => {
                if let Some(before) = superseded {
                    self.tell(LinkEvent::Down {
                        peer,
                        reason: Reason::Superseded,
                    });
                    self.drain(before);
                }
                self.tell(LinkEvent::Up { peer, dialed });
            }
            Outcome::Superseded => self.drain(Arc::clone(&link)),
            Outcome::Refused => {
                let reason = Reason::TooManyLinks;
                self.counters.count(reason);
                self.admission.refused(peer, reason.name()).await;
                link.close(reason);
                return Err(LinkError::Refused { reason });
            }
        }
        let inner = Arc::clone(self);
        let served = Arc::clone(&link);
        let lane = &self.config.lane;
        lane.spawn(&self.tasks, inner.serve(served, handler));
        let current = self.registry().current(peer);
        Ok(current.unwrap_or(link))
    }

    /// Serves a connection to its end.
    async fn serve(self: Arc<Self>, link: Arc<Link>, handler: Arc<dyn StreamHandler>) {
        let libp2p = match self.swarm.get() {
            Some(swarm) => {
                let (sender, streams) = mpsc::channel(limits::LIBP2P_QUEUE);
                let fed = SwarmLink {
                    link: Arc::clone(&link),
                    streams,
                };
                // Fails when the swarm has stopped; the node is stopping then.
                let sent = tokio::select! {
                    biased;
                    () = link.closed() => Ok(()),
                    sent = swarm.send(fed) => sent,
                };
                sent.is_ok().then_some(sender)
            }
            None => None,
        };
        let dispatch = Dispatch {
            handler,
            libp2p,
            counters: Arc::clone(&self.counters),
            admission: Arc::clone(&self.admission),
            tasks: self.tasks.clone(),
            lane: self.config.lane.clone(),
            sniff_timeout: self.config.sniff_timeout,
        };
        Arc::clone(&link).dispatch(dispatch).await;
        let was_current = self.registry().remove(&link);
        if was_current {
            let (peer, reason) = (link.facts.peer, link.ended());
            // Closed there in favour of another, and there is no other here: it is another process's.
            if reason == Reason::Superseded && self.copies().ousted(Instant::now()) {
                tracing::warn!(
                    peer = %peer.short(),
                    "another process uses the key of this node: a copy of it runs elsewhere"
                );
            }
            self.tell(LinkEvent::Down { peer, reason });
        }
    }

    /// Closes a superseded link after its grace.
    fn drain(&self, link: Arc<Link>) {
        self.tasks.spawn(async move {
            tokio::select! {
                () = link.closed() => {}
                () = sleep(limits::SUPERSEDED_GRACE) => link.close(Reason::Superseded),
            }
        });
    }
}

/// A connection that ended during hello: by the peer's refusal, or lost.
pub(super) fn by_peer(peer: NodeId, error: &ConnectionError) -> LinkError {
    let refusal = match error {
        ConnectionError::ApplicationClosed(close)
            if close.error_code == Reason::NotAdmitted.code() =>
        {
            Refusal::from_bytes(&close.reason)
        }
        _ => None,
    };
    if let Some(refusal) = refusal {
        return LinkError::NotAdmittedByPeer(refusal);
    }
    match Reason::of(error) {
        (Reason::Lost | Reason::TimedOut, _) | (_, Side::Here) => LinkError::Down {
            peer,
            reason: Reason::of(error).0,
        },
        (reason, Side::Peer) => LinkError::RefusedByPeer { reason },
    }
}

/// The wall clock, for people; nothing is decided by it.
fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let millis = since.unwrap_or_default().as_millis();
    UnixMillis(u64::try_from(millis).unwrap_or(u64::MAX))
}
