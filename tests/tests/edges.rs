//! Facts that decide, honestly obtained, and what remains of a policy when one hop enforces none.
//!
//! A node that is composed without its own check, or that lies about what a call sets out to do, is
//! stopped by the others: at the other end, or at a relay by the signed header alone.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use std::path::PathBuf;

use node::app::Composition;
use node::control::Operations as _;
use node::enforcement::{INTENT_UNDERSTATED, SEVERED};
use protocol::control::{Decision, DecisionQuery, PostureQuery, ServerFilter};
use protocol::mcp::INTENT_RULES;
use protocol::trust::bundle::{BundleBody, Pin, Policy};
use tests::admin::{Admin, in_force, policy};
use tests::fixture::shop;
use tests::lawless::{OtherRules, honest, lawless, lying, naive, of_other_rules};
use tests::line::{Line, LineOptions};
use tests::mesh::{LOCAL, Session, TestMesh, TestNode, name};
use tests::wait::until;

/// As everybody's first policy says it.
const SEED: &str = r#"{"policy_name": "mcp_read_only_enforcement",
 "allowed_tools": ["get_product_info", "check_inventory"],
 "restricted_intents": ["update_price", "delete_record"],
 "action_on_violation": "block_and_alert"}"#;

/// Everything but what writes, whatever it is called.
const NO_WRITES: &str = r#"{"policy_name": "no_writes", "allowed_tools": ["*/*"],
 "restricted_intents": ["write", "destructive"], "action_on_violation": "block_and_alert"}"#;

/// The seed's policy that cuts off.
fn severing() -> String {
    SEED.replace("block_and_alert", "sever")
}

async fn has_bundle(at: &TestNode) {
    let has = || async { in_force(at).await.bundle.is_some() };
    until("the node has the bundle", has).await;
}

/// These documents, with the tools of the shop pinned that the seed's policy names.
fn body(documents: &[&str], host: &TestNode) -> BundleBody {
    let mut policies: Vec<Policy> = documents.iter().map(|text| policy(text)).collect();
    policies.sort_by(|a, b| a.name.cmp(&b.name));
    let pin = |tool: &str| Pin {
        server: name("shop"),
        tool: tool.to_owned(),
        digest: host
            .node
            .enforcer()
            .own_tool_digest(&name("shop"), tool)
            .unwrap(),
    };
    let mut pins = vec![pin("get_product_info"), pin("check_inventory")];
    pins.sort();
    BundleBody {
        policies,
        pins,
        ..BundleBody::default()
    }
}

/// What the server was asked to do.
fn called(log: &PathBuf) -> Vec<String> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// The newest refusal with a reason that a node has recorded.
async fn refusal(at: &TestNode, reason: &str) -> Option<Decision> {
    at.node.store().flush().await.unwrap();
    let recorded = at.node.decisions(DecisionQuery::default()).await.unwrap();
    let mut recorded = recorded.into_iter();
    recorded.find(|d| d.reason.as_deref() == Some(reason))
}

/// Two nodes with a link, the shop on the first, and a session of an agent of the second.
struct Pair {
    _mesh: TestMesh,
    host: TestNode,
    user: TestNode,
    session: Session,
    log: PathBuf,
}

impl Pair {
    /// The host is composed by the first, the user's node by the second.
    async fn under(documents: &[&str], host: Composition, user: Composition) -> Self {
        let mesh = TestMesh::empty();
        mesh.found_at("host");
        let host = TestNode::compose(&mesh.state("host"), host).await;
        let log = mesh.file("called");
        host.attach("shop", shop(&log)).await;
        let user = mesh.join_composed(&host, "user", user).await;
        user.sees("host", "shop").await;
        let admin = Admin::of(&host.state);
        admin.put(&host, &body(documents, &host)).await;
        has_bundle(&user).await;
        let session = user.open("agent", "host", "shop").await.unwrap();
        Self {
            _mesh: mesh,
            host,
            user,
            session,
            log,
        }
    }
}

