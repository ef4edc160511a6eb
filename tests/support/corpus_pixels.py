"""Decoded frames against pydicom's own, pictures, and what a change of transfer syntax must leave as it was."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pydicom
from PIL import Image
from pydicom.pixels.utils import pixel_array

from leadglass.errors import LeadglassError

LOSSY = {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.203",
         "1.2.840.10008.1.2.4.112"}
LARGE = 1 << 20  # pixels of all frames
NEAR = 2  # steps of grey by which two decoders of a lossy codec may part (their inverse transforms round apart)


def _chosen(frames: int) -> list[int]:
    """Return the first frame, one in the middle and the last."""
    return sorted({1, (frames + 1) // 2, frames})


def _theirs(dataset: Any, number: int) -> Any:
    """Return pydicom's pixels of a frame, or the name of its error."""
    if dataset is None:
        return "it cannot read the file"
    try:
        return np.asarray(pixel_array(dataset, index=number - 1, raw=True))
    except Exception as e:
        return type(e).__name__


def as_array(data: bytes, dataset: Any) -> Any:
    """Return little endian native pixels as pydicom shapes them: rows, columns, then samples by pixel."""
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    samples, bits = int(dataset.get("SamplesPerPixel", 1)), int(dataset.BitsAllocated)
    if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
        return np.frombuffer(data, f"<f{bits // 8}").reshape(rows, columns)
    if bits == 1:
        if len(data) == rows * columns:
            return np.frombuffer(data, "u1").reshape(rows, columns)
        return np.unpackbits(np.frombuffer(data, "u1"), bitorder="little")[: rows * columns].reshape(rows, columns)
    kind = "i" if int(dataset.get("PixelRepresentation") or 0) else "u"
    if str(dataset.PhotometricInterpretation) == "YBR_FULL_422" and len(data) == rows * columns * 2:
        first, second, blue, red = np.frombuffer(data, "u1").reshape(-1, 4).T  # PS3.3 C.7.6.3.1.2: two Y, then CB and CR of both
        return np.stack([np.stack([y, blue, red], -1) for y in (first, second)], 1).reshape(rows, columns, 3)
    values = np.frombuffer(data[: rows * columns * samples * bits // 8], f"<{kind}{bits // 8}")
    values = used_bits(values, dataset)
    if samples == 1:
        return values.reshape(rows, columns)
    if int(dataset.get("PlanarConfiguration") or 0):
        return values.reshape(samples, rows, columns).transpose(1, 2, 0)
    return values.reshape(rows, columns, samples)


def used_bits(values: Any, dataset: Any) -> Any:
    """Return values without what stands above Bits Stored, which has no meaning (PS3.5 8.1.1)."""
    allocated = int(dataset.get("BitsAllocated") or 0)
    unused = allocated - int(dataset.get("BitsStored") or allocated)
    if unused <= 0 or values.dtype.kind not in "iu" or values.dtype.itemsize * 8 != allocated:
        return values
    return (values << unused) >> unused


def compare(read: Callable[[int], bytes], row: Any, dataset: Any) -> tuple[str, str]:
    """Return (verdict, why): same | near | ours alone | pydicom alone | neither | differ."""
    verdict, why = "same", ""
    for number in _chosen(row.frames):
        theirs = _theirs(dataset, number)
        try:
            data = read(number)
        except LeadglassError as e:
            return ("neither" if isinstance(theirs, str) else "pydicom alone"), str(e)
        if isinstance(theirs, str):
            return "ours alone", f"pydicom: {theirs}"
        try:
            ours = as_array(data, dataset)
        except Exception as e:
            return "differ", f"frame {number}: {len(data)} bytes do not fit: {type(e).__name__}"
        if ours.shape != theirs.shape:
            return "differ", f"frame {number}: {ours.shape} for {theirs.shape}"
        if np.array_equal(ours, theirs, equal_nan=ours.dtype.kind == "f"):
            continue
        apart = int(np.abs(ours.astype("f8") - theirs.astype("f8")).max())
        if row.transfer_syntax_uid not in LOSSY or apart > NEAR:
            return "differ", f"frame {number}: {apart} steps apart"
        verdict, why = "near", f"{apart} steps apart"
    return verdict, why


def render(make: Callable[[], tuple[str, bytes]], row: Any) -> tuple[str, str]:
    """Return ("yes", "") for a picture of the frame's shape (where pixels are no squares, one side is longer), or ("no", why)."""
    try:
        media_type, data = make()
    except LeadglassError as e:
        return "no", str(e)
    picture = Image.open(io.BytesIO(data))
    picture.load()
    assert media_type == "image/png"
    is_right = picture.width >= row.columns and picture.height >= row.rows and (picture.width == row.columns or picture.height == row.rows)
    return ("yes", "") if is_right else ("no", f"a picture of {picture.size} for {(row.columns, row.rows)}")


def transcode(convert: Callable[[str], bytes], targets: Any, row: Any, dataset: Any) -> dict[str, str]:
    """Return transfer syntax -> "same" (as pydicom reads both), or what went wrong. The stored one is left out.

    Of large images every third syntax is tried, another third for another size: minutes, not an hour.
    """
    found: dict[str, str] = {}
    wanted = [uid for uid in targets if uid != row.transfer_syntax_uid]
    if (row.rows or 0) * (row.columns or 0) * row.frames > LARGE:
        wanted = wanted[row.length % 3 :: 3]
    before = _theirs(dataset, 1)
    for uid in wanted:
        try:
            data = convert(uid)
        except LeadglassError as e:
            found[uid] = str(e)
            continue
        changed = pydicom.dcmread(io.BytesIO(data), force=True)
        if changed.file_meta.TransferSyntaxUID != uid:
            found[uid] = "another syntax than was asked for"
        elif not isinstance(before, str):  # else nobody can compare
            after = _theirs(changed, 1)
            is_same = not isinstance(after, str) and np.array_equal(
                used_bits(before, dataset), used_bits(after, changed), equal_nan=before.dtype.kind == "f")
            found[uid] = "same" if is_same else "other pixels"
    return found
