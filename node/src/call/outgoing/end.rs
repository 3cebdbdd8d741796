//! The end of a session, and what those of its calls are told that it interrupts.

use std::sync::OnceLock;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::call::conversation::Broken;
use crate::enforcement::Stopped;

/// How long a call waits for the end of its own stream, which says more of it, once the stream of its
/// session has ended by itself. Both ended at once, over the same way.
const OWN_END: Duration = Duration::from_secs(1);

/// That a session has ended and, where somebody was refused, why. Its calls end with it, and are told
/// the same unless their own streams say why before.
#[derive(Default)]
pub(super) struct End {
    pub(super) closed: CancellationToken,
    pub(super) why: OnceLock<Stopped>,
    /// Set when nobody here has closed it.
    pub(super) by_itself: OnceLock<()>,
}

impl End {
    /// Resolves when calls end with the session. Cancel safe.
    pub(super) async fn comes(&self) {
        self.closed.cancelled().await;
        if self.by_itself.get().is_some() {
            tokio::time::sleep(OWN_END).await;
        }
    }

    /// What a call is told that the end interrupts.
    pub(super) fn interrupted(&self) -> Broken {
        match self.why.get() {
            Some(stopped) => Broken::Stopped(stopped.clone()),
            None if self.by_itself.get().is_some() => {
                Broken::Transport("the session with the server was lost".to_owned())
            }
            None => Broken::Transport("the session was closed".to_owned()),
        }
    }
}
