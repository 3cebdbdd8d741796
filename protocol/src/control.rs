//! The control API's types: what `hedgerow` and its dashboard ask of a running node.
//!
//! HTTP over a Unix socket, JSON both ways; [`route`] has the paths. Field names are a public
//! interface: they may be added to, never renamed. Three rules hold everywhere:
//!
//! - instants are whole seconds since 1970 unless the field ends in `_ms`; durations end in `_s`
//!   or `_ms`;
//! - identifiers, names and file bytes are strings in the form `hedgerow` prints;
//! - MCP's own JSON (arguments, results, schemas) is carried as raw text, never re-encoded.
//!
//! Nothing here does I/O or decides anything: the node's `control` module serves these types,
//! the CLI prints them.

use core::fmt;

use zeroize::Zeroizing;

mod agent;
mod approval;
mod backup;
mod call;
mod decision;
mod doctor;
mod membership;
mod page;
mod peer;
mod posture;
mod server;
mod status;
mod ticket;
mod trust;

pub use agent::{AddAgent, Agent, AgentToken};
pub use approval::{
    AnswerApproval, Approval, ApprovalAnswer, ApprovalPolicy, ApprovalQuery, ApprovalState,
};
pub use backup::{COPY_PREFIX, StoreCopy};
pub use call::{
    CallEvent, CallReply, CallRequest, EnvelopeSignature, EnvelopeSigner, Hop, MAX_CALL_TIMEOUT_MS,
    ServerFilter, Tool,
};
pub use decision::{
    Decision, DecisionApproval, DecisionBasis, DecisionPage, DecisionQuery, DecisionSearch,
    MAX_DECISIONS, MAX_SEARCHED,
};
pub use doctor::{Check, Level};
pub use membership::{
    Admission, InspectRequest, IssueMembership, MAX_MEMBERSHIP_DAYS, MembershipRequestInfo,
};
pub use page::{PageLogin, PageSessionsEnded};
pub use peer::{Dial, LinkPath, Peer, PeerState};
pub use posture::{MAX_POSTURES, NodePosture, PostureInfo, PostureQuery, PostureReport};
pub use server::{
    AddServer, MAX_COMMAND_WORDS, MAX_SETTING_BYTES, MAX_SETTINGS, Server, ServerInfo, ServerSpec,
    ServerState, SpecError,
};
pub use status::{
    Condition, Counters, DocumentVersions, Freshness, FreshnessState, IssuerAlarm, MeshInfo,
    NodeInfo, PolicyStatus, RefusedBundle, Renewal, Status, StoreInfo, TimeHealth, TrustStatus,
};
pub use ticket::{
    DecidedPeer, Invite, NewTicket, PeerChoice, PendingPeer, Redeemer, TicketChoice, TicketInfo,
    TicketState,
};
pub use trust::{
    AdminInfo, BundleFile, BundleInfo, IssuerInfo, MAX_EFFECTS, MAX_LISTED_MISSING,
    MAX_LISTED_REVOCATIONS, MAX_PROPOSALS, MAX_PUBLISHED, MAX_SPREAD_WAIT_MS, MissingNode,
    PastBundle, PastBundleQuery, Preview, Proposal, ProposalKind, Propose, Proposed, Publication,
    Publish, PublishedDocument, Revocation, RevocationQuery, RevocationState, Revocations,
    RootInfo, Spread, SpreadEvent, SpreadQuery, Target, TimestamperInfo, Took, Trust,
};

