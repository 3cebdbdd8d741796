//! `hedgerow call`: one tool call, signed and carried by the mesh.

use std::path::{Path, PathBuf};

use protocol::control::{
    CallReply, CallRequest, EnvelopeSignature, EnvelopeSigner, Hop, MAX_CALL_TIMEOUT_MS,
};
use protocol::id::{EnvelopeId, Kid, NodeId};
use protocol::name::Name;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Context, write_new};
use crate::exit::{Exit, Failed, say};
use crate::inert::inert;
use crate::output::Text;
use crate::typed::{ToolAddress, arguments};

/// JSON-RPC codes with which the mesh itself denies or refuses (`node/src/session.rs`).
const DENY_CODES: [i64; 2] = [-32050, -32052];

/// The reason of a call that was given up after its `--timeout`.
const TIMED_OUT: &str = "call_timeout";

/// What to do about a call that was given up while it waited for approval.
fn held_at(node: &Name) -> String {
    format!(
        "it waits for approval at node `{node}`: `hedgerow approvals` there; made again within five \
         minutes of its approval it passes"
    )
}

/// Call a tool of any server of the mesh.
///
/// The result goes to stdout; progress and who signed go to stderr. The exit code is 1 when the
/// tool failed and 2 when the call was denied.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Arguments are `key=value`: the value is JSON where it parses as JSON, a string else. `key:=json`
insists on JSON. Quote what must be a string although it parses: `sku='\"1234\"'`.

Examples:
  hedgerow call tool-host/shop/get_product_info sku=HR-1001
  hedgerow call tool-host/shop/update_price sku=HR-1001 price=12.50
  hedgerow call tool-host/files/read_multiple_files paths:='[\"a.txt\", \"b.txt\"]'
  hedgerow call tool-host/shop/check_inventory --json '{\"sku\": \"HR-1001\"}' --save .")]
pub(crate) struct Call {
    /// The tool
    #[arg(value_name = "NODE/SERVER/TOOL")]
    tool: ToolAddress,
    /// Its arguments
    #[arg(value_name = "KEY=VALUE")]
    arguments: Vec<String>,
    /// The arguments as one JSON object; KEY=VALUE adds to it
    #[arg(long, value_name = "OBJECT")]
    json: Option<String>,
    /// Save both envelopes in this directory, to be verified with `hedgerow envelope verify`
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    /// Call as this agent instead of as the local user
    #[arg(long, value_name = "NAME")]
    agent: Option<Name>,
    /// Give up after this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60,
          value_parser = clap::value_parser!(u64).range(1..=MAX_CALL_TIMEOUT_MS / 1000))]
    timeout: u64,
}

/// A call's outcome as printed: the reply, with files in place of captured bytes.
#[derive(Debug, serde::Serialize)]
struct Outcome<'a> {
    tool: String,
    #[serde(flatten)]
    reply: Flat<'a>,
    saved: Vec<PathBuf>,
}

/// The fields of a reply that are printed. (A reply itself holds the captured bytes.)
#[derive(Debug, serde::Serialize)]
struct Flat<'a> {
    ok: bool,
    result: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
    ms: f64,
    request_envelope_id: Option<EnvelopeId>,
    response_envelope_id: Option<EnvelopeId>,
    signers: Vec<Signature>,
    #[serde(skip_serializing_if = "<[Hop]>::is_empty")]
    hops: &'a [Hop],
}

/// One signature on one envelope of a call.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(super) struct Signature {
    /// The envelope it stands on.
    pub(super) envelope: EnvelopeId,
    /// The name of the node that signed.
    pub(super) node: Name,
    /// That node.
    pub(super) node_id: NodeId,
    /// The algorithm.
    pub(super) algorithm: String,
    /// The key.
    pub(super) kid: Kid,
}

/// Every signature of a call as an entry of its own, which is simpler to filter and count.
fn signatures(signers: &[EnvelopeSigner]) -> Vec<Signature> {
    let of = |signer: &EnvelopeSigner| {
        let one = |signature: &EnvelopeSignature| Signature {
            envelope: signer.envelope,
            node: signer.node.clone(),
            node_id: signer.node_id,
            algorithm: signature.algorithm.clone(),
            kid: signature.kid,
        };
        signer.signatures.iter().map(one).collect::<Vec<_>>()
    };
    signers.iter().flat_map(of).collect()
}

