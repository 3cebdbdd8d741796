"""The MCP servers of the interop run: how each is started, on what data, and what is asked of it.

An operation is what a client does in one step, the same for every client:

    {"name", "method", "params"?, "progress"?, "cancel_after"?, "hear"?, "until"?}

`progress` asks for progress notifications; `cancel_after` cancels at that many of them; `hear`
waits for a notification of that method afterwards; `until` repeats the operation until its
result contains a text. `same` is false where even the server alone answers differently twice.
"""

import os
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

# What stands for "somebody, at some time" in the repository the git server shows.
WHO = {
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_AUTHOR_DATE": "2026-01-02T03:04:05+0000",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
}
WHO |= {key.replace("AUTHOR", "COMMITTER"): value for key, value in WHO.items() if "AUTHOR" in key}

# A text that breaks every shortcut: quotes, escapes, two-unit characters, a line separator.
AWKWARD = 'quote " slash \\ tab \t accent é snow ☃ pair 😀 separator \u2028 end'


@dataclass
class Server:
    name: str
    command: list[str]
    ops: list[dict]
    # Where its files are; `lay_out` puts them there.
    data: Path
    # Set when it is attached by URL: it then runs beside the nodes, not below one.
    url: str | None = None
    env: dict[str, str] = field(default_factory=dict)
    roots: list[dict] = field(default_factory=list)
    # Tool calls of the inspector: tool and arguments.
    inspect: list[tuple[str, dict]] = field(default_factory=list)

    @property
    def endpoint(self):
        if self.url:
            return {"url": self.url, "headers": {}}
        return {"command": self.command[0], "args": self.command[1:], "env": self.env or None}


def op(name, method, /, _same=True, **more):
    keys = ("progress", "cancel_after", "hear", "until")
    extra = {key: more.pop(key) for key in keys if key in more}
    return {"name": name, "method": method, "same": _same, **extra} | (
        {"params": more} if more else {}
    )


def call(name, tool, arguments, **more):
    same = more.pop("same", True)
    params = {"name": tool, "arguments": arguments}
    return op(name, "tools/call", same, **more) | {"params": params}


LISTS = [op("tools", "tools/list")]
MORE_LISTS = [
    op("prompts", "prompts/list"),
    op("resources", "resources/list"),
    op("templates", "resources/templates/list"),
]


def everything(node, packages, data):
    ops = [
        *LISTS,
        *MORE_LISTS,
        op("ping", "ping"),
        call("echo", "echo", {"message": AWKWARD}),
        call("large echo", "echo", {"message": "0123456789abcdef" * 16384}),
        call("sum", "get-sum", {"a": 1.5, "b": -2}),
        call("structured", "get-structured-content", {"location": "New York"}),
        call("image", "get-tiny-image", {}),
        call("links", "get-resource-links", {"count": 3}),
        call(
            "annotated", "get-annotated-message", {"messageType": "success", "includeImage": True}
        ),
        call("wrong arguments", "get-sum", {"a": "x"}),
        call("unknown tool", "no-such-tool", {}),
        op("unknown method", "no/such/method"),
        op("read", "resources/read", uri="demo://resource/static/document/features.md"),
        op("read template", "resources/read", False, uri="demo://resource/dynamic/text/1"),
        op("read nothing", "resources/read", uri="demo://resource/no/such"),
        op("prompt", "prompts/get", name="simple-prompt"),
        op(
            "prompt with arguments",
            "prompts/get",
            **{"name": "args-prompt", "arguments": {"city": "Zürich", "state": AWKWARD}},
        ),
        op("unknown prompt", "prompts/get", name="no-such-prompt"),
        op(
            "completion",
            "completion/complete",
            ref={"type": "ref/prompt", "name": "completable-prompt"},
            argument={"name": "department", "value": "E"},
        ),
        call(
            "progress",
            "trigger-long-running-operation",
            {"duration": 0.4, "steps": 4},
            progress=True,
        ),
        call(
            "cancel",
            "trigger-long-running-operation",
            {"duration": 60, "steps": 600},
            progress=True,
            cancel_after=2,
        ),
        call("after cancel", "echo", {"message": "still here"}),
        call("sampling", "trigger-sampling-request", {"prompt": AWKWARD, "maxTokens": 10}),
        call("elicitation", "trigger-elicitation-request", {}),
        call("roots", "get-roots-list", {}, until="file:///srv/example"),
        op("subscribe", "resources/subscribe", uri="demo://resource/dynamic/text/2"),
        call("updates", "toggle-subscriber-updates", {}, hear="notifications/resources/updated"),
        op("level", "logging/setLevel", level="debug"),
        call("logging", "toggle-simulated-logging", {}, hear="notifications/message"),
    ]
    return Server(
        "everything",
        [node, f"{packages}/@modelcontextprotocol/server-everything/dist/index.js", "stdio"],
        ops,
        data,
        roots=[{"uri": "file:///srv/example", "name": "example"}],
        inspect=[("echo", {"message": AWKWARD}), ("get-sum", {"a": 2, "b": 3})],
    )


