//! A mesh with three admins, two timestampers and an issuer, and everything they can sign.

use std::sync::Arc;

use protocol::crypto::{Signer, SigningSet, Suite};
use protocol::id::{Digest, EntryId, NodeId, SignerId};
use protocol::name::Name;
use protocol::time::UnixSeconds;
use protocol::trust::bundle::Policy;
use protocol::trust::revocation::Log;
use protocol::trust::revoked::Standing;
use protocol::trust::{
    Act, BundleBody, BundleHead, Bytes, Document, Issuer, Offer, Retired, Root, Timestamp,
    TrustError, TrustState, VerifiedRoot,
};

use crate::fake::{Fake, Keys};

/// The time of every test unless it says otherwise.
pub(crate) const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

/// A mesh.
pub(crate) struct World {
    pub(crate) admins: Vec<Keys>,
    pub(crate) timestampers: Vec<Keys>,
    pub(crate) issuer: Keys,
    pub(crate) genesis: Bytes,
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) fn node(number: u32) -> NodeId {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    NodeId::from_bytes(bytes)
}

pub(crate) fn id(keys: &Keys) -> SignerId {
    keys.public().id(&Fake)
}

pub(crate) fn publics(keys: &[Keys]) -> Vec<SigningSet> {
    keys.iter().map(|k| k.public().clone()).collect()
}

pub(crate) fn signers(keys: &[Keys]) -> Vec<&dyn Signer> {
    keys.iter().map(|k| k as &dyn Signer).collect()
}

/// The name of a refusal.
pub(crate) fn refusal(result: Result<Offer, TrustError>) -> &'static str {
    result.map_or_else(|e| e.reason(), |offer| panic!("not refused: {offer:?}"))
}

impl World {
    /// A mesh of three admins of whom `threshold` must sign.
    pub(crate) fn new(threshold: u64) -> Self {
        let numbered = |role: &str, count| {
            let one = |i: i32| Keys::of(&format!("{role}-{i}"));
            (0..count).map(one).collect::<Vec<_>>()
        };
        let mut world = Self {
            admins: numbered("admin", 3),
            timestampers: numbered("timestamper", 2),
            issuer: Keys::of("issuer"),
            genesis: Arc::from([]),
        };
        let root = Root {
            version: 1,
            epoch: 1,
            mesh: None,
            name: name("test"),
            suite: Suite::Hybrid.byte(),
            created: NOW.minus(86_400),
            admins: publics(&world.admins),
            threshold,
            issuers: vec![Issuer {
                keys: world.issuer.public().clone(),
                groups: None,
                sites: None,
                max_life_s: 86_400,
                max_per_hour: 100,
            }],
            timestampers: publics(&world.timestampers),
            lease_s: 86_400,
            read_grace_s: 3600,
            nonce: vec![7; 16],
            previous: None,
            retired: None,
            hosts: None,
        };
        let signed = root.sign(&Fake, &signers(&world.admins)).unwrap();
        world.genesis = signed.into();
        world
    }

    /// A node that knows the genesis only.
    pub(crate) fn node(&self) -> Node {
        Node {
            state: TrustState::genesis(&Fake, &self.genesis).unwrap(),
            now: NOW,
        }
    }

    /// A log of an admin, to write in.
    pub(crate) fn log(&self, admin: usize) -> Writer {
        let root = VerifiedRoot::genesis(&Fake, &self.genesis).unwrap();
        let keys = self.admins[admin].clone();
        Writer {
            log: Log::new(root.mesh(), id(&keys)),
            keys,
        }
    }

    /// A root that follows `before`, changed by `alter`, signed by `by`.
    pub(crate) fn root_after(
        &self,
        before: &VerifiedRoot,
        by: &[Keys],
        alter: impl FnOnce(&mut Root),
    ) -> Bytes {
        let mut root = before.root().clone();
        root.version += 1;
        root.mesh = Some(before.mesh());
        root.previous = Some(before.hash());
        alter(&mut root);
        root.sign(&Fake, &signers(by)).unwrap().into()
    }

    /// A bundle of `policies` for `state`, signed by `by`.
    pub(crate) fn bundle(
        &self,
        state: &TrustState,
        version: u64,
        policies: &[&str],
        by: &[Keys],
    ) -> (Bytes, Bytes) {
        let policies = policies.iter().map(|policy| Policy {
            name: policy.parse().unwrap(),
            media_type: "application/json".to_owned(),
            bytes: b"{}".to_vec(),
        });
        let body = BundleBody {
            policies: policies.collect(),
            ..BundleBody::default()
        };
        let body = body.encode();
        let head = BundleHead::over(&Fake, state.root(), version, NOW, &body);
        let head = head.sign(&Fake, &signers(by)).unwrap();
        (head.into(), body.into())
    }

