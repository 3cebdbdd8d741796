//! What a message sets out to do, in words derived from the message alone.
//!
//! The derivation is deliberately plain: method, the words of a tool's name, and the annotations of
//! its definition. A server writes its own annotations, so they only ever add intents. A name that
//! says nothing yields [`word::UNCLASSIFIED`], which policy should treat as the strictest. Argument
//! values are not read here.
//!
//! Everything it takes stands in a signed header or in what the server's node announces of its
//! tools ([`Hints`]), so every hop can derive the same again.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::error::McpError;
use super::lexer::{Kind, Lexer};
use super::view::{Target, TargetKind, check_value};
use crate::limits;

/// The version of the rules in this module: what is derived from methods, names and URIs, and what
/// annotations add. Whoever changes what is derived of any message raises it; a test notices.
///
/// A signed header says by which rules its intents were derived, and so do decision records. Only
/// what was derived by the same rules must agree.
pub const INTENT_RULES: u32 = 1;

/// The intents this derivation knows. Beside them, a tool's own name stands as an intent in
/// snake_case (`updatePrice` as `update_price`), so that a policy can restrict it by name.
pub mod word {
    /// Session and list traffic of the protocol itself: initialize, ping, lists, notifications.
    pub const PROTOCOL: &str = "protocol";
    /// Looks at data.
    pub const READ: &str = "read";
    /// Changes data.
    pub const WRITE: &str = "write";
    /// Removes data.
    pub const DELETE: &str = "delete";
    /// Its server calls it destructive: it may overwrite or remove.
    pub const DESTRUCTIVE: &str = "destructive";
    /// Sends data to, or fetches it from, somewhere beyond the server.
    pub const EGRESS: &str = "egress";
    /// Runs code or commands.
    pub const EXECUTE: &str = "execute";
    /// Asks the client's model for a completion.
    pub const SAMPLE: &str = "sample";
    /// Asks the client's user for input.
    pub const ELICIT: &str = "elicit";
    /// Nothing could be derived.
    pub const UNCLASSIFIED: &str = "unclassified";

    /// All of them.
    pub const ALL: &[&str] = &[
        PROTOCOL,
        READ,
        WRITE,
        DELETE,
        DESTRUCTIVE,
        EGRESS,
        EXECUTE,
        SAMPLE,
        ELICIT,
        UNCLASSIFIED,
    ];
}

const READ_WORDS: &[&str] = &[
    "browse", "check", "count", "describe", "diff", "fetch", "find", "get", "inspect", "list",
    "log", "lookup", "query", "read", "search", "show", "stat", "status", "tree", "view",
];
const WRITE_WORDS: &[&str] = &[
    "add", "append", "apply", "approve", "assign", "book", "checkout", "commit", "copy", "create",
    "disable", "edit", "enable", "grant", "import", "init", "insert", "install", "make", "merge",
    "modify", "move", "order", "patch", "pay", "put", "rebase", "register", "rename", "replace",
    "save", "schedule", "set", "store", "transfer", "update", "upload", "upsert", "write",
];
const DELETE_WORDS: &[&str] = &[
    "cancel",
    "clean",
    "clear",
    "delete",
    "destroy",
    "drop",
    "erase",
    "kill",
    "prune",
    "purge",
    "remove",
    "reset",
    "revoke",
    "rm",
    "terminate",
    "truncate",
    "uninstall",
    "unlink",
    "wipe",
];
const EGRESS_WORDS: &[&str] = &[
    "browse", "crawl", "download", "email", "export", "fetch", "forward", "http", "https", "mail",
    "message", "navigate", "notify", "post", "publish", "push", "scrape", "send", "share", "sms",
    "tweet", "upload", "url", "web", "webhook",
];
const EXECUTE_WORDS: &[&str] = &[
    "bash",
    "cmd",
    "command",
    "eval",
    "evaluate",
    "exec",
    "execute",
    "invoke",
    "powershell",
    "python",
    "run",
    "script",
    "shell",
    "spawn",
    "sql",
    "sudo",
    "terminal",
];

/// The hints of a tool definition, as its server states them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Annotations {
    /// `readOnlyHint`.
    pub read_only: Option<bool>,
    /// `destructiveHint`.
    pub destructive: Option<bool>,
    /// `openWorldHint`.
    pub open_world: Option<bool>,
}

