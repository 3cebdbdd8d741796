//! Genesis roots.

use hedgerow_crypto::SigningKeys;
use protocol::cose;
use protocol::crypto::Signer;
use protocol::id::SignerId;
use protocol::limits::MAX_ROLE_KEYS;
use protocol::trust::root::MAX_MEMBERSHIP_LIFE_S;
use protocol::trust::{RoleHost, Root, VerifiedRoot};

use crate::case::{ACCEPTED, Alterations, Case, case, run};
use crate::raw::{Raw, altered, flipped};
use crate::world::{CRYPTO, foreign, name, names, public, root_content, world};

/// The outcome.
pub(crate) fn judge(bytes: &[u8]) -> &'static str {
    VerifiedRoot::genesis(&CRYPTO, bytes).map_or_else(|e| e.reason(), |_| ACCEPTED)
}

fn content() -> Root {
    let w = world();
    root_content("test", &w.admins, &w.issuer, &w.other_issuer)
}

fn signed(content: &Root, admins: &[&SigningKeys]) -> Vec<u8> {
    let signers: Vec<&dyn Signer> = admins.iter().map(|&keys| keys as &dyn Signer).collect();
    content.sign(&CRYPTO, &signers).unwrap()
}

fn host(byte: u8) -> RoleHost {
    RoleHost {
        signer: SignerId::from_bytes([byte; 32]),
        node: world().host.id,
    }
}

fn otherwise(alter: fn(&mut Root)) -> Vec<u8> {
    let [first, second, _] = &world().admins;
    let mut root = content();
    alter(&mut root);
    signed(&root, &[first, second])
}

/// Roots that differ in their signatures only: small as vectors.
pub(crate) fn cases() -> Vec<Case> {
    let w = world();
    let [first, second, _] = &w.admins;
    let valid = w.root.bytes().to_vec();
    let raw = Raw::of(&valid);
    let aad = *w.mesh().as_bytes();
    let foreign_aad = cose::sign(
        &CRYPTO,
        &[first, second],
        &raw.protected,
        &raw.payload,
        &aad,
    )
    .unwrap();
    let under = altered(&valid, |r| r.signatures.truncate(2));
    let twice = altered(&valid, |r| {
        let pair = r.signatures[..2].to_vec();
        r.signatures.splice(2.., pair);
    });
    vec![
        case("valid", valid.clone(), ACCEPTED),
        case(
            "unsigned",
            altered(&valid, |r| r.signatures.clear()),
            "unsigned",
        ),
        case("under-threshold", under, "under_threshold"),
        case("one-admin-twice", twice, "duplicate_signature"),
        case(
            "second-admin-half",
            altered(&valid, |r| {
                let _ = r.signatures.pop();
            }),
            "too_many_signatures",
        ),
        case(
            "first-admin-half",
            altered(&valid, |r| drop(r.signatures.remove(1))),
            "duplicate_signature",
        ),
        case(
            "half-signed",
            altered(&valid, |r| r.signatures.truncate(1)),
            "half_signed",
        ),
        case("aad-of-the-mesh", foreign_aad, "bad_signature"),
        case(
            "another-content-type",
            altered(&valid, |r| {
                r.protected = crate::raw::replaced(&r.protected, b"root", b"boot");
            }),
            "wrong_content_type",
        ),
        case("an-envelope", w.request().bytes, "non_canonical"),
        case(
            "changed-content",
            altered(&valid, |r| *r.payload.last_mut().unwrap() ^= 1),
            "bad_signature",
        ),
        case(
            "trailing-byte-in-content",
            altered(&valid, |r| r.payload.push(0)),
            "non_canonical",
        ),
        case(
            "trailing-byte",
            [&valid[..], &[0]].concat(),
            "non_canonical",
        ),
        case("truncated", &valid[..valid.len() - 1], "truncated"),
    ]
}

#[test]
fn roots_are_judged_by_name() {
    run(&cases(), judge);
    let [first, second, third] = &world().admins;
    let by = |admins: &[&SigningKeys]| judge(&signed(&content(), admins));
    assert_eq!(by(&[third, second, first]), ACCEPTED);
    assert_eq!(by(&[first, &foreign().admins[1]]), "unknown_key");
}

