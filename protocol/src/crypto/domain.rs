//! Every domain-separation label and content type, in one place, so that no two uses of a key
//! or of a hash can ever be confused.

/// The first string of every joined digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label(&'static str);

impl Label {
    /// The bytes that are hashed.
    #[must_use]
    pub const fn as_bytes(self) -> &'static [u8] {
        self.0.as_bytes()
    }
}

/// [`crate::id::MeshId`] of a genesis root.
pub const MESH_ID: Label = Label("hedgerow/v1/mesh-id");
/// [`crate::id::EnvelopeId`].
pub const ENVELOPE_ID: Label = Label("hedgerow/v1/envelope-id");
/// The salted body digest in an envelope's header.
pub const BODY_DIGEST: Label = Label("hedgerow/v1/body-digest");
/// The running hash over a stream's messages.
pub const STREAM_HASH: Label = Label("hedgerow/v1/stream-hash");
/// HPKE's `info` of a sealed call.
pub const SEALED_CALL: Label = Label("hedgerow/v1/sealed-call");
/// HPKE's `info` of a sealed question about held calls.
pub const SEALED_QUESTION: Label = Label("hedgerow/v1/sealed-question");
/// HPKE's exporter context of the key for what comes back on a sealed call.
pub const SEALED_REPLY_KEY: Label = Label("hedgerow/v1/sealed-reply-key");
/// HPKE's exporter context of the base nonce for what comes back on a sealed call.
pub const SEALED_REPLY_NONCE: Label = Label("hedgerow/v1/sealed-reply-nonce");
/// What names a sealing key in a header.
pub const SEALING_KEY: Label = Label("hedgerow/v1/sealing-key");
/// The hash that chains hop records.
pub const HOP_RECORD: Label = Label("hedgerow/v1/hop-record");
/// The hash that chains decision records.
pub const DECISION_RECORD: Label = Label("hedgerow/v1/decision-record");
/// The digest of a tool definition.
pub const TOOL_DIGEST: Label = Label("hedgerow/v1/tool-digest");
/// The digest of what a call asks for, to which an approval is bound.
pub const CALL_ARGUMENTS: Label = Label("hedgerow/v1/call-arguments");
/// [`crate::id::SignerId`] of a signing set that holds a role.
pub const ROLE_KEY: Label = Label("hedgerow/v1/role-key");
/// [`crate::id::TicketId`] of a ticket's secret.
pub const TICKET_ID: Label = Label("hedgerow/v1/ticket-id");
/// [`crate::id::EntryId`] of an entry in a revocation log.
pub const REVOCATION_ENTRY: Label = Label("hedgerow/v1/revocation-entry");
/// The hash that chains the entries of a revocation log.
pub const REVOCATION_CHAIN: Label = Label("hedgerow/v1/revocation-chain");
/// The digest by which a bundle's signed head binds its body.
pub const BUNDLE_BODY: Label = Label("hedgerow/v1/bundle-body");
/// The content hash of a trust document.
pub const DOCUMENT: Label = Label("hedgerow/v1/document");
/// The digest of a posture.
pub const POSTURE: Label = Label("hedgerow/v1/posture");
/// A leaf of a signed batch (reserved for amortised signing).
pub const BATCH_LEAF: Label = Label("hedgerow/v1/batch-leaf");
/// The MAC key derived from a ticket's secret, which is all that its issuer keeps.
pub const TICKET_KEY: Label = Label("hedgerow/v1/ticket-key");
/// What a ticket's MAC is over.
pub const TICKET_MAC: Label = Label("hedgerow/v1/ticket-mac");
/// The checksum of a ticket's text.
pub const TICKET_CHECKSUM: Label = Label("hedgerow/v1/ticket-checksum");
/// The stored form of a local agent token.
pub const AGENT_TOKEN: Label = Label("hedgerow/v1/agent-token");
/// The stored form of a one-time code for the status page.
pub const PAGE_CODE: Label = Label("hedgerow/v1/page-code");
/// The stored form of a browser session with the status page.
pub const PAGE_SESSION: Label = Label("hedgerow/v1/page-session");

/// COSE content types (header 3): what a signature is over. They are inside the protected
/// header, so a signature over one document type never verifies as another.
pub mod content_type {
    /// An envelope whose payload is in the clear (links still encrypt it).
    pub const ENVELOPE: &str = "application/vnd.hedgerow.envelope+cbor";
    /// An envelope whose payload is sealed for its audience: its route has a relay.
    pub const SEALED_ENVELOPE: &str = "application/vnd.hedgerow.sealed-envelope+cbor";
    /// The head of a batch of envelopes (reserved for amortised signing).
    pub const BATCH_HEAD: &str = "application/vnd.hedgerow.batch-head+cbor";
    /// A hop record.
    pub const HOP_RECORD: &str = "application/vnd.hedgerow.hop-record+cbor";
    /// A root document.
    pub const ROOT: &str = "application/vnd.hedgerow.root+cbor";
    /// The head of a policy bundle.
    pub const BUNDLE: &str = "application/vnd.hedgerow.bundle+cbor";
    /// The head of one admin's revocation log.
    pub const REVOCATION_LOG: &str = "application/vnd.hedgerow.revocation-log+cbor";
    /// A timestamp.
    pub const TIMESTAMP: &str = "application/vnd.hedgerow.timestamp+cbor";
    /// A membership.
    pub const MEMBERSHIP: &str = "application/vnd.hedgerow.membership+cbor";
    /// A request for a membership, signed by the key set it asks to enrol.
    pub const MEMBERSHIP_REQUEST: &str = "application/vnd.hedgerow.membership-request+cbor";
    /// The public file of a role key, signed by itself.
    pub const SIGNER_CARD: &str = "application/vnd.hedgerow.signer-card+cbor";
    /// A node record.
    pub const NODE_RECORD: &str = "application/vnd.hedgerow.node-record+cbor";
    /// A node's acknowledgement that revocations are in force on it.
    pub const REVOCATION_ACK: &str = "application/vnd.hedgerow.revocation-ack+cbor";
    /// An operator's answer to a call that a node holds.
    pub const APPROVAL: &str = "application/vnd.hedgerow.approval+cbor";
    /// A question about held calls that relays carry.
    pub const RELAYED_QUESTION: &str = "application/vnd.hedgerow.relayed-question+cbor";
}
