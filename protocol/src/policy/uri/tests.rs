use proptest::prelude::*;

use super::*;

fn found(uri: &str) -> Option<Ambiguity> {
    ambiguity(uri, Reserved::default())
}

#[test]
fn what_has_one_reading_passes() {
    for uri in [
        "file:///public/a.txt",
        "file:///public/a/",
        "file:///",
        "file:///a%20b%C3%A9/c~d-e_f.g",
        "file:///.hidden/..a/a../...",
        "file:///100%25",
        "http://example.com/",
        "https://example.com:8443/a?b=c%26d&e=%25",
        "https://10.0.0.1/a",
        "https://[::1]:8443/a",
        "https://x/a?url=http://y//z",
        "urn:isbn:0451450523",
        "memo:today",
        "memo://insights",
        "notes://Ada%20L/1",
        "repo://Owner/x",
        "mail://Bob@x/1",
        "db://:1/x",
        "memo://insights?a",
        "db://main/users/Ada(1),b;c=d@e",
        "users:///a%40b",
        "x:",
    ] {
        assert_eq!(found(uri), None, "{uri}");
    }
}

/// Each rule, with what it is told by.
#[test]
fn what_has_several_readings_does_not() {
    use Ambiguity::{
        Backslash, Control, DotSegment, EmptySegment, EncodedSlash, EncodedTwice,
        EncodedUnreserved, Fragment, Host, LowerCaseDigits, Malformed, NoAuthority, NoPath,
        NotUtf8, Port, Query, Scheme, Unencoded, UpperCase, Userinfo,
    };
    for (uri, expected) in [
        ("file:///public/../records/x", DotSegment),
        ("file:///public/./x", DotSegment),
        ("file:///public/..", DotSegment),
        ("file:///../x", DotSegment),
        ("file:///public/..;a/x", DotSegment),
        ("http://x/?/../y", DotSegment),
        ("http://x/a?../y", DotSegment),
        ("urn:a/../b", DotSegment),
        ("urn:..", DotSegment),
        ("file:///public/%2e%2e/x", EncodedUnreserved('.')),
        ("file:///public/.%2E/x", EncodedUnreserved('.')),
        ("file:///public/..%2fx", EncodedSlash('/')),
        ("file:///public/..%2F..%2Fx", EncodedSlash('/')),
        ("file:///public/secret%2Fb", EncodedSlash('/')),
        ("file:///public/..%5Cx", EncodedSlash('\\')),
        ("https://x/?a=%2F", EncodedSlash('/')),
        ("file:///public/..\\x", Backslash),
        ("file:\\\\x", Backslash),
        ("file:///records/%73ecret/b", EncodedUnreserved('s')),
        ("file:///records/%5Fsecret", EncodedUnreserved('_')),
        ("file:///records/%7Esecret", EncodedUnreserved('~')),
        ("https://x/?a=%61", EncodedUnreserved('a')),
        ("file:///records//secret", EmptySegment),
        ("file:////records/secret", EmptySegment),
        ("file:///records//", EmptySegment),
        ("urn:a//b", EmptySegment),
        ("FILE:///records/x", UpperCase("scheme")),
        ("File:///records/x", UpperCase("scheme")),
        ("http://EXAMPLE.com/x", UpperCase("host")),
        ("HTTPS://example.com/x", UpperCase("scheme")),
        ("http://example.com:80/x", Port),
        ("https://example.com:443/x", Port),
        ("https://example.com:/x", Port),
        ("https://example.com:08443/x", Port),
        ("https://example.com:84x/", Port),
        ("https://u@example.com/x", Userinfo),
        ("https://u:p@example.com/x", Userinfo),
        ("https://example.com./x", Host),
        ("https:///x", Host),
        ("https://ex%C3%A9/x", Host),
        ("https://127.1/x", Host),
        ("https://2130706433/x", Host),
        ("https://0x7f.0.0.0x1/x", Host),
        ("https://127.0.0.01/x", Host),
        ("https://[0:0:0:0:0:0:0:1]/x", Host),
        ("https://[::1]x/", Host),
        ("https://x[::1]/", Host),
        ("https://[::1/", Port),
        ("file://localhost/x", Host),
        ("file://host:1/x", Host),
        ("file://public/x", Host),
        ("repo://../x", DotSegment),
        ("repo://.", DotSegment),
        ("repo://O%2FR/x", EncodedSlash('/')),
        ("db://a[1]/x", Unencoded('[')),
        ("http://example.com", NoPath),
        ("http://example.com?a", NoPath),
        ("file:/x", NoAuthority),
        ("file:x", NoAuthority),
        ("http:/example.com/x", NoAuthority),
        ("http:example.com/x", NoAuthority),
        ("db:/x", NoAuthority),
        ("file:///x?a", Query),
        ("http://x/?", Query),
        ("http://x/#a", Fragment),
        ("memo:x#", Fragment),
        ("/records/x", Scheme),
        ("records", Scheme),
        ("", Scheme),
        (":x", Scheme),
        ("1a:x", Scheme),
        ("set_it:x", Scheme),
        ("../x:y", Scheme),
        ("file:///%", Malformed),
        ("file:///a%2", Malformed),
        ("file:///a%zz", Malformed),
        ("file:///a%+1", Malformed),
        ("file:///a%00", Control),
        ("file:///a%0A", Control),
        ("file:///a%7F", Control),
        ("file:///a%C2%85", Control),
        ("file:///a\0b", Control),
        ("file:///a\nb", Control),
        ("file:///a\u{85}b", Control),
        ("file:///a%252e", EncodedTwice),
        ("file:///a%2541", EncodedTwice),
        ("file:///a%25252e", EncodedTwice),
        ("file:///a%c3%a9", LowerCaseDigits),
        ("file:///a%C3%a9", LowerCaseDigits),
        ("file:///a%C0%AFb", NotUtf8),
        ("file:///a%FFb", NotUtf8),
        ("file:///a b", Unencoded(' ')),
        ("file:///é", Unencoded('é')),
        ("file:///a|b", Unencoded('|')),
        ("file:///{a}", Unencoded('{')),
        ("file:///a[1]", Unencoded('[')),
    ] {
        assert_eq!(found(uri), Some(expected), "{uri}");
        assert!(!expected.hint().is_empty());
        assert!(expected.message(uri).contains("several ways: "));
    }
}

