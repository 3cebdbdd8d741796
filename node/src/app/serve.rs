//! The long-running tasks of a node, each a named service of the supervisor.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use protocol::human::Human;
use protocol::id::NodeId;
use protocol::limits::{COPY_WINDOW_S, MAX_CLOCK_AHEAD_S, MAX_ENVELOPE_LIFE_S};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::AppError;
use super::node::{Listeners, Node};
use crate::call::Acceptor;
use crate::control::Admit;
use crate::enrol::{Source, keep_renewed};
use crate::members::DirectoryError;
use crate::overlay::heads::{self, HEADS_TOPIC, HeadBudgets};
use crate::overlay::{RENEW_AFTER, TOPIC, keep_links, trust};
use crate::session::Principal;
use crate::store::Write;
use crate::supervisor::Tasks;
use crate::transport::{
    Gossip, GossipError, GossipMessage, IncomingStream, LinkEvent, Newcomer, Reason, StreamHandler,
    StreamKind, Verdict,
};

/// Connections of `hedgerow mcp` at once.
const MAX_LINE_CLIENTS: usize = 256;

/// Longest first line of `hedgerow mcp`, which names the server.
const MAX_PREAMBLE_BYTES: u64 = 1024;

/// How long that line may take.
const PREAMBLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Peers that records are sent to at once; each takes one stream and at most a few kilobytes.
const PUSHES_AT_ONCE: usize = 64;

/// How long a neighbour may take to be sent news.
const NEWS_TIMEOUT: Duration = Duration::from_secs(5);

/// How often news is sent to a neighbour that did not take it: its link may just have been replaced,
/// or its host be busy. Where all of them fail it waits for gossip, or for the next renewal.
const NEWS_TRIES: u32 = 3;

/// How often an issuer forgets tickets and newcomers of long ago.
const TIDY_EVERY: Duration = Duration::from_secs(3600);

/// How often links are checked for memberships that have ended.
const EXPIRY_EVERY: Duration = Duration::from_secs(5);

/// How often what need not be kept is forgotten on disk: replay floors that no envelope can reach
/// any more, and decision records. Refusals that were not recorded one by one are summed up then.
const PRUNE_EVERY: Duration = Duration::from_secs(60);

/// How often this host's addresses are looked at: a route that comes late must not leave a node
/// unreachable until its record is renewed by time.
const ADDRESSES_EVERY: Duration = Duration::from_secs(60);

/// Every stream a peer opens, by kind.
struct Streams {
    acceptor: Arc<Acceptor>,
    node: std::sync::Weak<Node>,
    gossip: Gossip,
}

#[async_trait]
impl StreamHandler for Streams {
    async fn handle(&self, stream: IncomingStream) {
        match stream.kind {
            StreamKind::Call | StreamKind::Session => {
                // This side too decides by what the peer knew when it came, not by less.
                if let Some(node) = self.node.upgrade() {
                    node.trust.synced(&stream.peer).await;
                }
                self.acceptor.handle(stream).await;
            }
            StreamKind::Trust => {
                if let Some(node) = self.node.upgrade() {
                    hear_trust(&node, stream).await;
                }
            }
            StreamKind::Sync => {
                let Some(node) = self.node.upgrade() else {
                    return;
                };
                let peer = stream.peer;
                match node.records.receive_all(stream.recv).await {
                    Ok(news) => {
                        node.carry_news(peer, &news).await;
                        node.pass_on(&self.gossip, news).await;
                    }
                    Err(error) => {
                        let reason = "sync_refused";
                        node.counters.count(reason);
                        node.enforcer.refused_on_link(peer, reason).await;
                        tracing::warn!(peer = %peer.short(), %error, "refused node records");
                    }
                }
            }
            StreamKind::Join => {
                let Some(node) = self.node.upgrade() else {
                    return;
                };
                let source = Source::Member(stream.peer);
                let serve = node.desk.serve(source, stream.send, stream.recv);
                tokio::select! {
                    biased;
                    () = stream.down.cancelled() => {}
                    () = serve => {}
                }
            }
            StreamKind::Approval => {
                if let Some(node) = self.node.upgrade() {
                    node.serve_approval(stream).await;
                }
            }
            StreamKind::RelayedApproval => {
                if let Some(node) = self.node.upgrade() {
                    node.serve_relayed(stream).await;
                }
            }
            StreamKind::Record => {
                let Some(node) = self.node.upgrade() else {
                    return;
                };
                if let Err(error) = node.records.answer(stream.recv, stream.send).await {
                    let peer = stream.peer.short();
                    tracing::debug!(peer = %peer, %error, "a question for a record failed");
                }
            }
            // Nobody speaks these yet; dropping the stream resets it.
            StreamKind::Witness => {
                tracing::debug!(peer = %stream.peer.short(), "stream of a kind not spoken yet");
            }
        }
    }

