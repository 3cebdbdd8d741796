//! Restores killed at every step: the directory is what it was, or the next restore finishes it.

use super::*;
use crate::crash;
use crate::setup::SetupError;

/// Runs a restore that is killed after so many steps; `None` if it ended before.
async fn killed_after(host: &Host, state: &Path, replace: bool, steps: usize) -> Option<Report> {
    let (file, state) = (host.file(), state.to_owned());
    crash::after(Some(steps));
    // On this thread: the runtime has no other.
    let task = tokio::spawn(async move { restore(&file, &state, None, replace).await });
    let ended = task.await;
    crash::after(None);
    match ended {
        Ok(report) => Some(report.unwrap()),
        Err(error) => {
            assert!(error.is_panic());
            None
        }
    }
}

fn refused(state: &Path) -> bool {
    let dir = StateDir::open(state).unwrap();
    matches!(
        crate::setup::load(&dir),
        Err(SetupError::RestoreUnfinished(_))
    )
}

/// Whether nothing can be founded there.
fn taken(state: &Path) -> bool {
    matches!(
        crate::setup::keys_to_join_with(state),
        Err(SetupError::RestoreUnfinished(_) | SetupError::Taken(_))
    )
}

#[tokio::test]
async fn into_an_empty_directory() {
    let host = Host::new().await;
    let made = host.backup();
    let mut unfinished = 0;
    for steps in 0.. {
        let state = host.tmp.path().join(format!("killed-{steps}"));
        let whole = killed_after(&host, &state, false, steps).await;
        assert!(taken(&state), "a mesh is founded over it after {steps}");
        let done = whole.is_some();
        let report = match whole {
            Some(report) => report,
            None => {
                let dir = StateDir::open(&state).unwrap();
                unfinished += usize::from(refused(&state));
                // With the same file and the same words as before.
                let again = host.restore(&state, false).await;
                assert!(crate::setup::load(&dir).is_ok(), "after {steps}");
                match again {
                    Ok(report) => report,
                    // It was killed after its last word.
                    Err(error) => {
                        assert_eq!(error.reason(), "occupied", "after {steps}");
                        continue;
                    }
                }
            }
        };
        assert_eq!(report.node, made.node);
        assert_eq!(report.entries, made.entries);
        assert_eq!(report.tickets_voided, 1, "after {steps}");
        assert!(!refused(&state) && !state.join(restore::STAGING).exists());
        let dir = StateDir::open(&state).unwrap();
        assert!(Restored::pending(&dir).unwrap().is_some());
        if done {
            break;
        }
    }
    assert!(unfinished > 15, "{unfinished}");
}

#[tokio::test]
async fn in_the_place_of_a_node() {
    let host = Host::new().await;
    host.backup();
    host.live_on(2).await;
    let node = crate::setup::load(&StateDir::open(&host.state).unwrap());
    let node = node.unwrap().node();
    let (mut before, mut unfinished) = (0, 0);
    for steps in 0.. {
        let state = host.tmp.path().join(format!("killed-{steps}"));
        copy(&host.state, &state);
        let whole = killed_after(&host, &state, true, steps).await;
        assert!(taken(&state), "a mesh is founded over it after {steps}");
        let done = whole.is_some();
        if !done {
            if refused(&state) {
                unfinished += 1;
            } else {
                // Not begun, or done but for its last word: a node either way.
                before += 1;
                let dir = StateDir::open(&state).unwrap();
                assert_eq!(crate::setup::load(&dir).unwrap().node(), node);
            }
            host.restore(&state, true).await.unwrap();
        }
        assert!(!refused(&state) && !state.join(restore::STAGING).exists());
        let dir = StateDir::open(&state).unwrap();
        assert_eq!(crate::setup::load(&dir).unwrap().node(), node);
        opened(&state, |s| {
            assert_eq!(s.greatest_time().unwrap(), Some(UnixMillis(9_000_000)));
            assert!(s.last_decision().unwrap().unwrap().sequence >= 2);
        })
        .await;
        // What was there before is somewhere, whole.
        let aside = std::fs::read_dir(&state).unwrap().flatten().any(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            name.starts_with(place::ASIDE) && entry.path().join("keys/tls.key").exists()
        });
        assert!(aside, "after {steps}");
        if done {
            break;
        }
    }
    assert!(before >= 1 && unfinished > 30, "{before}, {unfinished}");
}

#[tokio::test]
async fn another_backup_does_not_take_its_place_unasked() {
    let host = Host::new().await;
    host.backup();
    let state = host.tmp.path().join("t");
    // Killed in the middle of putting it in place.
    assert!(killed_after(&host, &state, false, 12).await.is_none());
    assert!(refused(&state));
    let other = Host::new().await;
    other.backup();
    let refused = restore(&other.file(), &state, None, false).await;
    assert_eq!(reason(refused), "occupied");
    // What was begun is finished all the same.
    assert!(crate::setup::load(&StateDir::open(&state).unwrap()).is_ok());
}

pub(super) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    let permissions = std::fs::metadata(from).unwrap().permissions();
    std::fs::set_permissions(to, permissions).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
