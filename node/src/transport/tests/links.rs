//! Admission, one link per pair, closing.

use super::*;

#[tokio::test]
async fn a_link_says_what_was_negotiated() {
    let (a, b) = pair().await;
    for (node, peer, dialed) in [(&a, b.node(), true), (&b, a.node(), false)] {
        let link = node.links.get(peer).unwrap();
        assert_eq!(link.group, "X25519MLKEM768");
        assert_eq!(link.signature_scheme, "id-MLDSA65-Ed25519-SHA512");
        assert_eq!((link.peer, link.dialed), (peer, dialed));
        assert_eq!(link.rtts, Some(1), "dialed: {dialed}");
        assert!(link.handshake_ms > 0.0 && link.hello_ms > 0.0);
        assert_eq!(node.links.all(), [node.links.get(peer).unwrap()]);
        let json = serde_json::to_value(&link).unwrap();
        assert_eq!(json["path"], "direct");
    }
    assert_eq!(a.echo(b.node(), b"there").await.unwrap(), b"there");
    assert_eq!(b.echo(a.node(), b"and back").await.unwrap(), b"and back");
}

#[tokio::test]
async fn a_second_dial_returns_the_link_there_is() {
    let (a, b) = pair().await;
    let first = a.links.get(b.node()).unwrap();
    // Without an expected node the peer is only known after the handshake.
    let again = soon(a.links.dial(b.address(), None)).await.unwrap();
    assert_eq!(again.since, first.since);
    let back = soon(b.links.dial(a.address(), None)).await.unwrap();
    assert!(back.peer == a.node());
    assert_eq!((a.links.all().len(), b.links.all().len()), (1, 1));
    assert_eq!(a.echo(b.node(), b"x").await.unwrap(), b"x");
}

