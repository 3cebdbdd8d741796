//! How many join streams are served: of one source, and in all.
//!
//! Newcomers cost an issuer signatures and a write before they are known to be worth it. As OpenSSH
//! does it, beyond a few at once some are refused at random and beyond [`STREAMS_FULL`] all; one
//! source has a rate, and penalties for what an honest one never sends. Members have places of
//! their own. Memory is bounded: [`SOURCES`] sources, after that one place that all new ones share.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use protocol::crypto::Crypto;
use protocol::id::NodeId;

use super::desk::Source;
use super::limits::{
    MAX_PENALTY, MEMBER_SHARE, MEMBER_STREAMS, PENALTY, REFUSED_PERCENT, SOURCE_BURST, SOURCE_RATE,
    SOURCES, STREAMS_FREE, STREAMS_FULL,
};

/// Shortest time between two looks for sources that need no record any more.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// What is remembered of a source.
#[derive(Debug, Clone, Copy)]
struct Record {
    /// When its bucket is full again.
    full_at: Instant,
    /// Until when it is not served.
    barred_until: Instant,
}

#[derive(Default)]
struct State {
    newcomers: usize,
    /// By member, all of them together at most [`MEMBER_STREAMS`].
    members: HashMap<NodeId, usize>,
    sources: Sources,
}

#[derive(Default)]
struct Sources {
    /// `None` is the place shared by all that found the table full.
    records: HashMap<Option<IpAddr>, Record>,
    /// When those that need no record any more were last looked for.
    swept: Option<Instant>,
}

/// See the module.
pub(super) struct Throttle {
    crypto: Arc<dyn Crypto>,
    state: Mutex<State>,
}

/// A place among the join streams under way; given back when dropped.
pub(super) struct Place<'t> {
    throttle: &'t Throttle,
    member: Option<NodeId>,
}

impl Throttle {
    pub(super) fn new(crypto: Arc<dyn Crypto>) -> Self {
        Self {
            crypto,
            state: Mutex::default(),
        }
    }

    /// A place for one more stream of this source, unless there is none.
    pub(super) fn enter(&self, source: &Source, now: Instant) -> Option<Place<'_>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let member = match source {
            Source::Member(node) => {
                let held = state.members.get(node).copied().unwrap_or_default();
                let all: usize = state.members.values().sum();
                if all >= MEMBER_STREAMS || held >= MEMBER_SHARE {
                    return None;
                }
                state.members.insert(*node, held + 1);
                Some(*node)
            }
            Source::Newcomer(address) => {
                if !allowed(&mut state.sources, *address, now) || !self.drawn_in(state.newcomers) {
                    return None;
                }
                state.newcomers += 1;
                None
            }
        };
        Some(Place {
            throttle: self,
            member,
        })
    }

    /// Random early drop: free below [`STREAMS_FREE`], none from [`STREAMS_FULL`] on.
    fn drawn_in(&self, under_way: usize) -> bool {
        if under_way < STREAMS_FREE {
            return true;
        }
        if under_way >= STREAMS_FULL {
            return false;
        }
        let over = under_way - STREAMS_FREE;
        let rise = (100 - REFUSED_PERCENT) * over / (STREAMS_FULL - STREAMS_FREE);
        let mut random = [0; 1];
        // Without randomness none of these is served.
        let drawn = self.crypto.fill_random(&mut random).is_ok();
        let [random] = random;
        drawn && usize::from(random) * 100 / 256 >= REFUSED_PERCENT + rise
    }

    /// Makes a source wait for what an honest one never sends.
    pub(super) fn punish(&self, source: &Source, now: Instant) {
        let Source::Newcomer(address) = source else {
            return;
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let record = record(&mut state.sources, *address, now);
        let until = record.barred_until.max(now) + PENALTY;
        record.barred_until = until.min(now + MAX_PENALTY);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let state = self.throttle.state.lock();
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        let Some(node) = self.member else {
            state.newcomers = state.newcomers.saturating_sub(1);
            return;
        };
        if let Some(held) = state.members.get_mut(&node) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                state.members.remove(&node);
            }
        }
    }
}

