//! Directories of members with real keys and signatures.

use hedgerow_crypto::{Primitives, SigningKeys};
use protocol::crypto::{Signer as _, Suite};
use protocol::trust::{
    Issuer, Membership, NodeRecord, Root, ServerFacts, ServerRecord, ToolFacts, ToolRecord,
};

use super::*;

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
const DAY_S: u64 = 24 * 3600;

/// What 10,000 members may take.
const BAR_BYTES: usize = 64 * 1024 * 1024;
const BAR_MEMBERS: usize = 10_000;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn keys() -> SigningKeys {
    SigningKeys::generate(&Primitives).unwrap()
}

/// A mesh of one admin and one issuer.
struct Mesh {
    admin: SigningKeys,
    issuer: SigningKeys,
    root: Arc<VerifiedRoot>,
    members: Members,
}

impl Mesh {
    fn new() -> Self {
        let (admin, issuer) = (keys(), keys());
        let root = Root {
            version: 1,
            epoch: 1,
            mesh: None,
            name: name("test"),
            suite: Suite::Hybrid.byte(),
            created: NOW,
            admins: vec![admin.public().clone()],
            threshold: 1,
            issuers: vec![Issuer {
                keys: issuer.public().clone(),
                groups: None,
                sites: None,
                max_life_s: 30 * DAY_S,
                max_per_hour: 100,
            }],
            timestampers: vec![keys().public().clone()],
            lease_s: DAY_S,
            read_grace_s: DAY_S,
            nonce: vec![0; 16],
            previous: None,
            retired: None,
            hosts: None,
        };
        let root = root.sign(&Primitives, &[&admin]).unwrap();
        let root = Arc::new(VerifiedRoot::genesis(&Primitives, &root).unwrap());
        let members = Members::new(Arc::new(Primitives), Arc::clone(&root));
        Self {
            admin,
            issuer,
            root,
            members,
        }
    }

    /// The next root, its content changed.
    fn next_root(&self, alter: impl FnOnce(&mut Root)) -> Arc<VerifiedRoot> {
        let mut root = self.root.root().clone();
        root.version += 1;
        root.mesh = Some(self.root.mesh());
        root.previous = Some(self.root.hash());
        alter(&mut root);
        let signed = root.sign(&Primitives, &[&self.admin]).unwrap();
        let next = self.root.successor(&Primitives, &signed.into());
        Arc::new(next.unwrap())
    }

    fn content(&self, number: u8, signing: &SigningKeys) -> Membership {
        Membership {
            mesh: self.root.mesh(),
            tls_key: vec![number; 1984],
            signing: signing.public().clone(),
            name: name(&format!("node-{number}")),
            groups: vec![name("tools")],
            site: Some(name("berlin")),
            not_before: NOW,
            not_after: NOW.plus(7 * DAY_S),
            issuer_sequence: number.into(),
            replaces: None,
        }
    }

    fn sign(&self, content: &Membership) -> Vec<u8> {
        content.sign(&Primitives, &self.issuer).unwrap()
    }

    fn record(&self, membership: &[u8], signing: &SigningKeys, sequence: u64) -> Vec<u8> {
        let tool = |number: u8| ToolRecord {
            name: format!("search_documents_{number:02}"),
            digest: Digest::from_bytes([number; 32]),
            hints: (number == 3).then_some(Hints::ALL),
        };
        let server = |number: u8| ServerRecord {
            name: name(&format!("server-{number}")),
            tools: (0..10).map(tool).collect(),
        };
        let record = NodeRecord {
            mesh: self.root.mesh(),
            membership: membership.to_vec(),
            addresses: vec!["192.0.2.7:7443".to_owned(), "[2001:db8::7]:7443".to_owned()],
            relays: Vec::new(),
            sealing_key: None,
            servers: (0..3).map(server).collect(),
            posture: None,
            sequence,
            issued: NOW,
            expires: NOW.plus(3600),
        };
        record.sign(&Primitives, signing).unwrap()
    }
}

/// A block of the heap: what was asked for and what the allocator adds.
fn block(bytes: usize) -> usize {
    if bytes == 0 {
        return 0;
    }
    (bytes + 8).next_multiple_of(16).max(32)
}

fn list<T>(list: &Vec<T>) -> usize {
    block(list.capacity() * size_of::<T>())
}

