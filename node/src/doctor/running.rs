//! Judging what a running node says of itself.

use protocol::control::{
    Check, FreshnessState, Peer, PeerState, PolicyStatus, Server, ServerState, Status, TrustStatus,
};
use protocol::id::NodeId;

use super::{EXPIRES_SOON_S, lasting};

/// Reasons of refusals that a difference of clocks makes, as the counters name them.
const CLOCK_REASONS: [&str; 3] = [
    "issued_in_future",
    "not_yet_valid",
    "record_issued_in_future",
];

/// The counter of hellos refused here because the membership in them has ended.
const ENDED_PEERS: &str = "not_admitted/membership_expired";

/// Reasons with which others refuse a node that is revoked, or whose membership's issuer is.
const REVOKED_REASONS: [&str; 3] = ["revoked", "node_revoked", "issuer_revoked"];

/// Reasons for which one of two nodes keeps the other off for a while.
const SEVERED_REASONS: [&str; 2] = ["node_severed", "severed"];

/// Reasons of failed dials that say nothing answered at all.
const SILENT_REASONS: [&str; 3] = ["unreachable", "handshake_timeout", "timed_out"];

/// For how long a node without a link counts as running after it was heard of, in seconds: a record,
/// renewed every half hour, may be lost once.
const HEARD_S: u64 = 3600;

/// Names listed in one message; more are counted.
const NAMES_SHOWN: usize = 5;

/// An address this node was told to dial, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bootstrap {
    /// `host:port`.
    pub address: String,
    /// Who is expected there, where that is known.
    pub node: Option<NodeId>,
    /// Whether there is a link to that node.
    pub linked: bool,
    /// Why the last dial failed: the stable name of the reason.
    pub reason: Option<String>,
}

/// What a running node knows of itself.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Its status.
    pub status: Status,
    /// The other nodes.
    pub peers: Vec<Peer>,
    /// Where it was told to find them.
    pub bootstraps: Vec<Bootstrap>,
    /// The MCP servers attached to it.
    pub servers: Vec<Server>,
    /// Why the store takes no more writes, if so.
    pub store_fault: Option<String>,
    /// Other nodes of which two processes run at once, as people call them.
    pub copied: Vec<String>,
    /// Who is cut off here by policy: whom, by which policy, for how long.
    pub cut_off: Vec<String>,
    /// Whether another process runs with the key of this node.
    pub is_copied: bool,
    /// Whether another node says that what this one sends comes from the future.
    pub told_ahead: bool,
}

/// Every check of a running node, in the order in which one depends on another.
#[must_use]
pub fn judge(facts: &Facts) -> Vec<Check> {
    let trust = facts.status.trust.as_ref();
    let mut checks = vec![
        ready(facts),
        clock(facts),
        store(facts),
        port(facts),
        super::reached::addresses(facts),
        gateway(facts),
        revoked(facts),
        severed(facts),
        copies(facts),
        membership(facts),
        mesh(facts),
        bootstrap(facts),
        peers(facts),
        lease(trust),
    ];
    if let Some(trust) = trust {
        checks.push(issuer_limits(trust));
        checks.extend(trust.policies.as_ref().map(policies));
        checks.extend(roles(trust));
    }
    checks.push(servers(facts));
    checks
}

fn ready(facts: &Facts) -> Check {
    const NAME: &str = "ready";
    let unmet: Vec<&str> = facts
        .status
        .conditions
        .iter()
        .filter(|c| !c.met)
        .map(|c| c.name.as_str())
        .collect();
    if let Some(why) = facts.status.trust.as_ref().and_then(|t| t.waiting.as_ref()) {
        return Check::warn(NAME, why.clone())
            .because("no other node has shown this one everything that it says it holds")
            .mend("let it reach another node of the mesh: see `bootstrap` and `peers` below");
    }
    if facts.status.ready {
        // What keeps it from taking part has a check of its own.
        let trust = facts.status.trust.as_ref();
        let fresh = trust.and_then(|t| t.freshness.as_ref());
        let fresh = fresh.is_none_or(|lease| lease.state == FreshnessState::Fresh);
        return if revocation(facts).is_none() && fresh {
            Check::ok(NAME, "the node runs and is ready")
        } else {
            Check::ok(
                NAME,
                "the node runs; it cannot take part as it should, see below",
            )
        };
    }
    Check::fail(
        NAME,
        format!("the node is not ready: {}", listed(unmet.into_iter())),
    )
    .because("it is starting, stopping, or a part of it did not start")
    .mend("wait a moment; then read its log (`journalctl -u hedgerow`, or its stderr)")
}

