"""Small data sets that name studies, series and instances: what a C-MOVE asks, what storage commitment promises.

Sans-I/O, over the bounded walk of elements.py. Ref: PS3.4 C.4.2, C.4.3, J.3.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from leadglass.dicom.dictionary import vr_of
from leadglass.dicom.elements import UNDEFINED, Limits, walk
from leadglass.dicom.transfer_syntaxes import TRANSFER_SYNTAXES
from leadglass.dicom.uids import clean_uid, is_valid_uid
from leadglass.dicom.values import decode_text, encodings_of
from leadglass.errors import Malformed

__all__ = ["CommitmentRequest", "Keys", "Reference", "decode_commitment", "decode_keys", "encode_commitment", "encode_failed"]

Reference = tuple[str, str]  # SOP class, SOP instance

_CHARACTER_SET: Final = 0x00080005
_LEVEL: Final = 0x00080052
_PATIENT: Final = 0x00100020
_UIDS: Final = {0x0020000D: "study_uids", 0x0020000E: "series_uids", 0x00080018: "instance_uids"}
_LIMITS: Final = Limits(max_depth=8, max_elements=400_000, max_header_bytes=2**23)
_ITEM: Final = 0xFFFEE000
_MAX_VALUE: Final = 65534  # bytes that an explicit UI can hold
_TRANSACTION: Final = 0x00081195
_REFERENCED: Final = 0x00081199
_FAILED: Final = 0x00081198
_CLASS: Final = 0x00081150
_INSTANCE: Final = 0x00081155
_REASON: Final = 0x00081197
_RETRIEVE_AE: Final = 0x00080054


@dataclass(frozen=True, kw_only=True)
class Keys:
    """Which composite instances are asked for. Ref: PS3.4 C.4.2.1.4."""

    level: str  # PATIENT, STUDY, SERIES or IMAGE
    patient_id: str = ""
    study_uids: tuple[str, ...] = ()
    series_uids: tuple[str, ...] = ()
    instance_uids: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CommitmentRequest:
    """What an N-ACTION asks to be kept safe. Ref: PS3.4 table J.3-1."""

    transaction_uid: str
    references: tuple[Reference, ...]


def decode_keys(data: "bytes | bytearray", transfer_syntax: str) -> Keys:
    """Return the unique keys of a retrieve identifier; what is no key is passed over.

    Args: data: untrusted; its length is bounded by the caller. Raises: Malformed.
    """
    values: dict[int, bytes] = {}
    syntax = TRANSFER_SYNTAXES[transfer_syntax]
    for element in walk(data, explicit=syntax.explicit, little=syntax.little, limits=_LIMITS, nested=False):
        if element.depth == 0 and element.length != UNDEFINED and element.tag in {_CHARACTER_SET, _LEVEL, _PATIENT, *_UIDS}:
            values[element.tag] = bytes(data[element.value : element.value + element.length])
    encodings = encodings_of(clean_uid(values.get(_CHARACTER_SET, b"")))
    lists = {name: _uids(values.get(tag, b"")) for tag, name in _UIDS.items()}
    return Keys(
        level=clean_uid(values.get(_LEVEL, b"")).upper(), patient_id=decode_text(values.get(_PATIENT, b""), encodings).strip(),
        study_uids=lists["study_uids"], series_uids=lists["series_uids"], instance_uids=lists["instance_uids"],
    )


def _uids(raw: bytes) -> tuple[str, ...]:
    found = tuple(clean_uid(part) for part in raw.split(b"\\")) if raw.strip(b"\x00 ") else ()
    if not all(is_valid_uid(uid) for uid in found):
        raise Malformed("a key holds a UID that is none.")
    return tuple(dict.fromkeys(found))


def decode_commitment(data: "bytes | bytearray", transfer_syntax: str) -> CommitmentRequest:
    """Return what a storage commitment request names. Raises: Malformed (also: nothing named, or no transaction)."""
    syntax = TRANSFER_SYNTAXES[transfer_syntax]
    transaction = ""
    items: list[dict[int, str]] = []
    is_inside = False
    for element in walk(data, explicit=syntax.explicit, little=syntax.little, limits=_LIMITS):
        if element.depth == 0:
            is_inside = element.tag == _REFERENCED
            if element.tag == _TRANSACTION and element.length != UNDEFINED:
                transaction = clean_uid(bytes(data[element.value : element.value + element.length]))
        elif is_inside and element.depth == 1 and element.tag == _ITEM:
            items.append({})
        elif is_inside and element.depth == 2 and element.tag in {_CLASS, _INSTANCE} and element.length <= 64:
            items[-1][element.tag] = clean_uid(bytes(data[element.value : element.value + element.length]))
    references = tuple(dict.fromkeys((item.get(_CLASS, ""), item.get(_INSTANCE, "")) for item in items))
    if not is_valid_uid(transaction) or not references or not all(is_valid_uid(u) for pair in references for u in pair):
        raise Malformed("a commitment request needs a transaction UID, and a class and an instance UID in each item.")
    return CommitmentRequest(transaction_uid=transaction, references=references)


def encode_failed(uids: Iterable[str], transfer_syntax: str) -> bytes:
    """Return the identifier with the Failed SOP Instance UID List; as many as one element can hold."""
    raw = bytearray()
    for uid in uids:
        if len(raw) + len(uid) + 1 > _MAX_VALUE:
            break
        raw += (b"\\" if raw else b"") + uid.encode("ascii")
    return _element(0x00080058, bytes(raw), is_explicit=TRANSFER_SYNTAXES[transfer_syntax].explicit)


def encode_commitment(
    transaction_uid: str, safe: Sequence[Reference], failed: Sequence[tuple[Reference, int]], transfer_syntax: str,
    *, retrieve_ae: str,
) -> bytes:
    """Return the data set of an N-EVENT-REPORT of storage commitment. Ref: PS3.4 table J.3-2.

    Args: failed: each reference with its failure reason.
    """
    is_explicit = TRANSFER_SYNTAXES[transfer_syntax].explicit
    out = _element(_RETRIEVE_AE, retrieve_ae.encode("ascii"), is_explicit=is_explicit)
    out += _element(_TRANSACTION, transaction_uid.encode("ascii"), is_explicit=is_explicit)
    if failed:
        out += _sequence(_FAILED, [(*reference, reason) for reference, reason in failed], is_explicit=is_explicit)
    if safe:
        out += _sequence(_REFERENCED, [(*reference, None) for reference in safe], is_explicit=is_explicit)
    return out


def _sequence(tag: int, items: "Sequence[tuple[str, str, int | None]]", *, is_explicit: bool) -> bytes:
    body = bytearray()
    for sop_class, instance, reason in items:
        item = _element(_CLASS, sop_class.encode("ascii"), is_explicit=is_explicit)
        item += _element(_INSTANCE, instance.encode("ascii"), is_explicit=is_explicit)
        if reason is not None:
            item += _element(_REASON, struct.pack("<H", reason), is_explicit=is_explicit)
        body += struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item
    return _element(tag, bytes(body), is_explicit=is_explicit)


def _element(tag: int, value: bytes, *, is_explicit: bool) -> bytes:
    """Return one little endian element, padded to an even length."""
    vr = vr_of(tag)
    value += (b"\x00" if vr == "UI" else b" ") * (len(value) % 2)
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    if not is_explicit:
        return head + struct.pack("<I", len(value)) + value
    if vr == "SQ":
        return head + b"SQ" + struct.pack("<HI", 0, len(value)) + value
    return head + vr.encode() + struct.pack("<H", len(value)) + value
