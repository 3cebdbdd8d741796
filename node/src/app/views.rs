//! The node's state as operators see it: peers, servers, tools, decisions, evidence.
//!
//! Reads only. Nothing here holds a secret: specs are shown without their values.

use protocol::control::{
    DocumentVersions, EnvelopeSignature, EnvelopeSigner, Failure, FileBytes, Freshness,
    FreshnessState, Hop, IssuerAlarm, LinkPath, Peer, PeerState, PolicyStatus, Renewal, Secret,
    Server, ServerInfo, ServerState, Tool, TrustStatus,
};
use protocol::crypto::{Algorithm, Suite};
use protocol::envelope::hop::HopRecord;
use protocol::evidence::Evidence;
use protocol::id::NodeId;
use protocol::mcp::{self, Hints};
use protocol::name::Name;
use protocol::time::UnixSeconds;
use protocol::trust::state as trust;
use protocol::trust::{MemberFacts, NodeRecord, VerifiedMembership};
use serde_json::value::RawValue;

use super::node::Node;
use super::operations::stored;
use crate::call::TracedEnvelope;
use crate::doctor::{self, Bootstrap};
use crate::members::Member;
use crate::standing::Barred;
use crate::transport::LinkInfo;
use crate::upstream::{self, ServerSpec, ServerStatus};

impl Node {
    pub(super) fn peer(&self, member: Option<&Member>, link: Option<&LinkInfo>) -> Option<Peer> {
        let id = member
            .map(|m| m.membership.node())
            .or_else(|| link.map(|l| l.peer))?;
        let attempt = self.dialing.attempt(&id);
        let barred = member.and_then(|m| self.standing.member(&m.membership).err());
        let state = match (link, &attempt) {
            (None, _) if barred.is_some() => PeerState::Revoked,
            (Some(_), _) => PeerState::Connected,
            (None, Some(attempt)) if attempt.is_hopeful() => PeerState::Connecting,
            (None, _) => PeerState::Disconnected,
        };
        let content = member.map(|m| &m.membership);
        let record = member.and_then(|m| m.record.as_ref());
        let over_others = self.enforcer.heard_over_others(&id);
        let over_others = over_others.map(|at| at.seconds());
        Some(Peer {
            id,
            name: content.map(|c| c.name.clone()),
            state,
            address: link
                .map(|l| l.remote.to_string())
                .or_else(|| record.and_then(|r| r.addresses.first().cloned())),
            group: link.map(|l| l.group.clone()),
            signature_scheme: link.map(|l| l.signature_scheme.clone()),
            path: link.map(|_| LinkPath::Direct),
            relayed_by: self.relays_to(&id),
            heard_over_relays: over_others,
            handshake_ms: link.map(|l| l.handshake_ms),
            hello_ms: link.map(|l| l.hello_ms),
            rtts: link.and_then(|l| l.rtts).map(u32::from),
            rtt_ms: link.map(|l| l.rtt_ms),
            dialed: link.map(|l| l.dialed),
            since: link.map(|l| l.since.seconds()),
            last_seen: match link {
                Some(_) => Some(self.clock.now().seconds()),
                None => {
                    let heard = self.links.last_heard(id).map(|at| at.seconds());
                    heard.max(over_others).max(record.map(|r| r.issued))
                }
            },
            membership_expires: content.map(|c| c.not_after),
            groups: content.map(|c| c.groups.clone()).unwrap_or_default(),
            site: content.and_then(|c| c.site.clone()),
            servers: record
                .map(|r| r.servers.iter().map(|s| s.name.clone()).collect())
                .unwrap_or_default(),
            versions: link.and_then(|l| self.trust.heard_of(&l.peer)),
            last_reason: attempt
                .as_ref()
                .filter(|_| link.is_none())
                .and_then(|a| a.last_reason.clone()),
            last_error: barred.as_ref().map(ToString::to_string).or_else(|| {
                attempt
                    .filter(|_| link.is_none())
                    .and_then(|a| a.last_error)
            }),
        })
    }

