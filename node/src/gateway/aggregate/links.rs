//! URIs of resources in what one server answers, qualified with that server, so that a client of all
//! servers can follow them as it follows those of lists.
//!
//! Links to the web stay: MCP has servers use `https` only for what a client fetches from there itself.
//! Found are the places that the protocol gives a meaning, and nothing else: `structuredContent`, text
//! and metadata stay. Bytes outside a URI that is replaced stay too. What is not as the protocol has it
//! stays as it is: judging answers is not the gateway's to do.

use bytes::Bytes;
use protocol::limits::MAX_MESSAGE_BYTES;
use protocol::mcp::quote;
use serde_json::value::RawValue;

/// Where the answers to a method have URIs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Links {
    /// `resources/read`: the `uri` of each of `contents`.
    Contents,
    /// `tools/call`: each of `content` that is a `resource_link` or a `resource`.
    Content,
    /// `prompts/get`: the same of what each of `messages` contains.
    Messages,
}

/// The members of a result, of an item of a list in it, or of what that embeds, in one: each is read
/// where it has a meaning only.
#[derive(serde::Deserialize)]
struct Members<'a> {
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    contents: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
    #[serde(borrow)]
    resource: Option<&'a RawValue>,
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    uri: Option<&'a RawValue>,
}

impl Links {
    /// Where answers to `method` have any.
    pub(super) fn of_method(method: &str) -> Option<Self> {
        match method {
            "resources/read" => Some(Self::Contents),
            "tools/call" => Some(Self::Content),
            "prompts/get" => Some(Self::Messages),
            _ => None,
        }
    }

    /// The answer with what `rename` makes of each URI; `None` if it has none, or would become longer
    /// than a message may be.
    pub(super) fn renamed(self, bytes: &[u8], rename: impl Fn(&str) -> String) -> Option<Bytes> {
        let text = core::str::from_utf8(bytes).ok()?;
        let result = members(text)?.result?.get();
        let result = members(result)?;
        let mut found = Vec::new();
        match self {
            Self::Contents => {
                for item in items(result.contents) {
                    found.extend(members(item.get()).and_then(|item| item.uri));
                }
            }
            Self::Content => {
                for item in items(result.content) {
                    found.extend(linked(item));
                }
            }
            Self::Messages => {
                for message in items(result.messages) {
                    let content = members(message.get()).and_then(|message| message.content);
                    let several = items(content);
                    match content {
                        Some(one) if several.is_empty() => found.extend(linked(one)),
                        _ => found.extend(several.into_iter().filter_map(linked)),
                    }
                }
            }
        }
        replaced(text, &found, rename)
    }
}

/// The members of an object; `None` of anything else.
fn members(raw: &str) -> Option<Members<'_>> {
    // A list would be read as an object whose members come in this order.
    let is_object = raw.trim_start().starts_with('{');
    is_object.then(|| serde_json::from_str(raw).ok())?
}

fn items(list: Option<&RawValue>) -> Vec<&RawValue> {
    let items = list.and_then(|list| serde_json::from_str(list.get()).ok());
    items.unwrap_or_default()
}

/// The URI of one block of content that is read through the server.
fn linked(block: &RawValue) -> Option<&RawValue> {
    let block = members(block.get())?;
    match &*string(block.kind?)? {
        "resource_link" => block.uri.filter(|uri| !is_of_the_web(uri)),
        "resource" => members(block.resource?.get())?.uri,
        _ => None,
    }
}

fn is_of_the_web(uri: &RawValue) -> bool {
    let uri = string(uri).unwrap_or_default();
    let scheme = uri.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| {
        ["http", "https"]
            .iter()
            .any(|s| scheme.eq_ignore_ascii_case(s))
    })
}

