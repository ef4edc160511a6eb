"""Object format 1 against its vectors, and against everything that an attacker with the disk can do to a file."""

import hashlib
import json
import secrets
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadglass.crypto.stream import CHUNK, HEADER_LENGTH, STORED_CHUNK, Decryptor, Encryptor, plain_length, stored_length
from leadglass.errors import Damaged

CASES = json.loads((Path(__file__).parent / "vectors" / "object-v1.json").read_text())["cases"]
KEY, KEY_ID, OBJECT_ID = b"k" * 32, b"i" * 16, b"o" * 16


def _pattern(length: int) -> bytes:
    return bytes((i * 7 + i // 256) % 256 for i in range(length))


def _seal(plain: bytes, *, key: bytes = KEY, object_id: bytes = OBJECT_ID, salt: bytes | None = None) -> bytes:
    encryptor = Encryptor(key, KEY_ID, object_id, salt=salt)
    return b"".join([encryptor.header(), *encryptor.update(plain), encryptor.finish()])


def _open(stored: bytes, length: int, *, key: bytes = KEY, object_id: bytes = OBJECT_ID) -> bytes:
    return Decryptor(stored[:HEADER_LENGTH], key, object_id=object_id, length=length).open_chunks(0, stored[HEADER_LENGTH:])


@pytest.mark.parametrize("case", CASES, ids=lambda c: str(c["length"]))
def test_vectors(case: dict[str, str | int]) -> None:
    key, key_id, object_id, salt = (bytes.fromhex(str(case[n])) for n in ("key", "key_id", "object_id", "salt"))
    length = int(case["length"])
    encryptor = Encryptor(key, key_id, object_id, salt=salt)
    stored = b"".join([encryptor.header(), *encryptor.update(_pattern(length)), encryptor.finish()])
    assert stored[:HEADER_LENGTH].hex() == case["header"]
    assert len(stored) == case["stored_length"] == stored_length(length)
    assert hashlib.sha256(stored).hexdigest() == case["stored_sha256"]
    assert not case["stored"] or stored.hex() == case["stored"]
    assert plain_length(len(stored)) == length
    decryptor = Decryptor(stored[:HEADER_LENGTH], key, object_id=object_id, length=length)
    assert decryptor.open_chunks(0, stored[HEADER_LENGTH:]) == _pattern(length)


@given(st.lists(st.integers(0, 3 * CHUNK), max_size=6))
@settings(max_examples=30, deadline=None)
def test_pieces_of_any_size_give_the_same_object(sizes: list[int]) -> None:
    plain = _pattern(sum(sizes))
    whole = _seal(plain, salt=b"s" * 32)
    encryptor = Encryptor(KEY, KEY_ID, OBJECT_ID, salt=b"s" * 32)
    out, at = [encryptor.header()], 0
    for size in sizes:
        out += encryptor.update(plain[at : at + size])
        at += size
    assert b"".join([*out, encryptor.finish()]) == whole


def test_every_byte_that_is_changed_is_noticed() -> None:
    plain = secrets.token_bytes(100)
    stored = _seal(plain)
    for at in range(len(stored)):
        broken = bytearray(stored)
        broken[at] ^= 1
        with pytest.raises(Damaged):
            _open(bytes(broken), len(plain))


@given(st.integers(0, 3 * CHUNK + 50), st.data())
@settings(max_examples=40, deadline=None)
def test_any_range_is_read_alone(length: int, data: st.DataObject) -> None:
    plain = _pattern(length)
    stored = _seal(plain)
    offset = data.draw(st.integers(0, max(0, length - 1)))
    size = data.draw(st.integers(0, length - offset))
    decryptor = Decryptor(stored[:HEADER_LENGTH], KEY, object_id=OBJECT_ID, length=length)
    first, last = decryptor.span(offset, size)
    at, count = decryptor.stored_range(first, last)
    opened = decryptor.open_chunks(first, stored[at : at + count])
    assert opened[offset - first * CHUNK :][:size] == plain[offset : offset + size]


def test_cut_grown_moved_and_swapped_objects_are_refused() -> None:
    plain = _pattern(3 * CHUNK)
    stored = _seal(plain)
    body = [stored[HEADER_LENGTH + n * STORED_CHUNK :][:STORED_CHUNK] for n in range(3)]
    head = stored[:HEADER_LENGTH]
    for attack, parts, length in (
        ("cut at a chunk's end, with the index's length changed to fit", body[:2], 2 * CHUNK),
        ("grown by a chunk", [*body, body[2]], 4 * CHUNK), ("two chunks changed places", [body[1], body[0], body[2]], 3 * CHUNK),
        ("a chunk twice", [body[0], body[0], body[2]], 3 * CHUNK), ("the last chunk first", [body[2]], CHUNK),
    ):
        with pytest.raises(Damaged):
            _open(head + b"".join(parts), length)
            pytest.fail(attack)
    with pytest.raises(Damaged):
        plain_length(stored_length(CHUNK) + 10)  # a second chunk shorter than its tag
    with pytest.raises(Damaged, match="another object"):
        _open(stored, len(plain), object_id=b"x" * 16)
    with pytest.raises(Damaged, match="study's key"):
        _open(stored, len(plain), key=b"x" * 32)
    other = _seal(plain)
    with pytest.raises(Damaged):  # a chunk of another object of the same study
        _open(head + body[0] + other[HEADER_LENGTH + STORED_CHUNK :], len(plain))


def test_a_finished_object_takes_no_more() -> None:
    encryptor = Encryptor(KEY, KEY_ID, OBJECT_ID)
    encryptor.finish()
    with pytest.raises(RuntimeError):
        encryptor.update(b"x")
    with pytest.raises(RuntimeError):
        encryptor.finish()