/// The ends reach each other through a relay only; the shop is at the far one.
async fn line_under(
    documents: &[&str],
    composed: fn(&str) -> Composition,
) -> (Line, Session, PathBuf) {
    let options = LineOptions {
        composed,
        ..LineOptions::default()
    };
    let line = Line::build(options).await;
    let log = line.mesh.file("called");
    line.c.attach("shop", shop(&log)).await;
    line.a.sees("c", "shop").await;
    let admin = Admin::of(&line.b.state);
    admin.put(&line.b, &body(documents, &line.c)).await;
    for node in [&line.a, &line.b, &line.c] {
        has_bundle(node).await;
    }
    // The relay decides by what the far end announces of its tools.
    let known = || async {
        let member = line.b.node.enforcer().members().member(&line.c.id());
        member.is_some_and(|m| m.tool(&name("shop"), "update_price").is_some())
    };
    until("the relay knows the tools", known).await;
    let session = line.a.open("agent", "c", "shop").await.unwrap();
    (line, session, log)
}

/// What the seed's policy says at the one hop that decides.
async fn the_seed_holds(session: &Session, decides: &TestNode, log: &PathBuf) {
    let read = session.call(1, "get_product_info", "{}").await.unwrap();
    assert_eq!(read["result"]["called"], "get_product_info");
    let denied = session.call(2, "update_price", "{}").await.unwrap_err();
    assert_eq!(denied.reason, "tool_not_allowed", "{denied:?}");
    assert!(denied.message.contains("mcp_read_only_enforcement"));
    let recorded = refusal(decides, "tool_not_allowed").await.unwrap();
    assert_eq!(recorded.alerts, ["mcp_read_only_enforcement"]);
    assert_eq!(recorded.name.as_deref(), Some("update_price"));
    let basis = recorded.basis.unwrap();
    assert!(basis.intents.contains(&"write".to_owned()), "{basis:?}");
    assert_eq!(called(log), ["get_product_info"]);
}

#[tokio::test]
async fn the_seed_s_policy_allows_reading_and_blocks_and_alerts_on_updates() {
    let pair = Pair::under(&[SEED], honest(), honest()).await;
    the_seed_holds(&pair.session, &pair.user, &pair.log).await;
}

#[tokio::test]
async fn an_ingress_without_its_check_is_stopped_by_the_egress() {
    let pair = Pair::under(&[SEED], honest(), lawless()).await;
    the_seed_holds(&pair.session, &pair.host, &pair.log).await;
}

#[tokio::test]
async fn an_egress_without_its_check_is_spared_by_the_ingress() {
    let pair = Pair::under(&[SEED], lawless(), honest()).await;
    the_seed_holds(&pair.session, &pair.user, &pair.log).await;
}

#[tokio::test]
async fn a_relay_alone_stops_what_neither_end_does() {
    let ends = |host: &str| if host == "b" { honest() } else { lawless() };
    let (line, session, log) = line_under(&[SEED], ends).await;
    the_seed_holds(&session, &line.b, &log).await;
    let recorded = refusal(&line.b, "tool_not_allowed").await.unwrap();
    assert_eq!(recorded.role, "relay");
    line.stop().await;
}

#[tokio::test]
async fn a_relay_stops_an_ingress_without_its_check_before_the_egress_sees_it() {
    let ingress = |host: &str| if host == "a" { lawless() } else { honest() };
    let (line, session, log) = line_under(&[SEED], ingress).await;
    the_seed_holds(&session, &line.b, &log).await;
    assert!(refusal(&line.c, "tool_not_allowed").await.is_none());
    line.stop().await;
}

#[tokio::test]
async fn an_egress_stops_what_ingress_and_relay_let_pass() {
    let only_egress = |host: &str| if host == "c" { honest() } else { lawless() };
    let (line, session, log) = line_under(&[SEED], only_egress).await;
    the_seed_holds(&session, &line.c, &log).await;
    line.stop().await;
}

