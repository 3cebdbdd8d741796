//! A relay composed to misbehave: it carries calls as a relay does, keeps every byte it handles,
//! and does one misdeed to the messages of calls in one direction. Sessions it carries honestly.

use std::sync::{Arc, Mutex};

use hedgerow_crypto::SigningKeys;
use node::call::wire::EnvelopeFrame;
use node::transport::frame::{FrameReader, FrameType, FrameWriter};
use node::transport::{IncomingStream, LinkError, LinkInfo, RecvStream, SendStream, StreamKind};
use protocol::crypto::Signer;
use protocol::envelope::hop::{HopRecord, Scope, chain_hash};
use protocol::envelope::{Direction, UnverifiedEnvelope};
use protocol::id::{Digest, EnvelopeId, NodeId};
use protocol::time::UnixMillis;
use tokio::sync::Notify;

use crate::forge::{Forge, Parts, strange_keys};
use crate::hostile::Hostile;
use crate::mesh::TestNode;
use crate::wait::soon;

/// What it does to a message of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misdeed {
    /// Nothing: it carries on as it should.
    None,
    /// Leaves its own record out.
    Skip,
    /// Takes away every record.
    Strip,
    /// Adds a record too many.
    Extra,
    /// Puts its record before the others.
    Reorder,
    /// Signs a record about another envelope.
    OtherEnvelope,
    /// Has its record signed by keys of no member.
    Stranger,
    /// Names another node before it.
    OtherPeer,
    /// Sends a message twice.
    Replay,
    /// Changes a bit of the sealed payload.
    AlterPayload,
    /// Changes a bit of the signed header.
    AlterSignature,
    /// Keeps a message until it is told to let go, and says so in its record.
    Keep,
    /// Ends the stream instead of carrying the message on.
    Drop,
}

/// The relay.
pub struct Rogue {
    hostile: Arc<Hostile>,
    misdeed: Arc<Mutex<(Misdeed, Direction)>>,
    handled: Arc<Mutex<Vec<u8>>>,
    keeps: Arc<Notify>,
    lets_go: Arc<Notify>,
}

impl Rogue {
    /// Lets a member that is linked to its neighbours carry what they bring.
    #[must_use]
    pub fn of(hostile: Hostile) -> Self {
        let rogue = Self {
            hostile: Arc::new(hostile),
            misdeed: Arc::new(Mutex::new((Misdeed::None, Direction::ToServer))),
            handled: Arc::default(),
            keeps: Arc::default(),
            lets_go: Arc::default(),
        };
        let scene = Scene {
            hostile: Arc::clone(&rogue.hostile),
            misdeed: Arc::clone(&rogue.misdeed),
            handled: Arc::clone(&rogue.handled),
            keeps: Arc::clone(&rogue.keeps),
            lets_go: Arc::clone(&rogue.lets_go),
        };
        tokio::spawn(async move {
            while let Some(stream) = scene.hostile.caught().await {
                tokio::spawn(scene.clone().carry(stream));
            }
        });
        rogue
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.hostile.id()
    }

    /// Links with a node.
    pub async fn link(&self, node: &TestNode) {
        self.hostile.link(node).await;
    }

    /// Tries for a link with a node.
    pub async fn dial(&self, node: &TestNode) -> Result<LinkInfo, LinkError> {
        self.hostile.dial(node).await
    }

    /// What it does from now on, to messages of this direction.
    pub fn misbehave(&self, misdeed: Misdeed, direction: Direction) {
        *self.misdeed.lock().unwrap() = (misdeed, direction);
    }

    /// Waits until it keeps a message.
    pub async fn keeps(&self) {
        soon(self.keeps.notified()).await;
    }

    /// Lets a message that it keeps go.
    pub fn let_go(&self) {
        self.lets_go.notify_one();
    }

    /// Every byte of every frame it handled.
    #[must_use]
    pub fn handled(&self) -> Vec<u8> {
        self.handled.lock().unwrap().clone()
    }
}

#[derive(Clone)]
struct Scene {
    hostile: Arc<Hostile>,
    misdeed: Arc<Mutex<(Misdeed, Direction)>>,
    handled: Arc<Mutex<Vec<u8>>>,
    keeps: Arc<Notify>,
    lets_go: Arc<Notify>,
}

