//! One event stream towards a client: what it has not read, and a little of what it has.
//!
//! Invariants: a sender waits while the client has [`MAX_UNREAD`] messages or
//! [`MAX_UNREAD_BYTES`] unread; read messages are kept for replay within [`MAX_REPLAY`] and
//! [`MAX_REPLAY_BYTES`], oldest dropped first; one reader at a time, the newest wins, and what
//! the older one had not taken goes to the newer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::gateway::budget::Permit;
use crate::gateway::limits::{MAX_REPLAY, MAX_REPLAY_BYTES, MAX_UNREAD, MAX_UNREAD_BYTES};

/// One message with its place in the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) number: u64,
    pub(crate) message: Bytes,
    /// Whether it is the last one.
    pub(crate) last: bool,
}

#[derive(Default)]
struct State {
    /// Kept messages, numbered without gaps; the first has number `first`.
    kept: VecDeque<Bytes>,
    /// Number of the oldest kept message. Numbers start at 1, so 0 is "before everything".
    first: u64,
    /// Number of the next message the reader takes.
    cursor: u64,
    unread_bytes: usize,
    read_bytes: usize,
    ended: bool,
    reader: u64,
    attached: bool,
    detached_at: Option<Instant>,
    /// What the call behind this stream may hold, given back once its answer was taken.
    permit: Option<Permit>,
}

/// The stream.
pub(crate) struct Outbox {
    state: Mutex<State>,
    changed: Notify,
}

impl Outbox {
    pub(crate) fn new(permit: Option<Permit>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                first: 1,
                cursor: 1,
                permit,
                detached_at: Some(Instant::now()),
                ..State::default()
            }),
            changed: Notify::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a message once there is room; `last` ends the stream with it. Cancel safe: nothing
    /// is appended when the future is dropped before it is ready.
    pub(crate) async fn push(&self, message: Bytes, last: bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.push_now(&message, last) {
                return;
            }
            changed.await;
        }
    }

    /// Appends a message if there is room; says whether.
    pub(crate) fn push_now(&self, message: &Bytes, last: bool) -> bool {
        let mut state = self.state();
        let unread = state.unread();
        let fits = unread < MAX_UNREAD
            && (unread == 0
                || state.unread_bytes.saturating_add(message.len()) <= MAX_UNREAD_BYTES);
        if state.ended {
            // Nobody appends after the end; swallowing keeps a late sender from waiting.
            return true;
        }
        if fits {
            state.unread_bytes = state.unread_bytes.saturating_add(message.len());
            state.kept.push_back(message.clone());
            state.ended = last;
            drop(state);
            self.changed.notify_waiters();
        }
        fits
    }

    /// Ends the stream after what was appended.
    pub(crate) fn end(&self) {
        self.state().ended = true;
        self.changed.notify_waiters();
    }

    /// Since when no reader is attached.
    pub(crate) fn detached_since(&self) -> Option<Instant> {
        self.state().detached_at
    }

    /// Waits until a reader came or went.
    pub(crate) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    /// Whether nothing more comes.
    pub(crate) fn is_ended(&self) -> bool {
        self.state().ended
    }

    /// Bytes held.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        let state = self.state();
        state.unread_bytes.saturating_add(state.read_bytes)
    }

    /// Attaches a reader, which replaces an older one; it starts after message `after`, or with
    /// the first unread one. `None` when messages after `after` were dropped or never sent.
    pub(crate) fn attach(self: &Arc<Self>, after: Option<u64>) -> Option<Reader> {
        let mut state = self.state();
        if let Some(after) = after {
            let next = after.checked_add(1)?;
            if next < state.first || next > state.end() {
                return None;
            }
            state.rewind(next);
        }
        state.reader = state.reader.wrapping_add(1);
        state.attached = true;
        state.detached_at = None;
        let reader = Reader {
            number: state.reader,
            outbox: Arc::clone(self),
        };
        drop(state);
        self.changed.notify_waiters();
        Some(reader)
    }
}

impl State {
    /// One past the number of the newest message.
    fn end(&self) -> u64 {
        self.first.saturating_add(self.kept.len() as u64)
    }

    fn unread(&self) -> usize {
        usize::try_from(self.end().saturating_sub(self.cursor)).unwrap_or(usize::MAX)
    }