fn clock(facts: &Facts) -> Check {
    const NAME: &str = "clock";
    let behind = facts
        .status
        .trust
        .as_ref()
        .and_then(|t| t.freshness.as_ref())
        .is_some_and(|f| f.state == FreshnessState::ClockBehind);
    if !facts.status.time.healthy || behind {
        let why = facts.status.time.message.clone();
        return Check::fail(
            NAME,
            why.unwrap_or_else(|| "the clock is behind verified time".to_owned()),
        )
        .because("this host's clock was set back, its battery is flat, or it was ahead before")
        .mend(
            "set the clock (`timedatectl set-ntp true`); everything is refused until it is right. If \
             it is right, it was ahead: calls pass again once that time is reached",
        );
    }
    let strange: u64 = CLOCK_REASONS
        .iter()
        .filter_map(|reason| facts.status.counters.refusals.get(*reason))
        .sum();
    if strange > 0 {
        return Check::warn(
            NAME,
            format!("{strange} messages came from the future since the start"),
        )
        .because("this host's clock is behind that of another node, or theirs is ahead")
        .mend("compare `date -u` on both; let NTP set them");
    }
    if facts.told_ahead {
        return Check::fail(
            NAME,
            "another node refuses what this one sends as coming from the future",
        )
        .because("this host's clock is ahead; or that node's is behind, if no other says so")
        .mend(
            "compare `date -u` on both; set the clock that is wrong (`timedatectl set-ntp true`)",
        );
    }
    if finds_all_ended(facts) {
        return Check::fail(
            NAME,
            "by this host's clock the memberships of the nodes that it meets have ended",
        )
        .because("this host's clock is far ahead: whoever still runs renews its membership in time")
        .mend("compare `date -u` with another host; set the clock (`timedatectl set-ntp true`)");
    }
    Check::ok(NAME, "the clock agrees with verified time")
}

/// Whether this node admits nobody because their memberships have ended, and its own, or the lease,
/// is over too.
fn finds_all_ended(facts: &Facts) -> bool {
    let status = &facts.status;
    let refused = status.counters.refusals.get(ENDED_PEERS).copied();
    let now = status.time.now_ms / 1000;
    let own_over = status.node.membership_expires.0 <= now;
    let lease = status.trust.as_ref().and_then(|t| t.freshness.as_ref());
    let stale = lease.is_some_and(|lease| lease.state == FreshnessState::Stale);
    status.links == 0 && refused.unwrap_or(0) > 0 && (own_over || stale)
}

fn store(facts: &Facts) -> Check {
    const NAME: &str = "store";
    match &facts.store_fault {
        Some(fault) => Check::fail(NAME, format!("the store takes no more writes: {fault}"))
            .because("the disk is full, read-only or broken")
            .mend("mend the disk, then start the node again"),
        None => Check::ok(
            NAME,
            format!(
                "{} decisions in {} bytes",
                facts.status.store.decisions, facts.status.store.bytes
            ),
        ),
    }
}

fn port(facts: &Facts) -> Check {
    Check::ok(
        "port",
        format!("the mesh port is bound: UDP {}", facts.status.listen),
    )
}

fn gateway(facts: &Facts) -> Check {
    match &facts.status.gateway_url {
        Some(url) => Check::ok("gateway", format!("MCP clients connect to {url}")),
        None => Check::fail("gateway", "the gateway does not listen")
            .because("its port was taken or it was stopped")
            .mend("read the log, then start the node again"),
    }
}

/// Why this node is revoked, if it is: by what is in force here, or by who refuses it.
///
/// A revoked node is cut off before it can hear why. Who has a link and has synced over it would have
/// heard: a refusal is then of the past, or by somebody who knows less.
fn revocation(facts: &Facts) -> Option<String> {
    let trust = facts.status.trust.as_ref();
    let unheard = facts.status.links == 0 || trust.is_some_and(|t| t.waiting.is_some());
    let own = trust.and_then(|t| t.revoked.clone());
    own.or_else(|| refused_as_revoked(&facts.peers, &facts.bootstraps).filter(|_| unheard))
}

