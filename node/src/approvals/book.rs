//! The table of held calls: taking one up, letting it wait, and its end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use protocol::approval::{Approvers, Choice, arguments_digest};
use protocol::envelope::VerifiedEnvelope;
use protocol::id::{ApprovalId, NodeId, SessionId};
use protocol::mcp::View;
use protocol::name::Name;
use protocol::policy::{ApprovalPart, Denial, Party, Verdict};
use protocol::record::ApprovalNote;
use protocol::time::UnixMillis;
use tokio::sync::oneshot;

use super::kept::{Kept, KeptAnswer, KeptPart, State, Who};
use super::{
    APPROVAL_DENIED, APPROVAL_TAKEN_OVER, APPROVAL_TIMED_OUT, APPROVALS_FULL, ApprovalError,
    MAX_PARTS, MAX_PENDING, MAX_PENDING_PER_AGENT, MAX_SETTLED, MAX_SHOWN_BYTES, SETTLED_LIFE_S,
};
use crate::clock::Clock;
use crate::enforcement::{APPROVAL_REQUIRED, Enforcer, Hold, Stopped};
use crate::identity::Identity;
use crate::members::Members;
use crate::standing::{Barred, Standing};
use crate::store::{MAX_APPROVAL_BYTES, Store, StoreError, Write};

/// What the table works with.
pub struct Parts {
    /// This node.
    pub identity: Arc<Identity>,
    /// The directory: who answers must be in it.
    pub members: Arc<Members>,
    /// Who is revoked.
    pub standing: Arc<Standing>,
    /// What records decisions.
    pub enforcer: Arc<Enforcer>,
    /// Where held calls are kept.
    pub store: Store,
    /// The local clock.
    pub clock: Arc<dyn Clock>,
}

/// The calls that are held here.
pub struct Approvals {
    pub(super) identity: Arc<Identity>,
    pub(super) members: Arc<Members>,
    pub(super) standing: Arc<Standing>,
    pub(super) enforcer: Arc<Enforcer>,
    store: Store,
    pub(super) clock: Arc<dyn Clock>,
    /// Held by whoever changes something, from the look to the write.
    pub(super) turn: tokio::sync::Mutex<()>,
    table: Mutex<BTreeMap<ApprovalId, Entry>>,
}

/// A held call, and who waits for it.
pub(super) struct Entry {
    pub(super) kept: Kept,
    waiter: Option<Waiter>,
    /// It is approved, and the call that waits in this session is about to use that: no other may.
    claimed: Option<SessionId>,
}

/// Who waits for a held call.
pub(super) struct Waiter {
    session: SessionId,
    end: oneshot::Sender<Answered>,
}

impl Entry {
    const fn new(kept: Kept, waiter: Option<Waiter>) -> Self {
        Self {
            kept,
            waiter,
            claimed: None,
        }
    }

    /// Whether the caller waits.
    pub(super) fn is_awaited(&self) -> bool {
        self.waiter.as_ref().is_some_and(|w| !w.end.is_closed())
    }

    /// Whether the same call, made in this session, is another one than this: its caller wants it twice.
    fn is_another(&self, session: SessionId) -> bool {
        self.claimed.is_some()
            || self.is_awaited() && self.waiter.as_ref().is_some_and(|w| w.session == session)
    }
}

/// A call that policy wants approved.
pub struct Asked<'a> {
    /// Its first message.
    pub envelope: &'a VerifiedEnvelope,
    /// What policy wants.
    pub hold: &'a Hold,
}

/// What becomes of a call that must be approved.
pub enum Taken {
    /// It was approved before, and that approval is used now.
    Granted(Granted),
    /// It waits.
    Waits(Waiting),
}

/// An approval that is used: it lets this call pass and no other.
#[derive(Debug, Clone)]
pub struct Granted {
    /// What the record of the call says of it.
    pub note: ApprovalNote,
    answers: Vec<KeptAnswer>,
}

/// How the wait of a call ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// It may go on, once the approval is [used](Approvals::use_up).
    Approved,
    /// It may not.
    Stopped(Stopped),
}

