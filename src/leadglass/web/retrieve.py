"""WADO-RS: instances, metadata, frames and bulk data. Ref: PS3.18 10.4, 8.7.

What is stored is what goes out: DICOM files and compressed frames leave in the transfer syntax in which they came,
named in each part. Frames are decoded only for those who ask for plain pixels. Each body is streamed, and the grant
is checked before each piece; a view of a study is one grant, so scrolling through it is one entry of the ledger.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from starlette.responses import Response

from leadglass.dicom.transfer_syntaxes import EXPLICIT_LITTLE, IMPLICIT_LITTLE, TRANSFER_SYNTAXES
from leadglass.dicom.uids import is_valid_uid
from leadglass.errors import Malformed, Missing
from leadglass.terms import Grant
from leadglass.web.media_types import MediaRange, covers
from leadglass.web.multipart import new_boundary
from leadglass.web.negotiation import accepted, accepts_gzip, base_url, not_acceptable, want_json
from leadglass.web.streaming import gzipped, multipart_body, stream

if TYPE_CHECKING:
    from leadglass.web.calls import Call

__all__ = ["bulk", "find", "frames", "instances", "metadata", "numbers_of"]

_DICOM: Final = "application/dicom"
_OCTETS: Final = "application/octet-stream"
_PIXELS: Final = frozenset({"7FE00008", "7FE00009", "7FE00010"})
_MAX_FRAMES: Final = 10_000  # frames named in one request


def find(call: "Call") -> tuple[Grant, list[Any]]:
    """Return (grant, instances) of the study, series or instance in the path. Raises: Missing, Malformed, Unproven."""
    params = call.params
    uids = [params.get(name) for name in ("study", "series", "instance")]
    if any(uid is not None and not is_valid_uid(uid) for uid in uids):
        raise Malformed("the path holds something that is no UID.")
    grant = call.house.operations.study(call.subject, params["study"])
    return grant, call.house.operations.locate(grant, uids[1], uids[2])


def _no_query(call: "Call", *known: str) -> None:
    """Refuse query parameters that would be ignored. Raises: Malformed."""
    if set(call.request.query_params) - {"accept", *known}:
        raise Malformed("the query holds a parameter that this resource does not have.")


# --- instances ------------------------------------------------------------------------------------------------
def instances(call: "Call") -> Response:
    """Give DICOM files as stored. Ref: PS3.18 10.4.1.1.1-3."""
    _no_query(call)
    wanted = accepted(call.request)
    chosen = _choose_dicom(wanted, is_one="instance" in call.params)
    grant, rows = find(call)
    allowed = {r.transfer_syntax for r in wanted if covers(_inner(r), _DICOM)}
    if not allowed & {"", "*"} and any(row.transfer_syntax_uid not in allowed for row in rows):
        raise not_acceptable('multipart/related; type="application/dicom"; transfer-syntax=*')
    operations = call.house.operations
    if chosen.type == _DICOM:
        return stream(operations.stream_instance(grant, rows[0]), _dicom_type(rows[0]))
    parts = (({"Content-Type": _dicom_type(row)}, operations.stream_instance(grant, row)) for row in rows)
    return _multipart(parts, _DICOM)


def _choose_dicom(wanted: list[MediaRange], *, is_one: bool) -> MediaRange:
    for one in wanted:
        if one.type == _DICOM and is_one:
            return one
        if covers(one.type, "multipart/related") and covers(_inner(one), _DICOM):
            return one
    raise not_acceptable('multipart/related; type="application/dicom"; transfer-syntax=*')


def _inner(wanted: MediaRange) -> str:
    return wanted.inner if wanted.is_multipart else wanted.type


def _dicom_type(row: Any) -> str:
    return f"{_DICOM}; transfer-syntax={row.transfer_syntax_uid}"


def _multipart(parts: Iterable[tuple[dict[str, str], Iterable[bytes]]], inner: str) -> Response:
    boundary = new_boundary()
    return stream(multipart_body(boundary, parts), f'multipart/related; type="{inner}"; boundary={boundary}')


# --- metadata -------------------------------------------------------------------------------------------------
def metadata(call: "Call") -> Response:
    """Give the DICOM JSON model of each instance, as one array. Ref: PS3.18 10.4.1.1.2, F."""
    _no_query(call)
    want_json(call.request)
    grant, rows = find(call)
    root = base_url(call.request)

    def models() -> Iterator[bytes]:
        separator = "["
        for row in rows:
            model = call.house.operations.metadata(grant, row, _bulk_uri(root, row))
            yield (separator + json.dumps(model, ensure_ascii=False, separators=(",", ":"))).encode("utf-8", "replace")
            separator = ","
        yield b"]"

    pieces: Iterator[bytes] = models()
    headers = {"vary": "accept-encoding"}
    if accepts_gzip(call.request):
        headers["content-encoding"] = "gzip"
        pieces = gzipped(pieces)
    return stream(pieces, "application/dicom+json", headers)


def _bulk_uri(root: str, row: Any) -> Callable[[str], str]:
    base = f"{root}/dicomweb/studies/{row.study_uid}/series/{row.series_uid}/instances/{row.sop_instance_uid}/bulkdata/"
    return lambda path: base + quote(path)


# --- frames ---------------------------------------------------------------------------------------------------
def numbers_of(text: str) -> list[int]:
    """Return the frame numbers of a path's list. Raises: Malformed."""
    numbers = text.split(",")
    if len(numbers) > _MAX_FRAMES or not all(n.isascii() and n.isdigit() and 0 < len(n) < 10 for n in numbers):
        raise Malformed(f"frames: at most {_MAX_FRAMES} whole numbers from 1, with commas between them.")
    if "0" in {n.lstrip("0") or "0" for n in numbers}:
        raise Malformed("frames are counted from 1.")
    return [int(n) for n in numbers]


