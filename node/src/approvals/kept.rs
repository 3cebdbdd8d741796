//! A held call as it is kept: what is needed to answer it and to know its repetition.

use minicbor::bytes::ByteVec;
use protocol::approval::{Approvers, Choice};
use protocol::codec::{self, CodecError};
use protocol::control::ApprovalState;
use protocol::id::{ApprovalId, Digest, NodeId};
use protocol::name::Name;
use protocol::time::{UnixMillis, UnixSeconds};

use crate::enforcement::HeldCall;
use crate::store::MAX_APPROVAL_BYTES;

/// Where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub(super) enum State {
    #[n(1)]
    Pending,
    #[n(2)]
    Approved,
    #[n(3)]
    Used,
    #[n(4)]
    Denied,
    #[n(5)]
    TimedOut,
    /// Who makes the call, or what it calls, is revoked.
    #[n(6)]
    Revoked,
}

impl State {
    /// Whether something may still come of it.
    pub(super) const fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Approved)
    }

    pub(super) const fn shown(self) -> ApprovalState {
        match self {
            Self::Pending => ApprovalState::Pending,
            Self::Approved => ApprovalState::Approved,
            Self::Used => ApprovalState::Used,
            Self::Denied => ApprovalState::Denied,
            Self::TimedOut => ApprovalState::TimedOut,
            Self::Revoked => ApprovalState::Revoked,
        }
    }
}

/// A policy that holds the call.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub(super) struct KeptPart {
    #[n(1)]
    pub(super) policy: String,
    /// Who may approve; absent: the operator of this node.
    #[n(2)]
    pub(super) by: Option<Approvers>,
}

/// An answer that was accepted.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub(super) struct KeptAnswer {
    #[n(1)]
    pub(super) by: NodeId,
    #[n(2)]
    pub(super) agent: Name,
    #[n(3)]
    pub(super) choice: Choice,
    #[n(4)]
    pub(super) at: UnixSeconds,
    #[n(5)]
    pub(super) words: Option<String>,
    /// As it was signed.
    #[n(6)]
    pub(super) signed: ByteVec,
    /// As whom, by the word of that node.
    #[n(7)]
    pub(super) human: Option<String>,
}

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Who<'a> {
    pub(super) node: &'a NodeId,
    pub(super) agent: &'a Name,
    /// As that node says.
    pub(super) human: Option<&'a str>,
}

impl KeptAnswer {
    pub(super) fn who(&self) -> Who<'_> {
        Who {
            node: &self.by,
            agent: &self.agent,
            human: self.human.as_deref(),
        }
    }
}

/// A held call. What tells calls apart are fields 3 to 10.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub(super) struct Kept {
    #[n(1)]
    pub(super) id: ApprovalId,
    #[n(2)]
    pub(super) state: State,
    #[n(3)]
    pub(super) caller: NodeId,
    #[n(4)]
    pub(super) agent: Name,
    #[n(5)]
    pub(super) human: Option<String>,
    #[n(6)]
    pub(super) server: Name,
    #[n(7)]
    pub(super) method: String,
    #[n(8)]
    pub(super) target: Option<String>,
    /// The definition of the tool.
    #[n(9)]
    pub(super) tool: Option<Digest>,
    #[n(10)]
    pub(super) arguments: Digest,
    /// The parameters, or the first part of them.
    #[n(11)]
    pub(super) params: String,
    #[n(12)]
    pub(super) shortened: bool,
    #[n(13)]
    pub(super) parts: Vec<KeptPart>,
    #[n(14)]
    pub(super) asked: UnixMillis,
    /// Until when it can be answered, or once approved, made.
    #[n(15)]
    pub(super) until: UnixMillis,
    #[n(16)]
    pub(super) answers: Vec<KeptAnswer>,
}

impl Kept {
    pub(super) fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::decode(bytes, MAX_APPROVAL_BYTES)
    }

    /// Whether it is the same call, made again.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.caller == other.caller
            && self.agent == other.agent
            && self.human == other.human
            && self.server == other.server
            && self.method == other.method
            && self.target == other.target
            && self.tool == other.tool
            && self.arguments == other.arguments
    }

    pub(super) fn is_of(&self, caller: &NodeId, agent: &Name) -> bool {
        self.caller == *caller && self.agent == *agent
    }

    /// As records name it.
    pub(super) fn call(&self) -> HeldCall {
        HeldCall {
            caller: self.caller,
            agent: self.agent.clone(),
            server: self.server.clone(),
            method: self.method.clone(),
            target: self.target.clone(),
            policy: self.parts.first().map(|part| part.policy.clone()),
        }
    }
}
