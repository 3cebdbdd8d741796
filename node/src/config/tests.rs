//! The file and the environment: defaults, precedence, and every refusal with its line.

use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;

use protocol::id::NodeId;

use super::*;

fn parsed(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("config.toml"), text)
}

fn with(pairs: &[(&'static str, &str)]) -> Result<Config, ConfigError> {
    let lookup = |name: &str| {
        let found = pairs.iter().find(|(n, _)| *n == name);
        found.map(|(_, v)| OsString::from(v))
    };
    Config::load(Path::new("/nonexistent/config.toml"), &lookup)
}

#[test]
fn the_example_is_the_defaults_and_complete() {
    assert_eq!(parsed(Config::example()).unwrap(), Config::default());
    let defaults = toml::Table::try_from(Sections::default()).unwrap();
    let example: toml::Table = toml::from_str(Config::example()).unwrap();
    assert_eq!(example, defaults, "every key is in the example");
    for name in [
        environment::LISTEN,
        environment::ADVERTISE,
        environment::GATEWAY_LISTEN,
        environment::PEERS,
        environment::LOG,
        environment::LOG_FORMAT,
    ] {
        let shown = format!("[{name}]");
        assert!(
            Config::example().contains(&shown),
            "{name} is in the example"
        );
    }
}

#[test]
fn an_empty_and_a_missing_file_are_the_defaults() {
    assert_eq!(parsed("").unwrap(), Config::default());
    assert_eq!(with(&[]).unwrap(), Config::default());
    let empty = [(environment::LISTEN, ""), (environment::LOG, "")];
    assert_eq!(with(&empty).unwrap(), Config::default());
}

#[test]
fn the_environment_overrides_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    std::fs::write(
        &path,
        "[node]\nlisten = \"127.0.0.1:1\"\n[limits]\ndrain_s = 3\n",
    )
    .unwrap();
    let from_file = Config::load(&path, &|_| None).unwrap();
    assert_eq!(from_file.node().listen.port(), 1);
    let lookup = |name: &str| (name == environment::LISTEN).then(|| OsString::from("[::1]:2"));
    let overridden = Config::load(&path, &lookup).unwrap();
    assert_eq!(overridden.node().listen.port(), 2);
    assert_eq!(overridden.limits().drain_s, 3);
}

#[test]
fn lists_in_the_environment_are_separated_by_commas() {
    let id = NodeId::from_bytes([5; 32]);
    let peers = format!("{id}@a:1, {id}@[::1]:2,");
    let config = with(&[
        (environment::PEERS, &peers),
        (environment::ADVERTISE, "a.example:7443"),
        (environment::LOG_FORMAT, "json"),
    ])
    .unwrap();
    assert_eq!(config.peers().fixed.len(), 2);
    assert_eq!(config.node().advertise.len(), 1);
    assert_eq!(config.log().format, LogFormat::Json);
}

#[test]
fn a_variable_that_cannot_be_used_is_named() {
    for pair in [
        (environment::LISTEN, "here"),
        (environment::ADVERTISE, "a:0"),
        (environment::PEERS, "a:1"),
        (environment::LOG_FORMAT, "xml"),
    ] {
        let error = with(&[pair]).unwrap_err();
        assert!(
            matches!(error, ConfigError::Variable { variable, .. } if variable == pair.0),
            "{error}"
        );
        assert!(!error.to_string().contains('\n'));
    }
    let bytes = |name: &str| (name == environment::LOG).then(|| OsString::from_vec(vec![0xff]));
    let error = Config::load(Path::new("/nonexistent"), &bytes).unwrap_err();
    assert!(matches!(error, ConfigError::Variable { .. }), "{error}");
}

#[test]
fn an_unknown_key_names_file_line_and_the_closest() {
    for (text, line, key, closest) in [
        ("[node]\nlisen = 1\n", 2, "node.lisen", Some("node.listen")),
        ("\n[nodes]\n", 2, "nodes", Some("node")),
        (
            "[limits]\ndrain = 1\n",
            2,
            "limits.drain",
            Some("limits.drain_s"),
        ),
        (
            "[node]\ncache_mib = 1",
            2,
            "node.cache_mib",
            Some("store.cache_mib"),
        ),
        ("cache_mib = 1", 1, "cache_mib", Some("store.cache_mib")),
        ("node.listem = \"x\"", 1, "node.listem", Some("node.listen")),
        ("[peers]\nfixed = []", 2, "peers.fixed", None),
        ("zzzzzzzzzzzz = 1", 1, "zzzzzzzzzzzz", None),
    ] {
        let error = parsed(text).unwrap_err();
        match &error {
            ConfigError::UnknownKey {
                line: l,
                key: k,
                closest: c,
                ..
            } => assert_eq!(
                (*l, k.as_str(), c.as_deref()),
                (line, key, closest),
                "{text}"
            ),
            other => panic!("{text}: {other}"),
        }
    }
    let shown = parsed("[node]\nlisen = 1\n").unwrap_err().to_string();
    assert_eq!(
        shown,
        "config.toml:2: unknown key `node.lisen`, did you mean `node.listen`?"
    );
}

#[test]
fn malformed_values_are_one_line_with_their_place() {
    for (text, line) in [
        ("[node\n", 1),
        ("[node]\nlisten = 7\n", 2),
        ("[node]\nlisten = \"host\"\n", 2),
        ("\n\n[store]\ncache_mib = -1", 4),
        ("[log]\nformat = \"xml\"", 2),
        ("[peers]\nstatic = [\"a:1\"]", 2),
        ("[relay]\naccept = [\"everyone\"]", 2),
        ("[relay]\nthrough = [\"two words\"]", 2),
        ("node = 1", 1),
        ("[node]\nlisten = \"0.0.0.0:1\"\nlisten = \"0.0.0.0:2\"", 3),
    ] {
        let error = parsed(text).unwrap_err();
        assert!(
            matches!(&error, ConfigError::Malformed { line: l, .. } if *l == line),
            "{text}: {error}"
        );
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

#[test]
fn the_gateway_stays_on_loopback() {
    for address in ["0.0.0.0:7480", "10.0.0.1:1", "[::]:1"] {
        let error = with(&[(environment::GATEWAY_LISTEN, address)]).unwrap_err();
        assert!(
            matches!(error, ConfigError::GatewayNotLoopback { .. }),
            "{error}"
        );
        assert!(error.hint().is_some());
    }
    for address in ["127.0.0.1:0", "127.9.9.9:1", "[::1]:1"] {
        with(&[(environment::GATEWAY_LISTEN, address)]).unwrap();
    }
}

#[test]
fn the_status_page_stays_on_loopback() {
    for address in ["0.0.0.0:7481", "10.0.0.1:1", "[::]:1"] {
        let error = with(&[(environment::PAGE_LISTEN, address)]).unwrap_err();
        assert!(
            matches!(error, ConfigError::PageNotLoopback { .. }),
            "{error}"
        );
        assert!(error.to_string().contains("page.listen") && error.hint().is_some());
    }
    let config = with(&[(environment::PAGE_LISTEN, "[::1]:1")]).unwrap();
    assert_eq!(config.page().listen.port(), 1);
}

#[test]
fn the_status_page_takes_any_port_where_the_gateway_does() {
    let beside = |page: &str, gateway: &str| {
        let config = with(&[(environment::PAGE_LISTEN, page)]).unwrap();
        let listen = config.page().beside(gateway.parse().unwrap());
        listen.to_string()
    };
    assert_eq!(beside("", "127.0.0.1:0"), "127.0.0.1:0");
    assert_eq!(beside("", "127.0.0.1:7480"), "127.0.0.1:7481");
    assert_eq!(beside("127.0.0.1:9", "127.0.0.1:0"), "127.0.0.1:9");
}

#[test]
fn numbers_lists_and_texts_are_bounded() {
    for text in [
        "[store]\ncache_mib = 0",
        "[store]\ncache_mib = 1025",
        "[limits]\nclient_sessions = 10001",
        "[limits]\ndrain_s = 301",
    ] {
        let error = parsed(text).unwrap_err();
        assert!(matches!(error, ConfigError::OutOfRange { .. }), "{error}");
    }
    let many = vec!["\"a:1\""; protocol::limits::MAX_ADDRESSES + 1].join(",");
    let error = parsed(&format!("[node]\nadvertise = [{many}]")).unwrap_err();
    assert!(matches!(error, ConfigError::TooMany { .. }), "{error}");
    let filter = "x".repeat(MAX_FILTER_BYTES + 1);
    let error = parsed(&format!("[log]\nfilter = \"{filter}\"")).unwrap_err();
    assert!(matches!(error, ConfigError::TooLong { .. }), "{error}");
}

#[test]
fn a_file_too_large_not_text_or_writable_by_others_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    let load = || Config::load(&path, &|_| None);
    std::fs::write(&path, vec![b'#'; MAX_CONFIG_BYTES + 1]).unwrap();
    assert!(matches!(
        load(),
        Err(ConfigError::File(PrivateError::TooLarge { .. }))
    ));
    std::fs::write(&path, b"# a\n# \xff\n").unwrap();
    assert!(matches!(
        load(),
        Err(ConfigError::Malformed { line: 2, .. })
    ));
    std::fs::write(&path, b"").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o664)).unwrap();
    let error = load().unwrap_err();
    assert!(
        matches!(error, ConfigError::File(PrivateError::Exposed { .. })),
        "{error}"
    );
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    load().unwrap();
}
