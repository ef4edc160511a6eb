"""QIDO-RS: search for studies, series and instances. Ref: PS3.18 10.6; attributes of PS3.18 tables 10.6.3-3 to -5.

What a subject may not see is not in the list. A parameter that is no attribute to match here is 400, never ignored:
an ignored filter shows rows that nobody asked for. The query string is never logged; its terms go into the ledger.
"""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import Response

from leadglass.access import SearchQuery
from leadglass.dicom.dictionary import keyword_of, tag_of, vr_of
from leadglass.dicom.json_model import pn_json
from leadglass.dicom.uids import is_valid_uid
from leadglass.errors import Malformed
from leadglass.web.negotiation import base_url, want_json
from leadglass.web.streaming import give_packed

if TYPE_CHECKING:
    from leadglass.web.calls import Call

__all__ = ["parse_query", "row_json", "search"]

_DEFAULT_LIMIT: Final = 1000
_MAX_LIMIT: Final = 5000
_MAX_PARAMETERS: Final = 100
_MAX_VALUE: Final = 4096
_STUDY: Final = frozenset({
    "StudyDate", "StudyTime", "AccessionNumber", "InstanceAvailability", "ModalitiesInStudy", "ReferringPhysicianName",
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyID", "StudyDescription",
    "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances", "RetrieveURL", "IssuerOfPatientID",
})
_SERIES: Final = frozenset({
    "Modality", "SeriesDescription", "SeriesInstanceUID", "SeriesNumber", "NumberOfSeriesRelatedInstances",
    "PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime", "SeriesDate", "SeriesTime",
    "BodyPartExamined", "StationName", "RetrieveURL",
})
_INSTANCE: Final = frozenset({
    "SOPClassUID", "SOPInstanceUID", "InstanceNumber", "Rows", "Columns", "BitsAllocated", "NumberOfFrames",
    "AvailableTransferSyntaxUID", "InstanceAvailability", "RetrieveURL",
})
# What comes without being asked for, by level. Ref: PS3.18 10.6.3.3.
_OPTIONAL: Final = frozenset({"IssuerOfPatientID", "StationName", "SeriesDate", "SeriesTime", "BodyPartExamined"})


def search(call: "Call") -> Response:
    """Answer a search. Raises: Malformed, Refused, Unproven."""
    want_json(call.request)
    params = call.params
    level = call.request.url.path.rstrip("/").rsplit("/", 1)[-1]
    query, include, has_limit = parse_query(
        call.request.query_params.multi_items(), level={"studies": "study", "series": "series"}.get(level, "instance"),
        path={"StudyInstanceUID": params.get("study", ""), "SeriesInstanceUID": params.get("series", "")},
    )
    rows = call.house.operations.search(call.subject, query) if query is not None else []
    above = {k for k, given in (("study", "study" in params), ("series", "series" in params)) if given}
    root = base_url(call.request)
    level_name = query.level if query is not None else "study"
    models = (row_json(row, level_name, include=include, above=above, root=root) for row in rows)
    headers = {}
    if query is not None and not has_limit and len(rows) >= query.limit:
        headers["warning"] = '299 leadglass "There are more results: use limit and offset."'
    return give_packed(call, _array(models), "application/dicom+json", headers=headers)


