//! On what a decision of policy rests: the rule, the facts it was asked with, and the hops the
//! message came over.
//!
//! Noted of every call that policy was asked about, of whatever it stopped, and of what came over
//! relays. Nothing here is of the body: arguments and results are in no record.

use crate::id::{Digest, NodeId};
use crate::name::Name;
use crate::time::UnixMillis;

/// Longest single text of a basis, in bytes; more of it is cut off.
pub const MAX_BASIS_TEXT: usize = 256;

/// Longest claim of a posture in a basis, in bytes.
pub const MAX_BASIS_CLAIM: usize = 96;

/// Most claims of a posture in a basis.
pub const MAX_BASIS_CLAIMS: usize = 24;

/// What a relay said in its hop record.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct HopNote {
    /// The relay's place on the route, the issuer's being 0.
    #[n(1)]
    pub place: u64,
    /// The relay.
    #[n(2)]
    pub node: NodeId,
    /// From whom it had the message.
    #[n(3)]
    pub from: NodeId,
    /// The bundle version it decided under.
    #[n(4)]
    pub bundle_version: u64,
    /// Its verdict.
    #[n(5)]
    pub verdict: String,
    /// When it received the message, by its clock.
    #[n(6)]
    pub received: UnixMillis,
    /// When it sent it on.
    #[n(7)]
    pub sent: UnixMillis,
}

/// On what a decision rests. Every list is bounded by what the header and a membership may hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Basis {
    /// The rule that decided, where one did: a JSON pointer into the policy, or the number of a
    /// Cedar policy.
    #[n(1)]
    pub rule: Option<String>,
    /// The policies that permit the call; at most [`super::MAX_RECORDED_POLICIES`].
    #[n(2)]
    pub granted_by: Vec<String>,
    /// Whether the body was known, not the signed header alone.
    #[n(3)]
    pub full: bool,
    /// The groups of the caller's node.
    #[n(4)]
    pub groups: Vec<Name>,
    /// Its site.
    #[n(5)]
    pub site: Option<Name>,
    /// Its address, as the deciding node or the first hop saw it.
    #[n(6)]
    pub address: Option<String>,
    /// What its posture claims, as `key=value`; absent where none was known.
    #[n(7)]
    pub posture: Option<Vec<String>>,
    /// The human it asserts.
    #[n(8)]
    pub human: Option<String>,
    /// Derived intents.
    #[n(9)]
    pub intents: Vec<String>,
    /// Labels of the data touched.
    #[n(10)]
    pub labels: Vec<String>,
    /// The digest of the tool's definition.
    #[n(11)]
    pub tool_digest: Option<Digest>,
    /// The relays it came over so far, as their verified hop records say.
    #[n(12)]
    pub hops: Vec<HopNote>,
    /// Where a human is asserted: whether a document lets the caller's node vouch for humans.
    #[n(13)]
    pub human_vouched: Option<bool>,
    /// The version of the rules by which the deciding node derives intents
    /// ([`crate::mcp::INTENT_RULES`]).
    #[n(14)]
    pub intent_rules: Option<u32>,
    /// The version by which the signer derived those it claims, where it is another.
    #[n(15)]
    pub claimed_rules: Option<u32>,
}

/// `text`, cut to at most `most` bytes.
#[must_use]
pub fn cut(text: &str, most: usize) -> String {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(cut("short", 5), "short");
        assert_eq!(cut("ääää", 4), "ää");
        assert_eq!(cut("xäää", 4), "xä");
        assert_eq!(cut("ä", 0), "");
    }
}
