"""The head of an instance: file meta information, identity, and what the index keeps. Ref: PS3.10 7.1, PS3.3 C.7.

Works on what has arrived: `parse_head` says NEED_MORE until the pixel data (or the end) is in sight.
"""

import struct
import zlib
from dataclasses import dataclass, replace
from typing import Final

from leadglass.dicom.elements import UNDEFINED, Limits, needs_more, walk
from leadglass.dicom.further import KEPT, MAX_ELEMENT, MAX_KEPT
from leadglass.dicom.sop_classes import NON_PATIENT_SOP_CLASSES
from leadglass.dicom.transfer_syntaxes import EXPLICIT_LITTLE, IMPLICIT_LITTLE, TRANSFER_SYNTAXES
from leadglass.dicom.uids import clean_uid, is_valid_uid
from leadglass.dicom.values import decode_text, encodings_of
from leadglass.errors import Malformed

__all__ = ["IMPLEMENTATION_CLASS_UID", "NEED_MORE", "Attributes", "Head", "file_meta", "inflate", "parse_head"]

IMPLEMENTATION_CLASS_UID: Final = "2.25.212906317012640219857834590211846734915"
IMPLEMENTATION_VERSION_NAME: Final = "LEADGLASS_1"
NEED_MORE: Final = None
_MAX_META: Final = 65536


@dataclass(frozen=True, kw_only=True)
class Attributes:
    """What the index keeps of a header: decoded text, cut to sane lengths. Names as in storage.tables."""

    patient_id: str = ""
    issuer_of_patient_id: str = ""
    patient_name: str = ""
    patient_birth_date: str = ""
    patient_sex: str = ""
    study_date: str = ""
    study_time: str = ""
    accession_number: str = ""
    study_id: str = ""
    study_description: str = ""
    referring_physician_name: str = ""
    modality: str = ""
    series_number: str = ""
    series_description: str = ""
    series_date: str = ""
    series_time: str = ""
    body_part: str = ""
    station_name: str = ""
    pps_start_date: str = ""
    pps_start_time: str = ""
    instance_number: str = ""
    rows: int | None = None
    columns: int | None = None
    bits_allocated: int | None = None
    frames: int = 0


@dataclass(frozen=True, kw_only=True)
class Head:
    """Identity of an instance and where its parts lie in the Part 10 file."""

    transfer_syntax_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    study_uid: str
    series_uid: str
    dataset_offset: int  # where the data set starts in the buffer
    pixel_offset: int  # tag of the pixel data, in the buffer; -1 = none; -2 = inside a deflated data set
    pixel_end: int  # where native pixel data must end, in the buffer; -1 = none, encapsulated, or deflated
    attributes: Attributes
    kept: bytes = b""  # elements of dicom.further.KEPT, as they are encoded in the header: decoded when a row is new


_TEXT: Final = {
    0x00100020: ("patient_id", 64), 0x00100021: ("issuer_of_patient_id", 64), 0x00100010: ("patient_name", 324),
    0x00100030: ("patient_birth_date", 8), 0x00100040: ("patient_sex", 16), 0x00080020: ("study_date", 8),
    0x00080030: ("study_time", 16), 0x00080050: ("accession_number", 64), 0x00200010: ("study_id", 64),
    0x00081030: ("study_description", 128), 0x00080090: ("referring_physician_name", 324), 0x00080060: ("modality", 16),
    0x00200011: ("series_number", 16), 0x0008103E: ("series_description", 128), 0x00080021: ("series_date", 8),
    0x00080031: ("series_time", 16), 0x00180015: ("body_part", 16), 0x00081010: ("station_name", 64),
    0x00400244: ("pps_start_date", 8), 0x00400245: ("pps_start_time", 16), 0x00200013: ("instance_number", 16),
}
_DATES: Final = frozenset({"patient_birth_date", "study_date", "series_date", "pps_start_date"})
_TIMES: Final = frozenset({"study_time", "series_time", "pps_start_time"})
_WHOLE: Final = frozenset({"series_number", "instance_number"})
_UIDS: Final = {0x00080016: 0, 0x00080018: 1, 0x0020000D: 2, 0x0020000E: 3}
_NUMBERS: Final = {0x00280010: "rows", 0x00280011: "columns", 0x00280100: "bits_allocated"}
_FRAMES: Final = 0x00280008
_CHARSET: Final = 0x00080005
_SOP_CLASS: Final = 0x00080016
_DICOMDIR: Final = "1.2.840.10008.1.3.10"
_WANTED: Final = frozenset({*_TEXT, *_UIDS, *_NUMBERS, _FRAMES, _CHARSET})


def inflate(data: "bytes | memoryview", limit: int) -> tuple[bytes, bool]:
    """Return (up to `limit` bytes of the inflated data, whether the end was reached). Raises: Malformed.

    The limit is given to zlib: a bomb of a thousand to one costs no more than an honest file.
    """
    machine = zlib.decompressobj(-15)
    try:
        out = machine.decompress(data, limit)
    except zlib.error as e:
        raise Malformed("the deflated data set cannot be inflated.") from e
    return out, machine.eof


