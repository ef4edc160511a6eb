"""Metadata of a store request: JSON to a data set that we vouch for.

Promises: only Malformed comes out; what is built is read back whole by the bounded walk, with the identity that the
metadata named, in no more than a fixed multiple of what came; what is read back is built again, byte for byte.
Ref: PS3.18 F.2, 10.5.2.
"""

import json
from collections.abc import Iterator

from leadglass.dicom.assemble import Bulk, assemble
from leadglass.dicom.elements import Limits, walk
from leadglass.dicom.encode import Draft, plan
from leadglass.dicom.json_document import from_json
from leadglass.dicom.json_model import to_json
from leadglass.dicom.part10 import parse_head
from leadglass.errors import Malformed

LIMITS = Limits(max_depth=32, max_elements=2000, max_header_bytes=1 << 18)
EXPLICIT = "1.2.840.10008.1.2.1"
AMPLIFICATION = 16
BULK = bytes(12)


def _built(draft: Draft) -> bytes:
    bulk = {uri: Bulk(spans=((0, len(BULK)),), syntax=EXPLICIT, read=lambda a, n: iter([BULK[a : a + n]])) for uri in draft.uris}
    return b"".join(assemble(draft, bulk)[1])


def one_input(data: bytes) -> None:
    """The bytes are the document."""
    try:
        models = from_json(data, LIMITS, most_instances=10)
    except Malformed as e:
        assert str(e)
        return
    for model in models:
        try:
            draft = plan(model, LIMITS)
            built = _built(draft)
        except Malformed as e:
            assert str(e)
            continue
        assert len(built) <= AMPLIFICATION * len(data) + 1000
        elements = list(walk(built, explicit=True, little=True, limits=Limits(max_elements=100_000)))
        top = [e.tag for e in elements if e.depth == 0 and e.tag >> 16 != 0xFFFE]
        assert top == sorted(set(top))
        head = parse_head(built, is_complete=True, limits=LIMITS, transfer_syntax=EXPLICIT)
        assert head is not None
        assert (head.sop_class_uid, head.sop_instance_uid, head.study_uid, head.series_uid) == (
            draft.identity.sop_class_uid, draft.identity.sop_instance_uid, draft.identity.study_uid, draft.identity.series_uid)
        _again(built)


def _again(built: bytes) -> None:
    """What we wrote, read as metadata and written once more, does not change any further."""
    wide = Limits(max_depth=64, max_elements=100_000)

    def model(data: bytes) -> dict:
        return to_json(data, offset=0, explicit=True, little=True, limits=wide, bulk_uri=lambda path: path)

    try:
        once = _built(plan(model(built), wide))
    except Malformed:
        return  # a bulk value became a place for twelve bytes, or trailing blanks made a value empty
    assert _built(plan(model(once), wide)) == once


def seeds() -> Iterator[bytes]:
    """Give documents that are right, and the classics that must be refused."""
    identity = {"00080016": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.7"]}, "00080018": {"vr": "UI", "Value": ["1.2.3.4"]},
                "0020000D": {"vr": "UI", "Value": ["1.2.3"]}, "0020000E": {"vr": "UI", "Value": ["1.2.3.1"]}}
    image = {f"0028{e}": {"vr": "US", "Value": [n]} for e, n in (("0002", 1), ("0010", 4), ("0011", 3), ("0100", 8))}
    yield json.dumps([identity | image | {"7FE00010": {"vr": "OB", "BulkDataURI": "b"}, "00280008": {"vr": "IS", "Value": ["1"]}}]).encode()
    yield json.dumps(identity | {
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "A^B", "Ideographic": "山"}]}, "00080020": {"vr": "DA", "Value": ["20260102"]},
        "00081140": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["1.2"]}}, None]}, "00281050": {"vr": "DS", "Value": [1.5, "2"]},
        "00091001": {"vr": "UN", "InlineBinary": "AAEC"}, "00280009": {"vr": "AT", "Value": ["00181063"]},
        "00720074": {"vr": "FD", "Value": [0.1, "NaN"]}, "00720083": {"vr": "UV", "Value": ["18446744073709551615"]},
    }, ensure_ascii=False).encode()
    yield b'[{"00100020":{"vr":"LO"},"00100020":{"vr":"LO"}}]'
    yield b"[" * 2000
    yield b'[{"00200013":{"vr":"IS","Value":[' + b"9" * 500 + b"]}}]"
