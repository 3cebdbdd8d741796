//! Peers that are not even members: hand-made TLS clients, and raw connections that say hello or
//! do not.

use std::sync::Arc;

use hedgerow_crypto::TlsIdentity;
use node::identity::Identity;
use node::members::Members;
use node::overlay::MeshAdmission;
use node::transport::{Admission as _, SCHEME, limits};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, ConnectionError, Endpoint};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, ResolvesClientCert};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};

use crate::mesh::TestNode;
use crate::wait::soon;

/// The key exchange of this mesh.
pub const HYBRID: &dyn SupportedKxGroup = aws_lc_rs::kx_group::X25519MLKEM768;
/// What everyone else still speaks.
pub const CLASSICAL: &dyn SupportedKxGroup = aws_lc_rs::kx_group::X25519;

/// A composite key, as rustls wants it.
struct Composite(Arc<TlsIdentity>);

impl core::fmt::Debug for Composite {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Composite")
    }
}

impl SigningKey for Composite {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let known = offered.contains(&SCHEME);
        known.then(|| Box::new(Self(Arc::clone(&self.0))) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::Unknown(0xFE)
    }
}

impl Signer for Composite {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        Ok(self.0.sign(message).unwrap())
    }

    fn scheme(&self) -> SignatureScheme {
        SCHEME
    }
}

/// Speaks raw keys and presents none.
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

/// Takes any key.
#[derive(Debug)]
struct Credulous;

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
        Err(rustls::Error::General("TLS 1.2 is not spoken".to_owned()))
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
        vec![SCHEME]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Connects to a node with this key exchange and key. TLS may look done from here before the
/// node has refused it.
pub async fn connect(
    node: &TestNode,
    group: &'static dyn SupportedKxGroup,
    key: Option<Arc<TlsIdentity>>,
) -> Result<Connection, ConnectionError> {
    let key = key.map(|identity| {
        let spki = identity.spki().to_vec();
        (identity, spki)
    });
    connect_as(node, group, key).await
}

/// The same, the public key encoded as is said.
pub async fn connect_as(
    node: &TestNode,
    group: &'static dyn SupportedKxGroup,
    key: Option<(Arc<TlsIdentity>, Vec<u8>)>,
) -> Result<Connection, ConnectionError> {
    let provider = Arc::new(CryptoProvider {
        kx_groups: vec![group],
        ..aws_lc_rs::default_provider()
    });
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous));
    let mut tls = match key {
        None => builder.with_client_cert_resolver(Arc::new(Keyless)),
        Some((identity, spki)) => {
            let spki = CertificateDer::from(spki);
            let key = Arc::new(Composite(identity));
            let certified = Arc::new(CertifiedKey::new(vec![spki], key));
            builder.with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(
                certified,
            )))
        }
    };
    tls.alpn_protocols = vec![limits::ALPN.to_vec()];
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let remote = node.node.links().local_addr().unwrap();
    let connecting = endpoint.connect_with(config, remote, "unknown").unwrap();
    soon(connecting).await
}

/// The error a connection ends with.
pub async fn refusal(connection: Result<Connection, ConnectionError>) -> ConnectionError {
    match connection {
        Ok(connection) => soon(connection.closed()).await,
        Err(error) => error,
    }
}

/// What a member says first on its hello stream, ready to be written.
#[must_use]
pub fn hello(identity: &Arc<Identity>) -> Vec<u8> {
    let crypto = Arc::clone(&identity.crypto);
    let members = Members::new(Arc::clone(&crypto), identity.root());
    let clock = Arc::new(node::clock::SystemClock);
    let standing = Arc::new(node::standing::Standing::genesis(identity).unwrap());
    let hello =
        MeshAdmission::new(Arc::clone(identity), Arc::new(members), clock, standing).hello();
    let length = u32::try_from(hello.len()).unwrap().to_be_bytes();
    let instance: [u8; 8] = crate::forge::random();
    [&[0, 0], instance.as_slice(), &length, &hello].concat()
}

/// Says hello by hand in the name of a member, and is admitted.
pub async fn admitted(node: &TestNode, identity: &Arc<Identity>) -> Connection {
    let key = Some(Arc::clone(&identity.tls));
    let connection = connect(node, HYBRID, key).await.unwrap();
    let (mut send, mut recv) = soon(connection.open_bi()).await.unwrap();
    send.write_all(&hello(identity)).await.unwrap();
    let mut head = [0; 12];
    soon(recv.read_exact(&mut head)).await.unwrap();
    let length = u32::from_be_bytes(head[8..].try_into().unwrap());
    let mut theirs = vec![0; length as usize];
    soon(recv.read_exact(&mut theirs)).await.unwrap();
    send.write_all(&[1]).await.unwrap();
    send.finish().unwrap();
    soon(recv.read_to_end(0)).await.unwrap();
    connection
}