    async fn newcomer(&self, newcomer: Newcomer) {
        let Some(node) = self.node.upgrade() else {
            return;
        };
        let source = Source::Newcomer(newcomer.peer.remote.ip());
        node.desk.serve(source, newcomer.send, newcomer.recv).await;
    }
}

/// Hands what a peer says on its trust stream to the task that owns the documents.
async fn hear_trust(node: &Node, mut stream: IncomingStream) {
    let peer = stream.peer;
    loop {
        match trust::receive(&mut stream.recv).await {
            Ok(message) => node.trust.heard(peer, message).await,
            Err(error) => {
                if let Some(fault) = error.fault() {
                    node.counters.count(fault);
                    tracing::warn!(peer = %peer.short(), %error, "cut off");
                    node.links.close(peer, Reason::Closed);
                }
                return;
            }
        }
    }
}

/// Starts everything and marks the node ready once it serves. What calls in flight need goes on
/// until `closing`: their clients must be able to answer and to hear.
pub(super) fn spawn(
    node: &Arc<Node>,
    listeners: Listeners,
    tasks: &Tasks,
    closing: &CancellationToken,
) -> Result<(), AppError> {
    let serving = node.readiness.condition("serving");
    let stopping = tasks.stopping();
    let crypto = Arc::clone(&node.identity.crypto);
    let (gossip, inbound) = Gossip::start(&node.links, &[TOPIC, HEADS_TOPIC], crypto)
        .map_err(|e| AppError::Gossip(e.to_string()))?;
    node.links.serve(Arc::new(Streams {
        acceptor: Arc::clone(&node.acceptor),
        node: Arc::downgrade(node),
        gossip: gossip.clone(),
    }));
    let announcing = heads::announce(gossip.clone(), node.trust.announcements(), stopping.clone());
    tasks.service("heads", announcing);
    let links = keep_links(
        node.links.clone(),
        Arc::clone(&node.members),
        Arc::clone(&node.standing),
        Arc::clone(&node.dialing),
        stopping.clone(),
    );
    tasks.service("dialing", links);
    tasks.service(
        "records",
        renew_records(Arc::clone(node), gossip, stopping.clone()),
    );
    let measured = Arc::clone(&node.posture).keep_measured(stopping.clone());
    tasks.service("posture", measured);
    let renewal = Arc::clone(&node.renewal);
    tasks.service("renewal", keep_renewed(renewal, stopping.clone()));
    tasks.service(
        "gossip",
        hear_gossip(Arc::clone(node), inbound, stopping.clone()),
    );
    tasks.service(
        "store",
        watch_store(node.store.clone(), tasks.clone(), stopping.clone()),
    );
    tasks.service("greeting", greet_links(Arc::clone(node), stopping.clone()));
    let until = stopping.clone();
    tasks.service("expiry", end_expired(Arc::clone(node), until));
    let until = stopping.clone();
    tasks.service("replaced nodes", keep_replaced(Arc::clone(node), until));
    tasks.service("pruning", prune(Arc::clone(node), stopping.clone()));

    let gateway = Arc::clone(&node.gateway);
    let (listener, until) = (listeners.gateway, closing.clone());
    let lane = node.lane.enter();
    tasks.service("gateway", async move {
        if let Err(error) = gateway.serve_http(listener, until).await {
            tracing::error!(%error, "the gateway stopped");
        }
    });
    tasks.service(
        "line edge",
        serve_lines(Arc::clone(node), listeners.mcp, closing.clone()),
    );
    drop(lane);
    if let (Some(listener), Some(page)) = (listeners.page, &node.page) {
        let source = Arc::clone(node) as Arc<dyn crate::page::Source>;
        let served = crate::page::serve(listener, Arc::clone(page), source, closing.clone());
        tasks.service("status page", served);
    }
    let operations = Arc::clone(node) as Arc<dyn crate::control::Operations>;
    let admit = Admit::own_user_and_root();
    let control = crate::control::serve(listeners.control, admit, operations, closing.clone());
    tasks.service("control API", control);
    serving.met();
    tracing::info!(
        node = %node.identity.name(),
        listen = node.links.local_addr().ok().map(tracing::field::display),
        gateway = node.gateway_url(),
        version = env!("CARGO_PKG_VERSION"),
        "serving"
    );
    Ok(())
}

