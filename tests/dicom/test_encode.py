"""The encoder: what it writes is what pydicom reads; what breaks a rule of its VR is not written."""

import base64
import io
import json
import time
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file

from leadglass.dicom.assemble import Bulk, assemble, syntax_of_bulk
from leadglass.dicom.elements import Limits
from leadglass.dicom.encode import plan
from leadglass.dicom.json_document import from_json
from leadglass.dicom.json_model import to_json
from leadglass.dicom.part10 import file_meta, parse_head
from leadglass.dicom.text_values import decimal_text, encode_value
from leadglass.dicom.transfer_syntaxes import TRANSFER_SYNTAXES
from leadglass.errors import Malformed

LIMITS = Limits()
EXPLICIT = "1.2.840.10008.1.2.1"
JPEG = "1.2.840.10008.1.2.4.50"
IDENTITY = {
    "00080016": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.7"]}, "00080018": {"vr": "UI", "Value": ["1.2.3.4"]},
    "0020000D": {"vr": "UI", "Value": ["1.2.3"]}, "0020000E": {"vr": "UI", "Value": ["1.2.3.1"]},
}
IMAGE = {
    "00280002": {"vr": "US", "Value": [1]}, "00280004": {"vr": "CS", "Value": ["MONOCHROME2"]},
    "00280010": {"vr": "US", "Value": [4]}, "00280011": {"vr": "US", "Value": [3]}, "00280100": {"vr": "US", "Value": [8]},
    "00280101": {"vr": "US", "Value": [8]}, "00280102": {"vr": "US", "Value": [7]}, "00280103": {"vr": "US", "Value": [0]},
    "7FE00010": {"vr": "OB", "BulkDataURI": "pixels"},
}


def bulk(*parts: bytes, syntax: str = EXPLICIT) -> Bulk:
    data = b"".join(parts)
    spans, at = [], 0
    for part in parts:
        spans.append((at, len(part)))
        at += len(part)
    return Bulk(spans=tuple(spans), syntax=syntax, read=lambda offset, length: iter([data[offset:offset + length]]))


def written(model, **bulks: Bulk):
    """Return (transfer syntax, the instance as pydicom reads it)."""
    syntax, pieces = assemble(plan(model, LIMITS), bulks)
    data = b"".join(pieces)
    file = file_meta("1.2.840.10008.5.1.4.1.1.7", "1.2.3.4", syntax) + data
    return syntax, pydicom.dcmread(io.BytesIO(file))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "rtplan.dcm", "rtdose.dcm", "reportsi.dcm", "liver_1frame.dcm",
                                  "waveform_ecg.dcm", "examples_ybr_color.dcm"])
def test_real_files_are_written_as_they_were_read(name):
    path = get_testdata_file(name)
    data = Path(str(path)).read_bytes()
    head = parse_head(data, is_complete=True, limits=LIMITS)
    syntax = TRANSFER_SYNTAXES[head.transfer_syntax_uid]
    spans: dict[str, tuple[int, int]] = {}
    model = to_json(data, offset=head.dataset_offset, explicit=syntax.explicit, little=syntax.little, limits=LIMITS,
                    bulk_uri=lambda uri: uri, spans=spans)
    model.pop("7FE00010", None)
    draft = plan(model, LIMITS)
    parts = {uri: Bulk(spans=(spans[uri],), syntax=EXPLICIT, read=lambda o, n: iter([data[o:o + n]])) for uri in draft.uris}
    _, pieces = assemble(draft, parts)
    out = b"".join(pieces)
    again = to_json(out, offset=0, explicit=True, little=True, limits=LIMITS, bulk_uri=lambda uri: uri)
    model["00080005"] = {"vr": "CS", "Value": ["ISO_IR 192"]}
    assert again == {k: v for k, v in sorted(model.items()) if not k.endswith("0000")}
    read = pydicom.dcmread(io.BytesIO(file_meta(head.sop_class_uid, head.sop_instance_uid, EXPLICIT) + out))
    theirs = pydicom.dcmread(path)
    assert read.PatientName == theirs.get("PatientName", "")
    assert read.SOPInstanceUID == theirs.SOPInstanceUID


