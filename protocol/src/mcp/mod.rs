//! The shallow view of MCP: what the data path reads of a message, and how it changes bytes.
//!
//! A message is one JSON-RPC 2.0 object and stays the exact bytes it came as: a typed model would
//! drop fields it does not know and rewrite numbers, and changed bytes break signatures. [`View`]
//! reads a message once and knows where its id, method, target and tokens stand; [`Edit`]s replace
//! exactly those tokens and leave every other byte alone. Both protocol eras (sessions up to
//! 2025-11-25, stateless from 2026-07-28) pass through alike.
//!
//! Invariants: what a view accepts is strict JSON (RFC 8259) in which no object at any depth names
//! a key twice, keys compared after unescaping, so that no two readers can disagree on what a
//! message says; every size and depth is bounded; nothing here allocates in proportion to anything
//! but the message.
//!
//! It does not judge a message against the MCP schema or resolve `$ref`. What policies ask of the
//! values of arguments and results they ask of `Json`, which is read apart from the view.

mod build;
mod canonical;
mod error;
mod intent;
mod json;
mod lexer;
mod list;
mod number;
mod redact;
mod splice;
mod view;

pub use build::{error_response, notification, one_line, quote, request, response};
pub use canonical::{MAX_CANONICAL_BYTES, canonical, tool_digest};
pub use error::McpError;
pub use intent::{
    Annotations, Derivation, DeriveIntents, Hints, INTENT_RULES, derive_intents, own_intent, word,
};
pub(crate) use json::Json;
pub(crate) use number::{MAX_NUMBER_BYTES, MAX_NUMBER_EXPONENT, Number};

pub use list::{
    Item, ItemChange, ListKind, ListResult, list_items, merge_lists, rename_items, rewrite_items,
};
pub use redact::{REDACTED, redact};
pub use splice::{
    Edit, splice_cancelled_id, splice_id, splice_progress_of, splice_progress_token, splice_target,
};
pub use view::{MAX_ID_BYTES, MessageKind, Target, TargetKind, View, same_id};

#[cfg(test)]
mod tests;
