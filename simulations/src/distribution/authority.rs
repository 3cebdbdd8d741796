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
use protocol::trust::revocation::entry_id;
use protocol::trust::root::Retired;
use protocol::trust::{Act, BundleBody, BundleHead, Bytes, Entry, Issuer, Offer, Root, TrustState};

use super::crypto::{KeySet, SeededCrypto};
use super::grounds::Cut;
use super::host::EPOCH_MS;
use super::scenario::Mesh;
use crate::rng::Rng;

/// Longest membership the simulated issuer may grant; none is granted.
const MEMBERSHIP_LIFE_S: u64 = 30 * 86_400;

/// How long before the run the mesh was founded.
const FOUNDED_BEFORE_S: u64 = 3_600;

/// When the memberships of the run's nodes began, before the run.
const ISSUED_BEFORE_S: u64 = 1_800;

/// A time by which nothing was issued: issuers are revoked by sequence here.
const NEVER_ISSUED: UnixSeconds = UnixSeconds(u64::MAX >> 16);

/// From which the second issuer's keys come; no run's seed has a say in them.
const SECOND_ISSUER: u64 = 2;

/// What an entry does to the nodes of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Revokes the node of this number.
    Node(usize),
    /// Voids what the issuer of this number has issued from a sequence on.
    Issuer { issuer: usize, sequence: u64 },
    /// Lifts an entry.
    Lift { admin: usize, index: u64 },
    /// Nothing.
    Other,
}