#[test]
fn fields_out_of_bounds_are_refused_even_when_signed() {
    const FIELD: &str = "bad_document_field";
    let cases: &Alterations<Root> = &[
        ("version 2", FIELD, |r| r.version = 2),
        ("version 0", FIELD, |r| r.version = 0),
        ("epoch 2", FIELD, |r| r.epoch = 2),
        ("a mesh in a genesis", FIELD, |r| {
            r.mesh = Some(foreign().mesh())
        }),
        ("unknown suite", "unknown_suite", |r| r.suite = 9),
        ("no hosts", FIELD, |r| r.hosts = Some(Vec::new())),
        ("a host twice", FIELD, |r| r.hosts = Some(vec![host(1); 2])),
        ("hosts unsorted", FIELD, |r| {
            r.hosts = Some(vec![host(2), host(1)])
        }),
        ("too many hosts", FIELD, |r| {
            r.hosts = Some((0..=64).map(host).collect())
        }),
        ("64 hosts", ACCEPTED, |r| {
            r.hosts = Some((0..64).map(host).collect())
        }),
        ("threshold 0", FIELD, |r| r.threshold = 0),
        ("threshold above the admins", FIELD, |r| r.threshold = 4),
        ("no admins", FIELD, |r| r.admins.clear()),
        ("an admin twice", FIELD, |r| {
            r.admins[2] = r.admins[0].clone()
        }),
        ("too many admins", FIELD, |r| {
            r.admins = (0..=MAX_ROLE_KEYS)
                .map(|i| {
                    let mut set = public(&world().admins[0]);
                    set.ed25519[0] = u8::try_from(i).unwrap();
                    set
                })
                .collect();
        }),
        ("a short admin key", FIELD, |r| {
            let _ = r.admins[2].ml_dsa_65.pop();
        }),
        ("a long admin key", FIELD, |r| r.admins[2].ed25519.push(0)),
        ("no issuers", FIELD, |r| r.issuers.clear()),
        ("an issuer twice", FIELD, |r| {
            r.issuers[1] = r.issuers[0].clone()
        }),
        ("an issuer without life", FIELD, |r| {
            r.issuers[0].max_life_s = 0
        }),
        ("an issuer with too long a life", FIELD, |r| {
            r.issuers[0].max_life_s = MAX_MEMBERSHIP_LIFE_S + 1;
        }),
        ("a group twice", FIELD, |r| {
            r.issuers[0].groups = Some(names(&["a", "a"]))
        }),
        ("a site twice", FIELD, |r| {
            r.issuers[0].sites = Some(names(&["a", "a"]))
        }),
        ("too many groups", FIELD, |r| {
            r.issuers[0].groups = Some((0..65).map(|i| name(&format!("g{i}"))).collect());
        }),
        ("no timestampers", FIELD, |r| r.timestampers.clear()),
        ("no lease", FIELD, |r| r.lease_s = 0),
        ("a short nonce", FIELD, |r| {
            let _ = r.nonce.pop();
        }),
        ("an issuer who may grant nothing by name", ACCEPTED, |r| {
            r.issuers[0].groups = Some(Vec::new());
        }),
    ];
    let cases: Vec<Case> = cases
        .iter()
        .map(|&(name, expected, alter)| case(name, otherwise(alter), expected))
        .collect();
    run(&cases, judge);
}

#[test]
fn the_mesh_is_the_content_whoever_signed_it() {
    let [first, second, third] = &world().admins;
    let of = |admins: &[&SigningKeys]| {
        VerifiedRoot::genesis(&CRYPTO, &signed(&content(), admins))
            .unwrap()
            .mesh()
    };
    assert_eq!(of(&[first, second]), of(&[third, second, first]));
    let mut other = content();
    other.nonce[0] ^= 1;
    let other = VerifiedRoot::genesis(&CRYPTO, &signed(&other, &[first, second])).unwrap();
    assert_ne!(other.mesh(), world().mesh());
}

#[test]
fn changed_bytes_are_refused() {
    let valid = world().root.bytes();
    for at in (0..valid.len()).step_by(61) {
        assert_ne!(judge(&flipped(valid, at)), ACCEPTED, "byte {at}");
    }
}
