//! What a root changes, or a bundle holds, in words: for whoever is asked to sign it.
//!
//! Every difference between the two roots is a sentence; a field this module forgot would be
//! signed unseen, so the comparison takes both roots apart exhaustively.

use std::collections::BTreeSet;

use super::bundle::{BundleBody, Label, Pin};
use super::{Issuer, RoleHost, Root};
use crate::crypto::{Crypto, SigningSet};
use crate::name::Name;

/// Most policies or pins of a bundle that are named one by one; further ones are counted.
const MAX_NAMED: usize = 200;

/// Most characters of a policy's text that are said; whoever signs must see what it is, also where
/// no node can compare it with what is in force.
const MAX_TEXT: usize = 2000;

/// A sentence for everything a bundle holds: each policy with its length and digest, so that two
/// people can compare what they are asked to sign, and its text; then pins, labels and sites.
#[must_use]
pub fn contents(crypto: &dyn Crypto, body: &BundleBody) -> Vec<String> {
    let mut said: Vec<String> = Vec::new();
    for policy in body.policies.iter().take(MAX_NAMED) {
        let digest = crypto.sha256(&[&policy.bytes]);
        said.push(format!(
            "policy `{}`: {} bytes, SHA-256 {}: {}",
            policy.name,
            policy.bytes.len(),
            hex::encode(digest),
            text(&policy.bytes)
        ));
    }
    further("policies", body.policies.len(), &mut said);
    for pin in body.pins.iter().take(MAX_NAMED) {
        let (server, tool, digest) = (&pin.server, &pin.tool, pin.digest.short());
        said.push(format!(
            "pins tool `{tool}` of server `{server}` to {digest}"
        ));
    }
    further("pins", body.pins.len(), &mut said);
    for label in body.labels.iter().take(MAX_NAMED) {
        let (target, labels) = (&label.target, label.labels.join("`, `"));
        said.push(format!("labels `{target}` as `{labels}`"));
    }
    further("labels", body.labels.len(), &mut said);
    if !body.sites.is_empty() {
        said.push(format!("sites: {}", body.sites.len()));
    }
    if said.is_empty() {
        said.push("holds nothing: nothing would be permitted".to_owned());
    }
    said
}

/// A policy's text in one line, cut where it is long.
fn text(bytes: &[u8]) -> String {
    let whole = String::from_utf8_lossy(bytes);
    let mut said = String::new();
    for word in whole.split_whitespace() {
        if !said.is_empty() {
            said.push(' ');
        }
        said.push_str(word);
        if said.chars().count() > MAX_TEXT {
            return said.chars().take(MAX_TEXT).chain(" …".chars()).collect();
        }
    }
    said
}

/// A sentence for every difference between two bundles: of policies, of definitions approved, of
/// labels and of sites.
#[must_use]
pub fn bundle(before: &BundleBody, after: &BundleBody) -> Vec<String> {
    // No `..`: what is forgotten here would be agreed to unseen.
    let BundleBody {
        policies,
        pins: _,
        labels,
        sites,
    } = after;
    let mut said = Vec::new();
    for policy in policies {
        match before.policies.iter().find(|p| p.name == policy.name) {
            None => said.push(format!("adds policy `{}`", policy.name)),
            Some(old) if old != policy => said.push(format!("changes policy `{}`", policy.name)),
            Some(_) => {}
        }
    }
    let kept: BTreeSet<_> = policies.iter().map(|p| &p.name).collect();
    let gone = before.policies.iter().filter(|p| !kept.contains(&p.name));
    said.extend(gone.map(|p| format!("removes policy `{}`", p.name)));
    said.extend(pins(before, after));
    let each = |of: &[Label]| -> BTreeSet<(String, String)> {
        let pairs = of
            .iter()
            .flat_map(|l| l.labels.iter().map(|label| (&l.target, label)));
        pairs
            .map(|(target, label)| (target.clone(), label.clone()))
            .collect()
    };
    let (old, new) = (each(&before.labels), each(labels));
    let put = new.difference(&old);
    said.extend(put.map(|(target, label)| format!("labels `{target}` as `{label}`")));
    let taken = old.difference(&new);
    said.extend(taken.map(|(target, label)| format!("labels `{target}` no longer as `{label}`")));
    if before.sites != *sites {
        said.push("changes sites".to_owned());
    }
    said
}

/// What another bundle approves and no longer approves, a sentence each.
#[must_use]
pub fn pins(before: &BundleBody, after: &BundleBody) -> Vec<String> {
    let pin = |pin: &Pin| format!("`{}/{}` as {}", pin.server, pin.tool, pin.digest.short());
    let set = |of: &BundleBody| of.pins.iter().cloned().collect::<BTreeSet<_>>();
    let (old, new) = (set(before), set(after));
    let approved = new.difference(&old).map(|p| format!("approves {}", pin(p)));
    let not = old.difference(&new);
    approved
        .chain(not.map(|p| format!("approves no longer {}", pin(p))))
        .collect()
}

fn further(what: &str, count: usize, said: &mut Vec<String>) {
    if count > MAX_NAMED {
        said.push(format!("and {} further {what}", count - MAX_NAMED));
    }
}

