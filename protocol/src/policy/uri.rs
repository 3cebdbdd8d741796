//! Whether the URI of a resource can be read in one way only.
//!
//! Globs match the text of a URI. RFC 3986 has many texts for one resource (section 6.2.2: case,
//! percent-encoding, dot segments; 6.2.3: ports and paths of a scheme), and servers take still more
//! for the same: whoever may choose among them walks out of what a glob permits, and round what one
//! restricts. So where documents go by URIs, only the text that is already normal is taken, and
//! nothing is normalised: what the server gets is what was decided on.
//!
//! Pure, by the text alone, in one pass per rule. What a resource is called in other ways that are
//! no matter of URIs (links, file systems that fold case or Unicode) is not known here.

use core::net::{Ipv4Addr, Ipv6Addr};

use super::error::shown;
use super::glob::Glob;

/// Schemes whose URIs have a host, and the port that is meant without one.
const WITH_HOST: &[(&str, &str)] = &[
    ("http", "80"),
    ("https", "443"),
    ("ws", "80"),
    ("wss", "443"),
    ("ftp", "21"),
];

/// The characters of section 2.2 that stand for themselves in a path, `*` aside: globs cannot name
/// it.
const RESERVED_IN_PATHS: &[u8] = b"!$&'()+,;=:@";

/// What stands in place of an expression of a template.
const EXPANDED: &str = "x";

/// What stars of globs are tried to stand for.
const TRIED: &[&str] = &[
    "x", "", "0", "20", "20x", "x/y", "///x", "//x", "/x", "x:", "x:y", "x:///y", "x://y/z",
    "://x/y", "x?",
];

/// Why a URI does not have exactly one reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ambiguity {
    /// Backslash.
    #[error("it has a backslash, which some take for `/`")]
    Backslash,
    /// A control character, as it is or percent-encoded.
    #[error("it has a control character")]
    Control,
    /// A character that no URI has.
    #[error("it has U+{:04X}, which no URI has there unencoded", u32::from(*.0))]
    Unencoded(char),
    /// `%` without two hexadecimal digits.
    #[error("it has a `%` without two hexadecimal digits")]
    Malformed,
    /// Percent-encoding in lower case (section 6.2.2.1).
    #[error("it is percent-encoded with digits in lower case")]
    LowerCaseDigits,
    /// A percent-encoded unreserved character (section 6.2.2.2).
    #[error("it has `{0}` percent-encoded, which need not be")]
    EncodedUnreserved(char),
    /// A percent-encoded slash or backslash.
    #[error("it has a percent-encoded `{0}`")]
    EncodedSlash(char),
    /// A percent-encoded character that documents name as it is.
    #[error("it has `{0}` percent-encoded, which policies name as it is")]
    EncodedNamed(char),
    /// `%25` before two hexadecimal digits.
    #[error("it is percent-encoded twice")]
    EncodedTwice,
    /// Percent-encoded bytes that are no UTF-8.
    #[error("what it has percent-encoded is not UTF-8")]
    NotUtf8,
    /// No scheme, or none as section 3.1 has it.
    #[error("it does not begin with a scheme")]
    Scheme,
    /// Upper case in scheme or host (section 6.2.2.1).
    #[error("its {0} has upper case")]
    UpperCase(&'static str),
    /// A fragment, which names a part of what the rest names.
    #[error("it has a fragment")]
    Fragment,
    /// A query that is empty, or in a scheme that has none.
    #[error("it has a `?` that means nothing")]
    Query,
    /// A path from the root, or a scheme that wants a host, without `//`.
    #[error("it has no `//` behind its scheme")]
    NoAuthority,
    /// Userinfo.
    #[error("it has userinfo before its host")]
    Userinfo,
    /// A default port, an empty one, or one that is no plain number (section 6.2.3).
    #[error("its port is the usual one, empty, or not a plain number")]
    Port,
    /// A host that is missing, or can be written in another way.
    #[error("its host is missing, can be written otherwise, or is that of a file")]
    Host,
    /// No path where that is the same as `/` (section 6.2.3).
    #[error("it has no path")]
    NoPath,
    /// `.` or `..` as a segment (section 6.2.2.3).
    #[error("it has a segment `.` or `..`")]
    DotSegment,
    /// An empty segment inside the path.
    #[error("its path has an empty segment")]
    EmptySegment,
}

