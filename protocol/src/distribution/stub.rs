//! Stand-ins with the signatures of the trust state, until it is there.
#![allow(
    missing_docs,
    clippy::unused_self,
    clippy::unnecessary_wraps,
    reason = "a stand-in"
)]

use super::head::HeadSet;
use super::message::Bytes;
use crate::crypto::Crypto;
use crate::id::{Digest, MeshId, SignerId};
use crate::time::UnixSeconds;
use crate::trust::TrustError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    Root(Bytes),
    BundleHead(Bytes),
    BundleBody(Bytes),
    LogHead(Bytes),
    LogEntries {
        admin: SignerId,
        from: u64,
        entries: Vec<Bytes>,
    },
    Timestamp(Bytes),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Root,
    Bundle,
    Log(SignerId),
    Timestamp(SignerId),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    Roots { from: u64 },
    Body { digest: Digest, length: u64 },
    Entries { admin: SignerId, from: u64, to: u64 },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForkOf {
    Root,
    Bundle,
    Log(SignerId),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offer {
    New(Change),
    Known,
    Stale,
    Wanted(Missing),
    Fork(ForkOf),
}

#[derive(Debug)]
pub struct TrustState {
    heads: HeadSet,
    mesh: MeshId,
}

impl TrustState {
    pub fn mesh(&self) -> MeshId {
        self.mesh
    }
    pub fn heads(&self) -> HeadSet {
        self.heads.clone()
    }
    pub fn offer(
        &mut self,
        _: &dyn Crypto,
        _: UnixSeconds,
        _: &Document,
    ) -> Result<Offer, TrustError> {
        Ok(Offer::Known)
    }
    pub fn root_bytes(&self, _version: u64) -> Option<Bytes> {
        None
    }
    pub fn bundle_head(&self) -> Option<Bytes> {
        None
    }
    pub fn bundle_digest(&self) -> Option<Digest> {
        None
    }
    pub fn bundle_body(&self) -> Option<Bytes> {
        None
    }
    pub fn log_head(&self, _admin: &SignerId) -> Option<Bytes> {
        None
    }
    pub fn log_entries(&self, _admin: &SignerId, _from: u64) -> &[Bytes] {
        &[]
    }
    pub fn timestamp_bytes(&self, _timestamper: &SignerId) -> Option<Bytes> {
        None
    }
}
