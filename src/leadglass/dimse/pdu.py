"""Protocol data units of the upper layer, sans-I/O. Ref: PS3.8 9.3.

Every length is checked against what is there before anything is allocated; a broken unit is Malformed.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from leadglass.dicom.part10 import IMPLEMENTATION_CLASS_UID
from leadglass.errors import Malformed

__all__ = [
    "ABORT", "ASSOCIATE_AC", "ASSOCIATE_RJ", "ASSOCIATE_RQ", "DATA", "HEADER", "MAX_ASSOCIATE", "RELEASE_RP",
    "RELEASE_RQ", "AssociateRequest", "Pdv", "decode_associate", "decode_data", "encode_abort", "encode_accept",
    "encode_data", "encode_reject", "encode_release_reply",
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
_ITEM: Final = struct.Struct(">BxH")
_PDV: Final = struct.Struct(">IBB")
_MAX_CONTEXTS: Final = 128
_MAX_SYNTAXES: Final = 64
_APPLICATION: Final = b"1.2.840.10008.3.1.1.1"
_IMPLEMENTATION_UID: Final = IMPLEMENTATION_CLASS_UID.encode("ascii")
_IMPLEMENTATION_NAME: Final = b"LEADGLASS"


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A presentation context as proposed."""

    id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class AssociateRequest:
    """An A-ASSOCIATE-RQ; titles without their padding."""

    called_ae: str
    calling_ae: str
    proposals: tuple[Proposal, ...]
    max_length: int = 0  # 0 = no limit
    raw_titles: bytes = field(default=bytes(64), repr=False)  # bytes 11-74, which the answer repeats


@dataclass(frozen=True)
class Pdv:
    """One presentation data value."""

    context_id: int
    is_command: bool
    is_last: bool
    data: memoryview


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Give (type, value) of the items in `data`. Raises: Malformed."""
    at = 0
    while at < len(data):
        if at + 4 > len(data):
            raise Malformed("an association item is cut.")
        kind, length = _ITEM.unpack_from(data, at)
        at += 4
        if at + length > len(data):
            raise Malformed("an association item is longer than its request.")
        yield kind, data[at : at + length]
        at += length


def decode_associate(body: bytes) -> AssociateRequest:
    """Return the request of an A-ASSOCIATE-RQ body (after its 6-byte header). Ref: PS3.8 9.3.2. Raises: Malformed."""
    if len(body) < 68:
        raise Malformed("an association request is too short.")
    (version,) = struct.unpack_from(">H", body)
    if not version & 1:
        raise Malformed("an association request of an unknown protocol version.")
    proposals: list[Proposal] = []
    max_length = 0
    for kind, value in _items(body[68:]):
        if kind == 0x10 and _text(value) != _APPLICATION.decode():
            raise Malformed("an unknown application context.")
        if kind == 0x20:
            if len(proposals) >= _MAX_CONTEXTS:
                raise Malformed("more than 128 presentation contexts.")
            proposals.append(_proposal(value))
        if kind == 0x50:
            for sub, content in _items(value):
                if sub == 0x51 and len(content) == 4:
                    (max_length,) = struct.unpack(">I", content)
    if not proposals or len({p.id for p in proposals}) != len(proposals):
        raise Malformed("presentation contexts are missing or stand twice.")
    return AssociateRequest(
        called_ae=_text(body[4:20]), calling_ae=_text(body[20:36]), proposals=tuple(proposals),
        max_length=max_length, raw_titles=bytes(body[4:68]),
    )


def _proposal(value: bytes) -> Proposal:
    if len(value) < 4 or value[0] % 2 == 0:
        raise Malformed("a presentation context without an odd identifier.")
    abstract, transfers = "", list[str]()
    for kind, content in _items(value[4:]):
        if kind == 0x30:
            abstract = _text(content)
        elif kind == 0x40:
            transfers.append(_text(content))
    if not abstract or not transfers or len(transfers) > _MAX_SYNTAXES:
        raise Malformed("a presentation context without syntaxes, or with too many.")
    return Proposal(id=value[0], abstract_syntax=abstract, transfer_syntaxes=tuple(transfers))


def _text(raw: bytes) -> str:
    """Return an AE title or UID; what is not printable ASCII becomes `?`, so that no log line can be forged."""
    return "".join(chr(b) if 0x20 <= b < 0x7F else "?" for b in raw.rstrip(b"\x00 ").lstrip(b" "))


def encode_accept(request: AssociateRequest, results: dict[int, tuple[int, str]], max_length: int) -> bytes:
    """Return the A-ASSOCIATE-AC. Ref: PS3.8 9.3.3.

    Args: results: context id -> (0 accepted, 3 abstract syntax or 4 transfer syntaxes not supported; transfer syntax).
    """
    body = struct.pack(">HH", 1, 0) + request.raw_titles
    body += _ITEM.pack(0x10, len(_APPLICATION)) + _APPLICATION
    for context_id, (result, transfer) in results.items():
        name = transfer.encode("ascii")
        item = bytes((context_id, 0, result, 0)) + _ITEM.pack(0x40, len(name)) + name
        body += _ITEM.pack(0x21, len(item)) + item
    user = _ITEM.pack(0x51, 4) + struct.pack(">I", max_length)
    user += _ITEM.pack(0x52, len(_IMPLEMENTATION_UID)) + _IMPLEMENTATION_UID
    user += _ITEM.pack(0x55, len(_IMPLEMENTATION_NAME)) + _IMPLEMENTATION_NAME
    body += _ITEM.pack(0x50, len(user)) + user
    return HEADER.pack(ASSOCIATE_AC, len(body)) + body


def encode_reject(result: int, source: int, reason: int) -> bytes:
    """Return an A-ASSOCIATE-RJ. Ref: PS3.8 9.3.4."""
    return HEADER.pack(ASSOCIATE_RJ, 4) + bytes((0, result, source, reason))


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
