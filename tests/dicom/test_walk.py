"""The bounded walk: what nests in what, and what is refused."""

import struct

import pytest
from wire import ITEM_END, SEQUENCE_END, UNDEFINED, el, item, open_item, sequence

from leadglass.dicom.elements import Limits, needs_more, walk
from leadglass.errors import Malformed

SQ, ICON, PIXELS = 0x00081140, 0x00880200, 0x7FE00010
AFTER = el(0x00100010, "PN", b"Last^One")
INNER = el(0x00081155, "UI", b"1.2")


def tags(data, **how):
    how = {"explicit": True, "little": True, "limits": Limits()} | how
    return [(f"{e.tag:08X}", e.depth) for e in walk(data, **how) if e.tag >> 16 != 0xFFFE]


def test_fragments_in_an_item_are_not_walked_as_elements():
    # A fragment's bytes look like an element of the outer data set: a walk that enters it would believe them.
    trap = el(0x00100020, "LO", b"TRAP")
    pixels = el(PIXELS, "OB", item(b"") + item(trap) + item(trap) + SEQUENCE_END, UNDEFINED)
    data = sequence(ICON, open_item(el(0x00280010, "US", b"\x01\x00") + pixels)) + AFTER
    assert tags(data) == [("00880200", 0), ("00280010", 2), ("7FE00010", 2), ("00100010", 0)]
    assert tags(data, nested=False) == tags(data)


def test_fragments_with_bytes_that_are_no_elements_do_not_end_the_walk():
    pixels = el(PIXELS, "OB", item(b"") + item(b"\xff\xd8" + b"\xff" * 40) + SEQUENCE_END, UNDEFINED)
    assert tags(sequence(ICON, open_item(pixels)) + AFTER)[-1] == ("00100010", 0)


def test_a_fragment_without_length_is_refused():
    pixels = el(PIXELS, "OB", item(b"", UNDEFINED) + SEQUENCE_END, UNDEFINED)
    with pytest.raises(Malformed, match="fragment"):
        tags(sequence(ICON, open_item(pixels)) + AFTER)


@pytest.mark.parametrize("outer", [
    lambda body: el(SQ, "SQ", body),
    lambda body: sequence(SQ, body),
], ids=["sequence with a length", "sequence without"])
def test_an_item_whose_content_overruns_it_is_refused(outer):
    body = item(INNER, len(INNER) - 4) + item(INNER)
    with pytest.raises(Malformed):
        tags(outer(body) + AFTER)


def test_an_item_longer_than_its_sequence_is_refused():
    with pytest.raises(Malformed, match="item"):
        tags(el(SQ, "SQ", item(INNER, len(INNER) + 8)) + AFTER * 3)


def test_a_sequence_longer_than_its_item_is_refused():
    inner = el(SQ, "SQ", item(INNER), len(item(INNER)) + 4)
    with pytest.raises(Malformed):
        tags(el(ICON, "SQ", item(inner)) + AFTER * 3)


def test_an_element_header_may_not_straddle_the_end_of_its_item():
    with pytest.raises(Malformed):
        tags(el(SQ, "SQ", item(INNER + b"\x08\x00\x55\x11")) + AFTER)


def test_an_open_item_in_a_sequence_with_a_length_must_be_closed():
    with pytest.raises(Malformed, match="not closed"):
        tags(el(SQ, "SQ", item(INNER, UNDEFINED)) + AFTER)


def test_a_sequence_delimiter_closes_the_open_item_too():
    data = el(SQ, "SQ", item(INNER, UNDEFINED) + SEQUENCE_END, UNDEFINED) + AFTER
    assert tags(data) == [("00081140", 0), ("00081155", 2), ("00100010", 0)]


def test_a_sequence_delimiter_inside_an_item_with_a_length_is_refused():
    with pytest.raises(Malformed, match="closed inside"):
        tags(el(SQ, "SQ", item(INNER + SEQUENCE_END + INNER), UNDEFINED) + SEQUENCE_END + AFTER)


def test_a_sequence_delimiter_does_not_close_a_sequence_that_has_a_length():
    with pytest.raises(Malformed, match="closed inside"):
        tags(el(SQ, "SQ", item(INNER, UNDEFINED) + SEQUENCE_END) + AFTER)


def test_an_item_delimiter_without_an_item_does_not_close_the_sequence():
    with pytest.raises(Malformed, match="not open"):
        tags(el(SQ, "SQ", ITEM_END + open_item(INNER) + SEQUENCE_END, UNDEFINED) + AFTER)


def test_delimiters_that_repeat_what_a_length_said_change_nothing():
    data = el(SQ, "SQ", item(INNER + ITEM_END) + SEQUENCE_END) + AFTER
    assert tags(data) == [("00081140", 0), ("00081155", 2), ("00100010", 0)]


def test_stray_delimiters_outside_sequences_change_nothing():
    assert tags(SEQUENCE_END + AFTER + ITEM_END) == [("00100010", 0)]


@pytest.mark.parametrize("data", [
    item(INNER) + AFTER, sequence(SQ, open_item(item(INNER))) + AFTER, sequence(SQ, INNER, open_item(INNER)) + AFTER,
    el(SQ, "SQ", INNER) + AFTER,
], ids=["item outside", "item in item", "element in sequence", "element in sequence with a length"])
def test_what_stands_where_it_cannot_is_refused(data):
    with pytest.raises(Malformed):
        tags(data)


def test_a_data_set_that_ends_in_an_open_sequence_is_refused():
    for data in (el(SQ, "SQ", b"", UNDEFINED), el(SQ, "SQ", item(INNER, UNDEFINED), UNDEFINED)):
        with pytest.raises(Malformed, match="not closed"):
            tags(data)


def test_unknown_vr_of_undefined_length_is_implicit_inside():
    inner = struct.pack("<HHI", 0x0008, 0x1155, 4) + b"1.2\x00"
    data = el(0x00091010, "UN", item(inner, UNDEFINED) + ITEM_END + SEQUENCE_END, UNDEFINED) + AFTER
    assert tags(data) == [("00091010", 0), ("00081155", 2), ("00100010", 0)]


def test_nesting_is_refused_at_its_limit_and_not_before():
    def nested(levels):
        return el(SQ, "SQ", item(b"", UNDEFINED) * 0, UNDEFINED) if not levels else (
            b"".join(el(SQ, "SQ", item(b"", UNDEFINED), UNDEFINED) for _ in range(levels))
            + (ITEM_END + SEQUENCE_END) * levels)

    assert len(tags(nested(16))) == 16  # a sequence and its item are two levels
    with pytest.raises(Malformed, match="32 levels"):
        tags(nested(17))


def test_elements_are_counted():
    assert len(tags(AFTER * 10, limits=Limits(max_elements=10))) == 10
    with pytest.raises(Malformed, match="more than 10"):
        tags(AFTER * 11, limits=Limits(max_elements=10))


def test_an_incomplete_buffer_asks_for_more_at_each_cut():
    data = sequence(SQ, open_item(INNER), item(INNER)) + el(SQ, "SQ", item(INNER)) + AFTER
    for cut in range(len(data) + 1):  # at the very end too: more may come
        with pytest.raises(needs_more):
            tags(data[:cut], is_complete=False)


def test_a_cut_inside_an_element_of_a_complete_data_set_is_refused():
    data = sequence(SQ, open_item(INNER), item(INNER)) + AFTER
    whole = len(data) - len(AFTER)
    for cut in range(1, len(data)):
        if cut == whole:
            continue  # a border between elements: nothing says that one is missing
        with pytest.raises(Malformed):
            tags(data[:cut])
