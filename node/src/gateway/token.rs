//! Agent tokens: what turns a client on this host into an agent.
//!
//! A token is 256 random bits, shown once when it is made and stored only as a digest under its
//! own label. It proves an agent to its own node and nothing beyond; it never leaves the host.
//! Persisting the table is the caller's: [`TokenTable::list`] gives what to store,
//! [`TokenTable::restore`] takes it back.

use std::sync::{Arc, PoisonError, RwLock};

use protocol::crypto::{Crypto, CryptoError, domain};
use protocol::human::Human;
use protocol::id::Digest;
use protocol::name::Name;
use protocol::time::UnixMillis;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::session::Principal;

/// What every token starts with, so that secret scanners and people recognise one.
pub const TOKEN_PREFIX: &str = "hgr_";

/// Length of a token's text: the prefix and 64 hex digits.
pub const TOKEN_LEN: usize = TOKEN_PREFIX.len() + 64;

/// Most agents on one node. Every lookup compares with all of them.
pub const MAX_AGENTS: usize = 1024;

/// Says whose a token is.
pub trait AgentTokens: Send + Sync {
    /// The agent with this token; takes the same time for every token of the right length.
    fn agent(&self, token: &str) -> Option<Principal>;
}

/// A token just made. It is wiped when dropped and never shown by `Debug`.
pub struct Token(Zeroizing<String>);

impl Token {
    /// The text, to be shown to the operator once.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl core::fmt::Debug for Token {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Token(redacted)")
    }
}

/// The stored form of one agent's token.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AgentEntry {
    /// The agent's name.
    pub agent: Name,
    /// SHA-256 of the token's text under [`domain::AGENT_TOKEN`].
    pub digest: Digest,
    /// When the token was made.
    pub created: UnixMillis,
    /// The human it acts for; whoever shows the token is taken to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub human: Option<Human>,
}

/// Why the table was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// An agent has exactly one token.
    #[error("agent `{0}` exists; remove it first to give it a new token")]
    Exists(Name),
    /// No such agent.
    #[error("no agent `{0}`")]
    Unknown(Name),
    /// The table is full.
    #[error("a node has at most {MAX_AGENTS} agents")]
    Full,
    /// No randomness for the token.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

/// The agents of this node and the digests of their tokens.
pub struct TokenTable {
    crypto: Arc<dyn Crypto>,
    entries: RwLock<Vec<AgentEntry>>,
}

impl TokenTable {
    /// An empty table: nobody gets in.
    #[must_use]
    pub fn new(crypto: Arc<dyn Crypto>) -> Self {
        Self {
            crypto,
            entries: RwLock::default(),
        }
    }

    /// Takes back stored entries, replacing those in the table.
    ///
    /// # Errors
    /// [`TokenError::Full`] and [`TokenError::Exists`] for entries no table could have held.
    pub fn restore(&self, entries: Vec<AgentEntry>) -> Result<(), TokenError> {
        if entries.len() > MAX_AGENTS {
            return Err(TokenError::Full);
        }
        let mut names = std::collections::HashSet::new();
        if let Some(twice) = entries.iter().find(|e| !names.insert(&e.agent)) {
            return Err(TokenError::Exists(twice.agent.clone()));
        }
        *self.entries.write().unwrap_or_else(PoisonError::into_inner) = entries;
        Ok(())
    }

    /// Makes the token of a new agent, and binds it to the human it acts for, if any. Store the
    /// entry before showing the token.
    ///
    /// # Errors
    /// See [`TokenError`]; the table is then unchanged.
    pub fn add(
        &self,
        agent: Name,
        human: Option<Human>,
        now: UnixMillis,
    ) -> Result<(Token, AgentEntry), TokenError> {
        let mut secret = Zeroizing::new([0_u8; 32]);
        self.crypto.fill_random(secret.as_mut_slice())?;
        let digits = Zeroizing::new(hex::encode(secret.as_slice()));
        let text = Zeroizing::new(format!("{TOKEN_PREFIX}{}", digits.as_str()));
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if entries.iter().any(|e| e.agent == agent) {
            return Err(TokenError::Exists(agent));
        }
        if entries.len() >= MAX_AGENTS {
            return Err(TokenError::Full);
        }
        let entry = AgentEntry {
            agent,
            digest: self.digest(&text),
            created: now,
            human,
        };
        entries.push(entry.clone());
        Ok((Token(text), entry))
    }

