//! The JSON reader of the data path, against serde_json as the other reader.

use std::collections::BTreeSet;

use protocol::mcp::{
    Annotations, Edit, ItemChange, ListKind, Target, TargetKind, View, canonical, derive_intents,
    error_response, list_items, merge_lists, notification, one_line, quote, rename_items, request,
    response, rewrite_items, same_id,
};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// What serde_json reads, unless it refuses for a number beyond f64 or its depth of 127.
fn other_reader(text: &str) -> Option<Value> {
    // RawValue skips without such limits: everything accepted here must pass it.
    let raw: Result<&RawValue, _> = serde_json::from_str(text);
    assert!(raw.is_ok(), "accepted here, refused by serde_json");
    serde_json::from_str::<Unique>(text).ok()?;
    serde_json::from_str(text).ok()
}

/// Any JSON; panics at a key that stands twice in one object.
struct Unique;

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = Self;

    fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self, A::Error> {
        let mut seen = BTreeSet::new();
        while let Some((key, _)) = members.next_entry::<String, Self>()? {
            assert!(seen.insert(key), "accepted with a duplicate key");
        }
        Ok(self)
    }
}

fn value(raw: &str) -> Value {
    serde_json::from_str(raw).expect("a raw token is JSON")
}

pub fn view(data: &[u8]) {
    let Ok(view) = View::parse(data) else { return };
    let Some(read) = other_reader(view.text()) else {
        return;
    };
    let object = read.as_object().expect("a message is an object");
    assert_eq!(view.method(), object.get("method").and_then(Value::as_str));
    for (raw, key) in [
        (view.id(), "id"),
        (view.params(), "params"),
        (view.result(), "result"),
        (view.error(), "error"),
    ] {
        assert_eq!(raw.map(value).as_ref(), object.get(key), "{key}");
    }
    let params = object.get("params").unwrap_or(&Value::Null);
    if let Some(token) = view.progress_token() {
        assert_eq!(value(token), params["_meta"]["progressToken"]);
    }
    if let Some(token) = view.progress_of() {
        assert_eq!(value(token), params["progressToken"]);
    }
    if let Some(id) = view.cancelled_id() {
        assert_eq!(value(id), params["requestId"]);
    }
    if let Some(target) = view.target() {
        let there = match target.what {
            TargetKind::Tool | TargetKind::Prompt => &params["name"],
            TargetKind::Resource => &params["uri"],
            TargetKind::RefPrompt => &params["ref"]["name"],
            TargetKind::RefResource => &params["ref"]["uri"],
        };
        assert_eq!(there.as_str(), Some(&*target.name));
    }
    let line = one_line(&view);
    assert!(!line.contains(&b'\n'));
    assert_eq!(serde_json::from_slice::<Value>(&line).ok(), Some(read));
}

pub fn splice(data: &[u8]) {
    let Ok(view) = View::parse(data) else { return };
    let original = [
        view.id().map(Edit::Id),
        view.progress_token().map(Edit::ProgressToken),
        view.progress_of().map(Edit::ProgressOf),
        view.cancelled_id().map(Edit::CancelledId),
    ];
    let original: Vec<Edit<'_>> = original.into_iter().flatten().collect();
    let new = |edit: &Edit<'_>| match edit {
        Edit::Id(_) => Edit::Id("\"n\\u0065w\""),
        Edit::Target(_) => Edit::Target("\"\""),
        Edit::ProgressToken(_) => Edit::ProgressToken("-12345678"),
        Edit::ProgressOf(_) => Edit::ProgressOf("0"),
        Edit::CancelledId(_) => Edit::CancelledId("\"\""),
    };
    let edits: Vec<Edit<'_>> = original.iter().map(new).collect();
    let spliced = view.splice(&edits).expect("present tokens can be replaced");
    let after = View::parse(&spliced).expect("a spliced message is a message");
    assert_eq!((after.kind(), after.method()), (view.kind(), view.method()));
    assert_eq!(after.target(), view.target());
    assert!(after.id().is_none_or(|id| same_id(id, "\"new\"")));
    assert_eq!(
        after.splice(&original).as_deref(),
        Ok(data),
        "undoing gives the bytes back"
    );

    if let Some(target) = view.target() {
        let renamed = view
            .splice(&[Edit::Target("\"other\"")])
            .expect("targets can be replaced");
        let again = View::parse(&renamed).expect("a spliced message is a message");
        assert_eq!(again.target().map(|t| &*t.name), Some("other"));
        let back = again
            .splice(&[Edit::Target(&quote(&target.name))])
            .expect("and back");
        assert_eq!(
            View::parse(&back).ok().as_ref().and_then(View::target),
            Some(target)
        );
    }
}