def filesystem(node, packages, data):
    """Told one directory at its start and another by the client's roots, which must win."""
    told, root = data / "told", data / "root"
    ops = [
        *LISTS,
        call("allowed", "list_allowed_directories", {}, until=str(root)),
        call("list", "list_directory", {"path": str(root)}),
        call("tree", "directory_tree", {"path": str(root)}),
        call("read", "read_text_file", {"path": str(root / "awkward ☃.txt")}),
        call("read binary", "read_media_file", {"path": str(root / "pixel.png")}),
        call("write", "write_file", {"path": str(root / "new.txt"), "content": AWKWARD}),
        call("read back", "read_text_file", {"path": str(root / "new.txt")}),
        call("outside", "read_text_file", {"path": "/etc/hostname"}),
    ]
    return Server(
        "files",
        [node, f"{packages}/@modelcontextprotocol/server-filesystem/dist/index.js", str(told)],
        ops,
        data,
        roots=[{"uri": root.as_uri(), "name": "root"}],
        inspect=[("list_directory", {"path": str(told)})],
    )


def git(python, data):
    repository = str(data / "repository")
    ops = [
        *LISTS,
        call("log", "git_log", {"repo_path": repository, "max_count": 5}),
        call("show", "git_show", {"repo_path": repository, "revision": "HEAD"}),
        call("status", "git_status", {"repo_path": repository}),
        call("diff", "git_diff_unstaged", {"repo_path": repository}),
        call("add", "git_add", {"repo_path": repository, "files": ["a.txt"]}),
        call("staged", "git_diff_staged", {"repo_path": repository}),
        call("bad revision", "git_show", {"repo_path": repository, "revision": "no-such"}),
        call("outside", "git_log", {"repo_path": "/"}),
    ]
    return Server(
        "git",
        [python, "-m", "mcp_server_git", "--repository", repository],
        ops,
        data,
        env={key: value for key, value in WHO.items() if key.startswith("GIT_CONFIG")},
        inspect=[("git_log", {"repo_path": repository, "max_count": 1})],
    )


def memory(node, packages, data):
    entity = {"name": "Ada ☃", "entityType": "person", "observations": [AWKWARD]}
    ops = [
        *LISTS,
        call("create", "create_entities", {"entities": [entity]}),
        call("graph", "read_graph", {}),
        call("search", "search_nodes", {"query": "Ada"}),
    ]
    return Server(
        "memory",
        [node, f"{packages}/@modelcontextprotocol/server-memory/dist/index.js"],
        ops,
        data,
        env={"MEMORY_FILE_PATH": str(data / "memory.jsonl")},
    )


def clock(python, data):
    wrong = {"source_timezone": "UTC", "time": "25:99", "target_timezone": "UTC"}
    ops = [
        *LISTS,
        call("now", "get_current_time", {"timezone": "Asia/Tokyo"}, same=False),
        call("bad time", "convert_time", wrong),
    ]
    return Server("time", [python, "-m", "mcp_server_time", "--local-timezone", "UTC"], ops, data)


def by_url(server, url):
    """The same server over streamable HTTP. It tells its session's id in these two answers."""
    tells = ("toggle-subscriber-updates", "toggle-simulated-logging")
    ops = [o | {"same": o["same"] and o.get("params", {}).get("name") not in tells} for o in server.ops]
    return replace(server, name=f"{server.name}-url", url=url, ops=ops)


@contextmanager
def serving(server):
    """`server-everything` over streamable HTTP on a free port of loopback; its URL."""
    for _ in range(5):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        process = subprocess.Popen(
            [*server.command[:-1], "streamableHttp"],
            env={**os.environ, "PORT": str(port)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            if answers(process, port):
                yield f"http://127.0.0.1:{port}/mcp"
                return
        finally:
            process.kill()
            process.wait()
    raise SystemExit("server-everything found no port")


def answers(process, port):
    """Whether somebody listens on the port before the process ends (another took the port)."""
    end = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.05)
    return False


def all_servers(node, packages, python, data):
    return [
        everything(node, packages, data / "everything"),
        filesystem(node, packages, data / "files"),
        git(python, data / "git"),
        memory(node, packages, data / "memory"),
        clock(python, data / "time"),
    ]


def lay_out(data: Path):
    """The servers' data as it is before every pass. Directories stay: servers hold them open."""
    for directory in ("told", "root", "repository"):
        (data / directory).mkdir(parents=True, exist_ok=True)
    (data / "told" / "told.txt").write_text("told\n", encoding="utf-8")
    (data / "root" / "awkward ☃.txt").write_text(AWKWARD, encoding="utf-8", newline="")
    pixel = "89504e470d0a1a0a0000000d4948445200000001000000010806000000001f15c489"
    (data / "root" / "pixel.png").write_bytes(bytes.fromhex(pixel))
    (data / "root" / "new.txt").unlink(missing_ok=True)
    (data / "memory.jsonl").unlink(missing_ok=True)
    repository = data / "repository"

    def run(*words):
        environment = {**os.environ, **WHO}
        subprocess.run(["git", *words], cwd=repository, env=environment, check=True, timeout=30)

    if not (repository / ".git").exists():
        run("init", "--quiet", "--initial-branch=main")
        (repository / "a.txt").write_text("one\n", encoding="utf-8")
        run("add", "a.txt")
        run("commit", "--quiet", "--message=A first line")
    run("reset", "--quiet", "--hard", "HEAD")
    (repository / "a.txt").write_text(f"one\n{AWKWARD}\n", encoding="utf-8", newline="")
