"""A DICOMDIR: the directory of a file-set, written from the JSON models of its instances. Ref: PS3.3 F, PS3.10 8.

Grows a record at a time and keeps only what it will write (about 500 bytes an instance). Keys that the standard
requires and an instance lacks are filled in, as other directory writers do: numbers by counting, dates as 19000101.
Text is UTF-8 (ISO_IR 192) where it is more than ASCII. Names of files are the caller's: see `file_id_problem`.
"""

import hashlib
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from leadglass.dicom.dictionary import vr_of
from leadglass.dicom.part10 import file_meta
from leadglass.dicom.reencode import Encoding, element_bytes
from leadglass.dicom.transfer_syntaxes import EXPLICIT_LITTLE
from leadglass.errors import Malformed

__all__ = ["MAX_INSTANCES", "MEDIA_STORAGE_DIRECTORY", "Directory", "file_id_problem", "record_type"]

MEDIA_STORAGE_DIRECTORY: Final = "1.2.840.10008.1.3.10"
MAX_INSTANCES: Final = 200_000  # of one file-set: 100 MB of records
_STEM: Final = "1.2.840.10008.5.1.4.1.1."
_ENCODING: Final = Encoding(explicit=True, little=True)
_COMPONENT: Final = re.compile(r"[A-Z0-9_]{1,8}")
_FORMATS: Final = {"SL": "i", "SS": "h", "UL": "I", "US": "H"}
_MAX_TEXT: Final = 1024
_MAX_SEQUENCE: Final = 16384
_MAX_DEPTH: Final = 8

