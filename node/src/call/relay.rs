//! The middle of a route: calls this node carries between others.
//!
//! Every message is decided on by its header alone (`enforce` with `Point::Relay`), gets this
//! node's hop record beside it and goes on unchanged, on a stream of the same kind over the link
//! with the next node; what comes back likewise. A relay opens nothing and keeps nothing of a body
//! beyond the frame in hand. Off unless `[relay] accept` says for whom.
//!
//! What is carried has budgets of its own, so that it cannot starve this node's own calls.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use protocol::envelope::Direction;
use protocol::envelope::stream::{CallIdentity, StreamState};
use protocol::id::NodeId;
use protocol::record::Point;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::conversation::{Broken, next_frame};
use super::drain::InFlight;
use super::outgoing::Dialer;
use super::refusing::{refuse, tell};
use super::wire::EnvelopeFrame;
use super::{BoxRead, BoxWrite};
use crate::config::Accepts;
use crate::enforcement::{Crossed, Enforcer, Occasion, Origin, Passed, Relayed, Stopped, Subject};
use crate::transport::StreamKind;
use crate::transport::frame::{FrameReader, FrameType, FrameWriter};

/// Streams carried for one peer at once: half of those a peer may open.
pub const MAX_RELAYED_PER_PEER: usize = 128;

/// Streams carried at once in all.
pub const MAX_RELAYED: usize = 1024;

/// Bytes of frames in hand at once in all. A frame of the largest size passes while eight do.
pub const MAX_RELAYED_BYTES: usize = 8 * protocol::limits::MAX_ENVELOPE_FRAME_BYTES;

/// Carries calls between other nodes.
pub struct Relay {
    enforcer: Arc<Enforcer>,
    dialer: Arc<dyn Dialer>,
    in_flight: InFlight,
    accepts: Vec<Accepts>,
    carried: Mutex<HashMap<NodeId, usize>>,
    bytes: Arc<Semaphore>,
}

/// A stream being carried; gives its place up when dropped.
pub(crate) struct Carried<'a> {
    relay: &'a Relay,
    peer: NodeId,
}

impl Drop for Carried<'_> {
    fn drop(&mut self) {
        let mut carried = self.relay.carried();
        if let Some(count) = carried.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                carried.remove(&self.peer);
            }
        }
    }
}

/// One direction of a carried stream: from whom, to whom, and how far it has come.
struct Way {
    from: Origin,
    direction: Direction,
    state: StreamState,
    reader: FrameReader<BoxRead>,
}

/// What ended a carried stream before its time.
enum Cut {
    /// What is in force, recorded with this.
    InForce(Box<Occasion>),
    /// Something on the way to the server.
    WayOn,
    /// Something on the way back.
    BackWay,
}

/// Why carrying a direction ended.
enum Ended {
    /// In good order.
    Finished,
    /// By the response that ends the call.
    Answered,
}

impl Relay {
    /// A relay for whom `accepts` names; for nobody if it names nobody.
    #[must_use]
    pub fn new(
        enforcer: Arc<Enforcer>,
        dialer: Arc<dyn Dialer>,
        in_flight: InFlight,
        accepts: Vec<Accepts>,
    ) -> Self {
        Self {
            enforcer,
            dialer,
            in_flight,
            accepts,
            carried: Mutex::default(),
            bytes: Arc::new(Semaphore::new(MAX_RELAYED_BYTES)),
        }
    }

    /// Whether it carries anybody's calls.
    #[must_use]
    pub const fn offers(&self) -> bool {
        !self.accepts.is_empty()
    }

