//! What a handshake really negotiated, read from its own messages as they pass.
//!
//! quinn does not say which key exchange group or signature scheme a connection uses. The
//! handshake messages pass between quinn and rustls in the clear, so a thin layer around the
//! session reads two of them: ServerHello (the `key_share` extension names the group) and the
//! peer's CertificateVerify (its first field is the scheme). It decides nothing, changes
//! nothing and holds at most [`KEPT`] bytes of a message; what rustls then accepts is what was
//! read, because both read the same bytes.

use std::any::Any;
use std::sync::Arc;

use quinn::ConnectError;
use quinn::ConnectionId;
use quinn::crypto::{
    ClientConfig, ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, ServerConfig,
    Session, UnsupportedVersion,
};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{Side, TransportError};
use rustls::{NamedGroup, SignatureScheme};

/// Bytes kept of one handshake message: a ServerHello with a 1,120-byte key share fits.
const KEPT: usize = 2048;

const SERVER_HELLO: u8 = 2;
const CERTIFICATE_VERIFY: u8 = 15;
const KEY_SHARE: u16 = 51;

/// The random of a ServerHello that is a HelloRetryRequest (RFC 8446 §4.1.3).
const RETRY_RANDOM: [u8; 32] = [
    0xCF, 0x21, 0xAD, 0x74, 0xE5, 0x9A, 0x61, 0x11, 0xBE, 0x1D, 0x8C, 0x02, 0x1E, 0x65, 0xB8, 0x91,
    0xC2, 0xA2, 0x11, 0x16, 0x7A, 0xBB, 0x8C, 0x5E, 0x07, 0x9E, 0x09, 0xE2, 0xC8, 0xA8, 0x33, 0x9C,
];

/// What was negotiated; `handshake_data()` of our connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Negotiated {
    /// From ServerHello.
    pub(super) group: Option<NamedGroup>,
    /// From the peer's CertificateVerify.
    pub(super) scheme: Option<SignatureScheme>,
    /// Whether the server asked for another ClientHello, which costs a round trip.
    pub(super) hello_retry: bool,
}

/// Cuts one direction of the handshake into messages.
#[derive(Debug, Default)]
struct Messages {
    /// The message under way: header and at most [`KEPT`] bytes of its body.
    kept: Vec<u8>,
    /// Bytes of it that are still to come.
    missing: usize,
}

impl Messages {
    /// Takes what passed and hands each message that is complete to `read` as (type, body).
    fn pass(&mut self, mut bytes: &[u8], mut read: impl FnMut(u8, &[u8])) {
        while !bytes.is_empty() {
            if self.missing == 0 && self.kept.len() < 4 {
                let (head, rest) = bytes.split_at(bytes.len().min(4 - self.kept.len()));
                self.kept.extend_from_slice(head);
                bytes = rest;
                let Ok([_, length @ ..]) = <[u8; 4]>::try_from(self.kept.as_slice()) else {
                    return;
                };
                let [high, middle, low] = length.map(usize::from);
                self.missing = (high << 16) | (middle << 8) | low;
            } else {
                let (body, rest) = bytes.split_at(bytes.len().min(self.missing));
                let room = KEPT.saturating_sub(self.kept.len());
                self.kept
                    .extend_from_slice(body.get(..body.len().min(room)).unwrap_or_default());
                self.missing -= body.len();
                bytes = rest;
            }
            if self.missing == 0 {
                if let [kind, _, _, _, body @ ..] = self.kept.as_slice() {
                    read(*kind, body);
                }
                self.kept.clear();
            }
        }
    }
}

impl Negotiated {
    fn read(&mut self, kind: u8, body: &[u8], from_peer: bool) {
        match kind {
            SERVER_HELLO => {
                self.hello_retry |= body.get(2..34) == Some(&RETRY_RANDOM);
                self.group = group_of(body).or(self.group);
            }
            CERTIFICATE_VERIFY if from_peer => {
                self.scheme = body
                    .first_chunk::<2>()
                    .map(|scheme| SignatureScheme::from(u16::from_be_bytes(*scheme)));
            }
            _ => {}
        }
    }
}