/// Who refuses this node as revoked, if somebody does whose word counts.
#[must_use]
pub fn refused_as_revoked(peers: &[Peer], bootstraps: &[Bootstrap]) -> Option<String> {
    let mut reasons = REVOKED_REASONS.iter();
    let by = reasons.find_map(|reason| refused_by(peers, bootstraps, reason))?;
    Some(format!("{by} refuses this node as revoked"))
}

fn revoked(facts: &Facts) -> Check {
    const NAME: &str = "revoked";
    match revocation(facts) {
        Some(why) => Check::fail(NAME, format!("this node is revoked: {why}"))
            .because("an admin revoked it; no other node will speak with it")
            .mend("ask an admin; a host that is clean again joins with new keys and a new ticket"),
        None => Check::ok(NAME, "this node is not revoked"),
    }
}

fn severed(facts: &Facts) -> Check {
    const NAME: &str = "severed";
    let kept_off = SEVERED_REASONS.iter().find_map(|reason| {
        let peer = unlinked(&facts.peers).find(|p| p.last_reason.as_deref() == Some(reason));
        let why = peer.and_then(|p| p.last_error.clone());
        Some((refused_for(facts, reason)?, why.unwrap_or_default()))
    });
    let apart = kept_off.map(|(who, why)| format!("{who} and this node are kept apart: {why}"));
    let cut_off = (!facts.cut_off.is_empty()).then(|| {
        let whom = listed(facts.cut_off.iter().map(String::as_str));
        format!("cut off at this node: {whom}")
    });
    let cause = match &apart {
        Some(_) => {
            "a call broke a policy that severs nodes, or a relay delivered what no honest one would"
        }
        None => "a call broke a policy that severs; nothing of whom it cuts off passes meanwhile",
    };
    let found: Vec<String> = apart.into_iter().chain(cut_off).collect();
    if found.is_empty() {
        return Check::ok(NAME, "nobody is cut off at this node");
    }
    Check::warn(NAME, found.join("; ")).because(cause).mend(
        "`hedgerow decisions list --verdict sever`, here or there, has the call; it ends by itself",
    )
}

fn copies(facts: &Facts) -> Check {
    const NAME: &str = "copies";
    let stop = "stop all but one of them";
    let stolen = "if nobody knows of a copy its keys are stolen: `hedgerow revoke node`";
    if facts.is_copied {
        return Check::fail(NAME, "another process runs with the keys of this node")
            .because("a backup of it was restored, or its state copied, while it runs here")
            .mend(format!("{stop}; {stolen}, and join with new keys"));
    }
    if !facts.copied.is_empty() {
        let names = listed(facts.copied.iter().map(String::as_str));
        return Check::fail(
            NAME,
            format!("two processes run with the keys of one node: {names}"),
        )
        .because("a backup of it was restored, or its state copied, while it runs")
        .mend(format!("{stop}; {stolen}"));
    }
    Check::ok(NAME, "no node was seen to run twice")
}

fn membership(facts: &Facts) -> Check {
    const NAME: &str = "membership";
    let now = facts.status.time.now_ms / 1000;
    let left = facts.status.node.membership_expires.0.saturating_sub(now);
    let renewal = facts.status.trust.as_ref().and_then(|t| t.renewal.as_ref());
    let failing = renewal.filter(|r| r.failures > 0);
    if left == 0 {
        return Check::fail(NAME, "this node's membership has ended")
            .because(
                failing
                    .and_then(|r| r.last_error.clone())
                    .unwrap_or_else(|| {
                        "it was not renewed in time: no issuer was reachable, or the clock is wrong"
                            .to_owned()
                    }),
            )
            .mend("let it reach an issuer, which renews it; else join again with a new ticket");
    }
    let lasts = format!("the membership lasts {} more", lasting(left));
    if let Some(renewal) = failing {
        let why = renewal.last_error.as_deref().unwrap_or("no issuer answers");
        return Check::warn(
            NAME,
            format!(
                "{lasts}; renewing it failed {} times: {why}",
                renewal.failures
            ),
        )
        .because("no issuer is reachable, or none may renew this node")
        .mend("see `peers` below; an issuer must be among them");
    }
    let overdue = renewal.is_some_and(|renewal| {
        // Due at half of its life: half of the rest is over too, and it was not renewed.
        let end = facts.status.node.membership_expires.0;
        now > renewal.due.0 && end.saturating_sub(renewal.due.0) / 2 > left
    });
    if overdue {
        return Check::warn(NAME, format!("{lasts}; its renewal is overdue"))
            .because("no issuer has been reachable since half of its life was over")
            .mend("see `peers` below; an issuer must be among them");
    }
    if renewal.is_none() && left < EXPIRES_SOON_S {
        return Check::warn(NAME, lasts)
            .because("nothing renews it")
            .mend("have an issuer issue a new one before it ends");
    }
    Check::ok(NAME, lasts)
}

