//! Records on a real store with real signatures, sent to a buffer.

use std::sync::atomic::{AtomicU64, Ordering};

use hedgerow_crypto::{Primitives, SigningKeys, TlsIdentity};
use protocol::crypto::{Signer as _, Suite};
use protocol::time::{UnixMillis, UnixSeconds};
use protocol::trust::{Issuer, Membership, Root, VerifiedRoot};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::lane::Lane;
use crate::standing::Standing;
use crate::store::Options;
use crate::upstream::Limits;

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
const DAY_S: u64 = 24 * 3600;

struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> UnixMillis {
        UnixMillis(NOW.0 * 1000)
    }
}

fn keys() -> SigningKeys {
    SigningKeys::generate(&Primitives).unwrap()
}

/// An issuer never uses one twice.
static SEQUENCE: AtomicU64 = AtomicU64::new(1);

struct World {
    records: Records,
    issuer: SigningKeys,
    _home: tempfile::TempDir,
}

/// A member elsewhere.
struct Peer {
    signing: SigningKeys,
    membership: Vec<u8>,
}

fn membership(
    issuer: &SigningKeys,
    mesh: protocol::id::MeshId,
    name: &str,
    tls_key: Vec<u8>,
    signing: &SigningKeys,
) -> Vec<u8> {
    let membership = Membership {
        mesh,
        tls_key,
        signing: signing.public().clone(),
        name: name.parse().unwrap(),
        groups: Vec::new(),
        site: None,
        not_before: NOW,
        not_after: NOW.plus(DAY_S),
        issuer_sequence: SEQUENCE.fetch_add(1, Ordering::Relaxed),
        replaces: None,
    };
    membership.sign(&Primitives, issuer).unwrap()
}

