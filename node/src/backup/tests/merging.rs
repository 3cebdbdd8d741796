//! Replacing a node keeps the newer of every kind of document, whichever side has it and whichever
//! store stays.

use hedgerow_crypto::SigningKeys;
use protocol::crypto::Signer as _;
use protocol::trust::bundle::BundleBody;
use protocol::trust::revocation::{Act, Log};
use protocol::trust::{BundleHead, Document, Entry, LogHead, TrustState};

use super::*;

/// Who signs, of a mesh that [`found`] founded.
struct Signers {
    admin: SigningKeys,
    timestamper: SigningKeys,
}

impl Signers {
    fn of(state: &Path) -> Self {
        let dir = StateDir::open(state).unwrap();
        let phrase = passphrase("four words are enough");
        Self {
            admin: crate::keys::admin::open(state, &phrase).unwrap(),
            timestamper: crate::setup::timestamper(&dir).unwrap().unwrap(),
        }
    }

    /// The next document of a kind after what a state holds.
    fn next(&self, kind: &str, state: &TrustState) -> Vec<Document> {
        let root = state.root();
        let now = UnixSeconds(1_000_000 + state.greatest_time().0);
        match kind {
            "root" => {
                let mut next = root.root().clone();
                next.version += 1;
                next.mesh = Some(root.mesh());
                next.previous = Some(root.hash());
                let next = next.sign(&Primitives, &[&self.admin]).unwrap();
                vec![Document::Root(next.into())]
            }
            "bundle" => {
                let body = BundleBody::default().encode();
                let version = state.bundle().map_or(1, |b| b.version() + 1);
                let head = BundleHead::over(&Primitives, root, version, now, &body);
                let head = head.sign(&Primitives, &[&self.admin]).unwrap();
                vec![
                    Document::BundleHead(head.into()),
                    Document::BundleBody(body.into()),
                ]
            }
            "log" => {
                let admin = self.admin.public().id(&Primitives);
                let held = state.log(&admin).unwrap().log();
                let entry = Entry {
                    index: held.length(),
                    at: now,
                    act: Act::Node(node_id(u8::try_from(held.length()).unwrap())),
                    reason: "gone".to_owned(),
                };
                let mut log: Log = held.clone();
                log.append(&Primitives, &entry.encode()).unwrap();
                let head = LogHead {
                    mesh: state.mesh(),
                    admin,
                    length: log.length(),
                    link: log.link(),
                    issued: now,
                };
                let head = head.sign(&Primitives, &self.admin).unwrap();
                vec![
                    Document::LogHead(head.into()),
                    Document::LogEntries {
                        admin,
                        from: held.length(),
                        entries: vec![entry.encode().into()],
                    },
                ]
            }
            _ => {
                let id = self.timestamper.public().id(&Primitives);
                let timestamp = state.draft_timestamp(id, now, 1);
                let signed = timestamp.sign(&Primitives, &self.timestamper).unwrap();
                vec![Document::Timestamp(signed.into())]
            }
        }
    }
}

fn version(kind: &str, state: &TrustState) -> u64 {
    match kind {
        "root" => state.root().root().version,
        "bundle" => state.bundle().map_or(0, |b| b.version()),
        "log" => state.logs().map(|log| log.log().length()).sum(),
        _ => state.newest_timestamp().map_or(0, |t| t.content().version),
    }
}

/// What a state directory holds.
async fn held(state: &Path) -> TrustState {
    let store = Store::open(&state.join(STORE), &Options::new(read_link())).unwrap();
    let dir = StateDir::open(state).unwrap();
    let held = crate::overlay::trust::restore(&dir, &store, &Primitives).unwrap();
    store.close().await.unwrap();
    held
}

