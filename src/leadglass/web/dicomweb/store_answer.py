"""What a store request is answered: each instance with what became of it. Ref: PS3.18 10.5.3, table I.2-1."""

import json
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from leadglass.dicom.xml_model import to_xml
from leadglass.errors import Malformed
from leadglass.web.dicomweb.negotiation import accepted, not_acceptable

if TYPE_CHECKING:
    from starlette.requests import Request

    from leadglass.web.dicomweb.store_run import Results

__all__ = ["answer", "choose_type"]

JSON = "application/dicom+json"
XML = "application/dicom+xml"
STORED_WITH_WARNING = 0xB000  # kept apart for reconciliation, or rejected by a note


def choose_type(request: "Request") -> str:
    """Return the media type of the answer. Raises: HTTPException 406, Malformed."""
    for wanted in accepted(request):
        if wanted.covers(JSON) or wanted.covers("application/json"):
            return JSON
        if wanted.covers(XML):
            return XML
    raise not_acceptable(f"{JSON}, {XML}")


def answer(results: "Results", root: str, media_type: str) -> Response:
    """Return the answer. Raises: Malformed, when nothing was sent."""
    model: dict[str, Any] = {}
    studies = {outcome.study_uid for outcome, _ in results.stored if not outcome.warning}
    if len(studies) == 1:
        model["00081190"] = _uri(f"{root}/dicomweb/studies/{studies.pop()}")
    if results.failed:
        model["00081198"] = _sequence([{**_reference(c, i), "00081197": _us(reason)} for c, i, reason in results.failed])
    if results.stored:
        model["00081199"] = _sequence([
            {**_reference(o.sop_class_uid, o.sop_instance_uid),
             **({"00081196": _us(STORED_WITH_WARNING)} if o.warning else  # it cannot be had at its place
                {"00081190": _uri(f"{root}/dicomweb/studies/{o.study_uid}/series/{e}/instances/{o.sop_instance_uid}")})}
            for o, e in results.stored
        ])
    if results.unreadable:  # their UIDs could not be read, or may not be repeated
        model["0008119A"] = _sequence([{"00081197": _us(reason)} for reason in results.unreadable])
    has_failed = bool(results.failed or results.unreadable)
    if not has_failed and not results.stored:
        raise Malformed("the body holds no part.")
    has_warned = any(outcome.warning for outcome, _ in results.stored)
    status = 202 if results.stored and (has_failed or has_warned) else 409 if has_failed else 200
    body = to_xml(model) if media_type == XML else json.dumps(model, separators=(",", ":")).encode()
    return Response(body, status, media_type=media_type)


def _reference(sop_class: str, sop_instance: str) -> dict[str, Any]:
    return {
        "00081150": {"vr": "UI", "Value": [sop_class]},
        "00081155": {"vr": "UI", "Value": [sop_instance]},
    }


def _sequence(items: list[dict[str, Any]]) -> dict[str, Any]:
    return {"vr": "SQ", "Value": items}


def _uri(value: str) -> dict[str, Any]:
    return {"vr": "UR", "Value": [value]}


def _us(value: int) -> dict[str, Any]:
    return {"vr": "US", "Value": [value]}
