//! What the demo found: the object of `--format json`, the checks it must pass, and what is shown
//! at the end.

use std::path::PathBuf;
use std::time::Duration;

use protocol::control::{Hop, LinkPath, Peer, Status};
use protocol::id::{EnvelopeId, NodeId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::host::Ended;
use super::rules::Ruled;
use super::{AGENT_HOST, RELAY_HOST, TOOL_HOST};
use crate::commands::agent::client_config;
use crate::commands::call::{Signature, content_texts, signed_by};
use crate::exit::{Exit, Failed};
use crate::output::{Format, Output, counted};

/// The only key exchange there is.
const GROUP: &str = "X25519MLKEM768";
/// Both signatures of the suite, sorted.
const ALGORITHMS: [&str; 2] = ["Ed25519", "ML-DSA-65"];
/// Why a call is refused that the policy forbids: by its intent or by its name, whichever is said.
const BLOCKED: [&str; 2] = ["intent_restricted", "tool_not_allowed"];
/// Why a call is cut whose agent is revoked.
const REVOKED: &str = "agent_revoked";
/// Nodes of the demo.
const NODES: usize = 3;
/// Exit code of a refusal.
const DENIED: i32 = 2;

/// A node of the demo.
#[derive(Debug, Serialize)]
pub(super) struct NodeReport {
    pub(super) id: NodeId,
    pub(super) name: String,
    pub(super) mesh: String,
    pub(super) listen: String,
    pub(super) gateway_url: Option<String>,
}

impl NodeReport {
    pub(super) fn of(status: Status) -> Self {
        Self {
            id: status.node.id,
            name: status.node.name.to_string(),
            mesh: status.mesh.id.to_string(),
            listen: status.listen,
            gateway_url: status.gateway_url,
        }
    }
}

/// A link, as the node that dialed saw it.
#[derive(Debug, Serialize)]
pub(super) struct LinkReport {
    from: String,
    to: String,
    group: Option<String>,
    signature_scheme: Option<String>,
    path: Option<LinkPath>,
    handshake_ms: Option<f64>,
    hello_ms: Option<f64>,
    rtts: Option<u32>,
    rtt_ms: Option<f64>,
}

impl LinkReport {
    pub(super) fn of(from: &str, to: &str, peer: &Peer) -> Self {
        Self {
            from: from.to_owned(),
            to: to.to_owned(),
            group: peer.group.clone(),
            signature_scheme: peer.signature_scheme.clone(),
            path: peer.path,
            handshake_ms: peer.handshake_ms,
            hello_ms: peer.hello_ms,
            rtts: peer.rtts,
            rtt_ms: peer.rtt_ms,
        }
    }

    fn is_post_quantum(&self) -> bool {
        self.group.as_deref() == Some(GROUP)
    }

    pub(super) fn lines(&self) -> Vec<(bool, String)> {
        let unknown = || "unknown".to_owned();
        let shown = |text: &Option<String>| text.clone().unwrap_or_else(unknown);
        let ms = |ms: Option<f64>| ms.map_or_else(unknown, |ms| format!("{ms:.1} ms"));
        let rtts = self.rtts.map_or_else(unknown, |rtts| rtts.to_string());
        vec![
            (
                self.is_post_quantum(),
                format!("key exchange {}", shown(&self.group)),
            ),
            (
                self.signature_scheme.is_some(),
                format!(
                    "both identities signed with {}",
                    shown(&self.signature_scheme)
                ),
            ),
            (
                self.handshake_ms.is_some(),
                format!(
                    "{} → {}: handshake {} in {rtts} round trip(s), admission {}",
                    self.from,
                    self.to,
                    ms(self.handshake_ms),
                    ms(self.hello_ms),
                ),
            ),
        ]
    }
}

/// A call, as `hedgerow call --format json` printed it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct CallReport {
    tool: String,
    ok: bool,
    ms: f64,
    request_envelope_id: Option<EnvelopeId>,
    response_envelope_id: Option<EnvelopeId>,
    signers: Vec<Signature>,
    #[serde(default)]
    hops: Vec<Hop>,
    result: Option<Box<RawValue>>,
    #[serde(default, skip_serializing)]
    pub(super) saved: Vec<PathBuf>,
}

