//! Which policies decide: those of the bundle in force, compiled.
//!
//! A bundle that cannot be compiled is not used: what ran before goes on, and the operator is told.
//! Whether it can is a property of its bytes and of this program's version, so every node of one
//! version agrees. After a restart there is nothing that ran before, and such a bundle lets nothing
//! pass.
//!
//! Compiling happens on the task that takes trust documents, before that task goes on: whoever
//! waits until this node has caught up also waits for its policies. Calls meanwhile are decided by
//! the policies that ran before; the change is one pointer.

use std::sync::{Arc, Mutex, PoisonError};

use protocol::control::{PolicyStatus, RefusedBundle};
use protocol::policy::{
    AllowMembers, CompiledBundle, Decision, Denial, Facts, Policy, PolicyError, Severs, Verdict,
};
use protocol::trust::TrustState;

/// The reason for what is denied while the bundle in force cannot be used.
const BUNDLE_UNUSABLE: &str = "bundle_unusable";

/// What runs, and what could not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Running {
    /// The version of the bundle whose policies decide; 0 while there is none.
    pub(super) version: u64,
    /// How many there are.
    pub(super) policies: u64,
    /// The bundle that is in force and cannot be used, and the first thing that is wrong with it.
    pub(super) refused: Option<(u64, String)>,
}

impl From<Running> for PolicyStatus {
    fn from(running: Running) -> Self {
        Self {
            version: running.version,
            policies: running.policies,
            held: 0,
            refused: running
                .refused
                .map(|(version, why)| RefusedBundle { version, why }),
        }
    }
}

/// Compiles bundles and remembers what came of it.
#[derive(Default)]
pub(super) struct Policing {
    running: Mutex<Running>,
    /// Decides in their stead.
    instead: Option<Arc<dyn Policy>>,
}

/// Denies every call, and says why: the bundle in force cannot be used here.
#[derive(Debug)]
struct Unusable {
    version: u64,
    why: String,
}

impl Severs for Unusable {}

impl Policy for Unusable {
    fn bundle_version(&self) -> u64 {
        self.version
    }

    fn evaluate(&self, facts: &Facts<'_>) -> Decision {
        // What the protocol itself needs passes, so that clients are told why their calls do not.
        if facts.call().is_none() {
            return Decision::allow();
        }
        Decision::of(Verdict::Deny(Denial {
            reason: BUNDLE_UNUSABLE.to_owned(),
            message: format!(
                "the policies in force (bundle {}) cannot be used: {}",
                self.version, self.why
            ),
            policy: None,
            hint: Some("an administrator must publish a bundle that this node can use".to_owned()),
        }))
    }
}

impl Policing {
    /// As [`Policing::default`], or one that lets something else decide.
    pub(super) fn of(instead: Option<Arc<dyn Policy>>) -> Self {
        Self {
            instead,
            ..Self::default()
        }
    }

    /// The policy to start with.
    pub(super) fn start(&self, state: &TrustState) -> Arc<dyn Policy> {
        if let Some(instead) = &self.instead {
            return Arc::clone(instead);
        }
        match self.take(state) {
            Some(policy) => policy,
            None => match state.bundle() {
                None => Arc::new(AllowMembers),
                Some(bundle) => Arc::new(Unusable {
                    version: bundle.version(),
                    why: self
                        .running()
                        .refused
                        .map_or_else(String::new, |(_, why)| why),
                }),
            },
        }
    }

    /// The policy of the bundle now in force; `None` if there is none or it cannot be used, and
    /// what ran before goes on.
    pub(super) fn take(&self, state: &TrustState) -> Option<Arc<dyn Policy>> {
        let bundle = state.bundle().filter(|_| self.instead.is_none())?;
        let version = bundle.version();
        let compiled = CompiledBundle::compile(version, bundle.body());
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        match compiled {
            Ok(compiled) => {
                let policies = compiled.policies().len() as u64;
                tracing::info!(version, policies, "policies in force");
                *running = Running {
                    version,
                    policies,
                    refused: None,
                };
                Some(Arc::new(compiled))
            }
            Err(errors) => {
                let why = first(&errors);
                tracing::error!(
                    version,
                    running = running.version,
                    wrong = errors.len(),
                    why,
                    "the policies in force cannot be used; those before them go on"
                );
                running.refused = Some((version, why));
                None
            }
        }
    }

    /// What runs.
    pub(super) fn running(&self) -> Running {
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

fn first(errors: &[PolicyError]) -> String {
    errors
        .first()
        .map_or_else(String::new, PolicyError::to_string)
}
