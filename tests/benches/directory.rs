//! How much memory a directory of 10,000 members holds.
//!
//! Every member has keys of its own, a membership and a node record with two addresses, a sealing
//! key, a posture and three servers of ten tools, all really signed, and taken in as when they come from a peer. They are
//! made and dropped one by one, so that `VmRSS` of this process grows by what the directory keeps
//! and by what the allocator loses around it. TLS keys are random bytes: nothing but their hash is
//! looked at here.
//!
//! `cargo bench -p tests --bench directory [-- --format json]`; ends with 1 when the bar is missed.
//! With `--quick` 1,000 members, held to a tenth of the bar.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a benchmark prints and has nobody to return errors to"
)]

use std::process::ExitCode;
use std::sync::Arc;

use hedgerow_crypto::{Primitives, SigningKeys};
use node::members::Members;
use protocol::crypto::{Crypto as _, Signer as _, Suite};
use protocol::id::Digest;
use protocol::mcp::{Annotations, Hints};
use protocol::name::Name;
use protocol::time::UnixSeconds;
use protocol::trust::posture::{POSTURE_VERSION, Posture};
use protocol::trust::{
    Issuer, Membership, NodeRecord, Root, ServerRecord, ToolRecord, VerifiedRoot,
};
use serde_json::json;

use support::Request;

mod support;

/// Members of the directory.
const MEMBERS: u64 = 10_000;
/// What they may hold, in KiB.
const MAX_KIB: u64 = 64 * 1024;
/// Members taken in before the measurement, so that it does not count what a first use allocates.
const WARM_UP: u64 = 32;
/// Bytes of a sealing key: X-Wing's encapsulation key.
const SEALING_KEY_BYTES: usize = 1216;
const ADDRESSES: u64 = 2;
const SERVERS: u64 = 3;
const TOOLS: u64 = 10;
const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
const DAY_S: u64 = 24 * 3600;

fn main() -> ExitCode {
    let request = Request::from_arguments();
    let share = if request.quick { 10 } else { 1 };
    let (count, most_kib) = (MEMBERS / share, MAX_KIB / share);
    let mesh = Mesh::new();
    let warm = mesh.directory();
    for number in 0..WARM_UP {
        mesh.add(&warm, number);
    }
    let directory = mesh.directory();
    let before = resident();
    let mut documents = 0;
    for number in 0..count {
        documents += mesh.add(&directory, number);
    }
    let after = resident();
    assert_eq!(directory.all().len() as u64, count, "a member was refused");
    drop((warm, directory));

    let grown = after.saturating_sub(before);
    let held = grown <= most_kib;
    if request.json {
        let report = json!({
            "bench": "directory",
            "members": count,
            "grown_kib": grown,
            "bytes_per_member": grown * 1024 / count,
            "record_bytes": documents / count,
            "bar_kib": most_kib,
            "held": held,
        });
        println!("{report}");
    } else {
        println!(
            "{count} members: {:.1} MiB, {} bytes each, for records of {} bytes",
            grown as f64 / 1024.0,
            grown * 1024 / count,
            documents / count,
        );
        let verdict = if held { "held" } else { "MISSED" };
        println!(
            "bar: at most {:.1} MiB: {verdict}",
            most_kib as f64 / 1024.0
        );
    }
    ExitCode::from(u8::from(!held))
}

/// Resident memory of this process, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    kib.unwrap().parse().unwrap()
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn keys() -> SigningKeys {
    SigningKeys::generate(&Primitives).unwrap()
}

struct Mesh {
    issuer: SigningKeys,
    root: Arc<VerifiedRoot>,
}

impl Mesh {
    fn new() -> Self {
        let (admin, issuer) = (keys(), keys());
        let root = Root {
            version: 1,
            epoch: 1,
            mesh: None,
            name: name("bench"),
            suite: Suite::Hybrid.byte(),
            created: NOW,
            admins: vec![admin.public().clone()],
            threshold: 1,
            issuers: vec![Issuer {
                keys: issuer.public().clone(),
                groups: None,
                sites: None,
                max_life_s: 30 * DAY_S,
                max_per_hour: MEMBERS,
            }],
            timestampers: vec![keys().public().clone()],
            lease_s: DAY_S,
            read_grace_s: DAY_S,
            nonce: vec![0; 16],
            previous: None,
            retired: None,
            hosts: None,
        };
        let root = root.sign(&Primitives, &[&admin]).unwrap();
        let root = Arc::new(VerifiedRoot::genesis(&Primitives, &root).unwrap());
        Self { issuer, root }
    }

    fn directory(&self) -> Members {
        Members::new(Arc::new(Primitives), Arc::clone(&self.root))
    }

    /// Adds one member and returns the size of its record.
    fn add(&self, directory: &Members, number: u64) -> u64 {
        let signing = keys();
        let mut tls_key = vec![0; 1984];
        Primitives.fill_random(&mut tls_key).unwrap();
        let membership = Membership {
            mesh: self.root.mesh(),
            tls_key,
            signing: signing.public().clone(),
            name: name(&format!("build-agent-{number}")),
            groups: vec![name("agents"), name("tools")],
            site: Some(name("berlin")),
            not_before: NOW,
            not_after: NOW.plus(7 * DAY_S),
            issuer_sequence: number,
            replaces: None,
        };
        let membership = membership.sign(&Primitives, &self.issuer).unwrap();
        let record = NodeRecord {
            mesh: self.root.mesh(),
            membership,
            addresses: (0..ADDRESSES)
                .map(|at| format!("agent-{number}.net-{at}.example:7443"))
                .collect(),
            relays: Vec::new(),
            sealing_key: Some(random(SEALING_KEY_BYTES).into()),
            servers: (0..SERVERS).map(server).collect(),
            posture: Some(posture().encode().into()),
            sequence: 1,
            issued: NOW,
            expires: NOW.plus(3600),
        };
        let record = record.sign(&Primitives, &signing).unwrap();
        directory.learn_record(&record, NOW).unwrap();
        record.len() as u64
    }
}

fn random(bytes: usize) -> Vec<u8> {
    let mut random = vec![0; bytes];
    Primitives.fill_random(&mut random).unwrap();
    random
}

/// What a hardened Debian host says of itself.
fn posture() -> Posture {
    let words = [
        "apparmor",
        "aslr",
        "dmesg_restricted",
        "kptr_restricted",
        "no_capabilities",
        "no_new_privs",
        "non_root",
        "ptrace_restricted",
        "seccomp",
        "unprivileged_bpf_disabled",
    ];
    Posture {
        version: POSTURE_VERSION,
        measured: NOW,
        os: "debian".to_owned(),
        kernel: [6, 12, 48],
        secure_boot: true,
        disk_encryption: true,
        uptime_s: 86_400,
        binary: Some(Digest::from_bytes([7; 32])),
        hardening: words.map(str::to_owned).to_vec(),
    }
}

fn server(number: u64) -> ServerRecord {
    let tool = |at: u64| {
        let mut digest = [0; 32];
        Primitives.fill_random(&mut digest).unwrap();
        ToolRecord {
            name: format!("search_documents_{at:02}"),
            digest: Digest::from_bytes(digest),
            hints: Some(Hints::of(Annotations {
                destructive: Some(true),
                ..Annotations::default()
            })),
        }
    };
    ServerRecord {
        name: name(&format!("server-{number}")),
        tools: (0..TOOLS).map(tool).collect(),
    }
}
