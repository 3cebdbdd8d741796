//! The serving side of join streams: answers what this node's issuer can answer, carries the rest
//! to the issuer's node.
//!
//! Each message has one answer, so carrying needs no understanding: the node in between reads a
//! message's length, passes it on, and passes the answer back. It cannot use what it sees: the
//! secret is not in it, the MAC is bound to the joiner's keys and the issuer's challenge.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use protocol::id::{Challenge, NodeId};
use protocol::trust::PeerAddress;
use protocol::trust::joining::{
    Ask, Challenged, Enrol, Granted, JoinMessage, MAX_ANSWER_BYTES, MAX_ROOTS, Roots, RootsFrom,
    Waiting,
};
use protocol::trust::ticket::MAX_BOOTSTRAPS;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::issuer::Issuer;
use super::issuers::IssuerNodes;
use super::limits::{MAX_MESSAGES, STREAM_DEADLINE};
use super::office::Office;
use super::redeem::Decided;
use super::refused::Refused;
use super::roots::RootChain;
use super::throttle::Throttle;
use super::wire::{self, Raw, WireError};
use crate::identity::Identity;
use crate::members::Members;
use crate::overlay::MeshAdmission;
use crate::telemetry::Counters;
use crate::transport::{Links, RecvStream, SendStream, StreamKind};

/// Who opened a join stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A peer that TLS proved and nobody admitted, by its address.
    Newcomer(IpAddr),
    /// An admitted member: it renews, or carries somebody's stream.
    Member(NodeId),
}

/// What a desk works with.
pub struct Parts {
    /// This node.
    pub identity: Arc<Identity>,
    /// The directory, for names and addresses.
    pub members: Arc<Members>,
    /// Where this node is reached.
    pub admission: Arc<MeshAdmission>,
    /// To carry streams on.
    pub links: Links,
    /// This node's issuer, while it is one.
    pub office: Arc<Office>,
    /// Where the others are.
    pub issuers: Arc<IssuerNodes>,
    /// The roots told to whoever asks.
    pub roots: Arc<dyn RootChain>,
    /// Refusals are counted here.
    pub counters: Arc<Counters>,
}

/// Serves join streams.
pub struct Desk {
    parts: Parts,
    throttle: Throttle,
}

/// What a message is answered with.
enum Reply {
    /// This, and the stream goes on.
    Say(JoinMessage),
    /// This, and the stream is done.
    Last(JoinMessage),
    /// Whatever that node answers, from here on.
    Carry(NodeId),
}