#[tokio::test]
async fn whoever_decides_severs_when_told_to() {
    let severing = severing();
    let pair = Pair::under(&[&severing], honest(), lawless()).await;
    cut_off(&pair.session, &pair.log).await;

    let ends = |host: &str| if host == "b" { honest() } else { lawless() };
    let (line, session, log) = line_under(&[&severing], ends).await;
    cut_off(&session, &log).await;
    let recorded = refusal(&line.b, "tool_not_allowed").await.unwrap();
    assert_eq!(
        (recorded.role.as_str(), recorded.verdict.as_str()),
        ("relay", "sever")
    );
    line.stop().await;
}

async fn cut_off(session: &Session, log: &PathBuf) {
    session.call(1, "get_product_info", "{}").await.unwrap();
    let severed = session.call(2, "update_price", "{}").await.unwrap_err();
    assert_eq!(severed.reason, "tool_not_allowed", "{severed:?}");
    let after = session.call(3, "get_product_info", "{}").await.unwrap_err();
    // Where the session itself was cut, that is what is told.
    assert!(
        [SEVERED, "tool_not_allowed", "session_closed"].contains(&after.reason.as_str()),
        "{after:?}"
    );
    assert_eq!(called(log), ["get_product_info"]);
}

/// Names and annotations are what intents come from, wherever they are derived.
#[tokio::test]
async fn a_claim_that_says_less_than_the_call_does_is_refused() {
    let pair = Pair::under(&[NO_WRITES], honest(), lying()).await;
    let price = pair
        .session
        .call(1, "update_price", "{}")
        .await
        .unwrap_err();
    assert_eq!(price.reason, INTENT_UNDERSTATED, "{price:?}");
    assert!(price.message.contains("`write`"), "{}", price.message);
    // What only the annotations say is known at the server's node.
    let archive = pair.session.call(2, "get_archive", "{}").await.unwrap_err();
    assert_eq!(archive.reason, INTENT_UNDERSTATED);
    assert!(
        archive.message.contains("`destructive`"),
        "{}",
        archive.message
    );
    assert!(refusal(&pair.host, INTENT_UNDERSTATED).await.is_some());
    assert_eq!(called(&pair.log), Vec::<String>::new());

    let ingress = |host: &str| if host == "a" { lying() } else { honest() };
    let (line, session, log) = line_under(&[NO_WRITES], ingress).await;
    let archive = session.call(1, "get_archive", "{}").await.unwrap_err();
    assert_eq!(archive.reason, INTENT_UNDERSTATED);
    let recorded = refusal(&line.b, INTENT_UNDERSTATED).await.unwrap();
    assert_eq!(recorded.role, "relay");
    assert_eq!(called(&log), Vec::<String>::new());
    line.stop().await;
}

#[tokio::test]
async fn annotations_make_a_call_worse_and_never_better() {
    let pair = Pair::under(&[NO_WRITES], honest(), honest()).await;
    let info = pair.session.call(1, "get_product_info", "{}").await;
    info.unwrap();
    // Called `get`, and destructive by its own word.
    let archive = pair.session.call(2, "get_archive", "{}").await.unwrap_err();
    assert_eq!(archive.reason, "intent_restricted");
    // Called `delete`, and `readOnlyHint` by its own word: its intent is what its name says.
    pair.session.call(3, "delete_all", "{}").await.unwrap();
    pair.user.node.store().flush().await.unwrap();
    let recorded = pair.user.node.decisions(DecisionQuery::default()).await;
    let mut recorded = recorded.unwrap().into_iter();
    let deleted = recorded.find(|d| d.name.as_deref() == Some("delete_all") && d.basis.is_some());
    let intents = deleted.unwrap().basis.unwrap().intents;
    assert!(intents.contains(&"delete".to_owned()), "{intents:?}");
}

