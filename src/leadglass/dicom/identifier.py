"""Identifiers of queries: what is asked, decoded; what is answered, encoded. Ref: PS3.4 C.4.1.1.3, C.4.1.3; PS3.5 7.

Sans-I/O over the bounded walk: an identifier has at most 64 KiB, 1000 elements and four sequences in each other.
An answer is in the asker's character set when that holds every value, else in UTF-8.
"""

import base64
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from pydicom.charset import encode_string

from leadglass.dicom.dictionary import vr_of
from leadglass.dicom.elements import Limits, walk
from leadglass.dicom.transfer_syntaxes import TRANSFER_SYNTAXES, TransferSyntax
from leadglass.dicom.value_representations import VALUE_REPRESENTATIONS, Kind
from leadglass.dicom.values import decode_text, encodings_of
from leadglass.errors import Malformed

__all__ = ["MAX_IDENTIFIER", "UTF_8", "Asked", "Question", "decode_identifier", "encode_identifier"]

MAX_IDENTIFIER: Final = 65536  # bytes
UTF_8: Final = "ISO_IR 192"
_LIMITS: Final = Limits(max_depth=8, max_elements=1000)
_CHARACTER_SET: Final = 0x00080005
_ITEM: Final = 0xFFFEE000
_MAX_SHORT: Final = 65534  # bytes of a value with a 16-bit length
_UNKNOWN: Final = VALUE_REPRESENTATIONS["UN"]


@dataclass
class Asked:
    """One key of a question: its value as text with a backslash between values, or the keys of its one item."""

    tag: int
    vr: str
    text: str = ""
    inner: "list[Asked]" = field(default_factory=list)
    raw: bytes = field(default=b"", repr=False)
    items: int = 0


@dataclass(frozen=True)
class Question:
    """A decoded identifier; group lengths and (0008,0005) are not among its keys."""

    keys: list[Asked]
    character_set: str  # as it stands in (0008,0005); "" = none

    def value(self, tag: int) -> str:
        """Return the text of a key at the top, or ""."""
        return next((key.text for key in self.keys if key.tag == tag), "")


def decode_identifier(data: "bytes | bytearray", transfer_syntax: str) -> Question:
    """Return what is asked. Args: data: untrusted. Raises: Malformed, with the rule and no value."""
    if len(data) > MAX_IDENTIFIER:
        raise Malformed(f"an identifier larger than {MAX_IDENTIFIER} bytes.")
    syntax = TRANSFER_SYNTAXES[transfer_syntax]
    levels: dict[int, list[Asked]] = {0: []}
    opened: dict[int, Asked] = {}  # sequences, by depth
    for tag, vr, _, at, length, depth in walk(data, explicit=syntax.explicit, little=syntax.little, limits=_LIMITS):
        if tag == _ITEM:
            sequence = opened.get(depth - 1)
            if sequence is None or sequence.vr != "SQ":
                raise Malformed("an item stands outside a sequence.")
            sequence.items += 1
            if sequence.items > 1:
                raise Malformed("a sequence in a query holds one item at most (PS3.4 C.2.2.2.6).")
            levels[depth + 1] = sequence.inner
            continue
        if tag >> 16 == 0xFFFE or tag & 0xFFFF == 0:
            continue
        known = vr_of(tag) if vr in {"", "UN"} else vr
        key = Asked(tag, known)
        levels[depth].append(key)
        if known == "SQ":
            opened[depth] = key
        else:
            key.raw = bytes(data[at : at + length])
    root = levels[0]
    declared = next((key.raw for key in root if key.tag == _CHARACTER_SET), b"").decode("ascii", "replace").strip("\x00 ")
    _read(root, encodings_of(declared), "<" if syntax.little else ">")
    return Question([key for key in root if key.tag != _CHARACTER_SET], declared)


def _read(keys: list[Asked], encodings: tuple[str, ...], order: str) -> None:
    """Fill in the texts."""
    for key in keys:
        kind = VALUE_REPRESENTATIONS.get(key.vr, _UNKNOWN).kind
        if kind in {Kind.TEXT, Kind.PARAGRAPH, Kind.NAME}:
            key.text = decode_text(key.raw, encodings).strip()
        elif kind is Kind.NUMBER:
            size, code = VALUE_REPRESENTATIONS[key.vr].unit, VALUE_REPRESENTATIONS[key.vr].code
            count = len(key.raw) // size
            key.text = "\\".join(str(n) for n in struct.unpack(f"{order}{count}{code}", key.raw[: count * size]))
        elif kind not in {Kind.BINARY, Kind.TAG, Kind.SEQUENCE}:
            key.text = key.raw.decode("latin-1").strip("\x00 ")
        _read(key.inner, encodings, order)


