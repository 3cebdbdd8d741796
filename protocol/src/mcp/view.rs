//! [`View`]: one pass over a message that checks all of it and remembers where the few tokens
//! stand that the data path reads or replaces.

use std::borrow::Cow;

use super::error::McpError;
use super::lexer::{Kind, Lexer, Slot};
use crate::limits;

/// Longest id or progress token, in bytes of JSON text. Clients use counters and UUIDs; the
/// bound keeps what is remembered per call small.
pub const MAX_ID_BYTES: usize = 256;

/// Most keys compared pair by pair; more are sorted. Most objects of a message are smaller.
const PAIRWISE_KEYS: usize = 12;

/// What a message is, by which of `id`, `method`, `result` and `error` it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// A method with an id.
    Request,
    /// A method without an id.
    Notification,
    /// A result with an id.
    Response,
    /// An error. Its id may be absent, when the request could not be read.
    ErrorResponse,
}

/// What kind of thing a request acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TargetKind {
    /// `tools/call`: `params.name`.
    Tool,
    /// `prompts/get`: `params.name`.
    Prompt,
    /// `resources/read`, `resources/subscribe`, `resources/unsubscribe`: `params.uri`.
    Resource,
    /// `completion/complete` with a `ref/prompt`: `params.ref.name`.
    RefPrompt,
    /// `completion/complete` with a `ref/resource`: `params.ref.uri`, a URI or URI template.
    RefResource,
}

impl TargetKind {
    /// What a request of `method` acts on that names `name`; `None` for a method that names
    /// nothing. What a completion is for is told by the colon that a URI has and a prompt's name
    /// has not.
    #[must_use]
    pub fn of_method(method: &str, name: &str) -> Option<Self> {
        match method {
            "tools/call" => Some(Self::Tool),
            "prompts/get" => Some(Self::Prompt),
            "resources/read" | "resources/subscribe" | "resources/unsubscribe" => {
                Some(Self::Resource)
            }
            "completion/complete" if name.contains(':') => Some(Self::RefResource),
            "completion/complete" => Some(Self::RefPrompt),
            _ => None,
        }
    }
}

/// The thing a request acts on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target<'a> {
    /// What kind of thing.
    pub what: TargetKind,
    /// Its name or URI, unescaped; at most [`limits::MAX_TARGET_BYTES`].
    pub name: Cow<'a, str>,
}

/// One message, read once. See the [module](super) for what is refused.
#[derive(Debug, Clone)]
pub struct View<'a> {
    pub(super) text: &'a str,
    pub(super) slots: Slots,
    kind: MessageKind,
    method: Option<Cow<'a, str>>,
    target: Option<Target<'a>>,
    pub(super) target_slot: Option<Slot>,
}

/// Where the tokens stand that are read or replaced.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Slots {
    jsonrpc: Option<Slot>,
    pub(super) id: Option<Slot>,
    method: Option<Slot>,
    params: Option<Slot>,
    pub(super) result: Option<Slot>,
    error: Option<Slot>,
    name: Option<Slot>,
    uri: Option<Slot>,
    ref_type: Option<Slot>,
    ref_name: Option<Slot>,
    ref_uri: Option<Slot>,
    /// `params._meta.progressToken`.
    pub(super) progress_token: Option<Slot>,
    /// `params._meta["io.modelcontextprotocol/protocolVersion"]`.
    protocol_version: Option<Slot>,
    /// `params.progressToken`, of meaning in `notifications/progress` only.
    pub(super) progress_of: Option<Slot>,
    /// `params.requestId`, of meaning in `notifications/cancelled` only.
    pub(super) cancelled_id: Option<Slot>,
}

