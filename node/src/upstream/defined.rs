//! The definitions of tools as the server of one session has them.
//!
//! The inventory is read in a session of its own, once and when the server says that something changed.
//! A server that is started for every session may be another version each time, and does not say so: its
//! list is read in the session too, before its first call of a tool, on every new link and after every
//! word of a change. What it says otherwise than the inventory has the inventory read again.

use core::time::Duration;
use std::collections::BTreeMap;

use protocol::id::Digest;
use protocol::mcp::{ListKind, MessageKind, View};
use tokio::time::sleep;

use super::error::Failure;
use super::inventory::Tools;
use super::limits::MAX_INVENTORY_PAGES;
use super::link::Link;
use super::messages;
use super::session::{Inner, first_answer};

/// How long the whole list may take to come: a server that has answered `initialize` knows its tools,
/// and a call waits for it.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);

/// The tools as they were listed last.
#[derive(Default)]
pub(super) struct Listed {
    /// On which link, and after how many words of a change.
    at: Option<(u64, u64)>,
    tools: BTreeMap<String, Defined>,
}

/// How a tool is defined.
enum Defined {
    As(Digest),
    /// Not so that a digest could stand for it.
    Unclear,
}

impl Inner {
    /// Whether the server of this session defines a tool as `digest` says, or does not list it.
    ///
    /// # Errors
    /// Its list could not be read.
    pub(super) async fn defines_as(&self, tool: &str, digest: &Digest) -> Result<bool, Failure> {
        let link = self.live().await?;
        let mut listed = self.listed.lock().await;
        // Before the list is asked for: a change meanwhile has it read again.
        let at = (link.number(), self.router.list_changes());
        if listed.at != Some(at) {
            listed.at = None;
            listed.tools = self.list(&link).await?;
            listed.at = Some(at);
        }
        let same = match listed.tools.get(tool) {
            None => true,
            Some(Defined::As(now)) => now == digest,
            Some(Defined::Unclear) => false,
        };
        if !same {
            self.server.counters.list_changed();
        }
        Ok(same)
    }

    async fn list(&self, link: &Link) -> Result<BTreeMap<String, Defined>, Failure> {
        let mut tools = Tools::default();
        let mut cursor: Option<String> = None;
        let late = sleep(LIST_TIMEOUT);
        tokio::pin!(late);
        for _ in 0..MAX_INVENTORY_PAGES {
            let own = self.router.register_own();
            self.router.bind(own.id, link.number());
            let method = ListKind::Tools.method();
            let message = messages::list_page(own.id, method, cursor.as_deref());
            let message = message.ok_or_else(|| unread("its cursor is none"))?;
            let response = tokio::select! {
                biased;
                () = self.closed.cancelled() => return Err(Failure::Closed),
                () = &mut late => return Err(unread("it took too long")),
                response = first_answer(own, link, &message) => response.map_err(|failure| match failure {
                    Failure::Start { detail } => unread(&detail),
                    failure => failure,
                })?,
            };
            let view = View::parse(&response)?;
            if view.kind() != MessageKind::Response {
                return Err(unread("it answered `tools/list` with an error"));
            }
            cursor = tools.add(&view, &*self.server.crypto)?;
            if cursor.is_none() {
                break;
            }
        }
        Ok(defined(tools))
    }
}

/// What is beyond the pages that are read is beyond those of the inventory too: nobody calls it.
fn defined(mut tools: Tools) -> BTreeMap<String, Defined> {
    let unclear = tools.unclear();
    let digests = std::mem::take(&mut tools.digests).into_iter();
    let mut defined: BTreeMap<String, Defined> = digests
        .map(|(name, digest)| (name, Defined::As(digest)))
        .collect();
    for name in unclear {
        defined.insert(name, Defined::Unclear);
    }
    defined
}

fn unread(detail: &str) -> Failure {
    Failure::ToolsUnread {
        detail: detail.to_owned(),
    }
}
