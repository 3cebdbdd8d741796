//! Live updates: one task that renders what changed, once for all who watch, and one that carries
//! it to each.
//!
//! Nothing is rendered while nobody watches. An event replaces one part of the page, so a browser
//! holds no more than the first page did, however long it watches; who comes late is sent the
//! newest event of every part first.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use maud::Markup;
use protocol::control::{Decision, DecisionQuery};
use protocol::inert::inert;
use protocol::record::DecisionRecord;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::limits::{EVENTS, GATHER, KEEP_ALIVE, REFRESH, ROWS};
use super::{Source, Tail, access::Visit, render};

/// The parts of the page that are replaced live, by the names of their events.
pub(super) mod part {
    /// The line of facts on top.
    pub(in crate::page) const GLANCE: &str = "glance";
    /// This node.
    pub(in crate::page) const STATE: &str = "state";
    /// Peers.
    pub(in crate::page) const PEERS: &str = "peers";
    /// Servers and tools.
    pub(in crate::page) const TOOLS: &str = "tools";
    /// Alerts.
    pub(in crate::page) const ALERTS: &str = "alerts";
    /// The bundle.
    pub(in crate::page) const POLICY: &str = "policy";
    /// The newest decisions.
    pub(in crate::page) const DECISIONS: &str = "decisions";
}

/// What makes the events.
pub(super) struct Feed {
    source: Arc<dyn Source>,
    tail: Arc<Tail>,
    /// The newest event of every part; empty while nobody watches.
    latest: Mutex<BTreeMap<&'static str, Bytes>>,
    events: broadcast::Sender<Bytes>,
    watchers: watch::Sender<usize>,
}

/// Somebody who watches, until dropped.
pub(super) struct Watching {
    feed: Arc<Feed>,
    /// What to show first.
    first: Vec<Bytes>,
    events: broadcast::Receiver<Bytes>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.feed
            .watchers
            .send_modify(|count| *count = count.saturating_sub(1));
    }
}

impl Feed {
    pub(super) fn new(source: Arc<dyn Source>, tail: Arc<Tail>) -> Arc<Self> {
        Arc::new(Self {
            source,
            tail,
            latest: Mutex::default(),
            events: broadcast::Sender::new(EVENTS),
            watchers: watch::Sender::new(0),
        })
    }

    /// Everything from now on, and the present first.
    pub(super) fn watch(self: &Arc<Self>) -> Watching {
        let events = self.events.subscribe();
        self.watchers.send_modify(|count| *count += 1);
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        Watching {
            feed: Arc::clone(self),
            first: latest.values().cloned().collect(),
            events,
        }
    }

    /// Renders while somebody watches, until `stop`.
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut watchers = self.watchers.subscribe();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                watched = watchers.wait_for(|count| *count > 0) => if watched.is_err() {
                    return;
                },
            }
            self.follow(&stop).await;
            let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
            latest.clear();
        }
    }

    /// Renders until nobody watches any more.
    async fn follow(&self, stop: &CancellationToken) {
        let mut watchers = self.watchers.subscribe();
        // The ring before the store: what is written in between is in both, and told by its number.
        let mut ring = self.tail.follow();
        let mut rows = self.newest().await;
        let mut fresh = true;
        let mut refresh = steady(REFRESH);
        let mut gather = steady(GATHER);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = async { drop(watchers.wait_for(|count| *count == 0).await) } => return,
                _ = refresh.tick() => self.refresh().await,
                _ = gather.tick(), if fresh => {
                    fresh = false;
                    self.publish(part::DECISIONS, render::rows(rows.iter()));
                    self.publish(part::ALERTS, render::alerts(&self.tail.alerts(), &*self.source));
                }
                seen = ring.recv() => {
                    match seen {
                        Ok(record) => self.add(&mut rows, &record),
                        Err(RecvError::Lagged(_)) => rows = self.newest().await,
                        Err(RecvError::Closed) => return,
                    }
                    fresh = true;
                }
            }
        }
    }

    /// The newest decisions, from the store.
    async fn newest(&self) -> VecDeque<Decision> {
        let query = DecisionQuery {
            before: None,
            limit: u32::try_from(ROWS).ok(),
        };
        match self.source.decisions(query).await {
            Ok(decisions) => decisions.into(),
            Err(error) => {
                tracing::warn!(%error, "the status page cannot read decisions");
                VecDeque::new()
            }
        }
    }

    fn add(&self, rows: &mut VecDeque<Decision>, record: &DecisionRecord) {
        let newest = rows.front().map(|row| row.seq);
        if newest.is_none_or(|seq| record.sequence > seq) {
            rows.push_front(self.source.listed(record));
            rows.truncate(ROWS);
        }
    }

    /// Renders what is no decision.
    async fn refresh(&self) {
        let (status, peers) = (self.source.status().await, self.source.peers().await);
        let servers = self.source.servers();
        match (status, peers) {
            (Ok(status), Ok(peers)) => {
                self.publish(part::GLANCE, render::glance(&status, &peers, &servers));
                self.publish(part::STATE, render::state(&status));
                self.publish(part::PEERS, render::peers(&peers, &status));
            }
            (Err(error), _) | (_, Err(error)) => {
                tracing::warn!(%error, "the status page cannot read the node's state");
            }
        }
        self.publish(part::TOOLS, render::tools(&servers));
        let bundle = self.source.bundle();
        self.publish(part::POLICY, render::policy(bundle.as_ref()));
    }

    /// Sends a part that is not what it was.
    fn publish(&self, part: &'static str, html: Markup) {
        // One line: inert text has no line breaks.
        let data = inert(&html.into_string());
        let event = Bytes::from(format!("event: {part}\ndata: {data}\n\n"));
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.get(part) != Some(&event) {
            latest.insert(part, event.clone());
            drop(latest);
            // The last watcher may just have gone.
            drop(self.events.send(event));
        }
    }
}

fn steady(every: Duration) -> tokio::time::Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Why a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// The browser went away, the session is over, or the node stops.
    Orderly,
    /// The browser took too long to read.
    Slow,
}

/// Carries events to one browser until its session is over, it goes away, or it does not read.
pub(super) async fn carry(
    mut watching: Watching,
    to: mpsc::Sender<Bytes>,
    visit: Visit,
    stop: CancellationToken,
) -> Ended {
    for event in core::mem::take(&mut watching.first) {
        if to.try_send(event).is_err() {
            return Ended::Slow;
        }
    }
    let mut silence = interval(KEEP_ALIVE);
    silence.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let left = visit.until.saturating_duration_since(Instant::now());
    let over = tokio::time::sleep(left);
    tokio::pin!(over);
    loop {
        let event = tokio::select! {
            biased;
            () = stop.cancelled() => return Ended::Orderly,
            () = visit.ended.cancelled() => return Ended::Orderly,
            () = &mut over => return Ended::Orderly,
            () = to.closed() => return Ended::Orderly,
            event = watching.events.recv() => match event {
                Ok(event) => event,
                Err(RecvError::Lagged(_)) => return Ended::Slow,
                Err(RecvError::Closed) => return Ended::Orderly,
            },
            _ = silence.tick() => Bytes::from_static(b":\n\n"),
        };
        match to.try_send(event) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Ended::Slow,
            Err(mpsc::error::TrySendError::Closed(_)) => return Ended::Orderly,
        }
    }
}