/// `a%40b` and `a@b` are two URIs; where a document names one, they must not be mistaken.
#[test]
fn what_globs_name_is_not_taken_encoded() {
    let glob = |text: &str| Reserved::of(&Glob::new(text).unwrap());
    let uri = "users:///a%40b";
    assert_eq!(ambiguity(uri, glob("users:///*")), None);
    assert_eq!(ambiguity(uri, glob("users:///a:*")), None);
    let named = Some(Ambiguity::EncodedNamed('@'));
    assert_eq!(ambiguity(uri, glob("users:///a@*")), named);
    assert_eq!(ambiguity(uri, glob("*@b")), named);
    assert_eq!(ambiguity(uri, Reserved::ALL), named);
    assert_eq!(ambiguity("users:///a@b", Reserved::ALL), None);
    assert_eq!(ambiguity("users:///?q=%40", Reserved::ALL), None);
    let both = glob("users:///a:*").and(glob("users:///a@*"));
    assert_eq!(
        ambiguity("users:///a%3Ab", both),
        Some(Ambiguity::EncodedNamed(':'))
    );
}

#[test]
fn templates_are_read_around_their_expressions() {
    for (template, expected) in [
        ("file:///{path}", None),
        ("file:///{+path}", None),
        ("file://{/path*}", None),
        ("db://{t}/rows{?q,limit:3}", None),
        ("{scheme}://a/b", None),
        ("file:///{a}/../{b}", Some(Ambiguity::DotSegment)),
        ("file:///{../}", Some(Ambiguity::Unencoded('{'))),
        ("file:///{}", Some(Ambiguity::Unencoded('{'))),
        ("file:///{a", Some(Ambiguity::Unencoded('{'))),
        ("file:///a}", Some(Ambiguity::Unencoded('}'))),
    ] {
        let found = template_ambiguity(template, Reserved::default());
        assert_eq!(found, expected, "{template}");
    }
}

