//! The admins and timestampers of the simulated mesh: they hold the keys, sign what is published,
//! and know all of it. No node of the mesh can do what is done here.

use anyhow::Context;
use protocol::crypto::{Signer, Suite};
use protocol::distribution::{Document, HeadSet};
use protocol::id::{NodeId, SignerId};
use protocol::limits::MAX_POLICIES;
use protocol::time::UnixSeconds;
use protocol::trust::bundle::Policy;
use protocol::trust::revocation::Log;
use protocol::trust::{Act, BundleBody, BundleHead, Bytes, Entry, Issuer, Offer, Root, TrustState};

use super::crypto::{KeySet, SeededCrypto};
use super::host::EPOCH_MS;
use super::scenario::Mesh;
use crate::rng::Rng;

/// Longest membership the simulated issuer may grant; none is granted.
const MEMBERSHIP_LIFE_S: u64 = 30 * 86_400;

/// How long before the run the mesh was founded.
const FOUNDED_BEFORE_S: u64 = 3_600;

/// An entry of a revocation log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Revocation {
    /// Which admin's log it stands in, and after how many others.
    pub(crate) admin: usize,
    pub(crate) index: u64,
    /// The node it revokes, if it revokes a node.
    pub(crate) target: Option<usize>,
    /// When it was published.
    pub(crate) at: u64,
    /// Whether its admin signed another in its place: who has an entry there may have that one.
    pub(crate) contested: bool,
}

/// The holders of the keys.
#[derive(Debug)]
pub(crate) struct Authority {
    admins: Vec<KeySet>,
    timestampers: Vec<KeySet>,
    threshold: usize,
    pub(crate) admin_ids: Vec<SignerId>,
    logs: Vec<Log>,
    /// Everything published, in force.
    state: TrustState,
    /// Every revocation published, in order.
    pub(crate) revocations: Vec<Revocation>,
    /// The same by log and index: positions in `revocations`.
    by_log: Vec<Vec<usize>>,
}

impl Authority {
    /// Founds a mesh: a genesis root, and one timestamp.
    pub(crate) fn found(crypto: &SeededCrypto, rng: &mut Rng, mesh: &Mesh) -> anyhow::Result<Self> {
        let mut keys = |count| (0..count).map(|_| KeySet::new(rng)).collect::<Vec<_>>();
        let (admins, timestampers) = (keys(mesh.admins), keys(mesh.timestampers));
        let issuers = keys(1);
        let root = Root {
            version: 1,
            epoch: 1,
            mesh: None,
            name: "simulated".parse()?,
            suite: Suite::Hybrid.byte(),
            created: start().minus(FOUNDED_BEFORE_S),
            admins: admins.iter().map(|k| k.public().clone()).collect(),
            threshold: mesh.threshold as u64,
            issuers: issuers.iter().map(issuer).collect(),
            timestampers: timestampers.iter().map(|k| k.public().clone()).collect(),
            lease_s: mesh.lease_s,
            read_grace_s: mesh.lease_s,
            nonce: rng.bytes::<16>().to_vec(),
            previous: None,
            retired: None,
        };
        let signers: Vec<&dyn Signer> = dyns(&admins).take(mesh.threshold).collect();
        let state = TrustState::genesis(crypto, &root.sign(crypto, &signers)?)?;
        let admin_ids: Vec<SignerId> = admins.iter().map(|k| k.public().id(crypto)).collect();
        let log = |id: &SignerId| Log::new(state.mesh(), *id);
        let mut authority = Self {
            logs: admin_ids.iter().map(log).collect(),
            by_log: vec![Vec::new(); mesh.admins],
            threshold: mesh.threshold,
            revocations: Vec::new(),
            admins,
            timestampers,
            admin_ids,
            state,
        };
        let nodes = mesh.nodes as u64;
        let state = authority.state.clone();
        authority.timestamp(crypto, 0, &state, start(), nodes)?;
        Ok(authority)
    }

    /// Everything published, in force.
    pub(crate) const fn state(&self) -> &TrustState {
        &self.state
    }

    /// The versions of everything published.
    pub(crate) fn heads(&self) -> HeadSet {
        self.state.heads()
    }