impl<'a> View<'a> {
    /// Reads one JSON-RPC message. White space around it is allowed, as JSON allows it.
    ///
    /// # Errors
    /// The first thing wrong with it, each by its own [`McpError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, McpError> {
        if bytes.len() > limits::MAX_MESSAGE_BYTES {
            return Err(McpError::TooLarge {
                max: limits::MAX_MESSAGE_BYTES,
                found: bytes.len(),
            });
        }
        let text = core::str::from_utf8(bytes).map_err(|e| McpError::NotUtf8 {
            at: e.valid_up_to(),
        })?;
        if text.starts_with('\u{feff}') {
            return Err(McpError::ByteOrderMark);
        }
        let mut scan = Scan::new(text);
        scan.message()?;
        Self::check(text, scan.slots)
    }

    fn check(text: &'a str, mut slots: Slots) -> Result<Self, McpError> {
        if slots.jsonrpc.and_then(|s| s.string(text)).as_deref() != Some("2.0") {
            return Err(McpError::Version);
        }
        if let Some(id) = slots.id {
            check_id(id, "id")?;
        }
        let method = slots.method.map(|s| check_method(s, text)).transpose()?;
        let kind = kind_of(&slots)?;
        match slots.params.map(|s| s.kind) {
            None | Some(Kind::Object | Kind::Null) => {}
            Some(_) => return Err(McpError::ParamsNotObject),
        }
        check_tokens(&mut slots, method.as_deref())?;
        let target_slot = method
            .as_deref()
            .map_or(Ok(None), |m| find_target(m, &slots, text))?;
        let target = match target_slot {
            None => None,
            Some((method, _, _)) if kind == MessageKind::Notification => {
                return Err(McpError::TargetWithoutId { method });
            }
            Some((_, what, slot)) => {
                let name = slot.string(text).unwrap_or_default();
                if name.len() > limits::MAX_TARGET_BYTES {
                    let max = limits::MAX_TARGET_BYTES;
                    return Err(McpError::TargetTooLong {
                        max,
                        found: name.len(),
                    });
                }
                Some(Target { what, name })
            }
        };
        let target_slot = target_slot.map(|(_, _, slot)| slot);
        Ok(Self {
            text,
            slots,
            kind,
            method,
            target,
            target_slot,
        })
    }

    /// What the message is.
    #[must_use]
    pub const fn kind(&self) -> MessageKind {
        self.kind
    }

    /// The JSON text of the id: a string with its quotes, or an integer.
    #[must_use]
    pub fn id(&self) -> Option<&'a str> {
        self.raw(self.slots.id)
    }

    /// The method, printable ASCII.
    #[must_use]
    pub fn method(&self) -> Option<&str> {
        self.method.as_deref()
    }

    /// What a request acts on, for the methods of [`TargetKind`]. A message with such a method
    /// but without such a target is refused by [`View::parse`].
    #[must_use]
    pub const fn target(&self) -> Option<&Target<'a>> {
        self.target.as_ref()
    }

    /// The URI in `params.uri` of a notification, unescaped, which `notifications/resources/updated`
    /// is about; `None` if that is no string.
    #[must_use]
    pub fn updated_resource(&self) -> Option<Cow<'a, str>> {
        let uri = self.slots.uri?;
        let is_text = matches!(uri.kind, Kind::PlainString | Kind::EscapedString);
        let notifies = self.kind == MessageKind::Notification;
        (notifies && is_text).then(|| uri.string(self.text))?
    }

    /// The JSON text of a request's `params._meta.progressToken`: a string or an integer.
    #[must_use]
    pub fn progress_token(&self) -> Option<&'a str> {
        self.raw(self.slots.progress_token)
    }

    /// The JSON text of `params.progressToken` in `notifications/progress`.
    #[must_use]
    pub fn progress_of(&self) -> Option<&'a str> {
        self.raw(self.slots.progress_of)
    }

    /// The JSON text of `params.requestId` in `notifications/cancelled`.
    #[must_use]
    pub fn cancelled_id(&self) -> Option<&'a str> {
        self.raw(self.slots.cancelled_id)
    }

    /// The protocol version that a request of 2026-07-28 or later carries in its `_meta`.
    #[must_use]
    pub fn meta_protocol_version(&self) -> Option<Cow<'a, str>> {
        self.slots
            .protocol_version
            .and_then(|s| s.string(self.text))
    }

    /// The JSON text of `params`.
    #[must_use]
    pub fn params(&self) -> Option<&'a str> {
        self.raw(self.slots.params)
    }

    /// The JSON text of `result`.
    #[must_use]
    pub fn result(&self) -> Option<&'a str> {
        self.raw(self.slots.result)
    }

    /// The JSON text of `error`, an object.
    #[must_use]
    pub fn error(&self) -> Option<&'a str> {
        self.raw(self.slots.error)
    }

    /// The whole message as it came.
    #[must_use]
    pub const fn text(&self) -> &'a str {
        self.text
    }

    fn raw(&self, slot: Option<Slot>) -> Option<&'a str> {
        slot.map(|s| s.of(self.text))
    }
}