impl Annotations {
    /// The hints in the JSON text of a tool definition; those absent or no booleans are `None`.
    ///
    /// # Errors
    /// Text that is not strict JSON, as [`super::View::parse`] refuses it.
    pub fn of_tool(raw_tool: &str) -> Result<Self, McpError> {
        let mut found = Self::default();
        if check_value(raw_tool, 0)? != Kind::Object {
            return Ok(found);
        }
        let mut annotations = None;
        Lexer::new(raw_tool).members(|key, slot| {
            if key == "annotations" && slot.kind == Kind::Object {
                annotations = Some(slot);
            }
        })?;
        let Some(slot) = annotations else {
            return Ok(found);
        };
        Lexer::at(raw_tool, slot.start).members(|key, slot| {
            let value = (slot.kind == Kind::Boolean).then(|| slot.of(raw_tool) == "true");
            match &*key {
                "readOnlyHint" => found.read_only = value,
                "destructiveHint" => found.destructive = value,
                "openWorldHint" => found.open_world = value,
                _ => {}
            }
        })?;
        Ok(found)
    }
}

/// What the annotations of a tool's definition add to the intents of its calls, one bit each: what
/// a node announces with the definition's digest. Announced, it is never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, minicbor::Encode, minicbor::Decode)]
#[cbor(transparent)]
pub struct Hints(#[n(0)] u8);

impl Hints {
    /// The definition adds nothing.
    pub const NONE: Self = Self(0);

    const WRITES: u8 = 1;
    const DESTROYS: u8 = 2;
    const REACHES_OUT: u8 = 4;

    /// Every bit that has a meaning.
    pub const ALL: Self = Self(Self::WRITES | Self::DESTROYS | Self::REACHES_OUT);

    /// Of these annotations. Reassuring ones say nothing.
    #[must_use]
    pub fn of(annotations: Annotations) -> Self {
        let bits = [
            (annotations.read_only == Some(false), Self::WRITES),
            (annotations.destructive == Some(true), Self::DESTROYS),
            (annotations.open_world == Some(true), Self::REACHES_OUT),
        ];
        let set = bits.iter().filter(|(set, _)| *set);
        Self(set.fold(0, |all, (_, bit)| all | bit))
    }

    /// Of the tool defined by this JSON text; all of them if it cannot be read.
    #[must_use]
    pub fn of_tool(raw_tool: &str) -> Self {
        Annotations::of_tool(raw_tool).map_or(Self::ALL, Self::of)
    }

    /// Whether it is something a node may announce: a bit that has a meaning, and no other.
    #[must_use]
    pub const fn is_announced(self) -> bool {
        self.0 != 0 && self.0 & !Self::ALL.0 == 0
    }

    /// Whatever either adds.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The intents it adds to calls of the tool `name`, beside what that says.
    #[must_use]
    pub fn added_to(self, name: &str) -> Vec<String> {
        let derived = |hints| Derivation.derive("tools/call", Some(name), hints);
        let named = derived(Self::NONE);
        let mut added = derived(self);
        added.retain(|intent| !named.contains(intent));
        added
    }

    fn annotations(self) -> Annotations {
        let set = |bit: u8| self.0 & bit != 0;
        Annotations {
            read_only: set(Self::WRITES).then_some(false),
            destructive: set(Self::DESTROYS).then_some(true),
            open_world: set(Self::REACHES_OUT).then_some(true),
        }
    }
}

/// How the intents of messages are derived. There is one way, [`Derivation`]; another stands in
/// for it where a test wants to see that nothing else does.
pub trait DeriveIntents: Send + Sync {
    /// The intents of a request or notification of `method` that acts on `name`, a tool of which
    /// adds `hints`: as [`derive_intents`] gives them.
    fn derive(&self, method: &str, name: Option<&str>, hints: Hints) -> Vec<String>;

    /// The version of the rules it goes by.
    fn version(&self) -> u32 {
        INTENT_RULES
    }
}

/// The derivation of this module.
#[derive(Debug, Clone, Copy, Default)]
pub struct Derivation;

impl DeriveIntents for Derivation {
    fn derive(&self, method: &str, name: Option<&str>, hints: Hints) -> Vec<String> {
        let target = name.and_then(|name| {
            let what = TargetKind::of_method(method, name)?;
            let name = Cow::Borrowed(name);
            Some(Target { what, name })
        });
        derive_intents(method, target.as_ref(), Some(&hints.annotations()))
    }
}

/// The intents of a message: sorted, each once, at most [`limits::MAX_INTENTS`] of at most
/// [`limits::MAX_WORD_BYTES`]. A response has none of its own; it is judged by its request's.
#[must_use]
pub fn derive_intents(
    method: &str,
    target: Option<&Target<'_>>,
    annotations: Option<&Annotations>,
) -> Vec<String> {
    let mut intents = match target {
        Some(Target {
            what: TargetKind::Tool,
            name,
        }) => of_tool_name(name),
        Some(Target {
            what: TargetKind::Resource,
            name,
        }) => of_uri(name),
        Some(_) => vec![word::READ.to_owned()],
        None => vec![of_method(method).to_owned()],
    };
    if let Some(hints) = annotations {
        let raised = [
            (hints.read_only == Some(false), word::WRITE),
            (hints.destructive == Some(true), word::DESTRUCTIVE),
            (hints.open_world == Some(true), word::EGRESS),
        ];
        intents.extend(
            raised
                .iter()
                .filter(|(set, _)| *set)
                .map(|(_, w)| (*w).to_owned()),
        );
    }
    intents.sort_unstable();
    intents.dedup();
    intents.truncate(limits::MAX_INTENTS);
    intents
}

fn of_method(method: &str) -> &'static str {
    match method {
        "initialize"
        | "ping"
        | "server/discover"
        | "logging/setLevel"
        | "roots/list"
        | "tools/list"
        | "prompts/list"
        | "resources/list"
        | "resources/templates/list"
        | "subscriptions/listen" => word::PROTOCOL,
        "tasks/get" | "tasks/list" | "tasks/result" => word::READ,
        "tasks/cancel" | "tasks/update" => word::WRITE,
        "sampling/createMessage" => word::SAMPLE,
        "elicitation/create" => word::ELICIT,
        _ if method.starts_with("notifications/") => word::PROTOCOL,
        _ => word::UNCLASSIFIED,
    }
}

