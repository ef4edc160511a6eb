"""Validators, ranges and codings: the tables of RFC 9110, and what an attacker writes into these headers."""

import zlib
from types import SimpleNamespace
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from leadglass.web.dicomweb.codings import choose_coding, packed
from leadglass.web.dicomweb.conditional import Range, Unsatisfiable, boundary_of, etag_of, is_unchanged, parse_range, with_coding

TAG = etag_of(["a", b"b"])


@pytest.mark.parametrize(("header", "found"), [
    (None, None), ("", None), ("bytes=0-0", Range(0, 1)), ("bytes=0-", Range(0, 100)), ("bytes=10-19", Range(10, 20)),
    ("bytes=90-1000", Range(90, 100)), ("bytes=-1", Range(99, 100)), ("bytes=-1000", Range(0, 100)), ("BYTES=5-5", Range(5, 6)),
    ("bytes= 1 - 2 ", Range(1, 3)), ("bytes=99-99", Range(99, 100)), ("bytes=0-" + "9" * 40, Range(0, 100)),
    # no range, or one that is not given: the whole
    ("bytes=", None), ("bytes=-", None), ("bytes=5-4", None), ("bytes=a-b", None), ("items=0-1", None), ("bytes=0-1,3-4", None),
    ("bytes=0-1,", None), ("bytes=" + ",".join(f"{n}-{n}" for n in range(1000)), None), ("bytes=" + "0" * 5000 + "-1", None),
    ("bytes=0-" + "9" * 41, None), ("bytes=٣-٤", None), ("bytes=0x1-0x2", None), ("bytes=+1-2", None),
])
def test_ranges(header: str | None, found: Range | None) -> None:
    assert parse_range(header, None, TAG, 100) == found


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=" + "9" * 40 + "-"])
def test_a_range_behind_the_end_cannot_be_satisfied(header: str) -> None:
    with pytest.raises(Unsatisfiable):
        parse_range(header, None, TAG, 100)


def test_an_empty_body_has_no_range() -> None:
    with pytest.raises(Unsatisfiable):
        parse_range("bytes=0-", None, TAG, 0)


@given(st.text(max_size=300), st.integers(0, 10**12))
def test_no_header_makes_a_range_outside_of_the_body(header: str, length: int) -> None:
    for text in (header, "bytes=" + header):
        try:
            found = parse_range(text, None, TAG, length)
        except Unsatisfiable:
            continue
        assert found is None or 0 <= found.start < found.stop <= length


def test_if_range_wants_the_very_same_bytes() -> None:
    assert parse_range("bytes=0-1", TAG, TAG, 100) == Range(0, 2)
    weak = "W/" + TAG
    for other, mine in ((etag_of(["other"]), TAG), (weak, weak), (weak, TAG), ("Wed, 21 Oct 2026 07:28:00 GMT", TAG)):
        assert parse_range("bytes=0-1", other, mine, 100) is None
        assert parse_range("bytes=900-", other, mine, 100) is None, "the whole, not 416"


def test_tags_differ_where_bytes_do() -> None:
    found = {etag_of(parts) for parts in (["a", "b"], ["ab"], ["b", "a"], ["a", "b", ""], [], [""], [b"\x00a"])}
    assert len(found) == 7
    assert with_coding(TAG, "gzip") not in {TAG, with_coding(TAG, "zstd")}
    assert with_coding(TAG, "") == TAG
    assert etag_of(["a"], is_weak=True).startswith('W/"')
    assert boundary_of(TAG) != boundary_of(etag_of(["x"]))
    assert 0 < len(boundary_of(TAG)) <= 70


@pytest.mark.parametrize(("header", "is_same"), [
    (None, False), ("", False), (TAG, True), ("W/" + TAG, True), (f'"x", {TAG}', True), ("*", True), (TAG.strip('"'), False),
    ('"x"', False), (f'"x" {TAG}', True), ('"' * 4000, False), (TAG + " " * 5000, False), (",".join(['"x"'] * 101 + [TAG]), False),
])
def test_if_none_match(header: str | None, is_same: bool) -> None:
    assert is_unchanged(header, TAG) is is_same


def _asking(value: str | None) -> Any:
    return SimpleNamespace(headers=Headers({} if value is None else {"accept-encoding": value}))


@pytest.mark.parametrize(("value", "coding"), [
    (None, ""), ("", ""), ("gzip", "gzip"), ("zstd", "zstd"), ("gzip, zstd", "zstd"), ("gzip;q=1.0, zstd;q=0.5", "gzip"), ("*", "zstd"),
    ("*;q=0.1", "zstd"), ("gzip;q=0", ""), ("gzip;q=0.000, *", "zstd"), ("zstd;q=0, *", "gzip"), ("identity", ""),
    ("identity, gzip;q=0.5", ""), ("br", ""), ("br, *;q=0, identity", ""), ("GZIP ; Q=0.8", "gzip"), ("x-gzip", "gzip"),
    ("gzip;q=2", ""), ("gzip;q=abc, deflate", ""), ("gzip, deflate, br, zstd", "zstd"), ("gzip" + "," * 2000, ""),
    ("identity;q=0, gzip;q=0.001", "gzip"), ("gzip;q=0.001", "gzip"),
])
def test_codings(value: str | None, coding: str) -> None:
    assert choose_coding(_asking(value)) == coding


@pytest.mark.parametrize("value", ["identity;q=0", "*;q=0", "br, *;q=0", "gzip;q=0, zstd;q=0, identity;q=0"])
def test_nothing_left_is_406(value: str) -> None:
    with pytest.raises(HTTPException) as caught:
        choose_coding(_asking(value))
    assert caught.value.status_code == 406


@given(st.lists(st.binary(max_size=5000), max_size=20))
def test_what_is_packed_unpacks(pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    assert b"".join(packed(pieces, "")) == whole
    assert zlib.decompress(b"".join(packed(pieces, "gzip")), wbits=31) == whole
    assert zstandard.ZstdDecompressor().decompressobj().decompress(b"".join(packed(pieces, "zstd"))) == whole
