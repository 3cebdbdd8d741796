//! Rotating on the host of an issuer, which judges by what it kept.

use std::path::PathBuf;

use protocol::id::MeshId;
use protocol::trust::revocation::{Act, EMPTY, Entry, LogHead, next_link};
use protocol::trust::{Document, TrustState};
use zeroize::Zeroizing;

use super::*;
use crate::keys::passphrase::Passphrase;
use crate::setup::Founding;

fn passphrase() -> Passphrase {
    Passphrase::new(Zeroizing::new("four words are enough".to_owned())).unwrap()
}

struct Host {
    _tmp: tempfile::TempDir,
    state: PathBuf,
    mesh: MeshId,
}

impl Host {
    fn found() -> Self {
        let tmp = tempfile::tempdir().unwrap();
        let state = tmp.path().join("s");
        let founding = Founding {
            mesh: "m".parse().unwrap(),
            node: "a".parse().unwrap(),
            groups: vec![],
            site: None,
        };
        let mesh = setup::found(&state, &founding, &passphrase()).unwrap();
        Self {
            _tmp: tmp,
            state,
            mesh,
        }
    }

    fn dir(&self) -> StateDir {
        StateDir::open(&self.state).unwrap()
    }

    fn node(&self) -> NodeId {
        setup::load(&self.dir()).unwrap().node()
    }

    /// Has the admin revoke, and the node keep it.
    async fn revoke(&self, act: Act) {
        let admin = crate::keys::admin::open(&self.state, &passphrase()).unwrap();
        let id = admin.public().id(&Primitives);
        let now = SystemClock.now().seconds();
        let entry = Entry {
            index: 0,
            at: now,
            act,
            reason: "stolen".to_owned(),
        };
        let bytes = entry.encode();
        let head = LogHead {
            mesh: self.mesh,
            admin: id,
            length: 1,
            link: next_link(&Primitives, &EMPTY, &bytes),
            issued: now,
        };
        let head = head.sign(&Primitives, &admin).unwrap();
        let root = std::fs::read(self.dir().root()).unwrap();
        let mut state = TrustState::genesis(&Primitives, &root).unwrap();
        let documents = [
            Document::LogHead(head.into()),
            Document::LogEntries {
                admin: id,
                from: 0,
                entries: vec![bytes.into()],
            },
        ];
        for document in &documents {
            state.offer(&Primitives, now, document).unwrap();
        }
        let options = store::Options::new(crate::app::read_link(Arc::new(Primitives)));
        let store = Store::open(&self.dir().store(), &options).unwrap();
        let writes = overlay::trust::everything(&state);
        store.durable(writes).await.unwrap();
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn an_issuers_host_rotates_itself() {
    let host = Host::found();
    let old = host.node();
    let rotated = rotate(&host.state).await.unwrap();
    assert_eq!((rotated.old, rotated.new), (old, host.node()));
    assert_ne!(rotated.old, rotated.new);
}

#[tokio::test]
async fn who_is_revoked_does_not_rotate_itself_into_somebody_else() {
    let host = Host::found();
    let old = host.node();
    host.revoke(Act::Node(old)).await;
    let refused = rotate(&host.state).await.unwrap_err();
    assert!(
        matches!(&refused, RotateError::Refused(Refused::NodeRevoked(_))),
        "{refused:?}"
    );
    assert_eq!(host.node(), old);
}

#[tokio::test]
async fn nor_does_one_whose_issuer_is_revoked() {
    let host = Host::found();
    let issuer = setup::issuer(&host.dir()).unwrap().unwrap();
    let act = Act::Issuer {
        issuer: issuer.public().id(&Primitives),
        since: protocol::time::UnixSeconds(0),
        since_sequence: None,
    };
    host.revoke(act).await;
    let refused = rotate(&host.state).await.unwrap_err();
    assert!(
        matches!(&refused, RotateError::Refused(Refused::UnknownMember(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_restored_one_hears_of_the_present_first() {
    let host = Host::found();
    let file = host.state.with_extension("backup");
    let from = crate::backup::StoreFrom::Stopped;
    crate::backup::make(&host.state, from, None, &file).unwrap();
    let state = host.state.with_extension("restored");
    crate::backup::restore(&file, &state, None, false)
        .await
        .unwrap();
    let refused = rotate(&state).await.unwrap_err();
    assert!(matches!(refused, RotateError::NotSynced), "{refused:?}");
    assert!(refused.hint().unwrap().contains("start it first"));
    Restored::done(&StateDir::open(&state).unwrap()).unwrap();
    rotate(&state).await.unwrap();
}
