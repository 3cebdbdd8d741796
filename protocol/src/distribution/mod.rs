//! Distribution: how roots, bundles, revocations and timestamps reach every node.
//!
//! A sans-IO state machine: [`Event`]s in, [`Effect`]s out, time and randomness are arguments. The
//! node drives it with real links, the simulation ten thousand of it with virtual ones.
//!
//! - **Push.** A document that the trust state takes is in force at once and sent on at once to
//!   every peer not known to hold it; then it is persisted; only then is it acknowledged.
//! - **No fuel for spam.** Only what the trust state took as new is ever sent on. Stale documents
//!   are ignored; forged and malformed ones are the sender's fault ([`Effect::Misbehaved`]).
//! - **Anti-entropy.** Peers compare [`HeadSet`]s when a link comes up and, one at random, from
//!   time to time; who is ahead sends what the other lacks, large parts are fetched.
//! - **Bounded.** Peers, requests, fetches, messages and bytes per peer each have a named bound.
//!
//! It does not decide what is in force: that is [`TrustState`]'s alone. It opens no links, and it
//! does not look at node records.

pub mod ack;
pub mod head;
pub mod message;
pub mod pull;

mod fetch;
mod machine;
mod peer;
#[cfg(test)]
mod tests;

pub use crate::trust::document::Document;
pub use crate::trust::state::{Change, ForkOf, Missing, Offer, TrustState};
pub use ack::{Ack, Since};
pub use fetch::{CHUNK_BYTES, CHUNK_ENTRIES};
pub use head::{HeadSet, Item, LogRow, TimestampRow, VersionRow};
pub use machine::{ANNOUNCED_ENTRIES, ANNOUNCED_TAIL_BYTES, ASK_PAUSE_MS, MAX_PEERS, Machine};
pub use message::{Bytes, MAX_SYNC_FRAME, Message};
pub use pull::PullId;

use std::sync::Arc;

use crate::crypto::{Crypto, Signer, SigningSet};
use crate::id::NodeId;
use crate::time::UnixMillis;
use crate::trust::TrustError;

/// How a machine paces itself. Times in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// How often heads are compared with a random peer, on average.
    pub anti_entropy_ms: u64,
    /// By how much that varies, in percent to either side.
    pub jitter_percent: u64,
    /// How long a peer may take to answer a request for a part.
    pub fetch_timeout_ms: u64,
    /// How long after a peer said that it holds more it is asked again, if it has not sent it.
    pub ask_again_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            anti_entropy_ms: 30_000,
            jitter_percent: 25,
            fetch_timeout_ms: 5_000,
            ask_again_ms: 2_000,
        }
    }
}

/// Who the members are, as far as this node knows.
pub trait Members {
    /// The signing set of a node with a membership valid now.
    fn signing_set(&self, node: &NodeId) -> Option<SigningSet>;
}

/// What the machine may use while it handles one event.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Primitives and randomness.
    pub crypto: &'a dyn Crypto,
    /// This node's signing set, for acknowledgements.
    pub signer: &'a dyn Signer,
    /// Whose acknowledgements hold.
    pub members: &'a dyn Members,
    /// The local clock. It may jump; the machine's own timers go on.
    pub now: UnixMillis,
}

/// What happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// A link to an admitted peer came up.
    PeerUp(NodeId),
    /// The link went down.
    PeerDown(NodeId),
    /// A message came from a peer.
    Message(NodeId, &'a Message),
    /// A peer seems to hold something newer than this node: its heads are to be compared now.
    /// Harmless at any time, and done at most once in [`ASK_PAUSE_MS`] for each peer.
    Ask(NodeId),
    /// Time has passed: due at [`Machine::next_tick`], harmless at any time.
    Tick,
    /// A document of local origin. Answered by [`Effect::Published`].
    Publish(Document),
    /// What this [`Effect::Persist`] and every one before it said is on disk.
    Persisted(u64),
    /// The operator wants to know what the peers hold now: each is asked for its heads. Whoever has
    /// taken a document from here says so by itself only at the next comparison.
    Compare,
    /// The operator asks which nodes have a log up to a state of it.
    Pull {
        /// Sixteen random bytes.
        id: PullId,
        /// The state.
        log: LogRow,
        /// For how long answers are wanted, in milliseconds; at most
        /// [`pull::MAX_PULL_MS`].
        life_ms: u64,
    },
    /// The operator needs no more answers to an [`Event::Pull`]: nodes that keep it open for them
    /// are told.
    EndPull(PullId),
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Something new is in force. Comes before it is sent on and persisted.
    Changed(Change),
    /// Send this to a peer.
    Send(NodeId, Arc<Message>),
    /// Put these on disk, in order, and say so with [`Event::Persisted`]. They belong together, and
    /// with what [`TrustState::memory`] says by then. Offered in order to a state as it was before,
    /// they make it what it is now; the entries of a second history of a forked log begin at 0.
    Persist {
        /// Rises by one with each.
        id: u64,
        /// The documents.
        documents: Vec<Document>,
    },
    /// A peer sent what no honest node sends.
    Misbehaved(NodeId, TrustError),
    /// Somebody signed two different documents where there must be one. What is in force stays.
    Alarm(ForkOf),
    /// All that this peer holds is in force here, as far as it said. Never said of one that claims
    /// more than it sends.
    Synced(NodeId),
    /// What became of [`Event::Publish`].
    Published(Result<Offer, TrustError>),
    /// A node's verified acknowledgement, in answer to this node's own [`Event::Pull`]; one for
    /// each node.
    Acked {
        /// The request.
        id: PullId,
        /// What the node says.
        ack: Ack,
    },
    /// There was no room for this node's own [`Event::Pull`]; said once for each, so of several
    /// who refuse it the first is named. Nodes behind a peer may not have been asked.
    PullRefused {
        /// The request.
        id: PullId,
        /// The peer that brought the refusal, its own or another's; none if this node has too
        /// many open, and then nobody was asked.
        by: Option<NodeId>,
    },
}
