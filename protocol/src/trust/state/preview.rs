//! What another root would change in what is revoked, for whoever is asked to sign it.
//!
//! Judged by the rules that will judge once it is in force, over what is held here now: another node
//! may hold more. Changes nothing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::super::Root;
use super::super::revocation::KeptEntry;
use super::super::root::RoleHost;
use super::TrustState;
use crate::crypto::Crypto;
use crate::id::{EntryId, NodeId, SignerId};

/// An entry whose effect another root would change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shift {
    /// The entry.
    pub entry: Arc<KeptEntry>,
    /// Whether it would be in force and is not; else it is in force and would not be.
    pub comes: bool,
    /// Whether its admin is retired under that root.
    pub retired: bool,
}

impl TrustState {
    /// The entries that would come into force, or would be in force no more, if `next` followed the
    /// root in force; in the order of logs and entries. Whether it may follow is not looked at.
    #[must_use]
    pub fn shifts(&self, crypto: &dyn Crypto, next: &Root) -> Vec<Shift> {
        let now = self.root.root();
        let hosts = role_hosts(crypto, next);
        let same = now.needed() == next.needed()
            && now.epoch == next.epoch
            && now.retired() == next.retired()
            && *self.root.role_hosts() == hosts;
        if same {
            return Vec::new();
        }
        let mut after = self.clone();
        let known = self.root.retired_ids();
        for retired in next.retired() {
            let id = retired.admin.id(crypto);
            if let Some(log) = after.logs.get_mut(&id).filter(|_| !known.contains(&id)) {
                Arc::make_mut(log).cut(retired);
            }
        }
        if now.epoch != next.epoch {
            for log in after.logs.values_mut() {
                Arc::make_mut(log).forget_marks();
            }
        }
        after.rejudge_by(next.needed(), &hosts);
        let retired: HashSet<SignerId> = next
            .retired()
            .iter()
            .map(|retired| retired.admin.id(crypto))
            .collect();
        let (before, then) = (self.effects(), after.effects());
        let differs = |(entry, in_force): (Arc<KeptEntry>, bool)| {
            let would = then
                .get(&entry.cause.entry)
                .is_some_and(|(_, would)| *would);
            let retired = retired.contains(&entry.cause.admin);
            (would != in_force).then_some(Shift {
                entry,
                comes: would,
                retired,
            })
        };
        let mut shifts: Vec<Shift> = before.into_values().filter_map(differs).collect();
        shifts.sort_by_key(|shift| (shift.entry.cause.admin, shift.entry.index));
        shifts
    }

    /// Every entry, and whether it is in force.
    fn effects(&self) -> HashMap<EntryId, (Arc<KeptEntry>, bool)> {
        let branches = self.logs.values().flat_map(|log| log.branches());
        let entries = branches.flat_map(|branch| {
            let standings = branch.standings().iter();
            branch.log().entries().iter().zip(standings)
        });
        let mut all: HashMap<EntryId, (Arc<KeptEntry>, bool)> = HashMap::new();
        for (kept, standing) in entries {
            let known = all.entry(kept.cause.entry);
            known.or_insert_with(|| (Arc::clone(kept), false)).1 |= standing.is_effective();
        }
        all
    }
}

/// The nodes that a root names as hosts of issuers and timestampers it has.
fn role_hosts(crypto: &dyn Crypto, root: &Root) -> HashSet<NodeId> {
    let issuers = root.issuers.iter().map(|issuer| &issuer.keys);
    let roles = issuers.chain(&root.timestampers);
    let roles: HashSet<SignerId> = roles.map(|keys| keys.id(crypto)).collect();
    let present = |host: &&RoleHost| roles.contains(&host.signer);
    let hosts = root.hosts().iter().filter(present);
    hosts.map(|host| host.node).collect()
}
