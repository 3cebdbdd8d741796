//! What came into force, as a carrier announces it to nobody in particular.
//!
//! A push is made for its receiver; an announcement is the same bytes on every node that holds the
//! same, so that a carrier which knows messages by their hash carries it once, and so that a node
//! can tell that what it received is what it would say itself. Only that may be passed on: of a
//! message that is right in what one node lacks and wrong in the rest, the next node would blame
//! the one before.

use super::Machine;
use crate::distribution::Change;
use crate::distribution::head::{Item, LogRow};
use crate::distribution::message::{Head, Message};

/// Most bytes of a body or of entries in one announcement. Larger ones are fetched.
pub const ANNOUNCED_TAIL_BYTES: usize = 16 * 1024;

/// Most entries in one announcement: the newest. Who lacks more wants them from a peer.
pub const ANNOUNCED_ENTRIES: usize = 32;

impl Machine {
    /// What announces `change`: the head now in force with its body if that is small, or with the
    /// newest entries; both heads of a forked log. Empty if something newer has replaced it.
    #[must_use]
    pub fn announcements(&self, change: &Change) -> Vec<Message> {
        let (item, from) = match change {
            Change::Root { .. } => (Item::Root, 0),
            Change::Bundle { .. } => (Item::Bundle, 0),
            Change::Log { admin, .. } => {
                let from = match self.ours.rows(admin) {
                    [row] => self.announced_from(row),
                    _ => 0,
                };
                (Item::Log(*admin), from)
            }
            Change::Timestamp { timestamper, .. } => (Item::Timestamp(*timestamper), 0),
        };
        let messages = self.push(item, from).into_iter();
        messages.map(|message| small(&message)).collect()
    }

    /// The index of the first entry that an announcement of a log carries.
    fn announced_from(&self, row: &LogRow) -> u64 {
        let first = row.length.saturating_sub(ANNOUNCED_ENTRIES as u64);
        let entries = self.state.entries(row, first, ANNOUNCED_ENTRIES);
        let mut bytes = 0;
        let newest = entries.iter().flatten().rev();
        let fitting = newest.take_while(|entry| {
            bytes += entry.len();
            bytes <= ANNOUNCED_TAIL_BYTES
        });
        row.length.saturating_sub(fitting.count() as u64)
    }
}

/// The message without a body that is too large.
fn small(message: &Message) -> Message {
    let mut message = message.clone();
    if let Message::Head(Head::Bundle(push)) = &mut message {
        let body = push.body.take();
        push.body = body.filter(|body| body.len() <= ANNOUNCED_TAIL_BYTES);
    }
    message
}
