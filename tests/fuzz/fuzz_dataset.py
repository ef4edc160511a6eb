"""Data sets: the bounded walk, the head of an instance, the JSON model; rejection notes, image descriptions, re-encoding.

Promises: only Malformed comes out; what has arrived in part never says something else than the whole; the model is
JSON, never raises, is no more than a fixed multiple of what came in, and can be written as XML and read again.
Ref: PS3.5 7, PS3.10 7.1, PS3.18 F, PS3.19 A.1.
"""

import json
import zlib
from collections.abc import Iterator

from phantom import ct_slice, part10
from wire import EXPLICIT, IMPLICIT, ITEM_END, SEQUENCE_END, UNDEFINED, el, identity, item, meta, open_item, sequence

from leadglass.dicom.comparison import leaves
from leadglass.dicom.elements import Limits, needs_more, walk
from leadglass.dicom.image_pixel import read_image_pixel
from leadglass.dicom.json_model import to_json
from leadglass.dicom.key_objects import parse_rejection
from leadglass.dicom.part10 import NEED_MORE, parse_head
from leadglass.dicom.reencode import Encoding, reencode
from leadglass.dicom.transfer_syntaxes import TRANSFER_SYNTAXES
from leadglass.dicom.uids import is_valid_uid
from leadglass.dicom.xml_model import from_xml, to_xml
from leadglass.errors import Malformed

LIMITS = Limits(max_depth=32, max_elements=5000, max_header_bytes=1 << 20)
LARGER = Limits(max_depth=64, max_elements=100_000, max_header_bytes=1 << 26)
AMPLIFICATION = 64  # bytes of JSON for one byte: an empty element of 8 bytes is a key, a VR and a URI
DEFLATED, BIG = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
SYNTAXES = (None, None, None, EXPLICIT, IMPLICIT, BIG, DEFLATED)


def _outcome(data: bytes, syntax: str | None, *, is_complete: bool) -> object:
    try:
        return parse_head(data, is_complete=is_complete, limits=LIMITS, transfer_syntax=syntax)
    except Malformed as e:
        assert str(e)
        return Malformed


def _other_readers(before: bytes, explicit: bool, little: bool) -> None:
    """What is read of the elements before the pixel data, beside the head and the model."""
    for read in (lambda: parse_rejection(before, offset=0, explicit=explicit, little=little, limits=LIMITS),
                 lambda: leaves(before, offset=0, explicit=explicit, little=little, limits=LIMITS),
                 lambda: read_image_pixel(before, explicit=explicit, little=little, limits=LIMITS)):
        try:
            read()
        except Malformed as e:
            assert str(e)
    for target in (Encoding(explicit=True, little=True), Encoding(explicit=False, little=True), Encoding(explicit=True, little=False)):
        try:
            other = reencode(before, source=Encoding(explicit, little), target=target, limits=LIMITS)
        except Malformed as e:
            assert str(e)
            continue
        assert len(other) <= 4 * len(before) + 100
        list(walk(other, explicit=target.explicit, little=target.little, limits=LARGER))  # what we write, we read


def one_input(data: bytes) -> None:
    """Byte 0 chooses the encoding, byte 1 where a first part ends; the rest is the file or the data set."""
    if len(data) < 2:
        return
    syntax, cut, body = SYNTAXES[data[0] % len(SYNTAXES)], data[1], data[2:]
    head = _outcome(body, syntax, is_complete=True)
    assert head is not NEED_MORE
    early = _outcome(body[: len(body) * cut // 256], syntax, is_complete=False)
    assert early is NEED_MORE or early == head, "a part said something else than the whole"
    known = TRANSFER_SYNTAXES.get(syntax or EXPLICIT)
    if head is not Malformed and head is not NEED_MORE:
        for uid in (head.study_uid, head.series_uid, head.sop_instance_uid, head.sop_class_uid):
            assert is_valid_uid(uid)
        known = TRANSFER_SYNTAXES[head.transfer_syntax_uid]
        before = body[head.dataset_offset : head.pixel_offset if head.pixel_offset >= 0 else None]
        body = body[head.dataset_offset :]
        if not known.deflated:
            _other_readers(before, known.explicit, known.little)
    assert known is not None
    if known.deflated:
        return
    try:
        for found in walk(body, explicit=known.explicit, little=known.little, limits=LIMITS):
            assert 0 <= found.start < found.value <= len(body)
            assert found.length == UNDEFINED or found.value + found.length <= len(body)
            assert found.depth <= LIMITS.max_depth
    except Malformed:
        pass
    spans: dict[str, tuple[int, int]] = {}
    model = to_json(body, offset=0, explicit=known.explicit, little=known.little, limits=LIMITS, bulk_uri=lambda p: "bulk/" + p, spans=spans)
    text = json.dumps(model, allow_nan=False)
    assert len(text) <= AMPLIFICATION * len(body) + 1000, "the model is far larger than its data set"
    from_xml(to_xml(model), LARGER)
    assert all(at >= 0 and at + length <= len(body) for at, length in spans.values())
    try:
        to_json(body[: len(body) * cut // 256], offset=0, explicit=known.explicit, little=known.little, limits=LIMITS,
                bulk_uri=str, is_complete=False)
    except needs_more as e:
        raise AssertionError("needs_more came out") from e


def seeds() -> Iterator[bytes]:
    """Give data sets that are right, in every encoding."""
    pixels = el(0x7FE00010, "OB", item(b"") + item(b"\xff\xd8\xff\xd9") + SEQUENCE_END, UNDEFINED)
    rich = (
        el(0x00080005, "CS", b"\\ISO 2022 IR 87") + identity()
        + sequence(0x00081140, open_item(el(0x00081155, "UI", b"1.2")), item(el(0x00081155, "UI", b"1.3")))
        + el(0x00081199, "SQ", item(el(0x00080100, "SH", b"T-1")) + item(b""))
        + el(0x00091010, "UN", item(b"\x08\x00\x55\x11\x04\x00\x00\x001.2\x00", UNDEFINED) + ITEM_END + SEQUENCE_END, UNDEFINED)
        + el(0x00100010, "PN", b"A^B=\x1b$B;3ED\x1b(B=C") + el(0x00280008, "IS", b"2") + el(0x00280010, "US", b"\x10\x00")
        + el(0x00420011, "OB", bytes(1100)) + el(0x00720074, "FD", bytes(16)) + el(0x00281052, "DS", b"-1.5e3")
    )
    yield b"\x00\x80" + part10(ct_slice(size=8))
    yield b"\x00\x40" + meta() + rich + pixels
    yield b"\x00\xf0" + meta(DEFLATED) + zlib.compress(rich + pixels, wbits=-15)
    yield b"\x03\x80" + rich + pixels
    yield b"\x04\x80" + b"\x08\x00\x16\x00\x0a\x00\x00\x001.2.840.1\x00" + b"\x08\x00\x40\x11\xff\xff\xff\xff\xfe\xff\x00\xe0\x08\x00\x00\x00" + bytes(8)
    yield b"\x05\x80" + b"\x00\x08\x00\x16UI\x00\x0a1.2.840.1\x00" + b"\x00\x28\x00\x10US\x00\x02\x00\x10"
    yield b"\x06\x80" + zlib.compress(rich, wbits=-15)