    /// Every other node that is known, by name.
    pub(super) fn listed_peers(&self) -> Vec<Peer> {
        let links = self.links.all();
        let me = self.identity.node();
        let link_of = |id: NodeId| links.iter().find(|l| l.peer == id);
        let members = self.members.all();
        let mut peers: Vec<Peer> = members
            .iter()
            .filter(|m| m.membership.node() != me)
            .filter_map(|m| self.peer(Some(m), link_of(m.membership.node())))
            .chain(self.revoked_by_name())
            .collect();
        peers.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        peers
    }

    /// Other nodes of which a copy runs, as people call them.
    pub(super) fn copied(&self) -> Vec<String> {
        let named = |node: NodeId| {
            let member = self.members.member(&node);
            member.map_or_else(|| node.short(), |m| m.membership.name.to_string())
        };
        self.links.copied().into_iter().map(named).collect()
    }

    /// The trust documents in force, and whether others say that this node is revoked, which it may
    /// not have heard otherwise.
    pub(super) fn trust_status(&self) -> TrustStatus {
        let mut trust = self.trust();
        let unheard = self.links.all().is_empty() || trust.waiting.is_some();
        if trust.revoked.is_none() && unheard {
            trust.revoked = doctor::refused_as_revoked(&self.listed_peers(), &self.bootstraps());
        }
        trust
    }

    /// A hop record as a caller reads it.
    pub(super) fn hop(&self, record: &HopRecord) -> Hop {
        let named = |node: &NodeId| {
            let member = self.members.member(node);
            member.map_or_else(|| node.to_string(), |m| m.membership.name.to_string())
        };
        Hop {
            place: record.index,
            node: named(&record.node),
            verdict: record.verdict.clone(),
            bundle_version: record.bundle_version,
            from: named(&record.observed_peer),
            received_ms: record.received.0,
            sent_ms: record.sent.0,
        }
    }

    /// The names of those who would carry a call to this node now.
    pub(super) fn relays_to(&self, node: &NodeId) -> Vec<Name> {
        if *node == self.identity.node() {
            return Vec::new();
        }
        let relays = self.fabric.router().relays_to(node).unwrap_or_default();
        let named = relays.iter().filter_map(|relay| self.members.member(relay));
        named.map(|m| m.membership.name.clone()).collect()
    }

    /// The trust documents in force, as `status` and `doctor` show them.
    pub(super) fn trust(&self) -> TrustStatus {
        let state = self.standing.now();
        let root = state.root().root();
        let membership = self.identity.membership();
        let entries = state.heads().logs.iter().map(|row| row.length).sum();
        TrustStatus {
            versions: DocumentVersions {
                root: root.version,
                bundle: state.heads().bundle.map(|row| row.version),
                revocations: Some(entries),
            },
            admins: root.admins.len() as u64,
            threshold: root.threshold,
            issuers: root.issuers.len() as u64,
            timestampers: root.timestampers.len() as u64,
            freshness: Some(freshness(
                state.freshness(self.clock.now().seconds()),
                root.lease_s,
            )),
            renewal: Some(Renewal {
                due: membership.half_life(),
                failures: 0,
                last_error: None,
            }),
            revoked: self
                .standing
                .member(membership.facts())
                .err()
                .map(|b| b.to_string()),
            waiting: self.waiting(),
            issuer_alarms: self.issuer_alarms(),
            policies: Some(PolicyStatus {
                held: self.approvals.pending() as u64,
                ..self.policing.running().into()
            }),
        }
    }

    /// Revoked nodes that were known before the last start and by nothing but their names now.
    pub(super) fn revoked_by_name(&self) -> Vec<Peer> {
        let names = self.members.names_only().into_iter();
        names
            .filter_map(|(id, name)| {
                // A revocation that was lifted is of no interest here.
                let barred = self.standing.node(&id).err()?;
                Some(Peer {
                    id,
                    name: Some(name),
                    state: PeerState::Revoked,
                    address: None,
                    group: None,
                    signature_scheme: None,
                    path: None,
                    handshake_ms: None,
                    hello_ms: None,
                    rtts: None,
                    rtt_ms: None,
                    dialed: None,
                    since: None,
                    last_seen: None,
                    membership_expires: None,
                    groups: Vec::new(),
                    site: None,
                    versions: None,
                    servers: Vec::new(),
                    relayed_by: Vec::new(),
                    heard_over_relays: None,
                    last_reason: None,
                    last_error: Some(barred.to_string()),
                })
            })
            .collect()
    }

