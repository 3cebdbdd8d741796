//! Gossip: gossipsub (and ping) in a libp2p swarm over our links, driven by one task.
//!
//! Nothing is forwarded before it is judged here: every message waits for a [`Verdict`], and one
//! that is rejected goes no further than its first hop and costs who delivered it. Messages carry
//! no libp2p signature or sender (who says a thing stands inside its payload), their id is
//! SHA-256 over topic and data, topics are those given at start and no others.
//!
//! gossipsub runs on wall-clock timers throughout; a simulation drives the documents' state
//! machines instead, not this.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::gossipsub::{
    self, IdentityTransform, MessageAcceptance, MessageAuthenticity, MessageId, PeerScoreParams,
    PeerScoreThresholds, PublishError, TopicHash, TopicScoreParams, ValidationMode,
    WhitelistSubscriptionFilter,
};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{PeerId, Swarm, Transport, ping};
use protocol::crypto::Crypto;
use protocol::id::NodeId;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::carrier::{Carrier, Handover, multiaddr, node_id, peer_id};
use super::limits;
use super::links::{Links, SwarmLink};

/// Messages waiting to be published.
const PUBLISH_QUEUE: usize = 64;

/// Messages queued for one peer before gossipsub drops the next; with
/// [`limits::GOSSIP_BYTES`] each, 8 MiB.
const PEER_QUEUE: usize = 128;

/// What one rejected message costs its deliverer; the cost grows with the square of their
/// number and fades with [`FORGIVENESS`]. From nine on within seconds, gossipsub ignores it.
const REJECTION: f64 = -1.0;

/// How much of the count of rejected messages is left after each second.
const FORGIVENESS: f64 = 0.95;

/// Why gossip does not run or did not publish.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GossipError {
    /// gossipsub refuses its configuration.
    #[error("gossip cannot start: {0}")]
    Configuration(String),
    /// The topic was not given at start.
    #[error("`{0}` is not a gossip topic")]
    UnknownTopic(String),
    /// Beyond [`limits::GOSSIP_BYTES`].
    #[error("a gossip message has at most {max} bytes, this one has {found}", max = limits::GOSSIP_BYTES)]
    TooLarge {
        /// Bytes given.
        found: usize,
    },
    /// No linked peer listens to the topic now.
    #[error("no peer listens to this topic now")]
    NobodyListens,
    /// The same data was published or seen within the last minute.
    #[error("this message is known already")]
    Duplicate,
    /// The queues towards all peers are full.
    #[error("the queues towards all peers are full")]
    Busy,
    /// The swarm has stopped.
    #[error("gossip has stopped")]
    Stopped,
}

/// What to do with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Forward it.
    Accept,
    /// Forged or malformed: drop it and hold it against who delivered it.
    Reject,
    /// Stale or of no use: drop it.
    Ignore,
}

/// The verdict a message still waits for. Dropped unsaid, it is [`Verdict::Ignore`].
#[derive(Debug)]
pub struct PendingVerdict(Option<(mpsc::OwnedPermit<Judged>, MessageId, PeerId)>);

type Judged = (MessageId, PeerId, Verdict);

impl PendingVerdict {
    /// Says it. gossipsub remembers a message for about five seconds; a later
    /// [`Verdict::Accept`] is not forwarded any more.
    pub fn say(mut self, verdict: Verdict) {
        self.send(verdict);
    }

    fn send(&mut self, verdict: Verdict) {
        if let Some((permit, message, peer)) = self.0.take() {
            permit.send((message, peer, verdict));
        }
    }
}

impl Drop for PendingVerdict {
    fn drop(&mut self) {
        self.send(Verdict::Ignore);
    }
}

/// A message from a peer, to be judged.
#[derive(Debug)]
pub struct GossipMessage {
    /// One of the topics given at start.
    pub topic: String,
    /// At most [`limits::GOSSIP_BYTES`].
    pub data: Bytes,
    /// Who delivered it, which says nothing about who wrote it.
    pub from: NodeId,
    /// To be said.
    pub verdict: PendingVerdict,
}

/// Publishes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Gossip {
    topics: Arc<HashSet<String>>,
    publish: mpsc::Sender<Publish>,
}

struct Publish {
    topic: String,
    data: Bytes,
    done: oneshot::Sender<Result<(), GossipError>>,
}

