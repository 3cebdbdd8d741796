//! What the gateway keeps of a JSON-RPC message to route it, owned, so that it can outlive a
//! wait. Reading and splicing are [`protocol::mcp`]'s; bytes outside a spliced token stay.

use bytes::Bytes;
use protocol::mcp::{McpError, MessageKind, TargetKind, View, quote};

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    Notification,
    /// With a result or an error.
    Response,
}

/// The routing view of one message. Ids and tokens are raw JSON in one spelling ([`spelled`]).
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) kind: Kind,
    /// Empty in notifications and in errors about unreadable messages.
    pub(crate) id: Box<str>,
    /// Empty in responses.
    pub(crate) method: Box<str>,
    /// The request a cancellation is about.
    pub(crate) request_id: Option<Box<str>>,
    /// The token with which progress on this request may be reported.
    pub(crate) progress_token: Option<Box<str>>,
    /// The token of a progress notification.
    pub(crate) progress_of: Option<Box<str>>,
    /// What a request acts on.
    pub(crate) target: Option<(TargetKind, String)>,
    pub(crate) is_error: bool,
}

/// Reads the routing view of one message.
///
/// # Errors
/// As [`View::parse`].
pub(crate) fn read(bytes: &[u8]) -> Result<Head, McpError> {
    View::parse(bytes).map(|view| head(&view))
}

/// The routing view of a message already parsed.
pub(crate) fn head(view: &View<'_>) -> Head {
    let kind = match view.kind() {
        MessageKind::Request => Kind::Request,
        MessageKind::Notification => Kind::Notification,
        MessageKind::Response | MessageKind::ErrorResponse => Kind::Response,
    };
    Head {
        kind,
        id: view.id().map(spelled).unwrap_or_default(),
        method: view.method().map(Box::from).unwrap_or_default(),
        request_id: view.cancelled_id().map(spelled),
        progress_token: view.progress_token().map(spelled),
        progress_of: view.progress_of().map(spelled),
        target: view.target().map(|t| (t.what, t.name.clone().into_owned())),
        is_error: view.kind() == MessageKind::ErrorResponse,
    }
}

/// One spelling for ids that are the same: a string may come back escaped in another way.
fn spelled(raw: &str) -> Box<str> {
    match serde_json::from_str::<String>(raw) {
        Ok(text) => quote(&text).into_boxed_str(),
        Err(_) => Box::from(raw),
    }
}

/// The URI of `notifications/resources/updated` replaced by what `rename` makes of it; `None`
/// when the message has none.
pub(crate) fn rename_updated(bytes: &[u8], rename: impl Fn(&str) -> String) -> Option<Bytes> {
    let (text, params) = params(bytes)?;
    let raw = params.uri?.get();
    let uri: String = serde_json::from_str(raw).ok()?;
    replaced(text, raw, &rename(&uri))
}

/// The version that `initialize` asks for; `None` when it names none, or none that is text.
pub(crate) fn asked_version(bytes: &[u8]) -> Option<String> {
    let (_, params) = params(bytes)?;
    serde_json::from_str(params.version?.get()).ok()
}

/// `initialize` asking for `version` in place of what it asks for; `None` when it names none.
pub(crate) fn ask_version(bytes: &[u8], version: &str) -> Option<Bytes> {
    let (text, params) = params(bytes)?;
    replaced(text, params.version?.get(), version)
}

/// The version in an answer to `initialize`.
pub(crate) fn answered_version(bytes: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Outer {
        result: Answer,
    }
    #[derive(serde::Deserialize)]
    struct Answer {
        #[serde(rename = "protocolVersion")]
        version: String,
    }
    let outer: Outer = serde_json::from_slice(bytes).ok()?;
    Some(outer.result.version)
}

/// The parameters that are replaced on the way, as they stand in the message.
#[derive(serde::Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    uri: Option<&'a serde_json::value::RawValue>,
    #[serde(borrow, rename = "protocolVersion")]
    version: Option<&'a serde_json::value::RawValue>,
}

fn params(bytes: &[u8]) -> Option<(&str, Params<'_>)> {
    #[derive(serde::Deserialize)]
    struct Outer<'a> {
        #[serde(borrow)]
        params: Params<'a>,
    }
    let text = std::str::from_utf8(bytes).ok()?;
    let outer: Outer<'_> = serde_json::from_str(text).ok()?;
    Some((text, outer.params))
}

/// `text` with the string `by` in place of `raw`, which is a slice of it.
fn replaced(text: &str, raw: &str, by: &str) -> Option<Bytes> {
    let start = (raw.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
    let (before, after) = (
        text.get(..start)?,
        text.get(start.checked_add(raw.len())?..)?,
    );
    Some(Bytes::from([before, &quote(by), after].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_uri_of_an_update_changes() {
        let message =
            "{\"jsonrpc\":\"2.0\",\"method\":\"m\", \"params\":{ \"x\":1.0,\"uri\" : \"a\\/b\" } }";
        let renamed = rename_updated(message.as_bytes(), |uri| format!("q/{uri}")).unwrap();
        assert_eq!(renamed, message.replace("a\\/b", "q/a/b"));
        assert_eq!(rename_updated(b"{}", str::to_owned), None);
    }

    #[test]
    fn only_the_version_of_initialize_changes() {
        let message = "{\"id\":1.0e0, \"params\":{ \"protocolVersion\" : \"2099\\u002d01-01\" }}";
        assert_eq!(asked_version(message.as_bytes()).unwrap(), "2099-01-01");
        let asked = ask_version(message.as_bytes(), "2025-11-25").unwrap();
        assert_eq!(asked, message.replace("2099\\u002d01-01", "2025-11-25"));
        for none in ["{}", r#"{"params":{}}"#, r#"{"params":[]}"#] {
            assert_eq!(asked_version(none.as_bytes()), None, "{none}");
            assert_eq!(ask_version(none.as_bytes(), "x"), None, "{none}");
        }
    }

    #[test]
    fn an_id_has_one_spelling() {
        assert_eq!(spelled("\"\\u0061\""), spelled("\"a\""));
        assert_ne!(spelled("\"1\""), spelled("1"));
    }
}