/// A call that waits. Dropping it is leaving: the call stays listed, and can be made again.
pub struct Waiting {
    /// What names it.
    pub id: ApprovalId,
    /// Until when it waits.
    pub until: UnixMillis,
    session: SessionId,
    answered: oneshot::Receiver<Answered>,
    approvals: Arc<Approvals>,
}

impl Waiting {
    /// The end of the wait. Cancel safe.
    pub async fn answered(&mut self) -> Answered {
        loop {
            let left = Duration::from_millis(self.left_ms());
            tokio::select! {
                biased;
                answered = &mut self.answered => {
                    let gone = || Answered::Stopped(timed_out(false));
                    return answered.unwrap_or_else(|_| gone());
                }
                () = tokio::time::sleep(left) => {
                    if let Err(error) = self.approvals.expire().await {
                        return Answered::Stopped(unavailable(&error));
                    }
                    // The node's clock need not go as fast as the timer.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }

    /// How long it still waits, in milliseconds.
    #[must_use]
    pub fn left_ms(&self) -> u64 {
        self.until.since(self.approvals.clock.now())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(entry) = self.approvals.table().get_mut(&self.id) {
            entry.claimed.take_if(|session| *session == self.session);
        }
    }
}

/// The refusal of a held call whose time is over.
pub(super) fn timed_out(approved: bool) -> Stopped {
    let message = if approved {
        "the call was approved, and was not made again in time"
    } else {
        "nobody approved the call in time"
    };
    by_policy(APPROVAL_TIMED_OUT, message.to_owned(), None)
}

/// The refusal of a held call in whose place another try of it waits now.
fn taken_over() -> Stopped {
    let message = "the same call was made again in another session, which waits in its place";
    let hint = "one approval lets one of them pass; calls that are to run twice wait in one session, or \
                one after the other";
    by_policy(APPROVAL_TAKEN_OVER, message.to_owned(), Some(hint))
}

/// The refusal of a held call that somebody denied.
pub(super) fn denied(by: &str, words: Option<&str>) -> Stopped {
    let said = words.map(|w| format!(": {w}")).unwrap_or_default();
    let message = format!("the operator of node `{by}` denied the call{said}");
    by_policy(APPROVAL_DENIED, message, None)
}

fn by_policy(reason: &str, message: String, hint: Option<&str>) -> Stopped {
    Stopped {
        verdict: Verdict::Deny(Denial {
            reason: reason.to_owned(),
            message,
            policy: None,
            hint: hint.map(str::to_owned),
        }),
        by_policy: true,
    }
}

fn unavailable(error: &StoreError) -> Stopped {
    Stopped::unrecorded(error)
}

impl Approvals {
    /// The table as it was kept. Nobody waits any more: who waited has gone with the process.
    ///
    /// # Errors
    /// [`StoreError`]; an entry that cannot be read is [`StoreError::Malformed`].
    pub fn restore(parts: Parts) -> Result<Self, StoreError> {
        let mut table = BTreeMap::new();
        for (id, bytes) in parts.store.snapshot()?.approvals()? {
            let malformed = |_| StoreError::Malformed { table: "approval" };
            let kept = Kept::decode(&bytes).map_err(malformed)?;
            table.insert(id, Entry::new(kept, None));
        }
        Ok(Self {
            identity: parts.identity,
            members: parts.members,
            standing: parts.standing,
            enforcer: parts.enforcer,
            store: parts.store,
            clock: parts.clock,
            turn: tokio::sync::Mutex::default(),
            table: Mutex::new(table),
        })
    }

    /// Forgets everything: after a restore from a backup, which may not know what was used since.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn forget(&self) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        let ids: Vec<ApprovalId> = self.table().keys().copied().collect();
        let writes = ids.into_iter().map(Write::RemoveApproval).collect();
        self.store.durable(writes).await?;
        self.table().clear();
        Ok(())
    }

    /// Calls that wait for an answer, whether their callers do or not.
    #[must_use]
    pub fn pending(&self) -> usize {
        let table = self.table();
        let pending = table.values().filter(|e| e.kept.state == State::Pending);
        pending.count()
    }

    /// Takes up a call that policy wants approved: an approval of this very call that nobody waits
    /// for is used; else it waits, by itself or in the place of an earlier try. An earlier try is one
    /// whose caller has left, and also one of another session, which is told so: a client that lost
    /// its connection, and calls again, still waits there, and is not to run its call twice.
    ///
    /// # Errors
    /// [`Stopped`], counted and recorded: it cannot wait.
    pub async fn hold(self: &Arc<Self>, asked: Asked<'_>) -> Result<Taken, Stopped> {
        match self.take_up(&asked).await {
            Ok(taken) => Ok(taken),
            Err(stopped) => Err(self.enforcer.refuse_hold(asked.hold, stopped).await),
        }
    }

    async fn take_up(self: &Arc<Self>, asked: &Asked<'_>) -> Result<Taken, Stopped> {
        let mut fresh = self.describe(asked)?;
        let _turn = self.turn.lock().await;
        let failed = |e: StoreError| unavailable(&e);
        self.expire_now().await.map_err(failed)?;
        let same = |e: &Entry, state| e.kept.state == state && e.kept.is_same(&fresh);
        let free = |e: &Entry| !e.is_awaited() && e.claimed.is_none();
        if let Some(id) = self.find(|e| same(e, State::Approved) && free(e)) {
            return self.use_now(&id).await.map(Taken::Granted);
        }
        let session = asked.envelope.header().claims.session;
        let (end, answered) = oneshot::channel();
        let waiter = Waiter { session, end };
        let waits = |e: &Entry| same(e, State::Pending) && !e.is_another(session);
        let left = self.find(|e| waits(e) && free(e));
        let (id, until) = if let Some(id) = left.or_else(|| self.find(waits)) {
            self.take_over(&id, waiter).await?
        } else {
            self.make_room(&fresh)?;
            fresh.id = self.draw()?;
            let (id, until) = (fresh.id, fresh.until);
            self.keep(fresh, Some(waiter)).await.map_err(failed)?;
            (id, until)
        };
        let note = self.note(&id, None);
        self.enforcer.note_hold(asked.hold, note).await?;
        Ok(Taken::Waits(Waiting {
            id,
            until,
            session,
            answered,
            approvals: Arc::clone(self),
        }))
    }

    /// Lets another try wait in the place of one before, which is told so if it waits still.
    async fn take_over(
        &self,
        id: &ApprovalId,
        waiter: Waiter,
    ) -> Result<(ApprovalId, UnixMillis), Stopped> {
        let taken = self.table().get_mut(id).map(|entry| {
            let before = entry.waiter.replace(waiter);
            (entry.kept.until, entry.kept.call(), before)
        });
        let Some((until, call, before)) = taken else {
            return Err(timed_out(false));
        };
        if let Some(before) = before.filter(|w| !w.end.is_closed()) {
            let stopped = taken_over();
            let note = self.note(id, None);
            let noted = self.enforcer.note_approval(call, Some(&stopped), note);
            let told = noted.await.err().unwrap_or(stopped);
            tell(Some(before), Answered::Stopped(told));
        }
        Ok((*id, until))
    }

    /// Uses an approval, durably: from now on it lets nothing pass but the call that asks.
    ///
    /// # Errors
    /// [`Stopped`] if it is used already, over, or the store does not take it.
    pub async fn use_up(&self, id: &ApprovalId) -> Result<Granted, Stopped> {
        let _turn = self.turn.lock().await;
        self.use_now(id).await
    }

    async fn use_now(&self, id: &ApprovalId) -> Result<Granted, Stopped> {
        let kept = self.table().get(id).map(|e| e.kept.clone());
        let now = self.clock.now();
        let usable = |k: &Kept| k.state == State::Approved && now < k.until;
        let Some(mut kept) = kept.filter(usable) else {
            return Err(timed_out(true));
        };
        kept.state = State::Used;
        let last = kept.answers.last().cloned();
        let granted = Granted {
            note: self.note(id, last.as_ref()),
            answers: kept.answers.clone(),
        };
        let kept = self.keep(kept, None).await;
        kept.map_err(|e| unavailable(&e))?;
        Ok(granted)
    }

    /// Whether an approval gave what one policy asks for now: those who approved are judged by what
    /// is in force now.
    #[must_use]
    pub fn covers(&self, granted: &Granted, part: &ApprovalPart) -> bool {
        let by = part.by.as_ref().map(Approvers::from);
        let yes = granted
            .answers
            .iter()
            .filter(|a| a.choice == Choice::Approve);
        yes.into_iter()
            .any(|a| self.may_answer(a.who(), by.as_ref()))
    }

    /// Whether this is one who may approve what this node holds.
    pub(super) fn may_answer(&self, who: Who<'_>, by: Option<&Approvers>) -> bool {
        self.may_answer_at(&self.identity.node(), who, by)
    }

    /// Whether this is one who may approve what `holder` holds; without a list it is the operator of
    /// that very node.
    pub(super) fn may_answer_at(
        &self,
        holder: &NodeId,
        who: Who<'_>,
        by: Option<&Approvers>,
    ) -> bool {
        let Some(by) = by else {
            return who.node == holder && *who.agent == Name::operator();
        };
        self.judged(who.node, |party| {
            let human = who.human.filter(|_| self.enforcer.vouches(party));
            self.standing.agent(who.node, who.agent).is_ok()
                && by.hold(party, who.agent.as_str(), human)
        })
    }

    /// Whether some human for whom this node vouches may approve.
    pub(super) fn a_human_may_answer(&self, node: &NodeId, by: Option<&Approvers>) -> bool {
        let by = by.filter(|by| !by.humans.is_empty());
        by.is_some() && self.judged(node, |party| self.enforcer.vouches(party))
    }

    /// As whom somebody answers, as far as that counts: without a human for whom the node does not
    /// vouch.
    pub(super) fn counted<'w>(&self, who: Who<'w>) -> Who<'w> {
        let vouched = |_: &&str| self.judged(who.node, |party| self.enforcer.vouches(party));
        Who {
            human: who.human.filter(vouched),
            ..who
        }
    }

    /// What `judge` says of a node that has a membership valid now and is not revoked.
    fn judged(&self, node: &NodeId, judge: impl FnOnce(Party<'_>) -> bool) -> bool {
        let now = self.clock.now().seconds();
        let Some(member) = self.members.valid(node, now) else {
            return false;
        };
        let facts = &member.membership;
        let party = Party {
            node: *node,
            name: &facts.name,
            groups: &facts.groups,
            site: facts.site.as_ref(),
        };
        self.standing.member(facts).is_ok() && judge(party)
    }

    /// Ends what is over, and what is revoked. Called before every look and every minute.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn expire(&self) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        self.expire_now().await
    }

    pub(super) async fn expire_now(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let over = |kept: &Kept| {
            if kept.until <= now {
                return Some((State::TimedOut, timed_out(kept.state == State::Approved)));
            }
            // Its stream is cut when the revocation comes; nothing comes of an approval either.
            let barred = self.stands(kept).err()?;
            Some((State::Revoked, Stopped::barred(&barred)))
        };
        let due: Vec<(Kept, (State, Stopped))> = {
            let table = self.table();
            let open = table.values().filter(|e| e.kept.state.is_open());
            open.filter_map(|e| over(&e.kept).map(|end| (e.kept.clone(), end)))
                .collect()
        };
        for (mut kept, (state, stopped)) in due {
            kept.state = state;
            let (id, call) = (kept.id, kept.call());
            let waiter = self.keep(kept, None).await?;
            let note = self.note(&id, None);
            let noted = self.enforcer.note_approval(call, Some(&stopped), note);
            if let Err(error) = noted.await {
                // What is over stays over.
                tracing::error!(
                    reason = error.reason(),
                    "the end of a held call is not recorded"
                );
            }
            tell(waiter, Answered::Stopped(stopped));
        }
        let forgotten: Vec<ApprovalId> = {
            let table = self.table();
            let old = |k: &Kept| now.since(k.until) / 1000 >= SETTLED_LIFE_S;
            let settled = table.values().filter(|e| !e.kept.state.is_open());
            settled
                .filter(|e| old(&e.kept))
                .map(|e| e.kept.id)
                .collect()
        };
        self.remove(&forgotten).await
    }

    /// Whether neither who makes a held call nor what it calls is revoked.
    fn stands(&self, kept: &Kept) -> Result<(), Barred> {
        let standing = &self.standing;
        standing.node(&kept.caller)?;
        if let Some(member) = self.members.member(&kept.caller) {
            standing.member(&member.membership)?;
        }
        standing.agent(&kept.caller, &kept.agent)?;
        kept.tool
            .as_ref()
            .map_or(Ok(()), |tool| standing.tool(tool))
    }

    /// Puts an entry in place, on disk first, and returns who waited for it. The surplus of settled
    /// ones goes; that it cannot does not undo what was kept.
    pub(super) async fn keep(
        &self,
        kept: Kept,
        waiter: Option<Waiter>,
    ) -> Result<Option<Waiter>, StoreError> {
        let write = Write::PutApproval(kept.id, kept.encode());
        self.store.durable(vec![write]).await?;
        let before = {
            let mut table = self.table();
            let before = table.remove(&kept.id).and_then(|e| e.waiter);
            table.insert(kept.id, Entry::new(kept, waiter));
            before
        };
        if let Err(error) = self.remove(&self.surplus()).await {
            tracing::warn!(%error, "held calls of before were not forgotten");
        }
        Ok(before)
    }

    /// The oldest settled ones beyond those that are remembered.
    fn surplus(&self) -> Vec<ApprovalId> {
        let table = self.table();
        let mut settled: Vec<(UnixMillis, ApprovalId)> = table
            .values()
            .filter(|e| !e.kept.state.is_open())
            .map(|e| (e.kept.until, e.kept.id))
            .collect();
        settled.sort_unstable();
        let over = settled.len().saturating_sub(MAX_SETTLED);
        settled.into_iter().take(over).map(|(_, id)| id).collect()
    }

    async fn remove(&self, ids: &[ApprovalId]) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        let writes = ids.iter().copied().map(Write::RemoveApproval).collect();
        self.store.durable(writes).await?;
        let mut table = self.table();
        for id in ids {
            table.remove(id);
        }
        Ok(())
    }

