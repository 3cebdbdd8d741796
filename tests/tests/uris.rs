//! Resources by URI on whole nodes: a policy for some of them is neither walked out of nor round by
//! writing a URI otherwise, whichever hop decides.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use node::control::Operations as _;
use protocol::control::DecisionQuery;
use tests::admin::{Admin, body_of, has_bundle};
use tests::fixture::shop;
use tests::lawless::{honest, lawless};
use tests::line::{Line, LineOptions};
use tests::mesh::{Session, TestNode};

/// Some resources are for all; some of those want approval.
const PUBLIC: &str = r#"{"policy_name": "public", "allowed_resources": ["file:///public/*"]}"#;
const ASK: &str = r#"{"policy_name": "ask", "resources": ["file:///public/staff/*"],
    "approval": {"required": true}}"#;

/// Each is another way to write what one of the documents does not permit.
const OTHERWISE: [&str; 6] = [
    "file:///public/../records/x",
    "file:///public/%2e%2e/records/x",
    "file:///public/..%2frecords/x",
    "file:///public/%73taff/x",
    "file:///public/./staff/x",
    "file:///public//staff/x",
];

async fn read(session: &Session, id: usize, uri: &str) -> Result<String, String> {
    let uri = serde_json::Value::from(uri);
    let message = format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"resources/read","params":{{"uri":{uri}}}}}"#
    );
    let answer = session.ask(&message).await.map_err(|e| e.reason)?;
    let there = answer["result"]["contents"][0]["uri"].as_str();
    Ok(there.unwrap().to_owned())
}

/// Over nodes composed like this, one of them refuses and records it, and nothing is walked out of.
async fn holds(composed: fn(&str) -> node::app::Composition, decides: fn(&Line) -> &TestNode) {
    let options = LineOptions {
        composed,
        ..LineOptions::default()
    };
    let line = Line::build(options).await;
    line.c.attach("shop", shop(&line.mesh.file("called"))).await;
    line.a.sees("c", "shop").await;
    let admin = Admin::of(&line.b.state);
    admin.put(&line.b, &body_of(&[ASK, PUBLIC])).await;
    for node in [&line.a, &line.b, &line.c] {
        has_bundle(node, 1).await;
    }
    let session = line.a.open("agent", "c", "shop").await.unwrap();
    let plain = "file:///public/a%20b";
    assert_eq!(read(&session, 1, plain).await.as_deref(), Ok(plain));
    for (id, uri) in (2..).zip(OTHERWISE) {
        let said = read(&session, id, uri).await;
        assert_eq!(said, Err("ambiguous_uri".to_owned()), "{uri}");
    }
    let at = decides(&line);
    at.node.store().flush().await.unwrap();
    let recorded = at.node.decisions(DecisionQuery::default()).await.unwrap();
    let refused = recorded
        .iter()
        .filter(|d| d.reason.as_deref() == Some("ambiguous_uri"));
    let refused: Vec<_> = refused.filter_map(|d| d.name.as_deref()).collect();
    assert_eq!(refused.len(), OTHERWISE.len(), "{refused:?}");
    line.stop().await;
}

#[tokio::test]
async fn the_callers_node_refuses_a_uri_with_several_readings() {
    holds(|_| honest(), |line| &line.a).await;
}

#[tokio::test]
async fn a_relay_alone_refuses_it() {
    let ends = |host: &str| if host == "b" { honest() } else { lawless() };
    holds(ends, |line| &line.b).await;
}

#[tokio::test]
async fn the_servers_node_alone_refuses_it() {
    let only_egress = |host: &str| if host == "c" { honest() } else { lawless() };
    holds(only_egress, |line| &line.c).await;
}
