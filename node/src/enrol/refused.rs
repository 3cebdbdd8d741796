//! Why an issuer, or a node on the way to it, refuses.

use protocol::control::{Failure, FailureKind};
use protocol::id::NodeId;
use protocol::name::Name;
use protocol::time::UnixSeconds;
use protocol::trust::TrustError;
use protocol::trust::joining::{JoinRefusal, MAX_REFUSAL_TEXT};

use crate::store::StoreError;

/// A refusal. It is told to whoever asked, so it holds nothing secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A message out of order or not readable.
    #[error("a message on the join stream is not usable: {0}")]
    Malformed(String),
    /// Too much at once.
    #[error("too many join streams are under way; try again in a moment")]
    Throttled,
    /// Not done in time.
    #[error("the join stream was not done in time")]
    Timeout,
    /// Another mesh.
    #[error("this node belongs to another mesh")]
    ForeignMesh,
    /// No issuer here, none known or none reachable.
    #[error("node `{node}` is no issuer of memberships and {}", linked_with(.linked))]
    NotAnIssuer {
        /// The node that was asked.
        node: Name,
        /// The issuers' nodes it is linked with, by name.
        linked: Vec<String>,
    },
    /// The root in force no longer names this issuer.
    #[error("the root in force does not name node `{node}` as an issuer of memberships")]
    NotNamed {
        /// The node that was asked.
        node: Name,
    },
    /// The issuer's node is not linked with the node asked.
    #[error("node `{node}` has no link to the issuer's node {issuer}")]
    IssuerUnreachable {
        /// The node that was asked.
        node: Name,
        /// The issuer's node, by name and short id where the name is known.
        issuer: String,
    },
    /// The request answers another challenge, or none was asked for.
    #[error("the request answers another challenge than the one given on this stream")]
    WrongChallenge,
    /// The request or the membership with it does not verify.
    #[error("the request does not hold: {0}")]
    Request(TrustError),
    /// Never made here.
    #[error("this issuer made no such ticket")]
    UnknownTicket,
    /// Without knowledge of the secret.
    #[error("the request does not show that its sender has the ticket")]
    BadMac,
    /// Over.
    #[error("the ticket expired at {}", .0.calendar())]
    TicketExpired(UnixSeconds),
    /// Used up.
    #[error("the ticket is used up: it was good for {0} node(s)")]
    TicketUsedUp(u64),
    /// Revoked.
    #[error("the ticket is revoked: {0}")]
    TicketRevoked(String),
    /// The node is revoked.
    #[error("the node is revoked: {0}")]
    NodeRevoked(String),
    /// Enrolled otherwise.
    #[error("node {} is enrolled with another signing set", .0.short())]
    NodeBound(NodeId),
    /// A key of another node.
    #[error("a key of the signing set belongs to node {}", .0.short())]
    KidBound(NodeId),
    /// The name is another node's.
    #[error("another node is named `{0}`")]
    NameTaken(Name),
    /// The name a ticket is to give is a node's already.
    #[error("a node of this mesh is named `{0}`: nobody could use the ticket")]
    InvitedNameTaken(Name),
    /// The name the ticket gives is another node's.
    #[error("another node is named `{0}`, and the ticket gives that name")]
    TicketNameTaken(Name),
    /// No name at all.
    #[error("neither the request nor the ticket gives the node a name")]
    NameMissing,
    /// A person said no.
    #[error("the request to join was denied")]
    Denied,
    /// The root does not let this issuer grant the group.
    #[error("the root does not let this issuer grant the group `{0}`")]
    BeyondGroups(Name),
    /// The root does not let this issuer grant the site.
    #[error("the root does not let this issuer grant the site {0}")]
    BeyondSites(String),
    /// The root does not let this issuer grant such a life.
    #[error("the root lets this issuer grant memberships of at most {max_s} s, not {asked_s} s")]
    BeyondLifetime {
        /// Asked for.
        asked_s: u64,
        /// Allowed.
        max_s: u64,
    },
    /// As many as the root allows.
    #[error("this issuer has issued as many memberships in this hour as the root allows ({0})")]
    Rate(u64),
    /// No membership to renew.
    #[error("the membership to be renewed is not shown or does not hold: {0}")]
    UnknownMember(String),
    /// Signed by an issuer that should not have.
    #[error("the membership shown is not renewed: {0}")]
    Issuer(TrustError),
    /// Replaced.
    #[error("another node has taken the place of {}", .0.short())]
    Superseded(NodeId),
    /// Too many rotations.
    #[error("the node's keys were rotated too often within the life of a membership")]
    TooManyRotations,
    /// More than a named bound.
    #[error("{0}")]
    Full(&'static str),
    /// A ticket that is out of bounds.
    #[error("{0}")]
    Invitation(String),
    /// Nobody could be dialed.
    #[error(
        "neither this node nor one it is linked with has an address that another host could dial"
    )]
    NoAddress,
    /// Several are meant.
    #[error("several newcomers are named `{name}`: {}", .ids.join(", "))]
    Ambiguous {
        /// The name.
        name: String,
        /// Their ids.
        ids: Vec<String>,
    },
    /// There is nothing of that id.
    #[error("nothing of that id is known here: `{0}`")]
    Unknown(String),
    /// This node could not do it.
    #[error("the issuer could not do it now: {0}")]
    Failed(String),
}

