"""Rejection notes: Key Object Selection Documents whose title says that the named instances must not be used.

Ref: PS3.3 A.35.4, C.17.6.1 (evidence), PS3.16 TID 2010, CID 7010 (titles); IHE RAD TF-3 4.66 (Rejection Note Stored).
"""

from dataclasses import dataclass
from typing import Final

from leadglass.dicom.dictionary import vr_of
from leadglass.dicom.elements import UNDEFINED, Limits, needs_more, walk
from leadglass.dicom.uids import clean_uid, is_valid_uid
from leadglass.errors import Malformed

__all__ = ["KEY_OBJECT_SELECTION", "MAX_NAMED", "REJECTION_TITLES", "STAYS_REJECTED", "RejectionNote", "parse_rejection"]

KEY_OBJECT_SELECTION: Final = "1.2.840.10008.5.1.4.1.1.88.59"
MAX_NAMED: Final = 10_000  # instances in one note; the largest series are below it
REJECTION_TITLES: Final = {
    "113001": "Rejected for Quality Reasons", "113037": "Rejected for Patient Safety Reasons",
    "113038": "Incorrect Modality Worklist Entry", "113039": "Data Retention Policy Expired",
}
# Sent again, these stay rejected; what was only too old to keep may come back. Ref: IHE RAD TF-3 4.66.4.1.3.
STAYS_REJECTED: Final = frozenset({"113001", "113037", "113038"})
_TITLE: Final = 0x0040A043
_EVIDENCE: Final = 0x0040A375
_CONTENT: Final = 0x0040A730
_SOPS: Final = 0x00081199
_REFERENCED_UID: Final = 0x00081155
_CODE_VALUE: Final = 0x00080100
_SCHEME: Final = 0x00080102
_ITEM: Final = 0xFFFEE000


@dataclass(frozen=True, kw_only=True)
class RejectionNote:
    """What a note asks. `fault` is not empty when it asks in a way that is not followed."""

    code: str
    instances: tuple[str, ...]  # SOP Instance UIDs, each once
    fault: str = ""


def parse_rejection(
    buffer: "bytes | bytearray | memoryview", *, offset: int, explicit: bool, little: bool, limits: Limits
) -> RejectionNote | None:
    """Return what a Key Object Selection Document rejects; None when its title is none of a rejection.

    Args: buffer: untrusted, a whole data set from `offset` on. Named are the instances of the evidence sequence and of
        the content items; at most MAX_NAMED, else the note has a fault and names none.
    Raises: Malformed (limits of the walk).
    """
    title: dict[int, str] = {}
    named: dict[str, None] = {}
    path: list[int] = []  # the tags that are open, outermost first; an item takes a place too
    try:
        for element in walk(buffer, offset=offset, explicit=explicit, little=little, limits=limits):
            tag, vr, _, at, length, depth = element
            del path[depth:]
            if tag == _ITEM or vr == "SQ" or length == UNDEFINED or (not vr and vr_of(tag) == "SQ"):
                path.append(tag)
                continue
            if length == 0 or length > 64:
                continue
            if path[:1] == [_TITLE] and depth == 2 and tag in {_CODE_VALUE, _SCHEME}:
                title.setdefault(tag, bytes(buffer[at : at + length]).decode("ascii", "replace").strip("\x00 "))
            elif tag == _REFERENCED_UID and path[:1] in ([_EVIDENCE], [_CONTENT]) and path[-2:-1] == [_SOPS]:
                uid = clean_uid(bytes(buffer[at : at + length]))
                if is_valid_uid(uid):
                    named[uid] = None
                if len(named) > MAX_NAMED:
                    break
    except needs_more as e:
        raise Malformed("the key object selection ends too soon.") from e
    code = title.get(_CODE_VALUE, "")
    if code not in REJECTION_TITLES or title.get(_SCHEME) != "DCM":
        return None
    if len(named) > MAX_NAMED:
        return RejectionNote(code=code, instances=(), fault=f"names more than {MAX_NAMED} instances")
    return RejectionNote(code=code, instances=tuple(named), fault="" if named else "names no instance")
