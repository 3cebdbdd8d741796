//! The edge towards MCP clients: streamable HTTP on loopback and newline-delimited JSON-RPC on
//! a local stream, both for unmodified clients of the versions in [`version::SUPPORTED`].
//!
//! The gateway admits ([`token`]), keeps client sessions (`client`), and per session and
//! server one mesh session from the [`Fabric`]. `/mcp/{node}/{server}` is transparent: every
//! message, `initialize` included, passes byte for byte. `/mcp` is the `aggregate` of all
//! servers. It decides nothing about policy: that is `enforce`, behind the fabric.
//!
//! Invariants: a session id is random and never authentication, each request is authenticated
//! by its token and may use only its own agent's sessions; everything a client can make the
//! gateway hold is counted and bounded ([`limits`]); every refusal has a name ([`refusal`]).
//!
//! A client that disconnects has not cancelled: its calls run on for [`Limits::detached`] and
//! can be resumed with `Last-Event-ID`, then they are dropped, which cancels them upstream.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use protocol::crypto::Crypto;
use protocol::name::Name;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::enforcement::SEVERED;
use crate::lane::Lane;
use crate::session::{ErrorKind, Fabric, OpenSession, Principal, SessionError};
use crate::telemetry::Counters;

mod aggregate;
#[cfg(test)]
mod bound_tests;
mod budget;
mod client;
#[cfg(test)]
pub(crate) mod fake;
mod farewells;
mod http;
#[cfg(test)]
mod http_tests;
pub mod limits;
mod lines;
#[cfg(test)]
mod lines_tests;
mod listed;
mod message;
pub mod names;
mod outbox;
pub mod refusal;
mod serve;
mod streams;
pub mod token;
pub mod version;
#[cfg(test)]
mod version_tests;

pub use limits::Limits;
pub use lines::LineError;
pub use refusal::Refusal;
pub use token::{AgentEntry, AgentTokens, Token, TokenError, TokenTable};

use budget::{Budget, Kind, Permit};
use client::ClientSession;
use farewells::Farewells;
use message::Head;
use streams::HttpSession;

/// What a session reaches: everything, or one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All servers, merged.
    Every,
    /// One server, transparently, by the names of its node and its own.
    Server {
        /// The node's name.
        node: String,
        /// The server's name.
        server: String,
    },
}

/// What the gateway holds now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Client sessions, over HTTP and lines.
    pub sessions: usize,
    /// Calls in flight, or answered and not yet taken by their client.
    pub calls: usize,
}

/// The gateway. Cheap to share; see [`Gateway::serve_http`] and [`Gateway::serve_lines`].
pub struct Gateway {
    fabric: Arc<dyn Fabric>,
    agents: Arc<dyn AgentTokens>,
    crypto: Arc<dyn Crypto>,
    limits: Arc<Limits>,
    budget: Arc<Budget>,
    /// HTTP sessions by id.
    sessions: Mutex<HashMap<String, Arc<HttpSession>>>,
    /// Sessions over lines; they have no ids. Ended ones are swept.
    lines: Mutex<Vec<std::sync::Weak<ClientSession>>>,
    /// Of the HTTP sessions that were cut off.
    farewells: Farewells,
    refusals: Counters,
    /// How often what is listed may have changed.
    changes: watch::Sender<u64>,
    tasks: TaskTracker,
    lane: Lane,
}

impl Gateway {
    /// A gateway to everything `fabric` names, for the agents that `agents` knows.
    #[must_use]
    pub fn new(
        fabric: Arc<dyn Fabric>,
        agents: Arc<dyn AgentTokens>,
        crypto: Arc<dyn Crypto>,
        limits: Limits,
        lane: Lane,
    ) -> Arc<Self> {
        Arc::new(Self {
            fabric,
            agents,
            crypto,
            limits: Arc::new(limits),
            budget: Arc::default(),
            sessions: Mutex::default(),
            lines: Mutex::default(),
            farewells: Farewells::default(),
            refusals: Counters::new(),
            changes: watch::Sender::new(0),
            tasks: TaskTracker::new(),
            lane,
        })
    }

