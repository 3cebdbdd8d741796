//! Gossip over links.

use bytes::Bytes;

use super::*;

const TOPIC: &str = "hedgerow/1/records";

/// How messages begin that are only sent to see whether somebody listens.
const WARM: &[u8] = b"warm";

struct GossipNode {
    node: TestNode,
    gossip: Gossip,
    inbound: mpsc::Receiver<GossipMessage>,
}

impl GossipNode {
    fn start() -> Self {
        let node = TestNode::bind(config(), Word::new("hi", "hi"), identity());
        let crypto = Arc::new(Primitives);
        let (gossip, inbound) = Gossip::start(&node.links, &[TOPIC], crypto).unwrap();
        node.links.serve(Arc::clone(&node.echo) as Arc<_>);
        Self {
            node,
            gossip,
            inbound,
        }
    }

    /// Publishes once somebody listens.
    async fn publish(&self, data: &'static [u8]) {
        soon(async {
            loop {
                match self.gossip.publish(TOPIC, Bytes::from_static(data)).await {
                    Err(GossipError::NobodyListens) => tokio::task::yield_now().await,
                    published => return published.unwrap(),
                }
            }
        })
        .await;
    }

    /// Returns when `other` is known to listen to this node.
    async fn reaches(&self, other: &mut Self) {
        for number in 0_u32.. {
            let data = [WARM, &number.to_be_bytes()].concat();
            // Nobody listening yet is what this waits for.
            let _ = self.gossip.publish(TOPIC, data.into()).await;
            let heard = timeout(Duration::from_millis(50), other.inbound.recv()).await;
            if heard.is_ok() {
                return;
            }
            assert!(number < 600, "should not hang");
        }
    }

    async fn next(&mut self) -> GossipMessage {
        loop {
            let message = soon(self.inbound.recv()).await.unwrap();
            if !message.data.starts_with(WARM) {
                return message;
            }
        }
    }

    fn has_heard_nothing(&mut self) -> bool {
        let mut heard = core::iter::from_fn(|| self.inbound.try_recv().ok());
        heard.all(|message| message.data.starts_with(WARM))
    }
}

#[tokio::test]
async fn a_message_travels_hop_by_hop_once_accepted() {
    let (a, mut b, mut c) = (
        GossipNode::start(),
        GossipNode::start(),
        GossipNode::start(),
    );
    a.node.dial(&b.node).await.unwrap();
    c.node.dial(&b.node).await.unwrap();
    b.reaches(&mut c).await;
    a.publish(b"record").await;
    let message = b.next().await;
    assert_eq!(
        (message.topic.as_str(), &message.data[..]),
        (TOPIC, &b"record"[..])
    );
    assert_eq!(message.from, a.node.node());
    // Not before it is judged.
    assert!(c.has_heard_nothing());
    message.verdict.say(Verdict::Accept);
    let message = c.next().await;
    assert_eq!(
        (&message.data[..], message.from),
        (&b"record"[..], b.node.node())
    );
    // Calls go on beside it.
    assert_eq!(a.node.echo(b.node.node(), b"call").await.unwrap(), b"call");
    let counted = b.node.links.counters().snapshot();
    assert_eq!(counted, Default::default());
}

#[tokio::test]
async fn rejected_and_ignored_messages_stop_at_the_first_hop() {
    let (a, mut b, mut c) = (
        GossipNode::start(),
        GossipNode::start(),
        GossipNode::start(),
    );
    a.node.dial(&b.node).await.unwrap();
    b.node.dial(&c.node).await.unwrap();
    b.reaches(&mut c).await;
    a.publish(b"forged").await;
    a.publish(b"stale").await;
    a.publish(b"dropped").await;
    a.publish(b"good").await;
    for _ in 0..4 {
        let message = b.next().await;
        match &message.data[..] {
            b"forged" => message.verdict.say(Verdict::Reject),
            b"stale" => message.verdict.say(Verdict::Ignore),
            b"dropped" => drop(message),
            b"good" => message.verdict.say(Verdict::Accept),
            other => panic!("{other:?}"),
        }
    }
    // Messages of one peer keep their order: what else were to come would be here first.
    assert_eq!(&c.next().await.data[..], b"good");
    assert!(c.has_heard_nothing());
}

#[tokio::test]
async fn gossip_is_bounded() {
    let a = GossipNode::start();
    let too_large = Bytes::from(vec![0; limits::GOSSIP_BYTES + 1]);
    let found = too_large.len();
    assert_eq!(
        a.gossip.publish(TOPIC, too_large).await,
        Err(GossipError::TooLarge { found })
    );
    assert_eq!(
        a.gossip.publish("other", Bytes::new()).await,
        Err(GossipError::UnknownTopic("other".to_owned()))
    );
    assert_eq!(
        a.gossip.publish(TOPIC, Bytes::new()).await,
        Err(GossipError::NobodyListens)
    );
}

#[tokio::test]
async fn the_largest_message_passes() {
    let (a, mut b) = (GossipNode::start(), GossipNode::start());
    a.node.dial(&b.node).await.unwrap();
    a.reaches(&mut b).await;
    let data = Bytes::from(vec![7; limits::GOSSIP_BYTES]);
    a.gossip.publish(TOPIC, data.clone()).await.unwrap();
    assert_eq!(b.next().await.data, data);
    assert_eq!(
        a.gossip.publish(TOPIC, data).await,
        Err(GossipError::Duplicate)
    );
}

#[tokio::test]
async fn gossip_survives_a_link_that_goes_and_comes_back() {
    let (a, mut b) = (GossipNode::start(), GossipNode::start());
    a.node.dial(&b.node).await.unwrap();
    a.publish(b"one").await;
    assert_eq!(&b.next().await.data[..], b"one");
    b.node.links.close(a.node.node(), Reason::Closed);
    soon(async {
        while !a.node.links.all().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    b.node.dial(&a.node).await.unwrap();
    a.publish(b"two").await;
    assert_eq!(&b.next().await.data[..], b"two");
}

#[tokio::test]
async fn stopping_ends_the_swarm() {
    let (a, b) = (GossipNode::start(), GossipNode::start());
    a.node.dial(&b.node).await.unwrap();
    let gossip = a.gossip.clone();
    a.node.stop().await;
    assert_eq!(
        gossip.publish(TOPIC, Bytes::new()).await,
        Err(GossipError::Stopped)
    );
}

#[tokio::test]
async fn a_node_without_gossip_is_no_trouble() {
    let (a, b) = (GossipNode::start(), TestNode::start());
    a.node.dial(&b).await.unwrap();
    assert_eq!(a.node.echo(b.node(), b"call").await.unwrap(), b"call");
    assert!(b.links.counters().snapshot().is_empty());
}
