//! Reading values out of a document: each knows where it stands, and what is wrong goes into one
//! list, so that an author sees all of it at once.

use super::Json;
use super::{MAX_POLICY_LIST, MAX_POLICY_TEXT};
use crate::mcp::Number;
use crate::policy::error::{
    Checked, MAX_POLICY_ERRORS, PolicyError, Problem, invisible, nearest, shown,
};

/// The keys of one kind of object.
#[derive(Debug)]
pub struct Shape {
    /// Where it stands, as a JSON pointer with `*` for any entry of a list.
    pub place: &'static str,
    /// Its keys.
    pub keys: &'static [&'static str],
}

/// Where errors of one document go.
#[derive(Debug)]
pub(crate) struct Sink {
    document: String,
    errors: Vec<PolicyError>,
}

impl Sink {
    pub(crate) fn new(document: &str) -> Self {
        Self {
            document: shown(document),
            errors: Vec::new(),
        }
    }

    /// What the document calls itself, in every error on it.
    pub(crate) fn named(&mut self, document: &str) {
        self.document = shown(document);
        for error in &mut self.errors {
            error.document.clone_from(&self.document);
        }
    }

    pub(crate) fn refuse(&mut self, path: &str, problem: Problem) {
        if self.errors.len() < MAX_POLICY_ERRORS {
            self.errors.push(PolicyError {
                document: self.document.clone(),
                path: path.to_owned(),
                problem,
            });
        }
    }

    /// Notes the error, if there is one.
    pub(crate) fn note<T>(&mut self, path: &str, result: Checked<T>) -> Option<T> {
        result.map_err(|problem| self.refuse(path, problem)).ok()
    }

    pub(crate) const fn is_clean(&self) -> bool {
        self.errors.is_empty()
    }

    pub(crate) fn into_errors(self) -> Vec<PolicyError> {
        self.errors
    }
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct At<'a> {
    pub(crate) json: &'a Json,
    pub(crate) path: String,
}

impl<'a> At<'a> {
    pub(crate) const fn root(json: &'a Json) -> Self {
        Self {
            json,
            path: String::new(),
        }
    }

    fn below(&self, key: &str, json: &'a Json) -> Self {
        Self {
            json,
            path: format!("{}/{}", self.path, step(key)),
        }
    }

    fn wrong(&self, sink: &mut Sink, expected: &'static str) {
        let found = self.json.kind();
        sink.refuse(&self.path, Problem::WrongType { expected, found });
    }

