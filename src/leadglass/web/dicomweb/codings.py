"""Content codings: which one a request takes, and the packing. Ref: RFC 9110 8.4, 12.5.3; RFC 8878 (zstd).

Packed are JSON and XML of DICOMweb, nothing else. Not console pages: they hold the session's CSRF value beside text
that a stranger may have chosen (a PatientName), and the length of a packed page would betray it, byte by byte (BREACH).
An answer of DICOMweb holds no secret of a session; it may hold names of several patients, but another site can
neither send such a request with the cookie (SameSite=Strict) nor see an answer's length from its own pages, and
who taps the wire learns no more than one length for each search. Not pixels: compressed frames do not shrink, and native
ones cost more CPU than they save on a hospital's network (about 25 ms a megabyte); clients that want fewer bytes
ask for a compressed transfer syntax.
"""

import re
import zlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

import zstandard
from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["choose_coding", "packed", "packed_whole"]

_MAX_HEADER: Final = 1024
_CODING: Final = re.compile(r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*(?:;\s*[qQ]\s*=\s*([01](?:\.[0-9]{0,3})?)\s*)?")
_PREFERRED: Final = ("zstd", "gzip", "")  # "" = as it is
_GZIP: Final = 31  # zlib's window bits for a gzip wrapper


def choose_coding(request: "Request") -> str:
    """Return "zstd", "gzip" or "" (none): the highest q, ours first among equals. Raises: HTTPException 406.

    What cannot be read asks for nothing: the answer goes out as it is.
    """
    text = ",".join(request.headers.getlist("accept-encoding"))
    if not text.strip() or len(text) > _MAX_HEADER:
        return ""
    wanted: dict[str, float] = {}
    for part in text.split(","):
        match = _CODING.fullmatch(part)
        if match is not None:
            name = match[1].lower().removeprefix("x-")
            wanted.setdefault("" if name == "identity" else name, min(1.0, float(match[2] or 1)))
    anything = wanted.get("*", 0.0)
    qualities = {coding: wanted.get(coding, anything) for coding in _PREFERRED if coding}
    # "Identity" is acceptable unless it is excluded by name or by "*"; unnamed, it is what is left. Ref: RFC 9110 12.5.3.
    plain = wanted.get("", anything if "*" in wanted else 0.001)
    qualities[""] = plain
    best = max(_PREFERRED, key=lambda coding: (qualities[coding], -_PREFERRED.index(coding)))
    if qualities[best] <= 0:
        raise HTTPException(406, "No content coding is left: this can be given with zstd, gzip or identity.")
    return best


def packed_whole(data: bytes, coding: str) -> bytes:
    """Return a whole text under `coding` (of `choose_coding`): packed harder, since it is sent again and again."""
    if coding == "gzip":
        return zlib.compress(data, 6, _GZIP)
    return zstandard.ZstdCompressor(level=6).compress(data) if coding else data


def packed(pieces: Iterable[bytes], coding: str) -> Iterator[bytes]:
    """Give `pieces` under `coding` (of `choose_coding`); "" leaves them as they are."""
    if not coding:
        yield from pieces
        return
    packer = zlib.compressobj(4, wbits=_GZIP) if coding == "gzip" else zstandard.ZstdCompressor(level=3).compressobj()
    for piece in pieces:
        data = packer.compress(piece)
        if data:
            yield data
    yield packer.flush()
