//! Proposals: gathering signatures, and every way in which a file is refused.

use protocol::codec;
use protocol::cose::CoseError;
use protocol::trust::bundle::{Bundle, BundleBody, Policy, VerifiedBundleHead};
use protocol::trust::proposal::MAX_PROPOSAL_BYTES;
use protocol::trust::{Document, Proposal, ProposalError, Proposed, Root, TrustError};

use crate::world::{CRYPTO, NOW, foreign, public, signing, world};

fn propose(edit: impl FnOnce(&mut Root)) -> Proposal {
    Proposal::revise(&CRYPTO, world().root.bytes(), NOW, [8; 16], edit).unwrap()
}

fn sign(proposal: Proposal, admin: usize) -> Proposal {
    let signed = proposal.signed_by(&CRYPTO, &world().admins[admin]);
    signed.unwrap()
}

#[test]
fn signatures_gathered_in_any_order_make_the_successor() {
    let unsigned = propose(|root| root.lease_s = 60);
    assert_eq!(unsigned.signatures(&CRYPTO).missing, 2);
    let one = sign(unsigned.clone(), 2);
    let other = sign(Proposal::read(&CRYPTO, &unsigned.file()).unwrap(), 0);
    let both = one.clone().merged(&CRYPTO, &other).unwrap();
    assert_eq!(both.id(), unsigned.id());
    assert_eq!(both.signatures(&CRYPTO).missing, 0);
    assert_eq!(both.signatures(&CRYPTO).signed.len(), 2);
    let next = world()
        .root
        .successor(&CRYPTO, &both.document().into())
        .unwrap();
    assert_eq!((next.root().lease_s, next.hash()), (60, both.id()));

    // Too few are no root, whoever takes them for one.
    let short = world().root.successor(&CRYPTO, &one.document().into());
    let under = CoseError::UnderThreshold {
        needed: 2,
        found: 1,
    };
    assert_eq!(short.unwrap_err(), TrustError::Cose(under));
    // Signing again changes nothing.
    assert_eq!(sign(one.clone(), 2), one);
}

#[test]
fn missing_counts_those_of_both_roots_once() {
    let new = signing("test/new-admin");
    let (gone, kept) = (public(&world().admins[0]), public(&world().admins[1]));
    let change = propose(|root| {
        root.admins = vec![kept, public(&new)];
        root.threshold = 2;
        let link = protocol::trust::revocation::EMPTY;
        let mut retire = |admin| {
            let retired = protocol::trust::Retired {
                admin,
                length: 0,
                link,
            };
            root.retired.get_or_insert_default().push(retired);
        };
        retire(gone);
        retire(public(&world().admins[2]));
    });
    // Two of the old and two of the new, one of whom is both.
    assert_eq!(change.signatures(&CRYPTO).missing, 3);
    assert_eq!(change.signatures(&CRYPTO).unsigned.len(), 4);
    let change = sign(change, 1);
    assert_eq!(change.signatures(&CRYPTO).missing, 2);
    let change = change.signed_by(&CRYPTO, &new).unwrap();
    let change = sign(change, 0);
    assert_eq!(change.signatures(&CRYPTO).missing, 0);
    world()
        .root
        .successor(&CRYPTO, &change.document().into())
        .unwrap();
}

