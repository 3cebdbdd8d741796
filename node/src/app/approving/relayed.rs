//! Questions about held calls over relays: asked, carried on and replied to.
//!
//! A relay checks of a question what it checks of a call but for policy, which says nothing of
//! questions: who asks, that it is fresh, the way it takes, and for whom this node carries. It learns
//! nothing of what is asked and records nothing; what comes of an answer the holder records.

use hedgerow_crypto::Primitives;
use minicbor::bytes::ByteVec;
use protocol::approval::relayed::{
    Asking, MAX_RELAYED_QUESTION_BYTES, RelayedError, RelayedQuestion, Replying,
};
use protocol::codec;
use protocol::control::{Approval, Failure, FailureKind};
use protocol::id::NodeId;

use super::super::node::Node;
use crate::approvals::RemoteError;
use crate::approvals::remote::{MAX_REPLY_BYTES, Refused, question, read, write};
use crate::enforcement::Stopped;
use crate::transport::{IncomingStream, StreamKind};

/// Largest relayed reply: the largest reply and what seals it.
const MAX_RELAYED_REPLY_BYTES: usize = MAX_REPLY_BYTES + 1024;

/// What comes back, of which there is one or the other.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
struct RelayedReply {
    /// The holder's reply, sealed.
    #[n(1)]
    sealed: Option<ByteVec>,
    /// Why there is none, from whoever on the way says so.
    #[n(2)]
    refused: Option<Refused>,
}

/// Why a question was not carried on, or not replied to.
struct NotCarried(Refused);

impl NotCarried {
    fn new(reason: &str, message: impl std::fmt::Display) -> Self {
        Self(Refused {
            reason: reason.to_owned(),
            message: message.to_string(),
        })
    }
}

impl From<RelayedError> for NotCarried {
    fn from(error: RelayedError) -> Self {
        Self::new(error.reason(), error)
    }
}

impl From<Stopped> for NotCarried {
    fn from(stopped: Stopped) -> Self {
        let said = stopped.verdict.denial().map_or("", |d| d.message.as_str());
        Self::new(stopped.reason(), said)
    }
}

/// Why one route brought no reply.
enum Missed {
    /// Another may.
    Route(String),
    /// The holder itself said no.
    Holder(RemoteError),
}

impl Node {
    /// Asks the node at the end of these routes over each in turn, until one brings its reply.
    pub(super) async fn ask_over_relays(
        &self,
        routes: Vec<Vec<NodeId>>,
        answer: Option<Vec<u8>>,
        all: bool,
    ) -> Result<Vec<Approval>, Failure> {
        let mut tried = Vec::new();
        for route in routes {
            let [_, relays @ .., holder] = &route[..] else {
                continue;
            };
            let (relays, holder) = (relays.to_vec(), *holder);
            match self.ask_over(route, holder, answer.clone(), all).await {
                Ok(held) => return Ok(held),
                Err(Missed::Holder(error)) => return Err(error.into()),
                Err(Missed::Route(why)) => {
                    let relays: Vec<String> = relays.iter().map(|r| self.called(r)).collect();
                    let (holder, relays) = (self.called(&holder), relays.join(" and "));
                    tried.push(format!(
                        "node {holder}, which holds the call, did not reply over {relays}: {why}"
                    ));
                }
            }
        }
        let text = tried.join("; ");
        let failure = Failure::new(FailureKind::Unavailable, "holder_unreachable", text);
        Err(failure.with_hint(
            "answer on that node or on one with a link to it, or open one: \
             `hedgerow peers --dial HOST:PORT` of that node here, or of this one there",
        ))
    }

    async fn ask_over(
        &self,
        route: Vec<NodeId>,
        holder: NodeId,
        answer: Option<Vec<u8>>,
        all: bool,
    ) -> Result<Vec<Approval>, Missed> {
        let no_route = |why: &dyn std::fmt::Display| Missed::Route(why.to_string());
        let member = self.members.member(&holder);
        let record = member.as_ref().and_then(|m| m.record.as_ref());
        let key = record.and_then(|r| r.sealing_key.as_deref());
        let key = key.ok_or_else(|| no_route(&"it announces no sealing key"))?;
        let first = *route.get(1).ok_or_else(|| no_route(&"no relay"))?;
        let identity = &self.identity;
        let (asking, signed) = Asking::begin(
            (&Primitives, &*identity.crypto),
            &*identity.signing,
            (identity.mesh(), route, self.clock.now()),
            key,
            &question(answer, all),
        )
        .map_err(|e| no_route(&e))?;
        let reply = self.exchange(first, &signed).await;
        match reply.map_err(Missed::Route)? {
            RelayedReply {
                sealed: Some(sealed),
                refused: None,
            } => {
                let reply = asking.open(&sealed).map_err(|e| no_route(&e))?;
                let replied = self.approvals.replied(holder, &reply);
                replied.map_err(Missed::Holder)
            }
            RelayedReply {
                sealed: None,
                refused: Some(refused),
            } => {
                let reason = crate::approvals::printable(&refused.reason);
                let why = RemoteError::from(refused);
                Err(no_route(&format!("{why} [{reason}]")))
            }
            _ => Err(no_route(&"what came back is no reply")),
        }
    }

