//! The one QUIC endpoint of a node: one UDP port, TLS both ways, handshakes bounded.
//!
//! It ends where TLS ends: what it hands out has proven its key and nothing more. Every wait has
//! an end, every buffer a bound ([`limits`]).

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hedgerow_crypto::TlsIdentity;
use protocol::crypto::Crypto;
use protocol::id::NodeId;
use quinn::congestion::CubicConfig;
use quinn::{
    AckFrequencyConfig, Connecting, Connection, ConnectionId, EndpointConfig, Incoming,
    NoneTokenLog, NoneTokenStore, Runtime, TransportConfig, ValidationTokenConfig, VarInt,
};
use rustls::NamedGroup;
use rustls::pki_types::CertificateDer;
use tokio::time::timeout;

use super::admission::{PROOF_WINDOW, PeerIdentity};
use super::error::{BindError, LinkError};
use super::flights::{CountingSocket, Flights};
use super::limits;
use super::observe::Negotiated;
use super::raw_key::{SCHEME, SCHEME_NAME};
use super::refusal::{Reason, Side};
use super::throttle::{SourceRate, Throttle};
use super::tls::Tls;
use crate::lane::Lane;

/// What operators and tests may set. Everything else is a constant of [`limits`].
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// How many handshakes one source may start.
    pub source_rate: SourceRate,
    /// Handshakes under way at once, hello included.
    pub pending_handshakes: usize,
    /// With this many under way, sources must prove their address first.
    pub retry_above: usize,
    /// Longest TLS handshake.
    pub handshake_timeout: Duration,
    /// Longest wait for hello.
    pub hello_timeout: Duration,
    /// Longest wait for a stream's first bytes.
    pub sniff_timeout: Duration,
    /// A link without a packet for this long is down.
    pub idle_timeout: Duration,
    /// Where connections and calls run.
    pub lane: Lane,
}

impl Config {
    /// The defaults, listening there.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            source_rate: SourceRate::default(),
            pending_handshakes: limits::PENDING_HANDSHAKES,
            retry_above: limits::RETRY_ABOVE,
            handshake_timeout: limits::HANDSHAKE_TIMEOUT,
            hello_timeout: limits::HELLO_TIMEOUT,
            sniff_timeout: limits::SNIFF_TIMEOUT,
            idle_timeout: limits::IDLE_TIMEOUT,
            lane: Lane::none(),
        }
    }
}

/// A connection whose peer has proven its key.
pub(super) struct Proven {
    pub(super) connection: Connection,
    pub(super) peer: PeerIdentity,
    pub(super) group: String,
    pub(super) signature_scheme: String,
    pub(super) took: Duration,
    pub(super) rtts: Option<u8>,
}

/// The QUIC endpoint.
pub(super) struct Endpoint {
    pub(super) quinn: quinn::Endpoint,
    tls: Tls,
    crypto: Arc<dyn Crypto>,
    flights: Arc<Flights>,
    dialing: Arc<TransportConfig>,
    handshake_timeout: Duration,
}