/// Has it hear of one more document of each kind, and decide `decisions` more.
async fn hear(state: &Path, signers: &Signers, kinds: &[&str], decisions: usize) {
    let mut known = held(state).await;
    for kind in kinds {
        for document in signers.next(kind, &known) {
            let now = UnixSeconds(u64::MAX / 2);
            known.offer(&Primitives, now, &document).unwrap();
        }
    }
    let store = Store::open(&state.join(STORE), &Options::new(read_link())).unwrap();
    merge::put_trust(&store, &known).await.unwrap();
    for _ in 0..decisions {
        store.durable(vec![decision()]).await.unwrap();
    }
    store.close().await.unwrap();
    let later = known.roots().iter().skip(1);
    let dir = StateDir::open(state).unwrap();
    crate::roots::write(&dir, later.map(|root| root.bytes())).unwrap();
}

#[tokio::test]
async fn every_kind_of_document_stays_the_newer_one() {
    let host = Host::new().await;
    let signers = Signers::of(&host.state);
    hear(&host.state, &signers, &["bundle", "log", "stamp"], 0).await;
    for kind in ["root", "bundle", "log", "stamp"] {
        // Which side knows more, and whose store stays.
        for (more_here, longer_here) in [(true, true), (true, false), (false, true), (false, false)]
        {
            let case = format!("{kind}, more here: {more_here}, longer here: {longer_here}");
            let tmp = host.tmp.path().join(case.replace([',', ' ', ':'], "-"));
            std::fs::create_dir(&tmp).unwrap();
            let (here, file) = (tmp.join("here"), tmp.join("backup"));
            interrupted::copy(&host.state, &here);
            let there = tmp.join("there");
            interrupted::copy(&host.state, &there);
            let (more, less) = if more_here {
                (&here, &there)
            } else {
                (&there, &here)
            };
            hear(
                more,
                &signers,
                &[kind],
                usize::from(more_here == longer_here),
            )
            .await;
            hear(less, &signers, &[], usize::from(more_here != longer_here)).await;
            let newest = version(kind, &held(more).await);
            assert_eq!(version(kind, &held(less).await) + 1, newest, "{case}");

            make(&there, StoreFrom::Stopped, None, &file).unwrap();
            let report = restore(&file, &here, None, true).await.unwrap();
            assert_eq!(report.store_kept, longer_here, "{case}");
            let after = held(&here).await;
            assert_eq!(version(kind, &after), newest, "{case}");
            for kind in ["root", "bundle", "log", "stamp"] {
                assert!(
                    version(kind, &after) >= version(kind, &held(&host.state).await),
                    "{case}: {kind}"
                );
            }
        }
    }
}

#[tokio::test]
async fn each_side_may_know_more_of_something() {
    let host = Host::new().await;
    let signers = Signers::of(&host.state);
    hear(&host.state, &signers, &["bundle", "stamp"], 0).await;
    let there = host.tmp.path().join("there");
    interrupted::copy(&host.state, &there);
    hear(&host.state, &signers, &["bundle", "stamp", "stamp"], 3).await;
    hear(&there, &signers, &["log", "log"], 1).await;
    make(&there, StoreFrom::Stopped, None, &host.file()).unwrap();
    let report = host.restore(&host.state.clone(), true).await.unwrap();
    assert!(report.store_kept);
    let after = held(&host.state).await;
    let versions = ["root", "bundle", "log", "stamp"].map(|kind| version(kind, &after));
    assert_eq!(versions, [1, 2, 2, 3]);
    assert!(after.revoked().node(&node_id(1)).is_some());
}

#[tokio::test]
async fn two_histories_of_a_log_are_both_in_force_and_frozen() {
    let host = Host::new().await;
    let signers = Signers::of(&host.state);
    let there = host.tmp.path().join("there");
    interrupted::copy(&host.state, &there);
    // The same admin signed two first entries, of another time each.
    hear(&host.state, &signers, &["log"], 1).await;
    hear(&there, &signers, &["stamp", "log"], 0).await;
    make(&there, StoreFrom::Stopped, None, &host.file()).unwrap();
    host.restore(&host.state.clone(), true).await.unwrap();
    let after = held(&host.state).await;
    let log = after.logs().next().unwrap();
    assert!(log.is_forked());
    assert_eq!(log.branches().count(), 2);
}

