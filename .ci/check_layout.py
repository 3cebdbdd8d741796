#!/usr/bin/env python3
"""Checks what the compiler does not: which crate and which module may use which.

protocol <- crypto <- node <- cli; protocol <- simulations; nothing depends on simulations or
tests. `protocol` pulls in nothing that does I/O. `cli` names the crate `node` in one file.
`gateway -> enforcement -> store`: transport and store import no siblings.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

# Workspace crates each may depend on, for whatever purpose.
ALLOWED = {
    "protocol": set(),
    "hedgerow-crypto": {"protocol"},
    "node": {"protocol", "hedgerow-crypto"},
    "hedgerow": {"protocol", "hedgerow-crypto", "node"},
    "simulations": {"protocol"},
    "tests": {"protocol", "hedgerow-crypto", "node", "simulations"},
}

# Crates that open sockets or files, read clocks or the environment, or draw randomness.
WITH_IO = set(
    "tokio tokio-util async-std smol async-io mio polling socket2 futures-timer quinn quinn-proto "
    "libp2p hyper axum reqwest rustls redb rustix libc nix getrandom rand rand_core fastrand uuid "
    "chrono time jiff web-time instant tempfile aws-lc-rs aws-lc-sys ed25519-dalek ring".split()
)

# Where Cedar, which evaluates and does no I/O, gets to such crates all the same: its calendar type
# is chrono's, without the clock (checked below); it measures its stack through libc; and what
# serde_with could convert between is in the metadata whether switched on or not.
WITHIN_CEDAR = {
    ("cedar-policy-core", "chrono"),
    ("stacker", "libc"),
    *(("serde_with", name) for name in ("chrono", "time", "jiff")),
}
CLOCK_FEATURES = {"clock", "now"}

# The one file of the command line that runs the daemon in the foreground.
RUNS_THE_NODE = Path("cli/src/commands/run.rs")

# Modules of `node` that import no siblings, and the siblings meant.
LEAVES = ("transport", "store")
SIBLINGS = "app call control enforcement gateway overlay page store transport upstream".split()

# Longest source file, in lines.
MAX_LINES = 800


def metadata():
    command = ["cargo", "metadata", "--format-version", "1", "--locked"]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def check_crates(meta):
    names = {p["name"]: p for p in meta["packages"] if p["id"] in meta["workspace_members"]}
    for name, package in names.items():
        if name not in ALLOWED:
            yield f"crate `{name}` has no dependency rule: add one to {Path(__file__).name}"
            continue
        # What only tests use may point the other way: protocol tests itself on real signatures.
        shipped = [d for d in package["dependencies"] if d["kind"] != "dev"]
        uses = {d["name"] for d in shipped} & names.keys()
        for other in sorted(uses - ALLOWED[name]):
            yield f"crate `{name}` depends on `{other}`"


def check_protocol(meta):
    """Every crate that ends up in a build of `protocol`, build scripts and macros left out."""
    packages = {p["id"]: p for p in meta["packages"]}
    nodes = {n["id"]: n for n in meta["resolve"]["nodes"]}
    todo = [i for i in meta["workspace_members"] if packages[i]["name"] == "protocol"]
    if len(todo) != 1:
        yield "no crate `protocol`"
    seen = set()
    while todo:
        package = todo.pop()
        if package in seen:
            continue
        seen.add(package)
        name = packages[package]["name"]
        if name in WITH_IO:
            yield f"`protocol` ends up with `{name}`, which does I/O"
        for dep in nodes[package]["deps"]:
            used = packages[dep["pkg"]]["name"]
            if (name, used) in WITHIN_CEDAR:
                continue
            kinds = dep["dep_kinds"]
            macro = any("proc-macro" in t["kind"] for t in packages[dep["pkg"]]["targets"])
            linux = any(k["kind"] is None and not_for_others(k["target"]) for k in kinds)
            if linux and not macro:
                todo.append(dep["pkg"])


def check_chrono():
    """Built for `protocol` alone, chrono must not be able to read a clock."""
    command = "cargo tree --locked -p protocol -e normal --prefix none -f".split()
    tree = subprocess.run([*command, "{p}|{f}"], check=True, capture_output=True, text=True)
    for line in tree.stdout.splitlines():
        crate, _, features = line.partition("|")
        if crate.startswith("chrono ") and CLOCK_FEATURES & set(features.split(" (")[0].split(",")):
            yield "`protocol` ends up with chrono's clock"


def not_for_others(target):
    return target is None or not re.search(r"windows|wasm|macos|apple", target)


def code_lines(path):
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.lstrip().startswith("//"):
            yield number, line


def check_sources():
    for path in sorted(Path("cli/src").rglob("*.rs")):
        if path == RUNS_THE_NODE:
            continue
        for number, line in code_lines(path):
            if re.search(r"(?<![\w:.])node::|\buse node\b|extern crate node\b", line):
                yield f"{path}:{number} uses the crate `node`; only {RUNS_THE_NODE} may"
    for leaf in LEAVES:
        others = "|".join(s for s in SIBLINGS if s != leaf)
        files = [Path(f"node/src/{leaf}.rs"), *sorted(Path(f"node/src/{leaf}").rglob("*.rs"))]
        for path in filter(Path.exists, files):
            for number, line in code_lines(path):
                if found := re.search(rf"\bcrate::({others})\b", line):
                    yield f"{path}:{number} `{leaf}` imports its sibling `{found[1]}`"
    for root in ("protocol", "node", "cli", "simulations", "tests", "fuzz"):
        for path in sorted(Path(root).rglob("*.rs")):
            if "target" not in path.parts:
                lines = path.read_text(encoding="utf-8").count("\n")
                if lines > MAX_LINES:
                    yield f"{path} has {lines} lines; {MAX_LINES} is the most"


def main():
    meta = metadata()
    problems = [*check_crates(meta), *check_protocol(meta), *check_chrono(), *check_sources()]
    for problem in problems:
        print(problem)
    print(f"layout: {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
