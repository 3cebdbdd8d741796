//! The two halves of [`Enforcer::enforce`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::crypto::domain::content_type;
use protocol::envelope::replay::{Accepted, Begins, Entry, ReplayWindow, Reservation};
use protocol::envelope::stream::StreamError;
use protocol::envelope::{
    CallSeal, Claims, CwtClaims, Direction, DocumentType, Expectation, Header, HeaderError, Kind,
    Refusal, Sealed, SealedEnvelope, UnverifiedEnvelope, VerifiedEnvelope, seal, seal_relayed,
};
use protocol::id::{Cti, Digest, EnvelopeId, NodeId, RequestId, Salt};
use protocol::policy::{Denial, Verdict};
use protocol::record::{DecisionRecord, GENESIS, Point};
use protocol::time::{UnixMillis, UnixSeconds};
use protocol::trust::MemberFacts;

use super::held::other_definition;
use super::intents::Meant;
use super::policies::{Asked, Duties};
use super::subject::{Described, Draft, Incoming, describe};
use super::within::{Dropped, is_alone};
use super::{
    ENVELOPE_LIFE_S, Enforcer, Held, Issued, Ledger, LedgerError, Open, Opening, Passed, Stopped,
    chain,
};
use crate::standing::Barred;

/// The name under which a peer's flood is counted.
const RATE_LIMITED: &str = "peer_rate_limited";

/// What becomes of a message of this node.
enum Decided {
    /// It may be signed.
    Agreed(Box<Agreed>),
    /// It is denied, and the call goes on without it.
    Withheld(Stopped),
}

/// What policy lets this node sign.
struct Agreed {
    header: Header,
    /// The body to sign in place of the message's own.
    instead: Option<Vec<u8>>,
    /// What the call counts as open against.
    open: Option<Arc<Open>>,
}

impl Enforcer {
    /// Decides on a message of this node and signs it.
    pub(super) async fn outgoing(
        &self,
        point: Point,
        draft: &Draft<'_>,
    ) -> Result<Passed, Stopped> {
        let now = self.clock.now();
        let mut record = self.blank_record(point, now);
        let own = self.identity.node();
        record.issuer = own;
        record.agent = Some(draft.agent.clone());
        record.audience = Some(draft.path.far());
        record.server = Some(draft.server.clone());
        record.request = Some(draft.request_id);
        record.direction = Some(draft.direction);
        let decided = self.decide_outgoing(point, now, draft, &mut record);
        let Agreed {
            header,
            instead,
            open,
        } = match decided {
            Ok(Decided::Agreed(agreed)) => *agreed,
            Ok(Decided::Withheld(stopped)) => {
                return Ok(Passed::Withheld(self.stop(record, own, stopped).await));
            }
            Err(stopped) => return Err(self.stop(record, own, stopped).await),
        };
        let at = header.cwt.iat;
        let salt = match draft.copies {
            Some(copied) => Ok(copied.salt),
            None => self.random(Salt::from_bytes),
        };
        let sealed =
            salt.and_then(|salt| Ok((self.sign(draft, header, salt, instead.as_deref())?, salt)));
        match sealed {
            Ok((sealed, salt)) => {
                record.envelope = Some(sealed.id);
                self.write(record, false).await?;
                Ok(Passed::Sealed(sealed, Issued { at, salt, open }))
            }
            Err(stopped) => Err(self.stop(record, own, stopped).await),
        }
    }

    fn sign(
        &self,
        draft: &Draft<'_>,
        header: Header,
        salt: Salt,
        instead: Option<&[u8]>,
    ) -> Result<SealedEnvelope, Stopped> {
        let (crypto, signing) = (&*self.identity.crypto, &*self.identity.signing);
        let body = instead.unwrap_or_else(|| draft.message.body());
        let sealed = match draft.path.seal() {
            None => seal(crypto, signing, header, salt, body),
            Some(call) => seal_relayed(crypto, signing, header, salt, body, call),
        };
        sealed.map_err(|e| Stopped::refuse("signing_failed", e.to_string()))
    }

