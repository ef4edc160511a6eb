"""WADO-RS: bulk data, by the URI that the metadata names, or all of it. Ref: PS3.18 10.4.1.1.5, 10.4.3.3.5.

A value that lies in the file is given in ranges, decrypting what a range touches; in a deflated data set it is made in
memory first, where the limit of a header bounds it. Pixel data: see pixel_data.py.
"""

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from leadglass.dicom.transfer_syntaxes import TRANSFER_SYNTAXES
from leadglass.errors import Malformed, Missing
from leadglass.terms import Grant
from leadglass.web.dicomweb.conditional import boundary_of, etag_of
from leadglass.web.dicomweb.media_types import MediaRange, covers
from leadglass.web.dicomweb.negotiation import accepted, base_url, not_acceptable
from leadglass.web.dicomweb.pixel_data import OCTETS, choose, give_frames, give_pixels, pixel_parts
from leadglass.web.dicomweb.retrieve import bulk_uri, find, inner_of, no_query, numbers_of
from leadglass.web.dicomweb.streaming import Stretch, give, give_made, in_memory, multipart_body, multipart_stretches

if TYPE_CHECKING:
    from starlette.responses import Response

    from leadglass.web.calls import Call

__all__ = ["all_bulk_data", "bulk"]

_MAX_PATH: Final = 1024
_PIXELS: Final = re.compile(r"7FE0(?:0008|0009|0010)(?:/frames/([0-9,]+))?")
_OFFER: Final = f'multipart/related; type="{OCTETS}"; transfer-syntax=*'


def bulk(call: "Call") -> "Response":
    """Give what a BulkDataURI of the metadata names, or frames of it. Ref: PS3.18 10.4.1.1.5."""
    no_query(call)
    path = call.params["path"]
    if len(path) > _MAX_PATH:
        raise Malformed("the path is too long.")
    grant, rows = find(call)
    row = rows[0]
    match = _PIXELS.fullmatch(path)
    if match is not None and row.frames:
        return give_frames(call, grant, row, numbers_of(match[1])) if match[1] else give_pixels(call, grant, row)
    chosen = _choose(accepted(call.request))
    value = _value(call, grant, row, path)
    where = bulk_uri(base_url(call.request), row)(path)
    part_type = f"{OCTETS}; transfer-syntax={row.transfer_syntax_uid}"
    is_multipart = chosen.type != OCTETS
    etag = etag_of(["bulk", row.digest, path, str(is_multipart), where])
    if not is_multipart:
        return give(call, [value], part_type, etag)
    boundary = boundary_of(etag)
    parts = multipart_stretches(boundary, [({"Content-Type": part_type, "Content-Location": where}, value)])
    return give(call, parts, f'multipart/related; type="{OCTETS}"; boundary={boundary}', etag)


def _choose(wanted: list[MediaRange], *, is_one: bool = True) -> MediaRange:
    for one in wanted:
        if covers(inner_of(one), OCTETS) and (is_one or one.is_multipart or one.type == "*/*"):
            return one
    raise not_acceptable(_OFFER)


def _value(call: "Call", grant: Grant, row: Any, path: str) -> Stretch:
    operations = call.house.operations
    spans = operations.spans(grant, row, path)
    if spans is None:
        return in_memory(operations.bulk(grant, row, path))
    return Stretch(sum(size for _, size in spans), lambda a, b: operations.part(grant, row, spans, a, b))


def all_bulk_data(call: "Call") -> "Response":
    """Give every bulk value of a study, a series or an instance, pixel data too, as parts that say where each lies."""
    no_query(call)
    wanted = accepted(call.request)
    grant, rows = find(call)
    plan = {row.sop_instance_uid: choose(wanted, row, is_one=False) for row in rows if row.frames}
    if len(plan) < len(rows):
        _choose(wanted, is_one=False)
    root = base_url(call.request)
    kinds = [part for row in rows if row.sop_instance_uid in plan
             for part in (plan[row.sop_instance_uid].media_type, str(plan[row.sop_instance_uid].is_raw))]
    etag = etag_of(["all bulk", root, *kinds, *(row.digest for row in rows)], is_weak=True)
    boundary = boundary_of(etag)
    operations = call.house.operations

    def parts() -> Iterator[tuple[dict[str, str], Iterable[bytes]]]:
        for row in rows:
            uri = bulk_uri(root, row)
            for path in operations.bulk_paths(grant, row):
                value = _value(call, grant, row, path)
                kind = f"{OCTETS}; transfer-syntax={TRANSFER_SYNTAXES[row.transfer_syntax_uid].uid}"
                yield {"Content-Type": kind, "Content-Location": uri(path)}, value.read(0, value.length)
            if row.frames:
                yield from pixel_parts(call, grant, row, plan[row.sop_instance_uid], uri("7FE00010"))

    found = parts()
    first = next(found, None)
    if first is None:
        raise Missing("there is no bulk data here.")

    def again() -> Iterator[tuple[dict[str, str], Iterable[bytes]]]:
        yield first
        yield from found

    return give_made(call, multipart_body(boundary, again()), f'multipart/related; type="{OCTETS}"; boundary={boundary}', etag)
