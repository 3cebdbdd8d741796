//! MCP servers attached to a node.

use std::collections::BTreeMap;

use super::Secret;
use crate::name::Name;

/// Most words in the command of one server.
pub const MAX_COMMAND_WORDS: usize = 256;
/// Most environment variables or headers of one server.
pub const MAX_SETTINGS: usize = 128;
/// Longest word of a command, URL, name or value of a setting, in bytes.
pub const MAX_SETTING_BYTES: usize = 16 * 1024;

/// Asks the node to attach a server, now and after every restart.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddServer {
    /// The name it gets on this node.
    pub name: Name,
    /// How to reach it.
    pub spec: ServerSpec,
}

/// How an MCP server is reached. In JSON an object with one key: `stdio` or `http`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ServerSpec {
    /// A child process that speaks on its standard input and output.
    Stdio {
        /// Program and arguments; no shell reads them.
        command: Vec<String>,
        /// Variables added to a small fixed environment.
        #[serde(default)]
        env: BTreeMap<String, Secret>,
        /// Working directory; the node's state directory when absent.
        #[serde(default)]
        cwd: Option<String>,
    },
    /// A streamable HTTP endpoint.
    Http {
        /// `http://` or `https://`.
        url: String,
        /// Headers sent with every request.
        #[serde(default)]
        headers: BTreeMap<String, Secret>,
    },
}

/// Why a [`ServerSpec`] cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// No program.
    #[error("the command is empty")]
    EmptyCommand,
    /// Neither `http://` nor `https://` and a host.
    #[error("the URL must be `http://` or `https://` with a host")]
    NotHttp,
    /// More than a named bound allows.
    #[error("too many or too long command words, variables or headers")]
    TooMuch,
    /// A name or value no process or request can carry.
    #[error("a variable or header has an unusable name or a control character in it")]
    UnusableSetting,
}

impl ServerSpec {
    /// Checks what can be checked without trying it.
    ///
    /// # Errors
    /// The first thing wrong, by name.
    pub fn check(&self) -> Result<(), SpecError> {
        match self {
            Self::Stdio { command, env, cwd } => {
                if command.first().is_none_or(String::is_empty) {
                    return Err(SpecError::EmptyCommand);
                }
                let words = command.iter().chain(cwd);
                bounded(command.len() <= MAX_COMMAND_WORDS, words)?;
                let unusable = |text: &String| text.contains('\0');
                if command.iter().chain(cwd).any(unusable) {
                    return Err(SpecError::UnusableSetting);
                }
                settings(env, |name| !name.contains('='), |value| value != '\0')
            }
            Self::Http { url, headers } => {
                bounded(true, core::iter::once(url))?;
                let rest = url
                    .strip_prefix("http://")
                    .or_else(|| url.strip_prefix("https://"));
                let plain = |c: char| c.is_ascii_graphic();
                if !rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
                    || !url.chars().all(plain)
                {
                    return Err(SpecError::NotHttp);
                }
                settings(headers, is_token, |value| {
                    value == '\t' || !value.is_control()
                })
            }
        }
    }

    /// What may be shown and stored in the clear: names of variables and headers without their
    /// values, the URL without user information and query.
    #[must_use]
    pub fn info(&self) -> ServerInfo {
        match self {
            Self::Stdio { command, env, cwd } => ServerInfo::Stdio {
                command: command.clone(),
                env: env.keys().cloned().collect(),
                cwd: cwd.clone(),
            },
            Self::Http { url, headers } => ServerInfo::Http {
                url: without_credentials(url),
                headers: headers.keys().cloned().collect(),
            },
        }
    }
}

fn bounded<'a>(few: bool, mut texts: impl Iterator<Item = &'a String>) -> Result<(), SpecError> {
    if few && texts.all(|text| text.len() <= MAX_SETTING_BYTES) {
        Ok(())
    } else {
        Err(SpecError::TooMuch)
    }
}

