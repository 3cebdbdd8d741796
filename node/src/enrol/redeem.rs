//! What happens inside the write transaction: redeeming a ticket, renewing, rotating, approving.
//!
//! Each function reads the books, refuses or decides, and only then writes; the store commits what
//! it wrote as one.

use std::sync::Arc;

use protocol::id::{Challenge, NodeId, TicketId};
use protocol::name::Name;
use protocol::trust::membership::MAX_REPLACED;
use protocol::trust::{MacKey, MemberFacts, MembershipRequest, VerifiedRequest};

use super::issuer::{Issuer, Share, Subject};
use super::limits::{NAME_HELD_S, RENEW_EARLY_S};
use super::refused::Refused;
use super::request::verify_tls;
use crate::store::{
    Books, Grant, KeptTicket, MAX_PENDING, MAX_REDEMPTIONS, PendingJoin, Redemption, StorageFault,
};

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decided {
    /// A membership, as signed.
    Granted(Vec<u8>),
    /// A person must approve the node.
    Waits(NodeId),
}

/// The membership a node holds, as far as it is known here.
struct Held {
    facts: Arc<MemberFacts>,
    /// As signed; absent if only the directory knows it.
    bytes: Option<Vec<u8>>,
}

/// Why a transaction's function stops.
pub(super) enum Stop {
    /// The request is refused; nothing was written.
    Refused(Refused),
    /// The store failed.
    Fault(StorageFault),
}

