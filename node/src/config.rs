//! What the operator chose: file, then environment, then one validated value that never changes.
//!
//! The file is TOML with a section for each part of the node. A key that does not exist is an
//! error, never ignored: a misspelt limit is no limit. Every error is one line that names the
//! file or variable, the key, and how to mend it. Servers to attach and agents are not
//! configuration: commands add them to the store.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::state_dir::private::{self, PrivateError};

mod address;
pub mod environment;
mod relaying;
mod sections;
#[cfg(test)]
mod tests;
mod unknown;

pub use address::{AddressError, HostPort, StaticPeer};
pub use relaying::{Accepts, NodeRef, RelayingError};
pub use sections::{
    DEFAULT_GATEWAY_PORT, DEFAULT_PAGE_PORT, DEFAULT_PORT, DecisionsSection, GatewaySection,
    LimitsSection, LogFormat, LogSection, MAX_ACCEPTS, MAX_FILTER_BYTES, MAX_STATIC_PEERS,
    NodeSection, PageSection, PeersSection, RelaySection, StoreSection,
};

use sections::Sections;

/// Largest configuration file. The commented example has 1.5 kB; 256 static peers take 32 kB.
pub const MAX_CONFIG_BYTES: usize = 128 * 1024;

/// The commented example, which [`Config::example`] returns.
const EXAMPLE: &str = include_str!("config/example.toml");

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration `{}`: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file is a link, another user's, open to others' writing, or too large.
    #[error("cannot use the configuration: {0}")]
    File(#[from] PrivateError),
    /// The file has a key that does not exist.
    #[error("{}:{line}: unknown key `{key}`{}", path.display(), closest.as_ref().map(|c| format!(", did you mean `{c}`?")).unwrap_or_default())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The line, from 1; 0 if it could not be found.
        line: usize,
        /// The key, with its section.
        key: String,
        /// The most similar key there is.
        closest: Option<String>,
    },
    /// The file is not TOML, or a value has the wrong type or form.
    #[error("{}:{line}: {what}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        what: String,
    },
    /// An environment variable's value cannot be used.
    #[error("environment variable `{variable}`: {what}")]
    Variable {
        /// Its name.
        variable: &'static str,
        /// What is wrong with its value.
        what: String,
    },
    /// The gateway would be reachable from other hosts.
    #[error("`gateway.listen` must be a loopback address, `{found}` is not")]
    GatewayNotLoopback {
        /// The address.
        found: SocketAddr,
    },
    /// The status page would be reachable from other hosts.
    #[error("`page.listen` must be a loopback address, `{found}` is not")]
    PageNotLoopback {
        /// The address.
        found: SocketAddr,
    },
    /// A number is out of its range.
    #[error("`{key}` must be from {min} to {max}, it is {found}")]
    OutOfRange {
        /// The key.
        key: &'static str,
        /// The value.
        found: u32,
        /// The least.
        min: u32,
        /// The most.
        max: u32,
    },
    /// A list has too many entries.
    #[error("`{key}` has at most {max} entries, these are {found}")]
    TooMany {
        /// The key.
        key: &'static str,
        /// Entries found.
        found: usize,
        /// The most.
        max: usize,
    },
    /// A text is too long.
    #[error("`{key}` has at most {max} bytes, this one has {found}")]
    TooLong {
        /// The key.
        key: &'static str,
        /// Bytes found.
        found: usize,
        /// The most.
        max: usize,
    },
}

impl ConfigError {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreadable { path, source } => private::io_hint(path, source),
            Self::File(inner) => inner.hint(),
            Self::UnknownKey { closest: None, .. } => Some(
                "the sections are `node`, `gateway`, `page`, `store`, `decisions`, `log`, `limits`, \
                 `peers` and `relay`"
                    .to_owned(),
            ),
            Self::GatewayNotLoopback { .. } => Some(
                "use `127.0.0.1:PORT` or `[::1]:PORT`; other hosts run a node of their own"
                    .to_owned(),
            ),
            Self::PageNotLoopback { .. } => Some(
                "use `127.0.0.1:PORT` or `[::1]:PORT`; from elsewhere, forward that port over ssh"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

/// The configuration of one run: validated, and not changed afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    sections: Sections,
}

impl Config {
    /// Reads `path` if it exists (all defaults if not), applies the environment, validates.
    /// `variable` reads the environment.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(
        path: &Path,
        variable: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ConfigError> {
        let mut sections = match read(path)? {
            Some(text) => parse(path, &text)?,
            None => Sections::default(),
        };
        override_from(&mut sections, variable)?;
        sections.validate()?;
        Ok(Self { sections })
    }

    /// Parses the text of a configuration file, without the environment; `path` is for messages.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let sections = parse(path, text)?;
        sections.validate()?;
        Ok(Self { sections })
    }

