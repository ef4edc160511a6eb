"""Bodies that leave piece by piece, never built whole. What lies in memory leaves from the event loop itself: a change of
thread costs as much as reading half a MiB. What must be waited for, or made, is made in threads.

The first piece is made before the answer starts, so that what is missing, damaged or forbidden still gets its status.
An error after that cuts the connection: the receiver sees a body that does not end. A reader who takes nothing for
`stall_seconds` is cut too: while it sleeps it holds no thread, but it holds a file, a grant and a piece.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Final

from anyio import CancelScope
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from leadglass.web.dicomweb.codings import choose_coding, packed
from leadglass.web.dicomweb.conditional import Unsatisfiable, is_unchanged, parse_range, with_coding
from leadglass.web.dicomweb.multipart import encode_part

if TYPE_CHECKING:
    from starlette.types import Send

    from leadglass.web.calls import Call

__all__ = [
    "VARY_CODED", "Stretch", "around_part", "give", "give_made", "give_packed", "in_memory", "multipart_body",
    "multipart_stretches", "not_modified", "stream",
]

_PIECE: Final = 1 << 18
_STALL_SECONDS: Final = 60.0
VARY_CODED: Final = "accept, accept-encoding"


@dataclass(frozen=True)
class Stretch:
    """A run of bytes whose length is known before any of it is read.

    `read` gives an empty piece before one that has to be waited for, and makes nothing that takes long.
    """

    length: int
    read: Callable[[int, int], Iterable[bytes]]  # (start, stop) -> those bytes


def in_memory(data: bytes) -> Stretch:
    """Return bytes that are here already as a stretch."""
    return Stretch(len(data), lambda start, stop: (data[start:stop],))


# --- answers --------------------------------------------------------------------------------------------------
def stream(
    pieces: Iterable[bytes], content_type: str, headers: dict[str, str] | None = None, *, status: int = 200,
    stall_seconds: float = _STALL_SECONDS, says_waits: bool = False,
) -> Response:
    """Return a response of `pieces`. Call it in a thread: the first piece is made here. Raises: what that raises.

    Args: says_waits: `pieces` has an empty one before each that has to be waited for, so that the rest needs no thread.
    """
    source = iter(pieces)
    joined = _joined(source)
    first = next((piece for piece in joined if piece), b"")
    return _Streamed(
        chain([first], joined), (joined, source), {**(headers or {}), "content-type": content_type}, status,
        stall_seconds=stall_seconds, says_waits=says_waits,
    )


def give(
    call: "Call", stretches: list[Stretch], content_type: str, etag: str, headers: dict[str, str] | None = None
) -> Response:
    """Answer with bytes of known length: 200, 206 or 416 by Range, 304 by If-None-Match; HEAD reads nothing of them.

    Left to the caller: the door; nothing here asks whether the client may have this.
    """
    known = not_modified(call, etag)
    if known is not None:
        return known
    length = sum(stretch.length for stretch in stretches)
    common = {**(headers or {}), "vary": "accept", "etag": etag, "accept-ranges": "bytes"}
    asked = call.request.headers
    if call.request.method == "HEAD":  # Range is of GET alone. Ref: RFC 9110 14.2
        return Response(headers={**common, "content-type": content_type, "content-length": str(length)})
    try:
        part = parse_range(asked.get("range"), asked.get("if-range"), etag, length)
    except Unsatisfiable:
        return Response(status_code=416, headers={**common, "content-range": f"bytes */{length}"})
    start, stop = (0, length) if part is None else (part.start, part.stop)
    common["content-length"] = str(stop - start)
    if part is not None:
        common["content-range"] = f"bytes {start}-{stop - 1}/{length}"
    status = 200 if part is None else 206
    return stream(
        _cut(stretches, start, stop), content_type, common, status=status, stall_seconds=_stall(call), says_waits=True)


def give_packed(
    call: "Call", pieces: Iterable[bytes], content_type: str, etag: str = "", headers: dict[str, str] | None = None
) -> Response:
    """Answer with text made on the fly, packed as the client takes it; 304 by If-None-Match where there is an ETag.

    See codings.py for what may be given this way. Raises: HTTPException 406.
    """
    coding = choose_coding(call.request)
    common = {**(headers or {}), "vary": VARY_CODED}
    if coding:
        common["content-encoding"] = coding
    return give_made(call, packed(pieces, coding), content_type, with_coding(etag, coding) if etag else "", common)


def give_made(
    call: "Call", pieces: Iterable[bytes], content_type: str, etag: str = "", headers: dict[str, str] | None = None
) -> Response:
    """Answer with bytes whose number is not known before they are made: 200, or 304 by If-None-Match; no ranges."""
    common = {"vary": "accept", **(headers or {})}
    if etag:
        known = not_modified(call, etag, common["vary"])
        if known is not None:
            return known
        common["etag"] = etag
    if call.request.method == "HEAD":
        return Response(headers={**common, "content-type": content_type})
    return stream(pieces, content_type, common, stall_seconds=_stall(call))


def not_modified(call: "Call", etag: str, vary: str = "accept") -> Response | None:
    """Return 304 when the client's own copy is good; ask before the work is done, and after the door."""
    if is_unchanged(call.request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers={"etag": etag, "vary": vary})
    return None


