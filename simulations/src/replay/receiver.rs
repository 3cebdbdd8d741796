//! The one node that is called: the production replay window and stream checks, composed in the
//! order in which a node composes them, over a store that takes its time and may fail.
//!
//! Shape and header → stream → look → signatures → accept → durable → act. As in a node, every
//! envelope that needs a reservation has a write of its own, any number of which are under way at
//! once; the window learns of a reservation when its write is done, and the later messages of a
//! call wait on its stream until the first one is decided. A renewal is a write that nothing waits
//! for. Members and limits are not modelled:
//! every issuer here is one, and none floods.

use std::collections::{BTreeMap, HashMap};

use protocol::crypto::Signer;
use protocol::envelope::replay::{Accepted, Begins, Entry, ReplayError, ReplayWindow, Reservation};
use protocol::envelope::stream::{CallIdentity, StreamState};
use protocol::envelope::{Direction, Expectation, Header, Kind, UnverifiedEnvelope};
use protocol::id::{EnvelopeId, MeshId, NodeId, RequestId};
use protocol::limits::{COPY_WINDOW_S, MAX_CLOCK_AHEAD_S, MAX_ENVELOPE_LIFE_S};
use protocol::time::{UnixMillis, UnixSeconds};

use super::scenario::Sabotage;
use crate::fake::{FakeCrypto, FakeNode};

/// How old a floor is when a node forgets it, in seconds.
const FLOOR_OVER_S: u64 = MAX_ENVELOPE_LIFE_S + COPY_WINDOW_S + MAX_CLOCK_AHEAD_S;

/// What survives the process.
#[derive(Debug, Default)]
pub(crate) struct Durable {
    floors: BTreeMap<NodeId, UnixSeconds>,
    greatest: UnixSeconds,
}

/// One call in progress at the receiver.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) issuer: NodeId,
    to_server: StreamState,
    pub(crate) to_client: StreamState,
}

/// An accepted envelope, about to be acted on.
#[derive(Debug, Clone)]
pub(crate) struct Act {
    pub(crate) id: EnvelopeId,
    pub(crate) header: Header,
}

/// A durable write under way.
#[derive(Debug)]
struct Write {
    reservation: Reservation,
    /// The greatest time accepted when the write began.
    greatest: UnixSeconds,
    /// What waits for it; nothing for a renewal.
    act: Option<Act>,
    /// Later messages of the call that it begins.
    behind: Vec<Delivery>,
}

/// What a write that came back sets free.
#[derive(Debug, Default)]
pub(crate) struct Freed {
    /// To be acted on, if the write succeeded.
    pub(crate) act: Option<Act>,
    /// To be received after that.
    pub(crate) behind: Vec<Delivery>,
}

/// An envelope off the wire.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    /// On whose link.
    pub(crate) sender: usize,
    /// Whether the sender's own first copy, as opposed to the network's or the adversary's.
    pub(crate) honest: bool,
    pub(crate) bytes: Vec<u8>,
}

/// What became of a delivered envelope.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Refused, with the stable name.
    Refused(&'static str),
    /// Act on it now; a renewal may be under way by this write.
    Act(Box<Act>, Option<u64>),
    /// It waits for this write.
    Writing(u64),
    /// It waits on its stream for the message that begins the call.
    Behind,
}

/// The receiving node.
#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) node: FakeNode,
    mesh: MeshId,
    sabotage: Sabotage,
    durable: Durable,
    window: ReplayWindow,
    started: UnixSeconds,
    up: bool,
    calls: BTreeMap<RequestId, Call>,
    writes: BTreeMap<u64, Write>,
    next_write: u64,
    seen: u64,
}

impl Receiver {
    pub(crate) fn new(node: FakeNode, mesh: MeshId, sabotage: Sabotage, now: UnixSeconds) -> Self {
        Self {
            node,
            mesh,
            sabotage,
            durable: Durable::default(),
            window: ReplayWindow::new(now, UnixSeconds(0), HashMap::new()),
            started: now,
            up: true,
            calls: BTreeMap::new(),
            writes: BTreeMap::new(),
            next_write: 0,
            seen: 0,
        }
    }

