"""Uses real MCP servers by real MCP clients, directly and through a mesh, and compares.

A pass is one client with one server over one path: it runs the server's operations (servers.py)
and records what the client saw. The same client over the direct path says what is right; every
other path must show it the same, byte for byte where the clients show bytes. The paths through
the mesh (mesh.py): `/mcp/NODE/SERVER`, the aggregate `/mcp`, and the same two by stdio.

A call over a relay leaves sealed envelopes (sealed.py). Then the official conformance suite does the same with a server that answers all it asks
(conformance.py).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import conformance
import faults
import paths
import sealed
import servers
from mesh import Mesh

HERE = Path(__file__).parent
# Longest pass; a client's own deadlines are shorter, so that it can say what it waited for.
PASS_S = 180
CLIENTS = ("python", "ts-v1", "ts-v2")
# Servers under test at once: most of a pass is waiting.
AT_ONCE = 3


class Clients:
    """How each client is started."""

    def __init__(self, environment):
        self.environment = environment
        self.node = next(str(p) for p in environment.glob("node_modules/node-linux-*/bin/node"))
        self.python = str(environment / "venv/bin/python")
        # Node resolves packages beside the script that imports them.
        (environment / "client.mjs").write_bytes((HERE / "client.mjs").read_bytes())

    def run(self, client, server, path):
        """One pass; the answer of the client script."""
        words = {
            "python": [self.python, str(HERE / "client.py")],
            "ts-v1": [self.node, str(self.environment / "client.mjs"), "v1"],
            "ts-v2": [self.node, str(self.environment / "client.mjs"), "v2"],
        }[client]
        job = {
            "endpoint": path.endpoint,
            "ops": [path.outward(op) for op in server.ops],
            "roots": server.roots,
            # Directly the era is chosen, so that servers of both eras speak the one a node
            # speaks; through the mesh the client finds out by itself.
            "era": "legacy" if path.direct else "auto",
        }
        try:
            run = subprocess.run(
                words, input=json.dumps(job), capture_output=True, text=True, timeout=PASS_S
            )
            return json.loads(run.stdout)
        except subprocess.TimeoutExpired:
            failed = f"no end in {PASS_S} s"
        except ValueError:
            failed = run.stderr[-2000:]
        return {"failed": failed, "ops": {}, "served": []}

    def inspect(self, path, *words):
        """One run of the inspector's command line; its result or its error."""
        endpoint = path.endpoint
        if "url" in endpoint:
            target = [endpoint["url"], "--transport", "http"]
            for name, value in endpoint["headers"].items():
                target += ["--header", f"{name}: {value}"]
        else:
            target = [endpoint["command"], *endpoint["args"]]
            for name, value in (endpoint.get("env") or {}).items():
                target += ["-e", f"{name}={value}"]
        inspector = str(self.environment / "node_modules/@modelcontextprotocol/inspector")
        command = [self.node, f"{inspector}/clients/launcher/build/index.js", "--cli"]
        with tempfile.TemporaryDirectory() as home:
            run = subprocess.run(
                [*command, *target, *words, "--format", "json", "--quiet"],
                capture_output=True,
                text=True,
                timeout=PASS_S,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "HOME": home},
            )
        try:
            return json.loads(run.stdout)
        except ValueError:
            return {"exit": run.returncode, "error": (run.stderr or run.stdout)[-2000:]}


class Checks:
    """What was compared, and what differed."""

    def __init__(self):
        self.done = 0
        self.problems = []

    def equal(self, where, expected, found):
        self.done += 1
        if expected != found:
            self.problem(f"{where}:\n    expected {shown(expected)}\n    found    {shown(found)}")

    def holds(self, where, holds, found):
        self.done += 1
        if not holds:
            self.problem(f"{where}: found {shown(found)}")

    def problem(self, text):
        """Printed at once: a run that is cut short has still said what it saw."""
        self.problems.append(text)
        print(text, flush=True)


def shown(value):
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= 600 else f"{text[:400]} … {text[-180:]}"


def comparable(seen):
    """What must be equal: a last progress notification may lose a race inside the client."""
    seen = dict(seen)
    if "progress" in seen:
        seen["progress"] = seen["progress"][:2]
    return seen


def compare(checks, where, server, path, right, answer):
    """One pass against the direct one of the same client."""
    checks.equal(f"{where}: the client failed", None, answer.get("failed"))
    if "initialize" not in answer:
        return
    path.compare_initialize(checks, where, right["initialize"], answer["initialize"])
    path.compare_served(checks, where, right["served"], answer["served"])
    for op in server.ops:
        here = f"{where}: {op['name']}"
        seen = path.inward(op, answer["ops"].get(op["name"], {"missing": True}))
        if op["same"] and path.answers_alike(op):
            expected = comparable(right["ops"][op["name"]])
            checks.equal(here, expected, comparable(seen))
        else:
            expected = right["ops"][op["name"]]
            checks.equal(here, sorted(expected), sorted(seen))


