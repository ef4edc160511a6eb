"""From stored values to 8 bits: modality LUT, VOI LUT or window, presentation, palette. Ref: PS3.3 C.7.6.3, C.7.9, C.11.

Runs in decode processes only. Arrays are rows x columns; grey values are computed in 64-bit floats.
"""

from typing import Any, Final

import numpy as np
from pydicom.dataset import Dataset

from leadglass.archive.pixels.pixel_codecs import Undecodable
from leadglass.dicom.image_pixel import ImagePixel

__all__ = ["coloured", "grey", "macro", "stored_values", "window_to_grey"]

_MAX_LUT: Final = 65536
_SAMPLE: Final = 4_000_000  # pixels that are looked at for a range of their own
_LINEAR, _EXACT, _SIGMOID = "LINEAR", "LINEAR_EXACT", "SIGMOID"


def macro(ds: Dataset, number: int, keyword: str) -> Dataset | None:
    """Return the item of a functional group for frame `number` (from 1), or None. Ref: PS3.3 C.7.6.16."""
    frames = ds.get("PerFrameFunctionalGroupsSequence") or []
    own = [frames[number - 1]] if 0 < number <= len(frames) else []
    for groups in (*own, *(ds.get("SharedFunctionalGroupsSequence") or [])[:1]):
        items = groups.get(keyword) or []
        if len(items):
            return items[0]  # type: ignore[no-any-return]
    return None


def stored_values(array: Any, pixel: ImagePixel) -> Any:
    """Return the numbers that Bits Stored and High Bit cut out, with their sign."""
    if array.dtype.kind == "f" or pixel.bits_allocated == 1:
        return array
    shift = pixel.high_bit + 1 - pixel.bits_stored
    values = (array >> shift) & array.dtype.type((1 << pixel.bits_stored) - 1)
    if pixel.representation == 1:
        sign = values.dtype.type(1 << (pixel.bits_stored - 1))
        values = ((values ^ sign) - sign).view(values.dtype.str.replace("u", "i"))
    return values


def grey(
    ds: Dataset, array: Any, pixel: ImagePixel, number: int, window: tuple[float, float, str] | None
) -> Any:
    """Return frame `number` as uint8, black 0, white 255. `window`: the asker's centre, width, function. Raises: Undecodable.

    What has fewer values than pixels is computed once a value, not once a pixel: a mammogram of 20 million pixels has
    4096 of them.
    """
    stored = stored_values(array, pixel)
    padding = _padding(ds, stored)
    domain, index = stored, None
    if stored.dtype.kind in "iu" and stored.dtype.itemsize <= 2 and stored.size:
        low, high = int(stored.min()), int(stored.max())
        if high - low < stored.size:
            domain, index = np.arange(low, high + 1, dtype=np.int64), stored.astype(np.int32) - low
    values = _modality(ds, domain, number, signed=stored.dtype.kind == "i")
    table = None
    if window is None:
        window, table = _voi(ds, number)
    if table is not None:
        unit = _lut(table, values, signed=bool(values.size and values.min() < 0))
    elif window is not None and window[1] > 0 and (window[2] != _LINEAR or window[1] >= 1):
        unit = window_to_grey(values, *window)
    else:
        unit = _stretched(values, *_own_range(values, index, padding))
    out = np.rint(np.nan_to_num(unit) * 255.0).astype(np.uint8)
    shape = str(ds.get("PresentationLUTShape", ""))
    if shape == "INVERSE" or (not shape and pixel.photometric == "MONOCHROME1"):
        out = 255 - out
    out = out if index is None else out[index]
    if padding is not None:
        out[padding] = 0
    return out


