//! How often one source may start a handshake: a token bucket per source address, asked before
//! any cryptography.
//!
//! Sources can be forged, so it bounds honest-looking floods only; floods from forged addresses
//! meet the Retry of the accept loop. Memory is bounded by [`limits::SOURCES`].

use std::collections::HashMap;
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

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// The moment at which the bucket is full again.
    full_at: Instant,
}

/// Whose bucket: `None` is the one all sources share that found the table full.
type Source = Option<IpAddr>;

/// The buckets of all sources.
#[derive(Debug)]
pub(super) struct Throttle {
    rate: SourceRate,
    buckets: HashMap<Source, Bucket>,
}

impl Throttle {
    pub(super) fn new(rate: SourceRate) -> Self {
        Self {
            rate,
            buckets: HashMap::new(),
        }
    }

    /// Takes a token from the bucket of `address`; false when it is empty.
    pub(super) fn allow(&mut self, address: IpAddr, now: Instant) -> bool {
        let token = Duration::from_secs(1) / self.rate.per_second.max(1);
        let depth = token.saturating_mul(self.rate.burst);
        let source = self.place(source(address), now);
        let bucket = self
            .buckets
            .entry(source)
            .or_insert(Bucket { full_at: now });
        let full_at = bucket.full_at.max(now) + token;
        let allowed = full_at.saturating_duration_since(now) <= depth;
        if allowed {
            bucket.full_at = full_at;
        }
        allowed
    }

    /// Finds room for `source`, forgetting those whose buckets are full.
    fn place(&mut self, source: IpAddr, now: Instant) -> Source {
        if self.buckets.contains_key(&Some(source)) {
            return Some(source);
        }
        if self.buckets.len() >= limits::SOURCES {
            self.buckets.retain(|_, bucket| bucket.full_at > now);
        }
        (self.buckets.len() < limits::SOURCES).then_some(source)
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

    #[test]
    fn memory_is_bounded_and_a_full_table_still_throttles() {
        let (mut throttle, now) = (Throttle::new(RATE), Instant::now());
        let allowed = (0..20_000_u32)
            .filter(|&number| throttle.allow(IpAddr::V4(number.into()), now))
            .count();
        assert!(throttle.buckets.len() <= limits::SOURCES + 1);
        assert!(allowed <= limits::SOURCES + 3, "{allowed}");
        let later = now + Duration::from_secs(10);
        assert!(throttle.allow("203.0.113.9".parse().unwrap(), later));
    }
}