    fn issuer_alarms(&self) -> Vec<IssuerAlarm> {
        let alarms = self.members.issuer_alarms().into_iter();
        alarms
            .map(|alarm| IssuerAlarm {
                issuer: alarm.issuer,
                reason: alarm.reason.to_owned(),
                message: alarm.text,
                refused: alarm.refused,
                node: alarm.node,
            })
            .collect()
    }

    /// Why what this node knows may not be the present.
    fn waiting(&self) -> Option<String> {
        if self.standing.is_held() {
            return Some(Barred::Restored.to_string());
        }
        self.trust.unsynced().map(|peers| {
            format!(
                "none of the {peers} linked peers has sent all that it says it holds: what is in \
                 force here may be old, and the freshness lease decides"
            )
        })
    }

    /// One line for the service manager.
    pub(super) fn summary(&self) -> String {
        let (links, servers) = (self.links.all().len(), self.upstreams.list().len());
        let name = self.identity.name();
        format!("node {name}: {links} links, {servers} servers")
    }

    /// The addresses this node was told to dial, and what came of it.
    pub(super) fn bootstraps(&self) -> Vec<Bootstrap> {
        let seeds = self.dialing.starting_points().into_iter();
        seeds
            .map(|(seed, attempt)| Bootstrap {
                linked: seed.node.is_some_and(|n| self.links.get(n).is_some()),
                address: seed.address,
                node: seed.node,
                reason: attempt.and_then(|a| a.last_reason),
            })
            .collect()
    }

    pub(super) fn server(&self, status: ServerStatus, spec: Option<ServerInfo>) -> Server {
        let (state, last_error) = match status.state {
            upstream::ServerState::Starting => (ServerState::Starting, None),
            // A server is of use once its tools are known.
            upstream::ServerState::Ready if status.tools.is_none() => {
                (ServerState::Starting, status.unread)
            }
            upstream::ServerState::Ready => (ServerState::Ready, status.unread),
            upstream::ServerState::BackingOff { last_error, .. }
            | upstream::ServerState::Down { last_error } => {
                (ServerState::BackingOff, Some(last_error))
            }
        };
        let unknown = ServerInfo::Stdio {
            command: vec![status.summary],
            env: Vec::new(),
            cwd: None,
        };
        let unannounced = self.records.unannounced(&status.name);
        Server {
            name: status.name,
            spec: spec.unwrap_or(unknown),
            state,
            tools: status.tools.unwrap_or_default() as u64,
            last_words: last_words(state, status.stderr),
            tools_left_out: (status.tools_left_out + unannounced) as u64,
            restarts: status.restarts,
            last_error,
        }
    }

    /// The stored specs, without their secrets.
    pub(super) fn spec_infos(&self) -> Result<Vec<(Name, ServerInfo)>, Failure> {
        let servers = self
            .store
            .snapshot()
            .and_then(|s| s.servers())
            .map_err(stored)?;
        Ok(servers
            .into_iter()
            .filter_map(|(name, json)| {
                let spec: ServerSpec = serde_json::from_slice(&json).ok()?;
                Some((name, control_spec(&spec).info()))
            })
            .collect())
    }

    pub(super) fn signer(&self, envelope: &TracedEnvelope) -> Option<EnvelopeSigner> {
        let member = self.members.member(&envelope.issuer)?;
        let content = &member.membership;
        let signature = |&algorithm: &Algorithm| EnvelopeSignature {
            algorithm: match algorithm {
                Algorithm::MlDsa65 => "ML-DSA-65".to_owned(),
                Algorithm::Ed25519 => "Ed25519".to_owned(),
            },
            kid: content.signing.kid(&*self.identity.crypto, algorithm),
        };
        Some(EnvelopeSigner {
            envelope: envelope.id,
            node: content.name.clone(),
            node_id: envelope.issuer,
            signatures: Suite::Hybrid.algorithms().iter().map(signature).collect(),
        })
    }

