//! Names of servers and of what they offer, as aggregated clients see them.
//!
//! Tools and prompts are `node__server__name`. Names of nodes and servers never contain `_`, so
//! the first two `__` are the separators whatever the name after them contains.
//!
//! Resources are `hedgerow://node/server/` followed by the original URI, verbatim: nothing to
//! decode, and a template keeps its expressions, so that expanding the qualified template gives
//! the qualified form of the expanded original (percent-encoding the original would break that).

use protocol::name::Name;

use crate::session::{ErrorKind, KnownServer, ServerRef, SessionError};

/// What stands between node, server and name.
pub const SEPARATOR: &str = "__";

/// The scheme of qualified resource URIs.
pub const SCHEME: &str = "hedgerow://";

/// Most near matches a hint names.
const NEAR: usize = 3;

/// `name` of a tool or prompt, qualified.
#[must_use]
pub fn qualify(server: &ServerRef, name: &str) -> String {
    format!(
        "{}{SEPARATOR}{}{SEPARATOR}{name}",
        server.node, server.server
    )
}

/// Node, server and own name of a qualified tool or prompt name.
#[must_use]
pub fn split(qualified: &str) -> Option<(&str, &str, &str)> {
    let (node, rest) = qualified.split_once(SEPARATOR)?;
    let (server, name) = rest.split_once(SEPARATOR)?;
    Some((node, server, name))
}

/// `uri` (or URI template) of a resource, qualified.
#[must_use]
pub fn qualify_uri(server: &ServerRef, uri: &str) -> String {
    format!("{SCHEME}{}/{}/{uri}", server.node, server.server)
}

/// Node, server and original URI of a qualified resource URI.
#[must_use]
pub fn split_uri(qualified: &str) -> Option<(&str, &str, &str)> {
    let (node, rest) = qualified.strip_prefix(SCHEME)?.split_once('/')?;
    let (server, uri) = rest.split_once('/')?;
    Some((node, server, uri))
}

/// The server with these names. Two nodes of one name are a collision: neither is chosen.
///
/// # Errors
/// `ambiguous_node` naming both nodes, `unknown_server` naming near matches.
pub fn resolve(known: &[KnownServer], node: &str, server: &str) -> Result<ServerRef, SessionError> {
    if let Some((one, other)) = collision(known, node) {
        let (one, other) = (one.node_id.to_string(), other.node_id.to_string());
        let message = format!("two nodes are named `{node}`: {one} and {other}");
        return Err(
            SessionError::new(ErrorKind::Unreachable, "ambiguous_node", message)
                .with_hint("rename one of them")
                .at(node, server),
        );
    }
    let found = known
        .iter()
        .map(|k| &k.server)
        .find(|s| s.node.as_str() == node && s.server.as_str() == server);
    if let Some(found) = found {
        return Ok(found.clone());
    }
    let all = known.iter().map(|k| k.server.to_string());
    let hint = near(&format!("{node}/{server}"), all)
        .unwrap_or_else(|| "`hedgerow tools` lists what there is".to_owned());
    let shown = (printable(node), printable(server));
    let message = format!("no server `{}` is known on node `{}`", shown.1, shown.0);
    Err(
        SessionError::new(ErrorKind::Unreachable, "unknown_server", message)
            .with_hint(hint)
            .at(shown.0, shown.1),
    )
}

/// Two servers of different nodes that share this node name.
fn collision<'a>(known: &'a [KnownServer], node: &str) -> Option<(&'a ServerRef, &'a ServerRef)> {
    let mut named = known
        .iter()
        .map(|k| &k.server)
        .filter(|s| s.node.as_str() == node);
    let first = named.next()?;
    let other = named.find(|s| s.node_id != first.node_id)?;
    Some((first, other))
}

/// `did you mean …` for up to three of `all` that resemble `wanted`.
#[must_use]
pub fn near(wanted: &str, all: impl Iterator<Item = String>) -> Option<String> {
    let wanted: String = wanted.chars().take(MAX_COMPARED).collect();
    let mut scored: Vec<(usize, String)> = all
        .filter_map(|name| {
            let compared: String = name.chars().take(MAX_COMPARED).collect();
            let far = distance(&wanted, &compared);
            let tail = name.rsplit([':', '/', '_']).next().unwrap_or_default();
            let same_tail = !tail.is_empty() && wanted.ends_with(tail);
            let limit = (wanted.len().max(compared.len()) / 3).max(1);
            (far <= limit || same_tail).then_some((far, name))
        })
        .collect();
    scored.sort();
    let best = scored.first().map_or(0, |(far, _)| *far);
    scored.retain(|(far, _)| *far <= best.saturating_add(1));
    scored.truncate(NEAR);
    let names: Vec<String> = scored
        .iter()
        .map(|(_, name)| format!("`{}`", printable(name)))
        .collect();
    (!names.is_empty()).then(|| format!("did you mean {}?", names.join(" or ")))
}