impl Node {
    /// Sends what was news to every neighbour, where this node relays: they may have no link with
    /// one another and must know each other before a call between them, whatever gossip does.
    async fn carry_news(&self, from: NodeId, news: &[Vec<u8>]) {
        if !self.relay.offers() || news.is_empty() {
            return;
        }
        let neighbours = self.links.all().into_iter().map(|link| link.peer);
        let mut waiting: Vec<NodeId> = neighbours.filter(|peer| *peer != from).collect();
        for _ in 0..NEWS_TRIES {
            let mut again = Vec::new();
            for peer in waiting {
                if !self.send_news(peer, news).await && self.links.get(peer).is_some() {
                    again.push(peer);
                }
            }
            waiting = again;
        }
    }

    /// Sends news to one neighbour; false if it has not taken it.
    async fn send_news(&self, peer: NodeId, news: &[Vec<u8>]) -> bool {
        let sent = async {
            let opened = self.links.open(peer, StreamKind::Sync).await;
            let (send, _recv) = opened.map_err(|e| e.to_string())?;
            let sent = self.records.send_some(send, news).await;
            sent.map_err(|e| e.to_string())
        };
        match tokio::time::timeout(NEWS_TIMEOUT, sent).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => tracing::debug!(peer = %peer.short(), error, "news not sent"),
            Err(_) => tracing::debug!(peer = %peer.short(), "news not taken in time"),
        }
        false
    }

    /// Passes on records that were news.
    async fn pass_on(&self, gossip: &Gossip, news: Vec<Vec<u8>>) {
        for record in news {
            announce(gossip, record).await;
        }
    }
}

async fn renew_records(node: Arc<Node>, gossip: Gossip, stop: CancellationToken) {
    let mut changes = node.upstreams.changes();
    let mut renewed = node.renewal.renewed.subscribe();
    let mut known = node.members.changes();
    let mut posture = node.posture.news();
    let room = Arc::new(Semaphore::new(PUSHES_AT_ONCE));
    loop {
        posture.taken();
        node.admission.advertise(node.reached.now());
        match node.records.renew() {
            Ok(record) => {
                announce(&gossip, record).await;
                for link in node.links.all() {
                    push(&node, &room, link.peer, Extent::Own).await;
                }
            }
            Err(error) => tracing::error!(%error, "this node's record was not renewed"),
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            changed = changes.changed() => if changed.is_err() {
                // No more changes; renew by time alone.
                stop.cancelled().await;
                return;
            },
            // Peers learn of the new membership by the record that carries it.
            _ = renewed.changed() => {}
            // Policies ask for what this host is like now.
            () = posture.next() => {}
            // A relay that was named in the configuration is known by now.
            () = relays_changed(&node, &mut known) => {}
            () = addresses_changed(&node) => {}
            () = tokio::time::sleep(RENEW_AFTER) => {}
        }
    }
}

/// Resolves when this node is reached elsewhere than its record says.
async fn addresses_changed(node: &Node) {
    loop {
        tokio::time::sleep(ADDRESSES_EVERY).await;
        if node.reached.now() != node.admission.addresses() {
            return;
        }
    }
}

/// Resolves when this node's relays are others than its record says.
async fn relays_changed(node: &Node, known: &mut tokio::sync::watch::Receiver<u64>) {
    loop {
        if known.changed().await.is_err() {
            return core::future::pending().await;
        }
        if node.records.relays_changed() {
            return;
        }
    }
}

async fn hear_gossip(
    node: Arc<Node>,
    mut inbound: tokio::sync::mpsc::Receiver<GossipMessage>,
    stop: CancellationToken,
) {
    let mut budgets = HeadBudgets::default();
    let room = Arc::new(Semaphore::new(PUSHES_AT_ONCE));
    loop {
        let heard = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            heard = inbound.recv() => heard,
        };
        let Some(heard) = heard else {
            // The swarm ends only with the node.
            stop.cancelled().await;
            return;
        };
        if heard.topic == HEADS_TOPIC {
            heads::hear(&mut budgets, &node.trust, &node.counters, heard);
            continue;
        }
        let verdict = match node.records.learn(&heard.data) {
            Ok(of) => {
                let record = heard.data.to_vec();
                node.records.keep(of, record.clone()).await;
                // With too many under way gossip alone carries it.
                if node.relay.offers()
                    && let Ok(permit) = Arc::clone(&room).try_acquire_owned()
                {
                    let (node, from) = (Arc::clone(&node), heard.from);
                    tokio::spawn(async move {
                        node.carry_news(from, &[record]).await;
                        drop(permit);
                    });
                }
                Verdict::Accept
            }
            Err(e) if e.is_stale() || e == DirectoryError::Full => Verdict::Ignore,
            Err(error) => {
                let reason = "gossip_rejected";
                node.counters.count(reason);
                node.enforcer.refused_on_link(heard.from, reason).await;
                tracing::debug!(peer = %heard.from.short(), %error, "rejected a gossiped record");
                Verdict::Reject
            }
        };
        heard.verdict.say(verdict);
    }
}