fn mesh(facts: &Facts) -> Check {
    const NAME: &str = "mesh";
    let own = &facts.status.mesh;
    match refused_for(facts, "foreign_mesh") {
        Some(who) => Check::fail(NAME, format!("{who} is of another mesh than `{}`", own.name))
            .because("one of the two was founded instead of joined, or the address is an old one")
            .mend("compare the mesh ids in `hedgerow status` on both hosts; join with a ticket of the right mesh"),
        None => Check::ok(NAME, format!("mesh `{}`, {}", own.name, own.id.short())),
    }
}

fn bootstrap(facts: &Facts) -> Check {
    const NAME: &str = "bootstrap";
    let known = facts.peers.iter().filter(|p| p.address.is_some()).count();
    if known == 0 && facts.bootstraps.is_empty() {
        return Check::warn(NAME, "no other node is known and no address to find one")
            .because("this is the only node of its mesh, or it joined without an address")
            .mend("admit another host, or name a node: `hedgerow peers --dial HOST:PORT`");
    }
    Check::ok(
        NAME,
        format!(
            "{known} nodes with addresses, {} configured addresses",
            facts.bootstraps.len()
        ),
    )
}

fn peers(facts: &Facts) -> Check {
    const NAME: &str = "peers";
    let now = facts.status.time.now_ms / 1000;
    // Calls reach some without a link, and some only call over relays.
    let gone = |p: &&Peer| {
        let down = p.state == PeerState::Disconnected && p.relayed_by.is_empty();
        down && !is_heard_over_others(p, now)
    };
    let down: Vec<&Peer> = facts.peers.iter().filter(gone).collect();
    let names = listed(
        down.iter()
            .map(|p| p.name.as_ref().map_or("?", |n| n.as_str())),
    );
    if facts.status.links > 0 {
        if down.is_empty() {
            let relayed = facts.peers.iter().filter(|p| !p.relayed_by.is_empty());
            let heard = facts.peers.iter().filter(|p| is_heard_over_others(p, now));
            let mut told = format!("{} links", facts.status.links);
            for (count, what) in [
                (relayed.count(), "nodes over relays"),
                (heard.count(), "nodes heard over others"),
            ] {
                if count > 0 {
                    told.push_str(&format!("; {count} {what}"));
                }
            }
            return Check::ok(NAME, told);
        }
        return Check::warn(
            NAME,
            format!("{} links; no link to {names}", facts.status.links),
        )
        .because("those nodes are stopped, or cannot be reached from here")
        .mend("`hedgerow peers` says what was tried and why it failed");
    }
    let reasons: Vec<&str> = reasons(facts).collect();
    if reasons.is_empty() {
        let nobody = facts.peers.iter().all(is_revoked) && facts.bootstraps.is_empty();
        return if nobody {
            Check::ok(NAME, "no other node to reach")
        } else {
            Check::warn(NAME, "no link yet; the first dials are under way")
                .mend("look again in a few seconds")
        };
    }
    if reasons.iter().all(|r| SILENT_REASONS.contains(r)) {
        return Check::fail(NAME, "no other node answers although addresses are known")
            .because("UDP is blocked on the way, the addresses are old, or those nodes are down")
            .mend(format!(
                "let UDP through to the port of the other nodes and to {} here; on another node: `hedgerow status`",
                facts.status.listen
            ));
    }
    Check::fail(NAME, format!("no link: {}", listed(reasons.into_iter())))
        .because("the other nodes answer and refuse, or this node refuses them")
        .mend("`hedgerow peers` has each reason in full; see also `mesh`, `clock`, `membership` and `revoked`")
}

