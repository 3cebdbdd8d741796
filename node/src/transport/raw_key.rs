//! RFC 7250 raw public keys of composite kind, as rustls wants them: how this node proves its
//! key, and how it checks a peer's.
//!
//! Invariants: only id-MLDSA65-Ed25519-SHA512 under [`SCHEME`] is ever offered, chosen or
//! accepted; an expected [`NodeId`] is checked against the key before its signature is. There
//! are no names, chains, times or revocation here: those are admission's.

use core::fmt;
use std::sync::Arc;

use hedgerow_crypto::TlsIdentity;
use protocol::crypto::{Crypto, TLS_PUBLIC_LEN};
use protocol::id::NodeId;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{Signer, SigningKey};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    PeerIncompatible, SignatureAlgorithm, SignatureScheme,
};

use super::refusal::Reason;

/// The TLS signature scheme: private use, since no code point is assigned to the composite.
/// rustls refuses TLS 1.3 schemes whose low byte is 0–2 or whose high byte is 0–3.
pub const SCHEME: SignatureScheme = SignatureScheme::Unknown(0xFE65);

/// What [`SCHEME`] stands for.
pub const SCHEME_NAME: &str = "id-MLDSA65-Ed25519-SHA512";

/// The node's TLS identity as a rustls key.
pub(super) struct CompositeKey {
    identity: Arc<TlsIdentity>,
    spki: Vec<u8>,
}

impl CompositeKey {
    pub(super) fn new(identity: Arc<TlsIdentity>) -> Self {
        let spki = identity.spki();
        Self { identity, spki }
    }

    pub(super) fn spki(&self) -> &[u8] {
        &self.spki
    }
}

impl fmt::Debug for CompositeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CompositeKey")
    }
}

impl SigningKey for CompositeKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered
            .contains(&SCHEME)
            .then(|| -> Box<dyn Signer> { Box::new(CompositeSigner(Arc::clone(&self.identity))) })
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(SubjectPublicKeyInfoDer::from(self.spki.as_slice()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        // TLS 1.2's notion; rustls asks for it but TLS 1.3 never uses it.
        SignatureAlgorithm::Unknown(0xFE)
    }
}

struct CompositeSigner(Arc<TlsIdentity>);

impl fmt::Debug for CompositeSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CompositeSigner")
    }
}

impl Signer for CompositeSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.0
            .sign(message)
            .map_err(|error| Error::General(error.to_string()))
    }

    fn scheme(&self) -> SignatureScheme {
        SCHEME
    }
}

/// A verifier's refusal inside a rustls error: name and sentence, so that both ends can tell.
#[derive(thiserror::Error)]
#[error("{}: {}", .0.name(), .0)]
struct Refused(Reason);

impl fmt::Debug for Refused {
    /// As `Display`: rustls shows the `Debug` form of foreign errors.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn refuse(reason: Reason) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(Refused(
        reason,
    )))))
}

/// Checks a peer's key, on either side.
pub(super) struct PeerVerifier {
    crypto: Arc<dyn Crypto>,
    /// This node: its own key at the other end is refused.
    own: NodeId,
    /// The node that must answer, where the dialer knows it.
    expected: Option<NodeId>,
}

impl PeerVerifier {
    pub(super) fn new(crypto: Arc<dyn Crypto>, own: NodeId, expected: Option<NodeId>) -> Self {
        Self {
            crypto,
            own,
            expected,
        }
    }

    fn check_key(&self, spki: &[u8]) -> Result<(), Error> {
        let key = key_of(spki)?;
        let node = NodeId::of_tls_key(self.crypto.as_ref(), &key);
        if node == self.own {
            return Err(refuse(Reason::OwnKey));
        }
        if self.expected.is_some_and(|expected| expected != node) {
            return Err(refuse(Reason::WrongNode));
        }
        Ok(())
    }

    fn check_signature(
        spki: &[u8],
        message: &[u8],
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if signed.scheme != SCHEME {
            return Err(refuse(Reason::NoCompositeKey));
        }
        let key = key_of(spki)?;
        hedgerow_crypto::verify_composite(&key, message, &[], signed.signature())
            .map(|()| HandshakeSignatureValid::assertion())
            .map_err(|_| refuse(Reason::BadSignature))
    }
}

fn key_of(spki: &[u8]) -> Result<[u8; TLS_PUBLIC_LEN], Error> {
    hedgerow_crypto::parse_spki(spki).map_err(|_| refuse(Reason::NotComposite))
}

impl fmt::Debug for PeerVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerVerifier")
            .field("expected", &self.expected)
            .finish_non_exhaustive()
    }
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check_key(end_entity)
            .map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::check_signature(cert, message, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SCHEME]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn client_auth_mandatory(&self) -> bool {
        true
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check_key(end_entity)
            .map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::check_signature(cert, message, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SCHEME]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