/// Were intents always `read`, policies about them would stop nothing: that they stop what they do
/// in the tests above is the derivation's doing.
/// Nodes of different versions derive differently and none of them lies: what the other hops derive
/// themselves decides.
#[tokio::test]
async fn by_other_rules_less_is_no_lie_and_no_gain() {
    let caller = |host: &str| match host {
        "a" => Composition {
            danger_policy: lawless().danger_policy,
            ..of_other_rules()
        },
        _ => honest(),
    };
    let pair = Pair::under(&[NO_WRITES], honest(), caller("a")).await;
    let (line, over, log) = line_under(&[NO_WRITES], caller).await;
    for (session, decides) in [(&pair.session, &pair.host), (&over, &line.b)] {
        session.call(1, "get_product_info", "{}").await.unwrap();
        let stopped = session.call(2, "update_price", "{}").await.unwrap_err();
        assert_eq!(stopped.reason, "intent_restricted");
        let recorded = refusal(decides, "intent_restricted").await.unwrap();
        let basis = recorded.basis.unwrap();
        assert!(basis.intents.contains(&"write".to_owned()), "{basis:?}");
        assert_eq!(basis.intent_rules, Some(INTENT_RULES));
        assert_eq!(basis.claimed_rules, Some(OtherRules::VERSION));
        assert!(refusal(decides, INTENT_UNDERSTATED).await.is_none());
    }
    assert_eq!(called(&log), ["get_product_info"]);
    line.stop().await;
    // The other way round the caller's node says more, which only tightens.
    let pair = Pair::under(&[NO_WRITES], of_other_rules(), honest()).await;
    pair.session
        .call(1, "get_product_info", "{}")
        .await
        .unwrap();
    let stopped = pair.session.call(2, "update_price", "{}").await;
    assert_eq!(stopped.unwrap_err().reason, "intent_restricted");
}

#[tokio::test]
async fn with_a_derivation_that_always_reads_nothing_is_stopped() {
    let pair = Pair::under(&[NO_WRITES], naive(), naive()).await;
    pair.session.call(1, "update_price", "{}").await.unwrap();
    assert_eq!(called(&pair.log), ["update_price"]);
}

mod listing {
    //! Lists without what may not be called.

    use super::*;

    const LISTS: [(&str, &str, &str); 4] = [
        ("tools/list", "tools", "name"),
        ("resources/list", "resources", "uri"),
        (
            "resources/templates/list",
            "resourceTemplates",
            "uriTemplate",
        ),
        ("prompts/list", "prompts", "name"),
    ];