/// Gossips a record. That nobody listens yet, or that it is known already, is no failure: peers
/// get records over sync streams too.
async fn announce(gossip: &Gossip, record: Vec<u8>) {
    match gossip.publish(TOPIC, record.into()).await {
        Ok(()) | Err(GossipError::NobodyListens | GossipError::Duplicate) => {}
        Err(error) => tracing::warn!(%error, "a node record was not gossiped"),
    }
}

/// Stops the node when the store takes no more writes: a node that cannot record does not serve.
async fn watch_store(store: crate::store::Store, tasks: Tasks, stop: CancellationToken) {
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        fault = store.failed() => {
            tasks.fail(format!("the store failed: {fault}"), fault.hint());
        }
    }
}

/// Sends all records to every peer whose link comes up.
async fn greet_links(node: Arc<Node>, stop: CancellationToken) {
    let mut events = node.links.events();
    let room = Arc::new(Semaphore::new(PUSHES_AT_ONCE));
    loop {
        let event = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            event = events.recv() => event,
        };
        let peers = match event {
            Ok(LinkEvent::Up { peer, .. }) => vec![peer],
            Ok(LinkEvent::Down { .. }) => continue,
            // Events were missed: greet everyone again.
            Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {
                node.links.all().into_iter().map(|link| link.peer).collect()
            }
            Err(tokio::sync::broadcast::error::RecvError::Closed) => {
                stop.cancelled().await;
                return;
            }
        };
        for peer in peers {
            push(&node, &room, peer, Extent::Everything).await;
        }
    }
}

/// What is pushed to a peer.
#[derive(Clone, Copy)]
enum Extent {
    /// Every record known, to a peer that just came.
    Everything,
    /// This node's own, which has changed.
    Own,
}

/// Starts sending records to a peer, waiting while too many are being sent to.
async fn push(node: &Arc<Node>, room: &Arc<Semaphore>, peer: NodeId, extent: Extent) {
    let Ok(permit) = Arc::clone(room).acquire_owned().await else {
        return;
    };
    let node = Arc::clone(node);
    tokio::spawn(async move {
        if let Err(error) = send_records(&node, peer, extent).await {
            tracing::debug!(peer = %peer.short(), error, "records not sent");
        }
        drop(permit);
    });
}

async fn send_records(node: &Node, peer: NodeId, extent: Extent) -> Result<(), String> {
    let opened = node.links.open(peer, StreamKind::Sync).await;
    let (send, _recv) = opened.map_err(|e| e.to_string())?;
    let sent = match extent {
        Extent::Everything => node.records.send_all(send).await,
        Extent::Own => node.records.send_own(send).await,
    };
    sent.map_err(|e| e.to_string())
}

/// Closes links whose peer's membership has ended: its envelopes are refused anyway, and what has
/// no membership must not keep a connection.
async fn end_expired(node: Arc<Node>, stop: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EXPIRY_EVERY) => {}
        }
        let now = node.clock.now().seconds();
        for link in node.links.all() {
            if node.members.valid(&link.peer, now).is_none() {
                tracing::warn!(peer = %link.peer.short(), "its membership has ended");
                let reason = "membership_expired";
                node.counters.count(reason);
                node.enforcer.refused_on_link(link.peer, reason).await;
                node.links.close(link.peer, Reason::NotAdmitted);
            }
        }
    }
}

/// Keeps the names of revoked nodes, whose records nobody sends again: an operator asks for them by
/// name after a restart as well.
async fn keep_revoked_names(node: &Node) {
    let state = node.standing.now();
    let names = node.members.unkept_names(state.revoked().nodes());
    if names.is_empty() {
        return;
    }
    let writes = names.clone();
    let done = node.store.books(move |books| {
        for (node, name) in &writes {
            books.put_revoked_name(node, name)?;
        }
        Ok(())
    });
    match done.await {
        Ok(()) => node.members.names_kept(names),
        Err(error) => tracing::warn!(%error, "names of revoked nodes were not kept"),
    }
}

