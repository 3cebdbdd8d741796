//! The trust state in the control API's words. Reads; decides nothing.

use protocol::control::{
    AdminInfo, BundleFile, BundleInfo, FileBytes, Freshness as FreshnessView, FreshnessState,
    IssuerInfo, MAX_EFFECTS, Proposal as ProposalView, ProposalKind, Revocation, RevocationState,
    Revocations, RootInfo, Target, TimestamperInfo, Trust,
};
use protocol::crypto::Crypto;
use protocol::distribution::LogRow;
use protocol::id::{EntryId, NodeId, SignerId};
use protocol::name::Name;
use protocol::time::{UnixMillis, UnixSeconds};
use protocol::trust::bundle::BundleBody;
use protocol::trust::changes;
use protocol::trust::revocation::{EMPTY, KeptEntry};
use protocol::trust::revoked::Standing;
use protocol::trust::state::Shift;
use protocol::trust::{Act, Freshness, Proposal, Proposed, Root, TrustState};

/// Fewest characters of an entry id's beginning that is looked for; fewer are a number.
const LEAST_BEGINNING: usize = 6;

/// Everything in force.
pub(super) fn trust(state: &TrustState, proposals: Vec<ProposalView>, now: UnixSeconds) -> Trust {
    let verified = state.root();
    let root = verified.root();
    let issuers = verified.issuer_ids().iter().zip(&root.issuers);
    Trust {
        mesh: state.mesh(),
        epoch: root.epoch,
        root: RootInfo {
            version: root.version,
            hash: verified.hash(),
            name: root.name.clone(),
            created: root.created,
            read_grace_s: root.read_grace_s,
            file: FileBytes(verified.bytes().to_vec()),
        },
        admins: admins(state),
        threshold: root.threshold,
        issuers: issuers
            .map(|(id, issuer)| IssuerInfo {
                id: *id,
                groups: issuer.groups.clone(),
                sites: issuer.sites.clone(),
                max_life_s: issuer.max_life_s,
                max_per_hour: issuer.max_per_hour,
            })
            .collect(),
        timestampers: verified
            .timestamper_ids()
            .iter()
            .map(|id| timestamper(state, *id))
            .collect(),
        bundle: state.bundle().map(|bundle| BundleInfo {
            version: bundle.version(),
            hash: bundle.hash(),
            policies: bundle.body().policies.len() as u64,
        }),
        freshness: freshness(state.freshness(now), root.lease_s),
        proposals,
    }
}

/// Admins in office, then retired ones.
fn admins(state: &TrustState) -> Vec<AdminInfo> {
    let root = state.root();
    let info = |id: &SignerId, retired_at: Option<u64>| {
        let log = state.log(id);
        AdminInfo {
            id: *id,
            entries: log.map_or(0, |log| log.log().length()),
            link: log.map_or(EMPTY, |log| log.log().link()),
            retired_at,
            forked: log.is_some_and(|log| log.is_forked()),
        }
    };
    let present = root.admin_ids().iter().map(|id| info(id, None));
    let past = root.retired_ids().iter().zip(root.root().retired());
    present
        .chain(past.map(|(id, retired)| info(id, Some(retired.length))))
        .collect()
}

fn timestamper(state: &TrustState, id: SignerId) -> TimestamperInfo {
    let newest = state.timestamp(&id);
    TimestamperInfo {
        id,
        version: newest.map(|newest| newest.content().version),
        time: newest.map(|newest| newest.time()),
    }
}

fn freshness(freshness: Freshness, lease_s: u64) -> FreshnessView {
    let (state, age_s) = match freshness {
        Freshness::Fresh { age_s } => (FreshnessState::Fresh, Some(age_s)),
        Freshness::Stale { age_s } => (FreshnessState::Stale, Some(age_s)),
        Freshness::None => (FreshnessState::Never, None),
        Freshness::ClockBehind { by_s } => (FreshnessState::ClockBehind, Some(by_s)),
    };
    FreshnessView {
        state,
        age_s,
        lease_s,
    }
}

/// The bundle in force, as signed.
pub(super) fn bundle(state: &TrustState) -> BundleFile {
    let bundle = state.bundle();
    BundleFile {
        version: bundle.map_or(0, protocol::trust::Bundle::version),
        hash: bundle.map(protocol::trust::Bundle::hash),
        created: bundle.map(|b| b.head().content().created),
        head: bundle.map(|b| FileBytes(b.head().shared().to_vec())),
        body: bundle.map(|b| FileBytes(b.body_bytes().to_vec())),
    }
}

