//! What a server tells or asks its client before the result holds no more than the result may:
//! the patterns that a document denies in results hold for it, at both ends.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use node::app::Composition;
use node::control::Operations as _;
use node::enforcement::SEVERED;
use protocol::control::{Decision, DecisionQuery};
use protocol::policy::RESULT_DENIED;
use protocol::trust::bundle::{BundleBody, Policy as Document};
use serde_json::{Value, json};
use tests::admin::{body_of, put_everywhere};
use tests::lawless::{honest, lawless};
use tests::mesh::{Session, TestMesh, TestNode, next};
use tests::wait::{soon, until};

/// Some words are in no result of these tools, nor in what comes before it.
fn words(tools: &str, action: &str) -> BundleBody {
    let scope = if tools.is_empty() {
        String::new()
    } else {
        format!(r#""tools": ["{tools}"],"#)
    };
    let document = format!(
        r#"{{"policy_name": "words", {scope} "on_result": {{"deny": ["hush"]}},
            "action_on_violation": "{action}"}}"#
    );
    let mut body = body_of(&[&document]);
    body.policies.push(Document {
        name: "rest".parse().unwrap(),
        media_type: "application/vnd.cedar".to_owned(),
        bytes: b"@policy_name(\"rest\")\npermit (principal, action, resource);".to_vec(),
    });
    body.policies.sort_by(|a, b| a.name.cmp(&b.name));
    body
}

struct Pair {
    _mesh: TestMesh,
    host: TestNode,
    user: TestNode,
    session: Session,
}

async fn pair(host: Composition, user: Composition, body: &BundleBody) -> Pair {
    let (mesh, host, user) = TestMesh::pair(host, user).await;
    put_everywhere(1, body, &[&host, &user]).await;
    let session = user.open("agent", "host", "bench").await.unwrap();
    Pair {
        _mesh: mesh,
        host,
        user,
        session,
    }
}

/// What a node decided of the server's notifications in a call.
async fn denied(at: &TestNode) -> Vec<Decision> {
    let recorded = at.node.decisions(DecisionQuery::default()).await.unwrap();
    let of = |d: &Decision| d.kind.as_deref() == Some("notification") && d.verdict != "allow";
    recorded.into_iter().filter(of).collect()
}

/// Everything that comes in a call until its answer.
async fn all(session: &Session, id: u64, tool: &str, arguments: &Value) -> Vec<Value> {
    let begun = session.begin(id, tool, &arguments.to_string()).await;
    let (mut call, mut came) = (begun.unwrap(), Vec::new());
    loop {
        came.push(next(&mut call).await.unwrap());
        if came.last().unwrap()["id"] == id {
            return came;
        }
    }
}

#[tokio::test]
async fn what_no_result_may_hold_is_not_told_before_it() {
    for (host, by_host) in [(honest(), true), (lawless(), false)] {
        let pair = pair(host, honest(), &words("*/progress", "block_and_alert")).await;
        let secret = json!({"count": 2, "message": "hush 1", "log": "hush 2"});
        let came = all(&pair.session, 1, "progress", &secret).await;
        assert_eq!(came.len(), 1, "{came:?}");
        let at = if by_host { &pair.host } else { &pair.user };
        let recorded = denied(at).await;
        assert_eq!(recorded.len(), 3, "{recorded:?}");
        for decision in &recorded {
            assert_eq!(decision.verdict, "deny");
            assert_eq!(decision.reason.as_deref(), Some(RESULT_DENIED));
            assert_eq!(decision.policy.as_deref(), Some("words"));
            assert_eq!(decision.alerts, ["words"]);
        }
        let open = json!({"count": 2, "message": "well", "log": "well"});
        assert_eq!(all(&pair.session, 2, "progress", &open).await.len(), 4);
    }
}

#[tokio::test]
async fn a_question_is_refused_to_the_server_alone() {
    for host in [honest(), lawless()] {
        let pair = pair(host, honest(), &words("*/ask", "block")).await;
        let came = all(&pair.session, 1, "ask", &json!({"text": "hush"})).await;
        assert_eq!(came.len(), 1, "{came:?}");
        let told = &came[0]["result"]["client_said"]["error"];
        assert_eq!(told["data"]["reason"], RESULT_DENIED, "{told}");
        let mut call = pair
            .session
            .begin(2, "ask", r#"{"text": "well"}"#)
            .await
            .unwrap();
        let asked = next(&mut call).await.unwrap();
        assert_eq!(asked["method"], "sampling/createMessage");
    }
}

#[tokio::test]
async fn severing_ends_the_call() {
    for host in [honest(), lawless()] {
        let pair = pair(host, honest(), &words("*/progress", "sever")).await;
        let begun = pair
            .session
            .begin(1, "progress", r#"{"message": "hush"}"#)
            .await;
        let ended = next(&mut begun.unwrap()).await.unwrap_err();
        let reasons = [RESULT_DENIED, SEVERED];
        assert!(reasons.contains(&ended.reason.as_str()), "{ended:?}");
        let again = pair
            .user
            .open("agent", "host", "bench")
            .await
            .err()
            .unwrap();
        assert_eq!(again.reason, SEVERED, "{again:?}");
    }
}

/// The patterns are those of the call, not of every call.
#[tokio::test]
async fn what_other_tools_must_not_say_is_told() {
    let pair = pair(honest(), honest(), &words("*/echo", "block")).await;
    let secret = json!({"count": 2, "message": "hush 1", "log": "hush 2"});
    assert_eq!(all(&pair.session, 1, "progress", &secret).await.len(), 4);
}

/// Outside of calls the patterns of documents about whole servers hold.
#[tokio::test]
async fn outside_of_calls_documents_about_no_certain_tools_hold() {
    for (tools, host, logged) in [
        ("", honest(), 1),
        ("", lawless(), 1),
        ("*/echo", honest(), 2),
    ] {
        let mut pair = pair(host, honest(), &words(tools, "block")).await;
        let changed = r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#;
        pair.session.send(changed).await.unwrap();
        let mut came = Vec::new();
        while !came
            .iter()
            .any(|text: &String| text.contains("all is well"))
        {
            let event = soon(pair.session.events.recv()).await.unwrap();
            came.push(String::from_utf8(event.to_vec()).unwrap());
        }
        assert_eq!(came.len(), logged, "{came:?}");
        let at = [&pair.host, &pair.user];
        until("what was dropped is recorded", || async {
            denied(at[0]).await.len() + denied(at[1]).await.len() == 2 - logged
        })
        .await;
    }
}
