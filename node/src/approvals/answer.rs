//! Answers: signing this operator's own, and judging everybody's.

use protocol::approval::{Answer, Choice, fit};
use protocol::control::Approval;
use protocol::crypto::Crypto;
use protocol::human::Human;
use protocol::id::{ApprovalId, Digest, NodeId};
use protocol::limits::MAX_CLOCK_AHEAD_S;
use protocol::name::Name;
use protocol::record::Point;
use protocol::time::UnixMillis;

use super::book::{Answered, Approvals, denied, tell};
use super::kept::{Kept, KeptAnswer, State, Who};
use super::{APPROVED_LIFE_S, ApprovalError, MAX_ANSWERS};
use crate::enforcement::{Occasion, Stopped};

impl Approvals {
    /// This node's operator's answer to a call that `holder` holds, signed: what is said with it, and
    /// the human whose answer this node says it is.
    ///
    /// # Errors
    /// [`ApprovalError::Words`], [`ApprovalError::Signing`].
    pub fn sign(
        &self,
        approval: ApprovalId,
        holder: NodeId,
        arguments: Digest,
        choice: Choice,
        (words, human): (Option<String>, Option<Human>),
    ) -> Result<Vec<u8>, ApprovalError> {
        if words.as_deref().is_some_and(|words| !fit(words)) {
            return Err(ApprovalError::Words);
        }
        let answer = Answer {
            mesh: self.identity.mesh(),
            approval,
            holder,
            arguments,
            by: self.identity.node(),
            agent: Name::operator(),
            at: self.clock.now().seconds(),
            choice,
            words,
            human: human.map(|human| human.to_string()),
        };
        let crypto: &dyn Crypto = &*self.identity.crypto;
        answer
            .sign(crypto, &*self.identity.signing)
            .map_err(|e| ApprovalError::Signing(e.to_string()))
    }

    /// Takes a signed answer; it is on disk, recorded, and told to whoever waits when this returns.
    ///
    /// # Errors
    /// [`ApprovalError`], counted and recorded where it says who signed; nothing has changed.
    pub async fn answer(&self, bytes: &[u8]) -> Result<Approval, ApprovalError> {
        let taken = self.take_answer(bytes).await;
        if let Err(error) = &taken {
            let said = Answer::parse(self.identity.mesh(), bytes);
            let by = said.map_or(self.identity.node(), |said| said.by);
            let on = Occasion {
                agent: None,
                ..Occasion::of_peer(Point::Egress, by)
            };
            let stopped = Stopped::refuse(error.reason(), error.to_string());
            self.enforcer.refused(on, stopped).await;
        }
        taken
    }

    async fn take_answer(&self, bytes: &[u8]) -> Result<Approval, ApprovalError> {
        let _turn = self.turn.lock().await;
        self.expire_now().await?;
        let now = self.clock.now();
        let said = self.verify(bytes, now)?;
        let kept = self.table().get(&said.approval).map(|e| e.kept.clone());
        let mut kept = kept.ok_or_else(|| ApprovalError::Unknown(said.approval.short()))?;
        self.judge(&said, &kept, now)?;
        let answer = KeptAnswer {
            by: said.by,
            agent: said.agent,
            choice: said.choice,
            at: said.at,
            words: said.words,
            human: said.human,
            signed: bytes.to_vec().into(),
        };
        kept.answers.push(answer.clone());
        kept.state = match said.choice {
            Choice::Deny => State::Denied,
            Choice::Approve if self.is_covered(&kept) => State::Approved,
            Choice::Approve => State::Pending,
        };
        if kept.state == State::Approved {
            let life = APPROVED_LIFE_S.saturating_mul(1000);
            kept.until = UnixMillis(now.0.saturating_add(life));
        }
        self.put_answer(kept, &answer).await
    }