def frames(call: "Call") -> Response:
    """Give frames, as stored or as plain pixels. Ref: PS3.18 10.4.1.1.6, 8.7.3."""
    _no_query(call)
    numbers = numbers_of(call.params["frames"])
    grant, rows = find(call)
    row = rows[0]
    if not row.frames or max(numbers) > row.frames:
        raise Missing("no such frame in this instance.")
    return _frames(call, grant, row, numbers)


def _frames(call: "Call", grant: Grant, row: Any, numbers: list[int]) -> Response:
    chosen, inner, want_raw = _choose_frame(accepted(call.request), row, is_one=len(numbers) == 1)
    operations = call.house.operations
    if not chosen.is_multipart and chosen.type != "*/*":
        uid, data = operations.frame(grant, row, numbers[0], want_raw=want_raw)
        return stream([data], _part_type(inner, uid))

    def parts() -> Iterator[tuple[dict[str, str], Iterable[bytes]]]:
        for number in numbers:
            call.house.door.check(grant)
            uid, data = operations.frame(grant, row, number, want_raw=want_raw)
            yield {"Content-Type": _part_type(inner, uid)}, (data,)

    return _multipart(parts(), inner)


def _choose_frame(wanted: list[MediaRange], row: Any, *, is_one: bool) -> tuple[MediaRange, str, bool]:
    """Return (the range that won, media type of the parts, whether to decode). Raises: HTTPException 406.

    `transfer-syntax=*` takes what is stored. Plain octets without one are Explicit VR Little Endian pixels
    (PS3.18 8.7.3.3.2), which is how native frames lie here anyhow.
    """
    syntax = TRANSFER_SYNTAXES[row.transfer_syntax_uid]
    stored_type = syntax.media_type if syntax.encapsulated else _OCTETS
    for one in wanted:
        if not is_one and not one.is_multipart and one.type != "*/*":
            continue
        if one.type != "*/*" and not one.is_multipart and one.type.split("/")[0] == "multipart":
            continue
        inner, asked = _inner(one), one.transfer_syntax
        is_any = inner == "*/*"
        if asked == "*" or is_any or (inner == stored_type and inner != _OCTETS and asked in {"", syntax.uid}):
            if is_any or covers(inner, stored_type):
                return one, stored_type, not syntax.encapsulated
            if inner == _OCTETS:  # octets in any transfer syntax: the client reads the part's own parameter
                return one, _OCTETS, not syntax.encapsulated
        if inner.endswith("/*") and covers(inner, stored_type) and asked in {"", syntax.uid}:
            return one, stored_type, False
        if inner == _OCTETS and asked in {"", EXPLICIT_LITTLE, IMPLICIT_LITTLE}:
            return one, _OCTETS, True
        if inner == _OCTETS and asked == syntax.uid:
            return one, _OCTETS, False
    raise not_acceptable(
        f'multipart/related; type="{stored_type}"; transfer-syntax={syntax.uid}, '
        f'multipart/related; type="{_OCTETS}"; transfer-syntax={EXPLICIT_LITTLE}'
    )


def _part_type(inner: str, uid: str) -> str:
    return f"{inner}; transfer-syntax={uid}"


# --- bulk data ------------------------------------------------------------------------------------------------
def bulk(call: "Call") -> Response:
    """Give what a BulkDataURI of the metadata names; pixel data comes as its frames. Ref: PS3.18 10.4.1.1.5."""
    _no_query(call)
    path = call.params["path"]
    if len(path) > 1024:
        raise Malformed("the path is too long.")
    grant, rows = find(call)
    row = rows[0]
    if path in _PIXELS and row.frames:
        return _frames(call, grant, row, list(range(1, row.frames + 1)))
    for one in accepted(call.request):
        if not covers(_inner(one), _OCTETS):
            continue
        data = call.house.operations.bulk(grant, row, path)
        part_type = _part_type(_OCTETS, row.transfer_syntax_uid)
        if one.is_multipart or one.type == "*/*":
            return _multipart([({"Content-Type": part_type}, (data,))], _OCTETS)
        return stream([data], part_type)
    raise not_acceptable(f'multipart/related; type="{_OCTETS}"')