    /// The revocation at `index` of the log of the admin with this number.
    pub(crate) fn revocation(&self, admin: usize, index: u64) -> Option<(usize, Revocation)> {
        let index = usize::try_from(index).ok()?;
        let number = *self.by_log.get(admin)?.get(index)?;
        Some((number, *self.revocations.get(number)?))
    }

    /// Revokes nodes: their numbers and identifiers.
    pub(crate) fn revoke_nodes(
        &mut self,
        crypto: &SeededCrypto,
        at: u64,
        now: UnixSeconds,
        admin: usize,
        targets: &[(usize, NodeId)],
    ) -> anyhow::Result<Vec<Document>> {
        let act = |(node, id): &(usize, NodeId)| (Some(*node), Act::Node(*id));
        self.revoke(crypto, at, now, admin, targets.iter().map(act).collect())
    }

    /// Revokes `count` agents that call themselves something new.
    pub(crate) fn revoke_agents(
        &mut self,
        crypto: &SeededCrypto,
        at: u64,
        now: UnixSeconds,
        admin: usize,
        count: u64,
    ) -> anyhow::Result<Vec<Document>> {
        let first = self.revocations.len() as u64;
        let mut acts = Vec::new();
        for number in first..first + count {
            let name = format!("agent-{number}").parse()?;
            acts.push((None, Act::Agent { node: None, name }));
        }
        self.revoke(crypto, at, now, admin, acts)
    }

    /// Revokes what other admins have revoked of nodes.
    pub(crate) fn confirm(
        &mut self,
        crypto: &SeededCrypto,
        at: u64,
        now: UnixSeconds,
        admin: usize,
        ids: &[NodeId],
    ) -> anyhow::Result<Vec<Document>> {
        let others = self.revocations.iter().filter(|r| r.admin != admin);
        let targets = others.filter_map(|r| r.target);
        let targets: Vec<(usize, NodeId)> =
            targets.filter_map(|t| Some((t, *ids.get(t)?))).collect();
        self.revoke_nodes(crypto, at, now, admin, &targets)
    }

    /// Signs two histories of an admin's log, each of which revokes one of two nodes.
    pub(crate) fn fork(
        &mut self,
        crypto: &SeededCrypto,
        at: u64,
        now: UnixSeconds,
        admin: usize,
        targets: [(usize, NodeId); 2],
    ) -> anyhow::Result<[Vec<Document>; 2]> {
        let [one, other] = targets;
        let mut log = self.logs.get(admin).context("no such admin")?.clone();
        let first = self.revoke_nodes(crypto, at, now, admin, &[one])?;
        if let Some(last) = self.revocations.last_mut() {
            last.contested = true;
        }
        let keys = self.admins.get(admin).context("no such admin")?;
        let second = extend(crypto, keys, &mut log, now, vec![Act::Node(other.1)])?;
        // Who holds one history takes another from its beginning only.
        let whole = Document::LogEntries {
            admin: log.admin(),
            from: 0,
            entries: log.encoded(0, usize::MAX),
        };
        for document in second.iter().take(1).chain([&whole]) {
            self.state.offer(crypto, now, document)?;
        }
        Ok([first, second])
    }

    fn revoke(
        &mut self,
        crypto: &SeededCrypto,
        at: u64,
        now: UnixSeconds,
        admin: usize,
        acts: Vec<(Option<usize>, Act)>,
    ) -> anyhow::Result<Vec<Document>> {
        let log = self.logs.get_mut(admin).context("no such admin")?;
        let keys = self.admins.get(admin).context("no such admin")?;
        for (index, (target, _)) in (log.length()..).zip(&acts) {
            if let Some(by_log) = self.by_log.get_mut(admin) {
                by_log.push(self.revocations.len());
            }
            self.revocations.push(Revocation {
                admin,
                index,
                target: *target,
                at,
                contested: false,
            });
        }
        let acts = acts.into_iter().map(|(_, act)| act).collect();
        let documents = extend(crypto, keys, log, now, acts)?;
        self.take(crypto, now, documents)
    }

