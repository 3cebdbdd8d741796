//! Questions about held calls on their way over relays.

use std::sync::LazyLock;

use hedgerow_crypto::{Primitives, SealingKey};
use protocol::approval::relayed::{
    Asking, MAX_QUESTION_LIFE_S, MAX_RELAYED_QUESTION_BYTES, RelayedError, RelayedQuestion,
    Replying,
};
use protocol::cose::CoseError;
use protocol::crypto::domain::content_type;
use protocol::crypto::sealing::Opener as _;
use protocol::id::NodeId;
use protocol::limits::MAX_CLOCK_AHEAD_S;
use protocol::time::UnixMillis;
use protocol::trust::TrustError;
use protocol::{codec, cose};

use crate::approval::answer;
use crate::world::{CRYPTO, NOW, foreign, public, world};

/// The holder's sealing key.
static KEY: LazyLock<SealingKey> = LazyLock::new(|| SealingKey::from_seed(&[0x5e; 32]).unwrap());

const AT: UnixMillis = UnixMillis(NOW.0 * 1000);
const QUESTION: &[u8] = b"what is held?";
const REPLY: &[u8] = b"nothing";

fn route() -> Vec<NodeId> {
    let w = world();
    vec![w.caller.id, w.relays[0].id, w.host.id]
}

fn over(route: Vec<NodeId>) -> (Asking, Vec<u8>) {
    let w = world();
    let about = (w.mesh(), route, AT);
    let signing = &w.caller.signing;
    Asking::begin(
        (&Primitives, &CRYPTO),
        signing,
        about,
        KEY.public(),
        QUESTION,
    )
    .unwrap()
}

/// A signed one.
pub(crate) fn question() -> Vec<u8> {
    over(route()).1
}

fn read(bytes: &[u8]) -> Result<RelayedQuestion, RelayedError> {
    let w = world();
    let set = public(&w.caller.signing);
    RelayedQuestion::verify(&CRYPTO, w.mesh(), &set, bytes)?;
    RelayedQuestion::parse(w.mesh(), bytes)
}

/// A question with this content, signed by who asks.
fn signed(question: &RelayedQuestion) -> Vec<u8> {
    let w = world();
    let protected = codec::encode(&std::collections::BTreeMap::from([(
        3_u8,
        content_type::RELAYED_QUESTION,
    )]));
    let payload = codec::encode(question);
    let aad = *w.mesh().as_bytes();
    cose::sign(&CRYPTO, &[&w.caller.signing], &protected, &payload, &aad).unwrap()
}

fn reason(question: RelayedQuestion) -> &'static str {
    read(&signed(&question)).map_or_else(|e| e.reason(), |_| "taken")
}

#[test]
fn what_is_asked_and_replied_opens_at_the_ends_alone() {
    let (asking, bytes) = over(route());
    assert!(bytes.len() < MAX_RELAYED_QUESTION_BYTES);
    let question = read(&bytes).unwrap();
    assert_eq!(question.asker(), Ok(world().caller.id));
    for secret in [QUESTION, REPLY] {
        assert!(!bytes.windows(secret.len()).any(|part| part == secret));
    }
    let (replying, asked) = Replying::take_up(&*KEY, &question).unwrap();
    assert_eq!(asked, QUESTION);
    let reply = replying.seal(REPLY).unwrap();
    assert_eq!(asking.open(&reply).as_deref(), Ok(REPLY));

    // Neither another key nor another question's end opens any of it.
    let other = SealingKey::from_seed(&[0x5f; 32]).unwrap();
    let opened = Replying::take_up(&other, &question).map(|_| ());
    assert_eq!(opened, Err(RelayedError::Sealed));
    let (another, _) = over(route());
    assert_eq!(another.open(&reply), Err(RelayedError::Sealed));
    for at in 0..reply.len() {
        let mut changed = reply.clone();
        changed[at] ^= 1;
        assert_eq!(asking.open(&changed), Err(RelayedError::Sealed), "{at}");
    }
}

#[test]
fn the_longest_answer_fits() {
    let mut longest = answer();
    longest.words = Some("é".repeat(protocol::approval::MAX_WORDS_BYTES / 2));
    let answer = longest.sign(&CRYPTO, &world().caller.signing).unwrap();
    let w = world();
    let route = vec![w.caller.id, w.relays[0].id, w.relays[1].id, w.host.id];
    let about = (w.mesh(), route, AT);
    let signing = &w.caller.signing;
    let (_, bytes) = Asking::begin(
        (&Primitives, &CRYPTO),
        signing,
        about,
        KEY.public(),
        &answer,
    )
    .unwrap();
    assert!(read(&bytes).is_ok(), "{} bytes", bytes.len());
}

