"""Texts of series: the text of `to_json`, character by character, whatever came before, and whatever is odd."""

import json
import os
import random
import struct
from collections import defaultdict
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phantom import ct_slice, part10
from pydicom.data import get_testdata_files
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from leadglass.dicom.elements import Limits
from leadglass.dicom.json_model import to_json
from leadglass.dicom.json_text import JsonTexts, encoded
from leadglass.dicom.part10 import parse_head
from leadglass.dicom.transfer_syntaxes import TRANSFER_SYNTAXES
from leadglass.errors import LeadglassError

DATA = Path(os.environ.get("LEADGLASS_CORPUS", Path(__file__).resolve().parents[3] / "shared" / "data"))
LIMITS = Limits()


def uri(path: str) -> str:
    return f"bulk<{path}>"


def more(known: dict[str, str]) -> dict[str, Any]:
    return {"00083002": {"vr": "UI", "Value": ["1.2"]}, **({} if "7FE00010" in known else {"7FE00010": {"vr": "OW"}})}


class Both:
    """The quick way with what it remembers, beside the way that remembers nothing."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.limits, self.texts = limits, JsonTexts(limits, uri)

    def agree(self, buffer: bytes, *, offset: int = 0, explicit: bool = True, little: bool = True, pixels: int = -1) -> str:
        is_complete = pixels == -1
        model = to_json(buffer, offset=offset, explicit=explicit, little=little, limits=self.limits, bulk_uri=uri,
                        is_complete=is_complete)
        slow = encoded(model | more(model))
        quick = self.texts.text(buffer, offset=offset, explicit=explicit, little=little, pixels=pixels, is_complete=is_complete,
                                more=more)
        assert quick == slow
        json.loads(quick)
        return quick

    def agree_on_file(self, data: bytes) -> bool:
        head = parse_head(data, is_complete=True, limits=LIMITS)
        if head is None or head.pixel_offset == -2:
            return False
        syntax = TRANSFER_SYNTAXES[head.transfer_syntax_uid]
        end = len(data) if head.pixel_offset == -1 else min(len(data), head.pixel_offset + 12)
        self.agree(data[:end], offset=head.dataset_offset, explicit=syntax.explicit, little=syntax.little, pixels=head.pixel_offset)
        return True


def elem(tag: int, vr: bytes, value: bytes) -> bytes:
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr
    if vr in {b"OB", b"OW", b"SQ", b"UN", b"UT"}:
        return head + b"\0\0" + struct.pack("<I", len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def test_the_slices_of_a_series() -> None:
    both = Both()
    first = ct_slice(size=8)
    texts = set()
    for n in range(1, 20):
        ds = ct_slice(study=first.StudyInstanceUID, series=first.SeriesInstanceUID, number=n, size=8)
        data = part10(ds)
        head = parse_head(data, is_complete=True, limits=LIMITS)
        texts.add(both.agree(data[: head.pixel_offset + 12], offset=head.dataset_offset, pixels=head.pixel_offset))
    assert len(texts) == 19
    assert both.texts.unusual == 0


@pytest.mark.filterwarnings("ignore")
def test_pydicoms_files_one_after_the_other_in_any_order() -> None:
    files = sorted(path for path in get_testdata_files() if path.endswith(".dcm"))
    seen = 0
    for seed in range(2):
        both = Both()
        random.Random(seed).shuffle(files)
        for path in files:
            try:
                seen += both.agree_on_file(Path(path).read_bytes())
            except LeadglassError:
                continue
    assert seen > 100


@pytest.mark.corpus
@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not here")
@pytest.mark.filterwarnings("ignore")
def test_every_file_of_the_corpus_in_the_order_of_its_series() -> None:
    series = defaultdict(list)
    for path in sorted(p for p in DATA.rglob("*") if p.is_file()):
        data = path.read_bytes()
        if data[128:132] == b"DICM":
            series[path.parent].append(data)
    both, seen = Both(), 0
    for files in series.values():
        for data in files:
            try:
                seen += both.agree_on_file(data)
            except LeadglassError:
                continue
    assert seen > 400
    assert both.texts.unusual < seen // 10


def test_another_character_set_or_sign_is_never_taken_over() -> None:
    """The same bytes of a name, or of (0028,0106) without a VR, mean something else behind another (0008,0005) or (0028,0103)."""
    both = Both()
    name = elem(0x00100010, b"PN", b"\xc4nder^\xd6")
    seen = {both.agree((elem(0x00080005, b"CS", charset) if charset else b"") + name)
            for charset in (b"ISO_IR 100", b"ISO_IR 144", b"", b"ISO_IR 100", b"ISO_IR 192")}
    assert len(seen) == 4

    def implicit(tag: int, value: bytes) -> bytes:
        return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value

    signs = [implicit(0x00280103, struct.pack("<H", sign)) + implicit(0x00280106, b"\xff\xff") for sign in (0, 1, 0, 1)]
    assert ["65535" in both.agree(buffer, explicit=False) for buffer in signs] == [True, False, True, False]


def test_odd_data_sets_are_given_as_always_and_do_not_spoil_the_next() -> None:
    both = Both()
    good = elem(0x00080060, b"CS", b"CT") + elem(0x00100020, b"LO", b"ID") + elem(0x00200013, b"IS", b"1 ")
    undefined = struct.pack("<HH2sHI", 0x0040, 0x0275, b"SQ", 0, 0xFFFFFFFF)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 10) + elem(0x00080060, b"CS", b"MR")
    end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    odd = [
        good + good,  # twice
        elem(0x00200013, b"IS", b"1 ") + elem(0x00080060, b"CS", b"CT"),  # out of order
        good[:-3], good + b"\x01\x02\x03",  # broken off
        elem(0x00080060, b"CS", b"CT") + struct.pack("<HH2sH", 0x10, 0x20, b"LO", 500) + b"x",  # longer than what holds it
        good + end,  # a stray delimiter
        good + elem(0x7FE00010, b"OW", b"\0" * 8) + good,  # pixels in the middle
        elem(0x00080000, b"UL", b"\x04\0\0\0") + good,  # a group length
        elem(0x00083002, b"UI", b"1.9\0") + elem(0x00100020, b"LO", b"ID"),  # ours, in the data set
        good + undefined + item + end, good + undefined + item + end + elem(0x00400280, b"ST", b"later "),
        good + undefined + item, good + undefined + item + end + end,  # not closed; closed twice
        good + undefined + elem(0x00080060, b"CS", b"MR") + end,  # something else than an item
        elem(0x00420011, b"OB", b"\1" * 2000), elem(0x00420011, b"OB", b"\1" * 20), elem(0x00091001, b"UN", b"ab"),
        elem(0x00080060, b"ZZ", b"\0\0\4\0\0\0abcd"), elem(0x00080060, b"\1\0", b""), b"",
    ]
    for buffer in [*odd, *reversed(odd)]:
        before = both.texts.unusual
        both.agree(good)
        assert both.texts.unusual == before
        both.agree(buffer)
    for pixels in (len(good), len(good) + 4, 5, 10**6, -1):
        both.agree(good + elem(0x7FE00010, b"OW", b"\0" * 8)[:12], pixels=pixels)


def test_limits_are_those_of_the_other_way() -> None:
    both = Both(Limits(max_elements=5, max_depth=1))
    few = elem(0x00080060, b"CS", b"CT")
    many = b"".join(elem(0x00100020 + n, b"LO", b"ID") for n in range(9))
    for buffer in (few, many, few, few + many):
        both.agree(buffer)


ELEMENTS = st.builds(
    elem,
    st.sampled_from([0x00080005, 0x00080018, 0x00080060, 0x00083002, 0x00100010, 0x00100020, 0x00200013, 0x00280103, 0x00280106,
                     0x00400275, 0x00420011, 0x00091001, 0x00080000, 0x7FE00010, 0xFFFEE000]),
    st.sampled_from([b"CS", b"UI", b"PN", b"LO", b"IS", b"US", b"OB", b"UN", b"SQ", b"DS", b"FD", b"UT", b"AT", b"??"]),
    st.one_of(st.binary(max_size=12), st.sampled_from([b"ISO_IR 100", b"\\ISO 2022 IR 87", b"1", b"1.5\\2", b"\x01\x00", b"\xff\xfe"])))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(ELEMENTS, max_size=7), min_size=1, max_size=8), st.booleans(), st.booleans(), st.booleans())
def test_any_series_of_any_elements(series: list[list[bytes]], is_sorted: bool, explicit: bool, little: bool) -> None:
    both = Both()
    for elements in series:
        ordered = sorted(elements, key=lambda e: struct.unpack("<HH", e[:4])) if is_sorted else elements
        both.agree(b"".join(ordered), explicit=explicit, little=little)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_slices_with_any_byte_changed(data: st.DataObject) -> None:
    """Each slice is the first with some bytes changed: what is taken over, alone or in a run, must be what is the same."""
    ds = ct_slice(size=4, study="1.2.3", series="1.2.3.4", instance="1.2.3.4.5")
    item = Dataset()
    item.CodeValue = "1"
    ds.ProcedureCodeSequence = Sequence([item])
    file = part10(ds)
    head = parse_head(file, is_complete=True, limits=LIMITS)
    both = Both()
    places = st.integers(head.dataset_offset, head.pixel_offset + 11)
    for changes in data.draw(st.lists(st.lists(st.tuples(places, st.integers(0, 255)), max_size=3), min_size=1, max_size=8)):
        body = bytearray(file[: head.pixel_offset + 12])
        for at, value in changes:
            body[at] = value
        both.agree(bytes(body), offset=head.dataset_offset, pixels=head.pixel_offset)


def test_pydicom_reads_what_is_made() -> None:
    data = part10(ct_slice(size=4, PatientName="Ändern^Ö"))
    head = parse_head(data, is_complete=True, limits=LIMITS)
    text = JsonTexts(LIMITS, uri).text(data[: head.pixel_offset + 12], offset=head.dataset_offset, explicit=True, little=True,
                                       pixels=head.pixel_offset, is_complete=False)
    assert pydicom.Dataset.from_json(text, bulk_data_uri_handler=lambda _: b"").PatientName == "Ändern^Ö"
