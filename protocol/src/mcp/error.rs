//! Why a message, or a change to one, is refused.

/// A refusal. Every variant has its own stable name ([`McpError::reason`]).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum McpError {
    /// More bytes than the bound; nothing was read.
    #[error("the message has {found} bytes, at most {max} are carried")]
    TooLarge {
        /// The bound.
        max: usize,
        /// What was found.
        found: usize,
    },
    /// Not UTF-8.
    #[error("the message is not UTF-8 at byte {at}")]
    NotUtf8 {
        /// Offset of the first bad byte.
        at: usize,
    },
    /// Begins with a byte order mark.
    #[error("the message begins with a byte order mark; send UTF-8 without one")]
    ByteOrderMark,
    /// A JSON array: JSON-RPC batches are not part of MCP since 2025-06-18.
    #[error("batches are refused; send one message at a time")]
    Batch,
    /// A JSON value, but no object.
    #[error("a message is one JSON object")]
    NotObject,
    /// Not JSON, or cut off.
    #[error("not JSON at byte {at}: expected {expected}")]
    Syntax {
        /// Offset of the first bad byte.
        at: usize,
        /// What would have been right there.
        expected: &'static str,
    },
    /// Something follows the object.
    #[error("bytes follow the message at byte {at}")]
    Trailing {
        /// Offset of the first byte too many.
        at: usize,
    },
    /// Nested deeper than the bound.
    #[error("nested deeper than {max} levels")]
    TooDeep {
        /// The bound.
        max: usize,
    },
    /// One object names a key twice; two readers could each take another value.
    #[error("the key `{key}` stands twice in one object")]
    DuplicateKey {
        /// The key, cut to a printable prefix.
        key: String,
    },
    /// A `\u` escape of half a surrogate pair: no Unicode string, and readers differ on it.
    #[error("half a surrogate pair at byte {at}")]
    LoneSurrogate {
        /// Offset of the escape.
        at: usize,
    },
    /// `jsonrpc` is missing or not the string `2.0`.
    #[error("`jsonrpc` must be \"2.0\"")]
    Version,
    /// `method` is not a string.
    #[error("`method` must be a string")]
    MethodNotString,
    /// `method` is longer than [`crate::limits::MAX_METHOD_BYTES`].
    #[error("the method has {found} bytes, at most {max} are carried")]
    MethodTooLong {
        /// The bound.
        max: usize,
        /// What was found.
        found: usize,
    },
    /// `method` is empty or has characters other than printable ASCII.
    #[error("the method must be printable ASCII without spaces")]
    MethodCharacters,
    /// `id` is null: MCP forbids it.
    #[error("`{field}` must not be null")]
    IdNull {
        /// Which id or token.
        field: &'static str,
    },
    /// `id` is a number with fraction or exponent.
    #[error("`{field}` must be a string or an integer, not a fraction")]
    IdFloat {
        /// Which id or token.
        field: &'static str,
    },
    /// `id` is a boolean, array or object.
    #[error("`{field}` must be a string or an integer")]
    IdKind {
        /// Which id or token.
        field: &'static str,
    },
    /// `id` has more bytes than [`super::MAX_ID_BYTES`].
    #[error("`{field}` has {found} bytes, at most {max} are carried")]
    IdTooLong {
        /// Which id or token.
        field: &'static str,
        /// The bound.
        max: usize,
        /// What was found.
        found: usize,
    },
    /// Neither a method nor a result nor an error.
    #[error("neither a request, a notification nor a response")]
    NoKind,
    /// More than one of method, result and error.
    #[error("more than one of `method`, `result` and `error`")]
    Ambiguous,
    /// A result without an id, which answers nothing.
    #[error("a result needs the `id` of its request")]
    ResponseWithoutId,
    /// `params` is neither an object nor null.
    #[error("`params` must be an object")]
    ParamsNotObject,
    /// `error` is not an object.
    #[error("`error` must be an object")]
    ErrorNotObject,
    /// A method that acts on a named thing does not name it with a string where MCP says.
    #[error("`{method}` must name what it acts on in `{field}`")]
    TargetMissing {
        /// The method.
        method: &'static str,
        /// The path of the field.
        field: &'static str,
    },
    /// A name or URI longer than [`crate::limits::MAX_TARGET_BYTES`].
    #[error("the name or URI has {found} bytes, at most {max} are carried")]
    TargetTooLong {
        /// The bound.
        max: usize,
        /// What was found.
        found: usize,
    },
    /// A method that acts on a named thing came without id: it would act with nobody to answer.
    #[error("`{method}` needs an `id`")]
    TargetWithoutId {
        /// The method.
        method: &'static str,
    },
    /// An edit of something the message does not have.
    #[error("the message has no {what} to replace")]
    NothingToReplace {
        /// What was to be replaced.
        what: &'static str,
    },
    /// The new text of an edit is no JSON of the kind that stands there.
    #[error("the new {what} is not of the kind that stands there")]
    BadReplacement {
        /// What was to be replaced.
        what: &'static str,
    },
    /// Not the result of this kind of list request.
    #[error("not a list result: no array `{field}` in `result`")]
    NotAList {
        /// The array that should be there.
        field: &'static str,
    },
    /// An item of a list is no object, or has no string for its name.
    #[error("item {index} of the list has no string `{field}`")]
    NamelessItem {
        /// Position in the list, from 0.
        index: usize,
        /// The field that names items of this kind.
        field: &'static str,
    },
}

impl McpError {
    /// The stable name of the reason, snake_case, for counters, records and error data.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "message_too_large",
            Self::NotUtf8 { .. } | Self::ByteOrderMark => "message_not_utf8",
            Self::Batch => "batch_refused",
            Self::NotObject => "message_not_object",
            Self::Syntax { .. } => "message_not_json",
            Self::Trailing { .. } => "trailing_bytes",
            Self::TooDeep { .. } => "nested_too_deep",
            Self::DuplicateKey { .. } => "duplicate_key",
            Self::LoneSurrogate { .. } => "lone_surrogate",
            Self::Version => "jsonrpc_version",
            Self::MethodNotString => "method_not_string",
            Self::MethodTooLong { .. } => "method_too_long",
            Self::MethodCharacters => "method_characters",
            Self::IdNull { .. } => "id_null",
            Self::IdFloat { .. } => "id_float",
            Self::IdKind { .. } => "id_kind",
            Self::IdTooLong { .. } => "id_too_long",
            Self::NoKind => "message_without_kind",
            Self::Ambiguous => "message_ambiguous",
            Self::ResponseWithoutId => "response_without_id",
            Self::ParamsNotObject => "params_not_object",
            Self::ErrorNotObject => "error_not_object",
            Self::TargetMissing { .. } => "target_missing",
            Self::TargetTooLong { .. } => "target_too_long",
            Self::TargetWithoutId { .. } => "target_without_id",
            Self::NothingToReplace { .. } => "nothing_to_replace",
            Self::BadReplacement { .. } => "bad_replacement",
            Self::NotAList { .. } => "not_a_list",
            Self::NamelessItem { .. } => "nameless_item",
        }
    }
}