    fn decide_outgoing(
        &self,
        point: Point,
        now: UnixMillis,
        draft: &Draft<'_>,
        record: &mut DecisionRecord,
    ) -> Result<Decided, Stopped> {
        let described = draft.message.described();
        record.kind = Some(described.kind);
        let mut header = self.header(now, draft, described)?;
        record.method = Some(header.claims.method.clone());
        record.target.clone_from(&header.claims.name);
        header
            .validate()
            .map_err(|e| Stopped::refuse(e.reason(), format!("the message cannot be sent: {e}")))?;
        // By a clock that is behind, memberships have not begun: it is the clock that is to be mended.
        if let Err(barred @ Barred::ClockBehind { .. }) = self.standing.clock(now.seconds()) {
            return Err(Stopped::barred(&barred));
        }
        let own = self.identity.membership();
        own.valid_at(now.seconds()).map_err(|e| {
            Stopped::refuse(
                "own_membership_invalid",
                format!("this node's own membership: {e}"),
            )
        })?;
        let audience = self
            .members
            .valid(&draft.path.far(), now.seconds())
            .ok_or_else(|| {
                let node = draft.path.far().short();
                Stopped::refuse(
                    "unknown_audience",
                    format!("node {node} has no valid membership here"),
                )
            })?;
        self.in_force(now, &header, own.facts(), &audience.membership)?;
        let ends: (&MemberFacts, &MemberFacts) = (own.facts(), &audience.membership);
        header.claims.labels = self.claimable_labels((point, now), &header, ends)?;
        let asked = Asked {
            point,
            now,
            header: &header,
            issuer: own.facts(),
            audience: &audience.membership,
            address: draft.address,
            hops: &[],
            intents: &header.claims.intents,
            within: draft.within,
            body: Some(draft.message.body()),
        };
        let evaluated = if draft.refuses {
            self.evaluate_refusal(&asked, record)
        } else {
            self.evaluate(&asked, record)
        };
        let mut duties = match evaluated {
            Ok(duties) => duties,
            Err(stopped) if is_alone(&stopped, &header) => return Ok(Decided::Withheld(stopped)),
            Err(stopped) => return Err(stopped),
        };
        let instead = duties.instead.take();
        if !duties.tags.is_empty() {
            header.claims.labels.extend(duties.tags.iter().cloned());
            header.claims.labels.sort_unstable();
            header.claims.labels.dedup();
            let unmet = |e: HeaderError| {
                Stopped::refuse(e.reason(), format!("the labels a policy gives: {e}"))
            };
            header.validate().map_err(unmet)?;
        }
        let open = duties.open.map(Arc::new);
        Ok(Decided::Agreed(Box::new(Agreed {
            header,
            instead,
            open,
        })))
    }