/// The group in a ServerHello's `key_share` (RFC 8446 §4.1.3, §4.2.8).
fn group_of(hello: &[u8]) -> Option<NamedGroup> {
    let (session_id, rest) = hello.get(34..)?.split_first()?;
    // The session id, then the suite (2), the compression (1) and the extensions' length (2).
    let mut extensions = rest.get(usize::from(*session_id) + 5..)?;
    loop {
        let (kind, rest) = extensions.split_first_chunk::<2>()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let (value, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        if u16::from_be_bytes(*kind) == KEY_SHARE {
            let group = value.first_chunk::<2>()?;
            return Some(NamedGroup::from(u16::from_be_bytes(*group)));
        }
        extensions = rest;
    }
}

/// A session whose handshake messages are read as they pass.
struct Observed {
    inner: Box<dyn Session>,
    received: Messages,
    sent: Messages,
    negotiated: Negotiated,
}

impl Observed {
    fn around(inner: Box<dyn Session>) -> Box<dyn Session> {
        Box::new(Self {
            inner,
            received: Messages::default(),
            sent: Messages::default(),
            negotiated: Negotiated::default(),
        })
    }
}

impl Session for Observed {
    fn initial_keys(&self, dst_cid: &ConnectionId, side: Side) -> Keys {
        self.inner.initial_keys(dst_cid, side)
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        self.inner.handshake_data()?;
        Some(Box::new(self.negotiated))
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.inner.peer_identity()
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        self.inner.early_crypto()
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.inner.early_data_accepted()
    }

    fn is_handshaking(&self) -> bool {
        self.inner.is_handshaking()
    }

    fn read_handshake(&mut self, buf: &[u8]) -> Result<bool, TransportError> {
        if self.inner.is_handshaking() {
            let negotiated = &mut self.negotiated;
            self.received
                .pass(buf, |kind, body| negotiated.read(kind, body, true));
        }
        self.inner.read_handshake(buf)
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        self.inner.transport_parameters()
    }

    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<Keys> {
        let before = buf.len();
        let keys = self.inner.write_handshake(buf);
        let negotiated = &mut self.negotiated;
        self.sent
            .pass(buf.get(before..).unwrap_or_default(), |kind, body| {
                negotiated.read(kind, body, false);
            });
        keys
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        self.inner.next_1rtt_keys()
    }

    fn is_valid_retry(&self, orig_dst_cid: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        self.inner.is_valid_retry(orig_dst_cid, header, payload)
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        self.inner.export_keying_material(output, label, context)
    }
}

/// A client configuration whose sessions are observed.
pub(super) struct ObservedClient(Arc<dyn ClientConfig>);

impl ObservedClient {
    pub(super) fn new(inner: Arc<dyn ClientConfig>) -> Self {
        Self(inner)
    }
}

impl ClientConfig for ObservedClient {
    fn start_session(
        self: Arc<Self>,
        version: u32,
        server_name: &str,
        params: &TransportParameters,
    ) -> Result<Box<dyn Session>, ConnectError> {
        Arc::clone(&self.0)
            .start_session(version, server_name, params)
            .map(Observed::around)
    }
}

/// A server configuration whose sessions are observed.
pub(super) struct ObservedServer(Arc<dyn ServerConfig>);

impl ObservedServer {
    pub(super) fn new(inner: Arc<dyn ServerConfig>) -> Self {
        Self(inner)
    }
}

impl ServerConfig for ObservedServer {
    fn initial_keys(
        &self,
        version: u32,
        dst_cid: &ConnectionId,
    ) -> Result<Keys, UnsupportedVersion> {
        self.0.initial_keys(version, dst_cid)
    }

    fn retry_tag(&self, version: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.0.retry_tag(version, orig_dst_cid, packet)
    }

    fn start_session(
        self: Arc<Self>,
        version: u32,
        params: &TransportParameters,
    ) -> Box<dyn Session> {
        Observed::around(Arc::clone(&self.0).start_session(version, params))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server_hello(random: [u8; 32], group: u16) -> Vec<u8> {
        let share = [&group.to_be_bytes()[..], &[0, 1, 9]].concat();
        let extensions = [
            &[
                0,
                43,
                0,
                2,
                3,
                4,
                0,
                51,
                0,
                u8::try_from(share.len()).unwrap(),
            ][..],
            &share,
        ]
        .concat();
        let body = [
            &[3, 3][..],
            &random,
            &[
                1,
                7,
                0x13,
                0x02,
                0,
                0,
                u8::try_from(extensions.len()).unwrap(),
            ],
            &extensions,
        ]
        .concat();
        [&[2, 0, 0, u8::try_from(body.len()).unwrap()][..], &body].concat()
    }

    #[test]
    fn group_and_scheme_are_read_however_the_bytes_are_cut() {
        let verify = [15, 0, 0, 4, 0xFE, 0x65, 0, 0];
        let bytes = [server_hello([1; 32], 0x11ec).as_slice(), &verify].concat();
        for step in 1..bytes.len() {
            let (mut messages, mut negotiated) = (Messages::default(), Negotiated::default());
            for part in bytes.chunks(step) {
                messages.pass(part, |kind, body| negotiated.read(kind, body, true));
            }
            assert_eq!(negotiated.group, Some(NamedGroup::X25519MLKEM768), "{step}");
            assert_eq!(
                negotiated.scheme,
                Some(SignatureScheme::Unknown(0xFE65)),
                "{step}"
            );
            assert!(!negotiated.hello_retry);
        }
    }

    #[test]
    fn a_hello_retry_is_seen() {
        let (mut messages, mut negotiated) = (Messages::default(), Negotiated::default());
        messages.pass(&server_hello(RETRY_RANDOM, 0x001d), |kind, body| {
            negotiated.read(kind, body, true);
        });
        assert!(negotiated.hello_retry);
    }

    #[test]
    fn nonsense_is_bounded_and_reads_as_nothing() {
        let (mut messages, mut negotiated) = (Messages::default(), Negotiated::default());
        messages.pass(&[2, 0xff, 0xff, 0xff], |_, _| {});
        for _ in 0..100 {
            messages.pass(&[0xff; 1000], |kind, body| {
                negotiated.read(kind, body, true)
            });
        }
        assert!(messages.kept.len() <= KEPT);
        for length in 0..200 {
            assert_eq!(group_of(&vec![0; length]), None);
        }
    }
}
