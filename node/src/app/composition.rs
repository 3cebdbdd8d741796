//! What only code can choose of a node: no configuration and no environment reaches it.
//!
//! The daemon uses [`Composition::by`] with the host's clock. Tests compose nodes that do not do
//! what they should, to see that others stop them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use protocol::mcp::DeriveIntents;
use protocol::policy::Policy;

use crate::clock::Clock;
use crate::enforcement::SEVER_COOL_DOWN_MS;
use crate::lane::Lane;

/// The choices.
#[derive(Clone)]
pub struct Composition {
    /// By which it decides.
    pub clock: Arc<dyn Clock>,
    /// Decides instead of the policies in force, whatever bundle comes.
    pub danger_policy: Option<Arc<dyn Policy>>,
    /// Derives intents instead of the one derivation there is.
    pub danger_intents: Option<Arc<dyn DeriveIntents>>,
    /// Under which the files lie that the posture is read from; `/` but in tests.
    pub host_root: PathBuf,
    /// How long who is severed by policy stays cut off: its calls, and its link.
    pub cool_down: Duration,
    /// Where calls run; the daemon gives them a thread of their own.
    pub lane: Lane,
}

impl Composition {
    /// A node as it should be.
    #[must_use]
    pub fn by(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            danger_policy: None,
            danger_intents: None,
            host_root: PathBuf::from("/"),
            cool_down: Duration::from_millis(SEVER_COOL_DOWN_MS),
            lane: Lane::none(),
        }
    }
}
