//! One client session: the edge-neutral core under HTTP and lines.
//!
//! It binds what the client sends to the call it belongs to, and what servers send to a stream
//! towards the client. Invariants: ids of calls in flight are unique; a server's request is
//! remembered with the call it came in, and the client's answer goes back into that call and
//! nowhere else; when a call ends, so does everything bound to it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::enforcement::SEVERED;
use crate::gateway::budget::Permit;
use crate::gateway::limits::{CANCEL_GRACE, DELIVERY_WAIT, Limits, MAX_PENDING_REQUESTS};
use crate::gateway::listed::Lists;
use crate::gateway::message::{self, Head, Kind};
use crate::gateway::outbox::Outbox;
use crate::gateway::refusal::{self, Refusal};
use crate::session::{
    EFFECT_UNKNOWN, ErrorKind, MESSAGE_QUEUE, McpCall, McpSession, Principal, SessionError,
};

/// How long the calls of a session that was cut off may still say what became of them themselves,
/// such as the one that broke a policy. Longer than the mesh takes for that.
const OWN_WORD: Duration = Duration::from_secs(2);

/// What a client says within a call.
pub(crate) struct Said {
    message: Bytes,
    cancels: bool,
}

/// A server's request that the client has not answered.
struct Pending {
    /// The call it came in; `None` for one that came outside of calls.
    call: Option<Box<str>>,
    /// The progress token the client may report with.
    token: Option<Box<str>>,
}

#[derive(Default)]
struct Routes {
    /// Calls in flight by raw id.
    calls: HashMap<Box<str>, mpsc::Sender<Said>>,
    /// Unanswered requests of servers by raw id.
    requests: HashMap<Box<str>, Pending>,
}

/// Where a call's messages go.
#[derive(Clone)]
pub(crate) enum Sink {
    /// An event stream of its own.
    Stream(Arc<Outbox>),
    /// The one line writer of the connection.
    Lines(mpsc::Sender<Bytes>),
}

impl Sink {
    /// Cancel safe.
    async fn push(&self, message: Bytes, last: bool) {
        match self {
            Self::Stream(outbox) => outbox.push(message, last).await,
            // A closed writer means the connection is gone; the session then ends by itself.
            Self::Lines(lines) => drop(lines.send(message).await),
        }
    }

    fn end(&self) {
        if let Self::Stream(outbox) = self {
            outbox.end();
        }
    }

    /// Ready once nobody has been reading for `wait`.
    async fn abandoned(&self, wait: Duration) {
        let Self::Stream(outbox) = self else {
            return std::future::pending().await;
        };
        loop {
            let changed = outbox.changed();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let Some(since) = outbox.detached_since() else {
                changed.await;
                continue;
            };
            if tokio::time::timeout_at(since + wait, changed)
                .await
                .is_err()
            {
                return;
            }
        }
    }
}

/// A session with a client.
pub(crate) struct ClientSession {
    principal: Principal,
    inner: Arc<dyn McpSession>,
    routes: Mutex<Routes>,
    /// Told when a call ends.
    changed: Notify,
    ended: CancellationToken,
    /// Why it was ended, where there is more to say than that it was.
    why: OnceLock<SessionError>,
    /// Until when its calls may say themselves what became of them.
    until: OnceLock<Instant>,
    used: Mutex<Instant>,
    limits: Arc<Limits>,
    lists: Lists,
    /// Told when its agent's lists alone may be others.
    relisted: Notify,
    /// Given back on close, however long tasks still hold the session.
    permit: Mutex<Option<Permit>>,
}

impl ClientSession {
    /// A session that was opened with this answer to `initialize`.
    pub(crate) fn new(
        principal: Principal,
        inner: Arc<dyn McpSession>,
        answer: &[u8],
        limits: Arc<Limits>,
        permit: Permit,
    ) -> Self {
        Self {
            principal,
            inner,
            lists: Lists::declared_by(answer),
            relisted: Notify::new(),
            routes: Mutex::default(),
            changed: Notify::new(),
            ended: CancellationToken::new(),
            why: OnceLock::new(),
            until: OnceLock::new(),
            used: Mutex::new(Instant::now()),
            limits,
            permit: Mutex::new(Some(permit)),
        }
    }

