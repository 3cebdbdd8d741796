//! How many round trips a handshake took, counted from its own datagrams.
//!
//! A layer over the UDP socket looks at datagrams that start with a QUIC long header (RFC 9000
//! §17.2), which only handshakes use; all others pass after one look at one byte. Per handshake
//! it counts what the dialer sent before the first answer and what the acceptor sent before the
//! dialer's last flight. From these:
//!
//! `rtts` = 1 + retries + (1 if the acceptor sent more than three times the dialer's first
//! flight without a token, since RFC 9000 §8.1 makes it wait for an answer then), and the caller
//! adds one for a TLS HelloRetryRequest. It is thus the number of times the dialer had to wait
//! for the acceptor, exact on paths without loss, and says the same on loopback, where no clock
//! can tell. Losses and reordering can cost more waiting than it says; `handshake_ms` has that.
//!
//! Forged datagrams can at most push real handshakes out of the bounded table, whose `rtts` is
//! then unknown.

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, ConnectionId, UdpPoller};

use super::limits;

/// RFC 9000 §8.1: bytes an acceptor may send per byte received from an unproven address.
const AMPLIFICATION: u64 = 3;

/// Handshake packets of the dialer above this size carry its key and signature: its last flight.
const LAST_FLIGHT: usize = 600;

/// Longest connection id in QUIC version 1.
const MAX_CID: usize = 20;

/// The parts of a long header that stand in the clear.
struct LongHeader {
    kind: u8,
    destination: ConnectionId,
    source: ConnectionId,
    has_token: bool,
}

const INITIAL: u8 = 0;
const HANDSHAKE: u8 = 2;
const RETRY: u8 = 3;

impl LongHeader {
    fn read(datagram: &[u8]) -> Option<Self> {
        let (first, rest) = datagram.split_first()?;
        let (version, rest) = rest.split_first_chunk::<4>()?;
        if first & 0x80 == 0 || version == &[0; 4] {
            return None;
        }
        let (destination, rest) = cid(rest)?;
        let (source, rest) = cid(rest)?;
        let kind = (first >> 4) & 3;
        Some(Self {
            kind,
            destination,
            source,
            has_token: kind == INITIAL && rest.first().is_some_and(|length| *length != 0),
        })
    }
}

fn cid(bytes: &[u8]) -> Option<(ConnectionId, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let (id, rest) = rest.split_at_checked(usize::from(*length))?;
    (id.len() <= MAX_CID).then(|| (ConnectionId::new(id), rest))
}

/// One handshake under way.
struct Flight {
    remote: SocketAddr,
    /// The destination of the dialer's first packet: what both ends know it by.
    original: ConnectionId,
    dialer: ConnectionId,
    first_flight: u64,
    answered: u64,
    retries: u8,
    proven: bool,
    last_flight: bool,
}

impl Flight {
    fn matches(&self, remote: SocketAddr, header: &LongHeader) -> bool {
        self.remote == remote
            && (header.destination == self.original
                || header.source == self.dialer
                || header.destination == self.dialer)
    }

    fn count(&mut self, header: &LongHeader, length: usize) {
        let bytes = u64::try_from(length).unwrap_or(u64::MAX);
        if header.source == self.dialer {
            self.proven |= header.has_token;
            if self.answered == 0 {
                self.first_flight = self.first_flight.saturating_add(bytes);
            }
            self.last_flight |= header.kind == HANDSHAKE && length > LAST_FLIGHT;
        } else if header.kind == RETRY {
            self.retries = self.retries.saturating_add(1);
            self.first_flight = 0;
        } else if !self.last_flight {
            self.answered = self.answered.saturating_add(bytes);
        }
    }

    fn round_trips(&self) -> u8 {
        let budget = self.first_flight.saturating_mul(AMPLIFICATION);
        let waited = !self.proven && self.answered > budget;
        self.retries.saturating_add(1).saturating_add(waited.into())
    }
}

/// The handshakes whose datagrams are counted.
#[derive(Default)]
pub(super) struct Flights(Mutex<VecDeque<Flight>>);

impl Flights {
    fn pass(&self, remote: SocketAddr, contents: &[u8], segment: usize) {
        if contents.first().is_none_or(|first| first & 0x80 == 0) {
            return;
        }
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for datagram in contents.chunks(segment.max(1)) {
            let Some(header) = LongHeader::read(datagram) else {
                continue;
            };
            let known = flights.iter_mut().find(|f| f.matches(remote, &header));
            if let Some(flight) = known {
                flight.count(&header, datagram.len());
            } else if header.kind == INITIAL {
                if flights.len() >= limits::OBSERVED_FLIGHTS {
                    flights.pop_front();
                }
                let mut flight = Flight {
                    remote,
                    original: header.destination,
                    dialer: header.source,
                    first_flight: 0,
                    answered: 0,
                    retries: 0,
                    proven: false,
                    last_flight: false,
                };
                flight.count(&header, datagram.len());
                flights.push_back(flight);
            }
        }
    }

