"""Multipart bodies and the media types around them.

Promises: the same parts come out whatever the pieces; only Malformed ends it; no more comes out than went in.
Ref: RFC 2046 5.1, RFC 9110 8.3.1.
"""

from collections.abc import Iterator
from typing import Any

from phantom import multipart

from leadglass.errors import Malformed
from leadglass.web.dicomweb.media_types import parse_accept, parse_media_type
from leadglass.web.dicomweb.multipart import BodyData, MultipartParser, PartBegin, PartEnd


def _parts(body: bytes, sizes: bytes) -> list[Any]:
    """Return what the body is read as, and how it ended."""
    found: list[Any] = []
    parser = MultipartParser("x-b")
    at = turn = 0
    try:
        while at < len(body):
            size = len(body)
            if sizes:
                size, turn = 1 + sizes[turn % len(sizes)] % 97, turn + 1
            for event in parser.feed(body[at : at + size]):
                match event:
                    case PartBegin(headers):
                        found.append([headers, b"", False])
                    case BodyData(data):
                        found[-1][1] += data
                    case PartEnd():
                        found[-1][2] = True
            at += size
        parser.end()
        found.append("end")
    except Malformed as e:
        # How much of a broken body was given out before the break hangs on the pieces; that it is broken does not.
        assert str(e)
        return [*([p[0]] for p in found), "malformed"]
    return found


def _media_types(text: str) -> None:
    for parse in (parse_media_type, lambda t: parse_accept([t])):
        try:
            parse(text)
        except Malformed as e:
            assert str(e)


def one_input(data: bytes) -> None:
    """Byte 0 says how many of the last bytes are sizes of pieces; the rest is the body."""
    if not data:
        return
    count = data[0] % 16
    body, sizes = data[1 : len(data) - count], data[len(data) - count :]
    whole, pieces = _parts(body, b""), _parts(body, sizes or b"\x00")
    if whole[-1:] == ["malformed"] or pieces[-1:] == ["malformed"]:
        assert whole[-1] == pieces[-1]
    else:
        assert whole == pieces
        assert sum(len(p[1]) for p in whole if p != "end") <= len(body)
    for part in whole:
        for value in part[0].values() if isinstance(part, list) else ():
            _media_types(value)
    if data[0] & 0x80:
        _media_types(body[:5000].decode("latin-1"))


def seeds() -> Iterator[bytes]:
    """Give bodies that are right."""
    body, _ = multipart([b"", b"\r\n--x", b"a" * 300, bytes(range(256))], boundary="x-b")
    yield b"\x03" + body + b"\x00\x05\x60"
    yield b"\x02preamble\r\n--x-b  \r\nContent-Type: image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50\r\nContent-Location: /a/b\r\n\r\nx\r\n--x-b--epilogue\x01\x02"
    yield b'\x00--x-b\r\n\r\nno headers\r\n--x-b\r\nContent-Type: multipart/related; type="application/dicom+xml"; boundary=q\r\n\r\n\r\n--x-b--'
    yield b'\x80multipart/related; type="application/dicom"; transfer-syntax=*; q=0.5, image/jpeg;q=0.1, */*'
