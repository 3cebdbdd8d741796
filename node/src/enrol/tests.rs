//! An issuer on a real store with real signatures and a clock that is set by hand.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use hedgerow_crypto::{Primitives, SigningKeys, TlsIdentity};
use protocol::crypto::{Crypto as _, Signer as _, SigningSet, Suite};
use protocol::id::{Challenge, Digest, NodeId, TicketId};
use protocol::name::Name;
use protocol::time::{UnixMillis, UnixSeconds};
use protocol::trust::{
    self, Membership, MembershipRequest, PeerAddress, Root, Ticket, VerifiedMembership,
    VerifiedRequest,
};
use std::sync::Arc;

use super::*;
use crate::clock::Clock;
use crate::identity::Identity;
use crate::members::Members;
use crate::store::{Options, Store};

mod renewing;

const NOW: u64 = 1_800_000_000;
const DAY_S: u64 = 24 * 3600;

struct HandClock(AtomicU64);

impl Clock for HandClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.0.load(Ordering::Relaxed) * 1000)
    }
}

/// Bars what a test says.
#[derive(Default)]
struct Bars {
    nodes: Mutex<BTreeSet<NodeId>>,
    tickets: Mutex<BTreeSet<TicketId>>,
}

impl Barred for Bars {
    fn node(&self, node: &NodeId) -> Option<Bar> {
        let barred = self.nodes.lock().unwrap().contains(node);
        barred.then(|| Bar {
            why: "stolen".to_owned(),
        })
    }

    fn ticket(&self, ticket: &TicketId) -> Option<Bar> {
        let barred = self.tickets.lock().unwrap().contains(ticket);
        barred.then(|| Bar {
            why: "leaked".to_owned(),
        })
    }

    fn membership(&self, _: &trust::MemberFacts) -> Option<Bar> {
        None
    }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A host with real keys.
struct Host {
    tls: TlsIdentity,
    signing: SigningKeys,
}

impl Host {
    fn new() -> Self {
        Self {
            tls: TlsIdentity::generate(&Primitives).unwrap(),
            signing: SigningKeys::generate(&Primitives).unwrap(),
        }
    }

    fn node(&self) -> NodeId {
        self.tls.node_id(&Primitives)
    }

    fn content(&self, wished: &str, world: &World) -> MembershipRequest {
        let now = world.issuer.now();
        let name = Some(name(wished));
        let mut request = request::plain(&Primitives, &self.tls, &self.signing, name, now).unwrap();
        request.mesh = Some(world.identity.mesh());
        request.challenge = Some(CHALLENGE);
        request
    }

    fn joining(&self, wished: &str, ticket: &Ticket, world: &World) -> Vec<u8> {
        let mut request = self.content(wished, world);
        let key = ticket.secret.mac_key(&Primitives);
        let mesh = world.identity.mesh();
        let node = self.node();
        request.ticket = Some(ticket.id(&Primitives));
        request.mac = Some(key.mac(&Primitives, &node, &request.signing, &mesh, &CHALLENGE));
        request.sign(&Primitives, &self.signing).unwrap()
    }