    /// A text within bounds, of visible characters.
    pub(crate) fn text(&self, sink: &mut Sink) -> Option<&'a str> {
        let Json::Text(text) = self.json else {
            self.wrong(sink, "a string");
            return None;
        };
        sink.note(&self.path, visible(text)).map(|()| text.as_str())
    }

    pub(crate) fn flag(&self, sink: &mut Sink) -> Option<bool> {
        let Json::Bool(value) = self.json else {
            self.wrong(sink, "true or false");
            return None;
        };
        Some(*value)
    }

    /// A whole number from `min` to `max`.
    pub(crate) fn number(&self, sink: &mut Sink, min: u32, max: u64) -> Option<u64> {
        let Json::Number(number) = self.json else {
            self.wrong(sink, "a whole number");
            return None;
        };
        let found = number
            .as_u64()
            .filter(|n| *n >= u64::from(min) && *n <= max);
        if found.is_none() {
            let problem = Problem::OutOfRange {
                min: i64::from(min),
                max: i64::try_from(max).unwrap_or(i64::MAX),
            };
            sink.refuse(&self.path, problem);
        }
        found
    }

    /// Any number that can be compared.
    pub(crate) fn any_number(&self, sink: &mut Sink) -> Option<Number> {
        let Json::Number(number) = self.json else {
            self.wrong(sink, "a number");
            return None;
        };
        self.comparable(sink, number).then(|| number.clone())
    }

    /// One of a few words.
    pub(crate) fn one_of<T: Copy>(
        &self,
        sink: &mut Sink,
        known: &'static [&'static str],
        values: &[T],
    ) -> Option<T> {
        let text = self.text(sink)?;
        let found = known.iter().position(|k| *k == text);
        let value = found.and_then(|at| values.get(at)).copied();
        if value.is_none() {
            let given = shown(text);
            sink.refuse(&self.path, Problem::NotOneOf { given, known });
        }
        value
    }

    /// The entries of a list of at most [`MAX_POLICY_LIST`].
    pub(crate) fn list(&self, sink: &mut Sink) -> Option<Vec<Self>> {
        let Json::List(items) = self.json else {
            self.wrong(sink, "a list");
            return None;
        };
        if items.len() > MAX_POLICY_LIST {
            let (count, max) = (items.len(), MAX_POLICY_LIST);
            sink.refuse(&self.path, Problem::TooMany { count, max });
            return None;
        }
        let item = |(i, json)| self.below(&format!("{i}"), json);
        Some(items.iter().enumerate().map(item).collect())
    }

    /// A list of texts, each once, read by `read`.
    pub(crate) fn texts<T>(
        &self,
        sink: &mut Sink,
        read: impl Fn(&str) -> Checked<T>,
    ) -> Option<Vec<T>> {
        let items = self.list(sink)?;
        let mut seen = std::collections::BTreeSet::new();
        let mut out = Vec::with_capacity(items.len());
        for item in items {
            let Some(text) = item.text(sink) else {
                continue;
            };
            if !seen.insert(text) {
                sink.refuse(&item.path, Problem::DuplicateEntry(shown(text)));
                continue;
            }
            out.extend(sink.note(&item.path, read(text)));
        }
        Some(out)
    }

    /// As [`Self::texts`], of at least one entry.
    pub(crate) fn some_texts<T>(
        &self,
        sink: &mut Sink,
        read: impl Fn(&str) -> Checked<T>,
    ) -> Option<Vec<T>> {
        if matches!(self.json, Json::List(items) if items.is_empty()) {
            sink.refuse(&self.path, Problem::Empty);
            return None;
        }
        self.texts(sink, read)
    }

    /// The members of an object whose keys the author chooses, without repeats.
    pub(crate) fn members(&self, sink: &mut Sink) -> Option<Vec<(&'a str, Self)>> {
        let Json::Object(members) = self.json else {
            self.wrong(sink, "an object");
            return None;
        };
        if members.len() > MAX_POLICY_LIST {
            let (count, max) = (members.len(), MAX_POLICY_LIST);
            sink.refuse(&self.path, Problem::TooMany { count, max });
            return None;
        }
        let mut seen = std::collections::BTreeSet::new();
        for (key, _) in members {
            let at = format!("{}/{}", self.path, step(key));
            sink.note(&at, visible(key));
            if !seen.insert(key) {
                sink.refuse(&at, Problem::DuplicateKey(shown(key)));
            }
        }
        let member = |(key, json): &'a (String, Json)| (key.as_str(), self.below(key, json));
        Some(members.iter().map(member).collect())
    }

    /// A value as it stands, in which no object names a key twice and every number can be compared:
    /// it would be equal to nothing.
    pub(crate) fn value(&self, sink: &mut Sink) -> Option<Json> {
        let unique = self.unique(sink);
        let compares = self.compares(sink);
        (unique && compares).then(|| self.json.clone())
    }

    fn comparable(&self, sink: &mut Sink, number: &Number) -> bool {
        let comparable = number.has_value();
        if !comparable {
            let given = shown(number.as_str());
            sink.refuse(&self.path, Problem::NumberBeyond(given));
        }
        comparable
    }

    /// Refuses numbers that compare with nothing, at any depth; whether there are none.
    fn compares(&self, sink: &mut Sink) -> bool {
        let mut all = true;
        match self.json {
            Json::Number(number) => all = self.comparable(sink, number),
            Json::List(items) => {
                for (at, json) in items.iter().enumerate() {
                    all &= self.below(&format!("{at}"), json).compares(sink);
                }
            }
            Json::Object(members) => {
                for (key, json) in members {
                    all &= self.below(key, json).compares(sink);
                }
            }
            _ => {}
        }
        all
    }

    /// Refuses keys that are named twice, at any depth; whether there are none. The bound on the
    /// depth of a document keeps the recursion short.
    pub(crate) fn unique(&self, sink: &mut Sink) -> bool {
        let mut unique = true;
        match self.json {
            Json::List(items) => {
                for (at, json) in items.iter().enumerate() {
                    unique &= self.below(&format!("{at}"), json).unique(sink);
                }
            }
            Json::Object(members) => {
                let mut seen = std::collections::BTreeSet::new();
                for (key, json) in members {
                    let below = self.below(key, json);
                    if !seen.insert(key) {
                        sink.refuse(&below.path, Problem::DuplicateKey(shown(key)));
                        unique = false;
                    }
                    unique &= below.unique(sink);
                }
            }
            _ => {}
        }
        unique
    }

    /// An object of known keys.
    pub(crate) fn fields(&self, sink: &mut Sink, shape: &'static Shape) -> Option<Fields<'a>> {
        let members = self.members(sink)?;
        for (key, at) in &members {
            if !shape.keys.contains(key) {
                let key = shown(key);
                let nearest = nearest(&key, shape.keys);
                sink.refuse(&at.path, Problem::UnknownKey { key, nearest });
            }
        }
        Some(Fields {
            path: self.path.clone(),
            members,
            shape,
        })
    }
}

/// An object whose keys are all known.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    pub(crate) path: String,
    members: Vec<(&'a str, At<'a>)>,
    shape: &'static Shape,
}

impl<'a> Fields<'a> {
    /// The value of `key`, if it is there.
    pub(crate) fn at(&self, key: &'static str) -> Option<&At<'a>> {
        debug_assert!(self.shape.keys.contains(&key), "`{key}` is in no shape");
        let found = self.members.iter().find(|(k, _)| *k == key);
        found.map(|(_, at)| at)
    }

    /// The value of `key`, which must be there.
    pub(crate) fn need(&self, sink: &mut Sink, key: &'static str) -> Option<&At<'a>> {
        let found = self.at(key);
        if found.is_none() {
            sink.refuse(&self.path, Problem::Missing(key));
        }
        found
    }

    /// Refuses an object without any key.
    pub(crate) fn some(&self, sink: &mut Sink) {
        if self.members.is_empty() {
            sink.refuse(&self.path, Problem::Empty);
        }
    }
}

/// A key as a step of a JSON pointer, inert.
pub(super) fn step(key: &str) -> String {
    shown(&key.replace('~', "~0").replace('/', "~1"))
}

/// Refuses a text over [`MAX_POLICY_TEXT`] or with characters nobody sees.
pub(crate) fn visible(text: &str) -> Checked<()> {
    if text.len() > MAX_POLICY_TEXT {
        let (count, max) = (text.len(), MAX_POLICY_TEXT);
        return Err(Problem::TooMany { count, max });
    }
    match text.chars().find(|c| invisible(*c)) {
        Some(c) => Err(Problem::Characters(format!("U+{:04X}", u32::from(c)))),
        None => Ok(()),
    }
}
