//! Document heads by gossip, on whole nodes that get nothing by sync streams: every peer they have
//! swallows those.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on should say where"
)]

use std::time::Duration;

use bytes::Bytes;
use node::overlay::heads::HEADS_TOPIC;
use node::transport::{Gossip, GossipError, GossipMessage, Verdict};
use protocol::control::{Publish, PublishedDocument};
use protocol::distribution::message::{Head, LogPush};
use protocol::distribution::{ANNOUNCED_ENTRIES, Message};
use protocol::id::{NodeId, SignerId};
use protocol::trust::Act;
use tests::admin::{Admin, holds, in_force};
use tests::forge::random;
use tests::hostile::Hostile;
use tests::mesh::{TestMesh, TestNode};
use tests::wait::{soon, until};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// When the next is announced, if what was announced has not crossed.
const AGAIN: Duration = Duration::from_secs(2);

/// What would be published at a node, as it is announced by gossip.
fn announced(admin: SignerId, publish: &Publish) -> Message {
    let [
        PublishedDocument::LogHead(head),
        PublishedDocument::LogEntries { from, entries, .. },
    ] = &publish.documents[..]
    else {
        panic!("not one log: {publish:?}");
    };
    Message::Head(Head::Log(LogPush {
        admin,
        head: head.0.as_slice().into(),
        from: *from,
        entries: entries.iter().map(|e| e.0.as_slice().into()).collect(),
    }))
}

/// Publishes once somebody listens.
async fn gossip(by: &Gossip, data: Vec<u8>) {
    let data = Bytes::from(data);
    let published = || async {
        match by.publish(HEADS_TOPIC, data.clone()).await {
            Err(GossipError::NobodyListens) => false,
            published => {
                published.unwrap();
                true
            }
        }
    };
    until("somebody listens", published).await;
}

async fn next(heard: &mut mpsc::Receiver<GossipMessage>) -> GossipMessage {
    soon(heard.recv()).await.unwrap()
}

async fn entries(at: &TestNode) -> u64 {
    let trust = in_force(at).await;
    trust.admins.iter().map(|admin| admin.entries).sum()
}

#[tokio::test]
async fn what_holds_goes_on_and_a_forgery_ends_at_the_first_hop() {
    let (mesh, hub) = TestMesh::found("hub").await;
    let admin = Admin::of(&hub.state);
    let trust = in_force(&hub).await;
    let place = admin.place(&hub).await;
    let c = mesh.join(&hub, "c").await;
    let victim = Hostile::enter(&mesh.admit(&hub, "victim").await);
    let (teller, says) = (mesh.admit(&hub, "teller").await, HEADS_TOPIC);
    let (teller, says, mut echoed) = Hostile::gossiping(&teller, says);
    let listener = mesh.admit(&hub, "listener").await;
    let (listener, warm, mut heard) = Hostile::gossiping(&listener, HEADS_TOPIC);
    // From here on nobody who has a link with `c` sends or takes a document on a stream.
    hub.stop().await;
    victim.link(&c).await;
    teller.link(&c).await;
    listener.link(&c).await;

    let (_, publish) = admin.signed(trust.mesh, place, Act::Node(victim.id()), "stolen");
    let good = announced(admin.id(), &publish);
    let forged = {
        let mut forged = good.clone();
        if let Message::Head(Head::Log(push)) = &mut forged {
            let mut bytes = push.head.to_vec();
            *bytes.last_mut().unwrap() ^= 1;
            push.head = bytes.into();
        }
        forged
    };
    // Not the sender's fault: `c` may just not know this admin yet.
    let elsewhere = TestMesh::empty();
    elsewhere.found_at("hub");
    let stranger = Admin::of(&elsewhere.state("hub"));
    let (_, unknown) = stranger.signed(trust.mesh, place, Act::Node(c.id()), "mine now");
    let unknown = announced(stranger.id(), &unknown);
    // Right in what `c` lacks, and not what `c` would say: taken, and not passed on so.
    let mut odd = good.clone();
    if let Message::Head(Head::Log(push)) = &mut odd {
        push.entries.push(b"more".as_slice().into());
    }

    // `c` knows that the listener listens once it heard from it; it is no head and rejected.
    gossip(&warm, Message::NodeRecord(b"no".as_slice().into()).encode()).await;
    c.counted("gossip_rejected", 1).await;
    gossip(&says, b"no message".to_vec()).await;
    c.counted("gossip_rejected", 2).await;
    gossip(&says, forged.encode()).await;
    c.counted("gossip_rejected", 3).await;
    gossip(&says, unknown.encode()).await;
    assert_eq!(entries(&c).await, 0);

    gossip(&says, odd.encode()).await;
    holds(&c, 1).await;
    // The one who said the odd thing, and everyone else, hears the right one from `c` itself.
    for heard in [&mut heard, &mut echoed] {
        let message = next(heard).await;
        assert_eq!(&message.data[..], good.encode());
        assert_eq!(message.from, c.id());
        message.verdict.say(Verdict::Ignore);
    }
    assert!(heard.try_recv().is_err(), "nothing else went on");
    // In force, not only known: the link is gone and does not come back.
    let gone = || async { c.node.links().get(victim.id()).is_none() };
    until("the victim is cut off", gone).await;
    drop(victim.dial(&c).await);
    assert!(c.node.links().get(victim.id()).is_none());
    // Score is what a forgery costs, not the link.
    assert!(c.node.links().get(teller.id()).is_some());
    assert_eq!(c.refusals().await.get("gossip_rejected"), Some(&3));
}

#[tokio::test]
async fn a_revocation_crosses_where_only_gossip_does() {
    let (mesh, hub) = TestMesh::found("hub").await;
    let admin = Admin::of(&hub.state);
    let c = mesh.join(&hub, "c").await;
    let between = mesh.admit(&hub, "between").await;
    let (between, _gossip, mut heard) = Hostile::gossiping(&between, HEADS_TOPIC);
    // Both come back on other ports, so neither finds the other any more.
    let (hub, c) = (hub.stop().await, c.stop().await);
    let (hub, c) = (TestNode::start(&hub).await, TestNode::start(&c).await);
    between.link(&hub).await;
    between.link(&c).await;
    let carry = tokio::spawn(async move {
        while let Some(message) = heard.recv().await {
            message.verdict.say(Verdict::Accept);
        }
    });
    // What is announced before everyone in the line listens is not lost: the next announcement
    // carries it along.
    let mut tries = 0;
    while entries(&c).await == 0 {
        tries += 1;
        assert!(tries <= ANNOUNCED_ENTRIES, "nothing crosses");
        let act = Act::Node(NodeId::from_bytes(random()));
        admin.revoke(&hub, act, "stolen").await;
        drop(timeout(AGAIN, holds(&c, 1)).await);
    }
    assert!(hub.node.links().get(c.id()).is_none());
    carry.abort();
}
