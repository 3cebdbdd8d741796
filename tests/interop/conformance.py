"""The official conformance suite, against a server of ours directly and through the mesh.

The server (fixture.mjs) answers everything that the requirements of a protocol version ask for.
Asked directly it must pass every check, and so it must through two nodes, attached by command and
by URL. The suite has no way to send the gateway's token; bearer.mjs adds it.
"""

import json
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import servers
from mesh import Mesh

HERE = Path(__file__).parent
# The newest version that a node speaks to clients.
REQUIREMENTS = "2025-11-25"
# Fewer checks than this and the suite did not do what it is run for; it has 81 for a server.
FEWEST = 75
# Longest run of the suite, which takes five seconds.
SUITE_S = 240
# Where the suite is content with either: a node answers with JSON what needs no stream, and this
# check then has no stream to look at.
OPTIONAL = {"server-sse-streams-functional"}


@contextmanager
def with_token(node, mesh):
    """The origin of a proxy that adds the agent's token to every request."""
    port = mesh.origin().rsplit(":", 1)[1]
    words = [node, str(HERE / "bearer.mjs"), port]
    process = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        # Not on its command line, where others could read it.
        process.stdin.write(f"{mesh.token}\n")
        process.stdin.flush()
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.kill()
        process.wait()


def suite(environment, node, url, directory):
    """What became of every check: scenario and check to how often it had which status."""
    program = environment / "node_modules/@modelcontextprotocol/conformance/dist/index.js"
    words = ["server", "--url", url, "--requirements", REQUIREMENTS, "--output-dir", str(directory)]
    run = subprocess.run(
        [node, str(program), *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SUITE_S,
    )
    found = Counter()
    for file in directory.glob("*/checks.json"):
        for check in json.loads(file.read_text(encoding="utf-8")):
            found[check["id"], check["status"]] += 1
    if not found:
        print(f"the suite said nothing: {(run.stderr or run.stdout)[-2000:]}", file=sys.stderr)
    return found


def scored(found, status):
    return {check: count for (check, was), count in found.items() if was == status}


def judge(checks, where, found, right):
    checks.equal(f"conformance, {where}: failed", {}, scored(found, "FAILURE"))
    passed = scored(found, "SUCCESS")
    for check, count in scored(right, "SUCCESS").items():
        if check not in OPTIONAL:
            checks.equal(f"conformance, {where}: {check} passed", count, passed.get(check))


def check_all(checks, clients, binary, directory):
    environment, node = clients.environment, clients.node
    # Beside the packages it imports.
    fixture = environment / "fixture.mjs"
    fixture.write_bytes((HERE / "fixture.mjs").read_bytes())
    (directory / "mesh").mkdir(parents=True)
    by_command = servers.Server("fixture", [node, str(fixture), "stdio"], [], directory)
    with servers.serving(by_command) as url:
        by_url = replace(by_command, name="fixture-url", url=url)
        right = suite(environment, node, url, directory / "direct")
        total = sum(scored(right, "SUCCESS").values())
        checks.holds("conformance, direct: enough checks", total >= FEWEST, total)
        judge(checks, "direct", right, right)
        attached = [by_command, by_url]
        with Mesh(binary, directory / "mesh", attached) as mesh, with_token(node, mesh) as origin:
            for server in attached:
                place = f"{origin}/mcp/{mesh.there}/{server.name}"
                found = suite(environment, node, place, directory / server.name)
                judge(checks, server.name, found, right)
                passed = sum(scored(found, "SUCCESS").values())
                print(f"conformance, {server.name}: {passed} passed, {total} directly", flush=True)
        checks.equal("the nodes' exit codes", {0}, set(mesh.exit_codes.values()))
