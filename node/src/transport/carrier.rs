//! libp2p over our links: its `Transport` and its muxer, on the QUIC connections of [`Links`].
//!
//! libp2p gets what it needs to run gossipsub and nothing more. Only admitted links reach it, as
//! finished connections; it dials nobody by itself, listens on no socket and sees none of our
//! streams. A link it gives up on stays: closing links is the registry's matter alone.
//!
//! [`Links`]: super::Links

use core::pin::Pin;
use core::task::{Context, Poll};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::future::{BoxFuture, Ready, ready};
use futures::task::AtomicWaker;
use futures::{AsyncRead, AsyncWrite, FutureExt};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use libp2p::core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use protocol::id::NodeId;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::error::LinkError;
use super::link::{Libp2pStream, Link};
use super::links::SwarmLink;
use super::stream::take;

/// The multihash prefix of a SHA-256 digest: a [`NodeId`] behind it is a `PeerId`.
const SHA256: [u8; 2] = [0x12, 0x20];

/// The libp2p name of a node.
pub(super) fn peer_id(node: NodeId) -> Option<PeerId> {
    let bytes = [SHA256.as_slice(), node.as_bytes()].concat();
    PeerId::from_bytes(&bytes).ok()
}

/// The node behind a libp2p name.
pub(super) fn node_id(peer: &PeerId) -> Option<NodeId> {
    let bytes = peer.to_bytes();
    NodeId::try_from(bytes.strip_prefix(&SHA256)?).ok()
}

/// An address in libp2p's notation; QUIC's transport protocol is the nearest it has to ours.
pub(super) fn multiaddr(address: SocketAddr) -> Multiaddr {
    Multiaddr::empty()
        .with(address.ip().into())
        .with(Protocol::Udp(address.port()))
        .with(Protocol::QuicV1)
}

/// Links handed to the swarm and not yet taken by it. Bounded by the links there are.
#[derive(Default)]
pub(super) struct Handover {
    waiting: Mutex<Waiting>,
    waker: AtomicWaker,
}

#[derive(Default)]
struct Waiting {
    accepted: VecDeque<SwarmLink>,
    dialed: HashMap<PeerId, VecDeque<SwarmLink>>,
}

impl Handover {
    /// Offers a link that the peer dialed.
    pub(super) fn accepted(&self, link: SwarmLink) {
        self.with(|waiting| waiting.accepted.push_back(link));
        self.waker.wake();
    }

    /// Offers a link that this node dialed; the swarm must be told to dial `peer`.
    pub(super) fn dialed(&self, peer: PeerId, link: SwarmLink) {
        self.with(|waiting| waiting.dialed.entry(peer).or_default().push_back(link));
    }

