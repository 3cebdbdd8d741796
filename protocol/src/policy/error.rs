//! Why a policy document is refused: which document, where in it, what is wrong, and the mend.

use crate::mcp::{MAX_NUMBER_BYTES, MAX_NUMBER_EXPONENT};
use crate::name::PolicyName;

/// Most errors listed for one bundle; more would not be read.
pub const MAX_POLICY_ERRORS: usize = 64;

/// Longest piece of a document quoted in a message, in characters.
const MAX_SHOWN: usize = 64;

/// Longest explanation of a parser passed on, in characters.
const MAX_TOLD: usize = 512;

/// The mark that some editors begin a UTF-8 file with.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What reading one value gives.
pub type Checked<T> = Result<T, Problem>;

/// Why a document is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("policy `{document}`{}: {problem}", place(path))]
pub struct PolicyError {
    /// The document's name in the bundle, or what it was read from; inert text.
    pub document: String,
    /// Where in it, as a JSON pointer (RFC 6901); empty for the whole. Inert text.
    pub path: String,
    /// What is wrong.
    pub problem: Problem,
}

fn place(path: &str) -> String {
    if path.is_empty() {
        String::new()
    } else {
        format!(" at `{path}`")
    }
}

impl PolicyError {
    /// Of a document that was not read whole because it has so many bytes.
    #[must_use]
    pub fn too_large(document: &str, bytes: usize) -> Self {
        let max = super::document::MAX_POLICY_BYTES;
        Self {
            document: shown(document),
            path: String::new(),
            problem: Problem::TooLarge { bytes, max },
        }
    }

    /// The stable name of the reason.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        self.problem.reason()
    }

    /// What its author can do.
    #[must_use]
    pub fn hint(&self) -> String {
        self.problem.hint()
    }
}