def test_every_kind_of_value_is_read_back_by_another_library():
    model = IDENTITY | {
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎"}]},
        "00080060": {"vr": "CS", "Value": ["OT"]}, "00080020": {"vr": "DA", "Value": ["20260102"]},
        "00080030": {"vr": "TM", "Value": ["101112.5"]}, "0008002A": {"vr": "DT", "Value": ["20260102101112+0100"]},
        "00101010": {"vr": "AS", "Value": ["042Y"]}, "00200013": {"vr": "IS", "Value": [7]},
        "00281050": {"vr": "DS", "Value": [0.1, "40", 1e-7]}, "00280009": {"vr": "AT", "Value": ["00181063"]},
        "00081040": {"vr": "LO", "Value": ["Röntgen"]}, "00104000": {"vr": "LT", "Value": ["a\\b\r\nc"]},
        "00080120": {"vr": "UR", "Value": ["https://x.example/a?b"]}, "00720074": {"vr": "FD", "Value": [0.5, "NaN"]},
        "00720076": {"vr": "FL", "Value": [0.5]}, "0072007C": {"vr": "SL", "Value": [-5]},
        "00720083": {"vr": "UV", "Value": ["18446744073709551615"]}, "00720082": {"vr": "SV", "Value": [-(2**63)]},
        "00091001": {"vr": "UN", "InlineBinary": base64.b64encode(b"abcd").decode()}, "00090010": {"vr": "LO", "Value": ["ACME"]},
        "00081140": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["1.2.9"]}, "00080005": {"vr": "CS", "Value": ["ISO_IR 100"]}}, None]},
        "00020010": {"vr": "UI", "Value": ["1.2.840.10008.1.2.4.50"]}, "00080000": {"vr": "UL", "Value": [9]},
        "00083002": {"vr": "UI", "Value": [JPEG]}, "00080005": {"vr": "CS", "Value": ["ISO_IR 100"]},
    }
    syntax, read = written(model)
    assert syntax == EXPLICIT
    assert read.SpecificCharacterSet == "ISO_IR 192"
    assert read.PatientName.ideographic == "山田^太郎"
    assert [str(v) for v in read.WindowCenter] == ["0.1", "40", "1e-07"]
    assert read.InstitutionalDepartmentName == "Röntgen"
    assert read.PatientComments == "a\\b\r\nc"
    assert read.FrameIncrementPointer == 0x00181063
    assert read[0x00720083].value == 18446744073709551615
    assert read[0x00720082].value == -(2**63)
    assert read[0x00091001].value == b"abcd"
    assert len(read.ReferencedImageSequence) == 2
    assert "SpecificCharacterSet" not in read.ReferencedImageSequence[0]
    assert "AvailableTransferSyntaxUID" not in read
    assert [e.tag for e in read] == sorted(e.tag for e in read)


def test_native_pixel_data_of_one_part_or_of_one_a_frame():
    _, read = written(IDENTITY | IMAGE, pixels=bulk(bytes(range(12))))
    assert read.PixelData == bytes(range(12))
    many = IDENTITY | IMAGE | {"00280008": {"vr": "IS", "Value": ["3"]}}
    for parts in ((bytes(range(36)),), (bytes(range(12)), bytes(range(12, 24)), bytes(range(24, 36)))):
        assert written(many, pixels=bulk(*parts))[1].PixelData == bytes(range(36))
    odd = IDENTITY | IMAGE | {"00280010": {"vr": "US", "Value": [1]}}
    assert written(odd, pixels=bulk(b"abc"))[1].PixelData == b"abc\x00"


def test_compressed_frames_become_fragments_with_an_offset_table():
    frames = [b"\xff\xd8" + bytes([n]) * (5 + n) for n in range(3)]
    syntax, read = written(IDENTITY | IMAGE | {"00280008": {"vr": "IS", "Value": [3]}}, pixels=bulk(*frames, syntax=JPEG))
    assert syntax == JPEG
    assert read["PixelData"].VR == "OB"
    found = list(pydicom.encaps.generate_frames(read.PixelData, number_of_frames=3))
    assert [f.rstrip(b"\x00") if n else f[:len(frames[0])] for n, f in enumerate(found)] == [frames[0], *[f.rstrip(b"\x00") for f in frames[1:]]]
    assert len(pydicom.encaps.parse_basic_offsets(read.PixelData)) == 3


