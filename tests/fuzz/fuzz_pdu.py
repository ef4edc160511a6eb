"""Protocol data units and command sets: one stream of bytes, as two peers would send it in other pieces.

Promises: the same units come out whatever the pieces; only Malformed and the end of the stream end it; nothing that
comes out is longer than what went in. Ref: PS3.8 9.3, PS3.7 6.3.1.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from dimse_world import CT, EXPLICIT, VERIFICATION, associate, item, pdata, unit

from leadglass.dicom.command import NO_DATA_SET, decode_command, encode_command
from leadglass.dimse import pdu
from leadglass.dimse.associate import decode_associate
from leadglass.dimse.negotiation import negotiate
from leadglass.dimse.wire import PeerGone, Wire
from leadglass.errors import Malformed


class _Pieces:
    """A socket that gives what it was given, in pieces of given sizes, and then its end."""

    def __init__(self, data: bytes, sizes: bytes) -> None:
        self._data, self._sizes, self._at, self._turn = data, sizes, 0, 0

    def settimeout(self, _: float) -> None:
        """Nothing here waits."""

    def recv_into(self, view: memoryview) -> int:
        size = 65536
        if self._sizes:
            size = 1 + self._sizes[self._turn % len(self._sizes)] % 97
            self._turn += 1
        piece = self._data[self._at : self._at + min(size, len(view))]
        view[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)


def _units(data: bytes, sizes: bytes) -> list[Any]:
    """Return what the stream is read as, and how it ended."""
    wire = Wire(_Pieces(data, sizes), max_pdu=16384, is_ended=lambda: False)  # type: ignore[arg-type]
    found: list[Any] = []
    command = b""
    while True:
        try:
            kind, body = wire.read(wait=60, whole=60)
        except (Malformed, PeerGone) as e:
            return [*found, type(e).__name__]
        assert len(body) <= len(data)
        if kind == pdu.ASSOCIATE_RQ:
            try:
                request = decode_associate(bytes(body))
            except Malformed:
                found.append("no request")
                continue
            answered = negotiate(request)
            results, accepted = answered[0].results, answered[1]
            assert set(accepted) <= set(results) == {p.id for p in request.proposals}
            found.append((request, results, accepted))
        elif kind == pdu.DATA:
            try:
                for value in pdu.decode_data(body):
                    found.append((value.context_id, value.is_command, value.is_last, bytes(value.data)))
                    if value.is_command:
                        command += value.data
                        if value.is_last:
                            with contextlib.suppress(Malformed):
                                found.append(decode_command(command))
                            command = b""
            except Malformed:
                found.append("no values")
        else:
            found.append((kind, bytes(body)))


def one_input(data: bytes) -> None:
    """Byte 0 says how many of the last bytes are sizes of pieces; the rest is the stream."""
    if not data:
        return
    count = data[0] % 16
    stream, sizes = data[1 : len(data) - count], data[len(data) - count :]
    assert _units(stream, b"") == _units(stream, sizes or b"\x00")


def seeds() -> Iterator[bytes]:
    """Give streams that are right, for the fuzzer to spoil."""
    echo = encode_command({"AffectedSOPClassUID": VERIFICATION, "CommandField": 0x30, "MessageID": 7, "CommandDataSetType": NO_DATA_SET})
    store = encode_command({
        "AffectedSOPClassUID": CT, "CommandField": 1, "MessageID": 9, "Priority": 0, "CommandDataSetType": 1, "AffectedSOPInstanceUID": "1.2.3"})
    head = b"\x03"
    sizes = b"\x00\x05\x60"
    yield head + associate() + sizes
    yield head + associate(((1, VERIFICATION, (EXPLICIT,)), (255, "1.2.3", ("1.2.4", EXPLICIT))), max_length=0) + pdata(1, echo, is_command=True) + sizes
    yield head + pdata(3, store[:30], is_command=True, is_last=False) + pdata(3, store[30:], is_command=True) + pdata(3, bytes(40), is_command=False) + sizes
    yield head + unit(5, bytes(4)) + unit(6, bytes(4)) + unit(7, bytes(4)) + unit(3, bytes((0, 1, 1, 3))) + sizes
    request = associate()
    user = item(0x51, bytes(4)) + item(0x53, b"\x00\x10\x00\x10") + item(0x54, b"\x00\x05" + b"1.2.3" + b"\x01\x01")
    user += item(0x56, b"\x00\x05" + b"1.2.3" + b"\x01\x00") + item(0x58, b"\x05\x01\x00\x04abcd\x00\x00")
    yield head + unit(1, request[6:-12] + item(0x50, user)) + sizes
    yield head + unit(2, request[6:74] + item(0x21, b"\x01\x00\x00\x00" + item(0x40, EXPLICIT.encode())) + item(0x50, user)) + sizes
    yield b"\x00" + associate() + pdata(1, echo, is_command=True) + unit(5, bytes(4))