impl Ambiguity {
    /// How to write it.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        match self {
            Self::Backslash => "write `/` between segments, and no backslash",
            Self::Control => "leave it out",
            Self::Unencoded(_) => "percent-encode its UTF-8 with capital digits, as `%C3%A9`",
            Self::Malformed => "write `%25` for the character itself",
            Self::LowerCaseDigits => "write capital digits, as `%C3%A9`",
            Self::EncodedUnreserved(_) | Self::EncodedNamed(_) => "write the character itself",
            Self::EncodedSlash(_) => "name the resource without it: servers take it for `/`",
            Self::EncodedTwice => "percent-encode once",
            Self::NotUtf8 => "percent-encode its UTF-8",
            Self::Scheme => "write it whole, as `file:///a/b`",
            Self::UpperCase(_) => "write scheme and host in lower case",
            Self::Fragment => "leave the `#` and what follows out",
            Self::Query => "leave the `?` out, or percent-encode it",
            Self::NoAuthority => "write `scheme://host/path`, or `scheme:///path`",
            Self::Userinfo => "leave the userinfo and its `@` out",
            Self::Port => "leave the usual port out, and write others in plain digits",
            Self::Host => "write the host in full, in its one form; for a file, `file:///path`",
            Self::NoPath => "end it with `/`",
            Self::DotSegment => "write the path that they lead to",
            Self::EmptySegment => "write one `/` between segments",
        }
    }

    /// One line about this URI.
    #[must_use]
    pub fn message(self, uri: &str) -> String {
        format!(
            "the URI `{}` can be read in several ways: {self}",
            shown(uri)
        )
    }
}

/// Which of the characters that may stand in a path encoded or not, as two different URIs (section
/// 2.2), globs name: a server that decodes them takes both for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reserved(u128);

impl Reserved {
    /// All: of whoever cannot be asked what it names.
    pub const ALL: Self = Self(u128::MAX);

    /// Those that a glob names.
    #[must_use]
    pub fn of(glob: &Glob) -> Self {
        let text = glob.as_str();
        // The colon behind the scheme is never encoded.
        let behind = match text.split_once(':') {
            Some((scheme, behind)) if !scheme.contains('*') => behind,
            _ => text,
        };
        let named = behind.bytes().filter(|b| RESERVED_IN_PATHS.contains(b));
        named.fold(Self::default(), |all, b| all.and(Self(1 << b)))
    }

    /// Those of either.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn has(self, byte: u8) -> bool {
        RESERVED_IN_PATHS.contains(&byte) && self.0 >> byte & 1 == 1
    }
}

/// Why a URI does not have exactly one reading, where documents name these characters; `None` if it
/// has one.
#[must_use]
pub fn ambiguity(uri: &str, named: Reserved) -> Option<Ambiguity> {
    read(uri, named).err()
}

/// As [`ambiguity`], of a URI template (RFC 6570) too: what its expressions become is not known.
#[must_use]
pub fn template_ambiguity(template: &str, named: Reserved) -> Option<Ambiguity> {
    ambiguity(&expanded(template), named)
}

/// Why no URI with one reading matches a glob, if none of many tried does.
#[must_use]
pub fn glob_ambiguity(glob: &Glob) -> Option<Ambiguity> {
    let mut why = None;
    let (first, rest) = match glob.as_str().split_once('*') {
        None => return ambiguity(glob.as_str(), Reserved::default()),
        Some(parts) => parts,
    };
    // A star that begins the glob stands for a scheme too.
    let plain = if first.is_empty() { "x:y" } else { "x" };
    for begins in TRIED {
        for goes_on in TRIED {
            let uri = format!("{first}{begins}{}", rest.replace('*', goes_on));
            let found = ambiguity(&uri, Reserved::default())?;
            // What is said of a plain word in each place says most.
            if (*begins, *goes_on) == (plain, "x") {
                why = Some(found);
            }
        }
    }
    why
}

