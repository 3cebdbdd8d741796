//! What the clients of sessions that were cut off are told when they ask for them once more.
//!
//! A session ends at once, and most of its clients learn of that by their next request. Then it is
//! gone; why it is, is kept for as long as an agent is cut off, of so many sessions and no more.
//! Nothing is lost with it that holds: whoever is cut off is refused all the same.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::enforcement::SEVER_COOL_DOWN_MS;
use crate::session::{Principal, SessionError};

/// For how long it is kept.
const KEPT: Duration = Duration::from_millis(SEVER_COOL_DOWN_MS);

/// Of how many sessions. The oldest makes room.
const MAX_FAREWELLS: usize = 1024;

#[derive(Debug)]
struct Farewell {
    session: String,
    principal: Principal,
    why: SessionError,
    at: Instant,
}

/// The sessions that were cut off a moment ago.
#[derive(Debug, Default)]
pub(super) struct Farewells(Mutex<VecDeque<Farewell>>);

impl Farewells {
    /// Notes that a session was cut off now.
    pub(super) fn add(
        &self,
        session: String,
        principal: Principal,
        why: SessionError,
        at: Instant,
    ) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|old| at.saturating_duration_since(old.at) < KEPT);
        if kept.len() >= MAX_FAREWELLS {
            kept.pop_front();
        }
        kept.push_back(Farewell {
            session,
            principal,
            why,
            at,
        });
    }

    /// Why a session of this principal was cut off, if it was a moment ago. What was said then of
    /// the time that is left is dated.
    pub(super) fn find(
        &self,
        session: &str,
        principal: &Principal,
        now: Instant,
    ) -> Option<SessionError> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let farewell = kept
            .iter()
            .find(|f| f.session == session && f.principal == *principal)?;
        let ago = now.saturating_duration_since(farewell.at);
        if ago >= KEPT {
            return None;
        }
        let mut why = farewell.why.clone();
        let said = why.hint.as_deref().filter(|_| ago.as_secs() > 0);
        if let Some(hint) = said {
            why.hint = Some(format!("{} s ago: {hint}", ago.as_secs()));
        }
        Some(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::ErrorKind;

    fn principal(agent: &str) -> Principal {
        Principal {
            agent: agent.parse().unwrap(),
            human: None,
        }
    }

    #[test]
    fn it_is_told_to_its_own_client_for_a_while() {
        let (farewells, now) = (Farewells::default(), Instant::now());
        let why = SessionError::new(ErrorKind::Deny, "severed", "cut off").with_hint("wait 60 s");
        farewells.add("s".into(), principal("a"), why.clone(), now);
        let find = |session, agent, s| {
            let later = now + Duration::from_secs(s);
            farewells.find(session, &principal(agent), later)
        };
        assert_eq!(find("s", "a", 0), Some(why));
        let hint = find("s", "a", 7).unwrap().hint.unwrap();
        assert_eq!(hint, "7 s ago: wait 60 s");
        assert_eq!(find("s", "b", 0), None);
        assert_eq!(find("other", "a", 0), None);
        assert_eq!(find("s", "a", 60), None);
    }

    #[test]
    fn the_oldest_makes_room() {
        let (farewells, now) = (Farewells::default(), Instant::now());
        let why = SessionError::new(ErrorKind::Deny, "severed", "cut off");
        for number in 0..=MAX_FAREWELLS {
            farewells.add(number.to_string(), principal("a"), why.clone(), now);
        }
        assert_eq!(farewells.find("0", &principal("a"), now), None);
        assert!(farewells.find("1", &principal("a"), now).is_some());
    }
}
