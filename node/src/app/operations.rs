//! What the control API asks, done.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use protocol::control::{
    AddAgent, AddServer, Admission, Agent, AgentToken, BundleFile, CallReply, CallRequest, Check,
    Decision, DecisionPage, DecisionQuery, DecisionSearch, Dial, Failure, FailureKind, FileBytes,
    IssueMembership, MembershipRequestInfo, PastBundle, Peer, PostureQuery, PostureReport, Secret,
    Server, ServerFilter, Status, StoreCopy, Tool,
};
use protocol::control::{Condition, Counters, MeshInfo, NodeInfo, StoreInfo, TimeHealth};
use protocol::id::NodeId;
use protocol::name::Name;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::node::Node;
use super::probe::{Probe, read};
use super::views::upstream_spec;
use crate::backup;
use crate::call::Trace;
use crate::control::{ApprovalOperations, Caller, Operations, PageOperations, TrustOperations};
use crate::doctor;
use crate::members::Resolved;
use crate::session::Fabric as _;
use crate::session::{ErrorKind, KnownServer, Principal, SessionError};
use crate::store::Agent as StoredAgent;
use crate::store::{StoreError, Write};
use crate::upstream::UpstreamError;

impl Node {
    fn failure(error: SessionError) -> Failure {
        let kind = match error.kind {
            ErrorKind::Deny | ErrorKind::Refuse => FailureKind::Denied,
            ErrorKind::InvalidMessage => FailureKind::Invalid,
            // A name typed wrong is told apart from a node that cannot be reached now.
            ErrorKind::Unreachable if error.reason == "unknown_server" => FailureKind::NotFound,
            ErrorKind::Unreachable if error.reason == "ambiguous_node" => FailureKind::Invalid,
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
                    return Err(Failure::new(FailureKind::Invalid, "ambiguous_node", text));
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

    fn principal(&self, agent: Option<Name>) -> Principal {
        let agent = agent.unwrap_or_else(Name::operator);
        Principal {
            human: self.agents.human(&agent),
            agent,
        }
    }
}

#[async_trait]
impl Operations for Node {
    fn trust(&self) -> Option<&dyn TrustOperations> {
        Some(&self.trusting)
    }

    fn approvals(&self) -> Option<&dyn ApprovalOperations> {
        Some(self)
    }

    async fn status(&self) -> Result<Status, Failure> {
        let now = self.clock.now();
        let membership = self.identity.membership();
        let content = membership.content();
        let snapshot = self.store.snapshot().map_err(stored)?;
        let last = snapshot.last_decision().map_err(stored)?;
        let forgotten = snapshot.prune_point().map_err(stored)?;
        let decisions = last.map_or(0, |d| d.sequence + 1);
        let forgotten = forgotten.map_or(0, |p| p.sequence + 1);
        drop(snapshot);
        let greatest = self.enforcer.greatest_time();
        let behind = greatest.0.saturating_sub(now.seconds().0);
        let behind = (behind > protocol::envelope::replay::MAX_CLOCK_BEHIND_S).then_some(behind);
        let pending = self.readiness.pending();
        let mut refusals = self.counters.snapshot();
        refusals.extend(self.links.counters().snapshot());
        // Clients of this host and peers can be refused under one name for different things.
        let clients = self.gateway.refusals().into_iter();
        refusals.extend(clients.map(|(name, count)| (format!("gateway/{name}"), count)));
        let calls = self.enforcer.calls();
        let counters = Counters {
            calls_out: calls.outgoing(),
            calls_in: calls.incoming(),
            calls_relayed: calls.relayed(),
            refusals,
        };
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            mesh: MeshInfo {
                id: self.identity.mesh(),
                name: self.identity.root().root().name.clone(),
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
                decisions: decisions.saturating_sub(forgotten),
                bytes: std::fs::metadata(&self.store_path).map_or(0, |m| m.len()),
            },
            time: TimeHealth {
                healthy: behind.is_none(),
                now_ms: now.0,
                greatest_ms: greatest.0.saturating_mul(1000),
                message: behind.map(|s| format!("the clock is {s} s behind verified time")),
            },
            trust: Some(self.trust_status()),
            posture: self.posture(now.seconds()),
        })
    }