    fn at(&self, number: u64) -> Option<&Bytes> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.kept.get(index)
    }

    fn rewind(&mut self, to: u64) {
        let read = usize::try_from(to.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.cursor = to;
        self.read_bytes = self.kept.iter().take(read).map(Bytes::len).sum();
        self.unread_bytes = self.kept.iter().skip(read).map(Bytes::len).sum();
    }

    fn take(&mut self) -> Option<Event> {
        let number = self.cursor;
        let message = self.at(number)?.clone();
        self.cursor = number.saturating_add(1);
        self.unread_bytes = self.unread_bytes.saturating_sub(message.len());
        self.read_bytes = self.read_bytes.saturating_add(message.len());
        let last = self.ended && self.unread() == 0;
        if last {
            self.permit = None;
        }
        self.forget_oldest();
        Some(Event {
            number,
            message,
            last,
        })
    }

    fn forget_oldest(&mut self) {
        while self.first < self.cursor
            && (self.cursor.saturating_sub(self.first) > MAX_REPLAY as u64
                || self.read_bytes > MAX_REPLAY_BYTES)
        {
            if let Some(oldest) = self.kept.pop_front() {
                self.read_bytes = self.read_bytes.saturating_sub(oldest.len());
            }
            self.first = self.first.saturating_add(1);
        }
    }
}

/// The reading end; dropping it detaches.
pub(crate) struct Reader {
    number: u64,
    outbox: Arc<Outbox>,
}

impl Reader {
    /// The next message; `None` at the end or once a newer reader took over. Cancel safe.
    pub(crate) async fn next(&self) -> Option<Event> {
        loop {
            let changed = self.outbox.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let mut state = self.outbox.state();
                if state.reader != self.number {
                    return None;
                }
                if let Some(event) = state.take() {
                    drop(state);
                    self.outbox.changed.notify_waiters();
                    return Some(event);
                }
                if state.ended {
                    return None;
                }
            }
            changed.await;
        }
    }

    /// Number of the message before the next one.
    pub(crate) fn position(&self) -> u64 {
        self.outbox.state().cursor.saturating_sub(1)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.outbox.state();
        if state.reader == self.number && state.attached {
            state.attached = false;
            state.detached_at = Some(Instant::now());
            drop(state);
            self.outbox.changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Bytes {
        Bytes::from(text.to_owned())
    }

    #[tokio::test]
    async fn a_reader_gets_all_in_order_and_the_end() {
        let outbox = Outbox::new(None);
        let reader = outbox.attach(None).unwrap();
        outbox.push(message("a"), false).await;
        outbox.push(message("b"), true).await;
        let (a, b) = (reader.next().await.unwrap(), reader.next().await.unwrap());
        assert_eq!((a.number, &a.message[..], a.last), (1, &b"a"[..], false));
        assert_eq!((b.number, &b.message[..], b.last), (2, &b"b"[..], true));
        assert_eq!(reader.next().await, None);
        assert!(outbox.is_ended());
    }

    #[tokio::test]
    async fn a_lost_reader_resumes_where_it_was_or_says_it_cannot() {
        let outbox = Outbox::new(None);
        let reader = outbox.attach(None).unwrap();
        for i in 0..MAX_REPLAY + 10 {
            outbox.push(message(&i.to_string()), false).await;
            reader.next().await.unwrap();
        }
        drop(reader);
        assert!(outbox.detached_since().is_some());
        let last = MAX_REPLAY as u64 + 10;
        let again = outbox.attach(Some(last - 1)).unwrap();
        assert_eq!(again.next().await.unwrap().number, last);
        assert!(
            outbox.attach(Some(1)).is_none(),
            "dropped from the replay buffer"
        );
        assert!(outbox.attach(Some(last + 1)).is_none(), "never sent");
        assert!(outbox.attach(Some(u64::MAX)).is_none());
    }

    #[tokio::test]
    async fn a_newer_reader_takes_over() {
        let outbox = Outbox::new(None);
        let old = outbox.attach(None).unwrap();
        let new = outbox.attach(None).unwrap();
        outbox.push(message("a"), false).await;
        assert_eq!(old.next().await, None);
        drop(old);
        assert!(outbox.detached_since().is_none());
        assert_eq!(new.next().await.unwrap().number, 1);
    }

    #[tokio::test]
    async fn what_is_unread_and_kept_is_bounded() {
        let outbox = Outbox::new(None);
        let small = message("x");
        while outbox.push_now(&small, false) {}
        assert_eq!(outbox.held(), MAX_UNREAD);
        let outbox = Outbox::new(None);
        let large = Bytes::from(vec![b' '; MAX_UNREAD_BYTES * 2]);
        assert!(outbox.push_now(&large, false), "one is always let through");
        assert!(!outbox.push_now(&small, false));
        let reader = outbox.attach(None).unwrap();
        reader.next().await.unwrap();
        assert_eq!(outbox.held(), 0, "too large to keep for replay");
        assert!(outbox.push_now(&small, false));
    }
}
