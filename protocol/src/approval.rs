//! Approvals: what a held call asks for, and an operator's signed answer to it.
//!
//! A call that policy wants approved waits at the node of its server. Whoever the policy lets
//! approve signs an [`Answer`] with the identity of the node they operate. It is bound to that one
//! held call, by the number its holder drew for it, and to what the call asks for, by a digest: an
//! answer says nothing of any other call, and of the same call with other arguments nothing either.
//!
//! Nothing here decides who may answer or keeps calls; the node does.

pub mod relayed;

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::codec::CodecError;
use crate::cose::CoseSign;
use crate::crypto::{Crypto, CryptoError, Signer, SigningSet, domain, domain::content_type};
use crate::human::Human;
use crate::id::{ApprovalId, Digest, MeshId, NodeId};
use crate::mcp::{McpError, View, canonical, quote};
use crate::name::Name;
use crate::policy::document::Subjects;
use crate::policy::glob::{Glob, NodeGlob};
use crate::policy::{Checked, Party};
use crate::time::UnixSeconds;
use crate::trust::{TrustError, parse_document, sign_document};

/// Largest answer: one pair of signatures (3.5 kB), and its content with the longest words.
pub const MAX_ANSWER_BYTES: usize = 8 * 1024;

/// Longest words with an answer, in bytes: two sentences.
pub const MAX_WORDS_BYTES: usize = 512;

/// What was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum Choice {
    /// The call may go on.
    #[n(1)]
    Approve,
    /// It may not.
    #[n(2)]
    Deny,
}

/// The content of an answer.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Answer {
    /// The mesh.
    #[n(1)]
    pub mesh: MeshId,
    /// The held call.
    #[n(2)]
    pub approval: ApprovalId,
    /// The node that holds it.
    #[n(3)]
    pub holder: NodeId,
    /// The digest of what it asks for ([`arguments_digest`]).
    #[n(4)]
    pub arguments: Digest,
    /// The node whose operator answers, and which signs.
    #[n(5)]
    pub by: NodeId,
    /// As whom on that node.
    #[n(6)]
    pub agent: Name,
    /// When, by that node's clock.
    #[n(7)]
    pub at: UnixSeconds,
    /// The answer.
    #[n(8)]
    pub choice: Choice,
    /// What the operator says with it: at most [`MAX_WORDS_BYTES`], no control characters.
    #[n(9)]
    pub words: Option<String>,
    /// The human who answers, as the node that signs says: what [`crate::human::Human`] may be. It
    /// counts where that node may vouch for humans.
    #[n(10)]
    pub human: Option<String>,
}

impl Answer {
    /// Signs this answer by the node's signing set.
    ///
    /// # Errors
    /// [`CryptoError`] if a signature could not be made.
    pub fn sign(&self, crypto: &dyn Crypto, signer: &dyn Signer) -> Result<Vec<u8>, CryptoError> {
        let aad = self.mesh.as_bytes();
        sign_document(crypto, &[signer], content_type::APPROVAL, self, aad)
    }

    /// Reads an answer and verifies nothing but its mesh and its bounds.
    ///
    /// # Errors
    /// [`TrustError`] if it is not the one encoding of one, or of another mesh.
    pub fn parse(mesh: MeshId, bytes: &[u8]) -> Result<Self, TrustError> {
        Self::read(mesh, bytes).map(|(_, answer)| answer)
    }

    fn read(mesh: MeshId, bytes: &[u8]) -> Result<(CoseSign<'_>, Self), TrustError> {
        if bytes.len() > MAX_ANSWER_BYTES {
            let (max, found) = (MAX_ANSWER_BYTES, bytes.len());
            return Err(CodecError::Oversized { max, found }.into());
        }
        let (cose, answer) = parse_document::<Self>(bytes, content_type::APPROVAL)?;
        if answer.mesh != mesh {
            return Err(TrustError::ForeignMesh);
        }
        if answer.words.as_deref().is_some_and(|words| !fit(words)) {
            return Err(TrustError::Field("words"));
        }
        if let Some(human) = &answer.human
            && human.parse::<Human>().is_err()
        {
            return Err(TrustError::Field("human"));
        }
        Ok((cose, answer))
    }

    /// Reads and verifies an answer by `set`, the signing set of the node that it names.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn verify(
        crypto: &dyn Crypto,
        mesh: MeshId,
        set: &SigningSet,
        bytes: &[u8],
    ) -> Result<Self, TrustError> {
        let (cose, answer) = Self::read(mesh, bytes)?;
        cose.verify_one(crypto, set, mesh.as_bytes())?;
        Ok(answer)
    }
}

/// Whether these words may stand in an answer.
#[must_use]
pub fn fit(words: &str) -> bool {
    words.len() <= MAX_WORDS_BYTES && !words.chars().any(char::is_control)
}

/// Members of `_meta` that a client draws anew for each try and that ask a server for nothing: the
/// progress token, and the trace context of OpenTelemetry (MCP's SEP-414). Baggage is not among them:
/// an application puts there what its servers go by.
const OF_ONE_TRY: [&str; 3] = ["progressToken", "traceparent", "tracestate"];

