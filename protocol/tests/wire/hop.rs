//! Chains of hop records over a route of two relays.

use std::sync::LazyLock;

use protocol::envelope::hop::{HopRecord, Scope, chain_hash, verify_chain};
use protocol::id::{Digest, EnvelopeId, NodeId};
use protocol::limits::{MAX_HOP_RECORD_BYTES, MAX_WORD_BYTES};
use protocol::time::UnixMillis;

use crate::case::{ACCEPTED, Case, case};
use crate::raw::{altered, flipped};
use crate::world::{CRYPTO, NOW, foreign, public, world};

/// The envelope all records here are about.
pub(crate) const ENVELOPE: EnvelopeId = EnvelopeId::from_bytes([0x77; 32]);

/// Caller, both relays, host.
pub(crate) fn route() -> Vec<NodeId> {
    let w = world();
    vec![w.caller.id, w.relays[0].id, w.relays[1].id, w.host.id]
}

/// The record of relay `place` (0 or 1).
fn record(place: usize, previous: Option<Digest>) -> HopRecord {
    HopRecord {
        envelope: ENVELOPE,
        index: place as u64 + 1,
        previous,
        node: route()[place + 1],
        bundle_version: 0,
        verdict: "allow".to_owned(),
        scope: Scope::HeaderOnly,
        observed_peer: route()[place],
        observed_address: "192.0.2.1:7400".to_owned(),
        received: UnixMillis(NOW.0 * 1000),
        sent: UnixMillis(NOW.0 * 1000 + 1),
    }
}

fn signed(place: usize, record: &HopRecord) -> Vec<u8> {
    let w = world();
    record
        .sign(&CRYPTO, &w.relays[place].signing, &w.mesh())
        .unwrap()
}

/// The two records of a chain that holds.
pub(crate) fn chain() -> [Vec<u8>; 2] {
    static CHAIN: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
        let first = signed(0, &record(0, None));
        let hash = chain_hash(&CRYPTO, &first).unwrap();
        [first, signed(1, &record(1, Some(hash)))]
    });
    CHAIN.clone()
}

/// A chain in which one record was made otherwise.
fn otherwise(place: usize, alter: impl FnOnce(&mut HopRecord)) -> Vec<Vec<u8>> {
    let [first, second] = chain();
    let previous = (place == 1).then(|| chain_hash(&CRYPTO, &first).unwrap());
    let mut content = record(place, previous);
    alter(&mut content);
    let mut all = vec![first, second];
    all[place] = signed(place, &content);
    all
}

/// What the host makes of the records that came with the envelope.
fn judge_at(upto: usize, records: &[Vec<u8>]) -> &'static str {
    let w = world();
    let sets = w
        .relays
        .each_ref()
        .map(|relay| (relay.id, public(&relay.signing)));
    let slices: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
    let signer_of = |node: &NodeId| sets.iter().find(|(id, _)| id == node).map(|(_, set)| set);
    verify_chain(
        &CRYPTO,
        &w.mesh(),
        ENVELOPE,
        &route(),
        upto,
        &slices,
        signer_of,
    )
    .map_or_else(
        |e| e.reason(),
        |chain| {
            assert_eq!(chain.len(), upto.saturating_sub(1));
            ACCEPTED
        },
    )
}

/// Reads a chain: records one after the other, each after its length (32 bits, big-endian).
pub(crate) fn judge(joined: &[u8]) -> &'static str {
    let mut records = Vec::new();
    let mut rest = joined;
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (record, after) = after.split_at(u32::from_be_bytes(*length) as usize);
        records.push(record.to_vec());
        rest = after;
    }
    judge_at(route().len() - 1, &records)
}

/// As [`judge`] reads it.
pub(crate) fn join(records: &[Vec<u8>]) -> Vec<u8> {
    let one = |record: &Vec<u8>| {
        let length = u32::try_from(record.len()).unwrap().to_be_bytes();
        [&length[..], record].concat()
    };
    records.iter().flat_map(one).collect()
}