def _padding(ds: Dataset, stored: Any) -> Any:
    """Return where pixels are padding, or None. Ref: PS3.3 C.7.5.1.1.2."""
    value = ds.get("PixelPaddingValue")
    if not isinstance(value, int) or stored.dtype.kind == "f":
        return None
    last = ds.get("PixelPaddingRangeLimit")
    low, high = sorted((value, last if isinstance(last, int) else value))
    if stored.dtype.kind == "i":
        low, high = (v - 65536 if v > 32767 and stored.dtype.itemsize == 2 else v for v in (low, high))
        low, high = sorted((low, high))
    mask = (stored >= low) & (stored <= high)
    return mask if mask.any() and not mask.all() else None


def _modality(ds: Dataset, stored: Any, number: int, *, signed: bool) -> Any:
    """Ref: PS3.3 C.11.1; C.7.6.16.2.9 for one frame's own."""
    table = ds.get("ModalityLUTSequence")
    if table:
        return _lut(table[0], stored, signed=signed, to_unit=False)
    source = macro(ds, number, "PixelValueTransformationSequence") or ds
    slope, intercept = _number(source.get("RescaleSlope"), 1.0), _number(source.get("RescaleIntercept"), 0.0)
    return stored.astype(np.float64) * (slope or 1.0) + intercept


def _voi(ds: Dataset, number: int) -> tuple[tuple[float, float, str] | None, Dataset | None]:
    """Return (window or None, item of a VOI LUT or None): the first that the file gives, a table before a window."""
    source = macro(ds, number, "FrameVOILUTSequence") or ds
    table = source.get("VOILUTSequence")
    if table:
        return None, table[0]
    centre, width = _first(source.get("WindowCenter")), _first(source.get("WindowWidth"))
    if centre is None or width is None:
        return None, None
    function = str(source.get("VOILUTFunction", "") or _LINEAR).upper()
    return (centre, width, function if function in {_EXACT, _SIGMOID} else _LINEAR), None