/// What is wrong with a document. Texts in it are inert ([`shown`]).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Over [`super::document::MAX_POLICY_BYTES`].
    #[error("the document has {bytes} bytes, over the {max} allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// Neither JSON policy nor Cedar.
    #[error("`{0}` is no media type of a policy")]
    MediaType(String),
    /// Bytes that are no UTF-8.
    #[error("the document is not UTF-8")]
    NotUtf8,
    /// UTF-8 behind a byte order mark, which neither JSON (RFC 8259, section 8.1) nor Cedar has.
    #[error("the document begins with a byte order mark")]
    ByteOrderMark,
    /// Not one JSON value.
    #[error("not JSON at line {line}, column {column}: {why}")]
    NotJson {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What the reader says.
        why: String,
    },
    /// Over [`super::document::MAX_POLICY_DEPTH`].
    #[error("nested deeper than {0} levels")]
    TooDeep(usize),
    /// A key nobody knows.
    #[error("unknown key `{key}`")]
    UnknownKey {
        /// The key.
        key: String,
        /// The known key that was probably meant, if one is close.
        nearest: Option<&'static str>,
    },
    /// A key given twice.
    #[error("the key `{0}` is there twice")]
    DuplicateKey(String),
    /// An entry given twice in one list.
    #[error("`{0}` is listed twice")]
    DuplicateEntry(String),
    /// Another document has the name.
    #[error("another document is named `{0}` too")]
    DuplicateName(String),
    /// The bundle knows it by another name.
    #[error("the document calls itself `{0}`")]
    NameDiffers(String),
    /// A value of another type.
    #[error("expected {expected}, found {found}")]
    WrongType {
        /// What is expected.
        expected: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// A key that must be there.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// An empty list or object where it would silence the document.
    #[error("must not be empty")]
    Empty,
    /// A list or text over its bound.
    #[error("{count} is over the {max} allowed")]
    TooMany {
        /// How many entries or bytes there are.
        count: usize,
        /// The bound.
        max: usize,
    },
    /// A number out of its range, or with a fraction or exponent.
    #[error("must be a whole number from {min} to {max}")]
    OutOfRange {
        /// The least.
        min: i64,
        /// The greatest.
        max: i64,
    },
    /// A number that has no value to compare: longer than 256 characters, or with an exponent beyond 9,999.
    #[error(
        "the number `{0}` is not compared: it may have {MAX_NUMBER_BYTES} characters and an exponent \
         up to {MAX_NUMBER_EXPONENT}"
    )]
    NumberBeyond(String),
    /// A word that is none of those known.
    #[error("`{given}` is not one of {}", known.join(", "))]
    NotOneOf {
        /// The word.
        given: String,
        /// Those known.
        known: &'static [&'static str],
    },
    /// A text of another form.
    #[error("`{given}` is not {expected}")]
    Form {
        /// The text.
        given: String,
        /// The form.
        expected: &'static str,
    },
    /// A control or bidirectional-control character, or one that cannot be seen.
    #[error("holds the invisible character {0}")]
    Characters(String),
    /// A glob that is empty, too long, or has too many stars.
    #[error(
        "a glob has 1 to {max} bytes and at most {stars} stars",
        max = super::glob::MAX_GLOB_BYTES,
        stars = super::glob::MAX_GLOB_STARS
    )]
    Glob,
    /// A pattern the linear engine cannot run, or too large a one.
    #[error("not a usable pattern: {0}")]
    Regex(String),
    /// A JSON Schema keyword beyond the subset.
    #[error("the JSON Schema keyword `{0}` is not supported")]
    SchemaKeyword(String),
    /// A reference in a JSON Schema.
    #[error("the reference `{0}` is not followed: a schema stands whole in its document")]
    SchemaReference(String),
    /// Keys of which there must be one, and no more.
    #[error("{0}")]
    Conflict(&'static str),
    /// A flag that can only ask for something, and does not.
    #[error("`false` asks for nothing here")]
    AsksNothing,
    /// Hours that end when they begin.
    #[error("`from` and `to` are the same minute: that may mean the whole day or none of it")]
    SameMinute,
    /// A key beside `vouches_for_humans`.
    #[error("`{0}` does not go with `vouches_for_humans`")]
    VouchesBeside(&'static str),
    /// `vouches_for_humans` without `subjects`.
    #[error("`vouches_for_humans` without `subjects` would be for every node")]
    VouchesForNobody,
    /// Text that is not Cedar.
    #[error("not Cedar: {0}")]
    Cedar(String),
    /// Cedar that the schema does not allow.
    #[error("does not fit the Cedar schema: {0}")]
    CedarSchema(String),
    /// Cedar whose conditions no call meets.
    #[error("this Cedar policy never applies: no call meets its conditions")]
    CedarNeverApplies,
    /// A Cedar template, which nothing would ever fill in.
    #[error("a Cedar template decides nothing")]
    CedarTemplate,
    /// An annotation nobody reads.
    #[error("unknown annotation `@{0}`")]
    CedarAnnotation(String),
}

impl Problem {
    /// The stable name of the reason.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "policy_too_large",
            Self::MediaType(_) => "policy_media_type",
            Self::NotUtf8 => "policy_not_utf8",
            Self::ByteOrderMark => "policy_byte_order_mark",
            Self::NotJson { .. } => "policy_not_json",
            Self::TooDeep(_) => "policy_nested_too_deep",
            Self::UnknownKey { .. } => "policy_unknown_key",
            Self::DuplicateKey(_) => "policy_duplicate_key",
            Self::DuplicateEntry(_) => "policy_duplicate_entry",
            Self::DuplicateName(_) => "policy_duplicate_name",
            Self::NameDiffers(_) => "policy_name_differs",
            Self::WrongType { .. } => "policy_wrong_type",
            Self::Missing(_) => "policy_key_missing",
            Self::Empty => "policy_empty",
            Self::TooMany { .. } => "policy_too_many",
            Self::OutOfRange { .. } => "policy_out_of_range",
            Self::NumberBeyond(_) => "policy_number_beyond",
            Self::NotOneOf { .. } => "policy_unknown_word",
            Self::Form { .. } => "policy_bad_text",
            Self::Characters(_) => "policy_invisible_characters",
            Self::Glob => "policy_bad_glob",
            Self::Regex(_) => "policy_bad_pattern",
            Self::SchemaKeyword(_) => "policy_schema_keyword",
            Self::SchemaReference(_) => "policy_schema_reference",
            Self::Conflict(_) | Self::AsksNothing | Self::SameMinute => "policy_conflict",
            Self::VouchesBeside(_) => "policy_vouches_beside",
            Self::VouchesForNobody => "policy_vouches_for_nobody",
            Self::Cedar(_) => "policy_not_cedar",
            Self::CedarSchema(_) => "policy_cedar_schema",
            Self::CedarNeverApplies => "policy_cedar_never_applies",
            Self::CedarTemplate => "policy_cedar_template",
            Self::CedarAnnotation(_) => "policy_cedar_annotation",
        }
    }

    /// What the author can do.
    #[must_use]
    pub fn hint(&self) -> String {
        let hint = match self {
            Self::UnknownKey { nearest, .. } => match nearest {
                Some(nearest) => return format!("did you mean `{nearest}`?"),
                None => "remove it; the published JSON Schema has every key there is",
            },
            Self::NotOneOf { given, known } => match nearest(given, known) {
                Some(nearest) => return format!("did you mean `{nearest}`?"),
                None => "write one of those words",
            },
            Self::TooLarge { .. } => "split the document, or use globs in place of long lists",
            Self::MediaType(_) => {
                "use application/vnd.hedgerow.policy+json or application/vnd.cedar"
            }
            Self::NotUtf8 => "save the file as UTF-8",
            Self::ByteOrderMark => "save the file without it (UTF-8 without BOM)",
            Self::NotJson { .. } => "check the file with a JSON editor; comments are not JSON",
            Self::TooDeep(_) => "no policy needs such nesting: flatten it",
            Self::DuplicateKey(_) | Self::DuplicateEntry(_) => "keep one of them",
            Self::DuplicateName(_) => "give each document its own `policy_name`",
            Self::NameDiffers(_) => "give it the name under which it stands in the bundle",
            Self::WrongType { .. } => "see the published JSON Schema for what stands here",
            Self::Missing(_) => "add it",
            Self::Empty => "leave the key out, or list what is meant",
            Self::TooMany { .. } => "split it over several documents, or use globs",
            Self::OutOfRange { .. } => "choose a number in that range, written in digits alone",
            Self::NumberBeyond(_) => "write a shorter number, or ask for a text in its place",
            Self::Form { .. } => "write it in that form",
            Self::Characters(_) => "remove it, or write what is meant with visible characters",
            Self::Glob => "use a shorter glob, or several",
            Self::Regex(_) => {
                "use RE2 syntax: no look-around, no back-references, small repetitions"
            }
            Self::SchemaKeyword(_) => {
                "use type, enum, const, properties, required, additionalProperties, items, minimum, \
                 maximum, minLength, maxLength, minItems, maxItems and pattern"
            }
            Self::SchemaReference(_) => "write out what it refers to",
            Self::Conflict(_) => "name one of them and no other",
            Self::AsksNothing => "leave the key out, or write `true`",
            Self::SameMinute => "leave both out for the whole day",
            Self::VouchesBeside(_) => {
                "give it a document of its own: one that vouches names nodes or groups as its \
                 `subjects`, and says nothing else"
            }
            Self::VouchesForNobody => {
                "name in `subjects` the nodes or groups whose word on humans counts"
            }
            Self::Cedar(_) => "see docs.cedarpolicy.com for the language",
            Self::CedarSchema(_) => "see `hedgerow policy schema --cedar` for what there is",
            Self::CedarNeverApplies => {
                "remove it, or name what there is: tools, resources and prompts are \
                 `context.target`, entities have no attributes (`hedgerow policy schema --cedar`)"
            }
            Self::CedarTemplate => "write out principal and resource in place of the slots",
            Self::CedarAnnotation(_) => {
                "the annotations are `@policy_name`, `@action`, `@mode`, `@id` and `@description`"
            }
        };
        hint.to_owned()
    }
}

