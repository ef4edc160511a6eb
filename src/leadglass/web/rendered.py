"""Pictures for people: /rendered and /thumbnail. Ref: PS3.18 10.4.1.1.3-4, 8.3.5.

Rendering runs in the archive's decode processes. A study or series gives one picture of each instance when
multipart/related is asked for, and else one of the instance in its middle; an instance gives its first frame.
Bits of a patient may be burnt into pixels: a picture is as much PHI as the study.
"""

from collections.abc import Iterable, Iterator
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import Response

from leadglass.errors import Malformed, Missing
from leadglass.terms import Grant
from leadglass.web.media_types import MediaRange
from leadglass.web.multipart import new_boundary
from leadglass.web.negotiation import accepted, not_acceptable
from leadglass.web.retrieve import find, numbers_of
from leadglass.web.streaming import multipart_body, stream

if TYPE_CHECKING:
    from leadglass.web.calls import Call

__all__ = ["parse_rendering", "rendered", "thumbnail"]

_TYPES: Final = ("image/jpeg", "image/png")
_OFFER: Final = "image/jpeg, image/png"
_THUMBNAIL: Final = (256, 256)
_MAX_SIDE: Final = 8192
_KNOWN: Final = frozenset({"accept", "window", "viewport", "quality", "charset"})
_FUNCTIONS: Final = frozenset({"linear", "linear-exact"})


def parse_rendering(parameters: list[tuple[str, str]]) -> dict[str, Any]:
    """Return the arguments of a rendering from the query. Raises: Malformed. Ref: PS3.18 8.3.5.1."""
    given = dict(parameters)
    if len(given) != len(parameters) or set(given) - _KNOWN:
        raise Malformed("rendering takes window, viewport and quality, each once.")
    wanted: dict[str, Any] = {}
    if "window" in given:
        parts = given["window"].split(",")
        if len(parts) not in {2, 3} or (len(parts) == 3 and parts[2].strip().lower() not in _FUNCTIONS):
            raise Malformed("window: centre,width[,linear].")
        centre, width = (_float(p) for p in parts[:2])
        if width <= 0:
            raise Malformed("window: the width is above 0.")
        wanted["window"] = (centre, width)
    if "viewport" in given:
        sides = given["viewport"].split(",")
        if len(sides) != 2 or not all(s.isascii() and s.isdigit() and 0 < int(s[:6]) <= _MAX_SIDE for s in sides):
            raise Malformed(f"viewport: width,height, each 1 to {_MAX_SIDE} pixels.")
        wanted["viewport"] = (int(sides[0]), int(sides[1]))
    if "quality" in given:
        text = given["quality"]
        if not (text.isascii() and text.isdigit() and 1 <= int(text[:4]) <= 100):
            raise Malformed("quality: 1 to 100.")
        wanted["quality"] = int(text)
    return wanted


def _float(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if len(text) > 32 or not isfinite(value):
        raise Malformed("window: two numbers are wanted.")
    return value


def rendered(call: "Call") -> Response:
    """Give pictures of what the path names. Raises: Malformed, Missing, HTTPException 406."""
    wanted = parse_rendering(call.request.query_params.multi_items())
    chosen, media_type = _choose(accepted(call.request))
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
    if len(numbers) > 1:
        raise not_acceptable('multipart/related; type="image/jpeg"')
    return _one(call, grant, rows, numbers, wanted)


def thumbnail(call: "Call") -> Response:
    """Give one small picture that stands for what the path names. Ref: PS3.18 10.4.1.1.4."""
    wanted = {"viewport": _THUMBNAIL, **parse_rendering(call.request.query_params.multi_items())}
    width, height = wanted["viewport"]
    wanted["viewport"] = (min(width, _THUMBNAIL[0] * 4), min(height, _THUMBNAIL[1] * 4))
    chosen, media_type = _choose(accepted(call.request))
    if chosen.is_multipart:
        raise not_acceptable(_OFFER)
    grant, rows = _images(call)
    wanted["media_type"] = media_type
    return _one(call, grant, rows, _numbers(call, rows), wanted)


def _choose(ranges: list[MediaRange]) -> tuple[MediaRange, str]:
    """Return (range, type of the picture). Raises: HTTPException 406."""
    for one in ranges:
        inner = MediaRange(one.inner if one.is_multipart else one.type)
        for media_type in _TYPES:
            if inner.covers(media_type):
                return one, media_type
    raise not_acceptable(_OFFER)


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


def _one(call: "Call", grant: Grant, rows: list[Any], numbers: list[int], wanted: dict[str, Any]) -> Response:
    row = rows[len(rows) // 2]
    number = numbers[0] if numbers else 1 if "instance" in call.params else (row.frames + 1) // 2
    media_type, data = call.house.operations.render(grant, row, number=number, **wanted)
    return stream([data], media_type)


def _parts(
    call: "Call", grant: Grant, pairs: list[tuple[Any, int]], wanted: dict[str, Any]
) -> Iterator[tuple[dict[str, str], Iterable[bytes]]]:
    for row, number in pairs:
        call.house.door.check(grant)
        try:
            media_type, data = call.house.operations.render(grant, row, number=number, **wanted)
        except Malformed:  # one instance that cannot be shown does not hide the others
            continue
        yield {"Content-Type": media_type}, (data,)
