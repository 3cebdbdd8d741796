//! Values typed on the command line: tool addresses and arguments.

use core::fmt;
use core::str::FromStr;

use protocol::name::Name;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::exit::Failed;

/// `NODE/SERVER`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerAddress {
    /// The node.
    pub(crate) node: Name,
    /// The server on it.
    pub(crate) server: Name,
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.node, self.server)
    }
}

impl FromStr for ServerAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (node, server) = text
            .split_once('/')
            .ok_or_else(|| "expected NODE/SERVER, as `hedgerow tools` shows them".to_owned())?;
        Ok(Self {
            node: name(node)?,
            server: name(server)?,
        })
    }
}

/// `NODE/SERVER/TOOL`; the tool's own name may hold further slashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ToolAddress {
    /// The node.
    pub(crate) node: Name,
    /// The server on it.
    pub(crate) server: Name,
    /// The tool, as the server names it.
    pub(crate) tool: String,
}

impl fmt::Display for ToolAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.node, self.server, self.tool)
    }
}

impl FromStr for ToolAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, '/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(node), Some(server), Some(tool)) if !tool.is_empty() => Ok(Self {
                node: name(node)?,
                server: name(server)?,
                tool: tool.to_owned(),
            }),
            _ => Err("expected NODE/SERVER/TOOL, as `hedgerow tools` shows them".to_owned()),
        }
    }
}

fn name(text: &str) -> Result<Name, String> {
    text.parse::<Name>().map_err(|error| error.to_string())
}

/// Fewest characters of an id's beginning that is looked for.
const LEAST_BEGINNING: usize = 4;

/// The one item whose identifier begins with `typed`. Several are an error that lists them, so
/// that nothing is done to the wrong one.
pub(crate) fn one_of<'a, T>(
    what: &str,
    typed: &str,
    items: impl IntoIterator<Item = &'a T>,
    id: impl Fn(&T) -> String,
) -> Result<&'a T, Failed> {
    if typed.chars().count() < LEAST_BEGINNING {
        return Err(Failed::input(format!(
            "`{typed}` is too short to tell one {what} from another"
        ))
        .with_hint(format!("give at least {LEAST_BEGINNING} characters of it")));
    }
    let mut found = items.into_iter().filter(|item| id(item).starts_with(typed));
    let Some(first) = found.next() else {
        return Err(
            Failed::input(format!("no {what} has an id that begins with `{typed}`"))
                .with_reason("unknown_id"),
        );
    };
    let others: Vec<String> = found.map(&id).collect();
    if others.is_empty() {
        return Ok(first);
    }
    Err(Failed::input(format!(
        "`{typed}` is the beginning of several: {}, {}",
        id(first),
        others.join(", ")
    ))
    .with_reason("ambiguous_id")
    .with_hint("give more of it"))
}

/// An instant: `2026-11-22`, `2026-11-22 12:40:03Z` as it is printed (or with a `T`), seconds since
/// 1970, or a while ago: `30m`, `2h`, `3d`.
pub(crate) fn since(text: &str, now: u64) -> Result<u64, Failed> {
    let wrong = || {
        Failed::input(format!("`{text}` is no instant")).with_hint(
            "write `2026-11-22 12:40:03Z`, `2026-11-22`, seconds since 1970, or `30m`, `2h`, `3d` ago",
        )
    };
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(seconds);
    }
    for (unit, seconds) in [("m", 60), ("h", 3600), ("d", 24 * 3600)] {
        if let Some(Ok(count)) = text.strip_suffix(unit).map(str::parse::<u64>) {
            return count
                .checked_mul(seconds)
                .and_then(|ago| now.checked_sub(ago))
                .ok_or_else(wrong);
        }
    }
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (date, time) = text.split_once([' ', 'T']).unwrap_or((text, "00:00:00"));
    let days = days(date).ok_or_else(wrong)?;
    let time = clock(time).ok_or_else(wrong)?;
    Ok(days * 24 * 3600 + time)
}

/// Days since 1970 of `YYYY-MM-DD`, from 1970 to 9999.
fn days(date: &str) -> Option<u64> {
    let [year, month, day] = numbers(date, '-')?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1970..=9999).contains(&year) || !(1..=length).contains(&day) {
        return None;
    }
    // Counted from 0000-03-01, so that the leap day ends a year.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let of_year = (153 * month + 2) / 5 + day - 1;
    Some(365 * year + year / 4 - year / 100 + year / 400 + of_year - 719_468)
}

