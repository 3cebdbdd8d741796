//! A call as the tests of documents write it, so that it can be put among them.

use crate::mcp::quote;
use crate::policy::document::{TRIAL_TIME, TrialCall};
use crate::policy::facts::{CallKind, Posture};
use crate::record::Point;

/// The call as JSON; what is as it would be anyway is left out.
#[must_use]
pub fn to_json(call: &TrialCall) -> String {
    let mut members: Vec<(&str, String)> = Vec::new();
    let mut unless = |key, value: &str, usual: &str| {
        if value != usual {
            members.push((key, quote(value)));
        }
    };
    unless("agent", call.agent.as_str(), "agent");
    unless("node", call.node.as_str(), "caller");
    unless("host", call.host.as_str(), "host");
    unless("server", call.server.as_str(), "server");
    let mut some = |key, value: Option<String>| members.extend(value.map(|v| (key, v)));
    let list = |words: Vec<String>| (!words.is_empty()).then(|| format!("[{}]", words.join(", ")));
    some(
        "groups",
        list(call.groups.iter().map(|g| quote(g.as_str())).collect()),
    );
    some(
        "host_groups",
        list(call.host_groups.iter().map(|g| quote(g.as_str())).collect()),
    );
    some("site", call.site.as_ref().map(|site| quote(site.as_str())));
    some("human", call.human.as_deref().map(quote));
    some("human_vouched", call.human_vouched.map(|v| v.to_string()));
    let target = call.target.as_deref().unwrap_or(&call.method);
    let key = match call.kind {
        CallKind::Tool => "tool",
        CallKind::Resource => "resource",
        CallKind::Prompt => "prompt",
        CallKind::Method => "method",
    };
    some(key, Some(quote(target)));
    some("arguments", call.arguments.clone());
    some(
        "intents",
        list(call.intents.iter().map(|w| quote(w)).collect()),
    );
    some(
        "labels",
        list(call.labels.iter().map(|w| quote(w)).collect()),
    );
    some("address", call.address.as_deref().map(quote));
    some("posture", call.posture.as_ref().map(posture));
    let time = (call.time != TRIAL_TIME).then(|| quote(&call.time.seconds().rfc3339()));
    some("time", time);
    some("via", call.via.as_ref().map(|via| quote(&via.to_string())));
    some("pinned", (!call.pinned).then(|| "false".to_owned()));
    some("approved", call.approved.then(|| "true".to_owned()));
    let point = match call.point {
        Point::Ingress => Some("\"ingress\""),
        Point::Relay => Some("\"relay\""),
        Point::Egress | Point::Link => None,
    };
    some("at", point.map(str::to_owned));
    let members: Vec<String> = members
        .iter()
        .map(|(key, value)| format!("\"{key}\": {value}"))
        .collect();
    format!("{{{}}}", members.join(", "))
}

fn posture(posture: &Posture) -> String {
    let mut members: Vec<String> = Vec::new();
    if !posture.os.is_empty() {
        members.push(format!("\"os\": {}", quote(&posture.os)));
    }
    let (major, minor, patch) = posture.kernel;
    if posture.kernel != (0, 0, 0) {
        members.push(format!("\"kernel\": \"{major}.{minor}.{patch}\""));
    }
    let flags = [
        ("secure_boot", posture.secure_boot),
        ("disk_encryption", posture.disk_encryption),
        ("attested", posture.attested),
    ];
    let set = flags.iter().filter(|(_, set)| *set);
    members.extend(set.map(|(key, _)| format!("\"{key}\": true")));
    let spans = [("uptime_s", posture.uptime_s), ("age_s", posture.age_s)];
    let long = spans.iter().filter(|(_, span)| *span > 0);
    members.extend(long.map(|(key, span)| format!("\"{key}\": {span}")));
    if let Some(binary) = &posture.binary {
        members.push(format!(
            "\"binary\": \"{}\"",
            hex::encode(binary.as_bytes())
        ));
    }
    if !posture.hardening.is_empty() {
        let words: Vec<String> = posture.hardening.iter().map(|w| quote(w)).collect();
        members.push(format!("\"hardening\": [{}]", words.join(", ")));
    }
    format!("{{{}}}", members.join(", "))
}
