//! Golden vectors: bytes and the name of what must become of them, for every implementation.
//!
//! `protocol/tests/vectors/README.md` says how to read them. Signatures are hedged, so the bytes
//! are made once and then only judged; `cargo test -p protocol --test wire -- --ignored write`
//! makes them anew after a change of format.
#![expect(
    clippy::disallowed_methods,
    reason = "tests read and write vector files; the crate itself does not"
)]

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::case::Case;
use crate::world::{NOW, world};

/// All files together, in bytes.
const MAX_TOTAL: u64 = 416 * 1024;

/// A stretch shorter than this is written out rather than referred to.
const MIN_REFERENCE: usize = 24;

/// A file: its name, what judges its vectors, and the cases they are made of.
type File = (&'static str, fn(&[u8]) -> &'static str, fn() -> Vec<Case>);

/// The files. One may refer to those before it.
const FILES: &[File] = &[
    ("root", crate::root::judge, crate::root::cases),
    (
        "membership",
        crate::membership::judge,
        crate::membership::cases,
    ),
    (
        "membership_request",
        crate::membership::judge_request,
        crate::membership::request_cases,
    ),
    ("hello", crate::record::judge, crate::record::cases),
    (
        "node_record",
        crate::node_record::judge,
        crate::node_record::cases,
    ),
    ("envelope", crate::envelope::judge, envelopes),
    (
        "sealed_envelope",
        crate::sealing::judge,
        crate::sealing::cases,
    ),
    ("hop_chain", crate::hop::judge, crate::hop::cases),
    ("evidence", crate::evidence::judge, crate::evidence::cases),
    (
        "next_root",
        crate::trust::judge_root,
        crate::trust::root_cases,
    ),
    (
        "bundle",
        crate::trust::judge_bundle,
        crate::trust::bundle_cases,
    ),
    ("log_head", crate::trust::judge_log, crate::trust::log_cases),
    (
        "log_entry",
        crate::trust::judge_entry,
        crate::trust::entry_cases,
    ),
    (
        "timestamp",
        crate::trust::judge_timestamp,
        crate::trust::timestamp_cases,
    ),
    (
        "sync_message",
        crate::sync::judge_message,
        crate::sync::message_cases,
    ),
    ("ack", crate::sync::judge_ack, crate::sync::ack_cases),
];

fn envelopes() -> Vec<Case> {
    let mut all = crate::envelope::accepted();
    all.extend(crate::envelope::cases());
    all.extend(crate::malformed::cases());
    all.extend(crate::signatures::cases());
    all.extend(crate::header::cases());
    all
}

/// Judged in the tests only: every fresh pair of signatures is 7 kB of hex.
const LEFT_OUT: &[&str] = &[
    "root/an-envelope",
    "root/aad-of-the-mesh",
    "membership/foreign-mesh",
    "membership/signed-by-itself",
    "membership/signed-by-an-admin",
    "membership/not-yet-valid",
    "membership_request/enrols-a-set-that-did-not-sign",
    "membership_request/proof-empty",
    "node_record/signed-by-another-member",
    "node_record/membership-of-another",
    "hello/membership-of-foreign-mesh",
    "envelope/issued-within-clock-difference",
    "envelope/expires-next-second",
    "envelope/wrong-issuer",
    "envelope/wrong-direction",
    "envelope/salt-of-another-digest",
    "envelope/longest-life",
    "envelope/payload-empty",
    "envelope/payload-third-item",
    "envelope/payload-trailing-byte",
    "envelope/payload-without-body",
    "envelope/payload-short-salt",
    "envelope/payload-text-body",
    "envelope/keys-of-the-issuer",
    "envelope/aad-empty",
    "envelope/ed25519-of-another-message",
    "sealed_envelope/under-another-header",
    "sealed_envelope/cut",
    "sealed_envelope/empty",
    "hop_chain/unchained",
    "hop_chain/first-with-previous",
    "hop_chain/other-node",
    "hop_chain/other-peer",
    "hop_chain/signed-by-another",
    "hop_chain/first-changed",
    "hop_chain/verdict-too-long",
    "ack/foreign-mesh",
    "ack/over-8-kib",
];

