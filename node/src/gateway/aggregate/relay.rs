//! One call to one server within an aggregate session: everything passes, except that ids and
//! progress tokens of the server's own requests become this session's, and URIs of resources, in
//! updates and in answers, are qualified.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use protocol::mcp::{Edit, View};
use tokio::sync::mpsc;

use super::links::Links;
use super::upstream::{Upstream, renumbered};
use super::{Aggregate, unusable};
use crate::gateway::limits::DELIVERY_WAIT;
use crate::gateway::message::{self, Head, Kind};
use crate::gateway::names;
use crate::session::{MESSAGE_QUEUE, McpCall, SessionError};

/// What a server's request was called by the server.
pub(super) struct Translation {
    /// Its id, raw.
    pub(super) id: Box<str>,
    /// Its progress token, raw.
    pub(super) token: Option<Box<str>>,
}

impl Translation {
    /// A server's request under our id, which is its progress token too.
    pub(super) fn of_request(head: &Head, view: &View<'_>, ours: &str) -> Option<(Bytes, Self)> {
        let mut edits = vec![Edit::Id(ours)];
        if head.progress_token.is_some() {
            edits.push(Edit::ProgressToken(ours));
        }
        let translated = renumbered(view, &edits)?;
        let origin = Self {
            id: Box::from(view.id()?),
            token: view.progress_token().map(Box::from),
        };
        Some((translated, origin))
    }
}

/// A server's notification as the client is to see it; `ours` gives our id of one of the
/// server's requests.
pub(super) fn notification(
    upstream: &Upstream,
    head: &Head,
    view: &View<'_>,
    ours: impl FnOnce(&str) -> Option<Box<str>>,
    bytes: &Bytes,
) -> Option<Bytes> {
    match (&*head.method, view.cancelled_id()) {
        ("notifications/cancelled", Some(theirs)) => {
            let ours = ours(theirs)?;
            renumbered(view, &[Edit::CancelledId(&ours)])
        }
        ("notifications/resources/updated", _) => {
            let qualified = |uri: &str| names::qualify_uri(upstream.server(), uri);
            message::rename_updated(bytes, qualified)
        }
        _ => Some(bytes.clone()),
    }
}

impl Aggregate {
    /// The call as the client's side sees it, whose answer may have `links`.
    pub(super) fn relay(
        &self,
        upstream: Arc<Upstream>,
        call: McpCall,
        links: Option<Links>,
    ) -> McpCall {
        let (to_client, inbound) = mpsc::channel(MESSAGE_QUEUE);
        let (outbound, from_client) = mpsc::channel(MESSAGE_QUEUE);
        if let Some(aggregate) = self.me.upgrade() {
            let relay = Relay {
                aggregate,
                upstream,
                call,
                links,
                to_client,
                asked: HashMap::new(),
            };
            self.tasks.spawn(relay.run(from_client));
        }
        McpCall { inbound, outbound }
    }
}

struct Relay {
    aggregate: Arc<Aggregate>,
    upstream: Arc<Upstream>,
    call: McpCall,
    links: Option<Links>,
    to_client: mpsc::Sender<Result<Bytes, SessionError>>,
    /// The server's requests in this call, by our raw id. Bounded by what a session may leave
    /// unanswered, since the client's side refuses more.
    asked: HashMap<Box<str>, Translation>,
}

impl Relay {
    async fn run(mut self, mut from_client: mpsc::Receiver<Bytes>) {
        loop {
            tokio::select! {
                biased;
                () = self.aggregate.ended.cancelled() => return,
                () = self.to_client.closed() => return,
                Some(message) = from_client.recv() => self.upward(message).await,
                item = self.call.inbound.recv() => {
                    if !self.downward(item).await {
                        return;
                    }
                }
            }
        }
    }

    /// Passes what the server says; `false` at the end.
    async fn downward(&mut self, item: Option<Result<Bytes, SessionError>>) -> bool {
        let (passed, goes_on) = match item {
            None => return false,
            Some(Err(failure)) => (Err(failure), false),
            Some(Ok(bytes)) => match self.translated(&bytes) {
                Ok((Some(bytes), goes_on)) => (Ok(bytes), goes_on),
                Ok((None, goes_on)) => return goes_on,
                Err(failure) => (Err(failure), false),
            },
        };
        tokio::select! {
            biased;
            () = self.aggregate.ended.cancelled() => false,
            sent = self.to_client.send(passed) => sent.is_ok() && goes_on,
        }
    }

    /// A server's message as the client is to see it, and whether more may come.
    fn translated(&mut self, bytes: &Bytes) -> Result<(Option<Bytes>, bool), SessionError> {
        let view = View::parse(bytes).map_err(unusable)?;
        let head = message::head(&view);
        Ok(match head.kind {
            Kind::Response => (Some(self.qualified(bytes)), false),
            Kind::Request => {
                let ours = self.aggregate.draw_id();
                let translated = Translation::of_request(&head, &view, &ours);
                let passed = translated.map(|(passed, origin)| {
                    self.asked.insert(ours.into_boxed_str(), origin);
                    passed
                });
                (passed, true)
            }
            Kind::Notification => {
                let asked = &mut self.asked;
                let ours = |theirs: &str| {
                    let found = asked.iter().find(|(_, origin)| &*origin.id == theirs);
                    let ours = found.map(|(ours, _)| ours.clone())?;
                    asked.remove(&ours);
                    Some(ours)
                };
                (
                    notification(&self.upstream, &head, &view, ours, bytes),
                    true,
                )
            }
        })
    }

    /// The answer, with the URIs in it as lists have them.
    fn qualified(&self, bytes: &Bytes) -> Bytes {
        let rename = |uri: &str| names::qualify_uri(self.upstream.server(), uri);
        let renamed = self.links.and_then(|links| links.renamed(bytes, rename));
        renamed.unwrap_or_else(|| bytes.clone())
    }

    /// Passes what the client says within the call.
    async fn upward(&mut self, bytes: Bytes) {
        let Some(passed) = self.restored(&bytes) else {
            return;
        };
        if self
            .call
            .outbound
            .send_timeout(passed, DELIVERY_WAIT)
            .await
            .is_err()
        {
            tracing::debug!(server = %self.upstream.server(), "not delivered into the call");
        }
    }

    /// A client's message in the server's own terms.
    fn restored(&mut self, bytes: &Bytes) -> Option<Bytes> {
        let view = View::parse(bytes).ok()?;
        let head = message::head(&view);
        if head.kind == Kind::Response {
            let origin = self.asked.remove(&head.id)?;
            return renumbered(&view, &[Edit::Id(&origin.id)]);
        }
        match &head.progress_of {
            Some(ours) if &*head.method == "notifications/progress" => {
                let token = self.asked.get(ours)?.token.as_deref()?;
                renumbered(&view, &[Edit::ProgressOf(token)])
            }
            _ => Some(bytes.clone()),
        }
    }
}
