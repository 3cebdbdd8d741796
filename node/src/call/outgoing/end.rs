//! The end of a session, and what those of its calls are told that it interrupts.

use std::sync::OnceLock;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::call::conversation::Broken;
use crate::enforcement::Stopped;

/// How long a call of a session that was cut off waits for the refusal of its own stream, which says
/// more of it. Both were sent at once, over the same way.
const OWN_REFUSAL: Duration = Duration::from_secs(1);

/// That a session has ended and, where somebody was refused, why. Its calls end with it, and are told
/// the same unless their own streams say why before.
#[derive(Default)]
pub(super) struct End {
    pub(super) closed: CancellationToken,
    pub(super) why: OnceLock<Stopped>,
}

impl End {
    /// Resolves when calls end with the session. Cancel safe.
    pub(super) async fn comes(&self) {
        self.closed.cancelled().await;
        if self.why.get().is_some() {
            tokio::time::sleep(OWN_REFUSAL).await;
        }
    }

    /// What a call is told that the end interrupts.
    pub(super) fn interrupted(&self) -> Broken {
        match self.why.get() {
            Some(stopped) => Broken::Stopped(stopped.clone()),
            None => Broken::Transport("the session was closed".to_owned()),
        }
    }
}
