//! The third half of [`Enforcer::enforce`]: what this node carries for others.
//!
//! A relay sees the signed header and nothing else. It decides by that, with the same order and
//! the same policy as the ends, and vouches for having done so with a hop record of its own. It
//! never changes an envelope.

use protocol::envelope::hop::{self, HopRecord, Scope};
use protocol::envelope::replay::Entry;
use protocol::envelope::stream::{StreamError, StreamState};
use protocol::envelope::{Crossing, Direction, Header, Refusal, UnverifiedEnvelope};
use protocol::id::{Digest, EnvelopeId, NodeId};
use protocol::policy::Verdict;
use protocol::record::{DecisionRecord, Point};
use protocol::time::UnixMillis;

use super::decide::{note, refused};
use super::policies::Asked;
use super::{Enforcer, Origin, Passed, Stopped, chain};

/// Bytes that came over a link and are for another node.
pub struct Relayed<'a> {
    /// The envelope.
    pub bytes: &'a [u8],
    /// The hop records beside it.
    pub records: &'a [&'a [u8]],
    /// Whence.
    pub origin: &'a Origin,
    /// The way it must travel.
    pub direction: Direction,
    /// Of a message that continues a call: the stream and, towards the server, the route of it.
    pub stream: Option<(&'a StreamState, &'a [NodeId])>,
}

/// A message this node may carry on: what its hop record will say.
#[derive(Debug)]
pub struct Crossed {
    /// The envelope.
    pub id: EnvelopeId,
    /// Its verified header.
    pub header: Header,
    /// This node's place on its route.
    pub place: usize,
    received: UnixMillis,
    previous: Option<Digest>,
    peer: NodeId,
    address: String,
    bundle_version: u64,
}

impl Crossed {
    /// The node after this one.
    #[must_use]
    pub fn next(&self) -> Option<NodeId> {
        self.header.claims.route.get(self.place + 1).copied()
    }
}

impl Enforcer {
    /// Decides on a message for another node.
    pub(super) async fn relayed(&self, relayed: &Relayed<'_>) -> Result<Passed, Stopped> {
        let now = self.clock.now();
        let peer = relayed.origin.peer;
        let mut record = self.blank_record(Point::Relay, now);
        record.issuer = peer;
        match self.cross(now, relayed, &mut record).await {
            Ok(crossed) => {
                self.write(record, false).await?;
                Ok(Passed::Crossed(Box::new(crossed)))
            }
            Err(stopped) => Err(self.stop(record, peer, self.as_relay(stopped)).await),
        }
    }

    /// With who refused: the caller knows its own node and its target's, and hears this of neither.
    fn as_relay(&self, mut stopped: Stopped) -> Stopped {
        if let Verdict::Hold(denial) | Verdict::Deny(denial) | Verdict::Sever(denial) =
            &mut stopped.verdict
        {
            let name = self.identity.name();
            denial.message = format!("relay `{name}`: {}", denial.message);
        }
        stopped
    }

