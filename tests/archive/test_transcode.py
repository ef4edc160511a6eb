"""What is converted holds the same pixels and the same header; the stored file is never changed."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.pixels.utils import pixel_array
from small_house import ct_slice, part10, put, reader, small_house

from leadglass.archive.pixels import conversions, pixel_codecs
from leadglass.dicom.transfer_syntaxes import TRANSFER_SYNTAXES
from leadglass.errors import Malformed

CHANGED = {"PhotometricInterpretation", "PlanarConfiguration"}  # all that a conversion may change, PS3.5 8.2


@pytest.fixture
def house(tmp_path: Path):
    with small_house(tmp_path) as opened:
        yield opened


def stored(house: Any, data: bytes) -> tuple[Any, Any]:
    """Return (grant, row) of a file that was put there."""
    (outcome,) = put(house, data)
    grant = house.operations.study(reader(house), outcome.study_uid)
    (row,) = house.operations.locate(grant, None, outcome.sop_instance_uid)
    return grant, row


def values(ds: pydicom.Dataset, index: int) -> np.ndarray:
    """Return a frame's values: the bits that Bits Stored counts, with their sign."""
    array = pixel_array(ds, index=index, raw=True)
    if array.dtype.kind == "i" and ds.BitsStored < ds.BitsAllocated:
        shift = ds.BitsAllocated - ds.BitsStored
        array = (array << shift) >> shift
    return array


def said(element: Any, *, is_little: bool) -> Any:
    """Return the value; words in the byte order of this machine, which pydicom leaves as they lie."""
    word = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}.get(element.VR, 0)
    if word and element.value and not is_little:
        return np.frombuffer(element.value, f">u{word}").astype(f"<u{word}").tobytes()
    return element.value


def same_but_for(before: pydicom.Dataset, after: pydicom.Dataset, *, order: tuple[bool, bool] | None = None) -> None:
    """Assert that the headers agree, but for what a conversion may change."""
    order = order or (before.original_encoding[1], after.original_encoding[1])
    for element in before:
        if element.keyword in CHANGED or element.tag.group == 0x7FE0 or element.tag.element == 0 or element.tag == 0xFFFCFFFC:
            continue
        other = after[element.tag]
        if element.VR == "SQ" == other.VR:
            assert len(element.value) == len(other.value)
            for one, two in zip(element.value, other.value, strict=True):
                same_but_for(one, two, order=order)
        elif other.VR == element.VR and element.VR != "UN":
            assert said(other, is_little=order[1]) == said(element, is_little=order[0]), element.tag
    assert {e.tag for e in after} - {e.tag for e in before} <= {pydicom.tag.Tag(0x00280006)}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [
    "CT_small.dcm", "JPEG2000.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "SC_rgb_rle.dcm", "SC_rgb_rle_16bit_2frame.dcm",
    "SC_rgb_jpeg_dcmtk.dcm", "SC_ybr_full_422_uncompressed.dcm", "examples_ybr_color.dcm", "examples_palette.dcm", "image_dfl.dcm",
    "liver_1frame.dcm", "rtdose.dcm", "SC_rgb_small_odd.dcm", "MR_small_jpeg_ls_lossless.dcm", "SC_rgb_jpeg_gdcm.dcm",
    "MR_small_implicit.dcm",
])
def test_pixels_and_headers_are_the_same(house: Any, name: str) -> None:
    data = Path(str(get_testdata_file(name))).read_bytes()
    before = pydicom.dcmread(io.BytesIO(data))
    grant, row = stored(house, data)
    offered = house.operations.syntaxes_of(row)
    assert offered[0] == row.transfer_syntax_uid
    assert len(offered) > 2
    frames = sorted({0, int(before.get("NumberOfFrames", 1) or 1) - 1})
    for target in offered[1:]:
        out = b"".join(house.operations.stream_instance(grant, row, target))
        after = pydicom.dcmread(io.BytesIO(out))
        assert after.file_meta.TransferSyntaxUID == target
        assert out.endswith(b"".join(house.operations.stream_dataset(grant, row, target)))
        same_but_for(before, after)
        for index in frames:
            assert np.array_equal(values(before, index), values(after, index)), (target, index)
    again = b"".join(house.operations.stream_instance(grant, row))
    assert again[row.dataset_offset :] == data[-(len(again) - row.dataset_offset) :]