fn allowed(sources: &mut Sources, address: IpAddr, now: Instant) -> bool {
    let token = Duration::from_secs(1) / SOURCE_RATE;
    let depth = token * SOURCE_BURST;
    let record = record(sources, address, now);
    if record.barred_until > now {
        return false;
    }
    let full_at = record.full_at.max(now) + token;
    let allowed = full_at.saturating_duration_since(now) <= depth;
    if allowed {
        record.full_at = full_at;
    }
    allowed
}

fn record(sources: &mut Sources, address: IpAddr, now: Instant) -> &mut Record {
    let own = Some(source(address));
    let records = &mut sources.records;
    let known = records.contains_key(&own);
    // A look through a full table is itself work: a flood buys one now and then, not one each.
    let rested = sources.swept.is_none_or(|at| now >= at + SWEEP_EVERY);
    if !known && records.len() >= SOURCES && rested {
        sources.swept = Some(now);
        records.retain(|_, r| r.full_at > now || r.barred_until > now);
    }
    let place = if known || records.len() < SOURCES {
        own
    } else {
        None
    };
    records.entry(place).or_insert(Record {
        full_at: now,
        barred_until: now,
    })
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
    use hedgerow_crypto::Primitives;

    use super::*;

    fn throttle() -> Throttle {
        Throttle::new(Arc::new(Primitives))
    }

    fn newcomer(number: u32) -> Source {
        Source::Newcomer(IpAddr::V4(number.into()))
    }

    #[test]
    fn one_source_has_a_burst_and_then_a_rate() {
        let (throttle, now) = (throttle(), Instant::now());
        let one = newcomer(1);
        let served = |at| throttle.enter(&one, at).is_some();
        assert_eq!((0..20).filter(|_| served(now)).count(), 5);
        assert!(served(now + Duration::from_millis(50)));
        assert!(!served(now + Duration::from_millis(50)));
        assert!(throttle.enter(&newcomer(2), now).is_some());
    }

    #[test]
    fn a_flood_is_bounded_in_all_and_takes_no_member_s_place() {
        let (throttle, now) = (throttle(), Instant::now());
        let places: Vec<_> = (0..100_000)
            .filter_map(|number| throttle.enter(&newcomer(number), now))
            .collect();
        assert_eq!(places.len(), STREAMS_FULL);
        let of = |node: u8, streams: usize| -> Vec<_> {
            let member = Source::Member(NodeId::from_bytes([node; 32]));
            let enter = |_| throttle.enter(&member, now);
            (0..streams).filter_map(enter).collect()
        };
        let first = of(1, 100);
        assert_eq!(first.len(), MEMBER_SHARE);
        let others: Vec<_> = (2..100).map(|node| of(node, 1)).collect();
        let served: usize = others.iter().map(Vec::len).sum();
        assert_eq!(served, MEMBER_STREAMS - MEMBER_SHARE);
        assert!(throttle.state.lock().unwrap().sources.records.len() <= SOURCES + 1);
        drop(places);
        let later = now + Duration::from_secs(10);
        assert!(throttle.enter(&newcomer(7), later).is_some());
    }

    #[test]
    fn what_no_honest_source_sends_costs_time_up_to_a_bound() {
        let (throttle, now) = (throttle(), Instant::now());
        let one = newcomer(1);
        throttle.punish(&one, now);
        assert!(throttle.enter(&one, now + PENALTY / 2).is_none());
        assert!(throttle.enter(&one, now + PENALTY).is_some());
        for _ in 0..1000 {
            throttle.punish(&one, now);
        }
        assert!(throttle.enter(&one, now + MAX_PENALTY / 2).is_none());
        assert!(throttle.enter(&one, now + MAX_PENALTY).is_some());
    }
}
