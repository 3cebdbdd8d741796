//! Decisions and alerts.

use maud::{Markup, html};
use protocol::control::Decision;
use serde_json::Value;

use super::name::name;
use super::{aside, basis, counted, escaped, moment};
use crate::page::filter::{Filter, Found, VERDICTS};
use crate::page::limits::{MAX_FIND_BYTES, MAX_SCANNED, SHOWN_ALERTS};
use crate::page::{Alert, Severity, Source};
use protocol::time::UnixMillis;

/// The filter, as a form that needs no script.
pub(super) fn form(filter: &Filter) -> Markup {
    html! {
        form.filter method="get" action="./" role="search" {
            label { "Verdict "
                select name="verdict" {
                    option value="" { "any" }
                    @for verdict in VERDICTS {
                        option value=(verdict) selected[filter.verdict == Some(verdict)] { (verdict) }
                    }
                }
            }
            label { "Mentions "
                input type="search" name="find" value=(filter.find) maxlength=(MAX_FIND_BYTES)
                    placeholder="agent, node, tool, reason" autocomplete="off";
            }
            button type="submit" { "Filter" }
            @if !filter.is_live() {
                span.why { "stands still" }
                a href="./" { "Newest, live" }
            }
        }
    }
}

/// Columns of the table of decisions.
const COLUMNS: usize = 7;

pub(super) fn head() -> Markup {
    html! {
        thead {
            tr {
                th scope="col" { "Time" }
                th scope="col" { "Verdict" }
                th scope="col" { "Reason" }
                th scope="col" { "Agent" }
                th scope="col" { "Signed by" }
                th scope="col" { "What" }
                th scope="col" { "Where" }
            }
        }
    }
}

/// The rows of a page of decisions.
pub(in crate::page) fn rows<'a>(decisions: impl Iterator<Item = &'a Decision>) -> Markup {
    let mut decisions = decisions.peekable();
    html! {
        @if decisions.peek().is_none() {
            tr { td.none colspan=(COLUMNS) { "No decisions." } }
        }
        @for decision in decisions { (row(decision)) }
    }
}

fn row(decision: &Decision) -> Markup {
    html! {
        tr class=(decision.verdict) {
            td data-label="Time" {
                a id={ "d" (decision.seq) } href={ "decisions/" (decision.seq) } {
                    (moment(UnixMillis(decision.time_ms)))
                }
            }
            td data-label="Verdict" { (verdict(&decision.verdict)) }
            td data-label="Reason" {
                @match &decision.reason { Some(reason) => { code { (name(reason)) } } None => { "–" } }
                @if let Some(times) = decision.stands_for {
                    " " span.why { (counted(times, "time", "times")) }
                }
            }
            td data-label="Agent" { (name(or_dash(decision.agent.as_deref()))) }
            td data-label="Signed by" { (name(or_dash(decision.issuer.as_deref()))) }
            td data-label="What" {
                (what(decision.server.as_deref(), decision.name.as_deref(), decision.method.as_deref()))
            }
            td data-label="Where" { (decision.role) }
        }
        (basis::under(decision, COLUMNS))
    }
}

/// A verdict by its name, and by its colour where it is a known one.
fn verdict(verdict: &str) -> Markup {
    let class = match verdict {
        "allow" => "good",
        "hold" => "busy",
        "deny" => "bad",
        "sever" => "severe",
        _ => "idle",
    };
    html! { span class={ "badge " (class) } { (verdict) } }
}

fn or_dash(text: Option<&str>) -> &str {
    text.unwrap_or("–")
}

/// Who caused an alert. The node is where the message came from.
fn who(agent: Option<&str>, node: Option<&str>) -> Markup {
    html! {
        @match (agent, node) {
            (Some(agent), Some(node)) => { (name(agent)) span.of { " on " } (name(node)) }
            (Some(one), None) | (None, Some(one)) => { (name(one)) }
            (None, None) => { "–" }
        }
    }
}

fn what(server: Option<&str>, target: Option<&str>, method: Option<&str>) -> Markup {
    html! {
        @match (server, target, method) {
            (None, None, None) => { "–" }
            (server, target, method) => {
                @if let Some(server) = server { (name(server)) " " }
                @if let Some(target) = target { code { (name(target)) } " " }
                @if let Some(method) = method { span.of { (name(method)) } }
            }
        }
    }
}