/// The paths of the control API. The version is part of each.
pub mod route {
    /// `GET` → [`super::Status`].
    pub const STATUS: &str = "/v1/status";
    /// `GET` → array of [`super::Check`]: what the running node finds wrong with itself.
    pub const DOCTOR: &str = "/v1/doctor";
    /// `POST` without a body → [`super::StoreCopy`]: copies the store beside itself.
    pub const STORE_COPY: &str = "/v1/store/copy";
    /// `GET` → array of [`super::Peer`].
    pub const PEERS: &str = "/v1/peers";
    /// `GET` with the fields of [`super::PostureQuery`] as query → [`super::PostureReport`].
    pub const POSTURES: &str = "/v1/postures";
    /// `POST` [`super::Dial`] → [`super::Peer`].
    pub const DIAL: &str = "/v1/peers/dial";
    /// `GET` → array of [`super::Server`]; `POST` [`super::AddServer`] → [`super::Server`];
    /// `DELETE` with `/{name}` → nothing.
    pub const SERVERS: &str = "/v1/servers";
    /// `GET` → array of [`super::Agent`]; `POST` [`super::AddAgent`] → [`super::AgentToken`];
    /// `DELETE` with `/{name}` → nothing.
    pub const AGENTS: &str = "/v1/agents";
    /// `GET` with the fields of [`super::ServerFilter`] as query → array of [`super::Tool`].
    pub const TOOLS: &str = "/v1/tools";
    /// `POST` [`super::CallRequest`] → lines of [`super::CallEvent`] (`application/x-ndjson`).
    pub const CALL: &str = "/v1/call";
    /// `POST` [`super::InspectRequest`] → [`super::MembershipRequestInfo`].
    pub const INSPECT_REQUEST: &str = "/v1/memberships/inspect";
    /// `POST` [`super::IssueMembership`] → [`super::Admission`].
    pub const MEMBERSHIPS: &str = "/v1/memberships";
    /// `GET` → array of [`super::TicketInfo`]; `POST` [`super::Invite`] → [`super::NewTicket`].
    pub const TICKETS: &str = "/v1/tickets";
    /// `POST` [`super::TicketChoice`] → [`super::TicketInfo`].
    pub const REVOKE_TICKET: &str = "/v1/tickets/revoke";
    /// `GET` → array of [`super::PendingPeer`].
    pub const PENDING: &str = "/v1/peers/pending";
    /// `POST` [`super::PeerChoice`] → [`super::DecidedPeer`].
    pub const APPROVE: &str = "/v1/peers/approve";
    /// `POST` [`super::PeerChoice`] → [`super::DecidedPeer`].
    pub const DENY: &str = "/v1/peers/deny";
    /// `GET` with the fields of [`super::ApprovalQuery`] as query → array of [`super::Approval`].
    pub const APPROVALS: &str = "/v1/approvals";
    /// `POST` [`super::AnswerApproval`] → [`super::Approval`].
    pub const APPROVE_CALL: &str = "/v1/approvals/approve";
    /// `POST` [`super::AnswerApproval`] → [`super::Approval`].
    pub const DENY_CALL: &str = "/v1/approvals/deny";
    /// `GET` with the fields of [`super::DecisionQuery`] as query → array of [`super::Decision`].
    pub const DECISIONS: &str = "/v1/decisions";
    /// `POST` [`super::DecisionSearch`] → [`super::DecisionPage`].
    pub const FIND_DECISIONS: &str = "/v1/decisions/find";
    /// `GET` → [`super::Trust`].
    pub const TRUST: &str = "/v1/trust";
    /// `POST` [`super::Publish`] → [`super::Publication`].
    pub const PUBLISH: &str = "/v1/trust/publish";
    /// `POST` [`super::Propose`] → [`super::Proposed`]; `DELETE` with `/{id}` → nothing.
    pub const PROPOSALS: &str = "/v1/trust/proposals";
    /// `POST` [`super::Propose`] → [`super::Preview`]; changes nothing.
    pub const PREVIEW: &str = "/v1/trust/preview";
    /// `GET` → [`super::BundleFile`].
    pub const BUNDLE: &str = "/v1/trust/bundle";
    /// `GET` → array of [`super::PastBundle`], the oldest first.
    pub const PAST_BUNDLES: &str = "/v1/trust/bundles";
    /// `GET` with the fields of [`super::PastBundleQuery`] as query → [`super::BundleFile`] without
    /// its head.
    pub const PAST_BUNDLE: &str = "/v1/trust/bundles/one";
    /// `GET` with the fields of [`super::RevocationQuery`] as query → [`super::Revocations`].
    pub const REVOCATIONS: &str = "/v1/revocations";
    /// `POST` [`super::SpreadQuery`] → lines of [`super::SpreadEvent`] (`application/x-ndjson`).
    pub const SPREAD: &str = "/v1/revocations/status";
    /// `POST` without a body → [`super::PageLogin`].
    pub const PAGE_CODES: &str = "/v1/page/codes";
    /// `POST` without a body → [`super::PageSessionsEnded`].
    pub const REVOKE_PAGE_SESSIONS: &str = "/v1/page/sessions/revoke";
}