/// The digest of what a request asks for: its method, and the canonical form of its parameters
/// without what belongs to one try (`progressToken`, `traceparent`, `tracestate`), and without `_meta`
/// where nothing else is in it. Everything else counts, fields unknown to us included.
///
/// # Errors
/// What [`View::parse`] and [`canonical`] refuse: parameters over
/// [`crate::mcp::MAX_CANONICAL_BYTES`] have no digest.
pub fn arguments_digest(crypto: &dyn Crypto, request: &[u8]) -> Result<Digest, McpError> {
    let view = View::parse(request)?;
    let method = view.method().unwrap_or_default().as_bytes();
    let form = canonical(view.params().unwrap_or("null"))?;
    let form = of_every_try(&form).unwrap_or(form);
    Ok(Digest::over(
        crypto,
        domain::CALL_ARGUMENTS,
        &[method, &form],
    ))
}

/// Parameters in canonical form, which this is again, without what belongs to one try. `None` where
/// there is no `_meta` to leave anything out of.
fn of_every_try(params: &[u8]) -> Option<Vec<u8>> {
    type Object<'a> = BTreeMap<String, &'a RawValue>;
    let mut params: Object<'_> = serde_json::from_slice(params).ok()?;
    let mut meta: Object<'_> = serde_json::from_str(params.get("_meta")?.get()).ok()?;
    meta.retain(|key, _| !OF_ONE_TRY.contains(&key.as_str()));
    // Sorted by the bytes of its keys, as the map is.
    let text = |object: &Object<'_>| {
        let member = |(key, value): (&String, &&RawValue)| quote(key) + ":" + value.get();
        let members: Vec<String> = object.iter().map(member).collect();
        format!("{{{}}}", members.join(","))
    };
    if meta.is_empty() {
        params.remove("_meta");
        return Some(text(&params).into_bytes());
    }
    let meta = RawValue::from_string(text(&meta)).ok()?;
    params.insert("_meta".to_owned(), &meta);
    Some(text(&params).into_bytes())
}

/// Who may approve, as lists of globs: what a policy's `approval.by` says, in a form that can be
/// kept and shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Approvers {
    /// Names of nodes.
    #[n(1)]
    pub nodes: Vec<String>,
    /// Groups of nodes.
    #[n(2)]
    pub groups: Vec<String>,
    /// Agents: `agent` or `node/agent`.
    #[n(3)]
    pub agents: Vec<String>,
    /// Humans, where the node whose operator answers may vouch for them.
    #[n(4)]
    pub humans: Vec<String>,
}

impl From<&Subjects> for Approvers {
    fn from(subjects: &Subjects) -> Self {
        let globs = |list: &[Glob]| list.iter().map(ToString::to_string).collect();
        Self {
            nodes: globs(&subjects.nodes),
            groups: globs(&subjects.groups),
            agents: subjects.agents.iter().map(ToString::to_string).collect(),
            humans: globs(&subjects.humans),
        }
    }
}

impl Approvers {
    /// Whether `agent` of `node` is one of them, or `human`, for whom that node vouches. A glob that
    /// cannot be read matches nobody.
    #[must_use]
    pub fn hold(&self, node: Party<'_>, agent: &str, human: Option<&str>) -> bool {
        let globs = |list: &[String]| readable(list, Glob::new);
        let subjects = Subjects {
            nodes: globs(&self.nodes),
            groups: globs(&self.groups),
            agents: readable(&self.agents, NodeGlob::new),
            humans: globs(&self.humans),
        };
        subjects.hold(node, agent, human)
    }

    /// Everyone in a line, for people.
    #[must_use]
    pub fn listed(&self) -> Vec<String> {
        let kinds = [
            ("node", &self.nodes),
            ("group", &self.groups),
            ("agent", &self.agents),
            ("human", &self.humans),
        ];
        let all = kinds.into_iter().flat_map(|(kind, list)| {
            let said = list.iter().map(move |glob| format!("{kind} {glob}"));
            said.collect::<Vec<_>>()
        });
        all.collect()
    }
}

fn readable<T>(list: &[String], read: impl Fn(&str) -> Checked<T>) -> Vec<T> {
    list.iter().filter_map(|text| read(text).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::document::Document;

    #[test]
    fn approvers_are_kept_as_the_policy_names_them() {
        let text = br#"{"policy_name": "p", "allowed_tools": [],
            "action_on_violation": "require_approval",
            "approval": {"by": {"groups": ["sec*"], "agents": ["hub/operator"], "humans": ["ada@*"]}}}"#;
        let document = Document::parse("p", text).unwrap();
        let by = Approvers::from(document.approval.unwrap().by.as_ref().unwrap());
        assert_eq!(
            by.listed(),
            ["group sec*", "agent hub/operator", "human ada@*"]
        );
        let (hub, other, group) = (
            "hub".parse().unwrap(),
            "other".parse().unwrap(),
            ["security".parse::<Name>().unwrap()],
        );
        let party = |name, groups| Party {
            node: NodeId::from_bytes([1; 32]),
            name,
            groups,
            site: None,
        };
        assert!(by.hold(party(&hub, &[]), "operator", None));
        assert!(!by.hold(party(&hub, &[]), "agent", None));
        assert!(!by.hold(party(&other, &[]), "operator", None));
        assert!(by.hold(party(&other, &group), "operator", None));
        let (ada, bob) = (Some("ada@example.org"), Some("bob@example.org"));
        assert!(by.hold(party(&other, &[]), "operator", ada));
        assert!(!by.hold(party(&other, &[]), "operator", bob));
    }
}
