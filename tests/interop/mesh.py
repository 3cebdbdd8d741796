"""Two nodes on this host, set up by the command line exactly as the README says.

`agents` founds the mesh and has the MCP clients; `tool-host` joins with files and has the MCP
servers. Both listen on ports the system chooses. Leaving the `with` block stops both.
"""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

# Longest any command of the CLI may take, and a node until it is ready.
COMMAND_S = 60
READY_S = 60
STOP_S = 30
AGENT = "interop"
PORTS = ("--listen", "127.0.0.1:0", "--gateway", "127.0.0.1:0")


class Node:
    """One node: its state directory and, while it runs, its process."""

    def __init__(self, binary: Path, directory: Path, name: str):
        self.binary, self.name = binary, name
        self.state = directory / name
        self.log = directory / f"{name}.log"
        self.process = None

    def words(self, *words):
        return [str(self.binary), "--state-dir", str(self.state), *words]

    def cli(self, *words, fails=False):
        """Runs one command; its one JSON object, or with `fails` its exit code and stderr."""
        run = subprocess.run(
            self.words("--format", "json", *words),
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            stdin=subprocess.DEVNULL,
        )
        if fails:
            return run.returncode, run.stderr
        if run.returncode != 0:
            raise SystemExit(f"`hedgerow {' '.join(words)}` on {self.name} failed:\n{run.stderr}")
        return json.loads(run.stdout)

    def start(self, *words):
        """Starts the node and waits until it says it is ready."""
        with self.log.open("ab") as log:
            # The pipe ends with this process, however it ends, and the node with the pipe.
            self.process = subprocess.Popen(
                self.words(*words, *PORTS, "--until-stdin-closes"),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        self.wait("readiness", lambda: self.cli("status", fails=True)[0] == 0)

    def wait(self, what, holds, seconds=READY_S):
        end = time.monotonic() + seconds
        while not holds():
            if self.process.poll() is not None:
                raise SystemExit(f"{self.name} ended: {self.log.read_text()[-3000:]}")
            if time.monotonic() > end:
                raise SystemExit(f"{self.name}: no {what} in {seconds} s: {self.tail()}")
            time.sleep(0.1)

    def tail(self):
        return self.log.read_text(encoding="utf-8", errors="replace")[-3000:]

    def stop(self):
        """SIGTERM, as a service manager would; the exit code."""
        if self.process is None:
            return None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return None


class Mesh:
    """Both nodes, the servers attached to one and an agent on the other."""

    def __init__(self, binary: Path, directory: Path, servers):
        self.agents = Node(binary, directory, "agents")
        self.tool_host = Node(binary, directory, "tool-host")
        self.there = self.tool_host.name
        self.directory, self.servers = directory, servers

    def __enter__(self):
        try:
            self.set_up()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.exit_codes = {n.name: n.stop() for n in (self.tool_host, self.agents)}

    def set_up(self):
        request, admission = self.directory / "b.request", self.directory / "b.admission"
        self.agents.start("up", "--name", self.agents.name, "--policy", "open")
        self.tool_host.cli("id", "--request", str(request))
        issue = ["membership", "issue", str(request), "--name", self.there]
        self.agents.cli(*issue, "--out", str(admission))
        self.tool_host.start("up", "--admission", str(admission))
        for server in self.servers:
            env = [w for k, v in server.env.items() for w in ("--env", f"{k}={v}")]
            how = ["--url", server.url] if server.url else [*env, "--", *server.command]
            self.tool_host.cli("server", "add", server.name, *how)
        agent = self.agents.cli("agent", "add", AGENT)
        self.url, self.token = agent["gateway_url"], agent["token"]
        self.await_servers()

    def await_servers(self):
        """Waits until the agents' node knows the tools of every server."""
        names = {server.name for server in self.servers}

        def known():
            code, _ = self.agents.cli("tools", fails=True)
            return code == 0 and names <= {t["server"] for t in self.agents.cli("tools")}

        self.agents.wait("tools of every server", known)

    def origin(self):
        return self.url.split("/mcp")[0]

    def http(self, path):
        headers = {"Authorization": f"Bearer {self.token}"}
        return {"url": self.origin() + path, "headers": headers}

    def stdio(self, server=None):
        words = self.agents.words("mcp", *(["--server", server] if server else []))
        return {"command": words[0], "args": words[1:]}

    def upstreams(self, fragment):
        """Processes below the tool host whose command line contains `fragment`, newest first."""
        parents, commands = {}, {}
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                stat = Path(f"/proc/{entry}/stat").read_text(encoding="utf-8", errors="replace")
                line = Path(f"/proc/{entry}/cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            parents[int(entry)] = int(stat.rsplit(")", 1)[1].split()[1])
            commands[int(entry)] = line

        def below(pid):
            while pid in parents:
                pid = parents[pid]
                if pid == self.tool_host.process.pid:
                    return True
            return False

        return sorted((p for p in commands if fragment in commands[p] and below(p)), reverse=True)
