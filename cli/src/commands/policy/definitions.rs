//! Which definitions of tools a document means by names without a server.
//!
//! Approved is a definition of a tool of a server of that name. A document means those announced at
//! the servers of its own scope, and no others: what it approves counts for every document.

use std::collections::BTreeSet;

use protocol::control::Tool;
use protocol::id::Digest;
use protocol::policy::compile::CompiledPolicy;
use protocol::policy::glob::Glob;
use protocol::trust::bundle::{BundleBody, Pin};

use crate::exit::{Exit, Failed};

/// A name without a server in `allowed_tools`, and what it means now.
pub(super) struct Meant<'a> {
    /// As the document writes it.
    pub(super) name: &'a Glob,
    /// The tools of that name at servers in the document's scope, as they are announced.
    pub(super) tools: Vec<&'a Tool>,
    /// Whether some definition is approved already that the name may mean.
    pub(super) approved: bool,
}

/// What each of a document's names without a server means.
pub(super) fn meant<'a>(
    policy: &'a CompiledPolicy,
    tools: &'a [Tool],
    pins: &[Pin],
) -> Vec<Meant<'a>> {
    let Some(document) = policy.document() else {
        return Vec::new();
    };
    let named = document.requirements.tools.iter().flatten();
    let bare = named.filter(|glob| glob.is_bare()).map(|glob| &glob.item);
    bare.map(|name| {
        let meant = |tool: &&Tool| {
            let (node, server) = (tool.node.as_str(), tool.server.as_str());
            name.matches(&tool.name) && document.scope.holds_tool(node, server, &tool.name)
        };
        Meant {
            name,
            tools: tools.iter().filter(meant).collect(),
            approved: pins.iter().any(|pin| name.matches(&pin.tool)),
        }
    })
    .collect()
}

/// Approves one definition of a tool. Others of the same server and tool that no node announces any
/// more are approved no longer.
pub(super) fn approve(body: &mut BundleBody, tools: &[Tool], tool: &Tool) -> Result<(), Failed> {
    let digest: Digest = tool.digest.parse().map_err(|_| {
        Failed::new(
            Exit::Failure,
            format!("node {} announces a digest that is none", tool.node),
        )
    })?;
    let (server, name) = (&tool.server, &tool.name);
    let announced: BTreeSet<&str> = tools
        .iter()
        .filter(|t| t.server == *server && t.name == *name)
        .map(|t| t.digest.as_str())
        .collect();
    body.pins.retain(|pin| {
        pin.server != *server
            || pin.tool != *name
            || announced.contains(pin.digest.to_string().as_str())
    });
    let pin = Pin {
        server: server.clone(),
        tool: name.clone(),
        digest,
    };
    if let Err(at) = body.pins.binary_search(&pin) {
        body.pins.insert(at, pin);
    }
    Ok(())
}

/// A definition in a line: where it is announced, which, and what its server says of it.
pub(super) fn described(tool: &Tool) -> String {
    let short = tool.digest.get(..12).unwrap_or_default();
    let place = format!("{}/{}/{}, {short}", tool.node, tool.server, tool.name);
    if tool.unlisted && tool.description.is_none() {
        let node = &tool.node;
        return format!(
            "{place}: its description is not known to this node, which it is not listed to; list \
             it first, with the server's own means or `hedgerow tools` on node `{node}`"
        );
    }
    let said = tool.description.as_deref().unwrap_or_default();
    match said.lines().next().unwrap_or_default() {
        "" => format!("{place}: its server does not describe it"),
        said => format!("{place}: {said}"),
    }
}

#[cfg(test)]
mod tests {
    use protocol::trust::changes::pins as changes;

    use super::*;

    fn tool(node: &str, server: &str, name: &str, byte: u8) -> Tool {
        Tool {
            node: node.parse().unwrap(),
            server: server.parse().unwrap(),
            name: name.to_owned(),
            title: None,
            description: None,
            digest: Digest::from_bytes([byte; 32]).to_string(),
            annotations: None,
            added_intents: Vec::new(),
            input_schema: None,
            unlisted: false,
        }
    }

    fn compiled(json: &str) -> CompiledPolicy {
        let carried = protocol::trust::bundle::Policy {
            name: "shops".parse().unwrap(),
            media_type: protocol::policy::JSON_MEDIA_TYPE.to_owned(),
            bytes: json.as_bytes().to_vec(),
        };
        CompiledPolicy::compile(&carried).unwrap()
    }

    #[test]
    fn a_name_means_only_definitions_at_servers_in_scope() {
        let tools = [
            tool("hub", "shop", "get_big", 1),
            tool("hub", "odd", "get_big", 2),
            tool("desk", "shop", "get_big", 3),
            tool("hub", "shop", "other", 4),
        ];
        let found = |json: &str| {
            let policy = compiled(json);
            let meant = meant(&policy, &tools, &[]);
            let places = meant.iter().flat_map(|m| &m.tools);
            let places = places.map(|t| format!("{}/{}", t.node, t.server));
            places.collect::<Vec<_>>()
        };
        let json = r#"{"policy_name": "shops", "allowed_tools": ["get_big"]}"#;
        assert_eq!(found(json), ["hub/shop", "hub/odd", "desk/shop"]);
        let json = r#"{"policy_name": "shops", "servers": ["shop"], "allowed_tools": ["get_big"]}"#;
        assert_eq!(found(json), ["hub/shop", "desk/shop"]);
        let json =
            r#"{"policy_name": "shops", "servers": ["hub/shop"], "allowed_tools": ["get_big"]}"#;
        assert_eq!(found(json), ["hub/shop"]);
        // Named with its server it is allowed by name: nothing is approved for it.
        let json = r#"{"policy_name": "shops", "allowed_tools": ["odd/get_big"]}"#;
        assert!(found(json).is_empty());
    }

    #[test]
    fn a_definition_nobody_here_has_seen_says_so() {
        let mut tool = tool("hub", "shop", "get", 1);
        assert!(described(&tool).ends_with("does not describe it"));
        tool.unlisted = true;
        let said = described(&tool);
        assert!(said.contains("not known to this node") && said.contains("list it first"));
        tool.description = Some("Gets it.\nSlowly.".to_owned());
        assert!(described(&tool).ends_with(": Gets it."));
    }

    #[test]
    fn approving_replaces_what_nobody_announces_any_more() {
        let now = tool("hub", "shop", "get", 2);
        let mut body = BundleBody::default();
        approve(&mut body, &[], &tool("hub", "shop", "get", 1)).unwrap();
        let before = body.clone();
        approve(&mut body, core::slice::from_ref(&now), &now).unwrap();
        let short = |byte| Digest::from_bytes([byte; 32]).short();
        assert_eq!(
            changes(&before, &body),
            [
                format!("approves `shop/get` as {}", short(2)),
                format!("approves no longer `shop/get` as {}", short(1)),
            ]
        );
    }
}
