//! Policy decides at both ends of a call: what it forbids never reaches the server, and the caller
//! is told by whom and why, never that there is no such tool.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use std::sync::Arc;

use node::control::Operations as _;
use protocol::control::{DecisionBasis, DecisionQuery, DecisionSearch};
use protocol::policy::{Decision, Denial, Facts, Obligation, Policy, Severs, Verdict};
use serde_json::json;
use tests::client::McpClient;
use tests::line::{Line, LineOptions};
use tests::mesh::{TestMesh, TestNode, tool_call};

/// Says this about the tool `echo`, allows the rest.
struct OfEcho(Verdict);

impl Severs for OfEcho {}

impl Policy for OfEcho {
    fn bundle_version(&self) -> u64 {
        // The other end has no bundle, and would decide nothing that was decided by one.
        0
    }

    fn evaluate(&self, facts: &Facts<'_>) -> Decision {
        if facts.target == Some("echo") {
            Decision::of(self.0.clone())
        } else {
            Decision::allow()
        }
    }
}

fn denial() -> Denial {
    Denial {
        reason: "tool_forbidden".to_owned(),
        message: "`echo` is not for you".to_owned(),
        policy: Some("no-echo".to_owned()),
        hint: Some("ask somebody".to_owned()),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum At {
    Ingress,
    Egress,
}

/// The answer to a call of `echo` while one end's policy says `verdict`, after checking that the
/// decision is recorded there and that the session goes on.
async fn answer(verdict: Verdict, at: At, reason: &str) -> serde_json::Value {
    let (mesh, tools) = TestMesh::found("tools").await;
    tools.attach_fixture("bench", &[]).await;
    let agent = mesh.join(&tools, "agent").await;
    agent.sees("tools", "bench").await;
    let token = agent.token("someone").await;
    let client = McpClient::open(&agent, "/mcp/tools/bench", &token).await;
    let decides = if at == At::Ingress { &agent } else { &tools };
    let said = verdict.name();
    decides
        .node
        .enforcer()
        .replace_policy(Arc::new(OfEcho(verdict)));
    let answer = client.post(tool_call(1, "echo", "{}")).await.response();
    assert_eq!(answer["id"], 1);
    decides.counted(reason, 1).await;
    recorded(
        decides,
        if reason == "bad_header_field" {
            "deny"
        } else {
            said
        },
        reason,
    )
    .await;
    let other = client.post(tool_call(2, "state", "{}")).await.response();
    assert_eq!(other["id"], 2, "{other}");
    assert!(other["result"].is_object(), "{other}");
    answer
}

async fn recorded(node: &TestNode, verdict: &str, reason: &str) {
    let query = DecisionQuery {
        limit: None,
        before: None,
    };
    let decisions = node.node.decisions(query).await.unwrap();
    let found = decisions
        .iter()
        .find(|d| d.reason.as_deref() == Some(reason));
    let found = found.unwrap();
    assert_eq!(found.verdict, verdict);
    assert_eq!(found.method.as_deref(), Some("tools/call"));
    assert_eq!(found.name.as_deref(), Some("echo"));
    assert_eq!(found.server.as_deref(), Some("bench"));
}

#[tokio::test]
async fn denied_at_either_end() {
    for at in [At::Ingress, At::Egress] {
        let answer = answer(Verdict::Deny(denial()), at, "tool_forbidden").await;
        let error = &answer["error"];
        assert_eq!(error["code"], -32050, "{answer}");
        assert_eq!(error["message"], "`echo` is not for you");
        let data = &error["data"];
        assert_eq!(data["reason"], "tool_forbidden");
        assert_eq!(data["hint"], "ask somebody");
        assert_eq!(
            (&data["node"], &data["server"]),
            (&json!("tools"), &json!("bench"))
        );
    }
}

/// What a policy asks for and cannot be done must not pass as if it had been.
#[tokio::test]
async fn a_label_that_no_header_can_carry_is_a_refusal() {
    let verdict = Verdict::Allow(vec![Obligation::Tag("x".repeat(100))]);
    let answer = answer(verdict, At::Ingress, "bad_header_field").await;
    assert_eq!(answer["error"]["data"]["reason"], "bad_header_field");
}

/// The far end's record of a call, and the near end's of the answer, name the relay between.
#[tokio::test]
async fn records_tell_the_hops_a_message_came_over() {
    let line = Line::build(LineOptions::default()).await;
    let session = line.a.open("agent", "c", "fix").await.unwrap();
    session.call(1, "echo", "{}").await.unwrap();
    let found = async |at: &TestNode, kind: &str| {
        at.node.store().flush().await.unwrap();
        let search = DecisionSearch {
            tool: Some("echo".to_owned()),
            ..DecisionSearch::default()
        };
        let page = at.node.find_decisions(search).await.unwrap();
        let mut of = page.decisions.into_iter();
        let found = of.find(|d| d.kind.as_deref() == Some(kind)).unwrap();
        found.basis
    };
    let hops = |basis: &Option<Box<DecisionBasis>>| {
        let hops = basis.iter().flat_map(|basis| &basis.hops);
        hops.map(|hop| {
            (
                hop.place,
                hop.node.clone(),
                hop.from.clone(),
                hop.verdict.clone(),
            )
        })
        .collect::<Vec<_>>()
    };
    let over = |from: &str| (1, "b".to_owned(), from.to_owned(), "allow".to_owned());
    let asked = found(&line.a, "request").await;
    let carried = found(&line.b, "request").await;
    let arrived = found(&line.c, "request").await;
    assert_eq!(hops(&asked), []);
    assert_eq!(hops(&carried), []);
    assert_eq!(hops(&arrived), [over("a")]);
    // The relay saw the header alone.
    let full = [asked, carried, arrived].map(|basis| basis.unwrap().full);
    assert_eq!(full, [true, false, true]);
    assert_eq!(hops(&found(&line.a, "response").await), [over("c")]);
    assert_eq!(found(&line.c, "response").await, None);
    line.stop().await;
}