    fn renewing(&self, world: &World) -> Vec<u8> {
        let request = self.content("ignored", world);
        request.sign(&Primitives, &self.signing).unwrap()
    }
}

const CHALLENGE: Challenge = Challenge::from_bytes([7; 32]);

struct World {
    issuer: Arc<Issuer>,
    identity: Arc<Identity>,
    members: Arc<Members>,
    store: Store,
    clock: Arc<HandClock>,
    bars: Arc<Bars>,
    keys: SigningKeys,
    _home: tempfile::TempDir,
}

fn issuer_entry(keys: &SigningKeys, max_per_hour: u64) -> trust::Issuer {
    trust::Issuer {
        keys: keys.public().clone(),
        groups: Some(vec![name("agents"), name("tools")]),
        sites: Some(vec![name("berlin")]),
        max_life_s: 30 * DAY_S,
        max_per_hour,
    }
}

async fn world() -> World {
    world_of(100_000).await
}

async fn world_of(max_per_hour: u64) -> World {
    let home = tempfile::tempdir().unwrap();
    let (admin, keys) = (
        SigningKeys::generate(&Primitives).unwrap(),
        SigningKeys::generate(&Primitives).unwrap(),
    );
    let timestamper = SigningKeys::generate(&Primitives).unwrap();
    let root = Root {
        version: 1,
        epoch: 1,
        mesh: None,
        name: name("test"),
        suite: Suite::Hybrid.byte(),
        created: UnixSeconds(NOW),
        admins: vec![admin.public().clone()],
        threshold: 1,
        issuers: vec![issuer_entry(&keys, max_per_hour)],
        timestampers: vec![timestamper.public().clone()],
        lease_s: DAY_S,
        read_grace_s: DAY_S,
        nonce: vec![0; 16],
        previous: None,
        retired: None,
        hosts: None,
    };
    let root = root.sign(&Primitives, &[&admin]).unwrap();
    let mesh = trust::VerifiedRoot::genesis(&Primitives, &root)
        .unwrap()
        .mesh();
    let host = Host::new();
    let membership = Membership {
        mesh,
        tls_key: host.tls.public_key().to_vec(),
        signing: host.signing.public().clone(),
        name: name("hub"),
        groups: Vec::new(),
        site: None,
        not_before: UnixSeconds(NOW),
        not_after: UnixSeconds(NOW + 7 * DAY_S),
        issuer_sequence: 1,
        replaces: None,
    };
    let membership = membership.sign(&Primitives, &keys).unwrap();
    let identity =
        Identity::new(Arc::new(host.tls), host.signing, &root, &[], &membership).unwrap();
    let identity = Arc::new(identity);
    let members = Members::new(Arc::clone(&identity.crypto), identity.root());
    let members = Arc::new(members);
    let options = Options::new(crate::app::read_link(Arc::clone(&identity.crypto)));
    let store = Store::open(&home.path().join("store.redb"), &options).unwrap();
    let clock = Arc::new(HandClock(AtomicU64::new(NOW)));
    let bars = Arc::new(Bars::default());
    let issuer = Issuer::open(
        Arc::clone(&identity),
        Arc::clone(&members),
        store.clone(),
        Arc::clone(&clock) as Arc<dyn Clock>,
        Arc::clone(&bars) as Arc<dyn Barred>,
        SigningKeys::from_seeds(
            keys.seeds().first_chunk::<32>().unwrap(),
            keys.seeds().last_chunk::<32>().unwrap(),
        )
        .unwrap(),
    );
    World {
        issuer: issuer.await.unwrap(),
        identity,
        members,
        store,
        clock,
        bars,
        keys,
        _home: home,
    }
}

impl World {
    fn pass(&self, seconds: u64) {
        self.clock.0.fetch_add(seconds, Ordering::Relaxed);
    }

    fn invitation(&self) -> Invitation {
        Invitation {
            groups: vec![name("tools")],
            site: Some(name("berlin")),
            name: None,
            ttl_s: 3600,
            uses: 1,
            pending: false,
            life_s: 7 * DAY_S,
        }
    }

    async fn ticket(&self, alter: impl FnOnce(&mut Invitation)) -> Ticket {
        let mut invitation = self.invitation();
        alter(&mut invitation);
        let bootstraps = vec![PeerAddress {
            node: self.identity.node(),
            addresses: vec!["192.0.2.7:7443".to_owned()],
        }];
        let invited = self.issuer.invite(invitation, bootstraps).await.unwrap();
        Ticket::parse(&Primitives, &invited.text).unwrap()
    }

    async fn refused_invitation(&self, alter: impl FnOnce(&mut Invitation)) -> &'static str {
        let mut invitation = self.invitation();
        alter(&mut invitation);
        let bootstraps = vec![PeerAddress {
            node: self.identity.node(),
            addresses: vec!["192.0.2.7:7443".to_owned()],
        }];
        let refused = self.issuer.invite(invitation, bootstraps).await;
        refused.unwrap_err().reason()
    }

    async fn judge(&self, request: Vec<u8>) -> Result<Decided, Refused> {
        self.issuer.judge(request, None, CHALLENGE).await
    }

