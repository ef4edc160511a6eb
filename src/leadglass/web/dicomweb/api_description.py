"""What the API's operations are, in words and media types: the data of the OpenAPI document, by handler.

Paths, methods and rights are not here: they come from the route table. A test holds the two together: a handler
without a description fails, and so does a description without a row.
"""

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import Response

from leadglass.web import health, oauth
from leadglass.web.dicomweb import (
    bulk_data,
    capabilities,
    export,
    metadata,
    pixel_data,
    rendered,
    retrieve,
    search,
    store,
    wado_uri,
)
from leadglass.web.dicomweb.openapi import Described, Parameter, document

if TYPE_CHECKING:
    from leadglass.web.calls import Call

__all__ = ["DESCRIBED", "openapi"]

JSON: Final = "application/json"
DICOM_JSON: Final = "application/dicom+json"
DICOM_XML: Final = "application/dicom+xml"
DICOM: Final = "application/dicom"
RELATED: Final = "multipart/related"
OCTETS: Final = "application/octet-stream"
_ACCEPT: Final = Parameter("accept", "Media ranges, instead of the Accept header (PS3.18 8.3.3.1); others too.", {
    "type": "string",
    "enum": ["", "*/*", JSON, DICOM, DICOM_JSON, DICOM_XML, OCTETS, "image/jpeg", "image/png", "image/gif", "text/html", RELATED,
             *(f'{RELATED}; type="{inner}"' for inner in (DICOM, DICOM_JSON, DICOM_XML, OCTETS, "image/jpeg"))],
})
_HEADER: Final = {"type": "string"}  # what cannot be read is passed over (RFC 9110 13.1, 14.2)
_RANGE: Final = Parameter("Range", "One range of bytes.", _HEADER, "header")
_KNOWN_TAG: Final = Parameter("If-None-Match", "ETags that the client has.", _HEADER, "header")
_RENDERING: Final = (
    _ACCEPT,
    Parameter("window", "centre,width[,function], after the modality LUT (PS3.18 8.3.5.1.4).", {
        "type": "string", "pattern": r"^-?[0-9]{1,4}(\.[0-9]{1,4})?,[1-9][0-9]{0,4}(,linear|,linear-exact|,sigmoid)?$"}),
    Parameter("viewport", "vw,vh or vw,vh,sx,sy,sw,sh, in pixels (PS3.18 8.3.5.1.3).", {
        "type": "string", "pattern": "^[1-9][0-9]{0,2},[1-9][0-9]{0,2}(,[0-9]?,[0-9]?,(-?[1-9][0-9]?)?,(-?[1-9][0-9]?)?)?$"}),
    Parameter("annotation", "Text burnt in (PS3.18 8.3.5.1.1).", {
        "type": "string", "enum": ["patient", "technique", "patient,technique"]}),
    Parameter("iccprofile", "Whether the colour profile is embedded or applied (PS3.18 8.3.5.1.5).", {
        "type": "string", "enum": ["no", "yes", "srgb"]}),
    Parameter("quality", "1 to 100, of JPEG.", {"type": "integer", "minimum": 1, "maximum": 100}),
)
_SEARCHING: Final = (
    _ACCEPT,
    Parameter("limit", "Most rows.", {"type": "integer", "minimum": 0, "maximum": 999999999}),
    Parameter("offset", "Rows to pass over.", {"type": "integer", "minimum": 0, "maximum": 999999999}),
    Parameter("fuzzymatching", "Names by sound.", {"type": "string", "enum": ["true", "false"]}),
    Parameter("emptyvaluematching", "An empty value matches what is empty.", {"type": "string", "enum": ["true", "false"]}),
    Parameter("multiplevaluematching", "A list matches any of its values.", {"type": "string", "enum": ["true", "false"]}),
    Parameter("includefield", "Keywords or tags, with commas between; `all`."),
    *(Parameter(keyword, "An attribute to match; others of the level by keyword or tag: see the conformance statement.")
      for keyword in ("PatientID", "PatientName", "StudyDate", "AccessionNumber", "ModalitiesInStudy", "StudyInstanceUID")),
)
_PICTURES: Final = {"image/jpeg": "", "image/png": "", "image/gif": "", RELATED: "", "text/html": "", "text/plain": "",
                    "text/xml": "", "application/pdf": "", "model/*": ""}
_GIVEN: Final = (304, 416)
_WATCHED: Final = "Watching"
_RETRIEVE: Final = "Retrieve (WADO-RS)"


async def openapi(call: "Call") -> Response:
    """Give the document of what this server serves."""
    state = call.request.app.state
    return Response(json.dumps(document(state.operations, state.described)), media_type=JSON)


