//! CBOR and everything signed: documents, envelopes, records.

use std::sync::OnceLock;

use minicbor::{Decode, Encode};
use protocol::approval::Answer;
use protocol::approval::relayed::RelayedQuestion;
use protocol::codec;
use protocol::cose::CoseSign;
use protocol::crypto::SigningSet;
use protocol::envelope::hop::{HopRecord, verify_chain};
use protocol::envelope::{
    CallSeal, Crossing, Direction, Expectation, Header, Payload, Sealed, UnverifiedEnvelope,
};
use protocol::evidence::Evidence;
use protocol::hello::Hello;
use protocol::id::NodeId;
use protocol::limits::MAX_DOCUMENT_BYTES;
use protocol::record::DecisionRecord;
use protocol::time::UnixSeconds;
use protocol::trust::{
    Admission, Membership, MembershipRequest, NodeRecord, Root, VerifiedMembership, VerifiedRoot,
};

use crate::fake::{Fake, FakeOpener};
use crate::seeds;

/// Every type that is decoded strictly, chosen by the first byte.
pub fn types(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else {
        return;
    };
    match choice {
        0 => strict::<Header>(rest),
        1 => strict::<Payload>(rest),
        2 => strict::<Membership>(rest),
        3 => strict::<Root>(rest),
        4 => strict::<HopRecord>(rest),
        5 => strict::<DecisionRecord>(rest),
        6 => strict::<NodeRecord>(rest),
        7 => strict::<SigningSet>(rest),
        8 => strict::<MembershipRequest>(rest),
        9 => strict::<Evidence>(rest),
        10 => strict::<Sealed>(rest),
        11 => strict::<RelayedQuestion>(rest),
        12 => strict::<Answer>(rest),
        _ => {}
    }
}

fn strict<T: for<'b> Decode<'b, ()> + Encode<()>>(bytes: &[u8]) {
    let Ok(value) = codec::decode::<T>(bytes, MAX_DOCUMENT_BYTES) else {
        return;
    };
    assert_eq!(codec::encode(&value), bytes, "one value, one encoding");
}

pub fn cose(data: &[u8]) {
    let Ok(cose) = CoseSign::parse(data, MAX_DOCUMENT_BYTES) else {
        return;
    };
    let _ = cose.single_signer();
    let set = seeds::signer(1);
    let _ = cose.verify_one(&Fake, &set, b"aad");
    let _ = cose.verify_threshold(&Fake, &[set, seeds::signer(2)], 2, b"aad");
}

pub fn envelope(data: &[u8]) {
    let Ok(unverified) = UnverifiedEnvelope::parse(data) else {
        return;
    };
    let header = unverified.header();
    assert_eq!(
        header.validate(),
        Ok(()),
        "a parsed header is within its bounds"
    );
    let id = unverified.id(&Fake);
    let expectation = Expectation {
        mesh: header.claims.mesh,
        audience: header.cwt.aud,
        issuer: header.cwt.iss,
        direction: Direction::ToServer,
        now: protocol::time::UnixMillis(seeds::NOW.0 * 1000),
    };
    let _ = unverified.check(&expectation);
    for node in &header.claims.route {
        let crossing = Crossing {
            mesh: header.claims.mesh,
            relay: *node,
            peer: header.cwt.iss,
            direction: Direction::ToServer,
            now: expectation.now,
        };
        if let Ok(place) = unverified.check_crossing(&crossing) {
            assert!(place > 0 && place + 1 < header.claims.route.len());
        }
    }
    if header.is_sealed() {
        sealed(unverified);
        return;
    }
    if let Ok(verified) = unverified.verify(&Fake, &seeds::signer(1)) {
        assert_eq!(verified.id(), id);
    }
}

/// An envelope between others: a relay verifies it closed, its far end opens it.
fn sealed(unverified: UnverifiedEnvelope<'_>) {
    let Ok(signed) = unverified.verify_signatures(&Fake, &seeds::signer(1)) else {
        return;
    };
    let id = signed.id();
    let header = signed.header();
    let call = match &header.claims.sealed {
        Some(sealed) => CallSeal::take_up(&FakeOpener, &header.claims.mesh, sealed).ok(),
        None => None,
    };
    if let Ok(verified) = signed.open(&Fake, call.as_ref()) {
        assert_eq!(verified.id(), id);
    }
}

/// Records one after the other, each preceded by its length in two bytes.
pub fn hop_chain(data: &[u8]) {
    let mut records = Vec::new();
    let mut rest = data;
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length)).min(after.len());
        let (record, after) = after.split_at(length);
        records.push(record);
        rest = after;
    }
    let route: Vec<NodeId> = (0..4).map(seeds::node).collect();
    let set = seeds::signer(1);
    for upto in 0..=route.len() {
        let signer_of = |_: &NodeId| Some(&set);
        let chain = verify_chain(
            &Fake,
            &mesh_root().mesh(),
            seeds::envelope_id(),
            &route,
            upto,
            &records,
            signer_of,
        );
        if let Ok(chain) = chain {
            assert_eq!(chain.len(), upto.saturating_sub(1), "one record per relay");
        }
    }
}

pub fn root(data: &[u8]) {
    if let Ok(root) = VerifiedRoot::genesis(&Fake, data) {
        assert_eq!(root.bytes(), data);
    }
}

/// The root under which the other documents are verified.
fn mesh_root() -> &'static VerifiedRoot {
    static ROOT: OnceLock<VerifiedRoot> = OnceLock::new();
    ROOT.get_or_init(seeds::verified_root)
}

pub fn membership(data: &[u8]) {
    if let Ok(membership) = VerifiedMembership::verify(&Fake, mesh_root(), data) {
        assert_eq!(membership.bytes(), data);
        let _ = membership.valid_at(seeds::NOW);
        let _ = membership.valid_at(UnixSeconds(u64::MAX));
    }
}

pub fn request(data: &[u8]) {
    let _ = MembershipRequest::verify(&Fake, data, |_, _, proof| proof.len() > 8);
}

pub fn node_record(data: &[u8]) {
    if let Ok(record) = NodeRecord::verify(&Fake, mesh_root(), data, seeds::NOW) {
        assert_eq!(record.bytes, data);
    }
}

pub fn admission(data: &[u8]) {
    if let Ok(admission) = Admission::decode(data) {
        assert_eq!(admission.encode(), data);
        let root = VerifiedRoot::genesis(&Fake, &admission.root);
        let _ = root.map(|root| VerifiedMembership::verify(&Fake, &root, &admission.membership));
    }
}

pub fn hello(data: &[u8]) {
    if let Ok((hello, membership)) = Hello::verify(&Fake, mesh_root(), seeds::node(0), data) {
        assert_eq!(hello.encode(), data);
        assert_eq!(membership.node(), seeds::node(0));
    }
}

pub fn evidence(data: &[u8]) {
    let _ = Evidence::verify(&Fake, data);
}
