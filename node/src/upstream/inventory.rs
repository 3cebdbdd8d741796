//! What a server offers, as this node read it itself in a short session of its own: the tools
//! with the digests of their definitions, and how many prompts and resources there are.
//!
//! It is read when the server is attached, again after the server says that a list changed, and
//! again and again with growing pauses while reading fails. Nothing waits for it. A server that
//! shows other tools to other clients is read as a client that declares sampling, elicitation
//! and roots would see it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use protocol::crypto::Crypto;
use protocol::id::Digest;
use protocol::limits::MAX_TOOLS;
use protocol::mcp::{Hints, ListKind, McpError, MessageKind, View, list_items, tool_digest};
use protocol::trust::ToolRecord;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use super::backoff::jittered;
use super::error::Failure;
use super::limits::{INVENTORY_RETRY_MAX, INVENTORY_ROUNDS, MAX_COUNTED, MAX_INVENTORY_PAGES};
use super::messages;
use super::server::{Counters, Server};
use super::session::UpstreamSession;
use crate::session::{McpSession, SessionError};

/// Announcements in a row that put off a reading.
const MAX_POSTPONED: usize = 8;

/// What one server offers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inventory {
    /// `serverInfo` of its answer to `initialize`, raw JSON.
    pub server_info: Option<String>,
    /// `capabilities` of the same, raw JSON.
    pub capabilities: String,
    /// The protocol version it answered with.
    pub protocol_version: String,
    /// Tool name to the digest of its definition ([`tool_digest`]).
    pub tools: BTreeMap<String, Digest>,
    /// What the annotations of tools add to the intents of their calls, where they add something.
    pub hints: BTreeMap<String, Hints>,
    /// Tools left out: beyond [`MAX_TOOLS`], named twice, without a name or with one too long to be
    /// announced, or without a digest. Nobody can call them.
    pub tools_left_out: usize,
    /// Prompts.
    pub prompts: usize,
    /// Resources, without templates.
    pub resources: usize,
}

/// The tools of a list, as they are read page by page.
#[derive(Debug, Default)]
pub(super) struct Tools {
    /// By name.
    pub(super) digests: BTreeMap<String, Digest>,
    hints: BTreeMap<String, Hints>,
    left_out: usize,
    /// Named twice; all of them are among those with a digest.
    twice: BTreeSet<String>,
    /// Without a digest, as many as there may be with one.
    without: BTreeSet<String>,
}

impl Tools {
    /// Takes a page, and returns the raw cursor of the next.
    pub(super) fn add(
        &mut self,
        view: &View<'_>,
        crypto: &dyn Crypto,
    ) -> Result<Option<String>, McpError> {
        let list = list_items(view, ListKind::Tools)?;
        for item in &list.items {
            let name = item.name.as_ref();
            if self.digests.len() >= MAX_TOOLS || !ToolRecord::may_be_named(name) {
                self.left_out = self.left_out.saturating_add(1);
                continue;
            }
            match tool_digest(crypto, item.raw) {
                Ok(digest) => {
                    if self.digests.insert(name.to_owned(), digest).is_some() {
                        self.twice.insert(name.to_owned());
                    }
                    let hints = Hints::of_tool(item.raw);
                    if hints != Hints::NONE {
                        self.hints.insert(name.to_owned(), hints);
                    }
                }
                Err(_) => {
                    self.left_out = self.left_out.saturating_add(1);
                    if self.without.len() < MAX_TOOLS {
                        self.without.insert(name.to_owned());
                    }
                }
            }
        }
        Ok(list.next_cursor.map(str::to_owned))
    }

    /// Those for which no one digest stands.
    pub(super) fn unclear(&mut self) -> BTreeSet<String> {
        let mut unclear = std::mem::take(&mut self.twice);
        unclear.append(&mut self.without);
        unclear
    }

    /// Leaves out what has two definitions under one name: no digest could stand for both.
    pub(super) fn settle(&mut self) {
        for name in std::mem::take(&mut self.twice) {
            self.hints.remove(&name);
            if self.digests.remove(&name).is_some() {
                self.left_out = self.left_out.saturating_add(1);
            }
        }
    }
}

