//! What the control API asks, done.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use hedgerow_crypto::verify_composite;
use protocol::control::{
    AddAgent, AddServer, Admission, Agent, AgentToken, CallReply, CallRequest, Decision,
    DecisionQuery, Dial, EnvelopeSignature, EnvelopeSigner, Failure, FailureKind, FileBytes,
    IssueMembership, LinkPath, MAX_DECISIONS, MembershipRequestInfo, Peer, PeerState, Secret,
    Server, ServerFilter, ServerInfo, ServerState, Status, Tool,
};
use protocol::control::{Condition, Counters, MeshInfo, NodeInfo, StoreInfo, TimeHealth};
use protocol::crypto::{Algorithm, Suite, TLS_PUBLIC_LEN};
use protocol::evidence::Evidence;
use protocol::id::NodeId;
use protocol::mcp;
use protocol::name::Name;
use protocol::record::DecisionRecord;
use protocol::time::UnixSeconds;
use protocol::trust::membership::sorted_names;
use protocol::trust::{self, Membership, MembershipRequest, PeerAddress};
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::node::Node;
use super::probe::{Probe, read};
use crate::call::{Trace, TracedEnvelope};
use crate::control::{Caller, Operations};
use crate::members::{Member, Resolved};
use crate::session::{ErrorKind, Fabric as _, KnownServer, Principal, SessionError};
use crate::store::{Agent as StoredAgent, StoreError, Write};
use crate::transport::LinkInfo;
use crate::upstream::{self, ServerSpec, ServerStatus};

const DAY_S: u64 = 24 * 3600;

impl Node {
    fn failure(error: SessionError) -> Failure {
        let kind = match error.kind {
            ErrorKind::Deny | ErrorKind::Refuse => FailureKind::Denied,
            ErrorKind::InvalidMessage => FailureKind::Invalid,
            ErrorKind::Unreachable | ErrorKind::Overload => FailureKind::Unavailable,
            ErrorKind::Upstream | ErrorKind::BrokenStream => FailureKind::Unavailable,
        };
        let place = match (&error.node, &error.server) {
            (Some(node), Some(server)) => format!("{node}/{server}: "),
            _ => String::new(),
        };
        let mut failure = Failure::new(kind, &error.reason, format!("{place}{}", error.message));
        failure.hint = error.hint;
        failure
    }

    /// The servers a filter selects; a name that selects nothing is an error.
    fn select(&self, filter: &ServerFilter) -> Result<Vec<KnownServer>, Failure> {
        let now = self.clock.now().seconds();
        if let Some(node) = &filter.node {
            match self.members.resolve(node, now) {
                Resolved::One(_) => {}
                Resolved::Nobody => {
                    let text = format!("no node `{node}` is known here");
                    return Err(Failure::new(FailureKind::NotFound, "unknown_node", text)
                        .with_hint("see `hedgerow peers`"));
                }
                Resolved::Several(ids) => {
                    let ids: Vec<String> = ids.iter().map(NodeId::to_string).collect();
                    let text = format!("several nodes are named `{node}`: {}", ids.join(", "));
                    return Err(Failure::new(FailureKind::Conflict, "ambiguous_node", text));
                }
            }
        }
        let wanted = |known: &KnownServer| {
            filter.node.as_ref().is_none_or(|n| *n == known.server.node)
                && filter
                    .server
                    .as_ref()
                    .is_none_or(|s| *s == known.server.server)
        };
        let found: Vec<KnownServer> = self.fabric.servers().into_iter().filter(wanted).collect();
        if found.is_empty() && filter.server.is_some() {
            let place = filter
                .node
                .as_ref()
                .map(|n| format!(" on node `{n}`"))
                .unwrap_or_default();
            let server = filter
                .server
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default();
            let text = format!("no server `{server}`{place} is known here");
            return Err(Failure::new(FailureKind::NotFound, "unknown_server", text)
                .with_hint("see `hedgerow tools`"));
        }
        Ok(found)
    }