    /// Lets `waiter` go on waiting for an entry.
    pub(super) fn wait_on(&self, id: &ApprovalId, waiter: Option<Waiter>) {
        if let Some(entry) = self.table().get_mut(id) {
            entry.waiter = waiter;
        }
    }

    /// Tells whoever waits for an approved call, if somebody still does.
    pub(super) fn tell_approved(&self, id: &ApprovalId, waiter: Option<Waiter>) {
        let Some(waiter) = waiter else { return };
        let mut table = self.table();
        if let Some(entry) = table.get_mut(id) {
            // Before the word is out: who hears it may have left before this returns.
            entry.claimed = Some(waiter.session);
            if waiter.end.send(Answered::Approved).is_err() {
                entry.claimed = None;
            }
        }
    }

    fn find(&self, wanted: impl Fn(&Entry) -> bool) -> Option<ApprovalId> {
        let table = self.table();
        let mut found = table.values().filter(|e| wanted(e));
        found.next().map(|e| e.kept.id)
    }

    fn make_room(&self, fresh: &Kept) -> Result<(), Stopped> {
        let table = self.table();
        let open = || table.values().filter(|e| e.kept.state.is_open());
        let of_agent = open().filter(|e| e.kept.is_of(&fresh.caller, &fresh.agent));
        let (full, what) = if of_agent.count() >= MAX_PENDING_PER_AGENT {
            (MAX_PENDING_PER_AGENT, "of this agent ")
        } else if open().count() >= MAX_PENDING {
            (MAX_PENDING, "")
        } else {
            return Ok(());
        };
        let message = format!("{full} calls {what}wait for approval already");
        let hint = "have them answered (`hedgerow approvals list` on the server's node), or wait";
        Err(by_policy(APPROVALS_FULL, message, Some(hint)))
    }