@pytest.mark.parametrize(("changes", "parts", "syntax"), [
    ({}, (b"a" * 11,), EXPLICIT), ({}, (b"a" * 13,), EXPLICIT), ({}, (b"",), EXPLICIT), ({}, (b"a" * 6, b"a" * 6), EXPLICIT),
    ({"00280008": {"vr": "IS", "Value": [2]}}, (b"\xff\xd8aa",), JPEG), ({}, (b"\xff\xd8aa", b"\xff\xd8aa"), JPEG),
    ({}, (b"",), JPEG), ({}, (b"GIF89a",), JPEG), ({}, (b"\x00\x00\x00\x0cjP  ",), "1.2.840.10008.1.2.4.90"),
    ({"00280010": {"vr": "US", "Value": [65535]}, "00280011": {"vr": "US", "Value": [65535]}}, (b"a" * 12,), EXPLICIT),
    ({"00280010": {"vr": "US"}}, (b"a" * 12,), EXPLICIT), ({"00280008": {"vr": "IS", "Value": [2**31 - 1]}}, (b"a" * 12,), EXPLICIT),
    ({"00280008": {"vr": "IS", "Value": [-1]}}, (b"a" * 12,), EXPLICIT), ({"00280100": {"vr": "US", "Value": [16]}}, (b"a" * 12,), EXPLICIT),
    ({"7FE00010": {"vr": "OB", "InlineBinary": "AAAA"}}, (), EXPLICIT),
    ({"7FE00008": {"vr": "OF", "BulkDataURI": "pixels"}}, (b"a" * 12,), EXPLICIT),
    ({"7FE00010": {"vr": "OW"}, "00420011": {"vr": "OB", "BulkDataURI": "pixels"}}, (b"\xff\xd8aa",), JPEG),
    ({"7FE00010": {"vr": "OW"}, "00420011": {"vr": "OB", "BulkDataURI": "pixels"}}, (b"a", b"b"), EXPLICIT),
    ({"7FE00010": {"vr": "OW"}, "00281201": {"vr": "OW", "BulkDataURI": "pixels"}}, (b"abc",), EXPLICIT),
    ({"7FE00010": {"vr": "OW"}, "00283006": {"vr": "US", "BulkDataURI": "pixels"}}, (bytes(70000),), EXPLICIT),
])
def test_bulk_data_that_does_not_fit_is_refused_before_a_byte_is_written(changes, parts, syntax):
    with pytest.raises(Malformed):
        assemble(plan(IDENTITY | IMAGE | changes, LIMITS), {"pixels": bulk(*parts, syntax=syntax)} if parts else {})


def test_bulk_data_that_did_not_come_is_refused():
    with pytest.raises(Malformed, match="did not come"):
        assemble(plan(IDENTITY | IMAGE, LIMITS), {"other": bulk(b"a" * 12)})


@pytest.mark.parametrize(("media_type", "named", "found"), [
    ("application/octet-stream", "", EXPLICIT), ("application/octet-stream", "1.2.840.10008.1.2", "1.2.840.10008.1.2"),
    ("application/octet-stream", "1.2.840.10008.1.2.2", ""), ("application/octet-stream", JPEG, JPEG), ("image/jpeg", JPEG, JPEG),
    ("image/jpeg", "", "1.2.840.10008.1.2.4.70"), ("image/jp2", JPEG, ""), ("image/jpeg", EXPLICIT, ""), ("text/html", "", ""),
    ("image/jphc", "", "1.2.840.10008.1.2.4.201"), ("image/jls", "", "1.2.840.10008.1.2.4.80"), ("image/jpeg", "*", ""),
    ("application/octet-stream", "1.2.840.10008.1.2.1.99", ""), ("image/png", "", ""), ("image/jpeg", "../../x", ""),
])
def test_the_transfer_syntax_comes_from_the_media_type(media_type, named, found):
    assert syntax_of_bulk(media_type, named) == found


