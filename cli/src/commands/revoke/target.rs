//! From what was typed to exactly one thing to revoke. Several matches are refused, by name: the
//! wrong node cut off is an outage somebody ordered.

use hedgerow_crypto::Primitives;
use protocol::control::{Peer, ServerFilter, Status, TicketInfo, Tool, Trust, route};
use protocol::id::{Digest, NodeId, SignerId, TicketId};
use protocol::name::Name;
use protocol::time::UnixSeconds;
use protocol::trust::{Act, Ticket};

use super::as_name;
use crate::client::Client;
use crate::commands::admin::now;
use crate::exit::Failed;
use crate::output::{instant, or_dash};
use crate::typed::{ToolAddress, one_of, since};

/// What is about to be revoked, and what is said before.
#[derive(Debug)]
pub(super) struct Aim {
    pub(super) act: Act,
    pub(super) shown: Vec<String>,
}

/// A node this host's node knows, itself among them.
struct Known {
    id: NodeId,
    name: Option<Name>,
    here: bool,
    servers: Vec<Name>,
    state: String,
}

async fn known(client: &Client) -> Result<Vec<Known>, Failed> {
    let status: Status = client.read(route::STATUS).await?;
    let peers: Vec<Peer> = client.read(route::PEERS).await?;
    let own = Known {
        id: status.node.id,
        name: Some(status.node.name),
        here: true,
        servers: Vec::new(),
        state: "this node".to_owned(),
    };
    let others = peers.into_iter().map(|peer| Known {
        id: peer.id,
        state: format!("{:?}", peer.state).to_lowercase(),
        name: peer.name,
        here: false,
        servers: peer.servers,
    });
    Ok(std::iter::once(own).chain(others).collect())
}

/// The nodes that `typed` may mean: by name, by id, by the id's beginning, by its short form.
fn matching<'a>(nodes: &'a [Known], typed: &str) -> Vec<&'a Known> {
    let named = as_name(typed);
    let by_name = |node: &&Known| named.is_some() && node.name == named;
    let tail = typed.strip_prefix("Qm\u{2026}");
    let by_id = |node: &&Known| {
        let id = node.id.to_string();
        match tail {
            Some(tail) => tail.chars().count() >= 4 && id.ends_with(tail),
            // The first characters are much the same in every id.
            None => typed.starts_with("Qm") && typed.len() >= 8 && id.starts_with(typed),
        }
    };
    let named: Vec<&Known> = nodes.iter().filter(by_name).collect();
    if named.is_empty() {
        nodes.iter().filter(by_id).collect()
    } else {
        named
    }
}

fn one<'a>(nodes: &'a [Known], typed: &str) -> Result<Option<&'a Known>, Failed> {
    let found = matching(nodes, typed);
    match found.as_slice() {
        [] => Ok(None),
        [node] => Ok(Some(node)),
        several => {
            let ids: Vec<String> = several.iter().map(|node| node.id.to_string()).collect();
            let message = format!("`{typed}` may be any of {}", ids.join(", "));
            Err(Failed::input(message)
                .with_reason("ambiguous_node")
                .with_hint("give the whole id"))
        }
    }
}

fn unknown(typed: &str) -> Failed {
    Failed::input(format!("no node `{typed}` is known here"))
        .with_reason("unknown_node")
        .with_hint("give the whole id, or see `hedgerow peers`")
}

/// A node, which need not be known if its whole id is given.
pub(super) async fn node(client: &Client, typed: &str) -> Result<Aim, Failed> {
    let nodes = known(client).await?;
    let Some(node) = one(&nodes, typed)? else {
        let id: NodeId = typed.parse().map_err(|_| unknown(typed))?;
        return Ok(Aim {
            act: Act::Node(id),
            shown: vec![format!("node {id}, which is not known here")],
        });
    };
    let mut shown = vec![
        format!("node `{}`", or_dash(node.name.as_ref())),
        format!("  id       {}", node.id),
        format!("  state    {}", node.state),
    ];
    if !node.servers.is_empty() {
        let servers: Vec<&str> = node.servers.iter().map(Name::as_str).collect();
        shown.push(format!("  servers  {}", servers.join(" ")));
    }
    if node.here {
        shown.push(
            "  THIS NODE: it will leave the mesh, and this command's host with it".to_owned(),
        );
    }
    Ok(Aim {
        act: Act::Node(node.id),
        shown,
    })
}

/// An agent of one node, or of that name anywhere.
pub(super) async fn agent(client: &Client, typed: &str) -> Result<Aim, Failed> {
    let name = |text: &str| {
        text.parse::<Name>()
            .map_err(|error| Failed::input(error.to_string()))
    };
    let Some((place, agent)) = typed.rsplit_once('/') else {
        let name = name(typed)?;
        return Ok(Aim {
            shown: vec![format!("agent `{name}` on every node, present and future")],
            act: Act::Agent { node: None, name },
        });
    };
    let name = name(agent)?;
    let nodes = known(client).await?;
    let node = match one(&nodes, place)? {
        Some(node) => node.id,
        None => place.parse().map_err(|_| unknown(place))?,
    };
    Ok(Aim {
        shown: vec![format!("agent `{name}` of node {node}")],
        act: Act::Agent {
            node: Some(node),
            name,
        },
    })
}

