//! A calling node: keeps the stream state of its calls and checks the answers as production does.

use std::collections::BTreeMap;

use protocol::crypto::Signer;
use protocol::envelope::stream::{CallIdentity, StreamState};
use protocol::envelope::{Direction, Expectation, UnverifiedEnvelope};
use protocol::id::{EnvelopeId, MeshId, NodeId, RequestId};
use protocol::time::{UnixMillis, UnixSeconds};

use super::scenario::Sabotage;
use crate::fake::{FakeCrypto, FakeNode};

/// One call of a sender.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) to_server: StreamState,
    to_client: StreamState,
    pub(crate) taken: Vec<EnvelopeId>,
}

/// What became of an answer.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Refused, with the stable name.
    Refused(&'static str),
    /// One of several.
    Taken,
    /// The last; these were taken, in order.
    Complete(RequestId, Vec<EnvelopeId>),
}

/// The node.
#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) node: FakeNode,
    /// How far its clock is off, in milliseconds.
    pub(crate) clock_off: i64,
    pub(crate) calls: BTreeMap<RequestId, Call>,
}

impl Sender {
    /// Its own time.
    pub(crate) fn now(&self, time: UnixMillis) -> UnixMillis {
        UnixMillis(time.0.saturating_add_signed(self.clock_off))
    }

    /// Its own second.
    pub(crate) fn second(&self, time: UnixMillis) -> UnixSeconds {
        self.now(time).seconds()
    }

    /// Remembers the call that `identity` describes, in place of an earlier try of it.
    pub(crate) fn begin(&mut self, identity: &CallIdentity) {
        let stream = |direction| StreamState::new(&FakeCrypto, identity.clone(), direction);
        let call = Call {
            to_server: stream(Direction::ToServer),
            to_client: stream(Direction::ToClient),
            taken: Vec::new(),
        };
        self.calls.insert(identity.request_id, call);
    }

    /// Takes one answer off the wire.
    pub(crate) fn receive(
        &mut self,
        bytes: &[u8],
        from: &FakeNode,
        mesh: MeshId,
        time: UnixMillis,
        sabotage: Sabotage,
    ) -> Answer {
        let now = self.now(time);
        match self.take(bytes, from, mesh, now, sabotage) {
            Ok(answer) => answer,
            Err(reason) => Answer::Refused(reason),
        }
    }

    fn take(
        &mut self,
        bytes: &[u8],
        from: &FakeNode,
        mesh: MeshId,
        now: UnixMillis,
        sabotage: Sabotage,
    ) -> Result<Answer, &'static str> {
        let unverified = UnverifiedEnvelope::parse(bytes).map_err(|e| e.reason())?;
        let expected = self.expectation(mesh, from.id, now);
        unverified.check(&expected).map_err(|e| e.reason())?;
        let request = unverified.header().claims.request_id;
        let call = self.calls.get_mut(&request).ok_or("unknown_call")?;
        if sabotage != Sabotage::IgnoreOrder {
            call.to_client
                .check(unverified.header())
                .map_err(|e| e.reason())?;
        }
        let verified = unverified
            .verify(&FakeCrypto, from.public())
            .map_err(|e| e.reason())?;
        let header = verified.header();
        call.to_client
            .push(&FakeCrypto, verified.id(), header.claims.kind);
        call.taken.push(verified.id());
        if !header.is_final_response() {
            return Ok(Answer::Taken);
        }
        let taken = core::mem::take(&mut call.taken);
        self.calls.remove(&request);
        Ok(Answer::Complete(request, taken))
    }

    const fn expectation(&self, mesh: MeshId, issuer: NodeId, now: UnixMillis) -> Expectation {
        Expectation {
            mesh,
            audience: self.node.id,
            issuer,
            direction: Direction::ToClient,
            now,
        }
    }
}
