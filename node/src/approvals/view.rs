//! Held calls as operators see them.

use protocol::approval::Choice;
use protocol::control::{Approval, ApprovalAnswer, ApprovalPolicy};
use protocol::id::{ApprovalId, NodeId};
use protocol::name::Name;

use super::ApprovalError;
use super::book::{Approvals, Entry};
use super::kept::{Kept, KeptAnswer, KeptPart, State, Who};

/// Fewest digits by which a held call is named.
const FEWEST_DIGITS: usize = 8;

impl Approvals {
    /// The held calls, those that wait longest first; the settled ones too, if `all`.
    pub async fn list(&self, all: bool) -> Result<Vec<Approval>, ApprovalError> {
        self.expire().await?;
        let table = self.table();
        let wanted = table.values().filter(|e| all || e.kept.state.is_open());
        let mut listed: Vec<Approval> = wanted.map(|e| self.view(e)).collect();
        listed.sort_by_key(|a| (a.asked, a.id));
        Ok(listed)
    }

    /// Those held calls, as they are kept, that the operator of another node may answer, and whether
    /// their callers wait.
    pub(super) async fn kept_for(
        &self,
        node: &NodeId,
        all: bool,
    ) -> Result<Vec<(bool, Kept)>, ApprovalError> {
        self.expire().await?;
        let operator = Name::operator();
        let asking = Who {
            node,
            agent: &operator,
            human: None,
        };
        let theirs = |kept: &Kept| {
            let mut parts = kept.parts.iter();
            parts.any(|p| {
                self.may_answer(asking, p.by.as_ref())
                    || self.a_human_may_answer(node, p.by.as_ref())
            })
        };
        let table = self.table();
        let wanted = table.values().filter(|e| all || e.kept.state.is_open());
        let theirs = wanted.filter(|e| theirs(&e.kept));
        Ok(theirs.map(|e| (e.is_awaited(), e.kept.clone())).collect())
    }

    /// One held call.
    pub(super) fn show(&self, id: &ApprovalId) -> Result<Approval, ApprovalError> {
        let table = self.table();
        let found = table.get(id).map(|e| self.view(e));
        found.ok_or_else(|| ApprovalError::Unknown(id.short()))
    }

    fn view(&self, entry: &Entry) -> Approval {
        self.view_of(self.identity.node(), &entry.kept, entry.is_awaited())
    }

    /// A call that `holder` holds.
    pub(super) fn view_of(&self, holder: NodeId, kept: &Kept, awaited: bool) -> Approval {
        let policy = |part| self.policy(&holder, kept, part);
        Approval {
            id: kept.id,
            state: kept.state.shown(),
            waiting: kept.state == State::Pending && awaited,
            holder: self.name_of(&holder),
            node: self.name_of(&kept.caller),
            node_id: kept.caller,
            agent: kept.agent.clone(),
            human: kept.human.clone(),
            server: kept.server.clone(),
            method: kept.method.clone(),
            name: kept.target.clone(),
            arguments: kept.arguments,
            params: kept.params.clone(),
            shortened: kept.shortened,
            policies: kept.parts.iter().map(policy).collect(),
            asked: kept.asked.seconds(),
            until: kept.until.seconds(),
            answers: kept.answers.iter().map(|a| self.answered(a)).collect(),
        }
    }

    fn policy(&self, holder: &NodeId, kept: &Kept, part: &KeptPart) -> ApprovalPolicy {
        ApprovalPolicy {
            policy: part.policy.clone(),
            by: part.by.as_ref().map(|by| by.listed()),
            approved: self.has_yes(holder, kept, part),
        }
    }

    fn answered(&self, answer: &KeptAnswer) -> ApprovalAnswer {
        ApprovalAnswer {
            node: self.name_of(&answer.by),
            node_id: answer.by,
            approves: answer.choice == Choice::Approve,
            at: answer.at,
            words: answer.words.clone(),
            human: answer.human.clone(),
        }
    }

    /// Whether somebody who may has approved for a policy.
    pub(super) fn has_yes(&self, holder: &NodeId, kept: &Kept, part: &KeptPart) -> bool {
        let mut yes = kept.answers.iter().filter(|a| a.choice == Choice::Approve);
        yes.any(|a| self.may_answer_at(holder, a.who(), part.by.as_ref()))
    }

    pub(super) fn name_of(&self, node: &NodeId) -> String {
        let member = self.members.member(node);
        member.map_or_else(|| node.to_string(), |m| m.membership.name.to_string())
    }
}

/// The one of `listed` that `text`, an id or its first digits, names.
///
/// # Errors
/// [`ApprovalError::Unknown`], [`ApprovalError::Ambiguous`].
pub fn chosen<'a>(listed: &'a [Approval], text: &str) -> Result<&'a Approval, ApprovalError> {
    let named = |a: &&Approval| text.len() >= FEWEST_DIGITS && a.id.to_string().starts_with(text);
    let mut found = listed.iter().filter(named);
    let shown = || text.chars().filter(|c| !c.is_control()).take(64).collect();
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(ApprovalError::Unknown(shown())),
        (Some(_), Some(_)) => Err(ApprovalError::Ambiguous(shown())),
    }
}

/// A peer's text, inert and short.
pub(crate) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(400).collect()
}