    /// A commented configuration file with every key at its default.
    #[must_use]
    pub const fn example() -> &'static str {
        EXAMPLE
    }

    /// `[node]`.
    #[must_use]
    pub const fn node(&self) -> &NodeSection {
        &self.sections.node
    }

    /// `[gateway]`.
    #[must_use]
    pub const fn gateway(&self) -> &GatewaySection {
        &self.sections.gateway
    }

    /// `[page]`.
    #[must_use]
    pub const fn page(&self) -> &PageSection {
        &self.sections.page
    }

    /// `[store]`.
    #[must_use]
    pub const fn store(&self) -> &StoreSection {
        &self.sections.store
    }

    /// `[decisions]`.
    #[must_use]
    pub const fn decisions(&self) -> &DecisionsSection {
        &self.sections.decisions
    }

    /// `[log]`.
    #[must_use]
    pub const fn log(&self) -> &LogSection {
        &self.sections.log
    }

    /// `[limits]`.
    #[must_use]
    pub const fn limits(&self) -> &LimitsSection {
        &self.sections.limits
    }

    /// `[relay]`.
    #[must_use]
    pub const fn relay(&self) -> &RelaySection {
        &self.sections.relay
    }

    /// `[peers]`.
    #[must_use]
    pub const fn peers(&self) -> &PeersSection {
        &self.sections.peers
    }
}

/// The file's text; `None` when there is no file.
fn read(path: &Path) -> Result<Option<String>, ConfigError> {
    let bytes = match private::read_owned_file(path, MAX_CONFIG_BYTES) {
        Ok(bytes) => bytes,
        Err(PrivateError::Missing { .. }) => return Ok(None),
        Err(PrivateError::Io { path, source }) => {
            return Err(ConfigError::Unreadable { path, source });
        }
        Err(other) => return Err(other.into()),
    };
    match core::str::from_utf8(&bytes) {
        Ok(text) => Ok(Some(text.to_owned())),
        Err(error) => Err(ConfigError::Malformed {
            path: path.to_owned(),
            line: line_at(&bytes, error.valid_up_to()),
            what: "it is not UTF-8 text".to_owned(),
        }),
    }
}

fn parse(path: &Path, text: &str) -> Result<Sections, ConfigError> {
    let malformed = |error: toml::de::Error| ConfigError::Malformed {
        path: path.to_owned(),
        line: line_at(text.as_bytes(), error.span().map_or(0, |s| s.start)),
        what: one_line(error.message()),
    };
    let table: toml::Table = toml::from_str(text).map_err(malformed)?;
    if let Some((key, closest)) = unknown::first(&table) {
        return Err(ConfigError::UnknownKey {
            path: path.to_owned(),
            line: unknown::line_of(text, &key),
            key: one_line(&key),
            closest,
        });
    }
    toml::from_str(text).map_err(malformed)
}

/// The line, from 1, of a byte offset.
fn line_at(bytes: &[u8], offset: usize) -> usize {
    let before = bytes.iter().take(offset);
    before.filter(|b| **b == b'\n').count().saturating_add(1)
}

/// At most 200 printable characters on one line.
fn one_line(text: &str) -> String {
    let inert = |c: char| if c.is_control() { ' ' } else { c };
    text.trim().chars().map(inert).take(200).collect()
}

fn override_from(
    sections: &mut Sections,
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Result<(), ConfigError> {
    let read = |name| read_variable(name, variable);
    if let Some(text) = read(environment::LISTEN)? {
        sections.node.listen = parse_variable(environment::LISTEN, &text)?;
    }
    if let Some(text) = read(environment::ADVERTISE)? {
        sections.node.advertise = parse_list(environment::ADVERTISE, &text)?;
    }
    if let Some(text) = read(environment::GATEWAY_LISTEN)? {
        sections.gateway.listen = parse_variable(environment::GATEWAY_LISTEN, &text)?;
    }
    if let Some(text) = read(environment::PAGE_LISTEN)? {
        sections.page.listen = parse_variable(environment::PAGE_LISTEN, &text)?;
    }
    if let Some(text) = read(environment::PEERS)? {
        sections.peers.fixed = parse_list(environment::PEERS, &text)?;
    }
    if let Some(text) = read(environment::LOG)? {
        sections.log.filter = text;
    }
    if let Some(text) = read(environment::LOG_FORMAT)? {
        sections.log.format = match text.as_str() {
            "human" => LogFormat::Human,
            "json" => LogFormat::Json,
            other => {
                return Err(ConfigError::Variable {
                    variable: environment::LOG_FORMAT,
                    what: format!("`{}` is neither `human` nor `json`", one_line(other)),
                });
            }
        };
    }
    Ok(())
}

fn read_variable(
    name: &'static str,
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Option<String>, ConfigError> {
    let Some(value) = variable(name).filter(|v| !v.is_empty()) else {
        return Ok(None);
    };
    let text = value.into_string().map_err(|_| ConfigError::Variable {
        variable: name,
        what: "its value is not UTF-8 text".to_owned(),
    })?;
    Ok(Some(text))
}

fn parse_variable<T: core::str::FromStr<Err: core::fmt::Display>>(
    name: &'static str,
    text: &str,
) -> Result<T, ConfigError> {
    text.trim().parse().map_err(|error| ConfigError::Variable {
        variable: name,
        what: format!("`{}`: {error}", one_line(text)),
    })
}

fn parse_list<T: core::str::FromStr<Err: core::fmt::Display>>(
    name: &'static str,
    text: &str,
) -> Result<Vec<T>, ConfigError> {
    let items = text.split(',').map(str::trim).filter(|i| !i.is_empty());
    items.map(|item| parse_variable(name, item)).collect()
}