def parse_head(
    buffer: "bytes | bytearray | memoryview", *, is_complete: bool, limits: Limits, transfer_syntax: str | None = None
) -> Head | None:
    """Return the head of an instance, or NEED_MORE while it has not all arrived.

    Args: buffer: what has arrived, from the first byte; a Part 10 file (a lost preamble or group 2 is tolerated), or
        a bare data set when `transfer_syntax` is given. is_complete: no more will come.
    Raises: Malformed, with the rule that is broken and no value.
    """
    try:
        if transfer_syntax is None:
            start, transfer_syntax = _meta(buffer, is_complete=is_complete, limits=limits)
        else:
            start = 0
    except needs_more:
        _more(buffer, limits, is_complete=is_complete)
        return NEED_MORE
    syntax = TRANSFER_SYNTAXES.get(transfer_syntax)
    if syntax is None:
        raise Malformed("the transfer syntax is none of the standard.")
    body: bytes | bytearray | memoryview = buffer
    offset, body_is_complete = start, is_complete
    if syntax.deflated:
        body, ended = inflate(memoryview(buffer)[start:], limits.max_header_bytes)
        offset, body_is_complete = 0, ended
    values: dict[int, bytes] = {}
    kept = bytearray()
    open_at = -1  # where an element to be kept began
    pixel_offset = pixel_end = -1
    try:
        for tag, _, at, value, length, depth in walk(
            body, offset=offset, explicit=syntax.explicit, little=syntax.little, limits=limits,
            is_complete=body_is_complete, stop_at_pixels=True, nested=False,
        ):
            if depth:
                continue
            _keep(kept, body, open_at, at)
            open_at = -1
            if tag in KEPT:
                open_at = at  # until the next element of the data set
            if tag in values and tag in _UIDS:  # two readers must not see two studies in one file
                raise Malformed("the data set gives one of its UIDs twice.")
            if tag in _WANTED and length != UNDEFINED and length <= 1024:
                values[tag] = bytes(body[value : value + length])
                if tag == _SOP_CLASS:
                    _check_kind(clean_uid(values[tag]))
            elif tag in {0x7FE00008, 0x7FE00009, 0x7FE00010}:
                pixel_offset = -2 if syntax.deflated else at
                if length != UNDEFINED and not syntax.deflated:
                    pixel_end = value + length
    except needs_more:
        _more(body, limits, is_complete=is_complete)
        return NEED_MORE
    _keep(kept, body, open_at, len(body))
    head = _head(values, transfer_syntax, start, (pixel_offset, pixel_end), little=syntax.little)
    return replace(head, kept=bytes(kept))


def _check_kind(sop_class: str) -> None:
    """Refuse what has no place in a study. Raises: Malformed."""
    name = NON_PATIENT_SOP_CLASSES.get(sop_class)
    if name is not None:
        raise Malformed(f"{name}: an object of no patient and no study, which this archive does not keep (PS3.4 GG).")
    if sop_class == _DICOMDIR:
        raise Malformed("a DICOMDIR is a list of files; import the folder that it lies in instead: leadglass import FOLDER.")


def _keep(kept: bytearray, body: "bytes | bytearray | memoryview", start: int, end: int) -> None:
    """Keep an element as it is encoded, unless it or all of them would be too large."""
    if start >= 0 and end - start <= MAX_ELEMENT and len(kept) + end - start <= MAX_KEPT:
        kept += body[start:end]


def _more(buffer: "bytes | bytearray | memoryview", limits: Limits, *, is_complete: bool) -> None:
    """Ask for more, unless there is no more, or too much has come without an image in sight."""
    if is_complete:
        raise Malformed("the file ends before its data set does.")
    if len(buffer) >= limits.max_header_bytes:
        raise Malformed(f"the header is larger than {limits.max_header_bytes} bytes.")


