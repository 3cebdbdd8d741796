//! What the status page shows of this node, and the listener it shows it on.

use std::net::SocketAddr;

use async_trait::async_trait;
use protocol::control::{Decision, DecisionQuery, Failure, Peer, Status};
use protocol::id::NodeId;
use protocol::record::DecisionRecord;
use tokio::net::TcpListener;

use super::Options;
use super::node::Node;
use crate::config::Config;
use crate::control::Operations;
use crate::page::limits::{ALERT_HISTORY, MAX_LISTED, MAX_POLICY_SHOWN, MAX_TOOLS_LISTED};
use crate::page::{BundleView, PolicyText, PolicyView, Source, Tail, ToolServer};
use crate::session::{Fabric as _, KnownServer};
use crate::store::{Store, StoreError};

/// The listener of the page, unless there is to be none. One whose port is taken is missed, and
/// said so, but keeps nothing from running: no call depends on it.
pub(super) async fn bind(config: &Config, options: &Options) -> Option<(TcpListener, SocketAddr)> {
    if !config.page().enabled {
        return None;
    }
    let gateway = options.gateway.unwrap_or(config.gateway().listen);
    let address = config.page().beside(gateway);
    let bound = async {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok::<_, std::io::Error>((listener, address))
    };
    match bound.await {
        Ok(bound) => Some(bound),
        Err(error) => {
            tracing::warn!(%address, %error, "no status page: set another `page.listen`");
            None
        }
    }
}

/// Tells what was decided before this start, so that alerts outlive a restart.
pub(super) fn recall(store: &Store, tail: &Tail) -> Result<(), StoreError> {
    let snapshot = store.snapshot()?;
    let Some(last) = snapshot.last_decision()? else {
        return Ok(());
    };
    let end = last.sequence.saturating_add(1);
    for kept in snapshot.decisions(end.saturating_sub(ALERT_HISTORY.into())..end)? {
        if let Ok(record) = DecisionRecord::decode(&kept.bytes) {
            tail.saw(&record);
        }
    }
    Ok(())
}

#[async_trait]
impl Source for Node {
    async fn status(&self) -> Result<Status, Failure> {
        Operations::status(self).await
    }

    async fn peers(&self) -> Result<Vec<Peer>, Failure> {
        Operations::peers(self).await
    }

    async fn decisions(&self, query: DecisionQuery) -> Result<Vec<Decision>, Failure> {
        Operations::decisions(self, query).await
    }

    fn servers(&self) -> Vec<ToolServer> {
        let own = self.identity.node();
        let known = self.fabric.servers().into_iter().enumerate();
        let view = |(place, known): (usize, KnownServer)| {
            let at = known.server;
            // Beyond what the page lists, servers are only counted.
            let member = (place < MAX_LISTED).then(|| self.members.member(&at.node_id));
            let record = member.flatten().and_then(|m| m.record.clone());
            let servers = record.iter().flat_map(|record| &record.servers);
            let tools = servers
                .filter(|server| server.name == at.server)
                .flat_map(|server| server.tools.iter())
                .map(|(name, _)| name.to_owned());
            ToolServer {
                here: at.node_id == own,
                reachable: known.reachable,
                tools: tools.take(MAX_TOOLS_LISTED).collect(),
                total: known.tools,
                node: at.node,
                server: at.server,
            }
        };
        known.map(view).collect()
    }

    fn bundle(&self) -> Option<BundleView> {
        let state = self.standing.now();
        let bundle = state.bundle()?;
        let policies = bundle.body().policies.iter();
        Some(BundleView {
            version: bundle.version(),
            hash: bundle.hash(),
            policies: policies
                .map(|policy| PolicyView {
                    name: policy.name.to_string(),
                    length: policy.bytes.len(),
                })
                .collect(),
            pins: bundle.body().pins.len(),
        })
    }

    fn policy_text(&self, name: &str) -> Option<PolicyText> {
        let state = self.standing.now();
        let mut policies = state.bundle()?.body().policies.iter();
        let policy = policies.find(|policy| policy.name.to_string() == name)?;
        let shown = policy.bytes.len().min(MAX_POLICY_SHOWN);
        let shown = policy.bytes.get(..shown).unwrap_or_default();
        Some(PolicyText {
            name: policy.name.to_string(),
            media_type: policy.media_type.clone(),
            length: policy.bytes.len(),
            text: String::from_utf8_lossy(shown).into_owned(),
        })
    }

    fn listed(&self, record: &DecisionRecord) -> Decision {
        self.decision(record.clone(), String::new())
    }

    fn name_of(&self, node: &NodeId) -> String {
        let member = self.members.member(node);
        member.map_or_else(|| node.to_string(), |m| m.membership.name.to_string())
    }

    fn refused(&self, reason: &'static str) {
        self.counters.count(reason);
    }
}