/// Whether two raw ids, or tokens, are the same id: a string may be escaped in several ways, and
/// an id that comes back need not be escaped as it went out. A string is never a number.
#[must_use]
pub fn same_id(a: &str, b: &str) -> bool {
    fn value(raw: &str) -> Option<Cow<'_, str>> {
        let slot = Lexer::new(raw).scalar().ok()?;
        (slot.end == raw.len()).then(|| slot.string(raw)).flatten()
    }
    a == b || value(a).is_some_and(|a| value(b) == Some(a))
}

fn kind_of(slots: &Slots) -> Result<MessageKind, McpError> {
    match (slots.method, slots.result, slots.error) {
        (Some(_), None, None) if slots.id.is_some() => Ok(MessageKind::Request),
        (Some(_), None, None) => Ok(MessageKind::Notification),
        (None, Some(_), None) if slots.id.is_some() => Ok(MessageKind::Response),
        (None, Some(_), None) => Err(McpError::ResponseWithoutId),
        (None, None, Some(error)) if error.kind == Kind::Object => Ok(MessageKind::ErrorResponse),
        (None, None, Some(_)) => Err(McpError::ErrorNotObject),
        (None, None, None) => Err(McpError::NoKind),
        _ => Err(McpError::Ambiguous),
    }
}

pub(super) fn check_id(slot: Slot, field: &'static str) -> Result<(), McpError> {
    match slot.kind {
        Kind::PlainString | Kind::EscapedString | Kind::Integer => {}
        Kind::Null => return Err(McpError::IdNull { field }),
        Kind::Fraction => return Err(McpError::IdFloat { field }),
        Kind::Boolean | Kind::Array | Kind::Object => return Err(McpError::IdKind { field }),
    }
    let found = slot.end - slot.start;
    if found > MAX_ID_BYTES {
        return Err(McpError::IdTooLong {
            field,
            max: MAX_ID_BYTES,
            found,
        });
    }
    Ok(())
}

pub(super) fn check_method(slot: Slot, text: &str) -> Result<Cow<'_, str>, McpError> {
    let method = slot.string(text).ok_or(McpError::MethodNotString)?;
    if method.len() > limits::MAX_METHOD_BYTES {
        return Err(McpError::MethodTooLong {
            max: limits::MAX_METHOD_BYTES,
            found: method.len(),
        });
    }
    if method.is_empty() || !method.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(McpError::MethodCharacters);
    }
    Ok(method)
}

/// Checks the tokens where they mean something and forgets them where they do not: elsewhere
/// `progressToken` and `requestId` are a vendor's fields of any kind.
fn check_tokens(slots: &mut Slots, method: Option<&str>) -> Result<(), McpError> {
    if method != Some("notifications/progress") {
        slots.progress_of = None;
    }
    if method != Some("notifications/cancelled") {
        slots.cancelled_id = None;
    }
    if method.is_none() {
        slots.progress_token = None;
    }
    // A token of null asks for no progress, as an absent one does.
    slots.progress_token = slots.progress_token.filter(|s| s.kind != Kind::Null);
    for (slot, field) in [
        (slots.progress_token, "progressToken"),
        (slots.progress_of, "progressToken"),
        (slots.cancelled_id, "requestId"),
    ] {
        if let Some(slot) = slot {
            check_id(slot, field)?;
        }
    }
    Ok(())
}

