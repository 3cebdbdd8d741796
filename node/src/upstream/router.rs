//! Which message belongs to which call: the table of one session, shared by whatever link the
//! session has at the moment.
//!
//! Invariants: an id in flight is unique on both sides; an entry leaves the table exactly once
//! (answered, failed or abandoned), and whoever takes it out is the one who ends the call; a
//! request of the server is remembered until it is answered, so that no response reaches the
//! server that it did not ask for. Messages are delivered in the order the link read them; a
//! reader that does not take them makes the link wait, at most [`Limits::stall`].
//!
//! It does no I/O and starts nothing.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use protocol::mcp::{Edit, McpError, MessageKind, View, canonical};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::backoff::Backoff;
use super::error::Failure;
use super::limits::{Limits, MAX_SERVER_REQUESTS};
use super::server::Counters;
use crate::session::{MESSAGE_QUEUE, SessionError};

/// What a server asks of the client as such, whatever call is under way. Servers ask for roots
/// when the client says `initialized`, beside its first call; bound to that one, the question
/// would die with a call that does not wait for the answer.
const OF_SESSION: [&str; 2] = ["ping", "roots/list"];

/// The id a call has towards the server. Never reused within a session.
pub(super) type CallId = u64;

/// How a call ended, told to the task that drives it.
pub(super) enum End {
    /// The response is in the caller's queue.
    Answered,
    /// It will not come.
    Failed(Failure),
}

/// What is read of an answer that is no usable message.
#[derive(serde::Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    /// Only requests and notifications have one.
    method: Option<IgnoredAny>,
}

/// When a call last showed life.
pub(super) type Activity = Arc<Mutex<Instant>>;

/// What the one who registered a call gets.
pub(super) struct Registered {
    pub(super) id: CallId,
    /// For the driver: it ends the caller's queue with an error where there is one.
    pub(super) to_caller: mpsc::Sender<Result<Bytes, SessionError>>,
    pub(super) inbound: mpsc::Receiver<Result<Bytes, SessionError>>,
    pub(super) ended: oneshot::Receiver<End>,
    pub(super) activity: Activity,
    /// Frees the id if the call never starts.
    pub(super) claim: Claim,
}

/// The hold on a registered id; dropping it frees the id.
pub(super) struct Claim {
    router: Arc<Router>,
    id: CallId,
}

impl Drop for Claim {
    fn drop(&mut self) {
        drop(self.router.take(self.id));
    }
}

struct Entry {
    /// The caller's id as raw JSON; none for a request of this node's own.
    caller_id: Option<String>,
    key: Option<Vec<u8>>,
    token: Option<Vec<u8>>,
    /// The link it went out on; 0 before it did.
    link: u64,
    to_caller: mpsc::Sender<Result<Bytes, SessionError>>,
    ended: oneshot::Sender<End>,
    activity: Activity,
    /// What the client says within the call; also where a cancellation from elsewhere goes, so
    /// that it cannot overtake the request.
    outbound: mpsc::Sender<Bytes>,
}

/// A request of the server that waits for an answer.
struct ServerRequest {
    key: Vec<u8>,
    call: Option<CallId>,
}

#[derive(Default)]
struct Table {
    last: CallId,
    calls: HashMap<CallId, Entry>,
    by_key: HashMap<Vec<u8>, CallId>,
    by_token: HashMap<Vec<u8>, CallId>,
    /// Oldest first; bounded by [`MAX_SERVER_REQUESTS`], so a scan is cheap.
    server_requests: VecDeque<ServerRequest>,
}

/// What became of a message from the server.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Delivered {
    /// It went where it belongs, or nobody wanted it any more.
    Done,
    /// It is no MCP message.
    Invalid,
    /// The session refuses it; this goes back to the server.
    Reply(Bytes),
}

/// Whither a message goes.
enum Route {
    Call(mpsc::Sender<Result<Bytes, SessionError>>, CallId),
    Events,
}