/// Everything the directory holds for one member, by what each part has room for.
fn held(member: &Member) -> usize {
    let (facts, record) = (&member.membership, member.record.as_ref().unwrap());
    let counts = 2 * size_of::<usize>();
    let text = |name: &Name| block(name.as_str().len());
    // Half of the nodes of a B-tree may be empty.
    let entry = 2 * (size_of::<NodeId>() + size_of::<Arc<Member>>());
    let membership = block(counts + size_of::<MemberFacts>())
        + list(&facts.signing.ml_dsa_65)
        + list(&facts.signing.ed25519)
        + text(&facts.name)
        + list(&facts.groups)
        + facts
            .groups
            .iter()
            .chain(&facts.site)
            .map(text)
            .sum::<usize>()
        + facts.replaces.as_ref().map_or(0, list);
    let tools = |tools: &ToolFacts| {
        let names: usize = tools.iter().map(|(name, _)| name.len()).sum();
        block(names) + block(tools.len() * size_of::<(u32, Digest)>())
    };
    let server = |server: &ServerFacts| text(&server.name) + tools(&server.tools);
    let record = block(counts + size_of::<RecordFacts>())
        + list(&record.addresses)
        + record
            .addresses
            .iter()
            .map(|a| block(a.capacity()))
            .sum::<usize>()
        + list(&record.relays)
        + block(size_of_val(&*record.servers))
        + record.servers.iter().map(server).sum::<usize>();
    entry + block(counts + size_of::<Member>()) + membership + record
}

#[test]
fn ten_thousand_members_fit() {
    let mesh = Mesh::new();
    let signing = keys();
    let membership = mesh.sign(&mesh.content(1, &signing));
    let record = mesh.record(&membership, &signing, 1);
    let member = mesh.members.learn_record(&record, NOW).unwrap();
    let held = held(&member);
    // It counted the keys and the tools' digests at least.
    assert!(held > 1984 + 30 * 32, "{held} bytes");
    let most = BAR_BYTES / BAR_MEMBERS;
    assert!(held <= most, "{held} bytes a member, allowed are {most}");
}

#[test]
fn tools_are_found_by_server_and_name() {
    let mesh = Mesh::new();
    let signing = keys();
    let membership = mesh.sign(&mesh.content(1, &signing));
    let record = mesh.record(&membership, &signing, 1);
    let member = mesh.members.learn_record(&record, NOW).unwrap();
    for number in 0..10 {
        let tool = format!("search_documents_{number:02}");
        let found = member.tool_digest(&name("server-2"), &tool);
        assert_eq!(found, Some(Digest::from_bytes([number; 32])));
        let hints = member
            .tool(&name("server-2"), &tool)
            .map(|(_, hints)| hints);
        let announced = if number == 3 { Hints::ALL } else { Hints::NONE };
        assert_eq!(hints, Some(announced));
    }
    // What two names make together is none.
    for absent in [
        "",
        "search_documents_0",
        "search_documents_00search_documents_01",
    ] {
        assert_eq!(member.tool_digest(&name("server-2"), absent), None);
    }
    assert_eq!(
        member.tool_digest(&name("server-9"), "search_documents_00"),
        None
    );
}

#[test]
fn a_membership_is_known_again_by_its_bytes() {
    let mesh = Mesh::new();
    let content = mesh.content(1, &keys());
    let bytes = mesh.sign(&content);
    let first = mesh.members.learn_membership(&bytes, NOW).unwrap();
    assert!(first.membership.are_of(&Primitives, &bytes));
    let again = mesh.members.learn_membership(&bytes, NOW).unwrap();
    assert!(Arc::ptr_eq(&first, &again));
    // The same facts signed anew are verified anew.
    let other = mesh.sign(&content);
    assert_ne!(other, bytes);
    let other = mesh.members.learn_membership(&other, NOW).unwrap();
    assert!(!Arc::ptr_eq(&first, &other));
    let mut forged = bytes;
    *forged.last_mut().unwrap() ^= 1;
    mesh.members.learn_membership(&forged, NOW).unwrap_err();
}