/// Keeps who was replaced, so that old keys stay refused after a restart, and closes their links at
/// once; keeps the names of revoked nodes; tidies the issuer's books now and then.
async fn keep_replaced(node: Arc<Node>, stop: CancellationToken) {
    let mut changes = node.members.changes();
    let mut standing = node.standing.changes();
    keep_revoked_names(&node).await;
    let mut tidied = tokio::time::interval(TIDY_EVERY);
    loop {
        let replaced = node.members.unkept_replaced();
        if !replaced.is_empty() {
            for (old, _) in &replaced {
                node.links.close(*old, Reason::NotAdmitted);
            }
            let writes = replaced.clone();
            let done = node.store.books(move |books| {
                for (old, by) in &writes {
                    books.put_replaced(old, by)?;
                }
                Ok(())
            });
            match done.await {
                Ok(()) => node.members.replaced_kept(&replaced),
                Err(error) => tracing::error!(%error, "nodes that were replaced were not kept"),
            }
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            changed = changes.changed() => if changed.is_err() {
                stop.cancelled().await;
                return;
            },
            Ok(()) = standing.changed() => keep_revoked_names(&node).await,
            _ = tidied.tick() => if let Some(issuer) = node.office.holder()
                && let Err(error) = issuer.tidy().await
            {
                tracing::warn!(%error, "the issuer's books were not tidied");
            },
        }
    }
}

async fn prune(node: Arc<Node>, stop: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PRUNE_EVERY) => {}
        }
        // What was issued at or before this is refused as expired or as too old a copy anyway.
        let over = MAX_ENVELOPE_LIFE_S + COPY_WINDOW_S + MAX_CLOCK_AHEAD_S;
        // By verified time too: a clock that jumps ahead for a moment must not forget a floor that
        // an envelope of the present can still reach.
        let verified = node.enforcer.greatest_time().plus(MAX_CLOCK_AHEAD_S);
        let before = node.clock.now().seconds().min(verified).minus(over);
        if let Err(error) = node.store.lazy(Write::PruneFloors(before)).await {
            tracing::warn!(%error, "replay floors were not pruned");
        }
        node.enforcer.sum_up(false).await;
        if let Err(error) = node.approvals.expire().await {
            tracing::warn!(%error, "held calls whose time is over were not ended");
        }
        match node.prune_decisions().await {
            Ok(0) => {}
            Ok(pruned) => tracing::info!(pruned, "forgot the oldest decision records"),
            Err(error) => tracing::warn!(%error, "decision records were not pruned"),
        }
    }
}

async fn serve_lines(node: Arc<Node>, listener: UnixListener, stop: CancellationToken) {
    let room = Arc::new(Semaphore::new(MAX_LINE_CLIENTS));
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            node.counters.count("too_many_line_clients");
            continue;
        };
        let (node, stop) = (Arc::clone(&node), stop.clone());
        tokio::spawn(async move {
            let served = tokio::select! {
                biased;
                () = stop.cancelled() => Ok(()),
                served = serve_line_client(&node, stream) => served,
            };
            if let Err(error) = served {
                tracing::debug!(error, "line client ended");
            }
            drop(permit);
        });
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Preamble {
    hedgerow: u32,
    server: Option<String>,
    /// The human the operator acts for, from the command line of `hedgerow mcp`. Whoever may open
    /// this socket may also add agents: it is the operator who says so, not the MCP client.
    #[serde(default)]
    human: Option<Human>,
}

async fn serve_line_client(node: &Node, stream: UnixStream) -> Result<(), String> {
    let credentials = stream.peer_cred().map_err(|e| e.to_string())?;
    let uid = credentials.uid();
    if uid != rustix::process::geteuid().as_raw() && uid != 0 {
        node.counters.count("foreign_user");
        return Err(format!("user {uid} is neither this node's nor root"));
    }
    let (read, write) = stream.into_split();
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    let mut bounded = (&mut read).take(MAX_PREAMBLE_BYTES);
    let first = bounded.read_until(b'\n', &mut line);
    tokio::time::timeout(PREAMBLE_TIMEOUT, first)
        .await
        .map_err(|_| "no first line in time".to_owned())?
        .map_err(|e| e.to_string())?;
    let preamble: Preamble = serde_json::from_slice(&line).map_err(|e| e.to_string())?;
    if preamble.hedgerow != 1 {
        return Err(format!("line protocol {} is not spoken", preamble.hedgerow));
    }
    let target = match preamble.server.as_deref() {
        None => None,
        Some(text) => {
            let (of, server) = text.split_once('/').ok_or("not NODE/SERVER")?;
            Some((of.to_owned(), server.to_owned()))
        }
    };
    let principal = Principal {
        agent: protocol::name::Name::operator(),
        human: preamble.human,
    };
    Arc::clone(&node.gateway)
        .serve_lines(read, write, principal, target)
        .await
        .map_err(|e| e.to_string())
}
