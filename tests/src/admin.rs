//! The founding admin of a test mesh, who signs by hand what `hedgerow revoke` signs.
//!
//! Signs whatever it is told, also what an honest admin never would: [`Admin::signed`] takes the
//! log's length and link from the caller.

use std::path::Path;

use hedgerow_crypto::{Primitives, SigningKeys};
use node::control::Operations as _;
use node::keys::{self, passphrase::Passphrase};
use protocol::control::{
    FileBytes, Publication, Publish, PublishedDocument, Spread, SpreadQuery, Trust,
};
use protocol::crypto::Signer as _;
use protocol::id::{Digest, EntryId, MeshId, SignerId};
use protocol::trust::bundle::{BundleBody, Policy};
use protocol::trust::revocation::{entry_id, next_link};
use protocol::trust::{Act, Entry, LogHead, Proposal, Root, VerifiedRoot};
use tokio::sync::mpsc;

use crate::forge::now;
use crate::mesh::{ADMIN_PASSPHRASE, LOCAL, TestNode};
use crate::wait::{PATIENCE, soon, until};

/// Whoever holds an admin key.
pub struct Admin {
    /// The key.
    pub keys: SigningKeys,
}

/// A place in a log: what the next entry follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Entries before it.
    pub length: u64,
    /// The link over them.
    pub link: Digest,
}

