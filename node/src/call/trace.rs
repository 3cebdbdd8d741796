//! What a caller may want to know of the envelopes of its own call.

use std::sync::{Mutex, PoisonError};

use protocol::codec;
use protocol::envelope::Payload;
use protocol::envelope::hop::{self, HopRecord};
use protocol::id::{EnvelopeId, NodeId};

/// The first and the last envelope of one call.
#[derive(Debug, Default)]
pub struct Trace {
    /// Whether the envelopes' bytes are kept too.
    keep_bytes: bool,
    inner: Mutex<(Option<TracedEnvelope>, Option<TracedEnvelope>)>,
    hops: Mutex<Vec<HopRecord>>,
}

/// What is noted of an envelope.
pub(super) struct Traced<'a> {
    pub(super) id: EnvelopeId,
    pub(super) issuer: NodeId,
    pub(super) bytes: &'a [u8],
    /// What it holds, where that is sealed.
    pub(super) sealed: Option<&'a Payload>,
}

/// One envelope of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TracedEnvelope {
    /// Its identifier.
    pub id: EnvelopeId,
    /// Who signed it.
    pub issuer: NodeId,
    /// The COSE_Sign, if bytes are kept.
    pub bytes: Option<Vec<u8>>,
    /// Of one that was sealed for relays, if bytes are kept: its payload in the clear, encoded.
    pub opened: Option<Vec<u8>>,
}

impl Trace {
    /// An empty trace; with `keep_bytes` it keeps the envelopes themselves.
    #[must_use]
    pub fn new(keep_bytes: bool) -> Self {
        Self {
            keep_bytes,
            inner: Mutex::default(),
            hops: Mutex::default(),
        }
    }

    /// Whether the envelopes themselves are kept.
    pub(super) const fn keeps_bytes(&self) -> bool {
        self.keep_bytes
    }

    pub(super) fn request(&self, envelope: Traced<'_>) {
        let envelope = self.envelope(envelope);
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).0 = Some(envelope);
    }

    pub(super) fn response(&self, envelope: Traced<'_>) {
        let envelope = self.envelope(envelope);
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).1 = Some(envelope);
    }

    /// Notes the records that came with the response and were verified with it.
    pub(super) fn carried(&self, records: &[Vec<u8>]) {
        let read = records.iter().filter_map(|record| hop::read(record).ok());
        *self.hops.lock().unwrap_or_else(PoisonError::into_inner) = read.collect();
    }

    /// The verified hop records of the response, in the order of its route.
    #[must_use]
    pub fn hops(&self) -> Vec<HopRecord> {
        self.hops
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn envelope(&self, envelope: Traced<'_>) -> TracedEnvelope {
        let keeps = self.keep_bytes;
        TracedEnvelope {
            id: envelope.id,
            issuer: envelope.issuer,
            bytes: keeps.then(|| envelope.bytes.to_vec()),
            opened: envelope.sealed.filter(|_| keeps).map(codec::encode),
        }
    }

    /// The request's envelope and the final response's, as far as they exist.
    #[must_use]
    pub fn envelopes(&self) -> (Option<TracedEnvelope>, Option<TracedEnvelope>) {
        self.inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
