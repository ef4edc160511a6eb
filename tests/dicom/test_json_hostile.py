"""The JSON model of mutated files: never a fault, always JSON, and nothing of a sequence shows outside of it."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from wire import SEQUENCE_END, UNDEFINED, el, identity, item, open_item, sequence

from leadglass.dicom.elements import Limits
from leadglass.dicom.json_model import to_json

FILES = {name: Path(get_testdata_file(name)).read_bytes() for name in ("reportsi.dcm", "CT_small.dcm", "rtplan.dcm", "MR_small_bigendian.dcm")}


def model(data, *, offset=0, explicit=True, little=True, is_complete=True):
    return to_json(data, offset=offset, explicit=explicit, little=little, limits=Limits(), bulk_uri=lambda p: "bulk/" + p, is_complete=is_complete)


@settings(max_examples=300, deadline=None)
@given(
    name=st.sampled_from(sorted(FILES)), edits=st.lists(st.tuples(st.integers(132, 6000), st.integers(0, 255)), max_size=20),
    cut=st.integers(132, 7000), explicit=st.booleans(), little=st.booleans(), is_complete=st.booleans(),
)
def test_mutated_files_give_json(name, edits, cut, explicit, little, is_complete):
    data = bytearray(FILES[name][:cut])
    for at, value in edits:
        if at < len(data):
            data[at] = value
    found = model(bytes(data), offset=132, explicit=explicit, little=little, is_complete=is_complete)
    json.dumps(found, allow_nan=False, ensure_ascii=False).encode("utf-8")


@pytest.mark.parametrize(("vr", "value"), [
    ("DS", b"1e999"), ("DS", b"nan"), ("DS", b"1\\x"), ("IS", b"9" * 5000), ("IS", b"1.5"), ("FD", b"\x00" * 6 + b"\xf8\x7f"), ("AT", b"123"),
    ("US", b"1"), ("UR", b"\xff"), ("PN", b"=====^^"), ("DS", b"1_0"), ("IS", b"\xd9\xa3"), ("ZZ", b"what is it"),
])
def test_values_that_break_their_vr_are_left_out_or_read(vr, value):
    entry = el(0x00091010, vr, value) if vr != "ZZ" else b"\x09\x00\x10\x10ZZ\x00\x00\x0a\x00\x00\x00" + value
    found = model(entry + identity())
    json.dumps(found, allow_nan=False)
    assert found["0020000D"]["Value"] == ["1.2.3"]


def test_fragments_inside_an_item_are_not_read_as_elements():
    trap = el(0x00100020, "LO", b"TRAP")
    icon = el(0x7FE00010, "OB", item(b"") + item(trap) + SEQUENCE_END, UNDEFINED)
    found = model(sequence(0x00880200, open_item(el(0x00280010, "US", b"\x01\x00") + icon)) + el(0x00100020, "LO", b"RIGHT"))
    assert found["00100020"]["Value"] == ["RIGHT"]
    (shown,) = found["00880200"]["Value"]
    assert shown == {"00280010": {"vr": "US", "Value": [1]}, "7FE00010": {"vr": "OB", "BulkDataURI": "bulk/00880200/0/7FE00010"}}


def test_fragments_outside_pixel_data_are_not_read_as_items():
    value = el(0x00091010, "OB", item(b"") + item(el(0x00100020, "LO", b"TRAP")) + SEQUENCE_END, UNDEFINED)
    found = model(value + el(0x00100020, "LO", b"RIGHT"))
    assert found == {"00091010": {"vr": "OB"}, "00100020": {"vr": "LO", "Value": ["RIGHT"]}}


def test_nothing_of_a_broken_item_shows_outside_of_it():
    # The item claims fewer bytes than its element has: what follows must not become the data set's own.
    inner = el(0x00081155, "UI", b"1.2.3.4.5.6")
    data = identity() + el(0x00081140, "SQ", item(inner, len(inner) - 4)) + el(0x00100020, "LO", b"LATER")
    found = model(data)
    assert "00081155" not in found
    assert found["0020000D"]["Value"] == ["1.2.3"]


def test_a_million_small_items_are_bounded():
    data = el(0x00081140, "SQ", b"", UNDEFINED) + item(b"") * 1_000_000
    found = model(data)
    assert len(found["00081140"]["Value"]) <= 200_000
