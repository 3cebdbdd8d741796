"""An MCP server that says what the service lets it do, from the inside.

Tools: `look` tells what a server started by the service sees; `write` tries to write a file;
`wait` says by a file in HOME that it was called, and answers when another file says so.
"""

import json
import os
import sys
import time
from pathlib import Path

HOME = Path(os.environ["HOME"])
# Ends `wait` whatever happens.
LONGEST_S = 60


def look(_):
    status = Path("/proc/self/status").read_text(encoding="ascii")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    return {
        "uid": os.getuid(),
        "home": str(HOME),
        "effective": int(fields["CapEff"], 16),
        "bounding": int(fields["CapBnd"], 16),
        "no_new_privileges": fields["NoNewPrivs"] == "1",
        "seccomp": fields["Seccomp"] == "2",
        "environment": sorted(os.environ),
        "homes": listed("/home") + listed("/root"),
        "tmp": listed("/tmp"),
        "devices": listed("/dev"),
    }


def listed(path):
    try:
        return sorted(os.listdir(path))
    except OSError as error:
        return [error.strerror]


def write(arguments):
    try:
        Path(arguments["path"]).write_text("x", encoding="ascii")
    except OSError as error:
        return {"refused": error.strerror}
    return {"written": arguments["path"]}


def wait(_):
    (HOME / "waiting").touch()
    end = time.monotonic() + LONGEST_S
    while not (HOME / "go").exists() and time.monotonic() < end:
        time.sleep(0.02)
    return {"waited": True}


TOOLS = {tool.__name__: tool for tool in (look, write, wait)}


def answer(message):
    method, params = message["method"], message.get("params", {})
    if method == "initialize":
        info = {"name": "probe", "version": "1"}
        capabilities = {"tools": {}}
        version = params["protocolVersion"]
        return {"protocolVersion": version, "capabilities": capabilities, "serverInfo": info}
    if method == "tools/list":
        return {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS]}
    if method == "tools/call":
        said = TOOLS[params["name"]](params.get("arguments", {}))
        return {"content": [{"type": "text", "text": json.dumps(said)}], "structuredContent": said}
    return {}


for line in sys.stdin:
    message = json.loads(line)
    if "id" in message and "method" in message:
        reply = {"jsonrpc": "2.0", "id": message["id"], "result": answer(message)}
        print(json.dumps(reply), flush=True)