fn lease(trust: Option<&TrustStatus>) -> Check {
    const NAME: &str = "lease";
    let Some(lease) = trust.and_then(|t| t.freshness.as_ref()) else {
        return Check::ok(NAME, "this mesh takes no timestamps");
    };
    let age = lease.age_s.map_or_else(|| "none".to_owned(), lasting);
    let of = format!("newest timestamp: {age}, lease {}", lasting(lease.lease_s));
    let unreachable = "no timestamper has been reachable for that long";
    let mend = "start the node that holds a timestamper key, or let this node reach it";
    match lease.state {
        FreshnessState::Fresh if lease.age_s.is_some_and(|age| age > lease.lease_s / 2) => {
            Check::warn(NAME, of).because(unreachable).mend(mend)
        }
        FreshnessState::Fresh => Check::ok(NAME, of),
        FreshnessState::Stale | FreshnessState::Never => Check::fail(
            NAME,
            format!("the freshness lease is over, writes are refused; {of}"),
        )
        .because(unreachable)
        .mend(mend),
        FreshnessState::ClockBehind => {
            Check::fail(NAME, format!("the lease cannot be judged; {of}"))
                .because("the clock is behind verified time")
                .mend("see `clock`")
        }
    }
}

fn issuer_limits(trust: &TrustStatus) -> Check {
    const NAME: &str = "issuer_limits";
    let Some(alarm) = trust.issuer_alarms.first() else {
        return Check::ok(
            NAME,
            "no issuer was seen to go beyond its rate or to sign twice",
        );
    };
    let (issuer, times) = (&alarm.issuer, alarm.refused);
    let of = format!("issuer {issuer}: {}; refused {times} times", alarm.message);
    Check::fail(NAME, of)
        .because("its key is in other hands, or its host runs twice, once from a copy")
        .mend("stop the copy; if the key may be stolen: `hedgerow revoke issuer ID --since TIME`, and name another in the root")
}

fn policies(policies: &PolicyStatus) -> Check {
    const NAME: &str = "policies";
    if let Some(refused) = &policies.refused {
        let of = format!(
            "bundle {} cannot be used here: {}",
            refused.version, refused.why
        );
        return Check::fail(NAME, of)
            .because("it was made with a newer version, or not by `hedgerow policy apply`")
            .mend("update this node, or publish a bundle it can use: `hedgerow policy apply`");
    }
    match (policies.version, policies.policies) {
        (0, _) => Check::warn(NAME, "no policy bundle yet: members may call everything")
            .mend("write a policy and put it in force: `hedgerow policy apply FILE`"),
        (version, 0) => Check::warn(
            NAME,
            format!("bundle {version} is empty: nothing may be called"),
        )
        .mend("put a policy in force: `hedgerow policy apply FILE`"),
        (version, count) => Check::ok(NAME, format!("{count} policies of bundle {version} decide")),
    }
}

fn roles(trust: &TrustStatus) -> [Check; 3] {
    let one = |name: &str, count: u64, role: &str, because: &str, mend: &str| match count {
        0 => Check::fail(name, format!("the root names no {role}")).mend(mend),
        1 => Check::warn(name, format!("there is one {role}"))
            .because(because)
            .mend(mend),
        count => Check::ok(name, format!("there are {count} {role}s")),
    };
    [
        one(
            "admins",
            trust.admins,
            "admin",
            "whoever has that one key can do anything, and who loses it can change nothing any more",
            "add admins and a threshold: `hedgerow admin add`",
        ),
        one(
            "issuers",
            trust.issuers,
            "issuer",
            "while its node is down no host can join and no membership is renewed",
            "name a second issuer in the root: `hedgerow admin issuer add`",
        ),
        one(
            "timestampers",
            trust.timestampers,
            "timestamper",
            "while its node is down the freshness lease of every node runs out",
            "name a second timestamper in the root: `hedgerow admin timestamper add`",
        ),
    ]
}

