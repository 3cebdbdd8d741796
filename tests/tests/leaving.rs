//! Callers that leave while their session is still being opened.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use node::call::incoming::Servers;
use node::call::wire::{EnvelopeFrame, RefusalFrame};
use node::call::{Acceptor, InFlight};
use node::enforcement::Origin;
use node::session::{OpenSession, SessionError};
use node::transport::StreamKind;
use node::transport::frame::{FrameReader, FrameType, FrameWriter};
use node::transport::limits::FRAME_CHUNK;
use protocol::id::SessionId;
use protocol::name::Name;
use tests::forge::random;
use tests::stage::Stage;
use tests::wait::soon;
use tokio::io::{AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What a server does that never comes up.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Begun,
    Dropped,
}

/// A server that is always about to start.
struct Starting(mpsc::UnboundedSender<Seen>);

/// Tells when the opening is given up.
struct Opening(mpsc::UnboundedSender<Seen>);

impl Drop for Opening {
    fn drop(&mut self) {
        let _ = self.0.send(Seen::Dropped);
    }
}

#[async_trait]
impl Servers for Starting {
    async fn open(&self, _: &Name, _: Bytes) -> Result<OpenSession, SessionError> {
        let _opening = Opening(self.0.clone());
        let _ = self.0.send(Seen::Begun);
        std::future::pending().await
    }
}

type Caller = (ReadHalf<DuplexStream>, FrameWriter<WriteHalf<DuplexStream>>);

/// A caller asks for a session, `leaves` while its server starts, and must not keep its place.
async fn leaves(how: impl AsyncFn(Caller) -> Option<Caller>, reason: &str) {
    let stage = Stage::set().await;
    let (told, mut seen) = mpsc::unbounded_channel();
    let acceptor = Acceptor::new(
        Arc::clone(stage.tools.node.enforcer()),
        Arc::new(Starting(told)),
        Box::new(|_| None),
        InFlight::new(CancellationToken::new()),
    );
    let session = SessionId::from_bytes(random());
    // The same session can be asked for again: its place was given up.
    for _ in 0..2 {
        let (near, far) = duplex(1024 * 1024);
        let (read, write) = split(far);
        let origin = Origin {
            peer: stage.mallory.id(),
            address: None,
        };
        let serving = acceptor.serve(origin, StreamKind::Session, Box::new(read), Box::new(write));
        let calling = async {
            let (read, write) = split(near);
            let mut writer = FrameWriter::new(write);
            let sealed = stage.mallory.forge.seal(&stage.opening_as(session));
            let frame = EnvelopeFrame::direct(sealed.bytes).encode();
            writer.write(FrameType::Envelope, &frame).await.unwrap();
            assert_eq!(seen.recv().await, Some(Seen::Begun));
            let kept = how((read, writer)).await;
            assert_eq!(seen.recv().await, Some(Seen::Dropped));
            if let Some((read, _)) = kept {
                assert_eq!(refusal(read).await, reason);
            }
        };
        soon(async { tokio::join!(serving, calling) }).await;
    }
    stage.tools.counted(reason, 2).await;
    stage.undisturbed().await;
}

/// The name of the refusal a caller is told that still listens.
async fn refusal(read: ReadHalf<DuplexStream>) -> String {
    let frame = FrameReader::new(read).next().await.unwrap().unwrap();
    assert_eq!(frame.kind, FrameType::Refusal);
    RefusalFrame::decode(&frame.payload).unwrap().reason
}

#[tokio::test]
async fn a_caller_that_vanishes() {
    Box::pin(leaves(async |_| None, "session_abandoned")).await;
}

#[tokio::test]
async fn a_caller_that_ends_its_direction() {
    let finish = async |(read, mut writer): Caller| {
        writer.finish().await.unwrap();
        Some((read, writer))
    };
    Box::pin(leaves(finish, "session_abandoned")).await;
}

#[tokio::test]
async fn a_caller_that_goes_on_talking() {
    let talk = async |(read, mut writer): Caller| {
        let chunk = vec![0; FRAME_CHUNK];
        writer.inner_mut().write_all(&chunk).await.unwrap();
        Some((read, writer))
    };
    Box::pin(leaves(talk, "message_before_response")).await;
}