#[test]
fn facts_answer_as_verifying_again_would() {
    let mesh = Mesh::new();
    let bytes = mesh.sign(&mesh.content(1, &keys()));
    let root = mesh.root.as_ref();
    let known = VerifiedMembership::verify(&Primitives, root, &bytes).unwrap();
    let (other, limits) = (keys(), |root: &mut Root, alter: fn(&mut Issuer)| {
        root.issuers.iter_mut().for_each(alter);
    });
    let roots = [
        mesh.next_root(|root| root.lease_s += 1),
        mesh.next_root(|root| limits(root, |i| i.keys = keys().public().clone())),
        // One half of the issuer's keys is not its keys.
        mesh.next_root(|root| {
            for issuer in &mut root.issuers {
                issuer.keys.ed25519.clone_from(&other.public().ed25519);
            }
        }),
        mesh.next_root(|root| limits(root, |i| i.groups = Some(vec![name("agents")]))),
        mesh.next_root(|root| limits(root, |i| i.sites = Some(vec![name("oslo")]))),
        mesh.next_root(|root| limits(root, |i| i.max_life_s = 7 * DAY_S - 1)),
        mesh.next_root(|root| limits(root, |i| i.max_life_s = 7 * DAY_S)),
    ];
    let mut refused = 0;
    for root in roots {
        let verified = VerifiedMembership::verify(&Primitives, &root, &bytes).map(drop);
        assert_eq!(known.facts().holds_under(&root), verified);
        let gone = mesh.members.learn_membership(&bytes, NOW).map(drop);
        gone.unwrap();
        let gone = mesh.members.replace_root(Arc::clone(&root));
        assert_eq!(gone.is_empty(), verified.is_ok());
        refused += usize::from(verified.is_err());
        mesh.members.replace_root(Arc::clone(&mesh.root));
    }
    assert_eq!(refused, 5);
}

#[test]
fn an_older_record_changes_nothing() {
    let mesh = Mesh::new();
    let signing = keys();
    let membership = mesh.sign(&mesh.content(1, &signing));
    let newer = mesh.record(&membership, &signing, 2);
    let member = mesh.members.learn_record(&newer, NOW).unwrap();
    let record = member.record.as_ref().unwrap();
    assert!(record.are_of(&Primitives, &newer));
    assert_eq!(record.membership(), member.membership.digest());
    for sequence in [1, 2] {
        let old = mesh.record(&membership, &signing, sequence);
        let refused = mesh.members.learn_record(&old, NOW).unwrap_err();
        assert_eq!(refused, DirectoryError::Stale);
    }
    // A membership heard later leaves the record as it is.
    let mut renewed = mesh.content(1, &signing);
    renewed.not_after = renewed.not_after.plus(1);
    renewed.issuer_sequence += 10;
    let renewed = mesh.sign(&renewed);
    let member = mesh.members.learn_membership(&renewed, NOW).unwrap();
    assert!(member.membership.are_of(&Primitives, &renewed));
    assert_eq!(member.record.as_ref().unwrap().sequence, 2);
}

#[test]
fn who_was_replaced_is_held_as_bytes_only_until_it_is_on_disk() {
    let mesh = Mesh::new();
    let old = VerifiedMembership::verify(
        &Primitives,
        &mesh.root,
        &mesh.sign(&mesh.content(1, &keys())),
    );
    let old = old.unwrap().node();
    let mut content = mesh.content(2, &keys());
    content.replaces = Some(vec![old]);
    let bytes = mesh.sign(&content);
    let by = mesh.members.learn_membership(&bytes, NOW).unwrap();
    let unkept = mesh.members.unkept_replaced();
    assert_eq!(unkept, [(old, Arc::from(bytes.as_slice()))]);
    mesh.members.replaced_kept(&unkept);
    assert_eq!(mesh.members.unkept_replaced(), []);
    // Renewed, it says nothing new.
    content.not_after = content.not_after.plus(1);
    content.issuer_sequence += 10;
    let renewed = mesh.sign(&content);
    mesh.members.learn_membership(&renewed, NOW).unwrap();
    assert_eq!(mesh.members.unkept_replaced(), []);
    assert_eq!(mesh.members.replaced_by(&old), Some(by.membership.node()));
    // What was read from the disk is there already.
    let restored = Members::new(Arc::new(Primitives), Arc::clone(&mesh.root));
    restored.restore_replaced(&bytes).unwrap();
    assert_eq!(restored.replaced_by(&old), Some(by.membership.node()));
    assert_eq!(restored.unkept_replaced(), []);
}

impl Mesh {
    /// Has `count` memberships learnt, of nodes and sequences from `first` on.
    fn learn(&self, first: u8, count: u8) -> Vec<Result<NodeId, DirectoryError>> {
        let one = |number| {
            let bytes = self.sign(&self.content(number, &keys()));
            let learnt = self.members.learn_membership(&bytes, NOW);
            learnt.map(|member| member.membership.node())
        };
        (first..first + count).map(one).collect()
    }

    /// The same with a root in force that lets its issuer issue three an hour.
    fn slow() -> Self {
        let mut mesh = Self::new();
        mesh.root = mesh.next_root(|root| root.issuers[0].max_per_hour = 3);
        mesh.members = Members::new(Arc::new(Primitives), Arc::clone(&mesh.root));
        mesh
    }
}