    fn header(
        &self,
        now: UnixMillis,
        draft: &Draft<'_>,
        described: &Described,
    ) -> Result<Header, Stopped> {
        let me = self.identity.node();
        let iat = now.seconds();
        let (method, name, tool_digest) = match (draft.answers, &described.method) {
            (Some(answered), _) => (
                answered.method.clone(),
                answered.target.clone(),
                answered.tool_digest,
            ),
            (None, Some(method)) => (method.clone(), described.target.clone(), draft.tool_digest),
            (None, None) => {
                let message = "a response to no request of the other side";
                return Err(Stopped::refuse("unawaited_response", message));
            }
        };
        let far = draft.path.far();
        let intents = match described.kind {
            Kind::Response => Vec::new(),
            Kind::Request | Kind::Notification => self.intents(&Meant {
                host: match draft.direction {
                    Direction::ToServer => far,
                    Direction::ToClient => me,
                },
                server: draft.server,
                method: &method,
                name: name.as_deref(),
                tool_digest,
            }),
        };
        let ends = described.kind == Kind::Response && draft.direction == Direction::ToClient;
        let begins = described.kind == Kind::Request
            && draft.direction == Direction::ToServer
            && draft.sequence == 0;
        let claims = Claims {
            suite: self.identity.root().root().suite,
            document: DocumentType::Envelope,
            mesh: self.identity.mesh(),
            kind: described.kind,
            direction: draft.direction,
            request_id: draft.request_id,
            session: draft.session,
            sequence: draft.sequence,
            parent: draft.copies.map_or(draft.parent, |c| Some(c.first)),
            server: draft.server.clone(),
            method,
            name,
            tool_digest,
            // Set by `seal`, which draws on the salt.
            body_digest: Digest::from_bytes([0; 32]),
            intents,
            // Known once the far end is.
            labels: Vec::new(),
            posture: self.own_posture(),
            site: self.identity.membership().content().site.clone(),
            bundle_version: self.policy().bundle_version(),
            route: draft.path.route().to_vec(),
            last_sequence: ends.then_some(draft.sequence),
            stream_hash: draft.stream_hash.filter(|_| ends),
            human: draft.human.map(str::to_owned),
            bridged: None,
            first_issued: draft.copies.map(|c| c.issued),
            sealed: draft.path.sealed().filter(|_| begins).cloned(),
            intent_rules: (described.kind != Kind::Response).then(|| self.intents.version()),
        };
        let cwt = CwtClaims {
            iss: me,
            sub: draft.agent.clone(),
            aud: far,
            exp: iat.plus(ENVELOPE_LIFE_S),
            iat,
            cti: self.random(Cti::from_bytes)?,
        };
        let content_type = match draft.path.seal() {
            None => content_type::ENVELOPE,
            Some(_) => content_type::SEALED_ENVELOPE,
        };
        let content_type = content_type.to_owned();
        Ok(Header {
            content_type,
            cwt,
            claims,
        })
    }

    /// Decides on bytes that came and verifies them.
    pub(super) async fn incoming(
        &self,
        point: Point,
        incoming: &Incoming<'_>,
    ) -> Result<Passed, Stopped> {
        let now = self.clock.now();
        let mut record = self.blank_record(point, now);
        record.issuer = incoming.origin.peer;
        match self.verify(point, now, incoming, &mut record).await {
            Ok((envelope, described, mut call)) => {
                let issuer = envelope.header().cwt.iss;
                if issuer != incoming.origin.peer {
                    self.heard.note(issuer, now);
                }
                if let Some(stopped) = call.denied.take() {
                    let stopped = self.stop(record, incoming.origin.peer, stopped).await;
                    return Ok(Passed::Dropped(Box::new(Dropped {
                        id: envelope.id(),
                        described,
                        stopped,
                    })));
                }
                let envelope = Box::new(envelope);
                let Some(hold) = call.hold.take() else {
                    self.write(record, false).await?;
                    return Ok(Passed::Verified(envelope, Box::new(described), call));
                };
                Ok(Passed::Held(Box::new(Held {
                    envelope,
                    described,
                    seal: call.seal,
                    hold: hold.noted(record),
                })))
            }
            Err(stopped) => Err(self.stop(record, incoming.origin.peer, stopped).await),
        }
    }

