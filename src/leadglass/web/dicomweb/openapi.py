"""The OpenAPI document of the API face, made from the route table that is served. Ref: OpenAPI 3.1.1.

Each row of the table with the face "api" becomes a path: its methods, the parts of its path, its right or the reason
why it needs none. What it says and gives comes from api_description.py, by handler. Nothing here is of a patient, a person
or this house: the same document for everyone.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from leadglass import __version__
from leadglass.dicom.value_representations import VALUE_REPRESENTATIONS

if TYPE_CHECKING:
    from leadglass.web.calls import Operation

__all__ = ["Described", "Parameter", "document"]

_TEXT: Final[dict[str, Any]] = {"type": "string", "maxLength": 4096}


class Parameter(NamedTuple):
    """A query parameter or header."""

    name: str
    says: str
    schema: dict[str, Any] = _TEXT
    place: str = "query"


@dataclass(frozen=True, kw_only=True)
class Described:
    """One handler. `answers`: status -> media type -> name of a schema ("" = bytes)."""

    tag: str
    summary: str
    answers: Mapping[int, Mapping[str, str]]
    parameters: tuple[Parameter, ...] = ()
    body: Mapping[str, str] = field(default_factory=dict)
    more: tuple[int, ...] = ()  # statuses of problems, beside those that every operation of its kind has


_UID: Final = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)*$", "minLength": 1, "maxLength": 64}
_PARTS: Final[dict[str, dict[str, Any]]] = {
    "study": {"description": "Study Instance UID", "schema": _UID},
    "series": {"description": "Series Instance UID", "schema": _UID},
    "instance": {"description": "SOP Instance UID", "schema": _UID},
    "frames": {"description": "Frame numbers from 1, with commas between",
               "schema": {"type": "string", "pattern": "^[1-9][0-9]{0,8}(,[1-9][0-9]{0,8})*$", "maxLength": 4096}},
    "path": {"description": "As a BulkDataURI of the metadata has it; it may hold slashes",
             "schema": {"type": "string", "minLength": 1, "maxLength": 1024}},
}
_PROBLEM: Final = "application/problem+json"
_PART: Final = re.compile(r"\{(\w+)(?::path)?\}")
_SAYS: Final = {
    200: "Done", 202: "Stored in part, or with warnings", 204: "Nothing found", 206: "The range that was asked for",
    304: "The client has it",
    400: "The request breaks the standard or a limit", 401: "Not proved who asks; no body", 403: "Not permitted",
    404: "Nothing here by that name, or nothing that the asker may see", 406: "Not in a type that is accepted",
    408: "Too slow", 409: "Nothing stored: each instance has its reason", 415: "A type or coding that is not taken",
    414: "A URI longer than is read; no body", 416: "A range behind the end", 431: "Longer headers than are read; no body",
    501: "Not done here; the reason is given", 503: "Too busy: see Retry-After", 507: "The store is full",
}
_BY_HTTP: Final = (414, 431)  # answered before any row is asked
_NO_BODY: Final = frozenset({204, 304, 401, *_BY_HTTP})


def document(operations: "Iterable[Operation]", described: Mapping[Callable[..., Any], Described]) -> dict[str, Any]:
    """Return the document of the rows that have the face "api". Raises: KeyError, for a handler without a description."""
    paths: dict[str, dict[str, Any]] = {}
    for row in operations:
        if row.face != "api":
            continue
        item = paths.setdefault(_PART.sub(r"{\1}", row.path), {})
        for method in row.methods:
            item[method.lower()] = _operation(row, method, described[row.handler])
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Leadglass", "version": __version__, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "DICOMweb (PS3.18), tokens and health. Errors are application/problem+json (RFC 9457).",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": _schemas(), "securitySchemes": _SECURITY},
    }


_SECURITY: Final = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A token of /oauth/token, or of `leadglass clients token`"},
    "session": {"type": "apiKey", "in": "cookie", "name": "__Host-session", "description": "A browser that has signed in"},
}


def _operation(row: "Operation", method: str, described: Described) -> dict[str, Any]:
    is_head = method == "HEAD"
    answers: dict[int, dict[str, Any]] = {}
    problems = {*described.more, *_BY_HTTP, *((400, 404, 503) if row.action is not None else ())}
    if described.parameters:
        problems.add(400)
    for status in problems:
        answers[status] = _answer(status, {} if status in _NO_BODY or is_head else {_PROBLEM: "Problem"})
    if row.action is not None:
        answers[401] = _answer(401, {})
    for status, types in described.answers.items():
        answers[status] = _answer(status, {} if is_head else types)
    made: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{method.lower()}{row.path}").strip("_") + "_root" * row.path.endswith("/"),
        "summary": described.summary, "tags": [described.tag],
        "parameters": [
            {"name": name, "in": "path", "required": True, **_PARTS[name]} for name in _PART.findall(row.path)
        ] + [
            {"name": p.name, "in": p.place, "required": False, "description": p.says, "schema": p.schema}
            for p in described.parameters
        ],
        "responses": {str(status): answer for status, answer in sorted(answers.items())},
    }
    if row.action is None:
        made["security"] = []
        made["description"] = f"Public: {row.public_reason}."
    else:
        made["security"] = [{"bearer": []}, {"session": []}]
        made["description"] = f"Needs the right `{row.action}`."
    if described.body:
        made["requestBody"] = {"required": True, "content": _content(described.body)}
    return made


def _answer(status: int, types: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"description": _SAYS[status]}
    if types:
        made["content"] = _content(types)
    if status == 503:
        made["headers"] = {"Retry-After": {"schema": {"type": "integer", "minimum": 1}}}
    if status == 401:
        made["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}}}
    return made


def _content(types: Any) -> dict[str, Any]:
    return {kind: {"schema": {"$ref": f"#/components/schemas/{name}"}} if name else {} for kind, name in types.items()}


def _object(required: Iterable[str] = (), **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": properties}


def _schemas() -> dict[str, Any]:
    text = {"type": "string"}
    data_set = {"$ref": "#/components/schemas/DataSet"}
    sequence = _object(["vr"], vr={"const": "SQ"}, Value={"type": "array", "items": data_set})
    return {
        "Problem": _object(["title", "status"], type=text, title=text, status={"type": "integer"}, detail=text, incident=text),
        "Status": _object(["status"], status=text),
        "OpenAPI": _object(["openapi", "paths"], openapi=text, paths={"type": "object"}),
        "OAuthMetadata": _object(["issuer", "token_endpoint"], issuer=text, token_endpoint=text),
        "OAuthError": _object(["error"], error=text),
        "Token": _object(["access_token", "token_type", "expires_in"], access_token=text, token_type={"const": "Bearer"},
                         expires_in={"type": "integer"}),
        "TokenRequest": _object(
            ["grant_type", "client_assertion_type", "client_assertion"], grant_type={"const": "client_credentials"},
            client_assertion_type={"const": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
            client_assertion={"type": "string", "minLength": 1, "maxLength": 8192}),
        "DataSet": {
            "type": "object", "description": "DICOM JSON model (PS3.18 F.2)", "additionalProperties": False,
            "patternProperties": {"^[0-9A-F]{8}$": {"$ref": "#/components/schemas/Attribute"}},
        },
        "Attribute": _object(["vr"], vr={"enum": sorted(VALUE_REPRESENTATIONS)}, Value={"type": "array"},
                             InlineBinary=text, BulkDataURI=text),
        "DataSets": {"type": "array", "items": data_set},
        "StoreAnswer": {
            "allOf": [data_set, _object(**{"00081198": sequence, "00081199": sequence, "0008119A": sequence})],
            "description": "Failed, Referenced and Other Failures SOP Sequence (PS3.18 10.5.3)",
        },
        "StoreBody": {
            "description": "Parts: DICOM files; or metadata, then bulk data with Content-Location (PS3.18 10.5.2)",
            "type": "object", "required": ["metadata"],
            "properties": {"metadata": {"$ref": "#/components/schemas/DataSets"},
                           "bulkdata": {"type": "object", "additionalProperties": text}},
        },
    }
