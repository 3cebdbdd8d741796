use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

use protocol::control::{
    Check, Condition, Counters, Freshness, FreshnessState, Level, MeshInfo, NodeInfo, Peer,
    PeerState, Renewal, Server, ServerInfo, ServerState, Status, StoreInfo, TimeHealth,
    TrustStatus,
};
use protocol::id::{MeshId, NodeId, SignerId};
use protocol::name::Name;
use protocol::time::UnixSeconds;

use super::*;

const NOW: u64 = 1_800_000_000;
const DAY: u64 = 24 * 3600;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A node with which nothing is wrong.
fn healthy() -> Facts {
    let status = Status {
        version: "0".into(),
        pid: 1,
        mesh: MeshInfo {
            id: MeshId::from_bytes([1; 32]),
            name: name("m"),
        },
        node: NodeInfo {
            id: NodeId::from_bytes([2; 32]),
            name: name("a"),
            groups: vec![],
            site: None,
            membership_expires: UnixSeconds(NOW + 30 * DAY),
        },
        listen: "0.0.0.0:7443".into(),
        addresses: vec!["192.0.2.1:7443".into()],
        gateway_url: Some("http://127.0.0.1:7480/mcp".into()),
        ready: true,
        conditions: vec![],
        uptime_s: 5,
        links: 1,
        servers: 1,
        sessions: 0,
        counters: Counters::default(),
        store: StoreInfo {
            decisions: 0,
            bytes: 0,
        },
        time: TimeHealth {
            healthy: true,
            now_ms: NOW * 1000,
            greatest_ms: NOW * 1000,
            message: None,
        },
        posture: None,
        trust: Some(TrustStatus {
            admins: 3,
            threshold: 2,
            issuers: 2,
            timestampers: 2,
            freshness: Some(Freshness {
                state: FreshnessState::Fresh,
                age_s: Some(60),
                lease_s: DAY,
            }),
            renewal: Some(Renewal {
                due: UnixSeconds(NOW + 15 * DAY),
                failures: 0,
                last_error: None,
            }),
            ..TrustStatus::default()
        }),
    };
    Facts {
        status,
        peers: vec![peer("b", PeerState::Connected, None)],
        bootstraps: vec![],
        servers: vec![server(ServerState::Ready)],
        store_fault: None,
        copied: vec![],
        cut_off: vec![],
        is_copied: false,
        told_ahead: false,
    }
}

fn peer(called: &str, state: PeerState, reason: Option<&str>) -> Peer {
    Peer {
        id: NodeId::from_bytes([3; 32]),
        name: Some(name(called)),
        state,
        address: Some("192.0.2.1:7443".into()),
        group: None,
        signature_scheme: None,
        relayed_by: Vec::new(),
        heard_over_relays: None,
        path: None,
        handshake_ms: None,
        hello_ms: None,
        rtts: None,
        rtt_ms: None,
        dialed: None,
        since: None,
        last_seen: None,
        membership_expires: None,
        groups: Vec::new(),
        site: None,
        versions: None,
        servers: vec![],
        last_error: reason.map(str::to_owned),
        last_reason: reason.map(str::to_owned),
    }
}

fn server(state: ServerState) -> Server {
    Server {
        name: name("files"),
        spec: ServerInfo::Stdio {
            command: vec![],
            env: vec![],
            cwd: None,
        },
        state,
        tools: 0,
        last_words: Vec::new(),
        tools_left_out: 0,
        restarts: 0,
        last_error: Some("exit code 127".into()),
    }
}

fn trust(facts: &mut Facts) -> &mut TrustStatus {
    facts.status.trust.as_mut().unwrap()
}

fn cut_off(facts: &mut Facts, reason: &str) {
    facts.status.links = 0;
    facts.peers = vec![peer("b", PeerState::Disconnected, Some(reason))];
}

fn found<'a>(checks: &'a [Check], name: &str) -> &'a Check {
    let mut named = checks.iter().filter(|c| c.name == name);
    let check = named.next().unwrap_or_else(|| panic!("no check `{name}`"));
    assert!(named.next().is_none(), "`{name}` stands twice");
    check
}