    fn peer(&self, member: Option<&Member>, link: Option<&LinkInfo>) -> Option<Peer> {
        let id = member
            .map(|m| m.membership.node())
            .or_else(|| link.map(|l| l.peer))?;
        let attempt = self.dialing.attempt(&id);
        let state = match (link, &attempt) {
            (Some(_), _) => PeerState::Connected,
            (None, Some(attempt)) if attempt.failures == 0 => PeerState::Connecting,
            (None, _) => PeerState::Disconnected,
        };
        let content = member.map(|m| m.membership.content());
        let record = member.and_then(|m| m.record.as_ref());
        Some(Peer {
            id,
            name: content.map(|c| c.name.clone()),
            state,
            address: link
                .map(|l| l.remote.to_string())
                .or_else(|| record.and_then(|r| r.content.addresses.first().cloned())),
            group: link.map(|l| l.group.clone()),
            signature_scheme: link.map(|l| l.signature_scheme.clone()),
            path: link.map(|_| LinkPath::Direct),
            handshake_ms: link.map(|l| l.handshake_ms),
            hello_ms: link.map(|l| l.hello_ms),
            rtts: link.and_then(|l| l.rtts).map(u32::from),
            rtt_ms: link.map(|l| l.rtt_ms),
            dialed: link.map(|l| l.dialed),
            since: link.map(|l| l.since.seconds()),
            last_seen: match link {
                Some(_) => Some(self.clock.now().seconds()),
                None => record.map(|r| r.content.issued),
            },
            membership_expires: content.map(|c| c.not_after),
            servers: record
                .map(|r| r.content.servers.iter().map(|s| s.name.clone()).collect())
                .unwrap_or_default(),
            last_error: attempt
                .filter(|_| link.is_none())
                .and_then(|a| a.last_error),
        })
    }

