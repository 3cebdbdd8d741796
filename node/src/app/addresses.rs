//! Where others reach this node: as configured, else the address it listens on, else the addresses
//! of this host that its routes lead out from.
//!
//! A node that listens on all interfaces never announces loopback: another host that dials it finds
//! itself. Such a node announces nothing while this host has no other address; it is looked at again
//! while the node runs, because routes come and go.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;

use protocol::limits::MAX_ADDRESSES;

use crate::config::Config;
use crate::transport::Links;

/// The kernel's IPv4 routes, `proc(5)`. Absent elsewhere; then only the default route counts.
const ROUTES: &str = "/proc/net/route";

/// Largest table of routes that is read: some thousand lines. What is beyond is left out.
const MAX_ROUTES_BYTES: usize = 512 * 1024;

/// A route that is in use (`RTF_UP`, `linux/route.h`).
const UP: u32 = 1;

/// Any address beyond the default route; nothing is sent there. TEST-NET-1 (RFC 5737) and the prefix
/// for documentation (RFC 3849).
const OUTWARD: [&str; 2] = ["192.0.2.1:9", "[2001:db8::1]:9"];

/// Where a node is reached.
pub(super) struct Reached {
    configured: Vec<String>,
    local: Option<SocketAddr>,
}

impl Reached {
    pub(super) fn of(config: &Config, links: &Links) -> Self {
        let configured = config.node().advertise.iter();
        Self {
            configured: configured.map(ToString::to_string).collect(),
            local: links.local_addr().ok(),
        }
    }

    /// The addresses now, none if this host has none that another could dial.
    pub(super) fn now(&self) -> Vec<String> {
        if !self.configured.is_empty() {
            return self.configured.clone();
        }
        let Some(local) = self.local else {
            return Vec::new();
        };
        if !local.ip().is_unspecified() {
            return vec![local.to_string()];
        }
        let outward = OUTWARD
            .iter()
            .filter_map(|to| source_towards(to.parse().ok()?));
        let outward: Vec<IpAddr> = outward
            .filter(|ip| local.is_ipv6() || ip.is_ipv4())
            .take(1)
            .collect();
        let on_link = || {
            networks(&routes(Path::new(ROUTES)))
                .into_iter()
                .filter_map(|to| source_towards(SocketAddr::from((to, 9))))
                .collect()
        };
        let ips = if outward.is_empty() {
            on_link()
        } else {
            outward
        };
        let mut announced: Vec<String> = Vec::new();
        for ip in ips {
            let address = SocketAddr::new(ip, local.port()).to_string();
            if announced.len() < MAX_ADDRESSES && !announced.contains(&address) {
                announced.push(address);
            }
        }
        announced
    }
}

/// The address of this host from which packets to `to` would go; none if there is no route, or only
/// one within this host. Connecting a UDP socket looks the route up and sends nothing.
fn source_towards(to: SocketAddr) -> Option<IpAddr> {
    let any: SocketAddr = match to {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(to).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
}

fn routes(file: &Path) -> String {
    let bytes = std::fs::read(file).unwrap_or_default();
    let bounded = bytes.get(..MAX_ROUTES_BYTES).unwrap_or(&bytes);
    String::from_utf8_lossy(bounded).into_owned()
}

/// An address within each network that is reached without a gateway or through one, the default
/// route left out.
fn networks(table: &str) -> Vec<Ipv4Addr> {
    let of_line = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        // As the kernel has them in memory: the first byte is the first of the address.
        let number = |text: &str| u32::from_str_radix(text, 16).ok();
        let destination = number(fields.next()?)?.to_ne_bytes();
        let flags = number(fields.nth(1)?)?;
        let [a, b, c, d] = destination;
        let network = Ipv4Addr::new(a, b, c, d | 1);
        let usable = flags & UP != 0 && destination != [0; 4] && !network.is_loopback();
        usable.then_some(network)
    };
    table.lines().skip(1).filter_map(of_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of `/proc/net/route`, the destination written as this host's kernel would.
    fn line(destination: [u8; 4], flags: &str) -> String {
        let destination = u32::from_ne_bytes(destination);
        format!("eth0\t{destination:08X}\t00000000\t{flags}\t0\t0\t0\t00FFFFFF\t0\t0\t0\n")
    }

    #[test]
    fn networks_are_read_without_the_default_route() {
        let head =
            "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n";
        let table = [
            head.to_owned(),
            line([0, 0, 0, 0], "0003"),
            line([10, 77, 0, 0], "0001"),
            line([127, 0, 0, 0], "0001"),
            line([10, 78, 0, 0], "0000"),
            "half a line\n".to_owned(),
        ];
        assert_eq!(networks(&table.concat()), [Ipv4Addr::new(10, 77, 0, 1)]);
        assert!(networks("").is_empty());
        assert!(networks(head).is_empty());
    }

    #[test]
    fn a_node_that_listens_everywhere_never_announces_loopback() {
        let everywhere = Reached {
            configured: Vec::new(),
            local: Some(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 7443))),
        };
        for address in everywhere.now() {
            let address: SocketAddr = address.parse().unwrap();
            assert!(!address.ip().is_loopback(), "{address}");
            assert_eq!(address.port(), 7443);
        }
        assert_eq!(source_towards("127.0.0.1:9".parse().unwrap()), None);
        // What it was told to listen on, or to announce, it announces.
        let here = Reached {
            configured: Vec::new(),
            local: Some("127.0.0.1:7443".parse().unwrap()),
        };
        assert_eq!(here.now(), ["127.0.0.1:7443"]);
        let told = Reached {
            configured: vec!["mesh.example:7443".to_owned()],
            ..here
        };
        assert_eq!(told.now(), ["mesh.example:7443"]);
    }
}