    pub(crate) const fn is_up(&self) -> bool {
        self.up
    }

    pub(crate) const fn started(&self) -> UnixSeconds {
        self.started
    }

    pub(crate) const fn window_len(&self) -> usize {
        self.window.len()
    }

    pub(crate) fn call(&mut self, request: &RequestId) -> Option<&mut Call> {
        self.calls.get_mut(request)
    }

    /// Ends a call that was answered.
    pub(crate) fn end_call(&mut self, request: &RequestId) {
        self.calls.remove(request);
    }

    /// Takes one envelope off the wire, which came from `issuer`'s link.
    pub(crate) fn receive(
        &mut self,
        delivery: &Delivery,
        issuer: &FakeNode,
        now: UnixMillis,
    ) -> Outcome {
        let parsed = UnverifiedEnvelope::parse(&delivery.bytes);
        let unverified = match parsed {
            Ok(unverified) => unverified,
            Err(error) => return Outcome::Refused(error.reason()),
        };
        if let Some(write) = self.first_of(unverified.header()) {
            write.behind.push(delivery.clone());
            return Outcome::Behind;
        }
        match self.admit(unverified, issuer, now) {
            Ok((act, Accepted::Covered)) => Outcome::Act(Box::new(act), None),
            Ok((act, Accepted::Renew(reservation))) => {
                Outcome::Act(Box::new(act), Some(self.reserve(None, reservation)))
            }
            Ok((act, Accepted::Reserve(reservation))) => {
                Outcome::Writing(self.reserve(Some(act), reservation))
            }
            Err(reason) => Outcome::Refused(reason),
        }
    }

    /// The write that the first message of this one's call waits for, if it does.
    fn first_of(&mut self, header: &Header) -> Option<&mut Write> {
        let parent = header.claims.parent.filter(|_| !header.begins_call())?;
        let begins = |w: &&mut Write| w.act.as_ref().is_some_and(|act| act.id == parent);
        self.writes.values_mut().find(begins)
    }

