//! Envelopes that are not the one encoding of an envelope.

use protocol::cose;
use protocol::limits::{MAX_ENVELOPE_BYTES, MAX_HEADER_BYTES};

use crate::case::{Case, case, run};
use crate::envelope::judge;
use crate::raw::{Raw, altered, find, replaced};
use crate::world::{CALL, CRYPTO, SALT, world};

/// Bytes that are no COSE_Sign of this profile.
fn shapes(request: &[u8]) -> Vec<Case> {
    let raw = Raw::of(request);
    let payload_head = {
        let at = find(request, &raw.payload);
        &request[at - 2..at]
    };
    assert_eq!(payload_head[0], 0x58, "a length of one byte");
    let long_length = [0x59, 0, payload_head[1]];
    let detached = [&request[..find(request, &raw.payload) - 2], &[0xf6], {
        let after = find(request, &raw.payload) + raw.payload.len();
        &request[after..]
    }]
    .concat();
    let bare = request[2..].to_vec();
    let with_head = |head: &[u8]| [head, &request[3..]].concat();
    vec![
        case("empty", [], "truncated"),
        case("an-integer", [0], "malformed"),
        case("untagged", bare, "malformed"),
        case(
            "tag-of-cose-sign1",
            altered(request, |r| r.tag = 18),
            "malformed",
        ),
        case(
            "array-of-three",
            with_head(&[0xd8, 0x62, 0x83]),
            "non_canonical",
        ),
        case("array-of-five", with_head(&[0xd8, 0x62, 0x85]), "truncated"),
        case("detached-payload", detached, "malformed"),
        case("trailing-byte", [request, &[0]].concat(), "non_canonical"),
        case(
            "long-tag",
            [&[0xd9, 0, 0x62], &request[2..]].concat(),
            "non_canonical",
        ),
        case(
            "long-array-length",
            with_head(&[0xd8, 0x62, 0x98, 4]),
            "non_canonical",
        ),
        case(
            "indefinite-array",
            [&with_head(&[0xd8, 0x62, 0x9f])[..], &[0xff]].concat(),
            "non_canonical",
        ),
        case(
            "long-string-length",
            replaced(
                request,
                &[payload_head, &raw.payload].concat(),
                &[&long_length[..], &raw.payload].concat(),
            ),
            "non_canonical",
        ),
        case(
            "indefinite-string",
            replaced(
                request,
                &[payload_head, &raw.payload].concat(),
                &[&[0x5f], payload_head, &raw.payload[..], &[0xff]].concat(),
            ),
            "non_canonical",
        ),
        case("deeply-nested", [0x81; 64], "too_deep"),
        case(
            "declares-2-to-the-63-items",
            [0x9b, 0x80, 0, 0, 0, 0, 0, 0, 0],
            "truncated",
        ),
        case(
            "declares-2-to-the-63-bytes",
            [0x5b, 0x80, 0, 0, 0, 0, 0, 0, 0],
            "truncated",
        ),
        case("reserved-length", [0x9c], "malformed"),
    ]
}

/// Protected headers that are not the one encoding of a header.
fn headers(request: &[u8]) -> Vec<Case> {
    let raw = Raw::of(request);
    let w = world();
    let with = |protected: Vec<u8>| altered(request, |r| r.protected = protected);
    let edit = |old: &[u8], new: &[u8]| with(replaced(&raw.protected, old, new));
    let exp = 1_800_000_030_u32.to_be_bytes();
    let exp = [&[0x04, 0x1a], &exp[..]].concat();
    let iat = 1_800_000_000_u32.to_be_bytes();
    let iat = [&[0x06, 0x1a], &iat[..]].concat();
    let both = [&exp[..], &iat].concat();
    let cti = [&[0x07, 0x50][..], &[0x44; 16]].concat();
    let kind = [0x04, 0x01, 0x05, 0x01, 0x06, 0x50];
    let iss = w.caller.id.to_string();
    vec![
        case("header-empty", with(Vec::new()), "truncated"),
        case("header-empty-map", with(vec![0xa0]), "malformed"),
        case("header-not-a-map", with(vec![0x80]), "malformed"),
        case("header-deeply-nested", with(vec![0x81; 64]), "too_deep"),
        case(
            "header-trailing-byte",
            with([&raw.protected[..], &[0]].concat()),
            "non_canonical",
        ),
        case(
            "header-keys-out-of-order",
            edit(&both, &[&iat[..], &exp].concat()),
            "non_canonical",
        ),
        case(
            "header-duplicate-key",
            with(replaced(
                &replaced(&raw.protected, &[0x0f, 0xa6], &[0x0f, 0xa7]),
                &iat,
                &[&iat[..], &iat].concat(),
            )),
            "non_canonical",
        ),
        case(
            "header-unknown-key",
            with(replaced(
                &replaced(&raw.protected, &[0x0f, 0xa6], &[0x0f, 0xa7]),
                &cti,
                &[&cti[..], &[0x08, 0xf5]].concat(),
            )),
            "non_canonical",
        ),
        case(
            "header-unknown-label",
            with([&[0xa4], &raw.protected[1..], &[0x3a, 0, 1, 0, 1, 0]].concat()),
            "non_canonical",
        ),
        case(
            "header-null-for-absent",
            with(replaced(
                &replaced(&raw.protected, &[0x0f, 0xa6], &[0x0f, 0xa7]),
                &exp,
                &[&exp[..], &[0x05, 0xf6]].concat(),
            )),
            "non_canonical",
        ),
        case(
            "header-missing-claim",
            with(without_exp(&raw.protected, &exp)),
            "malformed",
        ),
        case(
            "header-long-integer",
            edit(&kind, &[0x04, 0x18, 0x01, 0x05, 0x01, 0x06, 0x50]),
            "non_canonical",
        ),
        case(
            "header-float-time",
            edit(&exp, &[0x04, 0xfb, 0x41, 0xda, 0xd2, 0x74, 0x88, 0, 0, 0]),
            "malformed",
        ),
        case(
            "header-tagged-time",
            edit(&exp, &[&[0x04, 0xc1], &exp[1..]].concat()),
            "malformed",
        ),
        case(
            "header-negative-time",
            edit(&exp, &[&[0x04, 0x3a], &exp[2..]].concat()),
            "malformed",
        ),
        case(
            "header-short-cti",
            edit(&cti, &[&[0x07, 0x4f][..], &[0x44; 15]].concat()),
            "malformed",
        ),
        case(
            "header-unknown-kind",
            edit(&kind, &[0x04, 0x04, 0x05, 0x01, 0x06, 0x50]),
            "malformed",
        ),
        case(
            "header-unknown-direction",
            edit(&kind, &[0x04, 0x01, 0x05, 0x03, 0x06, 0x50]),
            "malformed",
        ),
        case(
            "header-kind-as-text",
            edit(&kind, &[0x04, 0x61, 0x31, 0x05, 0x01, 0x06, 0x50]),
            "malformed",
        ),
        case(
            "header-issuer-not-a-node-id",
            edit(iss.as_bytes(), "0".repeat(46).as_bytes()),
            "malformed",
        ),
        case(
            "header-issuer-with-zero",
            edit(iss.as_bytes(), iss.replace("Qm", "Q0").as_bytes()),
            "malformed",
        ),
        case(
            "header-agent-not-a-name",
            edit(b"assistant", b"Assistant"),
            "malformed",
        ),
        case(
            "header-not-utf8",
            edit(b"tools/call", b"tools\xffcall"),
            "malformed",
        ),
    ]
}