    fn routes(&self) -> MutexGuard<'_, Routes> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Cancelled once the session ends.
    pub(crate) fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// Marks the session as used now.
    pub(crate) fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// When it was last used.
    pub(crate) fn used(&self) -> Instant {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether calls are in flight.
    pub(crate) fn is_calling(&self) -> bool {
        !self.routes().calls.is_empty()
    }

    /// Waits until no call is in flight, or for `gone`.
    pub(crate) async fn idle(&self, gone: impl Future<Output = ()>) {
        tokio::pin!(gone);
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if !self.is_calling() {
                return;
            }
            tokio::select! {
                () = changed => {}
                () = &mut gone => return,
            }
        }
    }

    /// Ends the session and everything in it; calls in flight fail with `why`. Idempotent: the
    /// first reason counts. Where the agent was cut off the calls first say so themselves, within
    /// a bound, and the call that it was cut off for says what it did.
    pub(crate) async fn close_because(&self, why: &SessionError) {
        if !self.ended.is_cancelled() {
            drop(self.why.set(why.clone()));
        }
        if self.cut_off().is_some() {
            self.ended.cancel();
            let told = self.idle(std::future::pending());
            drop(tokio::time::timeout(OWN_WORD, told).await);
        }
        self.close().await;
    }

    /// Why it was ended, where its agent was cut off, here or by another node.
    pub(crate) fn cut_off(&self) -> Option<SessionError> {
        let why = self.why.get().cloned();
        let why = why.or_else(|| self.inner.ended_because());
        why.filter(|why| why.reason == SEVERED)
    }

    /// What is said outside of calls to a client that is cut off, if its server announced that there
    /// may be such messages.
    pub(crate) fn farewell(&self) -> Option<Bytes> {
        self.lists.log(&self.cut_off()?)
    }

    /// Resolves when calls end with the session: at once where somebody here ended it for a reason
    /// that concerns all of them. Else, as where the way to its server broke, each says itself first
    /// what became of it. Cancel safe.
    async fn over(&self) {
        self.ended.cancelled().await;
        if self.why.get().is_none() || self.cut_off().is_some() {
            let until = self.until.get_or_init(|| Instant::now() + OWN_WORD);
            tokio::time::sleep_until(*until).await;
        }
    }

    /// What a call is told that ends with it and has not said why: it may have been begun.
    fn interrupted(&self) -> SessionError {
        let why = self.why.get().cloned();
        let why = why.or_else(|| self.inner.ended_because());
        why.unwrap_or_else(|| {
            let text = "the session ended before the answer came";
            SessionError::new(ErrorKind::BrokenStream, "session_ended", text)
                .with_hint(EFFECT_UNKNOWN)
        })
    }

    /// What a call is told that failed so: of a session that was ended for a reason, that reason,
    /// since ending it is what made the call fail, unless policy says of the call itself why.
    fn told(&self, failure: SessionError) -> SessionError {
        if failure.kind == ErrorKind::Deny {
            return failure;
        }
        self.why.get().cloned().unwrap_or(failure)
    }

