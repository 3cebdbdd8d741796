//! List results: reading their items, renaming or removing some, joining several into one.
//!
//! Lists are the only results that are ever rewritten, for the endpoint that shows all servers as
//! one. Renaming touches the bytes of the names and nothing else.

use std::borrow::Cow;

use super::build::{checked_id, quote};
use super::error::McpError;
use super::lexer::{Kind, Lexer, Slot};
use super::splice::replace;
use super::view::View;
use crate::limits;

/// The list requests of MCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ListKind {
    /// `tools/list`, items by `name`.
    Tools,
    /// `prompts/list`, items by `name`.
    Prompts,
    /// `resources/list`, items by `uri`.
    Resources,
    /// `resources/templates/list`, items by `uriTemplate`.
    ResourceTemplates,
}

impl ListKind {
    /// The kind that `method` asks for.
    #[must_use]
    pub fn of_method(method: &str) -> Option<Self> {
        [
            Self::Tools,
            Self::Prompts,
            Self::Resources,
            Self::ResourceTemplates,
        ]
        .into_iter()
        .find(|kind| kind.method() == method)
    }

    /// The method that asks for this list.
    #[must_use]
    pub const fn method(self) -> &'static str {
        match self {
            Self::Tools => "tools/list",
            Self::Prompts => "prompts/list",
            Self::Resources => "resources/list",
            Self::ResourceTemplates => "resources/templates/list",
        }
    }

    /// The array in the result.
    #[must_use]
    pub const fn field(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::ResourceTemplates => "resourceTemplates",
        }
    }

    /// The member that names an item.
    #[must_use]
    pub const fn name_field(self) -> &'static str {
        match self {
            Self::Tools | Self::Prompts => "name",
            Self::Resources => "uri",
            Self::ResourceTemplates => "uriTemplate",
        }
    }
}

/// One item of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item<'a> {
    /// Its name, URI or URI template, unescaped.
    pub name: Cow<'a, str>,
    /// Its JSON text, an object.
    pub raw: &'a str,
    slot: Slot,
    name_slot: Slot,
}

/// The items of one list result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListResult<'a> {
    /// In the order of the server.
    pub items: Vec<Item<'a>>,
    /// The JSON text of `nextCursor`, a string, if there are more pages.
    pub next_cursor: Option<&'a str>,
    array: Slot,
}

/// What to do with an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemChange {
    /// Leave it as it is.
    Keep,
    /// Give it this name, URI or URI template.
    Rename(String),
    /// Leave it out.
    Remove,
}

/// The items of the list result `view`.
///
/// # Errors
/// [`McpError::NotAList`] for any other message, [`McpError::NamelessItem`] for an item that is no
/// object or whose name is missing or no string, [`McpError::TargetTooLong`] for a name no request
/// could carry.
pub fn list_items<'a>(view: &View<'a>, kind: ListKind) -> Result<ListResult<'a>, McpError> {
    let text = view.text();
    let not_a_list = McpError::NotAList {
        field: kind.field(),
    };
    let result = view.slots.result.filter(|s| s.kind == Kind::Object);
    let result = result.ok_or_else(|| not_a_list.clone())?;
    let (mut array, mut cursor) = (None, None);
    Lexer::at(text, result.start).members(|key, slot| {
        if key == kind.field() && slot.kind == Kind::Array {
            array = Some(slot);
        } else if key == "nextCursor" && slot.string(text).is_some() {
            cursor = Some(slot);
        }
    })?;
    let array = array.ok_or(not_a_list)?;
    let slots = Lexer::at(text, array.start).elements()?;
    let items = slots
        .into_iter()
        .enumerate()
        .map(|(index, slot)| item(text, kind, index, slot));
    Ok(ListResult {
        items: items.collect::<Result<_, _>>()?,
        next_cursor: cursor.map(|s| s.of(text)),
        array,
    })
}