#[test]
fn every_change_is_said() {
    let new = signing("test/new-admin");
    let change = propose(|root| {
        root.admins.push(public(&new));
        root.threshold = 3;
        root.issuers[0].max_per_hour = 5;
        root.timestampers.push(public(&signing("test/second")));
        root.lease_s = 60;
        root.read_grace_s = 61;
        root.name = "other".parse().unwrap();
        root.epoch = 2;
    });
    let issuer = public(&world().issuer).id(&CRYPTO);
    assert_eq!(
        change.changes(&CRYPTO),
        [
            format!("adds admin {}", public(&new).id(&CRYPTO)),
            "admins who must sign: 2 becomes 3".to_owned(),
            format!(
                "limits of issuer {issuer}: groups agents tools, sites berlin, at most 30 days, \
                 100 an hour becomes groups agents tools, sites berlin, at most 30 days, 5 an hour"
            ),
            format!(
                "adds timestamper {}",
                public(&signing("test/second")).id(&CRYPTO)
            ),
            "freshness lease: 86400 s becomes 60 s".to_owned(),
            "grace of read-only tools: 3600 s becomes 61 s".to_owned(),
            "renames the mesh from `test` to `other`".to_owned(),
            "begins epoch 2: versions and times start anew".to_owned(),
        ]
    );
    let nothing = propose(|_| {});
    assert_eq!(
        nothing.changes(&CRYPTO),
        ["changes nothing but the version"]
    );
}

#[test]
fn a_proposal_shows_the_root_it_follows_and_no_other() {
    let file = |base: &[u8], document: &[u8]| {
        codec::encode(&std::collections::BTreeMap::from([
            (1_u8, minicbor::bytes::ByteVec::from(base.to_vec())),
            (2, minicbor::bytes::ByteVec::from(document.to_vec())),
        ]))
    };
    let signed = sign(propose(|root| root.lease_s = 60), 0);
    let whole = file(world().root.bytes(), signed.document());
    assert_eq!(Proposal::read(&CRYPTO, &whole), Ok(signed.clone()));
    // Shown against another root, the difference would be a lie.
    let other = file(foreign().root.bytes(), signed.document());
    assert_eq!(
        Proposal::read(&CRYPTO, &other),
        Err(ProposalError::OtherBase)
    );
    let itself = file(signed.document(), signed.document());
    assert_eq!(
        Proposal::read(&CRYPTO, &itself),
        Err(ProposalError::OtherBase)
    );
    let big = vec![0; MAX_PROPOSAL_BYTES + 1];
    assert!(Proposal::read(&CRYPTO, &big).is_err());
}

#[test]
fn who_is_no_admin_signs_nothing() {
    let stranger = signing("test/stranger");
    let error = propose(|_| {}).signed_by(&CRYPTO, &stranger).unwrap_err();
    let id = public(&stranger).id(&CRYPTO);
    assert_eq!(error, ProposalError::NotAnAdmin(id));
    assert_eq!(error.reason(), "not_an_admin");
    let (one, other) = (propose(|_| {}), propose(|root| root.lease_s = 60));
    assert_eq!(
        one.merged(&CRYPTO, &other),
        Err(ProposalError::OtherProposal)
    );
}

#[test]
fn no_truncation_and_no_changed_signature_is_a_proposal() {
    let bytes = sign(propose(|root| root.lease_s = 60), 0).file();
    for length in (0..bytes.len()).step_by(61) {
        assert!(Proposal::read(&CRYPTO, &bytes[..length]).is_err());
    }
    // The proposed root and its signatures stand last.
    for at in (bytes.len() - 3000..bytes.len()).step_by(211) {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(Proposal::read(&CRYPTO, &changed).is_err(), "{at}");
    }
}

#[test]
fn a_root_out_of_bounds_is_no_proposal() {
    for edit in [
        (|root: &mut Root| root.threshold = 4) as fn(&mut Root),
        |root| root.threshold = 0,
        |root| root.admins = Vec::new(),
        |root| root.issuers = Vec::new(),
        |root| root.lease_s = 0,
        |root| root.version = 7,
    ] {
        assert!(Proposal::revise(&CRYPTO, world().root.bytes(), NOW, [8; 16], edit).is_err());
    }
}

fn bundle(version: u64) -> Proposal {
    let body = BundleBody {
        policies: vec![Policy {
            name: "first".parse().unwrap(),
            media_type: "text/plain".to_owned(),
            bytes: b"whatever it says".to_vec(),
        }],
        ..BundleBody::default()
    };
    Proposal::bundle(&CRYPTO, world().root.bytes(), NOW, version, &body).unwrap()
}