fn kept(file: &'static str, cases: fn() -> Vec<Case>) -> impl Iterator<Item = Case> {
    let left_out = move |case: &Case| LEFT_OUT.contains(&format!("{file}/{}", case.name).as_str());
    cases().into_iter().filter(move |case| !left_out(case))
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

/// The vectors of all files by `file/name`: bytes and expectation.
fn read() -> BTreeMap<String, (Vec<u8>, String)> {
    let mut all = BTreeMap::new();
    for (file, ..) in FILES {
        let path = folder().join(format!("{file}.json"));
        // One that is missing is found missing by the count of its vectors.
        let Ok(text) = std::fs::read(&path) else {
            continue;
        };
        let parsed: Value = serde_json::from_slice(&text).unwrap();
        for vector in parsed["vectors"].as_array().unwrap() {
            let id = format!("{file}/{}", vector["name"].as_str().unwrap());
            let bytes = join(&all, vector["bytes"].as_array().unwrap());
            let expected = vector["expect"].as_str().unwrap().to_owned();
            assert!(
                all.insert(id.clone(), (bytes, expected)).is_none(),
                "{id} twice"
            );
        }
    }
    all
}

/// The bytes that `parts` describe: hex strings, and `[vector, from, to]` of an earlier vector.
fn join(known: &BTreeMap<String, (Vec<u8>, String)>, parts: &[Value]) -> Vec<u8> {
    let part = |part: &Value| match part {
        Value::String(text) => hex::decode(text).unwrap(),
        _ => {
            let at = |i: usize| usize::try_from(part[i].as_u64().unwrap()).unwrap();
            known[part[0].as_str().unwrap()].0[at(1)..at(2)].to_vec()
        }
    };
    parts.iter().flat_map(part).collect()
}

#[test]
fn every_vector_comes_out_as_it_says() {
    let vectors = read();
    for (file, judge, cases) in FILES {
        let own = vectors
            .iter()
            .filter(|(id, _)| id.split('/').next() == Some(file));
        let mut seen = 0;
        for (id, (bytes, expected)) in own {
            assert_eq!(judge(bytes), expected, "{id}");
            seen += 1;
        }
        let kept = kept(file, *cases).count();
        assert_eq!(seen, kept, "{file}: the vectors are older than the cases");
    }
}

#[test]
fn vectors_are_small() {
    let size = |file: &str| {
        std::fs::metadata(folder().join(format!("{file}.json")))
            .unwrap()
            .len()
    };
    let total: u64 = FILES.iter().map(|(file, ..)| size(file)).sum();
    assert!(total <= MAX_TOTAL, "{total} bytes");
}

/// Vectors that others can refer to, found by any stretch of [`MIN_REFERENCE`] bytes.
#[derive(Default)]
struct Known {
    vectors: Vec<(String, Vec<u8>)>,
    stretches: HashMap<Vec<u8>, Vec<(usize, usize)>>,
}

impl Known {
    fn add(&mut self, id: String, bytes: Vec<u8>) {
        let index = self.vectors.len();
        for (at, stretch) in bytes.windows(MIN_REFERENCE).enumerate() {
            let places = self.stretches.entry(stretch.to_vec()).or_default();
            places.push((index, at));
        }
        self.vectors.push((id, bytes));
    }

    /// The vector and the stretch of it with which `bytes` begin, the longest there is.
    fn longest(&self, bytes: &[u8]) -> Option<(&str, usize, usize)> {
        let places = self.stretches.get(bytes.get(..MIN_REFERENCE)?)?;
        let stretch = |&(index, from): &(usize, usize)| {
            let (id, blob) = &self.vectors[index];
            let equal = blob[from..].iter().zip(bytes).take_while(|(a, b)| a == b);
            (id.as_str(), from, from + equal.count())
        };
        places
            .iter()
            .map(stretch)
            .max_by_key(|(_, from, to)| to - from)
    }

    /// `bytes` in terms of what is known already.
    fn split(&self, bytes: &[u8]) -> Vec<Value> {
        let mut parts: Vec<Value> = Vec::new();
        let mut literal = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            if let Some((id, from, to)) = self.longest(&bytes[at..]) {
                flush(&mut parts, &mut literal);
                parts.push(json!([id, from, to]));
                at += to - from;
            } else {
                literal.push(bytes[at]);
                at += 1;
            }
        }
        flush(&mut parts, &mut literal);
        parts
    }
}

fn flush(parts: &mut Vec<Value>, literal: &mut Vec<u8>) {
    if !literal.is_empty() {
        parts.push(Value::String(hex::encode(&*literal)));
        literal.clear();
    }
}

/// What the vectors of a file are judged against.
fn context() -> Value {
    let w = world();
    json!({
        "now": NOW.0,
        "mesh": w.mesh(),
        "root": "root/valid",
        "caller": w.caller.id,
        "relays": w.relays.each_ref().map(|relay| relay.id),
        "host": w.host.id,
        "hop_chain_envelope": crate::hop::ENVELOPE,
    })
}

/// The vectors of a file that still holds all its cases and judges them alike; it stays as it is.
fn up_to_date(
    file: &'static str,
    judge: fn(&[u8]) -> &'static str,
    cases: fn() -> Vec<Case>,
) -> Option<Vec<(String, Vec<u8>)>> {
    if !folder().join(format!("{file}.json")).exists() {
        return None;
    }
    let own = |id: &String| id.split('/').next() == Some(file);
    let vectors: BTreeMap<String, (Vec<u8>, String)> =
        read().into_iter().filter(|(id, _)| own(id)).collect();
    let kept: Vec<Case> = kept(file, cases).collect();
    let holds = |case: &Case| {
        let known = vectors.get(&format!("{file}/{}", case.name));
        known.is_some_and(|(bytes, expected)| {
            expected == case.expected && judge(bytes) == case.expected
        })
    };
    let same = kept.len() == vectors.len() && kept.iter().all(holds);
    same.then(|| {
        vectors
            .into_iter()
            .map(|(id, (bytes, _))| (id, bytes))
            .collect()
    })
}

#[test]
#[ignore = "writes the vectors that are older than their cases anew"]
fn write() {
    let mut known = Known::default();
    for (file, judge, cases) in FILES {
        if let Some(vectors) = up_to_date(file, *judge, *cases) {
            for (id, bytes) in vectors {
                known.add(id, bytes);
            }
            continue;
        }
        let mut lines = Vec::new();
        for Case {
            name,
            bytes,
            expected,
        } in kept(file, *cases)
        {
            let parts = known.split(&bytes);
            lines.push(format!(
                "    {}",
                json!({"name": name, "expect": expected, "bytes": parts})
            ));
            // Short ones are not worth referring to, derived ones are found through their origin.
            let news: usize = parts.iter().filter_map(Value::as_str).map(str::len).sum();
            if news > 1024 {
                known.add(format!("{file}/{name}"), bytes);
            }
        }
        let text = format!(
            "{{\n  \"context\": {},\n  \"vectors\": [\n{}\n  ]\n}}\n",
            context(),
            lines.join(",\n")
        );
        std::fs::write(folder().join(format!("{file}.json")), text).unwrap();
    }
}
