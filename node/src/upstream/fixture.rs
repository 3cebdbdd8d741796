//! A small MCP server on standard input and output for the tests: this test binary, executed
//! again with one environment variable set. What the test harness itself prints makes a few
//! lines that are no messages, as many real servers do.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{Secret, ServerSpec};

/// Set to the mode in which the fixture serves.
const MODE: &str = "HEDGEROW_TEST_FIXTURE";

/// The fixture as something to attach. Modes: `serve`, `mute` (reads, never answers), `quit`
/// (ends at once).
pub(super) fn spec(mode: &str) -> ServerSpec {
    let program = std::env::current_exe().unwrap();
    let argv = [
        program.to_str().unwrap(),
        "upstream::fixture::serve",
        "--exact",
        "--nocapture",
        "--test-threads=1",
    ];
    ServerSpec::Command {
        argv: argv.map(str::to_owned).to_vec(),
        env: BTreeMap::from([(MODE.to_owned(), Secret::from(mode))]),
        cwd: None,
    }
}

/// Not a test: the server, when the variable says so.
#[test]
fn serve() {
    let Ok(mode) = std::env::var(MODE) else {
        return;
    };
    writeln!(std::io::stderr(), "fixture in mode {mode}").unwrap();
    if mode != "quit" {
        // The harness leaves its own line open.
        write("\n");
        let mut fixture = Fixture::default();
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            if mode == "serve" {
                fixture.take(&serde_json::from_str(&line).unwrap());
            }
        }
    }
    std::process::exit(0);
}

#[derive(Default)]
struct Fixture {
    said: Vec<String>,
    held: Vec<Value>,
    cancelled: Vec<Value>,
    waiting: Option<Value>,
    refused: u32,
    extra_tool: bool,
}

fn write(text: &str) {
    let mut out = std::io::stdout().lock();
    // The other end may be gone; then this process ends at the end of its input.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn say(message: &Value) {
    write(&format!("{message}\n"));
}

fn answer(id: &Value, result: &Value) {
    say(&json!({"jsonrpc": "2.0", "id": id, "result": result}));
}