/// Seconds of `HH:MM:SS` or `HH:MM`.
fn clock(time: &str) -> Option<u64> {
    let [hour, minute, second] = numbers(time, ':').or_else(|| {
        let [hour, minute] = numbers(time, ':')?;
        Some([hour, minute, 0])
    })?;
    (hour < 24 && minute < 60 && second < 60).then_some(hour * 3600 + minute * 60 + second)
}

fn numbers<const N: usize>(text: &str, separator: char) -> Option<[u64; N]> {
    let parts: Option<Vec<u64>> = text
        .split(separator)
        .map(|part| {
            let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| part.parse().ok()).flatten()
        })
        .collect();
    parts?.try_into().ok()
}

/// `KEY=VALUE` with both taken as they are.
pub(crate) fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

/// A tool's arguments from `--json` and `key=value` words: one JSON object. The text of every
/// value is kept as typed (`1.50` stays `1.50`), and the object of `--json` alone byte for byte.
pub(crate) fn arguments(json: Option<&str>, words: &[String]) -> Result<Box<RawValue>, Failed> {
    let mut members = match json {
        Some(text) => members(text)?,
        None => Members::default(),
    };
    if let (Some(text), true) = (json, words.is_empty()) {
        return raw(text.trim());
    }
    for word in words {
        let (key, value) = argument(word)?;
        if members.0.iter().any(|(known, _)| *known == key) {
            return Err(Failed::input(format!(
                "the argument `{key}` is given twice"
            )));
        }
        members.0.push((key, value));
    }
    let parts: Result<Vec<String>, _> = members
        .0
        .iter()
        .map(|(key, value)| Ok(format!("{}:{}", serde_json::to_string(key)?, value.get())))
        .collect();
    match parts {
        Ok(parts) => raw(&format!("{{{}}}", parts.join(","))),
        Err(error) => Err(not_json(&error)),
    }
}

/// `key=value` (JSON where it parses, a string else) or `key:=json` (JSON or an error).
fn argument(word: &str) -> Result<(String, Box<RawValue>), Failed> {
    let shape = || {
        Failed::input(format!("`{word}` is not an argument"))
            .with_hint("write `key=value`, or `key:=json` for a value that must be JSON")
    };
    let (key, value) = word.split_once('=').ok_or_else(shape)?;
    let (key, must_be_json) = match key.strip_suffix(':') {
        Some(key) => (key, true),
        None => (key, false),
    };
    if key.is_empty() {
        return Err(shape());
    }
    let parsed = RawValue::from_string(value.trim().to_owned());
    let value = match parsed {
        Ok(value) => value,
        Err(error) if must_be_json => {
            return Err(Failed::input(format!(
                "the value of `{key}` is not JSON: {error}"
            )));
        }
        Err(_) => serde_json::value::to_raw_value(value).map_err(|error| not_json(&error))?,
    };
    Ok((key.to_owned(), value))
}

fn raw(text: &str) -> Result<Box<RawValue>, Failed> {
    RawValue::from_string(text.to_owned()).map_err(|error| not_json(&error))
}

fn not_json(error: &serde_json::Error) -> Failed {
    Failed::input(format!("the arguments are not a JSON object: {error}"))
}

fn members(text: &str) -> Result<Members, Failed> {
    serde_json::from_str(text).map_err(|error| {
        not_json(&error).with_hint("for example `--json '{\"sku\": \"HR-1001\"}'`")
    })
}

/// The members of a JSON object in order, values raw, no key twice.
#[derive(Default)]
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> serde::Deserialize<'de> for Members {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    if members.iter().any(|(known, _)| *known == key) {
                        return Err(serde::de::Error::custom(format!("`{key}` stands twice")));
                    }
                    members.push((key, value));
                }
                Ok(Members(members))
            }
        }
        d.deserialize_map(Reader)
    }
}

