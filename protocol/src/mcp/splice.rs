//! Byte splices: one token replaced, everything outside it byte for byte as it was.
//!
//! Replacements are raw JSON tokens and are checked to be of the kind that stands there, so that
//! no edit can add a member or break the message. Undoing an edit with the token it replaced gives
//! back the very bytes.

use super::error::McpError;
use super::lexer::{Kind, Lexer, Slot};
use super::view::{View, check_id};

/// One replacement; the text is raw JSON ([`super::quote`] makes a string of a name).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit<'r> {
    /// The `id`: a string or an integer.
    Id(&'r str),
    /// The name or URI of [`View::target`]: a string.
    Target(&'r str),
    /// `params._meta.progressToken` of a request: a string or an integer.
    ProgressToken(&'r str),
    /// `params.progressToken` of `notifications/progress`: a string or an integer.
    ProgressOf(&'r str),
    /// `params.requestId` of `notifications/cancelled`: a string or an integer.
    CancelledId(&'r str),
}

impl<'r> Edit<'r> {
    const fn raw(self) -> &'r str {
        match self {
            Self::Id(raw)
            | Self::Target(raw)
            | Self::ProgressToken(raw)
            | Self::ProgressOf(raw)
            | Self::CancelledId(raw) => raw,
        }
    }

    const fn what(self) -> &'static str {
        match self {
            Self::Id(_) => "id",
            Self::Target(_) => "name or URI",
            Self::ProgressToken(_) | Self::ProgressOf(_) => "progress token",
            Self::CancelledId(_) => "request id",
        }
    }

    const fn slot(self, view: &View<'_>) -> Option<Slot> {
        match self {
            Self::Id(_) => view.slots.id,
            Self::Target(_) => view.target_slot,
            Self::ProgressToken(_) => view.slots.progress_token,
            Self::ProgressOf(_) => view.slots.progress_of,
            Self::CancelledId(_) => view.slots.cancelled_id,
        }
    }

    fn check(self) -> Result<(), McpError> {
        let what = self.what();
        let slot = one_scalar(self.raw()).ok_or(McpError::BadReplacement { what })?;
        match self {
            Self::Target(_) => match slot.kind {
                Kind::PlainString | Kind::EscapedString => Ok(()),
                _ => Err(McpError::BadReplacement { what }),
            },
            _ => check_id(slot, what),
        }
    }
}

/// The slot of `raw` if it is exactly one JSON scalar, without white space around it.
pub(super) fn one_scalar(raw: &str) -> Option<Slot> {
    let slot = Lexer::new(raw).scalar().ok()?;
    (slot.end == raw.len()).then_some(slot)
}

impl View<'_> {
    /// The message with `edits` made, in any order; two edits of one token: the later counts.
    ///
    /// # Errors
    /// [`McpError::NothingToReplace`] where the message has no such token,
    /// [`McpError::BadReplacement`] or an id refusal where the new text is not of its kind.
    pub fn splice(&self, edits: &[Edit<'_>]) -> Result<Vec<u8>, McpError> {
        let mut changes = Vec::with_capacity(edits.len());
        for edit in edits {
            edit.check()?;
            let what = edit.what();
            let slot = edit.slot(self).ok_or(McpError::NothingToReplace { what })?;
            changes.retain(|&(other, _): &(Slot, &str)| other != slot);
            changes.push((slot, edit.raw()));
        }
        changes.sort_unstable_by_key(|(slot, _)| slot.start);
        Ok(replace(self.text, changes.iter().copied()).into_bytes())
    }
}

/// `text` with each slot's text replaced. Slots come in ascending order and do not overlap.
pub(super) fn replace<'r>(
    text: &str,
    changes: impl Iterator<Item = (Slot, &'r str)> + Clone,
) -> String {
    let added: usize = changes.clone().map(|(_, new)| new.len()).sum();
    let mut out = String::with_capacity(text.len() + added);
    let mut done = 0;
    for (slot, new) in changes {
        out.push_str(text.get(done..slot.start).unwrap_or_default());
        out.push_str(new);
        done = slot.end;
    }
    out.push_str(text.get(done..).unwrap_or_default());
    out
}

macro_rules! splice_one {
    ($(#[$doc:meta])* $name:ident, $edit:ident) => {
        $(#[$doc])*
        ///
        /// # Errors
        /// As [`View::parse`] and [`View::splice`].
        pub fn $name(bytes: &[u8], new_raw: &str) -> Result<Vec<u8>, McpError> {
            View::parse(bytes)?.splice(&[Edit::$edit(new_raw)])
        }
    };
}

splice_one!(
    /// The message with its id replaced by the raw JSON string or integer `new_raw`.
    splice_id, Id
);
splice_one!(
    /// The message with its target's name or URI replaced by the raw JSON string `new_raw`.
    splice_target, Target
);
splice_one!(
    /// The request with its `_meta.progressToken` replaced by the raw `new_raw`.
    splice_progress_token, ProgressToken
);
splice_one!(
    /// The progress notification with its `progressToken` replaced by the raw `new_raw`.
    splice_progress_of, ProgressOf
);
splice_one!(
    /// The cancellation with its `requestId` replaced by the raw `new_raw`.
    splice_cancelled_id, CancelledId
);