    /// The round trips of the handshake whose dialer first wrote to `original`, which is then
    /// forgotten; `None` if it was not counted.
    pub(super) fn take(&self, original: ConnectionId) -> Option<u8> {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let position = flights.iter().position(|f| f.original == original)?;
        flights.remove(position).map(|flight| flight.round_trips())
    }
}

impl fmt::Debug for Flights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Flights")
    }
}

/// A UDP socket whose handshakes are counted.
#[derive(Debug)]
pub(super) struct CountingSocket {
    pub(super) inner: Arc<dyn AsyncUdpSocket>,
    pub(super) flights: Arc<Flights>,
}

impl AsyncUdpSocket for CountingSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.inner.try_send(transmit)?;
        let segment = transmit.segment_size.unwrap_or(transmit.contents.len());
        self.flights
            .pass(transmit.destination, transmit.contents, segment);
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received = self.inner.poll_recv(cx, bufs, meta);
        if let Poll::Ready(Ok(count)) = received {
            for (buf, meta) in bufs.iter().zip(meta.iter()).take(count) {
                let contents = buf.get(..meta.len).unwrap_or_default();
                self.flights.pass(meta.addr, contents, meta.stride);
            }
        }
        received
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIALER: [u8; 4] = [1; 4];
    const ACCEPTOR: [u8; 4] = [2; 4];
    const ORIGINAL: [u8; 8] = [9; 8];

    fn packet(kind: u8, destination: &[u8], source: &[u8], token: u8, length: usize) -> Vec<u8> {
        let mut packet = vec![0xC0 | (kind << 4), 0, 0, 0, 1];
        for id in [destination, source] {
            packet.push(u8::try_from(id.len()).unwrap());
            packet.extend_from_slice(id);
        }
        packet.push(token);
        packet.resize(length, 0);
        packet
    }

    fn remote() -> SocketAddr {
        "192.0.2.1:1".parse().unwrap()
    }

    fn pass(flights: &Flights, packet: &[u8]) {
        flights.pass(remote(), packet, packet.len());
    }

    fn round_trips(answered: usize, token: u8, retry: bool) -> u8 {
        let flights = Flights::default();
        pass(&flights, &packet(INITIAL, &ORIGINAL, &DIALER, token, 1200));
        if retry {
            pass(&flights, &packet(RETRY, &DIALER, &ACCEPTOR, 0, 100));
            pass(&flights, &packet(INITIAL, &ACCEPTOR, &DIALER, 9, 1200));
        }
        pass(&flights, &packet(INITIAL, &ACCEPTOR, &DIALER, token, 1200));
        for _ in 0..answered / 1200 {
            pass(&flights, &packet(HANDSHAKE, &DIALER, &ACCEPTOR, 0, 1200));
        }
        pass(&flights, &packet(HANDSHAKE, &ACCEPTOR, &DIALER, 0, 1200));
        // After the dialer's last flight: not part of what it waited for.
        for _ in 0..20 {
            pass(&flights, &packet(HANDSHAKE, &DIALER, &ACCEPTOR, 0, 1200));
        }
        let taken = flights.take(ConnectionId::new(&ORIGINAL)).unwrap();
        assert_eq!(flights.take(ConnectionId::new(&ORIGINAL)), None);
        taken
    }

    #[test]
    fn round_trips_follow_the_amplification_rule() {
        assert_eq!(round_trips(7200, 0, false), 1);
        assert_eq!(round_trips(8400, 0, false), 2);
        assert_eq!(round_trips(8400, 5, false), 1, "a token proves the address");
        assert_eq!(round_trips(7200, 0, true), 2, "a retry is a round trip");
    }

    #[test]
    fn the_table_is_bounded_and_nonsense_is_ignored() {
        let flights = Flights::default();
        for number in 0..10_000_u32 {
            pass(
                &flights,
                &packet(
                    INITIAL,
                    &number.to_be_bytes(),
                    &number.to_le_bytes(),
                    0,
                    1200,
                ),
            );
        }
        for length in 0..64 {
            pass(&flights, &vec![0xff; length]);
        }
        let kept = flights.0.lock().unwrap().len();
        assert_eq!(kept, limits::OBSERVED_FLIGHTS);
    }
}
