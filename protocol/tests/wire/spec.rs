//! SPEC.md against the code: its worked example, its tables of refusals, its numbers.

use protocol::codec;
use protocol::crypto::{Algorithm, domain};
use protocol::envelope::{Payload, UnverifiedEnvelope, body_digest};
use protocol::id::Digest;

use crate::raw::Raw;
use crate::world::{CALL, CRYPTO, SALT, public, world};

const SPEC: &str = include_str!("../../SPEC.md");

/// The hex of the fenced block that begins with `hex NAME`, white space left out.
fn block(name: &str) -> String {
    let start = format!("```hex {name}\n");
    let (_, rest) = SPEC
        .split_once(&start)
        .unwrap_or_else(|| panic!("no block `{name}`"));
    let (hex, _) = rest.split_once("```").unwrap();
    hex.split_whitespace().collect()
}

/// The blocks that differ from what the code makes, as they should be.
#[derive(Default)]
struct Differences(Vec<String>);

impl Differences {
    fn check(&mut self, name: &str, bytes: impl AsRef<[u8]>) {
        let found = hex::encode(bytes);
        if found != block(name) {
            let lines: Vec<&str> = (0..found.len())
                .step_by(LINE)
                .map(|at| &found[at..found.len().min(at + LINE)])
                .collect();
            self.0
                .push(format!("```hex {name}\n{}\n```", lines.join("\n")));
        }
    }
}

/// Hex digits to a line.
const LINE: usize = 96;

#[test]
fn the_worked_example_is_what_the_code_makes() {
    let w = world();
    let sealed = w.request();
    let raw = Raw::of(&sealed.bytes);
    let set = public(&w.caller.signing);
    let mut differences = Differences::default();
    differences.check("seed", crate::world::seed("test/caller/signing/ed25519"));
    differences.check("ed25519-public", &set.ed25519);
    differences.check("kid-ml-dsa-65", set.kid(&CRYPTO, Algorithm::MlDsa65));
    differences.check("kid-ed25519", set.kid(&CRYPTO, Algorithm::Ed25519));
    differences.check("mesh", w.mesh());
    differences.check("body-digest", body_digest(&CRYPTO, &SALT, CALL));
    differences.check("protected", &raw.protected);
    differences.check("payload", &raw.payload);
    differences.check("envelope-id", sealed.id);
    differences.check("signature-header-ml-dsa-65", &raw.signatures[0].protected);
    differences.check("signature-header-ed25519", &raw.signatures[1].protected);
    differences.check("signature-ed25519", &raw.signatures[1].bytes);
    let request = world().request_header().claims.request_id;
    let start = Digest::over(&CRYPTO, domain::STREAM_HASH, &[request.as_bytes()]);
    differences.check("stream-hash-0", start);
    let parts: [&[u8]; 2] = [start.as_bytes(), sealed.id.as_bytes()];
    differences.check(
        "stream-hash-1",
        Digest::over(&CRYPTO, domain::STREAM_HASH, &parts),
    );
    let nodes = [w.caller.id, w.host.id].map(|id| id.to_string());
    assert_eq!(differences.0.join("\n"), "", "{nodes:?}");
    assert!(nodes.iter().all(|node| SPEC.contains(node)), "{nodes:?}");
    // The blocks read back as the parts of this very envelope.
    let payload = hex::decode(block("payload")).unwrap();
    let payload: Payload = codec::decode(&payload, 4096).unwrap();
    assert_eq!(payload.body, CALL);
    let unverified = UnverifiedEnvelope::parse(&sealed.bytes).unwrap();
    assert_eq!(unverified.id(&CRYPTO), sealed.id);
}

/// The sources whose `reason` functions name refusals.
const SOURCES: &[(&str, &str)] = &[
    ("codec", include_str!("../../src/codec.rs")),
    ("cose", include_str!("../../src/cose.rs")),
    ("header", include_str!("../../src/envelope/header.rs")),
    (
        "unverified",
        include_str!("../../src/envelope/unverified.rs"),
    ),
    ("replay", include_str!("../../src/envelope/replay.rs")),
    ("stream", include_str!("../../src/envelope/stream.rs")),
    ("hop", include_str!("../../src/envelope/hop.rs")),
    ("trust", include_str!("../../src/trust/mod.rs")),
    ("ticket", include_str!("../../src/trust/ticket.rs")),
    ("hello", include_str!("../../src/hello.rs")),
    ("mcp", include_str!("../../src/mcp/error.rs")),
];

#[test]
fn every_refusal_is_in_the_tables() {
    let mut missing = Vec::new();
    for (file, source) in SOURCES {
        let (_, after) = source.split_once("fn reason(").unwrap();
        let (body, _) = after.split_once("\n    }").unwrap();
        let names: Vec<&str> = body.split('"').skip(1).step_by(2).collect();
        assert!(names.len() > 3, "{file}");
        for name in names {
            if !SPEC.contains(&format!("| `{name}` |")) {
                missing.push(format!("{file}: {name}"));
            }
        }
    }
    assert!(missing.is_empty(), "not in SPEC.md: {missing:#?}");
}

#[test]
fn every_label_and_content_type_is_in_the_specification() {
    let source = include_str!("../../src/crypto/domain.rs");
    let quoted = source.split('"').skip(1).step_by(2);
    let names: Vec<&str> = quoted
        .filter(|t| t.starts_with("hedgerow/v1/") || t.contains("vnd.hedgerow"))
        .collect();
    assert!(names.len() > 15);
    for name in names {
        assert!(SPEC.contains(&format!("`{name}`")), "{name}");
    }
}
