"""WADO-RS: DICOM files of a study, a series or an instance. Ref: PS3.18 10.4, 8.7.

Who asks for `transfer-syntax=*`, or for anything, is given what is stored; who names a syntax is given that, or 406;
who names none is given Explicit VR Little Endian, but for what was compressed with loss (8.7.3.4). Each body is
streamed, and the grant is checked before each piece; a view of a study is one grant, so scrolling through it is one
entry of the ledger. Metadata, pixel data and bulk data: see metadata.py, pixel_data.py and bulk_data.py.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from leadglass.dicom.uids import is_valid_uid
from leadglass.errors import Malformed
from leadglass.terms import Action, Grant
from leadglass.web.dicomweb.conditional import boundary_of, etag_of
from leadglass.web.dicomweb.media_types import MediaRange, covers
from leadglass.web.dicomweb.negotiation import DICOM_OFFER, accepted, not_acceptable, syntax_for
from leadglass.web.dicomweb.streaming import (
    Stretch,
    give,
    give_made,
    multipart_body,
    multipart_stretches,
    not_modified,
)

if TYPE_CHECKING:
    from starlette.responses import Response

    from leadglass.web.calls import Call

__all__ = [
    "Sent", "bulk_uri", "find", "give_instances", "granted", "inner_of", "instances", "no_query", "numbers_of",
]

_DICOM: Final = "application/dicom"
_MAX_FRAMES: Final = 10_000  # frames named in one request


def find(call: "Call", action: Action = Action.STUDY_READ) -> tuple[Grant, list[Any]]:
    """Return (grant, instances) of the study, series or instance in the path. Raises: Missing, Malformed, Unproven."""
    grant = granted(call, action)
    return grant, call.house.operations.locate(grant, call.params.get("series"), call.params.get("instance"))


def granted(call: "Call", action: Action = Action.STUDY_READ) -> Grant:
    """Return the grant on the study in the path, whose other UIDs are UIDs too. Raises: Missing, Malformed, Unproven."""
    params = call.params
    if not all(is_valid_uid(params[name]) for name in ("study", "series", "instance") if name in params):
        raise Malformed("the path holds something that is no UID.")
    return call.house.operations.study(call.subject, params["study"], action)


def no_query(call: "Call", *known: str) -> None:
    """Refuse query parameters that would be ignored. Raises: Malformed."""
    if set(call.request.query_params) - {"accept", *known}:
        raise Malformed("the query holds a parameter that this resource does not have.")


def inner_of(wanted: MediaRange) -> str:
    """Return the range of the parts' types, or the range itself where it is not multipart."""
    return wanted.inner if wanted.is_multipart else wanted.type


def numbers_of(text: str) -> list[int]:
    """Return the frame numbers of a path's list. Raises: Malformed."""
    numbers = text.split(",")
    if len(numbers) > _MAX_FRAMES or not all(n.isascii() and n.isdigit() and 0 < len(n) < 10 for n in numbers):
        raise Malformed(f"frames: at most {_MAX_FRAMES} whole numbers from 1, with commas between them.")
    if "0" in {n.lstrip("0") or "0" for n in numbers}:
        raise Malformed("frames are counted from 1.")
    return [int(n) for n in numbers]


# --- instances ------------------------------------------------------------------------------------------------
def instances(call: "Call") -> "Response":
    """Give DICOM files. Ref: PS3.18 10.4.1.1.1."""
    no_query(call)
    wanted = accepted(call.request)
    grant, rows = find(call)
    operations = call.house.operations
    is_one = "instance" in call.params
    plan = [_choose(wanted, row, operations.syntaxes_of(row), is_one=is_one) for row in rows]
    return give_instances(call, grant, rows, plan)


@dataclass(frozen=True)
class Sent:
    """How one instance goes out."""

    syntax: str
    is_part: bool = True  # of a multipart answer
    is_default: bool = False  # nobody named the syntax: what cannot be converted after all may go out as stored


def _choose(wanted: list[MediaRange], row: Any, possible: tuple[str, ...], *, is_one: bool) -> Sent:
    """Return how an instance goes out: each part of an answer may have another syntax. Raises: HTTPException 406."""
    for one in wanted:
        if one.type == _DICOM and not is_one:
            continue
        if one.type == _DICOM or (covers(one.type, "multipart/related") and covers(inner_of(one), _DICOM)):
            syntax = syntax_for(one, row.transfer_syntax_uid, possible)
            if syntax is not None:
                return Sent(syntax, is_part=one.type != _DICOM, is_default=not one.transfer_syntax)
    raise not_acceptable(DICOM_OFFER)


def give_instances(call: "Call", grant: Grant, rows: list[Any], plan: list[Sent]) -> "Response":
    """Answer with the Part 10 files of `rows`, each as planned, as parts or as the one body.

    As stored, the length and the bytes are known before: a strong ETag, and ranges. What is converted has a weak one.
    """
    is_stored = all(row.transfer_syntax_uid == sent.syntax for row, sent in zip(rows, plan, strict=True))
    is_multipart = plan[0].is_part
    parts = [part for row, sent in zip(rows, plan, strict=True) for part in (row.digest, sent.syntax)]
    etag = etag_of(["files" if is_multipart else "file", *parts], is_weak=not is_stored)
    if not is_multipart:
        if is_stored:
            return give(call, [_stored(call, grant, rows[0])], _part_type(plan[0].syntax), etag)
        known = not_modified(call, etag)
        if known is not None:
            return known
        syntax, pieces = _converted(call, grant, rows[0], plan[0])
        return give_made(call, pieces, _part_type(syntax), etag)
    boundary = boundary_of(etag)
    content_type = f'multipart/related; type="{_DICOM}"; boundary={boundary}'
    if is_stored:
        stretches = (({"Content-Type": _part_type(row.transfer_syntax_uid)}, _stored(call, grant, row)) for row in rows)
        return give(call, multipart_stretches(boundary, stretches), content_type, etag)

    def converted() -> Iterator[tuple[dict[str, str], Iterable[bytes]]]:
        for row, sent in zip(rows, plan, strict=True):
            syntax, pieces = _converted(call, grant, row, sent)
            yield {"Content-Type": _part_type(syntax)}, pieces

    return give_made(call, multipart_body(boundary, converted()), content_type, etag)


def _part_type(syntax: str) -> str:
    return f"{_DICOM}; transfer-syntax={syntax}"


def _converted(call: "Call", grant: Grant, row: Any, sent: Sent) -> tuple[str, Iterable[bytes]]:
    """Return (transfer syntax, pieces), the first of which is made. Raises: Malformed, Busy.

    One image that no decoder reads does not keep a study from those who asked for no syntax: it goes out as stored.
    """
    operations = call.house.operations
    pieces = iter(operations.stream_instance(grant, row, sent.syntax))
    try:
        first = next(pieces, b"")
    except Malformed:
        if not sent.is_default:
            raise
        return row.transfer_syntax_uid, operations.stream_instance(grant, row)
    return sent.syntax, chain([first], pieces)


def _stored(call: "Call", grant: Grant, row: Any) -> Stretch:
    """Return the file as it lies; a part of it decrypts the chunks that it touches."""
    return Stretch(row.length, lambda start, stop: call.house.operations.stored_part(grant, row, start, stop))


def bulk_uri(root: str, row: Any) -> Callable[[str], str]:
    """Return the function from a path (00420011) to the BulkDataURI under which `bulk` gives it."""
    base = f"{root}/dicomweb/studies/{row.study_uid}/series/{row.series_uid}/instances/{row.sop_instance_uid}/bulkdata/"
    return lambda path: base + quote(path)
