//! Thresholds, recovery and spread, over a trust state in memory.

use std::sync::Mutex;

use hedgerow_crypto::{Primitives, SigningKeys};
use protocol::control::ProposalKind;
use protocol::crypto::{Signer as _, SigningSet, Suite};
use protocol::id::MeshId;
use protocol::time::UnixSeconds;
use protocol::trust::revocation::{entry_id, next_link};
use protocol::trust::root::Retired;
use protocol::trust::{Act, Entry, Issuer, LogHead, Root};

use super::*;

const NOW: UnixSeconds = UnixSeconds(1_795_000_000);
const CALLER: Caller = Caller { uid: 0, pid: None };

fn keys() -> SigningKeys {
    SigningKeys::generate(&Primitives).unwrap()
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn genesis(admins: &[&SigningKeys], threshold: u64) -> Vec<u8> {
    let root = Root {
        version: 1,
        epoch: 1,
        mesh: None,
        name: name("test"),
        suite: Suite::Hybrid.byte(),
        created: NOW,
        admins: admins.iter().map(|admin| admin.public().clone()).collect(),
        threshold,
        issuers: vec![Issuer {
            keys: keys().public().clone(),
            groups: None,
            sites: None,
            max_life_s: 3600,
            max_per_hour: 100,
        }],
        timestampers: vec![keys().public().clone()],
        lease_s: 3600,
        read_grace_s: 3600,
        nonce: vec![7; 16],
        previous: None,
        retired: None,
        hosts: None,
    };
    let signers: Vec<&dyn protocol::crypto::Signer> = admins
        .iter()
        .map(|admin| *admin as &dyn protocol::crypto::Signer)
        .collect();
    root.sign(&Primitives, &signers).unwrap()
}

/// A driver that is its state, and acknowledges what it is told to.
struct Memory {
    state: Mutex<TrustState>,
    acks: Vec<Answer>,
}

fn node(byte: u8) -> NodeId {
    NodeId::from_bytes([byte; 32])
}

#[async_trait]
impl Driver for Memory {
    fn node(&self) -> NodeId {
        node(1)
    }

    fn in_force(&self) -> TrustState {
        self.state.lock().unwrap().clone()
    }

    async fn publish(&self, document: Document) -> Result<Offer, DriverError> {
        let mut state = self.state.lock().unwrap();
        Ok(state.offer(&Primitives, NOW, &document)?)
    }

    async fn pull(&self, _: LogRow, _: Duration) -> Result<mpsc::Receiver<Answer>, DriverError> {
        let (sender, receiver) = mpsc::channel(self.acks.len().max(1));
        for ack in &self.acks {
            sender.try_send(*ack).unwrap();
        }
        Ok(receiver)
    }
}

struct Nodes(Vec<Listed>);

impl Directory for Nodes {
    fn nodes(&self) -> Vec<Listed> {
        self.0.clone()
    }

    fn name(&self, node: &NodeId) -> Option<Name> {
        let known = self.0.iter().find(|listed| listed.id == *node);
        known.map(|listed| listed.name.clone())
    }
}

struct World {
    trusting: Trusting,
    home: tempfile::TempDir,
}

impl World {
    fn of(genesis: &[u8]) -> Self {
        Self::with(genesis, Vec::new(), Vec::new())
    }

    fn with(genesis: &[u8], nodes: Vec<Listed>, acks: Vec<Answer>) -> Self {
        let home = tempfile::tempdir().unwrap();
        let state = TrustState::genesis(&Primitives, genesis).unwrap();
        let trusting = Self::trusting(home.path(), state, nodes, acks);
        Self { trusting, home }
    }

    fn trusting(
        home: &std::path::Path,
        state: TrustState,
        nodes: Vec<Listed>,
        acks: Vec<Answer>,
    ) -> Trusting {
        let crypto: Arc<dyn Crypto> = Arc::new(Primitives);
        let directory = home.join("proposals");
        let kept = Proposals::open(directory, Arc::clone(&crypto), state.root()).unwrap();
        let state = Mutex::new(state);
        Trusting::new(
            Arc::new(Memory { state, acks }),
            Arc::new(Nodes(nodes)),
            kept,
            crypto,
            Arc::new(crate::clock::SystemClock),
        )
    }

    /// The same node after a restart.
    fn restarted(self) -> Self {
        let state = self.trusting.driver.in_force();
        let trusting = Self::trusting(self.home.path(), state, Vec::new(), Vec::new());
        Self { trusting, ..self }
    }

    fn root(&self) -> Arc<VerifiedRoot> {
        Arc::clone(self.trusting.driver.in_force().root())
    }

    fn propose(&self, edit: impl FnOnce(&mut Root)) -> Proposal {
        let root = self.root();
        Proposal::revise(&Primitives, root.bytes(), NOW, [9; 16], edit).unwrap()
    }

    async fn hand_in(&self, proposal: &Proposal) -> Result<Proposed, Failure> {
        let file = protocol::control::FileBytes(proposal.file());
        self.trusting.propose(CALLER, Propose { file }).await
    }

    async fn preview(&self, proposal: &Proposal) -> Vec<String> {
        let file = protocol::control::FileBytes(proposal.file());
        self.trusting
            .preview(Propose { file })
            .await
            .unwrap()
            .effects
    }
}

fn sign(proposal: &Proposal, admin: &SigningKeys) -> Proposal {
    proposal.clone().signed_by(&Primitives, admin).unwrap()
}

fn retire(root: &mut Root, admin: &SigningSet) {
    root.admins.retain(|set| set != admin);
    root.retired.get_or_insert_default().push(Retired {
        admin: admin.clone(),
        length: 0,
        link: protocol::trust::revocation::EMPTY,
    });
}

#[tokio::test]
async fn one_of_one_changes_the_root_at_once() {
    let (a, b) = (keys(), keys());
    let world = World::of(&genesis(&[&a], 1));
    let add = world.propose(|root| root.admins.push(b.public().clone()));
    // The one who comes has not agreed, and need not: the threshold stays one.
    let done = world.hand_in(&sign(&add, &a)).await.unwrap();
    assert!(done.in_force);
    assert_eq!(world.root().root().version, 2);
    assert!(
        world
            .trusting
            .in_force()
            .await
            .unwrap()
            .proposals
            .is_empty()
    );
    // Handed in again, it is what is in force.
    assert!(world.hand_in(&sign(&add, &a)).await.unwrap().in_force);
}

#[tokio::test]
async fn two_of_three_gather_their_signatures_across_a_restart() {
    let (a, b, c) = (keys(), keys(), keys());
    let world = World::of(&genesis(&[&a, &b, &c], 2));
    let change = world.propose(|root| root.lease_s = 1800);
    let first = world.hand_in(&sign(&change, &a)).await.unwrap();
    assert!(!first.in_force);
    assert_eq!(
        (first.proposal.signed.len(), first.proposal.missing),
        (1, 1)
    );
    assert_eq!(
        first.proposal.changes,
        ["freshness lease: 3600 s becomes 1800 s"]
    );

    let world = world.restarted();
    let waiting = world.trusting.in_force().await.unwrap().proposals;
    assert_eq!(waiting, [first.proposal]);
    // Signed elsewhere on a copy without the first signature: both count.
    let second = world.hand_in(&sign(&change, &c)).await.unwrap();
    assert!(second.in_force);
    assert_eq!(second.proposal.missing, 0);
    assert_eq!(world.root().root().lease_s, 1800);
    let left = std::fs::read_dir(world.home.path().join("proposals")).unwrap();
    assert_eq!(left.count(), 0);
}

fn bundle(world: &World, version: u64, policy: &[u8]) -> Proposal {
    let body = protocol::trust::BundleBody {
        policies: vec![protocol::trust::bundle::Policy {
            name: "first".parse().unwrap(),
            media_type: "text/plain".to_owned(),
            bytes: policy.to_vec(),
        }],
        ..Default::default()
    };
    let root = world.root();
    Proposal::bundle(&Primitives, root.bytes(), NOW, version, &body).unwrap()
}

#[tokio::test]
async fn a_bundle_gathers_signatures_like_a_root() {
    let (a, b, c) = (keys(), keys(), keys());
    let world = World::of(&genesis(&[&a, &b, &c], 2));
    assert_eq!(world.trusting.bundle().await.unwrap().version, 0);
    let proposed = bundle(&world, 1, b"one");
    let first = world.hand_in(&sign(&proposed, &a)).await.unwrap();
    assert!(!first.in_force);
    assert_eq!(first.proposal.kind, ProposalKind::Bundle);
    let world = world.restarted();
    let second = world.hand_in(&sign(&proposed, &c)).await.unwrap();
    assert!(second.in_force);
    let shown = world.trusting.bundle().await.unwrap();
    assert_eq!((shown.version, shown.hash), (1, Some(proposed.id())));
    assert_eq!(shown.body.unwrap().0, proposed.body().unwrap());
    let trust = world.trusting.in_force().await.unwrap();
    assert!(trust.proposals.is_empty());

    assert_eq!(first.proposal.effects, ["adds policy `first`"]);
    assert!(first.proposal.changes[0].ends_with(": one"), "{first:?}");

    // Who is asked to sign the next one is told what it does; of a late one, that it is late.
    let next = bundle(&world, 2, b"two");
    let preview = world.preview(&next).await;
    assert_eq!(preview, ["changes policy `first`"]);
    let late = world.preview(&bundle(&world, 1, b"other")).await;
    assert!(late[0].contains("can no longer take effect"), "{late:?}");
    let again = world.preview(&proposed).await;
    assert_eq!(again, ["bundle 1 is in force already"]);

    // One that waited meanwhile is listed with why it waits in vain, until it is forgotten.
    let overtaken = bundle(&world, 1, b"late");
    let kept = world.hand_in(&sign(&overtaken, &a)).await.unwrap();
    let waits = world.hand_in(&sign(&next, &a)).await.unwrap().proposal;
    assert_eq!(waits.overtaken, None);
    let why = kept.proposal.overtaken.unwrap();
    assert!(why.starts_with("bundle 1 is in force"), "{why}");
    let listed = world.trusting.in_force().await.unwrap().proposals;
    let vain = listed.iter().filter(|p| p.overtaken.is_some());
    assert_eq!(vain.map(|p| p.id).collect::<Vec<_>>(), [overtaken.id()]);

    // Another bundle of that version changes nothing, whoever signed it.
    let other = bundle(&world, 1, b"other");
    let both = sign(&sign(&other, &a), &b);
    let refused = world.hand_in(&both).await.unwrap_err();
    assert_eq!(refused.reason, "document_fork");
    assert_eq!(
        world.trusting.bundle().await.unwrap().hash,
        Some(proposed.id())
    );
}

#[tokio::test]
async fn the_same_admin_twice_is_one() {
    let (a, b) = (keys(), keys());
    let world = World::of(&genesis(&[&a, &b], 2));
    let change = world.propose(|root| root.lease_s = 1800);
    for _ in 0..2 {
        let done = world.hand_in(&sign(&change, &a)).await.unwrap();
        assert_eq!((done.in_force, done.proposal.missing), (false, 1));
    }
}

#[tokio::test]
async fn a_rotation_needs_the_old_and_the_new() {
    let (a, b, x, y) = (keys(), keys(), keys(), keys());
    let world = World::of(&genesis(&[&a, &b], 2));
    let change = world.propose(|root| {
        for admin in [&a, &b] {
            retire(root, admin.public());
        }
        root.admins = vec![x.public().clone(), y.public().clone()];
    });
    let old = sign(&sign(&change, &a), &b);
    let done = world.hand_in(&old).await.unwrap();
    assert_eq!((done.in_force, done.proposal.missing), (false, 2));
    let done = world.hand_in(&sign(&change, &x)).await.unwrap();
    assert_eq!((done.in_force, done.proposal.missing), (false, 1));
    let done = world.hand_in(&sign(&change, &y)).await.unwrap();
    assert!(done.in_force);
    assert_eq!(world.root().admin_ids().len(), 2);

    // The old ones can do nothing any more.
    let back = world.propose(|root| root.lease_s = 60);
    let error = back.signed_by(&Primitives, &a).unwrap_err();
    assert_eq!(error.reason(), "not_an_admin");
}

#[tokio::test]
async fn a_lost_admin_is_removed_by_the_others() {
    let (a, b, lost) = (keys(), keys(), keys());
    let world = World::of(&genesis(&[&a, &b, &lost], 2));
    let remove = world.propose(|root| retire(root, lost.public()));
    world.hand_in(&sign(&remove, &a)).await.unwrap();
    let done = world.hand_in(&sign(&remove, &b)).await.unwrap();
    assert!(done.in_force);
    let trust = world.trusting.in_force().await.unwrap();
    let retired: Vec<Option<u64>> = trust.admins.iter().map(|admin| admin.retired_at).collect();
    assert_eq!(retired, [None, None, Some(0)]);
    // Found again, the key signs nothing that counts.
    let change = world.propose(|root| root.lease_s = 60);
    let error = change.signed_by(&Primitives, &lost).unwrap_err();
    assert_eq!(error.reason(), "not_an_admin");
}

#[tokio::test]
async fn a_proposal_of_another_root_is_refused_and_forgotten() {
    let (a, b) = (keys(), keys());
    let world = World::of(&genesis(&[&a, &b], 2));
    let one = world.propose(|root| root.lease_s = 1800);
    let other = world.propose(|root| root.lease_s = 900);
    world.hand_in(&sign(&one, &a)).await.unwrap();
    world.hand_in(&sign(&sign(&other, &a), &b)).await.unwrap();
    assert!(
        world
            .trusting
            .in_force()
            .await
            .unwrap()
            .proposals
            .is_empty()
    );
    let error = world.hand_in(&sign(&one, &b)).await.unwrap_err();
    assert_eq!(error.reason, "proposal_of_another_root");
    assert!(error.message.contains("version 2"), "{}", error.message);

    let foreign = World::of(&genesis(&[&a, &b], 2));
    let elsewhere = foreign.propose(|root| root.lease_s = 1800);
    let error = world.hand_in(&sign(&elsewhere, &a)).await.unwrap_err();
    assert_eq!(error.reason, "proposal_of_another_root");
}

#[tokio::test]
async fn proposals_are_bounded_and_can_be_discarded() {
    let (a, b) = (keys(), keys());
    let world = World::of(&genesis(&[&a, &b], 2));
    let mut last = None;
    for lease in 0..MAX_PROPOSALS_HERE {
        let change = world.propose(|root| root.lease_s = 100 + lease);
        last = Some(world.hand_in(&change).await.unwrap().proposal.id);
    }
    let more = world.propose(|root| root.lease_s = 7);
    let error = world.hand_in(&more).await.unwrap_err();
    assert_eq!(error.reason, "too_many_proposals");
    let last = last.unwrap();
    world.trusting.discard(CALLER, last).await.unwrap();
    let error = world.trusting.discard(CALLER, last).await.unwrap_err();
    assert_eq!(error.reason, "unknown_proposal");
    world.hand_in(&more).await.unwrap();
}

const MAX_PROPOSALS_HERE: u64 = protocol::control::MAX_PROPOSALS as u64;

#[tokio::test]
async fn what_is_no_proposal_is_refused_by_name() {
    let (a, stranger) = (keys(), keys());
    let world = World::of(&genesis(&[&a], 1));
    let change = world.propose(|root| root.lease_s = 1800);
    let bytes = sign(&change, &a).file();
    for length in (0..bytes.len()).step_by(37) {
        let file = protocol::control::FileBytes(bytes[..length].to_vec());
        assert!(
            world
                .trusting
                .propose(CALLER, Propose { file })
                .await
                .is_err()
        );
    }
    let mut forged = bytes.clone();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let file = protocol::control::FileBytes(forged);
    let error = world
        .trusting
        .propose(CALLER, Propose { file })
        .await
        .unwrap_err();
    assert_eq!(error.kind, FailureKind::Denied);
    assert!(change.signed_by(&Primitives, &stranger).is_err());
    assert_eq!(world.root().root().version, 1);
}

/// Entry and head, as the command line signs them.
fn revocation(
    mesh: MeshId,
    admin: &SigningKeys,
    (index, link): (u64, Digest),
    act: Act,
) -> (Publish, EntryId, Digest) {
    let id = admin.public().id(&Primitives);
    let entry = Entry {
        index,
        at: NOW,
        act,
        reason: "test".to_owned(),
    };
    let bytes = entry.encode();
    let link = next_link(&Primitives, &link, &bytes);
    let head = LogHead {
        mesh,
        admin: id,
        length: index + 1,
        link,
        issued: NOW,
    };
    let head = head.sign(&Primitives, admin).unwrap();
    let entry = entry_id(&Primitives, &mesh, &id, &bytes);
    let documents = vec![
        PublishedDocument::LogHead(protocol::control::FileBytes(head)),
        PublishedDocument::LogEntries {
            admin: id,
            from: index,
            entries: vec![protocol::control::FileBytes(bytes)],
        },
    ];
    (Publish { documents }, entry, link)
}

#[tokio::test]
async fn a_published_revocation_is_listed_in_force_and_found_by_every_reference() {
    let a = keys();
    let world = World::of(&genesis(&[&a], 1));
    let mesh = world.root().mesh();
    let empty = protocol::trust::revocation::EMPTY;
    let act = Act::Node(node(9));
    let (publish, id, link) = revocation(mesh, &a, (0, empty), act.clone());
    // Handed in twice, as after a crash: new, then known.
    for new in [true, false] {
        let done = world.trusting.publish(CALLER, publish.clone()).await;
        assert_eq!(done, Ok(Publication { new }));
    }

    let admin = a.public().id(&Primitives);
    for reference in [
        "0",
        &format!("{admin}/0"),
        &id.to_string()[..8],
        &id.to_string(),
    ] {
        let query = RevocationQuery {
            limit: None,
            entry: Some(reference.to_owned()),
        };
        let found = world.trusting.revocations(query).await.unwrap();
        assert_eq!(found.entries.len(), 1, "{reference}");
        assert_eq!(found.entries[0].id, id);
        assert_eq!(found.entries[0].link, link);
        assert_eq!(
            found.entries[0].state,
            protocol::control::RevocationState::Effective
        );
    }
    let trust = world.trusting.in_force().await.unwrap();
    assert_eq!((trust.admins[0].entries, trust.admins[0].link), (1, link));

    // A second history of the same length is refused by name, and the first stays.
    let (fork, _, _) = revocation(mesh, &a, (0, empty), Act::Node(node(8)));
    let error = world.trusting.publish(CALLER, fork).await.unwrap_err();
    assert_eq!(error.reason, "document_fork");
    let state = world.trusting.driver.in_force();
    assert!(state.revoked().node(&node(9)).is_some());
}

#[tokio::test]
async fn who_lowers_the_threshold_is_shown_what_that_puts_in_force() {
    let (a, b, rogue) = (keys(), keys(), keys());
    let nodes = vec![listed(1, "here"), listed(2, "near")];
    let world = World::with(&genesis(&[&a, &b, &rogue], 2), nodes, Vec::new());
    let (mesh, issuer) = (world.root().mesh(), world.root().issuer_ids()[0]);
    let mut place = (0, protocol::trust::revocation::EMPTY);
    // One admin alone: an issuer, and more nodes than one may revoke in an hour.
    let cut = Act::Issuer {
        issuer,
        since: NOW,
        since_sequence: None,
    };
    let nodes = (0..6).map(|n| Act::Node(node(if n == 5 { 1 } else { 10 + n })));
    for act in nodes.chain([cut]) {
        let (publish, _, link) = revocation(mesh, &rogue, place, act);
        world.trusting.publish(CALLER, publish).await.unwrap();
        place = (place.0 + 1, link);
    }
    let remove = world.propose(|root| {
        root.admins.retain(|set| set != rogue.public());
        root.retired = Some(vec![Retired {
            admin: rogue.public().clone(),
            length: place.0,
            link: place.1,
        }]);
    });
    let done = world.hand_in(&sign(&remove, &a)).await.unwrap();
    assert_eq!(done.proposal.effects, [""; 0], "nothing changes by it");
    assert!(world.hand_in(&sign(&remove, &b)).await.unwrap().in_force);
    let state = world.trusting.driver.in_force();
    assert!(state.revoked().node(&node(1)).is_none());

    let lower = world.propose(|root| root.threshold = 1);
    let file = || protocol::control::FileBytes(lower.file());
    let shown = world.trusting.preview(Propose { file: file() }).await;
    let effects = shown.unwrap().effects;
    assert_eq!(effects.len(), 2, "{effects:?}");
    let own = format!(
        "revokes node here ({}, this node), as removed admin ",
        node(1).short()
    );
    assert!(effects[0].starts_with(&own), "{effects:?}");
    assert!(effects[0].ends_with("because: test"), "{effects:?}");
    let of_issuer = format!("memberships of issuer {}", issuer.short());
    assert!(effects[1].contains(&of_issuer), "{effects:?}");
    let waiting = world.hand_in(&sign(&lower, &a)).await.unwrap();
    assert_eq!(waiting.proposal.effects, effects);
    let says = |change: &String| change.contains("wait for another admin come into force");
    assert!(waiting.proposal.changes.iter().any(says));
    let listed = world.trusting.in_force().await.unwrap().proposals;
    assert_eq!(listed[0].effects, effects);
    let done = world.hand_in(&sign(&lower, &b)).await.unwrap();
    assert!(done.in_force);
    assert_eq!(done.proposal.effects, effects, "also to who signs last");
    let state = world.trusting.driver.in_force();
    assert!(state.revoked().node(&node(1)).is_some());
    // A file of another root is none that a node can say anything of.
    let refused = world.trusting.preview(Propose { file: file() }).await;
    assert_eq!(refused.unwrap_err().reason, "proposal_of_another_root");
}

#[tokio::test]
async fn who_cuts_a_removed_admins_log_is_shown_what_that_takes_out_of_force() {
    let (a, rogue) = (keys(), keys());
    let world = World::of(&genesis(&[&a, &rogue], 1));
    let empty = protocol::trust::revocation::EMPTY;
    let (publish, ..) = revocation(world.root().mesh(), &rogue, (0, empty), Act::Node(node(9)));
    world.trusting.publish(CALLER, publish).await.unwrap();
    let remove = world.propose(|root| retire(root, rogue.public()));
    let done = world.hand_in(&sign(&remove, &a)).await.unwrap();
    assert!(done.in_force);
    let effects = done.proposal.effects;
    assert_eq!(effects.len(), 1, "{effects:?}");
    assert!(
        effects[0].starts_with("no longer revokes node "),
        "{effects:?}"
    );
}

fn listed(byte: u8, text: &str) -> Listed {
    Listed {
        id: node(byte),
        name: name(text),
        linked: byte != 4,
    }
}

fn acknowledged(byte: u8, since: Option<(u64, u64)>) -> Answer {
    Answer::Acknowledged {
        node: node(byte),
        since: since.map(|(in_force, on_disk)| Since {
            in_force: UnixMillis(in_force),
            on_disk: UnixMillis(on_disk),
        }),
    }
}

#[tokio::test]
async fn a_spread_counts_measures_and_names_who_is_missing() {
    let a = keys();
    let nodes = vec![
        listed(1, "here"),
        listed(2, "near"),
        listed(3, "far"),
        listed(4, "gone"),
    ];
    let at = NOW.0 * 1000;
    let acks = vec![
        acknowledged(1, Some((at + 100, at + 108))),
        acknowledged(2, Some((at + 350, at + 400))),
        // One that has started since does not know when; a stranger does not count.
        acknowledged(3, None),
        acknowledged(7, Some((at, at))),
        Answer::Busy,
        // A node counts once.
        acknowledged(2, Some((at + 9000, at + 9000))),
    ];
    let world = World::with(&genesis(&[&a], 1), nodes, acks);
    let empty = protocol::trust::revocation::EMPTY;
    let act = Act::Node(node(9));
    let (publish, entry, _) = revocation(world.root().mesh(), &a, (0, empty), act);
    world.trusting.publish(CALLER, publish).await.unwrap();
    let (sender, _receiver) = mpsc::channel(1);
    let query = SpreadQuery { entry, wait_ms: 50 };
    let spread = world.trusting.spread(query, sender).await.unwrap();
    assert_eq!((spread.nodes, spread.have), (4, 3));
    assert_eq!(spread.since, UnixMillis(at + 100));
    let took = |p50_ms, max_ms| {
        let p99_ms = max_ms;
        Some(Took {
            p50_ms,
            p99_ms,
            max_ms,
        })
    };
    assert_eq!(spread.in_force, took(0, 250));
    // From when it was in force here, too: on this node's own disk a little later.
    assert_eq!(spread.effective, took(8, 300));
    let missing: Vec<(&str, bool)> = spread
        .missing
        .iter()
        .map(|node| (node.name.as_str(), node.linked))
        .collect();
    assert_eq!(missing, [("gone", false)]);
    assert!(spread.partly_asked);

    let (sender, _receiver) = mpsc::channel(1);
    let query = SpreadQuery {
        entry: EntryId::from_bytes([0; 32]),
        wait_ms: 50,
    };
    let error = world.trusting.spread(query, sender).await.unwrap_err();
    assert_eq!(error.reason, "unknown_revocation");
}

#[test]
fn percentiles_are_by_nearest_rank() {
    let hundred: Vec<u64> = (1..=100).collect();
    assert_eq!(percentile(&hundred, 50), Some(50));
    assert_eq!(percentile(&hundred, 99), Some(99));
    assert_eq!(percentile(&[7], 99), Some(7));
    assert_eq!(percentile(&[], 50), None);
}