    /// The next bundle, of `policies` policies.
    pub(crate) fn bundle(
        &mut self,
        crypto: &SeededCrypto,
        now: UnixSeconds,
        policies: usize,
    ) -> anyhow::Result<Vec<Document>> {
        let version = self.state.bundle().map_or(0, |b| b.version()) + 1;
        let mut body = BundleBody::default();
        for number in 0..policies.min(MAX_POLICIES) {
            body.policies.push(Policy {
                name: format!("policy-{number:05}").parse()?,
                media_type: "application/json".to_owned(),
                bytes: format!("{{\"version\":{version},\"policy\":{number}}}").into_bytes(),
            });
        }
        let body: Bytes = body.encode().into();
        let head = BundleHead::over(crypto, self.state.root(), version, now, &body);
        let signers: Vec<&dyn Signer> = dyns(&self.admins).take(self.threshold).collect();
        let head = head.sign(crypto, &signers)?;
        let documents = vec![
            Document::BundleHead(head.into()),
            Document::BundleBody(body),
        ];
        self.take(crypto, now, documents)
    }

    /// The next root: the same in all but its version.
    pub(crate) fn root(
        &mut self,
        crypto: &SeededCrypto,
        now: UnixSeconds,
    ) -> anyhow::Result<Vec<Document>> {
        let before = self.state.root();
        let root = Root {
            version: before.root().version + 1,
            mesh: Some(before.mesh()),
            created: now,
            previous: Some(before.hash()),
            ..before.root().clone()
        };
        let signers: Vec<&dyn Signer> = dyns(&self.admins).take(self.threshold).collect();
        let bytes = root.sign(crypto, &signers)?;
        self.take(crypto, now, vec![Document::Root(bytes.into())])
    }
}

/// Appends entries to a log and signs its head; head and entries, to be published.
fn extend(
    crypto: &SeededCrypto,
    keys: &KeySet,
    log: &mut Log,
    now: UnixSeconds,
    acts: Vec<Act>,
) -> anyhow::Result<Vec<Document>> {
    let (admin, from) = (log.admin(), log.length());
    for act in acts {
        let entry = Entry {
            index: log.length(),
            at: now,
            act,
            reason: "simulated".to_owned(),
        };
        log.append(crypto, &entry.encode())?;
    }
    let head = log.head(now).sign(crypto, keys)?;
    let entries = Document::LogEntries {
        admin,
        from,
        entries: log.encoded(from, usize::MAX),
    };
    Ok(vec![Document::LogHead(head.into()), entries])
}

fn dyns(keys: &[KeySet]) -> impl Iterator<Item = &dyn Signer> {
    keys.iter().map(|k| k as &dyn Signer)
}

fn issuer(keys: &KeySet) -> Issuer {
    Issuer {
        keys: keys.public().clone(),
        groups: None,
        sites: None,
        max_life_s: MEMBERSHIP_LIFE_S,
        max_per_hour: 100_000,
    }
}

/// True time at the beginning of a run.
pub(crate) const fn start() -> UnixSeconds {
    UnixSeconds(EPOCH_MS / 1000)
}

impl Authority {
    /// Takes documents into force here.
    fn take(
        &mut self,
        crypto: &SeededCrypto,
        now: UnixSeconds,
        documents: Vec<Document>,
    ) -> anyhow::Result<Vec<Document>> {
        let mut last = None;
        for document in &documents {
            last = Some(self.state.offer(crypto, now, document)?);
        }
        anyhow::ensure!(
            matches!(last, Some(Offer::New(_))),
            "what was just signed is not taken: {last:?}"
        );
        Ok(documents)
    }

    /// The next timestamp of the timestamper with this number, over what is in force in `state`.
    pub(crate) fn timestamp(
        &mut self,
        crypto: &SeededCrypto,
        number: usize,
        state: &TrustState,
        time: UnixSeconds,
        nodes: u64,
    ) -> anyhow::Result<Vec<Document>> {
        let keys = self
            .timestampers
            .get(number)
            .context("no such timestamper")?;
        let by = keys.public().id(crypto);
        let timestamp = state.draft_timestamp(by, time, nodes);
        let bytes = timestamp.sign(crypto, keys)?;
        self.take(crypto, time, vec![Document::Timestamp(bytes.into())])
    }
}
