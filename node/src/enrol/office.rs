//! The office of issuer on this node: held by one issuer, or by none, as the root in force says.
//!
//! A node takes the office up and lays it down while it runs; whoever needs the issuer asks here
//! each time. What it does not do: judge whether the root names the issuer's keys.

use std::sync::{Arc, PoisonError, RwLock};

use super::issuer::Issuer;

/// This node's issuer, while it is one.
#[derive(Default)]
pub struct Office(RwLock<Option<Arc<Issuer>>>);

impl Office {
    /// Whoever holds it now.
    #[must_use]
    pub fn holder(&self) -> Option<Arc<Issuer>> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// This issuer holds it from now on, or none.
    pub fn give_to(&self, issuer: Option<Arc<Issuer>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = issuer;
    }
}
