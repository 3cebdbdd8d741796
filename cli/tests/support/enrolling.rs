//! The fake's tickets: each answer is fixed.

use async_trait::async_trait;
use node::control::{Caller, Enrolling};
use protocol::control::*;
use protocol::id::TicketId;
use protocol::time::UnixSeconds;

use super::mesh::TOOL_HOST;
use super::{Fake, name, not_found};

/// The one ticket there is.
pub(crate) const TICKET: TicketId = TicketId::from_bytes([0xab; 32]);

fn ticket(state: TicketState, node: protocol::id::NodeId) -> TicketInfo {
    TicketInfo {
        id: TICKET,
        state,
        groups: vec![name("tool-hosts")],
        site: Some(name("berlin")),
        name: None,
        pending: true,
        created: UnixSeconds(0),
        expires: UnixSeconds(3600),
        uses: 2,
        used: 1,
        redeemed: vec![Redeemer {
            node,
            name: name(TOOL_HOST),
            at: UnixSeconds(60),
            denied: false,
        }],
    }
}

#[async_trait]
impl Enrolling for Fake {
    async fn invite(&self, _: Caller, invite: Invite) -> Result<NewTicket, Failure> {
        if invite.groups.contains(&name("admins")) {
            let message = "the root does not let this issuer grant the group `admins`";
            let failure = Failure::new(FailureKind::Denied, "beyond_issuer_groups", message);
            return Err(failure.with_hint("ask for less"));
        }
        Ok(NewTicket {
            id: TICKET,
            ticket: Secret::new("hedgerow1abc".to_owned()),
            expires: UnixSeconds(invite.ttl_s),
            uses: invite.uses,
            pending: invite.pending,
            bootstraps: vec!["192.0.2.7:7443".to_owned()],
        })
    }

    async fn tickets(&self) -> Result<Vec<TicketInfo>, Failure> {
        Ok(vec![ticket(TicketState::Open, self.mesh.node(TOOL_HOST))])
    }

    async fn revoke_ticket(&self, _: Caller, choice: TicketChoice) -> Result<TicketInfo, Failure> {
        if !TICKET.to_string().starts_with(&choice.ticket) {
            return Err(not_found("unknown_id"));
        }
        Ok(ticket(TicketState::Revoked, self.mesh.node(TOOL_HOST)))
    }

    async fn pending(&self) -> Result<Vec<PendingPeer>, Failure> {
        Ok(vec![PendingPeer {
            id: self.mesh.node(TOOL_HOST),
            name: name(TOOL_HOST),
            groups: vec![name("tool-hosts")],
            site: None,
            ticket: TICKET,
            since: UnixSeconds(60),
            denied: None,
        }])
    }

    async fn approve(&self, _: Caller, choice: PeerChoice) -> Result<DecidedPeer, Failure> {
        if choice.peer != TOOL_HOST {
            return Err(not_found("unknown_id"));
        }
        Ok(DecidedPeer {
            id: self.mesh.node(TOOL_HOST),
            name: name(TOOL_HOST),
        })
    }

    async fn deny(&self, caller: Caller, choice: PeerChoice) -> Result<DecidedPeer, Failure> {
        self.approve(caller, choice).await
    }
}