    /// Removes an agent: its token is refused from the next request on. Its live sessions are
    /// [`crate::gateway::Gateway::close_agent`]'s to end.
    ///
    /// # Errors
    /// [`TokenError::Unknown`].
    pub fn remove(&self, agent: &Name) -> Result<(), TokenError> {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        let before = entries.len();
        entries.retain(|e| &e.agent != agent);
        if entries.len() == before {
            return Err(TokenError::Unknown(agent.clone()));
        }
        Ok(())
    }

    /// The entries, in the order they were made.
    #[must_use]
    pub fn list(&self) -> Vec<AgentEntry> {
        self.entries
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The human an agent acts for.
    #[must_use]
    pub fn human(&self, agent: &Name) -> Option<Human> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let found = entries.iter().find(|e| &e.agent == agent);
        found.and_then(|e| e.human.clone())
    }

    fn digest(&self, text: &str) -> Digest {
        Digest::over(&*self.crypto, domain::AGENT_TOKEN, &[text.as_bytes()])
    }
}

impl AgentTokens for TokenTable {
    fn agent(&self, token: &str) -> Option<Principal> {
        // The length of a valid token is public.
        if token.len() != TOKEN_LEN {
            return None;
        }
        let digest = self.digest(token);
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        // No early exit: the time taken does not depend on which entry matches.
        let mut found = None;
        for entry in entries.iter() {
            if bool::from(entry.digest.as_bytes().ct_eq(digest.as_bytes())) {
                found = Some(entry);
            }
        }
        found.map(|entry| Principal {
            agent: entry.agent.clone(),
            human: entry.human.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::fake::FakeCrypto;

    fn table() -> TokenTable {
        TokenTable::new(Arc::new(FakeCrypto::default()))
    }

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn a_token_names_its_agent_and_no_other_text_does() {
        let table = table();
        let ada: Human = "ada@example.org".parse().unwrap();
        let (first, entry) = table.add(name("first"), None, UnixMillis(7)).unwrap();
        let (second, _) = table
            .add(name("second"), Some(ada.clone()), UnixMillis(8))
            .unwrap();
        assert!(first.reveal().starts_with(TOKEN_PREFIX));
        assert_eq!(first.reveal().len(), TOKEN_LEN);
        assert_ne!(first.reveal(), second.reveal());
        assert_eq!(table.agent(first.reveal()).unwrap().agent, name("first"));
        assert_eq!(table.agent(first.reveal()).unwrap().human, None);
        let second = table.agent(second.reveal()).unwrap();
        assert_eq!(
            (second.agent, second.human.as_ref()),
            (name("second"), Some(&ada))
        );
        assert_eq!(table.human(&name("second")), Some(ada));
        assert_eq!(table.human(&name("first")), None);
        let mut other = first.reveal().to_owned();
        other.pop();
        other.push(if first.reveal().ends_with('0') {
            '1'
        } else {
            '0'
        });
        for wrong in ["", "hgr_", &other, &first.reveal().to_uppercase()] {
            assert_eq!(table.agent(wrong), None, "{wrong}");
        }
        assert_eq!(table.list().first(), Some(&entry));
    }

    #[test]
    fn a_removed_agent_has_no_token_any_more() {
        let table = table();
        let (token, _) = table.add(name("a"), None, UnixMillis(0)).unwrap();
        table.remove(&name("a")).unwrap();
        assert_eq!(table.agent(token.reveal()), None);
        assert_eq!(
            table.remove(&name("a")),
            Err(TokenError::Unknown(name("a")))
        );
    }

    #[test]
    fn an_agent_has_one_token() {
        let table = table();
        table.add(name("a"), None, UnixMillis(0)).unwrap();
        let again = table.add(name("a"), None, UnixMillis(0));
        assert!(matches!(again, Err(TokenError::Exists(_))));
    }

    #[test]
    fn a_stored_table_comes_back() {
        let table = table();
        let (token, entry) = table.add(name("a"), None, UnixMillis(3)).unwrap();
        let back = self::table();
        back.restore(table.list()).unwrap();
        assert_eq!(back.agent(token.reveal()).unwrap().agent, name("a"));
        let twice = back.restore(vec![entry.clone(), entry.clone()]);
        assert_eq!(twice, Err(TokenError::Exists(name("a"))));
        let full = back.restore(vec![entry; MAX_AGENTS + 1]);
        assert_eq!(full, Err(TokenError::Full));
    }

    #[test]
    fn the_secret_is_in_no_debug_output() {
        let (token, entry) = table().add(name("a"), None, UnixMillis(0)).unwrap();
        let shown = format!("{token:?} {entry:?}");
        assert!(!shown.contains(token.reveal()), "{shown}");
    }
}