    fn server(&self, status: ServerStatus, spec: Option<ServerInfo>) -> Server {
        let (state, last_error) = match status.state {
            upstream::ServerState::Starting => (ServerState::Starting, None),
            // A server is of use once its tools are known.
            upstream::ServerState::Ready if status.tools.is_none() => (ServerState::Starting, None),
            upstream::ServerState::Ready => (ServerState::Ready, None),
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
        Server {
            name: status.name,
            spec: spec.unwrap_or(unknown),
            state,
            tools: status.tools.unwrap_or_default() as u64,
            restarts: status.restarts,
            last_error,
        }
    }

    /// The stored specs, without their secrets.
    fn spec_infos(&self) -> Result<Vec<(Name, ServerInfo)>, Failure> {
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

    fn signer(&self, envelope: &TracedEnvelope) -> Option<EnvelopeSigner> {
        let member = self.members.member(&envelope.issuer)?;
        let content = member.membership.content();
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

    fn evidence(&self, envelope: &TracedEnvelope) -> Option<FileBytes> {
        let member = self.members.member(&envelope.issuer)?;
        let evidence = Evidence {
            root: self.identity.root.bytes().to_vec(),
            membership: member.membership.bytes().to_vec(),
            envelope: envelope.bytes.clone()?,
        };
        Some(FileBytes(evidence.encode()))
    }

    fn verify_request(&self, bytes: &[u8]) -> Result<trust::VerifiedRequest, Failure> {
        MembershipRequest::verify(&*self.identity.crypto, bytes, |key, message, signature| {
            let key = key.first_chunk::<TLS_PUBLIC_LEN>();
            key.is_some_and(|key| verify_composite(key, message, &[], signature).is_ok())
        })
        .map_err(|e| {
            let text = format!("not a membership request: {e}");
            Failure::new(FailureKind::Invalid, e.reason(), text)
                .with_hint("make one on the other host with `hedgerow id --request FILE`")
        })
    }

    fn principal(&self, agent: Option<Name>) -> Principal {
        Principal {
            agent: agent.unwrap_or_else(Name::operator),
        }
    }
}

#[async_trait]
impl Operations for Node {
    async fn status(&self) -> Result<Status, Failure> {
        let now = self.clock.now();
        let content = self.identity.membership.content();
        let decisions = self
            .store
            .snapshot()
            .and_then(|s| s.last_decision())
            .map_err(stored)?;
        let greatest = self.enforcer.greatest_time();
        let behind = greatest.0.saturating_sub(now.seconds().0);
        let behind = (behind > protocol::envelope::replay::MAX_CLOCK_BEHIND_S).then_some(behind);
        let pending = self.readiness.pending();
        let mut refusals = self.counters.snapshot();
        refusals.extend(self.links.counters().snapshot());
        let calls = self.enforcer.calls();
        let counters = Counters {
            calls_out: calls.outgoing(),
            calls_in: calls.incoming(),
            refusals,
        };
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            mesh: MeshInfo {
                id: self.identity.mesh(),
                name: self.identity.root.root().name.clone(),
            },
            node: NodeInfo {
                id: self.identity.node(),
                name: content.name.clone(),
                groups: content.groups.clone(),
                site: content.site.clone(),
                membership_expires: content.not_after,
            },
            listen: self
                .links
                .local_addr()
                .map(|a| a.to_string())
                .unwrap_or_default(),
            addresses: self.admission.addresses(),
            gateway_url: Some(self.gateway_url()),
            ready: self.readiness.is_ready(),
            conditions: pending
                .into_iter()
                .map(|name| Condition {
                    name: name.to_owned(),
                    met: false,
                    message: None,
                })
                .collect(),
            uptime_s: now.since(self.started) / 1000,
            links: self.links.all().len() as u64,
            servers: self.upstreams.list().len() as u64,
            sessions: (self.gateway.counts().sessions + self.acceptor.sessions()) as u64,
            counters,
            store: StoreInfo {
                decisions: decisions.map_or(0, |d| d.sequence + 1),
                bytes: std::fs::metadata(&self.store_path).map_or(0, |m| m.len()),
            },
            time: TimeHealth {
                healthy: behind.is_none(),
                now_ms: now.0,
                greatest_ms: greatest.0.saturating_mul(1000),
                message: behind.map(|s| format!("the clock is {s} s behind verified time")),
            },
        })
    }

    async fn peers(&self) -> Result<Vec<Peer>, Failure> {
        let links = self.links.all();
        let me = self.identity.node();
        let link_of = |id: NodeId| links.iter().find(|l| l.peer == id);
        let members = self.members.all();
        let mut peers: Vec<Peer> = members
            .iter()
            .filter(|m| m.membership.node() != me)
            .filter_map(|m| self.peer(Some(m), link_of(m.membership.node())))
            .collect();
        peers.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        Ok(peers)
    }

    async fn dial(&self, _: Caller, dial: Dial) -> Result<Peer, Failure> {
        let unresolved = |e: std::io::Error| {
            let text = format!("cannot resolve `{}`: {e}", dial.address);
            Failure::new(FailureKind::Invalid, "unresolved_address", text)
        };
        let mut last = Failure::new(
            FailureKind::Invalid,
            "unresolved_address",
            "no such address",
        );
        for remote in tokio::net::lookup_host(&dial.address)
            .await
            .map_err(unresolved)?
        {
            match self.links.dial(remote, None).await {
                Ok(link) => {
                    let member = self.members.member(&link.peer);
                    return self.peer(member.as_deref(), Some(&link)).ok_or(last);
                }
                Err(e) => {
                    last = Failure::new(FailureKind::Unavailable, "dial_failed", e.to_string());
                }
            }
        }
        Err(last)
    }

    async fn servers(&self) -> Result<Vec<Server>, Failure> {
        let infos = self.spec_infos()?;
        let info = |name: &Name| {
            infos
                .iter()
                .find(|(n, _)| n == name)
                .map(|(_, i)| i.clone())
        };
        let list = self.upstreams.list();
        Ok(list
            .into_iter()
            .map(|s| {
                let i = info(&s.name);
                self.server(s, i)
            })
            .collect())
    }

    async fn add_server(&self, _: Caller, server: AddServer) -> Result<Server, Failure> {
        let info = server.spec.info();
        let spec = upstream_spec(server.spec);
        let json = serde_json::to_vec(&spec)
            .map_err(|e| Failure::new(FailureKind::Invalid, "unusable_spec", e.to_string()))?;
        self.upstreams.add(server.name.clone(), spec).map_err(|e| {
            let kind = match e {
                upstream::UpstreamError::NameTaken(_) => FailureKind::Conflict,
                _ => FailureKind::Invalid,
            };
            Failure::new(kind, "server_refused", e.to_string())
        })?;
        let write = Write::PutServer(server.name.clone(), json);
        if let Err(error) = self.store.durable(vec![write]).await {
            self.upstreams.remove(&server.name);
            return Err(stored(error));
        }
        let status = self
            .upstreams
            .list()
            .into_iter()
            .find(|s| s.name == server.name);
        let gone = || {
            Failure::new(
                FailureKind::NotFound,
                "unknown_server",
                "it was removed at once",
            )
        };
        status.map(|s| self.server(s, Some(info))).ok_or_else(gone)
    }

    async fn remove_server(&self, _: Caller, name: Name) -> Result<(), Failure> {
        let known = self.upstreams.list().iter().any(|s| s.name == name);
        if !known {
            let text = format!("no server `{name}` is attached here");
            return Err(Failure::new(FailureKind::NotFound, "unknown_server", text)
                .with_hint("see `hedgerow server list`"));
        }
        self.store
            .durable(vec![Write::RemoveServer(name.clone())])
            .await
            .map_err(stored)?;
        self.upstreams.remove(&name);
        Ok(())
    }

    async fn agents(&self) -> Result<Vec<Agent>, Failure> {
        let mut agents: Vec<Agent> = self
            .agents
            .list()
            .into_iter()
            .map(|entry| Agent {
                last_used: self.last_used(&entry.agent),
                name: entry.agent,
                created: entry.created.seconds(),
                has_token: true,
            })
            .collect();
        agents.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(agents)
    }

    async fn add_agent(&self, _: Caller, agent: AddAgent) -> Result<AgentToken, Failure> {
        if agent.name == Name::operator() {
            let text = "`operator` stands for whoever operates this node from its own host";
            return Err(Failure::new(FailureKind::Conflict, "reserved_name", text)
                .with_hint("choose another name"));
        }
        let (token, entry) = self
            .agents
            .add(agent.name.clone(), self.clock.now())
            .map_err(|e| Failure::new(FailureKind::Conflict, "agent_refused", e.to_string()))?;
        let kept = StoredAgent {
            token_hash: entry.digest,
            created: entry.created,
        };
        let write = Write::PutAgent(agent.name.clone(), kept);
        if let Err(error) = self.store.durable(vec![write]).await {
            // It was added a moment ago; there is nothing else it could answer.
            drop(self.agents.remove(&agent.name));
            return Err(stored(error));
        }
        Ok(AgentToken {
            name: agent.name,
            token: Secret::new(token.reveal().to_owned()),
            gateway_url: Some(self.gateway_url()),
        })
    }

    async fn remove_agent(&self, _: Caller, name: Name) -> Result<(), Failure> {
        self.agents.remove(&name).map_err(|e| {
            Failure::new(FailureKind::NotFound, "unknown_agent", e.to_string())
                .with_hint("see `hedgerow agent list`")
        })?;
        self.gateway.close_agent(&name).await;
        self.store
            .durable(vec![Write::RemoveAgent(name)])
            .await
            .map(drop)
            .map_err(stored)
    }

    async fn tools(&self, _: Caller, filter: ServerFilter) -> Result<Vec<Tool>, Failure> {
        let principal = self.principal(None);
        let mut tools = Vec::new();
        for known in self.select(&filter)? {
            let server = &known.server;
            let listed = async {
                let probe = Probe::open(&self.fabric, &principal, server).await?;
                probe.tools(server).await
            };
            let listed = match listed.await {
                Ok(listed) => listed,
                // One named by the filter must answer; of many, the others still count.
                Err(e) if filter.server.is_some() => return Err(Self::failure(e)),
                Err(e) => {
                    tracing::warn!(server = %server, reason = e.reason, "left out of a tool list");
                    continue;
                }
            };
            let tool = |raw: &String| self.tool(server, raw);
            tools.extend(listed.iter().filter_map(tool));
        }
        Ok(tools)
    }

    async fn call(
        &self,
        _: Caller,
        call: CallRequest,
        notifications: mpsc::Sender<Box<RawValue>>,
    ) -> Result<CallReply, Failure> {
        let filter = ServerFilter {
            node: Some(call.node),
            server: Some(call.server),
        };
        let known = self.select(&filter)?;
        let Some(known) = known.first() else {
            return Err(Failure::new(
                FailureKind::NotFound,
                "unknown_server",
                "no such server",
            ));
        };
        let principal = self.principal(call.agent);
        let probe = Probe::open(&self.fabric, &principal, &known.server).await;
        let probe = probe.map_err(Self::failure)?;
        let trace = Arc::new(Trace::new(call.capture));
        let begun = Instant::now();
        let arguments = call.arguments.get();
        let response = probe
            .call(&call.tool, arguments, Arc::clone(&trace), notifications)
            .await;
        let ms = begun.elapsed().as_secs_f64() * 1000.0;
        let response = read(&response.map_err(Self::failure)?).map_err(Self::failure)?;
        let (request, answer) = trace.envelopes();
        let signers = [&request, &answer].into_iter().flatten();
        Ok(CallReply {
            ok: response.error.is_none() && !is_error_result(response.result.as_deref()),
            result: response.result,
            error: response.error,
            ms,
            request_envelope_id: request.as_ref().map(|e| e.id),
            response_envelope_id: answer.as_ref().map(|e| e.id),
            signers: signers.filter_map(|e| self.signer(e)).collect(),
            request_envelope: request.as_ref().and_then(|e| self.evidence(e)),
            response_envelope: answer.as_ref().and_then(|e| self.evidence(e)),
        })
    }

    async fn inspect_request(&self, request: FileBytes) -> Result<MembershipRequestInfo, Failure> {
        let request = self.verify_request(&request.0)?;
        Ok(MembershipRequestInfo {
            node: request.node,
            name: request.content.name,
            created: request.content.created,
        })
    }

    async fn issue_membership(
        &self,
        _: Caller,
        issue: IssueMembership,
    ) -> Result<Admission, Failure> {
        let Some(issuer) = &self.issuer else {
            let text = "this node is no issuer of memberships";
            return Err(Failure::new(FailureKind::Denied, "not_an_issuer", text)
                .with_hint("run the command on the host that founded the mesh"));
        };
        let request = self.verify_request(&issue.request.0)?;
        let _one_at_a_time = self.issuing.lock().await;
        let now = self.clock.now().seconds();
        let issued = self
            .store
            .snapshot()
            .and_then(|s| s.memberships())
            .map_err(stored)?;
        let verified: Vec<trust::VerifiedMembership> = issued
            .iter()
            .filter_map(|(_, bytes)| self.verify_membership(bytes))
            .collect();
        let taken = |m: &trust::VerifiedMembership| {
            m.content().name == issue.name && m.node() != request.node && m.valid_at(now).is_ok()
        };
        let own_name = *self.identity.name() == issue.name && self.identity.node() != request.node;
        if own_name || verified.iter().any(taken) {
            let text = format!("another node is named `{}`", issue.name);
            return Err(Failure::new(FailureKind::Conflict, "name_taken", text)
                .with_hint("names are unique in a mesh; choose another with --name"));
        }
        let last = verified
            .iter()
            .map(|m| m.content().issuer_sequence)
            .max()
            .unwrap_or(1);
        let membership = Membership {
            mesh: self.identity.mesh(),
            tls_key: request.content.tls_key,
            signing: request.content.signing,
            name: issue.name.clone(),
            groups: sorted_names(issue.groups),
            site: issue.site,
            not_before: now,
            not_after: now.plus(u64::from(issue.days) * DAY_S),
            issuer_sequence: last + 1,
        };
        let expires = membership.not_after;
        let signed = membership
            .sign(&*self.identity.crypto, issuer)
            .map_err(|e| Failure::new(FailureKind::Internal, "signing_failed", e.to_string()))?;
        // What our own verification would refuse is not handed out.
        if self.verify_membership(&signed).is_none() {
            let text = "the membership would exceed what the root allows this issuer";
            return Err(Failure::new(
                FailureKind::Denied,
                "beyond_issuer_limits",
                text,
            ));
        }
        let write = Write::PutMembership(request.node, signed.clone());
        self.store.durable(vec![write]).await.map_err(stored)?;
        let file = trust::Admission {
            root: self.identity.root.bytes().to_vec(),
            membership: signed,
            peers: vec![PeerAddress {
                node: self.identity.node(),
                addresses: self.admission.addresses(),
            }],
        };
        Ok(Admission {
            node: request.node,
            name: issue.name,
            mesh: self.identity.mesh(),
            expires,
            file: FileBytes(file.encode()),
        })
    }

    async fn decisions(&self, query: DecisionQuery) -> Result<Vec<Decision>, Failure> {
        let snapshot = self.store.snapshot().map_err(stored)?;
        let last = snapshot.last_decision().map_err(stored)?;
        let Some(last) = last else {
            return Ok(Vec::new());
        };
        let limit = u64::from(query.limit.unwrap_or(MAX_DECISIONS).min(MAX_DECISIONS));
        let end = query.before.unwrap_or(u64::MAX).min(last.sequence + 1);
        let from = end.saturating_sub(limit);
        let mut decisions = snapshot.decisions(from..end).map_err(stored)?;
        decisions.reverse();
        Ok(decisions
            .into_iter()
            .filter_map(|kept| {
                let record = DecisionRecord::decode(&kept.bytes).ok()?;
                Some(self.decision(record, kept.hash.to_string()))
            })
            .collect())
    }

    fn refused(&self, reason: &'static str) {
        self.counters.count(reason);
    }
}

impl Node {
    fn gateway_url(&self) -> String {
        format!("http://{}/mcp", self.gateway_address)
    }