DESCRIBED: Final[Mapping[Callable[..., Any], Described]] = {
    health.healthz: Described(tag=_WATCHED, summary="Whether the process answers", answers={200: {JSON: "Status"}}),
    health.readyz: Described(tag=_WATCHED, summary="Whether the index answers",
                              answers={200: {JSON: "Status"}, 503: {JSON: "Status"}}),
    health.metrics: Described(tag=_WATCHED, summary="Counts of requests, as Prometheus text", answers={200: {"text/plain": ""}}),
    capabilities.capabilities: Described(
        tag=_WATCHED, summary="What the DICOMweb root can do (PS3.18 8.9)", parameters=(_ACCEPT,),
        answers={200: {"application/vnd.sun.wadl+xml": "", JSON: "OpenAPI"}}, more=(406,),
    ),
    openapi: Described(tag=_WATCHED, summary="This document", answers={200: {JSON: "OpenAPI"}}),
    oauth.metadata: Described(tag="Tokens", summary="How to ask for a token (RFC 8414)", answers={200: {JSON: "OAuthMetadata"}}),
    oauth.token: Described(
        tag="Tokens", summary="A token for a client that proves itself by private_key_jwt (RFC 7523)",
        body={"application/x-www-form-urlencoded": "TokenRequest"},
        answers={200: {JSON: "Token"}, 400: {JSON: "OAuthError"}, 401: {JSON: "OAuthError"}},
    ),
    store.store: Described(
        tag="Store (STOW-RS)", summary="Store instances: files, or metadata with bulk data (PS3.18 10.5)",
        body={RELATED: "StoreBody", DICOM: ""},
        answers={s: {DICOM_JSON: "StoreAnswer", DICOM_XML: ""} for s in (200, 202, 409)}, more=(403, 406, 408, 415, 507),
    ),
    search.search: Described(
        tag="Search (QIDO-RS)", summary="Search (PS3.18 10.6): only what the asker may see is in the list",
        parameters=_SEARCHING, answers={200: {DICOM_JSON: "DataSets", RELATED: ""}, 204: {}},
        more=(406,),
    ),
    retrieve.instances: Described(
        tag=_RETRIEVE, summary="DICOM files (PS3.18 10.4.1.1.1)", parameters=(_ACCEPT, _RANGE, _KNOWN_TAG),
        answers={200: {RELATED: "", DICOM: ""}, 206: {RELATED: "", DICOM: ""}}, more=(*_GIVEN, 406),
    ),
    export.files: Described(
        tag=_RETRIEVE, summary="DICOM files as parts, or as a ZIP with a DICOMDIR to take away",
        parameters=(_ACCEPT, _RANGE, _KNOWN_TAG),
        answers={200: {RELATED: "", export.ZIP: ""}, 206: {RELATED: ""}}, more=(*_GIVEN, 406),
    ),
    metadata.metadata: Described(
        tag=_RETRIEVE, summary="Data sets without bulk data (PS3.18 10.4.1.1.2)", parameters=(_ACCEPT, _KNOWN_TAG),
        answers={200: {DICOM_JSON: "DataSets", RELATED: "", DICOM_XML: ""}}, more=(304, 406),
    ),
    bulk_data.all_bulk_data: Described(
        tag=_RETRIEVE, summary="All bulk data (PS3.18 10.4.1.1.5)", parameters=(_ACCEPT, _RANGE, _KNOWN_TAG),
        answers={200: {RELATED: ""}, 206: {RELATED: ""}}, more=(*_GIVEN, 406),
    ),
    bulk_data.bulk: Described(
        tag=_RETRIEVE, summary="What a BulkDataURI names (PS3.18 10.4.1.1.5)", parameters=(_ACCEPT, _RANGE, _KNOWN_TAG),
        answers={200: {RELATED: "", OCTETS: "", "image/*": "", "video/*": ""},
                 206: {RELATED: "", OCTETS: "", "image/*": "", "video/*": ""}}, more=(*_GIVEN, 406),
    ),
    pixel_data.pixel_data: Described(
        tag=_RETRIEVE, summary="All pixel data (PS3.18 10.4.1.1.6)", parameters=(_ACCEPT, _RANGE, _KNOWN_TAG),
        answers={200: {RELATED: "", OCTETS: "", "image/*": "", "video/*": ""},
                 206: {RELATED: "", OCTETS: "", "image/*": "", "video/*": ""}}, more=(*_GIVEN, 406),
    ),
    pixel_data.frames: Described(
        tag=_RETRIEVE, summary="Frames, as stored or decoded (PS3.18 10.4.1.1.6)", parameters=(_ACCEPT, _RANGE, _KNOWN_TAG),
        answers={200: {RELATED: "", OCTETS: "", "image/*": ""}, 206: {RELATED: "", OCTETS: "", "image/*": ""}},
        more=(*_GIVEN, 406),
    ),
    rendered.rendered: Described(
        tag=_RETRIEVE, summary="Pictures, or a report or document (PS3.18 10.4.1.1.3)", parameters=_RENDERING,
        answers={200: _PICTURES}, more=(406,),
    ),
    wado_uri.wado_uri: Described(
        tag=_RETRIEVE, summary="One object by a query, for old clients (WADO-URI, PS3.18 9)",
        parameters=(
            Parameter("requestType", "WADO.", {"type": "string", "enum": ["WADO"]}), Parameter("studyUID", "Study Instance UID."),
            Parameter("seriesUID", "Series Instance UID."), Parameter("objectUID", "SOP Instance UID."),
            *(Parameter(name, "PS3.18 9.4, 9.5.") for name in (
                "contentType", "transferSyntax", "frameNumber", "rows", "columns", "region", "windowCenter", "windowWidth",
                "imageQuality", "annotation", "charset", "anonymize", "presentationUID", "presentationSeriesUID")),
        ),
        answers={200: {"image/jpeg": "", "image/png": "", "image/gif": "", "text/html": "", "text/plain": "", DICOM: "",
                       DICOM_JSON: "DataSets", DICOM_XML: ""}},
        more=(406, 501),
    ),
    rendered.thumbnail: Described(
        tag=_RETRIEVE, summary="One small picture (PS3.18 10.4.1.1.4)", parameters=_RENDERING,
        answers={200: {"image/jpeg": "", "image/png": "", "image/gif": ""}}, more=(406,),
    ),
}