/// Changes a healthy node and returns one check of it, which must say what to do.
fn after(change: impl FnOnce(&mut Facts), name: &str) -> Check {
    let mut facts = healthy();
    change(&mut facts);
    let check = found(&judge(&facts), name).clone();
    assert!(
        check.level == Level::Ok || check.mend.is_some(),
        "{check:?}"
    );
    check
}

#[test]
fn nothing_is_wrong_with_a_healthy_node() {
    for check in judge(&healthy()) {
        assert_eq!(check.level, Level::Ok, "{check:?}");
    }
}

#[test]
fn each_trouble_has_its_check_its_cause_and_its_mend() {
    type Trouble = (&'static str, Level, &'static str, fn(&mut Facts));
    let troubles: [Trouble; 34] = [
        ("ready", Level::Fail, "serving", |f| {
            f.status.ready = false;
            f.status.conditions = vec![Condition {
                name: "serving".into(),
                met: false,
                message: None,
            }];
        }),
        ("severed", Level::Warn, "kept apart", |f| {
            cut_off(f, "node_severed");
        }),
        ("severed", Level::Warn, "node `b`", |f| {
            cut_off(f, "severed");
        }),
        (
            "severed",
            Level::Warn,
            "cut off at this node: agent `a` of node `b` by policy `p` for 7 s",
            |f| {
                f.cut_off = vec!["agent `a` of node `b` by policy `p` for 7 s".to_owned()];
            },
        ),
        ("ready", Level::Warn, "not synced", |f| {
            trust(f).waiting = Some("not synced".into());
        }),
        ("clock", Level::Fail, "90 s behind", |f| {
            f.status.time.healthy = false;
            f.status.time.message = Some("the clock is 90 s behind".into());
        }),
        ("clock", Level::Fail, "behind verified time", |f| {
            trust(f).freshness.as_mut().unwrap().state = FreshnessState::ClockBehind;
        }),
        (
            "clock",
            Level::Warn,
            "4 messages came from the future",
            |f| {
                f.status.counters.refusals = BTreeMap::from([("issued_in_future".to_owned(), 4)]);
            },
        ),
        ("clock", Level::Fail, "coming from the future", |f| {
            f.told_ahead = true;
        }),
        ("clock", Level::Fail, "memberships of the nodes", |f| {
            f.status.links = 0;
            f.status.node.membership_expires = UnixSeconds(NOW - DAY);
            let refused = ("not_admitted/membership_expired".to_owned(), 2);
            f.status.counters.refusals = BTreeMap::from([refused]);
        }),
        ("copies", Level::Fail, "keys of this node", |f| {
            f.is_copied = true;
        }),
        ("copies", Level::Fail, "one node: e", |f| {
            f.copied = vec!["e".into()];
        }),
        ("store", Level::Fail, "no space", |f| {
            f.store_fault = Some("no space is left on the device".into());
        }),
        ("gateway", Level::Fail, "does not listen", |f| {
            f.status.gateway_url = None
        }),
        ("revoked", Level::Fail, "stolen", |f| {
            trust(f).revoked = Some("stolen".into())
        }),
        ("revoked", Level::Fail, "`b` refuses this node", |f| {
            cut_off(f, "node_revoked")
        }),
        ("membership", Level::Fail, "has ended", |f| {
            f.status.node.membership_expires = UnixSeconds(NOW);
        }),
        (
            "membership",
            Level::Warn,
            "failed 3 times: no issuer",
            |f| {
                trust(f).renewal.as_mut().unwrap().failures = 3;
            },
        ),
        ("membership", Level::Warn, "lasts 6 days more", |f| {
            trust(f).renewal = None;
            f.status.node.membership_expires = UnixSeconds(NOW + 6 * DAY);
        }),
        ("membership", Level::Warn, "overdue", |f| {
            trust(f).renewal.as_mut().unwrap().due = UnixSeconds(NOW - 15 * DAY);
            f.status.node.membership_expires = UnixSeconds(NOW + DAY);
        }),
        ("mesh", Level::Fail, "another mesh than `m`", |f| {
            cut_off(f, "foreign_mesh")
        }),
        ("mesh", Level::Fail, "192.0.2.9:7443", |f| {
            f.bootstraps = vec![Bootstrap {
                address: "192.0.2.9:7443".into(),
                node: None,
                linked: false,
                reason: Some("foreign_mesh".into()),
            }];
        }),
        ("bootstrap", Level::Warn, "no other node is known", |f| {
            f.peers = vec![]
        }),
        ("peers", Level::Fail, "no other node answers", |f| {
            cut_off(f, "unreachable")
        }),
        ("peers", Level::Fail, "expired", |f| cut_off(f, "expired")),
        ("peers", Level::Warn, "no link to c", |f| {
            f.peers
                .push(peer("c", PeerState::Disconnected, Some("unreachable")));
        }),
        ("lease", Level::Fail, "writes are refused", |f| {
            trust(f).freshness.as_mut().unwrap().state = FreshnessState::Stale;
        }),
        ("lease", Level::Warn, "13 h", |f| {
            trust(f).freshness.as_mut().unwrap().age_s = Some(13 * 3600);
        }),
        ("issuer_limits", Level::Fail, "refused 7 times", |f| {
            trust(f).issuer_alarms = vec![protocol::control::IssuerAlarm {
                issuer: SignerId::from_bytes([1; 32]),
                reason: "issuer_too_fast".into(),
                message: "its issuer signs more than 3 memberships an hour".into(),
                refused: 7,
                node: NodeId::from_bytes([2; 32]),
            }];
        }),
        ("admins", Level::Warn, "one admin", |f| trust(f).admins = 1),
        ("timestampers", Level::Warn, "one timestamper", |f| {
            trust(f).timestampers = 1
        }),
        ("servers", Level::Fail, "files", |f| {
            f.servers = vec![server(ServerState::BackingOff)];
        }),
        ("servers", Level::Fail, "files", |f| {
            f.servers = vec![server(ServerState::Starting)];
        }),
        ("servers", Level::Warn, "some tools of files", |f| {
            f.servers = vec![server(ServerState::Ready)];
            f.servers[0].tools_left_out = 1;
        }),
    ];
    for (name, level, says, change) in troubles {
        let check = after(change, name);
        assert_eq!(check.level, level, "{check:?}");
        assert!(check.message.contains(says), "{check:?}");
        assert!(check.cause.is_some(), "{check:?}");
    }
    assert_eq!(
        after(|f| trust(f).issuers = 1, "issuers").level,
        Level::Warn
    );
    assert_eq!(
        after(|f| trust(f).issuers = 0, "issuers").level,
        Level::Fail
    );
}

