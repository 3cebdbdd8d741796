//! `enforce`: the one function every message of every path goes through.
//!
//! Outgoing messages are decided on and then *signed here*: no other code of the node makes an
//! envelope. Incoming ones are parsed, checked, verified and decided on here: no other code of the
//! node turns received bytes into a message. Those between other nodes are decided on by their
//! header (`relayed`). All leave a decision record. The order is that of
//! the design: shape → per-peer limit → mesh, audience, time, membership, seen → signature →
//! atomic replay insert → header against body → policy → record. It fails closed, each failure
//! with a name of its own, and the name is counted. Refusals of what never came to be a message
//! are made elsewhere and recorded here too ([`Enforcer::refused`]).
//!
//! It does not know links, streams of bytes or MCP servers.

mod basis;
mod behind;
mod chain;
mod charges;
mod decide;
mod doubt;
mod heard;
mod held;
mod intents;
mod labels;
mod ledger;
mod limit;
mod listing;
mod path;
mod policies;
mod refusals;
mod relayed;
mod severed;
mod subject;
mod unknown;
mod updates;
mod waypoints;
mod within;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Instant;

use protocol::envelope::replay::ReplayWindow;
use protocol::envelope::{CallSeal, SealedEnvelope, VerifiedEnvelope};
use protocol::id::{Digest, NodeId, Salt};
use protocol::mcp::{DeriveIntents, Hints};
use protocol::name::Name;
use protocol::policy::{Denial, Party, Policy, Verdict};
use protocol::record::Point;
use protocol::time::{UnixMillis, UnixSeconds};
use protocol::trust::PostureFacts;

pub use behind::{Ask, BUNDLE_WAIT, IN_VAIN, NO_BUNDLE};
pub use chain::{DELIVERERS_FAULTS, RELAY_DELAYED};
pub use charges::{MAX_CHARGED, Open};
pub use doubt::CLOCK_DOUBT;
pub(crate) use held::other_definition;
pub use held::{APPROVAL_OUTDATED, APPROVAL_REQUIRED, Covers, Held, HeldCall, Hold};
pub use intents::INTENT_UNDERSTATED;
pub use labels::{
    LABELS_KEPT_MS, Labelled, MAX_LABELLED_AGENTS, TOO_MANY_LABELLED, TOO_MANY_LABELS,
};
pub use ledger::{Ledger, LedgerError};
pub use limit::{PEER_ENVELOPES_AT_ONCE, PEER_ENVELOPES_PER_S, PeerRate};
pub use listing::{LIST_TOO_LONG, MAX_LISTED};
pub use path::Path;
pub use policies::LIMIT_EXCEEDED;
pub use refusals::{FURTHER_REFUSALS, Occasion, RECORDED_REFUSALS, REFUSAL_WINDOW_MS};
pub use relayed::{Crossed, Relayed};
pub use severed::{CutOff, SEVER_COOL_DOWN_MS, SEVERED};
pub use subject::{
    Answered, Copied, Described, Draft, Incoming, Message, Origin, Subject, describe,
};
pub use unknown::TOOL_UNKNOWN_HERE;
pub use updates::UPDATE_UNNAMED;
pub use waypoints::RouteQuestion;
pub use within::Dropped;

use crate::clock::Clock;
use crate::heavy::Heavy;
use crate::identity::Identity;
use crate::members::Members;
use crate::session::{ErrorKind, SessionError};
use crate::standing::{Barred, Standing};
use crate::telemetry::Counters;

/// Life of an envelope, in seconds: long enough for a slow path and the tolerated clock
/// difference, short enough that the replay window stays small.
pub const ENVELOPE_LIFE_S: u64 = 30;

/// What is said to whom the end of a stream interrupts.
const UNDER_WAY: &str = "what was under way may have taken effect, check before calling again";

/// What egress knows of the tools of its own servers.
pub trait Inventory: Send + Sync {
    /// The digest of a tool's definition, if the server has such a tool.
    fn tool_digest(&self, server: &Name, tool: &str) -> Option<Digest>;

    /// What the annotations of that definition add to the intents of a call.
    fn tool_hints(&self, server: &Name, tool: &str) -> Hints;
}