# By the SOP class's number below the stem; the longest that fits counts. What is in none: an image if it has pixels.
_TYPES: Final = {
    "4.2": "SPECTROSCOPY", "9": "WAVEFORM", "11": "PRESENTATION", "66": "RAW DATA", "66.1": "REGISTRATION",
    "66.2": "FIDUCIAL", "66.3": "REGISTRATION", "66.4": "IMAGE", "66.5": "SURFACE", "66.6": "TRACT", "66.7": "IMAGE",
    "66.8": "IMAGE", "67": "VALUE MAP", "68": "SURFACE SCAN", "77.1.5.3": "STEREOMETRIC", "78": "MEASUREMENT",
    "78.6": "SR DOCUMENT", "79": "SR DOCUMENT", "80": "MEASUREMENT", "88": "SR DOCUMENT", "88.59": "KEY OBJECT DOC",
    "90": "ASSESSMENT", "91": "ANNOTATION", "104": "ENCAP DOC", "131": "PRESENTATION", "200": "PROTOCOL",
    "481.2": "RT DOSE", "481.3": "RT STRUCTURE SET", "481.4": "RT TREAT RECORD", "481.5": "RT PLAN",
    "481.6": "RT TREAT RECORD", "481.7": "RT TREAT RECORD", "481.8": "RT PLAN", "481.9": "RT TREAT RECORD",
    **{f"481.{n}": "RADIOTHERAPY" for n in (*range(10, 23), 25)},
}
_NUMBER: Final = 0x00200013  # InstanceNumber
_NAME: Final = 0x00700080  # ContentLabel
_CODE: Final = 0x0040A043  # ConceptNameCodeSequence
_DAY: Final = 0x00080023  # ContentDate, and ContentTime
_TIME: Final = 0x00080033
_CONTENT: Final = ((_DAY, "19000101"), (_TIME, "000000"), (_NUMBER, "#"))
_LABELLED: Final = ((_NUMBER, "#"), (_NAME, "UNNAMED"), (0x00700081, ""), (0x00700084, ""))
# Keys of a record with what stands in for one that is not there: "" = empty, "#" = its place in the count, None = left out.
_KEYS: Final[dict[str, tuple[tuple[int, str | None], ...]]] = {
    "PATIENT": ((0x00100010, ""), (0x00100020, "UNKNOWN")),
    "STUDY": ((0x00080020, "19000101"), (0x00080030, "000000"), (0x00080050, ""), (0x00081030, ""), (0x0020000D, ""),
              (0x00200010, "#")),
    "SERIES": ((0x00080060, "OT"), (0x0008103E, None), (0x0020000E, ""), (0x00200011, "#")),
    "IMAGE": ((_NUMBER, "#"),),
    "RT DOSE": ((_NUMBER, "#"), (0x3004000A, "PLAN")),
    "RT STRUCTURE SET": ((_NUMBER, "#"), (0x30060002, "UNNAMED"), (0x30060008, ""), (0x30060009, "")),
    "RT PLAN": ((_NUMBER, "#"), (0x300A0002, "UNNAMED"), (0x300A0006, ""), (0x300A0007, "")),
    "RT TREAT RECORD": ((_NUMBER, "#"), (0x30080250, ""), (0x30080251, "")),
    "PRESENTATION": ((0x00081115, None), (0x00700082, "19000101"), (0x00700083, "000000"), (0x00700402, None), *_LABELLED),
    "WAVEFORM": _CONTENT, "RAW DATA": _CONTENT, "MEASUREMENT": _CONTENT,
    "SR DOCUMENT": (*_CONTENT, (_CODE, None), (0x0040A030, None), (0x0040A491, "PARTIAL"), (0x0040A493, "UNVERIFIED")),
    "KEY OBJECT DOC": (*_CONTENT, (_CODE, None)),
    "SPECTROSCOPY": (*_CONTENT, (0x00080008, "ORIGINAL"), (0x00280008, "1"), (0x00280010, "1"), (0x00280011, "1"),
                     (0x00289001, "1"), (0x00289002, "1")),
    "REGISTRATION": (*_CONTENT[:2], *_LABELLED), "FIDUCIAL": (*_CONTENT[:2], *_LABELLED),
    "VALUE MAP": (*_CONTENT[:2], *_LABELLED), "SURFACE": (*_CONTENT[:2], *_LABELLED), "TRACT": (*_CONTENT[:2], *_LABELLED),
    "ANNOTATION": (*_CONTENT[:2], *_LABELLED),
    "SURFACE SCAN": _CONTENT[:2], "STEREOMETRIC": (), "PROTOCOL": (),
    "ASSESSMENT": ((_NUMBER, "#"), (0x00080012, "19000101"), (0x00080013, "")),
    "ENCAP DOC": (*_CONTENT, (_CODE, None), (0x00420010, ""), (0x00420012, "application/octet-stream")),
    "RADIOTHERAPY": ((_NUMBER, "#"), (0x30100035, None)),
    "PRIVATE": (),
}


def record_type(sop_class_uid: str, *, has_pixels: bool) -> str:
    """Return the type of the directory record of an instance. Ref: PS3.3 F.4, F.5."""
    number = sop_class_uid.removeprefix(_STEM)
    while number and number != sop_class_uid:
        if number in _TYPES:
            return _TYPES[number]
        number = number.rpartition(".")[0]
    return "IMAGE" if has_pixels else "PRIVATE"


def file_id_problem(file_id: Iterable[str]) -> str:
    """Return what is wrong with a File ID, or "": one to eight components of eight capitals, digits or "_" (PS3.10 8.2)."""
    parts = list(file_id)
    if not 0 < len(parts) <= 8:
        return "one to eight components"
    return "" if all(_COMPONENT.fullmatch(part) for part in parts) else "capitals, digits and _, at most eight"


@dataclass
class _Record:
    kind: bytes
    reference: bytes  # elements of group 0004 that name the file
    keys: bytes
    below: list["_Record"] = field(default_factory=list)
    offset: int = 0

    @property
    def length(self) -> int:
        """Bytes of its item's value."""
        return 12 + 10 + 12 + len(self.kind) + len(self.reference) + len(self.keys)