fn without_exp(protected: &[u8], exp: &[u8]) -> Vec<u8> {
    replaced(&replaced(protected, &[0x0f, 0xa6], &[0x0f, 0xa5]), exp, &[])
}

/// Properly signed payloads that are not salt and body.
fn payloads(request: &[u8]) -> Vec<Case> {
    let raw = Raw::of(request);
    let w = world();
    let aad = *w.mesh().as_bytes();
    let with = |payload: &[u8]| {
        cose::sign(&CRYPTO, &[&w.caller.signing], &raw.protected, payload, &aad).unwrap()
    };
    let salt = [&[0x58, 0x20][..], SALT.as_bytes()].concat();
    let body = &raw.payload[1 + salt.len()..];
    vec![
        case("payload-empty", with(&[]), "truncated"),
        case("payload-bare-body", with(CALL), "truncated"),
        case(
            "payload-trailing-byte",
            with(&[&raw.payload[..], &[0]].concat()),
            "non_canonical",
        ),
        case(
            "payload-third-item",
            with(&[&[0x83], &raw.payload[1..], &[0]].concat()),
            "non_canonical",
        ),
        case(
            "payload-without-body",
            with(&[&[0x81][..], &salt].concat()),
            "malformed",
        ),
        case(
            "payload-short-salt",
            with(&[&[0x82, 0x58, 0x1f][..], &SALT.as_bytes()[1..], body].concat()),
            "malformed",
        ),
        case(
            "payload-text-body",
            with(&[&[0x82][..], &salt, &[0x78], &body[1..]].concat()),
            "malformed",
        ),
    ]
}

/// All of them.
pub(crate) fn cases() -> Vec<Case> {
    let request = world().request().bytes;
    let mut all = shapes(&request);
    all.extend(headers(&request));
    all.extend(payloads(&request));
    all.push(case(
        "truncated-in-the-middle",
        &request[..request.len() / 2],
        "truncated",
    ));
    all.push(case(
        "truncated-by-one",
        &request[..request.len() - 1],
        "truncated",
    ));
    all
}

#[test]
fn what_is_not_the_one_encoding_is_refused_by_name() {
    run(&cases(), judge);
}

#[test]
fn every_truncation_is_named() {
    let request = world().request().bytes;
    for cut in 0..request.len() {
        assert_eq!(judge(&request[..cut]), "truncated", "cut at {cut}");
    }
    let header = Raw::of(&request).protected;
    for cut in 0..header.len() {
        let bytes = altered(&request, |raw| raw.protected.truncate(cut));
        assert_eq!(judge(&bytes), "truncated", "header cut at {cut}");
    }
}

#[test]
fn what_is_too_large_is_refused_unread() {
    assert_eq!(judge(&vec![0xff; MAX_ENVELOPE_BYTES + 1]), "oversized");
    let w = world();
    let mut header = w.request_header();
    header.claims.name = Some("x".repeat(MAX_HEADER_BYTES));
    assert_eq!(judge(&w.seal(header, CALL).bytes), "oversized");
}

#[test]
fn the_largest_body_is_accepted_and_one_byte_more_is_not() {
    use protocol::limits::MAX_MESSAGE_BYTES;
    let w = world();
    let sealed = |length| w.seal(w.request_header(), &vec![b' '; length]).bytes;
    assert_eq!(judge(&sealed(MAX_MESSAGE_BYTES)), "accepted");
    assert_eq!(judge(&sealed(MAX_MESSAGE_BYTES + 1)), "oversized");
}
