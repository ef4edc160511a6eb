"""From the JSON model to a data set: Explicit VR Little Endian, strict, with places for bulk data. Ref: PS3.5 6.2, 7.1.

`plan` checks and encodes everything but the bulk data; `assemble` puts that in and gives the data set piece by piece.
What we write is right or is not written: VRs are the dictionary's, values keep to the lengths and the repertoire of
their VR, text is UTF-8 (ISO_IR 192), sequences and items have undefined length. Nothing of the model is kept: a plan
costs the bytes that it will write.
"""

import base64
import binascii
import re
import struct
from dataclasses import dataclass
from typing import Any, Final

from leadglass.dicom.dictionary import choices_of
from leadglass.dicom.elements import PIXEL_DATA, UNDEFINED, Limits
from leadglass.dicom.text_values import encode_value
from leadglass.dicom.uids import is_valid_uid
from leadglass.dicom.value_representations import VALUE_REPRESENTATIONS, Kind
from leadglass.errors import Malformed

__all__ = ["BulkPlace", "Draft", "Identity", "element_header", "identity_of", "plan"]

_TAG: Final = re.compile(r"[0-9A-F]{8}")  # PS3.18 F.2.2: upper case
_CHARSET: Final = 0x00080005
_UTF8: Final = b"ISO_IR 192"
_AVAILABLE_SYNTAX: Final = 0x00083002  # says how the bulk data can be had: of the message, not of the instance
_ITEM: Final = struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED)
_ITEM_END: Final = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
_SEQUENCE_END: Final = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
_MOST_SHORT: Final = 0xFFFE
_FORMS: Final = frozenset({"Value", "InlineBinary", "BulkDataURI"})
_MAX_URI: Final = 4096


@dataclass(frozen=True, kw_only=True)
class Identity:
    """The four UIDs of an instance."""

    sop_class_uid: str
    sop_instance_uid: str
    study_uid: str
    series_uid: str