impl Fixture {
    fn take(&mut self, message: &Value) {
        let id = &message["id"];
        match message["method"].as_str() {
            Some("initialize") if message["params"]["crash"] == true => std::process::exit(4),
            Some("initialize") => answer(
                id,
                &json!({
                    "protocolVersion": message["params"]["protocolVersion"],
                    "capabilities": {"tools": {"listChanged": true}},
                    "serverInfo": {"name": "fixture", "version": "1"},
                }),
            ),
            Some("notifications/initialized") if std::env::var_os("RESTLESS").is_some() => {
                self.extra_tool = true;
                say(&json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}));
            }
            Some("notifications/cancelled") => {
                self.cancelled.push(message["params"]["requestId"].clone());
            }
            Some("tools/list") => answer(id, &self.tools()),
            Some("tools/call") => self.call(id, &message["params"]),
            Some(other) => self.said.push(other.to_owned()),
            None if message.get("error").is_some() => {
                self.refused += 1;
            }
            None => {
                if let Some(call) = self.waiting.take() {
                    answer(&call, &json!({"client_said": message}));
                }
            }
        }
    }

    fn tools(&self) -> Value {
        let mut tools = vec![json!({"name": "echo", "inputSchema": {"type": "object"}})];
        if self.extra_tool || std::env::var("EXTRA_TOOL").is_ok_and(|p| std::fs::exists(p).unwrap())
        {
            tools.push(json!({"name": "extra", "inputSchema": {"type": "object"}}));
        }
        // What nobody could call, between what everybody can.
        if std::env::var_os("ODD_TOOLS").is_some() {
            for name in ["", "twice", "twice", "after"] {
                tools.push(json!({"name": name, "inputSchema": {"type": "object"}}));
            }
        }
        if std::env::var_os("LONG_TOOL").is_some() {
            let name = "n".repeat(protocol::limits::MAX_TARGET_BYTES + 1);
            tools.push(json!({"name": name, "inputSchema": {"type": "object"}}));
        }
        json!({ "tools": tools })
    }

    fn call(&mut self, id: &Value, params: &Value) {
        match params["name"].as_str().unwrap() {
            "echo" => answer(
                id,
                &json!({"echo": params["arguments"], "pid": std::process::id()}),
            ),
            "state" => answer(
                id,
                &json!({"said": self.said, "held": self.held, "cancelled": self.cancelled,
                    "refused": self.refused}),
            ),
            "environment" => {
                let names: Vec<_> = std::env::vars().map(|(name, _)| name).collect();
                answer(id, &json!({"names": names}));
            }
            "crash" => std::process::exit(3),
            "hold" => self.held.push(id.clone()),
            "release" => {
                for held in self.held.drain(..).rev() {
                    answer(&held, &json!({"held": held}));
                }
                answer(id, &json!({}));
            }
            "garbage" => {
                write(
                    "not json\n\n[1,2]\n{\"a\":1}\n{\"jsonrpc\":\"2.0\",\"method\":\"a\",\"method\":\"b\"}\n",
                );
                answer(&json!(999_999), &json!({}));
                answer(id, &json!({}));
            }
            "unreadable" => write(&format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"a\":1,\"a\":2}}}}\n"
            )),
            "long" => {
                write(&format!(
                    "\"{}\"\n",
                    "x".repeat(protocol::limits::MAX_MESSAGE_BYTES)
                ));
            }
            "endless" => loop {
                let part = "x".repeat(1 << 20);
                let mut out = std::io::stdout().lock();
                if out.write_all(part.as_bytes()).is_err() {
                    std::process::exit(1);
                }
            },
            "nag" => {
                for n in 0..70 {
                    say(&json!({"jsonrpc": "2.0", "id": n, "method": "sampling/createMessage"}));
                }
                say(&json!({"jsonrpc": "2.0", "id": 0, "method": "sampling/createMessage"}));
                answer(id, &json!({}));
            }
            "roots" => {
                say(&json!({"jsonrpc": "2.0", "id": "r-1", "method": "roots/list"}));
                answer(id, &json!({}));
            }
            "sample" => {
                self.waiting = Some(id.clone());
                say(
                    &json!({"jsonrpc": "2.0", "id": "s-1", "method": "sampling/createMessage",
                    "params": {}}),
                );
            }
            "progress" => {
                let token = &params["_meta"]["progressToken"];
                for n in 1..=3 {
                    say(
                        &json!({"jsonrpc": "2.0", "method": "notifications/progress",
                        "params": {"progressToken": token, "progress": n}}),
                    );
                }
                answer(id, &json!({}));
            }
            "flood" | "storm" => {
                let token = &params["_meta"]["progressToken"];
                let (method, params) = match params["name"] == "storm" {
                    true => ("notifications/progress", json!({"progressToken": token})),
                    false => (
                        "notifications/resources/updated",
                        json!({"uri": "test://x"}),
                    ),
                };
                for _ in 0..200 {
                    say(&json!({"jsonrpc": "2.0", "method": method, "params": params}));
                }
                answer(id, &json!({}));
            }
            "event" => {
                say(
                    &json!({"jsonrpc": "2.0", "method": "notifications/resources/updated",
                    "params": {"uri": "test://x"}}),
                );
                answer(id, &json!({}));
            }
            "child" => {
                #[expect(clippy::zombie_processes, reason = "it must outlive its parent's care")]
                let child = Command::new("sleep")
                    .arg("1000")
                    .stdin(Stdio::null())
                    .spawn()
                    .unwrap();
                answer(id, &json!({"pid": child.id()}));
            }
            "change" => {
                self.extra_tool = true;
                say(&json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}));
                answer(id, &json!({}));
            }
            other => panic!("no tool {other}"),
        }
    }
}