/// A length of time in seconds: a number and `s`, `m`, `h` or `d`.
pub(crate) fn seconds(text: &str) -> Result<u64, String> {
    let expected = || format!("`{text}` is no length of time: write 90s, 15m, 1h or 7d");
    let at = text
        .find(|c: char| !c.is_ascii_digit())
        .ok_or_else(expected)?;
    let (number, unit) = text.split_at(at);
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return Err(expected()),
    };
    let number: u64 = number.parse().map_err(|_| expected())?;
    number.checked_mul(unit).ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(words: &[&str]) -> Result<String, String> {
        let words: Vec<String> = words.iter().map(|&w| w.to_owned()).collect();
        arguments(None, &words)
            .map(|raw| raw.get().to_owned())
            .map_err(|failed| failed.message)
    }

    #[test]
    fn values_are_json_where_they_parse_and_strings_else() {
        assert_eq!(
            typed(&[
                "id=HR-1001",
                "price=12.50",
                "big=12345678901234567890",
                "on=true",
                "n=null"
            ]),
            Ok(
                r#"{"id":"HR-1001","price":12.50,"big":12345678901234567890,"on":true,"n":null}"#
                    .into()
            )
        );
        assert_eq!(
            typed(&[
                r#"sku="1234""#,
                "list:=[1, 2]",
                "eq=a=b",
                "empty=",
                "quote=\"x"
            ]),
            Ok(r#"{"sku":"1234","list":[1, 2],"eq":"a=b","empty":"","quote":"\"x"}"#.into())
        );
        assert_eq!(typed(&[]), Ok("{}".into()));
    }

    #[test]
    fn what_is_no_argument_is_refused() {
        for bad in [&["x"][..], &["=x"], &[":=1"], &["a:=b c"], &["a=1", "a=2"]] {
            assert!(typed(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_object_alone_is_kept_byte_for_byte_and_can_be_added_to() {
        let json = r#"{ "a": 1.0,  "b":"x" }"#;
        assert_eq!(arguments(Some(json), &[]).unwrap().get(), json);
        let both = arguments(Some(json), &["c=2".to_owned()]).unwrap();
        assert_eq!(both.get(), r#"{"a":1.0,"b":"x","c":2}"#);
        assert!(arguments(Some(json), &["a=2".to_owned()]).is_err());
        for bad in ["[]", "1", "", "{\"a\":1,\"a\":2}", "{} x"] {
            assert!(arguments(Some(bad), &[]).is_err(), "{bad}");
        }
    }

    #[test]
    fn instants_in_every_form() {
        let now = 1_795_351_203;
        for (text, seconds) in [
            ("0", 0),
            ("1795351203", now),
            ("1970-01-01", 0),
            ("2026-11-22 12:40:03Z", now),
            ("2026-11-22T12:40:03Z", now),
            ("2026-11-22 12:40", now - 3),
            ("2000-02-29", 951_782_400),
            ("2100-03-01", 4_107_542_400),
            ("2h", now - 7200),
            ("30m", now - 1800),
            ("3d", now - 3 * 24 * 3600),
        ] {
            assert_eq!(since(text, now), Ok(seconds), "{text}");
        }
        for bad in [
            "",
            "h",
            "-1h",
            "2100-02-29",
            "2026-13-01",
            "2026-00-10",
            "2026-01-32",
            "1969-12-31",
            "2026-11-22 24:00:00",
            "2026-11-22 1:2:3:4",
            "tomorrow",
            "99999999d",
            "+1-2-3",
        ] {
            assert!(since(bad, now).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_id_is_found_by_its_beginning_unless_it_is_of_several() {
        let ids = [
            "abcd01".to_owned(),
            "abcd02".to_owned(),
            "ffff03".to_owned(),
        ];
        let find = |typed: &str| one_of("admin", typed, &ids, Clone::clone);
        assert_eq!(find("ffff"), Ok(&ids[2]));
        assert_eq!(find("abcd02"), Ok(&ids[1]));
        assert_eq!(
            find("abcd").unwrap_err().reason.as_deref(),
            Some("ambiguous_id")
        );
        assert_eq!(
            find("9999").unwrap_err().reason.as_deref(),
            Some("unknown_id")
        );
        let short = find("fff").unwrap_err().message;
        assert_eq!(short, "`fff` is too short to tell one admin from another");
    }

    #[test]
    fn addresses() {
        let tool: ToolAddress = "n/s/dir/tool_x".parse().unwrap();
        assert_eq!(tool.tool, "dir/tool_x");
        assert_eq!(tool.to_string(), "n/s/dir/tool_x");
        for bad in ["n", "n/s", "n/s/", "N/s/t", "/s/t"] {
            assert!(bad.parse::<ToolAddress>().is_err(), "{bad}");
        }
        assert!("n/s".parse::<ServerAddress>().is_ok());
        assert!("n".parse::<ServerAddress>().is_err());
    }

    #[test]
    fn lengths_of_time() {
        for (text, found) in [("90s", 90), ("15m", 900), ("1h", 3600), ("7d", 604_800)] {
            assert_eq!(seconds(text), Ok(found), "{text}");
        }
        for bad in [
            "",
            "h",
            "1",
            "1w",
            "-1s",
            "1.5h",
            "99999999999999999999s",
            "9999999999999999d",
        ] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