    /// A timestamp of what `state` holds, altered, by one of the timestampers.
    pub(crate) fn stamp_otherwise(
        &self,
        state: &TrustState,
        by: usize,
        time: UnixSeconds,
        alter: impl FnOnce(&mut Timestamp),
    ) -> Bytes {
        let keys = &self.timestampers[by];
        let mut draft = state.draft_timestamp(id(keys), time, 100);
        alter(&mut draft);
        draft.sign(&Fake, keys).unwrap().into()
    }

    /// A timestamp of what `state` holds.
    pub(crate) fn stamp(&self, state: &TrustState, by: usize, time: UnixSeconds) -> Bytes {
        self.stamp_otherwise(state, by, time, |_| ())
    }

    /// A timestamp of what `state` holds, stating so many nodes.
    pub(crate) fn stamp_with(
        &self,
        state: &TrustState,
        by: usize,
        time: UnixSeconds,
        nodes: u64,
    ) -> Bytes {
        let keys = &self.timestampers[by];
        let draft = state.draft_timestamp(id(keys), time, nodes);
        draft.sign(&Fake, keys).unwrap().into()
    }

    /// How the root lists a retired admin.
    pub(crate) fn retire(&self, writer: &Writer) -> Retired {
        Retired {
            admin: writer.keys.public().clone(),
            length: writer.log.length(),
            link: writer.log.link(),
        }
    }
}

/// A node's state and clock.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) state: TrustState,
    pub(crate) now: UnixSeconds,
}

impl Node {
    pub(crate) fn offer(&mut self, document: &Document) -> Result<Offer, TrustError> {
        self.state.offer(&Fake, self.now, document)
    }

    pub(crate) fn root(&mut self, bytes: &Bytes) -> Result<Offer, TrustError> {
        self.offer(&Document::Root(Bytes::clone(bytes)))
    }

    pub(crate) fn timestamp(&mut self, bytes: &Bytes) -> Result<Offer, TrustError> {
        self.offer(&Document::Timestamp(Bytes::clone(bytes)))
    }

    pub(crate) fn head(&mut self, bytes: &Bytes) -> Result<Offer, TrustError> {
        self.offer(&Document::BundleHead(Bytes::clone(bytes)))
    }

    pub(crate) fn body(&mut self, bytes: &Bytes) -> Result<Offer, TrustError> {
        self.offer(&Document::BundleBody(Bytes::clone(bytes)))
    }

    pub(crate) fn log_head(&mut self, bytes: &Bytes) -> Result<Offer, TrustError> {
        self.offer(&Document::LogHead(Bytes::clone(bytes)))
    }

    pub(crate) fn entries(&mut self, log: &Log, from: u64) -> Result<Offer, TrustError> {
        self.offer(&Document::LogEntries {
            admin: log.admin(),
            from,
            entries: log.encoded(from, usize::MAX),
        })
    }

    /// Head and whatever entries are missing of a log.
    pub(crate) fn log(&mut self, writer: &Writer) -> Offer {
        let held = self.state.log(&writer.log.admin()).unwrap().log().length();
        match self.log_head(&writer.head()).unwrap() {
            Offer::Wanted(_) => self.entries(&writer.log, held).unwrap(),
            other => other,
        }
    }

    /// The same node after a restart.
    pub(crate) fn restarted(&self) -> Self {
        Self {
            state: TrustState::restore(&Fake, self.state.kept()).unwrap(),
            now: self.now,
        }
    }

    /// The state by everything ever seen, what was effective meanwhile forgotten.
    pub(crate) fn without_held(&self) -> TrustState {
        let mut kept = self.state.kept();
        kept.memory.held.clear();
        TrustState::restore(&Fake, kept).unwrap()
    }

    /// The state as of somebody who holds the same documents and never held others.
    pub(crate) fn by_rules_alone(&self) -> TrustState {
        let mut kept = self.state.kept();
        kept.memory = protocol::trust::state::Memory::default();
        TrustState::restore(&Fake, kept).unwrap()
    }

    /// What has become of the entries of a log's first branch.
    pub(crate) fn standings(&self, writer: &Writer) -> Vec<Standing> {
        let log = self.state.log(&writer.log.admin()).unwrap();
        log.standings().next().unwrap().to_vec()
    }
}

/// An admin and the log it writes.
#[derive(Clone)]
pub(crate) struct Writer {
    pub(crate) keys: Keys,
    pub(crate) log: Log,
}

impl Writer {
    /// Writes an entry.
    pub(crate) fn write(&mut self, at: UnixSeconds, act: Act) -> EntryId {
        self.log.write(&Fake, at, act, "a reason").unwrap();
        self.log.entries().last().unwrap().cause.entry
    }

    /// Revokes a node now.
    pub(crate) fn revoke(&mut self, number: u32) -> EntryId {
        self.write(NOW, Act::Node(node(number)))
    }

    /// The signed head.
    pub(crate) fn head(&self) -> Bytes {
        let head = self.log.head(NOW);
        head.sign(&Fake, &self.keys).unwrap().into()
    }
}

/// A digest.
pub(crate) fn digest(byte: u8) -> Digest {
    Digest::from_bytes([byte; 32])
}