#[test]
fn a_node_that_cannot_take_part_is_not_called_ready() {
    type Change = fn(&mut Facts);
    let changes: [Change; 3] = [
        |f| trust(f).revoked = Some("stolen".into()),
        |f| cut_off(f, "node_revoked"),
        |f| trust(f).freshness.as_mut().unwrap().state = FreshnessState::Stale,
    ];
    for change in changes {
        let ready = after(change, "ready");
        assert!(!ready.message.contains("is ready"), "{ready:?}");
    }
}

#[test]
fn a_peer_whose_membership_ended_is_no_sign_of_a_clock_ahead() {
    let met = |f: &mut Facts| {
        let refused = ("not_admitted/membership_expired".to_owned(), 2);
        f.status.counters.refusals = BTreeMap::from([refused]);
    };
    assert_eq!(after(met, "clock").level, Level::Ok);
    // Alone, with a lease and a membership that hold: it is the other one that was away.
    let alone = |f: &mut Facts| {
        met(f);
        f.status.links = 0;
    };
    assert_eq!(after(alone, "clock").level, Level::Ok);
}

#[test]
fn a_refusal_by_who_is_revoked_or_knows_less_is_no_evidence() {
    // Refused while it was revoked itself; lifted since, and who refused is revoked now.
    let by_revoked = after(
        |f| {
            f.peers
                .push(peer("e", PeerState::Revoked, Some("node_revoked")));
        },
        "revoked",
    );
    assert_eq!(by_revoked.level, Level::Ok, "{by_revoked:?}");
    let alone = |f: &mut Facts| {
        f.status.links = 0;
        f.peers = vec![peer("e", PeerState::Revoked, Some("node_revoked"))];
        f.bootstraps = vec![Bootstrap {
            address: "192.0.2.9:7443".into(),
            node: Some(NodeId::from_bytes([3; 32])),
            linked: false,
            reason: Some("node_revoked".into()),
        }];
    };
    assert_eq!(after(alone, "revoked").level, Level::Ok);
    assert_ne!(after(alone, "peers").level, Level::Fail);
    // With somebody else this node has synced, so it would know.
    let late = |f: &mut Facts| {
        f.peers
            .push(peer("e", PeerState::Disconnected, Some("node_revoked")));
    };
    assert_eq!(after(late, "revoked").level, Level::Ok);
    let unsynced = |f: &mut Facts| {
        late(f);
        trust(f).waiting = Some("not synced".into());
    };
    assert_eq!(after(unsynced, "revoked").level, Level::Fail);
}