    /// What it holds now.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            sessions: self.budget.held(Kind::Session),
            calls: self.budget.held(Kind::Call),
        }
    }

    /// How often each refusal was given, by its name.
    #[must_use]
    pub fn refusals(&self) -> std::collections::BTreeMap<String, u64> {
        self.refusals.snapshot()
    }

    /// Counts a refusal that a client is about to be told.
    fn refused(&self, refusal: &Refusal) {
        self.refusals.count(refusal.reason());
    }

    /// Tells the clients that were given lists that those may be others now. Changes that follow one
    /// another before a client is told are told once.
    pub fn lists_changed(&self) {
        self.changes
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// The same of the sessions of one agent.
    pub fn lists_changed_of(&self, agent: &Name) {
        let of_http = self
            .sessions()
            .values()
            .map(|s| Arc::clone(s.core()))
            .collect();
        let mut sessions: Vec<Arc<ClientSession>> = of_http;
        let of_lines = self.lines();
        sessions.extend(of_lines.iter().filter_map(std::sync::Weak::upgrade));
        drop(of_lines);
        let of_agent = sessions.iter().filter(|s| &s.principal().agent == agent);
        of_agent.for_each(|session| session.relist());
    }

    /// Ends every session of an agent at once, its calls and streams included. For when the
    /// agent is removed or revoked; its token must be refused already.
    pub async fn close_agent(&self, agent: &Name) {
        self.close_where(|principal| &principal.agent == agent, None)
            .await;
    }

    /// Ends the agent's sessions; their calls in flight fail with `why`.
    pub async fn close_agent_because(&self, agent: &Name, why: &SessionError) {
        self.close_where(|principal| &principal.agent == agent, Some(why))
            .await;
    }

    /// Ends every session; calls in flight fail with `why`.
    pub async fn close_all_because(&self, why: &SessionError) {
        self.close_where(|_| true, Some(why)).await;
    }

    /// Ends every session.
    pub async fn close_all(&self) {
        self.close_where(|_| true, None).await;
    }

    async fn close_where(&self, which: impl Fn(&Principal) -> bool, why: Option<&SessionError>) {
        let mut ending: Vec<Arc<ClientSession>> = Vec::new();
        let severing = why.filter(|why| why.reason == SEVERED);
        self.sessions().retain(|id, session| {
            let principal = session.core().principal();
            let hit = which(principal);
            if hit {
                if let Some(why) = severing {
                    let (id, whose) = (id.clone(), principal.clone());
                    self.farewells.add(id, whose, why.clone(), Instant::now());
                }
                ending.push(Arc::clone(session.core()));
            }
            !hit
        });
        self.lines().retain(|session| match session.upgrade() {
            Some(session) if which(session.principal()) => {
                ending.push(session);
                false
            }
            other => other.is_some(),
        });
        let closed = ending.iter().map(async |session| match why {
            Some(why) => session.close_because(why).await,
            None => session.close().await,
        });
        futures::future::join_all(closed).await;
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<String, Arc<HttpSession>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lines(&self) -> MutexGuard<'_, Vec<std::sync::Weak<ClientSession>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens what a client's session stands on: a mesh session, or the aggregate.
    async fn open(
        &self,
        principal: &Principal,
        scope: &Scope,
        head: &Head,
        initialize: Bytes,
    ) -> Result<OpenSession, SessionError> {
        let initialize = version::asked(initialize);
        match scope {
            Scope::Every => Ok(aggregate::open(
                Arc::clone(&self.fabric),
                principal.clone(),
                head,
                initialize,
                Arc::clone(&self.limits),
            )),
            Scope::Server { node, server } => {
                let target = names::resolve(&self.fabric.servers(), node, server)?;
                let opening = self.fabric.open(principal, &target, initialize);
                let opened = tokio::time::timeout(self.limits.open_wait, opening)
                    .await
                    .unwrap_or_else(|_| Err(open_timed_out(node, server)))?;
                if let Err(failure) = version::check_answer(&opened.response) {
                    opened.session.close().await;
                    return Err(failure.at(node, server));
                }
                Ok(opened)
            }
        }
    }

    fn session_permit(&self, agent: &Name) -> Option<Permit> {
        let limits = &self.limits;
        self.budget.take(
            Kind::Session,
            agent,
            limits.sessions_per_agent,
            limits.sessions,
        )
    }

    fn call_permit(&self, agent: &Name) -> Option<Permit> {
        let limits = &self.limits;
        self.budget
            .take(Kind::Call, agent, limits.calls_per_agent, limits.calls)
    }

    /// Room for one more session of this agent; its longest idle one makes room if need be.
    /// Clients that end without DELETE would otherwise lock themselves out.
    async fn make_room(&self, agent: &Name) -> Result<Permit, Refusal> {
        if let Some(permit) = self.session_permit(agent) {
            return Ok(permit);
        }
        let evicted = self
            .take_longest_idle(agent)
            .ok_or(Refusal::TooManySessions)?;
        evicted.core().close().await;
        drop(evicted);
        self.session_permit(agent).ok_or(Refusal::TooManySessions)
    }

    fn take_longest_idle(&self, agent: &Name) -> Option<Arc<HttpSession>> {
        let mut sessions = self.sessions();
        let id = sessions
            .iter()
            .filter(|(_, s)| &s.core().principal().agent == agent && !s.is_busy())
            .min_by_key(|(_, s)| s.core().used())
            .map(|(id, _)| id.clone())?;
        sessions.remove(&id)
    }

    /// Ends what has been idle too long and forgets what has ended.
    async fn sweep(&self, now: Instant) {
        let mut ending = Vec::new();
        self.sessions().retain(|id, session| {
            session.sweep(now, self.limits.detached);
            let idle = now.saturating_duration_since(session.core().used());
            let over = session.core().ended().is_cancelled()
                || (!session.is_busy() && idle >= self.limits.session_idle);
            if over {
                if let Some(why) = session.core().cut_off() {
                    let whose = session.core().principal().clone();
                    self.farewells.add(id.clone(), whose, why, now);
                }
                ending.push(Arc::clone(session));
            }
            !over
        });
        self.lines().retain(|session| session.strong_count() > 0);
        for session in ending {
            session.core().close().await;
        }
    }
}

fn open_timed_out(node: &str, server: &str) -> SessionError {
    SessionError::new(
        ErrorKind::Unreachable,
        "open_timed_out",
        "the server did not answer `initialize` in time",
    )
    .at(node, server)
    .with_hint("see `hedgerow status` on the server's node")
}
