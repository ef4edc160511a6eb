"""What the DICOMweb root can do, for a client that asks before it starts. Ref: PS3.18 8.9; WADL (W3C 2009-08-31).

Made from the route table that is served, as the OpenAPI document is: the same for everyone, nothing of a patient.
"""

import json
import re
from typing import TYPE_CHECKING, Any, Final
from xml.sax.saxutils import quoteattr

from starlette.responses import Response

from leadglass.web.dicomweb.negotiation import accepted, not_acceptable
from leadglass.web.dicomweb.openapi import Described, document
from leadglass.web.dicomweb.retrieve import no_query

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from leadglass.web.calls import Call, Operation

__all__ = ["capabilities", "wadl"]

_WADL: Final = "application/vnd.sun.wadl+xml"
_JSON: Final = "application/json"
_PART: Final = re.compile(r"\{(\w+)(?::path)?\}")
_ROOT: Final = "/dicomweb"


async def capabilities(call: "Call") -> Response:
    """Give the document in WADL or JSON (OpenAPI). Raises: HTTPException 406, Malformed."""
    no_query(call)
    state = call.request.app.state
    for wanted in accepted(call.request):
        if wanted.covers(_WADL):
            return Response(wadl(state.operations, state.described), media_type=_WADL)
        if wanted.covers(_JSON):
            return Response(json.dumps(document(state.operations, state.described)), media_type=_JSON)
    raise not_acceptable(f"{_WADL}, {_JSON}")


def wadl(operations: "Iterable[Operation]", described: "Mapping[Callable[..., Any], Described]") -> str:
    """Return the resources below the root, with their methods, path parameters and media types."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', '<application xmlns="http://wadl.dev.java.net/2009/02">',
             '<resources base="./">']
    for row in operations:
        if row.face != "api" or not row.path.startswith(_ROOT) or row.action is None:
            continue
        path = _PART.sub(r"{\1}", row.path.removeprefix(_ROOT).lstrip("/"))
        lines.append(f"<resource path={quoteattr(path)}>")
        lines += [f'<param name={quoteattr(name)} style="template" required="true"/>' for name in _PART.findall(row.path)]
        answers = described[row.handler].answers
        types = sorted({media_type for status, given in answers.items() if status < 300 for media_type in given})
        for method in row.methods:
            shown = "".join(f"<representation mediaType={quoteattr(media_type)}/>" for media_type in types)
            lines.append(f'<method name="{method}"><response status="200">{shown}</response></method>')
        lines.append("</resource>")
    return "\n".join([*lines, "</resources>", "</application>", ""])
