//! All servers as one: the session behind `/mcp`, itself an [`McpSession`].
//!
//! It answers `initialize` and `ping` itself, merges lists ([`lists`]), and sends every other
//! request to the one server its name is qualified with ([`crate::gateway::names`]), spliced to
//! that server's own form. Upstream sessions are opened when first needed, with the client's own
//! `initialize`, so servers see the client's capabilities.
//!
//! Invariants: ids and progress tokens of requests from different servers cannot collide, each
//! is replaced by a number of this session's ([`relay`]); a server that fails is left out of a
//! list with its reason, never failing the others; a name that names nothing, or two things, is
//! refused, never guessed. Not passed here: tasks and vendor methods, which name no server; use
//! the transparent endpoint.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use protocol::mcp::{Edit, ListKind, TargetKind, View, quote, response};
use serde_json::{Value, json};
use tokio::sync::{OnceCell, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::gateway::limits::{Limits, MAX_PENDING_REQUESTS};
use crate::gateway::message::{self, Head, Kind};
use crate::gateway::refusal::{self, INVALID_PARAMS, METHOD_NOT_FOUND};
use crate::gateway::{names, version};
use crate::session::{
    ErrorKind, Fabric, MESSAGE_QUEUE, McpCall, McpSession, OpenSession, Principal, ServerRef,
    SessionError,
};

mod links;
mod lists;
mod relay;
#[cfg(test)]
mod tests;
mod upstream;

use links::Links;
use relay::Translation;
use upstream::Upstream;

/// Requests of servers outside of calls, by their raw id towards the client.
type Unbound = HashMap<Box<str>, (Arc<Upstream>, Translation)>;

type Opening = Arc<OnceCell<Arc<Upstream>>>;

/// The session.
struct Aggregate {
    /// Itself, for the tasks it starts; they must not keep it alive.
    me: Weak<Self>,
    fabric: Arc<dyn Fabric>,
    principal: Principal,
    /// The client's `initialize`, for the servers.
    initialize: Bytes,
    limits: Arc<Limits>,
    events: mpsc::Sender<Bytes>,
    upstreams: Mutex<HashMap<ServerRef, Opening>>,
    unbound: Mutex<Unbound>,
    next_id: AtomicU64,
    /// The client's last `logging/setLevel`, for servers opened later.
    level: Mutex<Option<Bytes>>,
    /// Qualified names last listed, for hints only.
    listed: Mutex<HashMap<ListKind, Vec<String>>>,
    ended: CancellationToken,
    tasks: TaskTracker,
}

/// Opens an aggregate session; no server is contacted yet.
pub(crate) fn open(
    fabric: Arc<dyn Fabric>,
    principal: Principal,
    head: &Head,
    initialize: Bytes,
    limits: Arc<Limits>,
) -> OpenSession {
    let (sender, events) = mpsc::channel(MESSAGE_QUEUE);
    let answer = initialized(&head.id, &initialize);
    let session = Arc::new_cyclic(|me| Aggregate {
        me: Weak::clone(me),
        fabric,
        principal,
        initialize,
        limits,
        events: sender,
        upstreams: Mutex::default(),
        unbound: Mutex::default(),
        next_id: AtomicU64::new(1),
        level: Mutex::default(),
        listed: Mutex::default(),
        ended: CancellationToken::new(),
        tasks: TaskTracker::new(),
    });
    session.tasks.spawn(lists::watch(
        Weak::clone(&session.me),
        session.ended.clone(),
    ));
    OpenSession {
        response: answer,
        session,
        events,
    }
}

/// The answer to `initialize`.
fn initialized(id: &str, initialize: &[u8]) -> Bytes {
    let request: Option<Value> = serde_json::from_slice(initialize).ok();
    let requested = request
        .as_ref()
        .and_then(|r| r.pointer("/params/protocolVersion")?.as_str());
    let result = json!({
        "protocolVersion": version::negotiate(requested),
        "capabilities": {
            "completions": {},
            "logging": {},
            "prompts": { "listChanged": true },
            "resources": { "listChanged": true, "subscribe": true },
            "tools": { "listChanged": true },
        },
        "serverInfo": {
            "name": "hedgerow",
            "title": "Hedgerow",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "instructions": "Tools and prompts are named node__server__name, resources \
            hedgerow://node/server/<original URI>.",
    });
    answer(id, &result.to_string())
}

/// A response with this raw result.
fn answer(id: &str, result: &str) -> Bytes {
    match response(id, result) {
        Ok(bytes) => Bytes::from(bytes),
        Err(error) => refusal::Refusal::Message(error).body(id),
    }
}

/// A call that is answered already.
fn answered(answer: Bytes) -> McpCall {
    let (sender, inbound) = mpsc::channel(1);
    let (outbound, _) = mpsc::channel(1);
    // The channel is new and has room for one.
    let _ = sender.try_send(Ok(answer));
    McpCall { inbound, outbound }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl McpSession for Aggregate {
    async fn request(&self, message: Bytes) -> Result<McpCall, SessionError> {
        let view = View::parse(&message).map_err(unusable)?;
        let head = message::head(&view);
        if let Some(kind) = ListKind::of_method(&head.method) {
            return Ok(self.list(kind, &head.id, view.params()));
        }
        match &*head.method {
            "ping" => Ok(answered(answer(&head.id, "{}"))),
            "logging/setLevel" => Ok(self.set_level(&head.id, &message).await),
            _ => match &head.target {
                Some((what, name)) => self.forward(&head, &view, *what, name).await,
                None => Ok(answered(unknown_method(&head))),
            },
        }
    }

    async fn send(&self, message: Bytes) -> Result<(), SessionError> {
        let head = message::read(&message).map_err(unusable)?;
        match (head.kind, &*head.method) {
            (Kind::Response, _) => self.answer_unbound(&head, &message).await,
            (_, "notifications/progress") => self.report_unbound(&head, &message).await,
            // Each server got its own when its session was opened; a cancellation of no call
            // that went to a server has nobody to go to.
            (_, "notifications/initialized" | "notifications/cancelled") => Ok(()),
            _ => {
                for upstream in self.opened() {
                    upstream.tell(message.clone()).await;
                }
                Ok(())
            }
        }
    }

    async fn close(&self) {
        self.ended.cancel();
        let opened = self.opened();
        locked(&self.upstreams).clear();
        locked(&self.unbound).clear();
        futures::future::join_all(opened.iter().map(|upstream| upstream.close())).await;
        self.tasks.close();
    }
}

impl Aggregate {
    /// The sessions open now.
    fn opened(&self) -> Vec<Arc<Upstream>> {
        let upstreams = locked(&self.upstreams);
        upstreams
            .values()
            .filter_map(|o| o.get().cloned())
            .collect()
    }

    /// The session with a server, opened if need be. Concurrent callers share one opening.
    async fn upstream(&self, server: &ServerRef) -> Result<Arc<Upstream>, SessionError> {
        let opening = {
            let mut upstreams = locked(&self.upstreams);
            let opening = upstreams.entry(server.clone()).or_default();
            if opening.get().is_some_and(|upstream| upstream.is_gone()) {
                *opening = Opening::default();
            }
            Arc::clone(opening)
        };
        let opened = opening
            .get_or_try_init(|| Upstream::open(self, server))
            .await?;
        if self.ended.is_cancelled() {
            opened.close().await;
        }
        Ok(Arc::clone(opened))
    }

    /// The server that a qualified name names, and the name there.
    fn locate<'n>(
        &self,
        what: TargetKind,
        name: &'n str,
    ) -> Result<(ServerRef, &'n str), SessionError> {
        let is_uri = matches!(what, TargetKind::Resource | TargetKind::RefResource);
        let split = if is_uri {
            names::split_uri(name)
        } else {
            names::split(name)
        };
        let located = match split {
            Some((node, server, own)) => {
                names::resolve(&self.fabric.servers(), node, server).map(|found| (found, own))
            }
            None => {
                let shown = names::printable(name);
                let message = format!("`{shown}` does not say on which node and server");
                Err(SessionError::new(
                    ErrorKind::Unreachable,
                    "unqualified_name",
                    message,
                ))
            }
        };
        located.map_err(|failure| match self.near(what, name) {
            Some(hint) if failure.reason != "ambiguous_node" => failure.with_hint(hint),
            None if failure.hint.is_none() => failure.with_hint(if is_uri {
                "use `hedgerow://NODE/SERVER/URI` as listed"
            } else {
                "use `NODE__SERVER__NAME` as listed"
            }),
            _ => failure,
        })
    }

    fn near(&self, what: TargetKind, name: &str) -> Option<String> {
        let kind = match what {
            TargetKind::Tool => ListKind::Tools,
            TargetKind::Prompt | TargetKind::RefPrompt => ListKind::Prompts,
            TargetKind::Resource => ListKind::Resources,
            TargetKind::RefResource => ListKind::ResourceTemplates,
        };
        let listed = locked(&self.listed);
        names::near(name, listed.get(&kind)?.iter().cloned())
    }

    /// Sends a request to the server its target is qualified with.
    async fn forward(
        &self,
        head: &Head,
        view: &View<'_>,
        what: TargetKind,
        name: &str,
    ) -> Result<McpCall, SessionError> {
        let (server, own) = match self.locate(what, name) {
            Ok(located) => located,
            Err(failure) => {
                let data = refusal::details(&failure);
                let error = refusal::error(&head.id, INVALID_PARAMS, &failure.message, &data);
                return Ok(answered(error));
            }
        };
        let spliced = view
            .splice(&[Edit::Target(&quote(own))])
            .map_err(unusable)?;
        let upstream = self.upstream(&server).await?;
        let call = upstream.session().request(Bytes::from(spliced)).await?;
        Ok(self.relay(upstream, call, Links::of_method(&head.method)))
    }

    /// Sets the level on every open server that logs, and later on those opened then.
    async fn set_level(&self, id: &str, message: &Bytes) -> McpCall {
        *locked(&self.level) = Some(message.clone());
        let opened = self.opened();
        let setting = opened.iter().map(|u| u.set_level(self.draw_id(), message));
        let all = futures::future::join_all(setting);
        if tokio::time::timeout(self.limits.list_wait, all)
            .await
            .is_err()
        {
            tracing::debug!("a server did not answer `logging/setLevel` in time");
        }
        answered(answer(id, "{}"))
    }

    /// A number of this session's, as raw JSON; never used twice.
    fn draw_id(&self) -> String {
        self.next_id.fetch_add(1, Ordering::Relaxed).to_string()
    }

    /// Takes an event of a server; `Some` is what the client is to see.
    async fn event(&self, upstream: &Arc<Upstream>, bytes: Bytes) -> Option<Bytes> {
        let view = View::parse(&bytes).ok()?;
        let head = message::head(&view);
        match head.kind {
            Kind::Request if locked(&self.unbound).len() >= MAX_PENDING_REQUESTS => {
                let failure = SessionError::new(
                    ErrorKind::Overload,
                    "too_many_requests",
                    "too many unanswered requests",
                );
                upstream.tell(refusal::failed(&head.id, &failure)).await;
                None
            }
            Kind::Request => {
                let ours = self.draw_id();
                let (translated, origin) = Translation::of_request(&head, &view, &ours)?;
                let entry = (Arc::clone(upstream), origin);
                locked(&self.unbound).insert(ours.into_boxed_str(), entry);
                Some(translated)
            }
            Kind::Notification => {
                let ours = |theirs: &str| self.unbound_id(upstream, theirs);
                relay::notification(upstream, &head, &view, ours, &bytes)
            }
            Kind::Response => None,
        }
    }

    fn unbound_id(&self, upstream: &Arc<Upstream>, theirs: &str) -> Option<Box<str>> {
        let mut unbound = locked(&self.unbound);
        let ours = unbound.iter().find_map(|(ours, (from, origin))| {
            (Arc::ptr_eq(from, upstream) && &*origin.id == theirs).then(|| ours.clone())
        })?;
        // The server withdraws it: no answer is expected any more.
        unbound.remove(&ours);
        Some(ours)
    }

    async fn answer_unbound(&self, head: &Head, message: &[u8]) -> Result<(), SessionError> {
        let Some((upstream, origin)) = locked(&self.unbound).remove(&head.id) else {
            return Ok(());
        };
        let restored = protocol::mcp::splice_id(message, &origin.id).map_err(unusable)?;
        upstream.session().send(Bytes::from(restored)).await
    }

    async fn report_unbound(&self, head: &Head, message: &[u8]) -> Result<(), SessionError> {
        let found = head.progress_of.as_ref().and_then(|ours| {
            let unbound = locked(&self.unbound);
            let (upstream, origin) = unbound.get(ours)?;
            Some((Arc::clone(upstream), origin.token.clone()?))
        });
        let Some((upstream, token)) = found else {
            return Ok(());
        };
        let restored = protocol::mcp::splice_progress_of(message, &token).map_err(unusable)?;
        upstream.session().send(Bytes::from(restored)).await
    }

    fn forget(&self, upstream: &Arc<Upstream>) {
        locked(&self.unbound).retain(|_, (from, _)| !Arc::ptr_eq(from, upstream));
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "used as a function in map_err"
)]
fn unusable(error: protocol::mcp::McpError) -> SessionError {
    SessionError::new(ErrorKind::InvalidMessage, error.reason(), error.to_string())
}

fn unknown_method(head: &Head) -> Bytes {
    let method = names::printable(&head.method);
    let message = format!("`{method}` names no server");
    let data = json!({
        "reason": "unknown_method",
        "hint": "use the endpoint of one server, `/mcp/NODE/SERVER`",
    });
    refusal::error(&head.id, METHOD_NOT_FOUND, &message, &data)
}