#[test]
fn no_truncation_and_no_changed_byte_is_a_question() {
    let (_, bytes) = over(route());
    for length in (0..bytes.len()).step_by(7) {
        assert!(read(&bytes[..length]).is_err(), "{length}");
    }
    for at in (0..300).chain((300..bytes.len()).step_by(97)) {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(read(&changed).is_err(), "{at}");
    }
}

#[test]
fn another_route_or_time_beside_what_is_sealed_does_not_open() {
    let question = read(&over(route()).1).unwrap();
    let mut elsewhere = question.clone();
    elsewhere.route[1] = world().relays[1].id;
    let mut later = question.clone();
    later.at = UnixMillis(AT.0 + 1);
    for changed in [elsewhere, later] {
        let opened = Replying::take_up(&*KEY, &read(&signed(&changed)).unwrap()).map(|_| ());
        assert_eq!(opened, Err(RelayedError::Sealed));
    }
}

#[test]
fn what_is_no_question_of_this_mesh_is_refused_by_name() {
    let w = world();
    let (_, bytes) = over(route());
    let question = read(&bytes).unwrap();
    let with = |change: &dyn Fn(&mut RelayedQuestion)| {
        let mut changed = question.clone();
        change(&mut changed);
        reason(changed)
    };
    assert_eq!(with(&|_| ()), "taken");
    assert_eq!(with(&|q| q.mesh = foreign().mesh()), "foreign_mesh");
    for length in [0, 1, 2] {
        assert_eq!(with(&|q| q.route.truncate(length)), "bad_route");
    }
    assert_eq!(with(&|q| q.route[1] = q.route[0]), "bad_route");
    assert_eq!(with(&|q| q.route.push(q.route[0])), "bad_route");
    let long = |q: &mut RelayedQuestion| {
        q.route.insert(1, w.relays[1].id);
        q.route.insert(1, NodeId::from_bytes([9; 32]));
    };
    assert_eq!(with(&long), "bad_route");
    assert_eq!(
        with(&|q| q.sealed.enc.truncate(7)),
        "sealed_payload_invalid"
    );
    let by_another = RelayedQuestion::verify(&CRYPTO, w.mesh(), &public(&w.host.signing), &bytes);
    let unknown = TrustError::Cose(CoseError::UnknownKey);
    assert_eq!(by_another, Err(RelayedError::Document(unknown)));
    let answer = answer().sign(&CRYPTO, &w.caller.signing).unwrap();
    assert_eq!(
        read(&answer),
        Err(RelayedError::Document(TrustError::ContentType))
    );
    let huge = vec![0; MAX_RELAYED_QUESTION_BYTES + 1];
    assert!(matches!(
        read(&huge),
        Err(RelayedError::Document(TrustError::Codec(_)))
    ));
}

#[test]
fn each_node_of_the_route_takes_it_from_the_one_before() {
    let w = world();
    let route = vec![w.caller.id, w.relays[0].id, w.relays[1].id, w.host.id];
    let question = read(&over(route.clone()).1).unwrap();
    for place in 1..route.len() {
        let next = question.next_after(route[place], route[place - 1]);
        assert_eq!(next, Ok(route.get(place + 1).copied()));
        for peer in route.iter().filter(|n| **n != route[place - 1]) {
            let refused = question.next_after(route[place], *peer);
            assert_eq!(refused, Err(RelayedError::PreviousHop(*peer)));
        }
    }
    let stranger = NodeId::from_bytes([9; 32]);
    for me in [stranger, w.caller.id] {
        let refused = question.next_after(me, w.caller.id).unwrap_err();
        assert_eq!(refused.reason(), "not_on_route");
    }
}

#[test]
fn a_question_lives_as_long_as_an_envelope() {
    let question = read(&over(route()).1).unwrap();
    let at = |now: u64| question.check_time(UnixMillis(now * 1000));
    assert_eq!(at(NOW.0 + MAX_QUESTION_LIFE_S), Ok(()));
    assert_eq!(at(NOW.0 - MAX_CLOCK_AHEAD_S), Ok(()));
    let late = at(NOW.0 + MAX_QUESTION_LIFE_S + 1).unwrap_err();
    assert_eq!(late.reason(), "expired");
    let early = at(NOW.0 - MAX_CLOCK_AHEAD_S - 1).unwrap_err();
    assert_eq!(early.reason(), "issued_in_future");
}
