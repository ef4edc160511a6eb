"""WADO-RS metadata, of a study, a series or an instance: an array in JSON, or parts in XML.

Ref: PS3.18 10.4.1.1.2, F; PS3.19 A.1.

JSON of a study or series is what every viewer asks for first: its text is kept (access/study_models.py), and packed once for all
who take it packed. XML, and the JSON of one instance, are made as they are sent. The ETag is over what is there: it changes when
an instance is added, rejected, replaced, deleted or corrected.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from starlette.background import BackgroundTask
from starlette.responses import Response

from leadglass.dicom.json_text import encoded
from leadglass.dicom.xml_model import to_xml
from leadglass.web.dicomweb.codings import choose_coding, packed_whole
from leadglass.web.dicomweb.conditional import boundary_of, etag_of, with_coding
from leadglass.web.dicomweb.media_types import covers
from leadglass.web.dicomweb.negotiation import accepted, base_url, not_acceptable
from leadglass.web.dicomweb.retrieve import bulk_uri, find, granted, inner_of, no_query
from leadglass.web.dicomweb.streaming import VARY_CODED, give_made, give_packed, multipart_body, not_modified

if TYPE_CHECKING:
    from leadglass.terms import Grant
    from leadglass.web.calls import Call
    from leadglass.web.dicomweb.media_types import MediaRange

__all__ = ["give_model", "metadata"]

_JSON: Final = "application/dicom+json"
_XML: Final = "application/dicom+xml"
_AT_ONCE: Final = 1 << 20  # bytes of a body that is handed over whole: on its way it is not asked again whether it may go
_PIECE: Final = 1 << 17


def metadata(call: "Call") -> Response:
    """Give the data sets without bulk data."""
    no_query(call)
    content_type = _choose_model(accepted(call.request), is_one="instance" in call.params)
    if content_type == _JSON and "instance" not in call.params:
        return _give_text(call)
    grant, rows = find(call)
    return give_model(call, grant, rows, content_type)


def _give_text(call: "Call") -> Response:
    """Answer with the text of a whole study or series; what was made for that is kept when it is out."""
    operations = call.house.operations
    grant = granted(call)
    models = operations.models(grant, call.params.get("series"))
    root, coding = base_url(call.request), choose_coding(call.request)
    etag = etag_of([_JSON, root, models.validator])
    coded = with_coding(etag, coding)
    known = not_modified(call, coded, VARY_CODED)
    if known is not None:
        return known
    headers = {"vary": VARY_CODED, "etag": coded, "content-type": _JSON, **({"content-encoding": coding} if coding else {})}
    if call.request.method == "HEAD":
        return Response(headers=headers)
    body = models.body(root, coding, partial(packed_whole, coding=coding))
    if body is None:
        return give_packed(call, operations.checked(grant, models.pieces(root)), _JSON, etag)
    if len(body) <= _AT_ONCE:
        next(operations.checked(grant, (b"",)))
        answer = Response(body, headers=headers)
    else:
        answer = give_made(call, operations.checked(grant, _cut(body)), _JSON, coded, headers)
    answer.background = BackgroundTask(models.keep)
    return answer


def _cut(body: bytes) -> Iterator[bytes]:
    for at in range(0, len(body), _PIECE):
        yield body[at : at + _PIECE]


def give_model(call: "Call", grant: "Grant", rows: list[Any], content_type: str) -> Response:
    """Answer with the models of `rows`, made one by one, in the type that `_choose_model` returned."""
    root = base_url(call.request)
    models = (call.house.operations.metadata(grant, row, bulk_uri(root, row)) for row in rows)
    etag = etag_of([content_type, root, *(row.digest for row in rows)])
    if content_type == _JSON:
        return give_packed(call, _array(models), _JSON, etag)
    documents = (to_xml(model) for model in models)
    if content_type == _XML:
        return give_packed(call, documents, _XML, etag)
    boundary = boundary_of(etag)
    parts = (({"Content-Type": _XML}, (document,)) for document in documents)
    return give_packed(call, multipart_body(boundary, parts), f"{content_type}; boundary={boundary}", etag)


def _choose_model(wanted: "list[MediaRange]", *, is_one: bool) -> str:
    """Return the media type of the answer. Ref: PS3.18 8.7.3.2 (table 8.7.3-2). Raises: HTTPException 406."""
    for one in wanted:
        if one.covers(_JSON) or one.covers("application/json"):
            return _JSON
        if covers(one.type, "multipart/related") and covers(inner_of(one), _XML):
            return f'multipart/related; type="{_XML}"'
        if one.type == _XML and is_one:
            return _XML
    raise not_acceptable(f'{_JSON}, multipart/related; type="{_XML}"')


def _array(models: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    separator = "["
    for model in models:
        yield (separator + encoded(model)).encode("utf-8", "replace")
        separator = ","
    yield b"]"
