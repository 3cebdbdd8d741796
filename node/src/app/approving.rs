//! Held calls, for this node's operator and for peers.

mod relayed;

use async_trait::async_trait;
use protocol::approval::Choice;
use protocol::control::{AnswerApproval, Approval, ApprovalQuery, Failure, FailureKind};
use protocol::id::NodeId;
use protocol::name::Name;

use super::node::Node;
use crate::approvals::{ApprovalError, chosen};
use crate::control::{ApprovalOperations, Caller};
use crate::members::Resolved;
use crate::transport::{IncomingStream, LinkError, StreamKind};

#[async_trait]
impl ApprovalOperations for Node {
    async fn held(&self, query: ApprovalQuery) -> Result<Vec<Approval>, Failure> {
        match self.holder(query.node.as_ref())? {
            None => Ok(self.approvals.list(query.all).await?),
            Some(holder) => self.ask_holder(holder, None, query.all).await,
        }
    }

    async fn answer_held(
        &self,
        _: Caller,
        answer: AnswerApproval,
        choice: Choice,
    ) -> Result<Approval, Failure> {
        let holder = self.holder(answer.node.as_ref())?;
        let held = match holder {
            None => self.approvals.list(true).await?,
            Some(holder) => self.ask_holder(holder, None, true).await?,
        };
        let chosen = chosen(&held, &answer.approval)?;
        let (id, arguments) = (chosen.id, chosen.arguments);
        let at = holder.unwrap_or_else(|| self.identity.node());
        let signed =
            self.approvals
                .sign(id, at, arguments, choice, (answer.words, answer.human))?;
        let Some(holder) = holder else {
            return Ok(self.approvals.answer(&signed).await?);
        };
        let held = self.ask_holder(holder, Some(signed), true).await?;
        let answered = held.into_iter().find(|a| a.id == id);
        let gone = || ApprovalError::Unknown(id.short()).into();
        answered.ok_or_else(gone)
    }
}

impl Node {
    /// The node that holds what is asked about; `None` for this one.
    fn holder(&self, name: Option<&Name>) -> Result<Option<NodeId>, Failure> {
        let Some(name) = name.filter(|name| *name != self.identity.name()) else {
            return Ok(None);
        };
        match self.members.resolve(name, self.clock.now().seconds()) {
            Resolved::One(member) => Ok(Some(member.membership.node())),
            Resolved::Nobody | Resolved::Several(_) => {
                let text = format!("no one node `{name}` is known here");
                Err(Failure::new(FailureKind::NotFound, "unknown_node", text)
                    .with_hint("see `hedgerow peers`"))
            }
        }
    }

    /// What `node` is called here.
    fn called(&self, node: &NodeId) -> String {
        let member = self.members.member(node);
        member.map_or_else(
            || node.short(),
            |member| format!("`{}`", member.membership.name),
        )
    }

    /// Why a node with neither a link nor a relay cannot be asked.
    fn unlinked_holder(&self, holder: NodeId, error: &LinkError) -> Failure {
        let node = self.called(&holder);
        let text = format!("no link with node {node}, which holds the call: {error}");
        Failure::new(FailureKind::Unavailable, "holder_unreachable", text).with_hint(
            "answer on that node or on one with a link to it, or open one: \
             `hedgerow peers --dial HOST:PORT` of that node here, or of this one there",
        )
    }

    async fn ask_holder(
        &self,
        holder: NodeId,
        answer: Option<Vec<u8>>,
        all: bool,
    ) -> Result<Vec<Approval>, Failure> {
        let (mut send, mut recv) = match self.links.open(holder, StreamKind::Approval).await {
            Ok(opened) => opened,
            Err(error) => {
                let routes = self.fabric.router().relayed_routes(holder);
                if routes.is_empty() {
                    return Err(self.unlinked_holder(holder, &error));
                }
                return self.ask_over_relays(routes, answer, all).await;
            }
        };
        let asked = self
            .approvals
            .ask(holder, answer, all, &mut recv, &mut send)
            .await;
        send.finish();
        Ok(asked?)
    }

    /// Serves a peer's question about what this node holds.
    pub(super) async fn serve_approval(&self, stream: IncomingStream) {
        let IncomingStream {
            peer,
            mut send,
            mut recv,
            down,
            ..
        } = stream;
        let serving = self.approvals.serve(peer, &mut recv, &mut send);
        let served = tokio::select! {
            biased;
            () = down.cancelled() => return,
            served = serving => served,
        };
        match served {
            Ok(()) => send.finish(),
            Err(error) => {
                tracing::debug!(peer = %peer.short(), %error, "a question about approvals failed");
            }
        }
    }
}