/// A proposal and whose signatures it has.
pub(super) fn proposal(
    crypto: &dyn Crypto,
    proposal: &Proposal,
    effects: Vec<String>,
    overtaken: Option<String>,
) -> ProposalView {
    let standing = proposal.signatures(crypto);
    ProposalView {
        id: proposal.id(),
        kind: match proposal.proposed() {
            Proposed::Root(_) => ProposalKind::Root,
            Proposed::Bundle { .. } => ProposalKind::Bundle,
        },
        version: proposal.version(),
        created: proposal.created(),
        signed: standing.signed,
        unsigned: standing.unsigned,
        missing: standing.missing,
        changes: proposal.changes(crypto),
        effects,
        overtaken,
        file: FileBytes(proposal.file()),
    }
}

/// Why a proposal that follows the root in force can no longer take effect. A root that follows it
/// always can; a bundle cannot once one of its version is in force.
pub(super) fn overtaken(state: &TrustState, proposal: &Proposal) -> Option<String> {
    let Proposed::Bundle { .. } = proposal.proposed() else {
        return None;
    };
    let (held, version) = (state.bundle()?, proposal.version());
    let in_force = held.version();
    if version > in_force {
        None
    } else if proposal.id() == held.hash() {
        Some(format!("bundle {version} is in force already"))
    } else {
        Some(format!(
            "bundle {in_force} is in force: this one can no longer take effect, propose anew"
        ))
    }
}

/// What a bundle would change of the one in force, a sentence each.
pub(super) fn bundle_effects(
    state: &TrustState,
    proposal: &Proposal,
    next: &BundleBody,
) -> Vec<String> {
    if let Some(why) = overtaken(state, proposal) {
        return vec![why];
    }
    let held = state.bundle();
    let none = BundleBody::default();
    let mut said = changes::bundle(held.map_or(&none, |held| held.body()), next);
    if said.is_empty() {
        said.push("changes nothing of the bundle in force".to_owned());
    }
    let more = said.len().saturating_sub(MAX_EFFECTS);
    if more > 0 {
        said.truncate(MAX_EFFECTS);
        said.push(format!("and {more} further changes"));
    }
    said
}

/// What becomes of revocations under another root, a sentence each; what this node itself is cut off
/// by first.
pub(super) fn effects(
    shifts: &[Shift],
    next: &Root,
    own: NodeId,
    name: &dyn Fn(&NodeId) -> Option<Name>,
) -> Vec<String> {
    let named = |node: &NodeId| {
        let here = if *node == own { ", this node" } else { "" };
        match name(node) {
            Some(name) => format!("{name} ({}{here})", node.short()),
            None => format!("{node}{here}"),
        }
    };
    let host = |issuer: &SignerId| {
        let host = next.hosts().iter().find(|host| host.signer == *issuer);
        host.map_or_else(String::new, |host| {
            format!(" on node {}", named(&host.node))
        })
    };
    let mut sorted: Vec<&Shift> = shifts.iter().collect();
    // In force before out of force, and of those what concerns this node.
    sorted.sort_by_key(|shift| {
        (
            !shift.comes,
            !matches!(shift.entry.act, Act::Node(n) if n == own),
        )
    });
    let sentence = |shift: &&Shift| {
        let what = match &shift.entry.act {
            Act::Node(node) => format!("node {}", named(node)),
            Act::Agent { node: None, name } => format!("agent {name} on every node"),
            Act::Agent {
                node: Some(node),
                name,
            } => format!("agent {name} of node {}", named(node)),
            Act::Ticket(ticket) => format!("ticket {}", ticket.short()),
            Act::Tool(tool) => format!("the tool definition {}", tool.short()),
            Act::Issuer { issuer, .. } => {
                format!("memberships of issuer {}{}", issuer.short(), host(issuer))
            }
            Act::Lift(entry) => format!("the lift of {}", entry.short()),
        };
        let cause = &shift.entry.cause;
        let (id, admin, why) = (cause.entry.short(), cause.admin.short(), &cause.reason);
        let removed = if shift.retired { "removed " } else { "" };
        let verb = if shift.comes {
            "revokes"
        } else {
            "no longer revokes"
        };
        format!("{verb} {what}, as {removed}admin {admin} did ({id}) because: {why}")
    };
    let mut said: Vec<String> = sorted.iter().take(MAX_EFFECTS).map(sentence).collect();
    let more = shifts.len().saturating_sub(MAX_EFFECTS);
    if more > 0 {
        said.push(format!("and changes {more} further revocations"));
    }
    said
}

/// One entry and where it stands.
struct Placed<'a> {
    admin: SignerId,
    kept: &'a KeptEntry,
    standing: Standing,
}

