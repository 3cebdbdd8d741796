//! Judging whether another host could dial this node.

use std::net::SocketAddr;

use protocol::control::Check;

use super::Facts;

/// Whether this node announces an address that another host can dial.
pub(super) fn addresses(facts: &Facts) -> Check {
    const NAME: &str = "addresses";
    const MEND: &str = "give this host a route, or set `advertise` under `[node]` in the configuration: see `hedgerow config`";
    let announced = &facts.status.addresses;
    if announced.is_empty() {
        return Check::warn(
            NAME,
            "no address is known at which others could reach this node",
        )
        .because("it listens on all interfaces, and this host has no address but loopback")
        .mend(format!("{MEND}; routes are looked at again every minute"));
    }
    let shown = announced.join(" ");
    let loopback = |address: &String| {
        let address = address.parse::<SocketAddr>();
        address.is_ok_and(|address| address.ip().is_loopback())
    };
    if announced.iter().all(loopback) {
        return Check::warn(NAME, format!("only this host itself reaches this node: {shown}"))
            .because("it listens on loopback, or was told to announce loopback")
            .mend("listen elsewhere (`--listen 0.0.0.0:7443`) or set `advertise` under `[node]` in the configuration, then start the node again");
    }
    Check::ok(NAME, format!("others reach this node at {shown}"))
}
