//! Text that others chose, made harmless for a terminal: see [`protocol::inert`].

pub(crate) use protocol::inert::{inert, inert_json};