/// A sentence for everything that `next` does and `base` does not. The version, the chain and the
/// nonce, which change in every root, are left out. Never empty.
#[must_use]
pub fn changes(crypto: &dyn Crypto, base: &Root, next: &Root) -> Vec<String> {
    // No `..`: a new field must be given its words, or left out here knowingly.
    let Root {
        version: _,
        epoch,
        mesh: _,
        name,
        suite,
        created: _,
        admins,
        threshold,
        issuers,
        timestampers,
        lease_s,
        read_grace_s,
        nonce: _,
        previous: _,
        retired: _,
        hosts: _,
    } = next;
    let mut said = Vec::new();
    sets(crypto, "admin", &base.admins, admins, &mut said);
    retired(crypto, base, next, &mut said);
    number(
        "admins who must sign",
        base.threshold,
        *threshold,
        "",
        &mut said,
    );
    if *threshold < base.threshold {
        said.push(waiting_counts(*threshold));
    }
    issuers_changed(crypto, &base.issuers, issuers, &mut said);
    sets(
        crypto,
        "timestamper",
        &base.timestampers,
        timestampers,
        &mut said,
    );
    hosts_changed(base, next, &mut said);
    number("freshness lease", base.lease_s, *lease_s, " s", &mut said);
    number(
        "grace of read-only tools",
        base.read_grace_s,
        *read_grace_s,
        " s",
        &mut said,
    );
    if base.name != *name {
        said.push(format!("renames the mesh from `{}` to `{name}`", base.name));
    }
    if base.epoch != *epoch {
        said.push(format!(
            "begins epoch {epoch}: versions and times start anew"
        ));
    }
    if base.suite != *suite {
        said.push(format!("suite: {} becomes {suite}", base.suite));
    }
    if said.is_empty() {
        said.push("changes nothing but the version".to_owned());
    }
    said
}

/// What a lower threshold does besides. Which revocations those are, a node can tell
/// ([`super::TrustState::shifts`]); what is signed far from any must say at least this.
fn waiting_counts(threshold: u64) -> String {
    let by = match threshold {
        1 => "by any one admin".to_owned(),
        count => format!("by {count} admins"),
    };
    format!(
        "revocations and lifts made {by} that wait for another admin come into force at once, those \
         of removed admins too"
    )
}

/// Which nodes are said to host a role, and which no longer.
fn hosts_changed(base: &Root, next: &Root, said: &mut Vec<String>) {
    let (before, after) = (base.hosts(), next.hosts());
    let added = after.iter().filter(|host| !before.contains(host));
    let removed = before.iter().filter(|host| !after.contains(host));
    said.extend(added.map(|host| {
        let RoleHost { node, signer } = host;
        format!("names node {node} as the host of {signer}: one admin alone cannot revoke it")
    }));
    said.extend(removed.map(|host| {
        let RoleHost { node, signer } = host;
        format!("no longer names node {node} as the host of {signer}")
    }));
}

fn number(what: &str, before: u64, after: u64, unit: &str, said: &mut Vec<String>) {
    if before != after {
        said.push(format!("{what}: {before}{unit} becomes {after}{unit}"));
    }
}

fn sets(
    crypto: &dyn Crypto,
    role: &str,
    before: &[SigningSet],
    after: &[SigningSet],
    said: &mut Vec<String>,
) {
    let added = after.iter().filter(|set| !before.contains(set));
    let removed = before.iter().filter(|set| !after.contains(set));
    said.extend(added.map(|set| format!("adds {role} {}", set.id(crypto))));
    said.extend(removed.map(|set| format!("removes {role} {}", set.id(crypto))));
}

fn retired(crypto: &dyn Crypto, base: &Root, next: &Root, said: &mut Vec<String>) {
    let new = next
        .retired()
        .iter()
        .filter(|r| !base.retired().contains(r));
    said.extend(new.map(|r| {
        format!(
            "of the revocations by admin {}, the first {} go on counting",
            r.admin.id(crypto),
            r.length
        )
    }));
    let gone = base
        .retired()
        .iter()
        .filter(|r| !next.retired().contains(r));
    said.extend(gone.map(|r| format!("forgets retired admin {}", r.admin.id(crypto))));
}

fn issuers_changed(
    crypto: &dyn Crypto,
    before: &[Issuer],
    after: &[Issuer],
    said: &mut Vec<String>,
) {
    let find = |list: &'_ [Issuer], keys: &SigningSet| -> Option<Issuer> {
        list.iter().find(|issuer| issuer.keys == *keys).cloned()
    };
    for issuer in after {
        let id = issuer.keys.id(crypto);
        let limits = limits(issuer);
        match find(before, &issuer.keys) {
            None => said.push(format!("adds issuer {id}: {limits}")),
            Some(old) if old != *issuer => said.push(format!(
                "limits of issuer {id}: {} becomes {limits}",
                self::limits(&old)
            )),
            Some(_) => {}
        }
    }
    let removed = before
        .iter()
        .filter(|issuer| find(after, &issuer.keys).is_none());
    said.extend(removed.map(|issuer| format!("removes issuer {}", issuer.keys.id(crypto))));
}

/// An issuer's limits, in words.
#[must_use]
pub fn limits(issuer: &Issuer) -> String {
    format!(
        "groups {}, sites {}, at most {}, {} an hour",
        names(issuer.groups.as_deref()),
        names(issuer.sites.as_deref()),
        life(issuer.max_life_s),
        issuer.max_per_hour
    )
}

fn names(names: Option<&[Name]>) -> String {
    match names {
        None => "any".to_owned(),
        Some([]) => "none".to_owned(),
        Some(names) => {
            let names: Vec<&str> = names.iter().map(Name::as_str).collect();
            names.join(" ")
        }
    }
}

/// A life in days where it is whole days.
fn life(seconds: u64) -> String {
    const DAY: u64 = 24 * 3600;
    match seconds % DAY {
        0 => format!("{} days", seconds / DAY),
        _ => format!("{seconds} s"),
    }
}