    /// What is kept of a call; its id is drawn later.
    fn describe(&self, asked: &Asked<'_>) -> Result<Kept, Stopped> {
        let hold = asked.hold;
        let header = asked.envelope.header();
        let claims = &header.claims;
        let too_large = |why: String| {
            let message = format!("{}, and {why}", hold.why.message);
            let mut stopped = by_policy(APPROVAL_REQUIRED, message, None);
            if let Verdict::Deny(denial) = &mut stopped.verdict {
                denial.policy.clone_from(&hold.why.policy);
            }
            stopped
        };
        let body = asked.envelope.body();
        let arguments = arguments_digest(&*self.identity.crypto, body)
            .map_err(|e| too_large(format!("what it asks for has no digest: {e}")))?;
        let params = View::parse(body).ok().and_then(|v| v.params());
        let params = params.unwrap_or_default();
        let shown = shortened(params, MAX_SHOWN_BYTES);
        if hold.terms.parts.len() > MAX_PARTS {
            return Err(too_large(format!("more than {MAX_PARTS} policies hold it")));
        }
        let asked = self.clock.now();
        let within = hold.terms.within_s.saturating_mul(1000);
        let kept = Kept {
            id: ApprovalId::from_bytes([0; 16]),
            state: State::Pending,
            caller: header.cwt.iss,
            agent: header.cwt.sub.clone(),
            human: claims.human.clone(),
            server: claims.server.clone(),
            method: claims.method.clone(),
            target: claims.name.clone(),
            tool: claims.tool_digest,
            arguments,
            params: shown.to_owned(),
            shortened: shown.len() < params.len(),
            parts: hold.terms.parts.iter().map(part).collect(),
            asked,
            until: UnixMillis(asked.0.saturating_add(within)),
            answers: Vec::new(),
        };
        // Room for the answers to come, each a pair of signatures and words.
        if kept.encode().len() > MAX_APPROVAL_BYTES / 2 {
            return Err(too_large(
                "who may approve it is too much to keep".to_owned(),
            ));
        }
        Ok(kept)
    }

