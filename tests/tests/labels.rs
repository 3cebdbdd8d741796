//! Labels on whole nodes: those the bundle gives a target and those results are tagged with, which
//! go with the agent that was handed them, and who still decides on them when a hop does not.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use node::app::Composition;
use node::control::Operations as _;
use protocol::control::{Decision, DecisionQuery};
use protocol::trust::bundle::{BundleBody, Label};
use tests::admin::{body_of, put_everywhere};
use tests::lawless::{honest, lawless};
use tests::line::{Line, LineOptions};
use tests::mesh::{Session, TestMesh, TestNode};

const ALL: &str = r#"{"policy_name": "all", "allowed_tools": ["*/*"]}"#;

/// What `echo` answers is card data.
const TAGGER: &str = r#"{"policy_name": "tagger", "tools": ["echo"],
 "on_result": {"tag": ["pci"]}}"#;

/// Whoever has any must not call `state`.
const NO_PCI: &str = r#"{"policy_name": "no_pci", "tools": ["state"],
 "labels": {"restricted": ["pci"]}, "action_on_violation": "block_and_alert"}"#;

const REASON: &str = "label_not_allowed";

fn body(documents: &[&str], labels: &[(&str, &str)]) -> BundleBody {
    let labels = labels.iter().map(|(target, label)| Label {
        target: (*target).to_owned(),
        labels: vec![(*label).to_owned()],
    });
    BundleBody {
        labels: labels.collect(),
        ..body_of(documents)
    }
}

/// Two nodes, composed so, with the fixture at the first and these in force.
async fn pair(
    body: &BundleBody,
    host: Composition,
    user: Composition,
) -> (TestMesh, TestNode, TestNode) {
    let (mesh, host, user) = TestMesh::pair(host, user).await;
    put_everywhere(1, body, &[&host, &user]).await;
    (mesh, host, user)
}

/// What a node has on record, the newest first.
async fn recorded(at: &TestNode) -> Vec<Decision> {
    at.node.store().flush().await.unwrap();
    at.node.decisions(DecisionQuery::default()).await.unwrap()
}

async fn denial(at: &TestNode) -> Option<Decision> {
    let mut recorded = recorded(at).await.into_iter();
    recorded.find(|d| d.reason.as_deref() == Some(REASON))
}

/// The labels a node noted of a message about a tool.
async fn noted(at: &TestNode, kind: &str, tool: &str) -> Option<Vec<String>> {
    let recorded = recorded(at).await;
    let mut of = recorded
        .into_iter()
        .filter(|d| d.kind.as_deref() == Some(kind) && d.name.as_deref() == Some(tool));
    of.find_map(|d| d.basis.map(|b| b.labels))
}

/// What was handed to its agent keeps that from `state`, as this one node says.
async fn pci_holds(session: &Session, decides: &TestNode) {
    session.call(1, "state", "{}").await.unwrap();
    session.call(2, "echo", "{}").await.unwrap();
    let denied = session.call(3, "state", "{}").await.unwrap_err();
    assert_eq!(denied.reason, REASON, "{denied:?}");
    assert!(denied.message.contains("`pci`"), "{denied:?}");
    let hint = denied.hint.as_deref().unwrap();
    assert!(
        hint.contains("agent `agent` was handed data labelled `pci`"),
        "{hint}"
    );
    // What the document is not about goes on.
    session.call(4, "echo", "{}").await.unwrap();
    let denied = denial(decides).await.unwrap();
    assert_eq!(denied.policy.as_deref(), Some("no_pci"));
    assert_eq!(denied.alerts, ["no_pci"]);
    let basis = denied.basis.unwrap();
    assert_eq!(basis.rule.as_deref(), Some("/labels"));
    assert_eq!(basis.labels, ["pci"]);
}

#[tokio::test]
async fn a_tag_goes_with_the_agent_that_was_handed_the_result() {
    let body = body(&[ALL, TAGGER, NO_PCI], &[]);
    let (_mesh, host, user) = pair(&body, honest(), honest()).await;
    let session = user.open("agent", "host", "bench").await.unwrap();
    pci_holds(&session, &user).await;
    // Nor is what it may not call any more listed to it.
    let list = r#"{"jsonrpc":"2.0","id":5,"method":"tools/list"}"#;
    let listed = async |by: &Session| {
        let page = by.ask(list).await.unwrap();
        let tools = page["result"]["tools"].as_array().unwrap().clone();
        let named = tools
            .into_iter()
            .map(|tool| tool["name"].as_str().unwrap().to_owned());
        named.collect::<Vec<String>>()
    };
    let before = user.open("fresh", "host", "bench").await.unwrap();
    let (tagged, untagged) = (listed(&session).await, listed(&before).await);
    let gone = untagged.iter().filter(|tool| !tagged.contains(tool));
    assert_eq!(gone.collect::<Vec<_>>(), ["state"]);
    // It stopped there, and both ends have the tag on record.
    assert!(denial(&host).await.is_none());
    for at in [&host, &user] {
        let tagged = noted(at, "response", "echo").await.unwrap();
        assert_eq!(tagged, ["pci"]);
    }
    // The call after it said so in its header, and the other end has read it.
    assert_eq!(noted(&host, "request", "echo").await.unwrap(), ["pci"]);

    // Another session of the agent, with whatever server, changes nothing.
    user.attach_fixture("own", &[]).await;
    let own = user.open("agent", "user", "own").await.unwrap();
    assert_eq!(own.call(1, "state", "{}").await.unwrap_err().reason, REASON);
    session.close().await;
    let again = user.open("agent", "host", "bench").await.unwrap();
    let denied = again.call(1, "state", "{}").await.unwrap_err();
    assert_eq!(denied.reason, REASON);
    // Another agent has touched nothing, and one of that name elsewhere neither.
    let other = user.open("other", "host", "bench").await.unwrap();
    other.call(1, "state", "{}").await.unwrap();
    let namesake = host.open("agent", "host", "bench").await.unwrap();
    pci_holds(&namesake, &host).await;
}

