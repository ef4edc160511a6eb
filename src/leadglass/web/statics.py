"""The console's own files: read once, named with a mark of their content, cached by browsers for a year."""

import functools
import gzip
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from starlette.responses import Response

from leadglass.errors import Missing

if TYPE_CHECKING:
    from leadglass.web.routes import Call

__all__ = ["asset", "favicon", "static"]

_STATIC: Final = Path(__file__).with_name("static")
_TYPES: Final = {
    ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
}
_YEAR: Final = "public, max-age=31536000, immutable"
_SHORT: Final = "public, max-age=300"


@functools.cache
def _file(name: str) -> tuple[bytes, bytes, str]:
    """Return (bytes, gzipped, mark). Only names that lie in the directory are ever opened. Raises: Missing."""
    known = {path.name: path for path in _STATIC.iterdir() if path.suffix in _TYPES}
    if name not in known:
        raise Missing("no such file.")
    data = known[name].read_bytes()
    return data, gzip.compress(data, 9, mtime=0), hashlib.sha256(data).hexdigest()[:12]


def asset(name: str) -> str:
    """Return the path of a static file with the mark of its content."""
    return f"/static/{name}?v={_file(name)[2]}"


def static(call: "Call") -> Response:
    """Serve one of our own files."""
    name = call.params["path"]
    data, packed, mark = _file(name)
    is_marked = call.request.query_params.get("v") == mark
    headers = {"cache-control": _YEAR if is_marked else _SHORT, "vary": "accept-encoding"}
    if "gzip" in call.request.headers.get("accept-encoding", ""):
        data, headers["content-encoding"] = packed, "gzip"
    return Response(data, headers=headers, media_type=_TYPES[Path(name).suffix])


def favicon(call: "Call") -> Response:
    """Serve the mark."""
    del call
    return Response(_file("favicon.svg")[0], headers={"cache-control": _SHORT}, media_type="image/svg+xml")