/// Largest request body the control API reads: the largest proposal in hexadecimal, and its
/// fields. A call with the largest MCP message is smaller.
pub const MAX_REQUEST_BYTES: usize = 2 * crate::trust::proposal::MAX_PROPOSAL_BYTES + 64 * 1024;

/// Largest answer a client of the control API reads: a call's result and both captured
/// envelopes in hexadecimal, with their fields.
pub const MAX_REPLY_BYTES: usize =
    crate::limits::MAX_MESSAGE_BYTES + 4 * crate::limits::MAX_ENVELOPE_BYTES + 1024 * 1024;

/// What kind of failure, as the control API tells it. Each kind has one HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The request itself cannot be used.
    Invalid,
    /// The caller may not do this, or policy or a check refused it.
    Denied,
    /// There is nothing of that name.
    NotFound,
    /// It would contradict what is there (a name already taken).
    Conflict,
    /// The request is larger than a named bound.
    TooLarge,
    /// It took longer than its deadline.
    Timeout,
    /// The node, a peer or a server cannot do it now; later may work.
    Unavailable,
    /// The node failed in a way that is its own fault.
    Internal,
}

impl FailureKind {
    /// The HTTP status it travels with.
    #[must_use]
    pub const fn http_status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::Denied => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::Timeout => 504,
            Self::Unavailable => 503,
            Self::Internal => 500,
        }
    }
}

/// Why the control API did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
#[error("{message}")]
pub struct Failure {
    /// What kind of failure.
    pub kind: FailureKind,
    /// The stable name of the reason, snake_case (`server_exists`, `unknown_agent`, …).
    pub reason: String,
    /// One line for people: lowercase, no final period.
    pub message: String,
    /// What the operator can do, where there is something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without a hint; see [`Failure::with_hint`].
    #[must_use]
    pub fn new(kind: FailureKind, reason: &str, message: impl Into<String>) -> Self {
        Self {
            kind,
            reason: reason.to_owned(),
            message: message.into(),
            hint: None,
        }
    }

    /// With what the operator can do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// The bytes of a file (a membership request, an admission, an envelope with its evidence):
/// lowercase hexadecimal in JSON.
#[derive(Clone, PartialEq, Eq)]
pub struct FileBytes(pub Vec<u8>);

impl fmt::Debug for FileBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileBytes({} bytes)", self.0.len())
    }
}

impl serde::Serialize for FileBytes {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&hex::encode(&self.0))
    }
}

impl<'de> serde::Deserialize<'de> for FileBytes {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        hex::decode(text.as_bytes())
            .map(Self)
            .map_err(|_| serde::de::Error::custom("expected an even number of hexadecimal digits"))
    }
}

/// A text that must not be shown again: a token, an environment value, a header value. It is
/// wiped when dropped and `Debug` does not show it; only serialising it for the control socket
/// and [`Secret::expose`] do.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl serde::Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.expose())
    }
}

impl<'de> serde::Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_bytes_stay_out_of_debug() {
        assert_eq!(format!("{:?}", Secret::new("hunter2".into())), "Secret(…)");
        assert_eq!(format!("{:?}", FileBytes(vec![1, 2])), "FileBytes(2 bytes)");
    }

    #[test]
    fn file_bytes_are_hexadecimal_and_nothing_else() {
        let bytes = FileBytes(vec![0, 0xab]);
        let text = serde_json::to_string(&bytes).unwrap();
        assert_eq!(text, "\"00ab\"");
        assert_eq!(serde_json::from_str::<FileBytes>(&text).unwrap(), bytes);
        for bad in ["\"0\"", "\"zz\"", "7"] {
            assert!(serde_json::from_str::<FileBytes>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_failure_without_hint_has_no_hint_field() {
        let failure = Failure::new(FailureKind::NotFound, "unknown_agent", "no agent `x`");
        assert_eq!(
            serde_json::to_string(&failure).unwrap(),
            r#"{"kind":"not_found","reason":"unknown_agent","message":"no agent `x`"}"#
        );
        assert_eq!(failure.kind.http_status(), 404);
    }
}