    /// Some of each kind, some after approval.
    const SOME: [&str; 3] = [
        r#"{"policy_name": "some", "allowed_tools": ["shop/get_*", "shop/update_price"],
            "allowed_resources": ["file:///shop/p*", "db://*"], "allowed_prompts": ["greet"]}"#,
        r#"{"policy_name": "ask", "tools": ["*/update_price"], "restricted_intents": ["write"],
            "action_on_violation": "require_approval"}"#,
        r#"{"policy_name": "never", "tools": ["*/*"], "restricted_intents": ["delete"]}"#,
    ];

    async fn listed(session: &Session, list: (&str, &str, &str)) -> Vec<String> {
        let (method, field, key) = list;
        let (mut all, mut cursor) = (Vec::new(), None::<String>);
        // Every page of the server is there, also where nothing of it is left.
        for id in 100.. {
            let params = cursor.as_ref().map_or_else(String::new, |cursor| {
                format!(r#","params":{{"cursor":"{cursor}"}}"#)
            });
            let ask = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}"{params}}}"#);
            let page = session.ask(&ask).await.unwrap();
            let items = page["result"][field].as_array().unwrap();
            all.extend(items.iter().map(|i| i[key].as_str().unwrap().to_owned()));
            cursor = page["result"]["nextCursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                break;
            }
        }
        all
    }

    async fn shows_some(session: &Session) {
        let tools = listed(session, LISTS[0]).await;
        assert_eq!(tools, ["get_product_info", "update_price", "get_archive"]);
        let resources = listed(session, LISTS[1]).await;
        assert_eq!(resources, ["file:///shop/products"]);
        assert_eq!(listed(session, LISTS[2]).await, ["db://{table}/rows"]);
        assert_eq!(listed(session, LISTS[3]).await, ["greet"]);
    }

    #[tokio::test]
    async fn the_server_s_node_lists_what_the_caller_may_call() {
        let pair = Pair::under(&SOME, honest(), lawless()).await;
        shows_some(&pair.session).await;
    }

    #[tokio::test]
    async fn the_caller_s_node_lists_no_more_whatever_comes() {
        let pair = Pair::under(&SOME, lawless(), honest()).await;
        shows_some(&pair.session).await;
    }

    #[tokio::test]
    async fn what_is_listed_over_a_relay_is_the_same_and_is_what_calls_are_told() {
        let (line, session, _) = line_under(&SOME, |_| honest()).await;
        shows_some(&session).await;
        for (id, tool, reason) in [
            (1, "get_product_info", None),
            (2, "get_archive", None),
            (3, "check_inventory", Some("tool_not_allowed")),
            (4, "delete_record", Some("intent_restricted")),
            (5, "delete_all", Some("intent_restricted")),
        ] {
            let said = session.call(id, tool, "{}").await;
            let said = said.err().map(|e| e.reason);
            assert_eq!(said.as_deref(), reason, "{tool}");
        }
        line.stop().await;
    }

    /// Who approves definitions must not be shown only those approved already.
    #[tokio::test]
    async fn an_operator_is_told_of_what_is_announced_and_not_listed() {
        let pair = Pair::under(&[SEED], honest(), honest()).await;
        let tools = pair.user.node.tools(LOCAL, ServerFilter::default()).await;
        let tools = tools.unwrap();
        let unlisted = |tool: &str| tools.iter().find(|t| t.name == tool).unwrap().unlisted;
        assert!(!unlisted("get_product_info") && !unlisted("check_inventory"));
        assert!(unlisted("update_price") && unlisted("get_archive"));
        let digest = |tool: &str| {
            let enforcer = pair.host.node.enforcer();
            enforcer.own_tool_digest(&name("shop"), tool).unwrap()
        };
        for tool in &tools {
            assert_eq!(tool.digest, digest(&tool.name).to_string(), "{}", tool.name);
        }
        assert_eq!(tools.len(), 6);
    }

    #[tokio::test]
    async fn without_a_bundle_everything_is_listed_as_the_server_says_it() {
        let (mesh, host) = TestMesh::found("host").await;
        host.attach("shop", shop(&mesh.file("called"))).await;
        let session = host.open("agent", "host", "shop").await.unwrap();
        for (list, count) in LISTS.into_iter().zip([6, 4, 2, 3]) {
            assert_eq!(listed(&session, list).await.len(), count, "{list:?}");
        }
    }
}

mod location {
    //! The address of the caller's node, as the next hop saw it.

    use super::*;

