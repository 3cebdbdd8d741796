//! Two honest nodes, one hostile member linked to both, and a call between the honest ones that
//! is under way while the hostile one does its worst.

use node::session::McpCall;
use protocol::id::{NodeId, SessionId};
use serde_json::json;

use crate::forge::{Draft, random};
use crate::hostile::{Hostile, Wire};
use crate::mesh::{INITIALIZE, Session, TestMesh, TestNode, last, tool_call};
use crate::wait::until;

/// The scene.
pub struct Stage {
    /// Their mesh.
    pub mesh: TestMesh,
    /// Founded the mesh; has the server `bench`, which is the fixture.
    pub tools: TestNode,
    /// Has agents.
    pub agent: TestNode,
    /// The hostile member, linked to both.
    pub mallory: Hostile,
    bystander: Session,
    held: McpCall,
}

impl Stage {
    /// Sets the scene, the bystander's call under way.
    pub async fn set() -> Self {
        let (mesh, tools) = TestMesh::found("tools").await;
        tools.attach_fixture("bench", &[]).await;
        let agent = mesh.join(&tools, "agent").await;
        let mallory = Hostile::enter(&mesh.admit(&tools, "mallory").await);
        mallory.link(&tools).await;
        mallory.link(&agent).await;
        let bystander = agent.open("bystander", "tools", "bench").await.unwrap();
        let held = bystander.begin(1, "hold", "{}").await.unwrap();
        holds(&bystander, 1).await;
        Self {
            mesh,
            tools,
            agent,
            mallory,
            bystander,
            held,
        }
    }

    /// The node that is attacked as a server's node.
    #[must_use]
    pub fn target(&self) -> NodeId {
        self.tools.id()
    }

    /// A valid `initialize` of the hostile member towards `bench`.
    #[must_use]
    pub fn opening(&self) -> Draft {
        self.opening_as(SessionId::from_bytes(random()))
    }

    /// The same, for a session with this id.
    #[must_use]
    pub fn opening_as(&self, session: SessionId) -> Draft {
        let forge = &self.mallory.forge;
        forge.first(self.target(), "bench", session, INITIALIZE)
    }

    /// A valid call of the tool `echo` in a session.
    #[must_use]
    pub fn calling(&self, session: SessionId) -> Draft {
        self.calling_tool(session, "echo")
    }

    /// A valid call of any tool in a session.
    #[must_use]
    pub fn calling_tool(&self, session: SessionId, tool: &str) -> Draft {
        let body = tool_call(1, tool, "{}");
        let forge = &self.mallory.forge;
        let mut draft = forge.first(self.target(), "bench", session, &body);
        let server = "bench".parse().unwrap();
        draft.header.claims.tool_digest = self.tools.node.enforcer().own_tool_digest(&server, tool);
        assert!(draft.header.claims.tool_digest.is_some());
        draft
    }

    /// A session of the hostile member, honestly opened.
    pub async fn session(&self) -> (SessionId, Wire) {
        let id = SessionId::from_bytes(random());
        let wire = self
            .mallory
            .session(self.target(), &self.opening_as(id))
            .await;
        (id, wire)
    }

    /// Ends the scene: the bystander's call is answered, and another one after it.
    pub async fn undisturbed(mut self) {
        let released = self.bystander.call(100, "release", "{}").await.unwrap();
        assert_eq!(released["id"], 100);
        let held = last(&mut self.held).await.unwrap();
        assert_eq!(held["id"], 1);
        assert_eq!(held["result"]["held"], true);
        let again = self
            .bystander
            .call(101, "echo", r#"{"still":"here"}"#)
            .await;
        assert_eq!(again.unwrap()["result"]["echo"], json!({"still": "here"}));
    }
}

/// Waits until a fixture holds this many calls.
pub async fn holds(session: &Session, calls: usize) {
    let id = std::sync::atomic::AtomicU64::new(1000);
    let held = || async {
        let id = id.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let state = session.call(id, "state", "{}").await.unwrap();
        state["result"]["held"].as_array().map(Vec::len) == Some(calls)
    };
    until("the server holds the calls", held).await;
}