/// A message that may pass.
#[derive(Debug)]
pub enum Passed {
    /// One of this node's, now signed, with what a copy of it must repeat.
    Sealed(SealedEnvelope, Issued),
    /// One of another's, now verified, with what its body says of itself. Where it begins a call
    /// that relays carry, with what seals the call.
    Verified(Box<VerifiedEnvelope>, Box<Described>, Opening),
    /// One of another's that begins a call for a server here, verified, and not to be acted on
    /// until it is approved.
    Held(Box<Held>),
    /// One between others, whose header is verified.
    Crossed(Box<Crossed>),
    /// One of this node's within a call, which policy denies and that goes on without it: not
    /// signed. The refusal is counted and recorded.
    Withheld(Stopped),
    /// One of another's within a call, which policy denies and that goes on without it. The refusal
    /// is counted and recorded.
    Dropped(Box<Dropped>),
}

/// What of a signed message is not in its bytes.
#[derive(Debug, Clone)]
pub struct Issued {
    /// When.
    pub at: UnixSeconds,
    /// The salt of its body.
    pub salt: Salt,
    /// Of one that begins a call: what that counts as open against until this is dropped.
    pub open: Option<Arc<Open>>,
}

/// What the beginning of a call leaves at its far end.
#[derive(Debug, Default)]
pub struct Opening {
    /// What seals the call, where relays carry it.
    pub seal: Option<Arc<CallSeal>>,
    /// What it counts as open against until this is dropped.
    pub open: Option<Open>,
    /// What it must wait for before anything acts on it.
    hold: Option<Box<held::Wanted>>,
    /// Why nothing may act on it, while the call it belongs to goes on.
    denied: Option<Stopped>,
    /// The address of the caller's node, as the next hop saw it.
    pub address: Option<String>,
}

/// Cuts off who delivered what no honest peer would have, and whom policies sever.
pub trait Sever: Send + Sync {
    /// Closes the link with `peer` and keeps it closed for a while.
    fn sever(&self, peer: NodeId, reason: &str);

    /// Ends the sessions of an agent of this node that a policy cuts off, telling it why.
    fn sever_agent(&self, agent: &Name, why: &Stopped);

    /// Of this node: ends the sessions of all its agents, telling them why. Of a peer: closes the
    /// link once it was told what ends, and keeps it closed for a while.
    fn sever_node(&self, node: NodeId, why: &Stopped);
}

/// A message that may not pass, and what to tell whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// `Hold`, `Deny` or `Sever`.
    pub verdict: Verdict,
    /// Whether policy said so; otherwise the message itself was not acceptable.
    pub by_policy: bool,
}

impl Stopped {
    /// A refusal of the message itself.
    #[must_use]
    pub fn refuse(reason: &str, message: impl Into<String>) -> Self {
        let denial = Denial {
            reason: reason.to_owned(),
            message: message.into(),
            policy: None,
            hint: None,
        };
        Self {
            verdict: Verdict::Deny(denial),
            by_policy: false,
        }
    }

    /// A refusal because what must be durable could not be made so.
    #[must_use]
    pub fn unrecorded(error: &dyn core::fmt::Display) -> Self {
        Self::refuse("store_unavailable", error.to_string())
            .with_hint("`hedgerow doctor` on the host of the node that refused says what is wrong")
    }

    /// With what can be done about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        if let Verdict::Deny(denial) = &mut self.verdict {
            denial.hint = Some(hint.into());
        }
        self
    }

    /// A refusal because of what is in force in the mesh: an admin's or the root's decision.
    #[must_use]
    pub fn barred(barred: &Barred) -> Self {
        let denial = Denial {
            reason: barred.reason().to_owned(),
            message: barred.to_string(),
            policy: None,
            hint: Some(barred.hint().to_owned()),
        };
        Self {
            verdict: Verdict::Deny(denial),
            by_policy: true,
        }
    }

    /// The same, of a call that it ends while that is under way.
    #[must_use]
    pub fn interrupting(barred: &Barred) -> Self {
        Self::barred(barred).under_way()
    }

    /// The same, of a call that it ends after that has begun: a tool may have run, whatever is said of
    /// its answer.
    #[must_use]
    pub fn under_way(mut self) -> Self {
        if let Verdict::Deny(d) | Verdict::Hold(d) | Verdict::Sever(d) = &mut self.verdict {
            d.hint = Some(match d.hint.take() {
                Some(hint) if hint.contains(UNDER_WAY) => hint,
                Some(hint) => format!("{hint}; {UNDER_WAY}"),
                None => UNDER_WAY.to_owned(),
            });
        }
        self
    }

    /// The reason by its stable name.
    #[must_use]
    pub fn reason(&self) -> &str {
        self.verdict.denial().map_or("", |d| d.reason.as_str())
    }

    /// As the caller in this node sees it.
    #[must_use]
    pub fn into_error(self) -> SessionError {
        let kind = if self.by_policy {
            ErrorKind::Deny
        } else {
            ErrorKind::Refuse
        };
        match self.verdict {
            Verdict::Allow(_) => SessionError::new(kind, "internal", "allowed"),
            Verdict::Hold(d) | Verdict::Deny(d) | Verdict::Sever(d) => SessionError {
                kind,
                reason: d.reason,
                message: d.message,
                hint: d.hint,
                node: None,
                server: None,
            },
        }
    }
}

