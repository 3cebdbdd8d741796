//! The admins, timestampers and documents of a mesh that exists only in tests.

use super::fake::{Fake, Keys};
use crate::crypto::{Signer, Suite};
use crate::distribution::{Bytes, Document, TrustState};
use crate::id::{Digest, NodeId, SignerId};
use crate::time::UnixSeconds;
use crate::trust::bundle::{BundleBody, BundleHead, Policy};
use crate::trust::revocation::{Act, EMPTY, Entry, LogHead, next_link};
use crate::trust::root::{Issuer, Retired, Root, VerifiedRoot};
use crate::trust::timestamp::{LogState, Timestamp, VersionHash};

/// The time at which everything begins, in milliseconds.
pub(super) const NOW_MS: u64 = 1_800_000_000_000;

const NOW: UnixSeconds = UnixSeconds(NOW_MS / 1000);

/// An admin's log as the admin keeps it.
#[derive(Debug, Clone)]
struct OwnLog {
    admin: String,
    length: u64,
    link: Digest,
}

/// Everything that admins and timestampers know.
#[derive(Debug, Clone)]
pub(super) struct World {
    genesis: Vec<u8>,
    root: VerifiedRoot,
    logs: Vec<OwnLog>,
    bundle: Option<VersionHash>,
    timestamp: u64,
    reason: String,
}

impl World {
    /// A mesh of as many admins, of whom `threshold` must sign.
    pub(super) fn new(admins: usize, threshold: u64) -> Self {
        let names: Vec<String> = (0..admins).map(|i| format!("admin-{i}")).collect();
        let content = Root {
            version: 1,
            epoch: 1,
            mesh: None,
            name: "test".parse().unwrap(),
            suite: Suite::Hybrid.byte(),
            created: NOW.minus(86_400),
            admins: names.iter().map(|n| Keys::of(n).public().clone()).collect(),
            threshold,
            issuers: vec![Issuer {
                keys: Keys::of("issuer").public().clone(),
                groups: None,
                sites: None,
                max_life_s: 86_400,
                max_per_hour: 100,
            }],
            timestampers: vec![Keys::of("timestamper").public().clone()],
            lease_s: 86_400,
            read_grace_s: 3600,
            nonce: vec![7; 16],
            previous: None,
            retired: None,
            hosts: None,
        };
        let log = |admin: &String| OwnLog {
            admin: admin.clone(),
            length: 0,
            link: EMPTY,
        };
        let logs = names.iter().map(log).collect();
        let genesis = signed_root(&content, &names);
        let root = VerifiedRoot::genesis(&Fake::default(), &genesis).unwrap();
        Self {
            genesis,
            root,
            logs,
            bundle: None,
            timestamp: 0,
            reason: "stolen".to_owned(),
        }
    }

    /// A trust state that knows the genesis only.
    pub(super) fn state(&self) -> TrustState {
        TrustState::genesis(&Fake::default(), &self.genesis).unwrap()
    }

    /// The admin with this number.
    pub(super) fn admin(&self, number: usize) -> SignerId {
        Keys::of(&self.logs[number].admin)
            .public()
            .id(&Fake::default())
    }

    /// The timestamper.
    pub(super) fn timestamper(&self) -> SignerId {
        Keys::of("timestamper").public().id(&Fake::default())
    }

    /// From now on entries say something else.
    pub(super) fn use_other_reason(&mut self) {
        self.reason = "lost".to_owned();
    }

    /// From now on an admin signs another history, from its beginning.
    pub(super) fn begin_anew(&mut self, number: usize, reason: &str) {
        self.reason = reason.to_owned();
        let log = &mut self.logs[number];
        (log.length, log.link) = (0, EMPTY);
    }

    /// Whom the entry with this index in an admin's log revokes.
    pub(super) fn target(number: usize, index: u64) -> NodeId {
        let mut node = [0; 32];
        node[..8].copy_from_slice(&(index + 1_000_000).to_be_bytes());
        node[31] = u8::try_from(number).unwrap();
        NodeId::from_bytes(node)
    }

    /// An admin revokes `count` nodes more: the head, then the entries.
    pub(super) fn revoke(&mut self, number: usize, count: u64) -> Vec<Document> {
        let fake = Fake::default();
        let admin = self.admin(number);
        let log = &mut self.logs[number];
        let from = log.length;
        let entries: Vec<Bytes> = (from..from + count)
            .map(|index| {
                let entry = Entry {
                    index,
                    at: NOW.minus(10),
                    act: Act::Node(Self::target(number, index)),
                    reason: self.reason.clone(),
                };
                let bytes = entry.encode();
                log.link = next_link(&fake, &log.link, &bytes);
                Bytes::from(bytes)
            })
            .collect();
        log.length += count;
        let head = LogHead {
            mesh: self.root.mesh(),
            admin,
            length: log.length,
            link: log.link,
            issued: NOW,
        };
        let head = head.sign(&fake, &Keys::of(&log.admin)).unwrap();
        let head = Document::LogHead(head.into());
        let chunks = entries.chunks(1_000).zip((from..).step_by(1_000));
        let chunks = chunks.map(|(entries, from)| Document::LogEntries {
            admin,
            from,
            entries: entries.to_vec(),
        });
        core::iter::once(head).chain(chunks).collect()
    }

