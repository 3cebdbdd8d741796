//! Who may see the page: one-time codes, and the browser sessions they are exchanged for.
//!
//! A code is 256 random bits, works once and for [`CODE_LIFE`]; a session's token too, for
//! [`SESSION_LIFE`]. Only labelled digests are kept, and none outlives the process. Lookups take
//! the same time whichever entry matches. A session belongs to a path of its own (its *door*), so
//! that a browser shows the cookie neither to another service on this host nor to another node's
//! page: cookies know no ports.
//!
//! It does no I/O; time is an argument. Time is the process's own, so that a clock that is set back
//! lengthens nothing.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use protocol::crypto::domain::{self, Label};
use protocol::crypto::{Crypto, CryptoError};
use protocol::id::Digest;
use subtle::ConstantTimeEq;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::limits::{MAX_CODES, MAX_SESSIONS};

/// How long a one-time code works.
pub const CODE_LIFE: Duration = Duration::from_secs(60);

/// How long a browser session lasts.
pub const SESSION_LIFE: Duration = Duration::from_secs(12 * 3600);

/// How long a code is remembered, so that one used twice or too late is told from one made up.
const CODE_MEMORY: Duration = Duration::from_secs(15 * 60);

/// Bytes of a code and of a session's token.
const SECRET_LEN: usize = 32;

/// Bytes of a door.
const DOOR_LEN: usize = 8;

/// Why somebody may not see the page.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// No code of this node, or one long forgotten.
    #[error("this login code is not known here")]
    UnknownCode,
    /// The code was used before.
    #[error("this login code was used already; a code works once")]
    UsedCode,
    /// The code is too old.
    #[error("this login code is too old; a code works for {} seconds", CODE_LIFE.as_secs())]
    ExpiredCode,
    /// No session of this door, or one that is over.
    #[error("this browser is not signed in, or its session is over")]
    NoSession,
    /// No randomness for a secret.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

/// A session just made. The token is wiped when dropped and never shown by `Debug`.
pub struct NewSession {
    /// The cookie's value.
    pub token: Zeroizing<String>,
    /// The path it belongs to, without slashes.
    pub door: String,
}

impl core::fmt::Debug for NewSession {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("NewSession(redacted)")
    }
}

/// A session that is on.
#[derive(Debug, Clone)]
pub struct Visit {
    /// Cancelled when an operator ends it, or when it makes room for another.
    pub ended: CancellationToken,
    /// When it is over.
    pub until: Instant,
}

struct Code {
    digest: Digest,
    made: Instant,
    used: bool,
}

struct Session {
    digest: Digest,
    door: String,
    visit: Visit,
}

#[derive(Default)]
struct State {
    codes: VecDeque<Code>,
    sessions: VecDeque<Session>,
}

/// The codes and sessions of one page.
pub struct Access {
    crypto: Arc<dyn Crypto>,
    state: Mutex<State>,
}

impl Access {
    /// Nobody gets in yet.
    #[must_use]
    pub fn new(crypto: Arc<dyn Crypto>) -> Self {
        Self {
            crypto,
            state: Mutex::default(),
        }
    }

    /// Makes a code.
    ///
    /// # Errors
    /// [`CryptoError::NoRandomness`].
    pub fn issue(&self, now: Instant) -> Result<Zeroizing<String>, CryptoError> {
        let code = self.draw::<SECRET_LEN>()?;
        let mut state = self.state(now);
        if state.codes.len() >= MAX_CODES {
            state.codes.pop_front();
        }
        state.codes.push_back(Code {
            digest: self.digest(domain::PAGE_CODE, &code),
            made: now,
            used: false,
        });
        Ok(code)
    }

    /// Exchanges a code for a session, once.
    ///
    /// # Errors
    /// [`AccessError`]; the code is used up only if a session was made of it.
    pub fn exchange(&self, code: &str, now: Instant) -> Result<NewSession, AccessError> {
        let token = self.draw::<SECRET_LEN>()?;
        let door = self.draw::<DOOR_LEN>()?.as_str().to_owned();
        let digest = self.digest(domain::PAGE_CODE, code);
        let mut state = self.state(now);
        // No early exit: the time taken does not depend on which entry matches.
        let mut found = None;
        for known in &mut state.codes {
            if bool::from(known.digest.as_bytes().ct_eq(digest.as_bytes())) {
                found = Some(known);
            }
        }
        let known = found.ok_or(AccessError::UnknownCode)?;
        if known.used {
            return Err(AccessError::UsedCode);
        }
        if now.duration_since(known.made) >= CODE_LIFE {
            return Err(AccessError::ExpiredCode);
        }
        known.used = true;
        if state.sessions.len() >= MAX_SESSIONS
            && let Some(oldest) = state.sessions.pop_front()
        {
            oldest.visit.ended.cancel();
        }
        state.sessions.push_back(Session {
            digest: self.digest(domain::PAGE_SESSION, &token),
            door: door.clone(),
            visit: Visit {
                ended: CancellationToken::new(),
                until: now + SESSION_LIFE,
            },
        });
        Ok(NewSession { token, door })
    }

