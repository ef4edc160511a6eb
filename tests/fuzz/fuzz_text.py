"""What stands in URLs and headers: searches, rendering, Accept, ranges, entity tags.

Promises: only Malformed and Unsatisfiable come out; a range lies inside of what it is of. Ref: PS3.18 8.3, RFC 9110 13, 14.
"""

from collections.abc import Iterator
from urllib.parse import parse_qsl

from leadglass.dicom.values import parse_date_range, parse_time_range
from leadglass.errors import Malformed
from leadglass.web.dicomweb.conditional import Unsatisfiable, is_unchanged, parse_range
from leadglass.web.dicomweb.media_types import parse_accept, parse_media_type
from leadglass.web.dicomweb.rendering_parameters import parse_rendering
from leadglass.web.dicomweb.search_query import parse_query

ETAG = '"abc"'


def one_input(data: bytes) -> None:
    """The bytes are text, tried as everything that text can be here."""
    text = data[:5000].decode("utf-8", "replace")
    try:
        found = parse_range(text, None, ETAG, 1000)
        assert found is None or 0 <= found.start < found.stop <= 1000
    except Unsatisfiable:
        pass
    assert is_unchanged(text, ETAG) in {True, False}
    for parse in (parse_media_type, lambda t: parse_accept([t]), parse_date_range, parse_time_range):
        try:
            parse(text)
        except Malformed as e:
            assert str(e)
    parameters = parse_qsl(text, keep_blank_values=True, max_num_fields=None)
    for level in ("study", "series", "instance"):
        try:
            parse_query(parameters, level=level, path={"StudyInstanceUID": "1.2.3"} if level != "study" else {})
        except Malformed as e:
            assert str(e)
    try:
        parse_rendering(parameters)
    except Malformed as e:
        assert str(e)


def seeds() -> Iterator[bytes]:
    """Give texts that are right."""
    yield b"PatientName=M%C3%BCller*&StudyDate=20200101-&00081030=a&includefield=all&includefield=00400275.00400007&limit=5&fuzzymatching=true"
    yield b"window=100,400,sigmoid&viewport=512,512,0,0,-10,20&quality=90&annotation=patient,technique&iccprofile=srgb"
    yield b"bytes=0-499"
    yield b"bytes=-5"
    yield b'W/"a", "abc", *'
    yield b'multipart/related; type="application/dicom"; transfer-syntax=*; q=0.5, image/jpeg;q=0.1, */*'
    yield b"20200101-20201231"
    yield b"101112.5-235959"