    /// The next bundle, with a policy of `size` bytes: the head, then the body.
    pub(super) fn bundle(&mut self, size: usize) -> Vec<Document> {
        let fake = Fake::default();
        let version = self.bundle.map_or(1, |b| b.version + 1);
        let body = BundleBody {
            policies: vec![Policy {
                name: "policy".parse().unwrap(),
                media_type: "text/plain".to_owned(),
                bytes: vec![u8::try_from(version).unwrap(); size],
            }],
            ..BundleBody::default()
        };
        let body = body.encode();
        let head = BundleHead::over(&fake, &self.root, version, NOW, &body);
        let hash = crate::trust::document_hash(
            &fake,
            crate::crypto::domain::content_type::BUNDLE,
            &crate::codec::encode(&head),
        );
        self.bundle = Some(VersionHash { version, hash });
        let admins = self.signers();
        let admins: Vec<&dyn Signer> = admins.iter().map(|k| k as &dyn Signer).collect();
        let head = head.sign(&fake, &admins).unwrap();
        vec![
            Document::BundleHead(head.into()),
            Document::BundleBody(body.into()),
        ]
    }

    /// The next timestamp.
    pub(super) fn timestamp(&mut self) -> Document {
        self.timestamp += 1;
        let mut logs: Vec<LogState> = (0..self.logs.len())
            .filter(|&number| self.logs[number].length > 0)
            .map(|number| LogState {
                admin: self.admin(number),
                length: self.logs[number].length,
                link: self.logs[number].link,
                marks: None,
            })
            .collect();
        logs.sort_by_key(|log| log.admin);
        let content = Timestamp {
            mesh: self.root.mesh(),
            epoch: self.root.root().epoch,
            root_version: self.root.root().version,
            root: self.root.hash(),
            timestamper: self.timestamper(),
            version: self.timestamp,
            time: NOW.plus(self.timestamp),
            bundle: self.bundle,
            logs,
            nodes: 1_000_000_000,
        };
        let bytes = content.sign(&Fake::default(), &Keys::of("timestamper"));
        Document::Timestamp(bytes.unwrap().into())
    }

    /// The next root, which changes nothing.
    pub(super) fn rotate(&mut self) -> Document {
        let names = self.names();
        self.succeed(&names, |_| {})
    }

    /// The next root, in a new epoch.
    pub(super) fn new_epoch(&mut self) -> Document {
        let names = self.names();
        self.bundle = None;
        self.timestamp = 0;
        self.succeed(&names, |root| root.epoch += 1)
    }

    /// The next root, in which another has taken the place of an admin.
    pub(super) fn replace_admin(&mut self, number: usize) -> Document {
        let before = self.names();
        let gone = self.logs[number].clone();
        let fresh = format!("{}-new", gone.admin);
        let retired = Retired {
            admin: Keys::of(&gone.admin).public().clone(),
            length: gone.length,
            link: gone.link,
        };
        self.logs[number] = OwnLog {
            admin: fresh.clone(),
            length: 0,
            link: EMPTY,
        };
        let key = Keys::of(&fresh).public().clone();
        self.succeed(&before, |root| {
            root.admins[number] = key;
            root.retired = Some(vec![retired]);
        })
    }

    fn succeed(&mut self, signers: &[String], alter: impl FnOnce(&mut Root)) -> Document {
        let mut content = self.root.root().clone();
        content.version += 1;
        content.mesh = Some(self.root.mesh());
        content.previous = Some(self.root.hash());
        alter(&mut content);
        let mut signers = signers.to_vec();
        signers.extend(self.names());
        signers.sort();
        signers.dedup();
        let bytes = signed_root(&content, &signers);
        self.root = self
            .root
            .successor(&Fake::default(), &bytes.clone().into())
            .unwrap();
        Document::Root(bytes.into())
    }

    fn names(&self) -> Vec<String> {
        self.logs.iter().map(|log| log.admin.clone()).collect()
    }

    fn signers(&self) -> Vec<Keys> {
        self.names().iter().map(|name| Keys::of(name)).collect()
    }
}

fn signed_root(content: &Root, signers: &[String]) -> Vec<u8> {
    let keys: Vec<Keys> = signers.iter().map(|name| Keys::of(name)).collect();
    let signers: Vec<&dyn Signer> = keys.iter().map(|k| k as &dyn Signer).collect();
    content.sign(&Fake::default(), &signers).unwrap()
}

/// The digest by which a body is fetched.
pub(super) fn body_digest(fake: &Fake, body: &[u8]) -> Digest {
    BundleBody::digest(fake, body)
}

/// `state` after it was offered `documents` in order.
pub(super) fn replayed(fake: &Fake, mut state: TrustState, documents: &[Document]) -> TrustState {
    for document in documents {
        state.offer(fake, NOW, document).unwrap();
    }
    state
}
