//! Whether an issuer keeps to its rate, from what it has signed.
//!
//! A membership carries its issuer's sequence and its beginning. Of those known of one issuer, at
//! most as many begin within any hour as the root lets it issue in one, and one sequence has one
//! content. An honest issuer satisfies both whatever subset of its memberships is known and in
//! whatever order they become known, also after it was restored from a backup and went on with
//! sequences far ahead: what is counted is memberships, never the distance between two sequences.
//! So leaving sequences out gains a dishonest one nothing, and using one again is a lie.
//!
//! Who was known first stays, and what goes beyond is refused: an issuer that was stolen cannot put
//! out those it admitted before. Which of its later ones are in excess, nodes that heard of them in
//! another order see differently; how many may be in force, none does. A root that lowers the rate
//! does so for what begins after it was made, so that nobody is put out who was admitted rightly.
//!
//! Not here: that a membership begins earlier than it was issued, of which only the order of what
//! is known would tell. The root bounds it by the lifetime it allows: it is what a stolen issuer has
//! of hours gone by until it is revoked.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{TrustError, VerifiedMembership, VerifiedRoot, document_hash};
use crate::codec;
use crate::crypto::{Crypto, domain::content_type};
use crate::id::{Digest, SignerId};
use crate::limits::MAX_ROLE_KEYS;
use crate::time::UnixSeconds;

/// Most memberships of one issuer that are remembered: every node of the largest mesh with the one
/// it renewed, and some; 4 MiB. Beyond it those that have ended are forgotten, then those of the
/// lowest sequences.
pub const MAX_KNOWN_MEMBERSHIPS: usize = 32_768;

/// In which memberships are counted.
const HOUR_S: u64 = 3600;

/// The memberships known of every issuer, as far as rates need them.
#[derive(Debug, Clone, Default)]
pub struct IssuerRates {
    issuers: HashMap<SignerId, Known>,
}

