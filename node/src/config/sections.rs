//! The sections of the configuration file, their defaults and the bounds on their numbers.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::address::{HostPort, StaticPeer};
use super::relaying::{Accepts, NodeRef};

/// UDP port of the mesh unless configured.
pub const DEFAULT_PORT: u16 = 7443;

/// TCP port of the gateway unless configured.
pub const DEFAULT_GATEWAY_PORT: u16 = 7480;

/// TCP port of the status page unless configured.
pub const DEFAULT_PAGE_PORT: u16 = 7481;

/// Most static peers: more are a directory, which the mesh itself distributes.
pub const MAX_STATIC_PEERS: usize = 256;

/// Longest log filter, in bytes.
pub const MAX_FILTER_BYTES: usize = 1024;

/// `[node]`: the mesh port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodeSection {
    /// UDP address to listen on. Port 0 takes any free port.
    pub listen: SocketAddr,
    /// Addresses others reach this node at; empty means those it finds itself.
    pub advertise: Vec<HostPort>,
}

impl Default for NodeSection {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, DEFAULT_PORT)),
            advertise: Vec::new(),
        }
    }
}

/// `[gateway]`: where MCP clients of this host connect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GatewaySection {
    /// TCP address to listen on, loopback only. Port 0 takes any free port.
    pub listen: SocketAddr,
}

impl Default for GatewaySection {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_GATEWAY_PORT)),
        }
    }
}

/// `[page]`: the status page for this host's operators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PageSection {
    /// Whether there is one.
    pub enabled: bool,
    /// TCP address to listen on, loopback only. Port 0 takes any free port.
    pub listen: SocketAddr,
}

impl Default for PageSection {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PAGE_PORT)),
        }
    }
}

impl PageSection {
    /// Where it listens beside a gateway that listens on `gateway`: where the gateway takes any
    /// free port and nothing else was said of the page, so does the page, so that several nodes of
    /// one host need not be told apart twice.
    #[must_use]
    pub fn beside(&self, gateway: SocketAddr) -> SocketAddr {
        let mut listen = self.listen;
        if gateway.port() == 0 && self.listen == Self::default().listen {
            listen.set_port(0);
        }
        listen
    }
}

/// `[store]`: the store's memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreSection {
    /// Cache of the store, MiB, 1 to 1024.
    pub cache_mib: u32,
}

impl Default for StoreSection {
    fn default() -> Self {
        Self { cache_mib: 4 }
    }
}

impl StoreSection {
    /// The cache in bytes.
    #[must_use]
    pub fn cache_bytes(&self) -> usize {
        usize::try_from(self.cache_mib)
            .unwrap_or(usize::MAX)
            .saturating_mul(1024 * 1024)
    }
}

/// `[decisions]`: how long decision records are kept. The oldest are forgotten first, when either
/// bound is passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DecisionsSection {
    /// Days, 1 to 36,500.
    pub keep_days: u32,
    /// Most MiB of records, 1 to 1,048,576. The file takes more.
    pub max_mib: u32,
}

impl Default for DecisionsSection {
    fn default() -> Self {
        Self {
            keep_days: 365,
            max_mib: 1024,
        }
    }
}

impl DecisionsSection {
    /// The age after which a record is forgotten, in milliseconds.
    #[must_use]
    pub fn keep_ms(&self) -> u64 {
        u64::from(self.keep_days).saturating_mul(24 * 60 * 60 * 1000)
    }

    /// Most bytes of records.
    #[must_use]
    pub fn max_bytes(&self) -> u64 {
        u64::from(self.max_mib).saturating_mul(1024 * 1024)
    }
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// `[log]`: what is logged to standard error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSection {
    /// A `tracing` filter.
    pub filter: String,
    /// How lines look.
    pub format: LogFormat,
}

impl Default for LogSection {
    fn default() -> Self {
        Self {
            filter: "info".to_owned(),
            format: LogFormat::Human,
        }
    }
}

/// `[limits]`: how much at once. Each is a refusal with a name when it is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSection {
    /// MCP client sessions of the gateway at once, 1 to 10,000.
    pub client_sessions: u32,
    /// Seconds that calls in flight have to end when the node stops, 0 to 300.
    pub drain_s: u32,
}

impl Default for LimitsSection {
    fn default() -> Self {
        Self {
            client_sessions: 256,
            drain_s: 10,
        }
    }
}

/// `[peers]`: nodes to connect to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PeersSection {
    /// `ID@host:port` of each.
    #[serde(rename = "static")]
    pub fixed: Vec<StaticPeer>,
}

/// Most entries of `relay.accept`: more are better one group.
pub const MAX_ACCEPTS: usize = 64;

/// `[relay]`: calls carried between other nodes, and who carries those to this one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RelaySection {
    /// Whose calls this node carries on; nobody's if empty.
    pub accept: Vec<Accepts>,
    /// The nodes that carry calls to this one where its callers cannot reach it.
    pub through: Vec<NodeRef>,
}

/// The file as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Sections {
    pub(super) node: NodeSection,
    pub(super) gateway: GatewaySection,
    pub(super) page: PageSection,
    pub(super) store: StoreSection,
    pub(super) decisions: DecisionsSection,
    pub(super) log: LogSection,
    pub(super) limits: LimitsSection,
    pub(super) peers: PeersSection,
    pub(super) relay: RelaySection,
}

impl Sections {
    /// Checks what types cannot say.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if !self.gateway.listen.ip().is_loopback() {
            return Err(ConfigError::GatewayNotLoopback {
                found: self.gateway.listen,
            });
        }
        if !self.page.listen.ip().is_loopback() {
            return Err(ConfigError::PageNotLoopback {
                found: self.page.listen,
            });
        }
        if self.log.filter.len() > MAX_FILTER_BYTES {
            return Err(ConfigError::TooLong {
                key: "log.filter",
                found: self.log.filter.len(),
                max: MAX_FILTER_BYTES,
            });
        }
        let advertise = protocol::limits::MAX_ADDRESSES;
        for (key, found, max) in [
            ("peers.static", self.peers.fixed.len(), MAX_STATIC_PEERS),
            ("node.advertise", self.node.advertise.len(), advertise),
            ("relay.accept", self.relay.accept.len(), MAX_ACCEPTS),
            ("relay.through", self.relay.through.len(), advertise),
        ] {
            if found > max {
                return Err(ConfigError::TooMany { key, found, max });
            }
        }
        let (limits, decisions) = (&self.limits, &self.decisions);
        for (key, found, min, max) in [
            ("store.cache_mib", self.store.cache_mib, 1, 1024),
            ("decisions.keep_days", decisions.keep_days, 1, 36_500),
            ("decisions.max_mib", decisions.max_mib, 1, 1_048_576),
            ("limits.client_sessions", limits.client_sessions, 1, 10_000),
            ("limits.drain_s", limits.drain_s, 0, 300),
        ] {
            if !(min..=max).contains(&found) {
                return Err(ConfigError::OutOfRange {
                    key,
                    found,
                    min,
                    max,
                });
            }
        }
        Ok(())
    }
}