class Directory:
    """The directory of one file-set. Instances of a series should come together; others are told apart all the same."""

    def __init__(self, max_instances: int = MAX_INSTANCES) -> None:
        self._max_instances = max_instances
        self._roots: list[_Record] = []
        self._known: dict[tuple[str, ...], _Record] = {}  # by Patient ID, Study and Series Instance UID
        self._identity = hashlib.sha256()
        self._count = 0

    def add(
        self, file_id: tuple[str, ...], model: dict[str, Any], *, sop_class_uid: str, sop_instance_uid: str,
        transfer_syntax_uid: str, has_pixels: bool,
    ) -> None:
        """Add an instance. Args: model: its DICOM JSON model; what cannot be read in it is as if it were not there.

        Raises: Malformed, beyond `max_instances`.
        """
        if file_id_problem(file_id):
            raise ValueError("a File ID breaks PS3.10 8.2")
        self._count += 1
        if self._count > self._max_instances:
            raise Malformed(f"a file-set takes at most {self._max_instances} instances; export by series.")
        self._identity.update(sop_instance_uid.encode() + b"\x00")
        patient = self._at("PATIENT", (_text(model, 0x00100020),), model)
        study = self._at("STUDY", (_text(model, 0x00100020), _text(model, 0x0020000D)), model, patient)
        uids = (_text(model, 0x00100020), _text(model, 0x0020000D), _text(model, 0x0020000E))
        series = self._at("SERIES", uids, model, study)
        kind = record_type(sop_class_uid, has_pixels=has_pixels)
        reference = element_bytes(0x00041500, "CS", "\\".join(file_id).encode(), _ENCODING)
        for tag, uid in ((0x00041510, sop_class_uid), (0x00041511, sop_instance_uid), (0x00041512, transfer_syntax_uid)):
            reference += element_bytes(tag, "UI", uid.encode(), _ENCODING)
        if kind == "PRIVATE":  # its definition's UID: the SOP class says best what it is
            reference = element_bytes(0x00041432, "UI", sop_class_uid.encode(), _ENCODING) + reference
        series.below.append(_Record(_kind(kind), reference, _keys(kind, model, len(series.below) + 1)))

    def _at(self, kind: str, key: tuple[str, ...], model: dict[str, Any], parent: _Record | None = None) -> _Record:
        """Return the record of a patient, study or series, told apart by ids; a new one hangs below `parent`."""
        record = self._known.get(key)
        if record is None:
            beside = self._roots if parent is None else parent.below
            record = _Record(_kind(kind), b"", _keys(kind, model, len(beside) + 1))
            beside.append(record)
            self._known[key] = record
        return record

    def to_bytes(self) -> bytes:
        """Return the file: Explicit VR Little Endian, as PS3.10 8.6 wants it."""
        number = int.from_bytes(self._identity.digest()[:16], "big")  # the same set has the same directory, and UID
        head = file_meta(MEDIA_STORAGE_DIRECTORY, f"2.25.{number}", EXPLICIT_LITTLE)
        start = len(head) + 8 + 12 + 12 + 10 + 12
        roots = self._roots
        records, at = [], start
        for record in _in_order(roots):
            record.offset = at
            at += 8 + record.length
            records.append(record)
        if at >= 2**32 - 1:
            raise Malformed("the directory would be larger than its offsets can say.")
        first, last = (roots[0].offset, roots[-1].offset) if roots else (0, 0)
        head += struct.pack("<HH2sH", 0x0004, 0x1130, b"CS", 0)
        head += struct.pack("<HH2sHI", 0x0004, 0x1200, b"UL", 4, first) + struct.pack("<HH2sHI", 0x0004, 0x1202, b"UL", 4, last)
        head += struct.pack("<HH2sHH", 0x0004, 0x1212, b"US", 2, 0)
        head += struct.pack("<HH2sHI", 0x0004, 0x1220, b"SQ", 0, at - start)
        after = _siblings(roots)
        return head + b"".join(_item(record, after.get(id(record), 0)) for record in records)


def _in_order(records: list[_Record]) -> Iterable[_Record]:
    for record in records:
        yield record
        yield from _in_order(record.below)  # three levels deep, never more