@pytest.mark.parametrize(("vr", "value"), [
    ("UI", "1.2.a"), ("UI", "../../etc/passwd"), ("UI", "1" * 65), ("UI", 5), ("DA", "2026-01-02"), ("DA", "20261301"), ("TM", "2500"),
    ("CS", "lower"), ("CS", "A" * 17), ("CS", "A\\B"), ("AE", "A" * 17), ("AS", "42Y"), ("LO", "a\\b"), ("LO", "a" * 65), ("LO", "a\x00b"),
    ("LO", "\ud800"), ("SH", "a" * 17), ("LO", 5), ("LO", ["x"]), ("LO", {"a": 1}), ("LT", "a" * 10241), ("LT", "\x1b[2J"), ("ST", "a" * 1025),
    ("UR", "a b"), ("UR", "ä"), ("PN", "Plain"), ("PN", {"Alphabetic": "a" * 65}), ("PN", {"Alphabetic": "a=b"}), ("PN", {"Other": "x"}),
    ("PN", {"Alphabetic": 5}), ("PN", {"Alphabetic": "^^^^^"}), ("DS", "1_0"), ("DS", "1" * 17), ("DS", float("inf")), ("DS", True), ("DS", "nan"),
    ("DS", 10**400), ("IS", 2**31), ("IS", 1.5), ("IS", "1.5"), ("IS", "٣"), ("IS", True), ("IS", "9" * 5000), ("US", -1), ("US", 65536),
    ("US", 1.5), ("US", "x"), ("US", True), ("US", None), ("US", 10**400), ("SL", 2**31), ("FL", 1e300), ("FD", "x"), ("AT", "0008"), ("AT", 5),
    ("AT", None), ("UV", -1), ("UV", "9" * 21), ("TM", "10:11"), ("DT", "x"),
])
def test_a_value_that_breaks_its_vr_is_not_written_and_not_quoted(vr, value):
    with pytest.raises(Malformed) as caught:
        encode_value(vr, [value])
    assert "passwd" not in str(caught.value)


def test_only_some_vrs_hold_one_value():
    with pytest.raises(Malformed, match="one value"):
        encode_value("UT", ["a", "b"])
    assert encode_value("LO", ["a", None, "b"]) == b"a\\\\b"


@given(st.floats(-1e300, 1e300, allow_subnormal=False))
def test_a_decimal_string_has_sixteen_characters_and_nearly_the_value(number):
    text = decimal_text(number)
    assert len(text) <= 16
    assert float(text) == pytest.approx(number, rel=1e-8)


@pytest.mark.parametrize("change", [
    {"0008": {"vr": "LO"}}, {"../../etc": {"vr": "LO"}}, {"0020000d": {"vr": "UI", "Value": ["1.2"]}}, {"FFFEE000": {"vr": "SQ", "Value": []}},
    {"00000002": {"vr": "UI"}}, {"00081030": {"vr": "ZZ"}}, {"00081030": None}, {"00081030": []}, {"00081030": {"Value": ["x"]}},
    {"00081030": {"vr": "UI", "Value": ["1.2"]}}, {"00081030": {"vr": "LO", "Value": "x"}}, {"00081030": {"vr": "LO", "InlineBinary": "AAAA"}},
    {"00081030": {"vr": "LO", "BulkDataURI": "x"}}, {"00420011": {"vr": "OB", "Value": [1]}}, {"00420011": {"vr": "OB", "InlineBinary": "!"}},
    {"00420011": {"vr": "OB", "InlineBinary": 5}}, {"00420011": {"vr": "OB", "InlineBinary": "AAAA", "BulkDataURI": "x"}},
    {"00281201": {"vr": "OW", "InlineBinary": "AAAA"}}, {"00420011": {"vr": "OB", "BulkDataURI": ""}}, {"00420011": {"vr": "OB", "BulkDataURI": 5}},
    {"00420011": {"vr": "OB", "BulkDataURI": "x" * 5000}}, {"00081140": {"vr": "SQ", "Value": ["x"]}}, {"00081140": {"vr": "SQ", "Value": [[]]}},
    {"00081140": {"vr": "SQ", "BulkDataURI": "x"}}, {"00081030": {"vr": "LO", "Value": ["x"] * 40_000}}, {"00280010": {"vr": "US", "Value": ["a"]}},
    {"00280010": {"vr": "US", "Value": [True]}}, {"00280008": {"vr": "IS", "Value": ["0"]}},
])
def test_a_model_that_is_none_is_refused(change):
    with pytest.raises(Malformed):
        plan(IDENTITY | change, LIMITS)


