//! Three nodes in a line: `a` and `c` have a link with `b` and cannot have one with each other,
//! because the addresses they announce do not answer. `c` names `b` as its relay.

use std::path::Path;
use std::sync::Arc;

use node::app::Composition;
use node::clock::{Clock, SystemClock};
use node::state_dir::StateDir;
use node::transport::Reason;

use crate::hostile::Hostile;
use crate::lawless::honest;
use crate::mesh::{TestMesh, TestNode};
use crate::rogue::Rogue;
use crate::wait::until;

/// Where nobody answers (the discard port, RFC 863).
const NOWHERE: &str = "127.0.0.1:9";

/// What differs from an honest line.
#[derive(Debug, Clone)]
pub struct LineOptions {
    /// Whose calls `b` carries.
    pub accept: &'static str,
    /// Whom `c` names as its relays.
    pub through: &'static str,
    /// What else stands in the configuration of `a`.
    pub caller: &'static str,
    /// How the node of a host (`a`, `b`, `c`) is composed.
    pub composed: fn(&str) -> Composition,
}

impl Default for LineOptions {
    fn default() -> Self {
        Self {
            accept: r#"["members"]"#,
            through: r#"["b"]"#,
            caller: "",
            composed: |_| honest(),
        }
    }
}

/// The line, with the fixture `fix` at its end.
pub struct Line {
    /// Their home.
    pub mesh: TestMesh,
    /// The caller's node.
    pub a: TestNode,
    /// The relay.
    pub b: TestNode,
    /// The server's node.
    pub c: TestNode,
}

/// Writes a host's configuration.
pub fn configure(state: &Path, text: &str) {
    let path = StateDir::open(state).unwrap().config();
    std::fs::write(path, text).unwrap();
}

/// A configuration whose node nobody can dial.
#[must_use]
pub fn undialable(rest: &str) -> String {
    format!("[node]\nadvertise = [\"{NOWHERE}\"]\n{rest}")
}

impl Line {
    /// Builds and links it.
    pub async fn build(options: LineOptions) -> Self {
        Self::build_by(options, &(Arc::new(SystemClock) as Arc<dyn Clock>)).await
    }

    /// The same; all three go by this clock.
    pub async fn build_by(options: LineOptions, clock: &Arc<dyn Clock>) -> Self {
        let mesh = TestMesh::empty();
        mesh.found_at("b");
        let relaying = format!("[relay]\naccept = {}\n", options.accept);
        configure(&mesh.state("b"), &relaying);
        let composed = |host: &str| Composition {
            clock: Arc::clone(clock),
            ..(options.composed)(host)
        };
        let b = TestNode::compose(&mesh.state("b"), composed("b")).await;
        let a = Self::end(&mesh, &b, "a", options.caller, composed("a")).await;
        let through = format!("[relay]\nthrough = {}\n", options.through);
        let c = Self::end(&mesh, &b, "c", &through, composed("c")).await;
        c.attach_fixture("fix", &[]).await;
        Self { mesh, a, b, c }
    }

    /// As [`Line::build`], with a rogue member `m` linked to both ends; returns when `a` knows as
    /// many relays of `c` as its configuration names.
    pub async fn with_rogue(options: LineOptions) -> (Self, Rogue) {
        Self::with_rogue_by(options, &(Arc::new(SystemClock) as Arc<dyn Clock>)).await
    }

    /// The same; the honest ones go by this clock.
    pub async fn with_rogue_by(options: LineOptions, clock: &Arc<dyn Clock>) -> (Self, Rogue) {
        let relays = options.through.split(',').count();
        let line = Self::build_by(options, clock).await;
        let state = line.mesh.admit(&line.b, "m").await;
        let rogue = Rogue::of(Hostile::enter(&state));
        rogue.link(&line.a).await;
        rogue.link(&line.c).await;
        line.a.knows_relays(line.c.id(), relays).await;
        (line, rogue)
    }

    /// As [`Line::with_rogue`], the rogue being linked with `b` and `c`: behind `b` as `a` sees it.
    pub async fn with_rogue_beyond_b(options: LineOptions) -> (Self, Rogue) {
        let line = Self::build(options).await;
        let state = line.mesh.admit(&line.b, "m").await;
        let rogue = Rogue::of(Hostile::enter(&state));
        // `a` learns of it by its hello, and has no link with it afterwards.
        rogue.link(&line.a).await;
        line.a.node.links().close(rogue.id(), Reason::Closed);
        let parted = || async { line.a.node.links().get(rogue.id()).is_none() };
        until("the caller and the rogue are parted", parted).await;
        rogue.link(&line.b).await;
        rogue.link(&line.c).await;
        line.a.knows_relays(line.c.id(), 1).await;
        line.a.knows_relays(line.a.id(), 1).await;
        (line, rogue)
    }

    /// A line of four: `a` and `d` meet at `b`, and `c` at its relay `d`, to which it alone knows
    /// the way. Returns the fourth beside the three.
    pub async fn of_four() -> (Self, TestNode) {
        let mesh = TestMesh::empty();
        mesh.found_at("b");
        let relaying = "[relay]\naccept = [\"members\"]\n";
        configure(&mesh.state("b"), relaying);
        let b = TestNode::start(&mesh.state("b")).await;
        let a = Self::end(&mesh, &b, "a", "", honest()).await;
        let through = format!("{relaying}through = [\"b\"]\n");
        let d = Self::end(&mesh, &b, "d", &through, honest()).await;
        let remote = d.node.links().local_addr().unwrap();
        let peer = format!("[peers]\nstatic = [\"{}@{remote}\"]\n", d.id());
        let through = format!("{peer}[relay]\nthrough = [\"d\"]\n");
        let c = Self::end(&mesh, &b, "c", &through, honest()).await;
        c.linked(d.id()).await;
        c.attach_fixture("fix", &[]).await;
        (Self { mesh, a, b, c }, d)
    }

    /// Stops the relay and runs it again, linked to both ends.
    pub async fn restart_b(self) -> Self {
        let b = TestNode::start(&self.b.stop().await).await;
        let remote = b.node.links().local_addr().unwrap();
        for end in [&self.a, &self.c] {
            let linked = || async {
                drop(end.node.links().dial(remote, Some(b.id())).await);
                b.node.links().get(end.id()).is_some()
            };
            until("the relay is linked again", linked).await;
        }
        Self { b, ..self }
    }

    /// Stops the server's node and runs it again, linked to the relay.
    pub async fn restart_c(self) -> Self {
        let c = TestNode::start(&self.c.stop().await).await;
        let remote = self.b.node.links().local_addr().unwrap();
        let linked = || async {
            drop(c.node.links().dial(remote, Some(self.b.id())).await);
            self.b.node.links().get(c.id()).is_some()
        };
        until("the server's node is linked again", linked).await;
        Self { c, ..self }
    }

    async fn end(
        mesh: &TestMesh,
        b: &TestNode,
        host: &str,
        rest: &str,
        composition: Composition,
    ) -> TestNode {
        let state = mesh.admit(b, host).await;
        configure(&state, &undialable(rest));
        let node = TestNode::compose(&state, composition).await;
        node.linked(b.id()).await;
        b.linked(node.id()).await;
        node
    }

    /// Stops all three.
    pub async fn stop(self) {
        for node in [self.a, self.c, self.b] {
            node.stop().await;
        }
    }
}