    fn from(network: &str) -> String {
        format!(
            r#"{{"policy_name": "near", "allowed_tools": ["*/*"],
                "location": {{"networks": ["{network}"]}}}}"#
        )
    }

    #[tokio::test]
    async fn on_a_direct_way_the_egress_sees_it() {
        let pair = Pair::under(&[&from("127.0.0.0/8")], honest(), honest()).await;
        pair.session.call(1, "check_inventory", "{}").await.unwrap();
        let pair = Pair::under(&[&from("10.0.0.0/8")], honest(), honest()).await;
        let far = pair.session.call(1, "check_inventory", "{}").await;
        assert_eq!(far.unwrap_err().reason, "network_not_allowed");
        let recorded = refusal(&pair.host, "network_not_allowed").await.unwrap();
        assert!(
            recorded
                .basis
                .unwrap()
                .address
                .unwrap()
                .starts_with("127.0.0.1:")
        );
    }

    #[tokio::test]
    async fn behind_a_relay_the_first_relay_says_it() {
        let near = from("127.0.0.0/8");
        let (line, session, _) = line_under(&[&near], |_| honest()).await;
        session.call(1, "check_inventory", "{}").await.unwrap();
        line.stop().await;
        // The relay itself lets it pass here; the far end goes by its record.
        let far = from("10.0.0.0/8");
        let relay = |host: &str| if host == "b" { lawless() } else { honest() };
        let (line, session, log) = line_under(&[&far], relay).await;
        let refused = session.call(1, "check_inventory", "{}").await.unwrap_err();
        assert_eq!(refused.reason, "network_not_allowed");
        let recorded = refusal(&line.c, "network_not_allowed").await.unwrap();
        assert!(
            recorded
                .basis
                .unwrap()
                .address
                .unwrap()
                .starts_with("127.0.0.1:")
        );
        assert_eq!(called(&log), Vec::<String>::new());
        line.stop().await;
    }
}

mod posture {
    //! What a node says of its own state.

    use std::path::Path;

    use super::*;
    use protocol::trust::posture::SELF_ASSERTED;