def _array(models: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    separator = "["
    for model in models:
        yield (separator + json.dumps(model, ensure_ascii=False, separators=(",", ":"))).encode()
        separator = ","
    yield b"]" if separator == "," else b"[]"


def parse_query(
    parameters: list[tuple[str, str]], *, level: str, path: dict[str, str]
) -> tuple[SearchQuery | None, set[str], bool]:
    """Return (query, keywords of includefield, is a limit given); no query at all for limit=0. Raises: Malformed."""
    if len(parameters) > _MAX_PARAMETERS:
        raise Malformed(f"more than {_MAX_PARAMETERS} query parameters.")
    filters: dict[str, str] = {}
    include: set[str] = set()
    numbers = {"limit": _DEFAULT_LIMIT, "offset": 0}
    seen: set[str] = set()
    is_fuzzy = False
    for name, value in parameters:
        if len(value) > _MAX_VALUE:
            raise Malformed(f"a query value takes at most {_MAX_VALUE} characters.")
        if name == "includefield":
            include |= _included(value)
        elif name in numbers:
            if not value.isascii() or not value.isdigit() or len(value) > 9 or name in seen:
                raise Malformed(f"{name}: one whole number is wanted.")
            numbers[name] = int(value)
        elif name == "fuzzymatching":
            if value.lower() not in {"true", "false"}:
                raise Malformed("fuzzymatching: true or false.")
            is_fuzzy = value.lower() == "true"
        elif name == "accept":
            pass  # read by want_json
        else:
            keyword = _keyword(name)
            if keyword in filters:
                raise Malformed(f"{keyword}: stands twice; give a list of values in one.")
            filters[keyword] = value
        seen.add(name)
    for keyword, value in path.items():
        if value:
            if not is_valid_uid(value):
                raise Malformed("the path holds something that is no UID.")
            if filters.setdefault(keyword, value) != value:
                raise Malformed(f"{keyword}: the path names another one.")
    if numbers["limit"] == 0:
        return None, include, True
    query = SearchQuery(
        level=level, filters=filters, limit=min(numbers["limit"], _MAX_LIMIT), offset=numbers["offset"], fuzzy=is_fuzzy
    )
    return query, include, "limit" in seen


def _keyword(name: str) -> str:
    """Return the keyword of a matching parameter: a keyword or eight hex digits. Raises: Malformed, naming no value."""
    tag = tag_of(name)
    keyword = keyword_of(tag) if tag is not None else ""
    if not keyword or keyword not in _STUDY | _SERIES | _INSTANCE:
        known = name if len(name) <= 64 and name.isascii() and name.isalnum() else "a query parameter"
        raise Malformed(f"{known}: not a parameter of this search.")
    return keyword


def _included(value: str) -> set[str]:
    found: set[str] = set()
    for name in value.split(","):
        name = name.strip()  # noqa: PLW2901 - the same, trimmed
        if name.lower() == "all":
            found |= _STUDY | _SERIES | _INSTANCE
            continue
        tag = tag_of(name)
        if tag is None:
            raise Malformed("includefield: attributes by keyword or eight hex digits, or all.")
        found.add(keyword_of(tag))
    return found


def row_json(row: dict[str, Any], level: str, *, include: set[str], above: set[str], root: str) -> dict[str, Any]:
    """Return one row in the DICOM JSON model, ordered by tag. Ref: PS3.18 F.

    Args: above: levels that the path has fixed; their attributes come only if asked for, their UIDs always.
    """
    wanted = _wanted(level, above) | include
    url = f"{root}/dicomweb/studies/{row['StudyInstanceUID']}"
    if level != "study":
        url += f"/series/{row['SeriesInstanceUID']}"
    if level == "instance":
        url += f"/instances/{row['SOPInstanceUID']}"
    values: dict[str, Any] = {**row, "RetrieveURL": url, "InstanceAvailability": "ONLINE"}
    if level == "instance" and not row.get("NumberOfFrames"):
        values.pop("NumberOfFrames", None)
    model: dict[str, Any] = {}
    for keyword in wanted:
        tag = tag_of(keyword)
        if tag is not None and keyword in values:
            model[f"{tag:08X}"] = _element(vr_of(tag), values[keyword])
    return dict(sorted(model.items()))


def _wanted(level: str, above: set[str]) -> set[str]:
    wanted = {"StudyInstanceUID", "RetrieveURL"}
    if "study" not in above:
        wanted |= _STUDY - _OPTIONAL
    if level != "study":
        wanted |= {"SeriesInstanceUID"} | (_SERIES - _OPTIONAL if "series" not in above else set())
    if level == "instance":
        wanted |= _INSTANCE
    return wanted


def _element(vr: str, value: Any) -> dict[str, Any]:
    """Return one element; an empty value has no Value. Ref: PS3.18 F.2.2, F.2.5."""
    values = value if isinstance(value, list) else [value]
    values = [v for v in values if v not in (None, "")]
    if not values:
        return {"vr": vr}
    if vr == "PN":
        return {"vr": vr, "Value": [pn_json(str(v)) for v in values]}
    if vr in {"IS", "US", "UL", "SL", "SS"}:
        numbers = [_number(v) for v in values]
        return {"vr": vr, "Value": numbers} if None not in numbers else {"vr": vr}
    return {"vr": vr, "Value": [str(v) for v in values]}


def _number(value: Any) -> int | None:
    try:
        return int(str(value).strip())
    except ValueError:
        return None
