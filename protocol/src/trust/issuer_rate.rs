//! Whether an issuer keeps to its rate, from what it has signed.
//!
//! A membership carries its issuer's sequence and its beginning. Two of one issuer say how many it
//! has issued between them and in which time, so whoever knows memberships notices one who issues
//! faster than the root allows, whatever it hands out to whom. Between any two, at most
//! `max_per_hour` for each hour begun; memberships of an honest issuer satisfy that pairwise, so the
//! order in which they become known does not matter. One sequence for two contents is a lie
//! whichever came first.
//!
//! Not here: that a sequence was left out (nobody sees all), and the lifetime of memberships (the
//! root bounds it, and with it how much a backdating issuer has left).

use std::collections::{BTreeMap, HashMap};

use super::{TrustError, VerifiedMembership, VerifiedRoot, document_hash};
use crate::codec;
use crate::crypto::{Crypto, domain::content_type};
use crate::id::{Digest, SignerId};
use crate::limits::MAX_ROLE_KEYS;
use crate::time::UnixSeconds;

/// Most memberships of one issuer that are compared; beyond it the lowest sequences are forgotten.
/// Every node of the largest mesh, once and a half; 1.5 MiB.
pub const MAX_KNOWN_MEMBERSHIPS: usize = 16_384;

const HOUR_S: u64 = 3600;

/// The memberships known of every issuer, as far as rates need them.
#[derive(Debug, Clone, Default)]
pub struct IssuerRates {
    issuers: HashMap<SignerId, BTreeMap<u64, Issued>>,
}

#[derive(Debug, Clone, Copy)]
struct Issued {
    not_before: UnixSeconds,
    content: Digest,
}

impl IssuerRates {
    /// Nothing known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes note of a verified membership, or refuses it. One known already changes nothing.
    ///
    /// # Errors
    /// [`TrustError::IssuerEquivocates`], [`TrustError::IssuerTooFast`], and
    /// [`TrustError::UnknownIssuer`] if the root does not name its issuer any more.
    pub fn note(
        &mut self,
        crypto: &dyn Crypto,
        root: &VerifiedRoot,
        membership: &VerifiedMembership,
    ) -> Result<(), TrustError> {
        let id = membership.issuer();
        let issuer = root.issuer(&id).ok_or(TrustError::UnknownIssuer)?;
        let content = membership.content();
        let encoded = codec::encode(content);
        let issued = Issued {
            not_before: content.not_before,
            content: document_hash(crypto, content_type::MEMBERSHIP, &encoded),
        };
        if self.issuers.len() > MAX_ROLE_KEYS {
            self.issuers.retain(|id, _| root.issuer(id).is_some());
        }
        let known = self.issuers.entry(id).or_default();
        take(known, content.issuer_sequence, issued, issuer.max_per_hour)
    }
}

fn take(
    known: &mut BTreeMap<u64, Issued>,
    sequence: u64,
    issued: Issued,
    max_per_hour: u64,
) -> Result<(), TrustError> {
    if let Some(same) = known.get(&sequence) {
        return if same.content == issued.content {
            Ok(())
        } else {
            Err(TrustError::IssuerEquivocates(sequence))
        };
    }
    let honest = |(&other, at): (&u64, &Issued)| {
        let (first, last) = if other < sequence {
            (at.not_before, issued.not_before)
        } else {
            (issued.not_before, at.not_before)
        };
        let hours = last.0.saturating_sub(first.0) / HOUR_S + 1;
        other.abs_diff(sequence) <= max_per_hour.saturating_mul(hours)
    };
    if !known.iter().all(honest) {
        return Err(TrustError::IssuerTooFast(max_per_hour));
    }
    known.insert(sequence, issued);
    if known.len() > MAX_KNOWN_MEMBERSHIPS {
        known.pop_first();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: u64 = 1_800_000_000;

    fn at(time: u64, byte: u8) -> Issued {
        Issued {
            not_before: UnixSeconds(time),
            content: Digest::from_bytes([byte; 32]),
        }
    }

    fn taken(pairs: &[(u64, u64)], max: u64) -> Vec<&'static str> {
        let mut known = BTreeMap::new();
        let one = |&(sequence, time)| {
            take(&mut known, sequence, at(time, 0), max).map_or_else(|e| e.reason(), |()| "taken")
        };
        pairs.iter().map(one).collect()
    }

    #[test]
    fn the_rate_is_a_bound_for_each_hour_begun() {
        let now = START;
        let first = (1, now);
        assert_eq!(taken(&[first, (11, now)], 10), ["taken", "taken"]);
        assert_eq!(taken(&[first, (12, now)], 10), ["taken", "issuer_too_fast"]);
        assert_eq!(taken(&[first, (12, now + 3599)], 10)[1], "issuer_too_fast");
        assert_eq!(taken(&[first, (21, now + 3600)], 10)[1], "taken");
        assert_eq!(taken(&[first, (22, now + 3600)], 10)[1], "issuer_too_fast");
        // Backdated, or known the other way round.
        assert_eq!(taken(&[first, (12, now - 9000)], 10)[1], "issuer_too_fast");
        assert_eq!(taken(&[(12, now), first], 10)[1], "issuer_too_fast");
        assert_eq!(taken(&[first, (u64::MAX, now)], 10)[1], "issuer_too_fast");
        assert_eq!(taken(&[(0, 0), (u64::MAX, u64::MAX)], u64::MAX)[1], "taken");
    }

    #[test]
    fn one_sequence_has_one_content() {
        let mut known = BTreeMap::new();
        assert_eq!(take(&mut known, 5, at(START, 1), 10), Ok(()));
        assert_eq!(take(&mut known, 5, at(START, 1), 10), Ok(()));
        let twice = take(&mut known, 5, at(START, 2), 10);
        assert_eq!(twice, Err(TrustError::IssuerEquivocates(5)));
    }

    #[test]
    fn memory_is_bounded() {
        let mut known = BTreeMap::new();
        for sequence in 0..=MAX_KNOWN_MEMBERSHIPS as u64 {
            take(&mut known, sequence, at(START + sequence, 0), 10_000).unwrap();
        }
        assert_eq!(known.len(), MAX_KNOWN_MEMBERSHIPS);
        assert!(!known.contains_key(&0));
    }

    proptest! {
        #[test]
        fn honest_memberships_pass_in_any_order(
            pauses in proptest::collection::vec(0_u64..2000, 1..60),
            max in 1_u64..12,
            order in proptest::collection::vec(any::<prop::sample::Index>(), 60),
        ) {
            // An issuer that waits until fewer than `max` lie within the last hour.
            let mut issued: Vec<(u64, u64)> = Vec::new();
            let mut now = START;
            for (sequence, pause) in (1..).zip(pauses) {
                now += pause;
                let back = usize::try_from(max).unwrap();
                if let Some(nth) = issued.len().checked_sub(back) {
                    now = now.max(issued[nth].1 + HOUR_S);
                }
                issued.push((sequence, now));
            }
            for index in &order {
                let at = index.index(issued.len());
                issued.swap(0, at);
            }
            let all = taken(&issued, max);
            prop_assert!(all.iter().all(|outcome| *outcome == "taken"), "{all:?}");
        }
    }
}