    fn last_used(&self, agent: &Name) -> Option<UnixSeconds> {
        let used = self
            .last_used
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        used.get(agent).map(|at| at.seconds())
    }

    fn verify_membership(&self, bytes: &[u8]) -> Option<trust::VerifiedMembership> {
        let crypto = &*self.identity.crypto;
        trust::VerifiedMembership::verify(crypto, &self.identity.root, bytes).ok()
    }

    fn tool(&self, server: &crate::session::ServerRef, raw: &str) -> Option<Tool> {
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
        Some(Tool {
            node: server.node.clone(),
            server: server.server.clone(),
            name: definition.name,
            title: definition.title,
            description: definition.description,
            digest: digest.to_string(),
            annotations: definition.annotations,
            input_schema: definition.input_schema,
        })
    }

    fn decision(&self, record: DecisionRecord, hash: String) -> Decision {
        let name_of = |id: &NodeId| {
            let member = self.members.member(id);
            member.map_or_else(
                || id.to_string(),
                |m| m.membership.content().name.to_string(),
            )
        };
        let role = match record.point {
            protocol::record::Point::Ingress => "ingress",
            protocol::record::Point::Relay => "relay",
            protocol::record::Point::Egress => "egress",
        };
        Decision {
            seq: record.sequence,
            time_ms: record.time.0,
            verdict: record.verdict,
            reason: record.reason,
            role: role.to_owned(),
            envelope: record.envelope,
            issuer: Some(name_of(&record.issuer)),
            agent: record.agent.map(|a| a.to_string()),
            server: record.server.map(|s| s.to_string()),
            method: record.method,
            name: record.target,
            hash: Some(hash),
        }
    }
}

fn is_error_result(result: Option<&RawValue>) -> bool {
    #[derive(serde::Deserialize)]
    struct ToolResult {
        #[serde(default, rename = "isError")]
        is_error: bool,
    }
    let parsed = result.and_then(|raw| serde_json::from_str::<ToolResult>(raw.get()).ok());
    parsed.is_some_and(|r| r.is_error)
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "used as a function in map_err"
)]
fn stored(error: StoreError) -> Failure {
    let mut failure = Failure::new(FailureKind::Internal, "store_failed", error.to_string());
    failure.hint = error.hint().map(str::to_owned);
    failure
}

fn upstream_spec(spec: protocol::control::ServerSpec) -> ServerSpec {
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

fn control_spec(spec: &ServerSpec) -> protocol::control::ServerSpec {
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