    async fn verify(
        &self,
        point: Point,
        now: UnixMillis,
        incoming: &Incoming<'_>,
        record: &mut DecisionRecord,
    ) -> Result<(VerifiedEnvelope, Described, Opening), Stopped> {
        let origin = incoming.origin;
        self.admit_peer(origin.peer, now)?;
        let crypto = &*self.identity.crypto;
        let unverified = UnverifiedEnvelope::parse(incoming.bytes).map_err(refused)?;
        note(record, unverified.header());
        let id = unverified.id(crypto);
        record.envelope = Some(id);
        let header = unverified.header();
        // On a direct link the peer is the issuer. Relays carry what others issued, and answer for
        // what only who delivers can spoil.
        let relayed = header.is_relayed();
        let by_relay = relayed && header.cwt.iss != origin.peer;
        let blame = |stopped| chain::blame(stopped, by_relay);
        let issuer = match incoming.path {
            Some(path) => path.far(),
            None if relayed => header.cwt.iss,
            None => origin.peer,
        };
        let place = header.claims.route.len().saturating_sub(1);
        let expected = Expectation {
            mesh: self.identity.mesh(),
            audience: self.identity.node(),
            issuer,
            direction: incoming.direction,
            now,
        };
        match unverified.check(&expected) {
            Err(refusal @ Refusal::Expired { .. }) if by_relay => {
                let delayed = self.delayed(now, unverified, place, incoming.records);
                return Err(delayed.unwrap_or_else(|| refused(refusal)));
            }
            checked => checked.map_err(refused)?,
        }
        if relayed {
            unverified
                .place_after(self.identity.node(), origin.peer)
                .map_err(|e| blame(refused(e)))?;
        }
        if let Some(path) = incoming.path
            && !path.is_way_of(&unverified.header().claims.route)
        {
            return Err(blame(refused(Refusal::OtherRoute)));
        }
        check_place(unverified.header(), incoming).map_err(|e| blame(refused(e.into())))?;
        let member = self.members.valid(&issuer, now.seconds());
        let member = member.ok_or_else(|| refused(Refusal::UnknownIssuer(issuer)))?;
        let own = self.identity.membership();
        self.in_force(now, unverified.header(), &member.membership, own.facts())?;
        let entry = replay_entry(unverified.header(), id);
        self.replay()
            .look(&entry, now.seconds())
            .map_err(|e| blame(refused(e.into())))?;

        let signed = unverified
            .verify_signatures(crypto, &member.membership.signing)
            .map_err(|e| blame(refused(e)))?;
        let taken_up = match &signed.header().claims.sealed {
            Some(sealed) => Some(self.take_up(sealed)?),
            None => None,
        };
        let seal = taken_up.as_deref().or_else(|| incoming.path?.seal());
        let verified = signed.open(crypto, seal).map_err(refused)?;
        let header = verified.header();
        let hops = self
            .check_chain(now.seconds(), id, header, place, incoming.records)
            .map_err(blame)?;
        self.accept(&entry, now.seconds()).await.map_err(blame)?;
        if self.is_behind(header) {
            Box::pin(self.catch_up(header, origin.peer)).await?;
        }
        let mut described = self.check_body(point, &verified, incoming)?;
        let intents = self.check_intents(verified.header())?;
        let address = chain::issuers_address(verified.header(), origin, &hops);
        let asked = Asked {
            point,
            now,
            header: verified.header(),
            issuer: &member.membership,
            audience: own.facts(),
            address,
            hops: &hops,
            intents: &intents,
            within: incoming.within,
            body: Some(verified.body()),
        };
        let (mut duties, denied) = match self.evaluate(&asked, record) {
            Ok(duties) => (duties, None),
            Err(stopped) if is_alone(&stopped, verified.header()) => {
                (Duties::default(), Some(stopped))
            }
            Err(stopped) => return Err(stopped),
        };
        described.instead = duties.instead.take();
        let begun = Opening {
            seal: taken_up,
            open: duties.open,
            hold: duties.hold.map(Box::new),
            denied,
            address: address.map(str::to_owned),
        };
        Ok((verified, described, begun))
    }

    /// Whether a peer may send one more envelope now.
    pub(crate) fn admit_peer(&self, peer: NodeId, now: UnixMillis) -> Result<(), Stopped> {
        if self.limits.admit(peer, now) {
            return Ok(());
        }
        let message = "this peer sends more envelopes than one peer may";
        Err(Stopped::refuse(RATE_LIMITED, message))
    }

    /// The other end of a call that was sealed to one of this node's keys.
    fn take_up(&self, sealed: &Sealed) -> Result<Arc<CallSeal>, Stopped> {
        let key = self.identity.sealing.find(&sealed.key);
        let key = key.ok_or_else(|| refused(Refusal::SealingKeyUnknown))?;
        let mesh = self.identity.mesh();
        let call = CallSeal::take_up(&*key, &mesh, sealed);
        call.map(Arc::new)
            .map_err(|_| refused(Refusal::SealedPayload))
    }