impl Endpoint {
    /// Binds the port. Nothing is accepted until [`quinn::Endpoint::accept`] is called.
    pub(super) fn bind(
        config: &Config,
        identity: Arc<TlsIdentity>,
        crypto: Arc<dyn Crypto>,
    ) -> Result<Self, BindError> {
        let tls = Tls::new(identity, Arc::clone(&crypto))?;
        let mut server = quinn::ServerConfig::with_crypto(tls.server()?);
        server
            .transport_config(Arc::new(transport(config, 1)))
            .validation_token_config(no_tokens())
            .max_incoming(config.pending_handshakes)
            .incoming_buffer_size(limits::INCOMING_BUFFER)
            .incoming_buffer_size_total(limits::INCOMING_BUFFER_TOTAL);
        let address = config.listen;
        let unusable = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::AddrInUse => BindError::InUse { address },
            _ => BindError::Unusable { address, source },
        };
        let flights = Arc::new(Flights::default());
        let runtime = Arc::new(config.lane.clone());
        let socket = std::net::UdpSocket::bind(address).map_err(unusable)?;
        let socket = CountingSocket {
            inner: runtime.wrap_udp_socket(socket).map_err(unusable)?,
            flights: Arc::clone(&flights),
        };
        let quinn = quinn::Endpoint::new_with_abstract_socket(
            EndpointConfig::default(),
            Some(server),
            Arc::new(socket),
            runtime,
        );
        Ok(Self {
            quinn: quinn.map_err(unusable)?,
            tls,
            crypto,
            flights,
            // A dialer lets the acceptor open nothing before it is admitted.
            dialing: Arc::new(transport(config, 0)),
            handshake_timeout: config.handshake_timeout,
        })
    }

    /// This node.
    pub(super) fn node(&self) -> NodeId {
        self.tls.node()
    }

    /// Dials and finishes the handshake.
    pub(super) async fn dial(
        &self,
        remote: SocketAddr,
        expected: Option<NodeId>,
    ) -> Result<Proven, LinkError> {
        let started = Instant::now();
        let undialable = LinkError::Undialable { remote };
        let tls = self.tls.client(expected).map_err(|_| undialable.clone())?;
        let mut original = [0; 16];
        let random = self.crypto.fill_random(&mut original);
        random.map_err(|_| undialable.clone())?;
        let original = ConnectionId::new(&original);
        let mut config = quinn::ClientConfig::new(tls);
        config
            .transport_config(Arc::clone(&self.dialing))
            .initial_dst_cid_provider(Arc::new(move || original))
            .token_store(Arc::new(NoneTokenStore));
        let connecting = self.quinn.connect_with(config, remote, NO_NAME);
        let connecting = connecting.map_err(|_| undialable)?;
        self.prove(connecting, original, started)
            .await
            .map_err(|(reason, side)| match (reason, side) {
                // Lost on the way is refused by nobody: a peer that has just ended says so.
                (Reason::TimedOut | Reason::HandshakeTimeout | Reason::Lost, _) => {
                    LinkError::Unreachable { remote }
                }
                (_, Side::Here) => LinkError::Refused { reason },
                (_, Side::Peer) => LinkError::RefusedByPeer { reason },
            })
    }

    /// Accepts and finishes the handshake.
    pub(super) async fn accept(&self, incoming: Incoming) -> Result<Proven, (Reason, Side)> {
        let started = Instant::now();
        let original = incoming.orig_dst_cid();
        let connecting = incoming.accept().map_err(|error| Reason::of(&error))?;
        self.prove(connecting, original, started).await
    }

    async fn prove(
        &self,
        connecting: Connecting,
        original: ConnectionId,
        started: Instant,
    ) -> Result<Proven, (Reason, Side)> {
        let connected = timeout(self.handshake_timeout, connecting).await;
        let took = started.elapsed();
        let flights = self.flights.take(original);
        let connection = connected
            .map_err(|_| (Reason::HandshakeTimeout, Side::Here))?
            .map_err(|error| Reason::of(&error))?;
        let refuse = |reason: Reason| {
            connection.close(reason.code(), reason.name().as_bytes());
            (reason, Side::Here)
        };
        let negotiated = connection
            .handshake_data()
            .and_then(|data| data.downcast::<Negotiated>().ok())
            .ok_or_else(|| refuse(Reason::HandshakeFailed))?;
        // rustls would have refused these already: it is configured with nothing else.
        if negotiated.group != Some(NamedGroup::X25519MLKEM768) {
            return Err(refuse(Reason::ClassicalPeer));
        }
        if negotiated.scheme != Some(SCHEME) {
            return Err(refuse(Reason::NoCompositeKey));
        }
        let peer = self
            .identity(&connection)
            .ok_or_else(|| refuse(Reason::AnonymousPeer))?;
        Ok(Proven {
            peer,
            group: format!("{:?}", NamedGroup::X25519MLKEM768),
            signature_scheme: SCHEME_NAME.to_owned(),
            took,
            rtts: flights.map(|count| count.saturating_add(negotiated.hello_retry.into())),
            connection,
        })
    }

    fn identity(&self, connection: &Connection) -> Option<PeerIdentity> {
        let chain = connection.peer_identity()?;
        let chain = chain.downcast::<Vec<CertificateDer<'static>>>().ok()?;
        let key = hedgerow_crypto::parse_spki(chain.first()?).ok()?;
        Some(PeerIdentity {
            node: NodeId::of_tls_key(self.crypto.as_ref(), &key),
            tls_key: Box::new(key),
            remote: connection.remote_address(),
        })
    }
}

/// What quinn wants as the server's name. It is not sent: peers are known by their keys.
const NO_NAME: &str = "node";

