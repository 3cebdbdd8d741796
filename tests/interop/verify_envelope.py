#!/usr/bin/env python3
"""Verifies a Hedgerow evidence file with none of Hedgerow's code; prints its claims as JSON.

usage: verify_envelope.py FILE [MESH_ID]        exit code 0: it holds; 1: it does not, and why

FILE is a CBOR map {1: root, 2: membership of the envelope's issuer, 3: envelope}, each a COSE_Sign
(RFC 9052); of an envelope that was sealed for relays also 5: what it held, salt and body, which its
signed header has the digest of. That the mesh is the one you mean is proven only by MESH_ID, had from elsewhere.
"""

import hashlib
import json
import sys
from pathlib import Path

import cbor2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PublicKey

ML_DSA_65, ED25519 = -49, -19  # RFC 9964, RFC 9864: the order in which they stand
PREFIX = "application/vnd.hedgerow."
CWT = {1: "iss", 2: "sub", 3: "aud", 4: "exp", 6: "iat", 7: "cti"}  # RFC 8392
KINDS, DIRECTIONS = ["", "request", "notification", "response"], ["", "to_server", "to_client"]
CLAIMS = dict(enumerate(
    "suite document mesh kind direction request_id session sequence parent server method name "
    "tool_digest body_digest intents labels posture site bundle_version route last_sequence "
    "stream_hash human bridged first_issued sealed intent_rules".split(), 1))
OWN = -65537  # the private-use header label of Hedgerow's own claims


def need(holds, why):
    if not holds:
        raise ValueError(why)


def decode(data, what):
    """The one deterministic encoding of a value, or nothing."""
    need(isinstance(data, bytes), f"{what}: not a byte string")
    value = cbor2.loads(data)
    need(cbor2.dumps(value, canonical=True) == data, f"{what}: not deterministic CBOR")
    return value


def joined(label, *parts):
    """SHA-256 over the label and the parts, each preceded by its length (32 bits, big-endian)."""
    whole = b"".join(len(p).to_bytes(4, "big") + p for p in (label.encode(), *parts))
    return hashlib.sha256(whole).digest()


def kids(keys):
    """SHA-256 of each public COSE_Key of a signing set {1: ML-DSA-65, 2: Ed25519}."""
    need(set(keys) == {1, 2} and len(keys[1]) == 1952 and len(keys[2]) == 32, "a malformed key set")
    pair = {1: 7, 3: ML_DSA_65, -1: keys[1]}, {1: 1, 3: ED25519, -1: 6, -2: keys[2]}
    return [hashlib.sha256(cbor2.dumps(key, canonical=True)).digest() for key in pair]


def parse(data, content_type):
    """Shape and content type of a COSE_Sign: its header, payload and signatures."""
    message = decode(data, content_type)
    need(isinstance(message, cbor2.CBORTag) and message.tag == 98, "not a COSE_Sign")
    protected, unprotected, payload, signatures = message.value
    need(unprotected == {} and all(s[1] == {} for s in signatures), "an unprotected header")
    header = decode(protected, "header")
    need(header.get(3) == f"{PREFIX}{content_type}+cbor", f"not a {content_type}")
    return header, payload, (protected, signatures)


def verify(parsed, payload, key_sets, threshold, aad):
    """Every pair must be a complete, valid pair of a different key set; how many must there be."""
    protected, signatures = parsed
    need(signatures and len(signatures) % 2 == 0, "not whole pairs of signatures")
    known, signers = {tuple(kids(keys)): keys for keys in key_sets}, set()
    for pair in zip(signatures[::2], signatures[1::2]):
        heads = [decode(s[0], "signature header") for s in pair]
        named = tuple(head.get(4) for head in heads)
        exact = [{1: alg, 4: kid} for alg, kid in zip((ML_DSA_65, ED25519), named)]
        need(heads == exact, "a signature header is not exactly algorithm and key id, in order")
        need(named in known and named not in signers, "a key id of nobody who may sign here")
        signers.add(named)
        public = (MLDSA65PublicKey.from_public_bytes(known[named][1]),
                  Ed25519PublicKey.from_public_bytes(known[named][2]))
        for key, (head, _, signature) in zip(public, pair):
            key.verify(signature, cbor2.dumps(["Signature", protected, head, aad, payload]))
    need(len(signers) >= threshold, "too few signers")
    return signers


