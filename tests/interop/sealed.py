"""One call over a relay, its envelopes saved: sealed to the far end, and opened in the evidence.

`relay` founds a mesh and carries calls; `caller` and `host` announce an address that nobody answers
at, so that there is no other way between them. The server is Hedgerow's own sample.
"""

import shutil
import tempfile
from pathlib import Path

import verify_envelope
from mesh import Node

# Where nobody answers: the discard port (RFC 863).
BEHIND = '[node]\nadvertise = ["127.0.0.1:9"]\n'
CARRIES = '[relay]\naccept = ["members"]\n'
THROUGH = '[relay]\nthrough = ["relay"]\n'
SERVER, TOOL, ARGUMENT = "shop", "check_inventory", "HR-1001"


def check_all(checks, binary, directory, evidence):
    """Makes the call, checks what it left, and puts it among the other evidence."""
    directory.mkdir(mode=0o700)
    relay, caller, host = (Node(binary, directory, name) for name in ("relay", "caller", "host"))
    try:
        set_up(relay, caller, host, directory)
        capture(checks, relay, caller, host, evidence)
    finally:
        codes = {node.name: node.stop() for node in (caller, host, relay)}
    checks.equal("sealed: the nodes' exit codes", {"caller": 0, "host": 0, "relay": 0}, codes)


def configure(node, text):
    node.state.mkdir(mode=0o700, exist_ok=True)
    config = node.state / "config.toml"
    config.touch(mode=0o600)
    config.write_text(text)


def set_up(relay, caller, host, directory):
    configure(relay, CARRIES)
    relay.start("up", "--name", relay.name, "--policy", "open")
    for node, rest in ((caller, ""), (host, THROUGH)):
        request, admission = directory / f"{node.name}.in", directory / f"{node.name}.out"
        node.cli("id", "--request", str(request))
        configure(node, BEHIND + rest)
        issue = ["membership", "issue", str(request), "--name", node.name]
        relay.cli(*issue, "--out", str(admission))
        node.start("up", "--admission", str(admission))
    host.cli("server", "add", SERVER, "--", str(host.binary), "sample-server")


def capture(checks, relay, caller, host, evidence):
    address = f"{host.name}/{SERVER}"
    said = []

    def known():
        code, error = caller.cli("tools", address, fails=True)
        said.append(error)
        return code == 0

    try:
        caller.wait("tools over the relay", known)
    except SystemExit as ended:
        raise SystemExit(f"{ended}\n{said[-1]}\n{relay.tail()}\n{host.tail()}") from None
    with tempfile.TemporaryDirectory() as saved:
        words = [f"{address}/{TOOL}", f"sku={ARGUMENT}", "--save", saved]
        outcome = caller.cli("call", *words)
        checks.equal("sealed: the call", True, outcome["ok"])
        files = sorted(Path(saved).iterdir())
        checks.equal("sealed: files saved", 2, len(files))
        status = caller.cli("status")
        for file in files:
            judge(checks, file, status["mesh"]["id"], relay, caller)
            if evidence is not None:
                evidence.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, evidence / f"sealed-{file.name}")


def judge(checks, file, mesh, relay, caller):
    """What is in one file, by the verifier that has none of Hedgerow's code."""
    claims = verify_envelope.verify_evidence(file.read_bytes(), mesh)
    between = relay.cli("status")["node"]["id"]
    checks.equal(f"{file.name}: nodes on the way", 3, len(claims["route"]))
    checks.equal(f"{file.name}: the one between", [between], claims["route"][1:-1])
    request = claims["kind"] == "request"
    checks.equal(f"{file.name}: says what it is sealed with", request, "sealed" in claims)
    checks.equal(f"{file.name}: opened", True, ARGUMENT in str(claims["body"]))
    code, error = caller.cli("envelope", "verify", str(file), "--mesh", mesh, fails=True)
    checks.equal(f"envelope verify {file.name}", (0, ""), (code, error))