def _stall(call: "Call") -> float:
    return float(call.settings.association_idle_seconds)


class _Streamed(StreamingResponse):
    """Pieces to one reader, who has `stall_seconds` for each."""

    def __init__(
        self, pieces: Iterable[bytes], sources: tuple[Iterator[bytes], ...], headers: dict[str, str], status: int, *,
        stall_seconds: float, says_waits: bool,
    ) -> None:
        super().__init__((), status, headers=headers)
        self._pieces = iter(pieces)
        self._sources = sources
        self._stall_seconds = stall_seconds
        self._says_waits = says_waits

    async def stream_response(self, send: "Send") -> None:
        """Send head and pieces; whatever ends it, the sources are closed: files, keys and decoders are let go."""
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            loop = asyncio.get_running_loop()
            piece = next(self._pieces, None)  # made before, see `stream`
            async with asyncio.timeout(None) as patience:
                while piece is not None:
                    if piece:
                        patience.reschedule(loop.time() + self._stall_seconds)
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
                        patience.reschedule(None)  # what we take ourselves is not the reader's fault
                    if piece and self._says_waits:
                        await asyncio.sleep(0)  # one fast reader does not keep the others waiting
                        piece = next(self._pieces, None)
                    else:
                        piece = await run_in_threadpool(next, self._pieces, None)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            with CancelScope(shield=True):  # also when the client has gone away, which cancels this
                await run_in_threadpool(_close, self._sources)


def _close(sources: tuple[Iterator[bytes], ...]) -> None:
    """End the generators that made the pieces, the outer one first."""
    for source in sources:
        close = getattr(source, "close", None)
        if close is not None:
            close()


# --- bodies ---------------------------------------------------------------------------------------------------
def _joined(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Give the same bytes in pieces of 256 KiB or more: each costs a turn of the loop, or a change of thread.

    An empty piece, which says that the next one has to be waited for, comes out where it came in.
    """
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        if not piece:
            yield piece
            continue
        waiting.append(piece)
        size += len(piece)
        if size >= _PIECE:
            yield waiting[0] if len(waiting) == 1 else b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


def _cut(stretches: list[Stretch], start: int, stop: int) -> Iterator[bytes]:
    """Give bytes `start` to `stop` of the stretches in a row; what lies outside is not read."""
    at = 0
    for stretch in stretches:
        first, last = max(start - at, 0), min(stop - at, stretch.length)
        at += stretch.length
        if first < last:
            yield from stretch.read(first, last)
        if at >= stop:
            return


def multipart_stretches(boundary: str, parts: Iterable[tuple[dict[str, str], Stretch]]) -> list[Stretch]:
    """Return a multipart body of parts with known lengths: its own length is known, so a range of it can be given."""
    found: list[Stretch] = []
    for headers, stretch in parts:
        found += [in_memory(encode_part(boundary, headers, is_first=not found)), stretch]
    return [*found, in_memory(_closing(boundary))]


def multipart_body(
    boundary: str, parts: Iterable[tuple[dict[str, str], Iterable[bytes]]]
) -> Iterator[bytes]:
    """Give a multipart body of `parts`: (headers, pieces of the body). Ref: RFC 2046 5.1."""
    is_first = True
    for headers, pieces in parts:
        yield encode_part(boundary, headers, is_first=is_first)
        yield from pieces
        is_first = False
    yield _closing(boundary)


def around_part(boundary: str, headers: dict[str, str]) -> tuple[bytes, bytes]:
    """Return what stands before and after the one part of a multipart body."""
    return encode_part(boundary, headers, is_first=True), _closing(boundary)


def _closing(boundary: str) -> bytes:
    return f"\r\n--{boundary}--\r\n".encode()
