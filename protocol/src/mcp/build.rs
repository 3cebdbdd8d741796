//! Messages of our own: requests and notifications towards servers, and the error a caller gets.
//!
//! Every part is checked before it is joined, so that no part can add a member to the message.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::error::McpError;
use super::lexer::{Kind, push_quoted};
use super::splice::one_scalar;
use super::view::{View, check_id, check_method, check_value};

/// `text` as a JSON string with its quotes, printable in one line.
#[must_use]
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    push_quoted(&mut out, text);
    out
}

/// A request. `id_raw` is a JSON string or integer, `params_raw` a JSON object.
///
/// # Errors
/// An id, method or params that [`View::parse`] would refuse.
pub fn request(id_raw: &str, method: &str, params_raw: Option<&str>) -> Result<Vec<u8>, McpError> {
    checked_id(id_raw)?;
    with_method(Some(id_raw), method, params_raw)
}

/// A notification. `params_raw` is a JSON object.
///
/// # Errors
/// A method or params that [`View::parse`] would refuse.
pub fn notification(method: &str, params_raw: Option<&str>) -> Result<Vec<u8>, McpError> {
    with_method(None, method, params_raw)
}

/// The response to the request with `id_raw`, a JSON string or integer. `result_raw` is any JSON.
///
/// # Errors
/// An id or result that [`View::parse`] would refuse.
pub fn response(id_raw: &str, result_raw: &str) -> Result<Vec<u8>, McpError> {
    checked_id(id_raw)?;
    check_value(result_raw, 1)?;
    let mut out = head(Some(id_raw));
    out.push_str(",\"result\":");
    out.push_str(result_raw);
    finish(out)
}

/// An error response; always a message that [`View::parse`] takes. An absent or unusable `id_raw`
/// leaves the id out (MCP has no null ids), unusable `data_raw` leaves the data out: an error about
/// a bad message must not fail in its turn.
#[must_use]
pub fn error_response(
    id_raw: Option<&str>,
    code: i64,
    message: &str,
    data_raw: Option<&str>,
) -> Vec<u8> {
    let mut out = head(id_raw.filter(|id| checked_id(id).is_ok()));
    // Writing to a string cannot fail.
    let _ = write!(out, ",\"error\":{{\"code\":{code},\"message\":");
    push_quoted(&mut out, message);
    if let Some(data) = data_raw.filter(|raw| check_value(raw, 2).is_ok()) {
        out.push_str(",\"data\":");
        out.push_str(data);
    }
    out.push_str("}}");
    out.into_bytes()
}

/// The message as one line for stdio. Strict JSON has line ends only between tokens, where a space
/// says the same.
#[must_use]
pub fn one_line<'a>(view: &View<'a>) -> Cow<'a, [u8]> {
    let text = view.text().trim_matches([' ', '\t', '\r', '\n']);
    if text.contains(['\r', '\n']) {
        Cow::Owned(text.replace(['\r', '\n'], " ").into_bytes())
    } else {
        Cow::Borrowed(text.as_bytes())
    }
}

fn with_method(
    id_raw: Option<&str>,
    method: &str,
    params_raw: Option<&str>,
) -> Result<Vec<u8>, McpError> {
    let quoted = quote(method);
    let slot = one_scalar(&quoted).ok_or(McpError::MethodNotString)?;
    check_method(slot, &quoted)?;
    let mut out = head(id_raw);
    out.push_str(",\"method\":");
    out.push_str(&quoted);
    if let Some(params) = params_raw {
        if check_value(params, 1)? != Kind::Object {
            return Err(McpError::ParamsNotObject);
        }
        out.push_str(",\"params\":");
        out.push_str(params);
    }
    finish(out)
}

fn head(id_raw: Option<&str>) -> String {
    let mut out = String::from("{\"jsonrpc\":\"2.0\"");
    if let Some(id) = id_raw {
        out.push_str(",\"id\":");
        out.push_str(id);
    }
    out
}

/// Closes the message and reads it back: what is built here is what others accept.
fn finish(mut out: String) -> Result<Vec<u8>, McpError> {
    out.push('}');
    View::parse(out.as_bytes())?;
    Ok(out.into_bytes())
}

pub(super) fn checked_id(raw: &str) -> Result<(), McpError> {
    let slot = one_scalar(raw).ok_or(McpError::IdKind { field: "id" })?;
    check_id(slot, "id")
}
