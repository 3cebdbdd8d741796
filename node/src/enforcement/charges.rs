//! What calls are charged: the limits that policies set, counted by the node that decides.
//!
//! Windows are fixed and begin with the first call that opens one; a call is charged in full before
//! it goes on, its bytes too, and its result before that is handed on. What does not fit is charged
//! nothing, and does not pass unless the limit only alerts. What is counted is what this node sees:
//! a limit `per: mesh` holds at each node that enforces it, not over all of them together. A limit
//! whose terms change is counted anew; one that stays as it is goes on counting under a new bundle.
//! Counts are lost with the process. The table is bounded; when it is full of windows that still
//! run, nothing new is let in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::id::NodeId;
use protocol::name::Name;
use protocol::policy::{Action, LimitUse, Per};
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

/// What a window was opened under. Who has other terms now has another window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Terms {
    window_s: u64,
    calls: Option<u64>,
    bytes: Option<u64>,
}

impl Terms {
    const fn of(limit: &LimitUse) -> Self {
        Self {
            window_s: limit.window_s,
            calls: limit.calls,
            bytes: limit.bytes,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Window {
    terms: Terms,
    until: UnixMillis,
    calls: u64,
    bytes: u64,
    /// Calls under way; these outlive the window.
    open: u64,
}

impl Window {
    /// One that is over.
    const fn over(limit: &LimitUse) -> Self {
        Self {
            terms: Terms::of(limit),
            until: UnixMillis(0),
            calls: 0,
            bytes: 0,
            open: 0,
        }
    }

    fn runs(&self, limit: &LimitUse, now: UnixMillis) -> bool {
        self.until > now && self.terms == Terms::of(limit)
    }

    /// Begins anew if it does not run.
    fn renew(&mut self, limit: &LimitUse, now: UnixMillis) {
        if !self.runs(limit, now) {
            let length_ms = limit.window_s.saturating_mul(1000);
            *self = Self {
                until: UnixMillis(now.0.saturating_add(length_ms)),
                open: self.open,
                ..Self::over(limit)
            };
        }
    }
}

/// What asks to be charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cost {
    /// A call that begins, of so many bytes.
    Call(usize),
    /// The result of one, of so many bytes.
    Result(usize),
}

impl Cost {
    fn bytes(self) -> u64 {
        let (Self::Call(bytes) | Self::Result(bytes)) = self;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// Whether it counts against this limit.
    const fn concerns(self, limit: &LimitUse) -> bool {
        match self {
            Self::Call(_) => true,
            Self::Result(_) => limit.bytes.is_some(),
        }
    }
}

/// What was charged.
#[derive(Debug)]
pub(super) struct Charged {
    /// What a call that begins counts as open against.
    pub open: Option<Open>,
    /// Policies whose limits it goes beyond, and that only want operators told.
    pub alerts: Vec<String>,
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

    /// Charges a call of this agent, or the result of one, against every one of `limits`, or none
    /// of them.
    ///
    /// # Errors
    /// [`Exceeded`], the limit with the strictest action that it does not fit.
    pub(super) fn charge(
        &self,
        limits: &[LimitUse],
        node: NodeId,
        agent: &Name,
        cost: Cost,
        now: UnixMillis,
    ) -> Result<Charged, Exceeded> {
        let mut windows = self.windows();
        let mut refused: Option<Exceeded> = None;
        let mut alerts = Vec::new();
        let concerned = || limits.iter().filter(|limit| cost.concerns(limit));
        for limit in concerned() {
            let window = windows.get(&account(limit, node, agent)).copied();
            let Some(exceeded) = exceeds(limit, window, cost, now) else {
                continue;
            };
            if limit.action == Action::Alert {
                alerts.push(limit.policy.clone());
                continue;
            }
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
        for limit in concerned() {
            let account = account(limit, node, agent);
            let window = windows
                .entry(account.clone())
                .or_insert_with(|| Window::over(limit));
            window.renew(limit, now);
            window.bytes = window.bytes.saturating_add(cost.bytes());
            if matches!(cost, Cost::Call(_)) {
                window.calls = window.calls.saturating_add(1);
                window.open = window.open.saturating_add(1);
                accounts.push(account);
            }
        }
        drop(windows);
        let open = matches!(cost, Cost::Call(_)).then(|| Open {
            charges: self.clone(),
            accounts,
        });
        Ok(Charged { open, alerts })
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
    cost: Cost,
    now: UnixMillis,
) -> Option<Exceeded> {
    let open = window.map_or(0, |w| w.open);
    let running = window.filter(|w| w.runs(limit, now));
    let (calls, held) = running.map_or((0, 0), |w| (w.calls, w.bytes));
    let retry = running.map(|w| w.until.0.saturating_sub(now.0));
    let (policy, window_s) = (&limit.policy, limit.window_s);
    let told = |message: String, retry_ms| Exceeded {
        limit: limit.clone(),
        message,
        retry_ms,
    };
    let begins = matches!(cost, Cost::Call(_));
    if let Some(most) = limit.concurrent.filter(|most| begins && open >= *most) {
        let message = format!("policy `{policy}` allows {most} calls at once");
        return Some(told(message, None));
    }
    if let Some(most) = limit.calls.filter(|most| begins && calls >= *most) {
        let message = format!("policy `{policy}` allows {most} calls in {window_s} s");
        return Some(told(message, retry));
    }
    let bytes = cost.bytes();
    let most = limit
        .bytes
        .filter(|most| held.saturating_add(bytes) > *most)?;
    let message = match cost {
        Cost::Call(_) => format!("policy `{policy}` allows {most} bytes in {window_s} s"),
        Cost::Result(_) => format!(
            "policy `{policy}` allows {most} bytes in {window_s} s, and the result has {bytes}"
        ),
    };
    // What is too much by itself is so in any window.
    Some(told(message, retry.filter(|_| bytes <= most)))
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
        let charge = |now| charges.charge(&limits, node(1), &agent("a"), Cost::Call(10), now);
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
            let charge = |n, a| charges.charge(&of(per), node(n), &agent(a), Cost::Call(1), NOW);
            charge(1, "a").unwrap();
            assert!(charge(1, "a").is_err(), "{per:?}");
            assert_eq!(charge(1, "b").is_ok(), other_agent, "{per:?}");
            assert_eq!(charge(2, "a").is_ok(), other_node, "{per:?}");
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
        let charge = |bytes| charges.charge(&limits, node(1), &agent("a"), Cost::Call(bytes), NOW);
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
    fn results_use_up_the_bytes_of_the_window() {
        for per in [Per::Agent, Per::Node, Per::Mesh] {
            let charges = Charges::default();
            let limits = [LimitUse {
                bytes: Some(1000),
                ..limit("p", per)
            }];
            let charge = |cost, now| charges.charge(&limits, node(1), &agent("a"), cost, now);
            charge(Cost::Call(100), NOW).unwrap();
            assert!(charge(Cost::Result(600), NOW).unwrap().open.is_none());
            charge(Cost::Call(100), NOW).unwrap();
            // Together they are too much, and nothing of it is counted.
            let exceeded = charge(Cost::Result(201), NOW).unwrap_err();
            assert_eq!(
                exceeded.message,
                "policy `p` allows 1000 bytes in 60 s, and the result has 201"
            );
            assert_eq!(exceeded.retry_ms, Some(60_000));
            charge(Cost::Result(200), NOW).unwrap();
            assert!(charge(Cost::Call(1), NOW).is_err(), "{per:?}");
            // No window has room for this one.
            let exceeded = charge(Cost::Result(1001), LATER).unwrap_err();
            assert_eq!(exceeded.retry_ms, None);
            // A result that comes after the window of its call counts in the next.
            charge(Cost::Result(950), LATER).unwrap();
            assert!(charge(Cost::Call(100), LATER).is_err(), "{per:?}");
        }
    }

    #[test]
    fn only_a_limit_of_bytes_counts_results() {
        let charges = Charges::default();
        let limits = [LimitUse {
            calls: Some(1),
            concurrent: Some(1),
            ..limit("p", Per::Agent)
        }];
        let charge = |cost| charges.charge(&limits, node(1), &agent("a"), cost, NOW);
        let _open = charge(Cost::Call(1)).unwrap();
        charge(Cost::Result(1 << 40)).unwrap();
        charge(Cost::Result(1)).unwrap();
    }

    #[test]
    fn a_limit_whose_terms_change_counts_anew() {
        let terms = |calls, bytes, window_s| LimitUse {
            calls,
            bytes,
            window_s,
            ..limit("p", Per::Node)
        };
        let before = terms(Some(2), None, 3600);
        for after in [
            terms(Some(2), None, 5),
            terms(Some(3), None, 3600),
            terms(Some(2), Some(1000), 3600),
        ] {
            let charges = Charges::default();
            let charge = |limit: &LimitUse, now| {
                let limits = core::slice::from_ref(limit);
                charges.charge(limits, node(1), &agent("a"), Cost::Call(1), now)
            };
            charge(&before, NOW).unwrap();
            charge(&before, NOW).unwrap();
            assert!(charge(&before, NOW).is_err());
            let most = after.calls.unwrap();
            for _ in 0..most {
                charge(&after, NOW).unwrap();
            }
            let exceeded = charge(&after, NOW).unwrap_err();
            assert_eq!(exceeded.retry_ms, Some(after.window_s * 1000));
            let over = UnixMillis(NOW.0 + after.window_s * 1000);
            charge(&after, over).unwrap();
        }
    }

    #[test]
    fn calls_at_once_are_counted_on_when_terms_change() {
        let charges = Charges::default();
        let limit = |calls| {
            [LimitUse {
                calls: Some(calls),
                concurrent: Some(1),
                ..limit("p", Per::Node)
            }]
        };
        let charge =
            |calls| charges.charge(&limit(calls), node(1), &agent("a"), Cost::Call(1), NOW);
        let open = charge(5).unwrap();
        assert!(charge(6).is_err());
        drop(open);
        charge(6).unwrap();
    }

    #[test]
    fn a_limit_that_only_alerts_counts_and_hides_no_other() {
        let charges = Charges::default();
        let limits = [
            LimitUse {
                calls: Some(1),
                action: Action::Alert,
                ..limit("tells", Per::Agent)
            },
            LimitUse {
                calls: Some(2),
                ..limit("stops", Per::Agent)
            },
        ];
        let charge = || charges.charge(&limits, node(1), &agent("a"), Cost::Call(1), NOW);
        assert!(charge().unwrap().alerts.is_empty());
        assert_eq!(charge().unwrap().alerts, ["tells"]);
        assert_eq!(charge().unwrap_err().limit.policy, "stops");
    }

    #[test]
    fn a_call_counts_as_open_until_it_ends() {
        let charges = Charges::default();
        let limits = [LimitUse {
            concurrent: Some(2),
            ..limit("p", Per::Node)
        }];
        let charge = || charges.charge(&limits, node(1), &agent("a"), Cost::Call(1), NOW);
        let (first, second) = (charge().unwrap(), charge().unwrap());
        assert_eq!(charge().unwrap_err().retry_ms, None);
        drop(first);
        let third = charge().unwrap();
        assert!(charge().is_err());
        // A new window does not end what is open.
        assert!(
            charges
                .charge(&limits, node(1), &agent("a"), Cost::Call(1), LATER)
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
            .charge(&limits, node(1), &agent("a"), Cost::Call(1), NOW)
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
            charges
                .charge(&limits, node(1), &name, Cost::Call(1), NOW)
                .unwrap();
        }
        assert!(
            charges
                .charge(&limits, node(1), &agent("new"), Cost::Call(1), NOW)
                .is_err()
        );
        charges
            .charge(&limits, node(1), &agent("new"), Cost::Call(1), LATER)
            .unwrap();
        assert!(charges.windows().len() < 10);
    }
}