/// How the session's links fared.
#[derive(Default)]
struct Health {
    backoff: Backoff,
    last: Option<Failure>,
}

pub(super) struct Router {
    table: Mutex<Table>,
    events: Mutex<Option<mpsc::Sender<Bytes>>>,
    events_stalled: AtomicBool,
    health: Mutex<Health>,
    /// How often the server said in this session that a list changed.
    changes: AtomicU64,
    limits: Arc<Limits>,
    counters: Arc<Counters>,
}

impl Router {
    pub(super) fn new(
        limits: Arc<Limits>,
        counters: Arc<Counters>,
    ) -> (Arc<Self>, mpsc::Receiver<Bytes>) {
        let (events, receiver) = mpsc::channel(MESSAGE_QUEUE);
        let router = Self {
            table: Mutex::default(),
            events: Mutex::new(Some(events)),
            events_stalled: AtomicBool::new(false),
            health: Mutex::default(),
            changes: AtomicU64::new(0),
            limits,
            counters,
        };
        (Arc::new(router), receiver)
    }

    /// Takes up a call. `view` is the caller's request; `outbound` is the sender the caller gets.
    pub(super) fn register(
        self: &Arc<Self>,
        view: &View<'_>,
        outbound: mpsc::Sender<Bytes>,
    ) -> Result<Registered, Failure> {
        let raw = view.id().ok_or(Failure::WrongKind {
            expected: "a request",
        })?;
        let key = canonical(raw)?;
        let token = view.progress_token().map(canonical).transpose()?;
        let mut table = self.table();
        if table.by_key.contains_key(&key) {
            return Err(Failure::DuplicateId);
        }
        if token
            .as_ref()
            .is_some_and(|t| table.by_token.contains_key(t))
        {
            return Err(Failure::DuplicateToken);
        }
        if table.by_key.len() >= self.limits.calls_per_session {
            return Err(Failure::TooManyCalls {
                max: self.limits.calls_per_session,
            });
        }
        Ok(self.insert(&mut table, Some(raw.to_owned()), Some(key), token, outbound))
    }

    /// Takes up a request of this node's own.
    pub(super) fn register_own(self: &Arc<Self>) -> Registered {
        let (outbound, _) = mpsc::channel(1);
        self.insert(&mut self.table(), None, None, None, outbound)
    }

    fn insert(
        self: &Arc<Self>,
        table: &mut Table,
        caller_id: Option<String>,
        key: Option<Vec<u8>>,
        token: Option<Vec<u8>>,
        outbound: mpsc::Sender<Bytes>,
    ) -> Registered {
        let (to_caller, inbound) = mpsc::channel(MESSAGE_QUEUE);
        let (ended_tx, ended) = oneshot::channel();
        let activity = Arc::new(Mutex::new(Instant::now()));
        table.last = table.last.saturating_add(1);
        let id = table.last;
        if let Some(key) = &key {
            table.by_key.insert(key.clone(), id);
        }
        if let Some(token) = &token {
            table.by_token.insert(token.clone(), id);
        }
        let entry = Entry {
            caller_id,
            key,
            token,
            link: 0,
            to_caller: to_caller.clone(),
            ended: ended_tx,
            activity: Arc::clone(&activity),
            outbound,
        };
        table.calls.insert(id, entry);
        Registered {
            id,
            to_caller,
            inbound,
            ended,
            activity,
            claim: Claim {
                router: Arc::clone(self),
                id,
            },
        }
    }

    /// How often the server said in this session that a list changed; only grows.
    pub(super) fn list_changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// The call goes out on this link and dies with it from now on.
    pub(super) fn bind(&self, id: CallId, link: u64) {
        if let Some(entry) = self.table().calls.get_mut(&id) {
            entry.link = link;
        }
    }