@pytest.mark.parametrize("tag", ["00080016", "00080018", "0020000D", "0020000E"])
@pytest.mark.parametrize("entry", [None, {"vr": "UI"}, {"vr": "UI", "Value": []}, {"vr": "UI", "Value": [None]}, {"vr": "UI", "Value": ["../x"]},
                                   {"vr": "UI", "Value": [{}]}, {"vr": "UI", "InlineBinary": "MS4y"}, "x"])
def test_an_instance_needs_its_uids(tag, entry):
    with pytest.raises(Malformed):
        plan(IDENTITY | {tag: entry}, LIMITS)


def test_depth_and_count_are_bounded():
    deep: dict = {}
    for _ in range(17):
        deep = {"00081140": {"vr": "SQ", "Value": [deep]}}
    with pytest.raises(Malformed, match="deeper"):
        plan(IDENTITY | deep, LIMITS)
    small = Limits(max_elements=1000)
    with pytest.raises(Malformed, match="more than 1000"):
        plan(IDENTITY | {"00081140": {"vr": "SQ", "Value": [{}] * 1001}}, small)
    with pytest.raises(Malformed, match="more than 1000"):
        plan(IDENTITY | {f"{0x00091000 + n:08X}": {"vr": "LO"} for n in range(1001)}, small)


@pytest.mark.parametrize(("name", "data"), [
    ("50,000 deep", b"[" * 50_000), ("50,000 deep and closed", b'[{"a":' * 50_000 + b"1" + b"}]" * 50_000), ("a million items", b"[" + b"{}," * 3_000_000 + b"{}]"),
    ("100,000 digits", b'[{"a":' + b"9" * 100_000 + b"}]"), ("a key twice", b'[{"00100020":{"vr":"LO","Value":["A"]},"00100020":{"vr":"LO","Value":["B"]}}]'),
    ("a key twice inside", b'[{"00100020":{"vr":"LO","vr":"UI"}}]'), ("NaN", b'[{"a":NaN}]'), ("Infinity", b'[{"a":-Infinity}]'), ("empty", b""),
    ("not UTF-8", b'[{"a":"\xff"}]'), ("UTF-16", '[{"a":1}]'.encode("utf-16")), ("a string", b'"x"'), ("numbers", b"[1,2]"), ("two documents", b"[]{}"),
    ("a comment", b"[]//"), ("null", b"null"), ("large", b" " * (2 * 2**20)),
])
def test_hostile_json_is_refused_soon_and_is_not_quoted(name, data):
    started = time.monotonic()
    with pytest.raises(Malformed) as caught:
        from_json(data, Limits(max_header_bytes=20 * 2**20 if name != "large" else 2**20), most_instances=1000)
    assert time.monotonic() - started < 2
    assert "00100020" not in str(caught.value)


def test_more_instances_than_a_body_may_have_are_refused():
    assert from_json(b"{}", LIMITS, most_instances=2) == [{}]
    with pytest.raises(Malformed, match="more than 2 instances"):
        from_json(b"[{},{},{}]", LIMITS, most_instances=2)


JSON_VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
                           lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3), max_leaves=8)
ENTRIES = JSON_VALUES | st.fixed_dictionaries({"vr": st.sampled_from(["LO", "PN", "US", "SQ", "OB", "DS", "AT", "UI", "zz"])}, optional={
    "Value": JSON_VALUES | st.lists(JSON_VALUES, max_size=3), "InlineBinary": JSON_VALUES, "BulkDataURI": JSON_VALUES})
TAGS = st.sampled_from([*IDENTITY, "00081030", "00100010", "00280010", "00420011", "00081140", "00091001", "7FE00010", "FFFFFFFF", "x"])


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(TAGS, ENTRIES, max_size=5))
def test_any_json_is_encoded_or_refused_and_what_is_encoded_is_read_back(change):
    try:
        draft = plan(json.loads(json.dumps(IDENTITY | change)), LIMITS)
        _, pieces = assemble(draft, {uri: bulk(b"") for uri in draft.uris})
        data = b"".join(pieces)
    except Malformed:
        return
    head = parse_head(data, is_complete=True, limits=LIMITS, transfer_syntax=EXPLICIT)
    assert head.sop_instance_uid == draft.identity.sop_instance_uid
    again = to_json(data, offset=0, explicit=True, little=True, limits=LIMITS, bulk_uri=lambda uri: uri)
    assert plan(again, LIMITS).identity == draft.identity