    fn draw(&self) -> Result<ApprovalId, Stopped> {
        let mut bytes = [0; ApprovalId::LEN];
        let drawn = self.identity.crypto.fill_random(&mut bytes);
        drawn.map_err(|e| Stopped::refuse("no_randomness", e.to_string()))?;
        Ok(ApprovalId::from_bytes(bytes))
    }

    /// What a record says of it.
    pub(super) fn note(&self, id: &ApprovalId, answer: Option<&KeptAnswer>) -> ApprovalNote {
        let arguments = self.table().get(id).map(|e| e.kept.arguments);
        ApprovalNote {
            id: *id,
            arguments: arguments.unwrap_or(protocol::record::GENESIS),
            by: answer.map(|a| a.by),
            words: answer.and_then(|a| a.words.clone()),
            human: answer.and_then(|a| a.human.clone()),
        }
    }

    pub(super) fn table(&self) -> MutexGuard<'_, BTreeMap<ApprovalId, Entry>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells whoever waits, if somebody still does.
pub(super) fn tell(waiter: Option<Waiter>, answered: Answered) {
    if let Some(waiter) = waiter {
        // One that has left can make the call again.
        drop(waiter.end.send(answered));
    }
}

fn part(part: &ApprovalPart) -> KeptPart {
    KeptPart {
        policy: part.policy.clone(),
        by: part.by.as_ref().map(Approvers::from),
    }
}

fn shortened(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.get(..end).unwrap_or_default()
}

impl From<StoreError> for ApprovalError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.to_string())
    }
}