impl CallReport {
    /// With the tool's bare name.
    pub(super) fn named(mut self, tool: &str) -> Self {
        tool.clone_into(&mut self.tool);
        self
    }

    /// Whether the agent's host signed the request and the tool host the response, each with
    /// both algorithms.
    fn is_signed_by_both(&self) -> bool {
        let signed = |node: &str, envelope: Option<EnvelopeId>| {
            let on = |s: &&Signature| Some(s.envelope) == envelope && s.node.as_str() == node;
            let mut algorithms: Vec<&str> = self
                .signers
                .iter()
                .filter(on)
                .map(|signature| signature.algorithm.as_str())
                .collect();
            algorithms.sort_unstable();
            algorithms == ALGORITHMS
        };
        signed(AGENT_HOST, self.request_envelope_id) && signed(TOOL_HOST, self.response_envelope_id)
    }

    /// Whether the answer came over the relay, which says so in a signed record of its own.
    fn is_relayed(&self) -> bool {
        matches!(self.hops.as_slice(), [hop] if hop.node == RELAY_HOST && hop.from == TOOL_HOST)
    }

    fn chain(&self) -> String {
        let Some(hop) = self.hops.first() else {
            return "no relay signed a hop record".to_owned();
        };
        let Hop {
            node,
            verdict,
            bundle_version,
            from,
            received_ms,
            sent_ms,
            ..
        } = hop;
        let ms = sent_ms.saturating_sub(*received_ms);
        format!(
            "hop record signed by {node}: from {from}, {verdict} under bundle {bundle_version}, \
             {ms} ms"
        )
    }

    fn texts(&self) -> Vec<String> {
        self.result
            .as_deref()
            .map(content_texts)
            .unwrap_or_default()
    }

    pub(super) fn lines(&self, arguments: &[&str]) -> Vec<(bool, String)> {
        let tool = self.tool.rsplit('/').next().unwrap_or_default();
        vec![
            (
                self.ok,
                format!("{tool} {}: {}", arguments.join(" "), self.texts().join(" ")),
            ),
            (
                self.is_signed_by_both(),
                format!("signed by {}, {:.1} ms", signed_by(&self.signers), self.ms),
            ),
            (self.is_relayed(), self.chain()),
        ]
    }
}

/// A policy put in force.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AppliedReport {
    version: u64,
    in_force: bool,
    spread: Option<SpreadReport>,
    #[serde(default)]
    policy: String,
}

/// How far a policy has spread.
#[derive(Debug, Serialize, Deserialize)]
struct SpreadReport {
    have: usize,
    linked: usize,
}

impl AppliedReport {
    /// With the text of the policy.
    pub(super) fn of_text(mut self, text: &str) -> Self {
        text.clone_into(&mut self.policy);
        self
    }

    /// Whether every node has it.
    pub(super) fn holds(&self) -> bool {
        let everywhere = |spread: &SpreadReport| spread.have == NODES && spread.linked == NODES;
        self.in_force && self.spread.as_ref().is_some_and(everywhere)
    }

    pub(super) fn line(&self) -> String {
        let name = serde_json::from_str::<serde_json::Value>(&self.policy).unwrap_or_default();
        let name = name.get("policy_name").and_then(|name| name.as_str());
        let (have, linked) = self.spread.as_ref().map_or((0, 0), |s| (s.have, s.linked));
        format!(
            "policy {} signed by the admin: bundle {} in force on {have} of {linked} nodes",
            name.unwrap_or_default(),
            self.version
        )
    }
}

/// What a call that did not go through said: the name of the reason, if it was denied, and the
/// words.
fn refusal(ended: &Ended) -> (String, String) {
    match ended.failure() {
        (Some(reason), said) if ended.code == Some(DENIED) => (reason, said),
        _ => (String::new(), ended.error()),
    }
}

