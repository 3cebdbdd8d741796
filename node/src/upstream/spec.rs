//! What to attach: a command to run or a URL to speak to, from local configuration only.
//!
//! Values of environment variables and headers are secrets: they are wiped when dropped and
//! appear in no `Debug`, log or status.

use std::collections::BTreeMap;
use std::path::PathBuf;

use zeroize::Zeroizing;

/// Most arguments of one command.
pub const MAX_ARGUMENTS: usize = 256;

/// Most environment variables or headers of one server.
pub const MAX_PAIRS: usize = 128;

/// Longest argument, path, URL, variable or header value, in bytes.
pub const MAX_VALUE_BYTES: usize = 32 * 1024;

/// Environment variables a server inherits from the node; everything else of the node's
/// environment is withheld. They say who and where the user is and how to print, not what the
/// node knows.
pub const INHERITED: [&str; 14] = [
    "HOME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "LOGNAME",
    "PATH",
    "SHELL",
    "TEMP",
    "TERM",
    "TMP",
    "TMPDIR",
    "TZ",
    "USER",
    "XDG_CACHE_HOME",
];

/// Headers the node itself sets; configuration may not.
const RESERVED_HEADERS: [&str; 10] = [
    "accept",
    "connection",
    "content-length",
    "content-type",
    "host",
    "last-event-id",
    "mcp-protocol-version",
    "mcp-session-id",
    "origin",
    "transfer-encoding",
];

/// A configured value that must not be shown.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The value itself, for the process or the request it is meant for.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self(Zeroizing::new(value))
    }
}

impl From<&str> for Secret {
    fn from(value: &str) -> Self {
        Self::from(value.to_owned())
    }
}

impl From<Secret> for String {
    fn from(secret: Secret) -> Self {
        secret.0.as_str().to_owned()
    }
}

impl core::fmt::Debug for Secret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("(secret)")
    }
}

/// How a server is reached. Serialises as a map tagged by which of the two it is:
/// `{"command": {"argv": […]}}` or `{"url": {"url": "https://…"}}`.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ServerSpec {
    /// A process that speaks MCP on standard input and output; one per session.
    Command {
        /// Program and arguments, executed without a shell.
        argv: Vec<String>,
        /// Variables beyond [`INHERITED`].
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        env: BTreeMap<String, Secret>,
        /// Working directory, absolute; the node's own without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cwd: Option<PathBuf>,
    },
    /// A server that speaks streamable HTTP.
    Url {
        /// `https://…`, or `http://…` to this host.
        url: String,
        /// Headers sent with every request, credentials among them.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        headers: BTreeMap<String, Secret>,
        /// Permits `http://` to another host: everything, credentials included, is then
        /// readable and changeable by the network.
        #[serde(default, skip_serializing_if = "core::ops::Not::not")]
        allow_plaintext: bool,
    },
}

/// Why a [`ServerSpec`] is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// No program to run.
    #[error(
        "the command is empty\nhint: give the program and its arguments, e.g. `npx -y some-server`"
    )]
    EmptyCommand,
    /// Too many arguments, variables or headers.
    #[error("{what}: at most {max}, this has {found}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        max: usize,
        /// What was found.
        found: usize,
    },
    /// One value too long.
    #[error("{what} is longer than {MAX_VALUE_BYTES} bytes")]
    TooLong {
        /// Which.
        what: &'static str,
    },
    /// A NUL byte cannot be passed to a process.
    #[error("{what} contains a NUL byte")]
    Nul {
        /// Which.
        what: &'static str,
    },
    /// Not a name of an environment variable.
    #[error("`{name}` is not a name for an environment variable")]
    BadVariable {
        /// The name, without its value.
        name: String,
    },
    /// The working directory is relative.
    #[error("the working directory `{path}` is not absolute")]
    RelativeDirectory {
        /// As given.
        path: String,
    },
    /// Not a URL, or not one of http or https.
    #[error("`{url}` is not an http or https URL with a host")]
    BadUrl {
        /// As given, without user name, password and query.
        url: String,
    },
    /// A user name or password in the URL would show up in logs and lists.
    #[error("the URL carries a user name or password\nhint: use an `Authorization` header")]
    CredentialsInUrl,
    /// Plain http to another host.
    #[error(
        "`{url}` would send everything in the clear over the network\nhint: use https; plain http goes no further than this host"
    )]
    Plaintext {
        /// As given.
        url: String,
    },
    /// Not a header name or value.
    #[error("`{name}` is not a usable header")]
    BadHeader {
        /// The name, without its value.
        name: String,
    },
    /// A header the node sets itself.
    #[error("the header `{name}` is set by the node itself")]
    ReservedHeader {
        /// The name.
        name: String,
    },
}

/// The summary only: arguments and queries carry secrets too.
impl core::fmt::Debug for ServerSpec {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "ServerSpec({})", self.summary())
    }
}

