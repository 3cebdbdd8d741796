//! Every decoder of Hedgerow as a libFuzzer target, in one binary so that one link serves all.
//!
//! `FUZZ_TARGET` names the target. With `FUZZ_LIST` set the binary prints the targets and their
//! `-max_len`; with `FUZZ_SEEDS` set it writes each target's seed corpus below that directory, made
//! by the code under test, so that seeds never fall behind the formats. `fuzz/run` does all of
//! this.
//!
//! A target fails by panicking. Beyond not panicking, targets check what the decoder promises: one
//! value, one encoding; what is accepted here other readers read alike; edits undo.
#![no_main]

#[cfg(feature = "node")]
mod daemon;
mod fake;
mod mcp;
mod policy;
mod seeds;
mod signed;
mod sync;
mod text;
mod trust;
mod vectors;

use std::sync::OnceLock;

/// One decoder under test.
struct Target {
    name: &'static str,
    /// Longest input tried.
    max_len: usize,
    run: fn(&[u8]),
    seeds: fn() -> Vec<Vec<u8>>,
}

/// All targets, `planted` last: the bug that shows that the fuzzer finds bugs.
const TARGETS: &[Target] = &[
    target("mcp_view", 2048, mcp::view, seeds::messages),
    target("mcp_splice", 2048, mcp::splice, seeds::messages),
    target("mcp_canonical", 2048, mcp::canonical_form, seeds::values),
    target("mcp_list", 2048, mcp::list, seeds::lists),
    target("mcp_build", 1024, mcp::build, seeds::parts),
    target("mcp_intent", 256, mcp::intent, seeds::tools),
    target("cbor_types", 16_384, signed::types, seeds::types),
    target("cose", 8192, signed::cose, seeds::cose),
    target("envelope", 8192, signed::envelope, seeds::envelopes),
    target("hop_chain", 12_288, signed::hop_chain, seeds::hop_chains),
    target("root", 16_384, signed::root, seeds::roots),
    target("membership", 16_384, signed::membership, seeds::memberships),
    target(
        "membership_request",
        16_384,
        signed::request,
        seeds::requests,
    ),
    target(
        "node_record",
        24_576,
        signed::node_record,
        seeds::node_records,
    ),
    target("admission", 24_576, signed::admission, seeds::admissions),
    target("evidence", 32_768, signed::evidence, seeds::evidence),
    target("hello", 16_384, signed::hello, seeds::hellos),
    target("sync_message", 4096, sync::message, sync::messages),
    target("ack", 8192, sync::ack, seeds::none),
    target("sync_machine", 16_384, sync::machine, sync::sequences),
    target("next_root", 32_768, trust::next_root, trust::next_roots),
    target("bundle", 8192, trust::bundle, trust::bundles),
    target("log_head", 8192, trust::log_head, trust::log_heads),
    target("log_entry", 640, trust::log_entry, trust::log_entries),
    target("timestamp", 8192, trust::timestamp, trust::timestamps),
    target("pending", 32_768, trust::pending, trust::pendings),
    target("trust_types", 4096, trust::types, trust::all_types),
    target("trust_state", 49_152, trust::state, trust::histories),
    target("id_text", 160, text::ids, seeds::ids),
    target("name", 64, text::names, seeds::names),
    target("control_json", 2048, text::control, seeds::control),
    target("policy_document", 4096, policy::document, policy::documents),
    target("policy_cedar", 2048, policy::cedar, policy::cedars),
    #[cfg(feature = "node")]
    target("frame", 4096, daemon::frame, daemon::frames),
    #[cfg(feature = "node")]
    target("call_wire", 12_288, daemon::call_wire, daemon::call_wires),
    #[cfg(feature = "node")]
    target("config", 4096, daemon::config, daemon::configs),
    #[cfg(feature = "node")]
    target(
        "sample_server",
        2048,
        daemon::sample_server,
        seeds::messages,
    ),
    target("planted", 64, planted, seeds::none),
];

const fn target(
    name: &'static str,
    max_len: usize,
    run: fn(&[u8]),
    seeds: fn() -> Vec<Vec<u8>>,
) -> Target {
    Target {
        name,
        max_len,
        run,
        seeds,
    }
}

/// A bug four guided steps away: found in a second with coverage, in hours without.
fn planted(data: &[u8]) {
    if data.first() == Some(&b'b')
        && data.get(1) == Some(&b'u')
        && data.get(2) == Some(&b'g')
        && data.get(3) == Some(&b'!')
        && data.get(4) == Some(&0xee)
    {
        panic!("the planted bug");
    }
}

static CHOSEN: OnceLock<fn(&[u8])> = OnceLock::new();

/// Serves the two questions of `fuzz/run`, or chooses the target.
fn initialise() {
    if std::env::var_os("FUZZ_LIST").is_some() {
        for target in TARGETS {
            println!("{} {}", target.name, target.max_len);
        }
        std::process::exit(0);
    }
    if let Some(dir) = std::env::var_os("FUZZ_SEEDS") {
        write_seeds(std::path::Path::new(&dir));
        std::process::exit(0);
    }
    let wanted = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let found = TARGETS.iter().find(|target| target.name == wanted);
    let Some(found) = found else {
        eprintln!("no fuzz target `{wanted}`; set FUZZ_TARGET");
        std::process::exit(1);
    };
    CHOSEN.get_or_init(|| found.run);
}

fn write_seeds(dir: &std::path::Path) {
    let vectors = vectors::read();
    for target in TARGETS {
        let dir = dir.join(target.name);
        std::fs::create_dir_all(&dir).expect("the corpus directory can be made");
        for (i, seed) in (target.seeds)().into_iter().enumerate() {
            assert!(
                seed.len() <= target.max_len,
                "{} seed {i} is {}",
                target.name,
                seed.len()
            );
            std::fs::write(dir.join(format!("seed-{i:02}")), seed).expect("a seed can be written");
        }
        // Chains have another length prefix here.
        let vectors = vectors
            .get(target.name)
            .filter(|_| target.name != "hop_chain");
        let short = |v: &&Vec<u8>| v.len() <= target.max_len;
        for (i, vector) in vectors.into_iter().flatten().filter(short).enumerate() {
            std::fs::write(dir.join(format!("vector-{i:03}")), vector)
                .expect("a seed can be written");
        }
    }
}

libfuzzer_sys::fuzz_target!(init: initialise(), |data: &[u8]| {
    if let Some(run) = CHOSEN.get() {
        run(data);
    }
});
