//! The public file of a role key: what is handed to the admins, to be named in the next root.
//!
//! It holds a signing set and the role it is meant for, and is signed by that very set: whoever
//! made it has both secret halves, so no root names a key that can never sign. It proves nothing
//! about *who* that is: people compare the signer id over another way.

use super::{TrustError, parse_document, sign_document};
use crate::crypto::{Crypto, CryptoError, Signer, SigningSet, domain::content_type};
use crate::id::NodeId;
use crate::time::UnixSeconds;

/// What a key is for. Sets are never shared between roles.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    minicbor::Encode,
    minicbor::Decode,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
#[cbor(index_only)]
pub enum Role {
    /// Signs roots, bundles and its revocation log.
    #[n(1)]
    Admin,
    /// Signs memberships.
    #[n(2)]
    Issuer,
    /// Signs timestamps.
    #[n(3)]
    Timestamper,
}

impl core::fmt::Display for Role {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Admin => "admin",
            Self::Issuer => "issuer",
            Self::Timestamper => "timestamper",
        })
    }
}

/// The content of a signer card.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct SignerCard {
    /// What the key is meant for.
    #[n(1)]
    pub role: Role,
    /// The key itself.
    #[n(2)]
    pub keys: SigningSet,
    /// When the card was made, by that host's clock.
    #[n(3)]
    pub created: UnixSeconds,
    /// The node the key runs on; absent for an admin's, which runs on none.
    #[n(4)]
    pub node: Option<NodeId>,
}

impl SignerCard {
    /// A card for `signer`, signed by it.
    ///
    /// # Errors
    /// [`CryptoError`] if a signature could not be made.
    pub fn sign(
        crypto: &dyn Crypto,
        role: Role,
        signer: &dyn Signer,
        created: UnixSeconds,
        node: Option<NodeId>,
    ) -> Result<Vec<u8>, CryptoError> {
        let card = Self {
            role,
            keys: signer.public().clone(),
            created,
            node,
        };
        sign_document(crypto, &[signer], content_type::SIGNER_CARD, &card, &[])
    }

    /// Reads a card and verifies that the set in it signed it.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn verify(crypto: &dyn Crypto, bytes: &[u8]) -> Result<Self, TrustError> {
        let (cose, card) = parse_document::<Self>(bytes, content_type::SIGNER_CARD)?;
        if !card.keys.is_well_formed() {
            return Err(TrustError::Field("keys"));
        }
        cose.verify_one(crypto, &card.keys, &[])?;
        Ok(card)
    }
}