    async fn doctor(&self) -> Result<Vec<Check>, Failure> {
        Ok(doctor::judge(&doctor::Facts {
            status: self.status().await?,
            peers: self.peers().await?,
            bootstraps: self.bootstraps(),
            servers: self.servers().await?,
            store_fault: self.store.progress().fault.map(|f| f.to_string()),
            copied: self.copied(),
            cut_off: self.cut_off(),
            is_copied: self.links.is_copied(),
            told_ahead: self.enforcer.is_told_ahead(),
        }))
    }

    async fn copy_store(&self, _: Caller) -> Result<StoreCopy, Failure> {
        let (store, file) = (self.store.clone(), self.store_path.clone());
        let copied = tokio::task::spawn_blocking(move || backup::copy_store(&store, &file)).await;
        let ended = |e: tokio::task::JoinError| {
            Failure::new(FailureKind::Internal, "copy_failed", e.to_string())
        };
        let (file, bytes) = copied.map_err(ended)?.map_err(stored)?;
        Ok(StoreCopy { file, bytes })
    }

    async fn peers(&self) -> Result<Vec<Peer>, Failure> {
        // For who looks again: what is shown now is what they said last.
        self.trust.compare();
        Ok(self.listed_peers())
    }

    async fn postures(&self, query: PostureQuery) -> Result<PostureReport, Failure> {
        self.posture_report(query.node.as_deref())
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
                UpstreamError::NameTaken(_) => FailureKind::Conflict,
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
                human: entry.human,
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
            .add(agent.name.clone(), agent.human.clone(), self.clock.now())
            .map_err(|e| Failure::new(FailureKind::Conflict, "agent_refused", e.to_string()))?;
        let kept = StoredAgent {
            token_hash: entry.digest,
            created: entry.created,
            human: entry.human.map(|human| human.as_str().to_owned()),
        };
        let write = Write::PutAgent(agent.name.clone(), kept);
        if let Err(error) = self.store.durable(vec![write]).await {
            // It was added a moment ago; there is nothing else it could answer.
            drop(self.agents.remove(&agent.name));
            return Err(stored(error));
        }
        Ok(AgentToken {
            name: agent.name,
            human: agent.human,
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
            let listed: Vec<Tool> = listed.iter().filter_map(tool).collect();
            let unlisted = self.unlisted(server, &listed);
            tools.extend(listed.into_iter().chain(unlisted));
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
            hops: trace.hops().iter().map(|hop| self.hop(hop)).collect(),
            request_envelope: self.evidence(request.as_ref()).await,
            response_envelope: self.evidence(answer.as_ref()).await,
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
        self.issue(issue).await
    }

    async fn decisions(&self, query: DecisionQuery) -> Result<Vec<Decision>, Failure> {
        self.listed_decisions(&query)
    }

    async fn find_decisions(&self, search: DecisionSearch) -> Result<DecisionPage, Failure> {
        self.found_decisions(&search)
    }

    async fn past_bundles(&self) -> Result<Vec<PastBundle>, Failure> {
        self.listed_bundles()
    }

    async fn past_bundle(&self, version: u64) -> Result<BundleFile, Failure> {
        self.kept_bundle(version)
    }

    fn page(&self) -> Option<&dyn PageOperations> {
        self.page.as_deref().map(|page| page as &dyn PageOperations)
    }

    fn refused(&self, reason: &'static str) {
        self.counters.count(reason);
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
pub(super) fn stored(error: StoreError) -> Failure {
    let mut failure = Failure::new(FailureKind::Internal, "store_failed", error.to_string());
    failure.hint = error.hint().map(str::to_owned);
    failure
}
