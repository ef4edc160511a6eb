"""The DICOM JSON model of a data set. Ref: PS3.18 Annex F.

Built from the bounded walk with a stack of its own. Bulk values become URIs; a value that cannot be read is left out
rather than guessed.
"""

import base64
import contextlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from leadglass.dicom.dictionary import vr_of
from leadglass.dicom.elements import PIXEL_DATA, UNDEFINED, Limits, holds_fragments, needs_more, walk
from leadglass.dicom.values import decode_text, encodings_of
from leadglass.errors import Malformed

__all__ = ["Root", "entry_of", "fill", "pn_json", "stands_alone", "to_json"]

_BINARY: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_TEXT_SPLIT: Final = frozenset({"LO", "SH", "UC"})
_TEXT_WHOLE: Final = frozenset({"LT", "ST", "UT"})
_ASCII_SPLIT: Final = frozenset({"AE", "AS", "CS", "DA", "DT", "TM", "UI"})
_NUMBERS: Final = {"FD": "d", "FL": "f", "SL": "i", "SS": "h", "SV": "q", "UL": "I", "US": "H", "UV": "Q"}
_BULK_BYTES: Final = 1024
_CHARSET: Final = 0x00080005
_PIXEL_REPRESENTATION: Final = 0x00280103
_SIGNED_CHOICE: Final = frozenset({  # "US or SS" by PixelRepresentation. Ref: PS3.6, PS3.5 A.1
    0x00280106, 0x00280107, 0x00280108, 0x00280109, 0x00280110, 0x00280111, 0x00280120, 0x00280121,
})
_ITEM: Final = 0xFFFEE000


def pn_json(text: str) -> dict[str, str]:
    """Return the component groups of a person name."""
    groups = text.split("=")
    named = zip(("Alphabetic", "Ideographic", "Phonetic"), groups, strict=False)
    return {name: group for name, group in named if group}


def to_json(
    buffer: "bytes | memoryview", *, offset: int, explicit: bool, little: bool, limits: Limits,
    bulk_uri: Callable[[str], str], is_complete: bool = True,
    spans: dict[str, tuple[int, int]] | None = None,
) -> dict[str, Any]:
    """Return the model of the data set that starts at `offset`; pixel data and long binary values by URI.

    Args: bulk_uri: gives the URI of a path such as "00420011" or "00400275/0/00081110".
        is_complete: False when the buffer ends at the pixel data. spans: filled with path -> (offset, length).
    Never raises: a data set that breaks off gives what came before the break.
    """
    root = Root({}, encodings_of(""), is_signed=False)
    with contextlib.suppress(needs_more, Malformed):  # what was read before the break is still right, and is all there is to show
        fill(root, buffer, offset=offset, end=len(buffer), explicit=explicit, little=little, limits=limits, bulk_uri=bulk_uri,
             is_complete=is_complete, spans=spans)
    return dict(sorted(root.model.items()))


@dataclass
class Root:
    """A data set that is being read: its model so far, and what the values that come next depend on."""

    model: dict[str, Any]
    encodings: tuple[str, ...]  # of (0008,0005)
    is_signed: bool  # by (0028,0103)