fn read(uri: &str, named: Reserved) -> Result<(), Ambiguity> {
    characters(uri)?;
    escapes(uri, named)?;
    let (scheme, rest) = uri.split_once(':').ok_or(Ambiguity::Scheme)?;
    scheme_of(scheme)?;
    if rest.contains('#') {
        return Err(Ambiguity::Fragment);
    }
    let usual_port = WITH_HOST.iter().find(|(s, _)| *s == scheme).map(|s| s.1);
    let behind = match rest.strip_prefix("//") {
        Some(rest) => {
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            let (authority, behind) = rest.split_at(end);
            authority_of(scheme, authority, usual_port)?;
            if usual_port.is_some() && !behind.starts_with('/') {
                return Err(Ambiguity::NoPath);
            }
            behind
        }
        None if usual_port.is_some() || scheme == "file" || rest.starts_with('/') => {
            return Err(Ambiguity::NoAuthority);
        }
        None => rest,
    };
    if let Some(bracket) = behind.chars().find(|c| "[]".contains(*c)) {
        return Err(Ambiguity::Unencoded(bracket));
    }
    // What takes the text behind the authority for a path does not stop at `?`.
    let names = behind.split(['/', '?']).map(|s| s.split(';').next());
    if names.flatten().any(|name| name == "." || name == "..") {
        return Err(Ambiguity::DotSegment);
    }
    let path = match behind.split_once('?') {
        Some((_, query)) if query.is_empty() || scheme == "file" => return Err(Ambiguity::Query),
        Some((path, _)) => path,
        None => behind,
    };
    let path = path.strip_prefix('/').unwrap_or(path);
    let mut segments = path.split('/').rev().skip(1);
    if segments.any(str::is_empty) {
        return Err(Ambiguity::EmptySegment);
    }
    Ok(())
}

fn characters(uri: &str) -> Result<(), Ambiguity> {
    for c in uri.chars() {
        let usual = c.is_ascii_alphanumeric() || "-._~:/?#[]@!$&'()*+,;=%".contains(c);
        match c {
            _ if usual => {}
            '\\' => return Err(Ambiguity::Backslash),
            _ if c.is_control() => return Err(Ambiguity::Control),
            _ => return Err(Ambiguity::Unencoded(c)),
        }
    }
    Ok(())
}

/// Every percent-encoding, of ASCII text.
fn escapes(uri: &str, named: Reserved) -> Result<(), Ambiguity> {
    let path = uri.split('?').next().map_or(0, str::len);
    let (bytes, mut at) = (uri.as_bytes(), 0);
    let mut decoded = Vec::with_capacity(bytes.len());
    while let Some(byte) = bytes.get(at) {
        if *byte != b'%' {
            decoded.push(*byte);
            at += 1;
            continue;
        }
        let byte = escaped(bytes.get(at + 1..)).ok_or(Ambiguity::Malformed)?;
        let digits = bytes.get(at + 1..at + 3).unwrap_or_default();
        let c = char::from(byte);
        match byte {
            b'-' | b'.' | b'_' | b'~' => return Err(Ambiguity::EncodedUnreserved(c)),
            _ if byte.is_ascii_alphanumeric() => return Err(Ambiguity::EncodedUnreserved(c)),
            b'/' | b'\\' => return Err(Ambiguity::EncodedSlash(c)),
            b'%' if escaped(bytes.get(at + 3..)).is_some() => return Err(Ambiguity::EncodedTwice),
            _ if byte.is_ascii_control() => return Err(Ambiguity::Control),
            _ if digits.iter().any(u8::is_ascii_lowercase) => {
                return Err(Ambiguity::LowerCaseDigits);
            }
            _ if at < path && named.has(byte) => return Err(Ambiguity::EncodedNamed(c)),
            _ => decoded.push(byte),
        }
        at += 3;
    }
    let decoded = core::str::from_utf8(&decoded).map_err(|_| Ambiguity::NotUtf8)?;
    if decoded.chars().any(char::is_control) {
        return Err(Ambiguity::Control);
    }
    Ok(())
}

