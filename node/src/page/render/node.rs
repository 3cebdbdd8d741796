//! This node, its peers, and the tools that can be called.

use maud::{Markup, html};
use protocol::control::{
    DocumentVersions, Freshness, FreshnessState, LinkPath, Peer, PeerState, Status, TrustStatus,
};
use protocol::time::UnixSeconds;

use super::name::name;
use super::{counted, instant, lasting, more};
use crate::page::ToolServer;
use crate::page::limits::MAX_LISTED;

/// The line of facts on top, and above it whatever keeps the node from working.
pub(in crate::page) fn glance(status: &Status, peers: &[Peer], servers: &[ToolServer]) -> Markup {
    let connected = peers
        .iter()
        .filter(|p| p.state == PeerState::Connected)
        .count();
    let reachable = servers.iter().filter(|s| s.reachable);
    let tools: usize = reachable.map(|s| s.total).sum();
    let refused: u64 = status.counters.refusals.values().sum();
    let troubles = troubles(status);
    html! {
        @if !troubles.is_empty() {
            ul.troubles { @for trouble in &troubles { li { (trouble) } } }
        }
        dl.glance {
            div {
                dt { "State" }
                dd {
                    @if troubles.is_empty() { span.badge.good { "ready" } }
                    @else { span.badge.bad { "needs attention" } }
                }
            }
            div { dt { "Peers" } dd { (connected) span.of { " of " (peers.len()) } } }
            div { dt { "Tools reachable" } dd { (tools) } }
            div { dt { "Calls out" } dd { (status.counters.calls_out) } }
            div { dt { "Calls in" } dd { (status.counters.calls_in) } }
            div { dt { "Refused" } dd { (refused) } }
            div { dt { "MCP sessions" } dd { (status.sessions) } }
            @if let Some(held) = held(status) {
                div { dt { "Wait for approval" } dd { (held) } }
            }
            @if let Some(trust) = &status.trust {
                div { dt { "Bundle" } dd { (version(trust.versions.bundle)) } }
            }
        }
    }
}

/// Calls that wait here for approval, if any do.
fn held(status: &Status) -> Option<u64> {
    let policies = status.trust.as_ref()?.policies.as_ref()?;
    (policies.held > 0).then_some(policies.held)
}

/// Why the node is not as it should be.
fn troubles(status: &Status) -> Vec<String> {
    let mut found = Vec::new();
    for condition in status.conditions.iter().filter(|c| !c.met) {
        let why = condition.message.as_deref().unwrap_or("not met yet");
        found.push(format!("{}: {why}", condition.name));
    }
    if found.is_empty() && !status.ready {
        found.push("the node is not ready".to_owned());
    }
    if !status.time.healthy {
        let why = status.time.message.as_deref().unwrap_or("unusable");
        found.push(format!("clock: {why}"));
    }
    if let Some(trust) = &status.trust {
        found.extend(trust.revoked.iter().map(|why| format!("revoked: {why}")));
        found.extend(trust.waiting.iter().map(|why| format!("calls wait: {why}")));
        let lease = trust.freshness.as_ref().and_then(expired);
        found.extend(lease.map(str::to_owned));
        if let Some(renewal) = trust.renewal.as_ref().filter(|r| r.failures > 0) {
            let why = renewal.last_error.as_deref().unwrap_or("no issuer answers");
            found.push(format!("the membership is not renewed: {why}"));
        }
    }
    found
}

fn expired(lease: &Freshness) -> Option<&'static str> {
    match lease.state {
        FreshnessState::Fresh => None,
        FreshnessState::Stale | FreshnessState::Never => {
            Some("the freshness lease is over: tool calls are refused")
        }
        FreshnessState::ClockBehind => Some("the clock is behind verified time: all is refused"),
    }
}

/// This node.
pub(in crate::page) fn state(status: &Status) -> Markup {
    let node = &status.node;
    let started = (status.time.now_ms / 1000).saturating_sub(status.uptime_s);
    html! {
        dl.facts {
            dt { "Node" } dd { code { (node.id) } }
            dt { "Mesh" } dd { code { (status.mesh.id) } }
            dt { "Groups" } dd { (joined(&node.groups)) }
            @if let Some(site) = &node.site { dt { "Site" } dd { (site) } }
            dt { "Membership" } dd { "until " (instant(node.membership_expires)) }
            @if let Some(trust) = &status.trust { (documents(trust)) }
            dt { "Listens" } dd { (status.listen) }
            dt { "Announces" } dd { (joined(&status.addresses)) }
            dt { "Gateway" } dd { (status.gateway_url.as_deref().unwrap_or("down")) }
            dt { "Running" }
            dd { "version " (status.version) ", since " (instant(UnixSeconds(steady(started)))) }
            dt { "Decisions kept" } dd { (status.store.decisions) }
        }
    }
}

/// Rounded to ten seconds, so that it does not flicker with the uptime it is computed from.
const fn steady(seconds: u64) -> u64 {
    seconds - seconds % 10
}

fn documents(trust: &TrustStatus) -> Markup {
    html! {
        dt { "Documents" } dd { (versions(&trust.versions)) }
        dt { "Admins" }
        dd {
            (trust.threshold) " of " (trust.admins) " sign, "
            (counted(trust.issuers, "issuer", "issuers")) ", "
            (counted(trust.timestampers, "timestamper", "timestampers"))
        }
        @if let Some(lease) = &trust.freshness {
            dt { "Lease" }
            dd {
                @match lease.age_s {
                    Some(age) => {
                        "timestamp " (minutes(age)) " old, at most " (lasting(lease.lease_s))
                    }
                    None => { "no timestamp yet" }
                }
            }
        }
    }
}

