//! Every reason not to open a store.

use redb::{Database, ReadableTable, TableDefinition};

use super::*;

pub(super) fn refusal(path: &Path) -> OpenError {
    Store::open(path, &options()).map(|_| ()).unwrap_err()
}

/// Changes a closed store behind its back.
pub(super) fn tamper(path: &Path, change: impl FnOnce(&redb::WriteTransaction)) {
    let database = Database::create(path).unwrap();
    let transaction = database.begin_write().unwrap();
    change(&transaction);
    transaction.commit().unwrap();
}

pub(super) async fn with_decisions(count: usize) -> Place {
    let place = place();
    let store = open(&place.path);
    for _ in 0..count {
        store.lazy(decision("x")).await.unwrap();
    }
    store.close().await.unwrap();
    place
}

#[tokio::test]
async fn only_one_at_a_time() {
    let place = place();
    let held = open(&place.path);
    let error = refusal(&place.path);
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    assert!(error.hint().is_some());
    held.close().await.unwrap();
    open(&place.path);
}

#[test]
fn it_is_made_private_and_refused_when_it_is_not() {
    let place = place();
    drop(open(&place.path));
    let mode = std::fs::metadata(&place.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    std::fs::set_permissions(&place.path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = refusal(&place.path);
    assert!(matches!(error, OpenError::Private(_)), "{error}");
    assert!(error.hint().unwrap().contains("chmod 600"));

    let other = place.path.with_file_name("link.redb");
    std::os::unix::fs::symlink(&place.path, &other).unwrap();
    assert!(matches!(refusal(&other), OpenError::Private(_)));
    assert!(matches!(
        refusal(&place.path.with_file_name("no/store.redb")),
        OpenError::Create { .. }
    ));
}

#[test]
fn a_file_of_something_else_is_corrupt() {
    let place = place();
    for contents in [vec![7; 100], vec![0; 8192], vec![7; 1 << 20]] {
        std::fs::write(&place.path, contents).unwrap();
        std::fs::set_permissions(&place.path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let error = refusal(&place.path);
        assert!(
            matches!(
                error,
                OpenError::Fault {
                    fault: StorageFault::Corrupt(_),
                    ..
                }
            ),
            "{error}"
        );
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

#[tokio::test]
async fn a_new_store_has_its_name_only_when_it_is_complete() {
    let place = place();
    let names = || {
        let entries = std::fs::read_dir(place.path.parent().unwrap()).unwrap();
        let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
        names.collect::<Vec<_>>()
    };
    // What a crash half-way through leaves under the other name is in nobody's way.
    let half = format!("store.redb.{}.new", std::process::id());
    std::fs::write(place.path.with_file_name(&half), vec![0; 4096]).unwrap();
    let store = open(&place.path);
    assert_eq!(names(), ["store.redb"]);
    store.close().await.unwrap();

    // One that cannot be given its name leaves nothing behind either.
    std::fs::remove_file(&place.path).unwrap();
    std::fs::create_dir(&place.path).unwrap();
    assert!(matches!(
        refusal(&place.path),
        OpenError::Create { .. } | OpenError::Private(_)
    ));
    assert_eq!(names(), ["store.redb"]);
}

#[tokio::test]
async fn a_damaged_page_is_never_trusted() {
    let place = with_decisions(200).await;
    let sound = std::fs::read(&place.path).unwrap();
    let before = {
        let store = open(&place.path);
        let records = store.snapshot().unwrap().decisions(..).unwrap();
        store.close().await.unwrap();
        records
    };
    let mut refused = 0;
    for page in 0..sound.len() / 4096 {
        let mut damaged = sound.clone();
        for byte in damaged.iter_mut().skip(page * 4096).take(64) {
            *byte ^= 0x55;
        }
        std::fs::write(&place.path, &damaged).unwrap();
        match Store::open(&place.path, &options()) {
            // The page was free, or redb rebuilt what it held.
            Ok(store) => {
                let records = store.snapshot().unwrap().decisions(..).unwrap();
                assert_eq!(records, before, "page {page}");
                store.close().await.unwrap();
            }
            Err(error) => {
                assert!(matches!(error, OpenError::Fault { .. }), "{page}: {error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 0);
}

#[tokio::test]
async fn a_newer_format_and_a_strangers_database_are_refused() {
    let place = with_decisions(1).await;
    let set = |value: u64| {
        tamper(&place.path, |t| {
            let mut table = t.open_table(tables::META).unwrap();
            table.insert(tables::meta::FORMAT, value).unwrap();
        });
    };
    set(FORMAT + 1);
    let error = refusal(&place.path);
    assert!(
        matches!(error, OpenError::NewerFormat { found, .. } if found == FORMAT + 1),
        "{error}"
    );
    set(0);
    assert!(matches!(refusal(&place.path), OpenError::Fault { .. }));

    let other = place.path.with_file_name("other.redb");
    tamper(&other, |t| {
        t.open_table(TableDefinition::<u64, u64>::new("theirs"))
            .unwrap();
    });
    std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(refusal(&other), OpenError::Fault { .. }));
}

#[tokio::test]
async fn a_broken_chain_names_the_record() {
    type Change = fn(&mut redb::Table<'_, u64, &'static [u8]>);
    let changes: [(Change, u64); 5] = [
        // One removed in the middle, one at the beginning.
        (|t| drop(t.remove(4).unwrap()), 5),
        (|t| drop(t.remove(0).unwrap()), 1),
        // A changed text, a changed stored hash.
        (|t| edit(t, 7, 32 + 40), 7),
        (|t| edit(t, 7, 0), 7),
        // A record rewritten in good form, which the next one does not name.
        (
            |t| {
                let old = read_link(&t.get(3).unwrap().unwrap().value()[32..]).unwrap();
                let (bytes, hash) = record(3, old.previous, b"forged");
                let value = [hash.as_bytes().as_slice(), &bytes].concat();
                t.insert(3, value.as_slice()).unwrap();
            },
            4,
        ),
    ];
    for (change, at) in changes {
        let place = with_decisions(10).await;
        tamper(&place.path, |t| {
            change(&mut t.open_table(tables::DECISIONS).unwrap());
        });
        let error = refusal(&place.path);
        assert!(
            matches!(error, OpenError::BrokenChain { sequence, .. } if sequence == at),
            "{at}: {error}"
        );
        assert!(error.hint().is_some());
    }
}

fn edit(table: &mut redb::Table<'_, u64, &'static [u8]>, sequence: u64, at: usize) {
    let mut value = table.get(sequence).unwrap().unwrap().value().to_vec();
    value[at] ^= 1;
    table.insert(sequence, value.as_slice()).unwrap();
}

#[tokio::test]
async fn a_chain_longer_than_what_is_checked_opens_and_grows() {
    let place = with_decisions(CHAIN_CHECK + 100).await;
    let store = open(&place.path);
    let outcome = store.durable(vec![decision("y")]).await.unwrap();
    let expected = u64::try_from(CHAIN_CHECK + 100).unwrap();
    assert!(matches!(outcome[..], [Outcome::Decided { sequence, .. }] if sequence == expected));
    let first = store.snapshot().unwrap().decisions(..).unwrap();
    assert_eq!(first.len(), READ_AT_ONCE);
}

#[test]
fn faults_are_told_apart_by_what_to_do() {
    use std::io::{Error, ErrorKind};
    let fault = |kind: ErrorKind| StorageFault::from(redb::Error::Io(Error::from(kind)));
    assert_eq!(fault(ErrorKind::StorageFull), StorageFault::Full);
    assert_eq!(fault(ErrorKind::QuotaExceeded), StorageFault::Full);
    assert_eq!(fault(ErrorKind::ReadOnlyFilesystem), StorageFault::ReadOnly);
    assert_eq!(fault(ErrorKind::PermissionDenied), StorageFault::Denied);
    assert!(matches!(fault(ErrorKind::TimedOut), StorageFault::Io(_)));
    let error = OpenError::Create {
        path: PathBuf::from("/d/store.redb"),
        source: ErrorKind::ReadOnlyFilesystem.into(),
    };
    assert!(error.hint().unwrap().contains("`/d`"));
}
