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