#[test]
fn silence_is_told_from_refusal() {
    let silent = after(|f| cut_off(f, "unreachable"), "peers");
    assert!(silent.cause.unwrap().contains("UDP is blocked"));
    let refused = after(|f| cut_off(f, "not_admitted"), "peers");
    assert!(refused.cause.unwrap().contains("refuse"));
}

#[test]
fn a_clock_behind_verified_time_is_found_without_the_node() {
    let behind = local::clocked(10_000_000, 1_000_000);
    assert_eq!((behind.name.as_str(), behind.level), ("clock", Level::Fail));
    let right = local::clocked(1_000_000, 1_000_000);
    assert_eq!((right.name.as_str(), right.level), ("store", Level::Ok));
}

fn examine(path: &std::path::Path) -> Vec<Check> {
    let free = |name: &str| {
        let address = matches!(name, "HEDGEROW_LISTEN" | "HEDGEROW_GATEWAY_LISTEN");
        address.then(|| "127.0.0.1:0".into())
    };
    local(path, false, &free)
}

fn founded() -> (tempfile::TempDir, std::path::PathBuf) {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("s");
    let founding = crate::setup::Founding {
        mesh: name("m"),
        node: name("a"),
        groups: vec![],
        site: None,
    };
    let admin = crate::keys::passphrase::Passphrase::new("a test's own words".to_owned().into());
    crate::setup::found(&path, &founding, &admin.unwrap()).unwrap();
    (tmp, path)
}

#[test]
fn a_directory_without_a_running_node_is_examined() {
    let (_tmp, path) = founded();
    let checks = examine(&path);
    for name in [
        "state_directory",
        "keys",
        "config",
        "mesh",
        "membership",
        "port",
        "gateway",
        "store",
    ] {
        let check = found(&checks, name);
        assert_eq!(check.level, Level::Ok, "{check:?}");
    }
    let nothing = examine(&path.join("not-there"));
    assert_eq!(found(&nothing, "state_directory").level, Level::Fail);
}

