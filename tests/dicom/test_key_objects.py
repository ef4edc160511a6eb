"""A rejection note from anyone: read within bounds, or refused; never more than it says."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from notes import rejection_note
from phantom import ct_slice, part10
from wire import el, item, sequence

from leadglass.dicom.elements import Limits
from leadglass.dicom.key_objects import MAX_NAMED, REJECTION_TITLES, parse_rejection
from leadglass.errors import Malformed

CT = ct_slice(instance="1.2.3.4.5")
NOTE = part10(rejection_note(CT, title="113001"))
START = len(NOTE) - len(NOTE.partition(b"\x08\x00\x16\x00UI")[2]) - 6
LIMITS = Limits(max_depth=16, max_elements=5000)


def read(data: bytes, offset: int = 0, **limits: int):
    return parse_rejection(data, offset=offset, explicit=True, little=True, limits=Limits(**limits) if limits else LIMITS)


def title(code: bytes, scheme: bytes = b"DCM") -> bytes:
    return sequence(0x0040A043, item(el(0x00080100, "SH", code) + el(0x00080102, "SH", scheme)))


def named(*uids: bytes, tag: int = 0x0040A730) -> bytes:
    sops = sequence(0x00081199, *[item(el(0x00081155, "UI", uid)) for uid in uids])
    return sequence(tag, item(sops))


def test_a_real_note_names_its_instances_once() -> None:
    note = read(NOTE, START)
    assert note is not None
    assert (note.code, note.instances, note.fault) == ("113001", ("1.2.3.4.5",), "")


@pytest.mark.parametrize("code", sorted(REJECTION_TITLES))
def test_each_title_of_iocm_is_known(code: str) -> None:
    note = read(title(code.encode()) + named(b"1.2.3"))
    assert note is not None
    assert note.instances == ("1.2.3",)


@pytest.mark.parametrize("data", [
    title(b"113000") + named(b"1.2.3"), title(b"113001", b"99X") + named(b"1.2.3"), named(b"1.2.3"), b"",
    el(0x00080100, "SH", b"113001") + el(0x00080102, "SH", b"DCM") + named(b"1.2.3"),  # a code that is no title
    sequence(0x0040A730, item(title(b"113001"))) + named(b"1.2.3"),  # a title deep inside the content
])
def test_what_is_no_rejection_rejects_nothing(data: bytes) -> None:
    assert read(data) is None


@pytest.mark.parametrize("uid", [b"1.2.x", b"../../etc/passwd", b"\xff\xfe", b"1" * 65, b"", b"1.2.3\\1.2.4"])
def test_a_name_that_is_no_uid_is_passed_over(uid: bytes) -> None:
    note = read(title(b"113001") + named(uid, b"1.2.3"))
    assert note is not None
    assert note.instances == ("1.2.3",)


def test_uids_outside_evidence_and_content_are_not_named() -> None:
    note = read(title(b"113001") + named(b"1.2.3", tag=0x00081250) + el(0x00081155, "UI", b"1.2.4"))
    assert note is not None
    assert (note.instances, note.fault) == ((), "names no instance")


def test_the_second_of_two_titles_does_not_count() -> None:
    data = sequence(0x0040A043, item(el(0x00080100, "SH", b"113000") + el(0x00080102, "SH", b"DCM")),
                    item(el(0x00080100, "SH", b"113001") + el(0x00080102, "SH", b"DCM")))
    assert read(data + named(b"1.2.3")) is None


def test_too_many_names_are_a_fault() -> None:
    data = title(b"113001") + named(*[f"1.2.{n}".encode() for n in range(MAX_NAMED + 1)])
    note = read(data, max_depth=16, max_elements=200_000)
    assert note is not None
    assert note.instances == ()
    assert "more than" in note.fault


def test_depth_and_count_are_bounded() -> None:
    deep = named(b"1.2.3")
    for _ in range(40):
        deep = sequence(0x0040A730, item(deep))
    for data in (title(b"113001") + deep, title(b"113001") + el(0x00080005, "CS", b"X ") * 6000):
        with pytest.raises(Malformed):
            read(data)


@given(st.integers(0, 2**32), st.integers(1, 12))
def test_a_mutated_note_is_read_or_refused(seed: int, count: int) -> None:
    chance = random.Random(seed)
    data = bytearray(NOTE[START:])
    for _ in range(count):
        data[chance.randrange(len(data))] = chance.randrange(256)
    try:
        note = read(bytes(data[: chance.randrange(len(data)) + 1]))
    except Malformed:
        return
    assert note is None or len(note.instances) <= 2