    /// Puts an answered call in place, records the answer, and tells whoever waits.
    async fn put_answer(&self, kept: Kept, answer: &KeptAnswer) -> Result<Approval, ApprovalError> {
        let (id, state, call) = (kept.id, kept.state, kept.call());
        let by = self.name_of(&answer.by);
        let refusal = (state == State::Denied).then(|| denied(&by, answer.words.as_deref()));
        let waiter = self.keep(kept, None).await?;
        let note = self.note(&id, Some(answer));
        let noted = self.enforcer.note_approval(call, refusal.as_ref(), note);
        if let Err(stopped) = noted.await {
            // The answer is kept, and not acknowledged; whoever makes the call again finds it.
            let told = stopped.verdict.denial().map(|d| d.message.clone());
            tell(waiter, Answered::Stopped(stopped));
            return Err(ApprovalError::Store(told.unwrap_or_default()));
        }
        match (state, refusal) {
            (State::Approved, _) => self.tell_approved(&id, waiter),
            (_, Some(stopped)) => tell(waiter, Answered::Stopped(stopped)),
            // Others must still approve.
            _ => self.wait_on(&id, waiter),
        }
        self.show(&id)
    }

    /// An answer whose signature holds, by a member that is not revoked, to a call held here.
    fn verify(&self, bytes: &[u8], now: UnixMillis) -> Result<Answer, ApprovalError> {
        let mesh = self.identity.mesh();
        let said = Answer::parse(mesh, bytes).map_err(ApprovalError::Document)?;
        if said.holder != self.identity.node() {
            return Err(ApprovalError::OtherHolder(said.holder));
        }
        let member = self.members.valid(&said.by, now.seconds());
        let member = member.ok_or(ApprovalError::UnknownSigner(said.by))?;
        let standing = &self.standing;
        standing
            .member(&member.membership)
            .and_then(|()| standing.agent(&said.by, &said.agent))
            .map_err(ApprovalError::Barred)?;
        let crypto = &*self.identity.crypto;
        Answer::verify(crypto, mesh, &member.membership.signing, bytes)
            .map_err(ApprovalError::Document)
    }

    fn judge(&self, said: &Answer, kept: &Kept, now: UnixMillis) -> Result<(), ApprovalError> {
        if said.arguments != kept.arguments {
            return Err(ApprovalError::OtherArguments);
        }
        let who = Who {
            node: &said.by,
            agent: &said.agent,
            human: said.human.as_deref(),
        };
        let counted = self.counted(who);
        let same = |a: &KeptAnswer| self.counted(a.who()) == counted;
        match kept.state {
            State::Pending if !kept.answers.iter().any(same) => {}
            State::TimedOut => return Err(ApprovalError::Late),
            State::Revoked => return Err(ApprovalError::Revoked),
            state => return Err(ApprovalError::Answered(state.shown())),
        }
        let early = said.at.plus(MAX_CLOCK_AHEAD_S) < kept.asked.seconds();
        if early || said.at > now.seconds().plus(MAX_CLOCK_AHEAD_S) {
            return Err(ApprovalError::Outdated);
        }
        let mut parts = kept.parts.iter();
        if !parts.any(|p| self.may_answer(who, p.by.as_ref())) {
            return Err(self.not_an_approver(who));
        }
        if kept.answers.len() >= MAX_ANSWERS {
            return Err(ApprovalError::Answered(kept.state.shown()));
        }
        Ok(())
    }

    /// Why who answered may not: a human counts only where the node may vouch for humans.
    fn not_an_approver(&self, who: Who<'_>) -> ApprovalError {
        let node = self.name_of(who.node);
        match who.human {
            None => ApprovalError::NotAnApprover(node),
            Some(human) if self.counted(who).human.is_some() => ApprovalError::NotAHumanApprover {
                node,
                human: human.to_owned(),
            },
            Some(human) => ApprovalError::NotVouched {
                node,
                human: human.to_owned(),
            },
        }
    }

    /// Whether every policy that holds the call has a yes.
    fn is_covered(&self, kept: &Kept) -> bool {
        let mut parts = kept.parts.iter();
        !kept.parts.is_empty() && parts.all(|part| self.has_yes(&self.identity.node(), kept, part))
    }
}