def _meta(buffer: "bytes | bytearray | memoryview", *, is_complete: bool, limits: Limits) -> tuple[int, str]:
    """Return (offset of the data set, transfer syntax UID)."""
    if len(buffer) < 140 and not is_complete:
        raise needs_more
    has_preamble = bytes(buffer[128:132]) == b"DICM"
    start = 132 if has_preamble else 0
    if not has_preamble and bytes(buffer[:4]) == b"DICM":
        start = 4
    if len(buffer) < start + 8:
        raise Malformed("this is not a DICOM file.")
    group = struct.unpack_from("<H", buffer, start)[0]
    if group != 0x0002:
        if group == 0x0008 or has_preamble:
            return start, _guess(buffer, start)
        raise Malformed("this is not a DICOM file.")
    syntax = ""
    end = start
    while end < start + _MAX_META:
        # One element at a time: what follows group 2 may be deflated, and must not be read as an element.
        if end + 8 > len(buffer):
            if is_complete:
                break
            raise needs_more
        if bytes(buffer[end : end + 2]) != b"\x02\x00":
            break
        tag, _, _, value, length, _ = next(
            walk(buffer, offset=end, explicit=True, little=True, limits=limits, is_complete=is_complete, nested=False)
        )
        if tag == 0x00020010:
            syntax = clean_uid(bytes(buffer[value : value + min(length, 65)]))
        if tag == 0x00020002:  # a DICOMDIR has no SOP Class UID in its data set, only here
            _check_kind(clean_uid(bytes(buffer[value : value + min(length, 65)])))
        if length == UNDEFINED:
            raise Malformed("group 2 holds an element of undefined length.")
        end = value + length
    if not syntax:
        syntax = _guess(buffer, end)
    return end, syntax


def _guess(buffer: "bytes | bytearray | memoryview", start: int) -> str:
    """Return the syntax that the first element looks like, for files that do not say. Ref: PS3.10 7.1 (required)."""
    code = bytes(buffer[start + 4 : start + 6])
    if bytes(buffer[start : start + 2]) == b"\x00\x08":
        raise Malformed("group 2 does not name the transfer syntax of a big endian data set.")
    return EXPLICIT_LITTLE if code.isalpha() and code.isupper() else IMPLICIT_LITTLE


def _head(values: dict[int, bytes], transfer_syntax: str, start: int, pixels: tuple[int, int], *, little: bool) -> Head:
    uids = ["", "", "", ""]
    for tag, place in _UIDS.items():
        uids[place] = clean_uid(values.get(tag, b""))
    for uid, name in zip(uids, ("SOP Class UID", "SOP Instance UID", "Study Instance UID", "Series Instance UID"), strict=True):
        if not uid:
            raise Malformed(f"the data set has no {name}.")
        if not is_valid_uid(uid):
            raise Malformed(f"the {name} is no valid UID (PS3.5 9.1).")
    encodings = encodings_of(values.get(_CHARSET, b"").decode("ascii", "replace").strip("\x00 "))
    facts: dict[str, str | int | None] = {}
    for tag, (name, longest) in _TEXT.items():
        raw = values.get(tag)
        if raw:
            facts[name] = _plain(name, _printable(decode_text(raw, encodings)))[:longest]
    for tag, number_name in _NUMBERS.items():
        raw = values.get(tag, b"")
        if len(raw) >= 2:
            facts[number_name] = struct.unpack_from("<H" if little else ">H", raw)[0]
    frames = 0
    pixel_offset, pixel_end = pixels
    if pixel_offset != -1:
        text = values.get(_FRAMES, b"").strip(b"\x00 ")
        frames = int(text) if text.isdigit() and 0 < int(text) < 2**31 else 1
    return Head(
        transfer_syntax_uid=transfer_syntax, sop_class_uid=uids[0], sop_instance_uid=uids[1], study_uid=uids[2],
        series_uid=uids[3], dataset_offset=start, pixel_offset=pixel_offset,
        pixel_end=pixel_end, attributes=Attributes(frames=frames, **facts),  # type: ignore[arg-type]
    )


def _plain(name: str, text: str) -> str:
    """Return a value as today's standard writes it, so that equal ones match: 1997.10.15, 10:15:30 and 007 are old ways."""
    if name in _DATES:
        return text.replace(".", "")
    if name in _TIMES:
        return text.replace(":", "")
    if name in _WHOLE and len(text) <= 16 and text.isascii() and text.strip(" +").isdigit():
        return str(int(text))
    return text


def _printable(text: str) -> str:
    """Return the text without control characters: they have no business in a name, and some in attacks on logs."""
    return text if text.isprintable() else "".join(c for c in text if c.isprintable()).strip()


def file_meta(sop_class: str, sop_instance: str, transfer_syntax: str, *, source_ae: str = "") -> bytes:
    """Return preamble, prefix and group 2. The preamble is zeroed: an executable one is an attack (PS3.10 7.5)."""

    def short(element: int, vr: bytes, value: str) -> bytes:
        data = value.encode("ascii")
        data += (b"\x00" if vr == b"UI" else b" ") * (len(data) % 2)
        return struct.pack("<HH2sH", 2, element, vr, len(data)) + data

    body = struct.pack("<HH2sHI2s", 2, 1, b"OB", 0, 2, b"\x00\x01")
    body += short(2, b"UI", sop_class) + short(3, b"UI", sop_instance) + short(0x10, b"UI", transfer_syntax)
    body += short(0x12, b"UI", IMPLEMENTATION_CLASS_UID) + short(0x13, b"SH", IMPLEMENTATION_VERSION_NAME)
    if source_ae:
        body += short(0x16, b"AE", source_ae)
    return bytes(128) + b"DICM" + struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(body)) + body