    /// Streams carried now.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.carried().values().sum()
    }

    /// Carries a stream whose first frame continues to another node, to its end.
    pub(super) async fn carry(
        &self,
        origin: Origin,
        kind: StreamKind,
        first: EnvelopeFrame,
        reader: FrameReader<BoxRead>,
        mut writer: FrameWriter<BoxWrite>,
    ) {
        let peer = origin.peer;
        match self.begin(origin, kind, first, reader, &mut writer).await {
            Ok(()) => {}
            Err(Broken::Stopped(stopped)) => {
                tracing::debug!(peer = %peer.short(), reason = stopped.reason(), "not carried on");
                let _told = self.in_flight.wait();
                tell(&mut writer, &stopped).await;
            }
            Err(broken) => tracing::debug!(peer = %peer.short(), ?broken, "carried stream ended"),
        }
    }

    async fn begin(
        &self,
        origin: Origin,
        kind: StreamKind,
        first: EnvelopeFrame,
        reader: FrameReader<BoxRead>,
        writer: &mut FrameWriter<BoxWrite>,
    ) -> Result<(), Broken> {
        let on = || Occasion::of_peer(Point::Relay, origin.peer);
        let place = match self.in_flight.enter() {
            Ok(place) => place,
            Err(stopped) => return Err(Broken::refused(&self.enforcer, on(), stopped).await),
        };
        // A session would never end by itself; a stop of this node does not wait for it.
        let _place = (kind == StreamKind::Call).then_some(place);
        let _carried = match self.take(origin.peer) {
            Ok(carried) => carried,
            Err(stopped) => return Err(Broken::refused(&self.enforcer, on(), stopped).await),
        };
        let crossed = self
            .cross(&first, &origin, Direction::ToServer, None)
            .await?;
        if let Err(stopped) = self.accepted(crossed.header.cwt.iss) {
            return Err(Broken::refused(&self.enforcer, on(), stopped).await);
        }
        let opened = match crossed.next() {
            Some(next) => self.dialer.open(next, kind).await,
            None => return Err(Broken::Transport("the route ends here".to_owned())),
        };
        let (next, read, write) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let name = self.enforcer.identity().name();
                let message = format!(
                    "relay `{name}`: it cannot reach the next node: {}",
                    error.message
                );
                let stopped = Stopped::refuse("next_hop_unreachable", message).with_hint(format!(
                    "`hedgerow peers` on the host of `{name}` says why there is no link"
                ));
                return Err(Broken::refused(&self.enforcer, on(), stopped).await);
            }
        };
        let mut onward = FrameWriter::new(write);
        self.send(&mut onward, first, &crossed).await?;
        let crypto = &*self.enforcer.identity().crypto;
        let claims = &crossed.header.claims;
        let call = CallIdentity {
            request_id: claims.request_id,
            session: claims.session,
            server: claims.server.clone(),
            human: claims.human.clone(),
            first: crossed.id,
        };
        let towards = Way {
            from: origin,
            direction: Direction::ToServer,
            state: StreamState::new(crypto, call.clone(), Direction::ToServer),
            reader,
        };
        let back = Way {
            from: next,
            direction: Direction::ToClient,
            state: StreamState::new(crypto, call, Direction::ToClient),
            reader: FrameReader::new(read),
        };
        self.both_ways(kind, &crossed, towards, back, &mut onward, writer)
            .await
    }

    /// Carries both directions until the call has ended, one side has left, or what is in force
    /// cuts it; the other side is told what ended it.
    async fn both_ways(
        &self,
        kind: StreamKind,
        first: &Crossed,
        mut towards: Way,
        mut back: Way,
        onward: &mut FrameWriter<BoxWrite>,
        writer: &mut FrameWriter<BoxWrite>,
    ) -> Result<(), Broken> {
        let session = kind == StreamKind::Session;
        let route = first.header.claims.route.clone();
        let ended = {
            let cut = self.cut(first);
            let to_server = async {
                let ended = self.carry_all(&mut towards, &route, onward, false).await;
                if let Ok(Ended::Finished) = ended {
                    // The far end judges a caller that has left; a peer that is gone cannot be told.
                    drop(onward.finish().await);
                    return core::future::pending().await;
                }
                ended
            };
            let to_client = self.carry_all(&mut back, &route, writer, session);
            // Nothing may be awaited between the cut and its choice: the links go down with it.
            tokio::select! {
                biased;
                (on, stopped) = cut => Err((Cut::InForce(Box::new(on)), Broken::Stopped(stopped))),
                ended = to_client => ended.map_err(|b| (Cut::BackWay, b)),
                ended = to_server => ended.map_err(|b| (Cut::WayOn, b)),
            }
        };
        match ended {
            Ok(_) => {
                // There is nobody left to tell.
                drop(writer.finish().await);
                drop(onward.finish().await);
                Ok(())
            }
            Err((by, Broken::Stopped(stopped))) => {
                // The client's side is told by whoever carries this; here the server's.
                let stopped = match by {
                    Cut::InForce(on) => self.enforcer.refused(*on, stopped).await,
                    Cut::WayOn | Cut::BackWay => stopped,
                };
                refuse(onward, &stopped).await;
                Err(Broken::Stopped(stopped))
            }
            Err((_, broken)) => Err(broken),
        }
    }

    async fn carry_all(
        &self,
        way: &mut Way,
        route: &[NodeId],
        out: &mut FrameWriter<BoxWrite>,
        session: bool,
    ) -> Result<Ended, Broken> {
        loop {
            let peer = way.from.peer;
            let on = || Occasion::of_peer(Point::Relay, peer);
            let Some(frame) = next_frame(&self.enforcer, &mut way.reader, on).await? else {
                return Ok(Ended::Finished);
            };
            let stream = Some((&way.state, route));
            let crossed = self.cross(&frame, &way.from, way.direction, stream).await;
            let crossed = crossed.map_err(|broken| match broken {
                Broken::Stopped(stopped) if !session => Broken::Stopped(stopped.under_way()),
                broken => broken,
            })?;
            let kind = crossed.header.claims.kind;
            let crypto = &*self.enforcer.identity().crypto;
            way.state.push(crypto, crossed.id, kind);
            self.send(out, frame, &crossed).await?;
            if way.state.ended() {
                if !session {
                    return Ok(Ended::Answered);
                }
                way.state.keep_open();
            }
        }
    }

    async fn cross(
        &self,
        frame: &EnvelopeFrame,
        origin: &Origin,
        direction: Direction,
        stream: Option<(&StreamState, &[NodeId])>,
    ) -> Result<Box<Crossed>, Broken> {
        let records: Vec<&[u8]> = frame.records.iter().map(|r| r.as_slice()).collect();
        let relayed = Relayed {
            bytes: &frame.envelope,
            records: &records,
            origin,
            direction,
            stream,
        };
        let passed = self
            .enforcer
            .enforce(Point::Relay, Subject::Relayed(relayed));
        match passed.await.map_err(Broken::Stopped)? {
            Passed::Crossed(crossed) => Ok(crossed),
            _ => Err(Broken::Transport(
                "a message was not judged as carried".to_owned(),
            )),
        }
    }

    /// Sends a message on with this node's record added.
    async fn send(
        &self,
        out: &mut FrameWriter<BoxWrite>,
        mut frame: EnvelopeFrame,
        crossed: &Crossed,
    ) -> Result<(), Broken> {
        let _in_hand = self.in_hand(frame.envelope.len()).await;
        let record = self.enforcer.hop_record(crossed).map_err(Broken::Stopped)?;
        frame.records.push(record.into());
        let bytes = frame.encode();
        out.write(FrameType::Envelope, &bytes)
            .await
            .map_err(|e| Broken::Transport(e.to_string()))
    }

    /// A share of the bytes that may be in hand; waits while there is none.
    async fn in_hand(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let share = u32::try_from(bytes.min(MAX_RELAYED_BYTES)).unwrap_or(u32::MAX);
        // Never closed.
        Arc::clone(&self.bytes).acquire_many_owned(share).await.ok()
    }

    /// Resolves when what is in force cuts the call: one of its ends, a node on its way or its
    /// agent is revoked, or a policy severed the agent here.
    async fn cut(&self, first: &Crossed) -> (Occasion, Stopped) {
        let enforcer = &self.enforcer;
        let mut in_force = enforcer.standing().changes();
        let (cwt, route) = (&first.header.cwt, &first.header.claims.route);
        let mut known: Vec<_> = route
            .iter()
            .map(|node| enforcer.members().member(node))
            .collect();
        loop {
            in_force.mark_unchanged();
            let standing = enforcer.standing();
            let mut barred = standing.agent(&cwt.iss, &cwt.sub).err();
            for (node, member) in route.iter().zip(&mut known) {
                // The directory forgets whoever is revoked, maybe before this looks.
                if let Some(now) = enforcer.members().member(node) {
                    *member = Some(now);
                }
                let of = member.as_ref();
                let judged = standing
                    .node(node)
                    .and_then(|()| of.map_or(Ok(()), |m| standing.member(&m.membership)));
                barred = barred.or(judged.err());
            }
            let severed = || enforcer.cut_off(cwt.iss, &cwt.sub);
            if let Some(stopped) = barred.as_ref().map(Stopped::interrupting).or_else(severed) {
                let on = Occasion {
                    agent: Some(cwt.sub.clone()),
                    request: Some(first.header.claims.request_id),
                    ..Occasion::of_peer(Point::Relay, cwt.iss)
                };
                return (on, stopped);
            }
            if in_force.changed().await.is_err() {
                return core::future::pending().await;
            }
        }
    }

    /// A place for a question of `asker` that `peer` delivered and this node carries on.
    ///
    /// # Errors
    /// This node does not carry for that node, or carries as much as it may.
    pub(crate) fn carry_question(
        &self,
        asker: NodeId,
        peer: NodeId,
    ) -> Result<Carried<'_>, Stopped> {
        self.accepted(asker)?;
        self.take(peer)
    }

    /// Whether this node relays for who begins this call.
    fn accepted(&self, issuer: NodeId) -> Result<(), Stopped> {
        let member = self.enforcer.members().member(&issuer);
        let accepted = member.is_some_and(|m| self.accepts.iter().any(|a| a.is(&m.membership)));
        if accepted {
            return Ok(());
        }
        let name = self.enforcer.identity().name();
        let message = format!(
            "relay `{name}`: it does not relay calls of node {}",
            issuer.short()
        );
        let hint = format!(
            "its operator lets it carry these calls with `[relay] accept` in the configuration of \
             `{name}`; or the target's operator names another relay in `[relay] through`"
        );
        Err(Stopped::refuse("relaying_not_offered", message).with_hint(hint))
    }

    fn take(&self, peer: NodeId) -> Result<Carried<'_>, Stopped> {
        let mut carried = self.carried();
        let all: usize = carried.values().sum();
        let of_peer = carried.get(&peer).copied().unwrap_or_default();
        if of_peer >= MAX_RELAYED_PER_PEER || all >= MAX_RELAYED {
            let name = self.enforcer.identity().name();
            let message = format!("relay `{name}`: it carries as many calls as it may; try later");
            return Err(Stopped::refuse("too_many_relayed", message));
        }
        carried.insert(peer, of_peer + 1);
        drop(carried);
        Ok(Carried { relay: self, peer })
    }

    fn carried(&self) -> std::sync::MutexGuard<'_, HashMap<NodeId, usize>> {
        self.carried.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