/// An entry of a revocation log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Revocation {
    /// Which admin's log it stands in, and after how many others.
    pub(crate) admin: usize,
    pub(crate) index: u64,
    pub(crate) deed: Deed,
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
    pub(crate) threshold: usize,
    pub(crate) admin_ids: Vec<SignerId>,
    pub(crate) issuer_ids: Vec<SignerId>,
    /// Of admins that are none any more.
    pub(crate) cuts: Vec<Cut>,
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
        let mut issuers = keys(1);
        issuers.push(KeySet::new(&mut Rng::new(SECOND_ISSUER)));
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
            hosts: None,
        };
        let signers: Vec<&dyn Signer> = dyns(&admins).take(mesh.threshold).collect();
        let state = TrustState::genesis(crypto, &root.sign(crypto, &signers)?)?;
        let admin_ids: Vec<SignerId> = admins.iter().map(|k| k.public().id(crypto)).collect();
        let log = |id: &SignerId| Log::new(state.mesh(), *id);
        let mut authority = Self {
            logs: admin_ids.iter().map(log).collect(),
            by_log: vec![Vec::new(); mesh.admins],
            issuer_ids: issuers.iter().map(|k| k.public().id(crypto)).collect(),
            cuts: Vec::new(),
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
        let act = |(node, id): &(usize, NodeId)| (Deed::Node(*node), Act::Node(*id));
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
            acts.push((Deed::Other, Act::Agent { node: None, name }));
        }
        self.revoke(crypto, at, now, admin, acts)
    }

    /// Voids what the second issuer has issued from this sequence on.
    pub(crate) fn revoke_issuer(
        &mut self,
        crypto: &SeededCrypto,
        at: u64,
        now: UnixSeconds,
        admin: usize,
        sequence: u64,
    ) -> anyhow::Result<Vec<Document>> {
        let act = self.against_issuer(sequence)?;
        self.revoke(crypto, at, now, admin, vec![act])
    }

    fn against_issuer(&self, sequence: u64) -> anyhow::Result<(Deed, Act)> {
        let issuer = 1;
        let id = self.issuer_ids.get(issuer).context("no such issuer")?;
        let act = Act::Issuer {
            issuer: *id,
            since: NEVER_ISSUED,
            since_sequence: Some(sequence),
        };
        Ok((Deed::Issuer { issuer, sequence }, act))
    }

    /// Revokes what other admins have revoked of nodes and issuers.
    pub(crate) fn confirm(
        &mut self,
        crypto: &SeededCrypto,
        at: u64,
        now: UnixSeconds,
        admin: usize,
        ids: &[NodeId],
    ) -> anyhow::Result<Vec<Document>> {
        let mut acts = Vec::new();
        for entry in self.revocations.iter().filter(|r| r.admin != admin) {
            match entry.deed {
                Deed::Node(node) => {
                    let id = ids.get(node).context("no such node")?;
                    acts.push((entry.deed, Act::Node(*id)));
                }
                Deed::Issuer { sequence, .. } => acts.push(self.against_issuer(sequence)?),
                Deed::Lift { .. } | Deed::Other => {}
            }
        }
        self.revoke(crypto, at, now, admin, acts)
    }

    /// Lifts what other admins have revoked of nodes.
    pub(crate) fn lift(
        &mut self,
        crypto: &SeededCrypto,
        at: u64,
        now: UnixSeconds,
        admin: usize,
    ) -> anyhow::Result<Vec<Document>> {
        let mesh = self.state.mesh();
        let mut acts = Vec::new();
        for entry in self.deeds().filter(|entry| entry.admin != admin) {
            let log = self.logs.get(entry.admin).context("no such admin")?;
            let bytes = log.encoded(entry.index, 1).pop();
            if let (Deed::Node(_), Some(bytes)) = (entry.deed, bytes) {
                let lift = Deed::Lift {
                    admin: entry.admin,
                    index: entry.index,
                };
                let id = entry_id(crypto, &mesh, &log.admin(), &bytes);
                acts.push((lift, Act::Lift(id)));
            }
        }
        self.revoke(crypto, at, now, admin, acts)
    }

    /// What an admin signs whom nobody believes any more; kept by nobody here.
    pub(crate) fn rogue(
        &self,
        crypto: &SeededCrypto,
        now: UnixSeconds,
        admin: usize,
        target: NodeId,
    ) -> anyhow::Result<Vec<Document>> {
        let mut log = self.logs.get(admin).context("no such admin")?.clone();
        let keys = self.admins.get(admin).context("no such admin")?;
        extend(crypto, keys, &mut log, now, vec![Act::Node(target)])
    }

    /// The entries that do something to a node of the run, or lift one that does.
    pub(crate) fn deeds(&self) -> impl Iterator<Item = &Revocation> {
        let entries = self.revocations.iter();
        entries.filter(|entry| entry.deed != Deed::Other)
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
        acts: Vec<(Deed, Act)>,
    ) -> anyhow::Result<Vec<Document>> {
        let log = self.logs.get_mut(admin).context("no such admin")?;
        let keys = self.admins.get(admin).context("no such admin")?;
        for (index, (deed, _)) in (log.length()..).zip(&acts) {
            if let Some(by_log) = self.by_log.get_mut(admin) {
                by_log.push(self.revocations.len());
            }
            self.revocations.push(Revocation {
                admin,
                index,
                deed: *deed,
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
        let signers = self.signers();
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
        self.succeed(crypto, now, |_| {})
    }

    /// The next root, of a new epoch.
    pub(crate) fn epoch(
        &mut self,
        crypto: &SeededCrypto,
        now: UnixSeconds,
    ) -> anyhow::Result<Vec<Document>> {
        self.succeed(crypto, now, |root| root.epoch += 1)
    }

    /// The next root, in which this admin is none any more; of its log all but the last `void`
    /// entries count.
    pub(crate) fn retire(
        &mut self,
        crypto: &SeededCrypto,
        now: UnixSeconds,
        admin: usize,
        void: u64,
    ) -> anyhow::Result<Vec<Document>> {
        let log = self.logs.get(admin).context("no such admin")?;
        let length = log.length().saturating_sub(void);
        let keys = self.admins.get(admin).context("no such admin")?;
        let public = keys.public().clone();
        let retired = Retired {
            admin: public.clone(),
            length,
            link: log.link_at(length).context("no such place in the log")?,
        };
        self.cuts.push(Cut {
            admin,
            id: log.admin(),
            root: self.state.root().root().version + 1,
            length,
        });
        self.succeed(crypto, now, |root| {
            root.admins.retain(|known| *known != public);
            root.retired.get_or_insert_default().push(retired);
        })
    }

    fn succeed(
        &mut self,
        crypto: &SeededCrypto,
        now: UnixSeconds,
        change: impl FnOnce(&mut Root),
    ) -> anyhow::Result<Vec<Document>> {
        let before = self.state.root();
        let mut root = Root {
            version: before.root().version + 1,
            mesh: Some(before.mesh()),
            created: now,
            previous: Some(before.hash()),
            ..before.root().clone()
        };
        change(&mut root);
        let signers = self.signers();
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

/// When the memberships of the run's nodes began.
pub(crate) const fn issued() -> UnixSeconds {
    start().minus(ISSUED_BEFORE_S)
}

/// True time at the beginning of a run.
pub(crate) const fn start() -> UnixSeconds {
    UnixSeconds(EPOCH_MS / 1000)
}

impl Authority {
    /// The first admins that are still ones, as many as must sign.
    fn signers(&self) -> Vec<&dyn Signer> {
        let numbered = self.admins.iter().enumerate();
        let gone = |admin: usize| self.cuts.iter().any(|cut| cut.admin == admin);
        let admins = numbered.filter(|(number, _)| !gone(*number));
        let signers = admins.map(|(_, keys)| keys as &dyn Signer);
        signers.take(self.threshold).collect()
    }

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