    /// The session at a door that one of the tokens is of: a browser may show some that others
    /// gave it.
    ///
    /// # Errors
    /// [`AccessError::NoSession`].
    pub fn visit<'a>(
        &self,
        tokens: impl IntoIterator<Item = &'a str>,
        door: &str,
        now: Instant,
    ) -> Result<Visit, AccessError> {
        let state = self.state(now);
        let mut found = None;
        for token in tokens {
            let digest = self.digest(domain::PAGE_SESSION, token);
            for session in &state.sessions {
                let same = bool::from(session.digest.as_bytes().ct_eq(digest.as_bytes()));
                if same && session.door == door {
                    found = Some(session.visit.clone());
                }
            }
        }
        found.ok_or(AccessError::NoSession)
    }

    /// Ends every session and voids every code; how many sessions there were.
    pub fn revoke(&self, now: Instant) -> usize {
        let mut state = self.state(now);
        for code in &mut state.codes {
            code.used = true;
        }
        let ended = state.sessions.len();
        for session in state.sessions.drain(..) {
            session.visit.ended.cancel();
        }
        ended
    }

    /// The state without what is over.
    fn state(&self, now: Instant) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state
            .codes
            .retain(|code| now.duration_since(code.made) < CODE_MEMORY);
        state.sessions.retain(|session| {
            let on = now < session.visit.until;
            if !on {
                session.visit.ended.cancel();
            }
            on
        });
        state
    }

    fn draw<const N: usize>(&self) -> Result<Zeroizing<String>, CryptoError> {
        let mut secret = Zeroizing::new([0_u8; N]);
        self.crypto.fill_random(secret.as_mut_slice())?;
        Ok(Zeroizing::new(hex::encode(secret.as_slice())))
    }

    fn digest(&self, label: Label, text: &str) -> Digest {
        Digest::over(&*self.crypto, label, &[text.as_bytes()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::fake::FakeCrypto;

    fn access() -> Access {
        Access::new(Arc::new(FakeCrypto::default()))
    }

    #[test]
    fn a_code_works_once_and_says_so_afterwards() {
        let (access, now) = (access(), Instant::now());
        let code = access.issue(now).unwrap();
        assert_eq!(code.len(), 2 * SECRET_LEN);
        let session = access.exchange(&code, now).unwrap();
        assert_eq!(
            access.exchange(&code, now).unwrap_err(),
            AccessError::UsedCode
        );
        // Whoever came second ended nothing of whoever came first.
        access
            .visit([session.token.as_str()], &session.door, now)
            .unwrap();
    }

    #[test]
    fn a_code_ends_after_a_minute_and_an_invented_one_is_none() {
        let (access, now) = (access(), Instant::now());
        let code = access.issue(now).unwrap();
        let late = now + CODE_LIFE;
        assert_eq!(
            access.exchange(&code, late).unwrap_err(),
            AccessError::ExpiredCode
        );
        for made_up in ["", "0", &code[1..], &code.to_uppercase()] {
            assert_eq!(
                access.exchange(made_up, now).unwrap_err(),
                AccessError::UnknownCode,
                "{made_up}"
            );
        }
        access
            .exchange(&code, late - Duration::from_millis(1))
            .unwrap();
    }

    #[test]
    fn a_session_is_of_one_door_and_ends_after_its_life() {
        let (access, now) = (access(), Instant::now());
        let first = access.exchange(&access.issue(now).unwrap(), now).unwrap();
        let second = access.exchange(&access.issue(now).unwrap(), now).unwrap();
        let visit = access
            .visit([first.token.as_str()], &first.door, now)
            .unwrap();
        for (token, door) in [(&first.token, &second.door), (&second.token, &first.door)] {
            let refused = access.visit([token.as_str()], door, now).unwrap_err();
            assert_eq!(refused, AccessError::NoSession);
        }
        let over = now + SESSION_LIFE;
        assert!(
            access
                .visit([first.token.as_str()], &first.door, over)
                .is_err()
        );
        assert!(visit.ended.is_cancelled(), "its streams end with it");
    }

    #[test]
    fn revoking_ends_sessions_and_voids_codes() {
        let (access, now) = (access(), Instant::now());
        let session = access.exchange(&access.issue(now).unwrap(), now).unwrap();
        let visit = access
            .visit([session.token.as_str()], &session.door, now)
            .unwrap();
        let waiting = access.issue(now).unwrap();
        assert_eq!(access.revoke(now), 1);
        assert!(visit.ended.is_cancelled());
        assert!(
            access
                .visit([session.token.as_str()], &session.door, now)
                .is_err()
        );
        assert!(access.exchange(&waiting, now).is_err());
        assert_eq!(access.revoke(now), 0);
    }

    #[test]
    fn sessions_and_codes_are_bounded() {
        let (access, now) = (access(), Instant::now());
        let first = access.exchange(&access.issue(now).unwrap(), now).unwrap();
        for _ in 0..MAX_SESSIONS {
            access.exchange(&access.issue(now).unwrap(), now).unwrap();
        }
        assert!(
            access
                .visit([first.token.as_str()], &first.door, now)
                .is_err()
        );
        let oldest = access.issue(now).unwrap();
        for _ in 0..MAX_CODES {
            access.issue(now).unwrap();
        }
        assert_eq!(
            access.exchange(&oldest, now).unwrap_err(),
            AccessError::UnknownCode
        );
    }

    #[test]
    fn no_secret_is_in_debug_output() {
        let (access, now) = (access(), Instant::now());
        let session = access.exchange(&access.issue(now).unwrap(), now).unwrap();
        assert!(!format!("{session:?}").contains(session.token.as_str()));
    }
}