#[tokio::test]
async fn simultaneous_dials_leave_one_link() {
    for _ in 0..8 {
        let (a, b) = (TestNode::start(), TestNode::start());
        let (low, high) = if a.node() < b.node() { (a, b) } else { (b, a) };
        let dials = futures::future::join_all((0..4).map(|_| async {
            let (one, two) = tokio::join!(
                low.links.dial(high.address(), None),
                high.links.dial(low.address(), None)
            );
            (one.unwrap(), two.unwrap())
        }));
        soon(dials).await;
        // Superseded connections drain; the registry settles on the same one at both ends.
        let settled = |node: &TestNode, peer, dialed| {
            node.links
                .get(peer)
                .is_some_and(|link| link.dialed == dialed)
        };
        soon(async {
            while !(settled(&low, high.node(), true) && settled(&high, low.node(), false)) {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!((low.links.all().len(), high.links.all().len()), (1, 1));
        assert_eq!(low.echo(high.node(), b"x").await.unwrap(), b"x");
        assert_eq!(high.echo(low.node(), b"y").await.unwrap(), b"y");
    }
}

#[tokio::test]
async fn streams_of_the_surviving_link_are_untouched() {
    let (a, b) = (TestNode::start(), TestNode::start());
    let (low, mut high) = if a.node() < b.node() { (a, b) } else { (b, a) };
    low.dial(&high).await.unwrap();
    let (mut send, mut recv) = low
        .links
        .open(high.node(), StreamKind::Session)
        .await
        .unwrap();
    send.write_all(b"before ").await.unwrap();
    assert_eq!(soon(high.seen.recv()).await.unwrap().1, StreamKind::Session);
    // The higher node dials too and has to give way.
    let link = soon(high.links.dial(low.address(), None)).await.unwrap();
    assert!(!link.dialed);
    send.write_all(b"after").await.unwrap();
    send.finish();
    let mut answer = Vec::new();
    soon(recv.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(answer, b"before after");
}

#[tokio::test]
async fn a_restarted_peer_supersedes_its_former_self() {
    let (a, b) = (identity(), TestNode::start());
    let node = |_| TestNode::with(config(), Word::new("hi", "hi"), Arc::clone(&a));
    // Both processes stay alive, as a dead one looks to its peer until the idle timeout.
    let before = node(());
    before.dial(&b).await.unwrap();
    let mut after = node(());
    soon(b.links.dial(after.address(), None)).await.unwrap();
    assert_eq!(b.links.get(after.node()).unwrap().remote, after.address());
    assert!(matches!(after.event().await, LinkEvent::Up { .. }));
    assert_eq!(after.echo(b.node(), b"new").await.unwrap(), b"new");
}

#[tokio::test]
async fn another_node_than_expected_is_refused() {
    let (a, b) = (TestNode::start(), TestNode::start());
    let other = NodeId::from_bytes([7; 32]);
    let error = soon(a.links.dial(b.address(), Some(other)))
        .await
        .unwrap_err();
    let reason = Reason::WrongNode;
    assert_eq!(error, LinkError::Refused { reason });
    assert_eq!(a.links.counters().of(reason), 1);
    b.counted(Reason::HandshakeFailed).await;
    assert!(b.links.all().is_empty());
}

#[tokio::test]
async fn a_nodes_own_key_is_refused() {
    let a = TestNode::start();
    let error = soon(a.links.dial(a.address(), None)).await.unwrap_err();
    assert_eq!(error.name(), "own_key", "{error}");
}

#[tokio::test]
async fn nothing_there_is_unreachable() {
    let a = TestNode::with(
        Config {
            idle_timeout: Duration::from_millis(300),
            ..config()
        },
        Word::new("hi", "hi"),
        identity(),
    );
    // Bound, so that nobody else answers, and never read.
    let deaf = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let remote = deaf.local_addr().unwrap();
    let error = soon(a.links.dial(remote, None)).await.unwrap_err();
    assert_eq!(error, LinkError::Unreachable { remote });
}

#[tokio::test]
async fn either_side_can_refuse_and_both_know_why() {
    let foreign = Refusal::new("foreign_mesh", "the peer is of another mesh");
    for dialer_refuses in [true, false] {
        let wants = |here: bool| if here { "other" } else { "hi" };
        let a = TestNode::with(config(), Word::new("hi", wants(dialer_refuses)), identity());
        let b = TestNode::with(
            config(),
            Word::new("hi", wants(!dialer_refuses)),
            identity(),
        );
        let error = a.dial(&b).await.unwrap_err();
        let refuser = if dialer_refuses {
            assert_eq!(error, LinkError::NotAdmitted(foreign.clone()));
            &a
        } else {
            assert_eq!(error, LinkError::NotAdmittedByPeer(foreign.clone()));
            &b
        };
        refuser.counted(Reason::NotAdmitted).await;
        assert_eq!(
            refuser.links.counters().snapshot()["not_admitted/foreign_mesh"],
            1
        );
        assert!(a.links.all().is_empty() && b.links.all().is_empty());
    }
}

#[tokio::test]
async fn an_oversized_hello_is_refused() {
    let big = "x".repeat(protocol::limits::MAX_HELLO_BYTES + 1);
    let a = TestNode::with(config(), Word::new(&big, "hi"), identity());
    let b = TestNode::start();
    let error = a.dial(&b).await.unwrap_err();
    assert_eq!(error.name(), "hello_too_large");
}

#[tokio::test]
async fn the_largest_hello_passes() {
    let big = "x".repeat(protocol::limits::MAX_HELLO_BYTES);
    let start = || TestNode::with(config(), Word::new(&big, &big), identity());
    let (a, b) = (start(), start());
    a.dial(&b).await.unwrap();
}

#[tokio::test]
async fn close_fails_streams_in_flight_and_reports_down() {
    let (mut a, mut b) = pair().await;
    let since = b.links.get(a.node()).unwrap().since;
    assert_eq!(b.links.last_heard(a.node()), None, "it is heard now");
    let (mut send, mut recv) = a.links.open(b.node(), StreamKind::Session).await.unwrap();
    send.write_all(b"half a message").await.unwrap();
    soon(b.seen.recv()).await.unwrap();
    assert!(b.links.close(a.node(), Reason::Closed));
    let reason = Reason::Closed;
    let down = |peer| LinkEvent::Down { peer, reason };
    assert_eq!(b.event().await, down(a.node()));
    assert_eq!(a.event().await, down(b.node()));
    let mut answer = Vec::new();
    assert!(soon(recv.read_to_end(&mut answer)).await.is_err());
    assert!(a.links.all().is_empty() && b.links.all().is_empty());
    let heard = b.links.last_heard(a.node()).unwrap();
    assert!(heard >= since, "{heard:?}");
    assert!(a.links.last_heard(b.node()) >= Some(since));
    assert!(!b.links.close(a.node(), Reason::Closed), "closed already");
    let error = a.links.open(b.node(), StreamKind::Call).await.unwrap_err();
    assert_eq!(error, LinkError::NoLink { peer: b.node() });
}

#[tokio::test]
async fn a_vanished_peer_times_out() {
    let config = Config {
        idle_timeout: Duration::from_millis(300),
        ..config()
    };
    let mut a = TestNode::with(config, Word::new("hi", "hi"), identity());
    let thread = std::thread::spawn(TestNode::spawn_elsewhere);
    let (runtime, b) = thread.join().unwrap();
    a.dial(&b).await.unwrap();
    assert!(matches!(a.event().await, LinkEvent::Up { .. }));
    // Its runtime is gone, and with it whoever could say goodbye.
    runtime.shutdown_background();
    let reason = Reason::TimedOut;
    assert_eq!(
        a.event().await,
        LinkEvent::Down {
            peer: b.node(),
            reason
        }
    );
}

impl TestNode {
    fn spawn_elsewhere() -> (tokio::runtime::Runtime, Self) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let node = runtime.block_on(async { Self::start() });
        (runtime, node)
    }
}

#[tokio::test]
async fn stopping_tells_peers_and_ends_every_task() {
    let (a, mut b) = pair().await;
    let peer = a.node();
    a.stop().await;
    let reason = Reason::Stopping;
    assert_eq!(b.event().await, LinkEvent::Down { peer, reason });
}

#[tokio::test]
async fn nothing_is_dialed_before_serving() {
    let a = TestNode::bind(config(), Word::new("hi", "hi"), identity());
    let b = TestNode::start();
    assert_eq!(a.dial(&b).await.unwrap_err(), LinkError::NotServing);
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let a = TestNode::start();
    let error = Links::bind(
        Config::new(a.address()),
        identity(),
        Arc::new(Primitives),
        Word::new("hi", "hi"),
        TaskTracker::new(),
        CancellationToken::new(),
    )
    .err()
    .unwrap();
    assert!(matches!(error, BindError::InUse { address } if address == a.address()));
    assert!(error.to_string().contains("hint:"));
}