fn servers(facts: &Facts) -> Check {
    const NAME: &str = "servers";
    let down: Vec<&Server> = facts
        .servers
        .iter()
        .filter(|s| match s.state {
            ServerState::BackingOff => true,
            // It runs, but what it offers cannot be read.
            ServerState::Starting => s.last_error.is_some(),
            ServerState::Ready => false,
        })
        .collect();
    let Some(first) = down.first() else {
        let partly = facts.servers.iter().filter(|s| s.tools_left_out > 0);
        let partly: Vec<&str> = partly.map(|s| s.name.as_str()).collect();
        if !partly.is_empty() {
            let names = listed(partly.into_iter());
            return Check::warn(NAME, format!("nobody can call some tools of {names}"))
                .because(
                    "they have no name, one longer than 2,048 bytes or that of another, or there \
                     are more than a node can announce",
                )
                .mend("`hedgerow server list` counts them; mend the server, or attach fewer to a node");
        }
        return Check::ok(NAME, format!("{} servers attached", facts.servers.len()));
    };
    let names = listed(down.iter().map(|s| s.name.as_str()));
    let cause = first.last_error.clone();
    Check::fail(NAME, format!("down: {names}"))
        .because(cause.unwrap_or_else(|| "it ended or does not answer".to_owned()))
        .mend("`hedgerow server list` has the error of each; run its command by hand as the node's user")
}

/// Whether a node without a link, which was not heard to refuse one, was heard of lately otherwise: by
/// messages that came over relays or, where it announces no address to dial, by its record.
fn is_heard_over_others(peer: &Peer, now: u64) -> bool {
    let unlinked = peer.state == PeerState::Disconnected && peer.relayed_by.is_empty();
    let reason = peer.last_reason.as_deref();
    let unrefused = reason.is_none_or(|reason| SILENT_REASONS.contains(&reason));
    let heard = match peer.address {
        None => peer.last_seen,
        Some(_) => peer.heard_over_relays,
    };
    unlinked && unrefused && heard.is_some_and(|heard| now.saturating_sub(heard.0) <= HEARD_S)
}

/// Whether a peer is revoked: how it once refused this node, or did not answer, says nothing.
fn is_revoked(peer: &Peer) -> bool {
    peer.state == PeerState::Revoked
}

/// The peers without a link whose reason for that counts.
fn unlinked(peers: &[Peer]) -> impl Iterator<Item = &Peer> {
    let peers = peers.iter();
    peers.filter(|p| p.state != PeerState::Connected && !is_revoked(p))
}

/// The addresses without a link whose reason for that counts.
fn unanswered<'a>(
    peers: &'a [Peer],
    bootstraps: &'a [Bootstrap],
) -> impl Iterator<Item = &'a Bootstrap> {
    let revoked = |node: &NodeId| peers.iter().any(|p| p.id == *node && is_revoked(p));
    let bootstraps = bootstraps.iter();
    bootstraps.filter(move |b| !b.linked && !b.node.as_ref().is_some_and(revoked))
}

/// Why dials failed, of everything that has no link.
fn reasons(facts: &Facts) -> impl Iterator<Item = &str> {
    let peers = unlinked(&facts.peers).filter_map(|p| p.last_reason.as_deref());
    let bootstraps = unanswered(&facts.peers, &facts.bootstraps);
    let bootstraps = bootstraps.filter_map(|b| b.reason.as_deref());
    let mut all: Vec<&str> = peers.chain(bootstraps).collect();
    all.sort_unstable();
    all.dedup();
    all.into_iter()
}

/// Whoever has no link for this reason.
fn refused_for(facts: &Facts, reason: &str) -> Option<String> {
    refused_by(&facts.peers, &facts.bootstraps, reason)
}

fn refused_by(peers: &[Peer], bootstraps: &[Bootstrap], reason: &str) -> Option<String> {
    let peer = unlinked(peers)
        .find(|p| p.last_reason.as_deref() == Some(reason))
        .map(|p| {
            let name = p.name.as_ref().map(|n| format!("node `{n}`"));
            name.unwrap_or_else(|| format!("node {}", p.id.short()))
        });
    peer.or_else(|| {
        let mut all = unanswered(peers, bootstraps);
        let found = all.find(|b| b.reason.as_deref() == Some(reason));
        found.map(|b| format!("the node at `{}`", b.address))
    })
}

/// A few names, and how many more.
fn listed<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let count = names.len();
    let mut text = names.take(NAMES_SHOWN).collect::<Vec<_>>().join(", ");
    if count > NAMES_SHOWN {
        text.push_str(&format!(" and {} more", count - NAMES_SHOWN));
    }
    text
}
