//! Which lists a session's client was given, and how it is told that they may be others now.
//!
//! What a client is shown depends on the policies in force. When those change, the client of every
//! session that was given a list is told so, in the words of MCP: one notification for each kind of
//! list and change, if the session's other side declared that there may be such. Whether the client's
//! own list is another is not worked out: the server's node filters too, by what only it knows.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use protocol::mcp::{ListKind, notification};
use serde_json::{Value, json};

use crate::gateway::refusal;
use crate::session::SessionError;

/// The kinds a client can be told of, by the names that their methods and capabilities have.
const KINDS: [&str; 3] = ["tools", "prompts", "resources"];

const fn place(kind: ListKind) -> usize {
    match kind {
        ListKind::Tools => 0,
        ListKind::Prompts => 1,
        // One notification is for both.
        ListKind::Resources | ListKind::ResourceTemplates => 2,
    }
}

/// The lists of one session.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    /// Of which it was declared that they change.
    declared: [bool; KINDS.len()],
    given: [AtomicBool; KINDS.len()],
    /// Whether it was declared that there are log messages.
    logs: bool,
}

impl Lists {
    /// None was given yet; which may change says the answer to `initialize`.
    pub(crate) fn declared_by(answer: &[u8]) -> Self {
        let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
        let declared = KINDS.map(|kind| {
            let member = answer.pointer(&format!("/result/capabilities/{kind}/listChanged"));
            member.and_then(Value::as_bool).unwrap_or_default()
        });
        Self {
            logs: answer.pointer("/result/capabilities/logging").is_some(),
            declared,
            given: Default::default(),
        }
    }

    /// A failure as a log message, where the client was told that there may be such.
    pub(crate) fn log(&self, failure: &SessionError) -> Option<Bytes> {
        let data = json!({"message": failure.message, "why": refusal::details(failure)});
        let params = json!({"level": "error", "logger": "hedgerow", "data": data}).to_string();
        let message = notification("notifications/message", Some(&params)).ok();
        message.filter(|_| self.logs).map(Bytes::from)
    }

    /// Notes what the client asks for. Before the answer: a change meanwhile concerns that too.
    pub(crate) fn asked(&self, method: &str) {
        let given = ListKind::of_method(method).and_then(|kind| self.given.get(place(kind)));
        if let Some(given) = given {
            given.store(true, Ordering::Relaxed);
        }
    }

    /// What the client is told when lists may be others than they were.
    pub(crate) fn changed(&self) -> Vec<Bytes> {
        let of = KINDS.iter().zip(&self.declared).zip(&self.given);
        of.filter(|((_, declared), given)| **declared && given.load(Ordering::Relaxed))
            .filter_map(|((kind, _), _)| {
                let method = format!("notifications/{kind}/list_changed");
                notification(&method, None).map(Bytes::from).ok()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] = br#"{"jsonrpc":"2.0","id":0,"result":{"capabilities":
        {"tools":{"listChanged":true},"prompts":{},"resources":{"listChanged":true}}}}"#;

    fn told(lists: &Lists) -> Vec<String> {
        let method = |message: &Bytes| {
            let message: Value = serde_json::from_slice(message).unwrap();
            message["method"].as_str().unwrap().to_owned()
        };
        lists.changed().iter().map(method).collect()
    }

    #[test]
    fn a_client_is_told_of_what_it_was_given_and_may_change() {
        let lists = Lists::declared_by(ANSWER);
        assert_eq!(told(&lists), [""; 0]);
        for method in ["prompts/list", "tools/call", "resources/templates/list"] {
            lists.asked(method);
        }
        assert_eq!(told(&lists), ["notifications/resources/list_changed"]);
        lists.asked("tools/list");
        assert_eq!(
            told(&lists),
            [
                "notifications/tools/list_changed",
                "notifications/resources/list_changed"
            ]
        );
    }

    #[test]
    fn failures_are_logged_only_where_there_may_be_log_messages() {
        let why = SessionError::new(crate::session::ErrorKind::Deny, "severed", "cut off");
        assert_eq!(Lists::declared_by(ANSWER).log(&why), None);
        let answer = br#"{"result":{"capabilities":{"logging":{}}}}"#;
        let message = Lists::declared_by(answer).log(&why).unwrap();
        let message: Value = serde_json::from_slice(&message).unwrap();
        assert_eq!(message["method"], "notifications/message");
        assert_eq!(message["params"]["data"]["why"]["reason"], "severed");
    }

    #[test]
    fn what_is_no_answer_declares_nothing() {
        for answer in ["", "[]", r#"{"error":{}}"#] {
            let lists = Lists::declared_by(answer.as_bytes());
            lists.asked("tools/list");
            assert_eq!(told(&lists), [""; 0], "{answer}");
        }
    }
}