fn settings(
    map: &BTreeMap<String, Secret>,
    name_fits: impl Fn(&str) -> bool,
    value_fits: impl Fn(char) -> bool,
) -> Result<(), SpecError> {
    let long = |(name, value): (&String, &Secret)| {
        name.len() > MAX_SETTING_BYTES || value.expose().len() > MAX_SETTING_BYTES
    };
    if map.len() > MAX_SETTINGS || map.iter().any(long) {
        return Err(SpecError::TooMuch);
    }
    let fits = map.iter().all(|(name, value)| {
        !name.is_empty()
            && !name.contains('\0')
            && name_fits(name)
            && value.expose().chars().all(&value_fits)
    });
    if fits {
        Ok(())
    } else {
        Err(SpecError::UnusableSetting)
    }
}

/// Whether `name` is a token of RFC 9110 §5.6.2.
fn is_token(name: &str) -> bool {
    name.bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn without_credentials(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

/// How a server is reached, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerInfo {
    /// A child process.
    Stdio {
        /// Program and arguments.
        command: Vec<String>,
        /// Names of the variables set.
        env: Vec<String>,
        /// Working directory.
        cwd: Option<String>,
    },
    /// A streamable HTTP endpoint.
    Http {
        /// Without user information and query.
        url: String,
        /// Names of the headers sent.
        headers: Vec<String>,
    },
}

/// A server attached to this node.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Server {
    /// Its name here.
    pub name: Name,
    /// How it is reached.
    pub spec: ServerInfo,
    /// Whether it answers.
    pub state: ServerState,
    /// Tools it last listed.
    pub tools: u64,
    /// Tools it listed besides that nobody can call: without a name or with one too long, named
    /// twice, or more than can be announced.
    #[serde(default)]
    pub tools_left_out: u64,
    /// How often it was restarted since the daemon started.
    pub restarts: u64,
    /// The last thing that went wrong, one line.
    #[serde(default)]
    pub last_error: Option<String>,
    /// The last lines it wrote on standard error, oldest first, without control characters. Only of
    /// servers that are down.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_words: Vec<String>,
}

/// Whether a server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerState {
    /// It is being started and asked for its tools.
    Starting,
    /// It answered and is used as calls come.
    Ready,
    /// It failed and is tried again after a pause.
    BackingOff,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stdio(command: &[&str]) -> ServerSpec {
        ServerSpec::Stdio {
            command: command.iter().map(|&w| w.to_owned()).collect(),
            env: BTreeMap::new(),
            cwd: None,
        }
    }

    fn http(url: &str, header: &str, value: &str) -> ServerSpec {
        ServerSpec::Http {
            url: url.to_owned(),
            headers: BTreeMap::from([(header.to_owned(), Secret::new(value.to_owned()))]),
        }
    }

    #[test]
    fn unusable_specs_have_names() {
        assert_eq!(stdio(&[]).check(), Err(SpecError::EmptyCommand));
        assert_eq!(stdio(&[""]).check(), Err(SpecError::EmptyCommand));
        assert_eq!(
            stdio(&["a", "b\0"]).check(),
            Err(SpecError::UnusableSetting)
        );
        assert_eq!(stdio(&["a"; 257]).check(), Err(SpecError::TooMuch));
        assert_eq!(http("ftp://x", "a", "b").check(), Err(SpecError::NotHttp));
        assert_eq!(http("http:///x", "a", "b").check(), Err(SpecError::NotHttp));
        assert_eq!(
            http("http://x", "a b", "c").check(),
            Err(SpecError::UnusableSetting)
        );
        assert_eq!(
            http("http://x", "a", "c\r\nd").check(),
            Err(SpecError::UnusableSetting)
        );
        assert_eq!(http("http://x", "a", "b").check(), Ok(()));
        assert_eq!(stdio(&["server", "--flag"]).check(), Ok(()));
    }

    #[test]
    fn info_shows_no_secret() {
        let info = http("https://me:pw@host:8443/mcp?key=1#f", "authorization", "s").info();
        assert_eq!(
            serde_json::to_string(&info).unwrap(),
            r#"{"http":{"url":"https://host:8443/mcp","headers":["authorization"]}}"#
        );
    }

    #[test]
    fn unknown_fields_are_refused() {
        let text = r#"{"name":"a","spec":{"stdio":{"command":["x"],"shell":true}}}"#;
        assert!(serde_json::from_str::<AddServer>(text).is_err());
        let text = r#"{"name":"a","spec":{"stdio":{"command":["x"]}}}"#;
        assert!(serde_json::from_str::<AddServer>(text).is_ok());
    }
}
