//! Hand-made peers that do what ours never would: each is refused by its own name, and an
//! honest peer of the same node does not notice.

use std::time::Instant;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{Connection, ConnectionError, Endpoint};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, ResolvesClientCert};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::version::TLS13;
use rustls::{SignatureAlgorithm, SignatureScheme};

use super::super::raw_key::{CompositeKey, PeerVerifier};
use super::*;

const HYBRID: &dyn SupportedKxGroup = aws_lc_rs::kx_group::X25519MLKEM768;
const CLASSICAL: &dyn SupportedKxGroup = aws_lc_rs::kx_group::X25519;

/// How a hand-made TLS peer differs from ours.
struct Oddity {
    group: &'static dyn SupportedKxGroup,
    alpn: &'static [u8],
    key: Key,
}

enum Key {
    Composite,
    /// Speaks raw keys, presents none.
    None,
    /// No client authentication at all.
    NoAuthentication,
    /// An Ed25519 raw key that claims the composite scheme.
    Ed25519AsComposite,
    /// An Ed25519 raw key, and only Ed25519 understood.
    Ed25519,
    /// A composite key and a signature by another.
    StolenComposite,
}

impl Default for Oddity {
    fn default() -> Self {
        Self {
            group: HYBRID,
            alpn: limits::ALPN,
            key: Key::Composite,
        }
    }
}

/// SPKI of an Ed25519 key (RFC 8410), and the PKCS #8 of its seed.
fn ed25519() -> (Vec<u8>, PrivateKeyDer<'static>) {
    let mut pkcs8 = hex::decode("302e020100300506032b657004220420").unwrap();
    pkcs8.extend_from_slice(&[5; 32]);
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8));
    let signing = aws_lc_rs::sign::any_supported_type(&key).unwrap();
    (signing.public_key().unwrap().to_vec(), key)
}

/// A key that signs with something, under whatever scheme it is told.
#[derive(Debug)]
struct Liar;

impl SigningKey for Liar {
    fn choose_scheme(&self, _: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        Some(Box::new(Liar))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

impl Signer for Liar {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        Ok(identity().sign(message).unwrap())
    }

    fn scheme(&self) -> SignatureScheme {
        SCHEME
    }
}

#[derive(Debug)]
struct Keyless;

impl ResolvesClientCert for Keyless {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn only_raw_public_keys(&self) -> bool {
        true
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn certified(key: &Key) -> Arc<CertifiedKey> {
    let composite = CompositeKey::new(identity());
    let spki = composite.spki().to_vec();
    let (spki, key): (_, Arc<dyn SigningKey>) = match key {
        Key::Ed25519AsComposite => (ed25519().0, Arc::new(Liar)),
        Key::StolenComposite => (spki, Arc::new(Liar)),
        Key::Ed25519 => {
            let (spki, key) = ed25519();
            (spki, aws_lc_rs::sign::any_supported_type(&key).unwrap())
        }
        _ => (spki, Arc::new(composite)),
    };
    Arc::new(CertifiedKey::new(vec![CertificateDer::from(spki)], key))
}

/// Takes any key of the given scheme.
#[derive(Debug)]
struct Credulous(SignatureScheme);

impl rustls::client::danger::ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![self.0]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

fn provider(group: &'static dyn SupportedKxGroup) -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        kx_groups: vec![group],
        ..aws_lc_rs::default_provider()
    })
}

fn client_config(oddity: &Oddity) -> quinn::ClientConfig {
    let scheme = match oddity.key {
        Key::Ed25519 => SignatureScheme::ED25519,
        _ => SCHEME,
    };
    let builder = rustls::ClientConfig::builder_with_provider(provider(oddity.group))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous(scheme)));
    let mut tls = match &oddity.key {
        Key::NoAuthentication => builder.with_no_client_auth(),
        Key::None => builder.with_client_cert_resolver(Arc::new(Keyless)),
        key => builder.with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(
            certified(key),
        ))),
    };
    tls.alpn_protocols = vec![oddity.alpn.to_vec()];
    quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()))
}