/// A ticket: by its id, by the beginning of the id if it was made here, or by its whole text.
pub(super) async fn ticket(client: &Client, typed: &str) -> Result<Aim, Failed> {
    let id = match (typed.parse::<TicketId>(), Ticket::parse(&Primitives, typed)) {
        (Ok(id), _) => id,
        (_, Ok(ticket)) => ticket.id(&Primitives),
        _ => {
            let made: Vec<TicketInfo> = client.read(route::TICKETS).await?;
            one_of("ticket made here", typed, &made, |t| t.id.to_string())?.id
        }
    };
    Ok(Aim {
        shown: vec![format!("ticket {id}: nobody joins with it any more")],
        act: Act::Ticket(id),
    })
}

/// A tool definition, by its digest or by where it stands now.
pub(super) async fn tool(client: &Client, typed: &str) -> Result<Aim, Failed> {
    let (digest, places) = match typed.parse::<ToolAddress>() {
        Ok(address) => {
            let filter = ServerFilter {
                node: Some(address.node.clone()),
                server: Some(address.server.clone()),
            };
            let listed = tools(client, Some(&filter)).await?;
            let tool = listed.into_iter().find(|tool| tool.name == address.tool);
            let tool = tool.ok_or_else(|| {
                Failed::input(format!("there is no tool `{address}`"))
                    .with_reason("unknown_tool")
                    .with_hint("see `hedgerow tools`")
            })?;
            let digest = digest(&tool.digest)?;
            // The same definition elsewhere is cut off with it.
            let mut places = places(&tools(client, None).await?, &digest);
            if !places.contains(&address.to_string()) {
                places.insert(0, address.to_string());
            }
            (digest, places)
        }
        Err(_) => {
            let all = tools(client, None).await?;
            let digest = match typed.parse::<Digest>() {
                Ok(digest) => digest,
                Err(_) => {
                    let mut known: Vec<&str> = all.iter().map(|t| t.digest.as_str()).collect();
                    known.sort_unstable();
                    known.dedup();
                    digest(one_of("tool definition", typed, &known, |d| {
                        (*d).to_owned()
                    })?)?
                }
            };
            let places = places(&all, &digest);
            (digest, places)
        }
    };
    let mut shown = vec![format!("the tool definition {digest}")];
    shown.extend(places.iter().map(|place| format!("  stands at {place}")));
    if places.is_empty() {
        shown.push("  stands nowhere that is known here".to_owned());
    } else {
        shown.push("  and on servers that do not answer now, wherever it is the same".to_owned());
    }
    Ok(Aim {
        act: Act::Tool(digest),
        shown,
    })
}

/// Where a definition stands, of these tools.
fn places(tools: &[Tool], digest: &Digest) -> Vec<String> {
    let digest = digest.to_string();
    let same = tools.iter().filter(|tool| tool.digest == digest);
    same.map(|tool| format!("{}/{}/{}", tool.node, tool.server, tool.name))
        .collect()
}

fn digest(text: &str) -> Result<Digest, Failed> {
    text.parse()
        .map_err(|_| Failed::input(format!("`{text}` is no digest of a tool definition")))
}

async fn tools(client: &Client, filter: Option<&ServerFilter>) -> Result<Vec<Tool>, Failed> {
    let mut query = Vec::new();
    if let Some(filter) = filter {
        query.extend(filter.node.as_ref().map(|node| format!("node={node}")));
        query.extend(
            filter
                .server
                .as_ref()
                .map(|server| format!("server={server}")),
        );
    }
    client
        .read(&format!("{}?{}", route::TOOLS, query.join("&")))
        .await
}

/// An issuer, from a time on. One that is in no root any more is given by its whole id.
pub(super) fn issuer(
    trust: &Trust,
    typed: &str,
    since_text: Option<&str>,
    since_sequence: Option<u64>,
) -> Result<Aim, Failed> {
    let id = match typed.parse::<SignerId>() {
        Ok(id) => id,
        Err(_) => one_of("issuer", typed, &trust.issuers, |i| i.id.to_string())?.id,
    };
    let from = match since_text {
        Some(text) => since(text, now().0)?,
        None => now().0,
    };
    let mut shown = vec![
        format!("issuer {id}"),
        format!(
            "  every membership it issued for {} or later is void",
            instant(from)
        ),
    ];
    if let Some(sequence) = since_sequence {
        shown.push(format!("  and every one from its number {sequence} on"));
    }
    if trust.issuers.iter().all(|issuer| issuer.id == id) {
        shown.push(
            "  it is the only issuer: nobody can join or renew until there is another".to_owned(),
        );
    }
    Ok(Aim {
        act: Act::Issuer {
            issuer: id,
            since: UnixSeconds(from),
            since_sequence,
        },
        shown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_of_a_definition_is_named() {
        let digest: Digest = "cd".repeat(32).parse().unwrap();
        let tool = |node: &str, digest: &str| -> Tool {
            let json =
                format!(r#"{{"node":"{node}","server":"shop","name":"T","digest":"{digest}"}}"#);
            serde_json::from_str(&json).unwrap()
        };
        let tools = [
            tool("b", &digest.to_string()),
            tool("c", &digest.to_string()),
            tool("d", &"ab".repeat(32)),
        ];
        assert_eq!(places(&tools, &digest), ["b/shop/T", "c/shop/T"]);
    }
}