/// A piece of somebody's text, cut to `MAX_SHOWN` characters and inert in terminals, pages and
/// logs: what cannot be seen is spelled out.
#[must_use]
pub fn shown(text: &str) -> String {
    cut(text, MAX_SHOWN, |c| invisible(c) || c == '`')
}

/// What a parser says of a document: as inert as [`shown`], but longer, and its backticks stay since
/// it is quoted in none. Line breaks become spaces.
pub(super) fn told(text: &str) -> String {
    let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    cut(&one_line, MAX_TOLD, invisible)
}

fn cut(text: &str, most: usize, escaped: impl Fn(char) -> bool) -> String {
    let mut out = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == most {
            out.push('…');
            break;
        }
        if escaped(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// The text of a document's bytes.
pub(super) fn text_of(bytes: &[u8]) -> Checked<&str> {
    if bytes.starts_with(BYTE_ORDER_MARK) {
        return Err(Problem::ByteOrderMark);
    }
    core::str::from_utf8(bytes).map_err(|_| Problem::NotUtf8)
}

/// Control characters, those that change the direction of text, and those without width.
pub(super) fn invisible(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00ad}' | '\u{061c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// Of `known`, the one that takes the fewest edits to become, if most of it stays: else whatever
/// somebody wrote would be near to something.
pub(super) fn nearest<'k>(given: &str, known: &[&'k str]) -> Option<&'k str> {
    let given: Vec<char> = given.chars().collect();
    // Names are short; a long text is near to nothing.
    if given.len() > PolicyName::MAX {
        return None;
    }
    let (edits, near) = known.iter().map(|k| (distance(&given, k), *k)).min()?;
    let longer = given.len().max(near.chars().count());
    (edits * 3 <= longer).then_some(near)
}