@dataclass(frozen=True, kw_only=True)
class BulkPlace:
    """Where bulk data goes in."""

    tag: int
    vr: str
    uri: str
    is_top: bool  # of the data set itself, not of an item: where pixel data may be encapsulated


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A data set without its bulk data. `facts`: numbers of the image pixel module, 0 where there is none."""

    identity: Identity
    pieces: tuple[bytes | BulkPlace, ...]
    facts: dict[str, int]
    photometric: str
    inline_pixel_bytes: int  # of pixel data that stands in the metadata; -1 = none does

    @property
    def uris(self) -> list[str]:
        """The URIs of the bulk data that it wants."""
        return [piece.uri for piece in self.pieces if isinstance(piece, BulkPlace)]


def identity_of(model: Any) -> Identity:
    """Return the UIDs of a model. Raises: Malformed."""
    found = {}
    for name, tag in (("sop_class_uid", "00080016"), ("sop_instance_uid", "00080018"),
                      ("study_uid", "0020000D"), ("series_uid", "0020000E")):
        entry = model.get(tag) if isinstance(model, dict) else None
        value = _first(entry)
        if not isinstance(value, str) or not is_valid_uid(value):
            raise Malformed("the metadata lacks one of the UIDs that identify an instance, or holds one that is no UID.")
        found[name] = value
    return Identity(**found)


def plan(model: dict[str, Any], limits: Limits) -> Draft:
    """Return the draft of a model. Args: model: untrusted JSON values. Raises: Malformed, with the rule and no value.

    Left out, as no part of an instance: group 0002, group lengths, what (0008,3002) says of the message. (0008,0005)
    becomes ISO_IR 192. Not done here: whether the bulk data fits, see dicom/assemble.py.
    """
    planner = _Planner(limits)
    planner.data_set(model, level=0)
    facts = {name: _number(model, tag) for name, tag in _FACTS.items()}
    if facts["frames"] == 0:
        facts["frames"] = 1
    return Draft(
        identity=identity_of(model), pieces=planner.finish(), facts=facts,
        photometric=str(_first(model.get("00280004")) or ""), inline_pixel_bytes=planner.inline_pixel_bytes,
    )


_FACTS: Final = {"rows": "00280010", "columns": "00280011", "samples": "00280002", "bits": "00280100", "frames": "00280008"}


def _first(entry: Any) -> Any:
    values = entry.get("Value") if isinstance(entry, dict) else None
    return values[0] if isinstance(values, list) and values else None


def _number(model: dict[str, Any], tag: str) -> int:
    """Return a number of the image pixel module. Raises: Malformed, when it is one and makes no sense."""
    value = _first(model.get(tag))
    if isinstance(value, str) and re.fullmatch(r"\s*\+?[0-9]{1,10}\s*", value):
        value = int(value)
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**31:
        raise Malformed("a number that describes the pixel data makes no sense.")
    return value


def element_header(tag: int, vr: str, length: int) -> bytes:
    """Return tag, VR and length. Raises: Malformed, for a value that its VR cannot hold."""
    start = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode("ascii"))
    if VALUE_REPRESENTATIONS[vr].is_long:
        if length > _LONGEST and length != UNDEFINED:
            raise Malformed("a value is longer than an element can be.")
        return start + struct.pack("<HI", 0, length)
    if length > _MOST_SHORT:
        raise Malformed("a value is longer than its VR can be.")
    return start + struct.pack("<H", length)


_LONGEST: Final = 0xFFFFFFFE


class _Planner:
    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._pieces: list[bytes | BulkPlace] = []
        self._open = bytearray()
        self._count = 0
        self._pixel_data = 0  # elements that hold pixel data, at the top
        self.inline_pixel_bytes = -1

    def finish(self) -> tuple[bytes | BulkPlace, ...]:
        self._flush()
        return tuple(self._pieces)

    def _flush(self) -> None:
        if self._open:
            self._pieces.append(bytes(self._open))
            self._open = bytearray()

    def data_set(self, model: Any, *, level: int) -> None:
        """Encode one data set: the root, or an item."""
        if not isinstance(model, dict):
            raise Malformed("an item is no data set.")
        if 2 * level > self._limits.max_depth:  # as dicom/elements.py counts: a sequence, and its item
            raise Malformed(f"sequences are nested deeper than {self._limits.max_depth} levels.")
        entries: dict[int, Any] = {}
        for key, entry in model.items():
            if _TAG.fullmatch(key) is None:
                raise Malformed("a tag is eight hexadecimal digits in upper case.")
            entries[int(key, 16)] = entry
        self._count += len(entries)
        if self._count > self._limits.max_elements:
            raise Malformed(f"more than {self._limits.max_elements} data elements.")
        if level == 0:
            entries[_CHARSET] = None
        for tag, entry in sorted(entries.items()):
            self._element(tag, entry, level)

    def _element(self, tag: int, entry: Any, level: int) -> None:
        group = tag >> 16
        if group == 0x0002 or (tag & 0xFFFF == 0 and group != 0) or tag == _AVAILABLE_SYNTAX:
            return
        if tag == _CHARSET:
            if level == 0:
                self._put(tag, "CS", _UTF8)
            return  # an item inherits it
        if group < 0x0008 or group in {0xFFFE, 0xFFFF}:
            raise Malformed("a group has no place in a data set.")
        vr, form, value = _entry(tag, entry)
        if tag in PIXEL_DATA and level == 0:
            self._pixel_data += 1
            if self._pixel_data > 1:
                raise Malformed("an image has pixel data of two kinds.")
        kind = VALUE_REPRESENTATIONS[vr].kind
        if form == "BulkDataURI":
            self._bulk(tag, vr, value, level)
        elif kind is Kind.SEQUENCE:
            self._sequence(tag, value, level)
        elif form == "InlineBinary":
            raw = _inline(vr, value)
            if tag in PIXEL_DATA and level == 0:
                self.inline_pixel_bytes = len(raw)
            self._put(tag, vr, raw)
        else:
            self._put(tag, vr, encode_value(vr, value))

    def _put(self, tag: int, vr: str, value: bytes) -> None:
        pad = b"\x00" if vr == "UI" or VALUE_REPRESENTATIONS[vr].kind in {Kind.BINARY, Kind.NUMBER, Kind.TAG} else b" "
        value += pad * (len(value) % 2)
        self._open += element_header(tag, vr, len(value)) + value

    def _sequence(self, tag: int, items: Any, level: int) -> None:
        self._count += len(items)
        if self._count > self._limits.max_elements:
            raise Malformed(f"more than {self._limits.max_elements} data elements.")
        self._open += element_header(tag, "SQ", UNDEFINED)
        for item in items:
            self._open += _ITEM
            self.data_set({} if item is None else item, level=level + 1)
            self._open += _ITEM_END
        self._open += _SEQUENCE_END

    def _bulk(self, tag: int, vr: str, uri: Any, level: int) -> None:
        """Keep a place. The URI is a name to look for among the parts; it is never fetched, whatever it points to."""
        if not isinstance(uri, str) or not 0 < len(uri) <= _MAX_URI:
            raise Malformed("a BulkDataURI is no URI.")
        if VALUE_REPRESENTATIONS[vr].kind not in {Kind.BINARY, Kind.NUMBER}:
            raise Malformed("a value that is not binary stands as bulk data.")
        self._flush()
        self._pieces.append(BulkPlace(tag=tag, vr="OW" if tag in PIXEL_DATA and vr == "UN" else vr, uri=uri, is_top=level == 0))


def _entry(tag: int, entry: Any) -> tuple[str, str, Any]:
    """Return (VR, how the value stands, the value). Raises: Malformed."""
    vr = entry.get("vr") if isinstance(entry, dict) else None
    if not isinstance(vr, str) or vr not in VALUE_REPRESENTATIONS:
        raise Malformed("an attribute has no VR of the standard.")
    known = choices_of(tag)
    if known and vr not in known and vr != "UN":
        raise Malformed("an attribute has another VR than the data dictionary gives it.")
    forms = _FORMS & set(entry)
    if len(forms) > 1:
        raise Malformed("an attribute holds values of two kinds.")
    form = next(iter(forms), "Value")
    kind = VALUE_REPRESENTATIONS[vr].kind
    value = entry.get(form, [])
    if form == "Value" and (not isinstance(value, list) or (kind is Kind.BINARY and value)):
        raise Malformed("an attribute's Value is no list, or stands where binary data must.")
    if form == "InlineBinary" and kind is not Kind.BINARY:
        raise Malformed("an attribute that is not binary has InlineBinary.")
    return vr, form, value


def _inline(vr: str, text: Any) -> bytes:
    """Return the bytes of InlineBinary. Ref: PS3.18 F.2.7. Raises: Malformed."""
    if not isinstance(text, str):
        raise Malformed("InlineBinary is no text.")
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as e:
        raise Malformed("InlineBinary is not base64.") from e
    if len(raw) % VALUE_REPRESENTATIONS[vr].unit:
        raise Malformed("binary data does not divide into the words of its VR.")
    return raw
