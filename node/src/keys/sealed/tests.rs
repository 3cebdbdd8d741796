//! Sealed key files: what is written, and every way in which one is refused.

use std::path::PathBuf;

use hedgerow_crypto::Primitives;

use super::*;

const PHRASE: &str = "correct horse battery staple";

fn phrase(text: &str) -> Passphrase {
    Passphrase::new(Zeroizing::new(text.to_owned())).unwrap()
}

fn seeds() -> Seeds {
    Seeds::generate(KeyKind::Admin, &Primitives).unwrap()
}

/// A line sealed cheaply, as a file.
fn file(dir: &tempfile::TempDir, line: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = dir.path().join("admin.key");
    std::fs::write(&path, line).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn cheap(seeds: &Seeds) -> String {
    seal(
        KeyKind::Admin,
        seeds,
        &phrase(PHRASE),
        Cost::LEAST,
        &Primitives,
    )
    .unwrap()
}

fn try_open(path: &Path) -> Result<Seeds, KeyFileError> {
    open(path, KeyKind::Admin, &phrase(PHRASE), &Primitives)
}

/// `line` with its `index`th word replaced and its check made anew.
fn with_word(line: &str, index: usize, word: &str) -> String {
    let mut words: Vec<&str> = line.trim_end().split(' ').collect();
    words[index] = word;
    words.pop();
    let covered = format!("{} ", words.join(" "));
    let check = checksum(covered.as_bytes(), &Primitives);
    format!("{covered}{check}\n")
}

#[test]
fn a_file_reads_back_and_holds_no_seed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin.key");
    let made = seeds();
    create(&path, KeyKind::Admin, &made, &phrase(PHRASE), &Primitives).unwrap();
    let line = std::fs::read_to_string(&path).unwrap();
    assert!(
        line.starts_with("hedgerow-key-v2 admin argon2id 65536 3 4 "),
        "{line}"
    );
    assert!(line.len() <= super::super::MAX_KEY_FILE_BYTES);
    for seed in [made.first(), made.second()] {
        assert!(!line.contains(&hex::encode(seed)));
    }
    assert_eq!(form(&path, KeyKind::Admin).unwrap(), Form::Sealed);
    let opened = try_open(&path).unwrap();
    assert_eq!(
        (opened.first(), opened.second()),
        (made.first(), made.second())
    );
    let error = create(&path, KeyKind::Admin, &made, &phrase(PHRASE), &Primitives).unwrap_err();
    assert!(matches!(error, KeyFileError::Exists { .. }), "{error}");
}

#[test]
fn the_same_seeds_never_make_the_same_file() {
    let made = seeds();
    assert_ne!(cheap(&made), cheap(&made));
}

#[test]
fn another_passphrase_is_named_and_hinted_at() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir, &cheap(&seeds()));
    let error = open(
        &path,
        KeyKind::Admin,
        &phrase("correct horse battery stable"),
        &Primitives,
    )
    .unwrap_err();
    assert!(
        matches!(error, KeyFileError::WrongPassphrase { .. }),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("cannot be recovered"));
    assert!(!error.to_string().contains("stable"));
}

#[test]
fn no_truncation_opens() {
    let dir = tempfile::tempdir().unwrap();
    let line = cheap(&seeds());
    for length in 0..line.len() {
        let path = file(&dir, &line[..length]);
        let error = try_open(&path).unwrap_err();
        assert!(
            matches!(error, KeyFileError::Malformed { .. }),
            "{length}: {error}"
        );
    }
}

#[test]
fn no_changed_byte_opens() {
    let dir = tempfile::tempdir().unwrap();
    let line = cheap(&seeds());
    for at in 0..line.len() {
        let mut bytes = line.clone().into_bytes();
        bytes[at] ^= 1;
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        assert!(try_open(&file(&dir, &text)).is_err(), "byte {at}");
    }
}

#[test]
fn absurd_parameters_are_refused_before_any_work() {
    let dir = tempfile::tempdir().unwrap();
    let line = cheap(&seeds());
    for (index, values) in [
        (3, ["0", "8", "19455", "1048577", "104857600"]),
        (4, ["0", "1", "17", "1000000", "4294967295"]),
        (5, ["0", "17", "255", "16777215", "4294967295"]),
    ] {
        for value in values {
            let error = try_open(&file(&dir, &with_word(&line, index, value))).unwrap_err();
            assert!(
                matches!(error, KeyFileError::Derivation { .. }),
                "{value}: {error}"
            );
        }
        for value in ["-1", "+3", "03", "4294967296", "", "x"] {
            let error = try_open(&file(&dir, &with_word(&line, index, value))).unwrap_err();
            assert!(
                matches!(error, KeyFileError::Malformed { .. }),
                "{value}: {error}"
            );
        }
    }
}

#[test]
fn what_is_authenticated_cannot_be_exchanged() {
    let dir = tempfile::tempdir().unwrap();
    let (line, other) = (cheap(&seeds()), cheap(&seeds()));
    let word = |index: usize| other.trim_end().split(' ').nth(index).unwrap().to_owned();
    let changed = [(3, "19457".to_owned()), (4, "3".to_owned())];
    for (index, value) in changed.into_iter().chain([6, 7, 8].map(|i| (i, word(i)))) {
        let error = try_open(&file(&dir, &with_word(&line, index, &value))).unwrap_err();
        assert!(
            matches!(error, KeyFileError::WrongPassphrase { .. }),
            "{index}: {error}"
        );
    }
    let error = try_open(&file(&dir, &with_word(&line, 1, "issuer"))).unwrap_err();
    assert!(matches!(error, KeyFileError::WrongKind { .. }), "{error}");
    for (index, value) in [(2, "scrypt"), (6, "00"), (7, "zz"), (8, "00")] {
        let error = try_open(&file(&dir, &with_word(&line, index, value))).unwrap_err();
        assert!(matches!(error, KeyFileError::Malformed { .. }), "{error}");
    }
}

#[test]
fn the_two_forms_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let clear = dir.path().join("clear.key");
    super::super::create(&clear, KeyKind::Admin, &seeds(), &Primitives).unwrap();
    assert_eq!(form(&clear, KeyKind::Admin).unwrap(), Form::Clear);
    let error = try_open(&clear).unwrap_err();
    assert!(matches!(error, KeyFileError::InTheClear { .. }), "{error}");

    let sealed = file(&dir, &cheap(&seeds()));
    let error = super::super::load(&sealed, KeyKind::Admin, &Primitives).unwrap_err();
    assert!(matches!(error, KeyFileError::Sealed { .. }), "{error}");

    let later = file(&dir, "hedgerow-key-v3 admin x\n");
    let error = try_open(&later).unwrap_err();
    assert!(
        matches!(error, KeyFileError::UnknownVersion { .. }),
        "{error}"
    );
}