/// Reading a web address makes the server fetch it.
fn of_uri(uri: &str) -> Vec<String> {
    let scheme = uri
        .split(':')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let web = matches!(&*scheme, "http" | "https" | "ws" | "wss" | "ftp");
    let mut intents = vec![word::READ.to_owned()];
    if web {
        intents.push(word::EGRESS.to_owned());
    }
    intents
}

fn of_tool_name(name: &str) -> Vec<String> {
    let words = words_of(name);
    // A long name repeats its words; each is looked up once.
    let distinct: BTreeSet<&str> = words.iter().map(String::as_str).collect();
    let says = |list: &[&str]| {
        distinct.iter().any(|word| {
            let stem = word.strip_suffix('s').unwrap_or(word);
            list.binary_search(word).is_ok() || list.binary_search(&stem).is_ok()
        })
    };
    let mut intents: Vec<String> = [
        (READ_WORDS, word::READ),
        (WRITE_WORDS, word::WRITE),
        (DELETE_WORDS, word::DELETE),
        (EGRESS_WORDS, word::EGRESS),
        (EXECUTE_WORDS, word::EXECUTE),
    ]
    .into_iter()
    .filter(|(list, _)| says(list))
    .map(|(_, intent)| intent.to_owned())
    .collect();
    if intents.is_empty() {
        intents.push(word::UNCLASSIFIED.to_owned());
    }
    intents.extend(own_word(name, &words));
    intents
}

/// A tool's own name as it stands among its intents, if it does.
#[must_use]
pub fn own_intent(tool: &str) -> Option<String> {
    own_word(tool, &words_of(tool))
}

fn own_word(name: &str, words: &[String]) -> Option<String> {
    let own = words.join("_");
    // A tool must not borrow a word that says it is something other than a tool.
    let borrowed = [word::PROTOCOL, word::SAMPLE, word::ELICIT].contains(&&*own);
    let fits = !own.is_empty() && own.len() <= limits::MAX_WORD_BYTES && name.is_ascii();
    (fits && !borrowed).then_some(own)
}

