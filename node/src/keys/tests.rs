//! Key files: what is written, and every way in which one is refused.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU8, Ordering};

use protocol::crypto::Algorithm;

use super::*;

/// Not SHA-256: a mixing function good enough to notice a changed byte.
struct TestCrypto(AtomicU8);

impl Crypto for TestCrypto {
    fn sha256(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut state = 0xcbf2_9ce4_8422_2325_u64;
        for byte in parts.iter().flat_map(|p| p.iter()) {
            state = (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        let mut out = [0; 32];
        for chunk in out.chunks_mut(8) {
            state = state.rotate_left(17).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            chunk.copy_from_slice(&state.to_be_bytes());
        }
        out
    }

    fn verify(&self, _: Algorithm, _: &[u8], _: &[u8], _: &[u8]) -> Result<(), CryptoError> {
        Err(CryptoError::BadSignature)
    }

    fn fill_random(&self, out: &mut [u8]) -> Result<(), CryptoError> {
        out.fill(self.0.fetch_add(1, Ordering::Relaxed));
        Ok(())
    }
}

fn crypto() -> TestCrypto {
    TestCrypto(AtomicU8::new(1))
}

fn file(kind: KeyKind) -> (tempfile::TempDir, PathBuf, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(kind.file_name());
    let seeds = Seeds::generate(kind, &crypto()).unwrap();
    create(&path, kind, &seeds, &crypto()).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    (dir, path, text)
}

/// `text` with its check made anew.
fn checked(text: &str) -> String {
    let (covered, _) = text.trim_end().rsplit_once(' ').unwrap();
    let check = checksum(format!("{covered} ").as_bytes(), &crypto());
    format!("{covered} {check}\n")
}

#[test]
fn every_kind_reads_back() {
    for kind in KeyKind::ALL {
        let (dir, path, text) = file(kind);
        let seeds = load(&path, kind, &crypto()).unwrap();
        assert_eq!((seeds.first(), seeds.second()), (&[1; 32], &[2; 32]));
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert!(text.len() <= 177, "{}", text.len());
        let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(names.len(), 1, "no temporary file stays");
    }
}

#[test]
fn an_existing_file_is_never_replaced() {
    let (dir, path, text) = file(KeyKind::Tls);
    let seeds = Seeds::generate(KeyKind::Tls, &TestCrypto(AtomicU8::new(9))).unwrap();
    let error = create(&path, KeyKind::Tls, &seeds, &crypto()).unwrap_err();
    assert!(matches!(error, KeyFileError::Exists { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_missing_file_and_a_missing_directory_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("no/tls.key");
    let error = load(&path, KeyKind::Tls, &crypto()).unwrap_err();
    assert!(matches!(error, KeyFileError::Missing { .. }), "{error}");
    let hint = error.hint().unwrap();
    assert!(
        hint.contains("from a backup") && hint.contains("join"),
        "{hint}"
    );
    let seeds = Seeds::generate(KeyKind::Tls, &crypto()).unwrap();
    let error = create(&path, KeyKind::Tls, &seeds, &crypto()).unwrap_err();
    assert!(matches!(error, KeyFileError::Write { .. }), "{error}");
}

#[test]
fn others_must_not_be_able_to_read_it() {
    let (dir, path, _) = file(KeyKind::Signing);
    for mode in [0o640, 0o604, 0o644, 0o660] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let error = load(&path, KeyKind::Signing, &crypto()).unwrap_err();
        assert!(
            matches!(
                error,
                KeyFileError::Private {
                    source: PrivateError::Exposed { .. },
                    ..
                }
            ),
            "{error}"
        );
        let hint = error.hint().unwrap();
        assert!(
            hint.contains("chmod 600") && hint.contains("new signing key"),
            "{hint}"
        );
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let link = dir.path().join("link.key");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(matches!(
        load(&link, KeyKind::Signing, &crypto()),
        Err(KeyFileError::Private {
            source: PrivateError::Symlink { .. },
            ..
        })
    ));
}

#[test]
fn a_key_of_another_kind_is_refused() {
    let (_dir, path, _) = file(KeyKind::Admin);
    let error = load(&path, KeyKind::Signing, &crypto()).unwrap_err();
    assert!(
        matches!(
            error,
            KeyFileError::WrongKind {
                found: KeyKind::Admin,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn every_changed_byte_and_every_truncation_is_refused() {
    let (_dir, path, text) = file(KeyKind::Issuer);
    let refused = |bytes: &[u8]| decode(&path, KeyKind::Issuer, bytes, &crypto()).is_err();
    assert!(!refused(text.as_bytes()));
    for at in 0..text.len() {
        assert!(refused(&text.as_bytes()[..at]), "cut at {at}");
        let mut changed = text.clone().into_bytes();
        changed[at] ^= 1;
        assert!(refused(&changed), "changed at {at}");
    }
    let longer = format!("{text}\n");
    assert!(refused(longer.as_bytes()));
}

#[test]
fn malformed_contents_have_their_own_names() {
    let (_dir, path, text) = file(KeyKind::Tls);
    let error = |text: &str| decode(&path, KeyKind::Tls, text.as_bytes(), &crypto()).unwrap_err();
    let damaged = text.replace("01010101", "01010103");
    assert!(matches!(error(&damaged), KeyFileError::Checksum { .. }));
    let newer = text.replace("key-v1", "key-v3");
    assert!(matches!(error(&newer), KeyFileError::UnknownVersion { .. }));
    let kind = checked(&text.replace(" tls ", " quic "));
    assert!(matches!(error(&kind), KeyFileError::Malformed { .. }));
    let digits = checked(&text.replace("01010101", "0101zz01"));
    assert!(matches!(error(&digits), KeyFileError::Malformed { .. }));
    let spaces = checked(&text.replace(" tls ", "  tls "));
    assert!(matches!(error(&spaces), KeyFileError::Malformed { .. }));
    assert!(matches!(error(""), KeyFileError::Malformed { .. }));
    std::fs::write(&path, vec![b'x'; MAX_KEY_FILE_BYTES + 1]).unwrap();
    assert!(matches!(
        load(&path, KeyKind::Tls, &crypto()),
        Err(KeyFileError::Private {
            source: PrivateError::TooLarge { .. },
            ..
        })
    ));
}

#[test]
fn seeds_no_generator_makes_are_refused() {
    let (_dir, path, text) = file(KeyKind::Tls);
    let one = "01".repeat(32);
    let two = "02".repeat(32);
    for (from, to) in [
        (&one, "00".repeat(32)),
        (&two, "00".repeat(32)),
        (&two, one.clone()),
    ] {
        std::fs::write(&path, checked(&text.replace(from.as_str(), &to))).unwrap();
        let error = load(&path, KeyKind::Tls, &crypto()).unwrap_err();
        assert!(matches!(error, KeyFileError::Weak { .. }), "{error}");
    }
    assert!(matches!(
        create(&path, KeyKind::Tls, &Seeds::zero(), &crypto()),
        Err(KeyFileError::Weak { .. })
    ));
}

#[test]
fn nothing_shows_a_seed() {
    let (_dir, path, text) = file(KeyKind::Tls);
    let seeds = load(&path, KeyKind::Tls, &crypto()).unwrap();
    assert_eq!(format!("{seeds:?}"), "Seeds(…)");
    let damaged = text.replace("01010101", "01010103");
    let error = decode(&path, KeyKind::Tls, damaged.as_bytes(), &crypto()).unwrap_err();
    for shown in [error.to_string(), format!("{error:?}")] {
        assert!(!shown.contains("0101"), "{shown}");
    }
}