    /// The evidence file of an envelope. There is none if no membership of its issuer is kept.
    pub(super) async fn evidence(&self, envelope: Option<&TracedEnvelope>) -> Option<FileBytes> {
        let envelope = envelope?;
        let member = self.members.member(&envelope.issuer)?;
        let membership = match self.signed_membership(&member.membership) {
            Some(membership) => membership,
            // What came a moment ago is still queued for the disk.
            None => {
                self.store.flush().await.ok()?;
                self.signed_membership(&member.membership)?
            }
        };
        let evidence = Evidence {
            root: self.identity.genesis().to_vec(),
            roots: self.standing.later_roots(),
            opened: envelope.opened.clone().map(Into::into),
            membership,
            envelope: envelope.bytes.clone()?,
        };
        Some(FileBytes(evidence.encode()))
    }

    /// The bytes of a member's membership, from the disk: those of the one the directory knows, or
    /// of another that binds the same keys now, as a record carries that is older than the hello a
    /// renewed one was heard in.
    fn signed_membership(&self, known: &MemberFacts) -> Option<Vec<u8>> {
        let own = self.identity.membership();
        if own.node() == known.node() {
            return Some(own.bytes().to_vec());
        }
        let crypto = &*self.identity.crypto;
        let snapshot = self.store.snapshot().ok()?;
        let record = snapshot.node_record(&known.node()).ok()?;
        let record = record.and_then(|bytes| NodeRecord::peek(&bytes).ok());
        let issued = snapshot.membership(&known.node()).ok()?;
        let mut kept: Vec<Vec<u8>> = record.map(|r| r.membership).into_iter().collect();
        kept.extend(issued);
        if let Some(at) = kept.iter().position(|bytes| known.are_of(crypto, bytes)) {
            return Some(kept.swap_remove(at));
        }
        let (root, now) = (self.identity.root(), self.clock.now().seconds());
        kept.into_iter().find(|bytes| {
            VerifiedMembership::verify(crypto, &root, bytes).is_ok_and(|m| {
                let same = m.node() == known.node() && m.content().signing == known.signing;
                same && m.valid_at(now).is_ok()
            })
        })
    }

    pub(super) fn gateway_url(&self) -> String {
        format!("http://{}/mcp", self.gateway_address)
    }

    /// Who is cut off here by policy, for people.
    pub(super) fn cut_off(&self) -> Vec<String> {
        let own = self.identity.node();
        let cut_off = self.enforcer.everybody_cut_off().into_iter();
        let shown = cut_off.map(|cut| {
            let node = match self.members.member(&cut.node) {
                _ if cut.node == own => "this node".to_owned(),
                Some(member) => format!("node `{}`", member.membership.name),
                None => format!("node {}", cut.node.short()),
            };
            let whom = match cut.agent {
                Some(agent) => format!("agent `{agent}` of {node}"),
                None => format!("all agents of {node}"),
            };
            let policy = cut.policy.map(|policy| format!(" by policy `{policy}`"));
            let policy = policy.unwrap_or_default();
            format!("{whom}{policy} for {} s", cut.left_s)
        });
        shown.collect()
    }

    pub(super) fn last_used(&self, agent: &Name) -> Option<UnixSeconds> {
        self.seen.last_used(agent).map(|at| at.seconds())
    }

    pub(super) fn tool(&self, server: &crate::session::ServerRef, raw: &str) -> Option<Tool> {
        #[derive(serde::Deserialize)]
        struct Definition {
            name: String,
            #[serde(default)]
            title: Option<String>,
            #[serde(default)]
            description: Option<String>,
            #[serde(default)]
            annotations: Option<Box<RawValue>>,
            #[serde(default, rename = "inputSchema")]
            input_schema: Option<Box<RawValue>>,
        }
        let definition: Definition = serde_json::from_str(raw).ok()?;
        let digest = mcp::tool_digest(&*self.identity.crypto, raw).ok()?;
        let added_intents = Hints::of_tool(raw).added_to(&definition.name);
        Some(Tool {
            node: server.node.clone(),
            server: server.server.clone(),
            name: definition.name,
            title: definition.title,
            description: definition.description,
            digest: digest.to_string(),
            annotations: definition.annotations,
            added_intents,
            input_schema: definition.input_schema,
            unlisted: false,
        })
    }

