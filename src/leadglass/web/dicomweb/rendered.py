"""Pictures for people: /rendered and /thumbnail. Ref: PS3.18 10.4.1.1.3-4, 8.3.5.

Rendering runs in the archive's decode processes. A study or series gives one picture of each instance when
multipart/related is asked for, and else one of the instance in its middle; an instance gives its first frame.
Bits of a patient may be burnt into pixels: a picture is as much PHI as the study.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from leadglass.errors import Malformed, Missing
from leadglass.terms import Grant
from leadglass.web.dicomweb.conditional import etag_of
from leadglass.web.dicomweb.media_types import MediaRange
from leadglass.web.dicomweb.multipart import new_boundary
from leadglass.web.dicomweb.negotiation import accepted, not_acceptable
from leadglass.web.dicomweb.rendering_parameters import parse_rendering
from leadglass.web.dicomweb.retrieve import find, numbers_of
from leadglass.web.dicomweb.streaming import multipart_body, not_modified, stream

if TYPE_CHECKING:
    from leadglass.web.calls import Call

__all__ = ["give_document", "give_picture", "rendered", "thumbnail"]

_TYPES: Final = ("image/jpeg", "image/png", "image/gif")
_OFFER: Final = "image/jpeg, image/png, image/gif"
_THUMBNAIL: Final = 256
_MAX_THUMBNAIL: Final = 1024
_SHOWN: Final = frozenset({"application/pdf", "text/html", "text/plain"})
_FILM: Final = [512.0, 512.0, None, None, None, None]
# Documents are others' words: a browser shows them alone, without scripts, forms or anything from elsewhere.
_TEXT_CSP: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'; sandbox"
_FILE_CSP: Final = "default-src 'none'; frame-ancestors 'self'"  # a PDF reader does not start in a sandbox


def rendered(call: "Call") -> Response:
    """Give pictures, or the document, of what the path names. Raises: Malformed, Missing, HTTPException 406."""
    wanted = parse_rendering(call.request.query_params.multi_items())
    ranges = accepted(call.request)
    if "instance" in call.params and "frames" not in call.params:
        grant, rows = find(call)
        if not rows[0].frames:
            return give_document(call, grant, rows[0], ranges)
    chosen, media_type = _choose(ranges)
    grant, rows = _images(call)
    numbers = _numbers(call, rows)
    wanted["media_type"] = media_type
    if chosen.is_multipart:
        pairs = [(rows[0], n) for n in numbers] if numbers else [(row, 1) for row in rows]
        boundary = new_boundary()
        return stream(
            multipart_body(boundary, _parts(call, grant, pairs, wanted)),
            f'multipart/related; type="{media_type}"; boundary={boundary}',
        )
    if media_type == "image/gif":
        return _film(call, grant, rows, numbers, wanted)
    if len(numbers) > 1:
        raise not_acceptable('multipart/related; type="image/jpeg"')
    return _one(call, grant, rows, numbers, wanted)


def thumbnail(call: "Call") -> Response:
    """Give one small picture that stands for what the path names: its middle. Ref: PS3.18 10.4.1.1.4."""
    wanted = parse_rendering(call.request.query_params.multi_items())
    viewport = wanted["viewport"] or [_THUMBNAIL, _THUMBNAIL, None, None, None, None]
    wanted["viewport"] = [min(viewport[0], _MAX_THUMBNAIL), min(viewport[1], _MAX_THUMBNAIL), *viewport[2:]]
    chosen, media_type = _choose(accepted(call.request))
    if chosen.is_multipart:
        raise not_acceptable(_OFFER)
    grant, rows = _images(call)
    wanted["media_type"] = media_type
    row, number = _stands_for(call, rows, _numbers(call, rows))
    etag = etag_of(["thumbnail", row.digest, str(number), str(sorted(wanted.items(), key=str))], is_weak=True)
    known = not_modified(call, etag)
    if known is not None:
        return known
    media_type, data = _render(call, grant, row, [number], wanted)
    return stream([data], media_type, {"etag": etag, "vary": "accept"})


def give_picture(
    call: "Call", grant: Grant, row: Any, number: int, parameters: list[tuple[str, str]], media_type: str
) -> Response:
    """Answer with one frame as a picture; `parameters` as in a query of WADO-RS. Raises: Malformed, Missing."""
    wanted = parse_rendering(parameters)
    wanted["media_type"] = media_type
    return _one(call, grant, [row], [number], wanted)


def _choose(ranges: list[MediaRange], offered: tuple[str, ...] = _TYPES) -> tuple[MediaRange, str]:
    """Return (range, media type). Raises: HTTPException 406."""
    for one in ranges:
        inner = MediaRange(one.inner if one.is_multipart else one.type)
        for media_type in offered:
            if inner.covers(media_type):
                return one, media_type
    raise not_acceptable(", ".join(offered))


def give_document(call: "Call", grant: Grant, row: Any, ranges: list[MediaRange]) -> Response:
    """Give a report or an encapsulated document. Ref: PS3.18 8.7.4, table 8.7.4-1."""
    offered = call.house.operations.renderings_of(row)
    if not offered:
        raise Missing("this instance holds nothing that can be shown as a picture or a text.")
    chosen, media_type = _choose(ranges, offered)
    if chosen.is_multipart:
        raise not_acceptable(", ".join(offered))
    data = call.house.operations.document(grant, row, media_type)
    is_text = media_type.startswith("text/")
    headers = {"content-security-policy": _TEXT_CSP if is_text else _FILE_CSP}
    if media_type not in _SHOWN:  # XML may bring a style sheet, a model nothing that a browser shows
        headers["content-disposition"] = "attachment"
    kind = media_type + "; charset=utf-8" if media_type in {"text/html", "text/plain"} else media_type
    return stream([data], kind, headers)


def _images(call: "Call") -> tuple[Grant, list[Any]]:
    grant, rows = find(call)
    images = [row for row in rows if row.frames]
    if not images:
        raise Missing("there is no image to show here.")
    return grant, images


def _numbers(call: "Call", rows: list[Any]) -> list[int]:
    """Return the frames of the path; none when it names no frame. Raises: Missing, Malformed."""
    text = call.params.get("frames")
    numbers = numbers_of(text) if text is not None else []
    if numbers and max(numbers) > rows[0].frames:
        raise Missing("no such frame in this instance.")
    return numbers


def _render(call: "Call", grant: Grant, row: Any, numbers: list[int], wanted: dict[str, Any]) -> tuple[str, bytes]:
    """Return (media type, picture). Raises: HTTPException 406, with the reason why it cannot be rendered."""
    try:
        return call.house.operations.render(grant, row, numbers, wanted)
    except Malformed as e:
        raise HTTPException(406, f"This cannot be rendered: {e}") from e


def _one(call: "Call", grant: Grant, rows: list[Any], numbers: list[int], wanted: dict[str, Any]) -> Response:
    row, number = _stands_for(call, rows, numbers)
    media_type, data = _render(call, grant, row, [number], wanted)
    return stream([data], media_type)


def _stands_for(call: "Call", rows: list[Any], numbers: list[int]) -> tuple[Any, int]:
    """Return the instance and the frame that stand for what the path names."""
    row = rows[len(rows) // 2]
    return row, numbers[0] if numbers else 1 if "instance" in call.params else (row.frames + 1) // 2


def _film(call: "Call", grant: Grant, rows: list[Any], numbers: list[int], wanted: dict[str, Any]) -> Response:
    """Give the frames of one instance as a GIF that moves."""
    row = rows[len(rows) // 2]
    wanted["viewport"] = wanted["viewport"] or _FILM
    media_type, data = _render(call, grant, row, numbers or list(range(1, row.frames + 1)), wanted)
    return stream([data], media_type)


def _parts(
    call: "Call", grant: Grant, pairs: list[tuple[Any, int]], wanted: dict[str, Any]
) -> Iterator[tuple[dict[str, str], Iterable[bytes]]]:
    for row, number in pairs:
        call.house.door.check(grant)
        try:
            media_type, data = call.house.operations.render(grant, row, [number], wanted)
        except Malformed:  # one instance that cannot be shown does not hide the others
            continue
        yield {"Content-Type": media_type}, (data,)
