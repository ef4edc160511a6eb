"""QIDO-RS: search for studies, series and instances. Ref: PS3.18 10.6; attributes of PS3.18 tables 10.6.3-3 to -5.

What a subject may not see is not in the list. The query string is never logged; its terms go into the ledger.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import Response

from leadglass.access import COUNTS, SEARCHABLE, UNREAD
from leadglass.dicom.further import SERIES, STUDY
from leadglass.dicom.query_model import row_model
from leadglass.dicom.xml_model import to_xml
from leadglass.web.dicomweb.multipart import new_boundary
from leadglass.web.dicomweb.negotiation import accepted, base_url, not_acceptable
from leadglass.web.dicomweb.search_query import parse_query
from leadglass.web.dicomweb.streaming import give_packed, multipart_body

if TYPE_CHECKING:
    from leadglass.web.calls import Call

__all__ = ["search"]

_XML: Final = "application/dicom+xml"
_STUDY: Final = frozenset({
    "StudyDate", "StudyTime", "AccessionNumber", "InstanceAvailability", "ModalitiesInStudy", "ReferringPhysicianName",
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyID", "StudyDescription",
    "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances", "TimezoneOffsetFromUTC",
})
_SERIES: Final = frozenset({
    "Modality", "SeriesDescription", "SeriesInstanceUID", "SeriesNumber", "NumberOfSeriesRelatedInstances",
    "PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime",
    "RequestAttributesSequence.ScheduledProcedureStepID", "RequestAttributesSequence.RequestedProcedureID",
})
_INSTANCE: Final = frozenset({
    "SOPClassUID", "SOPInstanceUID", "InstanceNumber", "Rows", "Columns", "BitsAllocated", "NumberOfFrames",
    "AvailableTransferSyntaxUID", "InstanceAvailability",
})
_ALWAYS: Final = frozenset({"StudyInstanceUID", "RetrieveURL"})


def search(call: "Call") -> Response:
    """Answer a search. Raises: Malformed, Refused, Unproven, HTTPException 406."""
    is_xml = _wants_xml(call)
    params = call.params
    level = call.request.url.path.rstrip("/").rsplit("/", 1)[-1]
    level = {"studies": "study", "series": "series"}.get(level, "instance")
    asked = parse_query(
        call.request.query_params.multi_items(), level=level,
        path={"StudyInstanceUID": params.get("study", ""), "SeriesInstanceUID": params.get("series", "")},
    )
    wanted = _wanted(level, above={name for name in ("study", "series") if name in params}) | asked.include
    root = base_url(call.request)
    rows: list[dict[str, Any]] = []
    warnings = list(asked.warnings)
    if asked.query is not None:
        query = replace(asked.query, returns=frozenset(wanted), limit=asked.query.limit + 1)
        rows = call.house.operations.search(call.subject, query)
        if len(rows) > asked.query.limit:
            rows.pop()
            left = call.house.operations.count(call.subject, query) - query.offset - len(rows)
            warnings.insert(0, f"There are {left} additional results that can be requested")
        if any(UNREAD in row for row in rows):
            warnings.append("Attributes that only the instances' headers hold are given for the first rows alone")
    if "*" in wanted:
        wanted = (wanted - {"*"}) | SEARCHABLE | COUNTS | STUDY | SERIES | {"AvailableTransferSyntaxUID", "InstanceAvailability"}
    models = (row_model(_located(row, level, root), set(wanted)) for row in rows)
    headers: dict[str, str] = {}
    if warnings:  # Ref: PS3.18 8.3.4.4.2, RFC 7234 5.5
        headers["warning"] = ", ".join(f'299 {root}/dicomweb "{text}"' for text in warnings)
    if is_xml and not rows:
        return Response(status_code=204, headers=headers)
    content_type, pieces = "application/dicom+json", _array(models)
    if is_xml:
        boundary = new_boundary()
        content_type = f'multipart/related; type="{_XML}"; boundary={boundary}'
        pieces = multipart_body(boundary, (({"Content-Type": _XML}, (to_xml(model),)) for model in models))
    return give_packed(call, pieces, content_type, headers=headers)


def _wants_xml(call: "Call") -> bool:
    """Return whether the answer is XML and not JSON. Raises: HTTPException 406. Ref: PS3.18 10.6.3.3."""
    for wanted in accepted(call.request):
        if wanted.covers("application/dicom+json") or wanted.covers("application/json"):
            return False
        if (wanted.is_multipart and wanted.inner in {_XML, "*/*"}) or wanted.type == _XML:
            return True
    raise not_acceptable(f'application/dicom+json, multipart/related; type="{_XML}"')


def _array(models: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    separator = "["
    for model in models:
        yield (separator + json.dumps(model, ensure_ascii=False, separators=(",", ":"))).encode()
        separator = ","
    yield b"]" if separator == "," else b"[]"


def _wanted(level: str, above: set[str]) -> frozenset[str]:
    """Return what comes without being asked for; of levels that the path has fixed, the UIDs alone. Ref: PS3.18 10.6.3.3."""
    wanted = _ALWAYS
    if "study" not in above:
        wanted |= _STUDY
    if level != "study":
        wanted |= {"SeriesInstanceUID"} | (_SERIES if "series" not in above else frozenset())
    if level == "instance":
        wanted |= _INSTANCE
    return wanted


def _located(row: dict[str, Any], level: str, root: str) -> dict[str, Any]:
    """Return the row with where it can be had, and that it can be had at once."""
    url = f"{root}/dicomweb/studies/{row['StudyInstanceUID']}"
    if level != "study":
        url += f"/series/{row['SeriesInstanceUID']}"
    if level == "instance":
        url += f"/instances/{row['SOPInstanceUID']}"
    return {**row, "RetrieveURL": url, "InstanceAvailability": "ONLINE"}