#[test]
fn signatures_under_a_proposed_bundle_make_it_one() {
    let unsigned = bundle(3);
    assert_eq!(unsigned.signatures(&CRYPTO).missing, 2);
    assert_eq!(unsigned.signatures(&CRYPTO).unsigned.len(), 3);
    let one = sign(unsigned.clone(), 2);
    let other = sign(Proposal::read(&CRYPTO, &unsigned.file()).unwrap(), 0);
    let both = one.clone().merged(&CRYPTO, &other).unwrap();
    assert_eq!(
        (both.id(), both.version(), both.follows()),
        (unsigned.id(), 3, world().root.hash())
    );
    assert_eq!(both.signatures(&CRYPTO).missing, 0);
    let [Document::BundleHead(head), Document::BundleBody(body)] = &both.documents()[..] else {
        panic!("a head and a body");
    };
    let head = VerifiedBundleHead::verify(&CRYPTO, &[&world().root], head).unwrap();
    let joined = Bundle::join(&CRYPTO, head, body.clone()).unwrap();
    assert_eq!(joined.hash(), both.id());
    let short = one.document().into();
    assert!(VerifiedBundleHead::verify(&CRYPTO, &[&world().root], &short).is_err());
}

#[test]
fn what_a_bundle_holds_is_said_with_digests_to_compare() {
    let said = bundle(1).changes(&CRYPTO);
    let [line] = &said[..] else {
        panic!("one policy, one line: {said:?}");
    };
    assert!(
        line.starts_with("policy `first`: 16 bytes, SHA-256 "),
        "{line}"
    );
    let empty = Proposal::bundle(
        &CRYPTO,
        world().root.bytes(),
        NOW,
        1,
        &BundleBody::default(),
    );
    assert_eq!(
        empty.unwrap().changes(&CRYPTO),
        ["holds nothing: nothing would be permitted"]
    );
}

#[test]
fn a_bundle_is_proposed_with_its_own_body_and_under_its_own_root() {
    let file = |base: &[u8], document: &[u8], body: Option<&[u8]>| {
        let bytes = |b: &[u8]| minicbor::bytes::ByteVec::from(b.to_vec());
        let mut map = std::collections::BTreeMap::from([(1_u8, bytes(base)), (2, bytes(document))]);
        map.extend(body.map(|body| (3, bytes(body))));
        codec::encode(&map)
    };
    let signed = sign(bundle(1), 0);
    let (base, document) = (world().root.bytes(), signed.document());
    let Proposed::Bundle { bytes: body, .. } = signed.proposed() else {
        panic!("a bundle");
    };
    let read = |base, document, body| Proposal::read(&CRYPTO, &file(base, document, body));
    assert_eq!(read(base, document, Some(body)), Ok(signed.clone()));
    let other = BundleBody::default().encode();
    assert_eq!(
        read(base, document, Some(&other)),
        Err(ProposalError::OtherBody)
    );
    assert_eq!(read(base, document, None), Err(ProposalError::OtherBody));
    let root = sign(propose(|root| root.lease_s = 60), 0);
    assert_eq!(
        read(base, root.document(), Some(body)),
        Err(ProposalError::OtherBody)
    );
    assert_eq!(
        ProposalError::OtherBody.reason(),
        "proposal_of_another_body"
    );
    let foreign = foreign().root.bytes();
    assert_eq!(
        read(foreign, document, Some(body)),
        Err(ProposalError::OtherBase)
    );
    let later = Proposal::revise(&CRYPTO, base, NOW, [9; 16], |_| {}).unwrap();
    assert_eq!(
        read(later.document(), document, Some(body)),
        Err(ProposalError::OtherBase)
    );
    // A version of 0 is none.
    assert!(Proposal::bundle(&CRYPTO, base, NOW, 0, &BundleBody::default()).is_err());
}