/// Why the inventory could not be read.
#[derive(Debug, thiserror::Error)]
enum ProbeError {
    #[error("{0}")]
    Start(Failure),
    #[error("{0}")]
    Call(Box<SessionError>),
    #[error("{0}")]
    Message(#[from] McpError),
    #[error("it answered `{method}` with an error")]
    Refused { method: &'static str },
    #[error("its answer to `initialize` is not usable")]
    Initialize,
    #[error("it took too long")]
    TimedOut,
}

impl From<SessionError> for ProbeError {
    fn from(error: SessionError) -> Self {
        Self::Call(Box::new(error))
    }
}

/// Keeps the inventory of `server` current until it is removed; bumps `changes` when it differs.
pub(super) async fn keep_current(server: Arc<Server>, changes: watch::Sender<u64>) {
    let mut pause = server.limits.backoff_first;
    loop {
        let read = tokio::select! {
            biased;
            () = server.removed.cancelled() => return,
            read = timeout(server.limits.inventory_timeout, read(&server)) => read,
        };
        match read.unwrap_or(Err(ProbeError::TimedOut)) {
            Ok(inventory) => {
                pause = server.limits.backoff_first;
                if server.replace_inventory(inventory) {
                    changes.send_modify(|n| *n = n.saturating_add(1));
                }
                let next = async {
                    sleep(server.limits.inventory_interval).await;
                    server.counters.lists_to_change().await;
                    settled(&server.counters, server.limits.inventory_debounce).await;
                };
                tokio::select! {
                    biased;
                    () = server.removed.cancelled() => return,
                    () = next => {}
                }
            }
            Err(error) => {
                server.inventory_unread(error.to_string());
                tokio::select! {
                    biased;
                    () = server.removed.cancelled() => return,
                    () = sleep(jittered(pause)) => {}
                }
                pause = pause.saturating_mul(2).min(INVENTORY_RETRY_MAX);
            }
        }
    }
}

/// Waits until no change is announced for the time `quiet`; true if any was.
async fn settled(counters: &Counters, quiet: core::time::Duration) -> bool {
    let mut changed = false;
    // A server that changes without pause is read all the same.
    for _ in 0..MAX_POSTPONED {
        if timeout(quiet, counters.lists_to_change()).await.is_err() {
            return changed;
        }
        changed = true;
    }
    changed
}

async fn read(server: &Arc<Server>) -> Result<Inventory, ProbeError> {
    let initialize = messages::probe_initialize().ok_or(ProbeError::Initialize)?;
    // Counters of its own: what the server announces to this very session is no reason for
    // another reading later, or reading would never end.
    let counters = Arc::new(Counters::default());
    let open = UpstreamSession::open(Arc::clone(server), Arc::clone(&counters), initialize, None)
        .await
        .map_err(ProbeError::Start)?;
    let probe = Probe {
        session: open.session,
        next: 1,
        counters,
        quiet: server.limits.inventory_debounce,
    };
    let events = open.events;
    let session = Arc::clone(&probe.session);
    let result = tokio::select! {
        result = probe.read(&open.response, &*server.crypto) => result,
        () = answer_events(&*session, events) => Err(ProbeError::Initialize),
    };
    session.close().await;
    result
}

struct Probe {
    session: Arc<dyn McpSession>,
    next: u64,
    counters: Arc<Counters>,
    quiet: core::time::Duration,
}

impl Probe {
    async fn read(mut self, answer: &Bytes, crypto: &dyn Crypto) -> Result<Inventory, ProbeError> {
        let empty = read_answer(answer)?;
        let initialized = messages::initialized().ok_or(ProbeError::Initialize)?;
        self.session.send(initialized).await?;
        let mut inventory = self.read_lists(empty.clone(), crypto).await?;
        for _ in 0..INVENTORY_ROUNDS {
            if !settled(&self.counters, self.quiet).await {
                break;
            }
            inventory = self.read_lists(empty.clone(), crypto).await?;
        }
        Ok(inventory)
    }

    async fn read_lists(
        &mut self,
        mut inventory: Inventory,
        crypto: &dyn Crypto,
    ) -> Result<Inventory, ProbeError> {
        if offers(&inventory, "tools") {
            self.read_tools(&mut inventory, crypto).await?;
        }
        if offers(&inventory, "prompts") {
            inventory.prompts = self.count(ListKind::Prompts).await?;
        }
        if offers(&inventory, "resources") {
            inventory.resources = self.count(ListKind::Resources).await?;
        }
        Ok(inventory)
    }

    async fn read_tools(
        &mut self,
        inventory: &mut Inventory,
        crypto: &dyn Crypto,
    ) -> Result<(), ProbeError> {
        let mut tools = Tools::default();
        let mut add = |view: &View<'_>| Ok(tools.add(view, crypto)?);
        self.pages(ListKind::Tools, &mut add).await?;
        tools.settle();
        inventory.tools = tools.digests;
        inventory.hints = tools.hints;
        inventory.tools_left_out = tools.left_out;
        Ok(())
    }

    async fn count(&mut self, kind: ListKind) -> Result<usize, ProbeError> {
        let mut count = 0_usize;
        let mut add = |view: &View<'_>| -> Result<Option<String>, ProbeError> {
            let list = list_items(view, kind)?;
            count = count.saturating_add(list.items.len());
            let more = list.next_cursor.filter(|_| count < MAX_COUNTED);
            Ok(more.map(str::to_owned))
        };
        self.pages(kind, &mut add).await?;
        Ok(count)
    }

    /// Follows a list page by page; `add` takes each and returns the raw cursor of the next.
    async fn pages(
        &mut self,
        kind: ListKind,
        add: &mut (dyn FnMut(&View<'_>) -> Result<Option<String>, ProbeError> + Send),
    ) -> Result<(), ProbeError> {
        let mut cursor: Option<String> = None;
        for _ in 0..MAX_INVENTORY_PAGES {
            self.next = self.next.saturating_add(1);
            let request = messages::list_page(self.next, kind.method(), cursor.as_deref())
                .ok_or(ProbeError::Initialize)?;
            let response = self.ask(request).await?;
            let view = View::parse(&response)?;
            if view.kind() != MessageKind::Response {
                return Err(ProbeError::Refused {
                    method: kind.method(),
                });
            }
            match add(&view)? {
                Some(next) => cursor = Some(next),
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// The response to `request`; what the server wants meanwhile is answered or passed over.
    async fn ask(&self, request: Bytes) -> Result<Bytes, ProbeError> {
        let mut call = self.session.request(request).await?;
        while let Some(message) = call.inbound.recv().await {
            let message = message?;
            let view = View::parse(&message)?;
            match view.kind() {
                MessageKind::Response | MessageKind::ErrorResponse => return Ok(message.clone()),
                MessageKind::Request => {
                    if let Some(reply) = reply(&view) {
                        // A server that does not take it will fail the call.
                        let _ = call.outbound.try_send(reply);
                    }
                }
                MessageKind::Notification => {}
            }
        }
        Err(ProbeError::Initialize)
    }
}

/// Answers what the server asks outside calls, until the session ends.
async fn answer_events(session: &dyn McpSession, mut events: mpsc::Receiver<Bytes>) {
    while let Some(message) = events.recv().await {
        let Ok(view) = View::parse(&message) else {
            continue;
        };
        if view.kind() == MessageKind::Request
            && let Some(reply) = reply(&view)
        {
            // The lists are what counts; they fail by themselves if the server is gone.
            let _ = session.send(reply).await;
        }
    }
}

fn reply(view: &View<'_>) -> Option<Bytes> {
    let id = view.id()?;
    match view.method() {
        Some("ping") => messages::empty(id),
        Some("roots/list") => messages::no_roots(id),
        _ => Some(messages::not_offered(id)),
    }
}

fn offers(inventory: &Inventory, capability: &str) -> bool {
    type Raw<'a> = &'a serde_json::value::RawValue;
    serde_json::from_str::<BTreeMap<String, Raw<'_>>>(&inventory.capabilities)
        .is_ok_and(|capabilities| capabilities.contains_key(capability))
}

fn read_answer(answer: &Bytes) -> Result<Inventory, ProbeError> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer<'a> {
        #[serde(borrow)]
        protocol_version: std::borrow::Cow<'a, str>,
        #[serde(borrow)]
        capabilities: &'a serde_json::value::RawValue,
        #[serde(borrow, default)]
        server_info: Option<&'a serde_json::value::RawValue>,
    }
    let view = View::parse(answer)?;
    let result = view.result().ok_or(ProbeError::Refused {
        method: "initialize",
    })?;
    let answer: Answer<'_> = serde_json::from_str(result).map_err(|_| ProbeError::Initialize)?;
    Ok(Inventory {
        server_info: answer.server_info.map(|raw| raw.get().to_owned()),
        capabilities: answer.capabilities.get().to_owned(),
        protocol_version: answer.protocol_version.into_owned(),
        ..Inventory::default()
    })
}
