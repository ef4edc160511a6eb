"""Files that are the same for everyone: sent packed, and kept by the browser for as long as their URL means these bytes.

Nothing of a patient or a person is in any of them, so a copy on a browser's disk tells nothing. A URL that names the
content (the digest of a file of ours, the version of the viewer's tree) is immutable: it is never asked for twice. One
that does not is asked for again, and answered with 304 while the file is the same.
"""

import hashlib
import mimetypes
import zlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from starlette.responses import FileResponse, Response

from leadglass.errors import Missing

if TYPE_CHECKING:
    from leadglass.web.calls import Call

__all__ = ["FOREVER", "UNSURE", "resolve", "send_file", "static_file", "static_url"]

FOREVER: Final = "private, max-age=31536000, immutable"
UNSURE: Final = "private, no-cache"  # kept, but asked about each time
_STATIC: Final = Path(__file__).parent / "static"
_PACKED: Final = (("br", ".br"), ("gzip", ".gz"))
_DIGITS: Final = 16
_GZIP: Final = 31  # zlib's window bits for a gzip wrapper
_KINDS: Final = {"text/javascript": "text/javascript; charset=utf-8", "text/css": "text/css; charset=utf-8"}


def resolve(root: Path, name: str) -> Path | None:
    """Return the file of that name below `root`; None for what is not there or not below it."""
    if "\x00" in name or "\\" in name or any(part in {"", ".", ".."} for part in name.split("/")):
        return None
    path = root / name
    return path if path.is_file() and path.resolve().is_relative_to(root.resolve()) else None


def _takes(call: "Call", coding: str) -> bool:
    """Return whether the browser names the coding. A quality of 0, which none sends, is read as a name too."""
    return coding in {part.partition(";")[0].strip() for part in call.request.headers.get("accept-encoding", "").split(",")}


def _tag(*facts: object) -> str:
    """Return a strong ETag over facts that determine the bytes."""
    return f'"{hashlib.sha256(repr(facts).encode()).hexdigest()[:_DIGITS * 2]}"'


def _is_known(call: "Call", etag: str) -> bool:
    """Return whether the browser has these bytes (a tag that a proxy has weakened is the same tag). Ref: RFC 9110 13.1.2."""
    tags = call.request.headers.get("if-none-match", "")[:1024].split(",")
    return etag in {tag.strip().removeprefix("W/") for tag in tags}


def _kind(path: Path) -> str:
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return _KINDS.get(kind, kind)


def send_file(call: "Call", path: Path, cache_control: str) -> Response:
    """Send a file, packed where a packed copy stands beside it and the browser takes it; 304 when its own copy is good."""
    coding, found = next(
        ((c, p) for c, suffix in _PACKED if _takes(call, c) and (p := path.with_name(path.name + suffix)).is_file()), ("", path))
    facts = found.stat()
    etag = _tag(path.name, facts.st_mtime_ns, facts.st_size, coding)
    headers = {"cache-control": cache_control, "vary": "accept-encoding", "etag": etag}
    if _is_known(call, etag):
        return Response(status_code=304, headers=headers)
    if coding:
        headers["content-encoding"] = coding
    return FileResponse(found, media_type=_kind(path), headers=headers, stat_result=facts)


@lru_cache(maxsize=64)
def _ours(name: str, _: int) -> tuple[bytes, bytes, str]:
    """Return (bytes, the same packed, digest) of a file of our own; small, and read once for each of its versions."""
    data = (_STATIC / name).read_bytes()
    packer = zlib.compressobj(9, wbits=_GZIP)
    return data, packer.compress(data) + packer.flush(), hashlib.sha256(data).hexdigest()[:_DIGITS]


def static_url(name: str) -> str:
    """Return the URL under which a file of our own is immutable, for the pages that ask for it."""
    return f"/static/{name}?v={_ours(name, (_STATIC / name).stat().st_mtime_ns)[2]}"


def static_file(call: "Call") -> Response:
    """Send a file of the console's own look and scripts."""
    path = resolve(_STATIC, call.params["name"])
    if path is None:
        raise Missing("no such file.")
    data, packed, digest = _ours(path.name, path.stat().st_mtime_ns)
    is_named = call.request.query_params.get("v") == digest  # else it is another version's URL, and kept for none
    coding = "gzip" if len(packed) < len(data) and _takes(call, "gzip") else ""
    headers = {"cache-control": FOREVER if is_named else UNSURE, "vary": "accept-encoding",
               "etag": _tag(digest, coding)}
    if _is_known(call, headers["etag"]):
        return Response(status_code=304, headers=headers)
    if coding:
        headers["content-encoding"] = coding
    return Response(packed if coding else data, media_type=_kind(path), headers=headers)
