//! Who is to be refused, judged from outside: from what the admins signed and how much of it a node
//! holds, by counting admins, and by nothing a trust state says.
//!
//! Of what one admin alone revokes only a part is effective, by dates that are the state's own
//! matter. So there are two answers: who *may* be refused and who *must* be.

use std::collections::BTreeSet;

use protocol::distribution::HeadSet;
use protocol::id::SignerId;

use super::authority::{Authority, Deed, Revocation};

/// What a node's holdings say of another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Grounds {
    /// Something that revokes it is there and not void.
    pub(crate) may: bool,
    /// And enough admins say so.
    pub(crate) must: bool,
}

/// What a root says of the log of an admin who is none any more.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    pub(crate) admin: usize,
    pub(crate) id: SignerId,
    /// The root that says so.
    pub(crate) root: u64,
    /// How many entries count.
    pub(crate) length: u64,
}

impl Authority {
    /// Whether who holds `heads` holds this entry, as one that counts.
    pub(crate) fn counts(&self, heads: &HeadSet, entry: &Revocation) -> bool {
        let id = self.admin_ids.get(entry.admin);
        let held = id.map_or(0, |id| heads.log_length(id));
        let cut = self.cuts.iter().find(|cut| cut.admin == entry.admin);
        let cut = cut.filter(|cut| heads.root.version >= cut.root);
        entry.index < cut.map_or(held, |cut| held.min(cut.length))
    }

    /// How many admins have, among what counts for who holds `heads`, an entry that `says` so.
    fn agree(&self, heads: &HeadSet, says: impl Fn(&Revocation) -> bool) -> usize {
        let entries = self.deeds().filter(|entry| says(entry));
        let admins = entries.filter(|entry| self.counts(heads, entry));
        admins
            .map(|entry| entry.admin)
            .collect::<BTreeSet<_>>()
            .len()
    }

    /// How many admins lift this entry, for who holds `heads`.
    pub(crate) fn lifts(&self, heads: &HeadSet, of: &Revocation) -> usize {
        let lift = Deed::Lift {
            admin: of.admin,
            index: of.index,
        };
        self.agree(heads, |entry| entry.deed == lift)
    }

    /// What who holds `heads` has against the node of this number, whose membership is by this
    /// issuer with that sequence.
    pub(crate) fn grounds(
        &self,
        heads: &HeadSet,
        node: usize,
        membership: (usize, u64),
    ) -> Grounds {
        let mut grounds = Grounds::default();
        for entry in self.deeds().filter(|e| e.hits(node, membership)) {
            let void = |e: &Revocation| self.lifts(heads, e) >= self.threshold;
            if entry.contested || !self.counts(heads, entry) || void(entry) {
                continue;
            }
            let same = |e: &Revocation| e.deed == entry.deed && !void(e);
            let confirmed = self.agree(heads, same) >= self.threshold;
            // No act on an issuer has any effect by one admin alone.
            grounds.may |= confirmed || matches!(entry.deed, Deed::Node(_));
            grounds.must |= confirmed;
        }
        grounds
    }
}

impl Revocation {
    /// Whether it revokes the node of this number, or its membership.
    pub(crate) fn hits(&self, node: usize, (issuer, sequence): (usize, u64)) -> bool {
        match self.deed {
            Deed::Node(target) => target == node,
            Deed::Issuer {
                issuer: of,
                sequence: since,
            } => of == issuer && sequence >= since,
            Deed::Lift { .. } | Deed::Other => false,
        }
    }
}
