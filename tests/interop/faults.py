"""What goes wrong on purpose: dead servers and nodes, wrong tokens, forged evidence.

Each check says what a client or operator must see; nothing here may disturb the next one.
"""

import asyncio
import json
import os
import signal
import urllib.error
import urllib.request
from contextlib import asynccontextmanager

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

DEADLINE_S = 60
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "faults", "version": "1"},
    },
}
# Codes of `ErrorKind` in node/src/session.rs.
UNREACHABLE, UPSTREAM, BROKEN_STREAM = -32051, -32053, -32054


def check_all(checks, mesh, evidence):
    entrance(checks, mesh)
    asyncio.run(dead_server(checks, mesh))
    saved_evidence(checks, mesh, evidence)
    asyncio.run(stopping_node(checks, mesh))
    asyncio.run(dead_node(checks, mesh))
    logs(checks, mesh)


def post(url, headers):
    """The status of an `initialize`, and the body."""
    request = urllib.request.Request(
        url,
        json.dumps(INITIALIZE).encode(),
        {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            **headers,
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def entrance(checks, mesh):
    """Who may come in: only with a token, only from this host's own pages, only to known names."""
    good = mesh.http("/mcp")
    bearer = good["headers"]
    for where, headers, expected in (
        ("with its token", bearer, 200),
        ("without a token", {}, 401),
        ("with another token", {"Authorization": "Bearer hedgerow"}, 401),
        ("with a token cut short", {"Authorization": f"Bearer {mesh.token[:-1]}"}, 401),
        ("from a foreign page", {**bearer, "Origin": "https://example.org"}, 403),
        ("under a foreign name", {**bearer, "Host": "example.org"}, 403),
    ):
        status, _ = post(good["url"], headers)
        checks.equal(f"entrance {where}", expected, status)
    unknown = mesh.http(f"/mcp/{mesh.there}/no-such-server")
    status, body = post(unknown["url"], unknown["headers"])
    checks.holds("an unknown server is named", "no-such-server" in body, [status, body])
    checks.holds("an unknown server is an error", '"error"' in body, [status, body])


@asynccontextmanager
async def client(mesh, path):
    endpoint = mesh.http(path)

    @asynccontextmanager
    async def transport():
        async with httpx2.AsyncClient(headers=endpoint["headers"], timeout=DEADLINE_S) as http:
            async with streamable_http_client(endpoint["url"], http_client=http) as streams:
                yield streams

    async with Client(transport(), mode="legacy", read_timeout_seconds=DEADLINE_S) as session:
        yield session


async def error_of(call):
    """The JSON-RPC error a call ends with, as (code, data)."""
    try:
        return 0, await call
    except MCPError as error:
        return error.code, error.data


def names(data, mesh):
    return isinstance(data, dict) and data.get("node") == mesh.there and "reason" in data


async def dead_server(checks, mesh):
    """kill -9 of the server in the middle of a call: an error that names it, then it is back."""
    async with client(mesh, f"/mcp/{mesh.there}/everything") as session:
        under_way = asyncio.Event()

        async def on_progress(*_):
            under_way.set()

        arguments = {"duration": 60, "steps": 600}
        call = asyncio.create_task(
            error_of(
                session.call_tool(
                    "trigger-long-running-operation", arguments, progress_callback=on_progress
                )
            )
        )
        await asyncio.wait_for(under_way.wait(), DEADLINE_S)
        for pid in mesh.upstreams("server-everything"):
            os.kill(pid, signal.SIGKILL)
        code, data = await asyncio.wait_for(call, DEADLINE_S)
        checks.equal("killed server: code", UPSTREAM, code)
        checks.holds("killed server: names node", names(data, mesh), data)
        checks.holds(
            "killed server: names server",
            isinstance(data, dict) and data.get("server") == "everything",
            data,
        )
    await answers_again(checks, mesh, "killed server")


async def answers_again(checks, mesh, where):
    """A new session works, at the latest after the back-off."""
    end = asyncio.get_running_loop().time() + DEADLINE_S
    found = None
    while asyncio.get_running_loop().time() < end:
        try:
            async with client(mesh, f"/mcp/{mesh.there}/everything") as session:
                result = await session.call_tool("echo", {"message": "back"})
                found = result.content[0].text
                break
        except Exception as error:  # still down: asked again until the deadline
            found = repr(error)
            await asyncio.sleep(0.2)
    checks.equal(f"{where}: answers again", "Echo: back", found)


async def stopping_node(checks, mesh):
    """SIGTERM in the middle of a call: the call ends well, the node does, and it is back."""
    async with client(mesh, f"/mcp/{mesh.there}/everything") as session:
        # The client checks results against the list, and would ask for it after the call.
        await session.list_tools()
        under_way = asyncio.Event()

        async def on_progress(*_):
            under_way.set()

        call = asyncio.create_task(
            error_of(
                session.call_tool(
                    "trigger-long-running-operation",
                    {"duration": 2, "steps": 4},
                    progress_callback=on_progress,
                )
            )
        )
        await asyncio.wait_for(under_way.wait(), DEADLINE_S)
        mesh.tool_host.process.send_signal(signal.SIGTERM)
        code, found = await asyncio.wait_for(call, DEADLINE_S)
        checks.equal("stopping node: code", 0, code)
        checks.holds("stopping node: result", "completed" in str(found), str(found))
        exited = await asyncio.to_thread(mesh.tool_host.process.wait, DEADLINE_S)
        checks.equal("stopping node: exit code", 0, exited)
    mesh.tool_host.start("run")
    await answers_again(checks, mesh, "stopping node")


async def dead_node(checks, mesh):
    """kill -9 of the tool host: an error that names it; started again, it answers again."""
    async with client(mesh, "/mcp") as session:
        tool = f"{mesh.there}__everything__echo"
        before = await session.call_tool(tool, {"message": "before"})
        checks.equal("before the node died", "Echo: before", before.content[0].text)
        mesh.tool_host.process.kill()
        mesh.tool_host.process.wait()
        code, data = await error_of(session.call_tool(tool, {"message": "x"}))
        # Which one depends on whether the link's end was noticed before the call left.
        checks.holds("dead node: code", code in (UNREACHABLE, BROKEN_STREAM), [code, data])
        checks.holds("dead node: named", names(data, mesh), data)
    mesh.tool_host.start("run")
    await answers_again(checks, mesh, "dead node")


def saved_evidence(checks, mesh, directory):
    """One call from the command line, its two envelopes saved and verified without a node."""
    if directory is None:
        return
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.iterdir():
        old.unlink()
    tool = f"{mesh.there}/everything/echo"
    outcome = mesh.agents.cli("call", tool, "message=signed", "--save", str(directory.resolve()))
    checks.equal("call: ok", True, outcome["ok"])
    files = sorted(directory.iterdir())
    checks.equal("call: files saved", 2, len(files))
    mesh_id = mesh.agents.cli("status")["mesh"]["id"]
    for file in files:
        code, error = mesh.agents.cli("envelope", "verify", str(file), "--mesh", mesh_id, fails=True)
        checks.equal(f"envelope verify {file.name}", (0, ""), (code, error))
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        forged = mesh.directory / "forged"
        forged.write_bytes(data)
        code, error = mesh.agents.cli("envelope", "verify", str(forged), fails=True)
        checks.equal(f"envelope verify of a forged {file.name}", 2, code)
    code, error = mesh.agents.cli("call", f"{mesh.there}/everything/no-such-tool", fails=True)
    checks.equal("call of an unknown tool: exit code", 1, code)


def logs(checks, mesh):
    """Nothing panicked, and no log holds the token."""
    for node in (mesh.agents, mesh.tool_host):
        text = node.log.read_text(encoding="utf-8", errors="replace")
        checks.equal(f"{node.name}: panics", 0, text.count("panicked at"))
        checks.equal(f"{node.name}: token in its log", False, mesh.token in text)