    /// Revocation, the clock and the freshness lease, for a message of `issuer` to `audience`.
    pub(super) fn in_force(
        &self,
        now: UnixMillis,
        header: &Header,
        issuer: &MemberFacts,
        audience: &MemberFacts,
    ) -> Result<(), Stopped> {
        let judged = || {
            let standing = &self.standing;
            let claims = &header.claims;
            standing.member(issuer)?;
            standing.member(audience)?;
            // The agent is the one that opened the session, at the node towards the client.
            let ingress = match claims.direction {
                Direction::ToServer => issuer.node(),
                Direction::ToClient => audience.node(),
            };
            standing.agent(&ingress, &header.cwt.sub)?;
            if let Some(definition) = &claims.tool_digest {
                standing.tool(definition)?;
            }
            // Until tools are classified every call of one may write. Whatever else passes, a
            // clock that cannot be trusted stops it.
            let writes = claims.method == "tools/call" && claims.kind == Kind::Request;
            if writes {
                standing.fresh(now.seconds())
            } else {
                standing.clock(now.seconds())
            }
        };
        judged().map_err(|barred| Stopped::barred(&barred))
    }

    /// The atomic insert, and the reservation that must be on disk before anything acts on it.
    async fn accept(&self, entry: &Entry, now: UnixSeconds) -> Result<(), Stopped> {
        let accepted = self
            .replay()
            .accept(entry, now)
            .map_err(|e| refused(e.into()))?;
        let unavailable = |e: LedgerError| Stopped::unrecorded(&e);
        match accepted {
            Accepted::Covered => Ok(()),
            Accepted::Renew(reservation) => {
                let (replay, ledger) = (Arc::clone(&self.replay), Arc::clone(&self.ledger));
                // At most one for each issuer and second. It ends with its write, which the store
                // makes or fails even when it closes; nothing waits for it.
                tokio::spawn(async move {
                    let made = make_durable(&replay, &*ledger, &reservation).await;
                    if let Err(error) = made {
                        tracing::debug!(%error, "a replay reservation was not renewed");
                    }
                });
                Ok(())
            }
            Accepted::Reserve(reservation) => {
                make_durable(&self.replay, &*self.ledger, &reservation)
                    .await
                    .map_err(unavailable)
            }
        }
    }

    /// Header against body: kind, method, target and tool digest must be what this node derives
    /// itself from the opened payload, its own inventory, and the requests it waits on. Returns
    /// what the body says of itself.
    fn check_body(
        &self,
        point: Point,
        verified: &VerifiedEnvelope,
        incoming: &Incoming<'_>,
    ) -> Result<Described, Stopped> {
        let claims = &verified.header().claims;
        let described = describe(verified.body())
            .map_err(|e| Stopped::refuse(e.reason(), format!("not a usable message: {e}")))?;
        if described.kind != claims.kind {
            return Err(mismatch("kind"));
        }
        if described.kind == Kind::Response {
            let id = described.id.as_deref().unwrap_or("null");
            let Some(awaited) = (incoming.awaited)(id) else {
                let message = "a response to no request of this side";
                return Err(Stopped::refuse("unawaited_response", message));
            };
            return match () {
                () if awaited.method != claims.method => Err(mismatch("method")),
                () if awaited.target != claims.name => Err(mismatch("name")),
                () if awaited.tool_digest != claims.tool_digest => Err(mismatch("tool digest")),
                () => Ok(described),
            };
        }
        if described.method.as_deref() != Some(claims.method.as_str()) {
            return Err(mismatch("method"));
        }
        if described.target != claims.name {
            return Err(mismatch("name"));
        }
        if point == Point::Egress && claims.direction == Direction::ToServer {
            // Its header names what the message does, as was just seen.
            if !self.is_as_defined(claims) {
                return Err(other_definition());
            }
        }
        Ok(described)
    }