    const FIT: &str = r#"{"policy_name": "fit", "allowed_tools": ["*/*"],
        "device": {"os": ["debian"], "min_kernel": "6.1", "hardening": ["aslr"], "max_age_s": 3600}}"#;

    fn writes(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// A host whose files lie there.
    fn of(root: &Path, kernel: &str) -> Composition {
        writes(root, "etc/os-release", "ID=debian\n");
        writes(root, "proc/sys/kernel/osrelease", kernel);
        writes(root, "proc/sys/kernel/randomize_va_space", "2\n");
        Composition {
            host_root: root.to_owned(),
            ..honest()
        }
    }

    #[tokio::test]
    async fn a_fit_device_passes_and_the_decision_says_whose_word_that_is() {
        let root = tempfile::TempDir::new().unwrap();
        let pair = Pair::under(&[FIT], honest(), of(root.path(), "6.1.38-x")).await;
        pair.session.call(1, "check_inventory", "{}").await.unwrap();
        let status = pair.user.status().await.posture.unwrap();
        assert_eq!(
            (status.os.as_str(), status.kernel.as_str()),
            ("debian", "6.1.38")
        );
        assert_eq!(status.word, SELF_ASSERTED);
        for node in [&pair.user, &pair.host] {
            node.node.store().flush().await.unwrap();
            let recorded = node.node.decisions(DecisionQuery::default()).await;
            let mut recorded = recorded.unwrap().into_iter();
            let request = |d: &Decision| d.name.is_some() && d.basis.is_some();
            let basis = recorded.find(request).unwrap().basis.unwrap();
            let posture = basis.posture.unwrap();
            assert_eq!(posture[0], "posture=self-asserted");
            assert!(posture.contains(&"kernel=6.1.38".to_owned()), "{posture:?}");
        }
    }

    #[tokio::test]
    async fn a_device_that_is_not_fit_is_stopped_at_every_hop() {
        let root = tempfile::TempDir::new().unwrap();
        let old = || of(root.path(), "5.10.0");
        let pair = Pair::under(&[FIT], honest(), old()).await;
        let refused = pair.session.call(1, "check_inventory", "{}").await;
        assert_eq!(refused.unwrap_err().reason, "device_not_fit");
        // Its own check is not what stops it.
        let careless = Composition {
            danger_policy: lawless().danger_policy,
            ..old()
        };
        let pair = Pair::under(&[FIT], honest(), careless).await;
        let refused = pair.session.call(1, "check_inventory", "{}").await;
        assert_eq!(refused.unwrap_err().reason, "device_not_fit");
        let recorded = refusal(&pair.host, "device_not_fit").await.unwrap();
        assert_eq!(recorded.role, "egress");
        assert!(recorded.basis.unwrap().posture.is_some());
    }

    /// By the header alone: the relay has the caller's record.
    #[tokio::test]
    async fn a_relay_stops_a_device_that_is_not_fit() {
        let careless = |host: &str| match host {
            "b" => honest(),
            _ => Composition {
                // There is nothing to be read: nothing is claimed.
                host_root: PathBuf::from("/nonexistent"),
                ..lawless()
            },
        };
        let (line, session, log) = line_under(&[FIT], careless).await;
        let refused = session.call(1, "check_inventory", "{}").await.unwrap_err();
        assert_eq!(refused.reason, "device_not_fit");
        assert_eq!(
            refusal(&line.b, "device_not_fit").await.unwrap().role,
            "relay"
        );
        assert_eq!(called(&log), Vec::<String>::new());
        line.stop().await;
    }

    #[tokio::test]
    async fn operators_see_what_was_measured_and_what_others_say() {
        let root = tempfile::TempDir::new().unwrap();
        let pair = Pair::under(&[FIT], honest(), of(root.path(), "6.1.38")).await;
        let own = pair.user.node.postures(PostureQuery::default()).await;
        let own = own.unwrap();
        assert_eq!(own.measured.kernel, "6.1.38");
        assert_eq!(own.measured.word, SELF_ASSERTED);
        assert_eq!(own.measured.hardening, ["aslr"]);
        assert!(own.told && own.announced.unwrap().kernel == "6.1.38");
        let asked = |node: &str| PostureQuery {
            node: Some(node.to_owned()),
        };
        let of_user = async |kernel: &'static str| {
            let said = pair.host.node.postures(asked("user")).await.unwrap();
            assert_eq!(said.others.len(), 1);
            assert_eq!(said.others[0].id, pair.user.id());
            let posture = said.others[0].posture.clone();
            posture.is_some_and(|p| p.kernel == kernel && p.word == SELF_ASSERTED)
        };
        until("the host knows", || of_user("6.1.38")).await;
        writes(root.path(), "proc/sys/kernel/osrelease", "6.2.0");
        pair.user.node.measure_posture().await;
        until("the host is told", || of_user("6.2.0")).await;
        let unknown = pair.host.node.postures(asked("nobody")).await.unwrap_err();
        assert_eq!(unknown.reason, "unknown_node");
        let itself = pair.user.node.postures(asked("user")).await.unwrap();
        assert!(itself.others.is_empty());
    }

    #[tokio::test]
    async fn what_changes_is_announced_at_once() {
        let root = tempfile::TempDir::new().unwrap();
        let pair = Pair::under(&[FIT], honest(), of(root.path(), "6.1.38")).await;
        pair.session.call(1, "check_inventory", "{}").await.unwrap();
        writes(root.path(), "proc/sys/kernel/randomize_va_space", "0\n");
        pair.user.node.measure_posture().await;
        let id = std::sync::atomic::AtomicU64::new(2);
        let stopped = || async {
            let id = id.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let said = pair.session.call(id, "check_inventory", "{}").await;
            said.is_err_and(|e| e.reason == "device_not_fit")
        };
        until("the device is not fit any more", stopped).await;
        let told = || async {
            let members = pair.host.node.enforcer().members();
            let member = members.member(&pair.user.id()).unwrap();
            let record = member.record.clone().unwrap();
            record
                .posture
                .as_ref()
                .is_some_and(|p| p.posture().hardening.is_empty())
        };
        until("the other node knows", told).await;
    }
}

mod forged {
    //! What a member with valid keys signs and is not so.

