//! What calls are charged: the limits that policies set, counted by the node that decides.
//!
//! Windows are fixed and begin with the first call that opens one; a call is charged in full before
//! it goes on, its bytes too, and one that does not fit is charged nothing. What is counted is what
//! this node sees: a limit `per: mesh` holds at each node that enforces it, not over all of them
//! together. Counts are lost with the process. The table is bounded; when it is full of windows
//! that still run, nothing new is let in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::id::NodeId;
use protocol::name::Name;
use protocol::policy::{LimitUse, Per};
use protocol::time::UnixMillis;

/// Most windows and open calls counted at once: a thousand agents under sixteen limits each.
pub const MAX_CHARGED: usize = 16_384;

/// For whom a count is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Account {
    policy: String,
    node: Option<NodeId>,
    agent: Option<Name>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    until: UnixMillis,
    calls: u64,
    bytes: u64,
    open: u64,
}

/// Why a call may not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exceeded {
    /// The limit.
    pub limit: LimitUse,
    /// One line for people.
    pub message: String,
    /// Milliseconds until the window ends; absent where waiting for time does not help.
    pub retry_ms: Option<u64>,
}

/// All counts.
#[derive(Debug, Default, Clone)]
pub(super) struct Charges {
    windows: Arc<Mutex<HashMap<Account, Window>>>,
}

/// Calls that count as open until this is dropped.
#[derive(Debug, Default)]
pub struct Open {
    charges: Charges,
    accounts: Vec<Account>,
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut windows = self.charges.windows();
        for account in &self.accounts {
            if let Some(window) = windows.get_mut(account) {
                window.open = window.open.saturating_sub(1);
            }
        }
    }
}

impl Charges {
    fn windows(&self) -> MutexGuard<'_, HashMap<Account, Window>> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Charges a call of `bytes` by this agent against every one of `limits`, or none of them.
    ///
    /// # Errors
    /// [`Exceeded`], the limit with the strictest action that it does not fit.
    pub(super) fn charge(
        &self,
        limits: &[LimitUse],
        node: NodeId,
        agent: &Name,
        bytes: usize,
        now: UnixMillis,
    ) -> Result<Open, Exceeded> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let mut windows = self.windows();
        let mut refused: Option<Exceeded> = None;
        for limit in limits {
            let window = windows.get(&account(limit, node, agent)).copied();
            let Some(exceeded) = exceeds(limit, window, bytes, now) else {
                continue;
            };
            let stricter = |other: &Exceeded| other.limit.action < exceeded.limit.action;
            if refused.as_ref().is_none_or(stricter) {
                refused = Some(exceeded);
            }
        }
        if let Some(exceeded) = refused {
            return Err(exceeded);
        }
        make_room(&mut windows, limits, now)?;
        let mut accounts = Vec::new();
        for limit in limits {
            let account = account(limit, node, agent);
            let window = windows.entry(account.clone()).or_insert(Window {
                until: UnixMillis(0),
                calls: 0,
                bytes: 0,
                open: 0,
            });
            if window.until <= now {
                window.until =
                    UnixMillis(now.0.saturating_add(limit.window_s.saturating_mul(1000)));
                (window.calls, window.bytes) = (0, 0);
            }
            window.calls = window.calls.saturating_add(1);
            window.bytes = window.bytes.saturating_add(bytes);
            window.open = window.open.saturating_add(1);
            accounts.push(account);
        }
        drop(windows);
        Ok(Open {
            charges: self.clone(),
            accounts,
        })
    }
}

fn account(limit: &LimitUse, node: NodeId, agent: &Name) -> Account {
    Account {
        policy: limit.policy.clone(),
        node: (limit.per != Per::Mesh).then_some(node),
        agent: (limit.per == Per::Agent).then(|| agent.clone()),
    }
}

fn exceeds(
    limit: &LimitUse,
    window: Option<Window>,
    bytes: u64,
    now: UnixMillis,
) -> Option<Exceeded> {
    let open = window.map_or(0, |w| w.open);
    let running = window.filter(|w| w.until > now);
    let (calls, held) = running.map_or((0, 0), |w| (w.calls, w.bytes));
    let retry = running.map(|w| w.until.0.saturating_sub(now.0));
    let (policy, window_s) = (&limit.policy, limit.window_s);
    let told = |message: String, retry_ms| Exceeded {
        limit: limit.clone(),
        message,
        retry_ms,
    };
    if let Some(most) = limit.concurrent.filter(|most| open >= *most) {
        let message = format!("policy `{policy}` allows {most} calls at once");
        return Some(told(message, None));
    }
    if let Some(most) = limit.calls.filter(|most| calls >= *most) {
        let message = format!("policy `{policy}` allows {most} calls in {window_s} s");
        return Some(told(message, retry));
    }
    let most = limit
        .bytes
        .filter(|most| held.saturating_add(bytes) > *most)?;
    let message = format!("policy `{policy}` allows {most} bytes in {window_s} s");
    Some(told(message, retry))
}

