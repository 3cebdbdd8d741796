//! Waiting for conditions, never for time.

use std::time::Duration;

use tokio::time::{sleep, timeout};

/// Longest anything may take before a test fails. No test relies on its length; it is long
/// because test machines are slow and shared.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Pause between two looks at a condition.
const LOOK: Duration = Duration::from_millis(10);

/// The value of `what`, which must come.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what)
        .await
        .expect("this should not take so long")
}

/// Looks until `holds` says true.
pub async fn until<F, H>(what: &str, mut holds: H)
where
    H: FnMut() -> F,
    F: Future<Output = bool>,
{
    let looked = timeout(PATIENCE, async {
        while !holds().await {
            sleep(LOOK).await;
        }
    });
    assert!(looked.await.is_ok(), "this should have come true: {what}");
}
