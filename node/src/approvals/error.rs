//! Why an answer to a held call does not count.

use protocol::approval::MAX_WORDS_BYTES;
use protocol::control::{ApprovalState, Failure, FailureKind};
use protocol::id::NodeId;
use protocol::trust::TrustError;

use crate::standing::Barred;

/// Why an answer was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApprovalError {
    /// No such call is held here.
    #[error("no held call `{0}` is known here")]
    Unknown(String),
    /// The first digits of several.
    #[error("several held calls begin with `{0}`")]
    Ambiguous(String),
    /// The words are too long or hold control characters.
    #[error("words have at most {MAX_WORDS_BYTES} bytes and no control characters")]
    Words,
    /// The answer is no document, or its signatures do not hold.
    #[error("the answer does not hold: {0}")]
    Document(TrustError),
    /// It is about a call that another node holds.
    #[error("the answer is for node {}", .0.short())]
    OtherHolder(NodeId),
    /// Who signed has no valid membership here.
    #[error("node {} has no valid membership here", .0.short())]
    UnknownSigner(NodeId),
    /// Who signed is revoked.
    #[error(transparent)]
    Barred(Barred),
    /// It is about other arguments than the held call has.
    #[error("the answer is about other arguments than the held call has")]
    OtherArguments,
    /// It was made before the call was held, or after now.
    #[error("the answer was made at another time than the call was held")]
    Outdated,
    /// It came too late.
    #[error("the time to answer is over")]
    Late,
    /// Who makes the call, or what it calls, is revoked.
    #[error("the agent of the held call, its node or the tool is revoked: the call never passes")]
    Revoked,
    /// The call has been answered, or this operator has said all there is to say.
    #[error("the held call was answered already: it is {}", .0.name())]
    Answered(ApprovalState),
    /// No policy that holds the call lets this operator approve it.
    #[error("no policy that holds this call lets the operator of node `{0}` approve it")]
    NotAnApprover(String),
    /// The answer is given as a human's by a node that may not vouch for humans.
    #[error(
        "node `{node}` may not vouch for humans, so that the answer of `{human}` does not count"
    )]
    NotVouched {
        /// The node that signed it.
        node: String,
        /// As whom.
        human: String,
    },
    /// No policy lets this human approve it.
    #[error("no policy that holds this call lets `{human}` of node `{node}` approve it")]
    NotAHumanApprover {
        /// The node that signed it.
        node: String,
        /// As whom.
        human: String,
    },
    /// The store did not take it.
    #[error("the answer cannot be kept: {0}")]
    Store(String),
    /// The signature could not be made.
    #[error("the answer cannot be signed: {0}")]
    Signing(String),
}

impl ApprovalError {
    /// The stable name of the refusal.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unknown(_) => "unknown_approval",
            Self::Ambiguous(_) => "ambiguous_approval",
            Self::Words => "approval_words",
            Self::Document(error) => error.reason(),
            Self::OtherHolder(_) => "approval_of_another_node",
            Self::UnknownSigner(_) => "unknown_approver",
            Self::Barred(barred) => barred.reason(),
            Self::OtherArguments => "approval_mismatch",
            Self::Outdated => "approval_misdated",
            Self::Late => super::APPROVAL_TIMED_OUT,
            Self::Revoked => "approval_revoked",
            Self::Answered(_) => "approval_answered",
            Self::NotAnApprover(_) | Self::NotVouched { .. } | Self::NotAHumanApprover { .. } => {
                "not_an_approver"
            }
            Self::Store(_) => "store_unavailable",
            Self::Signing(_) => "signing_failed",
        }
    }

    /// What the operator can do.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unknown(_) => Some(
                "see `hedgerow approvals list --all`; what another node holds is answered with \
                 `--node NODE`",
            ),
            Self::Ambiguous(_) => Some("give more digits"),
            Self::NotVouched { .. } => Some(
                "a policy with `vouches_for_humans` names the nodes that may: answer there, or \
                 without `--as` where the operator may approve",
            ),
            Self::NotAnApprover(_) | Self::NotAHumanApprover { .. } => Some(
                "see `hedgerow approvals show` for who may; the policy says so in `approval.by`",
            ),
            Self::Words => Some("say it in one line and in fewer words, or leave the words out"),
            Self::Revoked => Some("see `hedgerow revocations list`"),
            Self::Store(_) => {
                Some("`hedgerow doctor` on the host of the node that holds it says what is wrong")
            }
            Self::Late | Self::Answered(_) => {
                Some("the agent must make the call again to have it held again")
            }
            _ => None,
        }
    }
}

impl From<ApprovalError> for Failure {
    fn from(error: ApprovalError) -> Self {
        use ApprovalError as E;
        let kind = match &error {
            E::Unknown(_) => FailureKind::NotFound,
            E::Answered(_) | E::Late | E::Revoked => FailureKind::Conflict,
            E::Ambiguous(_) | E::Words => FailureKind::Invalid,
            E::Store(_) => FailureKind::Unavailable,
            E::Signing(_) => FailureKind::Internal,
            _ => FailureKind::Denied,
        };
        let failure = Self::new(kind, error.reason(), error.to_string());
        match error.hint() {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_do_not_fit_are_told_with_a_mend() {
        let failure = Failure::from(ApprovalError::Words);
        assert_eq!(failure.reason, "approval_words");
        let hint = failure.hint.unwrap();
        assert!(hint.contains("one line"), "{hint}");
    }

    #[test]
    fn who_answers_for_a_human_is_told_about_vouching() {
        let error = ApprovalError::NotVouched {
            node: "beta".to_owned(),
            human: "boss@x.org".to_owned(),
        };
        assert_eq!(error.reason(), "not_an_approver");
        let said = error.to_string();
        assert!(
            said.contains("vouch") && said.contains("boss@x.org"),
            "{said}"
        );
        assert!(
            error
                .hint()
                .is_some_and(|hint| hint.contains("vouches_for_humans"))
        );
    }
}