    async fn join(&self, host: &Host, wished: &str, ticket: &Ticket) -> &'static str {
        let request = host.joining(wished, ticket, self);
        outcome(&self.judge(request).await)
    }

    async fn granted(&self, request: Vec<u8>) -> VerifiedMembership {
        let decided = self.judge(request).await.unwrap();
        self.verified(&decided)
    }

    fn verified(&self, decided: &Decided) -> VerifiedMembership {
        let Decided::Granted(bytes) = decided else {
            panic!("{decided:?}");
        };
        VerifiedMembership::verify(&Primitives, &self.identity.root(), bytes).unwrap()
    }

    fn left(&self, ticket: &Ticket) -> u64 {
        let kept = self
            .store
            .snapshot()
            .unwrap()
            .ticket(&ticket.id(&Primitives));
        kept.unwrap().unwrap().left
    }
}

fn outcome(decided: &Result<Decided, Refused>) -> &'static str {
    match decided {
        Ok(Decided::Granted(_)) => "granted",
        Ok(Decided::Waits(_)) => "waits",
        Err(refused) => refused.reason(),
    }
}

/// A joiner with made-up keys, as the transaction sees one whose signatures were verified.
fn made_up(wished: &str) -> VerifiedRequest {
    let random = |length: usize| {
        let mut bytes = vec![0; length];
        Primitives.fill_random(&mut bytes).unwrap();
        bytes
    };
    let tls_key = random(1984);
    VerifiedRequest {
        node: NodeId::of_tls_key(&Primitives, &tls_key),
        content: MembershipRequest {
            tls_key,
            signing: SigningSet {
                ml_dsa_65: random(1952),
                ed25519: random(32),
            },
            name: Some(name(wished)),
            created: UnixSeconds(NOW),
            tls_proof: Vec::new(),
            mesh: None,
            ticket: None,
            challenge: None,
            mac: None,
            replaces: None,
        },
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_hundred_that_race_for_a_ticket_exactly_one_is_let_in() {
    const TRIALS: usize = 200;
    const JOINERS: usize = 100;
    let world = world().await;
    for trial in 0..TRIALS {
        let ticket = world.ticket(|_| ()).await;
        let id = ticket.id(&Primitives);
        let start = Arc::new(tokio::sync::Barrier::new(JOINERS));
        let joiners = (0..JOINERS).map(|joiner| {
            let (issuer, start) = (Arc::clone(&world.issuer), Arc::clone(&start));
            let request = made_up(&format!("t{trial}-j{joiner}"));
            tokio::spawn(async move {
                start.wait().await;
                outcome(&issuer.redeem(id, request, Vec::new()).await)
            })
        });
        let mut outcomes: Vec<&str> = Vec::new();
        for joiner in joiners.collect::<Vec<_>>() {
            outcomes.push(joiner.await.unwrap());
        }
        let granted = outcomes.iter().filter(|o| **o == "granted").count();
        let used_up = outcomes.iter().filter(|o| **o == "ticket_used_up").count();
        assert_eq!((granted, used_up), (1, JOINERS - 1), "trial {trial}");
    }
    let snapshot = world.store.snapshot().unwrap();
    assert_eq!(snapshot.memberships().unwrap().len(), TRIALS);
    let mut sequences: Vec<u64> = snapshot
        .memberships()
        .unwrap()
        .iter()
        .map(|(_, bytes)| {
            world
                .issuer
                .verify(bytes)
                .unwrap()
                .content()
                .issuer_sequence
        })
        .collect();
    sequences.sort_unstable();
    // The hub's own membership has the first.
    assert!(sequences.iter().copied().eq(2..=TRIALS as u64 + 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_ticket_of_several_uses_lets_in_as_many() {
    let world = world().await;
    let ticket = world.ticket(|i| i.uses = 7).await;
    let id = ticket.id(&Primitives);
    let joiners = (0..50).map(|joiner| {
        let issuer = Arc::clone(&world.issuer);
        let request = made_up(&format!("j{joiner}"));
        tokio::spawn(async move { issuer.redeem(id, request, Vec::new()).await.is_ok() })
    });
    let mut granted = 0;
    for joiner in joiners.collect::<Vec<_>>() {
        granted += usize::from(joiner.await.unwrap());
    }
    assert_eq!(granted, 7);
    assert_eq!(world.left(&ticket), 0);
    let Listed {
        kept, redeemers, ..
    } = world.issuer.tickets().unwrap().remove(0);
    assert_eq!((kept.uses, redeemers.len()), (7, 7));
}

#[tokio::test]
async fn a_newcomer_gets_what_the_ticket_says_and_the_same_answer_again() {
    let world = world().await;
    let ticket = world.ticket(|_| ()).await;
    let host = Host::new();
    let granted = world.granted(host.joining("b", &ticket, &world)).await;
    let content = granted.content();
    assert_eq!(granted.node(), host.node());
    assert_eq!(granted.issuer(), world.keys.public().id(&Primitives));
    assert_eq!(content.name, name("b"));
    assert_eq!(content.groups, vec![name("tools")]);
    assert_eq!(content.site, Some(name("berlin")));
    assert_eq!(content.not_after, UnixSeconds(NOW + 7 * DAY_S));
    // Asked again, as after a crash of either side.
    world.pass(5000);
    let again = world.granted(host.joining("b", &ticket, &world)).await;
    assert_eq!(again.bytes(), granted.bytes());
    assert_eq!(world.left(&ticket), 0);
    assert_eq!(
        world.join(&Host::new(), "c", &ticket).await,
        "ticket_expired"
    );
}

#[tokio::test]
async fn a_stolen_proof_is_of_no_use() {
    let world = world().await;
    let ticket = world.ticket(|_| ()).await;
    let (host, thief) = (Host::new(), Host::new());
    let stolen = MembershipRequest::peek(&host.joining("b", &ticket, &world)).unwrap();
    let with = |alter: &dyn Fn(&mut MembershipRequest)| {
        let mut request = thief.content("thief", &world);
        (request.ticket, request.mac) = (stolen.ticket, stolen.mac);
        alter(&mut request);
        request.sign(&Primitives, &thief.signing).unwrap()
    };
    let judge = async |request| outcome(&world.judge(request).await);
    // The MAC with other keys, without one, with one of the thief's own making.
    assert_eq!(judge(with(&|_| ())).await, "bad_mac");
    assert_eq!(judge(with(&|r| r.mac = None)).await, "bad_mac");
    let made = Digest::from_bytes([1; 32]);
    assert_eq!(judge(with(&|r| r.mac = Some(made))).await, "bad_mac");
    // The victim's keys and MAC, signed by the thief.
    let forged = stolen.sign(&Primitives, &thief.signing).unwrap();
    assert_eq!(judge(forged).await, "unknown_key");
    // The whole request on another stream, which has another challenge.
    let replayed = host.joining("b", &ticket, &world);
    let other = Challenge::from_bytes([8; 32]);
    let replayed = world.issuer.judge(replayed, None, other).await;
    assert_eq!(outcome(&replayed), "wrong_challenge");
    // A request of another mesh, and one for a ticket that never was.
    assert_eq!(judge(with(&|r| r.mesh = None)).await, "foreign_mesh");
    let guess = TicketId::from_bytes([9; 32]);
    assert_eq!(
        judge(with(&|r| r.ticket = Some(guess))).await,
        "unknown_ticket"
    );
    // Nothing of this used the ticket.
    assert_eq!(world.left(&ticket), 1);
    assert_eq!(world.join(&host, "b", &ticket).await, "granted");
}

#[tokio::test]
async fn tickets_end_by_time_by_their_operator_and_by_revocation() {
    let world = world().await;
    let [late, revoked, barred] = [
        world.ticket(|i| i.ttl_s = 60).await,
        world.ticket(|_| ()).await,
        world.ticket(|_| ()).await,
    ];
    world.pass(60);
    assert_eq!(world.join(&Host::new(), "b", &late).await, "ticket_expired");
    let id = revoked.id(&Primitives);
    let found = world.issuer.find_ticket(&id.to_string()[..8]).unwrap();
    world.issuer.revoke_ticket(found).await.unwrap();
    assert_eq!(
        world.join(&Host::new(), "b", &revoked).await,
        "ticket_revoked"
    );
    let id = barred.id(&Primitives);
    world.bars.tickets.lock().unwrap().insert(id);
    assert_eq!(
        world.join(&Host::new(), "b", &barred).await,
        "ticket_revoked"
    );
    for unknown in ["", "0", "00000000", "zz"] {
        assert_eq!(
            world.issuer.find_ticket(unknown).unwrap_err().reason(),
            "unknown_id"
        );
    }
    // Long after, they are forgotten.
    world.pass(TICKET_REMEMBERED_S + 2 * 3600);
    world.issuer.tidy().await.unwrap();
    assert!(world.issuer.tickets().unwrap().is_empty());
}

#[tokio::test]
async fn nodes_keys_and_names_are_bound_once() {
    let world = world().await;
    let ticket = world.ticket(|i| i.uses = 9).await;
    let first = Host::new();
    assert_eq!(world.join(&first, "b", &ticket).await, "granted");
    // The same TLS key with another signing set.
    let rekeyed = Host {
        tls: first.tls,
        signing: SigningKeys::generate(&Primitives).unwrap(),
    };
    assert_eq!(world.join(&rekeyed, "b", &ticket).await, "node_bound");
    // The same signing set under another TLS key.
    let shared = Host {
        tls: TlsIdentity::generate(&Primitives).unwrap(),
        signing: first.signing,
    };
    assert_eq!(world.join(&shared, "c", &ticket).await, "kid_bound");
    assert_eq!(world.join(&Host::new(), "b", &ticket).await, "name_taken");
    assert_eq!(world.join(&Host::new(), "hub", &ticket).await, "name_taken");
    assert_eq!(world.left(&ticket), 8);
    // Nor is a ticket made that nobody could use.
    let taken = |i: &mut Invitation| i.name = Some(name("b"));
    assert_eq!(world.refused_invitation(taken).await, "name_taken");
    // A node that is revoked frees its name and comes back under none.
    let node = rekeyed.node();
    world.bars.nodes.lock().unwrap().insert(node);
    assert_eq!(world.join(&rekeyed, "d", &ticket).await, "node_revoked");
    assert_eq!(world.join(&Host::new(), "b", &ticket).await, "granted");
}

#[tokio::test]
async fn a_name_is_free_again_long_after_its_node_is_gone() {
    let world = world().await;
    let long = |i: &mut Invitation| (i.uses, i.ttl_s) = (9, MAX_TICKET_TTL_S);
    let ticket = world.ticket(long).await;
    assert_eq!(world.join(&Host::new(), "b", &ticket).await, "granted");
    world.pass(8 * DAY_S);
    assert_eq!(world.join(&Host::new(), "b", &ticket).await, "name_taken");
    world.pass(NAME_HELD_S);
    let ticket = world.ticket(long).await;
    assert_eq!(world.join(&Host::new(), "b", &ticket).await, "granted");
}

#[tokio::test]
async fn the_root_s_limits_are_obeyed_each_by_its_name() {
    let world = world_of(10).await;
    let invite = async |alter: &dyn Fn(&mut Invitation)| world.refused_invitation(alter).await;
    let admins = |i: &mut Invitation| i.groups.push(name("admins"));
    assert_eq!(invite(&admins).await, "beyond_issuer_groups");
    let paris = |i: &mut Invitation| i.site = Some(name("paris"));
    assert_eq!(invite(&paris).await, "beyond_issuer_sites");
    let long = |i: &mut Invitation| i.life_s = 30 * DAY_S + 1;
    assert_eq!(invite(&long).await, "beyond_issuer_lifetime");
    let bounds: [fn(&mut Invitation); 6] = [
        |i| i.ttl_s = 0,
        |i| i.ttl_s = MAX_TICKET_TTL_S + 1,
        |i| i.uses = 0,
        |i| i.uses = MAX_TICKET_USES + 1,
        |i| (i.uses, i.name) = (2, Some(name("b"))),
        |i| i.life_s = 1,
    ];
    for alter in bounds {
        assert_eq!(invite(&alter).await, "invitation_out_of_bounds");
    }
    // Ten an hour, of which one is kept for renewals; the hub's own counts.
    let ticket = world.ticket(|i| i.uses = 100).await;
    let id = ticket.id(&Primitives);
    let redeem = async |number: usize| {
        let request = made_up(&format!("j{number}"));
        outcome(&world.issuer.redeem(id, request, Vec::new()).await)
    };
    for number in 0..8 {
        assert_eq!(redeem(number).await, "granted", "{number}");
    }
    assert_eq!(redeem(8).await, "issuer_rate_exceeded");
    assert_eq!(world.left(&ticket), 92);
    world.pass(3599);
    assert_eq!(redeem(9).await, "issuer_rate_exceeded");
    world.pass(1);
    let ticket = world.ticket(|i| i.uses = 100).await;
    let id = ticket.id(&Primitives);
    let redeemed = world.issuer.redeem(id, made_up("late"), Vec::new()).await;
    assert_eq!(outcome(&redeemed), "granted");
}

#[tokio::test]
async fn a_person_lets_in_or_refuses_who_waits() {
    let world = world().await;
    let ticket = world.ticket(|i| (i.uses, i.pending) = (9, true)).await;
    let (yes, no) = (Host::new(), Host::new());
    for _ in 0..2 {
        assert_eq!(world.join(&yes, "yes", &ticket).await, "waits");
        assert_eq!(world.join(&no, "no", &ticket).await, "waits");
    }
    assert_eq!(world.left(&ticket), 7);
    let waiting = world.issuer.pending().unwrap();
    assert_eq!(waiting.len(), 2);
    assert!(
        world
            .store
            .snapshot()
            .unwrap()
            .memberships()
            .unwrap()
            .is_empty()
    );
    // The name is kept meanwhile.
    assert_eq!(world.join(&Host::new(), "yes", &ticket).await, "name_taken");
    let find = |text: &str| world.issuer.find_pending(text);
    assert_eq!(find("yes").unwrap(), yes.node());
    assert_eq!(find(&yes.node().to_string()).unwrap(), yes.node());
    assert_eq!(find(&yes.node().short()).unwrap(), yes.node());
    assert_eq!(find("nobody").unwrap_err().reason(), "unknown_id");
    world.issuer.approve(yes.node()).await.unwrap();
    world.issuer.deny(no.node()).await.unwrap();
    assert_eq!(world.join(&yes, "yes", &ticket).await, "granted");
    assert_eq!(world.join(&no, "no", &ticket).await, "join_denied");
    let approved = world.issuer.approve(yes.node()).await;
    assert_eq!(approved.unwrap_err().reason(), "unknown_id");
    // A refused one frees its name, and may come with another ticket.
    let same = Host::new();
    assert_eq!(world.join(&same, "no", &ticket).await, "waits");
    // The name means who waits; what was denied is listed as that, and its use is not given back.
    assert_eq!(find("no").unwrap(), same.node());
    assert_eq!(find(&no.node().to_string()).unwrap(), no.node());
    let listed = world.issuer.tickets().unwrap().remove(0);
    let denied: Vec<NodeId> = listed
        .redeemers
        .iter()
        .filter(|redeemed| redeemed.denied)
        .map(|redeemed| redeemed.node)
        .collect();
    assert_eq!(denied, [no.node()]);
    world.issuer.deny(same.node()).await.unwrap();
    assert_eq!(find("no").unwrap_err().reason(), "ambiguous_name");
    let other = world.ticket(|_| ()).await;
    assert_eq!(world.join(&no, "other", &other).await, "granted");
}

#[tokio::test]
async fn the_books_outlive_the_process() {
    let world = world().await;
    let ticket = world.ticket(|_| ()).await;
    let host = Host::new();
    let granted = world.granted(host.joining("b", &ticket, &world)).await;
    // Another issuer on the same store, as after a restart.
    let seeds = world.keys.seeds();
    let keys = SigningKeys::from_seeds(
        seeds.first_chunk::<32>().unwrap(),
        seeds.last_chunk::<32>().unwrap(),
    );
    let issuer = Issuer::open(
        Arc::clone(&world.identity),
        Arc::clone(&world.members),
        world.store.clone(),
        Arc::clone(&world.clock) as Arc<dyn Clock>,
        Arc::clone(&world.bars) as Arc<dyn Barred>,
        keys.unwrap(),
    );
    let issuer = issuer.await.unwrap();
    let request = Host::new().joining("c", &ticket, &world);
    let other = issuer.judge(request, None, CHALLENGE).await;
    assert_eq!(outcome(&other), "ticket_used_up");
    let request = host.joining("b", &ticket, &world);
    let same = issuer.judge(request, None, CHALLENGE).await.unwrap();
    assert_eq!(world.verified(&same).bytes(), granted.bytes());
}
