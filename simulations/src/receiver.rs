//! The one node that is called: the production replay window and stream checks, composed in the
//! order in which a node composes them, over a store that takes its time and may fail.
//!
//! Shape and header → known issuer → stream → look → signatures → accept → durable → act.

use std::collections::{BTreeMap, HashMap, VecDeque};

use protocol::crypto::Signer;
use protocol::envelope::replay::{Accepted, Entry, ReplayError, ReplayWindow, STARTED_MEMORY_S};
use protocol::envelope::stream::{CallIdentity, StreamState};
use protocol::envelope::{Direction, Expectation, Header, Kind, UnverifiedEnvelope};
use protocol::id::{EnvelopeId, MeshId, NodeId, RequestId};
use protocol::time::{UnixMillis, UnixSeconds};

use crate::fake::{FakeCrypto, FakeNode};
use crate::scenario::{Sabotage, Store as StoreBehaviour};

/// What survives the process.
#[derive(Debug, Default)]
pub(crate) struct Durable {
    floors: BTreeMap<NodeId, UnixSeconds>,
    requests: BTreeMap<(NodeId, RequestId), UnixSeconds>,
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
pub(crate) struct Write {
    reservation: Option<(NodeId, UnixSeconds)>,
    request: Option<(NodeId, RequestId, UnixSeconds)>,
    /// What waits for it.
    waiting: Option<Act>,
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
    /// Act on it now; a write of its own may follow.
    Act(Box<Act>, Option<u64>),
    /// It waits for this write.
    Writing(u64),
    /// It waits for an earlier envelope's write.
    Queued,
}

/// The receiving node.
#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) node: FakeNode,
    mesh: MeshId,
    behaviour: StoreBehaviour,
    sabotage: Sabotage,
    durable: Durable,
    window: ReplayWindow,
    started: UnixSeconds,
    up: bool,
    calls: BTreeMap<RequestId, Call>,
    writes: BTreeMap<u64, Write>,
    next_write: u64,
    seen: u64,
    backlog: VecDeque<Delivery>,
}

impl Receiver {
    pub(crate) fn new(
        node: FakeNode,
        mesh: MeshId,
        behaviour: StoreBehaviour,
        sabotage: Sabotage,
        now: UnixSeconds,
    ) -> Self {
        Self {
            node,
            mesh,
            behaviour,
            sabotage,
            durable: Durable::default(),
            window: ReplayWindow::new(now, UnixSeconds(0), HashMap::new(), []),
            started: now,
            up: true,
            calls: BTreeMap::new(),
            writes: BTreeMap::new(),
            next_write: 0,
            seen: 0,
            backlog: VecDeque::new(),
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
        if self.behaviour.serialise && !self.writes.is_empty() {
            self.backlog.push_back(delivery.clone());
            return Outcome::Queued;
        }
        match self.admit(&delivery.bytes, issuer, now) {
            Ok((act, accepted)) => self.persist(act, accepted, now.seconds()),
            Err(reason) => Outcome::Refused(reason),
        }
    }

    /// The next envelope that waited for a write, once none is under way.
    pub(crate) fn next_queued(&mut self) -> Option<Delivery> {
        if self.writes.is_empty() {
            self.backlog.pop_front()
        } else {
            None
        }
    }

    fn admit(
        &mut self,
        bytes: &[u8],
        issuer: &FakeNode,
        now: UnixMillis,
    ) -> Result<(Act, Accepted), &'static str> {
        let unverified = UnverifiedEnvelope::parse(bytes).map_err(|e| e.reason())?;
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
        let begins = header.begins_call();
        if !begins {
            let call = self.calls.get(&header.claims.request_id);
            let call = call.ok_or("unknown_call")?;
            call.to_server.check(header).map_err(|e| e.reason())?;
        }
        let entry = Entry {
            issuer: issuer.id,
            envelope: id,
            iat: header.cwt.iat,
            exp: header.cwt.exp,
            begins: begins.then_some(header.claims.request_id),
        };
        let now = now.seconds();
        self.seen += 1;
        if self.sabotage == Sabotage::RefuseFresh && self.seen.is_multiple_of(100) {
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

    /// The window's word, unless this run sabotages it.
    fn tampered(&self, word: Result<Accepted, ReplayError>) -> Result<Accepted, &'static str> {
        match (self.sabotage, word) {
            (Sabotage::AcceptReplays, Err(ReplayError::Replayed | ReplayError::RequestStarted)) => {
                Ok(Accepted::Covered)
            }
            (_, word) => word.map_err(|e| e.reason()),
        }
    }

    fn persist(&mut self, act: Act, accepted: Accepted, now: UnixSeconds) -> Outcome {
        let issuer = act.header.cwt.iss;
        let reservation = match accepted {
            Accepted::Covered => None,
            Accepted::Reserve { issuer, until } => Some((issuer, until)),
        };
        let request = act.header.begins_call().then(|| {
            let until = now.plus(STARTED_MEMORY_S);
            (issuer, act.header.claims.request_id, until)
        });
        if reservation.is_none() && request.is_none() {
            return Outcome::Act(Box::new(act), None);
        }
        let waits = reservation.is_some() || self.behaviour.durable_requests;
        let number = self.next_write;
        self.next_write += 1;
        let waiting = waits.then(|| act.clone());
        self.writes.insert(
            number,
            Write {
                reservation,
                request,
                waiting,
            },
        );
        if waits {
            Outcome::Writing(number)
        } else {
            Outcome::Act(Box::new(act), Some(number))
        }
    }

    /// A write came back; what waited for it is acted on if it `succeeded`.
    pub(crate) fn written(&mut self, number: u64, succeeded: bool) -> Option<Act> {
        let write = self.writes.remove(&number)?;
        if succeeded {
            self.store(&write);
            return write.waiting;
        }
        if let Some((issuer, _)) = write.reservation {
            self.window.reservation_failed(issuer);
        }
        None
    }

    fn store(&mut self, write: &Write) {
        if let Some((issuer, until)) = write.reservation
            && self.sabotage != Sabotage::LoseReservations
        {
            let floor = self.durable.floors.entry(issuer).or_default();
            *floor = until.max(*floor);
        }
        if let Some((issuer, request, until)) = write.request
            && self.sabotage != Sabotage::LoseReservations
        {
            self.durable.requests.insert((issuer, request), until);
        }
        self.durable.greatest = self.durable.greatest.max(self.window.greatest());
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

    /// The process stops cleanly: writes finish, nothing new is acted on, exact floors are left.
    pub(crate) fn stop(&mut self) {
        for (_, write) in core::mem::take(&mut self.writes) {
            self.store(&write);
        }
        if self.sabotage != Sabotage::LoseReservations {
            self.durable.floors.extend(self.window.floors_at_stop());
        }
        self.durable.greatest = self.durable.greatest.max(self.window.greatest());
        self.down();
    }

    fn down(&mut self) {
        self.up = false;
        self.calls.clear();
        self.backlog.clear();
    }

    /// A new process on what the old one left behind.
    pub(crate) fn start(&mut self, now: UnixSeconds) {
        self.started = now;
        self.up = true;
        self.durable.requests.retain(|_, until| *until > now);
        let floors = self.durable.floors.iter().map(|(k, v)| (*k, *v));
        let mut requests: Vec<_> = self.durable.requests.iter().collect();
        requests.sort_by_key(|(_, until)| **until);
        self.window = ReplayWindow::new(
            now,
            self.durable.greatest,
            floors.collect(),
            requests.into_iter().map(|((i, r), until)| (*i, *r, *until)),
        );
    }
}