#[test]
fn what_others_can_read_or_own_is_found() {
    let (_tmp, path) = founded();
    let mode = |at: &std::path::Path, mode| {
        std::fs::set_permissions(at, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let key = path.join("keys/signing.key");
    mode(&key, 0o644);
    let check = found(&examine(&path), "keys").clone();
    assert!(
        check.mend.unwrap().contains("chmod 600"),
        "{}",
        check.message
    );
    mode(&key, 0o600);

    mode(&path.join("root.cose"), 0o640);
    assert_eq!(found(&examine(&path), "state_directory").level, Level::Fail);
    mode(&path.join("root.cose"), 0o600);
    mode(&path, 0o755);
    let check = found(&examine(&path), "state_directory").clone();
    assert!(check.mend.unwrap().contains("chmod 700"));
    mode(&path, 0o700);

    std::fs::remove_file(&key).unwrap();
    assert_eq!(found(&examine(&path), "keys").level, Level::Fail);
}

#[test]
fn damaged_files_and_taken_ports_are_found() {
    let (_tmp, path) = founded();
    std::fs::write(path.join("config.toml"), "[node]\nlisten = 7\n").unwrap();
    let checks = examine(&path);
    assert_eq!(found(&checks, "config").level, Level::Fail);
    assert_eq!(found(&checks, "port").level, Level::Warn);
    std::fs::remove_file(path.join("config.toml")).unwrap();

    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let variable = |name: &str| match name {
        "HEDGEROW_LISTEN" => Some(address.clone().into()),
        "HEDGEROW_GATEWAY_LISTEN" => Some("127.0.0.1:0".into()),
        _ => None,
    };
    let check = found(&local(&path, false, &variable), "port").clone();
    assert_eq!(check.level, Level::Fail, "{check:?}");
    assert!(check.cause.unwrap().contains("another process"));

    let file = path.join("store.redb");
    std::fs::write(&file, b"no store").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(found(&examine(&path), "store").level, Level::Fail);

    let mut root = std::fs::read(path.join("root.cose")).unwrap();
    *root.last_mut().unwrap() ^= 1;
    std::fs::write(path.join("root.cose"), root).unwrap();
    assert_eq!(found(&examine(&path), "mesh").level, Level::Fail);
}

#[test]
fn an_ended_and_a_coming_membership_are_told_apart() {
    let (_tmp, path) = founded();
    let crypto = hedgerow_crypto::Primitives;
    let root = std::fs::read(path.join("root.cose")).unwrap();
    let root = protocol::trust::VerifiedRoot::genesis(&crypto, &root).unwrap();
    let bytes = std::fs::read(path.join("membership.cose")).unwrap();
    let at = |now| local::membership(&root, &bytes, UnixSeconds(now));
    let ended = at(u64::MAX / 2);
    assert!(ended.message.contains("ended"), "{ended:?}");
    let early = at(1000);
    assert!(early.message.contains("future"), "{early:?}");
    assert_eq!((ended.level, early.level), (Level::Fail, Level::Fail));
}

#[test]
fn a_node_that_no_other_host_can_dial_is_told_so() {
    let nowhere = after(|f| f.status.addresses.clear(), "addresses");
    assert_eq!(nowhere.level, Level::Warn);
    let own = |f: &mut Facts| f.status.addresses = vec!["127.0.0.1:7443".into(), "[::1]:1".into()];
    assert_eq!(after(own, "addresses").level, Level::Warn);
    let named = |f: &mut Facts| f.status.addresses.push("127.0.0.1:7443".into());
    assert_eq!(after(named, "addresses").level, Level::Ok);
}

#[test]
fn a_node_that_is_reached_over_relays_is_no_trouble() {
    let down = |relays: &[&str]| {
        after(
            |facts| {
                let mut far = peer("far", PeerState::Disconnected, Some("unreachable"));
                far.relayed_by = relays.iter().map(|relay| name(relay)).collect();
                facts.peers.push(far);
            },
            "peers",
        )
    };
    assert_eq!(down(&[]).level, Level::Warn);
    let relayed = down(&["hub"]);
    assert_eq!(relayed.level, Level::Ok, "{relayed:?}");
    assert!(
        relayed.message.contains("1 nodes over relays"),
        "{relayed:?}"
    );
}

#[test]
fn a_node_that_only_calls_over_relays_is_no_trouble() {
    let heard = |ago: u64, change: fn(&mut Peer)| {
        after(
            |facts| {
                let mut ing = peer("ing", PeerState::Disconnected, None);
                ing.address = None;
                ing.last_seen = Some(UnixSeconds(NOW - ago));
                change(&mut ing);
                facts.peers.push(ing);
            },
            "peers",
        )
    };
    let relayed = |p: &mut Peer| {
        p.address = Some("192.0.2.1:7443".into());
        p.last_reason = Some("unreachable".into());
        p.heard_over_relays = p.last_seen;
    };
    let healthy: [fn(&mut Peer); 2] = [|_| {}, relayed];
    for change in healthy {
        let lately = heard(1800, change);
        assert_eq!(lately.level, Level::Ok, "{lately:?}");
        let told = "1 nodes heard over others";
        assert!(lately.message.contains(told), "{lately:?}");
        assert_eq!(heard(2 * 3600, change).level, Level::Warn);
    }
    let gone: [fn(&mut Peer); 2] = [
        |p| p.address = Some("192.0.2.1:7443".into()),
        |p| p.last_reason = Some("severed".into()),
    ];
    for change in gone {
        let told = heard(1800, change);
        assert_eq!(told.level, Level::Warn, "{told:?}");
        assert!(told.message.contains("no link to ing"), "{told:?}");
    }
}