impl From<Refused> for Stop {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<StorageFault> for Stop {
    fn from(fault: StorageFault) -> Self {
        Self::Fault(fault)
    }
}

impl Issuer {
    /// Runs `work` in one transaction.
    pub(super) async fn transact<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self, &mut Books<'_, '_>) -> Result<T, Stop> + Send + 'static,
    ) -> Result<T, Refused> {
        let issuer = Arc::clone(self);
        let done = self.store.books(move |books| match work(&issuer, books) {
            Ok(value) => Ok(Ok(value)),
            Err(Stop::Refused(refused)) => Ok(Err(refused)),
            Err(Stop::Fault(fault)) => Err(fault),
        });
        done.await?
    }

    /// Whether the request shows knowledge of a ticket that is known here. Reads only, so a flood
    /// of guesses writes nothing.
    pub(super) fn shows(
        &self,
        ticket: TicketId,
        said: &MembershipRequest,
        challenge: Challenge,
    ) -> Result<(), Refused> {
        let kept = self.store.snapshot()?.ticket(&ticket)?;
        let kept = kept.ok_or(Refused::UnknownTicket)?;
        let key = MacKey::from_bytes(zeroize::Zeroizing::new(kept.mac_key));
        let mac = said.mac.ok_or(Refused::BadMac)?;
        let node = NodeId::of_tls_key(self.crypto(), &said.tls_key);
        let mesh = self.identity.mesh();
        if key.verifies(self.crypto(), &node, &said.signing, &mesh, &challenge, &mac) {
            Ok(())
        } else {
            Err(Refused::BadMac)
        }
    }

    /// Redeems a ticket for a request that showed it and was verified.
    pub(super) async fn redeem(
        self: &Arc<Self>,
        ticket: TicketId,
        request: VerifiedRequest,
        bytes: Vec<u8>,
    ) -> Result<Decided, Refused> {
        if let Some(bar) = self.barred.ticket(&ticket) {
            return Err(Refused::TicketRevoked(bar.why));
        }
        let name = request.content.name.clone();
        self.refuse_known(request.node, None, &request.content.signing)?;
        self.transact(move |issuer, books| {
            if let Some(before) = issuer.redeemed_before(books, &ticket, &request)? {
                return Ok(before);
            }
            issuer.redeem_now(books, &ticket, &request, name, bytes)
        })
        .await
    }

    /// The same node with the same ticket again: it never heard the answer, or asks whether a
    /// person has decided.
    fn redeemed_before(
        &self,
        books: &mut Books<'_, '_>,
        ticket: &TicketId,
        request: &VerifiedRequest,
    ) -> Result<Option<Decided>, Stop> {
        let node = request.node;
        let Some(redemption) = books.redemption(ticket, &node)? else {
            return Ok(None);
        };
        self.refuse_barred(&node)?;
        if books.replaced(&node)?.is_some() {
            return Err(Refused::Superseded(node).into());
        }
        if let Some(pending) = books.pending(&node)? {
            let asked = MembershipRequest::peek(&pending.request).map_err(Refused::Request)?;
            if asked.signing != request.content.signing {
                return Err(Refused::NodeBound(node).into());
            }
            return match pending.denied {
                Some(_) => Err(Refused::Denied.into()),
                None => Ok(Some(Decided::Waits(node))),
            };
        }
        let Some(held) = books.membership(&node)?.and_then(|m| self.verify(&m)) else {
            return Err(Refused::Denied.into());
        };
        if held.content().signing != request.content.signing {
            return Err(Refused::NodeBound(node).into());
        }
        if held.valid_at(self.now()).is_ok() {
            return Ok(Some(Decided::Granted(held.bytes().to_vec())));
        }
        let grant = self.grant_of(held.facts())?;
        let subject = subject(request, &redemption.name, held.content().replaces.clone());
        let signed = self.issue(books, &subject, &grant, Share::Members)?;
        Ok(Some(Decided::Granted(signed)))
    }

    fn redeem_now(
        &self,
        books: &mut Books<'_, '_>,
        id: &TicketId,
        request: &VerifiedRequest,
        wished: Option<Name>,
        bytes: Vec<u8>,
    ) -> Result<Decided, Stop> {
        let now = self.now();
        let mut ticket = books.ticket(id)?.ok_or(Refused::UnknownTicket)?;
        refuse_ended(&ticket, now)?;
        let node = request.node;
        self.refuse_barred(&node)?;
        let given = ticket.name.is_some();
        let name = ticket.name.clone().or(wished).ok_or(Refused::NameMissing)?;
        let known = self.refuse_known(node, Some(&name), &request.content.signing);
        let free = known.map_err(Stop::from);
        let free = free.and_then(|()| self.refuse_bound(books, request, &name));
        free.map_err(|stop| match stop {
            // What the newcomer asks for changes nothing then.
            Stop::Refused(Refused::NameTaken(name)) if given => {
                Refused::TicketNameTaken(name).into()
            }
            other => other,
        })?;
        if books.redemptions()? >= MAX_REDEMPTIONS {
            return Err(
                Refused::Full("this issuer remembers as many redemptions as it may").into(),
            );
        }
        let decided = if ticket.pending {
            self.within(&ticket.grant)?;
            if books.pendings()? >= MAX_PENDING {
                return Err(Refused::Full("as many nodes wait for approval as may").into());
            }
            let pending = PendingJoin {
                request: bytes,
                ticket: *id,
                grant: ticket.grant.clone(),
                name: name.clone(),
                since: now,
                denied: None,
            };
            books.put_pending(&node, &pending)?;
            books.bind(&node, &name, &self.kids(&request.content.signing))?;
            Decided::Waits(node)
        } else {
            let subject = subject(request, &name, None);
            let signed = self.issue(books, &subject, &ticket.grant, Share::Newcomers)?;
            books.remove_pending(&node)?;
            Decided::Granted(signed)
        };
        ticket.left = ticket.left.saturating_sub(1);
        books.put_ticket(id, &ticket)?;
        books.put_redemption(id, &node, &Redemption { at: now, name })?;
        Ok(decided)
    }

    pub(super) fn refuse_barred(&self, node: &NodeId) -> Result<(), Refused> {
        match self.barred.node(node) {
            Some(bar) => Err(Refused::NodeRevoked(bar.why)),
            None => Ok(()),
        }
    }

    /// Whether NodeId, keys or name are somebody else's, or this node's with other keys.
    pub(super) fn refuse_bound(
        &self,
        books: &Books<'_, '_>,
        request: &VerifiedRequest,
        name: &Name,
    ) -> Result<(), Stop> {
        let node = request.node;
        if books.replaced(&node)?.is_some() {
            return Err(Refused::Superseded(node).into());
        }
        if let Some(held) = books.membership(&node)?.and_then(|m| self.verify(&m))
            && held.content().signing != request.content.signing
        {
            return Err(Refused::NodeBound(node).into());
        }
        for kid in self.kids(&request.content.signing) {
            match books.holder_of_kid(&kid)? {
                Some(holder) if holder != node => return Err(Refused::KidBound(holder).into()),
                _ => {}
            }
        }
        match books.holder_of_name(name)? {
            Some(holder) if holder != node && self.holds(books, &holder)? => {
                Err(Refused::NameTaken(name.clone()).into())
            }
            _ => Ok(()),
        }
    }

    /// Whether the holder of a name still has it.
    pub(super) fn holds(&self, books: &Books<'_, '_>, holder: &NodeId) -> Result<bool, Stop> {
        if self.barred.node(holder).is_some() || books.replaced(holder)?.is_some() {
            return Ok(false);
        }
        if *holder == self.identity.node() || books.pending(holder)?.is_some() {
            return Ok(true);
        }
        let held = books.membership(holder)?.and_then(|m| self.verify(&m));
        let held = held.map(|m| m.content().not_after);
        let known = self.members.member(holder).map(|m| m.membership.not_after);
        let last = [held, known].into_iter().flatten().max();
        Ok(last.is_some_and(|end| self.now() < end.plus(NAME_HELD_S)))
    }

    /// What a member has, as this issuer may grant it again: a life within what the root allows now.
    pub(super) fn grant_of(&self, held: &MemberFacts) -> Result<Grant, Refused> {
        let life_s = held.not_after.0.saturating_sub(held.not_before.0);
        Ok(Grant {
            groups: held.groups.clone(),
            site: held.site.clone(),
            life_s: life_s.min(self.mandate()?.max_life_s),
        })
    }

    /// The newest membership of a node that holds, of those it shows and those known here. Of one
    /// that only the directory knows there are no bytes: its facts still decide, so that nobody
    /// goes back to an older one by showing that.
    fn newest(&self, node: NodeId, shown: Option<&[u8]>) -> Result<Held, Refused> {
        let kept = self.store.snapshot()?.membership(&node)?;
        let own = (node == self.identity.node()).then(|| self.identity.membership());
        let own = own.map(|m| m.bytes().to_vec());
        // What its issuer should not have signed is not renewed by another either.
        let shown = match shown.map(|bytes| (bytes, self.verify(bytes))) {
            Some((bytes, Some(verified))) if verified.node() == node => {
                let issued = self.members.note_issued(&verified);
                issued.map_err(Refused::Issuer)?;
                Some(bytes.to_vec())
            }
            _ => None,
        };
        let with_bytes = [kept, shown, own]
            .into_iter()
            .flatten()
            .filter_map(|bytes| {
                let facts = Arc::clone(self.verify(&bytes)?.facts());
                let bytes = Some(bytes);
                Some(Held { facts, bytes })
            });
        let known = self.members.member(&node).map(|m| Held {
            facts: Arc::clone(&m.membership),
            bytes: None,
        });
        // The sort keeps the order of equals, and the last one is taken: the one with bytes.
        let mut candidates: Vec<Held> = known
            .into_iter()
            .chain(with_bytes)
            .filter(|held| held.facts.node() == node)
            .collect();
        candidates.sort_by_key(|held| (held.facts.not_before, held.facts.not_after));
        let newest = candidates.pop();
        let newest = newest.ok_or_else(|| Refused::UnknownMember("none is known".to_owned()))?;
        match self.barred.membership(&newest.facts) {
            Some(bar) => Err(Refused::UnknownMember(bar.why)),
            None => Ok(newest),
        }
    }

    /// Renews the membership of a node that proved both its keys.
    pub(super) async fn renew(
        self: &Arc<Self>,
        request: VerifiedRequest,
        shown: Option<&[u8]>,
    ) -> Result<Decided, Refused> {
        self.refuse_barred(&request.node)?;
        if self.store.snapshot()?.is_replaced(&request.node)? {
            return Err(Refused::Superseded(request.node));
        }
        let Held { facts: held, bytes } = self.newest(request.node, shown)?;
        if held.signing != request.content.signing {
            return Err(Refused::NodeBound(request.node));
        }
        // Asked for too early, or again because the answer was lost: what there is will do.
        let early = self.now().plus(RENEW_EARLY_S) < held.half_life();
        if let Some(bytes) = bytes
            && early
            && held.valid_at(self.now()).is_ok()
        {
            return Ok(Decided::Granted(bytes));
        }
        let grant = self.grant_of(&held)?;
        self.transact(move |issuer, books| {
            issuer.refuse_barred(&request.node)?;
            let name = held.name.clone();
            issuer.refuse_bound(books, &request, &name)?;
            let replaces = issuer.still_replaced(books, &held)?;
            let subject = subject(&request, &name, replaces);
            let signed = issuer.issue(books, &subject, &grant, Share::Members)?;
            Ok(Decided::Granted(signed))
        })
        .await
    }

    /// Which of the nodes a membership replaces could still show a membership that is valid.
    fn still_replaced(
        &self,
        books: &Books<'_, '_>,
        held: &MemberFacts,
    ) -> Result<Option<Vec<NodeId>>, Stop> {
        let mut kept = Vec::new();
        for old in held.replaces.iter().flatten() {
            // Where nothing is known of it, the longest life there may be has to pass.
            let last = books.membership(old)?.and_then(|m| self.verify(&m));
            let over = last.is_some_and(|m| m.content().not_after <= self.now());
            if !over {
                kept.push(*old);
            }
        }
        Ok((!kept.is_empty()).then_some(kept))
    }

    /// Lets new keys take the place of a node's old ones, under its name.
    pub(super) async fn rotate(
        self: &Arc<Self>,
        old: NodeId,
        request: &[u8],
        shown: Option<&[u8]>,
    ) -> Result<Decided, Refused> {
        self.refuse_barred(&old)?;
        let held = self.newest(old, shown)?.facts;
        let signing = &held.signing;
        let verified =
            MembershipRequest::verify_rotation(self.crypto(), request, signing, verify_tls);
        let request = verified.map_err(Refused::Request)?;
        self.refuse_known(request.node, None, &request.content.signing)?;
        let grant = self.grant_of(&held)?;
        let signed = self
            .transact(move |issuer, books| {
                let node = request.node;
                issuer.refuse_barred(&old)?;
                issuer.refuse_barred(&node)?;
                if let Some(by) = books.replaced(&old)?.and_then(|m| issuer.verify(&m)) {
                    // The same rotation again, whose answer was lost.
                    if by.node() == node && by.content().signing == request.content.signing {
                        return Ok(by.bytes().to_vec());
                    }
                    return Err(Refused::Superseded(old).into());
                }
                let name = held.name.clone();
                let before = books.holder_of_name(&name)?;
                if before.is_some_and(|holder| holder != old) {
                    return Err(Refused::NameTaken(name).into());
                }
                issuer.refuse_rebound(books, &request)?;
                let mut replaces = issuer.still_replaced(books, &held)?.unwrap_or_default();
                replaces.push(old);
                if replaces.len() > MAX_REPLACED {
                    return Err(Refused::TooManyRotations.into());
                }
                let subject = subject(&request, &name, Some(replaces));
                let signed = issuer.issue(books, &subject, &grant, Share::Members)?;
                if !books.put_replaced(&old, &signed)? {
                    return Err(Stop::Fault(StorageFault::Io(
                        "the table of replaced nodes is full".to_owned(),
                    )));
                }
                Ok(signed)
            })
            .await?;
        // From here on this node refuses the old keys, like everyone who learns of it.
        if let Err(error) = self.members.learn_membership(&signed, self.now()) {
            tracing::warn!(%error, "the membership of rotated keys was not taken in");
        }
        Ok(Decided::Granted(signed))
    }

    /// Whether new keys are anybody's already.
    fn refuse_rebound(&self, books: &Books<'_, '_>, request: &VerifiedRequest) -> Result<(), Stop> {
        if books.membership(&request.node)?.is_some() || books.pending(&request.node)?.is_some() {
            return Err(Refused::NodeBound(request.node).into());
        }
        for kid in self.kids(&request.content.signing) {
            if let Some(holder) = books.holder_of_kid(&kid)? {
                return Err(Refused::KidBound(holder).into());
            }
        }
        Ok(())
    }
}

fn refuse_ended(ticket: &KeptTicket, now: protocol::time::UnixSeconds) -> Result<(), Refused> {
    if ticket.revoked.is_some() {
        return Err(Refused::TicketRevoked(
            "by this issuer's operator".to_owned(),
        ));
    }
    if now >= ticket.expires {
        return Err(Refused::TicketExpired(ticket.expires));
    }
    if ticket.left == 0 {
        return Err(Refused::TicketUsedUp(ticket.uses));
    }
    Ok(())
}

pub(super) fn subject<'a>(
    request: &'a VerifiedRequest,
    name: &'a Name,
    replaces: Option<Vec<NodeId>>,
) -> Subject<'a> {
    Subject {
        node: request.node,
        tls_key: &request.content.tls_key,
        signing: &request.content.signing,
        name,
        replaces,
    }
}
