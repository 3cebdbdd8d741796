//! Tools of the mesh, and calls from the command line.

use serde_json::value::RawValue;

use super::{Failure, FileBytes};
use crate::id::{EnvelopeId, Kid, NodeId};
use crate::name::Name;

/// Longest deadline a call may ask for, milliseconds: one hour.
pub const MAX_CALL_TIMEOUT_MS: u64 = 60 * 60 * 1000;

/// Which servers' tools to list; both absent for all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerFilter {
    /// Only this node's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Name>,
    /// Only this server's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<Name>,
}

/// A tool of some server of the mesh. Everything a server chose is untrusted text.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Tool {
    /// The node its server is attached to.
    pub node: Name,
    /// The server.
    pub server: Name,
    /// The tool's name, as its server gave it.
    pub name: String,
    /// Its title.
    #[serde(default)]
    pub title: Option<String>,
    /// Its description.
    #[serde(default)]
    pub description: Option<String>,
    /// Digest of the whole definition, hexadecimal.
    pub digest: String,
    /// Its annotations, raw: what the server claims, not what is so.
    #[serde(default)]
    pub annotations: Option<Box<RawValue>>,
    /// What those annotations add to the intents of every call of it, as its node announces them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added_intents: Vec<String>,
    /// The schema of its arguments, raw.
    #[serde(default)]
    pub input_schema: Option<Box<RawValue>>,
    /// Whether its server does not list it to the operator of this node, mostly because policy does
    /// not let it be called from here. What is known of it is what its node announces.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub unlisted: bool,
}

/// Asks the node to call a tool.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallRequest {
    /// The node.
    pub node: Name,
    /// Its server.
    pub server: Name,
    /// The tool, as its server names it.
    pub tool: String,
    /// The arguments, a JSON object, sent as they stand.
    pub arguments: Box<RawValue>,
    /// The agent to call as; the local user's own when absent.
    #[serde(default)]
    pub agent: Option<Name>,
    /// Whether to return both envelopes with what it takes to verify them.
    #[serde(default)]
    pub capture: bool,
    /// When to give up, milliseconds, at most [`MAX_CALL_TIMEOUT_MS`].
    pub timeout_ms: u64,
}

/// What flows back while a call runs: one JSON object with one key per line, the last of them
/// `reply` or `failure`.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallEvent {
    /// A notification of the server within this call, raw.
    Notification(Box<RawValue>),
    /// The end: what came of the call.
    Reply(CallReply),
    /// The end: the call could not be made.
    Failure(Failure),
}

/// What came of a call.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct CallReply {
    /// Whether the server returned a result that does not say `isError: true`.
    pub ok: bool,
    /// The JSON-RPC result, raw.
    #[serde(default)]
    pub result: Option<Box<RawValue>>,
    /// The JSON-RPC error object, raw: the server's own or one of the mesh.
    #[serde(default)]
    pub error: Option<Box<RawValue>>,
    /// Milliseconds from this node's side.
    pub ms: f64,
    /// The envelope the call went out in.
    #[serde(default)]
    pub request_envelope_id: Option<EnvelopeId>,
    /// The envelope the answer came in.
    #[serde(default)]
    pub response_envelope_id: Option<EnvelopeId>,
    /// Who signed, the request first: one entry for each envelope.
    #[serde(default)]
    pub signers: Vec<EnvelopeSigner>,
    /// The relays that carried the answer, in the order in which they did, as their signed and
    /// verified hop records say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hops: Vec<Hop>,
    /// The request envelope with what it takes to verify it, when captured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_envelope: Option<FileBytes>,
    /// The response envelope likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_envelope: Option<FileBytes>,
}

/// What one relay says in its hop record.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Hop {
    /// Its place on the route, the signer's being 0.
    pub place: u64,
    /// The relay, by name or id.
    pub node: String,
    /// Its verdict.
    pub verdict: String,
    /// The bundle version it decided under.
    pub bundle_version: u64,
    /// Whom it had the envelope from, by name or id.
    pub from: String,
    /// When it received it, by its clock, milliseconds.
    pub received_ms: u64,
    /// When it sent it on.
    pub sent_ms: u64,
}

/// Who signed one envelope of a call.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EnvelopeSigner {
    /// The envelope.
    pub envelope: EnvelopeId,
    /// The name of the node whose membership binds the keys.
    pub node: Name,
    /// That node.
    pub node_id: NodeId,
    /// Its signatures, in the order in which they stand.
    pub signatures: Vec<EnvelopeSignature>,
}

/// One signature of a signer.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EnvelopeSignature {
    /// The algorithm (`ML-DSA-65`, `Ed25519`).
    pub algorithm: String,
    /// The key.
    pub kid: Kid,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_json_passes_through_untouched() {
        let arguments = r#"{"price": 1.0, "n":12345678901234567890123}"#;
        let text = format!(
            r#"{{"node":"a","server":"b","tool":"c","arguments":{arguments},"timeout_ms":1}}"#
        );
        let request: CallRequest = serde_json::from_str(&text).unwrap();
        assert_eq!(request.arguments.get(), arguments);
        assert!(!request.capture);
        assert!(serde_json::to_string(&request).unwrap().contains(arguments));
    }

    #[test]
    fn events_have_one_key_and_keep_raw_json() {
        let line =
            r#"{"notification":{"method":"notifications/progress","params":{"progress":1.0}}}"#;
        let event: CallEvent = serde_json::from_str(line).unwrap();
        assert_eq!(serde_json::to_string(&event).unwrap(), line);
        let line = r#"{"reply":{"ok":true,"result":{"x": 1},"ms":1.5}}"#;
        let event: CallEvent = serde_json::from_str(line).unwrap();
        let CallEvent::Reply(reply) = event else {
            panic!("a reply")
        };
        assert_eq!(reply.result.unwrap().get(), r#"{"x": 1}"#);
        assert!(reply.signers.is_empty());
    }
}