/// What policy says of a message that may not pass.
const fn by_policy(verdict: Verdict) -> Stopped {
    Stopped {
        verdict,
        by_policy: true,
    }
}

/// The parts `enforce` works on.
pub struct Parts {
    /// This node.
    pub identity: Arc<Identity>,
    /// The directory.
    pub members: Arc<Members>,
    /// Who is revoked, how fresh this node's knowledge is.
    pub standing: Arc<Standing>,
    /// The replay window, as restored from the store.
    pub replay: ReplayWindow,
    /// Where records and reservations go.
    pub ledger: Arc<dyn Ledger>,
    /// The tools of this node's own servers.
    pub inventory: Arc<dyn Inventory>,
    /// The local clock.
    pub clock: Arc<dyn Clock>,
    /// Refusals by name.
    pub counters: Arc<Counters>,
    /// The policy in force.
    pub policy: Arc<dyn Policy>,
    /// How intents are derived.
    pub intents: Arc<dyn DeriveIntents>,
    /// How long who is severed by policy stays cut off, in milliseconds.
    pub cool_down_ms: u64,
}

/// Decides on every message of one node.
pub struct Enforcer {
    identity: Arc<Identity>,
    members: Arc<Members>,
    standing: Arc<Standing>,
    replay: Arc<Mutex<ReplayWindow>>,
    ledger: Arc<dyn Ledger>,
    inventory: Arc<dyn Inventory>,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
    policy: RwLock<Arc<dyn Policy>>,
    intents: Arc<dyn DeriveIntents>,
    limits: limit::PeerLimits,
    allowances: refusals::Allowances,
    calls: CallCounts,
    sever: OnceLock<Arc<dyn Sever>>,
    severed: severed::Severed,
    charges: charges::Charges,
    touched: labels::Touched,
    labelled: OnceLock<Box<Labelled>>,
    judged: behind::Judged,
    doubt: doubt::Doubt,
    heard: heard::Heard,
    ask: OnceLock<Arc<dyn Ask>>,
    heavy: Heavy,
    /// The posture this node announced when it was last asked for, and its digest.
    named: Mutex<Option<(PostureFacts, Digest)>>,
}

/// Calls begun, since start.
#[derive(Debug, Default)]
pub struct CallCounts {
    out: AtomicU64,
    r#in: AtomicU64,
    relayed: AtomicU64,
}

impl CallCounts {
    /// Calls this node's agents began.
    #[must_use]
    pub fn outgoing(&self) -> u64 {
        self.out.load(Ordering::Relaxed)
    }

    /// Calls accepted for this node's servers.
    #[must_use]
    pub fn incoming(&self) -> u64 {
        self.r#in.load(Ordering::Relaxed)
    }

    /// Calls carried between other nodes.
    #[must_use]
    pub fn relayed(&self) -> u64 {
        self.relayed.load(Ordering::Relaxed)
    }
}