class _Misfit(Exception):
    """A value that the character set cannot hold."""


def encode_identifier(model: dict[str, Any], transfer_syntax: str, character_set: str = "") -> bytes:
    """Return the encoded data set of a DICOM JSON model, with (0008,0005) where one is needed.

    Args: character_set: as the asker declared it. A value that cannot be written in its VR goes out empty.
    """
    syntax = TRANSFER_SYNTAXES[transfer_syntax]
    for declared in (character_set, UTF_8):
        said = {"00080005": {"vr": "CS", "Value": declared.split("\\")}} if declared else {}
        try:
            return b"".join(_elements({**model, **said}, syntax, encodings_of(declared), is_plain=not declared))
        except _Misfit:
            continue
    raise RuntimeError("UTF-8 could not hold a value")


def _elements(model: dict[str, Any], syntax: TransferSyntax, encodings: tuple[str, ...], *, is_plain: bool) -> Iterator[bytes]:
    order = "<" if syntax.little else ">"
    for key in sorted(model):
        tag, entry = int(key, 16), model[key]
        vr = entry["vr"] if entry["vr"] in VALUE_REPRESENTATIONS else "UN"
        if vr == "SQ":
            data = b"".join(
                struct.pack(order + "HHI", 0xFFFE, 0xE000, len(item)) + item
                for item in (b"".join(_elements(one, syntax, encodings, is_plain=is_plain)) for one in entry.get("Value", []))
            )
        else:
            data = _value(vr, entry, encodings, order, is_plain=is_plain)
        is_long = VALUE_REPRESENTATIONS[vr].is_long
        if syntax.explicit and not is_long and len(data) > _MAX_SHORT:
            data = b""
        head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
        if not syntax.explicit:
            yield head + struct.pack(order + "I", len(data)) + data
        elif is_long:
            yield head + vr.encode() + b"\x00\x00" + struct.pack(order + "I", len(data)) + data
        else:
            yield head + vr.encode() + struct.pack(order + "H", len(data)) + data


def _value(vr: str, entry: dict[str, Any], encodings: tuple[str, ...], order: str, *, is_plain: bool) -> bytes:
    """Return the encoded value of an element that is no sequence. Raises: _Misfit."""
    about = VALUE_REPRESENTATIONS[vr]
    values = entry.get("Value", [])
    if about.kind is Kind.BINARY:
        data = base64.b64decode(entry.get("InlineBinary", ""))
        return data + b"\x00" * (len(data) % 2)
    try:
        if about.kind is Kind.NUMBER:
            return struct.pack(f"{order}{len(values)}{about.code}", *values)
        if about.kind is Kind.TAG:
            return b"".join(struct.pack(order + "HH", int(v[:4], 16), int(v[4:], 16)) for v in values)
    except (struct.error, TypeError, ValueError):
        return b""
    if about.kind is Kind.NAME:
        data = b"\\".join(_name(v or {}, encodings, is_plain=is_plain) for v in values)
    elif about.kind in {Kind.TEXT, Kind.PARAGRAPH}:
        data = b"\\".join(_text("" if v is None else str(v), encodings, is_plain=is_plain) for v in values)
    else:
        data = "\\".join("" if v is None else str(v) for v in values).encode("ascii", "replace")
    return data + (b"\x00" if vr == "UI" else b" ") * (len(data) % 2)


def _name(value: dict[str, str], encodings: tuple[str, ...], *, is_plain: bool) -> bytes:
    """Encode component by component: at a delimiter, escape sequences start anew. Ref: PS3.5 6.1.2.5.3."""
    text = "=".join(value.get(group, "") for group in ("Alphabetic", "Ideographic", "Phonetic")).rstrip("=")
    out, start = b"", 0
    for at, character in enumerate(text):
        if character in "^=":
            out += _text(text[start:at], encodings, is_plain=is_plain) + character.encode()
            start = at + 1
    return out + _text(text[start:], encodings, is_plain=is_plain)


def _text(text: str, encodings: tuple[str, ...], *, is_plain: bool) -> bytes:
    """Return the bytes of a text, proved by reading them back. Raises: _Misfit."""
    if text.isascii():
        return text.encode()
    if is_plain:
        raise _Misfit
    if encodings[0] == "utf8" or len(encodings) == 1:
        try:
            return text.encode(encodings[0])
        except (UnicodeEncodeError, LookupError):
            raise _Misfit from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's own would name the value
        try:
            data = encode_string(text, list(encodings))
        except (UnicodeError, LookupError, ValueError):
            raise _Misfit from None
    if decode_text(data, encodings) != text:
        raise _Misfit
    return bytes(data)