/// The ways to newer and older decisions.
pub(super) fn pager(filter: &Filter, found: &Found) -> Markup {
    html! {
        nav.pager aria-label="Pages of decisions" {
            @if filter.before.is_some() {
                a href={ "./?" (query(filter, None)) "#decisions" } { "Newest" }
            }
            @if let Some(before) = found.older {
                a href={ "./?" (query(filter, Some(before))) "#decisions" } rel="next" { "Older" }
            }
            @if filter.selects() {
                span.why { "looked through at most " (MAX_SCANNED) " decisions" }
            }
        }
    }
}

/// The query of the same filter from another place on.
fn query(filter: &Filter, before: Option<u64>) -> String {
    let pairs = [
        ("verdict", filter.verdict.unwrap_or_default().to_owned()),
        ("find", escaped(&filter.find)),
        ("before", before.map(|b| b.to_string()).unwrap_or_default()),
    ];
    let set = pairs.iter().filter(|(_, value)| !value.is_empty());
    let set: Vec<String> = set.map(|(key, value)| format!("{key}={value}")).collect();
    set.join("&")
}

/// The newest alerts.
pub(in crate::page) fn alerts(alerts: &[Alert], source: &dyn Source) -> Markup {
    html! {
        @if alerts.is_empty() {
            p.none { "No check and no policy raised an alert, and nobody was cut off." }
        } @else {
            ul.alerts {
                @for alert in alerts.iter().take(SHOWN_ALERTS) { (item(alert, source)) }
            }
        }
    }
}

fn item(alert: &Alert, source: &dyn Source) -> Markup {
    let (class, label) = match alert.severity {
        Severity::Severe => ("severe", "cut off"),
        Severity::Warning => ("bad", "refused"),
        Severity::Notice => ("busy", "alert"),
    };
    let node = alert.node.map(|node| source.name_of(&node));
    let agent = alert.agent.as_ref().map(|name| name.as_str());
    let server = alert.server.as_ref().map(|name| name.as_str());
    html! {
        li {
            p {
                span class={ "badge " (class) } { (label) } " "
                code { (alert.reason) }
                @if alert.times > 1 { " " span.of { (alert.times) " times" } }
            }
            p { (who(agent, node.as_deref())) " · " (what(server, alert.target.as_deref(), None)) }
            @if let Some(policy) = &alert.policy { p { "policy " code { (name(policy)) } } }
            p.why {
                @match alert.decision {
                    Some(seq) => { a href={ "decisions/" (seq) } { (moment(alert.time)) } }
                    None => { (moment(alert.time)) }
                }
            }
        }
    }
}

/// Everything that is listed of one decision.
pub(in crate::page) fn decision(decision: &Decision) -> Markup {
    let fields = serde_json::to_value(decision).unwrap_or_default();
    let inside = html! {
        dl.facts {
            dt { "verdict" } dd { (verdict(&decision.verdict)) }
            dt { "time" } dd { (moment(UnixMillis(decision.time_ms))) }
            @for (key, value) in fields.as_object().into_iter().flatten() {
                @if !value.is_null() && !APART.contains(&key.as_str()) {
                    dt { (key) } dd { (field(value)) }
                }
            }
        }
        @if let Some(rests_on) = &decision.basis {
            h2 { "Decided on" }
            dl.facts { (basis::facts(decision, rests_on, "../")) }
        }
    };
    aside(&format!("Decision {}", decision.seq), &inside)
}

/// The fields of a decision that its page shows in a form of their own.
const APART: [&str; 3] = ["verdict", "time_ms", "basis"];

fn field(value: &Value) -> Markup {
    html! {
        @match value {
            Value::String(text) => { (text) }
            other => { (other.to_string()) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_keeps_what_was_looked_for() {
        let filter = Filter {
            verdict: Some("deny"),
            find: "a&b=ü".to_owned(),
            before: None,
        };
        assert_eq!(
            query(&filter, Some(7)),
            "verdict=deny&find=a%26b%3D%C3%BC&before=7"
        );
        assert_eq!(query(&Filter::default(), None), "");
    }
}