impl ServerSpec {
    /// Checks everything that can be checked without running or connecting.
    ///
    /// # Errors
    /// The first thing wrong, by name.
    pub fn validate(&self) -> Result<(), SpecError> {
        match self {
            Self::Command { argv, env, cwd } => validate_command(argv, env, cwd.as_ref()),
            Self::Url {
                url,
                headers,
                allow_plaintext,
            } => {
                validate_url(url, *allow_plaintext)?;
                validate_headers(headers)
            }
        }
    }

    /// One line for lists: the program and its number of arguments, or the URL without its
    /// query. Arguments may be secrets, so they are not shown.
    #[must_use]
    pub fn summary(&self) -> String {
        match self {
            Self::Command { argv, .. } => {
                let program = argv.first().map_or("", String::as_str);
                match argv.len().saturating_sub(1) {
                    0 => printable(program),
                    1 => format!("{} (1 argument)", printable(program)),
                    n => format!("{} ({n} arguments)", printable(program)),
                }
            }
            Self::Url { url, .. } => shown_url(url),
        }
    }
}

fn validate_command(
    argv: &[String],
    env: &BTreeMap<String, Secret>,
    cwd: Option<&PathBuf>,
) -> Result<(), SpecError> {
    if argv.first().is_none_or(String::is_empty) {
        return Err(SpecError::EmptyCommand);
    }
    at_most("arguments", MAX_ARGUMENTS, argv.len())?;
    at_most("environment variables", MAX_PAIRS, env.len())?;
    for argument in argv {
        passable("an argument", argument)?;
    }
    for (name, value) in env {
        let mut bytes = name.bytes();
        let first = bytes
            .next()
            .is_some_and(|b| b == b'_' || b.is_ascii_alphabetic());
        let valid = first && bytes.all(|b| b == b'_' || b.is_ascii_alphanumeric());
        if !valid || name.len() > MAX_VALUE_BYTES {
            return Err(SpecError::BadVariable {
                name: printable(name),
            });
        }
        passable("an environment variable", value.expose())?;
    }
    match cwd {
        Some(path) if !path.is_absolute() => Err(SpecError::RelativeDirectory {
            path: printable(&path.to_string_lossy()),
        }),
        Some(path) => passable("the working directory", &path.to_string_lossy()),
        None => Ok(()),
    }
}

fn validate_url(text: &str, allow_plaintext: bool) -> Result<(), SpecError> {
    if text.len() > MAX_VALUE_BYTES {
        return Err(SpecError::TooLong { what: "the URL" });
    }
    let bad = || SpecError::BadUrl {
        url: shown_url(text),
    };
    let url = reqwest::Url::parse(text).map_err(|_| bad())?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(SpecError::CredentialsInUrl);
    }
    let host = url
        .host_str()
        .filter(|host| !host.is_empty())
        .ok_or_else(bad)?;
    match url.scheme() {
        "https" => Ok(()),
        "http" if allow_plaintext || is_loopback(host) => Ok(()),
        "http" => Err(SpecError::Plaintext {
            url: shown_url(text),
        }),
        _ => Err(bad()),
    }
}

fn validate_headers(headers: &BTreeMap<String, Secret>) -> Result<(), SpecError> {
    at_most("headers", MAX_PAIRS, headers.len())?;
    for (name, value) in headers {
        let shown = || printable(name);
        let parsed = reqwest::header::HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| SpecError::BadHeader { name: shown() })?;
        if RESERVED_HEADERS.contains(&parsed.as_str()) {
            return Err(SpecError::ReservedHeader { name: shown() });
        }
        if value.expose().len() > MAX_VALUE_BYTES
            || reqwest::header::HeaderValue::from_str(value.expose()).is_err()
        {
            return Err(SpecError::BadHeader { name: shown() });
        }
    }
    Ok(())
}

/// `localhost` is resolved by the host's own configuration; RFC 6761 §6.3 makes it loopback.
fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || bare
            .parse::<core::net::IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback())
}

fn at_most(what: &'static str, max: usize, found: usize) -> Result<(), SpecError> {
    if found > max {
        return Err(SpecError::TooMany { what, max, found });
    }
    Ok(())
}

fn passable(what: &'static str, value: &str) -> Result<(), SpecError> {
    if value.len() > MAX_VALUE_BYTES {
        return Err(SpecError::TooLong { what });
    }
    if value.contains('\0') {
        return Err(SpecError::Nul { what });
    }
    Ok(())
}

/// Scheme, host, port and path: queries and user information often carry keys.
fn shown_url(text: &str) -> String {
    match reqwest::Url::parse(text) {
        Ok(mut url) => {
            url.set_query(None);
            url.set_fragment(None);
            if url.set_username("").is_err() || url.set_password(None).is_err() {
                return url.scheme().to_owned();
            }
            printable(url.as_str())
        }
        Err(_) => printable(text.split(['?', '@']).next().unwrap_or_default()),
    }
}

