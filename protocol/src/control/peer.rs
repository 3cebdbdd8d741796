//! Peers and the links to them.

use super::DocumentVersions;
use crate::id::NodeId;
use crate::name::Name;
use crate::time::UnixSeconds;

/// A node as seen from here, with what was negotiated on the link to it. What is not known (no
/// link yet, no measurement yet) is `null`.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Peer {
    /// Its id.
    pub id: NodeId,
    /// The name its membership gives it.
    #[serde(default)]
    pub name: Option<Name>,
    /// Whether there is a link.
    pub state: PeerState,
    /// The address of the link, or the one last tried (`192.0.2.7:7443`).
    #[serde(default)]
    pub address: Option<String>,
    /// The key exchange group negotiated (`X25519MLKEM768`).
    #[serde(default)]
    pub group: Option<String>,
    /// The signature scheme of both TLS identities (`MLDSA65-Ed25519`).
    #[serde(default)]
    pub signature_scheme: Option<String>,
    /// How packets reach it.
    #[serde(default)]
    pub path: Option<LinkPath>,
    /// Where there is no link: the nodes that would carry a call to it now, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub relayed_by: Vec<Name>,
    /// When a message of it that others brought was last verified here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard_over_relays: Option<UnixSeconds>,
    /// Milliseconds from the first packet to the end of the TLS handshake.
    #[serde(default)]
    pub handshake_ms: Option<f64>,
    /// Milliseconds that `hello` took after it.
    #[serde(default)]
    pub hello_ms: Option<f64>,
    /// Round trips the TLS handshake took.
    #[serde(default)]
    pub rtts: Option<u32>,
    /// The smoothed round-trip time now, milliseconds.
    #[serde(default)]
    pub rtt_ms: Option<f64>,
    /// Whether this node opened the link (else the peer did).
    #[serde(default)]
    pub dialed: Option<bool>,
    /// Since when the state is what it is.
    #[serde(default)]
    pub since: Option<UnixSeconds>,
    /// When something was last heard from it.
    #[serde(default)]
    pub last_seen: Option<UnixSeconds>,
    /// When its membership ends.
    #[serde(default)]
    pub membership_expires: Option<UnixSeconds>,
    /// The groups its membership puts it in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Name>,
    /// The site it stands at, by its membership.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<Name>,
    /// The versions of the trust documents it was heard to hold.
    #[serde(default)]
    pub versions: Option<DocumentVersions>,
    /// The names of the MCP servers it announces.
    #[serde(default)]
    pub servers: Vec<Name>,
    /// Why there is no link, where one was tried: a line for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// The stable name of that reason (`unreachable`, `wrong_mesh`, …).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_reason: Option<String>,
}

/// Whether there is a link to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerState {
    /// Admitted; calls can flow.
    Connected,
    /// A handshake is under way.
    Connecting,
    /// Known, without a link.
    Disconnected,
    /// Cut off: it, or the issuer of its membership, is revoked.
    Revoked,
}

/// How packets reach a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkPath {
    /// From address to address.
    Direct,
    /// Through another node that forwards ciphertext.
    Circuit,
}

/// Asks the node to open a link.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dial {
    /// Where to, as `host:port` or `address:port`.
    pub address: String,
}
