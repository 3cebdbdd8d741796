//! Every bound on what others may send, named, with its reason.
//!
//! A bound that is hit is a refusal with a name, never a truncation.

/// Largest MCP message carried, in bytes. Real servers return file contents and images in one
/// message; 4 MiB holds those, and 64 of them at once still fit a small host.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// Largest envelope on the wire: the message, a header of at most [`MAX_HEADER_BYTES`], two
/// signatures and their headers.
pub const MAX_ENVELOPE_BYTES: usize = MAX_MESSAGE_BYTES + MAX_HEADER_BYTES + 8 * 1024;

/// Largest payload of an envelope frame: the envelope, the hop records beside it, and their heads.
pub const MAX_ENVELOPE_FRAME_BYTES: usize =
    MAX_ENVELOPE_BYTES + MAX_ROUTE_HOPS * (MAX_HOP_RECORD_BYTES + 8) + 16;

/// Largest encoded hop record: two signatures (3.4 kB), headers, and under 1 kB of payload.
pub const MAX_HOP_RECORD_BYTES: usize = 8 * 1024;

/// Largest protected header of an envelope. The largest honest one (four hops, a 2 kB URI) is
/// under 4 kB.
pub const MAX_HEADER_BYTES: usize = 16 * 1024;

/// Largest trust document carried now (root, membership, node record).
pub const MAX_DOCUMENT_BYTES: usize = 256 * 1024;

/// Largest encoded posture: hardening words and under 200 bytes more.
pub const MAX_POSTURE_BYTES: usize = 4096;

/// Largest `hello`: two memberships' worth of keys and signatures with addresses.
pub const MAX_HELLO_BYTES: usize = 64 * 1024;

/// Deepest CBOR nesting decoded. The deepest honest document has 6 levels.
pub const MAX_CBOR_DEPTH: usize = 16;

/// Deepest JSON nesting read in an MCP message. Tool schemas nest; 127 is also the deepest that
/// serde_json takes, so no reader here accepts what another refuses.
pub const MAX_JSON_DEPTH: usize = 127;

/// Longest MCP method name.
pub const MAX_METHOD_BYTES: usize = 128;

/// Longest tool or prompt name or resource URI in a header.
pub const MAX_TARGET_BYTES: usize = 2048;

/// Most hops on a planned route, ends included.
pub const MAX_ROUTE_HOPS: usize = 4;

/// Most intents or labels in one header.
pub const MAX_INTENTS: usize = 32;

/// Longest single intent, label or site.
pub const MAX_WORD_BYTES: usize = 64;

/// Most groups one membership names.
pub const MAX_GROUPS: usize = 32;

/// Most admins, issuers or timestampers one root names. More is an error of whoever made it.
pub const MAX_ROLE_KEYS: usize = 32;

/// Most addresses one node announces.
pub const MAX_ADDRESSES: usize = 16;

/// Most MCP servers one node announces.
pub const MAX_SERVERS: usize = 64;

/// Most tools one server announces in a node record.
pub const MAX_TOOLS: usize = 1024;

/// Longest life of an envelope, seconds from `iat` to `exp`. Held or long calls are signed
/// anew, never given longer lives.
pub const MAX_ENVELOPE_LIFE_S: u64 = 60;

/// How far ahead of the local clock another node's `iat` may be, in seconds. NTP keeps hosts
/// within one second; 5 leaves room for a slow start.
pub const MAX_CLOCK_AHEAD_S: u64 = 5;

/// How long after the first envelope of a request a copy of it (held, or sent over another route)
/// may still be issued, in seconds. Beyond it nobody remembers whether the request was started.
pub const COPY_WINDOW_S: u64 = 60;

/// Most envelopes and requests the replay window remembers. At about 100 bytes each, 100 MiB under
/// a full flood and nothing when idle; a full window refuses (`replay_window_full`).
pub const MAX_REPLAY_ENTRIES: usize = 1_000_000;

/// Most of either that one issuer may hold, so that one member cannot fill the window for all:
/// 2,000 calls a second for as long as a request is remembered.
pub const MAX_REPLAY_PER_ISSUER: usize = 250_000;

/// Most messages on one call stream in one direction. A progress notification per
/// millisecond for 18 hours.
pub const MAX_STREAM_MESSAGES: u64 = 1 << 26;

/// Most admins a root may remember as retired. An admin retires once; a mesh that has seen this many
/// begins a new one.
pub const MAX_RETIRED: usize = 64;

/// Most logs known at once: those of the admins and of the retired.
pub const MAX_LOGS: usize = MAX_ROLE_KEYS + MAX_RETIRED;

/// Largest body of a policy bundle: 20,000 policies of 400 bytes.
pub const MAX_BUNDLE_BYTES: usize = 8 * 1024 * 1024;

/// Most policies in a bundle.
pub const MAX_POLICIES: usize = 20_000;

/// Most pinned tool definitions in a bundle: one for each tool of 20 full servers.
pub const MAX_PINS: usize = 20_480;

/// Most labelled targets, and most sites, in a bundle.
pub const MAX_BUNDLE_NAMES: usize = 4096;

/// Most labels on one target.
pub const MAX_LABELS: usize = 32;

/// Most entries in one admin's revocation log; then the admin's key is rotated. With the largest
/// reasons 90 MiB in memory, with ordinary ones 35.
pub const MAX_LOG_ENTRIES: u64 = 131_072;

/// Largest encoded entry of a revocation log: the reason and under 160 bytes of act and heads.
pub const MAX_ENTRY_BYTES: usize = 512;

/// Longest reason of a revocation, in bytes.
pub const MAX_REASON_BYTES: usize = 256;

/// Most revocations that one admin of several makes effective within an hour of dates, or a tenth
/// of the nodes if that is more. More takes as many admins as the threshold.
pub const LONE_ADMIN_REVOCATIONS: u64 = 5;

/// The span over which [`LONE_ADMIN_REVOCATIONS`] counts, in seconds.
pub const LONE_ADMIN_WINDOW_S: u64 = 3600;

/// Most earlier states of one log that a timestamp repeats, so that a latecomer dates entries as
/// others did. An honest log needs none.
pub const MAX_MARKS: usize = 64;

/// By how much a bundle's version may exceed the one in force: hourly bundles for seven years.
pub const MAX_BUNDLE_JUMP: u64 = 65_536;

/// By how much a timestamp's version may exceed the same timestamper's last: one every minute for
/// two years.
pub const MAX_TIMESTAMP_JUMP: u64 = 1 << 20;

/// How far a timestamp may be ahead of the local clock, and the local clock behind the greatest
/// verified time, in seconds. Hosts without NTP drift by seconds a day.
pub const MAX_TIME_AHEAD_S: u64 = 300;