    /// Takes a call out of the table; whoever gets it ends it.
    fn take(&self, id: CallId) -> Option<Entry> {
        let mut table = self.table();
        let entry = table.calls.remove(&id)?;
        if let Some(key) = &entry.key {
            table.by_key.remove(key);
        }
        if let Some(token) = &entry.token {
            table.by_token.remove(token);
        }
        for request in &mut table.server_requests {
            if request.call == Some(id) {
                request.call = None;
            }
        }
        Some(entry)
    }

    /// Takes a call out because nobody waits for it any more. True if the server has to be told:
    /// it was still in flight and had gone out.
    pub(super) fn abandon(&self, id: CallId) -> bool {
        self.take(id).is_some_and(|entry| entry.link != 0)
    }

    /// Whether the call still waits for its response.
    pub(super) fn is_in_flight(&self, id: CallId) -> bool {
        self.table().calls.contains_key(&id)
    }

    /// Whether the call has gone out on a link.
    pub(super) fn is_bound(&self, id: CallId) -> bool {
        self.table().calls.get(&id).is_some_and(|e| e.link != 0)
    }

    /// Ends a call with a failure, if it is still in flight.
    pub(super) fn fail(&self, id: CallId, failure: Failure) {
        if let Some(entry) = self.take(id) {
            // The driver is gone only if the session is.
            let _ = entry.ended.send(End::Failed(failure));
        }
    }

    /// Ends every call of a link, and forgets what its server asked.
    pub(super) fn fail_link(&self, link: u64, failure: &Failure) {
        let ids: Vec<CallId> = {
            let mut table = self.table();
            table.server_requests.clear();
            let of_link = table.calls.iter().filter(|(_, e)| e.link == link);
            of_link.map(|(&id, _)| id).collect()
        };
        for id in ids {
            self.fail(id, failure.clone());
        }
    }

    /// A link died of `failure`: nothing is tried again for a while, and its calls end.
    pub(super) fn link_died(&self, link: u64, failure: &Failure) {
        self.delay(failure);
        self.fail_link(link, failure);
    }

    /// Nothing is tried again for a while.
    pub(super) fn delay(&self, failure: &Failure) {
        let mut health = lock(&self.health);
        health.backoff.failed(Instant::now(), &self.limits);
        health.last = Some(failure.clone());
        self.counters.keep_failure(failure);
    }

    /// A link came up; how long it lives decides whether earlier failures still count.
    pub(super) fn link_started(&self) {
        lock(&self.health).backoff.started(Instant::now());
    }

    /// The server answered: earlier failures to reach it no longer count.
    pub(super) fn reached(&self) {
        lock(&self.health).backoff.recovered(Instant::now());
    }

    /// Refuses while it is too early after a failure.
    pub(super) fn admit(&self) -> Result<(), Failure> {
        let health = lock(&self.health);
        match health.backoff.wait(Instant::now()) {
            None => Ok(()),
            Some(wait) => Err(Failure::BackingOff {
                wait,
                last: health
                    .last
                    .as_ref()
                    .map(Failure::message)
                    .unwrap_or_default(),
            }),
        }
    }

    /// Ends every call and the stream of events.
    pub(super) fn close(&self) {
        let ids: Vec<CallId> = self.table().calls.keys().copied().collect();
        for id in ids {
            self.fail(id, Failure::Closed);
        }
        drop(lock(&self.events).take());
    }

    /// The caller's cancellation of one of its calls: the call's id towards the server and
    /// where to put the message, if it is still in flight.
    pub(super) fn cancelled(&self, raw: &str) -> Option<(CallId, mpsc::Sender<Bytes>)> {
        let key = canonical(raw).ok()?;
        let table = self.table();
        let id = table.by_key.get(&key).copied()?;
        Some((id, table.calls.get(&id)?.outbound.clone()))
    }

    /// Whether the server waits for this response; it does so only once.
    pub(super) fn answers(&self, raw: &str) -> Result<(), Failure> {
        let key = canonical(raw)?;
        let mut table = self.table();
        let at = table.server_requests.iter().position(|r| r.key == key);
        match at.and_then(|at| table.server_requests.remove(at)) {
            Some(_) => Ok(()),
            None => Err(Failure::UnknownServerRequest),
        }
    }