impl Call {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        let request = CallRequest {
            node: self.tool.node.clone(),
            server: self.tool.server.clone(),
            tool: self.tool.tool.clone(),
            arguments: arguments(self.json.as_deref(), &self.arguments)?,
            agent: self.agent,
            capture: self.save.is_some(),
            timeout_ms: self.timeout.saturating_mul(1000),
        };
        if let Some(dir) = self.save.as_deref().filter(|dir| !dir.is_dir()) {
            let message = format!("`{}` is not a directory", dir.display());
            return Err(Failed::input(message));
        }
        let mut waits = false;
        let notify = |raw: &RawValue| waits = show_notification(raw);
        let told = context.client()?.call(&request, notify).await;
        let reply = told.map_err(|failed| match failed.reason.as_deref() {
            Some(TIMED_OUT) if waits => failed.with_hint(held_at(&request.node)),
            _ => failed,
        })?;
        let saved = match &self.save {
            Some(dir) => save(&reply, dir)?,
            None => Vec::new(),
        };
        let outcome = Outcome {
            tool: self.tool.to_string(),
            reply: Flat {
                ok: reply.ok,
                result: reply.result.as_deref(),
                error: reply.error.as_deref(),
                ms: reply.ms,
                request_envelope_id: reply.request_envelope_id,
                response_envelope_id: reply.response_envelope_id,
                signers: signatures(&reply.signers),
                hops: &reply.hops,
            },
            saved,
        };
        tell_signers(&outcome);
        context.output.data(&outcome, |text| show(&reply, text))?;
        ended(&reply)
    }
}

/// The exit of a call: a denial of the mesh, another failure, or success.
fn ended(reply: &CallReply) -> Result<(), Failed> {
    if reply.ok {
        return Ok(());
    }
    let Some(error) = reply.error.as_deref() else {
        return Err(Failed::new(Exit::Failure, "the tool reports a failure"));
    };
    let error = RpcError::read(error);
    let exit = if error.code.is_some_and(|code| DENY_CODES.contains(&code)) {
        Exit::Denied
    } else {
        Exit::Failure
    };
    let mut failed = Failed::new(exit, error.message);
    failed.reason = error.reason;
    failed.hint = error.hint;
    Err(failed)
}

/// What is shown of a JSON-RPC error object.
#[derive(Debug, PartialEq, Eq)]
struct RpcError {
    code: Option<i64>,
    message: String,
    reason: Option<String>,
    hint: Option<String>,
}

impl RpcError {
    /// Reads what there is; an error that is none is shown raw.
    fn read(raw: &RawValue) -> Self {
        let value: serde_json::Value = serde_json::from_str(raw.get()).unwrap_or_default();
        let data = |key: &str| {
            let text = value.get("data").and_then(|data| data.get(key));
            text.and_then(|text| text.as_str()).map(str::to_owned)
        };
        Self {
            code: value.get("code").and_then(serde_json::Value::as_i64),
            message: value
                .get("message")
                .and_then(|message| message.as_str())
                .map_or_else(|| raw.get().to_owned(), str::to_owned),
            reason: data("reason"),
            hint: data("hint"),
        }
    }
}

/// Shows what comes before the answer; whether it says that the call waits for approval.
fn show_notification(raw: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Notification {
        method: Option<String>,
        params: Option<Params>,
    }
    #[derive(Deserialize)]
    struct Params {
        progress: Option<f64>,
        total: Option<f64>,
        message: Option<String>,
    }
    let mut waits = false;
    let line = match serde_json::from_str::<Notification>(raw.get()) {
        Ok(Notification {
            method: Some(method),
            params:
                Some(Params {
                    progress: Some(progress),
                    total,
                    message,
                }),
        }) if method == "notifications/progress" => {
            // Below zero is the time that is left of a wait, which the message tells in words.
            waits = progress < 0.0 && message.is_some();
            let number = match total {
                _ if waits => String::new(),
                Some(total) => format!("{progress}/{total} "),
                None => format!("{progress} "),
            };
            format!("progress: {number}{}", message.unwrap_or_default())
        }
        _ => format!("notification: {}", raw.get()),
    };
    say(inert(&line).trim_end());
    waits
}