impl Desk {
    /// A desk for these parts.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let throttle = Throttle::new(Arc::clone(&parts.identity.crypto));
        Self { parts, throttle }
    }

    /// Serves one join stream to its end.
    pub async fn serve(&self, source: Source, mut send: SendStream, mut recv: RecvStream) {
        let served = match self.throttle.enter(&source, Instant::now()) {
            Some(_place) => {
                let talk = self.talk(&mut send, &mut recv);
                match timeout(STREAM_DEADLINE, talk).await {
                    Ok(served) => served,
                    Err(_) => Err(Refused::Timeout),
                }
            }
            None => Err(Refused::Throttled),
        };
        if let Err(refused) = served {
            self.refuse(&source, &refused, &mut send).await;
        }
        send.finish();
    }

    async fn refuse(&self, source: &Source, refused: &Refused, send: &mut SendStream) {
        self.parts.counters.count(refused.reason());
        if refused.is_abuse() {
            self.throttle.punish(source, Instant::now());
        }
        tracing::debug!(?source, reason = refused.reason(), "{refused}");
        let message = JoinMessage::Refused(refused.to_message());
        // The peer may be gone; then nobody is left to be told.
        let _ = timeout(STREAM_DEADLINE, wire::write(send, &message)).await;
    }

    async fn talk<S, R>(&self, send: &mut S, recv: &mut R) -> Result<(), Refused>
    where
        S: AsyncWrite + Unpin,
        R: AsyncRead + Unpin,
    {
        let mut challenge: Option<Challenge> = None;
        for _ in 0..MAX_MESSAGES {
            let raw = match wire::read_raw(recv).await {
                Ok(raw) => raw,
                Err(WireError::Ended) => return Ok(()),
                Err(error) => return Err(Refused::Malformed(error.to_string())),
            };
            let message = JoinMessage::decode(raw.kind, &raw.bytes);
            let message = message.map_err(|e| Refused::Malformed(e.to_string()))?;
            let reply = match message {
                JoinMessage::RootsFrom(from) => Reply::Say(self.roots(from)),
                JoinMessage::Ask(ask) => self.ask(&ask, &mut challenge)?,
                JoinMessage::Enrol(enrol) => {
                    // Good once: a second request needs a second challenge.
                    let challenge = challenge.take().ok_or(Refused::WrongChallenge)?;
                    Reply::Last(self.enrol(enrol, challenge).await?)
                }
                _ => return Err(Refused::Malformed("an answer to no question".to_owned())),
            };
            let (said, last) = match reply {
                Reply::Say(answer) => (answer, false),
                Reply::Last(answer) => (answer, true),
                Reply::Carry(node) => return self.carry(node, raw, send, recv).await,
            };
            let written = wire::write(send, &said).await;
            if written.is_err() || last {
                return Ok(());
            }
        }
        Err(Refused::Malformed("too many messages".to_owned()))
    }

    fn roots(&self, from: RootsFrom) -> JoinMessage {
        let mut room = MAX_ANSWER_BYTES - 1024;
        let mut roots = Vec::new();
        for root in self.parts.roots.from(from.version) {
            if root.len() + 8 > room || roots.len() >= MAX_ROOTS {
                break;
            }
            room -= root.len() + 8;
            roots.push(root.into());
        }
        let newest = self.parts.roots.newest();
        JoinMessage::Roots(Roots { roots, newest })
    }

    fn ask(&self, ask: &Ask, challenge: &mut Option<Challenge>) -> Result<Reply, Refused> {
        let parts = &self.parts;
        if ask.mesh != parts.identity.mesh() {
            return Err(Refused::ForeignMesh);
        }
        let me = parts.identity.node();
        match (parts.office.holder(), ask.issuer_node) {
            (Some(issuer), None) => self.draw(&issuer, challenge),
            (Some(issuer), Some(node)) if node == me => self.draw(&issuer, challenge),
            (None, Some(node)) if node == me => Err(self.no_issuer()),
            (_, Some(node)) => {
                if parts.links.get(node).is_some() {
                    Ok(Reply::Carry(node))
                } else {
                    Err(self.unreachable(node))
                }
            }
            (None, None) => {
                let linked = self.linked_issuers().into_iter().next();
                linked.map(Reply::Carry).ok_or_else(|| self.no_issuer())
            }
        }
    }

    fn draw(
        &self,
        issuer: &Arc<Issuer>,
        challenge: &mut Option<Challenge>,
    ) -> Result<Reply, Refused> {
        let mut random = [0; 32];
        let drawn = self.parts.identity.crypto.fill_random(&mut random);
        drawn.map_err(|e| Refused::Failed(e.to_string()))?;
        let drawn = Challenge::from_bytes(random);
        *challenge = Some(drawn);
        Ok(Reply::Say(JoinMessage::Challenged(Challenged {
            challenge: drawn,
            issuer: issuer.id(),
            node: self.parts.identity.node(),
        })))
    }

    async fn enrol(&self, enrol: Enrol, challenge: Challenge) -> Result<JoinMessage, Refused> {
        let issuer = self.parts.office.holder();
        let issuer = issuer.ok_or_else(|| self.no_issuer())?;
        let shown = enrol.membership.as_ref().map(|bytes| bytes.as_slice());
        match issuer.judge(enrol.request, shown, challenge).await? {
            Decided::Waits(node) => Ok(JoinMessage::Waiting(Waiting { node })),
            Decided::Granted(membership) => Ok(JoinMessage::Granted(Granted {
                membership,
                peers: self.bootstraps(),
                issuers: self.parts.issuers.list(),
            })),
        }
    }

    /// This node and some it is linked with, with the addresses they announce: whom a newcomer may
    /// ask or dial.
    #[must_use]
    pub fn bootstraps(&self) -> Vec<PeerAddress> {
        let own = PeerAddress {
            node: self.parts.identity.node(),
            addresses: self.parts.admission.addresses(),
        };
        let linked = self.parts.links.all().into_iter().filter_map(|link| {
            let member = self.parts.members.member(&link.peer)?;
            let record = member.record.as_ref()?;
            Some(PeerAddress {
                node: link.peer,
                addresses: record.addresses.iter().take(2).cloned().collect(),
            })
        });
        [own]
            .into_iter()
            .chain(linked)
            .filter(|peer| !peer.addresses.is_empty())
            .take(MAX_BOOTSTRAPS / 2)
            .collect()
    }

    /// The nodes of the root's issuers that this node is linked with, each once.
    fn linked_issuers(&self) -> Vec<NodeId> {
        let root = self.parts.identity.root();
        let known = self.parts.issuers.list().into_iter();
        let mut nodes: Vec<NodeId> = known
            .filter(|known| root.issuer_ids().contains(&known.issuer))
            .map(|known| known.node)
            .filter(|node| self.parts.links.get(*node).is_some())
            .collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// That this node is no issuer, and which ones it is linked with.
    #[must_use]
    pub fn no_issuer(&self) -> Refused {
        let name = |node: NodeId| match self.parts.members.member(&node) {
            Some(member) => member.membership.name.to_string(),
            None => node.short(),
        };
        Refused::NotAnIssuer {
            node: self.parts.identity.name().clone(),
            linked: self.linked_issuers().into_iter().map(name).collect(),
        }
    }

    fn unreachable(&self, node: NodeId) -> Refused {
        let member = self.parts.members.member(&node);
        let issuer = match member {
            Some(member) => format!("`{}` ({})", member.membership.name, node.short()),
            None => node.short(),
        };
        Refused::IssuerUnreachable {
            node: self.parts.identity.name().clone(),
            issuer,
        }
    }

    /// Passes the first message and all that follow to that node, and its answers back.
    async fn carry<S, R>(
        &self,
        node: NodeId,
        first: Raw,
        send: &mut S,
        recv: &mut R,
    ) -> Result<(), Refused>
    where
        S: AsyncWrite + Unpin,
        R: AsyncRead + Unpin,
    {
        let opened = self.parts.links.open(node, StreamKind::Join).await;
        let (mut on, mut back) = opened.map_err(|_| self.unreachable(node))?;
        let mut raw = first;
        if let Ok(JoinMessage::Ask(ask)) = JoinMessage::decode(raw.kind, &raw.bytes) {
            // Named, so that the next node serves it or refuses and carries it no further.
            let named = JoinMessage::Ask(Ask {
                issuer_node: Some(node),
                ..ask
            });
            raw.bytes = named.encode();
        }
        for _ in 0..MAX_MESSAGES {
            let carried = wire::write_raw(&mut on, &raw).await;
            carried.map_err(|_| self.unreachable(node))?;
            let answer = wire::read_raw(&mut back).await;
            let answer = answer.map_err(|_| self.unreachable(node))?;
            if wire::write_raw(send, &answer).await.is_err() {
                return Ok(());
            }
            raw = match wire::read_raw(recv).await {
                Ok(raw) => raw,
                Err(_) => break,
            };
        }
        on.finish();
        Ok(())
    }
}