fn string(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

/// `text` with other strings in place of those `found` in it, in their order.
fn replaced(text: &str, found: &[&RawValue], rename: impl Fn(&str) -> String) -> Option<Bytes> {
    let (mut made, mut copied) = (String::new(), 0);
    for raw in found {
        let Some(uri) = string(raw) else {
            continue;
        };
        let raw = raw.get();
        let start = (raw.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
        made.push_str(text.get(copied..start)?);
        made.push_str(&quote(&rename(&uri)));
        copied = start.checked_add(raw.len())?;
        if made.len() > MAX_MESSAGE_BYTES {
            return None;
        }
    }
    made.push_str(text.get(copied..)?);
    (copied > 0 && made.len() <= MAX_MESSAGE_BYTES).then(|| Bytes::from(made))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renamed(method: &str, answer: &str) -> Option<String> {
        let links = Links::of_method(method).unwrap();
        let renamed = links.renamed(answer.as_bytes(), |uri| format!("q:{uri}"));
        renamed.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
    }

    /// Every `"u…"` that is to be found, with all else as it was.
    fn found(method: &str, answer: &str) {
        let expected = answer.replace("\"u\\u003a", "\"q:u:");
        assert_ne!(answer, expected);
        assert_eq!(renamed(method, answer).unwrap(), expected);
    }

    #[test]
    fn what_is_read_says_whose_it_is() {
        found(
            "resources/read",
            "{ \"id\":1.0,\"result\" :{\"contents\":[ {\"uri\" : \"u\\u003a1\",\"n\":1.0e0,\
             \"text\":\"{\\\"uri\\\":\\\"x\\\"}\"},{\"blob\":\"\"},7,{\"ur\\u0069\":\"u\\u003a2\"}],\
             \"uri\":\"no\",\"_meta\":{\"uri\":\"no\"}} , \"jsonrpc\":\"2.0\"}",
        );
    }

    #[test]
    fn links_and_embedded_resources_of_tools_can_be_followed() {
        found(
            "tools/call",
            r#"{"result":{"structuredContent":{"content":[{"type":"resource_link","uri":"no"}]},
              "content":[{"type":"text","text":"t","uri":"no"},
                {"uri":"u\u003a1","type":"resource_link","name":"a"},
                {"type":"resource","uri":"no","resource":{"uri":"u\u003a2","text":"x"}},
                ["type","uri"],{"type":"resource","resource":[]},{"type":"resource"},
                {"type":"resource_link","uri":7},
                {"type":"resource_link","uri":"u\u003a3"}]}}"#,
        );
    }

    #[test]
    fn links_to_the_web_stay() {
        let of = |kind: &str, uri: &str| match kind {
            "resource" => format!(r#"{{"type":"resource","resource":{{"uri":"{uri}"}}}}"#),
            _ => format!(r#"{{"type":"{kind}","uri":"{uri}"}}"#),
        };
        let answer = |block: String| format!(r#"{{"result":{{"content":[{block}]}}}}"#);
        for uri in ["https://a/b", "HTTP://a", "\\u0068ttps://a"] {
            assert_eq!(
                renamed("tools/call", &answer(of("resource_link", uri))),
                None
            );
            let embedded = renamed("tools/call", &answer(of("resource", uri)));
            assert!(embedded.unwrap().contains("\"q:"), "{uri}");
        }
        for uri in ["https:a", "httpsx://a", "file:///https://a"] {
            assert!(
                renamed("tools/call", &answer(of("resource_link", uri))).is_some(),
                "{uri}"
            );
        }
    }

    #[test]
    fn messages_of_prompts_have_one_block_or_several() {
        found(
            "prompts/get",
            r#"{"result":{"messages":[
                {"role":"user","content":{"type":"resource","resource":{"uri":"u\u003a1"}}},
                {"role":"user","content":{"type":"text","text":"u"}},
                {"role":"user","content":[{"type":"resource_link","uri":"u\u003a2"}]},
                {"role":"user","content":[]},{"role":"user"}]}}"#,
        );
    }

    #[test]
    fn answers_without_any_stay() {
        for answer in [
            r#"{"error":{"code":1,"message":"m","data":{"contents":[{"uri":"u"}]}}}"#,
            r#"{"result":{}}"#,
            r#"{"result":[[{"uri":"u"}]]}"#,
            r#"{"result":{"contents":{"uri":"u"},"content":"u","messages":null}}"#,
            r#"{"result":{"contents":[{"uri":null}]}}"#,
            "[]",
        ] {
            for method in ["resources/read", "tools/call", "prompts/get"] {
                assert_eq!(renamed(method, answer), None, "{method} {answer}");
            }
        }
        assert_eq!(Links::of_method("resources/list"), None);
    }

    #[test]
    fn one_that_would_become_too_long_stays() {
        let items = [r#"{"uri":""}"#; 3].join(",");
        let answer = format!(r#"{{"result":{{"contents":[{items}]}}}}"#);
        let long = "x".repeat(MAX_MESSAGE_BYTES / 3);
        let renamed = Links::Contents.renamed(answer.as_bytes(), |_| long.clone());
        assert_eq!(renamed, None);
    }
}