/// Longest prefix of names compared for a hint: the comparison is quadratic.
const MAX_COMPARED: usize = 96;

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut next = Vec::with_capacity(row.len());
        next.push(i.saturating_add(1));
        for ((pair, cb), left) in row.windows(2).zip(&b).zip(0_usize..) {
            let (diagonal, above) = match pair {
                [diagonal, above] => (*diagonal, *above),
                _ => (0, 0),
            };
            let substituted = diagonal.saturating_add(usize::from(ca != *cb));
            let inserted = next.get(left).copied().unwrap_or(0).saturating_add(1);
            next.push(substituted.min(above.saturating_add(1)).min(inserted));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

/// `text` cut to what fits an error line, without control characters.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(Name::MAX.saturating_mul(4))
        .collect()
}

#[cfg(test)]
mod tests {
    use protocol::id::NodeId;

    use super::*;

    fn server(id: u8, node: &str, server: &str) -> KnownServer {
        KnownServer {
            server: ServerRef {
                node_id: NodeId::from_bytes([id; 32]),
                node: node.parse().unwrap(),
                server: server.parse().unwrap(),
            },
            reachable: true,
            tools: 0,
        }
    }

    #[test]
    fn qualified_names_split_whatever_the_tool_is_called() {
        let at = server(1, "tool-host", "fs").server;
        for name in ["read", "_x", "__x", "a__b", "a__b__c", "", "x__", "ä/:"] {
            let qualified = qualify(&at, name);
            assert_eq!(
                split(&qualified),
                Some(("tool-host", "fs", name)),
                "{qualified}"
            );
        }
        assert_eq!(split("read"), None);
        assert_eq!(split("a__read"), None);
    }

    #[test]
    fn qualified_uris_split_and_templates_expand_alike() {
        let at = server(1, "n", "s").server;
        for uri in [
            "file:///a%20b?x=1#y",
            "memo://insights",
            "x",
            "",
            "hedgerow://n/s/x",
        ] {
            let qualified = qualify_uri(&at, uri);
            assert_eq!(split_uri(&qualified), Some(("n", "s", uri)), "{qualified}");
        }
        let template = qualify_uri(&at, "file:///{path}");
        let expanded = template.replace("{path}", "a%20b");
        assert_eq!(split_uri(&expanded), Some(("n", "s", "file:///a%20b")));
        for other in [
            "file:///x",
            "hedgerow://n",
            "hedgerow://n/s",
            "HEDGEROW://n/s/x",
        ] {
            assert_eq!(split_uri(other), None, "{other}");
        }
    }

    #[test]
    fn an_unknown_server_is_named_with_near_matches() {
        let known = [server(1, "tools", "files"), server(1, "tools", "git")];
        assert_eq!(resolve(&known, "tools", "git").unwrap(), known[1].server);
        let error = resolve(&known, "tools", "fil\u{1b}es2").unwrap_err();
        assert_eq!(error.reason, "unknown_server");
        assert_eq!(error.hint.as_deref(), Some("did you mean `tools/files`?"));
        assert!(!error.message.contains('\u{1b}'), "{error}");
    }

    #[test]
    fn two_nodes_of_one_name_collide_by_both_ids() {
        let known = [server(1, "tools", "git"), server(2, "tools", "files")];
        let error = resolve(&known, "tools", "git").unwrap_err();
        assert_eq!(error.reason, "ambiguous_node");
        for k in &known {
            let id = k.server.node_id.to_string();
            assert!(error.message.contains(&id), "{error}");
        }
    }

    #[test]
    fn distances_are_of_levenshtein() {
        for (a, b, far) in [
            ("", "", 0),
            ("a", "", 1),
            ("", "ab", 2),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b), far, "{a} {b}");
        }
    }
}
