//! What the transport costs, as ratios to a baseline of the same run.
//!
//! - round trips of handshake and hello on a 50 ms path, through a UDP relay that holds every
//!   datagram for 25 ms;
//! - CPU time of a mutual handshake (with hello) against X25519 and Ed25519 raw keys (with a
//!   stream of the same shape) on bare quinn;
//! - stream-per-call throughput, 256 bytes each way, against bare quinn.
//!
//! `cargo bench -p node --bench transport` prints one JSON object on stdout and the same for
//! people on stderr; it exits with 1 when a bar is missed.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark prints and has nobody to return errors to"
)]

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hedgerow_crypto::{Primitives, TlsIdentity};
use node::transport::{
    Admission, Config, IncomingStream, Links, PeerIdentity, Reason, Refusal, SourceRate,
    StreamHandler, StreamKind,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// One way of the slow path.
const ONE_WAY: Duration = Duration::from_millis(25);
/// Dials over the slow path.
const SLOW_DIALS: usize = 20;
/// Handshakes per measurement of CPU time.
const HANDSHAKES: usize = 200;
/// Calls per measurement of throughput.
const CALLS: usize = 20_000;
/// Bytes of a call, each way.
const CALL_BYTES: usize = 256;
/// Repetitions, alternating with the baseline. Of CPU times the median counts; of throughputs
/// the best on either side, since whatever else the machine does only ever slows them, and so
/// there are enough for both sides to have a quiet one.
const ROUNDS: usize = 5;
const THROUGHPUT_ROUNDS: usize = 15;
/// Bars of the project.
const MAX_CPU_RATIO: f64 = 4.0;
const MIN_THROUGHPUT_RATIO: f64 = 1.0 / 1.2;

fn main() -> ExitCode {
    let slow = round_trips();
    let cpu = handshake_cpu();
    let sequential = throughput(1);
    let concurrent = throughput(64);
    let held = slow.most_rtts == 1
        && slow.handshake < 1.5
        && slow.hello < 1.5
        && cpu <= MAX_CPU_RATIO
        && sequential.ratio >= MIN_THROUGHPUT_RATIO
        && concurrent.ratio >= MIN_THROUGHPUT_RATIO
        && sequential.dropped + concurrent.dropped == 0;
    eprintln!(
        "handshake on a 50 ms path: {:.2} round trips (counted: at most {})",
        slow.handshake, slow.most_rtts
    );
    eprintln!("hello: {:.2} round trips more", slow.hello);
    eprintln!("handshake CPU: {cpu:.2} x X25519 + Ed25519 (bar: {MAX_CPU_RATIO})");
    for (name, run) in [("sequential", &sequential), ("64 at once", &concurrent)] {
        eprintln!(
            "stream per call, {name}: {:.0}/s, {:.2} x bare quinn (bar: {MIN_THROUGHPUT_RATIO:.2}), {} dropped",
            run.per_second, run.ratio, run.dropped
        );
    }
    let call = |run: &Throughput| {
        serde_json::json!({
            "per_second": run.per_second, "ratio": run.ratio, "dropped": run.dropped
        })
    };
    let report = serde_json::json!({
        "handshake_rtts": slow.handshake,
        "handshake_rtts_counted": slow.most_rtts,
        "hello_rtts": slow.hello,
        "handshake_cpu_ratio": cpu,
        "sequential": call(&sequential),
        "concurrent_64": call(&concurrent),
        "held": held,
    });
    println!("{report}");
    if held {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap()
}

struct Everyone;

impl Admission for Everyone {
    fn hello(&self) -> Vec<u8> {
        // About what a membership with its two signatures takes.
        vec![7; 8 * 1024]
    }

    fn admit(&self, _: &PeerIdentity, _: &[u8]) -> Result<(), Refusal> {
        Ok(())
    }
}

struct Echo;

#[async_trait::async_trait]
impl StreamHandler for Echo {
    async fn handle(&self, mut stream: IncomingStream) {
        let mut bytes = Vec::with_capacity(CALL_BYTES);
        if stream.recv.read_to_end(&mut bytes).await.is_ok() {
            let _ = stream.send.write_all(&bytes).await;
            stream.send.finish();
        }
    }
}

fn node() -> Links {
    let mut config = Config::new("127.0.0.1:0".parse().unwrap());
    config.source_rate = SourceRate {
        per_second: 1_000_000,
        burst: 1_000_000,
    };
    let links = Links::bind(
        config,
        Arc::new(TlsIdentity::generate(&Primitives).unwrap()),
        Arc::new(Primitives),
        Arc::new(Everyone),
        TaskTracker::new(),
        CancellationToken::new(),
    );
    let links = links.unwrap();
    links.serve(Arc::new(Echo));
    links
}

struct RoundTrips {
    handshake: f64,
    hello: f64,
    most_rtts: u8,
}

fn round_trips() -> RoundTrips {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.unwrap().block_on(async {
        let server = node();
        let (mut handshake, mut hello, mut most_rtts) = (Vec::new(), Vec::new(), 0);
        for _ in 0..SLOW_DIALS {
            let relay = relay(server.local_addr().unwrap()).await;
            let client = node();
            let link = client.dial(relay, None).await.unwrap();
            handshake.push(link.handshake_ms);
            hello.push(link.hello_ms);
            most_rtts = most_rtts.max(link.rtts.unwrap());
        }
        let rtt = ONE_WAY.as_secs_f64() * 2000.0;
        RoundTrips {
            handshake: median(handshake) / rtt,
            hello: median(hello) / rtt,
            most_rtts,
        }
    })
}

/// A relay in front of `server` for one client; every datagram takes [`ONE_WAY`].
async fn relay(server: SocketAddr) -> SocketAddr {
    let front = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let back = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let address = front.local_addr().unwrap();
    tokio::spawn(async move {
        let mut first = vec![0; 65_536];
        let (length, client) = front.peek_from(&mut first).await.unwrap();
        assert!(length > 0);
        tokio::spawn(carry(Arc::clone(&front), Arc::clone(&back), server));
        carry(back, front, client).await;
    });
    address
}

async fn carry(from: Arc<UdpSocket>, to: Arc<UdpSocket>, target: SocketAddr) {
    let (sender, mut held) = mpsc::unbounded_channel::<(tokio::time::Instant, Vec<u8>)>();
    tokio::spawn(async move {
        while let Some((due, datagram)) = held.recv().await {
            tokio::time::sleep_until(due).await;
            let _ = to.send_to(&datagram, target).await;
        }
    });
    let mut buffer = vec![0; 65_536];
    while let Ok((length, _)) = from.recv_from(&mut buffer).await {
        let due = tokio::time::Instant::now() + ONE_WAY;
        let datagram = buffer.get(..length).unwrap().to_vec();
        if sender.send((due, datagram)).is_err() {
            return;
        }
    }
}

/// CPU time of the calling thread so far.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanoseconds = stat.split(' ').next().unwrap().parse().unwrap();
    Duration::from_nanos(nanoseconds)
}

fn handshake_cpu() -> f64 {
    // One thread, so that its CPU time is all there is.
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let ratios = (0..ROUNDS).map(|_| {
        let ours = runtime.block_on(async {
            let (client, server) = (node(), node());
            let address = server.local_addr().unwrap();
            let before = cpu_time();
            for _ in 0..HANDSHAKES {
                client.dial(address, None).await.unwrap();
                client.close(server.node(), Reason::Closed);
            }
            cpu_time() - before
        });
        let baseline = runtime.block_on(async {
            let (client, address) = bare::pair();
            let before = cpu_time();
            for _ in 0..HANDSHAKES {
                let connection = bare::connect(&client, address).await;
                assert_eq!(
                    bare::call(&connection, &[7; 8 * 1024]).await.unwrap(),
                    8 * 1024
                );
                connection.close(0_u32.into(), b"");
            }
            cpu_time() - before
        });
        ours.as_secs_f64() / baseline.as_secs_f64()
    });
    median(ratios.collect())
}

struct Throughput {
    per_second: f64,
    ratio: f64,
    dropped: usize,
}

fn throughput(concurrency: usize) -> Throughput {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = runtime.unwrap();
    let (client, server) = runtime.block_on(async { (node(), node()) });
    let peer = server.node();
    let address = server.local_addr().unwrap();
    runtime.block_on(client.dial(address, Some(peer))).unwrap();
    let connection = runtime.block_on(async {
        let (client, address) = bare::pair();
        bare::connect(&client, address).await
    });
    let (mut best, mut best_bare, mut dropped) = (0.0_f64, 0.0_f64, 0);
    for _ in 0..THROUGHPUT_ROUNDS {
        let links = client.clone();
        let (ours, lost) = calls(&runtime, concurrency, move || {
            let links = links.clone();
            async move { call(&links, peer).await }
        });
        let connection = connection.clone();
        let (bare, _) = calls(&runtime, concurrency, move || {
            let connection = connection.clone();
            async move { bare::call(&connection, &[7; CALL_BYTES]).await }
        });
        (best, best_bare) = (best.max(ours), best_bare.max(bare));
        dropped += lost;
    }
    Throughput {
        per_second: best,
        ratio: best / best_bare,
        dropped,
    }
}

/// Calls per second, and how many were not answered in full.
fn calls<F: Future<Output = Option<usize>> + Send + 'static>(
    runtime: &Runtime,
    concurrency: usize,
    call: impl Fn() -> F + Clone + Send + 'static,
) -> (f64, usize) {
    runtime.block_on(async {
        let started = Instant::now();
        let workers: Vec<_> = (0..concurrency)
            .map(|_| {
                let call = call.clone();
                tokio::spawn(async move {
                    let mut lost = 0;
                    for _ in 0..CALLS / concurrency {
                        lost += usize::from(call().await != Some(CALL_BYTES));
                    }
                    lost
                })
            })
            .collect();
        let mut lost = 0;
        for worker in workers {
            lost += worker.await.unwrap();
        }
        let done = u32::try_from(CALLS / concurrency * concurrency).unwrap();
        (f64::from(done) / started.elapsed().as_secs_f64(), lost)
    })
}