    use super::*;
    use node::enforcement::{LIST_TOO_LONG, MAX_LISTED};
    use node::transport::StreamKind;
    use tests::hostile::{Conversation, Heard, INITIALIZED};
    use tests::stage::Stage;
    use tests::wait::soon;

    #[tokio::test]
    async fn an_understated_claim_is_refused_and_an_overstated_one_is_not() {
        let stage = Stage::set().await;
        let (session, _wire) = stage.session().await;
        let mut draft = stage.calling(session);
        draft.header.claims.intents = vec!["read".to_owned()];
        let envelope = stage.mallory.forge.seal(&draft).bytes;
        let refused = stage
            .mallory
            .refused(stage.target(), StreamKind::Call, &envelope);
        assert_eq!(refused.await, INTENT_UNDERSTATED);
        stage.tools.counted(INTENT_UNDERSTATED, 1).await;

        let mut draft = stage.calling(session);
        draft.header.claims.intents.push("write".to_owned());
        draft.header.claims.intents.sort_unstable();
        let mut wire = stage.mallory.stream(stage.target(), StreamKind::Call).await;
        wire.envelope(&stage.mallory.forge.seal(&draft).bytes).await;
        assert!(matches!(wire.heard().await, Heard::Envelope(_)));
        stage.undisturbed().await;
    }

    #[tokio::test]
    async fn a_node_that_says_nothing_of_its_state_is_no_fit_device() {
        let stage = Stage::set().await;
        let known = r#"{"policy_name": "known", "allowed_tools": ["*/*"],
            "device": {"max_age_s": 3600}}"#;
        let body = BundleBody {
            policies: vec![policy(known)],
            ..BundleBody::default()
        };
        Admin::of(&stage.tools.state).put(&stage.tools, &body).await;
        let (session, _wire) = stage.session().await;
        let envelope = stage.mallory.forge.seal(&stage.calling(session)).bytes;
        let refused = stage
            .mallory
            .refused(stage.target(), StreamKind::Call, &envelope);
        assert_eq!(refused.await, "device_not_fit");
        let recorded = refusal(&stage.tools, "device_not_fit").await.unwrap();
        assert_eq!(recorded.basis.unwrap().posture, None);
        stage.undisturbed().await;
    }

    /// A session of an agent with a server of the hostile member.
    async fn opened(stage: &Stage) -> (Session, Conversation) {
        stage.mallory.announce(&stage.agent, "shop").await;
        let opening = stage.agent.open("victim", "mallory", "shop");
        let answering = async {
            let mut conversation = stage.mallory.accept(StreamKind::Session).await;
            conversation.answer(INITIALIZED).await;
            conversation
        };
        let (session, conversation) = soon(async { tokio::join!(opening, answering) }).await;
        (session.unwrap(), conversation)
    }

    #[tokio::test]
    async fn a_list_that_cannot_be_judged_is_refused() {
        let stage = Stage::set().await;
        let (session, _open) = opened(&stage).await;
        let page = |count: usize| {
            let items = (0..count).map(|n| format!(r#"{{"name":"t{n}"}}"#));
            format!(r#"{{"tools":[{}]}}"#, items.collect::<Vec<_>>().join(","))
        };
        for (result, reason) in [
            (page(MAX_LISTED + 1), Some(LIST_TOO_LONG)),
            (r#"{"tools":7}"#.to_owned(), Some("not_a_list")),
            (
                r#"{"tools":[{"title":"x"}]}"#.to_owned(),
                Some("nameless_item"),
            ),
            (page(MAX_LISTED), None),
        ] {
            let list = r#"{"jsonrpc":"2.0","id":5,"method":"tools/list"}"#;
            let answering = async {
                let mut conversation = stage.mallory.accept(StreamKind::Call).await;
                conversation.answer(&result).await;
                conversation
            };
            let (said, _call) = tokio::join!(session.ask(list), answering);
            assert_eq!(said.err().map(|e| e.reason).as_deref(), reason);
        }
        stage.undisturbed().await;
    }
}