def sane(checks, where, server, answer):
    """The direct pass itself: it is worth comparing with only if the interesting things happened."""
    checks.equal(f"{where}: the client failed", None, answer.get("failed"))
    for op in server.ops:
        seen = answer["ops"].get(op["name"], {})
        if "hear" in op:
            checks.equal(f"{where}: {op['name']} heard", True, seen.get("heard"))
        if "cancel_after" in op:
            checks.equal(f"{where}: {op['name']}", {"cancelled": True}, seen.get("error"))
        elif "progress" in op:
            checks.holds(f"{where}: {op['name']}", len(seen.get("progress", [])) >= 2, seen)
        if "until" in op:
            checks.holds(f"{where}: {op['name']}", op["until"] in json.dumps(seen), seen)
    if server.name == "everything":
        asked = ["elicitation/create", "roots/list", "sampling/createMessage"]
        checks.equal(f"{where}: what the server asked", asked, answer["served"])


def inspect_all(checks, clients, server, right_path, path):
    """The inspector: one process per step, so only the steps it is made for."""
    steps = [("tools/list", [], {"name": "tools", "method": "tools/list"})]
    for tool, arguments in server.inspect:
        op = {"name": tool, "method": "tools/call", "params": {"name": tool}}
        name = path.outward(op)["params"]["name"]
        steps.append(("tools/call", [name, tool, json.dumps(arguments)], op))
    for method, call, op in steps:
        words, right_words = ["--method", method], ["--method", method]
        if call:
            name, tool, arguments = call
            words += ["--tool-name", name, "--tool-args-json", arguments]
            right_words += ["--tool-name", tool, "--tool-args-json", arguments]
        right = clients.inspect(right_path, *right_words)
        found = path.inward(op, clients.inspect(path, *words))
        where = f"inspector, {server.name}, {path.name}: {op['name']}"
        checks.holds(f"{where} (direct)", "error" not in right, right)
        checks.equal(where, right, found)


def users(server, path, place):
    """Which clients use a server on a path. All do where its answers come unchanged, over HTTP,
    and all use the server that has everything on every path; elsewhere they take turns, for an
    aggregate session starts every server, which is most of what a pass costs."""
    if server.name == "everything" or path.everyone:
        return CLIENTS
    return [CLIENTS[place % len(CLIENTS)]]


def through_mesh(checks, clients, mesh, server, right):
    """Every pass of one server through the mesh."""
    turn = mesh.servers.index(server)
    for number, path in enumerate(paths.through(mesh, server)):
        for client in users(server, path, turn + number):
            servers.lay_out(server.data)
            answer = clients.run(client, server, path)
            where = f"{client}, {server.name}, {path.name}"
            compare(checks, where, server, path, right[client], answer)
        if "url" in path.endpoint:
            servers.lay_out(server.data)
            inspect_all(checks, clients, server, paths.Direct(server), path)


def directly(checks, clients, server):
    """Every client with the server itself."""
    right = {}
    for client in CLIENTS:
        servers.lay_out(server.data)
        right[client] = clients.run(client, server, paths.Direct(server))
        sane(checks, f"{client}, {server.name}, direct", server, right[client])
    return right


def everything(options, directory):
    checks = Checks()
    if options.only == "sealed":
        sealed.check_all(checks, options.hedgerow.resolve(), directory / "sealed", options.evidence)
        return checks
    clients = Clients(options.environment)
    if options.only == "conformance":
        conformance.check_all(checks, clients, options.hedgerow.resolve(), directory)
        return checks
    packages = str(options.environment / "node_modules")
    every = servers.all_servers(clients.node, packages, clients.python, directory / "data")
    with servers.serving(every[0]) as url, ThreadPoolExecutor(AT_ONCE) as pool:
        every = [s for s in [*every, servers.by_url(every[0], url)] if options.only in (None, s.name)]
        rights = list(pool.map(lambda s: directly(checks, clients, s), every))
        print(f"direct: {checks.done} checks, {len(checks.problems)} problems", flush=True)
        if options.direct:
            itself = paths.Direct
            list(pool.map(lambda s: inspect_all(checks, clients, s, itself(s), itself(s)), every))
            return checks
        with Mesh(options.hedgerow.resolve(), directory, every) as mesh:
            # Sessions with different servers run side by side, as they would on a real host.
            passes = [
                pool.submit(through_mesh, checks, clients, mesh, server, right)
                for server, right in zip(every, rights, strict=True)
            ]
            for one in passes:
                one.result()
            print(f"mesh: {checks.done} checks, {len(checks.problems)} problems", flush=True)
            if options.only in (None, "everything"):
                faults.check_all(checks, mesh, options.evidence)
        checks.equal("the nodes' exit codes", {"agents": 0, "tool-host": 0}, mesh.exit_codes)
    if options.only is None:
        binary = options.hedgerow.resolve()
        sealed.check_all(checks, binary, directory / "sealed", options.evidence)
        print(f"sealed: {checks.done} checks, {len(checks.problems)} problems", flush=True)
        conformance.check_all(checks, clients, binary, directory / "conformance")
        print(f"conformance: {checks.done} checks, {len(checks.problems)} problems", flush=True)
    return checks


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--environment", type=Path, required=True)
    parser.add_argument("--hedgerow", type=Path)
    parser.add_argument("--evidence", type=Path)
    parser.add_argument("--direct", action="store_true")
    parser.add_argument("--only", help="one server, `sealed` or `conformance`, for work on this run itself")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hedgerow-interop-") as directory:
        checks = everything(options, Path(directory))
    print(f"interop: {checks.done} checks, {len(checks.problems)} problems")
    return 1 if checks.problems or not checks.done else 0


if __name__ == "__main__":
    sys.exit(main())