/// The words of a name, lowercase: split at everything but letters and digits, and where a
/// capital begins a word (`HTTPGet`, `deleteRecord`).
fn words_of(name: &str) -> Vec<String> {
    let chars: Vec<char> = name.chars().collect();
    let mut words = vec![String::new()];
    for (i, &c) in chars.iter().enumerate() {
        let before = i.checked_sub(1).and_then(|i| chars.get(i));
        let after = chars.get(i + 1);
        let lower = |c: Option<&char>| c.is_some_and(|c| c.is_lowercase() || c.is_ascii_digit());
        let upper = |c: Option<&char>| c.is_some_and(|c| c.is_uppercase());
        let begins = c.is_uppercase()
            && (lower(before) || (upper(before) && after.is_some_and(|c| c.is_lowercase())));
        if begins || !c.is_alphanumeric() {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| c.is_alphanumeric()) {
            word.extend(c.to_lowercase());
        }
    }
    words.retain(|w| !w.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, hints: Option<Annotations>) -> Vec<String> {
        let target = Target {
            what: TargetKind::Tool,
            name: name.into(),
        };
        derive_intents("tools/call", Some(&target), hints.as_ref())
    }

    /// Everything that is derived, in one number: FNV-1a over the words of the lists and what is
    /// derived of each, and of methods, URIs and annotations.
    fn fingerprint() -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut take = |text: &str| {
            for byte in text.bytes().chain([0]) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        };
        let lists = [
            READ_WORDS,
            WRITE_WORDS,
            DELETE_WORDS,
            EGRESS_WORDS,
            EXECUTE_WORDS,
        ];
        let odd = [
            "frobnicate",
            "HTTPGetAll",
            "get-things",
            "sample",
            "\u{e4}ndern",
        ];
        for name in lists.into_iter().flatten().copied().chain(odd) {
            take(name);
            of(name, None).iter().for_each(|word| take(word));
            of(&format!("{name}s_now"), None)
                .iter()
                .for_each(|word| take(word));
        }
        for bits in 0..8_u8 {
            let bit = |n: u8| Some(bits >> n & 1 == 1);
            let hints = Annotations {
                read_only: bit(0),
                destructive: bit(1),
                open_world: bit(2),
            };
            of("get_it", Some(hints)).iter().for_each(|word| take(word));
        }
        let methods = [
            "initialize",
            "ping",
            "server/discover",
            "logging/setLevel",
            "roots/list",
            "tools/list",
            "prompts/list",
            "resources/list",
            "resources/templates/list",
            "subscriptions/listen",
            "tasks/get",
            "tasks/list",
            "tasks/result",
            "tasks/cancel",
            "tasks/update",
            "sampling/createMessage",
            "elicitation/create",
            "notifications/x",
            "other",
        ];
        let named = [
            "resources/read",
            "resources/subscribe",
            "resources/unsubscribe",
            "prompts/get",
            "completion/complete",
            "tools/call",
        ];
        let names = [
            "file:///x",
            "https://x",
            "HTTP://x",
            "ws://x",
            "wss://x",
            "ftp://x",
            "x",
        ];
        let without = methods.into_iter().map(|method| (method, None));
        let with = named
            .into_iter()
            .flat_map(|m| names.into_iter().map(move |n| (m, Some(n))));
        for (method, name) in without.chain(with) {
            let derived = Derivation.derive(method, name, Hints::NONE);
            derived.iter().for_each(|word| take(word));
        }
        hash
    }

    /// Nodes that derive differently must say so: other rules are another version.
    #[test]
    fn other_rules_are_another_version() {
        assert_eq!(
            (INTENT_RULES, fingerprint()),
            (1, 1_788_072_696_792_426_779),
            "the rules for intents have changed: raise INTENT_RULES, and then this"
        );
    }

    #[test]
    fn word_lists_are_sorted_for_the_binary_search() {
        for list in [
            READ_WORDS,
            WRITE_WORDS,
            DELETE_WORDS,
            EGRESS_WORDS,
            EXECUTE_WORDS,
        ] {
            assert!(list.is_sorted(), "{list:?}");
        }
    }

    #[test]
    fn names_say_what_they_do_however_they_are_written() {
        assert_eq!(of("get_product_info", None), ["get_product_info", "read"]);
        for name in [
            "delete_record",
            "deleteRecord",
            "delete-record",
            "Delete.Record",
        ] {
            assert_eq!(of(name, None), ["delete", "delete_record"], "{name}");
        }
        assert_eq!(of("HTTPGet", None), ["egress", "http_get", "read"]);
        assert_eq!(of("sendsEmail", None), ["egress", "sends_email"]);
        assert_eq!(of("runSQL", None), ["execute", "run_sql"]);
    }

    #[test]
    fn what_cannot_be_derived_says_so() {
        assert_eq!(of("frobnicate", None), ["frobnicate", "unclassified"]);
        // A Cyrillic letter: looks like `delete`, is not, and does not stand as that name.
        assert_eq!(of("d\u{435}lete", None), ["unclassified"]);
        assert_eq!(of("", None), ["unclassified"]);
        assert_eq!(of("protocol", None), ["unclassified"]);
        assert_eq!(of(&"x".repeat(65), None), ["unclassified"]);
        assert_eq!(derive_intents("vendor/thing", None, None), ["unclassified"]);
    }

    #[test]
    fn annotations_only_ever_add() {
        let soft = Annotations {
            read_only: Some(true),
            destructive: Some(false),
            open_world: Some(false),
        };
        let hard = Annotations {
            read_only: Some(false),
            destructive: Some(true),
            open_world: Some(true),
        };
        for name in ["get_env", "delete_record", "frobnicate"] {
            let plain = of(name, None);
            assert_eq!(of(name, Some(soft)), plain, "{name}");
            let raised = of(name, Some(hard));
            assert!(plain.iter().all(|w| raised.contains(w)), "{name}");
            for word in ["write", "destructive", "egress"] {
                assert!(raised.iter().any(|w| w == word), "{name} {word}");
            }
        }
    }

    #[test]
    fn what_is_announced_of_annotations_adds_what_they_add() {
        let some = [None, Some(false), Some(true)];
        for (read_only, destructive, open_world) in some
            .into_iter()
            .flat_map(|a| some.map(|b| (a, b)))
            .flat_map(|(a, b)| some.map(|c| (a, b, c)))
        {
            let annotations = Annotations {
                read_only,
                destructive,
                open_world,
            };
            let hints = Hints::of(annotations);
            let derived = Derivation.derive("tools/call", Some("get_env"), hints);
            assert_eq!(derived, of("get_env", Some(annotations)), "{annotations:?}");
            assert_eq!(hints.is_announced(), hints != Hints::NONE);
        }
        // A definition that cannot be read is the worst it could be.
        assert_eq!(Hints::of_tool("{"), Hints::ALL);
        assert!(!Hints(8).is_announced());
    }

    #[test]
    fn a_header_gives_the_intents_that_its_message_gives() {
        for body in [
            r#"{"method":"tools/call","params":{"name":"update_price"}"#,
            r#"{"method":"prompts/get","params":{"name":"delete_all"}"#,
            r#"{"method":"resources/read","params":{"uri":"https://a/b"}"#,
            r#"{"method":"resources/subscribe","params":{"uri":"file:///a"}"#,
            r#"{"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"p"}}"#,
            r#"{"method":"completion/complete","params":{"ref":{"type":"ref/resource","uri":"a://{b}"}}"#,
            r#"{"method":"sampling/createMessage","params":{}"#,
            r#"{"method":"tools/list""#,
            r#"{"method":"vendor/thing","params":{"name":"x"}"#,
        ] {
            let body = format!(r#"{body},"jsonrpc":"2.0","id":1}}"#);
            let view = crate::mcp::View::parse(body.as_bytes()).unwrap();
            let (method, target) = (view.method().unwrap(), view.target());
            let name = target.map(|t| &*t.name);
            let derived = Derivation.derive(method, name, Hints::NONE);
            assert_eq!(derived, derive_intents(method, target, None), "{body}");
        }
    }

    #[test]
    fn annotations_are_read_from_the_definition() {
        let raw = r#"{"name":"a","annotations":{"readOnlyHint":true,"destructiveHint":"yes"}}"#;
        let hints = Annotations::of_tool(raw).unwrap();
        assert_eq!(
            hints,
            Annotations {
                read_only: Some(true),
                ..Annotations::default()
            }
        );
        assert_eq!(Annotations::of_tool("[]"), Ok(Annotations::default()));
        assert!(Annotations::of_tool("{\"a\":1,\"a\":2}").is_err());
        assert!(Annotations::of_tool("{").is_err());
    }

    #[test]
    fn other_methods_have_their_words() {
        for (method, intent) in [
            ("tools/list", "protocol"),
            ("notifications/initialized", "protocol"),
            ("sampling/createMessage", "sample"),
            ("elicitation/create", "elicit"),
        ] {
            assert_eq!(derive_intents(method, None, None), [intent]);
        }
        let web = Target {
            what: TargetKind::Resource,
            name: "HTTPS://a/b".into(),
        };
        assert_eq!(
            derive_intents("resources/read", Some(&web), None),
            ["egress", "read"]
        );
    }
}
