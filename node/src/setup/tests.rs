//! Rotations killed at every step, and joining by an issuer that the genesis root does not name.

use std::panic::{AssertUnwindSafe, catch_unwind};

use protocol::crypto::SigningSet;
use protocol::trust::{PeerAddress, VerifiedMembership};
use zeroize::Zeroizing;

use super::*;

const DAY_S: u64 = 24 * 3600;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A directory in which a mesh was founded.
struct Host {
    tmp: tempfile::TempDir,
    mesh: MeshId,
}

impl Host {
    fn found() -> Self {
        let tmp = tempfile::tempdir().unwrap();
        let founding = Founding {
            mesh: name("m"),
            node: name("a"),
            groups: vec![],
            site: None,
        };
        let phrase = Zeroizing::new("four words are enough".to_owned());
        let phrase = Passphrase::new(phrase).unwrap();
        let mesh = found(&tmp.path().join("s"), &founding, &phrase).unwrap();
        Self { tmp, mesh }
    }

    fn state(&self) -> PathBuf {
        self.tmp.path().join("s")
    }

    fn dir(&self) -> StateDir {
        StateDir::open(&self.state()).unwrap()
    }

    fn admin(&self) -> SigningKeys {
        let phrase = Zeroizing::new("four words are enough".to_owned());
        keys::admin::open(&self.state(), &Passphrase::new(phrase).unwrap()).unwrap()
    }

    /// A membership of these keys by an issuer.
    fn membership(&self, tls_key: &[u8], signing: &SigningSet, issuer: &SigningKeys) -> Vec<u8> {
        let now = SystemClock.now().seconds();
        let membership = Membership {
            mesh: self.mesh,
            tls_key: tls_key.to_vec(),
            signing: signing.clone(),
            name: name("a"),
            groups: vec![],
            site: None,
            not_before: now,
            not_after: now.plus(DAY_S),
            issuer_sequence: 7,
            replaces: None,
        };
        membership.sign(&Primitives, issuer).unwrap()
    }

    /// The root after the genesis.
    fn root(&self, change: impl FnOnce(&mut Root)) -> Vec<u8> {
        let genesis = read(&self.dir().root()).unwrap();
        let genesis = VerifiedRoot::genesis(&Primitives, &genesis).unwrap();
        let mut root = genesis.root().clone();
        root.version = 2;
        root.mesh = Some(genesis.mesh());
        root.previous = Some(genesis.hash());
        change(&mut root);
        root.sign(&Primitives, &[&self.admin()]).unwrap()
    }
}

