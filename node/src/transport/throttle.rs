//! How often one source may start a handshake: a token bucket per source address, asked before
//! any cryptography.
//!
//! Sources can be forged, so it bounds honest-looking floods only; floods from forged addresses
//! meet the Retry of the accept loop. Memory is bounded by [`limits::SOURCES`], and no attempt costs
//! more than any other: nothing walks the table.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::limits;

/// How many handshakes one source may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceRate {
    /// Per second, sustained.
    pub per_second: u32,
    /// At once.
    pub burst: u32,
}

impl Default for SourceRate {
    fn default() -> Self {
        Self {
            per_second: limits::SOURCE_RATE,
            burst: limits::SOURCE_BURST,
        }
    }
}

/// The buckets of all sources, in two generations. A bucket is full at the latest [`Throttle::depth`]
/// after it was last drawn from; so when the younger generation has been the younger for that long,
/// all buckets of the older one are full and it is forgotten whole.
#[derive(Debug)]
pub(super) struct Throttle {
    rate: SourceRate,
    /// When each source's bucket is full again: those drawn from since [`Throttle::since`].
    young: HashMap<IpAddr, Instant>,
    /// Those drawn from in the generation before, and not since.
    old: HashMap<IpAddr, Instant>,
    /// Since when the younger generation is the younger.
    since: Option<Instant>,
    /// When the bucket is full again that all sources share which found no room.
    shared: Option<Instant>,
}

impl Throttle {
    pub(super) fn new(rate: SourceRate) -> Self {
        Self {
            rate,
            young: HashMap::new(),
            old: HashMap::new(),
            since: None,
            shared: None,
        }
    }

    /// Takes a token from the bucket of `address`; false when it is empty.
    pub(super) fn allow(&mut self, address: IpAddr, now: Instant) -> bool {
        self.age(now);
        let (source, token, depth) = (source(address), self.token(), self.depth());
        let full = self.old.remove(&source).unwrap_or(now);
        let room = self.young.len() + self.old.len() < limits::SOURCES;
        let bucket = match self.young.entry(source) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) if room => new.insert(full),
            Entry::Vacant(_) => self.shared.get_or_insert(now),
        };
        let full_at = (*bucket).max(now) + token;
        let allowed = full_at.saturating_duration_since(now) <= depth;
        if allowed {
            *bucket = full_at;
        }
        allowed
    }

    /// How long it takes for a token to come back.
    fn token(&self) -> Duration {
        Duration::from_secs(1) / self.rate.per_second.max(1)
    }

    /// How long it takes for an empty bucket to be full.
    fn depth(&self) -> Duration {
        self.token().saturating_mul(self.rate.burst)
    }

    /// Forgets the older generation when all its buckets are full.
    fn age(&mut self, now: Instant) {
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) >= self.depth() {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
            self.since = Some(now);
        }
    }
}

/// An IPv4 address, mapped ones included, or the /64 of an IPv6 address.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    const RATE: SourceRate = SourceRate {
        per_second: 10,
        burst: 3,
    };

    #[test]
    fn a_burst_then_the_rate() {
        let (mut throttle, now) = (Throttle::new(RATE), Instant::now());
        let address = "192.0.2.7".parse().unwrap();
        let burst = (0..10).filter(|_| throttle.allow(address, now)).count();
        assert_eq!(burst, 3);
        assert!(!throttle.allow(address, now + Duration::from_millis(99)));
        assert!(throttle.allow(address, now + Duration::from_millis(100)));
        assert!(throttle.allow("192.0.2.8".parse().unwrap(), now));
    }

    #[test]
    fn an_ipv6_network_is_one_source_and_mapped_addresses_are_ipv4() {
        let (mut throttle, now) = (Throttle::new(RATE), Instant::now());
        let allowed = (0..10_u16)
            .filter(|&host| {
                let address = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, host);
                throttle.allow(address.into(), now)
            })
            .count();
        assert_eq!(allowed, 3);
        let mapped = "::ffff:192.0.2.7".parse().unwrap();
        assert_eq!(source(mapped), "192.0.2.7".parse::<IpAddr>().unwrap());
    }

    fn known(throttle: &Throttle) -> usize {
        throttle.young.len() + throttle.old.len()
    }

    #[test]
    fn memory_is_bounded_and_a_full_table_still_throttles() {
        let (mut throttle, now) = (Throttle::new(RATE), Instant::now());
        let flood: u32 = 20_000;
        let allowed = (0..flood)
            .filter(|&number| throttle.allow(IpAddr::V4(number.into()), now))
            .count();
        assert_eq!(known(&throttle), limits::SOURCES);
        assert_eq!(allowed, limits::SOURCES + 3);
        // Sources with a bucket of their own are not kept out by those without.
        assert!(throttle.allow(IpAddr::V4(0.into()), now));
        let stranger = "203.0.113.9".parse().unwrap();
        assert!(!throttle.allow(stranger, now));
        let mut later = now;
        for _ in 0..2 {
            later += throttle.depth();
            assert!(throttle.allow(stranger, later));
        }
        assert_eq!(known(&throttle), 1, "full buckets are forgotten");
    }

    #[test]
    fn what_was_drawn_is_remembered_until_the_bucket_is_full_and_no_longer() {
        let (mut throttle, start) = (Throttle::new(RATE), Instant::now());
        let (depth, address) = (throttle.depth(), "192.0.2.7".parse().unwrap());
        // A generation begins, and the source draws just before its end.
        assert!(throttle.allow("192.0.2.1".parse().unwrap(), start));
        let drawn = start + depth - Duration::from_millis(1);
        assert!((0..3).all(|_| throttle.allow(address, drawn)));
        // The next generation knows it still; a token comes back in its time and not before.
        assert!(!throttle.allow(address, drawn + Duration::from_millis(99)));
        assert!(throttle.allow(address, drawn + Duration::from_millis(100)));
        assert!(!throttle.allow(address, drawn + Duration::from_millis(199)));
        let rested = drawn + Duration::from_millis(100) + depth;
        assert!((0..3).all(|_| throttle.allow(address, rested)));
        assert!(!throttle.allow(address, rested));
    }

    #[test]
    fn a_steady_flood_from_ever_new_sources_stays_bounded() {
        let (mut throttle, start) = (Throttle::new(RATE), Instant::now());
        for number in 0..200_000_u32 {
            let now = start + Duration::from_micros(number.into()) * 20;
            throttle.allow(IpAddr::V4(number.into()), now);
            assert!(known(&throttle) <= limits::SOURCES);
        }
    }
}