/// All of them.
pub(crate) fn cases() -> Vec<Case> {
    let w = world();
    let [first, second] = chain();
    let chain_of = |name: &str, records: &[Vec<u8>], expected| case(name, join(records), expected);
    let unsigned = altered(&second, |r| r.signatures.clear());
    let half = altered(&second, |r| {
        let _ = r.signatures.pop();
    });
    let by_other = record(1, Some(chain_hash(&CRYPTO, &first).unwrap()))
        .sign(&CRYPTO, &w.relays[0].signing, &w.mesh())
        .unwrap();
    let of_other_mesh = record(0, None)
        .sign(&CRYPTO, &w.relays[0].signing, &foreign().mesh())
        .unwrap();
    let envelope = w.request().bytes;
    let outsider = foreign().relays[0].id;
    vec![
        chain_of("valid", &[first.clone(), second.clone()], ACCEPTED),
        chain_of("none", &[], "hop_record_missing"),
        chain_of(
            "last-missing",
            core::slice::from_ref(&first),
            "hop_record_missing",
        ),
        chain_of(
            "first-missing",
            core::slice::from_ref(&second),
            "hop_record_reordered",
        ),
        chain_of(
            "extra",
            &[first.clone(), second.clone(), second.clone()],
            "hop_record_extra",
        ),
        chain_of(
            "reordered",
            &[second.clone(), first.clone()],
            "hop_record_reordered",
        ),
        chain_of(
            "first-twice",
            &[first.clone(), first.clone()],
            "hop_record_reordered",
        ),
        chain_of(
            "wrong-index",
            &otherwise(1, |r| r.index = 3),
            "hop_record_reordered",
        ),
        chain_of(
            "unchained",
            &otherwise(1, |r| r.previous = None),
            "hop_record_reordered",
        ),
        chain_of(
            "first-with-previous",
            &otherwise(0, |r| r.previous = Some(Digest::from_bytes([0; 32]))),
            "hop_record_reordered",
        ),
        chain_of(
            "other-node",
            &otherwise(1, |r| r.node = outsider),
            "hop_record_reordered",
        ),
        chain_of(
            "other-peer",
            &otherwise(1, |r| r.observed_peer = route()[0]),
            "hop_record_reordered",
        ),
        chain_of(
            "other-envelope",
            &otherwise(1, |r| r.envelope = EnvelopeId::from_bytes([0; 32])),
            "hop_record_other_envelope",
        ),
        chain_of("unsigned", &[first.clone(), unsigned], "hop_record_invalid"),
        chain_of("half-signed", &[first.clone(), half], "hop_record_invalid"),
        chain_of(
            "signed-by-another",
            &[first.clone(), by_other],
            "hop_record_invalid",
        ),
        chain_of(
            "signed-for-another-mesh",
            &[of_other_mesh],
            "hop_record_invalid",
        ),
        chain_of("an-envelope", &[envelope], "hop_record_invalid"),
        chain_of(
            "first-changed",
            &otherwise(0, |r| r.bundle_version = 9),
            "hop_record_reordered",
        ),
        chain_of(
            "verdict-too-long",
            &otherwise(1, |r| r.verdict = "v".repeat(MAX_WORD_BYTES + 1)),
            "hop_record_invalid",
        ),
    ]
}

#[test]
fn chains_are_judged_by_name() {
    crate::case::run(&cases(), judge);
}

#[test]
fn every_hop_checks_the_chain_so_far() {
    let [first, second] = chain();
    assert_eq!(judge_at(0, &[]), ACCEPTED, "the issuer itself");
    assert_eq!(judge_at(1, &[]), ACCEPTED, "the first relay");
    assert_eq!(
        judge_at(1, core::slice::from_ref(&first)),
        "hop_record_extra"
    );
    assert_eq!(judge_at(2, core::slice::from_ref(&first)), ACCEPTED);
    assert_eq!(judge_at(2, &[]), "hop_record_missing");
    assert_eq!(judge_at(3, &[first, second]), ACCEPTED);
}

#[test]
fn a_relay_that_is_no_member_is_named() {
    let w = world();
    let [first, second] = chain();
    let chain = verify_chain(
        &CRYPTO,
        &w.mesh(),
        ENVELOPE,
        &route(),
        3,
        &[&first, &second],
        |_| None,
    );
    assert_eq!(chain.unwrap_err().reason(), "hop_record_unknown_relay");
}

#[test]
fn oversized_records_and_changed_bytes_are_refused() {
    let [first, second] = chain();
    let large = otherwise(1, |r| r.observed_address = "a".repeat(MAX_HOP_RECORD_BYTES));
    assert_eq!(judge_at(3, &large), "hop_record_invalid");
    for at in (0..second.len()).step_by(13) {
        let found = judge_at(3, &[first.clone(), flipped(&second, at)]);
        assert_ne!(found, ACCEPTED, "byte {at}");
    }
}

#[test]
fn the_chain_hash_covers_no_signature() {
    let (one, two) = (signed(0, &record(0, None)), signed(0, &record(0, None)));
    assert_ne!(one, two);
    assert_eq!(chain_hash(&CRYPTO, &one), chain_hash(&CRYPTO, &two));
}
