"""Protocol data units of the upper layer, sans-I/O; A-ASSOCIATE is in associate.py. Ref: PS3.8 9.3.

Every length is checked against what is there before anything is allocated; a broken unit is Malformed.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from leadglass.errors import Malformed

__all__ = [
    "ABORT", "ASSOCIATE_AC", "ASSOCIATE_RJ", "ASSOCIATE_RQ", "DATA", "HEADER", "MAX_ASSOCIATE", "RELEASE_RP",
    "RELEASE_RQ", "Pdv", "decode_data", "encode_abort", "encode_data", "encode_pieces", "encode_reject", "encode_release",
    "encode_release_reply",
]

ASSOCIATE_RQ: Final = 0x01
ASSOCIATE_AC: Final = 0x02
ASSOCIATE_RJ: Final = 0x03
DATA: Final = 0x04
RELEASE_RQ: Final = 0x05
RELEASE_RP: Final = 0x06
ABORT: Final = 0x07

HEADER: Final = struct.Struct(">BxI")  # type, reserved, length of what follows
MAX_ASSOCIATE: Final = 131_072  # 128 contexts with every transfer syntax there is fit well below
_PDV: Final = struct.Struct(">IBB")


@dataclass(frozen=True)
class Pdv:
    """One presentation data value."""

    context_id: int
    is_command: bool
    is_last: bool
    data: memoryview


def encode_reject(result: int, source: int, reason: int) -> bytes:
    """Return an A-ASSOCIATE-RJ. Ref: PS3.8 9.3.4."""
    return HEADER.pack(ASSOCIATE_RJ, 4) + bytes((0, result, source, reason))


def encode_release() -> bytes:
    """Return an A-RELEASE-RQ. Ref: PS3.8 9.3.6."""
    return HEADER.pack(RELEASE_RQ, 4) + bytes(4)


def encode_release_reply() -> bytes:
    """Return an A-RELEASE-RP. Ref: PS3.8 9.3.7."""
    return HEADER.pack(RELEASE_RP, 4) + bytes(4)


def encode_abort(source: int, reason: int) -> bytes:
    """Return an A-ABORT; source 0 the service user, 2 the provider. Ref: PS3.8 9.3.8."""
    return HEADER.pack(ABORT, 4) + bytes((0, 0, source, reason))


def encode_data(context_id: int, message: bytes, *, is_command: bool, max_length: int) -> bytes:
    """Return the P-DATA-TF units of a message, fragmented for a peer that takes `max_length` (0 = any)."""
    room = max(16, (max_length or 65536) - 6)
    pieces = [message[i : i + room] for i in range(0, len(message), room)] or [b""]
    out = bytearray()
    for number, piece in enumerate(pieces):
        control = int(is_command) | (2 if number == len(pieces) - 1 else 0)
        out += HEADER.pack(DATA, len(piece) + 6) + _PDV.pack(len(piece) + 2, context_id, control) + piece
    return bytes(out)


def encode_pieces(context_id: int, pieces: Iterable[bytes], *, max_length: int) -> Iterator[bytes]:
    """Give the P-DATA-TF units of a data set as its pieces come; the last one says so. Ref: PS3.8 9.3.5, E.2.

    Memory is a piece and a unit, whatever the length of the whole.
    """
    room = max(16, min(max_length or 65536, 65536) - 6) & ~1
    rest = bytearray()
    for piece in pieces:
        rest += piece
        out = bytearray()
        at = 0
        while len(rest) - at > room:
            out += HEADER.pack(DATA, room + 6) + _PDV.pack(room + 2, context_id, 0)
            out += memoryview(rest)[at : at + room]
            at += room
        if at:
            del rest[:at]
            yield bytes(out)
    yield HEADER.pack(DATA, len(rest) + 6) + _PDV.pack(len(rest) + 2, context_id, 2) + rest


def decode_data(body: memoryview) -> Iterator[Pdv]:
    """Give the values of a P-DATA-TF body; their data are views into it. Ref: PS3.8 9.3.5. Raises: Malformed."""
    if not len(body):  # a peer could stay for ever by sending nothing
        raise Malformed("a data unit without a value.")
    at = 0
    while at < len(body):
        if at + 6 > len(body):
            raise Malformed("a presentation data value is cut.")
        length, context_id, control = _PDV.unpack_from(body, at)
        end = at + 4 + length
        if length < 2 or end > len(body):
            raise Malformed("a presentation data value is longer than its unit.")
        yield Pdv(context_id, bool(control & 1), bool(control & 2), body[at + 6 : end])
        at = end