impl Gossip {
    /// Starts gossip on `links`, before [`Links::serve`]. The receiver yields every message on
    /// the given topics; while it is not read, messages beyond [`limits::GOSSIP_QUEUE`] are
    /// ignored.
    ///
    /// # Errors
    /// [`GossipError::Configuration`].
    pub fn start(
        links: &Links,
        topics: &[&str],
        crypto: Arc<dyn Crypto>,
    ) -> Result<(Self, mpsc::Receiver<GossipMessage>), GossipError> {
        let (tasks, stop) = links.tasks();
        let handover = Arc::new(Handover::default());
        let own = peer_id(links.node())
            .ok_or_else(|| GossipError::Configuration("no libp2p id".to_owned()))?;
        let behaviour = Behaviour {
            gossipsub: gossipsub(topics, crypto)?,
            ping: ping::Behaviour::default(),
        };
        let transport = Carrier::new(Arc::clone(&handover))
            .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
            .boxed();
        let spawner = tasks.clone();
        let config = libp2p::swarm::Config::with_executor(move |task| drop(spawner.spawn(task)))
            // Links end by the registry's decision, not because gossip has nothing to say.
            .with_idle_connection_timeout(core::time::Duration::MAX);
        let mut swarm = Swarm::new(transport, behaviour, own, config);
        let address = links.local_addr().map(multiaddr);
        let address = address.map_err(|error| GossipError::Configuration(error.to_string()))?;
        let listening = swarm.listen_on(address);
        listening.map_err(|error| GossipError::Configuration(error.to_string()))?;

        let (feed, fed) = mpsc::channel(limits::SWARM_QUEUE);
        let (publish, publishing) = mpsc::channel(PUBLISH_QUEUE);
        let (judge, judged) = mpsc::channel(limits::GOSSIP_QUEUE);
        let (deliver, inbound) = mpsc::channel(limits::GOSSIP_QUEUE);
        links.feed(feed);
        let driver = Driver {
            swarm,
            handover,
            fed,
            publishing,
            judge,
            judged,
            deliver,
            stop: stop.clone(),
        };
        tasks.spawn(driver.run());
        let topics = topics.iter().map(|&topic| topic.to_owned()).collect();
        let gossip = Self {
            topics: Arc::new(topics),
            publish,
        };
        Ok((gossip, inbound))
    }

    /// Sends `data` to every linked peer that listens to `topic`; they judge and forward it.
    ///
    /// # Errors
    /// See [`GossipError`].
    pub async fn publish(&self, topic: &str, data: Bytes) -> Result<(), GossipError> {
        if !self.topics.contains(topic) {
            return Err(GossipError::UnknownTopic(topic.to_owned()));
        }
        let found = data.len();
        if found > limits::GOSSIP_BYTES {
            return Err(GossipError::TooLarge { found });
        }
        let (done, published) = oneshot::channel();
        let topic = topic.to_owned();
        let publish = Publish { topic, data, done };
        let sent = self.publish.send(publish).await;
        sent.map_err(|_| GossipError::Stopped)?;
        published.await.unwrap_or(Err(GossipError::Stopped))
    }
}

type Gossipsub = gossipsub::Behaviour<IdentityTransform, WhitelistSubscriptionFilter>;

#[derive(NetworkBehaviour)]
struct Behaviour {
    gossipsub: Gossipsub,
    ping: ping::Behaviour,
}

fn gossipsub(topics: &[&str], crypto: Arc<dyn Crypto>) -> Result<Gossipsub, GossipError> {
    let refused = |error: &dyn core::fmt::Display| GossipError::Configuration(error.to_string());
    let topics: HashSet<TopicHash> = topics.iter().copied().map(TopicHash::from_raw).collect();
    let config = gossipsub::ConfigBuilder::default()
        .validation_mode(ValidationMode::Anonymous)
        .validate_messages()
        // Who takes what it hears passes it on; sending to every link besides would be as often as
        // there are links, on every node.
        .flood_publish(false)
        .message_id_fn(move |message| {
            let topic = message.topic.as_str().as_bytes();
            let length = u64::try_from(topic.len()).unwrap_or(u64::MAX).to_be_bytes();
            let id = crypto.sha256(&[&length, topic, &message.data]);
            MessageId::from(id.to_vec())
        })
        // Room for the message and the few bytes of protobuf around it.
        .max_transmit_size(limits::GOSSIP_BYTES + 1024)
        .connection_handler_queue_len(PEER_QUEUE)
        .build()
        .map_err(|error| refused(&error))?;
    let mut behaviour = Gossipsub::new_with_subscription_filter(
        MessageAuthenticity::Anonymous,
        config,
        WhitelistSubscriptionFilter(topics.clone()),
    )
    .map_err(|error| refused(&error))?;
    let scores = PeerScoreParams {
        topics: topics.iter().map(|t| (t.clone(), topic_score())).collect(),
        // Many nodes share an address in one site; slowness is nobody's fault.
        ip_colocation_factor_weight: 0.0,
        slow_peer_weight: 0.0,
        ..PeerScoreParams::default()
    };
    behaviour
        .with_peer_score(scores, PeerScoreThresholds::default())
        .map_err(|error| refused(&error))?;
    for topic in topics {
        let topic = gossipsub::IdentTopic::new(topic.into_string());
        let subscribed = behaviour.subscribe(&topic);
        subscribed.map_err(|error| refused(&error))?;
    }
    Ok(behaviour)
}

