"""A bounded, sans-I/O parser of multipart bodies. Ref: RFC 2046 5.1; RFC 2387; PS3.18 8.6.1.

Feed it what has arrived and handle the events. Nothing is kept but the tail that may be a boundary; a part's body
comes out in pieces as it arrives. Bounds: boundary 128 characters, headers of a part 8 KiB, preamble and padding
4 KiB, parts 20,000. A body that ends before its closing boundary is Malformed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from leadglass.errors import Malformed

__all__ = ["BodyData", "MultipartParser", "PartBegin", "PartEnd", "encode_part", "new_boundary"]

MAX_BOUNDARY: Final = 128  # RFC 2046 5.1.1 allows 70; Orthanc sends 73 (two UUIDs), and longer ones harm nobody
MAX_HEADER_BYTES: Final = 8192
MAX_PADDING: Final = 4096
MAX_PARTS: Final = 20_000
_MAX_HEADERS: Final = 32
_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,127}[0-9A-Za-z'()+_,./:=?-]")
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True)
class PartBegin:
    """A part starts; names of headers are lower case."""

    headers: dict[str, str]


@dataclass(frozen=True)
class BodyData:
    """A piece of the body of the part."""

    data: bytes


@dataclass(frozen=True)
class PartEnd:
    """The part is whole."""


_Event = PartBegin | BodyData | PartEnd


class _State(Enum):
    PREAMBLE = auto()  # before the first boundary
    AFTER_BOUNDARY = auto()  # "--" ends, padding and CRLF goes on
    HEADERS = auto()
    BODY = auto()
    EPILOGUE = auto()


class MultipartParser:
    """One body. Call `feed` with what arrives, then `end`; both give events or raise Malformed."""

    def __init__(self, boundary: str) -> None:
        if len(boundary) > MAX_BOUNDARY or _BOUNDARY.fullmatch(boundary) is None:
            raise Malformed("multipart: the boundary has 1-128 characters of RFC 2046 5.1.1.")
        self._delimiter = b"\r\n--" + boundary.encode("ascii")
        # The first boundary may stand at the very start, without its CRLF: pretend that one came before.
        self._buffer = bytearray(b"\r\n")
        self._state = _State.PREAMBLE
        self._parts = 0
        self._skipped = 0
        self._headers = PartBegin({})

    def feed(self, data: "bytes | bytearray | memoryview") -> Iterator[_Event]:
        """Give the events that `data` completes. Raises: Malformed."""
        if self._state is _State.EPILOGUE:
            return  # RFC 2046: what follows the last boundary is to be ignored
        self._buffer += data
        while True:
            before = self._state
            match before:
                case _State.PREAMBLE:
                    self._preamble()
                case _State.AFTER_BOUNDARY:
                    self._after_boundary()
                case _State.HEADERS:
                    self._head()
                    if self._state is _State.BODY:
                        yield self._headers
                case _State.BODY:
                    yield from self._body()
                case _State.EPILOGUE:
                    self._buffer.clear()
                    return
            if self._state is before:
                return

    def end(self) -> None:
        """Say that nothing more comes. Raises: Malformed, when the closing boundary is missing."""
        if self._state is not _State.EPILOGUE:
            raise Malformed("multipart: the body ended before its closing boundary.")

    def _preamble(self) -> None:
        at = self._buffer.find(self._delimiter)
        if at < 0:
            keep = len(self._delimiter) - 1
            self._skip(max(0, len(self._buffer) - keep))
            return
        self._skip(at)
        del self._buffer[: len(self._delimiter)]
        self._skipped = 0
        self._state = _State.AFTER_BOUNDARY

    def _skip(self, count: int) -> None:
        self._skipped += count
        if self._skipped > MAX_PADDING:
            raise Malformed("multipart: no boundary where one must be.")
        del self._buffer[:count]

    def _after_boundary(self) -> None:
        if len(self._buffer) < 2:
            return
        if self._buffer.startswith(b"--"):
            self._state = _State.EPILOGUE
            return
        at = self._buffer.find(b"\r\n", 0, MAX_PADDING)
        padding = bytes(self._buffer[: at if at >= 0 else len(self._buffer)]).rstrip(b"\r")
        if padding.strip(b" \t") or (at < 0 and len(self._buffer) >= MAX_PADDING):
            raise Malformed("multipart: a boundary is followed by neither '--' nor a line end.")
        if at < 0:
            return
        # The CRLF stays: a part without headers is then "CRLF CRLF", as one with headers ends.
        del self._buffer[:at]
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise Malformed(f"multipart: more than {MAX_PARTS} parts.")
        self._state = _State.HEADERS

    def _head(self) -> None:
        at = self._buffer.find(b"\r\n\r\n", 0, MAX_HEADER_BYTES)
        if at < 0:
            if len(self._buffer) >= MAX_HEADER_BYTES:
                raise Malformed(f"multipart: the headers of a part take more than {MAX_HEADER_BYTES} bytes.")
            return
        self._headers = PartBegin(_headers(bytes(self._buffer[2:at])))
        del self._buffer[: at + 4]
        self._state = _State.BODY

    def _body(self) -> Iterator[_Event]:
        at = self._buffer.find(self._delimiter)
        end = at if at >= 0 else len(self._buffer) - (len(self._delimiter) - 1)  # the tail may be a delimiter's start
        if end > 0:
            piece = bytes(memoryview(self._buffer)[:end])
            del self._buffer[:end]
            yield BodyData(piece)
        if at >= 0:
            del self._buffer[: len(self._delimiter)]
            self._state = _State.AFTER_BOUNDARY
            yield PartEnd()


def _headers(block: bytes) -> dict[str, str]:
    """Return the headers of a part. Raises: Malformed."""
    headers: dict[str, str] = {}
    lines = block.split(b"\r\n") if block else []
    if len(lines) > _MAX_HEADERS:
        raise Malformed(f"multipart: more than {_MAX_HEADERS} headers in a part.")
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or _NAME.fullmatch(name) is None:
            raise Malformed("multipart: a header of a part is not 'name: value'.")
        text = value.strip(b" \t").decode("latin-1")
        if not text.isprintable():
            raise Malformed("multipart: a header of a part holds control characters.")
        key = name.decode("ascii").lower()
        if key in headers:
            raise Malformed("multipart: a header of a part stands twice.")
        headers[key] = text
    return headers


def new_boundary() -> str:
    """Return a boundary that no stored bytes can hold by design or by chance."""
    import secrets

    return "leadglass-" + secrets.token_hex(16)


def encode_part(boundary: str, headers: dict[str, str], *, is_first: bool) -> bytes:
    """Return what stands before the body of a part."""
    lines = [f"--{boundary}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return ("" if is_first else "\r\n").encode() + "\r\n".join(lines).encode("ascii")