    async fn cross(
        &self,
        now: UnixMillis,
        relayed: &Relayed<'_>,
        record: &mut DecisionRecord,
    ) -> Result<Crossed, Stopped> {
        let origin = relayed.origin;
        self.admit_peer(origin.peer, now)?;
        let crypto = &*self.identity.crypto;
        let unverified = UnverifiedEnvelope::parse(relayed.bytes).map_err(refused)?;
        note(record, unverified.header());
        let id = unverified.id(crypto);
        record.envelope = Some(id);
        // Faults of what lies between here and the issuer are the deliverer's.
        let by_relay = unverified.header().cwt.iss != origin.peer;
        let blame = |stopped| chain::blame(stopped, by_relay);
        let place = unverified
            .check_crossing(&Crossing {
                mesh: self.identity.mesh(),
                relay: self.identity.node(),
                peer: origin.peer,
                direction: relayed.direction,
                now,
            })
            .map_err(|e| blame(refused(e)))?;
        check_place(unverified.header(), relayed).map_err(|e| blame(refused(e)))?;
        let cwt = &unverified.header().cwt;
        let member = |node| {
            let member = self.members.valid(&node, now.seconds());
            member.ok_or_else(|| refused(Refusal::UnknownIssuer(node)))
        };
        let (issuer, audience) = (member(cwt.iss)?, member(cwt.aud)?);
        let (issuer, audience) = (&issuer.membership, &audience.membership);
        self.in_force(now, unverified.header(), issuer, audience)?;
        // A relay starts nothing, so what begins a call needs no durable reservation here.
        let entry = Entry {
            issuer: cwt.iss,
            envelope: id,
            iat: cwt.iat,
            exp: cwt.exp,
            begins: None,
        };
        let replayed = |e: protocol::envelope::replay::ReplayError| blame(refused(e.into()));
        self.replay()
            .look(&entry, now.seconds())
            .map_err(replayed)?;
        let signed = unverified
            .verify_signatures(crypto, &issuer.signing)
            .map_err(|e| blame(refused(e)))?;
        let header = signed.into_header();
        let hops = self
            .check_chain(now.seconds(), id, &header, place, relayed.records)
            .map_err(blame)?;
        // The insert is atomic with its check, so a copy verified meanwhile loses here.
        let accepted = self.replay().accept(&entry, now.seconds());
        let _covered = accepted.map_err(replayed)?;
        if self.is_behind(&header) {
            Box::pin(self.catch_up(&header, origin.peer)).await?;
        }
        let intents = self.check_intents(&header)?;
        // What goes with a result, the ends do: it is sealed here.
        let _at_the_ends = self.evaluate(
            &Asked {
                point: Point::Relay,
                now,
                header: &header,
                issuer,
                audience,
                address: chain::issuers_address(&header, origin, &hops),
                hops: &hops,
                intents: &intents,
                within: None,
                body: None,
            },
            record,
        )?;
        let previous = relayed.records.last().map(|r| hop::chain_hash(crypto, r));
        let previous = previous
            .transpose()
            .map_err(|e| Stopped::refuse(e.reason(), e.to_string()))?;
        Ok(Crossed {
            id,
            header,
            place,
            received: now,
            previous,
            peer: origin.peer,
            address: origin.address.clone().unwrap_or_default(),
            bundle_version: record.bundle_version,
        })
    }

    /// Signs this node's hop record of a message it carries on now.
    ///
    /// # Errors
    /// If a signature cannot be made.
    pub fn hop_record(&self, crossed: &Crossed) -> Result<Vec<u8>, Stopped> {
        let record = HopRecord {
            envelope: crossed.id,
            index: crossed.place as u64,
            previous: crossed.previous,
            node: self.identity.node(),
            bundle_version: crossed.bundle_version,
            verdict: Verdict::Allow(Vec::new()).name().to_owned(),
            scope: Scope::HeaderOnly,
            observed_peer: crossed.peer,
            observed_address: crossed.address.clone(),
            received: crossed.received,
            sent: self.clock.now(),
        };
        let crypto = &*self.identity.crypto;
        record
            .sign(crypto, &*self.identity.signing, &self.identity.mesh())
            .map_err(|e| Stopped::refuse("signing_failed", e.to_string()))
    }
}

fn check_place(header: &Header, relayed: &Relayed<'_>) -> Result<(), Refusal> {
    let Some((stream, route)) = relayed.stream else {
        return if header.begins_call() {
            Ok(())
        } else {
            Err(StreamError::OtherCall.into())
        };
    };
    stream.check(header)?;
    let along = match relayed.direction {
        Direction::ToServer => header.claims.route == route,
        Direction::ToClient => header.claims.route.iter().rev().eq(route),
    };
    if along {
        Ok(())
    } else {
        Err(Refusal::OtherRoute)
    }
}
