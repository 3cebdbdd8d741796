//! placeholder
/// Placeholder.
#[derive(Debug)]
pub enum LineError {}