@pytest.mark.parametrize("name", ["reportsi.dcm", "rtplan.dcm", "rtstruct.dcm", "waveform_ecg.dcm"])
@pytest.mark.filterwarnings("ignore")
def test_what_is_no_image_converts_between_the_native_syntaxes(house: Any, name: str) -> None:
    data = Path(str(get_testdata_file(name))).read_bytes()
    grant, row = stored(house, data)
    offered = house.operations.syntaxes_of(row)
    assert not any(TRANSFER_SYNTAXES[uid].encapsulated for uid in offered)
    for target in offered[1:]:
        after = pydicom.dcmread(io.BytesIO(b"".join(house.operations.stream_instance(grant, row, target))))
        same_but_for(pydicom.dcmread(io.BytesIO(data), force=True), after)


def test_what_is_not_offered_is_refused_before_the_first_byte(house: Any) -> None:
    grant, row = stored(house, part10(ct_slice()))
    for target in ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.102", "1.2.3", ""):
        with pytest.raises(Malformed):
            next(house.operations.stream_dataset(grant, row, target))


def test_a_header_that_lies_is_refused_before_the_first_byte(house: Any) -> None:
    grant, row = stored(house, part10(ct_slice(Rows=5000)))
    for target in conversions.COMPRESSED_TARGETS:
        with pytest.raises(Malformed, match="shorter than its frames"):
            next(house.operations.stream_instance(grant, row, target))


def test_values_beyond_bits_stored_are_kept(house: Any) -> None:
    """Old overlays lie in unused bits: lossless is lossless."""
    ds = ct_slice(BitsStored=12, HighBit=11, PixelRepresentation=0)
    pixels = np.frombuffer(ds.PixelData, "<u2") | 0x8000
    ds.PixelData = pixels.tobytes()
    grant, row = stored(house, part10(ds))
    for target in conversions.COMPRESSED_TARGETS:
        array, _ = pixel_codecs.decode_frame(_only_frame(b"".join(house.operations.stream_dataset(grant, row, target))), target,
                                             _described(ds))
        assert np.array_equal(array.ravel(), pixels), target


def _only_frame(data: bytes) -> bytes:
    at = data.index(b"\xe0\x7f\x10\x00OB\x00\x00\xff\xff\xff\xff") + 20
    length = int.from_bytes(data[at + 4 : at + 8], "little")
    return data[at + 8 : at + 8 + length]


def _described(ds: pydicom.Dataset) -> Any:
    from leadglass.dicom.image_pixel import ImagePixel

    return ImagePixel(rows=ds.Rows, columns=ds.Columns, samples=1, bits_allocated=16, bits_stored=12, high_bit=11, representation=0,
                      planar=0, photometric="MONOCHROME2", frames=1)


def test_the_tables_agree() -> None:
    assert conversions.SOURCES == pixel_codecs.DECODABLE
    assert set(conversions.COMPRESSED_TARGETS) == pixel_codecs.ENCODABLE
    assert set(TRANSFER_SYNTAXES) >= pixel_codecs.DECODABLE


def test_a_long_multi_frame_costs_no_more_memory_than_a_short_one(house: Any) -> None:
    import tracemalloc

    frames = 160
    ds = ct_slice(size=512, NumberOfFrames=frames)
    ds.PixelData = ds.PixelData * frames  # 84 MB
    grant, row = stored(house, part10(ds))
    del ds
    for target, take in (("1.2.840.10008.1.2", frames), ("1.2.840.10008.1.2.2", frames), ("1.2.840.10008.1.2.5", 40)):
        tracemalloc.start()
        seen = 0
        for piece in house.operations.stream_dataset(grant, row, target):
            seen += len(piece)
            if seen > take * 524288 // 2:
                break
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 16 << 20, (target, peak)
