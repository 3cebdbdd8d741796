//! Nodes that do not follow the protocol: members like all others, with a connection, a key set of
//! their own, and whatever they heard. They hold no role's keys.

use std::collections::VecDeque;
use std::sync::Arc;

use protocol::crypto::Signer;
use protocol::distribution::head::HeadSet;
use protocol::distribution::message::{
    BundlePush, Head, Heads, LogPush, Message, Part, TimestampPush,
};
use protocol::id::Digest;
use protocol::time::UnixSeconds;
use protocol::trust::{BundleHead, Bytes, LogHead, Root, Timestamp, TrustState};

use super::crypto::{KeySet, SeededCrypto};
use crate::rng::Rng;

/// Most messages an adversary remembers.
const MAX_HEARD: usize = 128;

/// In what way a node misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Pushes documents with forged signatures, own keys, and changed content.
    Forger,
    /// Pushes what it heard before, in any order.
    Replayer,
    /// Takes everything and says nothing.
    Withholder,
    /// Claims versions that do not exist.
    Announcer,
    /// Runs the machine, and changes a bit in what it passes on.
    Tamperer,
}

/// A node that misbehaves.
#[derive(Debug)]
pub(crate) struct Adversary {
    pub(crate) kind: Kind,
    heard: VecDeque<Arc<Message>>,
}

/// What an adversary knows when it makes a message.
pub(crate) struct Knowledge<'a> {
    pub(crate) crypto: &'a SeededCrypto,
    /// What is in force in the mesh: all of it is public.
    pub(crate) state: &'a TrustState,
    pub(crate) now: UnixSeconds,
    /// Its own keys.
    pub(crate) keys: &'a KeySet,
}

impl Adversary {
    pub(crate) const fn new(kind: Kind) -> Self {
        Self {
            kind,
            heard: VecDeque::new(),
        }
    }

    /// Whether the production machine runs behind it.
    pub(crate) fn runs_machine(&self) -> bool {
        self.kind == Kind::Tamperer
    }

    /// Keeps a message for later.
    pub(crate) fn hear(&mut self, message: &Arc<Message>) {
        self.heard.push_back(Arc::clone(message));
        if self.heard.len() > MAX_HEARD {
            self.heard.pop_front();
        }
    }

    /// What it says next, if anything.
    pub(crate) fn say(&self, rng: &mut Rng, know: &Knowledge<'_>) -> Option<Arc<Message>> {
        match self.kind {
            Kind::Withholder | Kind::Tamperer => None,
            Kind::Replayer => self.any_heard(rng).cloned(),
            Kind::Announcer => Some(Arc::new(announce(rng, know))),
            Kind::Forger => self.forge(rng, know).map(Arc::new),
        }
    }

    fn any_heard(&self, rng: &mut Rng) -> Option<&Arc<Message>> {
        let last = self.heard.len().checked_sub(1)?;
        let which = usize::try_from(rng.between(0, last as u64)).ok()?;
        self.heard.get(which)
    }

    fn forge(&self, rng: &mut Rng, know: &Knowledge<'_>) -> Option<Message> {
        match rng.between(0, 5) {
            0 => forge_log(know),
            1 => forge_bundle(know),
            2 => forge_timestamp(know),
            3 => forge_root(know),
            _ => self.any_heard(rng).and_then(|m| tamper(rng, m)),
        }
    }
}

/// Heads that are ahead of everybody's.
fn announce(rng: &mut Rng, know: &Knowledge<'_>) -> Message {
    let mut heads: HeadSet = know.state.heads();
    let ahead = rng.between(1, 1000);
    match rng.between(0, 3) {
        0 => {
            heads.root.version += ahead;
            heads.root.hash = Digest::from_bytes(rng.bytes());
        }
        1 => {
            if let Some(bundle) = &mut heads.bundle {
                bundle.version += ahead;
                bundle.hash = Digest::from_bytes(rng.bytes());
            }
        }
        2 => {
            for log in &mut heads.logs {
                log.length += ahead;
                log.link = Digest::from_bytes(rng.bytes());
            }
        }
        _ => {
            for mark in &mut heads.timestamps {
                mark.version += ahead;
            }
        }
    }
    let answer = rng.chance(500);
    Message::Heads(Heads { heads, answer })
}