/// Who signed, on stderr: it accompanies the result, it is not the result.
fn tell_signers(outcome: &Outcome<'_>) {
    let signers = &outcome.reply.signers;
    if !signers.is_empty() {
        say(&format!(
            "signed by {} ({:.1} ms)",
            signed_by(signers),
            outcome.reply.ms
        ));
    }
    for hop in outcome.reply.hops {
        let held = hop.sent_ms.saturating_sub(hop.received_ms);
        let line = format!("carried by {}, held {held} ms: {}", hop.node, hop.verdict);
        say(inert(&line).trim_end());
    }
    for path in &outcome.saved {
        say(&format!("saved {}", inert(&path.display().to_string())));
    }
}

/// `agent-host (ML-DSA-65 + Ed25519), tool-host (ML-DSA-65 + Ed25519)`, envelope by envelope.
pub(super) fn signed_by(signatures: &[Signature]) -> String {
    let same = |a: &Signature, b: &Signature| a.envelope == b.envelope && a.node_id == b.node_id;
    let shown: Vec<String> = signatures
        .chunk_by(same)
        .filter_map(|chunk| {
            let algorithms: Vec<String> = chunk.iter().map(|s| inert(&s.algorithm)).collect();
            let node = &chunk.first()?.node;
            Some(format!("{node} ({})", algorithms.join(" + ")))
        })
        .collect();
    shown.join(", ")
}

fn save(reply: &CallReply, dir: &Path) -> Result<Vec<PathBuf>, Failed> {
    let captured = [
        (
            "request",
            reply.request_envelope_id,
            &reply.request_envelope,
        ),
        (
            "response",
            reply.response_envelope_id,
            &reply.response_envelope,
        ),
    ];
    let mut saved = Vec::new();
    for (what, id, bytes) in captured {
        let (Some(id), Some(bytes)) = (id, bytes) else {
            let message = format!("the node returned no {what} envelope to save");
            return Err(Failed::new(Exit::Failure, message));
        };
        let path = dir.join(format!("{id}.{what}.envelope"));
        write_new(&path, &bytes.0)?;
        saved.push(path);
    }
    Ok(saved)
}

fn show(reply: &CallReply, text: &mut Text) {
    let Some(result) = &reply.result else {
        return;
    };
    let parts = content_texts(result);
    if parts.is_empty() {
        text.line(result.get());
    }
    for part in parts {
        for line in part.lines() {
            text.line(line);
        }
    }
}

/// The texts of an MCP tool result; what is no text is shown as its raw JSON.
pub(super) fn content_texts(result: &RawValue) -> Vec<String> {
    #[derive(Deserialize)]
    struct ToolResult {
        #[serde(default)]
        content: Vec<Box<RawValue>>,
    }
    #[derive(Deserialize)]
    struct Item {
        r#type: String,
        text: Option<String>,
    }
    let Ok(result) = serde_json::from_str::<ToolResult>(result.get()) else {
        return Vec::new();
    };
    let text_of = |raw: &RawValue| match serde_json::from_str::<Item>(raw.get()) {
        Ok(Item {
            r#type,
            text: Some(text),
        }) if r#type == "text" => text,
        _ => raw.get().to_owned(),
    };
    result.content.iter().map(|raw| text_of(raw)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn errors_of_the_mesh_are_denials_and_others_failures() {
        let reply = |code: i64| CallReply {
            ok: false,
            result: None,
            error: Some(raw(&format!(
                r#"{{"code":{code},"message":"no","data":{{"reason":"replayed","hint":"h"}}}}"#
            ))),
            ms: 0.0,
            request_envelope_id: None,
            response_envelope_id: None,
            signers: vec![],
            hops: vec![],
            request_envelope: None,
            response_envelope: None,
        };
        let failed = ended(&reply(-32052)).unwrap_err();
        assert_eq!(failed.exit, Exit::Denied);
        assert_eq!(failed.reason.as_deref(), Some("replayed"));
        assert_eq!(failed.hint.as_deref(), Some("h"));
        assert_eq!(ended(&reply(-32602)).unwrap_err().exit, Exit::Failure);
    }

    #[test]
    fn texts_are_shown_as_texts_and_the_rest_raw() {
        let result =
            raw(r#"{"content":[{"type":"text","text":"a\nb"},{"type":"image","data":""}]}"#);
        assert_eq!(
            content_texts(&result),
            ["a\nb", r#"{"type":"image","data":""}"#]
        );
        assert!(content_texts(&raw("[1]")).is_empty());
    }
}