impl Scene {
    async fn carry(self, stream: IncomingStream) -> Option<()> {
        let (peer, kind) = (stream.peer, stream.kind);
        let mut from = FrameReader::new(stream.recv);
        let first = from.next().await.ok()??;
        let frame = EnvelopeFrame::decode(&first.payload).ok()?;
        let route = route(&frame)?;
        let me = self.hostile.id();
        let place = route.iter().position(|node| *node == me)?;
        let next = *route.get(place + 1)?;
        let (send, recv) = self.hostile.links.open(next, kind).await.ok()?;
        let (mut onward, back) = (FrameWriter::new(send), FrameReader::new(recv));
        self.pass(&mut onward, frame, peer, Direction::ToServer, kind)
            .await?;
        let other = self.clone();
        let writer = FrameWriter::new(stream.send);
        tokio::spawn(async move {
            other
                .pump(back, writer, next, Direction::ToClient, kind)
                .await
        });
        self.pump(from, onward, peer, Direction::ToServer, kind)
            .await
    }

    async fn pump(
        self,
        mut reader: FrameReader<RecvStream>,
        mut writer: FrameWriter<SendStream>,
        peer: NodeId,
        way: Direction,
        kind: StreamKind,
    ) -> Option<()> {
        loop {
            let Some(frame) = reader.next().await.ok()? else {
                return writer.finish().await.ok();
            };
            self.handled
                .lock()
                .unwrap()
                .extend_from_slice(&frame.payload);
            if frame.kind != FrameType::Envelope {
                writer.write(frame.kind, &frame.payload).await.ok()?;
                continue;
            }
            let frame = EnvelopeFrame::decode(&frame.payload).ok()?;
            self.pass(&mut writer, frame, peer, way, kind).await?;
        }
    }

    async fn pass(
        &self,
        writer: &mut FrameWriter<SendStream>,
        mut frame: EnvelopeFrame,
        peer: NodeId,
        way: Direction,
        kind: StreamKind,
    ) -> Option<()> {
        self.handled.lock().unwrap().extend(frame.encode());
        let (misdeed, direction) = *self.misdeed.lock().unwrap();
        let misdeed = if direction == way && kind == StreamKind::Call {
            misdeed
        } else {
            Misdeed::None
        };
        let received = now();
        if misdeed == Misdeed::Keep {
            self.keeps.notify_one();
            self.lets_go.notified().await;
        }
        let record = self.record(&frame, peer, received, misdeed)?;
        match misdeed {
            Misdeed::Skip => {}
            Misdeed::Strip => frame.records.clear(),
            Misdeed::Extra => {
                frame.records.push(record.clone().into());
                frame.records.push(record.into());
            }
            Misdeed::Reorder => frame.records.insert(0, record.into()),
            Misdeed::Drop => return None,
            _ => frame.records.push(record.into()),
        }
        match misdeed {
            Misdeed::AlterPayload => {
                let mut parts = Parts::of(&frame.envelope);
                *parts.payload.last_mut()? ^= 1;
                frame.envelope = parts.join().into();
            }
            Misdeed::AlterSignature => *frame.envelope.last_mut()? ^= 1,
            _ => {}
        }
        let bytes = frame.encode();
        writer.write(FrameType::Envelope, &bytes).await.ok()?;
        if misdeed == Misdeed::Replay {
            writer.write(FrameType::Envelope, &bytes).await.ok()?;
        }
        Some(())
    }

    fn record(
        &self,
        frame: &EnvelopeFrame,
        peer: NodeId,
        received: UnixMillis,
        misdeed: Misdeed,
    ) -> Option<Vec<u8>> {
        let Forge { identity } = &self.hostile.forge;
        let crypto = &*identity.crypto;
        let unverified = UnverifiedEnvelope::parse(&frame.envelope).ok()?;
        let route = &unverified.header().claims.route;
        let place = route.iter().position(|node| *node == identity.node())?;
        let previous: Option<Digest> = frame
            .records
            .last()
            .map(|last| chain_hash(crypto, last).unwrap());
        let mut record = HopRecord {
            envelope: unverified.id(crypto),
            index: place as u64,
            previous,
            node: identity.node(),
            bundle_version: 0,
            verdict: "allow".to_owned(),
            scope: Scope::HeaderOnly,
            observed_peer: peer,
            observed_address: String::new(),
            received,
            sent: now(),
        };
        let strange: SigningKeys;
        let mut signer: &dyn Signer = &*identity.signing;
        match misdeed {
            Misdeed::OtherEnvelope => record.envelope = EnvelopeId::from_bytes([7; 32]),
            Misdeed::OtherPeer => record.observed_peer = identity.node(),
            Misdeed::Stranger => {
                strange = strange_keys();
                signer = &strange;
            }
            _ => {}
        }
        Some(record.sign(crypto, signer, &identity.mesh()).unwrap())
    }
}

fn route(frame: &EnvelopeFrame) -> Option<Vec<NodeId>> {
    let unverified = UnverifiedEnvelope::parse(&frame.envelope).ok()?;
    Some(unverified.header().claims.route.clone())
}

fn now() -> UnixMillis {
    use node::clock::{Clock as _, SystemClock};
    SystemClock.now()
}
