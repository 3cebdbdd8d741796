//! The TLS configuration of a node: TLS 1.3 with X25519MLKEM768 only, raw public keys both
//! ways, one ALPN name, nothing resumed.
//!
//! Invariants: there is no second key exchange group, no TLS 1.2, no early data, no session
//! ticket and no way to configure one; a mismatch is a refused handshake with a named
//! [`Reason`](super::Reason). Resumption is off so that every connection proves its key and
//! meets admission (and so revocation) anew.

use std::sync::Arc;

use hedgerow_crypto::TlsIdentity;
use protocol::crypto::Crypto;
use protocol::id::NodeId;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::quic::Suite;
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;

use super::limits;
use super::observe::{ObservedClient, ObservedServer};
use super::raw_key::{CompositeKey, PeerVerifier};

/// Why no TLS configuration could be made: the linked provider lacks something it always has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// rustls refused the configuration.
    #[error("the TLS library refuses the configuration: {0}")]
    Configuration(String),
    /// The provider lacks the cipher suite QUIC needs for its first packets.
    #[error("the TLS library lacks AES-128-GCM, which QUIC needs for its first packets")]
    NoInitialSuite,
}

/// What every handshake of this node starts from.
pub(super) struct Tls {
    crypto: Arc<dyn Crypto>,
    node: NodeId,
    provider: Arc<CryptoProvider>,
    key: Arc<CertifiedKey>,
    initial: Suite,
}

impl Tls {
    pub(super) fn new(
        identity: Arc<TlsIdentity>,
        crypto: Arc<dyn Crypto>,
    ) -> Result<Self, TlsError> {
        let node = NodeId::of_tls_key(crypto.as_ref(), identity.public_key());
        let key = CompositeKey::new(identity);
        let spki = CertificateDer::from(key.spki().to_vec());
        Ok(Self {
            crypto,
            node,
            provider: Arc::new(provider()),
            key: Arc::new(CertifiedKey::new(vec![spki], Arc::new(key))),
            initial: initial_suite()?,
        })
    }

    /// The node this identity is.
    pub(super) fn node(&self) -> NodeId {
        self.node
    }

    /// For accepting.
    pub(super) fn server(&self) -> Result<Arc<dyn quinn::crypto::ServerConfig>, TlsError> {
        let verifier = PeerVerifier::new(Arc::clone(&self.crypto), self.node, None);
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| TlsError::Configuration(error.to_string()))?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(
                Arc::clone(&self.key),
            )));
        config.alpn_protocols = vec![limits::ALPN.to_vec()];
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        let inner = QuicServerConfig::with_initial(Arc::new(config), self.initial)
            .map_err(|_| TlsError::NoInitialSuite)?;
        Ok(Arc::new(ObservedServer::new(Arc::new(inner))))
    }

    /// For one dial; `expected` is the node that must answer.
    pub(super) fn client(
        &self,
        expected: Option<NodeId>,
    ) -> Result<Arc<dyn quinn::crypto::ClientConfig>, TlsError> {
        let verifier = PeerVerifier::new(Arc::clone(&self.crypto), self.node, expected);
        let mut config = rustls::ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| TlsError::Configuration(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(
                Arc::clone(&self.key),
            )));
        config.alpn_protocols = vec![limits::ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        // Nodes are named by their keys; a name in the clear would only help an observer.
        config.enable_sni = false;
        let inner = QuicClientConfig::with_initial(Arc::new(config), self.initial)
            .map_err(|_| TlsError::NoInitialSuite)?;
        Ok(Arc::new(ObservedClient::new(Arc::new(inner))))
    }
}

/// One group, and AES-256-GCM before ChaCha20: 256-bit keys, since a quantum search halves
/// what a symmetric key is worth.
fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![
            aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
            aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![aws_lc_rs::kx_group::X25519MLKEM768],
        ..aws_lc_rs::default_provider()
    }
}

/// AES-128-GCM for QUIC's first packets, whose keys are public by design (RFC 9001 §5.2).
fn initial_suite() -> Result<Suite, TlsError> {
    aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256
        .tls13()
        .and_then(rustls::Tls13CipherSuite::quic_suite)
        .ok_or(TlsError::NoInitialSuite)
}