/// A call that policy blocked.
#[derive(Debug, Serialize)]
pub(super) struct BlockedReport {
    tool: String,
    reason: String,
    said: String,
}

impl BlockedReport {
    pub(super) fn of(call: &[&str], ended: &Ended) -> Self {
        let (reason, said) = refusal(ended);
        Self {
            tool: (*call.first().unwrap_or(&"")).to_owned(),
            reason,
            said,
        }
    }

    /// Whether the policy blocked it.
    pub(super) fn holds(&self) -> bool {
        BLOCKED.contains(&self.reason.as_str())
    }

    pub(super) fn line(&self) -> String {
        let Self { tool, reason, said } = self;
        if self.holds() {
            format!("{tool} is blocked ({reason}): {said}")
        } else {
            format!("{tool} was NOT blocked by the policy: {reason} {said}")
        }
    }
}

/// A call that was held and then approved.
#[derive(Debug, Serialize)]
pub(super) struct HeldReport {
    tool: String,
    approval: String,
    approved_at: &'static str,
}

impl HeldReport {
    pub(super) fn of(tool: &str, approval: String) -> Self {
        Self {
            tool: tool.to_owned(),
            approval,
            approved_at: TOOL_HOST,
        }
    }
}

/// A call under way when its agent was revoked.
#[derive(Debug, Serialize)]
pub(super) struct CutReport {
    reason: String,
    said: String,
    /// From typing the command to the end of the call, signing and its key's passphrase included.
    ms: f64,
}

impl CutReport {
    pub(super) fn of(ended: &Ended, took: Duration) -> Self {
        let (reason, said) = refusal(ended);
        Self {
            reason,
            said,
            ms: took.as_secs_f64() * 1000.0,
        }
    }

    /// Whether the revocation ended it.
    pub(super) fn holds(&self) -> bool {
        self.reason == REVOKED
    }

    pub(super) fn line(&self) -> String {
        let Self { reason, said, ms } = self;
        if self.holds() {
            format!("the call ended {ms:.0} ms after `hedgerow revoke agent` began: {said}")
        } else {
            format!("the revocation did NOT end the call: {reason} {said}")
        }
    }
}

/// A forged copy of an envelope and what became of it.
#[derive(Debug, Serialize)]
pub(super) struct TamperReport {
    offset: usize,
    pub(super) refused: bool,
    said: String,
}

impl TamperReport {
    pub(super) fn of(offset: usize, ended: &Ended) -> Self {
        Self {
            offset,
            refused: ended.code == Some(DENIED),
            said: ended.error(),
        }
    }

    pub(super) fn line(&self) -> String {
        if self.refused {
            format!(
                "with one bit of byte {} changed it is refused: {}",
                self.offset, self.said
            )
        } else {
            format!(
                "with one bit of byte {} changed it was NOT refused",
                self.offset
            )
        }
    }
}

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    ok: bool,
    nodes: Vec<NodeReport>,
    links: Vec<LinkReport>,
    policies: Vec<AppliedReport>,
    calls: Vec<CallReport>,
    blocked: BlockedReport,
    held: HeldReport,
    cut: CutReport,
    verified: bool,
    tamper_refused: bool,
    tampered: Vec<TamperReport>,
    elapsed_s: f64,
}

impl Report {
    /// The report of a demo that came to its end: the envelope was verified before.
    pub(super) fn new(
        nodes: Vec<NodeReport>,
        links: Vec<LinkReport>,
        ruled: Ruled,
        tampered: Vec<TamperReport>,
        elapsed: Duration,
    ) -> Self {
        let mut report = Self {
            ok: false,
            nodes,
            links,
            policies: ruled.applied,
            calls: ruled.calls,
            blocked: ruled.blocked,
            held: ruled.held,
            cut: ruled.cut,
            verified: true,
            tamper_refused: !tampered.is_empty() && tampered.iter().all(|t| t.refused),
            tampered,
            elapsed_s: elapsed.as_secs_f64(),
        };
        report.ok = report.failures().is_empty();
        report
    }