    pub(super) fn replay(&self) -> MutexGuard<'_, ReplayWindow> {
        locked(&self.replay)
    }

    fn random<const N: usize, T>(&self, make: impl FnOnce([u8; N]) -> T) -> Result<T, Stopped> {
        let mut bytes = [0; N];
        self.identity
            .crypto
            .fill_random(&mut bytes)
            .map_err(|e| Stopped::refuse("no_randomness", e.to_string()))?;
        Ok(make(bytes))
    }

    /// Sixteen random bytes that name a new call.
    ///
    /// # Errors
    /// If there is no randomness.
    pub fn new_request_id(&self) -> Result<RequestId, Stopped> {
        self.random(RequestId::from_bytes)
    }

    /// Sixteen random bytes that name a new session.
    ///
    /// # Errors
    /// If there is no randomness.
    pub fn new_session_id(&self) -> Result<protocol::id::SessionId, Stopped> {
        self.random(protocol::id::SessionId::from_bytes)
    }

    pub(super) fn blank_record(&self, point: Point, now: UnixMillis) -> DecisionRecord {
        DecisionRecord {
            // Sequence and previous hash are the writer's to set.
            sequence: 0,
            previous: GENESIS,
            time: now,
            node: self.identity.node(),
            point,
            envelope: None,
            request: None,
            issuer: self.identity.node(),
            agent: None,
            audience: None,
            server: None,
            kind: None,
            direction: None,
            method: None,
            target: None,
            verdict: Verdict::Allow(Vec::new()).name().to_owned(),
            reason: None,
            policy: None,
            bundle_version: 0,
            body_digest: None,
            stands_for: None,
            alerts: None,
            observed: None,
            approval: None,
            basis: None,
        }
    }

    /// Records the refusal of a message of `peer` before it is answered.
    pub(super) async fn stop(
        &self,
        record: DecisionRecord,
        peer: NodeId,
        stopped: Stopped,
    ) -> Stopped {
        self.record_refusal(record, peer, &stopped).await;
        if matches!(stopped.verdict, Verdict::Sever(_))
            && !stopped.by_policy
            && let Some(sever) = self.sever.get()
        {
            sever.sever(peer, stopped.reason());
        }
        stopped
    }

    pub(super) async fn write(&self, record: DecisionRecord, durable: bool) -> Result<(), Stopped> {
        self.ledger
            .record(record, durable)
            .await
            .map_err(|e| Stopped::unrecorded(&e))
    }
}

fn locked(replay: &Mutex<ReplayWindow>) -> MutexGuard<'_, ReplayWindow> {
    replay.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has a reservation on disk, and only then tells the window.
async fn make_durable(
    replay: &Mutex<ReplayWindow>,
    ledger: &dyn Ledger,
    reservation: &Reservation,
) -> Result<(), LedgerError> {
    let greatest = locked(replay).greatest();
    ledger.reserve(reservation, greatest).await?;
    locked(replay).reserved(reservation);
    Ok(())
}

fn check_place(header: &Header, incoming: &Incoming<'_>) -> Result<(), StreamError> {
    match incoming.stream {
        Some(stream) => stream.check(header),
        None if header.begins_call() => Ok(()),
        None => Err(StreamError::OtherCall),
    }
}

fn replay_entry(header: &Header, id: EnvelopeId) -> Entry {
    Entry {
        issuer: header.cwt.iss,
        envelope: id,
        iat: header.cwt.iat,
        exp: header.cwt.exp,
        begins: header.begins_call().then_some(Begins {
            request: header.claims.request_id,
            first_issued: header.claims.first_issued.unwrap_or(header.cwt.iat),
        }),
    }
}

pub(super) fn note(record: &mut DecisionRecord, header: &Header) {
    let claims = &header.claims;
    record.issuer = header.cwt.iss;
    record.agent = Some(header.cwt.sub.clone());
    record.audience = Some(header.cwt.aud);
    record.request = Some(claims.request_id);
    record.server = Some(claims.server.clone());
    record.kind = Some(claims.kind);
    record.direction = Some(claims.direction);
    record.method = Some(claims.method.clone());
    record.target.clone_from(&claims.name);
    record.body_digest = Some(claims.body_digest);
}

pub(super) fn refused(refusal: Refusal) -> Stopped {
    Stopped::refuse(
        refusal.reason(),
        format!("the envelope was refused: {refusal}"),
    )
}

pub(super) fn mismatch(what: &str) -> Stopped {
    let denial = Denial {
        reason: "header_body_mismatch".to_owned(),
        message: format!("the {what} in the signed header is not that of the message"),
        policy: None,
        hint: (what == "tool digest").then(|| {
            "the tool's definition changed or is not known yet: list the tools again".to_owned()
        }),
    };
    Stopped {
        verdict: Verdict::Deny(denial),
        by_policy: false,
    }
}