fn copy(from: &Path, to: &Path) {
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

#[test]
fn a_rotation_killed_at_any_step_is_finished_or_has_not_begun() {
    let host = Host::found();
    let old = load(&host.dir()).unwrap().node();
    let next = next_keys(&host.dir()).unwrap();
    let new = next.tls.node_id(&Primitives);
    let issuer = issuer(&host.dir()).unwrap().unwrap();
    let membership = host.membership(next.tls.public_key(), next.signing.public(), &issuer);
    let (mut begun, mut finished) = (0, 0);
    for step in 0.. {
        let state = host.tmp.path().join(format!("killed-{step}"));
        copy(&host.state(), &state);
        let dir = StateDir::open(&state).unwrap();
        crash::after(Some(step));
        let rotated = catch_unwind(AssertUnwindSafe(|| commit_rotation(&dir, &membership)));
        crash::after(None);
        let node = load(&dir).unwrap().node();
        if node == new {
            finished += 1;
            // An empty directory may stay.
            let left = rotation_path(&dir);
            for file in ["membership.cose", "keys/tls.key", "keys/signing.key"] {
                assert!(!left.join(file).exists(), "{file}: killed at step {step}");
            }
        } else {
            assert_eq!(node, old, "killed at step {step}");
            begun += 1;
            // With the same keys again.
            let again = next_keys(&dir).unwrap();
            assert_eq!(again.tls.node_id(&Primitives), new);
            commit_rotation(&dir, &membership).unwrap();
        }
        // Whatever came before, it is the new node now and stays it.
        assert_eq!(load(&dir).unwrap().node(), new, "killed at step {step}");
        assert_eq!(load(&dir).unwrap().node(), new, "killed at step {step}");
        if let Ok(rotated) = rotated {
            rotated.unwrap();
            break;
        }
    }
    assert!(begun >= 1 && finished >= 6, "{begun} and {finished}");
}

#[test]
fn finishing_a_rotation_may_be_killed_as_well() {
    let host = Host::found();
    let next = next_keys(&host.dir()).unwrap();
    let new = next.tls.node_id(&Primitives);
    let issuer = issuer(&host.dir()).unwrap().unwrap();
    let membership = host.membership(next.tls.public_key(), next.signing.public(), &issuer);
    let dir = host.dir();
    let mut killed = 0;
    // Again and again one step further, in one directory.
    for step in 0.. {
        crash::after(Some(step));
        let rotated = catch_unwind(AssertUnwindSafe(|| {
            if step == 0 {
                keep_membership(&rotation_path(&dir).join("membership.cose"), &membership)?;
            }
            load(&dir)
        }));
        crash::after(None);
        match rotated {
            Ok(identity) => {
                assert_eq!(identity.unwrap().node(), new);
                break;
            }
            Err(_) => killed += 1,
        }
    }
    assert!(killed >= 6, "{killed}");
}

#[test]
fn half_a_membership_does_not_take_the_place_of_a_whole_one() {
    let host = Host::found();
    let old = load(&host.dir()).unwrap().node();
    next_keys(&host.dir()).unwrap();
    // What a crash while writing leaves.
    let part = rotation_path(&host.dir()).join("membership.cose.new");
    std::fs::write(part, b"half").unwrap();
    assert_eq!(load(&host.dir()).unwrap().node(), old);
}

#[test]
fn a_host_joins_by_an_issuer_that_a_later_root_names() {
    let host = Host::found();
    let issuer = SigningKeys::generate(&Primitives).unwrap();
    let second = host.root(|root| root.issuers[0].keys = issuer.public().clone());
    let state = host.tmp.path().join("b");
    let request = identity(&state, None).unwrap().request;
    let request = MembershipRequest::peek(&request).unwrap();
    let membership = host.membership(&request.tls_key, &request.signing, &issuer);
    let admission = |roots: Option<&[u8]>| {
        let admission = Admission {
            root: read(&host.dir().root()).unwrap(),
            membership: membership.clone(),
            peers: Vec::<PeerAddress>::new(),
            issuers: None,
            roots: roots.map(|root| vec![root.to_vec().into()]),
        };
        admission.encode()
    };
    // By the genesis root alone it is nobody's.
    let unknown = join(&state, &admission(None)).unwrap_err();
    assert!(
        matches!(
            unknown,
            SetupError::Identity(IdentityError::Membership(TrustError::UnknownIssuer))
        ),
        "{unknown:?}"
    );
    assert!(!state.join("membership.cose").exists());
    // A later root that does not follow is none.
    let mut forged = second.clone();
    *forged.last_mut().unwrap() ^= 1;
    join(&state, &admission(Some(&forged))).unwrap_err();
    assert_eq!(join(&state, &admission(Some(&second))).unwrap(), host.mesh);
    let dir = StateDir::open(&state).unwrap();
    let loaded = load(&dir).unwrap();
    assert_eq!(loaded.root().root().version, 2);
    let verified = VerifiedMembership::verify(&Primitives, &loaded.root(), &membership);
    assert_eq!(verified.unwrap().node(), loaded.node());
    // The roots are part of what it is: without them it does not start.
    std::fs::remove_file(dir.roots()).unwrap();
    assert!(load(&dir).is_err());
}

#[test]
fn nothing_is_founded_over_what_a_restore_left() {
    let host = Host::found();
    let dir = host.dir();
    std::fs::write(dir.restore_under_way(), b"?").unwrap();
    let refused = load(&dir).err().unwrap();
    assert!(matches!(refused, SetupError::RestoreUnfinished(_)));
    assert!(refused.hint().unwrap().contains("hedgerow restore"));
    for left in [
        "restore-under-way",
        ".restoring",
        "restored",
        "before-restore-1",
    ] {
        let state = host.tmp.path().join("empty");
        let empty = StateDir::create(&state).unwrap();
        std::fs::create_dir(state.join(left)).unwrap();
        let refused = keys_to_join_with(&state).err().unwrap();
        assert!(
            matches!(refused, SetupError::RestoreUnfinished(_)),
            "{left}"
        );
        std::fs::remove_dir_all(empty.path()).unwrap();
    }
}
