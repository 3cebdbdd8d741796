//! Answers to held calls, and the digest they are bound to.

use protocol::approval::{Answer, Choice, MAX_ANSWER_BYTES, MAX_WORDS_BYTES, arguments_digest};
use protocol::cose::CoseError;
use protocol::id::{ApprovalId, Digest};
use protocol::mcp::McpError;
use protocol::trust::{Role, SignerCard, TrustError};

use crate::world::{CRYPTO, NOW, foreign, name, public, world};

pub(crate) fn answer() -> Answer {
    let w = world();
    Answer {
        mesh: w.mesh(),
        approval: ApprovalId::from_bytes([7; 16]),
        holder: w.host.id,
        arguments: Digest::from_bytes([8; 32]),
        by: w.caller.id,
        agent: name("operator"),
        at: NOW,
        choice: Choice::Approve,
        words: Some("it is the monthly run".to_owned()),
        human: Some("ada@example.org".to_owned()),
    }
}

fn signed(answer: &Answer) -> Vec<u8> {
    answer.sign(&CRYPTO, &world().caller.signing).unwrap()
}

fn verify(bytes: &[u8]) -> Result<Answer, TrustError> {
    let w = world();
    Answer::verify(&CRYPTO, w.mesh(), &public(&w.caller.signing), bytes)
}

#[test]
fn an_answer_reads_back() {
    let bytes = signed(&answer());
    assert_eq!(verify(&bytes), Ok(answer()));
    assert_eq!(Answer::parse(world().mesh(), &bytes), Ok(answer()));
}

#[test]
fn no_truncation_and_no_changed_byte_is_an_answer() {
    let bytes = signed(&answer());
    for length in 0..bytes.len() {
        assert!(verify(&bytes[..length]).is_err(), "{length}");
    }
    for at in (0..400).chain((400..bytes.len()).step_by(211)) {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(verify(&changed).is_err(), "{at}");
    }
}

#[test]
fn answers_of_others_and_unfit_words_are_refused() {
    let w = world();
    let by_another = answer().sign(&CRYPTO, &w.host.signing).unwrap();
    assert_eq!(
        verify(&by_another),
        Err(TrustError::Cose(CoseError::UnknownKey))
    );
    let elsewhere = Answer {
        mesh: foreign().mesh(),
        ..answer()
    };
    assert_eq!(verify(&signed(&elsewhere)), Err(TrustError::ForeignMesh));
    for words in ["a\u{1b}[2J".to_owned(), "x".repeat(MAX_WORDS_BYTES + 1)] {
        let unfit = Answer {
            words: Some(words),
            ..answer()
        };
        assert_eq!(verify(&signed(&unfit)), Err(TrustError::Field("words")));
    }
    for human in ["", "a b", "ada*", "<b>", "a\u{1b}[2J", &"x".repeat(65)] {
        let unfit = Answer {
            human: Some(human.to_owned()),
            ..answer()
        };
        assert_eq!(verify(&signed(&unfit)), Err(TrustError::Field("human")));
    }
    let card = SignerCard::sign(&CRYPTO, Role::Issuer, &w.issuer, NOW, None).unwrap();
    assert_eq!(verify(&card), Err(TrustError::ContentType));
    let huge = vec![0; MAX_ANSWER_BYTES + 1];
    assert!(matches!(verify(&huge), Err(TrustError::Codec(_))));
}

fn call(params: &str) -> Digest {
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
    arguments_digest(&CRYPTO, body.as_bytes()).unwrap()
}

#[test]
fn what_is_asked_for_counts_and_how_it_is_written_does_not() {
    let base = call(r#"{"name":"pay","arguments":{"to":"a","sum":1}}"#);
    let same = r#"{ "arguments": {"sum": 1, "to": "\u0061"}, "name": "pay" }"#;
    assert_eq!(base, call(same));
    for other in [
        r#"{"name":"pay","arguments":{"to":"a","sum":2}}"#,
        r#"{"name":"pay","arguments":{"to":"a","sum":1.0}}"#,
        r#"{"name":"pay","arguments":{"to":"a","sum":1,"more":null}}"#,
        r#"{"name":"pay2","arguments":{"to":"a","sum":1}}"#,
        r#"{"name":"pay","arguments":{"to":"a","sum":1},"_meta":{"x":1}}"#,
    ] {
        assert_ne!(base, call(other), "{other}");
    }
    let read = br#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"pay"}}"#;
    let list = br#"{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{"uri":"pay"}}"#;
    let of = |body: &[u8]| arguments_digest(&CRYPTO, body).unwrap();
    assert_ne!(of(read), of(list));
}

#[test]
fn the_progress_token_of_a_try_does_not_count() {
    let with = |token: &str| {
        call(&format!(
            r#"{{"name":"pay","_meta":{{"progressToken":{token},"x":1}}}}"#
        ))
    };
    assert_eq!(with("7"), with(r#""another""#));
    assert_ne!(
        with("7"),
        call(r#"{"name":"pay","_meta":{"progressToken":7,"x":2}}"#)
    );
}

#[test]
fn what_belongs_to_one_try_does_not_count() {
    let base = call(r#"{"name":"pay","arguments":{"\u0022":"\n"}}"#);
    for meta in [
        r#"{}"#,
        r#"{"progressToken":"7"}"#,
        r#"{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}"#,
        r#"{"tracestate":"a=1","progress\u0054oken":9,"traceparent":"other"}"#,
    ] {
        let with = format!(r#"{{"name":"pay","_meta":{meta},"arguments":{{"\"":"\u000a"}}}}"#);
        assert_eq!(base, call(&with), "{meta}");
    }
    for meta in [
        r#"{"baggage":"tenant=2"}"#,
        r#"{"x":{"progressToken":1}}"#,
        "null",
        "[]",
    ] {
        let with = format!(r#"{{"name":"pay","_meta":{meta},"arguments":{{"\"":"\n"}}}}"#);
        let refused =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{with}}}"#);
        let other = arguments_digest(&CRYPTO, refused.as_bytes());
        assert_ne!(Ok(base), other, "{meta}");
    }
    // Beside `_meta` such names mean something else.
    assert_ne!(
        base,
        call(r#"{"name":"pay","arguments":{"\"":"\n","traceparent":"x"}}"#)
    );
}

#[test]
fn parameters_too_large_for_a_digest_have_none() {
    let text = "x".repeat(protocol::mcp::MAX_CANONICAL_BYTES);
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"a","t":"{text}"}}}}"#
    );
    assert!(matches!(
        arguments_digest(&CRYPTO, body.as_bytes()),
        Err(McpError::TooLarge { .. })
    ));
}
