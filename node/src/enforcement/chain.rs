//! The chain of hop records, and whose fault it is that one is broken.
//!
//! An honest relay has checked everything it could before it sends on: signatures, order, the
//! records so far. What fails at the next node then failed on the link between, and only the node
//! at its other end can have done that. So a fault of this kind is no mere refusal but severs the
//! link that delivered it.

use protocol::envelope::hop::{self, HopRecord};
use protocol::envelope::{Header, UnverifiedEnvelope};
use protocol::id::{EnvelopeId, NodeId};
use protocol::policy::{Denial, Verdict};
use protocol::time::{UnixMillis, UnixSeconds};

use super::{Enforcer, Origin, Stopped};

/// The refusals that only who delivered an envelope can have caused, where that is a relay.
pub const DELIVERERS_FAULTS: [&str; 15] = [
    "bad_signature",
    "unknown_key",
    "replayed",
    "hop_record_invalid",
    "hop_record_other_envelope",
    "hop_record_reordered",
    "hop_record_missing",
    "hop_record_extra",
    "wrong_previous_hop",
    "other_route",
    "stream_gap",
    "out_of_order",
    "after_end",
    "other_call",
    "other_request",
];

/// What is told of an envelope that a relay kept until it had expired.
pub const RELAY_DELAYED: &str = "relay_delayed";

/// Severs where a relay delivered what an honest one would not have.
pub(super) fn blame(stopped: Stopped, by_relay: bool) -> Stopped {
    if !by_relay || stopped.by_policy || !DELIVERERS_FAULTS.contains(&stopped.reason()) {
        return stopped;
    }
    match stopped.verdict {
        Verdict::Deny(denial) => Stopped {
            verdict: Verdict::Sever(denial),
            by_policy: false,
        },
        _ => stopped,
    }
}

/// The address of the issuer's node as the next hop saw it: this node itself on a direct way, behind
/// relays the first of them, by its record.
pub(super) fn issuers_address<'a>(
    header: &Header,
    origin: &'a Origin,
    chain: &'a [HopRecord],
) -> Option<&'a str> {
    if origin.peer == header.cwt.iss {
        return origin.address.as_deref();
    }
    chain.first().map(|record| record.observed_address.as_str())
}

impl Enforcer {
    /// The hop records must be exactly those the signed route plans up to `place`; a direct route
    /// plans none. Returns what they say.
    pub(super) fn check_chain(
        &self,
        now: UnixSeconds,
        id: EnvelopeId,
        header: &Header,
        place: usize,
        records: &[&[u8]],
    ) -> Result<Vec<HopRecord>, Stopped> {
        if place <= 1 && records.is_empty() {
            return Ok(Vec::new());
        }
        self.chain(now, id, header, place, records)
            .map_err(|e| Stopped::refuse(e.reason(), e.to_string()))
    }

    fn chain(
        &self,
        now: UnixSeconds,
        id: EnvelopeId,
        header: &Header,
        place: usize,
        records: &[&[u8]],
    ) -> Result<Vec<HopRecord>, hop::HopError> {
        let route = &header.claims.route;
        // Of the route only: a directory may have thousands.
        let members: Vec<_> = route
            .iter()
            .filter_map(|n| self.members.valid(n, now))
            .filter(|m| self.standing.member(&m.membership).is_ok())
            .collect();
        let signer = |node: &NodeId| {
            let of = members.iter().find(|m| m.membership.node() == *node);
            of.map(|m| &m.membership.signing)
        };
        let (crypto, mesh) = (&*self.identity.crypto, self.identity.mesh());
        hop::verify_chain(crypto, &mesh, id, route, place, records, signer)
    }

    /// Of an envelope that expired on its way: the relay that the times in the records name, if
    /// its signatures and theirs hold.
    pub(super) fn delayed(
        &self,
        now: UnixMillis,
        unverified: UnverifiedEnvelope<'_>,
        place: usize,
        records: &[&[u8]],
    ) -> Option<Stopped> {
        let crypto = &*self.identity.crypto;
        let issuer = self
            .members
            .valid(&unverified.header().cwt.iss, now.seconds())?;
        let signed = unverified
            .verify_signatures(crypto, &issuer.membership.signing)
            .ok()?;
        let (id, header) = (signed.id(), signed.into_header());
        let chain = self
            .chain(now.seconds(), id, &header, place, records)
            .ok()?;
        let arrivals = chain.iter().skip(1).map(|next| next.received).chain([now]);
        // From when a relay says it had it to when the next node had it.
        let kept = chain
            .iter()
            .zip(arrivals)
            .map(|(relay, arrived)| (arrived.0.saturating_sub(relay.received.0), relay.node));
        let (kept_ms, relay) = kept.max_by_key(|(kept, _)| *kept)?;
        let before_ms = chain
            .first()
            .map_or(0, |r| r.received.0.saturating_sub(header.cwt.iat.0 * 1000));
        // Whoever brought it so late to the first relay is its issuer.
        if before_ms > kept_ms {
            return None;
        }
        let name = self.members.member(&relay);
        let name = name.map_or_else(String::new, |m| m.membership.name.to_string());
        let denial = Denial {
            reason: RELAY_DELAYED.to_owned(),
            message: format!(
                "the envelope expired on its way: relay `{name}` ({}) had it for {kept_ms} ms",
                relay.short()
            ),
            policy: None,
            hint: Some("the times are those of the signed hop records".to_owned()),
        };
        Some(Stopped {
            verdict: Verdict::Deny(denial),
            by_policy: false,
        })
    }
}