/// The method as a constant, the kind of target and where its name stands.
type Found = (&'static str, TargetKind, Slot);

fn find_target(method: &str, slots: &Slots, text: &str) -> Result<Option<Found>, McpError> {
    let (method, what, field, slot) = match method {
        "tools/call" => ("tools/call", TargetKind::Tool, "params.name", slots.name),
        "prompts/get" => ("prompts/get", TargetKind::Prompt, "params.name", slots.name),
        "resources/read" => (
            "resources/read",
            TargetKind::Resource,
            "params.uri",
            slots.uri,
        ),
        "resources/subscribe" => (
            "resources/subscribe",
            TargetKind::Resource,
            "params.uri",
            slots.uri,
        ),
        "resources/unsubscribe" => (
            "resources/unsubscribe",
            TargetKind::Resource,
            "params.uri",
            slots.uri,
        ),
        "completion/complete" => {
            let method = "completion/complete";
            match slots.ref_type.and_then(|s| s.string(text)).as_deref() {
                Some("ref/prompt") => (
                    method,
                    TargetKind::RefPrompt,
                    "params.ref.name",
                    slots.ref_name,
                ),
                Some("ref/resource") => (
                    method,
                    TargetKind::RefResource,
                    "params.ref.uri",
                    slots.ref_uri,
                ),
                _ => {
                    return Err(McpError::TargetMissing {
                        method,
                        field: "params.ref.type",
                    });
                }
            }
        }
        _ => return Ok(None),
    };
    match slot {
        Some(slot) if matches!(slot.kind, Kind::PlainString | Kind::EscapedString) => {
            Ok(Some((method, what, slot)))
        }
        _ => Err(McpError::TargetMissing { method, field }),
    }
}

/// The kind of `raw` if it is exactly one strict JSON value, no white space around it, that keeps
/// the bounds of a message when it stands `under` so many containers.
pub(super) fn check_value(raw: &str, under: usize) -> Result<Kind, McpError> {
    if raw.len() > limits::MAX_MESSAGE_BYTES {
        return Err(McpError::TooLarge {
            max: limits::MAX_MESSAGE_BYTES,
            found: raw.len(),
        });
    }
    let mut scan = Scan::new(raw);
    let slot = scan.value(Level::Other, under)?;
    if slot.end < raw.len() {
        return Err(McpError::Trailing { at: slot.end });
    }
    Ok(slot.kind)
}

/// Which object the scan is in, as far as its members can matter.
#[derive(Clone, Copy)]
enum Level {
    Top,
    Params,
    Meta,
    Ref,
    Other,
}

/// The single pass: grammar, depth and duplicate keys everywhere, slots where they matter.
struct Scan<'a> {
    lexer: Lexer<'a>,
    /// The keys of all objects now open, the innermost last.
    keys: Vec<Cow<'a, str>>,
    slots: Slots,
}