impl Refused {
    /// The stable name.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "join_malformed",
            Self::Throttled => "join_throttled",
            Self::Timeout => "join_timeout",
            Self::ForeignMesh => "foreign_mesh",
            Self::NotAnIssuer { .. } | Self::NotNamed { .. } => "not_an_issuer",
            Self::IssuerUnreachable { .. } => "issuer_unreachable",
            Self::WrongChallenge => "wrong_challenge",
            Self::Request(e) | Self::Issuer(e) => e.reason(),
            Self::UnknownTicket => "unknown_ticket",
            Self::BadMac => "bad_mac",
            Self::TicketExpired(_) => "ticket_expired",
            Self::TicketUsedUp(_) => "ticket_used_up",
            Self::TicketRevoked(_) => "ticket_revoked",
            Self::NodeRevoked(_) => "node_revoked",
            Self::NodeBound(_) => "node_bound",
            Self::KidBound(_) => "kid_bound",
            Self::NameTaken(_) | Self::InvitedNameTaken(_) | Self::TicketNameTaken(_) => {
                "name_taken"
            }
            Self::NameMissing => "name_missing",
            Self::Denied => "join_denied",
            Self::BeyondGroups(_) => "beyond_issuer_groups",
            Self::BeyondSites(_) => "beyond_issuer_sites",
            Self::BeyondLifetime { .. } => "beyond_issuer_lifetime",
            Self::Rate(_) => "issuer_rate_exceeded",
            Self::UnknownMember(_) => "unknown_member",
            Self::Superseded(_) => "superseded",
            Self::TooManyRotations => "too_many_rotations",
            Self::Full(_) => "issuer_full",
            Self::Invitation(_) => "invitation_out_of_bounds",
            Self::NoAddress => "no_address",
            Self::Ambiguous { .. } => "ambiguous_name",
            Self::Unknown(_) => "unknown_id",
            Self::Failed(_) => "issuer_failed",
        }
    }

    /// What the one who asked can do about it.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::ForeignMesh => "the ticket is of another mesh than the nodes it names now serve",
            Self::NotAnIssuer { .. } | Self::NotNamed { .. } | Self::IssuerUnreachable { .. } => {
                "start the issuer's node, or use a ticket that names its address"
            }
            Self::UnknownTicket | Self::BadMac => {
                "make a new one with `hedgerow invite` on the issuer's host"
            }
            Self::TicketExpired(_) | Self::TicketUsedUp(_) | Self::TicketRevoked(_) => {
                "ask for a new one: `hedgerow invite` on the issuer's host"
            }
            Self::NodeRevoked(_) => {
                "join anew with another state directory, if it should be let in"
            }
            Self::NodeBound(_) | Self::KidBound(_) => {
                "use the keys the node was enrolled with, or join with another --state-dir"
            }
            Self::NameTaken(_) => {
                "names are unique in a mesh: choose another with --name, or revoke the node that has it"
            }
            Self::InvitedNameTaken(_) => {
                "choose another, or revoke the node that has it first; a host that comes back under its own keys needs a ticket without --name"
            }
            Self::TicketNameTaken(_) => {
                "ask for a ticket that gives another name or none: `hedgerow invite` on the issuer's host"
            }
            Self::NoAddress => {
                "give this host a route, or set `advertise` under `[node]` in the configuration and start the node again"
            }
            Self::Ambiguous { .. } => "name the one you mean by its id",
            Self::NameMissing => "give one with --name",
            Self::BeyondGroups(_) | Self::BeyondSites(_) | Self::BeyondLifetime { .. } => {
                "the admins set the issuer's limits in the root; ask for less, or another issuer"
            }
            Self::Rate(_) | Self::Throttled => "try again later",
            Self::UnknownMember(_) | Self::Issuer(_) => "join again with a ticket",
            Self::Superseded(_) => {
                "this host's keys were rotated; use the state directory that has the new ones"
            }
            _ => return None,
        })
    }

    /// Whether an honest sender never meets it: it counts against its source.
    #[must_use]
    pub const fn is_abuse(&self) -> bool {
        matches!(
            self,
            Self::Malformed(_)
                | Self::WrongChallenge
                | Self::Request(_)
                | Self::UnknownTicket
                | Self::BadMac
        )
    }

    /// As it travels on a join stream.
    #[must_use]
    pub fn to_message(&self) -> JoinRefusal {
        JoinRefusal {
            reason: self.reason().to_owned(),
            message: cut(&self.to_string()),
            hint: self.hint().map(str::to_owned),
        }
    }

    /// As an operator of the issuer is told.
    #[must_use]
    pub fn to_failure(&self) -> Failure {
        let kind = match self {
            Self::Unknown(_) => FailureKind::NotFound,
            Self::NameTaken(_) | Self::InvitedNameTaken(_) => FailureKind::Conflict,
            Self::Failed(_) => FailureKind::Internal,
            Self::Full(_) | Self::Rate(_) | Self::NoAddress => FailureKind::Unavailable,
            Self::Malformed(_)
            | Self::Invitation(_)
            | Self::NameMissing
            | Self::Ambiguous { .. } => FailureKind::Invalid,
            _ => FailureKind::Denied,
        };
        let failure = Failure::new(kind, self.reason(), self.to_string());
        match self.hint() {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }
}