def fill(
    root: Root, buffer: "bytes | memoryview", *, offset: int, end: int, explicit: bool, little: bool, limits: Limits,
    bulk_uri: Callable[[str], str], is_complete: bool, spans: dict[str, tuple[int, int]] | None = None,
) -> None:
    """Add the elements from `offset` to `end` to the model of `root`; up to the pixel data, which is added too.

    Raises: Malformed, `needs_more`, where `walk` does; what came before is in the model then.
    """
    # One frame for each open data set: its model, path, encodings, byte order, whether its numbers are signed
    outermost: dict[str, Any] = {"set": root.model, "path": "", "encodings": root.encodings, "signed": root.is_signed,
                                 "order": "<" if little else ">"}
    open_sets: list[dict[str, Any]] = []  # by depth: sequences and items
    view = memoryview(buffer)
    for element in walk(
        buffer, offset=offset, end=end, explicit=explicit, little=little, limits=limits, is_complete=is_complete
    ):
        tag, vr, _, at, length, depth = element
        del open_sets[depth:]
        frame = open_sets[-1] if open_sets else outermost
        if tag == _ITEM:
            if open_sets and "items" in open_sets[-1]:
                sequence = open_sets[-1]
                item: dict[str, Any] = {}
                path = f"{sequence['path']}/{len(sequence['items'])}/"
                sequence["items"].append(item)
                open_sets.append({"set": item, "path": path, "encodings": frame["encodings"], "signed": frame["signed"],
                                  "order": frame["order"]})
            else:
                open_sets.append({"fragments": True})
            continue
        if tag >> 16 == 0xFFFE or "fragments" in frame or tag & 0xFFFF == 0:
            continue
        vr = vr or (("SS" if frame["signed"] else "US") if tag in _SIGNED_CHOICE else vr_of(tag))
        key, path = f"{tag:08X}", f"{frame['path']}{tag:08X}"
        if tag in PIXEL_DATA:
            # A header may claim any VR, SQ even: a reader would then look for items.
            frame["set"][key] = {"vr": vr if vr in _BINARY and vr != "UN" else "OW", "BulkDataURI": bulk_uri(path)}
            if length == UNDEFINED:
                open_sets.append({"fragments": True})
            if depth == 0:
                break
            continue
        if length == UNDEFINED and holds_fragments(tag, element.vr):
            frame["set"][key] = {"vr": vr}
            open_sets.append({"fragments": True})
            continue
        if vr == "SQ" or length == UNDEFINED:
            items: list[dict[str, Any]] = []
            frame["set"][key] = {"vr": "SQ", "Value": items}
            open_sets.append({"items": items, "path": path, "encodings": frame["encodings"],
                              "signed": frame["signed"], "set": frame["set"],
                              "order": "<" if element.vr == "UN" else frame["order"]})  # Ref: PS3.5 6.2.2
            continue
        byte_order = frame["order"]
        if vr == "UN" and (known := vr_of(tag)) not in {"UN", "SQ"}:  # a known element, sent on by one who did not know it
            vr, byte_order = known, "<"  # Ref: PS3.5 6.2.2
        if vr in _BINARY and length > _BULK_BYTES:
            if spans is not None:
                spans[path] = (at, length)
            frame["set"][key] = {"vr": vr, "BulkDataURI": bulk_uri(path)}
            continue
        raw = bytes(view[at : at + length])
        if tag == _CHARSET:
            frame["encodings"] = encodings_of(raw.decode("ascii", "replace").strip("\x00 "))
            frame["set"][key] = {"vr": "CS", "Value": ["ISO_IR 192"]}  # what JSON is in. Ref: PS3.18 F.2.1
            continue
        if tag == _PIXEL_REPRESENTATION and len(raw) >= 2:
            frame["signed"] = struct.unpack_from(byte_order + "H", raw)[0] == 1
        frame["set"][key] = entry_of(vr, raw, frame["encodings"], byte_order)
    root.encodings, root.is_signed = outermost["encodings"], outermost["signed"]


def stands_alone(tag: int) -> bool:
    """Return whether `entry_of` says all of an element, when its VR stands in it and is neither SQ, UN nor binary."""
    return tag & 0xFFFF != 0 and tag >> 16 != 0xFFFE and tag not in PIXEL_DATA and tag not in {_CHARSET, _PIXEL_REPRESENTATION}


def entry_of(vr: str, raw: bytes, encodings: tuple[str, ...], order: str) -> dict[str, Any]:
    """Return {"vr", "Value"...} of one value; without Value when it is empty or cannot be read."""
    if not raw:
        return {"vr": vr}
    if vr in _BINARY:
        return {"vr": vr, "InlineBinary": base64.b64encode(raw).decode()}
    try:
        values = _values(vr, raw, encodings, order)
    except (ValueError, struct.error, UnicodeDecodeError):
        return {"vr": vr}
    while values and values[-1] is None:
        values.pop()
    return {"vr": vr, "Value": values} if values else {"vr": vr}


def _values(vr: str, raw: bytes, encodings: tuple[str, ...], order: str) -> list[Any]:
    if vr == "PN":
        return [pn_json(part) or None for part in decode_text(raw, encodings).split("\\")]
    if vr in _TEXT_SPLIT:
        return [part.strip() or None for part in decode_text(raw, encodings).split("\\")]
    if vr in _TEXT_WHOLE:
        return [decode_text(raw, encodings)]
    if vr == "UR":
        return [raw.decode("ascii").strip()]
    if vr in _ASCII_SPLIT:
        return [part.strip("\x00 ") or None for part in raw.decode("latin-1").split("\\")]
    if vr == "IS":
        return [_integer(part) for part in raw.decode("ascii").strip("\x00 ").split("\\")]
    if vr == "DS":
        return [_decimal(part) for part in raw.decode("ascii").strip("\x00 ").split("\\")]
    if vr == "AT":
        numbers = struct.unpack(f"{order}{len(raw) // 2}H", raw[: len(raw) // 4 * 4])
        return [f"{group:04X}{element:04X}" for group, element in zip(numbers[::2], numbers[1::2], strict=True)]
    code = _NUMBERS.get(vr)
    if code is None:
        raise ValueError(vr)
    size = struct.calcsize(code)
    numbers = struct.unpack(f"{order}{len(raw) // size}{code}", raw[: len(raw) // size * size])
    if code in "fd":  # JSON has no NaN and no infinities
        return [n if n == n and abs(n) != float("inf") else None for n in numbers]  # noqa: PLR0124 - NaN
    return list(numbers)


def _integer(text: str) -> int | None:
    return int(text) if text.strip() else None


def _decimal(text: str) -> int | float | None:
    text = text.strip()
    if not text:
        return None
    number = float(text)
    if number != number or abs(number) == float("inf"):  # noqa: PLR0124 - NaN
        raise ValueError
    return int(number) if number.is_integer() and abs(number) < 2**53 and "e" not in text.lower() and "." not in text else number