    fn with<T>(&self, change: impl FnOnce(&mut Waiting) -> T) -> T {
        change(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn take_dialed(&self, peer: &PeerId) -> Option<SwarmLink> {
        self.with(|waiting| {
            let links = waiting.dialed.get_mut(peer)?;
            let link = links.pop_front();
            if links.is_empty() {
                waiting.dialed.remove(peer);
            }
            link
        })
    }
}

/// The `Transport` the swarm runs on.
pub(super) struct Carrier {
    handover: Arc<Handover>,
    listener: Option<(ListenerId, Multiaddr)>,
    announced: bool,
}

impl Carrier {
    pub(super) fn new(handover: Arc<Handover>) -> Self {
        Self {
            handover,
            listener: None,
            announced: false,
        }
    }
}

type Connected = Ready<io::Result<(PeerId, Muxer)>>;

fn connected(link: SwarmLink) -> Connected {
    let peer = peer_id(link.link.facts.peer);
    let peer = peer.ok_or_else(|| io::Error::other("the peer's id is no libp2p id"));
    ready(peer.map(|peer| (peer, Muxer::new(link))))
}

impl libp2p::Transport for Carrier {
    type Output = (PeerId, Muxer);
    type Error = io::Error;
    type ListenerUpgrade = Connected;
    type Dial = Connected;

    fn listen_on(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<io::Error>> {
        self.listener = Some((id, address));
        Ok(())
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.listener.take_if(|(own, _)| *own == id).is_some()
    }

    /// Takes a link that is up already; there is no other way to dial.
    fn dial(
        &mut self,
        address: Multiaddr,
        _options: DialOpts,
    ) -> Result<Connected, TransportError<io::Error>> {
        let peer = address.iter().find_map(|protocol| match protocol {
            Protocol::P2p(peer) => Some(peer),
            _ => None,
        });
        let link = peer.and_then(|peer| self.handover.take_dialed(&peer));
        let link = link.ok_or(TransportError::MultiaddrNotSupported(address))?;
        Ok(connected(link))
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Connected, io::Error>> {
        self.handover.waker.register(cx.waker());
        let Some((listener_id, address)) = self.listener.clone() else {
            return Poll::Pending;
        };
        if !self.announced {
            self.announced = true;
            return Poll::Ready(TransportEvent::NewAddress {
                listener_id,
                listen_addr: address,
            });
        }
        let accepted = self.handover.with(|waiting| waiting.accepted.pop_front());
        let Some(link) = accepted else {
            return Poll::Pending;
        };
        Poll::Ready(TransportEvent::Incoming {
            listener_id,
            local_addr: address,
            send_back_addr: multiaddr(link.link.info().remote),
            upgrade: connected(link),
        })
    }
}

type Opening = BoxFuture<
    'static,
    Result<(quinn::SendStream, quinn::RecvStream, OwnedSemaphorePermit), LinkError>,
>;

/// The libp2p streams of one link.
pub(super) struct Muxer {
    link: Arc<Link>,
    streams: mpsc::Receiver<Libp2pStream>,
    opening: Option<Opening>,
    closed: BoxFuture<'static, ()>,
}

impl Muxer {
    fn new(link: SwarmLink) -> Self {
        let closing = Arc::clone(&link.link);
        Self {
            link: link.link,
            streams: link.streams,
            opening: None,
            closed: async move { closing.closed().await }.boxed(),
        }
    }
}

impl StreamMuxer for Muxer {
    type Substream = Substream;
    type Error = LinkError;

    fn poll_inbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Substream, LinkError>> {
        self.streams.poll_recv(cx).map(|stream| {
            let stream = stream.ok_or_else(|| self.link.lost())?;
            Ok(Substream {
                ahead: stream.ahead,
                send: stream.send,
                recv: stream.recv,
                _budget: stream.budget,
            })
        })
    }

    fn poll_outbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Substream, LinkError>> {
        let link = Arc::clone(&self.link);
        let opening = self
            .opening
            .get_or_insert_with(|| async move { link.open_libp2p().await }.boxed());
        opening.poll_unpin(cx).map(|opened| {
            self.opening = None;
            let (send, recv, budget) = opened?;
            Ok(Substream {
                ahead: Bytes::new(),
                send,
                recv,
                _budget: budget,
            })
        })
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        Poll::Ready(Ok(()))
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<StreamMuxerEvent, LinkError>> {
        let closed = self.closed.poll_unpin(cx);
        closed.map(|()| {
            // Not to be polled again once done.
            self.closed = futures::future::pending().boxed();
            Err(self.link.lost())
        })
    }
}

/// One libp2p stream. What was read to tell it apart is given back first.
pub(super) struct Substream {
    ahead: Bytes,
    send: quinn::SendStream,
    recv: quinn::RecvStream,
    _budget: OwnedSemaphorePermit,
}

impl AsyncRead for Substream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if !self.ahead.is_empty() {
            let length = self.ahead.len().min(buf.len());
            let (given, _) = buf.split_at_mut(length);
            given.copy_from_slice(&take(&mut self.ahead, length));
            return Poll::Ready(Ok(length));
        }
        AsyncRead::poll_read(Pin::new(&mut self.recv), cx, buf)
    }
}

impl AsyncWrite for Substream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.send), cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.send), cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_close(Pin::new(&mut self.send), cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_id_is_a_peer_id() {
        let node = NodeId::from_bytes([7; 32]);
        let peer = peer_id(node).unwrap();
        assert_eq!(peer.to_base58(), node.to_string());
        assert_eq!(node_id(&peer), Some(node));
        // An identity multihash, as libp2p makes it of an Ed25519 key, is no node.
        let foreign = PeerId::from_bytes(&[&[0, 36, 8, 1, 18, 32][..], &[1; 32]].concat());
        assert_eq!(node_id(&foreign.unwrap()), None);
    }
}
