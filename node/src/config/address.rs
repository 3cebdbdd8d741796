//! Addresses as people write them: `host:port` and `ID@host:port`.

use std::net::{Ipv6Addr, SocketAddr};
use std::str::FromStr;

use protocol::id::NodeId;

/// Longest host name (RFC 1035 §2.3.4, without the final dot).
const MAX_HOST_BYTES: usize = 253;

/// Longest label of a host name.
const MAX_LABEL_BYTES: usize = 63;

/// Why a text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is no port, or none between 1 and 65535.
    #[error("`{0}` does not end with `:` and a port from 1 to 65535")]
    Port(String),
    /// The host is neither a name nor an address; an IPv6 address stands in brackets.
    #[error("`{0}` does not name a host (an IPv6 address needs brackets)")]
    Host(String),
    /// There is no node id before an `@`.
    #[error("`{0}` does not begin with a node id (`Qm…`) and `@`")]
    Id(String),
}

/// A host, by name or address, and a UDP port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    host: String,
    port: u16,
}

impl HostPort {
    /// The name or address, IPv6 without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, not 0.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The socket address, if the host is an address and needs no look-up.
    #[must_use]
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.host.parse().ok()?, self.port))
    }
}

/// At most 64 printable characters of what was given, for a message.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}

impl FromStr for HostPort {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let port = || AddressError::Port(shown(text));
        let (host, digits) = text.rsplit_once(':').ok_or_else(port)?;
        let number: u16 = digits.parse().map_err(|_| port())?;
        if number == 0 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(port());
        }
        let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let valid = match bracketed {
            Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
            None => is_host_name(host),
        };
        if !valid {
            return Err(AddressError::Host(shown(text)));
        }
        Ok(Self {
            host: bracketed.unwrap_or(host).to_owned(),
            port: number,
        })
    }
}

/// A name of letters, digits and inner dashes, which IPv4 addresses are too.
fn is_host_name(host: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= MAX_LABEL_BYTES
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.len() <= MAX_HOST_BYTES && host.split('.').all(label)
}

impl core::fmt::Display for HostPort {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A node that is to be connected to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StaticPeer {
    /// Who must answer there.
    pub id: NodeId,
    /// Where.
    pub address: HostPort,
}

impl FromStr for StaticPeer {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let id = || AddressError::Id(shown(text));
        let (node, address) = text.split_once('@').ok_or_else(id)?;
        Ok(Self {
            id: node.parse().map_err(|_| id())?,
            address: address.parse()?,
        })
    }
}

impl core::fmt::Display for StaticPeer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}@{}", self.id, self.address)
    }
}

macro_rules! as_text {
    ($name:ident) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

as_text!(HostPort);
as_text!(StaticPeer);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_back() {
        for text in ["a.example:7443", "10.0.0.1:1", "[::1]:65535", "x:80"] {
            let address: HostPort = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
        }
        let address: HostPort = "[::1]:5".parse().unwrap();
        assert_eq!(address.socket_addr(), "[::1]:5".parse().ok());
        let id = NodeId::from_bytes([3; 32]);
        let text = format!("{id}@host:7443");
        let peer: StaticPeer = text.parse().unwrap();
        assert_eq!((peer.id, peer.to_string()), (id, text));
    }

    #[test]
    fn what_is_no_address_is_named() {
        let error = |text: &str| text.parse::<HostPort>().unwrap_err();
        for text in [
            "host",
            "host:",
            "host:0",
            "host:+1",
            "host:65536",
            ":",
            "host:1x",
        ] {
            assert!(matches!(error(text), AddressError::Port(_)), "{text}");
        }
        let long = format!("{}:1", "a".repeat(254));
        for text in [
            ":1", "::1:1", "[::1:1", "[x]:1", "a_b:1", "-a:1", "a..b:1", "a b:1", &long,
        ] {
            assert!(matches!(error(text), AddressError::Host(_)), "{text}");
        }
        for text in ["host:1", "@host:1", "Qm@host:1"] {
            let error = text.parse::<StaticPeer>().unwrap_err();
            assert!(matches!(error, AddressError::Id(_)), "{text}");
        }
    }
}
