"""Make the test vectors of the object and ledger formats, from the documents alone: no code of the server is used.

    .venv/bin/python tools/make_vectors.py      # writes tests/crypto/vectors/*.json

Vectors of a released version are never changed; new cases are added.
"""

import base64
import hashlib
import hmac
import json
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

OUT = Path(__file__).resolve().parent.parent / "tests" / "crypto" / "vectors"


def pattern(length: int) -> bytes:
    """Plaintext that is not stored in the vectors: byte i is (i * 7 + i // 256) % 256."""
    return bytes((i * 7 + i // 256) % 256 for i in range(length))


def seal_object(key: bytes, key_id: bytes, object_id: bytes, salt: bytes, plain: bytes) -> bytes:
    """docs/reference/object-format.md, line by line."""
    info = b"leadglass object v1" + key_id + object_id
    prk = hmac.new(salt, key, hashlib.sha256).digest()
    t1 = hmac.new(prk, info + b"\x01", hashlib.sha256).digest()
    t2 = hmac.new(prk, t1 + info + b"\x02", hashlib.sha256).digest()
    header = b"LEADOBJ\x00" + bytes([1, 16]) + bytes(6) + key_id + object_id + salt + t2
    assert len(header) == 112
    chunks = [plain[i : i + 65536] for i in range(0, len(plain), 65536)] or [b""]
    sealed = [
        AESGCM(t1).encrypt(n.to_bytes(11, "big") + (b"\x01" if n == len(chunks) - 1 else b"\x00"), chunk,
                           hashlib.sha256(header).digest())
        for n, chunk in enumerate(chunks)
    ]
    return header + b"".join(sealed)


def object_vectors() -> dict:
    cases = []
    for length in (0, 1, 15, 65535, 65536, 65537, 131072, 200000):
        key = hashlib.sha256(b"key %d" % length).digest()
        key_id, object_id = (hashlib.sha256(b"%s %d" % (w, length)).digest()[:16] for w in (b"key id", b"object id"))
        salt = hashlib.sha256(b"salt %d" % length).digest()
        stored = seal_object(key, key_id, object_id, salt, pattern(length))
        cases.append({
            "length": length, "key": key.hex(), "key_id": key_id.hex(), "object_id": object_id.hex(), "salt": salt.hex(),
            "header": stored[:112].hex(), "stored_length": len(stored), "stored_sha256": hashlib.sha256(stored).hexdigest(),
            "stored": stored.hex() if length < 100 else "", "expect": "opens",
        })
    return {"about": "object format 1; plaintext byte i is (i * 7 + i // 256) % 256", "cases": cases}


def root_of(leaves: list[bytes]) -> bytes:
    """RFC 6962 2.1, as it is written there."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + root_of(leaves[:k]) + root_of(leaves[k:])).digest()


def ledger_vectors() -> dict:
    entries, leaves = [], []
    for n in range(9):
        record = json.dumps({"v": 1, "n": n, "name": "Ä" * n}, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        salt = hashlib.sha256(b"ledger salt %d" % n).digest()
        entry = b"leadglass-entry-v1\n" + hashlib.sha256(salt + record).hexdigest().encode() + b"\n"
        leaves.append(hashlib.sha256(b"\x00" + entry).digest())
        entries.append({"record": record.decode(), "salt": salt.hex(), "leaf": leaves[-1].hex(), "root": root_of(leaves).hex()})
    seed = hashlib.sha256(b"ledger key").digest()
    key = Ed25519PrivateKey.from_private_bytes(seed)
    public = key.public_key().public_bytes_raw()
    name = "pacs.example.org/leadglass"
    text = f"{name}\n{len(leaves)}\n{base64.b64encode(root_of(leaves)).decode()}\n"
    key_id = hashlib.sha256(name.encode() + b"\n\x01" + public).digest()[:4]
    note = f"{text}\n— {name} {base64.b64encode(key_id + key.sign(text.encode())).decode()}\n"
    vkey = f"{name}+{key_id.hex()}+{base64.b64encode(bytes([1]) + public).decode()}"
    return {"about": "ledger format 1", "entries": entries, "seed": seed.hex(), "checkpoint": {"name": name, "vkey": vkey, "note": note}}


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    for name, vectors in (("object-v1", object_vectors()), ("ledger-v1", ledger_vectors())):
        (OUT / f"{name}.json").write_text(json.dumps(vectors, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