#[tokio::test]
async fn a_tag_holds_where_the_caller_s_node_enforces_nothing() {
    let body = body(&[ALL, TAGGER, NO_PCI], &[]);
    let (_mesh, host, user) = pair(&body, honest(), lawless()).await;
    let session = user.open("agent", "host", "bench").await.unwrap();
    pci_holds(&session, &host).await;
}

/// The ends reach each other through a relay only.
async fn line(body: &BundleBody, composed: fn(&str) -> Composition) -> (Line, Session) {
    let options = LineOptions {
        composed,
        ..LineOptions::default()
    };
    let line = Line::build(options).await;
    line.a.sees("c", "fix").await;
    put_everywhere(1, body, &[&line.b, &line.a, &line.c]).await;
    let session = line.a.open("agent", "c", "fix").await.unwrap();
    (line, session)
}

#[tokio::test]
async fn a_relay_decides_on_the_tags_that_a_header_claims() {
    let body = body(&[ALL, TAGGER, NO_PCI], &[]);
    let ingress = |host: &str| if host == "a" { lawless() } else { honest() };
    let (line, session) = line(&body, ingress).await;
    pci_holds(&session, &line.b).await;
    assert_eq!(denial(&line.b).await.unwrap().role, "relay");
    assert!(denial(&line.c).await.is_none());
    line.stop().await;
}

#[tokio::test]
async fn the_server_s_node_alone_decides_on_tags() {
    let body = body(&[ALL, TAGGER, NO_PCI], &[]);
    let egress = |host: &str| if host == "c" { honest() } else { lawless() };
    let (line, session) = line(&body, egress).await;
    pci_holds(&session, &line.c).await;
    line.stop().await;
}

/// What the bundle says lies at `state` is not for anybody, as this one node says.
async fn place_holds(session: &Session, decides: &TestNode) {
    session.call(1, "echo", "{}").await.unwrap();
    let denied = session.call(2, "state", "{}").await.unwrap_err();
    assert_eq!(denied.reason, REASON, "{denied:?}");
    let hint = denied.hint.as_deref().unwrap_or_default();
    assert!(!hint.contains("was handed"), "{hint}");
    let denied = denial(decides).await.unwrap();
    assert_eq!(denied.basis.unwrap().labels, ["pci"]);
}

#[tokio::test]
async fn labels_of_the_bundle_are_claimed_and_derived_at_every_hop() {
    let everywhere = NO_PCI.replace(r#""tools": ["state"],"#, "");
    let body = body(&[ALL, &everywhere], &[("c/fix/state", "pci")]);
    let only: [fn(&str) -> Composition; 3] = [
        |host| if host == "a" { honest() } else { lawless() },
        |host| if host == "b" { honest() } else { lawless() },
        |host| if host == "c" { honest() } else { lawless() },
    ];
    for (at, composed) in only.into_iter().enumerate() {
        let (line, session) = line(&body, composed).await;
        let decides = [&line.a, &line.b, &line.c][at];
        place_holds(&session, decides).await;
        line.stop().await;
    }
}

#[tokio::test]
async fn a_label_may_be_of_all_on_a_server_and_is_signed_by_the_caller_s_node() {
    let mut labelled = body(&[ALL], &[("bench/*", "phi"), ("host/bench/echo", "pci")]);
    let (_mesh, host, user) = pair(&labelled, lawless(), honest()).await;
    let session = user.open("agent", "host", "bench").await.unwrap();
    session.call(1, "echo", "{}").await.unwrap();
    session.call(2, "state", "{}").await.unwrap();
    // The host goes by no bundle: it knows them by the header alone.
    for at in [&host, &user] {
        assert_eq!(noted(at, "request", "echo").await.unwrap(), ["pci", "phi"]);
        assert_eq!(noted(at, "request", "state").await.unwrap(), ["phi"]);
    }
    // What is labelled in the bundle is not carried on by those who called it.
    labelled.labels.clear();
    put_everywhere(2, &labelled, &[&host, &user]).await;
    session.call(3, "state", "{}").await.unwrap();
    let none: Vec<String> = Vec::new();
    assert_eq!(noted(&user, "request", "state").await.unwrap(), none);
}