/// Forgets windows that ended, if room is needed.
fn make_room(
    windows: &mut HashMap<Account, Window>,
    limits: &[LimitUse],
    now: UnixMillis,
) -> Result<(), Exceeded> {
    if windows.len().saturating_add(limits.len()) <= MAX_CHARGED {
        return Ok(());
    }
    windows.retain(|_, window| window.open > 0 || window.until > now);
    match limits.first() {
        Some(limit) if windows.len().saturating_add(limits.len()) > MAX_CHARGED => Err(Exceeded {
            limit: limit.clone(),
            message: "this node counts as many callers as it can; try later".to_owned(),
            retry_ms: None,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use protocol::policy::Action;

    use super::*;

    fn limit(policy: &str, per: Per) -> LimitUse {
        LimitUse {
            policy: policy.to_owned(),
            per,
            calls: None,
            bytes: None,
            window_s: 60,
            concurrent: None,
            action: Action::Block,
        }
    }

    fn node(byte: u8) -> NodeId {
        NodeId::from_bytes([byte; 32])
    }

    fn agent(name: &str) -> Name {
        name.parse().unwrap()
    }

    const NOW: UnixMillis = UnixMillis(1_000_000);
    const LATER: UnixMillis = UnixMillis(1_060_000);

    #[test]
    fn a_window_ends_and_begins_anew() {
        let charges = Charges::default();
        let limits = [LimitUse {
            calls: Some(2),
            ..limit("p", Per::Agent)
        }];
        let charge = |now| charges.charge(&limits, node(1), &agent("a"), 10, now);
        charge(NOW).unwrap();
        charge(UnixMillis(NOW.0 + 1)).unwrap();
        let exceeded = charge(UnixMillis(NOW.0 + 20_000)).unwrap_err();
        assert_eq!(exceeded.message, "policy `p` allows 2 calls in 60 s");
        assert_eq!(exceeded.retry_ms, Some(40_000));
        charge(LATER).unwrap();
    }

    #[test]
    fn whom_it_counts_for_is_what_the_limit_says() {
        let of = |per| {
            [LimitUse {
                calls: Some(1),
                ..limit("p", per)
            }]
        };
        for (per, other_agent, other_node) in [
            (Per::Agent, true, true),
            (Per::Node, false, true),
            (Per::Mesh, false, false),
        ] {
            let charges = Charges::default();
            let charge = |n, a| charges.charge(&of(per), node(n), &agent(a), 1, NOW).is_ok();
            assert!(charge(1, "a"));
            assert!(!charge(1, "a"), "{per:?}");
            assert_eq!(charge(1, "b"), other_agent, "{per:?}");
            assert_eq!(charge(2, "a"), other_node, "{per:?}");
        }
    }

    #[test]
    fn bytes_are_counted_and_a_refused_call_costs_nothing() {
        let charges = Charges::default();
        let limits = [
            LimitUse {
                bytes: Some(100),
                ..limit("bytes", Per::Agent)
            },
            LimitUse {
                calls: Some(3),
                ..limit("calls", Per::Agent)
            },
        ];
        let charge = |bytes| charges.charge(&limits, node(1), &agent("a"), bytes, NOW);
        charge(60).unwrap();
        for _ in 0..5 {
            let exceeded = charge(60).unwrap_err();
            assert_eq!(exceeded.limit.policy, "bytes");
        }
        charge(20).unwrap();
        charge(20).unwrap();
        assert_eq!(charge(0).unwrap_err().limit.policy, "calls");
    }

    #[test]
    fn a_call_counts_as_open_until_it_ends() {
        let charges = Charges::default();
        let limits = [LimitUse {
            concurrent: Some(2),
            ..limit("p", Per::Node)
        }];
        let charge = || charges.charge(&limits, node(1), &agent("a"), 1, NOW);
        let (first, second) = (charge().unwrap(), charge().unwrap());
        assert_eq!(charge().unwrap_err().retry_ms, None);
        drop(first);
        let third = charge().unwrap();
        assert!(charge().is_err());
        // A new window does not end what is open.
        assert!(
            charges
                .charge(&limits, node(1), &agent("a"), 1, LATER)
                .is_err()
        );
        drop((second, third));
        charge().unwrap();
    }

    #[test]
    fn the_strictest_of_several_is_named() {
        let charges = Charges::default();
        let limits = [
            LimitUse {
                calls: Some(0),
                ..limit("mild", Per::Agent)
            },
            LimitUse {
                calls: Some(0),
                action: Action::Sever,
                ..limit("strict", Per::Agent)
            },
        ];
        let exceeded = charges
            .charge(&limits, node(1), &agent("a"), 1, NOW)
            .unwrap_err();
        assert_eq!(exceeded.limit.policy, "strict");
    }

    #[test]
    fn the_table_is_bounded_and_forgets_what_ended() {
        let charges = Charges::default();
        let limits = [LimitUse {
            calls: Some(1),
            ..limit("p", Per::Agent)
        }];
        for number in 0..MAX_CHARGED {
            let name = agent(&format!("a{number}"));
            charges.charge(&limits, node(1), &name, 1, NOW).unwrap();
        }
        assert!(
            charges
                .charge(&limits, node(1), &agent("new"), 1, NOW)
                .is_err()
        );
        charges
            .charge(&limits, node(1), &agent("new"), 1, LATER)
            .unwrap();
        assert!(charges.windows().len() < 10);
    }
}