/// The Levenshtein distance.
fn distance(a: &[char], b: &str) -> usize {
    let mut row: Vec<usize> = (0..=a.len()).collect();
    for (line, from) in b.chars().enumerate() {
        let (mut diagonal, mut left) = (line, line + 1);
        for (cell, to) in row.iter_mut().skip(1).zip(a) {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = *cell;
            left = substituted.min(left + 1).min(*cell + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = line + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_found() {
        let known = ["allowed_tools", "servers", "subjects"];
        assert_eq!(nearest("allowed_tool", &known), Some("allowed_tools"));
        assert_eq!(nearest("subject", &known), Some("subjects"));
        assert_eq!(nearest("server", &known), Some("servers"));
        for far in [
            "",
            "x",
            "__proto__",
            "\u{202e}evil",
            "color",
            &"s".repeat(10_000),
        ] {
            assert_eq!(nearest(far, &known), None, "{far}");
        }
        let kitten: Vec<char> = "kitten".chars().collect();
        assert_eq!(distance(&kitten, "sitting"), 3);
        assert_eq!(distance(&kitten, ""), 6);
    }

    #[test]
    fn what_is_shown_is_inert() {
        assert_eq!(shown("a\u{1b}[31mb"), "a\\u{1b}[31mb");
        assert_eq!(shown("a\u{202e}b"), "a\\u{202e}b");
        assert_eq!(shown("a`b"), "a\\u{60}b");
        assert_eq!(
            told("a `b`\n \u{1b}[2J\u{202e}"),
            "a `b` \\u{1b}[2J\\u{202e}"
        );
        assert_eq!(told(&"x".repeat(1000)).chars().count(), MAX_TOLD + 1);
        assert_eq!(shown(&"x".repeat(100)).chars().count(), MAX_SHOWN + 1);
    }
}