pub fn canonical_form(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else {
        return;
    };
    let Ok(form) = canonical(text) else { return };
    let form = String::from_utf8(form).expect("the canonical form is text");
    assert_eq!(
        canonical(&form).as_deref(),
        Ok(form.as_bytes()),
        "idempotent"
    );
    if let Some(read) = other_reader(text) {
        assert_eq!(serde_json::from_str::<Value>(&form).ok(), Some(read));
    }
}

pub fn list(data: &[u8]) {
    let Ok(view) = View::parse(data) else { return };
    for kind in [
        ListKind::Tools,
        ListKind::Prompts,
        ListKind::Resources,
        ListKind::ResourceTemplates,
    ] {
        let Ok(list) = list_items(&view, kind) else {
            continue;
        };
        let kept = rewrite_items(data, kind, |_| ItemChange::Keep).expect("a list stays a list");
        assert_eq!(kept, data);
        let renamed = rename_items(data, kind, |n| format!("a__b__{n}")).expect("renames");
        let renamed_view = View::parse(&renamed).expect("a renamed list is a message");
        // A name near its bound may now be over it.
        if let Ok(after) = list_items(&renamed_view, kind) {
            assert_eq!(after.items.len(), list.items.len());
            for (new, old) in after.items.iter().zip(&list.items) {
                assert_eq!(new.name, format!("a__b__{}", old.name));
            }
            let strip = |n: &str| n.trim_start_matches("a__b__").to_owned();
            rename_items(&renamed, kind, strip).expect("renames back");
        }
        let mut odd = false;
        let half = rewrite_items(data, kind, |_| {
            odd = !odd;
            if odd {
                ItemChange::Remove
            } else {
                ItemChange::Keep
            }
        });
        let half = half.expect("items can be removed");
        let merged = merge_lists(kind, "1", &[data, &half]).expect("lists can be merged");
        let merged = View::parse(&merged).expect("a merged list is a message");
        let items = list_items(&merged, kind).expect("and a list").items.len();
        assert_eq!(items, list.items.len() + list.items.len() / 2);
    }
}

pub fn build(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else {
        return;
    };
    let mut parts = text.splitn(3, '\u{1}');
    let mut part = || parts.next().unwrap_or_default();
    let (id, method, raw) = (part(), part(), part());
    let error = error_response(Some(id), -1, method, Some(raw));
    let view = View::parse(&error).expect("an error response is always a message");
    assert!(view.id().is_none_or(|there| there == id));
    if let Ok(built) = request(id, method, Some(raw)) {
        let view = View::parse(&built).expect("a built request is a message");
        assert_eq!(
            (view.id(), view.method(), view.params()),
            (Some(id), Some(method), Some(raw))
        );
    }
    if let Ok(built) = notification(method, Some(raw)) {
        let view = View::parse(&built).expect("a built notification is a message");
        assert_eq!(
            (view.id(), view.method(), view.params()),
            (None, Some(method), Some(raw))
        );
    }
    if let Ok(built) = response(id, raw) {
        let view = View::parse(&built).expect("a built response is a message");
        assert_eq!((view.id(), view.result()), (Some(id), Some(raw)));
    }
    let quoted = quote(method);
    assert_eq!(
        serde_json::from_str::<String>(&quoted).as_deref().ok(),
        Some(method)
    );
}

pub fn intent(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else {
        return;
    };
    let hints = Annotations::of_tool(text).ok();
    for what in [TargetKind::Tool, TargetKind::Resource, TargetKind::Prompt] {
        let target = Target {
            what,
            name: text.into(),
        };
        let plain = derive_intents(text, Some(&target), None);
        let hinted = derive_intents(text, Some(&target), hints.as_ref());
        assert!(!plain.is_empty() && plain.is_sorted());
        assert!(hinted.len() <= protocol::limits::MAX_INTENTS);
        let bound = protocol::limits::MAX_WORD_BYTES;
        assert!(
            hinted
                .iter()
                .all(|word| !word.is_empty() && word.len() <= bound)
        );
        assert!(
            plain.iter().all(|word| hinted.contains(word)),
            "hints only add"
        );
    }
}