fn world() -> World {
    let home = tempfile::tempdir().unwrap();
    let (admin, issuer) = (keys(), keys());
    let root = Root {
        version: 1,
        epoch: 1,
        mesh: None,
        name: "test".parse().unwrap(),
        suite: Suite::Hybrid.byte(),
        created: NOW,
        admins: vec![admin.public().clone()],
        threshold: 1,
        issuers: vec![Issuer {
            keys: issuer.public().clone(),
            groups: None,
            sites: None,
            max_life_s: DAY_S,
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
    let mesh = VerifiedRoot::genesis(&Primitives, &root).unwrap().mesh();
    let tls = TlsIdentity::generate(&Primitives).unwrap();
    let signing = keys();
    let own = membership(&issuer, mesh, "hub", tls.public_key().to_vec(), &signing);
    let identity = Identity::new(Arc::new(tls), signing, &root, &[], &own).unwrap();
    let identity = Arc::new(identity);
    let crypto = Arc::clone(&identity.crypto);
    let members = Arc::new(Members::new(Arc::clone(&crypto), identity.root()));
    let clock: Arc<dyn Clock> = Arc::new(Stopped);
    let admission = MeshAdmission::new(
        Arc::clone(&identity),
        Arc::clone(&members),
        Arc::clone(&clock),
        Arc::new(Standing::genesis(&identity).unwrap()),
    );
    let upstreams = Upstreams::new(
        Arc::clone(&crypto),
        &CancellationToken::new(),
        Limits::default(),
        Lane::none(),
    );
    let options = Options::new(crate::app::read_link(crypto));
    let store = Store::open(&home.path().join("store.redb"), &options).unwrap();
    let admission = Arc::new(admission);
    let records = Records::new(identity, members, admission, upstreams, store, clock);
    World {
        records,
        issuer,
        _home: home,
    }
}

impl World {
    fn peer(&self, number: u8) -> Peer {
        let signing = keys();
        let (mesh, name) = (self.records.identity.mesh(), format!("peer-{number}"));
        let membership = membership(&self.issuer, mesh, &name, vec![number; 1984], &signing);
        Peer {
            signing,
            membership,
        }
    }

    fn record(&self, peer: &Peer, sequence: u64) -> Vec<u8> {
        let record = NodeRecord {
            mesh: self.records.identity.mesh(),
            membership: peer.membership.clone(),
            addresses: vec!["192.0.2.7:7443".to_owned()],
            relays: Vec::new(),
            sealing_key: None,
            servers: Vec::new(),
            posture: None,
            sequence,
            issued: NOW,
            expires: NOW.plus(3600),
        };
        record.sign(&Primitives, &peer.signing).unwrap()
    }

    /// What a peer whose link came up is sent, in order.
    async fn sent(&self) -> Vec<Vec<u8>> {
        let mut stream = Vec::new();
        self.records.send_all(&mut stream).await.unwrap();
        let (mut rest, mut sent) = (stream.as_slice(), Vec::new());
        while let Some((length, more)) = rest.split_first_chunk() {
            let (record, more) = more.split_at(u32::from_be_bytes(*length) as usize);
            sent.push(record.to_vec());
            rest = more;
        }
        sent
    }
}

async fn framed(records: &[&Vec<u8>]) -> Vec<u8> {
    let mut stream = Vec::new();
    for record in records {
        write_record(&mut stream, record).await.unwrap();
    }
    stream
}

#[tokio::test]
async fn what_was_received_is_sent_on_from_the_disk() {
    let world = world();
    let own = world.records.renew().unwrap();
    let peers: Vec<Peer> = (0..3).map(|number| world.peer(number)).collect();
    let theirs: Vec<Vec<u8>> = peers.iter().map(|peer| world.record(peer, 1)).collect();
    let stream = framed(&theirs.iter().collect::<Vec<_>>()).await;
    let news = world.records.receive_all(stream.as_slice()).await.unwrap();
    assert_eq!(news, theirs);
    // At once: what is queued for the disk still is waited for.
    let mut sent = world.sent().await;
    assert_eq!(sent.remove(0), own);
    let mut expected = theirs.clone();
    expected.sort();
    sent.sort();
    assert_eq!(sent, expected);
    // The same again is no news.
    let news = world.records.receive_all(stream.as_slice()).await.unwrap();
    assert_eq!(news, Vec::<Vec<u8>>::new());
}

#[tokio::test]
async fn only_what_the_directory_knows_is_sent() {
    let world = world();
    let own = world.records.renew().unwrap();
    let peer = world.peer(1);
    let (first, second) = (world.record(&peer, 1), world.record(&peer, 2));
    let node = world.records.learn(&first).unwrap();
    world.records.keep(node, first.clone()).await;
    assert_eq!(world.sent().await, [own.clone(), first.clone()]);
    // A newer one is known, and the disk has the older one only.
    assert_eq!(world.records.learn(&second).unwrap(), node);
    assert_eq!(world.sent().await, std::slice::from_ref(&own));
    world.records.keep(node, second.clone()).await;
    assert_eq!(world.sent().await, [own.clone(), second.clone()]);
    // Nor what has been altered there.
    let mut altered = second;
    *altered.last_mut().unwrap() ^= 1;
    world.records.keep(node, altered).await;
    world.records.store.flush().await.unwrap();
    assert_eq!(world.sent().await, std::slice::from_ref(&own));
    world.records.keep(node, first).await;
    world.records.members.forget(&[node]);
    assert_eq!(world.sent().await, [own]);
}

#[tokio::test]
async fn one_record_is_given_to_who_asks_for_it() {
    let world = world();
    let own = world.records.renew().unwrap();
    let peer = world.peer(1);
    let record = world.record(&peer, 1);
    let of = world.records.learn(&record).unwrap();
    // At once: what is queued for the disk still is waited for.
    world.records.keep(of, record.clone()).await;
    let given = async |of: &[u8]| {
        let mut stream = Vec::new();
        let answered = world.records.answer(of, &mut stream).await;
        answered.map(|()| stream)
    };
    let me = world.records.identity.node();
    assert_eq!(given(me.as_bytes()).await.unwrap(), framed(&[&own]).await);
    assert_eq!(
        given(of.as_bytes()).await.unwrap(),
        framed(&[&record]).await
    );
    // Nobody known, and nobody named.
    assert!(given(&[7; 32]).await.unwrap().is_empty());
    given(&[7; 31]).await.unwrap_err();
    // Whoever asks takes in what comes, and nothing that does not hold.
    let asking = async |answer: &[u8]| {
        let mut asked = Vec::new();
        let taken = world.records.ask(&of, &mut asked, answer).await;
        assert_eq!(asked, of.as_bytes());
        taken
    };
    let newer = world.record(&peer, 2);
    asking(&framed(&[&newer]).await).await.unwrap();
    let known = world.records.members.member(&of).unwrap();
    assert!(known.record.as_ref().unwrap().are_of(&Primitives, &newer));
    asking(&[]).await.unwrap();
    let mut forged = world.record(&peer, 3);
    *forged.last_mut().unwrap() ^= 1;
    asking(&framed(&[&forged]).await).await.unwrap_err();
}

/// However many tools a node has, peers take its record, and it says what it left out.
#[tokio::test]
async fn a_record_with_too_many_tools_leaves_some_out() {
    let world = world();
    let peer = world.peer(1);
    let tool = |n: usize| ToolRecord {
        name: format!("{n:0>width$}", width = protocol::limits::MAX_TARGET_BYTES),
        digest: protocol::id::Digest::from_bytes([7; 32]),
        hints: None,
    };
    let server = |n: usize| ServerRecord {
        name: format!("server-{n:02}").parse().unwrap(),
        tools: (0..MAX_TOOLS).map(tool).collect(),
    };
    let mut servers: Vec<ServerRecord> = (0..MAX_SERVERS).map(server).collect();
    let left_out = fit(&mut servers);
    let kept: usize = servers.iter().map(|s| s.tools.len()).sum();
    let lost: usize = left_out.values().sum();
    assert_eq!(kept + lost, MAX_SERVERS * MAX_TOOLS);
    assert!(kept > 50, "{kept}");
    let record = NodeRecord {
        mesh: world.records.identity.mesh(),
        membership: peer.membership.clone(),
        addresses: vec!["192.0.2.7:7443".to_owned()],
        relays: Vec::new(),
        sealing_key: None,
        servers,
        posture: None,
        sequence: 1,
        issued: NOW,
        expires: NOW.plus(3600),
    };
    let signed = record.sign(&Primitives, &peer.signing).unwrap();
    world.records.learn(&signed).unwrap();

    // What fits stays as it is.
    let mut few = vec![server(0)];
    few[0].tools.truncate(3);
    let before = few.clone();
    assert!(fit(&mut few).is_empty());
    assert_eq!(few, before);
}
