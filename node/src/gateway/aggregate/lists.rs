//! Merged lists: every server asked at once, each within its time, all pages of each, names
//! qualified, and what had to be left out said in `_meta`.

use std::sync::Weak;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use protocol::limits::MAX_MESSAGE_BYTES;
use protocol::mcp::{ListKind, View, list_items, rename_items, request};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::upstream::{Upstream, refused};
use super::{Aggregate, answer, answered, locked, unusable};
use crate::gateway::names;
use crate::gateway::refusal::{self, INVALID_PARAMS, METHOD_NOT_FOUND};
use crate::session::{ErrorKind, KnownServer, McpCall, ServerRef, SessionError};

/// Member of `_meta` that names the servers left out and why.
pub(super) const OMITTED: &str = "hedgerow/omitted";

/// Most servers asked for one list; the rest are left out by name.
const MAX_SERVERS: usize = 256;

/// Servers asked at the same time.
const AT_ONCE: usize = 32;

/// Most pages taken from one server.
const MAX_PAGES: usize = 64;

/// Most items taken from one server.
const MAX_ITEMS: usize = 4096;

/// Bytes of a merged list kept free for what is left out.
const ROOM_FOR_OMITTED: usize = 64 * 1024;

/// Longest `_meta` entry list; more servers left out are only counted.
const MAX_NAMED: usize = 128;

/// How often the servers known are compared with those known before.
const WATCH_EVERY: Duration = Duration::from_secs(5);

/// Tells the client when servers came or went, until the session ends.
pub(super) async fn watch(aggregate: Weak<Aggregate>, ended: CancellationToken) {
    let refs = |known: Vec<KnownServer>| known.into_iter().map(|k| k.server).collect::<Vec<_>>();
    let Some(mut before) = aggregate.upgrade().map(|a| refs(a.fabric.servers())) else {
        return;
    };
    loop {
        tokio::select! {
            biased;
            () = ended.cancelled() => return,
            () = tokio::time::sleep(WATCH_EVERY) => {}
        }
        let Some(aggregate) = aggregate.upgrade() else {
            return;
        };
        let now = refs(aggregate.fabric.servers());
        if now != before {
            before = now;
            for what in ["tools", "prompts", "resources"] {
                let changed = format!(
                    "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/{what}/list_changed\"}}"
                );
                // A full queue has a listener that is behind, or none.
                let _ = aggregate.events.try_send(Bytes::from(changed));
            }
        }
    }
}

/// One server's part of a list.
struct Part {
    server: ServerRef,
    /// Qualified names and raw items.
    items: Result<Vec<(String, String)>, SessionError>,
}

impl Aggregate {
    /// Starts a merged list.
    pub(super) fn list(&self, kind: ListKind, id: &str, params: Option<&str>) -> McpCall {
        let params: Value = params
            .and_then(|p| serde_json::from_str(p).ok())
            .unwrap_or_default();
        if params.get("cursor").is_some_and(|cursor| !cursor.is_null()) {
            let data = json!({ "reason": "unknown_cursor" });
            let message = "merged lists have one page";
            return answered(refusal::error(id, INVALID_PARAMS, message, &data));
        }
        let (sender, inbound) = mpsc::channel(1);
        let (outbound, _) = mpsc::channel(1);
        if let Some(me) = self.me.upgrade() {
            let id = id.to_owned();
            self.tasks.spawn(async move {
                tokio::select! {
                    biased;
                    () = me.ended.cancelled() => {}
                    () = sender.closed() => {}
                    merged = me.merged(kind, &id) => drop(sender.send(Ok(merged)).await),
                }
            });
        }
        McpCall { inbound, outbound }
    }

    async fn merged(&self, kind: ListKind, id: &str) -> Bytes {
        let mut known = self.fabric.servers();
        let surplus = known.split_off(known.len().min(MAX_SERVERS));
        let known = known.as_slice();
        let asking: Vec<BoxFuture<'_, Part>> = known
            .iter()
            .map(|k| self.part(kind, known, &k.server).boxed())
            .collect();
        let parts: Vec<Part> = futures::stream::iter(asking)
            .buffered(AT_ONCE)
            .collect()
            .await;
        let surplus = surplus.into_iter().map(|k| Part {
            server: k.server,
            items: Err(overload(
                "too_many_servers",
                "too many servers for one list",
            )),
        });
        self.merge(kind, id, parts.into_iter().chain(surplus))
    }

    async fn part(&self, kind: ListKind, known: &[KnownServer], server: &ServerRef) -> Part {
        let asking = async {
            let (node, name) = (server.node.as_str(), server.server.as_str());
            names::resolve(known, node, name)?;
            let upstream = self.upstream(server).await?;
            self.pages(kind, &upstream).await
        };
        let items = tokio::time::timeout(self.limits.list_wait, asking)
            .await
            .unwrap_or_else(|_| {
                let message = "the server did not answer in time";
                Err(SessionError::new(
                    ErrorKind::Unreachable,
                    "list_timed_out",
                    message,
                ))
            });
        Part {
            server: server.clone(),
            items,
        }
    }

