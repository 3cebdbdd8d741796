//! What an operator asks of the issuer on this node: tickets, and people's decisions.

use std::sync::Arc;

use protocol::id::{NodeId, TicketId};
use protocol::limits::MAX_GROUPS;
use protocol::name::Name;
use protocol::time::UnixSeconds;
use protocol::trust::membership::sorted_names;
use protocol::trust::{
    MembershipRequest, PeerAddress, Ticket, TicketSecret, VerifiedMembership, VerifiedRequest,
};
use zeroize::Zeroizing;

use super::issuer::{Issuer, Share};
use super::limits::{
    MAX_TICKET_TTL_S, MAX_TICKET_USES, MIN_MEMBERSHIP_LIFE_S, PENDING_S, TICKET_REMEMBERED_S,
};
use super::redeem::subject;
use super::refused::Refused;
use super::request::verify_tls;
use crate::store::{Grant, KeptTicket, MAX_TICKETS, PendingJoin, Redemption, StoreError};

/// What a ticket is to let in, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// The groups its redeemers get.
    pub groups: Vec<Name>,
    /// Their site.
    pub site: Option<Name>,
    /// The name its redeemer gets; only for a ticket of one use.
    pub name: Option<Name>,
    /// How long it may be redeemed, seconds.
    pub ttl_s: u64,
    /// How often.
    pub uses: u64,
    /// Whether a person must approve each redeemer.
    pub pending: bool,
    /// Life of the memberships, seconds.
    pub life_s: u64,
}

/// A ticket that was made.
#[derive(Debug)]
pub struct Invited {
    /// What names it.
    pub id: TicketId,
    /// Its text, shown this once.
    pub text: Zeroizing<String>,
    /// Its end.
    pub expires: UnixSeconds,
}

/// A ticket with who redeemed it.
#[derive(Debug, Clone)]
pub struct Listed {
    /// What names it.
    pub id: TicketId,
    /// What is kept of it.
    pub kept: KeptTicket,
    /// Whether it may be used no more, by its issuer's operator or by the mesh's admins.
    pub revoked: bool,
    /// Who redeemed it, the first first.
    pub redeemers: Vec<Redeemed>,
}

/// A redemption, as it is listed.
#[derive(Debug, Clone)]
pub struct Redeemed {
    /// The node.
    pub node: NodeId,
    /// What is kept of it.
    pub kept: Redemption,
    /// Whether a person denied the node; the use is not given back.
    pub denied: bool,
}

impl Issuer {
    /// Makes a ticket that names these bootstraps.
    ///
    /// # Errors
    /// [`Refused`]: beyond the root's limits for this issuer, or out of bounds.
    pub async fn invite(
        self: &Arc<Self>,
        invitation: Invitation,
        bootstraps: Vec<PeerAddress>,
    ) -> Result<Invited, Refused> {
        check(&invitation)?;
        let grant = Grant {
            groups: sorted_names(invitation.groups),
            site: invitation.site,
            life_s: invitation.life_s,
        };
        self.within(&grant)?;
        let wanted = invitation.name.clone();
        if let Some(name) = wanted.as_ref().filter(|name| !self.named(name).is_empty()) {
            return Err(Refused::InvitedNameTaken(name.clone()));
        }
        if bootstraps.is_empty() {
            return Err(Refused::NoAddress);
        }
        let secret = TicketSecret::draw(self.crypto());
        let secret = secret.map_err(|e| Refused::Failed(e.to_string()))?;
        let id = secret.id(self.crypto());
        let now = self.now();
        let expires = now.plus(invitation.ttl_s);
        let kept = KeptTicket {
            mac_key: *secret.mac_key(self.crypto()).expose(),
            grant,
            name: invitation.name,
            created: now,
            expires,
            uses: invitation.uses,
            left: invitation.uses,
            pending: invitation.pending,
            revoked: None,
        };
        self.transact(move |issuer, books| {
            if let Some(name) = wanted
                && let Some(holder) = books.holder_of_name(&name)?
                && issuer.holds(books, &holder)?
            {
                return Err(Refused::InvitedNameTaken(name).into());
            }
            if books.tickets()? >= MAX_TICKETS {
                books.forget_tickets(now)?;
            }
            if books.tickets()? >= MAX_TICKETS {
                return Err(Refused::Full("this issuer keeps as many tickets as it may").into());
            }
            books.put_ticket(&id, &kept)?;
            Ok(())
        })
        .await?;
        let ticket = Ticket {
            mesh: self.identity.mesh(),
            issuer: self.id(),
            issuer_node: self.identity.node(),
            secret,
            bootstraps,
        };
        Ok(Invited {
            id,
            text: ticket.to_text(self.crypto()),
            expires,
        })
    }

