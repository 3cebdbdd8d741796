//! What a backup asks of the running node.

/// How the names of store copies begin, so that what a crash left behind can be told and removed.
pub const COPY_PREFIX: &str = "store-copy-";

/// A consistent copy of the store, made for a backup. Whoever asked for it removes it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StoreCopy {
    /// The file's name in the state directory; it begins with [`COPY_PREFIX`].
    pub file: String,
    /// Its size.
    pub bytes: u64,
}
