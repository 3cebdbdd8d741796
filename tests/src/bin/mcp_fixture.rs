//! An MCP server on standard input and output that does what a test tells it.
//!
//! The tool decides (`tools/call` with `params.name`): see [`Fixture::call`]. With an argument
//! `--table FILE` it refuses to start while FILE holds `down`; with `--log FILE` it appends a line
//! for every flood message it got rid of; with `--about FILE` its tools are described by FILE; with
//! `--listed FILE` it says what tools it has only once FILE is there.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a fixture that cannot go on should say where"
)]

use std::io::{self, BufRead as _, Write as _};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

/// Size of one message of a flood.
const FLOOD_BYTES: usize = 64 * 1024;

/// Between looks for a file that is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let option = |name: &str| {
        let at = arguments.iter().position(|a| a == name)?;
        arguments.get(at + 1).cloned()
    };
    if let Some(table) = option("--table")
        && std::fs::read_to_string(&table).is_ok_and(|t| t.trim() == "down")
    {
        eprintln_line("told to be down");
        std::process::exit(7);
    }
    let mut fixture = Fixture {
        log: option("--log"),
        about: option("--about"),
        listed: option("--listed"),
        ..Fixture::default()
    };
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let Ok(message) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        fixture.take(&line, &message);
    }
}

fn eprintln_line(text: &str) {
    // Nobody may be reading.
    let _ = writeln!(io::stderr(), "{text}");
}

fn write(text: &str) {
    let mut out = io::stdout().lock();
    let written = out
        .write_all(text.as_bytes())
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush());
    if written.is_err() {
        std::process::exit(0);
    }
}

fn answer(id: &Value, result: &Value) {
    write(&json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string());
}

#[derive(Default)]
struct Fixture {
    log: Option<String>,
    about: Option<String>,
    listed: Option<String>,
    held: Vec<Value>,
    cancelled: Vec<Value>,
    said: Vec<String>,
    subscribed: Vec<Value>,
    asking: Option<Value>,
}

impl Fixture {
    fn take(&mut self, line: &str, message: &Value) {
        let id = &message["id"];
        match message["method"].as_str() {
            Some("initialize") => answer(
                id,
                &json!({
                    "protocolVersion": message["params"]["protocolVersion"],
                    "capabilities": {"tools": {}},
                    "serverInfo": {"name": "fixture", "version": "1"},
                }),
            ),
            Some("ping") => answer(id, &json!({})),
            Some("tools/list") => {
                let listed = |file: &String| Path::new(file).exists();
                while !self.listed.as_ref().is_none_or(listed) {
                    std::thread::sleep(LOOK_AGAIN);
                }
                let about = self.about.as_ref();
                let about = about.map_or_else(String::new, |f| std::fs::read_to_string(f).unwrap());
                let tool = |name: &&str| {
                    json!({"name": name, "description": about,
                        "inputSchema": {"type": "object"}})
                };
                let tools: Vec<Value> = TOOLS.iter().map(tool).collect();
                answer(id, &json!({ "tools": tools }));
            }
            Some("resources/subscribe") => {
                self.subscribed.push(message["params"]["uri"].clone());
                answer(id, &json!({}));
            }
            // Every resource somebody subscribed to changes; some without being named.
            Some("logging/setLevel") => {
                for uri in &self.subscribed {
                    let updated = "notifications/resources/updated";
                    let params = match uri.as_str() {
                        Some(uri) if uri.ends_with("/unnamed") => json!({}),
                        _ => json!({ "uri": uri }),
                    };
                    write(
                        &json!({"jsonrpc": "2.0", "method": updated, "params": params}).to_string(),
                    );
                }
                answer(id, &json!({}));
            }
            Some("tools/call") => self.call(line, id, &message["params"]),
            Some("notifications/cancelled") => {
                self.cancelled.push(message["params"]["requestId"].clone());
            }
            // Outside of any call.
            Some("notifications/roots/list_changed") => {
                for text in ["hush of old", "all is well"] {
                    log(text);
                }
            }
            Some(other) if id.is_null() => self.said.push(other.to_owned()),
            Some(other) => write(
                &json!({"jsonrpc": "2.0", "id": id,
                    "error": {"code": -32601, "message": format!("no method {other}")}})
                .to_string(),
            ),
            None => {
                if let Some(call) = self.asking.take() {
                    answer(&call, &json!({"client_said": message}));
                }
            }
        }
    }