#[test]
fn what_an_issuer_signs_beyond_its_rate_is_refused_and_the_operator_is_told() {
    let mesh = Mesh::slow();
    let learnt = mesh.learn(1, 3);
    assert!(learnt.iter().all(Result::is_ok));
    assert_eq!(mesh.members.issuer_alarms(), []);
    let too_fast = DirectoryError::Trust(TrustError::IssuerTooFast(3));
    assert!(too_fast.is_stale(), "its sender is not to blame");
    for refused in mesh.learn(4, 2) {
        assert_eq!(refused, Err(too_fast.clone()));
    }
    // Skipping sequences, in a record, by way of another's place: nothing helps.
    let mut content = mesh.content(6, &keys());
    content.issuer_sequence = 1 << 40;
    content.name = name("node-1");
    content.replaces = Some(vec![*learnt[0].as_ref().unwrap()]);
    let signing = keys();
    content.signing = signing.public().clone();
    let membership = mesh.sign(&content);
    let record = mesh.record(&membership, &signing, 1);
    let refused = mesh.members.learn_record(&record, NOW);
    assert_eq!(refused.map(drop), Err(too_fast.clone()));
    assert_eq!(mesh.members.replaced_by(learnt[0].as_ref().unwrap()), None);
    assert_eq!(mesh.members.all().len(), 3, "who was in stays");
    let alarms = mesh.members.issuer_alarms();
    let [alarm] = alarms.as_slice() else {
        panic!("{alarms:?}")
    };
    assert_eq!(alarm.issuer, mesh.issuer.public().id(&Primitives));
    assert_eq!((alarm.reason, alarm.refused), ("issuer_too_fast", 3));
    // An hour later it may again.
    let mut content = mesh.content(7, &keys());
    content.not_before = NOW.plus(3600);
    let later = mesh.sign(&content);
    let now = NOW.plus(3600);
    mesh.members.learn_membership(&later, now).unwrap();
}

#[test]
fn one_sequence_twice_is_refused_and_the_first_stays() {
    let mesh = Mesh::new();
    let first = mesh.learn(1, 1).remove(0).unwrap();
    let mut content = mesh.content(2, &keys());
    content.issuer_sequence = 1;
    let refused = mesh.members.learn_membership(&mesh.sign(&content), NOW);
    let twice = DirectoryError::Trust(TrustError::IssuerEquivocates(1));
    assert_eq!(refused.map(drop), Err(twice));
    assert!(mesh.members.member(&first).is_some());
    assert_eq!(mesh.members.all().len(), 1);
    let alarms = mesh.members.issuer_alarms();
    assert_eq!(alarms[0].reason, "issuer_equivocates");
}

#[test]
fn a_lowered_rate_puts_nobody_out() {
    let mut mesh = Mesh::new();
    assert!(mesh.learn(1, 5).iter().all(Result::is_ok));
    mesh.root = mesh.next_root(|root| {
        root.issuers[0].max_per_hour = 3;
        root.created = NOW.plus(60);
    });
    assert_eq!(mesh.members.replace_root(Arc::clone(&mesh.root)), []);
    // A node that hears of all of them under the new root alone agrees.
    mesh.members = Members::new(Arc::new(Primitives), Arc::clone(&mesh.root));
    assert!(mesh.learn(1, 5).iter().all(Result::is_ok));
    let mut content = mesh.content(6, &keys());
    content.not_before = NOW.plus(60);
    let bytes = mesh.sign(&content);
    let refused = mesh.members.learn_membership(&bytes, NOW.plus(60));
    let too_fast = DirectoryError::Trust(TrustError::IssuerTooFast(3));
    assert_eq!(refused.map(drop), Err(too_fast));
}

#[test]
fn names_of_revoked_nodes_are_kept_once_and_known_without_their_membership() {
    let mesh = Mesh::new();
    let learnt: Vec<NodeId> = mesh.learn(1, 2).into_iter().map(Result::unwrap).collect();
    let unknown = NodeId::from_bytes([9; 32]);
    let revoked = [learnt[0], unknown];
    let unkept = mesh.members.unkept_names(revoked.iter());
    assert_eq!(unkept, [(learnt[0], name("node-1"))]);
    mesh.members.names_kept(unkept);
    assert_eq!(mesh.members.unkept_names(revoked.iter()), []);
    assert_eq!(mesh.members.names_only(), []);
    mesh.members.forget(&learnt);
    assert_eq!(mesh.members.name(&learnt[0]), Some(name("node-1")));
    assert_eq!(mesh.members.name(&learnt[1]), None);
    assert_eq!(mesh.members.names_only(), [(learnt[0], name("node-1"))]);
}
