//! The published schemas: what documents may hold, for editors, and what Cedar may look at.

use std::sync::OnceLock;

/// The Cedar schema that raw Cedar is validated against.
pub const CEDAR_SCHEMA: &str = include_str!("schema.cedarschema");

/// The Cedar schema, read.
///
/// # Errors
/// Why Cedar does not read it; a test shows that it does.
pub(super) fn cedar() -> Result<cedar_policy::Schema, String> {
    static SCHEMA: OnceLock<Result<cedar_policy::Schema, String>> = OnceLock::new();
    let read = || match cedar_policy::Schema::from_cedarschema_str(CEDAR_SCHEMA) {
        Ok((schema, _)) => Ok(schema),
        Err(error) => Err(error.to_string()),
    };
    SCHEMA.get_or_init(read).clone()
}
