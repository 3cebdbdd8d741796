//! HTML of the page. Every value is escaped by the template; who sends it makes it inert besides.
//!
//! Pure functions of what is shown: the same for a document and for a live event.

use maud::{DOCTYPE, Markup, html};
use protocol::control::Status;
use protocol::time::{UnixMillis, UnixSeconds};

use super::feed::part;
use super::filter::{Filter, Found};
use super::refusal::Refusal;

mod basis;
mod decisions;
mod name;
mod node;
mod policy;

pub(super) use decisions::{alerts, decision, rows};
pub(super) use node::{glance, peers, state, tools};
pub(super) use policy::{policy, policy_document};

/// What htmx must not do here: styles of its own, `eval`, scripts in what it swaps in, history.
const HTMX: &str = r#"{"includeIndicatorStyles":false,"allowEval":false,"allowScriptTags":false,"historyEnabled":false,"selfRequestsOnly":true}"#;

/// The one page.
pub(super) struct Front<'a> {
    pub(super) status: &'a Status,
    pub(super) glance: Markup,
    pub(super) state: Markup,
    pub(super) peers: Markup,
    pub(super) tools: Markup,
    pub(super) alerts: Markup,
    pub(super) policy: Markup,
    pub(super) found: &'a Found,
    pub(super) filter: &'a Filter,
}

impl Front<'_> {
    /// It as a document.
    pub(super) fn document(self) -> Markup {
        let (node, mesh) = (&self.status.node.name, &self.status.mesh.name);
        let live = self.filter.is_live();
        let body = html! {
            a.skip href="#decisions" { "Skip to decisions" }
            header.top {
                h1 { (node) span.of { " in mesh " (mesh) } }
                p #live role="status" {
                    noscript { "Without JavaScript: reload to see what is new" }
                }
                button #pause type="button" hidden { "Pause" }
            }
            main hx-ext="sse" sse-connect="events" {
                div #glance sse-swap=(part::GLANCE) { (self.glance) }
                div.columns {
                    div.wide {
                        (section("peers", "Peers", part::PEERS, &self.peers))
                        section #decisions tabindex="-1" aria-labelledby="decisions-title" {
                            h2 #decisions-title { "Decisions" }
                            (decisions::form(self.filter))
                            table.decisions {
                                (decisions::head())
                                @if live {
                                    tbody sse-swap=(part::DECISIONS) { (rows(self.found.decisions.iter())) }
                                } @else {
                                    tbody { (rows(self.found.decisions.iter())) }
                                }
                            }
                            (decisions::pager(self.filter, self.found))
                        }
                    }
                    div.narrow {
                        (section("alerts", "Alerts", part::ALERTS, &self.alerts))
                        (section("node", "This node", part::STATE, &self.state))
                        (section("tools", "Tools", part::TOOLS, &self.tools))
                        (section("policy", "Policy", part::POLICY, &self.policy))
                    }
                }
            }
        };
        document(&format!("{node} in {mesh}"), true, &body)
    }
}

fn section(id: &str, title: &str, part: &str, inside: &Markup) -> Markup {
    html! {
        section id=(id) aria-labelledby={ (id) "-title" } {
            h2 id={ (id) "-title" } { (title) }
            div sse-swap=(part) { (inside) }
        }
    }
}

/// A document around a body; `live` ones update themselves.
fn document(title: &str, live: bool, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                @if live { meta name="htmx-config" content=(HTMX); }
                title { (title) " · Hedgerow" }
                link rel="icon" type="image/svg+xml" href="/assets/icon.svg";
                link rel="stylesheet" href="/assets/page.css";
                @if live {
                    script src="/assets/htmx.min.js" defer {}
                    script src="/assets/sse.min.js" defer {}
                    script src="/assets/page.js" defer {}
                }
            }
            body { (body) }
        }
    }
}

/// A page beside the one: a way back, and a part of its own.
fn aside(title: &str, inside: &Markup) -> Markup {
    let body = html! {
        header.top { h1 { (title) } }
        main {
            p { a href="../" { "Back to the node" } }
            section { (inside) }
        }
    };
    document(title, false, &body)
}

/// What a browser is shown that just signed in; it goes on by itself, or by the link.
pub(super) fn welcome(door: &str) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="refresh" content={ "0; url=/" (door) "/" };
                title { "Signed in · Hedgerow" }
                link rel="icon" type="image/svg+xml" href="/assets/icon.svg";
                link rel="stylesheet" href="/assets/page.css";
            }
            body {
                main.message {
                    h1 { "Signed in" }
                    p { a href={ "/" (door) "/" } { "Open the status page" } }
                }
            }
        }
    }
}

/// A refusal, by its name.
pub(super) fn refused(refusal: &Refusal) -> Markup {
    let title = match refusal.status().as_u16() {
        401 => "Not signed in",
        404 => "Nothing here",
        500.. => "Not now",
        _ => "Refused",
    };
    let body = html! {
        main.message {
            h1 { (title) }
            p { (sentence(&refusal.to_string())) "." }
            @if let Some(hint) = refusal.hint() { p.hint { (marked(&sentence(&hint))) "." } }
            p.reason { code { (refusal.reason()) } }
        }
    };
    document(title, false, &body)
}

/// A message as a sentence begins.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}

/// A text whose parts between backticks are code.
fn marked(text: &str) -> Markup {
    html! {
        @for (n, piece) in text.split('`').enumerate() {
            @if n % 2 == 1 { code { (piece) } } @else { (piece) }
        }
    }
}

/// An instant, for people and for programs.
fn instant(at: UnixSeconds) -> Markup {
    let text = at.calendar();
    let (date, time) = text.split_once(' ').unwrap_or((&text, ""));
    html! { time datetime={ (date) "T" (time) } { span.date { (date) } " " (time) } }
}

fn moment(at: UnixMillis) -> Markup {
    instant(at.seconds())
}

/// A duration as people say it.
fn lasting(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A number with its noun.
fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Percent-encoding of everything that is not unreserved (RFC 3986 §2.3).
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// The text that [`escaped`] made of it.
pub(super) fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            let mut decoded = [0];
            hex::decode_to_slice(digits, &mut decoded).ok()?;
            bytes.extend(decoded);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// How a list that was cut ends.
fn more(listed: usize, total: usize, what: &str) -> Markup {
    html! {
        @if total > listed { p.more { "… and " (total - listed) " more " (what) } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_a_path() {
        for name in ["read_only", "a/b%c?d#e", "Größe \u{202e}", ""] {
            assert_eq!(unescaped(&escaped(name)).as_deref(), Some(name));
        }
        for broken in ["%", "%2", "%zz", "%ff"] {
            assert_eq!(unescaped(broken), None, "{broken}");
        }
    }
}