    /// Delivers one message of the server. `stream` is the call on whose own stream it came;
    /// none where the link has one stream for everything.
    pub(super) async fn deliver(&self, stream: Stream, message: Bytes) -> Delivered {
        let view = match View::parse(&message) {
            Ok(view) => view,
            Err(error) => {
                self.fail_unreadable(stream, &message, error);
                return Delivered::Invalid;
            }
        };
        match view.kind() {
            MessageKind::Response | MessageKind::ErrorResponse => {
                self.deliver_response(stream, &view).await
            }
            MessageKind::Request => {
                let route = match self.admit_server_request(stream, &view) {
                    Ok(route) => route,
                    Err(reply) => return reply,
                };
                self.pass_on(route, message.clone()).await;
                Delivered::Done
            }
            MessageKind::Notification => {
                if view.method().is_some_and(|m| m.ends_with("/list_changed")) {
                    self.changes.fetch_add(1, Ordering::Relaxed);
                    self.counters.list_changed();
                }
                let route = self.route_notification(stream, &view);
                self.pass_on(route, message.clone()).await;
                Delivered::Done
            }
        }
    }

    /// Ends the call that a message answers which is no usable one, so that nobody waits for another.
    /// Its id is read without looking at the rest; a line that is no JSON object answers nothing.
    fn fail_unreadable(&self, stream: Stream, message: &[u8], error: McpError) {
        let answer = serde_json::from_slice::<Answer<'_>>(message).ok();
        let answer = answer.filter(|answer| answer.method.is_none());
        let id = answer.and_then(|answer| answer.id.get().parse::<CallId>().ok());
        if let Some(id) = id.filter(|&id| stream.carries(id)) {
            self.fail(id, Failure::Unreadable(error));
        }
    }

    async fn deliver_response(&self, stream: Stream, view: &View<'_>) -> Delivered {
        let id = view.id().and_then(|raw| raw.parse::<CallId>().ok());
        let Some(id) = id.filter(|&id| stream.carries(id)) else {
            self.counters.count_stray();
            return Delivered::Done;
        };
        let Some(entry) = self.take(id) else {
            self.counters.count_stray();
            return Delivered::Done;
        };
        let bytes = match &entry.caller_id {
            Some(raw) => view.splice(&[Edit::Id(raw)]).map(Bytes::from),
            None => Ok(Bytes::copy_from_slice(view.text().as_bytes())),
        };
        let end = match bytes {
            Ok(bytes) => {
                let sent = timeout(self.limits.stall, entry.to_caller.send(Ok(bytes))).await;
                match sent {
                    Ok(_) => End::Answered,
                    Err(_) => End::Failed(Failure::CallerStalled),
                }
            }
            Err(error) => End::Failed(error.into()),
        };
        let _ = entry.ended.send(end);
        Delivered::Done
    }

    /// Remembers a request of the server and says where it goes, or what to answer it.
    fn admit_server_request(&self, stream: Stream, view: &View<'_>) -> Result<Route, Delivered> {
        let raw = view.id().unwrap_or("null");
        let Ok(key) = canonical(raw) else {
            return Err(Delivered::Invalid);
        };
        let mut table = self.table();
        if table.server_requests.iter().any(|r| r.key == key) {
            return Err(refuse(raw, "a request with this id is waiting already"));
        }
        if table.server_requests.len() >= MAX_SERVER_REQUESTS {
            // Those whose call is over are the ones nobody will answer.
            match table.server_requests.iter().position(|r| r.call.is_none()) {
                Some(at) => drop(table.server_requests.remove(at)),
                None => return Err(refuse(raw, "too many requests are waiting for an answer")),
            }
        }
        let of_session = view.method().is_some_and(|m| OF_SESSION.contains(&m));
        let call = match stream {
            Stream::Shared if of_session => None,
            stream => table.call_of(stream),
        };
        table.server_requests.push_back(ServerRequest { key, call });
        Ok(table.route(call))
    }