/// Only rejected messages count, neither for nor against anything else: a quiet mesh is normal.
fn topic_score() -> TopicScoreParams {
    TopicScoreParams {
        topic_weight: 1.0,
        time_in_mesh_weight: 0.0,
        first_message_deliveries_weight: 0.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: REJECTION,
        invalid_message_deliveries_decay: FORGIVENESS,
        ..TopicScoreParams::default()
    }
}

/// The task that owns the swarm.
struct Driver {
    swarm: Swarm<Behaviour>,
    handover: Arc<Handover>,
    fed: mpsc::Receiver<SwarmLink>,
    publishing: mpsc::Receiver<Publish>,
    judge: mpsc::Sender<Judged>,
    judged: mpsc::Receiver<Judged>,
    deliver: mpsc::Sender<GossipMessage>,
    stop: CancellationToken,
}

impl Driver {
    async fn run(mut self) {
        loop {
            // Not biased: no source of work, the peers' least of all, may starve another.
            tokio::select! {
                () = self.stop.cancelled() => return,
                Some(link) = self.fed.recv() => self.connect(link),
                Some(publish) = self.publishing.recv() => self.publish(publish),
                Some(judged) = self.judged.recv() => self.report(judged),
                event = self.swarm.select_next_some() => self.happened(event),
            }
        }
    }

    fn connect(&mut self, link: SwarmLink) {
        let facts = &link.link.facts;
        let Some(peer) = peer_id(facts.peer) else {
            return;
        };
        if !facts.dialed {
            self.handover.accepted(link);
            return;
        }
        let address = multiaddr(link.link.info().remote);
        self.handover.dialed(peer, link);
        let dial = DialOpts::peer_id(peer)
            .addresses(vec![address])
            .condition(PeerCondition::Always)
            .build();
        if let Err(error) = self.swarm.dial(dial) {
            tracing::warn!(%peer, "gossip does not take the link: {error}");
        }
    }

    fn publish(&mut self, publish: Publish) {
        let topic = TopicHash::from_raw(publish.topic);
        let gossipsub = &mut self.swarm.behaviour_mut().gossipsub;
        let found = publish.data.len();
        let published = match gossipsub.publish(topic, publish.data) {
            Ok(_) => Ok(()),
            Err(PublishError::Duplicate) => Err(GossipError::Duplicate),
            Err(PublishError::MessageTooLarge) => Err(GossipError::TooLarge { found }),
            Err(PublishError::NoPeersSubscribedToTopic) => Err(GossipError::NobodyListens),
            Err(_) => Err(GossipError::Busy),
        };
        // Who asked may have gone.
        let _ = publish.done.send(published);
    }

    fn report(&mut self, (message, peer, verdict): Judged) {
        let acceptance = match verdict {
            Verdict::Accept => MessageAcceptance::Accept,
            Verdict::Reject => MessageAcceptance::Reject,
            Verdict::Ignore => MessageAcceptance::Ignore,
        };
        let gossipsub = &mut self.swarm.behaviour_mut().gossipsub;
        // False when gossipsub has forgotten the message; there is nothing to do then.
        gossipsub.report_message_validation_result(&message, &peer, acceptance);
    }

    fn happened(&mut self, event: SwarmEvent<BehaviourEvent>) {
        let SwarmEvent::Behaviour(BehaviourEvent::Gossipsub(gossipsub::Event::Message {
            propagation_source: peer,
            message_id,
            message,
        })) = event
        else {
            return;
        };
        let room = self.judge.clone().try_reserve_owned();
        let (Ok(permit), Some(from)) = (room, node_id(&peer)) else {
            self.report((message_id, peer, Verdict::Ignore));
            return;
        };
        let message = GossipMessage {
            topic: message.topic.into_string(),
            data: message.data.into(),
            from,
            verdict: PendingVerdict(Some((permit, message_id, peer))),
        };
        // Dropped when the reader is behind, and so ignored.
        let _ = self.deliver.try_send(message);
    }
}
