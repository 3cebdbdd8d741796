#!/usr/bin/env python3
"""Checks the one object that `hedgerow demo --exit --format json` prints."""

import json
import re
import sys

ENVELOPE = re.compile(r"[0-9a-f]{64}")
NODE = re.compile(r"Qm[1-9A-HJ-NP-Za-km-z]{44}")


def signed(call, envelope):
    """The one node that signed an envelope of a call with both algorithms, or None."""
    mine = [s for s in call["signers"] if s["envelope"] == envelope]
    whole = sorted(s["algorithm"] for s in mine) == ["Ed25519", "ML-DSA-65"]
    by = {s["node_id"] for s in mine}
    return by.pop() if whole and len(by) == 1 else None


def problems(demo):
    nodes, links, calls = demo["nodes"], demo["links"], demo["calls"]
    if len(nodes) != 3 or len({n["id"] for n in nodes}) != 3:
        yield f"three different nodes were expected, not {len(nodes)}"
    for node in nodes:
        if not NODE.fullmatch(node["id"]):
            yield f"`{node['id']}` is no node id"
    if sorted((k["from"], k["to"]) for k in links) != [
        ("agent-host", "relay-host"),
        ("tool-host", "relay-host"),
    ]:
        yield "the links are others than both ends' with the relay"
    for link in links:
        if link["group"] != "X25519MLKEM768":
            yield f"a link negotiated `{link['group']}`"
        if "MLDSA65" not in re.sub(r"[^A-Z0-9]", "", link["signature_scheme"].upper()):
            yield f"a link authenticated with `{link['signature_scheme']}`"
        if not 0 < link["handshake_ms"] < 10_000:
            yield f"a handshake took {link['handshake_ms']} ms"
        if link["rtts"] < 1:
            yield f"a handshake took {link['rtts']} round trips"
    tools = {c["tool"].split("/")[-1].split("__")[-1] for c in calls}
    for tool in ("get_product_info", "check_inventory", "update_price"):
        if tool not in tools:
            yield f"`{tool}` was not called"
    seen = set()
    for call in calls:
        if call["ok"] is not True:
            yield f"`{call['tool']}` failed"
        if call["ms"] <= 0:
            yield f"`{call['tool']}` took {call['ms']} ms"
        ids = (call["request_envelope_id"], call["response_envelope_id"])
        if not all(ENVELOPE.fullmatch(i) for i in ids) or seen & set(ids) or len(set(ids)) != 2:
            yield f"`{call['tool']}` has the envelope ids {ids}"
        seen |= set(ids)
        ends = [signed(call, i) for i in ids]
        if not all(ends) or ends[0] == ends[1]:
            yield f"`{call['tool']}` was not signed by both ends, each with both algorithms"
        hops = [(h["node"], h["from"]) for h in call["hops"]]
        if hops != [("relay-host", "tool-host")]:
            yield f"the answer to `{call['tool']}` has the hop records {hops}"
        if not set(filter(None, ends)) <= {n["id"] for n in nodes}:
            yield f"`{call['tool']}` was signed by a node that is not there"
    for policy in demo["policies"]:
        spread = policy["spread"]
        if not policy["in_force"] or (spread["have"], spread["linked"]) != (3, 3):
            yield f"bundle {policy['version']} is not in force on three nodes"
    if [json.loads(p["policy"])["policy_name"] for p in demo["policies"]] != [
        "mcp_read_only_enforcement",
        "changes_need_approval",
    ]:
        yield "other policies than two"
    blocked, held, cut = demo["blocked"], demo["held"], demo["cut"]
    if blocked["tool"] != "update_price" or blocked["reason"] not in (
        "intent_restricted",
        "tool_not_allowed",
    ):
        yield f"`{blocked['tool']}` was blocked for `{blocked['reason']}`"
    if "mcp_read_only_enforcement" not in blocked["said"]:
        yield f"a blocked call does not name the policy: {blocked['said']}"
    if not re.fullmatch(r"[0-9a-f]{8,64}", held["approval"]) or held["tool"] != "update_price":
        yield f"a held call is {held}"
    if cut["reason"] != "agent_revoked" or "the demo cuts it off" not in cut["said"]:
        yield f"a live call ended with {cut}"
    if demo["tamper_refused"] is not True:
        yield "a tampered envelope was accepted"
    if not 0 < demo["elapsed_s"] < 60:
        yield f"it took {demo['elapsed_s']} s"


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        text = file.read()
    try:
        found = list(problems(json.loads(text)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        found = [f"the object has another shape: {error!r}"]
    for problem in found:
        print(problem)
    print(f"demo: {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