/// Every entry in force or waiting; of a forked log those of both branches, what they share once.
fn placed(state: &TrustState) -> impl Iterator<Item = Placed<'_>> {
    state.logs().flat_map(|log| {
        let first = log.log();
        let branches = log.branches().enumerate();
        branches.flat_map(move |(number, branch)| {
            let entries = branch.log().entries().iter().zip(branch.standings());
            entries
                .filter(move |(kept, _)| {
                    let index = usize::try_from(kept.index).unwrap_or(usize::MAX);
                    let shared = first
                        .entries()
                        .get(index)
                        .is_some_and(|e| e.cause.entry == kept.cause.entry);
                    number == 0 || !shared
                })
                .map(move |(kept, standing)| Placed {
                    admin: first.admin(),
                    kept,
                    standing: *standing,
                })
        })
    })
}

/// What a reference selects: `ADMIN/INDEX`, `INDEX`, or the beginning of an id.
enum Wanted<'a> {
    All,
    At(Option<&'a str>, u64),
    Id(&'a str),
}

impl<'a> Wanted<'a> {
    fn of(reference: Option<&'a str>) -> Self {
        let Some(text) = reference else {
            return Self::All;
        };
        if let Some((admin, index)) = text.split_once('/') {
            // Whatever is no number is beyond every log.
            return Self::At(Some(admin), index.parse().unwrap_or(u64::MAX));
        }
        match text.parse() {
            Ok(index) if text.len() < LEAST_BEGINNING => Self::At(None, index),
            _ => Self::Id(text),
        }
    }

    fn selects(&self, placed: &Placed<'_>) -> bool {
        match self {
            Self::All => true,
            Self::At(admin, index) => {
                let of = admin.is_none_or(|admin| {
                    admin.len() >= 4 && placed.admin.to_string().starts_with(admin)
                });
                of && placed.kept.index == *index
            }
            Self::Id(text) => {
                text.len() >= LEAST_BEGINNING
                    && placed.kept.cause.entry.to_string().starts_with(text)
            }
        }
    }
}

/// Entries of all logs, newest first.
pub(super) fn revocations(
    state: &TrustState,
    reference: Option<&str>,
    limit: usize,
    name: &dyn Fn(&NodeId) -> Option<Name>,
) -> Revocations {
    let wanted = Wanted::of(reference);
    let total = state.logs().map(|log| log.log().length()).sum();
    let mut selected: Vec<Placed<'_>> = placed(state).filter(|p| wanted.selects(p)).collect();
    selected.sort_by_key(|p| core::cmp::Reverse((p.kept.cause.at, p.kept.index, p.admin)));
    selected.truncate(limit);
    Revocations {
        total,
        entries: selected.into_iter().map(|p| revocation(&p, name)).collect(),
    }
}

fn revocation(placed: &Placed<'_>, name: &dyn Fn(&NodeId) -> Option<Name>) -> Revocation {
    let kept = placed.kept;
    Revocation {
        id: kept.cause.entry,
        admin: placed.admin,
        index: kept.index,
        at: kept.cause.at,
        reason: kept.cause.reason.clone(),
        target: target(&kept.act, name),
        state: revocation_state(placed),
        link: kept.link,
    }
}

fn revocation_state(placed: &Placed<'_>) -> RevocationState {
    match placed.standing {
        Standing::Effective | Standing::Confirmed => RevocationState::Effective,
        Standing::Held => RevocationState::Held,
        Standing::Excess => RevocationState::Excess,
        Standing::Unconfirmed => RevocationState::Unconfirmed,
        Standing::Lifted => RevocationState::Lifted,
        Standing::Lift => RevocationState::Lift,
    }
}

fn target(act: &Act, name: &dyn Fn(&NodeId) -> Option<Name>) -> Target {
    match act {
        Act::Node(id) => Target::Node {
            id: *id,
            name: name(id),
        },
        Act::Agent { node, name } => Target::Agent {
            node: *node,
            name: name.clone(),
        },
        Act::Ticket(id) => Target::Ticket { id: *id },
        Act::Tool(digest) => Target::Tool { digest: *digest },
        Act::Issuer {
            issuer,
            since,
            since_sequence,
        } => Target::Issuer {
            id: *issuer,
            since: *since,
            since_sequence: *since_sequence,
        },
        Act::Lift(entry) => Target::Lift { entry: *entry },
    }
}

/// The state of its log that an entry completes, and when it was made.
pub(super) fn place(state: &TrustState, entry: &EntryId) -> Option<(LogRow, UnixMillis)> {
    let found = placed(state).find(|placed| placed.kept.cause.entry == *entry)?;
    let made = UnixMillis(found.kept.cause.at.0.saturating_mul(1000));
    let log = LogRow {
        admin: found.admin,
        length: found.kept.index.saturating_add(1),
        link: found.kept.link,
    };
    Some((log, made))
}