/// An admin's log, one entry longer, signed by who is no admin.
fn forge_log(know: &Knowledge<'_>) -> Option<Message> {
    let admin = *know.state.root().admin_ids().first()?;
    let heads = know.state.heads();
    let length = heads.log_length(&admin);
    let head = LogHead {
        mesh: know.state.mesh(),
        admin,
        length: length + 1,
        link: Digest::from_bytes([7; 32]),
        issued: know.now,
    };
    let head = head.sign(know.crypto, know.keys).ok()?;
    Some(Message::Head(Head::Log(LogPush {
        admin,
        head: head.into(),
        from: length,
        entries: vec![Bytes::from(&b"nothing"[..])],
    })))
}

/// A bundle signed by who is no admin.
fn forge_bundle(know: &Knowledge<'_>) -> Option<Message> {
    let body = protocol::trust::BundleBody::default().encode();
    let version = know.state.bundle().map_or(0, |b| b.version()) + 1;
    let head = BundleHead::over(know.crypto, know.state.root(), version, know.now, &body);
    let head = head.sign(know.crypto, &[know.keys as &dyn Signer]).ok()?;
    Some(Message::Head(Head::Bundle(BundlePush {
        head: head.into(),
        body: Some(body.into()),
    })))
}

/// The newest timestamp, of a later version, signed by who is no timestamper.
fn forge_timestamp(know: &Knowledge<'_>) -> Option<Message> {
    let content = know.state.newest_timestamp()?.content();
    let timestamper = content.timestamper;
    let forged = Timestamp {
        version: content.version + 1,
        time: know.now,
        ..content.clone()
    };
    let document = forged.sign(know.crypto, know.keys).ok()?;
    Some(Message::Head(Head::Timestamp(TimestampPush {
        timestamper,
        document: document.into(),
    })))
}

/// A next root in which the forger is the only admin.
fn forge_root(know: &Knowledge<'_>) -> Option<Message> {
    let before = know.state.root();
    let root = Root {
        version: before.root().version + 1,
        mesh: Some(before.mesh()),
        previous: Some(before.hash()),
        admins: vec![know.keys.public().clone()],
        threshold: 1,
        ..before.root().clone()
    };
    let bytes = root.sign(know.crypto, &[know.keys as &dyn Signer]).ok()?;
    Some(Message::Head(Head::Root(bytes.into())))
}

/// The same message with one bit changed in a document it carries; none if it carries none.
pub(crate) fn tamper(rng: &mut Rng, message: &Message) -> Option<Message> {
    let mut changed = message.clone();
    let bytes: &mut Bytes = match &mut changed {
        Message::Head(Head::Root(bytes)) => bytes,
        Message::Head(Head::Bundle(push)) => match &mut push.body {
            Some(body) if rng.chance(500) => body,
            _ => &mut push.head,
        },
        Message::Head(Head::Log(push)) => match push.entries.last_mut() {
            Some(entry) if rng.chance(500) => entry,
            _ => &mut push.head,
        },
        Message::Head(Head::Timestamp(push)) => &mut push.document,
        Message::Body(Part::Roots { roots, .. }) => roots.last_mut()?,
        Message::Body(Part::Body { bytes, .. }) => bytes,
        Message::Body(Part::Entries { entries, .. }) => entries.last_mut()?,
        Message::Acks(acks) => acks.acks.last_mut()?,
        Message::Heads(_)
        | Message::Fetch(_)
        | Message::PullAcks(_)
        | Message::EndPull(_)
        | Message::PullRefused(_)
        | Message::NodeRecord(_) => return None,
    };
    let mut copy = bytes.to_vec();
    let last = copy.len().checked_sub(1)?;
    let at = usize::try_from(rng.between(0, last as u64)).ok()?;
    let bit = rng.between(0, 7);
    *copy.get_mut(at)? ^= 1 << bit;
    *bytes = copy.into();
    Some(changed)
}
