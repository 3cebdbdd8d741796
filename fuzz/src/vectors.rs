//! The golden vectors of `protocol/tests/vectors` as further seeds: really signed, and wrong in
//! every way that has a name. How they are written stands in the README there.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

/// The files in the order in which they may refer to each other; each seeds the target of its name,
/// if there is one.
const FILES: &[&str] = &[
    "root",
    "membership",
    "membership_request",
    "hello",
    "node_record",
    "envelope",
    "sealed_envelope",
    "hop_chain",
    "evidence",
    "next_root",
    "bundle",
    "log_head",
    "log_entry",
    "timestamp",
    "sync_message",
    "ack",
];

/// The bytes of all vectors by file.
pub fn read() -> HashMap<&'static str, Vec<Vec<u8>>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol/tests/vectors");
    let mut known: HashMap<String, Vec<u8>> = HashMap::new();
    let mut by_file: HashMap<&str, Vec<Vec<u8>>> = HashMap::new();
    for file in FILES {
        let text = std::fs::read(dir.join(format!("{file}.json"))).expect("the vectors are there");
        let parsed: Value = serde_json::from_slice(&text).expect("a vector file is JSON");
        for vector in parsed["vectors"].as_array().expect("a list of vectors") {
            let name = vector["name"].as_str().expect("a vector has a name");
            let parts = vector["bytes"].as_array().expect("a vector has bytes");
            let bytes: Vec<u8> = parts
                .iter()
                .flat_map(|part| resolve(&known, part))
                .collect();
            known.insert(format!("{file}/{name}"), bytes.clone());
            by_file.entry(file).or_default().push(bytes);
        }
    }
    by_file
}

/// A hex string, or `[vector, from, to]` of an earlier one.
fn resolve(known: &HashMap<String, Vec<u8>>, part: &Value) -> Vec<u8> {
    if let Some(text) = part.as_str() {
        let digit = |c: &u8| char::from(*c).to_digit(16).expect("hex");
        let byte = |pair: &[u8]| pair.iter().fold(0, |byte, c| byte << 4 | digit(c));
        return text
            .as_bytes()
            .chunks(2)
            .map(|pair| byte(pair) as u8)
            .collect();
    }
    let at = |i: usize| part[i].as_u64().expect("an offset") as usize;
    let of = part[0].as_str().expect("the name of a vector");
    known[of][at(1)..at(2)].to_vec()
}
