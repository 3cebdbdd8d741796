//! Proposals: gathering signatures, and every way in which a file is refused.

use protocol::codec;
use protocol::cose::CoseError;
use protocol::trust::proposal::MAX_PROPOSAL_BYTES;
use protocol::trust::{Proposal, ProposalError, Root, TrustError};

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