fn item(text: &str, kind: ListKind, index: usize, slot: Slot) -> Result<Item<'_>, McpError> {
    let field = kind.name_field();
    let nameless = || McpError::NamelessItem { index, field };
    if slot.kind != Kind::Object {
        return Err(nameless());
    }
    let mut name_slot = None;
    Lexer::at(text, slot.start).members(|key, value| {
        if key == field {
            name_slot = Some(value);
        }
    })?;
    let name_slot = name_slot.ok_or_else(nameless)?;
    let name = name_slot.string(text).ok_or_else(nameless)?;
    if name.len() > limits::MAX_TARGET_BYTES {
        return Err(McpError::TargetTooLong {
            max: limits::MAX_TARGET_BYTES,
            found: name.len(),
        });
    }
    Ok(Item {
        name,
        raw: slot.of(text),
        slot,
        name_slot,
    })
}

/// The list result with each item kept, renamed or removed. Kept and renamed items keep all other
/// bytes; when an item is removed, so is the white space between items.
///
/// # Errors
/// As [`View::parse`] and [`list_items`]; [`McpError::TooLarge`] if the new names make it so.
pub fn rewrite_items(
    bytes: &[u8],
    kind: ListKind,
    mut change: impl FnMut(&Item<'_>) -> ItemChange,
) -> Result<Vec<u8>, McpError> {
    let view = View::parse(bytes)?;
    let text = view.text();
    let list = list_items(&view, kind)?;
    let mut names = Vec::with_capacity(list.items.len());
    let mut kept = Vec::with_capacity(list.items.len());
    for item in &list.items {
        match change(item) {
            ItemChange::Keep => kept.push(item.raw.to_owned()),
            ItemChange::Remove => {}
            ItemChange::Rename(name) => {
                let quoted = quote(&name);
                kept.push(replace_within(item, &quoted));
                names.push((item.name_slot, quoted));
            }
        }
    }
    let new = if kept.len() == list.items.len() {
        replace(
            text,
            names.iter().map(|(slot, name)| (*slot, name.as_str())),
        )
    } else {
        let array = format!("[{}]", kept.join(","));
        replace(text, core::iter::once((list.array, array.as_str())))
    };
    bounded(new)
}

/// The item's text with its name replaced.
fn replace_within(item: &Item<'_>, quoted: &str) -> String {
    let Slot { start, end, kind } = item.name_slot;
    let base = item.slot.start;
    let slot = Slot {
        start: start - base,
        end: end - base,
        kind,
    };
    replace(item.raw, core::iter::once((slot, quoted)))
}

/// The list result with every item renamed; all other bytes stay.
///
/// # Errors
/// As [`rewrite_items`].
pub fn rename_items(
    bytes: &[u8],
    kind: ListKind,
    mut rename: impl FnMut(&str) -> String,
) -> Result<Vec<u8>, McpError> {
    rewrite_items(bytes, kind, |item| ItemChange::Rename(rename(&item.name)))
}

/// One list result with the items of all `parts`, in their order, as the response to `id_raw`.
/// Cursors are dropped: fetch every page of a part before. Two items of one name are left to the
/// caller to judge.
///
/// # Errors
/// As [`View::parse`] and [`list_items`] for each part; an unusable id; [`McpError::TooLarge`].
pub fn merge_lists(kind: ListKind, id_raw: &str, parts: &[&[u8]]) -> Result<Vec<u8>, McpError> {
    checked_id(id_raw)?;
    let field = kind.field();
    let mut out = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id_raw},\"result\":{{\"{field}\":[");
    let mut first = true;
    for part in parts {
        let view = View::parse(part)?;
        for item in list_items(&view, kind)?.items {
            if !core::mem::take(&mut first) {
                out.push(',');
            }
            out.push_str(item.raw);
        }
        if out.len() > limits::MAX_MESSAGE_BYTES {
            break;
        }
    }
    out.push_str("]}}");
    bounded(out)
}

fn bounded(text: String) -> Result<Vec<u8>, McpError> {
    if text.len() > limits::MAX_MESSAGE_BYTES {
        return Err(McpError::TooLarge {
            max: limits::MAX_MESSAGE_BYTES,
            found: text.len(),
        });
    }
    Ok(text.into_bytes())
}
