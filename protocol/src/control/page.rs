//! The way into the status page.

use super::Secret;

/// A one-time code for the status page, as the address a browser opens.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PageLogin {
    /// Where to go, code included; it works once.
    pub url: Secret,
    /// Where the page listens (`127.0.0.1:7481`).
    pub listen: String,
    /// For how long the code works.
    pub expires_s: u64,
}

/// What `hedgerow dashboard --revoke` ended.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PageSessionsEnded {
    /// Browser sessions that were open.
    pub ended: u64,
}