    /// Serves a question that came over this node's link with a relay, or is to be carried on.
    pub(in crate::app) async fn serve_relayed(&self, stream: IncomingStream) {
        let IncomingStream {
            peer,
            mut send,
            mut recv,
            down,
            ..
        } = stream;
        let serving = async {
            let signed = read(&mut recv, MAX_RELAYED_QUESTION_BYTES).await?;
            let reply = match self.replied_to(peer, &signed).await {
                Ok(reply) => reply,
                Err(NotCarried(refused)) => {
                    self.counters.count("approval_question_refused");
                    let Refused { reason, message } = &refused;
                    tracing::debug!(peer = %peer.short(), reason, "a question was refused: {message}");
                    RelayedReply {
                        sealed: None,
                        refused: Some(refused),
                    }
                }
            };
            write(&mut send, &codec::encode(&reply)).await
        };
        let served: Result<(), RemoteError> = tokio::select! {
            biased;
            () = down.cancelled() => return,
            served = serving => served,
        };
        match served {
            Ok(()) => send.finish(),
            Err(error) => {
                tracing::debug!(peer = %peer.short(), %error, "a relayed question failed");
            }
        }
    }

    /// What goes back to `peer` for a question it delivered.
    async fn replied_to(&self, peer: NodeId, signed: &[u8]) -> Result<RelayedReply, NotCarried> {
        let now = self.clock.now();
        self.enforcer.admit_peer(peer, now)?;
        let identity = &self.identity;
        let asked = RelayedQuestion::parse(identity.mesh(), signed)?;
        let next = asked.next_after(identity.node(), peer)?;
        asked.check_time(now)?;
        let asker = asked.asker()?;
        let member = self.members.valid(&asker, now.seconds());
        let member = member.ok_or_else(|| {
            NotCarried::new(
                "unknown_issuer",
                "the node that asks has no valid membership here",
            )
        })?;
        let standing = self.standing.member(&member.membership);
        standing.map_err(|barred| Stopped::barred(&barred))?;
        let set = &member.membership.signing;
        RelayedQuestion::verify(&*identity.crypto, identity.mesh(), set, signed)?;
        match next {
            None => self.replied_here(asker, &asked).await,
            Some(next) => self.carried_on(asker, peer, next, signed).await,
        }
    }

    /// This node's own reply.
    async fn replied_here(
        &self,
        asker: NodeId,
        asked: &RelayedQuestion,
    ) -> Result<RelayedReply, NotCarried> {
        let key = self.identity.sealing.find(&asked.sealed.key);
        let key = key.ok_or(RelayedError::KeyUnknown)?;
        let (replying, question) = Replying::take_up(&*key, asked)?;
        let reply = self.approvals.reply_to(asker, &question).await;
        let reply = reply.map_err(|e| NotCarried::new("approvals_unavailable", e))?;
        let sealed = replying.seal(&reply);
        let sealed = sealed.map_err(|e| NotCarried::new("sealing_failed", e))?;
        Ok(RelayedReply {
            sealed: Some(sealed.into()),
            refused: None,
        })
    }

    /// What comes back of what this node carries on.
    async fn carried_on(
        &self,
        asker: NodeId,
        peer: NodeId,
        next: NodeId,
        signed: &[u8],
    ) -> Result<RelayedReply, NotCarried> {
        let _carried = self.relay.carry_question(asker, peer)?;
        self.exchange(next, signed).await.map_err(|why| {
            let (name, next) = (self.identity.name(), self.called(&next));
            let text = format!("relay `{name}` has no reply of node {next}: {why}");
            NotCarried::new("next_hop_unreachable", text)
        })
    }

    /// Sends a question to the next node of its route, and returns what comes back, or why nothing
    /// does.
    async fn exchange(&self, next: NodeId, signed: &[u8]) -> Result<RelayedReply, String> {
        let opened = self.links.open(next, StreamKind::RelayedApproval).await;
        let (mut send, mut recv) = opened.map_err(|e| e.to_string())?;
        let replied = async {
            write(&mut send, signed).await?;
            let reply = read(&mut recv, MAX_RELAYED_REPLY_BYTES).await?;
            Ok::<RelayedReply, RemoteError>(codec::decode(&reply, MAX_RELAYED_REPLY_BYTES)?)
        };
        let reply = replied.await.map_err(|e| e.to_string())?;
        send.finish();
        Ok(reply)
    }
}
