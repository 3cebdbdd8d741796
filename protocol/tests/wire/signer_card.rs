//! Signer cards: what is accepted, and every way in which one is refused.

use protocol::codec;
use protocol::cose::{self, CoseError};
use protocol::crypto::domain::content_type;
use protocol::trust::{Role, SignerCard, TrustError};

use crate::world::{CRYPTO, NOW, public, world};

fn card() -> Vec<u8> {
    SignerCard::sign(
        &CRYPTO,
        Role::Issuer,
        &world().issuer,
        NOW,
        Some(world().host.id),
    )
    .unwrap()
}

#[test]
fn a_card_reads_back() {
    let read = SignerCard::verify(&CRYPTO, &card()).unwrap();
    assert_eq!(read.role, Role::Issuer);
    assert_eq!(read.keys, public(&world().issuer));
    assert_eq!(read.created, NOW);
    assert_eq!(read.node, Some(world().host.id));
}

#[test]
fn no_truncation_and_no_changed_byte_is_a_card() {
    let bytes = card();
    for length in 0..bytes.len() {
        assert!(SignerCard::verify(&CRYPTO, &bytes[..length]).is_err());
    }
    // Every byte of the head and of the content, and a few of the signatures.
    for at in (0..2260).chain((2260..bytes.len()).step_by(211)) {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(SignerCard::verify(&CRYPTO, &changed).is_err(), "{at}");
    }
}

#[test]
fn a_card_signed_by_another_key_is_refused() {
    let w = world();
    let content = SignerCard {
        role: Role::Admin,
        keys: public(&w.issuer),
        created: NOW,
        node: None,
    };
    let header = codec::encode(&std::collections::BTreeMap::from([(
        3_u8,
        content_type::SIGNER_CARD,
    )]));
    let forged = cose::sign(
        &CRYPTO,
        &[&w.other_issuer],
        &header,
        &codec::encode(&content),
        &[],
    )
    .unwrap();
    assert_eq!(
        SignerCard::verify(&CRYPTO, &forged),
        Err(TrustError::Cose(CoseError::UnknownKey))
    );
}

#[test]
fn another_document_is_no_card() {
    assert_eq!(
        SignerCard::verify(&CRYPTO, world().root.bytes()),
        Err(TrustError::ContentType)
    );
}