/// Connects as a hand-made client. The handshake may look done from here before the node has
/// refused it.
async fn connect(node: &TestNode, oddity: &Oddity) -> Result<Connection, ConnectionError> {
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = client_config(oddity);
    let connecting = endpoint.connect_with(config, node.address(), "unknown");
    soon(connecting.unwrap()).await
}

/// A client that is ours as far as TLS goes.
async fn proven(node: &TestNode) -> Connection {
    connect(node, &Oddity::default()).await.unwrap()
}

async fn honest_peer_passes(node: &TestNode) {
    let honest = TestNode::start();
    honest.dial(node).await.unwrap();
    assert_eq!(honest.echo(node.node(), b"ok").await.unwrap(), b"ok");
}

async fn refused_client(oddity: Oddity, reason: Reason) {
    let node = TestNode::start();
    let told = match connect(&node, &oddity).await {
        Ok(connection) => soon(connection.closed()).await,
        Err(error) => error,
    };
    node.counted(reason).await;
    assert!(
        matches!(
            told,
            ConnectionError::ConnectionClosed(_) | ConnectionError::TransportError(_)
        ),
        "{told:?}"
    );
    assert!(node.links.all().is_empty());
    let counted: u64 = node.links.counters().snapshot().values().sum();
    assert_eq!(counted, 1, "{:?}", node.links.counters().snapshot());
    honest_peer_passes(&node).await;
}

#[tokio::test]
async fn a_classical_client() {
    let group = CLASSICAL;
    let oddity = Oddity {
        group,
        ..Oddity::default()
    };
    refused_client(oddity, Reason::ClassicalPeer).await;
}

#[tokio::test]
async fn a_client_without_a_key() {
    let key = Key::None;
    let oddity = Oddity {
        key,
        ..Oddity::default()
    };
    refused_client(oddity, Reason::AnonymousPeer).await;
}

#[tokio::test]
async fn a_client_without_authentication() {
    let key = Key::NoAuthentication;
    let oddity = Oddity {
        key,
        ..Oddity::default()
    };
    refused_client(oddity, Reason::NoCompositeKey).await;
}

#[tokio::test]
async fn a_client_that_knows_only_ed25519() {
    let key = Key::Ed25519;
    let oddity = Oddity {
        key,
        ..Oddity::default()
    };
    refused_client(oddity, Reason::NoCompositeKey).await;
}

#[tokio::test]
async fn an_ed25519_key_under_the_composite_scheme() {
    let key = Key::Ed25519AsComposite;
    let oddity = Oddity {
        key,
        ..Oddity::default()
    };
    refused_client(oddity, Reason::NotComposite).await;
}

#[tokio::test]
async fn a_key_whose_secret_the_client_lacks() {
    let key = Key::StolenComposite;
    let oddity = Oddity {
        key,
        ..Oddity::default()
    };
    refused_client(oddity, Reason::BadSignature).await;
}

#[tokio::test]
async fn a_client_of_another_protocol() {
    let alpn = b"h3";
    let oddity = Oddity {
        alpn,
        ..Oddity::default()
    };
    refused_client(oddity, Reason::WrongAlpn).await;
}

/// Dials a hand-made server and returns the error.
async fn refused_server(oddity: Oddity) -> LinkError {
    let verifier = PeerVerifier::new(Arc::new(Primitives), NodeId::from_bytes([0; 32]), None);
    let mut tls = rustls::ServerConfig::builder_with_provider(provider(oddity.group))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(certified(
            &oddity.key,
        ))));
    tls.alpn_protocols = vec![oddity.alpn.to_vec()];
    let config =
        quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
    let endpoint = Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = endpoint.local_addr().unwrap();
    let served = tokio::spawn(async move {
        let connection = endpoint.accept().await.unwrap().await;
        if let Ok(connection) = connection {
            connection.closed().await;
        }
    });
    let node = TestNode::start();
    let error = soon(node.links.dial(address, None)).await.unwrap_err();
    assert!(node.links.all().is_empty());
    let counted: u64 = node.links.counters().snapshot().values().sum();
    assert_eq!(counted, 1, "{error}");
    soon(served).await.unwrap();
    error
}