    /// All items of one server, qualified.
    async fn pages(
        &self,
        kind: ListKind,
        upstream: &Upstream,
    ) -> Result<Vec<(String, String)>, SessionError> {
        let mut items: Vec<(String, String)> = Vec::new();
        let mut bytes = 0_usize;
        let mut cursor: Option<String> = None;
        if !upstream.offers(kind) {
            return Ok(items);
        }
        for _ in 0..MAX_PAGES {
            let params = cursor.take().map(|raw| format!("{{\"cursor\":{raw}}}"));
            let request = request(&self.draw_id(), kind.method(), params.as_deref());
            let page = upstream
                .ask(Bytes::from(request.map_err(unusable)?))
                .await?;
            let Some(page) = qualified(kind, upstream.server(), &page)? else {
                return Ok(items);
            };
            let view = View::parse(&page).map_err(unusable)?;
            let list = list_items(&view, kind).map_err(unusable)?;
            for item in &list.items {
                bytes = bytes.saturating_add(item.raw.len());
                items.push((item.name.clone().into_owned(), item.raw.to_owned()));
            }
            if items.len() > MAX_ITEMS || bytes > MAX_MESSAGE_BYTES {
                return Err(overload("list_too_large", "the server's list is too large"));
            }
            match list.next_cursor {
                Some(raw) => cursor = Some(raw.to_owned()),
                None => return Ok(items),
            }
        }
        Err(overload(
            "list_too_long",
            "the server's list has too many pages",
        ))
    }

    fn merge(&self, kind: ListKind, id: &str, parts: impl Iterator<Item = Part>) -> Bytes {
        let mut merged = String::new();
        let mut listed = Vec::new();
        let mut omitted = Vec::new();
        for Part { server, items } in parts {
            let failure = match items {
                Ok(items) => {
                    let raw: Vec<&str> = items.iter().map(|(_, raw)| raw.as_str()).collect();
                    let raw = raw.join(",");
                    let room = MAX_MESSAGE_BYTES.saturating_sub(ROOM_FOR_OMITTED);
                    if merged.len().saturating_add(raw.len()) < room {
                        if !merged.is_empty() && !raw.is_empty() {
                            merged.push(',');
                        }
                        merged.push_str(&raw);
                        listed.extend(items.into_iter().map(|(name, _)| name));
                        continue;
                    }
                    overload(
                        "list_too_large",
                        "the merged list is too large for this server's part",
                    )
                }
                Err(failure) => failure,
            };
            tracing::warn!(%server, reason = %failure.reason, "left out of a list");
            let failure = failure.at(server.node.as_str(), server.server.as_str());
            let mut entry = refusal::details(&failure);
            if let Value::Object(entry) = &mut entry {
                let message: String = names::printable(&failure.message);
                entry.insert("message".to_owned(), message.into());
                entry.insert("code".to_owned(), failure.kind.code().into());
            }
            omitted.push(entry);
        }
        locked(&self.listed).insert(kind, listed);
        let meta = meta(omitted);
        answer(id, &format!("{{\"{}\":[{merged}]{meta}}}", kind.field()))
    }
}

/// The raw `_meta` member, with what precedes it.
fn meta(mut omitted: Vec<Value>) -> String {
    if omitted.is_empty() {
        return String::new();
    }
    let count = omitted.len();
    omitted.truncate(MAX_NAMED);
    let meta = json!({ OMITTED: omitted, "hedgerow/omittedCount": count });
    format!(",\"_meta\":{meta}")
}

/// A page with its names qualified; `None` when the server has no such list after all.
fn qualified(
    kind: ListKind,
    server: &ServerRef,
    page: &[u8],
) -> Result<Option<Vec<u8>>, SessionError> {
    let view = View::parse(page).map_err(unusable)?;
    if let Some(error) = view.error() {
        let error: Value = serde_json::from_str(error).unwrap_or_default();
        if error.get("code").and_then(Value::as_i64) == Some(METHOD_NOT_FOUND) {
            return Ok(None);
        }
        return Err(refused("list_refused", &json!({ "error": error })));
    }
    let rename = |name: &str| match kind {
        ListKind::Tools | ListKind::Prompts => names::qualify(server, name),
        ListKind::Resources | ListKind::ResourceTemplates => names::qualify_uri(server, name),
    };
    rename_items(page, kind, rename).map(Some).map_err(unusable)
}

fn overload(reason: &str, message: &str) -> SessionError {
    SessionError::new(ErrorKind::Overload, reason, message)
}