    /// Ends the session and everything in it. Idempotent.
    pub(crate) async fn close(&self) {
        self.ended.cancel();
        drop(
            self.permit
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        self.inner.close().await;
    }

    /// Has the client told that its lists may be others.
    pub(crate) fn relist(&self) {
        self.relisted.notify_one();
    }

    /// Resolves when what is listed may have changed, by `changes` for all sessions or for this one.
    /// Of several since it last looked it sees one or two. Cancel safe.
    pub(crate) async fn relisted(&self, changes: &mut watch::Receiver<u64>) {
        tokio::select! {
            Ok(()) = changes.changed() => {}
            () = self.relisted.notified() => {}
        }
    }

    /// What the client is to be told when what it is listed may be other.
    pub(crate) fn lists_changed(&self) -> Vec<Bytes> {
        self.lists.changed()
    }

    /// Reserves the id of a request.
    ///
    /// # Errors
    /// [`Refusal::DuplicateId`].
    pub(crate) fn begin(&self, head: &Head) -> Result<mpsc::Receiver<Said>, Refusal> {
        let id = &*head.id;
        let (said, from_client) = mpsc::channel(MESSAGE_QUEUE);
        let mut routes = self.routes();
        if routes.calls.contains_key(id) {
            return Err(Refusal::DuplicateId);
        }
        routes.calls.insert(Box::from(id), said);
        drop(routes);
        self.lists.asked(&head.method);
        Ok(from_client)
    }

    /// Runs one call whose id was reserved, to its end. The answer, or an error in its place, is
    /// the last message of `sink`; a call that the client cancelled may end without one.
    pub(crate) async fn run(
        self: Arc<Self>,
        id: Box<str>,
        message: Bytes,
        mut from_client: mpsc::Receiver<Said>,
        sink: Sink,
    ) {
        let answer = self.exchange(&id, message, &mut from_client, &sink).await;
        // Before the answer can be seen, so that its id is free once it is.
        self.forget(&id);
        self.touch();
        match answer {
            None => sink.end(),
            Some(answer) => tokio::select! {
                () = sink.push(answer, true) => {}
                () = sink.abandoned(self.limits.detached) => sink.end(),
            },
        }
        self.changed.notify_waiters();
    }

    async fn exchange(
        &self,
        id: &str,
        message: Bytes,
        from_client: &mut mpsc::Receiver<Said>,
        sink: &Sink,
    ) -> Option<Bytes> {
        let started = tokio::select! {
            biased;
            () = self.over() => Err(self.interrupted()),
            started = self.inner.request(message) => started,
        };
        let mut call = match started {
            Ok(call) => call,
            Err(failure) => return Some(refusal::failed(id, &self.told(failure))),
        };
        let mut next: Option<Bytes> = None;
        let mut cancelled: Option<Instant> = None;
        loop {
            // What has come is taken before the session's end is: a node that stops sends the
            // answers of its calls first, and both are here at once.
            let step = tokio::select! {
                biased;
                Some(said) = from_client.recv() => Step::Said(said),
                item = call.inbound.recv(), if next.is_none() => Step::Inbound(item),
                () = self.over() => Step::Ended,
                () = sink.push(next.clone().unwrap_or_default(), false), if next.is_some() => Step::Pushed,
                () = at(cancelled), if cancelled.is_some() => Step::GraceOver,
                () = sink.abandoned(self.limits.detached) => Step::Abandoned,
            };
            match step {
                Step::Ended => return Some(refusal::failed(id, &self.interrupted())),
                Step::Said(said) => {
                    if said.cancels {
                        cancelled = Some(Instant::now() + CANCEL_GRACE);
                    }
                    within(&call, said.message).await;
                }
                Step::Pushed => next = None,
                Step::Inbound(Some(Ok(bytes))) => match self.inbound(id, &call, bytes).await {
                    Inbound::Answer(bytes) => return Some(bytes),
                    Inbound::Forward(bytes) => next = Some(bytes),
                    Inbound::Drop => {}
                },
                Step::Inbound(Some(Err(failure))) => {
                    return Some(refusal::failed(id, &self.told(failure)));
                }
                Step::Inbound(None) if cancelled.is_some() => return None,
                Step::Inbound(None) => return Some(refusal::failed(id, &broken("ended_early"))),
                Step::GraceOver => return None,
                Step::Abandoned => {
                    tracing::debug!(agent = %self.principal.agent, "call abandoned by its client");
                    return None;
                }
            }
        }
    }

    /// Decides on one message of a call's server.
    async fn inbound(&self, id: &str, call: &McpCall, bytes: Bytes) -> Inbound {
        let Ok(head) = message::read(&bytes) else {
            return Inbound::Answer(refusal::failed(id, &broken("invalid_message")));
        };
        match head.kind {
            Kind::Response if *head.id == *id => Inbound::Answer(bytes),
            Kind::Response => Inbound::Answer(refusal::failed(id, &broken("foreign_response"))),
            Kind::Notification => {
                self.withdrawn(&head);
                Inbound::Forward(bytes)
            }
            Kind::Request => match self.remember(&head, Some(id)) {
                Ok(()) => Inbound::Forward(bytes),
                Err(refused) => {
                    within(call, refused).await;
                    Inbound::Drop
                }
            },
        }
    }

    /// Decides on one message that a server sent outside of calls: `Ok` to forward it to the
    /// client, `Err` with what to answer the server, if anything.
    pub(crate) fn event(&self, bytes: &Bytes) -> Result<(), Option<Bytes>> {
        match message::read(bytes) {
            Ok(head) if head.kind == Kind::Request => self.remember(&head, None).map_err(Some),
            Ok(head) if head.kind == Kind::Notification => {
                self.withdrawn(&head);
                Ok(())
            }
            // A response outside of its call, or nonsense: nothing a client could use.
            _ => Err(None),
        }
    }

    /// Sends the server, outside of calls, what it is to be answered.
    pub(crate) async fn answer(&self, message: Bytes) {
        if let Err(failure) = self.inner.send(message).await {
            tracing::debug!(reason = %failure.reason, "answer not delivered");
        }
    }

    /// Remembers a server's request; an error is the JSON-RPC refusal to give the server.
    fn remember(&self, head: &Head, call: Option<&str>) -> Result<(), Bytes> {
        let mut routes = self.routes();
        let refused = if routes.requests.contains_key(&head.id) {
            Some((
                Refusal::DuplicateId.code(),
                "a request with this id is unanswered",
                "duplicate_id",
            ))
        } else if routes.requests.len() >= MAX_PENDING_REQUESTS {
            Some((
                ErrorKind::Overload.code(),
                "too many unanswered requests",
                "too_many_requests",
            ))
        } else {
            None
        };
        if let Some((code, text, reason)) = refused {
            return Err(refusal::error(
                &head.id,
                code,
                text,
                &json!({ "reason": reason }),
            ));
        }
        let pending = Pending {
            call: call.map(Box::from),
            token: head.progress_token.clone(),
        };
        routes.requests.insert(head.id.clone(), pending);
        Ok(())
    }

    /// Forgets a server's request that the server itself cancels.
    fn withdrawn(&self, head: &Head) {
        if &*head.method == "notifications/cancelled"
            && let Some(id) = &head.request_id
        {
            self.routes().requests.remove(id);
        }
    }

    fn forget(&self, call: &str) {
        let mut routes = self.routes();
        routes.calls.remove(call);
        routes
            .requests
            .retain(|_, pending| pending.call.as_deref() != Some(call));
    }

    /// Takes a notification or response of the client and sends it where it belongs. What
    /// belongs to nothing any more (a late answer, a late cancellation) is dropped.
    ///
    /// # Errors
    /// [`Refusal::Stalled`] when its call does not take it in time; the session's own failures.
    pub(crate) async fn deliver(&self, head: &Head, message: Bytes) -> Result<(), Delivery> {
        self.touch();
        match self.place(head) {
            Place::Call(call, cancels) => {
                let said = Said { message, cancels };
                match tokio::time::timeout(DELIVERY_WAIT, call.send(said)).await {
                    // A call that just ended takes nothing and needs nothing.
                    Ok(_) => Ok(()),
                    Err(_) => Err(Delivery::Refused(Refusal::Stalled)),
                }
            }
            Place::Session => self.inner.send(message).await.map_err(Delivery::Failed),
            Place::Nowhere => {
                tracing::debug!(agent = %self.principal.agent, "late message dropped");
                Ok(())
            }
        }
    }

    fn place(&self, head: &Head) -> Place {
        let mut routes = self.routes();
        let in_call = |routes: &Routes, call: &Option<Box<str>>, cancels| match call {
            None => Place::Session,
            Some(call) => routes
                .calls
                .get(call)
                .map_or(Place::Nowhere, |c| Place::Call(c.clone(), cancels)),
        };
        if head.kind == Kind::Response {
            return match routes.requests.remove(&head.id) {
                Some(pending) => in_call(&routes, &pending.call, false),
                None => Place::Nowhere,
            };
        }
        match (&*head.method, &head.request_id, &head.progress_of) {
            ("notifications/cancelled", Some(id), _) => in_call(&routes, &Some(id.clone()), true),
            ("notifications/progress", _, Some(token)) => {
                let with_token = |p: &&Pending| p.token.as_ref() == Some(token);
                match routes.requests.values().find(with_token) {
                    Some(pending) => in_call(&routes, &pending.call, false),
                    None => Place::Nowhere,
                }
            }
            _ => Place::Session,
        }
    }
}

/// Why something the client sent was not delivered.
pub(crate) enum Delivery {
    Refused(Refusal),
    Failed(SessionError),
}

enum Place {
    Call(mpsc::Sender<Said>, bool),
    Session,
    Nowhere,
}

enum Step {
    Ended,
    Said(Said),
    Pushed,
    Inbound(Option<Result<Bytes, SessionError>>),
    GraceOver,
    Abandoned,
}

enum Inbound {
    Answer(Bytes),
    Forward(Bytes),
    Drop,
}

/// Sends into a call; one that does not take it in time keeps running without it, so that a
/// server that stopped reading cannot hold the way back.
async fn within(call: &McpCall, message: Bytes) {
    if call
        .outbound
        .send_timeout(message, DELIVERY_WAIT)
        .await
        .is_err()
    {
        tracing::debug!("a call did not take a message of its client");
    }
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

fn broken(reason: &str) -> SessionError {
    let message = match reason {
        "ended_early" => "the call ended without an answer",
        "foreign_response" => "the call was answered with the response to another request",
        _ => "the server sent something that is no JSON-RPC message",
    };
    SessionError::new(ErrorKind::BrokenStream, reason, message)
}
