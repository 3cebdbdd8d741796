//! Hop records: what each relay on the way signs beside the envelope, never inside it.
//!
//! A record is a COSE_Sign by the relay with `external_aad` = mesh id, content type
//! [`content_type::HOP_RECORD`]. Records chain by hash of content (protected header and payload,
//! not signatures). The planned route in the envelope's signed header says how many there must be:
//! one per node strictly between the ends, so a direct call has none and any record is extra.

use crate::codec;
use crate::cose::{self, CoseError, CoseSign};
use crate::crypto::{Crypto, CryptoError, Signer, SigningSet, domain, domain::content_type};
use crate::id::{Digest, EnvelopeId, MeshId, NodeId};
use crate::limits::{MAX_HOP_RECORD_BYTES, MAX_WORD_BYTES};
use crate::time::UnixMillis;

/// What a relay decided on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum Scope {
    /// The signed header alone.
    #[n(1)]
    HeaderOnly,
    /// Header and body.
    #[n(2)]
    Full,
}

/// The protected header of a hop record.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
struct HopHeader {
    #[n(3)]
    content_type: String,
}

/// The payload of a hop record.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct HopRecord {
    /// The envelope it is about.
    #[n(1)]
    pub envelope: EnvelopeId,
    /// The signing relay's place on the planned route, counted from 0 at the envelope's issuer.
    #[n(2)]
    pub index: u64,
    /// Chain hash of the record before it; absent in the first.
    #[n(3)]
    pub previous: Option<Digest>,
    /// The relay.
    #[n(4)]
    pub node: NodeId,
    /// The bundle version it decided under; 0 while there is none.
    #[n(5)]
    pub bundle_version: u64,
    /// The verdict, by its stable name (`allow`, …).
    #[n(6)]
    pub verdict: String,
    /// What it decided on.
    #[n(7)]
    pub scope: Scope,
    /// The peer from which it received the envelope.
    #[n(8)]
    pub observed_peer: NodeId,
    /// That peer's address as seen (`ip:port`).
    #[n(9)]
    pub observed_address: String,
    /// When it received the envelope, by its clock.
    #[n(10)]
    pub received: UnixMillis,
    /// When it sent it on, by its clock.
    #[n(11)]
    pub sent: UnixMillis,
}

/// Why a chain of hop records is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HopError {
    /// A record is not the one encoding of a hop record, or its signatures do not hold.
    #[error("hop record {index}: {error}")]
    Record {
        /// Its place in the chain, from 0.
        index: usize,
        /// What is wrong.
        error: CoseError,
    },
    /// A relay of the planned route left no record.
    #[error("{found} of {planned} hop records: a relay of the planned route is missing")]
    Missing {
        /// Relays on the planned route.
        planned: usize,
        /// Records found.
        found: usize,
    },
    /// More records than the route has relays.
    #[error("{found} hop records where the route has {planned} relays")]
    Extra {
        /// Relays on the planned route.
        planned: usize,
        /// Records found.
        found: usize,
    },
    /// A record stands at another place than its relay has on the route, or chains to another one.
    #[error("hop record {0} is out of its order")]
    Reordered(usize),
    /// A record is about another envelope.
    #[error("hop record {0} is about another envelope")]
    OtherEnvelope(usize),
    /// A relay has no valid membership here.
    #[error("hop record {0} is by a node without valid membership here")]
    UnknownRelay(usize),
}

impl HopError {
    /// The stable name of the refusal.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Record { .. } => "hop_record_invalid",
            Self::Missing { .. } => "hop_record_missing",
            Self::Extra { .. } => "hop_record_extra",
            Self::Reordered(_) => "hop_record_reordered",
            Self::OtherEnvelope(_) => "hop_record_other_envelope",
            Self::UnknownRelay(_) => "hop_record_unknown_relay",
        }
    }
}