    fn call(&mut self, line: &str, id: &Value, params: &Value) {
        let arguments = &params["arguments"];
        match params["name"].as_str().unwrap_or_default() {
            // Answers with the arguments.
            "echo" => answer(id, &json!({"content": [], "echo": arguments})),
            // Answers with the exact line that came.
            "verbatim" => answer(id, &json!({"content": [], "line": line})),
            // Answers with a line of no ordinary form, the id aside.
            "odd" => write(&odd_response(&id.to_string())),
            // Waits for `release`.
            "hold" => self.held.push(id.clone()),
            // Says that its tools have changed.
            "changed" => {
                write(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
                answer(id, &json!({"content": []}));
            }
            "release" => {
                for held in self.held.drain(..) {
                    answer(&held, &json!({"content": [], "held": true}));
                }
                answer(id, &json!({"content": []}));
            }
            // What this process has seen so far.
            "state" => answer(
                id,
                &json!({"content": [], "held": self.held, "cancelled": self.cancelled,
                    "said": self.said, "pid": std::process::id()}),
            ),
            // As many progress notifications as asked for, numbered and with the message asked for,
            // then what else is to be logged, then the answer.
            "progress" => {
                for n in 1..=arguments["count"].as_u64().unwrap_or(1) {
                    let message = arguments["message"].as_str().unwrap_or_default();
                    progress(&params["_meta"]["progressToken"], n, message);
                }
                if let Some(text) = arguments["log"].as_str() {
                    log(text);
                }
                answer(id, &json!({"content": []}));
            }
            // Asks the client before it answers, with the text asked for.
            "ask" => {
                self.asking = Some(id.clone());
                let said = arguments["text"].as_str().into_iter();
                let said = said
                    .map(|text| json!({"role": "user", "content": {"type": "text", "text": text}}));
                let params = json!({"messages": said.collect::<Vec<_>>(), "maxTokens": 1});
                let method = "sampling/createMessage";
                write(
                    &json!({"jsonrpc": "2.0", "id": "ask-1", "method": method, "params": params})
                        .to_string(),
                );
            }
            // The same by what belongs to the session and not to the call.
            "roots" => {
                self.asking = Some(id.clone());
                write(r#"{"jsonrpc":"2.0","id":"roots-1","method":"roots/list"}"#);
            }
            // An answer of exactly as many bytes as asked for, the line's end not counted.
            "size" => sized(id, arguments["bytes"].as_u64().unwrap_or(0)),
            // Progress without end.
            "flood" => self.flood(&params["_meta"]["progressToken"]),
            "crash" => std::process::exit(3),
            other => write(
                &json!({"jsonrpc": "2.0", "id": id,
                    "error": {"code": -32602, "message": format!("no tool {other}")}})
                .to_string(),
            ),
        }
    }

    /// Writes until nobody takes it any more, and notes how much was taken.
    fn flood(&self, token: &Value) {
        let mut log = self.log.as_ref().map(|path| {
            let mut options = std::fs::OpenOptions::new();
            options.create(true).append(true).open(path).unwrap()
        });
        let filler = "x".repeat(FLOOD_BYTES);
        for n in 1.. {
            progress(token, n, &filler);
            if let Some(log) = &mut log {
                writeln!(log, "{n}").unwrap();
            }
        }
    }
}

const TOOLS: [&str; 13] = [
    "echo", "verbatim", "odd", "hold", "changed", "release", "state", "progress", "ask", "roots",
    "size", "flood", "crash",
];

fn progress(token: &Value, n: u64, message: &str) {
    let params = json!({"progressToken": token, "progress": n, "message": message});
    let method = "notifications/progress";
    write(&json!({"jsonrpc": "2.0", "method": method, "params": params}).to_string());
}

fn log(data: &str) {
    let params = json!({"level": "info", "data": data});
    let method = "notifications/message";
    write(&json!({"jsonrpc": "2.0", "method": method, "params": params}).to_string());
}

/// Everything JSON permits and no writer would choose; the same text stands in the test.
fn odd_response(id: &str) -> String {
    format!(
        "{{ \"result\" :\t{{\"n\":1.0,\"e\":1E2 , \"u\":\"\\u00e9\\/\", \"x-unknown\":[ 1,  2 ] }},\"id\":{id} ,  \"jsonrpc\":\"2.0\",\"x\":null}}"
    )
}

fn sized(id: &Value, bytes: u64) {
    let whole = |filler: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[],"filler":"{filler}"}}}}"#)
    };
    let bytes = usize::try_from(bytes).unwrap_or(0);
    let filler = bytes.saturating_sub(whole("").len());
    write(&whole(&"x".repeat(filler)));
}
