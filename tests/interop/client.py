"""The Python MCP client, driven by a job on stdin: the same contract as client.mjs.

The job names an endpoint and operations; the answer on stdout has what the client saw for each.
The job format is in run.py.
"""

import asyncio
import json
import sys
import warnings
from contextlib import asynccontextmanager

import httpx2
from mcp import Client, MCPError, StdioServerParameters, types
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from pydantic import TypeAdapter

# The client warns of what the next era will not have; this run is about the present one.
warnings.simplefilter("ignore")

DEADLINE_S = 30
SAMPLE = "a fixed sample — \"quoted\", ünïcode"


class Session:
    """One connected client and what it heard and was asked."""

    def __init__(self, job):
        self.job = job
        self.heard = []
        self.served = set()
        self.news = asyncio.Condition()

    async def sampling(self, _context, _params):
        self.served.add("sampling/createMessage")
        content = types.TextContent(type="text", text=SAMPLE)
        return types.CreateMessageResult(
            role="assistant", model="fixed", stop_reason="endTurn", content=content
        )

    async def elicitation(self, _context, _params):
        self.served.add("elicitation/create")
        return types.ElicitResult(action="accept", content={"name": "Ada", "integer": 7})

    async def roots(self, _context):
        self.served.add("roots/list")
        return types.ListRootsResult(roots=[types.Root(**r) for r in self.job.get("roots", [])])

    async def note(self, message):
        if isinstance(message, Exception):
            return
        async with self.news:
            self.heard.append(message.method)
            self.news.notify_all()

    async def hear(self, method):
        try:
            async with asyncio.timeout(DEADLINE_S), self.news:
                await self.news.wait_for(lambda: method in self.heard)
        except TimeoutError:
            return False
        return True


def plain(model):
    return model.model_dump(by_alias=True, mode="json", exclude_none=True)


async def pages(fetch):
    """A list with all its pages as one."""
    whole = plain(await fetch())
    while cursor := whole.pop("nextCursor", None):
        for key, value in plain(await fetch(cursor=cursor)).items():
            whole[key] = whole[key] + value if isinstance(value, list) else value
    return whole


async def send_until(client, op, on_progress):
    """`send`, again until the result contains what the operation waits for."""
    end = asyncio.get_running_loop().time() + DEADLINE_S
    while True:
        result = await send(client, op, on_progress)
        done = op.get("until", "") in json.dumps(result, ensure_ascii=False)
        if done or asyncio.get_running_loop().time() > end:
            return result
        await asyncio.sleep(0.05)


async def send(client, op, on_progress):
    """One operation: the SDK's own method where it has one, a bare request elsewhere."""
    method, params = op["method"], op.get("params") or {}
    if method == "tools/call":
        return plain(
            await client.call_tool(
                params["name"],
                params.get("arguments"),
                read_timeout_seconds=DEADLINE_S,
                progress_callback=on_progress,
            )
        )
    lists = {
        "tools/list": client.list_tools,
        "resources/list": client.list_resources,
        "resources/templates/list": client.list_resource_templates,
        "prompts/list": client.list_prompts,
    }
    if method in lists:
        return await pages(lists[method])
    if method == "resources/read":
        return plain(await client.read_resource(params["uri"]))
    if method == "prompts/get":
        return plain(await client.get_prompt(params["name"], params.get("arguments")))
    if method == "completion/complete":
        kind = types.PromptReference if "name" in params["ref"] else types.ResourceTemplateReference
        return plain(await client.complete(kind(**params["ref"]), params["argument"]))
    if method == "resources/subscribe":
        return plain(await client.subscribe_resource(params["uri"]))
    if method == "logging/setLevel":
        return plain(await client.set_logging_level(params["level"]))
    if method == "ping":
        return plain(await client.send_ping())
    request = types.Request(method=method, params=None)
    return await client.session.send_request(request, TypeAdapter(dict), DEADLINE_S)


async def run(session, client, op):
    seen = {}
    enough = asyncio.Event()

    async def on_progress(progress, total, message):
        item = {"progress": progress, "total": total, "message": message}
        seen["progress"].append({k: v for k, v in item.items() if v is not None})
        if len(seen["progress"]) == op.get("cancel_after"):
            enough.set()

    if op.get("progress"):
        seen["progress"] = []
    call = asyncio.create_task(send_until(client, op, on_progress if op.get("progress") else None))
    if op.get("cancel_after"):
        waiting = asyncio.create_task(enough.wait())
        await asyncio.wait({call, waiting}, timeout=DEADLINE_S, return_when="FIRST_COMPLETED")
        waiting.cancel()
        call.cancel()
        await asyncio.wait({call})
        seen["error"] = {"cancelled": call.cancelled()}
        return seen
    try:
        seen["result"] = await call
    except MCPError as error:
        seen["error"] = {"code": error.code, "message": error.message, "data": error.data}
    if op.get("hear"):
        seen["heard"] = await session.hear(op["hear"])
    return seen


@asynccontextmanager
async def transport(endpoint):
    if "url" in endpoint:
        async with httpx2.AsyncClient(headers=endpoint.get("headers"), timeout=DEADLINE_S) as http:
            async with streamable_http_client(endpoint["url"], http_client=http) as streams:
                yield streams
    else:
        server = StdioServerParameters(
            command=endpoint["command"], args=endpoint["args"], env=endpoint.get("env")
        )
        with open("/dev/null", "w", encoding="utf-8") as quiet:
            async with stdio_client(server, errlog=quiet) as streams:
                yield streams


def causes(error):
    for inner in getattr(error, "exceptions", ()):
        yield from causes(inner)
    if not hasattr(error, "exceptions"):
        yield f"{type(error).__name__}: {error}"


async def main():
    job = json.load(sys.stdin)
    session = Session(job)
    answer = {"ops": {}}
    client = Client(
        transport(job["endpoint"]),
        mode=job.get("era", "auto"),
        read_timeout_seconds=DEADLINE_S,
        sampling_callback=session.sampling,
        elicitation_callback=session.elicitation,
        list_roots_callback=session.roots,
        message_handler=session.note,
        client_info=types.Implementation(name="hedgerow-interop-py", version="1.0.0"),
        cache=None,
    )
    try:
        async with client:
            answer["initialize"] = {
                "capabilities": plain(client.server_capabilities),
                "serverInfo": plain(client.server_info) if client.server_info else None,
                "instructions": client.instructions,
                "protocolVersion": client.protocol_version,
            }
            for op in job["ops"]:
                answer["ops"][op["name"]] = await run(session, client, op)
    except BaseException as error:  # reported whole: an exception group hides its parts
        answer["failed"] = "; ".join(causes(error))
    answer["served"] = sorted(session.served)
    json.dump(answer, sys.stdout)
    return 1 if "failed" in answer else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