#[test]
fn a_glob_for_nothing_that_can_be_read_is_found() {
    for glob in [
        "*",
        "**",
        "file:*",
        "file:///*",
        "*.md",
        "*@b",
        "*://*",
        "http://*",
        "*://*.org/*",
        "http*",
        "https://x:*/",
        "*/records/*",
        "*secret*",
        "file:///a%*",
        "file:///a%2*",
        "file:///*%20*",
        "x://*:8080/*",
        "*/",
        "f*",
        "*?a=b",
    ] {
        assert_eq!(glob_ambiguity(&Glob::new(glob).unwrap()), None, "{glob}");
    }
    for (glob, expected) in [
        ("file:///a/../*", Ambiguity::DotSegment),
        ("*/../x", Ambiguity::DotSegment),
        ("http://Example.com/*", Ambiguity::UpperCase("host")),
        ("FILE:*", Ambiguity::UpperCase("scheme")),
        ("file:///a//*", Ambiguity::EmptySegment),
        ("*é*", Ambiguity::Unencoded('é')),
        ("file:/records/*", Ambiguity::NoAuthority),
        ("/records/*", Ambiguity::Scheme),
        ("file:///a%2Fb*", Ambiguity::EncodedSlash('/')),
        ("http://x:80/", Ambiguity::Port),
    ] {
        let found = glob_ambiguity(&Glob::new(glob).unwrap());
        assert_eq!(found, Some(expected), "{glob}");
    }
}

/// As careless a server as there may be: what it takes for the path of a file.
fn careless(uri: &str) -> String {
    let mut text = uri.to_owned();
    for _ in 0..3 {
        let bytes: Vec<char> = text.chars().collect();
        let (mut out, mut at) = (String::new(), 0);
        while let Some(c) = bytes.get(at) {
            let digits: String = bytes.iter().skip(at + 1).take(2).collect();
            match u8::from_str_radix(&digits, 16) {
                Ok(byte) if *c == '%' && digits.len() == 2 => {
                    out.push(char::from(byte));
                    at += 3;
                }
                _ => {
                    out.push(*c);
                    at += 1;
                }
            }
        }
        text = out;
    }
    let text = text.replace('\\', "/").to_ascii_lowercase();
    let text = text.replacen("file:", "", 1);
    let mut path: Vec<&str> = Vec::new();
    for segment in text.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(path.pop()),
            other => path.push(other),
        }
    }
    path.join("/")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, ..ProptestConfig::default() })]

    /// Of what passes, a glob on the text says what it says of the place that a careless server
    /// reads: nothing walks out of it, and nothing round it.
    #[test]
    fn nothing_walks_out_of_a_glob(
        pieces in proptest::collection::vec(prop::sample::select(&[
            "public", "secret", "%73ecret", "/", "//", "/./", "/../", "..", ".", "\\", "%2e", "%2E",
            "%2f", "%2F", "%5C", "%252e", "%252F", "%00", "a", "%61", "?", "#", "%",
        ][..]), 0..8),
        begins in prop::sample::select(&["file:///", "file://", "file:/", "file:", "FILE:///"][..]),
    ) {
        let uri = format!("{begins}{}", pieces.concat());
        if found(&uri).is_none() {
            let public = Glob::new("file:///public/*").unwrap().matches(&uri);
            let place = careless(&uri);
            prop_assert_eq!(public && !uri.ends_with("/public/"), place.starts_with("public/"), "{}", uri);
        }
    }

    /// It never panics, and the text it passes is ASCII without anything hidden.
    #[test]
    fn whatever_comes(uri in ".{0,64}") {
        if found(&uri).is_none() {
            prop_assert!(uri.bytes().all(|b| b.is_ascii_graphic()));
        }
        let _ = template_ambiguity(&uri, Reserved::ALL);
    }

    /// What a client wrote in normal form passes.
    #[test]
    fn plain_names_pass(names in proptest::collection::vec("[a-zA-Z0-9_~-]{1,8}", 1..5)) {
        let uri = format!("file:///{}", names.join("/"));
        prop_assert_eq!(found(&uri), None);
    }
}
