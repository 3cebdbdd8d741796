//! Streams of admitted peers.

use super::*;

#[tokio::test]
async fn many_streams_at_once_none_dropped() {
    let (a, b) = pair().await;
    let calls = futures::future::join_all((0..64_u8).map(|number| {
        let (a, b) = (&a, b.node());
        async move {
            for round in 0..8 {
                let message = [number, round].repeat(128);
                assert_eq!(a.echo(b, &message).await.unwrap(), message);
            }
        }
    }));
    soon(calls).await;
    assert_eq!(a.links.counters().snapshot(), Default::default());
    assert_eq!(b.links.counters().snapshot(), Default::default());
}

#[tokio::test]
async fn more_streams_than_the_budget_wait() {
    let (a, b) = pair().await;
    let count = limits::OUR_STREAMS * 2;
    let calls = futures::future::join_all((0..count).map(|_| a.echo(b.node(), b"x")));
    for answer in soon(calls).await {
        assert_eq!(answer.unwrap(), b"x");
    }
    assert_eq!(b.links.counters().snapshot(), Default::default());
}

#[tokio::test]
async fn every_kind_arrives_as_what_it_is() {
    let (a, mut b) = pair().await;
    for kind in [
        StreamKind::Call,
        StreamKind::Session,
        StreamKind::Sync,
        StreamKind::Join,
        StreamKind::Witness,
        StreamKind::Trust,
        StreamKind::Approval,
        StreamKind::Record,
        StreamKind::RelayedApproval,
    ] {
        assert_eq!(StreamKind::from_byte(kind.byte()), Some(kind));
        let mut stream = a.links.open(b.node(), kind).await.unwrap();
        stream.0.flush().await.unwrap();
        assert_eq!(soon(b.seen.recv()).await.unwrap(), (a.node(), kind));
        drop(stream);
    }
}

#[tokio::test]
async fn one_peers_stuck_streams_hold_up_nobody_else() {
    let (a, b) = pair().await;
    let c = TestNode::start();
    c.dial(&b).await.unwrap();
    // Sessions are read to their end, which never comes: all of `a`'s budget is stuck.
    let stuck = (0..limits::OUR_STREAMS).map(|_| a.links.open(b.node(), StreamKind::Session));
    let mut stuck = soon(futures::future::try_join_all(stuck)).await.unwrap();
    for (send, _) in &mut stuck {
        send.flush().await.unwrap();
    }
    assert_eq!(c.echo(b.node(), b"free").await.unwrap(), b"free");
    drop(stuck);
    assert_eq!(
        a.echo(b.node(), b"free again").await.unwrap(),
        b"free again"
    );
}

#[tokio::test]
async fn a_dropped_stream_is_reset_not_ended() {
    let (a, mut b) = pair().await;
    let (mut send, mut recv) = a.links.open(b.node(), StreamKind::Call).await.unwrap();
    send.write_all(b"half").await.unwrap();
    soon(b.seen.recv()).await.unwrap();
    drop(send);
    let mut answer = Vec::new();
    let error = soon(recv.read_to_end(&mut answer)).await.unwrap_err();
    assert_eq!(RecvStream::reset_reason(&error), Some(Reason::Closed));
    assert!(answer.is_empty());
}

#[tokio::test]
async fn frames_cross_a_link() {
    use frame::{FrameReader, FrameType, FrameWriter};
    let (a, b) = pair().await;
    let (send, recv) = a.links.open(b.node(), StreamKind::Call).await.unwrap();
    let (mut writer, mut reader) = (FrameWriter::new(send), FrameReader::new(recv));
    let payload = vec![7; 3_000_000];
    let write = async {
        writer.write(FrameType::Envelope, &payload).await.unwrap();
        writer.finish().await.unwrap();
    };
    let read = async { reader.next().await.unwrap().unwrap() };
    // The echo answers once it has everything.
    let ((), frame) = soon(async { tokio::join!(write, read) }).await;
    assert_eq!(frame.payload, payload);
    assert!(soon(reader.next()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_stream_is_seen_when_first_written_flushed_or_finished() {
    let (a, mut b) = pair().await;
    let kind = StreamKind::Call;
    for (first, flushed) in [(&b"x"[..], false), (b"", true), (b"", false)] {
        let (mut send, mut recv) = a.links.open(b.node(), kind).await.unwrap();
        if !first.is_empty() {
            send.write_all(first).await.unwrap();
        } else if flushed {
            send.flush().await.unwrap();
        } else {
            send.finish();
        }
        assert_eq!(soon(b.seen.recv()).await.unwrap(), (a.node(), kind));
        send.finish();
        let mut answer = Vec::new();
        soon(recv.read_to_end(&mut answer)).await.unwrap();
        assert_eq!(answer, first);
    }
    // Nor is one that waits, unwritten, any hindrance to those opened after it.
    let waiting = a.links.open(b.node(), kind).await.unwrap();
    assert_eq!(a.echo(b.node(), b"y").await.unwrap(), b"y");
    drop(waiting);
    assert_eq!(b.links.counters().snapshot(), Default::default());
}

#[tokio::test]
async fn streams_taken_back_at_once_are_no_fault() {
    let (a, b) = pair().await;
    for _ in 0..4 * limits::STREAM_FAULTS {
        drop(a.links.open(b.node(), StreamKind::Call).await.unwrap());
    }
    assert_eq!(a.echo(b.node(), b"x").await.unwrap(), b"x");
    assert_eq!(b.links.counters().snapshot(), Default::default());
}

#[tokio::test]
async fn handlers_learn_that_the_link_is_down() {
    for closed_here in [true, false] {
        let (a, mut b) = pair().await;
        let mut stream = a.links.open(b.node(), StreamKind::Sync).await.unwrap();
        stream.0.flush().await.unwrap();
        let started = soon(b.seen.recv()).await.unwrap();
        if closed_here {
            b.links.close(a.node(), Reason::Closed);
        } else {
            a.links.close(b.node(), Reason::Closed);
        }
        assert_eq!(soon(b.seen.recv()).await.unwrap(), started);
        drop(stream);
    }
}