/// To the minute: what changes every second says nothing more.
fn minutes(seconds: u64) -> String {
    match seconds {
        0..60 => "under a minute".to_owned(),
        _ => lasting((seconds - seconds % 60).max(120)),
    }
}

fn versions(held: &DocumentVersions) -> String {
    let bundle = held.bundle.map(|v| format!(", bundle {v}"));
    let revocations = held
        .revocations
        .map(|v| format!(", {}", counted(v, "revocation", "revocations")));
    let (bundle, revocations) = (bundle.unwrap_or_default(), revocations.unwrap_or_default());
    format!("root {}{bundle}{revocations}", held.root)
}

fn version(bundle: Option<u64>) -> String {
    bundle.map_or_else(|| "none".to_owned(), |v| v.to_string())
}

/// Peers, and what was negotiated with each.
pub(in crate::page) fn peers(peers: &[Peer], status: &Status) -> Markup {
    let own = status
        .trust
        .as_ref()
        .map(|t| t.versions)
        .unwrap_or_default();
    html! {
        @if peers.is_empty() {
            p.none { "No other node is known. " code { "hedgerow invite" } " makes a ticket for one." }
        } @else {
            div.scroll tabindex="0" role="region" aria-label="Peers" {
                table.peers {
                    thead {
                        tr {
                            th scope="col" { "Node" }
                            th scope="col" { "State" }
                            th scope="col" { "Key exchange, signatures" }
                            th scope="col" { "Path" }
                            th.number scope="col" { "RTT" }
                            th scope="col" { "Documents, last heard" }
                            th scope="col" { "Servers" }
                        }
                    }
                    tbody { @for peer in peers.iter().take(MAX_LISTED) { (row(peer, &own)) } }
                }
            }
            (more(MAX_LISTED, peers.len(), "peers"))
        }
    }
}

fn row(peer: &Peer, own: &DocumentVersions) -> Markup {
    let (class, state) = match peer.state {
        PeerState::Connected => ("good", "connected"),
        PeerState::Connecting => ("busy", "connecting"),
        PeerState::Disconnected => ("idle", "no link"),
        PeerState::Revoked => ("bad", "revoked"),
    };
    html! {
        tr {
            th scope="row" data-label="Node" {
                @match &peer.name { Some(name) => { (name) } None => { "unnamed" } }
                " " code.id { (peer.id.short()) }
            }
            td data-label="State" {
                span class={ "badge " (class) } { (state) }
                @if let Some(why) = &peer.last_error { " " span.why { (why.replace('\n', "; ")) } }
                @if peer.state == PeerState::Disconnected && let Some(seen) = peer.last_seen {
                    " " span.why { "last heard " (instant(seen)) }
                }
            }
            td data-label="Crypto" {
                @match (&peer.group, &peer.signature_scheme) {
                    (Some(group), Some(scheme)) => { (group) br; (scheme) }
                    _ => { "–" }
                }
            }
            td data-label="Path" {
                @match peer.path {
                    Some(LinkPath::Direct) => { "direct" }
                    Some(LinkPath::Circuit) => { "circuit" }
                    None => { "–" }
                }
                @if let Some(address) = &peer.address { br; (name(address)) }
            }
            td.number data-label="RTT" {
                @match peer.rtt_ms { Some(ms) => { (format!("{ms:.1} ms")) } None => { "–" } }
            }
            td data-label="Documents" {
                @match &peer.versions {
                    Some(held) => {
                        (versions(held))
                        @if behind(held, own) { " " span.badge.idle { "older" } }
                    }
                    None => { "–" }
                }
            }
            td data-label="Servers" { (joined(&peer.servers)) }
        }
    }
}

/// Whether a peer was last heard to hold less than this node does now. It says what it holds when
/// a link comes up and when heads are compared, not whenever it took something.
fn behind(held: &DocumentVersions, own: &DocumentVersions) -> bool {
    held.root < own.root || held.bundle < own.bundle || held.revocations < own.revocations
}

/// Servers, and the tools their nodes announced.
pub(in crate::page) fn tools(servers: &[ToolServer]) -> Markup {
    html! {
        @if servers.is_empty() {
            p.none { "No server is known. " code { "hedgerow server add" } " attaches one." }
        } @else {
            ul.servers {
                @for server in servers.iter().take(MAX_LISTED) {
                    li {
                        p {
                            strong { (server.node) "/" (server.server) }
                            " "
                            @if !server.reachable { span.badge.idle { "not reachable" } }
                            @else if server.here { span.badge.good { "attached here" } }
                            @else { span.badge.good { "reachable" } }
                        }
                        (names(server))
                    }
                }
            }
            (more(MAX_LISTED, servers.len(), "servers"))
        }
    }
}

fn names(server: &ToolServer) -> Markup {
    html! {
        @if server.tools.is_empty() {
            p.none { "no tools announced yet" }
        } @else {
            ul.names { @for tool in &server.tools { li { code { (name(tool)) } } } }
            (more(server.tools.len(), server.total, "tools"))
        }
    }
}

fn joined(words: &[impl ToString]) -> String {
    if words.is_empty() {
        return "–".to_owned();
    }
    let words: Vec<String> = words.iter().map(ToString::to_string).collect();
    words.join(", ")
}