    /// Every ticket, the newest first, with who redeemed it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn tickets(&self) -> Result<Vec<Listed>, StoreError> {
        let snapshot = self.store.snapshot()?;
        let redemptions = snapshot.redemptions()?;
        let pending = snapshot.pending_joins()?;
        let denied = |ticket: &TicketId, by: &NodeId| {
            let mut joins = pending.iter();
            joins.any(|(node, join)| node == by && join.ticket == *ticket && join.denied.is_some())
        };
        let mut tickets: Vec<Listed> = snapshot
            .tickets()?
            .into_iter()
            .map(|(id, kept)| {
                let of_it = redemptions.iter().filter(|(ticket, ..)| *ticket == id);
                let redeemed = |(_, node, kept): &(TicketId, NodeId, Redemption)| Redeemed {
                    node: *node,
                    kept: kept.clone(),
                    denied: denied(&id, node),
                };
                let mut redeemers: Vec<Redeemed> = of_it.map(redeemed).collect();
                redeemers.sort_by_key(|redeemed| redeemed.kept.at);
                Listed {
                    id,
                    revoked: kept.revoked.is_some() || self.barred.ticket(&id).is_some(),
                    kept,
                    redeemers,
                }
            })
            .collect();
        tickets.sort_by_key(|ticket| (core::cmp::Reverse(ticket.kept.created), ticket.id));
        Ok(tickets)
    }

    /// The one ticket whose id begins so.
    ///
    /// # Errors
    /// [`Refused::Unknown`] if there is none, or several.
    pub fn find_ticket(&self, prefix: &str) -> Result<TicketId, Refused> {
        let tickets = self.store.snapshot()?.tickets()?;
        let mut found = tickets.iter().map(|(id, _)| *id);
        let matches = |id: &TicketId| id.to_string().starts_with(prefix);
        let first = found.find(matches);
        match (first, found.find(matches)) {
            (Some(id), None) if prefix.len() >= MIN_PREFIX => Ok(id),
            _ => Err(Refused::Unknown(prefix.to_owned())),
        }
    }

    /// Has a ticket redeemed no more. Who joined with it stays a member.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn revoke_ticket(self: &Arc<Self>, id: TicketId) -> Result<(), Refused> {
        let now = self.now();
        self.transact(move |_, books| {
            let mut ticket = books
                .ticket(&id)?
                .ok_or_else(|| Refused::Unknown(id.short()))?;
            ticket.revoked = ticket.revoked.or(Some(now));
            books.put_ticket(&id, &ticket)?;
            Ok(())
        })
        .await
    }

    /// Who waits for a person, or was refused by one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn pending(&self) -> Result<Vec<(NodeId, PendingJoin)>, StoreError> {
        let mut pending = self.store.snapshot()?.pending_joins()?;
        pending.sort_by_key(|(node, join)| (join.since, *node));
        Ok(pending)
    }

    /// The one newcomer whose id, short id or name is this. Of several with one name those that were
    /// denied do not count beside one that waits.
    ///
    /// # Errors
    /// [`Refused::Unknown`], [`Refused::Ambiguous`].
    pub fn find_pending(&self, text: &str) -> Result<NodeId, Refused> {
        let pending = self.pending()?;
        let matches = |(node, join): &&(NodeId, PendingJoin)| {
            let long = node.to_string();
            let tail = text.trim_start_matches("Qm\u{2026}");
            let suffix = tail.len() >= MIN_PREFIX - 2 && long.ends_with(tail);
            long == text || suffix || join.name.as_str() == text
        };
        let found: Vec<&(NodeId, PendingJoin)> = pending.iter().filter(matches).collect();
        let waits = found.iter().filter(|(_, join)| join.denied.is_none());
        let waiting: Vec<&(NodeId, PendingJoin)> = waits.copied().collect();
        match (waiting.as_slice(), found.as_slice()) {
            ([(node, _)], _) | ([], [(node, _)]) => Ok(*node),
            ([], []) => Err(Refused::Unknown(text.to_owned())),
            ([], several) | (several, _) => Err(Refused::Ambiguous {
                name: text.to_owned(),
                ids: several.iter().map(|(node, _)| node.to_string()).collect(),
            }),
        }
    }

    /// Lets a node in that waits. It hears of it when it asks again.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn approve(self: &Arc<Self>, node: NodeId) -> Result<Name, Refused> {
        self.transact(move |issuer, books| {
            let pending = books
                .pending(&node)?
                .ok_or_else(|| Refused::Unknown(node.short()))?;
            issuer.refuse_barred(&node)?;
            if let Some(bar) = issuer.barred.ticket(&pending.ticket) {
                return Err(Refused::TicketRevoked(bar.why).into());
            }
            let verified = MembershipRequest::verify(issuer.crypto(), &pending.request, verify_tls);
            let request: VerifiedRequest = verified.map_err(Refused::Request)?;
            issuer.refuse_bound(books, &request, &pending.name)?;
            let subject = subject(&request, &pending.name, None);
            issuer.issue(books, &subject, &pending.grant, Share::Newcomers)?;
            books.remove_pending(&node)?;
            Ok(pending.name)
        })
        .await
    }

    /// Refuses a node that waits; its name is free again.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn deny(self: &Arc<Self>, node: NodeId) -> Result<Name, Refused> {
        let now = self.now();
        self.transact(move |_, books| {
            let mut pending = books
                .pending(&node)?
                .ok_or_else(|| Refused::Unknown(node.short()))?;
            pending.denied = pending.denied.or(Some(now));
            books.put_pending(&node, &pending)?;
            books.unbind_name(&node, &pending.name)?;
            Ok(pending.name)
        })
        .await
    }

    /// Issues a membership for a request that was carried here by hand.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn issue_by_hand(
        self: &Arc<Self>,
        request: VerifiedRequest,
        name: Name,
        grant: Grant,
    ) -> Result<VerifiedMembership, Refused> {
        self.refuse_known(request.node, Some(&name), &request.content.signing)?;
        let signed = self
            .transact(move |issuer, books| {
                issuer.refuse_barred(&request.node)?;
                issuer.refuse_bound(books, &request, &name)?;
                let subject = subject(&request, &name, None);
                issuer.issue(books, &subject, &grant, Share::Members)
            })
            .await?;
        let verified = self.verify(&signed);
        verified.ok_or_else(|| Refused::Failed("the membership does not verify".to_owned()))
    }

    /// Forgets what has ended long ago.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn tidy(self: &Arc<Self>) -> Result<(), StoreError> {
        let now = self.now();
        self.store
            .books(move |books| {
                books.forget_tickets(now.minus(TICKET_REMEMBERED_S))?;
                books.forget_pending(now.minus(PENDING_S))?;
                books.forget_issued(now.minus(2 * 3600))
            })
            .await
    }
}

/// Fewest characters of an id that stand for it.
const MIN_PREFIX: usize = 8;

fn check(invitation: &Invitation) -> Result<(), Refused> {
    let refuse = |text: String| Err(Refused::Invitation(text));
    if invitation.ttl_s == 0 || invitation.ttl_s > MAX_TICKET_TTL_S {
        return refuse(format!("a ticket lasts 1 to {MAX_TICKET_TTL_S} s"));
    }
    if invitation.uses == 0 || invitation.uses > MAX_TICKET_USES {
        return refuse(format!("a ticket has 1 to {MAX_TICKET_USES} uses"));
    }
    if invitation.name.is_some() && invitation.uses > 1 {
        return refuse("a ticket that gives a name has one use".to_owned());
    }
    if invitation.groups.len() > MAX_GROUPS {
        return refuse(format!("a membership names at most {MAX_GROUPS} groups"));
    }
    if invitation.life_s < MIN_MEMBERSHIP_LIFE_S {
        return refuse(format!(
            "a membership lasts at least {MIN_MEMBERSHIP_LIFE_S} s"
        ));
    }
    Ok(())
}
