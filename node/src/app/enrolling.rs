//! What operators ask about tickets and newcomers, done by this node's issuer.

use std::sync::Arc;

use async_trait::async_trait;
use protocol::control::{
    DecidedPeer, Failure, Invite, NewTicket, PeerChoice, PendingPeer, Redeemer, Secret,
    TicketChoice, TicketInfo, TicketState,
};
use protocol::time::UnixSeconds;

use super::node::Node;
use super::operations::stored;
use crate::control::{Caller, Enrolling};
use crate::enrol::{Invitation, Issuer, Listed, MEMBERSHIP_LIFE_S, Redeemed, Refused};

impl Node {
    pub(super) fn own_issuer(&self) -> Result<Arc<Issuer>, Failure> {
        self.office.holder().ok_or_else(|| {
            self.desk.no_issuer().to_failure().with_hint(
                "run the command on the host of an issuer, or make this one an issuer: `hedgerow id --issuer-card FILE` here, then `hedgerow admin issuer add FILE`",
            )
        })
    }
}

#[async_trait]
impl Enrolling for Node {
    async fn invite(&self, _: Caller, invite: Invite) -> Result<NewTicket, Failure> {
        let issuer = self.own_issuer()?;
        let bootstraps = self.desk.bootstraps();
        let addresses = bootstraps.iter().flat_map(|p| p.addresses.clone());
        let addresses: Vec<String> = addresses.collect();
        let (uses, pending) = (invite.uses, invite.pending);
        let invitation = Invitation {
            groups: invite.groups,
            site: invite.site,
            name: invite.name,
            ttl_s: invite.ttl_s,
            uses,
            pending,
            life_s: invite.life_s.unwrap_or(MEMBERSHIP_LIFE_S),
        };
        let invited = issuer.invite(invitation, bootstraps).await;
        let invited = invited.map_err(|refused| refused.to_failure())?;
        Ok(NewTicket {
            id: invited.id,
            ticket: Secret::new(invited.text.to_string()),
            expires: invited.expires,
            uses,
            pending,
            bootstraps: addresses,
        })
    }

    async fn tickets(&self) -> Result<Vec<TicketInfo>, Failure> {
        let now = self.clock.now().seconds();
        let tickets = self.own_issuer()?.tickets().map_err(stored)?;
        Ok(tickets.into_iter().map(|t| info(t, now)).collect())
    }

    async fn revoke_ticket(&self, _: Caller, choice: TicketChoice) -> Result<TicketInfo, Failure> {
        let issuer = self.own_issuer()?;
        let failed = |refused: Refused| refused.to_failure().with_hint("see `hedgerow tickets`");
        let id = issuer.find_ticket(&choice.ticket).map_err(failed)?;
        issuer.revoke_ticket(id).await.map_err(failed)?;
        let now = self.clock.now().seconds();
        let tickets = issuer.tickets().map_err(stored)?;
        let revoked = tickets.into_iter().find(|ticket| ticket.id == id);
        let gone = || failed(Refused::Unknown(choice.ticket.clone()));
        revoked.map(|ticket| info(ticket, now)).ok_or_else(gone)
    }

    async fn pending(&self) -> Result<Vec<PendingPeer>, Failure> {
        let pending = self.own_issuer()?.pending().map_err(stored)?;
        let peer = |(id, join): (_, crate::store::PendingJoin)| PendingPeer {
            id,
            name: join.name,
            groups: join.grant.groups,
            site: join.grant.site,
            ticket: join.ticket,
            since: join.since,
            denied: join.denied,
        };
        Ok(pending.into_iter().map(peer).collect())
    }

    async fn approve(&self, _: Caller, choice: PeerChoice) -> Result<DecidedPeer, Failure> {
        let issuer = self.own_issuer()?;
        let failed = |refused: Refused| pending_failure(&refused);
        let id = issuer.find_pending(&choice.peer).map_err(failed)?;
        let name = issuer.approve(id).await.map_err(failed)?;
        Ok(DecidedPeer { id, name })
    }

    async fn deny(&self, _: Caller, choice: PeerChoice) -> Result<DecidedPeer, Failure> {
        let issuer = self.own_issuer()?;
        let failed = |refused: Refused| pending_failure(&refused);
        let id = issuer.find_pending(&choice.peer).map_err(failed)?;
        let name = issuer.deny(id).await.map_err(failed)?;
        Ok(DecidedPeer { id, name })
    }
}

fn pending_failure(refused: &Refused) -> Failure {
    let failure = refused.to_failure();
    match refused {
        Refused::Unknown(_) => failure.with_hint("see `hedgerow peers pending`"),
        _ => failure,
    }
}

fn info(ticket: Listed, now: UnixSeconds) -> TicketInfo {
    let Listed {
        id,
        kept,
        revoked,
        redeemers,
    } = ticket;
    let state = if revoked {
        TicketState::Revoked
    } else if kept.left == 0 {
        TicketState::UsedUp
    } else if now >= kept.expires {
        TicketState::Expired
    } else {
        TicketState::Open
    };
    let redeemer = |redeemed: Redeemed| Redeemer {
        node: redeemed.node,
        name: redeemed.kept.name,
        at: redeemed.kept.at,
        denied: redeemed.denied,
    };
    TicketInfo {
        id,
        state,
        groups: kept.grant.groups.clone(),
        site: kept.grant.site.clone(),
        name: kept.name.clone(),
        pending: kept.pending,
        created: kept.created,
        expires: kept.expires,
        uses: kept.uses,
        used: kept.uses.saturating_sub(kept.left),
        redeemed: redeemers.into_iter().map(redeemer).collect(),
    }
}