impl Admin {
    /// Opens the founding admin's key of a state directory.
    #[must_use]
    pub fn of(state: &Path) -> Self {
        let passphrase = Passphrase::new(ADMIN_PASSPHRASE.to_owned().into()).unwrap();
        let keys = keys::admin::open(state, &passphrase).unwrap();
        Self { keys }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> SignerId {
        self.keys.public().id(&Primitives)
    }

    /// Where this admin's log ends, as a node knows it.
    pub async fn place(&self, at: &TestNode) -> Place {
        let trust = in_force(at).await;
        let id = self.id();
        let own = trust.admins.iter().find(|admin| admin.id == id);
        let own = own.expect("an admin of the mesh");
        Place {
            length: own.entries,
            link: own.link,
        }
    }

    /// One entry after `place` and the head over it, ready to be published, and the entry's id.
    #[must_use]
    pub fn signed(&self, mesh: MeshId, place: Place, act: Act, reason: &str) -> (EntryId, Publish) {
        let admin = self.id();
        let entry = Entry {
            index: place.length,
            at: now(),
            act,
            reason: reason.to_owned(),
        };
        let bytes = entry.encode();
        let head = LogHead {
            mesh,
            admin,
            length: place.length + 1,
            link: next_link(&Primitives, &place.link, &bytes),
            issued: entry.at,
        };
        let id = entry_id(&Primitives, &mesh, &admin, &bytes);
        let head = head.sign(&Primitives, &self.keys).unwrap();
        let documents = vec![
            PublishedDocument::LogHead(FileBytes(head)),
            PublishedDocument::LogEntries {
                admin,
                from: place.length,
                entries: vec![FileBytes(bytes)],
            },
        ];
        (id, Publish { documents })
    }

    /// Appends to this admin's log what `act` says, hands it to a node, and returns when that node
    /// has it in force and on disk.
    pub async fn revoke(&self, at: &TestNode, act: Act, reason: &str) -> EntryId {
        let place = self.place(at).await;
        let mesh = in_force(at).await.mesh;
        let (id, publish) = self.signed(mesh, place, act, reason);
        let publication = hand(at, publish).await.unwrap();
        assert!(publication.new, "the node knew it before");
        id
    }

    /// The root that follows the one in force at a node, changed so; `also` sign it too.
    pub async fn root(
        &self,
        at: &TestNode,
        also: &[&SigningKeys],
        change: impl FnOnce(&mut Root),
    ) -> Vec<u8> {
        let trust = in_force(at).await;
        let mut root = VerifiedRoot::peek(&trust.root.file.0).unwrap();
        root.version += 1;
        root.mesh = Some(trust.mesh);
        root.previous = Some(trust.root.hash);
        root.created = now();
        change(&mut root);
        let mut signers: Vec<&dyn protocol::crypto::Signer> = vec![&self.keys];
        signers.extend(
            also.iter()
                .map(|keys| *keys as &dyn protocol::crypto::Signer),
        );
        root.sign(&Primitives, &signers).unwrap()
    }

    /// Puts the root that follows in force at a node, changed so.
    pub async fn put_root(&self, at: &TestNode, change: impl FnOnce(&mut Root)) {
        let root = self.root(at, &[], change).await;
        let documents = vec![PublishedDocument::Root(FileBytes(root))];
        assert!(hand(at, Publish { documents }).await.unwrap().new);
    }

    /// The bundle that follows the one in force at a node, of these documents.
    pub async fn bundle(&self, at: &TestNode, body: &BundleBody) -> Publish {
        let trust = in_force(at).await;
        let version = trust.bundle.map_or(1, |bundle| bundle.version + 1);
        let proposal =
            Proposal::bundle(&Primitives, &trust.root.file.0, now(), version, body).unwrap();
        let proposal = proposal.signed_by(&Primitives, &self.keys).unwrap();
        let documents = vec![
            PublishedDocument::BundleHead(FileBytes(proposal.document().to_vec())),
            PublishedDocument::BundleBody(FileBytes(body.encode())),
        ];
        Publish { documents }
    }

    /// Puts a bundle of these documents in force at a node.
    pub async fn put(&self, at: &TestNode, body: &BundleBody) {
        let publish = self.bundle(at, body).await;
        assert!(hand(at, publish).await.unwrap().new);
    }
}

/// Puts this bundle in force at the first of these nodes, and waits until all decide by it.
pub async fn put_everywhere(version: u64, body: &BundleBody, nodes: &[&TestNode]) {
    let founder = nodes.first().unwrap();
    Admin::of(&founder.state).put(founder, body).await;
    for at in nodes {
        has_bundle(at, version).await;
    }
}

/// A bundle's body of these documents.
#[must_use]
pub fn body_of(documents: &[&str]) -> BundleBody {
    let mut policies: Vec<Policy> = documents.iter().map(|text| policy(text)).collect();
    policies.sort_by(|a, b| a.name.cmp(&b.name));
    BundleBody {
        policies,
        ..BundleBody::default()
    }
}

/// Waits until a node has this bundle, and decides by it unless something else does.
pub async fn has_bundle(at: &TestNode, version: u64) {
    let has = || async {
        if at.lawless {
            let bundle = in_force(at).await.bundle;
            return bundle.is_some_and(|bundle| bundle.version == version);
        }
        let running = at.status().await.trust.and_then(|trust| trust.policies);
        running.is_some_and(|running| running.version == version)
    };
    until("the node decides by the bundle", has).await;
}

/// A policy document in JSON, as a bundle carries it.
#[must_use]
pub fn policy(text: &str) -> Policy {
    let json: serde_json::Value = serde_json::from_str(text).unwrap();
    let name = json.get("policy_name").and_then(|name| name.as_str());
    Policy {
        name: name.unwrap().parse().unwrap(),
        media_type: protocol::policy::JSON_MEDIA_TYPE.to_owned(),
        bytes: text.as_bytes().to_vec(),
    }
}

/// What `hedgerow trust` says on a node.
pub async fn in_force(at: &TestNode) -> Trust {
    at.node.trust().unwrap().in_force().await.unwrap()
}

/// Hands documents to a node, as the command line would.
pub async fn hand(
    at: &TestNode,
    publish: Publish,
) -> Result<Publication, protocol::control::Failure> {
    soon(at.node.trust().unwrap().publish(LOCAL, publish)).await
}

/// What `hedgerow revocations status` says on a node, once every node or the time is over.
pub async fn spread(at: &TestNode, entry: EntryId, wait_ms: u64) -> Spread {
    let (progress, _reports) = mpsc::channel(1);
    let query = SpreadQuery { entry, wait_ms };
    soon(at.node.trust().unwrap().spread(query, progress))
        .await
        .unwrap()
}

/// Waits until a node has so many entries of all logs in force.
pub async fn holds(at: &TestNode, entries: u64) {
    let has = || async {
        let trust = in_force(at).await;
        trust.admins.iter().map(|admin| admin.entries).sum::<u64>() >= entries
    };
    until("the node has the revocations", has).await;
}

/// The longest a spread may be asked for here, in milliseconds.
#[must_use]
pub fn patience_ms() -> u64 {
    u64::try_from(PATIENCE.as_millis() / 2).unwrap()
}