/// No address tokens but those of a Retry (RFC 9000 §8.1.3). Whoever brings one is taken for proven,
/// which must cost an attempt each; a handshake takes one round trip without them; and quinn's log
/// of those used takes the older of two for a replay and warns.
fn no_tokens() -> ValidationTokenConfig {
    let mut tokens = ValidationTokenConfig::default();
    tokens.sent(0).log(Arc::new(NoneTokenLog));
    tokens
}

/// QUIC's own bounds. `streams` is what the peer may open before it is admitted.
fn transport(config: &Config, streams: u32) -> TransportConfig {
    let idle = u32::try_from(config.idle_timeout.as_millis()).unwrap_or(u32::MAX);
    let mut congestion = CubicConfig::default();
    congestion.initial_window(limits::INITIAL_WINDOW);
    let mut acknowledging = AckFrequencyConfig::default();
    acknowledging.ack_eliciting_threshold(VarInt::from_u32(limits::UNACKNOWLEDGED));
    let mut transport = TransportConfig::default();
    transport
        .ack_frequency_config(Some(acknowledging))
        .congestion_controller_factory(Arc::new(congestion))
        .initial_mtu(limits::INITIAL_MTU)
        .max_concurrent_bidi_streams(VarInt::from_u32(streams))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(limits::STREAM_WINDOW))
        .receive_window(VarInt::from_u32(PROOF_WINDOW))
        .send_window(limits::SEND_WINDOW)
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(VarInt::from_u32(idle).into()))
        .keep_alive_interval(Some(limits::KEEP_ALIVE.min(config.idle_timeout / 3)));
    transport
}

/// Lets an admitted peer open streams and fill its windows.
pub(super) fn widen(connection: &Connection) {
    let streams = u32::try_from(limits::OUR_STREAMS + limits::LIBP2P_STREAMS).unwrap_or(u32::MAX);
    connection.set_receive_window(VarInt::from_u32(limits::CONNECTION_WINDOW));
    connection.set_max_concurrent_bi_streams(VarInt::from_u32(streams));
}

/// What is under way and how much of it one source may have: decided before any cryptography.
pub(super) struct Gate {
    state: Mutex<GateState>,
    pending: usize,
    retry_above: usize,
}

struct GateState {
    throttle: Throttle,
    total: usize,
    by_source: HashMap<IpAddr, usize>,
}

/// What to do with a connection attempt.
pub(super) enum Pass {
    /// Go on; the place is held until the guard is dropped.
    Accept(Place),
    /// Have the source prove its address first.
    Retry,
    /// Drop it without an answer, which could only be reflected.
    Ignore(Reason),
    /// Tell it to come back later.
    Refuse(Reason),
}

/// A place among the handshakes under way.
pub(super) struct Place {
    gate: Arc<Gate>,
    source: IpAddr,
}

impl Gate {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            state: Mutex::new(GateState {
                throttle: Throttle::new(config.source_rate),
                total: 0,
                by_source: HashMap::new(),
            }),
            pending: config.pending_handshakes,
            retry_above: config.retry_above,
        }
    }

    /// Decides on an attempt from `remote`, whose address is `proven` after a Retry.
    pub(super) fn pass(
        self: &Arc<Self>,
        remote: SocketAddr,
        proven: bool,
        may_retry: bool,
        now: Instant,
    ) -> Pass {
        let source = remote.ip().to_canonical();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // The answer to a Retry belongs to an attempt that took its token already.
        if !proven && !state.throttle.allow(source, now) {
            return Pass::Ignore(Reason::SourceThrottled);
        }
        if !proven && may_retry && state.total >= self.retry_above {
            return Pass::Retry;
        }
        // One source may hold a quarter, so that it takes several to keep others out.
        let share = (self.pending / 4).max(1);
        let held = state.by_source.get(&source).copied().unwrap_or_default();
        if state.total >= self.pending || held >= share {
            return Pass::Refuse(Reason::TooManyHandshakes);
        }
        state.total += 1;
        state.by_source.insert(source, held + 1);
        Pass::Accept(Place {
            gate: Arc::clone(self),
            source,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let state = self.gate.state.lock();
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        state.total = state.total.saturating_sub(1);
        if let Some(held) = state.by_source.get_mut(&self.source) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                state.by_source.remove(&self.source);
            }
        }
    }
}