    fn admit(
        &mut self,
        unverified: UnverifiedEnvelope,
        issuer: &FakeNode,
        now: UnixMillis,
    ) -> Result<(Act, Accepted), &'static str> {
        let id = unverified.id(&FakeCrypto);
        let expected = Expectation {
            mesh: self.mesh,
            audience: self.node.id,
            issuer: issuer.id,
            direction: Direction::ToServer,
            now,
        };
        unverified.check(&expected).map_err(|e| e.reason())?;
        let header = unverified.header();
        if !header.begins_call() {
            let call = self.calls.get(&header.claims.request_id);
            let call = call.ok_or("unknown_call")?;
            call.to_server.check(header).map_err(|e| e.reason())?;
        }
        let entry = self.entry(header, id);
        let now = now.seconds();
        self.seen += 1;
        if self.sabotage == Sabotage::RefuseFresh && self.seen.is_multiple_of(20) {
            return Err("sabotage");
        }
        let looked = self.window.look(&entry, now);
        let _ = self.tampered(looked.map(|()| Accepted::Covered))?;
        let verified = unverified
            .verify(&FakeCrypto, issuer.public())
            .map_err(|e| e.reason())?;
        let accepted = self.window.accept(&entry, now);
        let accepted = self.tampered(accepted)?;
        let header = verified.header().clone();
        Ok((Act { id, header }, accepted))
    }

    fn entry(&self, header: &Header, id: EnvelopeId) -> Entry {
        let first_issued = match self.sabotage {
            Sabotage::IgnoreFirstIssued => None,
            _ => header.claims.first_issued,
        };
        Entry {
            issuer: header.cwt.iss,
            envelope: id,
            iat: header.cwt.iat,
            exp: header.cwt.exp,
            begins: header.begins_call().then_some(Begins {
                request: header.claims.request_id,
                first_issued: first_issued.unwrap_or(header.cwt.iat),
            }),
        }
    }

    /// The window's word, unless this run sabotages it.
    fn tampered(&self, word: Result<Accepted, ReplayError>) -> Result<Accepted, &'static str> {
        match (self.sabotage, word) {
            (Sabotage::AcceptReplays, Err(ReplayError::Replayed | ReplayError::RequestStarted)) => {
                Ok(Accepted::Covered)
            }
            (_, word) => word.map_err(|e| e.reason()),
        }
    }

    /// Begins the write that `act` waits for, or a renewal.
    fn reserve(&mut self, act: Option<Act>, reservation: Reservation) -> u64 {
        if self.sabotage == Sabotage::ReserveAtOnce {
            self.window.reserved(&reservation);
        }
        let number = self.next_write;
        self.next_write += 1;
        let write = Write {
            reservation,
            greatest: self.window.greatest(),
            act,
            behind: Vec::new(),
        };
        self.writes.insert(number, write);
        number
    }

    /// Whether an envelope waits for this write.
    pub(crate) fn is_awaited(&self, number: u64) -> bool {
        self.writes.get(&number).is_some_and(|w| w.act.is_some())
    }

    /// A write came back as done.
    pub(crate) fn written(&mut self, number: u64) -> Freed {
        let Some(write) = self.writes.remove(&number) else {
            return Freed::default();
        };
        self.store(&write);
        self.window.reserved(&write.reservation);
        Freed {
            act: write.act,
            behind: write.behind,
        }
    }

    /// A write came back as failed; it may be on disk all the same, if it `reached` it.
    pub(crate) fn failed(&mut self, number: u64, reached: bool) -> Freed {
        let Some(write) = self.writes.remove(&number) else {
            return Freed::default();
        };
        if reached {
            self.store(&write);
        }
        Freed {
            act: None,
            behind: write.behind,
        }
    }

    fn store(&mut self, write: &Write) {
        if self.sabotage == Sabotage::LoseReservations {
            return;
        }
        let Reservation { issuer, until } = write.reservation;
        let floor = self.durable.floors.entry(issuer).or_default();
        *floor = until.max(*floor);
        self.durable.greatest = self.durable.greatest.max(write.greatest);
    }

    /// Forgets the floors that no envelope can reach any more.
    pub(crate) fn prune(&mut self, now: UnixSeconds) {
        let before = now.minus(FLOOR_OVER_S);
        self.durable.floors.retain(|_, until| *until >= before);
    }

    /// Begins a call whose first envelope is acted on, or advances the one it belongs to. `false`
    /// if the call is gone meanwhile.
    pub(crate) fn act(&mut self, act: &Act) -> bool {
        let claims = &act.header.claims;
        if act.header.begins_call() {
            let identity = CallIdentity {
                request_id: claims.request_id,
                session: claims.session,
                server: claims.server.clone(),
                human: claims.human.clone(),
                first: act.id,
            };
            let stream = |direction| StreamState::new(&FakeCrypto, identity.clone(), direction);
            let call = Call {
                issuer: act.header.cwt.iss,
                to_server: stream(Direction::ToServer),
                to_client: stream(Direction::ToClient),
            };
            self.calls.insert(claims.request_id, call);
            return true;
        }
        match self.calls.get_mut(&claims.request_id) {
            Some(call) => {
                call.to_server.push(&FakeCrypto, act.id, Kind::Notification);
                true
            }
            None => false,
        }
    }

    /// The process dies. Each write under way reached the disk or not, as `reached` says.
    pub(crate) fn crash(&mut self, mut reached: impl FnMut() -> bool) {
        for (_, write) in core::mem::take(&mut self.writes) {
            if reached() {
                self.store(&write);
            }
        }
        self.down();
    }

    /// The process stops cleanly: writes finish, nothing new is acted on.
    pub(crate) fn stop(&mut self) {
        self.crash(|| true);
    }

    fn down(&mut self) {
        self.up = false;
        self.calls.clear();
    }

    /// A new process on what the old one left behind.
    pub(crate) fn start(&mut self, now: UnixSeconds) {
        self.started = now;
        self.up = true;
        let floors = self.durable.floors.iter().map(|(k, v)| (*k, *v));
        self.window = ReplayWindow::new(now, self.durable.greatest, floors.collect());
    }
}