def _own_range(values: Any, index: Any, padding: Any) -> tuple[float, float]:
    """Return the values to show as black and as white where nobody says: nearly the least and the greatest there are."""
    step = max(1, (values if index is None else index).size // _SAMPLE)
    shown = values.ravel()[::step] if index is None else values[index.ravel()[::step]]
    if padding is not None:
        shown = shown[~padding.ravel()[::step]]
    shown = shown[np.isfinite(shown)]
    low, high = (float(shown.min()), float(shown.max())) if shown.size else (0.0, 1.0)
    if shown.size > 256 and high - low > 255:  # a few hot pixels do not make the rest black
        inner = np.percentile(shown, (0.2, 99.8))
        low, high = (float(inner[0]), float(inner[1])) if inner[1] > inner[0] else (low, high)
    return low, high


def _stretched(values: Any, low: float, high: float) -> Any:
    return np.clip((values - low) / max(high - low, 1e-12), 0.0, 1.0)


def window_to_grey(values: Any, centre: float, width: float, function: str) -> Any:
    """Return values between 0 and 1. Ref: PS3.3 C.11.2.1.2, C.11.2.1.3."""
    if function == _SIGMOID:
        power = np.clip(-4.0 * (values - centre) / width, -700.0, 700.0)
        return 1.0 / (1.0 + np.exp(power))
    if function == _EXACT:
        return np.clip((values - centre) / width + 0.5, 0.0, 1.0)
    if width == 1:
        return (values > centre - 0.5).astype(np.float64)
    return np.clip((values - (centre - 0.5)) / (width - 1.0) + 0.5, 0.0, 1.0)


def _lut(item: Dataset, values: Any, *, signed: bool, to_unit: bool = True) -> Any:
    """Return values looked up in a LUT Descriptor's table: from 0 to 1, or as they stand. Ref: PS3.3 C.11.1.1, C.11.2.1.1."""
    table, first, bits = _table(item.get("LUTDescriptor"), item.get("LUTData"))
    if signed and first > 32767:
        first -= 65536
    index = np.clip(np.rint(values) - first, 0, len(table) - 1).astype(np.intp)
    found = table[index]
    return found / float((1 << bits) - 1) if to_unit else found


def _table(descriptor: Any, data: Any) -> tuple[Any, int, int]:
    """Return (entries as floats, first value mapped, bits of an entry)."""
    if descriptor is None or data is None or len(descriptor) != 3:
        raise Undecodable("a lookup table has no description")
    count, first, bits = (int(v) for v in descriptor)
    count = (count & 0xFFFF) or _MAX_LUT
    bits = bits if 8 <= bits <= 16 else 16
    if isinstance(data, bytes):
        small = len(data) < 2 * count
        table = np.frombuffer(data[: count if small else 2 * count], "u1" if small else "<u2")
    else:
        table = np.atleast_1d(np.asarray(data, np.int64))[:count] & 0xFFFF
    if not len(table):
        raise Undecodable("a lookup table is empty")
    if bits > 8 and table.size and int(table.max()) < 256 and isinstance(data, bytes) and len(data) < 2 * count:
        bits = 8
    return table.astype(np.float64), first, bits


# --- palettes ---------------------------------------------------------------------------------------------------
def coloured(ds: Dataset, array: Any, pixel: ImagePixel, base: Any = None) -> Any:
    """Return RGB uint8 through the palette; with `base` (grey), only values from the first mapped on are coloured.

    Ref: PS3.3 C.7.6.3.1.5-6, C.7.9 (segmented), C.8.16.2.1.1.1 (supplemental). Raises: Undecodable.
    """
    stored = stored_values(array, pixel)
    planes = []
    first = 0
    for colour in ("Red", "Green", "Blue"):
        descriptor = ds.get(f"{colour}PaletteColorLookupTableDescriptor")
        data = ds.get(f"{colour}PaletteColorLookupTableData")
        segments = ds.get(f"Segmented{colour}PaletteColorLookupTableData")
        if data is None and segments is not None and descriptor is not None:
            data = _expanded(segments, int(descriptor[2]), (int(descriptor[0]) & 0xFFFF) or _MAX_LUT)
        table, first, bits = _table(descriptor, data)
        if stored.dtype.kind == "i" and first > 32767:
            first -= 65536
        if bits == 16 and table.max(initial=0) < 256 and table.max(initial=0) > 0:
            bits = 8  # eight bits of colour in entries of sixteen, by old devices
        index = np.clip(stored.astype(np.int64) - first, 0, len(table) - 1)
        planes.append((table[index] / float((1 << bits) - 1) * 255.0 + 0.5).astype(np.uint8))
    rgb = np.stack(planes, axis=-1)
    if base is None:
        return rgb
    return np.where((stored.astype(np.int64) >= first)[..., None], rgb, base[..., None])


def _expanded(data: bytes, bits: int, count: int) -> bytes:
    """Return the table that segments describe: discrete, linear, indirect. Ref: PS3.3 C.7.9.2."""
    words = np.frombuffer(data[: len(data) // 2 * 2], "<u2") if bits > 8 else np.frombuffer(data, "u1")
    out: list[int] = []
    at, copied = 0, 0
    while at + 2 <= len(words) and len(out) < count:
        kind, length = int(words[at]), int(words[at + 1])
        if kind == 0:
            out += [int(v) for v in words[at + 2 : at + 2 + length]]
            at += 2 + length
        elif kind == 1 and out and at + 2 < len(words) and length:
            start, end = out[-1], int(words[at + 2])
            out += [round(start + (end - start) * step / length) for step in range(1, length + 1)]
            at += 3
        else:
            raise Undecodable("a segmented palette of this kind is not read")
        copied += 1
    return np.asarray(out[:count], "<u2" if bits > 8 else "u1").tobytes()


def _number(value: Any, default: float) -> float:
    found = _first(value)
    return default if found is None else found


def _first(value: Any) -> float | None:
    """Return the first of a value's numbers, or None."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if not isinstance(value, (str, bytes)) and hasattr(value, "__len__"):
        value = value[0] if len(value) else None
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if np.isfinite(found) else None