    /// The tools that a server's node announces beside those listed. An operator must know of all:
    /// who approves definitions cannot be shown only those approved already.
    pub(super) fn unlisted(
        &self,
        server: &crate::session::ServerRef,
        listed: &[Tool],
    ) -> Vec<Tool> {
        let member = self.members.member(&server.node_id);
        let record = member.as_ref().and_then(|m| m.record.as_ref());
        let servers = record.map(|r| r.servers.iter()).into_iter().flatten();
        let announced = servers.filter(|s| s.name == server.server);
        announced
            .flat_map(|s| s.tools.all())
            .filter(|(name, ..)| !listed.iter().any(|tool| tool.name == *name))
            .map(|(name, digest, hints)| Tool {
                node: server.node.clone(),
                server: server.server.clone(),
                name: name.to_owned(),
                title: None,
                description: None,
                digest: digest.to_string(),
                annotations: None,
                added_intents: hints.added_to(name),
                input_schema: None,
                unlisted: true,
            })
            .collect()
    }
}

fn freshness(found: trust::Freshness, lease_s: u64) -> Freshness {
    let (state, age_s) = match found {
        trust::Freshness::Fresh { age_s } => (FreshnessState::Fresh, Some(age_s)),
        trust::Freshness::Stale { age_s } => (FreshnessState::Stale, Some(age_s)),
        trust::Freshness::None => (FreshnessState::Never, None),
        trust::Freshness::ClockBehind { .. } => (FreshnessState::ClockBehind, None),
    };
    Freshness {
        state,
        age_s,
        lease_s,
    }
}

pub(super) fn upstream_spec(spec: protocol::control::ServerSpec) -> ServerSpec {
    use protocol::control::ServerSpec as Asked;
    let secrets = |map: std::collections::BTreeMap<String, Secret>| {
        map.into_iter()
            .map(|(k, v)| (k, upstream::Secret::from(v.expose())))
            .collect()
    };
    match spec {
        Asked::Stdio { command, env, cwd } => ServerSpec::Command {
            argv: command,
            env: secrets(env),
            cwd: cwd.map(Into::into),
        },
        Asked::Http { url, headers } => ServerSpec::Url {
            url,
            headers: secrets(headers),
            allow_plaintext: false,
        },
    }
}

pub(super) fn control_spec(spec: &ServerSpec) -> protocol::control::ServerSpec {
    use protocol::control::ServerSpec as Asked;
    let secrets = |map: &std::collections::BTreeMap<String, upstream::Secret>| {
        map.iter()
            .map(|(k, v)| (k.clone(), Secret::new(v.expose().to_owned())))
            .collect()
    };
    match spec {
        ServerSpec::Command { argv, env, cwd } => Asked::Stdio {
            command: argv.clone(),
            env: secrets(env),
            cwd: cwd.as_ref().map(|p| p.display().to_string()),
        },
        ServerSpec::Url { url, headers, .. } => Asked::Http {
            url: url.clone(),
            headers: secrets(headers),
        },
    }
}

/// Most lines of a server's standard error that operators are shown.
const MAX_LAST_WORDS: usize = 10;

/// The last words of a server that is down.
fn last_words(state: ServerState, mut stderr: Vec<String>) -> Vec<String> {
    if state != ServerState::BackingOff {
        return Vec::new();
    }
    stderr.split_off(stderr.len().saturating_sub(MAX_LAST_WORDS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_what_a_server_that_is_down_said_is_shown() {
        let said: Vec<String> = (0..30).map(|line| line.to_string()).collect();
        let shown = last_words(ServerState::BackingOff, said.clone());
        assert_eq!(shown.len(), MAX_LAST_WORDS);
        assert_eq!(shown.last(), said.last());
        assert_eq!(last_words(ServerState::BackingOff, vec!["x".into()]), ["x"]);
        assert!(last_words(ServerState::Ready, said).is_empty());
    }
}