impl<'a> Scan<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            lexer: Lexer::new(text),
            keys: Vec::new(),
            slots: Slots::default(),
        }
    }

    fn message(&mut self) -> Result<(), McpError> {
        self.lexer.skip_space();
        match self.lexer.peek() {
            Some(b'{') => {}
            Some(b'[') => return Err(McpError::Batch),
            None => return self.lexer.wrong("an object"),
            Some(_) => {
                self.lexer.scalar()?;
                return Err(McpError::NotObject);
            }
        }
        self.value(Level::Top, 0)?;
        self.lexer.finish()
    }

    fn value(&mut self, level: Level, depth: usize) -> Result<Slot, McpError> {
        let start = self.lexer.position();
        let kind = match self.lexer.peek() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            _ => return self.lexer.scalar(),
        };
        if depth >= limits::MAX_JSON_DEPTH {
            return Err(McpError::TooDeep {
                max: limits::MAX_JSON_DEPTH,
            });
        }
        if kind == Kind::Object {
            self.object(level, depth + 1)?;
        } else {
            self.array(depth + 1)?;
        }
        Ok(Slot {
            start,
            end: self.lexer.position(),
            kind,
        })
    }

    fn array(&mut self, depth: usize) -> Result<(), McpError> {
        self.lexer.take(b'[');
        self.lexer.skip_space();
        if self.lexer.take(b']') {
            return Ok(());
        }
        loop {
            self.value(Level::Other, depth)?;
            if !self.lexer.more(b']')? {
                return Ok(());
            }
        }
    }

    fn object(&mut self, level: Level, depth: usize) -> Result<(), McpError> {
        self.lexer.take(b'{');
        self.lexer.skip_space();
        if self.lexer.take(b'}') {
            return Ok(());
        }
        let first = self.keys.len();
        loop {
            let key = self.lexer.key()?;
            let inside = match (level, &*key) {
                (Level::Top, "params") => Level::Params,
                (Level::Params, "_meta") => Level::Meta,
                (Level::Params, "ref") => Level::Ref,
                _ => Level::Other,
            };
            let slot = self.value(inside, depth)?;
            self.note(level, &key, slot);
            self.keys.push(key);
            if !self.lexer.more(b'}')? {
                break;
            }
        }
        refuse_duplicates(self.keys.get_mut(first..).unwrap_or_default())?;
        self.keys.truncate(first);
        Ok(())
    }

    fn note(&mut self, level: Level, key: &str, slot: Slot) {
        let slots = &mut self.slots;
        let place = match (level, key) {
            (Level::Other, _) => return,
            (Level::Top, "jsonrpc") => &mut slots.jsonrpc,
            (Level::Top, "id") => &mut slots.id,
            (Level::Top, "method") => &mut slots.method,
            (Level::Top, "params") => &mut slots.params,
            (Level::Top, "result") => &mut slots.result,
            (Level::Top, "error") => &mut slots.error,
            (Level::Params, "name") => &mut slots.name,
            (Level::Params, "uri") => &mut slots.uri,
            (Level::Params, "progressToken") => &mut slots.progress_of,
            (Level::Params, "requestId") => &mut slots.cancelled_id,
            (Level::Meta, "progressToken") => &mut slots.progress_token,
            (Level::Meta, "io.modelcontextprotocol/protocolVersion") => &mut slots.protocol_version,
            (Level::Ref, "type") => &mut slots.ref_type,
            (Level::Ref, "name") => &mut slots.ref_name,
            (Level::Ref, "uri") => &mut slots.ref_uri,
            _ => return,
        };
        *place = Some(slot);
    }
}

/// Refuses equal keys. May reorder them. Sorting, not hashing, keeps the worst case a small
/// factor of the bytes whoever chose the keys.
fn refuse_duplicates(keys: &mut [Cow<'_, str>]) -> Result<(), McpError> {
    let found = if keys.len() <= PAIRWISE_KEYS {
        let mut rest = &*keys;
        loop {
            let Some((first, others)) = rest.split_first() else {
                break None;
            };
            if others.contains(first) {
                break Some(first);
            }
            rest = others;
        }
    } else {
        keys.sort_unstable();
        keys.windows(2).find_map(|pair| match pair {
            [a, b] if a == b => Some(a),
            _ => None,
        })
    };
    found.map_or(Ok(()), |key| Err(duplicate(key)))
}

/// The refusal of `key`, cut so that the message stays one short printable line.
pub(super) fn duplicate(key: &str) -> McpError {
    const SHOWN: usize = 32;
    let key = key
        .chars()
        .filter(|c| !c.is_control())
        .take(SHOWN)
        .collect();
    McpError::DuplicateKey { key }
}