/// Reasons with which a node in between refuses for itself; with any other one it passes on what the
/// issuer said of the request, or claims to.
const CARRIERS_REASONS: [&str; 6] = [
    "foreign_mesh",
    "issuer_unreachable",
    "join_malformed",
    "join_timeout",
    "not_an_issuer",
    "wrong_challenge",
];

/// Whether a refusal that came through another node is one the issuer makes.
pub(super) fn is_of_issuer(refusal: &JoinRefusal) -> bool {
    !CARRIERS_REASONS.contains(&refusal.reason.as_str())
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Which issuers a node is linked with, as the end of a sentence.
fn linked_with(issuers: &[String]) -> String {
    if issuers.is_empty() {
        return "is linked with none now".to_owned();
    }
    let names: Vec<String> = issuers.iter().map(|name| format!("`{name}`")).collect();
    format!("is linked with: {}", names.join(", "))
}

/// The longest prefix that a refusal may carry.
fn cut(text: &str) -> String {
    let mut end = text.len().min(MAX_REFUSAL_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_people_read_them() {
        let refused = Refused::TicketExpired(UnixSeconds(1_795_415_513));
        assert_eq!(
            refused.to_string(),
            "the ticket expired at 2026-11-23 06:31:53Z"
        );
    }

    #[test]
    fn what_a_carrier_says_for_itself_is_not_the_issuer_s_word() {
        let node: Name = "b".parse().unwrap();
        let own = [
            Refused::ForeignMesh,
            Refused::Timeout,
            Refused::IssuerUnreachable {
                node: node.clone(),
                issuer: "a".to_owned(),
            },
            Refused::NotAnIssuer {
                node,
                linked: Vec::new(),
            },
        ];
        assert!(
            !own.iter()
                .any(|refused| is_of_issuer(&refused.to_message()))
        );
        for passed_on in [
            Refused::TicketExpired(UnixSeconds(0)),
            Refused::TicketUsedUp(1),
            Refused::TicketRevoked("lost".to_owned()),
            Refused::Denied,
        ] {
            assert!(is_of_issuer(&passed_on.to_message()), "{passed_on}");
        }
    }
}
