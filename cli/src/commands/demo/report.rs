//! What the demo found: the object of `--format json`, the checks it must pass, and what is shown
//! at the end.

use std::path::PathBuf;
use std::time::Duration;

use protocol::control::{LinkPath, Peer, Status};
use protocol::id::{EnvelopeId, NodeId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::host::Ended;
use super::{AGENT_HOST, TOOL_HOST};
use crate::commands::agent::client_config;
use crate::commands::call::{Signature, content_texts, signed_by};
use crate::exit::{Exit, Failed};
use crate::output::{Format, Output};

/// The only key exchange there is.
const GROUP: &str = "X25519MLKEM768";
/// Both signatures of the suite, sorted.
const ALGORITHMS: [&str; 2] = ["Ed25519", "ML-DSA-65"];
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
        ]
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
            said: ended.error().to_owned(),
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
    calls: Vec<CallReport>,
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
        calls: Vec<CallReport>,
        tampered: Vec<TamperReport>,
        elapsed: Duration,
    ) -> Self {
        let mut report = Self {
            ok: false,
            nodes,
            links,
            calls,
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
        expect(!self.links.is_empty(), "there is no link between the nodes");
        let post_quantum = self.links.iter().all(LinkReport::is_post_quantum);
        expect(post_quantum, "a link is not post-quantum");
        for call in &self.calls {
            expect(call.ok, &format!("the call of `{}` failed", call.tool));
            let unsigned = format!("the call of `{}` is not signed by both nodes", call.tool);
            expect(call.is_signed_by_both(), &unsigned);
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
                    format!("{} checks did not hold, {elapsed}", failures.len()),
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