async fn call(links: &Links, peer: protocol::id::NodeId) -> Option<usize> {
    let (mut send, mut recv) = links.open(peer, StreamKind::Call).await.ok()?;
    send.write_all(&[7; CALL_BYTES]).await.ok()?;
    send.finish();
    let mut answer = Vec::with_capacity(CALL_BYTES);
    recv.read_to_end(&mut answer).await.ok()
}

/// The baseline: quinn as it comes, X25519, Ed25519 raw keys both ways.
mod bare {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
    use quinn::{ClientConfig, Connection, Endpoint, ServerConfig};
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
    use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature_with_raw_key};
    use rustls::pki_types::{
        CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer,
        UnixTime,
    };
    use rustls::server::AlwaysResolvesServerRawPublicKeys;
    use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
    use rustls::sign::CertifiedKey;
    use rustls::version::TLS13;
    use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

    /// PKCS #8 of an Ed25519 seed (RFC 8410), up to the seed.
    const PKCS8: [u8; 16] = [
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04,
        0x20,
    ];

    pub(super) fn pair() -> (Endpoint, SocketAddr) {
        let any = "127.0.0.1:0".parse().unwrap();
        let mut tls = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_client_cert_verifier(Arc::new(Verifier))
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(key())));
        tls.send_tls13_tickets = 0;
        tls.alpn_protocols = vec![b"bare".to_vec()];
        let tls = Arc::new(QuicServerConfig::try_from(tls).unwrap());
        let server = Endpoint::server(ServerConfig::with_crypto(tls), any).unwrap();
        let address = server.local_addr().unwrap();
        tokio::spawn(async move {
            while let Some(incoming) = server.accept().await {
                tokio::spawn(async move {
                    if let Ok(connection) = incoming.await {
                        serve(connection).await;
                    }
                });
            }
        });
        (Endpoint::client(any).unwrap(), address)
    }

    async fn serve(connection: Connection) {
        while let Ok((mut send, mut recv)) = connection.accept_bi().await {
            tokio::spawn(async move {
                if let Ok(bytes) = recv.read_to_end(64 * 1024).await {
                    let _ = send.write_all(&bytes).await;
                    let _ = send.finish();
                }
            });
        }
    }

    pub(super) async fn connect(client: &Endpoint, server: SocketAddr) -> Connection {
        let mut tls = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier))
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(key())));
        tls.alpn_protocols = vec![b"bare".to_vec()];
        tls.resumption = Resumption::disabled();
        let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
        let connecting = client.connect_with(config, server, "bare").unwrap();
        connecting.await.unwrap()
    }

    pub(super) async fn call(connection: &Connection, message: &[u8]) -> Option<usize> {
        let (mut send, mut recv) = connection.open_bi().await.ok()?;
        send.write_all(message).await.ok()?;
        send.finish().ok()?;
        let answer = recv.read_to_end(64 * 1024).await.ok()?;
        Some(answer.len())
    }

    fn provider() -> Arc<CryptoProvider> {
        Arc::new(CryptoProvider {
            kx_groups: vec![aws_lc_rs::kx_group::X25519],
            ..aws_lc_rs::default_provider()
        })
    }

    fn key() -> Arc<CertifiedKey> {
        let pkcs8 = [PKCS8.as_slice(), &[5; 32]].concat();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8));
        let key = aws_lc_rs::sign::any_supported_type(&key).unwrap();
        let spki = CertificateDer::from(key.public_key().unwrap().to_vec());
        Arc::new(CertifiedKey::new(vec![spki], key))
    }

    #[derive(Debug)]
    struct Verifier;

    impl Verifier {
        fn check(
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
            let spki = SubjectPublicKeyInfoDer::from(cert.as_ref());
            verify_tls13_signature_with_raw_key(message, &spki, dss, &algorithms)
        }
    }

    impl ServerCertVerifier for Verifier {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(Error::General("TLS 1.2".to_owned()))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Self::check(message, cert, dss)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ED25519]
        }

        fn requires_raw_public_keys(&self) -> bool {
            true
        }
    }

    impl ClientCertVerifier for Verifier {
        fn root_hint_subjects(&self) -> &[DistinguishedName] {
            &[]
        }

        fn verify_client_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: UnixTime,
        ) -> Result<ClientCertVerified, Error> {
            Ok(ClientCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(Error::General("TLS 1.2".to_owned()))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Self::check(message, cert, dss)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ED25519]
        }

        fn requires_raw_public_keys(&self) -> bool {
            true
        }
    }
}