#[tokio::test]
async fn servers_are_refused_for_the_same_reasons() {
    let group = CLASSICAL;
    let error = refused_server(Oddity {
        group,
        ..Oddity::default()
    })
    .await;
    assert_eq!(error.name(), "classical_peer", "{error}");
    let key = Key::Ed25519;
    let error = refused_server(Oddity {
        key,
        ..Oddity::default()
    })
    .await;
    assert_eq!(error.name(), "no_composite_key", "{error}");
    let key = Key::Ed25519AsComposite;
    let error = refused_server(Oddity {
        key,
        ..Oddity::default()
    })
    .await;
    assert_eq!(error.name(), "not_composite", "{error}");
    let key = Key::StolenComposite;
    let error = refused_server(Oddity {
        key,
        ..Oddity::default()
    })
    .await;
    assert_eq!(error.name(), "bad_signature", "{error}");
    let alpn = b"h3";
    let error = refused_server(Oddity {
        alpn,
        ..Oddity::default()
    })
    .await;
    assert_eq!(error.name(), "wrong_alpn", "{error}");
}

async fn closed_for(connection: &Connection, reason: Reason) {
    let error = soon(connection.closed()).await;
    match &error {
        ConnectionError::ApplicationClosed(close) => {
            assert_eq!(Reason::from_code(close.error_code), Some(reason));
        }
        _ => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn libp2p_before_hello() {
    let node = TestNode::start();
    let connection = proven(&node).await;
    let (mut send, _recv) = connection.open_bi().await.unwrap();
    send.write_all(b"\x13/multistream/1.0.0\n").await.unwrap();
    closed_for(&connection, Reason::StreamBeforeHello).await;
    assert_eq!(node.links.counters().of(Reason::StreamBeforeHello), 1);
    honest_peer_passes(&node).await;
}

#[tokio::test]
async fn a_call_before_hello() {
    let node = TestNode::start();
    let connection = proven(&node).await;
    let (mut send, _recv) = connection.open_bi().await.unwrap();
    send.write_all(&[StreamKind::OURS, StreamKind::Call.byte()])
        .await
        .unwrap();
    closed_for(&connection, Reason::StreamBeforeHello).await;
    honest_peer_passes(&node).await;
}

#[tokio::test]
async fn never_says_hello() {
    let hello_timeout = Duration::from_millis(50);
    let config = Config {
        hello_timeout,
        ..config()
    };
    let node = TestNode::with(config, Word::new("hi", "hi"), identity());
    let silent = proven(&node).await;
    closed_for(&silent, Reason::HelloTimeout).await;
    // One that starts and stops is no better.
    let slow = proven(&node).await;
    let (mut send, _recv) = slow.open_bi().await.unwrap();
    send.write_all(&[0, 0, 1, 2, 3]).await.unwrap();
    closed_for(&slow, Reason::HelloTimeout).await;
    assert_eq!(node.links.counters().of(Reason::HelloTimeout), 2);
}

#[tokio::test]
async fn hello_is_too_large_or_cut_short() {
    let node = TestNode::start();
    let too_large = u32::try_from(protocol::limits::MAX_HELLO_BYTES + 1).unwrap();
    for (length, reason) in [
        (too_large, Reason::HelloTooLarge),
        (u32::MAX, Reason::HelloTooLarge),
        (9, Reason::MalformedHello),
    ] {
        let connection = proven(&node).await;
        let (mut send, _recv) = connection.open_bi().await.unwrap();
        let hello = [&[0; 10][..], &length.to_be_bytes(), b"short"].concat();
        send.write_all(&hello).await.unwrap();
        send.finish().unwrap();
        closed_for(&connection, reason).await;
    }
    honest_peer_passes(&node).await;
}

#[tokio::test]
async fn no_second_stream_before_admission() {
    let node = TestNode::start();
    let connection = proven(&node).await;
    let (mut send, _recv) = connection.open_bi().await.unwrap();
    send.write_all(&[0]).await.unwrap();
    // QUIC's own stream limit says no, for as long as hello is not done.
    let second = futures::FutureExt::now_or_never(connection.open_bi());
    assert!(second.is_none());
    let one_way = futures::FutureExt::now_or_never(connection.open_uni());
    assert!(one_way.is_none());
}

/// A client that said hello and was admitted, by hand.
async fn admitted(node: &mut TestNode) -> Connection {
    let connection = proven(node).await;
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    let hello = [&[0; 10][..], &2_u32.to_be_bytes(), b"hi"].concat();
    send.write_all(&hello).await.unwrap();
    let mut answer = [0; 8 + 4 + 2];
    soon(recv.read_exact(&mut answer)).await.unwrap();
    send.write_all(&[1]).await.unwrap();
    send.finish().unwrap();
    assert!(matches!(node.event().await, LinkEvent::Up { .. }));
    connection
}

#[tokio::test]
async fn rule_breaks_on_streams_are_reset_by_name() {
    let sniff_timeout = Duration::from_millis(50);
    let config = Config {
        sniff_timeout,
        ..config()
    };
    let mut node = TestNode::with(config, Word::new("hi", "hi"), identity());
    let connection = admitted(&mut node).await;
    for (bytes, reason) in [
        (&[0, 0][..], Reason::SecondHello),
        (&[0, 10], Reason::UnknownStreamKind),
        (&[0, 255], Reason::UnknownStreamKind),
        (&[0], Reason::SilentStream),
    ] {
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        send.write_all(bytes).await.unwrap();
        let error = soon(recv.read_to_end(1)).await.unwrap_err();
        assert_eq!(
            error,
            quinn::ReadToEndError::Read(quinn::ReadError::Reset(reason.code())),
            "{bytes:?}"
        );
        assert!(node.links.counters().of(reason) > 0);
    }
    assert!(connection.close_reason().is_none(), "a few are forgiven");
}

#[tokio::test]
async fn streams_without_end() {
    let mut node = TestNode::start();
    let connection = admitted(&mut node).await;
    let flood = async {
        loop {
            let Ok((mut send, _recv)) = connection.open_bi().await else {
                return;
            };
            if send.write_all(&[0, 99]).await.is_err() {
                return;
            }
        }
    };
    soon(flood).await;
    closed_for(&connection, Reason::StreamFlood).await;
    assert_eq!(node.links.counters().of(Reason::StreamFlood), 1);
    honest_peer_passes(&node).await;
}

#[tokio::test]
async fn silent_streams_without_end() {
    let sniff_timeout = Duration::from_millis(50);
    let config = Config {
        sniff_timeout,
        ..config()
    };
    let mut node = TestNode::with(config, Word::new("hi", "hi"), identity());
    let connection = admitted(&mut node).await;
    let mut kept = Vec::new();
    let flood = async {
        while let Ok((mut send, recv)) = connection.open_bi().await {
            if send.write_all(&[0]).await.is_err() {
                return;
            }
            kept.push((send, recv));
        }
    };
    soon(flood).await;
    closed_for(&connection, Reason::StreamFlood).await;
    honest_peer_passes(&node).await;
}

#[tokio::test]
async fn calls_beyond_the_budget_are_refused_by_name() {
    let sniff_timeout = Duration::from_millis(50);
    let config = Config {
        sniff_timeout,
        ..config()
    };
    let mut node = TestNode::with(config, Word::new("hi", "hi"), identity());
    let connection = admitted(&mut node).await;
    let mut kept = Vec::new();
    for _ in 0..=limits::OUR_STREAMS {
        let (mut send, recv) = soon(connection.open_bi()).await.unwrap();
        send.write_all(&[0, StreamKind::Session.byte()])
            .await
            .unwrap();
        kept.push((send, recv));
    }
    node.counted(Reason::StreamBudget).await;
    assert!(connection.close_reason().is_none());
    honest_peer_passes(&node).await;
}

#[tokio::test]
async fn a_flood_of_handshakes_from_one_source() {
    let mut config = config();
    config.source_rate = SourceRate {
        per_second: 1,
        burst: 2,
    };
    let node = TestNode::with(config, Word::new("hi", "hi"), identity());
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let flood: Vec<_> = (0..8)
        .map(|_| {
            let config = client_config(&Oddity::default());
            endpoint
                .connect_with(config, node.address(), "unknown")
                .unwrap()
        })
        .collect();
    node.counted(Reason::SourceThrottled).await;
    drop(flood);
}

#[tokio::test]
async fn handshakes_under_way_are_bounded_and_proven_under_load() {
    let mut config = config();
    (config.pending_handshakes, config.retry_above) = (8, 1);
    let node = TestNode::with(config, Word::new("hi", "hi"), identity());
    // Proven, and silent: each holds a place. One source may hold a quarter of them.
    let held = [proven(&node).await, proven(&node).await];
    let third = connect(&node, &Oddity::default()).await;
    let refused = match third {
        Err(error) => error,
        Ok(connection) => soon(connection.closed()).await,
    };
    assert!(
        matches!(refused, ConnectionError::ConnectionClosed(_)),
        "{refused:?}"
    );
    node.counted(Reason::TooManyHandshakes).await;
    drop(held);
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        let honest = TestNode::start();
        if honest.dial(&node).await.is_ok() {
            return;
        }
    }
    panic!("places are given back");
}

#[tokio::test]
async fn a_retry_costs_a_round_trip_and_is_counted_as_one() {
    let mut config = config();
    config.retry_above = 0;
    let node = TestNode::with(config, Word::new("hi", "hi"), identity());
    let honest = TestNode::start();
    let link = soon(honest.links.dial(node.address(), None)).await.unwrap();
    assert_eq!(link.rtts, Some(2));
}

/// Such a token would let whoever has been here once past the throttle.
#[tokio::test]
async fn no_token_for_a_later_connection_is_given() {
    let node = TestNode::start();
    let connection = proven(&node).await;
    soon(async {
        while connection.stats().frame_rx.handshake_done == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(connection.stats().frame_rx.new_token, 0);
}

#[tokio::test]
async fn a_client_that_never_finishes_the_handshake() {
    let handshake_timeout = Duration::from_millis(200);
    let config = Config {
        handshake_timeout,
        ..config()
    };
    let node = TestNode::with(config, Word::new("hi", "hi"), identity());
    // Carries what the client says first and no answer.
    let relay = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = client_config(&Oddity::default());
    let address = relay.local_addr().unwrap();
    let connecting = endpoint.connect_with(config, address, "unknown").unwrap();
    for _ in 0..2 {
        let mut datagram = [0; 1500];
        let (length, _) = soon(relay.recv_from(&mut datagram)).await.unwrap();
        relay
            .send_to(&datagram[..length], node.address())
            .await
            .unwrap();
    }
    node.counted(Reason::HandshakeTimeout).await;
    drop(connecting);
    honest_peer_passes(&node).await;
}

#[tokio::test]
async fn noise_on_the_port_disturbs_nobody() {
    let node = TestNode::start();
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for length in 0..1500_usize {
        let byte = u8::try_from(length % 256).unwrap();
        let noise = vec![byte; length];
        socket.send_to(&noise, node.address()).await.unwrap();
    }
    honest_peer_passes(&node).await;
}