/// Those of one issuer.
#[derive(Debug, Clone, Default)]
struct Known {
    by_sequence: BTreeMap<u64, Issued>,
    by_beginning: BTreeSet<(UnixSeconds, u64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Issued {
    not_before: UnixSeconds,
    not_after: UnixSeconds,
    content: Digest,
}

impl IssuerRates {
    /// Nothing known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether [`IssuerRates::note`] would take a membership.
    ///
    /// # Errors
    /// As there.
    pub fn judge(
        &self,
        crypto: &dyn Crypto,
        root: &VerifiedRoot,
        membership: &VerifiedMembership,
    ) -> Result<(), TrustError> {
        let limit = limit(root, membership)?;
        let sequence = membership.content().issuer_sequence;
        let issued = Issued::of(crypto, membership);
        match self.issuers.get(&membership.issuer()) {
            Some(known) => known.judge(sequence, issued, limit).map(drop),
            None => Known::default().judge(sequence, issued, limit).map(drop),
        }
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
        let limit = limit(root, membership)?;
        if self.issuers.len() > MAX_ROLE_KEYS {
            self.issuers.retain(|id, _| root.issuer(id).is_some());
        }
        let known = self.issuers.entry(membership.issuer()).or_default();
        let sequence = membership.content().issuer_sequence;
        known.take(sequence, Issued::of(crypto, membership), limit)
    }
}

/// How many memberships may begin within an hour of this one.
fn limit(root: &VerifiedRoot, membership: &VerifiedMembership) -> Result<u64, TrustError> {
    root.issuer_rate(&membership.issuer(), membership.content().not_before)
        .ok_or(TrustError::UnknownIssuer)
}

impl Issued {
    fn of(crypto: &dyn Crypto, membership: &VerifiedMembership) -> Self {
        let content = membership.content();
        let encoded = codec::encode(content);
        Self {
            not_before: content.not_before,
            not_after: content.not_after,
            content: document_hash(crypto, content_type::MEMBERSHIP, &encoded),
        }
    }
}

impl Known {
    /// Whether it may be known beside the others; `false` if it is already.
    fn judge(&self, sequence: u64, issued: Issued, limit: u64) -> Result<bool, TrustError> {
        match self.by_sequence.get(&sequence) {
            Some(same) if same.content == issued.content => return Ok(false),
            Some(_) => return Err(TrustError::IssuerEquivocates(sequence)),
            None => {}
        }
        let allowed = usize::try_from(limit).unwrap_or(usize::MAX);
        if self.by_sequence.len() < allowed {
            return Ok(true);
        }
        let begins = issued.not_before;
        let (from, until) = (begins.minus(HOUR_S - 1), begins.plus(HOUR_S - 1));
        let near = self.by_beginning.range((from, 0)..=(until, u64::MAX));
        let mut near: Vec<UnixSeconds> = near.map(|&(at, _)| at).collect();
        if near.len() < allowed {
            return Ok(true);
        }
        let place = near.partition_point(|at| *at <= begins);
        near.insert(place, begins);
        let within_an_hour = |window: &[UnixSeconds]| match window {
            [first, .., last] => last.0.saturating_sub(first.0) < HOUR_S,
            _ => true,
        };
        if near.windows(allowed.saturating_add(1)).any(within_an_hour) {
            return Err(TrustError::IssuerTooFast(limit));
        }
        Ok(true)
    }

    fn take(&mut self, sequence: u64, issued: Issued, limit: u64) -> Result<(), TrustError> {
        if self.judge(sequence, issued, limit)? {
            self.by_sequence.insert(sequence, issued);
            self.by_beginning.insert((issued.not_before, sequence));
            if self.by_sequence.len() > MAX_KNOWN_MEMBERSHIPS {
                self.forget();
            }
        }
        Ok(())
    }

    /// Forgets what cannot be in force any more and does not count for what may still come; where
    /// that is nothing, the lowest sequence.
    fn forget(&mut self) {
        let newest = self.by_beginning.last().map(|&(at, _)| at);
        let over = newest.unwrap_or_default().minus(HOUR_S);
        let beginnings = &mut self.by_beginning;
        self.by_sequence.retain(|&sequence, issued| {
            let keep = issued.not_after > over;
            if !keep {
                beginnings.remove(&(issued.not_before, sequence));
            }
            keep
        });
        while self.by_sequence.len() > MAX_KNOWN_MEMBERSHIPS {
            if let Some((sequence, issued)) = self.by_sequence.pop_first() {
                self.by_beginning.remove(&(issued.not_before, sequence));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: u64 = 1_800_000_000;
    const LIFE_S: u64 = 7 * 24 * HOUR_S;

    fn at(time: u64, byte: u8) -> Issued {
        Issued {
            not_before: UnixSeconds(time),
            not_after: UnixSeconds(time.saturating_add(LIFE_S)),
            content: Digest::from_bytes([byte; 32]),
        }
    }

    fn taken(pairs: impl IntoIterator<Item = (u64, u64)>, max: u64) -> Vec<&'static str> {
        let mut known = Known::default();
        let one = |(sequence, time)| {
            let taken = known.take(sequence, at(time, 0), max);
            taken.map_or_else(|e| e.reason(), |()| "taken")
        };
        pairs.into_iter().map(one).collect()
    }

    /// Ten that begin in the second `now`, then the one in question.
    fn after_ten(sequence: u64, time: u64) -> &'static str {
        let ten = (1..=10).map(|sequence| (sequence, START));
        let all = taken(ten.chain([(sequence, time)]), 10);
        assert!(all.iter().take(10).all(|outcome| *outcome == "taken"));
        all.last().unwrap()
    }

    #[test]
    fn so_many_begin_within_an_hour_whatever_their_sequences() {
        assert_eq!(after_ten(11, START), "issuer_too_fast");
        assert_eq!(after_ten(11, START + 3599), "issuer_too_fast");
        assert_eq!(after_ten(11, START + 3600), "taken");
        // Backdated, skipped ahead, in a place left out, at the ends of what there is.
        assert_eq!(after_ten(12, START - 3599), "issuer_too_fast");
        assert_eq!(after_ten(12, START - 3600), "taken");
        assert_eq!(after_ten(1 << 40, START + 1), "issuer_too_fast");
        assert_eq!(after_ten(0, START + 1), "issuer_too_fast");
        assert_eq!(after_ten(u64::MAX, START), "issuer_too_fast");
        assert_eq!(after_ten(u64::MAX, u64::MAX), "taken");
        assert_eq!(after_ten(0, 0), "taken");
        let unlimited = taken([(0, 0), (u64::MAX, u64::MAX)], u64::MAX);
        assert_eq!(unlimited, ["taken", "taken"]);
        assert_eq!(taken([(1, START)], 0), ["issuer_too_fast"]);
    }

    #[test]
    fn a_skipped_sequence_is_no_speed() {
        // Restored from a backup: far ahead, in the same minute.
        let all = taken([(41, START), (42 + (1 << 20), START + 60)], 2);
        assert_eq!(all, ["taken", "taken"]);
    }

    #[test]
    fn hours_overlap() {
        let spread = [(1, START), (2, START + 1800), (3, START + 3600)];
        assert_eq!(taken(spread, 2), ["taken"; 3]);
        // Between them: with either neighbour it is the third within an hour.
        let between = [
            (1, START),
            (2, START + 1800),
            (3, START + 3600),
            (4, START + 2700),
        ];
        assert_eq!(taken(between, 2)[3], "issuer_too_fast");
    }

    #[test]
    fn one_sequence_has_one_content() {
        let mut known = Known::default();
        assert_eq!(known.take(5, at(START, 1), 1), Ok(()));
        assert_eq!(known.take(5, at(START, 1), 1), Ok(()));
        let twice = known.take(5, at(START, 2), 1);
        assert_eq!(twice, Err(TrustError::IssuerEquivocates(5)));
        // A day later as well.
        let later = known.take(5, at(START + 24 * HOUR_S, 2), 1);
        assert_eq!(later, Err(TrustError::IssuerEquivocates(5)));
        assert_eq!(known.by_sequence.len(), known.by_beginning.len());
    }

    #[test]
    fn what_is_refused_leaves_no_trace() {
        let mut known = Known::default();
        known.take(1, at(START, 0), 1).unwrap();
        known.take(2, at(START, 0), 1).unwrap_err();
        known.take(2, at(START + HOUR_S, 0), 1).unwrap();
    }

    #[test]
    fn memory_is_bounded_and_the_ended_go_first() {
        let mut known = Known::default();
        let most = MAX_KNOWN_MEMBERSHIPS as u64;
        let mut short = at(START, 0);
        short.not_after = UnixSeconds(START + 60);
        known.take(most + 7, short, 10_000_000).unwrap();
        for sequence in 0..most {
            let begins = START + 2 * HOUR_S + sequence;
            known.take(sequence, at(begins, 0), 10_000_000).unwrap();
        }
        assert_eq!(known.by_sequence.len(), MAX_KNOWN_MEMBERSHIPS);
        assert!(!known.by_sequence.contains_key(&(most + 7)), "ended");
        assert!(known.by_sequence.contains_key(&0));
        let next = at(START + 2 * HOUR_S + most, 0);
        known.take(most, next, 10_000_000).unwrap();
        assert!(!known.by_sequence.contains_key(&0), "the lowest");
        assert_eq!(known.by_sequence.len(), MAX_KNOWN_MEMBERSHIPS);
        assert_eq!(known.by_beginning.len(), MAX_KNOWN_MEMBERSHIPS);
    }

    proptest! {
        #[test]
        fn honest_memberships_pass_in_any_order_and_any_part(
            pauses in proptest::collection::vec((0_u64..2000, 0_u64..5), 1..60),
            max in 1_u64..12,
            order in proptest::collection::vec(any::<prop::sample::Index>(), 60),
            part in 0_usize..60,
        ) {
            // An issuer that waits until fewer than `max` lie within the last hour, and leaves
            // sequences out.
            let mut issued: Vec<(u64, u64)> = Vec::new();
            let (mut now, mut sequence) = (START, 0);
            for (pause, skipped) in pauses {
                now += pause;
                sequence += 1 + skipped;
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
            issued.truncate(part.max(1));
            let all = taken(issued, max);
            prop_assert!(all.iter().all(|outcome| *outcome == "taken"), "{all:?}");
        }

        #[test]
        fn no_hour_ever_has_more(
            issued in proptest::collection::vec((0_u64..400, 0_u64..9000), 1..200),
            max in 1_u64..12,
        ) {
            let mut known = Known::default();
            for (sequence, time) in issued {
                let _ = known.take(sequence, at(START + time, 0), max);
            }
            let begins: Vec<u64> = known.by_beginning.iter().map(|(at, _)| at.0).collect();
            for from in &begins {
                let within = begins.iter().filter(|at| (*from..from + HOUR_S).contains(at));
                prop_assert!(within.count() as u64 <= max);
            }
        }
    }
}
