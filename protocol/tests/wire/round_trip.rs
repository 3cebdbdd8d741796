//! What is encoded reads back equal, whatever is in it; one changed byte is noticed.

use proptest::collection::{btree_set, vec};
use proptest::option::of;
use proptest::prelude::*;
use protocol::codec;
use protocol::envelope::header::Bridged;
use protocol::envelope::{Direction, Header, Kind, Payload, UnverifiedEnvelope};
use protocol::hello::{Heads, Hello};
use protocol::id::{Cti, Digest, EnvelopeId, NodeId, RequestId, Salt, SessionId};
use protocol::limits::MAX_HEADER_BYTES;
use protocol::name::Name;
use protocol::record::DecisionRecord;
use protocol::time::UnixSeconds;

use crate::case::ACCEPTED;
use crate::envelope::judge;
use crate::raw::flipped;
use crate::world::{CRYPTO, world};

fn names() -> impl Strategy<Value = Name> {
    "[a-z0-9]([a-z0-9]|-[a-z0-9]){0,15}".prop_map(|text| text.parse().unwrap())
}

fn digests() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest::from_bytes)
}

fn words() -> impl Strategy<Value = Vec<String>> {
    btree_set("\\PC{1,12}", 0..5).prop_map(|set| set.into_iter().collect())
}

prop_compose! {
    /// A header that is well-formed, though it need not make sense.
    fn headers()(
        agent in names(),
        server in names(),
        iat in any::<u32>(),
        life in 1_u64..=60,
        ids in any::<([u8; 16], [u8; 16], [u8; 16])>(),
        parent in of(any::<[u8; 32]>()),
        sequence in 0_u64..=1 << 26,
        method in "[!-~]{1,40}",
        target in of("\\PC{1,40}"),
        tool_digest in of(digests()),
        posture in of(digests()),
        site in of(names()),
        bundle_version in any::<u64>(),
        intents in words(),
        labels in words(),
        human in of("\\PC{1,16}"),
        bridged in of((any::<[u8; 32]>(), "\\PC{1,16}", digests())),
        kind in prop_oneof![Just(Kind::Request), Just(Kind::Notification), Just(Kind::Response)],
        end in digests(),
    ) -> Header {
        let mut header = world().request_header();
        header.cwt.sub = agent;
        header.cwt.iat = UnixSeconds(iat.into());
        header.cwt.exp = header.cwt.iat.plus(life);
        header.cwt.cti = Cti::from_bytes(ids.0);
        let claims = &mut header.claims;
        claims.server = server;
        claims.request_id = RequestId::from_bytes(ids.1);
        claims.session = SessionId::from_bytes(ids.2);
        claims.kind = kind;
        claims.direction = match kind {
            Kind::Request => Direction::ToServer,
            Kind::Notification | Kind::Response => Direction::ToClient,
        };
        // What begins a call and has a parent is a copy, which states more.
        let begins = kind == Kind::Request && sequence == 0;
        claims.parent = parent.filter(|_| !begins).map(EnvelopeId::from_bytes);
        claims.sequence = sequence;
        claims.method = method;
        claims.name = target;
        claims.tool_digest = tool_digest;
        claims.posture = posture;
        claims.site = site;
        claims.bundle_version = bundle_version;
        claims.intents = intents;
        claims.labels = labels;
        claims.human = human;
        claims.bridged = bridged.map(|(by, from_era, original)| Bridged {
            by: NodeId::from_bytes(by),
            from_era,
            original,
        });
        if kind == Kind::Response {
            claims.last_sequence = Some(sequence);
            claims.stream_hash = Some(end);
        }
        header
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn headers_read_back(header in headers()) {
        let bytes = codec::encode(&header);
        prop_assert_eq!(header.validate(), Ok(()));
        prop_assert_eq!(codec::decode::<Header>(&bytes, MAX_HEADER_BYTES), Ok(header));
    }

    #[test]
    fn envelopes_read_back(header in headers(), body in vec(any::<u8>(), 0..300)) {
        let sealed = world().seal(header.clone(), &body);
        let unverified = UnverifiedEnvelope::parse(&sealed.bytes).unwrap();
        let set = world().caller.membership.content().signing.clone();
        let verified = unverified.verify(&CRYPTO, &set).unwrap();
        prop_assert_eq!(verified.id(), sealed.id);
        prop_assert_eq!(verified.body(), body);
        prop_assert_eq!(&verified.header().cwt, &header.cwt);
    }

    #[test]
    fn any_changed_byte_of_any_envelope_is_refused(
        body in vec(any::<u8>(), 0..300),
        at in any::<prop::sample::Index>(),
        change in 1_u8..,
    ) {
        let mut bytes = world().seal(world().request_header(), &body).bytes;
        prop_assert_eq!(judge(&bytes), ACCEPTED);
        let at = at.index(bytes.len());
        bytes[at] ^= change;
        prop_assert_ne!(judge(&bytes), ACCEPTED, "byte {} of {}", at, bytes.len());
    }

    #[test]
    fn any_changed_byte_of_a_document_is_refused(at in any::<prop::sample::Index>()) {
        let w = world();
        let (root, member) = (w.root.bytes(), w.host.membership.bytes());
        let changed = flipped(root, at.index(root.len()));
        prop_assert_ne!(crate::root::judge(&changed), ACCEPTED);
        let changed = flipped(member, at.index(member.len()));
        prop_assert_ne!(crate::membership::judge(&changed), ACCEPTED);
    }

    #[test]
    fn payloads_hellos_and_records_read_back(
        salt in any::<[u8; 32]>(),
        bytes in vec(any::<u8>(), 0..100),
        numbers in any::<(u64, u64, u64, u8)>(),
        texts in vec("\\PC{0,20}", 0..4),
        time in any::<u64>(),
    ) {
        let payload = Payload { salt: Salt::from_bytes(salt), body: bytes.clone() };
        prop_assert_eq!(codec::decode::<Payload>(&codec::encode(&payload), 4096), Ok(payload));
        let hello = Hello {
            lowest: numbers.0,
            highest: numbers.1,
            suite: numbers.3,
            mesh: world().mesh(),
            membership: bytes,
            addresses: texts.clone(),
            heads: Heads { root: numbers.2, bundle: numbers.0, revocations: numbers.1 },
        };
        prop_assert_eq!(codec::decode::<Hello>(&hello.encode(), 4096), Ok(hello));
        let mut record = crate::record::record(numbers.0, Digest::from_bytes(salt));
        record.time.0 = time;
        record.reason = texts.first().cloned();
        record.target = None;
        prop_assert_eq!(DecisionRecord::decode(&record.encode()), Ok(record));
    }
}
