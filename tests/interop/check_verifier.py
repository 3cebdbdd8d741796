#!/usr/bin/env python3
"""Runs verify_envelope.py on captured evidence, and on copies with one byte changed.

usage: check_verifier.py DIRECTORY

The evidence must be accepted; a copy with one byte changed in any part of any of the three
signed objects must be refused, and so must one changed anywhere else: every STRIDE-th byte of
the file is tried as well, each file from another start so that all together cover more. So must
copies whose signatures are stripped, swapped, doubled or given unprotected headers. Evidence of a
call that was sealed for relays must be among it: of that every part of what it is sealed with is
changed too, and of what it held, and what it held is left out or put in another's place.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import cbor2

import verify_envelope

VERIFIER = Path(verify_envelope.__file__)
STRIDE = 7
# Numbers of the claims that say what an envelope is sealed with, and its way.
ROUTE, SEALED = 20, 26


def parts(data):
    """Every byte string the file is made of, by name, with its offset in the file."""
    outer = cbor2.loads(data)
    found = {}

    def add(name, value, start, end):
        if value:
            offset = data.index(value, start, end)
            found[name] = (offset, len(value))

    for key, title in ((1, "root"), (2, "membership"), (3, "envelope")):
        start = data.index(outer[key])
        end = start + len(outer[key])
        found[title] = (start, len(outer[key]))
        protected, _, payload, signatures = cbor2.loads(outer[key]).value
        add(f"{title} header", protected, start, end)
        add(f"{title} payload", payload, start, end)
        for number, (head, _, signature) in enumerate(signatures):
            add(f"{title} signature header {number}", head, start, end)
            add(f"{title} kid {number}", cbor2.loads(head)[4], start, end)
            add(f"{title} signature {number}", signature, start, end)
        if title == "envelope" and 5 not in outer:
            held(add, payload, start, end)
        elif title == "envelope":
            claims = cbor2.loads(protected)[verify_envelope.OWN]
            for number, piece in claims.get(SEALED, {}).items():
                add(f"envelope sealed {number}", piece, start, end)
            for number, hop in enumerate(claims[ROUTE]):
                add(f"envelope route {number}", hop, start, end)
    if 5 in outer:
        start = data.index(outer[5])
        found["opened"] = (start, len(outer[5]))
        held(add, outer[5], start, start + len(outer[5]))
    return found


def held(add, payload, start, end):
    salt, body = cbor2.loads(payload)
    add("envelope salt", salt, start, end)
    add("envelope body", body, start, end)


def flipped(data, offset):
    copy = bytearray(data)
    copy[offset] ^= 0x01
    return bytes(copy)


def restructured(data):
    """Copies whose every byte string is intact, put together wrongly."""
    for key, title in ((1, "root"), (2, "membership"), (3, "envelope")):
        protected, _, payload, signatures = cbor2.loads(cbor2.loads(data)[key]).value
        post_quantum, classical = signatures[:2]
        head, _, signature = post_quantum
        for what, body_header, wrong in (
            ("without signatures", {}, []),
            ("without its classical signature", {}, [post_quantum]),
            ("without its post-quantum signature", {}, [classical]),
            ("with its signatures swapped", {}, [classical, post_quantum]),
            ("with one signature twice", {}, [post_quantum, post_quantum]),
            ("with three signatures", {}, [post_quantum, classical, classical]),
            ("signed twice by one signer", {}, [post_quantum, classical] * 2),
            ("with an unprotected header", {4: b"x"}, signatures),
            ("with an unprotected signature header", {}, [[head, {4: b"x"}, signature], classical]),
        ):
            evidence = cbor2.loads(data)
            tag = cbor2.CBORTag(98, [protected, body_header, payload, wrong])
            evidence[key] = cbor2.dumps(tag, canonical=True)
            yield f"its {title} {what}", cbor2.dumps(evidence, canonical=True)
    yield from reopened(data)
    evidence = cbor2.loads(data)
    yield "a fourth part", cbor2.dumps({**evidence, 4: b""}, canonical=True)
    yield "its map of indefinite length", b"\xbf" + data[1:] + b"\xff"


def reopened(data):
    """Copies in which what the envelope held is not what it was sealed from."""
    evidence = cbor2.loads(data)
    payload = cbor2.loads(evidence[3]).value[2]
    salt, body = cbor2.loads(evidence.get(5, payload))
    if 5 not in evidence:
        yield "what it holds a second time", cbor2.dumps({**evidence, 5: payload}, canonical=True)
        return
    without = {key: value for key, value in evidence.items() if key != 5}
    yield "nothing opened", cbor2.dumps(without, canonical=True)
    other = {"without its salt": [b"", body], "with another salt": [bytes(32), body],
             "with no body": [salt, b""], "longer by a space": [salt, body + b" "],
             "with a third part": [salt, body, b""]}
    for what, opened in other.items():
        wrong = cbor2.dumps(opened, canonical=True)
        yield f"what it held {what}", cbor2.dumps({**evidence, 5: wrong}, canonical=True)
    yield "what it held still sealed", cbor2.dumps({**evidence, 5: payload}, canonical=True)


def is_sealed(path):
    return 5 in cbor2.loads(path.read_bytes())


def accepted(data):
    """Whether the script, as a user runs it, accepts a file of these bytes."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        run = subprocess.run(
            [sys.executable, VERIFIER, file.name], capture_output=True, text=True, timeout=60
        )
    if run.returncode not in (0, 1) or "Traceback" in run.stderr:
        raise SystemExit(f"verify_envelope.py failed:\n{run.stderr}")
    return run.returncode == 0


def holds(data):
    try:
        verify_envelope.verify_evidence(data)
    except Exception:  # the script itself treats every error as a refusal
        return False
    return True


def check(path, number):
    data = path.read_bytes()
    problems = [] if accepted(data) else [f"{path.name} was refused"]
    named = parts(data)
    for name, (offset, length) in named.items():
        for at in {offset, offset + length // 2, offset + length - 1}:
            if holds(flipped(data, at)):
                problems.append(f"{path.name} was accepted with a byte changed in its {name}")
        if accepted(flipped(data, offset + length // 2)):
            problems.append(f"{path.name}: the script accepted a byte changed in its {name}")
    offsets = range(number % STRIDE, len(data), STRIDE)
    for at in offsets:
        if holds(flipped(data, at)):
            problems.append(f"{path.name} was accepted with byte {at} changed")
    for what, copy in restructured(data):
        if holds(copy):
            problems.append(f"{path.name} was accepted with {what}")
    for cut in (0, 1, len(data) // 2, len(data) - 1):
        if holds(data[:cut]):
            problems.append(f"{path.name} was accepted cut to {cut} bytes")
    if holds(data + b"\0"):
        problems.append(f"{path.name} was accepted with a byte behind it")
    print(f"{path.name}: accepted; refused with a change in {len(named)} parts, {len(offsets)} bytes")
    return problems


def main():
    files = sorted(p for p in Path(sys.argv[1]).rglob("*") if p.is_file())
    if not files:
        sys.exit(f"no evidence in `{sys.argv[1]}`")
    problems = [p for number, path in enumerate(files) for p in check(path, number)]
    if not any(map(is_sealed, files)):
        problems.append("no evidence of a sealed call")
    for problem in problems:
        print(problem)
    print(f"verifier: {len(files)} files, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