#[tokio::test]
async fn what_the_trust_documents_rest_on_must_hold() {
    let host = Host::new().await;
    host.backup();
    host.change(|store| async move {
        let row = crate::store::TrustRow::BundleHead;
        let body = crate::store::TrustRow::BundleBody;
        let writes = vec![
            Write::PutTrust(row, vec![1]),
            Write::PutTrust(body, vec![1]),
        ];
        store.durable(writes).await.unwrap();
        store
    })
    .await;
    // Damaged here: nothing is replaced. Damaged in the backup: the same by another name.
    let refused = host.restore(&host.state.clone(), true).await;
    assert_eq!(reason(refused), "old_state_unreadable");
    let file = host.tmp.path().join("damaged");
    make(&host.state, StoreFrom::Stopped, None, &file).unwrap();
    let whole = host.tmp.path().join("whole");
    host.restore(&whole, false).await.unwrap();
    let refused = restore(&file, &whole, None, true).await;
    assert_eq!(reason(refused), "trust_unreadable");
}

fn journal(state: &Path, length: Option<u64>) -> PathBuf {
    let mesh = crate::setup::mesh(state).unwrap();
    let path = state.join(format!("keys/admin.log-{}", mesh.short()));
    if let Some(length) = length {
        let _ = std::fs::remove_file(&path);
        let text = format!("{{\"length\":{length},\"more\":[]}}");
        make::write_private(&path, text.as_bytes()).unwrap();
    }
    path
}

#[tokio::test]
async fn an_admins_journal_is_in_the_backup_and_never_goes_back() {
    let host = Host::new().await;
    journal(&host.state, Some(4));
    let made = host.backup();
    assert!(made.entries.contains(&place::JOURNAL));
    assert_eq!(made.left_out, Vec::<String>::new());
    let state = host.tmp.path().join("t");
    host.restore(&state, false).await.unwrap();
    let text = |state: &Path| std::fs::read_to_string(journal(state, None)).unwrap();
    assert!(text(&state).contains("\"length\":4"));
    for (there, after) in [(3, 4), (5, 5)] {
        journal(&state, Some(there));
        host.restore(&state, true).await.unwrap();
        assert!(text(&state).contains(&format!("\"length\":{after}")));
    }
    // One that cannot be read tells nothing, and is not replaced by one that may be older.
    std::fs::write(journal(&state, None), b"?").unwrap();
    host.restore(&state, true).await.unwrap();
    assert_eq!(text(&state), "?");
    std::fs::remove_file(journal(&state, None)).unwrap();
    host.restore(&state, true).await.unwrap();
    assert!(text(&state).contains("\"length\":4"));
}

#[tokio::test]
async fn a_rotation_that_was_begun_is_not_forgotten() {
    let host = Host::new().await;
    let dir = StateDir::open(&host.state).unwrap();
    let id = |state: &Path| {
        let dir = StateDir::open(state).unwrap();
        crate::setup::next_keys(&dir)
            .unwrap()
            .tls
            .node_id(&Primitives)
    };
    let begun = id(dir.path());
    let made = host.backup();
    assert!(made.entries.contains(&"rotation/keys/tls.key"));
    let state = host.tmp.path().join("t");
    host.restore(&state, false).await.unwrap();
    assert_eq!(id(&state), begun);
    // One begun since stays.
    std::fs::remove_dir_all(state.join("rotation")).unwrap();
    let later = id(&state);
    assert_ne!(later, begun);
    host.restore(&state, true).await.unwrap();
    assert_eq!(id(&state), later);
    std::fs::remove_dir_all(state.join("rotation")).unwrap();
    host.restore(&state, true).await.unwrap();
    assert_eq!(id(&state), begun);
}

#[tokio::test]
async fn who_was_replaced_stays_so() {
    let host = Host::new().await;
    host.backup();
    host.change(|store| async move {
        let work = |books: &mut crate::store::Books<'_, '_>| {
            books.put_replaced(&node_id(8), b"by another").map(drop)
        };
        store.books(work).await.unwrap();
        store
    })
    .await;
    let report = host.restore(&host.state.clone(), true).await.unwrap();
    assert!(!report.store_kept);
    opened(&host.state, |s| {
        assert!(s.is_replaced(&node_id(8)).unwrap())
    })
    .await;
}