impl HopRecord {
    /// Signs this record.
    ///
    /// # Errors
    /// [`CryptoError`] if a signature could not be made.
    pub fn sign(
        &self,
        crypto: &dyn Crypto,
        signer: &dyn Signer,
        mesh: &MeshId,
    ) -> Result<Vec<u8>, CryptoError> {
        let header = HopHeader {
            content_type: content_type::HOP_RECORD.to_owned(),
        };
        cose::sign(
            crypto,
            &[signer],
            &codec::encode(&header),
            &codec::encode(self),
            mesh.as_bytes(),
        )
    }
}

/// What a signed record says. It verifies nothing: for records that were verified before.
///
/// # Errors
/// If `bytes` are no hop record.
pub fn read(bytes: &[u8]) -> Result<HopRecord, CoseError> {
    let cose = CoseSign::parse(bytes, MAX_HOP_RECORD_BYTES)?;
    Ok(codec::decode(cose.payload, MAX_HOP_RECORD_BYTES)?)
}

/// The chain hash of a signed record: over its protected header and payload, not its signatures.
///
/// # Errors
/// If `bytes` are no hop record.
pub fn chain_hash(crypto: &dyn Crypto, bytes: &[u8]) -> Result<Digest, CoseError> {
    let cose = CoseSign::parse(bytes, MAX_HOP_RECORD_BYTES)?;
    Ok(Digest::over(
        crypto,
        domain::HOP_RECORD,
        &[cose.protected, cose.payload],
    ))
}

/// Verifies the records that came with `envelope` over `route` as far as `upto` (the index on the
/// route of the node that checks): one record for each relay before it, in order, chained, about
/// this envelope, each signed by the relay the signed route names.
///
/// # Errors
/// [`HopError`], the first in the order of the route.
pub fn verify_chain<'m>(
    crypto: &dyn Crypto,
    mesh: &MeshId,
    envelope: EnvelopeId,
    route: &[NodeId],
    upto: usize,
    records: &[&[u8]],
    signer_of: impl Fn(&NodeId) -> Option<&'m SigningSet>,
) -> Result<Vec<HopRecord>, HopError> {
    let planned = upto.saturating_sub(1);
    if records.len() > planned {
        return Err(HopError::Extra {
            planned,
            found: records.len(),
        });
    }
    let mut previous = None;
    let mut chain = Vec::new();
    for (place, bytes) in records.iter().enumerate() {
        let invalid = |error| HopError::Record {
            index: place,
            error,
        };
        let cose = CoseSign::parse(bytes, MAX_HOP_RECORD_BYTES).map_err(invalid)?;
        let header: HopHeader =
            codec::decode(cose.protected, MAX_HOP_RECORD_BYTES).map_err(|e| invalid(e.into()))?;
        let record: HopRecord =
            codec::decode(cose.payload, MAX_HOP_RECORD_BYTES).map_err(|e| invalid(e.into()))?;
        if header.content_type != content_type::HOP_RECORD || record.verdict.len() > MAX_WORD_BYTES
        {
            return Err(invalid(CoseError::SignatureHeader));
        }
        if record.envelope != envelope {
            return Err(HopError::OtherEnvelope(place));
        }
        let in_place = record.index == place as u64 + 1
            && route.get(place + 1) == Some(&record.node)
            && route.get(place) == Some(&record.observed_peer)
            && record.previous == previous;
        if !in_place {
            return Err(HopError::Reordered(place));
        }
        let signer = signer_of(&record.node).ok_or(HopError::UnknownRelay(place))?;
        cose.verify_one(crypto, signer, mesh.as_bytes())
            .map_err(invalid)?;
        previous = Some(Digest::over(
            crypto,
            domain::HOP_RECORD,
            &[cose.protected, cose.payload],
        ));
        chain.push(record);
    }
    if chain.len() < planned {
        return Err(HopError::Missing {
            planned,
            found: chain.len(),
        });
    }
    Ok(chain)
}
