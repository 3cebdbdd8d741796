//! Nodes composed without their own check, or with one that lies: what a compromised host would
//! run. Only code can compose such a node; no configuration can.

use std::sync::Arc;

use node::app::Composition;
use node::clock::SystemClock;
use protocol::mcp::{Derivation, DeriveIntents, Hints, INTENT_RULES};
use protocol::policy::{Decision, Facts, Policy, Severs};

/// Lets everything pass, and says it did so under the bundle of this version.
#[derive(Debug, Clone, Copy)]
pub struct Lawless(pub u64);

impl Severs for Lawless {}

impl Policy for Lawless {
    fn bundle_version(&self) -> u64 {
        self.0
    }

    fn evaluate(&self, _: &Facts<'_>) -> Decision {
        Decision::allow()
    }
}

/// Says of every tool that it reads.
#[derive(Debug, Clone, Copy)]
pub struct AlwaysRead;

impl DeriveIntents for AlwaysRead {
    fn derive(&self, method: &str, name: Option<&str>, hints: Hints) -> Vec<String> {
        if method == "tools/call" {
            return vec!["read".to_owned()];
        }
        Derivation.derive(method, name, hints)
    }
}

/// Derives nothing that is not said by the protocol, by rules of another version than everybody's:
/// what a node before an upgrade does.
#[derive(Debug, Clone, Copy)]
pub struct OtherRules;

impl OtherRules {
    /// The version it says.
    pub const VERSION: u32 = INTENT_RULES + 1;
}

impl DeriveIntents for OtherRules {
    fn derive(&self, method: &str, name: Option<&str>, hints: Hints) -> Vec<String> {
        AlwaysRead.derive(method, name, hints)
    }

    fn version(&self) -> u32 {
        Self::VERSION
    }
}

/// A node that goes by other rules for intents.
#[must_use]
pub fn of_other_rules() -> Composition {
    Composition {
        danger_intents: Some(Arc::new(OtherRules)),
        ..honest()
    }
}

/// A node as it should be.
#[must_use]
pub fn honest() -> Composition {
    Composition::by(Arc::new(SystemClock))
}

/// A node that enforces no policy.
#[must_use]
pub fn lawless() -> Composition {
    Composition {
        danger_policy: Some(Arc::new(Lawless(1))),
        ..honest()
    }
}

/// A node that says of every tool that it reads.
#[must_use]
pub fn naive() -> Composition {
    Composition {
        danger_intents: Some(Arc::new(AlwaysRead)),
        ..honest()
    }
}

/// Both.
#[must_use]
pub fn lying() -> Composition {
    Composition {
        danger_intents: Some(Arc::new(AlwaysRead)),
        ..lawless()
    }
}