    /// What did not hold.
    pub(super) fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        let mut expect = |holds: bool, otherwise: &str| {
            if !holds {
                failures.push(otherwise.to_owned());
            }
        };
        let over_relay =
            self.links.len() == NODES - 1 && self.links.iter().all(|link| link.to == RELAY_HOST);
        expect(over_relay, "each end must have one link, with the relay");
        let applied = self.policies.iter().all(AppliedReport::holds);
        expect(applied, "a policy is not in force on every node");
        expect(self.blocked.holds(), "the policy did not block a call");
        expect(self.cut.holds(), "the revocation did not cut the call");
        let post_quantum = self.links.iter().all(LinkReport::is_post_quantum);
        expect(post_quantum, "a link is not post-quantum");
        for call in &self.calls {
            expect(call.ok, &format!("the call of `{}` failed", call.tool));
            let unsigned = format!("the call of `{}` is not signed by both nodes", call.tool);
            expect(call.is_signed_by_both(), &unsigned);
            let direct = format!(
                "the answer to `{}` has no hop record of the relay",
                call.tool
            );
            expect(call.is_relayed(), &direct);
        }
        let first = self.calls.first().map(CallReport::texts);
        let last = self.calls.last().map(CallReport::texts);
        expect(first != last, "the price did not change");
        expect(self.tamper_refused, "a forged envelope was not refused");
        failures
    }

    /// Prints the object, or how to connect a client.
    pub(super) fn conclude(
        &self,
        output: Output,
        failures: &[String],
        gateway: Option<&str>,
        token: &str,
        exits: bool,
    ) -> Result<(), Failed> {
        if output.format == Format::Json {
            return self.print(output, gateway, token, exits);
        }
        output.show(|text| {
            text.line("");
            let elapsed = format!("in {:.1} s", self.elapsed_s);
            if failures.is_empty() {
                text.check(true, format!("all checks held, {elapsed}"));
            } else {
                text.check(
                    false,
                    format!(
                        "{} did not hold, {elapsed}",
                        counted(failures.len(), "check", "checks")
                    ),
                );
            }
        })?;
        match gateway {
            Some(url) if !exits && failures.is_empty() => invite(output, url, token),
            _ => Ok(()),
        }
    }

    fn print(
        &self,
        output: Output,
        gateway: Option<&str>,
        token: &str,
        exits: bool,
    ) -> Result<(), Failed> {
        /// The report, and how to connect while the demo stays up.
        #[derive(Serialize)]
        struct Printed<'a> {
            #[serde(flatten)]
            report: serde_json::Value,
            #[serde(skip_serializing_if = "Option::is_none")]
            mcp: Option<Endpoint<'a>>,
        }
        #[derive(Serialize)]
        struct Endpoint<'a> {
            url: &'a str,
            token: &'a str,
        }
        let report = serde_json::to_value(self).map_err(|error| {
            Failed::new(
                Exit::Failure,
                format!("the report cannot be printed: {error}"),
            )
        })?;
        let mcp = gateway
            .filter(|_| !exits)
            .map(|url| Endpoint { url, token });
        output.json_line(&Printed { report, mcp })
    }
}

/// How to connect an MCP client to the agent's host.
fn invite(output: Output, url: &str, token: &str) -> Result<(), Failed> {
    output.show(|text| {
        text.line("");
        text.heading("Still up. Connect an MCP client to the agent's host:");
        text.field("endpoint", url);
        text.field("token", token);
        text.line("");
        text.line("  in its configuration:");
        text.block(&client_config(url, token));
        text.line("");
        text.line("  or with one line:");
        text.line(format!(
            "    claude mcp add --transport http hedgerow {url} --header 'Authorization: Bearer {token}'"
        ));
        text.line(format!(
            "    npx @modelcontextprotocol/inspector --cli {url} --transport http \
             --header 'Authorization: Bearer {token}' --method tools/list"
        ));
        text.line("");
        text.line("Ctrl-c ends it and removes everything.");
    })
}
