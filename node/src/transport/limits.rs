//! Every bound of the transport, with its reason.
//!
//! What a peer may make us keep is bounded before it is admitted and after, per peer and in
//! total. The few that operators or tests need to change are fields of
//! [`Config`](super::Config), which starts from these.

use std::time::Duration;

/// The one ALPN protocol name. It counts against the server's first flight, so it is short.
pub const ALPN: &[u8] = b"hedgerow/1";

/// First datagrams, and so what the server may send before the client's address is proven: three
/// times 2,400 bytes. 1,200 is the least QUIC allows and passes every path; the composite
/// flight fits (the bench `transport` measures one round trip). A larger one falls into black
/// holes of VPNs, and quinn only comes back from those after losses.
pub const INITIAL_MTU: u16 = 1200;

/// What may be under way before the first acknowledgement, in bytes: 32 datagrams. The dialer's
/// last flight (8 kB of key and signature) and a hello with a membership (8 kB) follow one
/// another at once; with RFC 9002's ten datagrams the hello would take a second round trip.
pub const INITIAL_WINDOW: u64 = 32 * INITIAL_MTU as u64;

/// Datagrams a peer is asked to take without acknowledging them at once
/// (draft-ietf-quic-ack-frequency). A small signed message is four or five, with the hop records of
/// its relays up to ten: its acknowledgement then travels with the answer instead of waking both
/// ends for a packet of its own.
pub const UNACKNOWLEDGED: u32 = 10;

/// Longest TLS handshake. Reordering costs up to four round trips, and a satellite path has
/// 0.6 s each; below 10 s honest peers are lost.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);

/// Longest wait for the whole hello once TLS is done.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// A link without a packet for this long is down. Three keep-alives.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// How often an idle link is kept open; also below the 30 s after which NATs commonly forget.
pub const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Handshakes under way at once. Each costs at most the two signatures and
/// [`INCOMING_BUFFER`].
pub const PENDING_HANDSHAKES: usize = 128;

/// With this many under way, sources must prove their address first (Retry): a flood from
/// forged addresses then costs us one small packet each and no signature.
pub const RETRY_ABOVE: usize = 32;

/// Bytes buffered for a connection attempt not yet decided on.
pub const INCOMING_BUFFER: u64 = 16 * 1024;

/// The same for all attempts together.
pub const INCOMING_BUFFER_TOTAL: u64 = 2 * 1024 * 1024;

/// Handshakes one source (an IPv4 address, an IPv6 /64) may start per second, sustained.
/// WireGuard's figure.
pub const SOURCE_RATE: u32 = 20;

/// Handshakes one source may start at once: a site behind one NAT that comes back together.
pub const SOURCE_BURST: u32 = 64;

/// Sources remembered. Beyond it those with full buckets are forgotten; with none full, all
/// new sources share one bucket.
pub const SOURCES: usize = 8192;

/// Links at once. Every member of the largest mesh planned for one node's neighbourhood.
pub const LINKS: usize = 1024;

/// Peers whose last link is remembered after it went down: more than the largest mesh has.
pub const HEARD: usize = 16_384;

/// Streams of ours (calls, sessions, sync…) one peer may have open here.
pub const OUR_STREAMS: usize = 256;

/// libp2p streams one peer may have open here. gossipsub and ping use under ten.
pub const LIBP2P_STREAMS: usize = 32;

/// Window of one stream: 80 Mbit/s at 100 ms.
pub const STREAM_WINDOW: u32 = 1024 * 1024;

/// Window of one connection, and so what one peer can make us buffer: two largest messages.
pub const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;

/// What we buffer towards one peer before writers wait.
pub const SEND_WINDOW: u64 = 8 * 1024 * 1024;

/// Longest wait for the first bytes of a stream, and for a place in its budget.
pub const SNIFF_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes read at most to learn what a stream is: what one datagram brings, so that the first
/// message of a stream is read with its kind.
pub const SNIFFED: usize = 2048;

/// Streams that broke a rule (silent, unknown kind, over budget) before the link is closed as
/// a flood; one is forgiven per [`FAULT_FORGIVEN`].
pub const STREAM_FAULTS: u32 = 64;

/// See [`STREAM_FAULTS`].
pub const FAULT_FORGIVEN: Duration = Duration::from_secs(1);

/// libp2p streams waiting for the swarm, per link. Beyond it they are refused, the calls of the
/// same peer go on.
pub const LIBP2P_QUEUE: usize = 16;

/// Admitted links waiting for the swarm.
pub const SWARM_QUEUE: usize = 64;

/// How long the streams of a superseded link may go on before it is closed.
pub const SUPERSEDED_GRACE: Duration = Duration::from_secs(2);

/// Superseded links per peer that may still drain. More means the peer reconnects in a loop.
pub const SUPERSEDED: usize = 2;

/// Link events a slow reader may be behind before it must read [`Links::all`] again.
///
/// [`Links::all`]: super::Links::all
pub const EVENTS: usize = 256;

/// Longest refusal (reason and message together) told to or taken from a peer.
pub const REFUSAL_BYTES: usize = 512;

/// Kinds of admission refusals counted by name; later ones count as `other`.
pub const COUNTED_REFUSALS: usize = 64;

/// Handshakes whose datagrams are counted at once. The oldest goes first; its `rtts` is then
/// unknown.
pub const OBSERVED_FLIGHTS: usize = 256;

/// Largest gossip message: node records with their membership and two signatures are about
/// 12 kB; documents travel as heads, their bodies are fetched.
pub const GOSSIP_BYTES: usize = 64 * 1024;

/// Gossip messages waiting for a verdict. gossipsub keeps them in its own cache meanwhile.
pub const GOSSIP_QUEUE: usize = 256;

/// Frames read ahead into one buffer before their length is known to be honest.
pub const FRAME_CHUNK: usize = 64 * 1024;