def verify_evidence(data, expected_mesh=None):
    """Everything; returns the envelope's claims."""
    evidence = decode(data, "file")
    need(isinstance(evidence, dict) and set(evidence) - {5} == {1, 2, 3}, "not an evidence file")
    header, payload, parsed = parse(evidence[1], "root")
    root = decode(payload, "root")
    genesis = set(header) == {3} and 3 not in root and (root[1], root[2], root[5]) == (1, 1, 1)
    need(genesis and 1 <= root[8] <= len(root[7]), "not a genesis root")
    verify(parsed, payload, root[7], root[8], b"")
    mesh = joined("hedgerow/v1/mesh-id", payload)
    need(expected_mesh in (None, mesh.hex()), f"of mesh {mesh.hex()}")

    header, payload, parsed = parse(evidence[2], "membership")
    member = decode(payload, "membership")
    need(set(header) == {3} and member[1] == mesh, "a membership of another mesh")
    [signer] = verify(parsed, payload, [i[1] for i in root[9]], 1, mesh)
    [issuer] = [i for i in root[9] if tuple(kids(i[1])) == signer]
    groups, sites = issuer.get(2, member[5]), issuer.get(3, [member.get(6)])
    granted = set(member[5]) <= set(groups) and member.get(6) in [None, *sites]
    need(granted and 0 < member[8] - member[7] <= issuer[4], "beyond what its issuer may grant")
    need(len(member[2]) == 1984, "a malformed TLS key")
    node = node_text(hashlib.sha256(member[2]).digest())

    sealed = 5 in evidence
    header, payload, parsed = parse(evidence[3], "sealed-envelope" if sealed else "envelope")
    need(set(header) == {3, 15, OWN} and set(header[15]) == set(CWT), "another header")
    cwt = {CWT[k]: v for k, v in header[15].items()}
    claims = {CLAIMS[k]: v for k, v in header[OWN].items()}
    need((claims["suite"], claims["document"], claims["mesh"]) == (1, 1, mesh), "a foreign mesh")
    need(cwt["iss"] == node, "the membership is not that of the envelope's issuer")
    need(0 < cwt["exp"] - cwt["iat"] <= 60, "it lives too long")
    need(member[7] <= cwt["iat"] + 5 and cwt["iat"] < member[8], "signed outside the membership")
    need(len(parsed[1]) == 2, "more than one signer")
    verify(parsed, payload, [member[3]], 1, mesh)
    need((len(claims["route"]) > 2) == sealed, "sealed without a relay, or not with one")
    salt, body = decode(evidence[5] if sealed else payload, "payload")
    digest = joined("hedgerow/v1/body-digest", salt, body)
    need(len(salt) == 32 and claims["body_digest"] == digest, "the body has another digest")

    claims |= {"kind": KINDS[claims["kind"]], "direction": DIRECTIONS[claims["direction"]],
               "route": [node_text(hop) for hop in claims["route"]]}
    envelope_id = joined("hedgerow/v1/envelope-id", mesh, parsed[0], payload)
    return {"envelope_id": envelope_id, "issuer_name": member[4], "groups": member[5],
            **cwt, **claims, "kids": kids(member[3]), "body": json.loads(body)}


def base58(number):
    alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
    return base58(number // 58) + alphabet[number % 58] if number else ""


def node_text(digest):
    return base58(int.from_bytes(b"\x12\x20" + digest, "big"))


def main():
    try:
        claims = verify_evidence(Path(sys.argv[1]).read_bytes(), *sys.argv[2:3])
    except Exception as error:  # whatever a hostile file provokes is a refusal
        sys.exit(f"refused: {str(error) or type(error).__name__}")
    print(json.dumps(claims, indent=2, default=lambda value: value.hex()))


if __name__ == "__main__":
    main()
