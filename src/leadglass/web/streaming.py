"""Bodies that leave piece by piece, made in threads, never built whole.

The first piece is made before the answer starts, so that what is missing, damaged or forbidden still gets its status.
An error after that cuts the connection: the receiver sees a body that does not end.
"""

import zlib
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

from starlette.responses import StreamingResponse

__all__ = ["gzipped", "multipart_body", "stream"]

_PIECE: Final = 1 << 17
_GZIP: Final = 31  # zlib's window bits for a gzip wrapper


def stream(pieces: Iterable[bytes], content_type: str, headers: dict[str, str] | None = None) -> StreamingResponse:
    """Return a response of `pieces`. Call it in a thread: the first piece is made here. Raises: what that raises."""
    joined = _joined(iter(pieces))
    first = next(joined, b"")
    return StreamingResponse(chain([first], joined), headers={**(headers or {}), "content-type": content_type})


def _joined(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Give the same bytes in pieces of 128 KiB or more: each costs a change of thread."""
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= _PIECE:
            yield waiting[0] if len(waiting) == 1 else b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


def gzipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Give `pieces` compressed. Only for bodies in which no secret stands beside what a stranger can choose."""
    packer = zlib.compressobj(4, wbits=_GZIP)
    for piece in pieces:
        packed = packer.compress(piece)
        if packed:
            yield packed
    yield packer.flush()


def multipart_body(
    boundary: str, parts: Iterable[tuple[dict[str, str], Iterable[bytes]]]
) -> Iterator[bytes]:
    """Give a multipart body of `parts`: (headers, pieces of the body). Ref: RFC 2046 5.1."""
    from leadglass.web.multipart import encode_part

    is_first = True
    for headers, pieces in parts:
        yield encode_part(boundary, headers, is_first=is_first)
        yield from pieces
        is_first = False
    yield f"\r\n--{boundary}--\r\n".encode()