/// Fit for a terminal and a line: no control characters, at most 200 characters.
pub(super) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(argv: &[&str]) -> ServerSpec {
        ServerSpec::Command {
            argv: argv.iter().map(|&a| a.to_owned()).collect(),
            env: BTreeMap::new(),
            cwd: None,
        }
    }

    fn url(url: &str) -> ServerSpec {
        ServerSpec::Url {
            url: url.to_owned(),
            headers: BTreeMap::new(),
            allow_plaintext: false,
        }
    }

    #[test]
    fn commands_are_checked() {
        assert_eq!(command(&["npx", "-y", "x"]).validate(), Ok(()));
        assert_eq!(command(&[]).validate(), Err(SpecError::EmptyCommand));
        assert_eq!(command(&[""]).validate(), Err(SpecError::EmptyCommand));
        assert!(matches!(
            command(&["a", "b\0c"]).validate(),
            Err(SpecError::Nul { .. })
        ));
        assert!(matches!(
            command(&["a"; MAX_ARGUMENTS + 1]).validate(),
            Err(SpecError::TooMany { .. })
        ));
        let long = "a".repeat(MAX_VALUE_BYTES + 1);
        assert!(matches!(
            command(&[&long]).validate(),
            Err(SpecError::TooLong { .. })
        ));
    }

    #[test]
    fn variables_and_directories_are_checked() {
        for (name, good) in [("A_1", true), ("1A", false), ("A=B", false), ("", false)] {
            let spec = ServerSpec::Command {
                argv: vec!["a".into()],
                env: BTreeMap::from([(name.to_owned(), Secret::from("x"))]),
                cwd: None,
            };
            assert_eq!(spec.validate().is_ok(), good, "{name}");
        }
        let spec = ServerSpec::Command {
            argv: vec!["a".into()],
            env: BTreeMap::new(),
            cwd: Some("here".into()),
        };
        assert!(matches!(
            spec.validate(),
            Err(SpecError::RelativeDirectory { .. })
        ));
    }

    #[test]
    fn plain_http_stays_on_this_host() {
        for good in [
            "https://example.com/mcp",
            "http://127.0.0.1:3000/mcp",
            "http://localhost/mcp",
            "http://[::1]:1/",
        ] {
            assert_eq!(url(good).validate(), Ok(()), "{good}");
        }
        for bad in [
            "http://example.com/",
            "http://127.0.0.1.example.com/",
            "http://10.0.0.1/",
        ] {
            assert!(
                matches!(url(bad).validate(), Err(SpecError::Plaintext { .. })),
                "{bad}"
            );
        }
        for bad in ["ftp://a/", "file:///etc/passwd", "nonsense", "https://"] {
            assert!(
                matches!(url(bad).validate(), Err(SpecError::BadUrl { .. })),
                "{bad}"
            );
        }
        assert_eq!(
            url("https://user:pw@example.com/").validate(),
            Err(SpecError::CredentialsInUrl)
        );
        let open = ServerSpec::Url {
            url: "http://10.0.0.1/".into(),
            headers: BTreeMap::new(),
            allow_plaintext: true,
        };
        assert_eq!(open.validate(), Ok(()));
    }

    #[test]
    fn headers_are_checked() {
        let with = |name: &str, value: &str| {
            ServerSpec::Url {
                url: "https://example.com/".into(),
                headers: BTreeMap::from([(name.to_owned(), Secret::from(value))]),
                allow_plaintext: false,
            }
            .validate()
        };
        assert_eq!(with("Authorization", "Bearer x"), Ok(()));
        assert!(matches!(with("a b", "x"), Err(SpecError::BadHeader { .. })));
        assert!(matches!(
            with("a", "x\r\ny: z"),
            Err(SpecError::BadHeader { .. })
        ));
        assert!(matches!(
            with("Mcp-Session-Id", "x"),
            Err(SpecError::ReservedHeader { .. })
        ));
    }

    #[test]
    fn secrets_are_in_neither_debug_nor_summary() {
        let secret = || Secret::from("hunter2");
        let remote = ServerSpec::Url {
            url: "https://example.com/mcp?key=hunter2".into(),
            headers: BTreeMap::from([("authorization".to_owned(), secret())]),
            allow_plaintext: false,
        };
        let local = ServerSpec::Command {
            argv: vec!["server".into(), "--token".into(), "hunter2".into()],
            env: BTreeMap::from([("TOKEN".to_owned(), secret())]),
            cwd: None,
        };
        for spec in [remote, local] {
            assert!(!spec.summary().contains("hunter2"), "{}", spec.summary());
            assert!(!format!("{spec:?}").contains("hunter2"));
        }
        assert_eq!(format!("{:?}", secret()), "(secret)");
    }

    #[test]
    fn the_written_form_reads_back_and_unknown_keys_are_refused() {
        let text = r#"{"command":{"argv":["a","b"],"env":{"K":"v"}}}"#;
        let spec: ServerSpec = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&spec).unwrap(), text);
        for bad in [
            r#"{"command":{"argv":["a"],"shell":true}}"#,
            r#"{"url":{"url":"https://a/","tls":false}}"#,
        ] {
            assert!(serde_json::from_str::<ServerSpec>(bad).is_err(), "{bad}");
        }
    }
}
