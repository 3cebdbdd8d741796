//! The little the gateway reads of a JSON-RPC message to route it. The bytes themselves are
//! never re-encoded; everything outside a spliced token stays byte for byte.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::gateway::refusal::Refusal;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It has a method and an id.
    Request,
    /// It has a method and no id.
    Notification,
    /// It has a result or an error, and an id.
    Response,
}

/// The routing view of one message; `…_at` are byte ranges of raw JSON tokens in it.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) kind: Kind,
    /// Raw JSON text of the id; empty in notifications.
    pub(crate) id: Box<str>,
    pub(crate) id_at: Range<usize>,
    /// The method; empty in responses.
    pub(crate) method: Box<str>,
    /// Raw JSON of `params.requestId` (cancellations).
    pub(crate) request_id: Option<(Box<str>, Range<usize>)>,
    /// Raw JSON of `params._meta.progressToken` (requests).
    pub(crate) progress_token: Option<(Box<str>, Range<usize>)>,
    /// Raw JSON of `params.progressToken` (progress notifications).
    pub(crate) progress_of: Option<(Box<str>, Range<usize>)>,
    /// What the message is about: `params.name`, `params.uri`, or `params.ref`'s own.
    pub(crate) target: Option<(String, Range<usize>)>,
    /// Range of `params`.
    pub(crate) params: Option<Range<usize>>,
    /// Range of `result`.
    pub(crate) result: Option<Range<usize>>,
}

#[derive(Deserialize)]
struct Outer<'a> {
    #[serde(borrow)]
    jsonrpc: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct Params<'a> {
    #[serde(borrow, default, rename = "requestId", deserialize_with = "present")]
    request_id: Option<&'a RawValue>,
    #[serde(
        borrow,
        default,
        rename = "progressToken",
        deserialize_with = "present"
    )]
    progress_of: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    name: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    uri: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "ref", deserialize_with = "present")]
    reference: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "_meta", deserialize_with = "present")]
    meta: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Reference<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    name: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    uri: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Meta<'a> {
    #[serde(
        borrow,
        default,
        rename = "progressToken",
        deserialize_with = "present"
    )]
    progress_token: Option<&'a RawValue>,
}

/// `Option<&RawValue>` alone reads `null` as absent.
fn present<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(d).map(Some)
}

/// Reads the routing view of one message.
///
/// # Errors
/// The refusal that names what is wrong with it.
pub(crate) fn read(bytes: &[u8]) -> Result<Head, Refusal> {
    let text = std::str::from_utf8(bytes).map_err(|_| Refusal::NotJson)?;
    if text.trim_start().starts_with('[') {
        return Err(Refusal::Batch);
    }
    let outer: Outer<'_> = serde_json::from_str(text).map_err(|e| {
        if e.classify() == serde_json::error::Category::Data {
            Refusal::NotJsonRpc
        } else {
            Refusal::NotJson
        }
    })?;
    if outer.jsonrpc.as_deref() != Some("2.0") {
        return Err(Refusal::NotJsonRpc);
    }
    let answer = outer.result.is_some() || outer.error.is_some();
    let kind = match (&outer.method, outer.id, answer) {
        (Some(_), Some(_), false) => Kind::Request,
        (Some(_), None, false) => Kind::Notification,
        (None, _, true) => Kind::Response,
        _ => return Err(Refusal::NotJsonRpc),
    };
    let id = outer.id.map_or("", RawValue::get);
    let id_is_usable =
        id.starts_with('"') || id.parse::<i64>().is_ok() || id.parse::<u64>().is_ok();
    // An error response to an unreadable message has a null id.
    if !id_is_usable && (kind == Kind::Request || (kind == Kind::Response && outer.error.is_none()))
    {
        return Err(Refusal::NotJsonRpc);
    }
    let params: Params<'_> = outer
        .params
        .filter(|p| p.get().starts_with('{'))
        .map(|p| serde_json::from_str(p.get()))
        .transpose()
        .map_err(|_| Refusal::NotJsonRpc)?
        .unwrap_or_default();
    let object = |raw: Option<&'_ RawValue>| raw.is_some_and(|r| r.get().starts_with('{'));
    let meta: Option<Meta<'_>> = params
        .meta
        .filter(|m| object(Some(m)))
        .map(|m| serde_json::from_str(m.get()))
        .transpose()
        .map_err(|_| Refusal::NotJsonRpc)?;
    let reference: Option<Reference<'_>> = params
        .reference
        .filter(|r| object(Some(r)))
        .map(|r| serde_json::from_str(r.get()))
        .transpose()
        .map_err(|_| Refusal::NotJsonRpc)?;
    let token = |raw: Option<&RawValue>| raw.map(|r| (Box::from(r.get()), place(text, r.get())));
    let target = params
        .name
        .or(params.uri)
        .or_else(|| reference.as_ref().and_then(|r| r.name.or(r.uri)))
        .and_then(|raw| {
            let name: String = serde_json::from_str(raw.get()).ok()?;
            Some((name, place(text, raw.get())))
        });
    Ok(Head {
        kind,
        id: Box::from(id),
        id_at: outer.id.map_or(0..0, |r| place(text, r.get())),
        method: outer.method.as_deref().map_or_else(Box::default, Box::from),
        request_id: token(params.request_id),
        progress_token: token(meta.and_then(|m| m.progress_token)),
        progress_of: token(params.progress_of),
        target,
        params: outer.params.map(|r| place(text, r.get())),
        result: outer.result.map(|r| place(text, r.get())),
    })
}

/// Where `part`, a slice of `whole`, stands in it.
pub(crate) fn place(whole: &str, part: &str) -> Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
    start..start.saturating_add(part.len())
}

/// `message` with the bytes of each range replaced; ranges must not overlap.
pub(crate) fn splice(message: &[u8], mut edits: Vec<(Range<usize>, &str)>) -> Bytes {
    edits.sort_by_key(|(range, _)| range.start);
    let grown: usize = edits.iter().map(|(_, text)| text.len()).sum();
    let mut out = Vec::with_capacity(message.len().saturating_add(grown));
    let mut at = 0;
    for (range, text) in edits {
        out.extend_from_slice(message.get(at..range.start).unwrap_or_default());
        out.extend_from_slice(text.as_bytes());
        at = range.end;
    }
    out.extend_from_slice(message.get(at..).unwrap_or_default());
    Bytes::from(out)
}

/// `text` as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
