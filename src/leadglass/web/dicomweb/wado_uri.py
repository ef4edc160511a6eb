"""WADO-URI, for clients of before 2011: one object by a query. Ref: PS3.18 9.

The same door, grant and record as WADO-RS. A parameter that is unknown, stands twice, breaks its form or contradicts
another is 400, never ignored: an ignored `anonymize=yes` would give out a name. What is right and cannot be done here
(anonymize, presentation states) is 501, with the reason. UIDs in a query are the standard's; a query is never logged.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from starlette.exceptions import HTTPException

from leadglass.dicom.transfer_syntaxes import TRANSFER_SYNTAXES
from leadglass.dicom.uids import is_valid_uid
from leadglass.errors import Malformed
from leadglass.web.dicomweb.media_types import MediaRange, parse_accept
from leadglass.web.dicomweb.metadata import give_model
from leadglass.web.dicomweb.negotiation import not_acceptable, syntax_for
from leadglass.web.dicomweb.rendered import give_document, give_picture
from leadglass.web.dicomweb.retrieve import Sent, give_instances

if TYPE_CHECKING:
    from starlette.responses import Response

    from leadglass.web.calls import Call

__all__ = ["parse_parameters", "rendering_of", "wado_uri"]

_DICOM: Final = "application/dicom"
_PICTURES: Final = ("image/jpeg", "image/png", "image/gif")
_MODELS: Final = ("application/dicom+json", "application/dicom+xml")
_REQUIRED: Final = ("requestType", "studyUID", "seriesUID", "objectUID")
_RENDERING: Final = frozenset({
    "annotation", "columns", "frameNumber", "imageQuality", "presentationSeriesUID", "presentationUID", "region", "rows",
    "windowCenter", "windowWidth",
})
_KNOWN: Final = frozenset({*_REQUIRED, *_RENDERING, "anonymize", "charset", "contentType", "transferSyntax"})
_CHARSETS: Final = frozenset({"utf-8", "utf8", "iso-ir-192", "iso_ir 192"})
_MAX_VALUE: Final = 1024
_MAX_SIDE: Final = 8192


def parse_parameters(items: list[tuple[str, str]]) -> dict[str, str]:
    """Return the parameters by name, each known, once and in its form. Args: items: untrusted. Raises: Malformed.

    Ref: PS3.18 9.4.1, 9.5.1. Not done here: what depends on the object, and on the media type.
    """
    given = dict(items)
    if len(given) != len(items):
        raise Malformed("a parameter stands twice.")
    if set(given) - _KNOWN:
        raise Malformed("the query holds a parameter that WADO-URI does not have.")
    if any(len(value) > _MAX_VALUE for value in given.values()):
        raise Malformed(f"a parameter takes at most {_MAX_VALUE} characters.")
    missing = [name for name in _REQUIRED if not given.get(name)]
    if missing:
        raise Malformed(f"{', '.join(missing)}: must be there.")
    if given["requestType"] != "WADO":
        raise Malformed("requestType: WADO.")
    for name in ("studyUID", "seriesUID", "objectUID", "presentationUID", "presentationSeriesUID", "transferSyntax"):
        if name in given and not is_valid_uid(given[name]):
            raise Malformed(f"{name}: a UID is wanted.")
    if given.get("anonymize", "yes") != "yes":
        raise Malformed("anonymize: yes, or not at all.")
    if ("windowCenter" in given) != ("windowWidth" in given):
        raise Malformed("windowCenter and windowWidth: both or neither.")
    if ("presentationUID" in given) != ("presentationSeriesUID" in given):
        raise Malformed("presentationUID and presentationSeriesUID: both or neither.")
    if "presentationUID" in given and given.keys() & {"windowCenter", "region", "annotation"}:
        raise Malformed("a presentation state has its own window, region and annotation.")
    return given


def wado_uri(call: "Call") -> "Response":
    """Give one object. Raises: Malformed, Missing, HTTPException 406, 501. Ref: PS3.18 9.4, 9.5."""
    given = parse_parameters(call.request.query_params.multi_items())
    _refuse_what_is_not_there(given)
    grant = call.house.operations.study(call.subject, given["studyUID"])
    (row,) = call.house.operations.locate(grant, given["seriesUID"], given["objectUID"])
    documents = () if row.frames else call.house.operations.renderings_of(row)
    possible = (*(_PICTURES if row.frames else documents), _DICOM, *_MODELS)
    media_type = _choose(call, given, row, possible)
    if media_type not in _PICTURES:
        asked = sorted(given.keys() & _RENDERING)
        if asked:
            raise Malformed(f"{', '.join(asked)}: of a picture, and {media_type} is none.")
    if media_type != _DICOM and "transferSyntax" in given:
        raise Malformed(f"transferSyntax: of application/dicom, and not of {media_type}.")
    if media_type == _DICOM:
        return give_instances(call, grant, [row], [_sent(call, given, row)])
    if media_type in _MODELS:
        return give_model(call, grant, [row], media_type)
    if media_type in documents:
        return give_document(call, grant, row, [MediaRange(media_type)])
    number = _whole(given, "frameNumber", row.frames) or 1
    return give_picture(call, grant, row, number, rendering_of(given, row, media_type), media_type)


def _refuse_what_is_not_there(given: Mapping[str, str]) -> None:
    if "anonymize" in given:
        raise HTTPException(501, "De-identification does not exist here yet; the object is not given out in its place.")
    if "presentationUID" in given:
        raise HTTPException(501, "Presentation states are not applied here; without one the picture can be had.")
    if given.get("charset", "utf-8").lower() not in _CHARSETS:
        raise not_acceptable("charset=utf-8")


def _choose(call: "Call", given: Mapping[str, str], row: Any, possible: tuple[str, ...]) -> str:
    """Return the media type: the first of contentType, else of Accept, that there is; else the object's default.

    Ref: PS3.18 9.4.2.1. The default is a picture for what has one frame, a text for a report, else the object itself.
    """
    default = "image/jpeg" if row.frames == 1 else "text/html" if "text/html" in possible else _DICOM
    named = [given["contentType"]] if given.get("contentType") else call.request.headers.getlist("accept")
    for one in parse_accept(named):
        if one.parameters.keys() & {"transfer-syntax"}:  # forbidden in this service. Ref: PS3.18 8.7.3.5.2
            raise Malformed("contentType: the transfer syntax is a parameter of its own here.")
        if one.covers(default):
            return default
        for media_type in possible:
            if one.covers(media_type):
                return media_type
    raise not_acceptable(", ".join(possible))


def _sent(call: "Call", given: Mapping[str, str], row: Any) -> Sent:
    possible = call.house.operations.syntaxes_of(row)
    asked = given.get("transferSyntax", "")
    if asked and asked not in TRANSFER_SYNTAXES:
        raise Malformed("transferSyntax: not a transfer syntax of the standard.")
    syntax = syntax_for(MediaRange(_DICOM, {"transfer-syntax": asked} if asked else {}), row.transfer_syntax_uid, possible)
    if syntax is None:
        raise not_acceptable("transferSyntax=" + ", ".join(possible))
    return Sent(syntax, is_part=False, is_default=not asked)


def rendering_of(given: Mapping[str, str], row: Any, media_type: str) -> list[tuple[str, str]]:
    """Return the same wishes in the words of WADO-RS (PS3.18 8.3.5). Args: row: with rows and columns. Raises: Malformed."""
    found: list[tuple[str, str]] = []
    if "windowCenter" in given:
        found.append(("window", f"{given['windowCenter']},{given['windowWidth']},linear"))
    if "imageQuality" in given:
        if media_type != "image/jpeg":
            raise Malformed("imageQuality: of image/jpeg alone.")
        found.append(("quality", given["imageQuality"]))
    if "annotation" in given:
        found.append(("annotation", given["annotation"]))
    height, width = _whole(given, "rows", _MAX_SIDE), _whole(given, "columns", _MAX_SIDE)
    region = _region(given["region"]) if "region" in given else None
    if region is not None:
        left, top, right, bottom = (
            edge * side for edge, side in zip(region, (row.columns or 0, row.rows or 0) * 2, strict=True))
        wide, high = max(1, round(right - left)), max(1, round(bottom - top))
        box = (width or (_MAX_SIDE if height else wide), height or (_MAX_SIDE if width else high))
        found.append(("viewport", f"{box[0]},{box[1]},{left:.4f},{top:.4f},{right - left:.4f},{bottom - top:.4f}"))
    elif width or height:
        found.append(("viewport", f"{width or _MAX_SIDE},{height or _MAX_SIDE}"))
    return found


def _whole(given: Mapping[str, str], name: str, most: int) -> int:
    """Return a parameter as a whole number from 1, or 0 where it is not there. Raises: Malformed."""
    text = given.get(name)
    if text is None:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= most):
        raise Malformed(f"{name}: a whole number from 1 to {most}.")
    return int(text)


def _region(text: str) -> tuple[float, float, float, float]:
    """Return left, top, right, bottom as parts of the image, 0 to 1. Raises: Malformed. Ref: PS3.18 9.5.1.2.2."""
    try:
        left, top, right, bottom = (float(part) for part in text.split(","))
    except ValueError as e:
        raise Malformed("region: xmin,ymin,xmax,ymax.") from e
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise Malformed("region: from 0.0 to 1.0, left before right and top before bottom.")
    return left, top, right, bottom