    fn route_notification(&self, stream: Stream, view: &View<'_>) -> Route {
        let mut table = self.table();
        let call = match view.method() {
            Some("notifications/progress") => view
                .progress_of()
                .and_then(|raw| canonical(raw).ok())
                .and_then(|token| table.by_token.get(&token).copied())
                .or_else(|| stream.own()),
            // The server gives up a request of its own; the answer is no longer wanted.
            Some("notifications/cancelled") => view
                .cancelled_id()
                .and_then(|raw| canonical(raw).ok())
                .and_then(|key| table.server_requests.iter().position(|r| r.key == key))
                .and_then(|at| table.server_requests.remove(at))
                .and_then(|request| request.call)
                .or_else(|| stream.own()),
            Some("notifications/message") => table.call_of(stream),
            _ => stream.own(),
        };
        table.route(call)
    }

    async fn pass_on(&self, route: Route, message: Bytes) {
        match route {
            Route::Call(to_caller, id) => {
                // An error means that the caller is gone; its driver sees that by itself.
                if timeout(self.limits.stall, to_caller.send(Ok(message)))
                    .await
                    .is_err()
                {
                    self.fail(id, Failure::CallerStalled);
                }
            }
            Route::Events => self.pass_event(message).await,
        }
    }

    /// Events wait once for a reader that does not read; after that they are dropped and
    /// counted until it reads again, so that calls of the session go on.
    async fn pass_event(&self, message: Bytes) {
        let Some(events) = lock(&self.events).clone() else {
            return;
        };
        let patience = if self.events_stalled.load(Ordering::Relaxed) {
            core::time::Duration::ZERO
        } else {
            self.limits.stall
        };
        let stalled = match events.try_send(message) {
            Ok(()) => false,
            Err(mpsc::error::TrySendError::Closed(_)) => return,
            Err(mpsc::error::TrySendError::Full(message)) => {
                timeout(patience, events.send(message)).await.is_err()
            }
        };
        self.events_stalled.store(stalled, Ordering::Relaxed);
        if stalled {
            self.counters.count_dropped_event();
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }
}

/// On which stream of the link a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    /// The one stream the link has for everything (standard output).
    Shared,
    /// The stream of one call.
    Own(CallId),
    /// The stream for what belongs to no call.
    Events,
}

impl Stream {
    const fn own(self) -> Option<CallId> {
        match self {
            Self::Own(id) => Some(id),
            Self::Shared | Self::Events => None,
        }
    }

    /// Whether a response to `id` may come on this stream.
    fn carries(self, id: CallId) -> bool {
        self.own().is_none_or(|own| own == id)
    }
}

impl Table {
    /// The call a message without reference belongs to: the stream's own, else the only one in
    /// flight.
    fn call_of(&self, stream: Stream) -> Option<CallId> {
        match stream {
            Stream::Own(id) => Some(id),
            Stream::Events => None,
            Stream::Shared => {
                let mut callers = self.by_key.values();
                callers.next().copied().filter(|_| callers.next().is_none())
            }
        }
    }

    fn route(&mut self, call: Option<CallId>) -> Route {
        let Some((id, entry)) = call.and_then(|id| Some((id, self.calls.get(&id)?))) else {
            return Route::Events;
        };
        // A request of this node's own has no reader but for its response.
        if entry.key.is_none() {
            return Route::Events;
        }
        *lock(&entry.activity) = Instant::now();
        Route::Call(entry.to_caller.clone(), id)
    }
}

fn refuse(raw_id: &str, why: &str) -> Delivered {
    Delivered::Reply(super::messages::refusal(raw_id, why))
}

/// The lock; a panic elsewhere while it was held left nothing half-done that matters here.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