def _siblings(roots: list[_Record]) -> dict[int, int]:
    """Return id of a record -> offset of the next one beside it."""
    found: dict[int, int] = {}
    todo = [roots]
    while todo:
        level = todo.pop()
        found |= {id(one): following.offset for one, following in pairwise(level)}
        todo += [record.below for record in level if record.below]
    return found


def _item(record: _Record, following: int) -> bytes:
    below = record.below[0].offset if record.below else 0
    return (
        struct.pack("<HHI", 0xFFFE, 0xE000, record.length)
        + struct.pack("<HH2sHI", 0x0004, 0x1400, b"UL", 4, following)
        + struct.pack("<HH2sHH", 0x0004, 0x1410, b"US", 2, 0xFFFF)
        + struct.pack("<HH2sHI", 0x0004, 0x1420, b"UL", 4, below)
        + record.kind + record.reference + record.keys
    )


def _kind(kind: str) -> bytes:
    return element_bytes(0x00041430, "CS", kind.encode(), _ENCODING)


# --- keys -----------------------------------------------------------------------------------------------------
def _keys(kind: str, model: dict[str, Any], count: int) -> bytes:
    """Return the keys of a record, in order of their tags, with the character set if one is needed."""
    found: dict[int, bytes] = {}
    for tag, instead in _KEYS[kind]:
        vr = vr_of(tag)
        value = _sequence(model.get(f"{tag:08X}"), 1) if vr == "SQ" else _value(model.get(f"{tag:08X}"), vr)
        if not value:
            if instead is None or (vr == "SQ" and not instead):
                continue
            value = _number(vr, str(count) if instead == "#" else instead)
        found[tag] = element_bytes(tag, vr, value, _ENCODING)
    data = b"".join(found[tag] for tag in sorted(found))
    if not data.isascii():
        found[0x00080005] = element_bytes(0x00080005, "CS", b"ISO_IR 192", _ENCODING)
        data = b"".join(found[tag] for tag in sorted(found))
    return data


def _number(vr: str, text: str) -> bytes:
    return struct.pack("<I" if vr == "UL" else "<H", int(text)) if vr in {"UL", "US"} else text.encode()


def _text(model: dict[str, Any], tag: int) -> str:
    return _value(model.get(f"{tag:08X}"), "LO").decode()


def _value(entry: Any, vr: str) -> bytes:
    """Return the value of an entry of the model, or nothing where there is none, or none that fits."""
    values = entry.get("Value") if isinstance(entry, dict) else None
    if not isinstance(values, list) or not values or len(values) > 64:
        return b""
    if vr in _FORMATS:
        if not all(isinstance(v, int) for v in values):
            return b""
        try:
            return struct.pack(f"<{len(values)}{_FORMATS[vr]}", *values)
        except struct.error:
            return b""
    if vr in {"FD", "FL", "OB", "OW", "OF", "UN", "AT", "SQ"}:
        return b""
    text = "\\".join(_name(v) if isinstance(v, dict) else "" if v is None else str(v) for v in values)
    data = text.encode("utf-8", "replace")
    return data if len(data) <= _MAX_TEXT else b""


def _name(value: dict[str, Any]) -> str:
    groups = [str(value.get(group, "")) for group in ("Alphabetic", "Ideographic", "Phonetic")]
    return "=".join(groups).rstrip("=")


def _sequence(entry: Any, depth: int) -> bytes:
    """Return the items of a sequence with what can be written of them; nothing when that is too much."""
    items = entry.get("Value") if isinstance(entry, dict) else None
    if not isinstance(items, list) or depth > _MAX_DEPTH:
        return b""
    out = bytearray()
    for item in items:
        body = bytearray()
        for key in sorted(item) if isinstance(item, dict) else ():
            tag, vr = int(key, 16), str(item[key].get("vr", "UN"))
            value = _sequence(item[key], depth + 1) if vr == "SQ" else _value(item[key], vr)
            if value:
                body += element_bytes(tag, vr, value, _ENCODING)
        out += struct.pack("<HHI", 0xFFFE, 0xE000, len(body)) + body
        if len(out) > _MAX_SEQUENCE:
            return b""
    return bytes(out)