/// The byte that two hexadecimal digits at the beginning are.
fn escaped(digits: Option<&[u8]>) -> Option<u8> {
    let [high, low, ..] = digits? else {
        return None;
    };
    let digit = |b: u8| {
        char::from(b)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    Some(digit(*high)? << 4 | digit(*low)?)
}

fn scheme_of(scheme: &str) -> Result<(), Ambiguity> {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
    if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.bytes().all(inner) {
        return Err(Ambiguity::Scheme);
    }
    if scheme.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(Ambiguity::UpperCase("scheme"));
    }
    Ok(())
}

fn authority_of(scheme: &str, authority: &str, usual_port: Option<&str>) -> Result<(), Ambiguity> {
    if usual_port.is_none() && scheme != "file" {
        return name_of(authority);
    }
    if authority.contains('@') {
        return Err(Ambiguity::Userinfo);
    }
    if authority.contains('%') {
        return Err(Ambiguity::Host);
    }
    if authority.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(Ambiguity::UpperCase("host"));
    }
    let bracket = authority.rfind(']').map_or(0, |at| at + 1);
    let (literal, behind) = authority.split_at(bracket);
    let (host, port) = match behind.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (behind, None),
    };
    if let Some(port) = port {
        let plain = port.bytes().all(|b| b.is_ascii_digit()) && !port.starts_with('0');
        if port.is_empty() || !plain || usual_port == Some(port) {
            return Err(Ambiguity::Port);
        }
    }
    let inside = literal.strip_prefix('[').and_then(|l| l.strip_suffix(']'));
    let alone = match inside {
        Some(inside) => {
            let address = inside.parse::<Ipv6Addr>();
            host.is_empty() && address.is_ok_and(|a| a.to_string() == inside)
        }
        // Some read the host as the path's beginning, and `localhost` is none (RFC 8089).
        None if scheme == "file" => authority.is_empty(),
        None => literal.is_empty() && host_of(host),
    };
    if !alone || host.contains(['[', ']']) {
        return Err(Ambiguity::Host);
    }
    Ok(())
}

/// In a scheme of a server's own nothing is a host: servers take what stands there for a name as it
/// is written (`notes://Ada%20L`), or for the first segment.
fn name_of(authority: &str) -> Result<(), Ambiguity> {
    if authority == "." || authority == ".." {
        return Err(Ambiguity::DotSegment);
    }
    match authority.chars().find(|c| "[]".contains(*c)) {
        Some(bracket) => Err(Ambiguity::Unencoded(bracket)),
        None => Ok(()),
    }
}

/// Whether a host can be written in this way only: a name, or an address of four plain numbers.
fn host_of(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    let number = last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x");
    !last.is_empty() && (!number || host.parse::<Ipv4Addr>().is_ok())
}

/// A template with something plain in place of its expressions. A brace that belongs to none stays,
/// and no URI has it.
fn expanded(template: &str) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once('{') {
        out.push_str(before);
        match behind.split_once('}') {
            Some((expression, behind)) if is_expression(expression) => {
                // These two begin what they expand to.
                out.extend(expression.chars().next().filter(|c| "/.".contains(*c)));
                out.push_str(EXPANDED);
                rest = behind;
            }
            _ => {
                out.push('{');
                rest = behind;
            }
        }
    }
    out.push_str(rest);
    out
}

/// An expression between its braces: an operator (section 2.2 of RFC 6570) and variables.
fn is_expression(text: &str) -> bool {
    let variables = text.strip_prefix(['+', '#', '.', '/', ';', '?', '&']);
    let variables = variables.unwrap_or(text);
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"_,:*.".contains(&b);
    variables.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && variables.bytes().all(inner)
}

#[cfg(test)]
mod tests;