impl Enforcer {
    /// An enforcer over `parts`.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let here = parts.identity.name().to_string();
        Self {
            identity: parts.identity,
            members: parts.members,
            standing: parts.standing,
            replay: Arc::new(Mutex::new(parts.replay)),
            ledger: parts.ledger,
            inventory: parts.inventory,
            clock: parts.clock,
            counters: parts.counters,
            judged: behind::Judged::new(parts.policy.bundle_version()),
            doubt: doubt::Doubt::default(),
            heard: heard::Heard::default(),
            ask: OnceLock::new(),
            heavy: Heavy::default(),
            policy: RwLock::new(parts.policy),
            intents: parts.intents,
            limits: limit::PeerLimits::default(),
            allowances: refusals::Allowances::default(),
            calls: CallCounts::default(),
            sever: OnceLock::new(),
            severed: severed::Severed::for_ms(parts.cool_down_ms, &here),
            charges: charges::Charges::default(),
            touched: labels::Touched::default(),
            labelled: OnceLock::new(),
            named: Mutex::default(),
        }
    }

    /// Decides on one message at `point` and signs or verifies it.
    ///
    /// # Errors
    /// [`Stopped`], counted and, within what its peer may cause, recorded durably before it is
    /// returned. Within a call that goes on, a denial by policy is no error but
    /// [`Passed::Withheld`] or [`Passed::Dropped`].
    pub async fn enforce(&self, point: Point, subject: Subject<'_>) -> Result<Passed, Stopped> {
        let (begins, count) = match &subject {
            Subject::Outgoing(draft) => {
                let copies = draft.copies.is_some();
                (draft.parent.is_none() && !copies, &self.calls.out)
            }
            Subject::Incoming(incoming) => (incoming.stream.is_none(), &self.calls.r#in),
            Subject::Relayed(relayed) => (relayed.stream.is_none(), &self.calls.relayed),
        };
        // By a clock of another host; what comes from this one says nothing of clocks.
        let from_afar = matches!(&subject, Subject::Incoming(i) if i.origin.address.is_some());
        let heavy = &self.heavy;
        // On the heap: each is several kilobytes, which every stream would have to keep room for.
        let outcome = match subject {
            Subject::Outgoing(draft) => {
                let deciding = Box::pin(self.outgoing(point, &draft));
                heavy.run(draft.message.body().len(), deciding).await
            }
            Subject::Incoming(incoming) => {
                let deciding = Box::pin(self.incoming(point, &incoming));
                heavy.run(incoming.bytes.len(), deciding).await
            }
            Subject::Relayed(relayed) => {
                let deciding = Box::pin(self.relayed(&relayed));
                heavy.run(relayed.bytes.len(), deciding).await
            }
        };
        if from_afar && outcome.is_ok() {
            self.doubt.settled();
        }
        if begins && outcome.is_ok() {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let refused = match &outcome {
            Err(stopped) | Ok(Passed::Withheld(stopped)) => Some(stopped),
            Ok(Passed::Dropped(dropped)) => Some(&dropped.stopped),
            Ok(_) => None,
        };
        if let Some(stopped) = refused {
            self.counters.count(stopped.reason().to_owned());
        }
        outcome
    }

    /// Gives it who cuts off peers that break chains; called once, by whoever builds the node.
    pub fn attend(&self, sever: Arc<dyn Sever>) {
        drop(self.sever.set(sever));
    }

    /// Calls begun.
    #[must_use]
    pub const fn calls(&self) -> &CallCounts {
        &self.calls
    }

    /// This node.
    #[must_use]
    pub const fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// The directory.
    #[must_use]
    pub const fn members(&self) -> &Arc<Members> {
        &self.members
    }

    /// What is in force.
    #[must_use]
    pub const fn standing(&self) -> &Arc<Standing> {
        &self.standing
    }

    /// The clock decisions go by.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// The digest this node has for a tool of its own.
    #[must_use]
    pub fn own_tool_digest(&self, server: &Name, tool: &str) -> Option<Digest> {
        self.inventory.tool_digest(server, tool)
    }

    /// Another node refused a message of this one, and said why.
    pub fn told(&self, reason: &str) {
        self.doubt.told(reason, Instant::now());
    }

    /// When a message of this node, which others brought, was verified here last; none of one that
    /// had none since this process started.
    #[must_use]
    pub fn heard_over_others(&self, node: &NodeId) -> Option<UnixMillis> {
        self.heard.last(node)
    }

    /// Whether another node said within [`CLOCK_DOUBT`] that what this one sent comes from the future.
    #[must_use]
    pub fn is_told_ahead(&self) -> bool {
        self.doubt.stands(Instant::now())
    }

    /// The greatest time accepted, which a clean stop persists.
    #[must_use]
    pub fn greatest_time(&self) -> UnixSeconds {
        self.replay
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .greatest()
    }

    /// Whether policy lets this node vouch for the humans it names.
    pub(crate) fn vouches(&self, node: Party<'_>) -> bool {
        self.policy().vouches_for_humans(node)
    }

    fn policy(&self) -> Arc<dyn Policy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another bound on the envelopes of each peer in force, from now on.
    pub fn replace_peer_rate(&self, rate: PeerRate) {
        self.limits.replace(rate);
    }

    /// Puts another policy in force, for every message from now on.
    pub fn replace_policy(&self, policy: Arc<dyn Policy>) {
        let version = policy.bundle_version();
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = policy;
        self.judged.reached(version);
    }
}
