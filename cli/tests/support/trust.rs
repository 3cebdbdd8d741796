//! A node's trust, in memory: the real operations over a real trust state, without peers.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use hedgerow_crypto::{Primitives, SigningKeys};
use node::app::trusting::{Answer, Directory, Driver, DriverError, Listed, Proposals, Trusting};
use node::clock::{Clock as _, SystemClock};
use protocol::crypto::{Signer, Suite};
use protocol::distribution::{LogRow, Since};
use protocol::id::NodeId;
use protocol::name::Name;
use protocol::time::UnixMillis;
use protocol::trust::{Document, Issuer, Offer, Root, TrustState};
use tokio::sync::mpsc;

use super::name;

/// What [`genesis`] founds, with the keys the tests have no other way to.
pub(crate) fn genesis(admins: &[SigningKeys], threshold: u64) -> Vec<u8> {
    let keys = || SigningKeys::generate(&Primitives).unwrap();
    let root = Root {
        version: 1,
        epoch: 1,
        mesh: None,
        name: name("hedge"),
        suite: Suite::Hybrid.byte(),
        created: SystemClock.now().seconds(),
        admins: admins.iter().map(|a| a.public().clone()).collect(),
        threshold,
        issuers: vec![Issuer {
            keys: keys().public().clone(),
            groups: None,
            sites: None,
            max_life_s: 366 * 24 * 3600,
            max_per_hour: 1000,
        }],
        timestampers: vec![keys().public().clone()],
        lease_s: 86_400,
        read_grace_s: 604_800,
        nonce: vec![3; 16],
        previous: None,
        retired: None,
        hosts: None,
    };
    let signers: Vec<&dyn Signer> = admins.iter().map(|a| a as &dyn Signer).collect();
    root.sign(&Primitives, &signers).unwrap()
}

/// The node's side, over which tests look.
pub(crate) struct Memory {
    pub(crate) state: Mutex<TrustState>,
    own: NodeId,
    nodes: Vec<Listed>,
}

#[async_trait]
impl Driver for Memory {
    fn node(&self) -> NodeId {
        self.own
    }

    fn in_force(&self) -> TrustState {
        self.state.lock().unwrap().clone()
    }

    async fn publish(&self, document: Document) -> Result<Offer, DriverError> {
        let now = SystemClock.now().seconds();
        let mut state = self.state.lock().unwrap();
        Ok(state.offer(&Primitives, now, &document)?)
    }

    /// Every linked node has everything, a quarter of a second after this one.
    async fn pull(&self, _: LogRow, _: Duration) -> Result<mpsc::Receiver<Answer>, DriverError> {
        let (sender, receiver) = mpsc::channel(self.nodes.len().max(1));
        for listed in self.nodes.iter().filter(|node| node.linked) {
            let later = if listed.id == self.own { 0 } else { 250 };
            let ack = Answer::Acknowledged {
                node: listed.id,
                since: Some(Since {
                    in_force: UnixMillis(1_795_351_203_000 + later),
                    on_disk: UnixMillis(1_795_351_203_005 + later),
                }),
            };
            sender.try_send(ack).unwrap();
        }
        Ok(receiver)
    }
}

struct Nodes(Vec<Listed>);

impl Directory for Nodes {
    fn nodes(&self) -> Vec<Listed> {
        self.0.clone()
    }

    fn name(&self, node: &NodeId) -> Option<Name> {
        let known = self.0.iter().find(|listed| listed.id == *node);
        known.map(|listed| listed.name.clone())
    }
}

/// The operations of node `own`, and what they keep.
pub(crate) fn trusting(
    home: &Path,
    genesis: &[u8],
    own: NodeId,
    nodes: &[Listed],
) -> (Trusting, Arc<Memory>) {
    let state = TrustState::genesis(&Primitives, genesis).unwrap();
    let proposals =
        Proposals::open(home.join("proposals"), Arc::new(Primitives), state.root()).unwrap();
    let memory = Arc::new(Memory {
        state: Mutex::new(state),
        own,
        nodes: nodes.to_vec(),
    });
    let trusting = Trusting::new(
        Arc::clone(&memory) as Arc<dyn Driver>,
        Arc::new(Nodes(nodes.to_vec())),
        proposals,
        Arc::new(Primitives),
        Arc::new(SystemClock),
    );
    (trusting, memory)
}
