"""What an instance can be shown as, and what of it is no image: reports as text, documents that it encapsulates.

Ref: PS3.18 8.7.4 (rendered media types), PS3.3 A.45 (encapsulated documents).
"""

from typing import TYPE_CHECKING, Final

from leadglass.archive.pixels.stored import StoredInstance, limits_of
from leadglass.archive.retrieve import InstanceRow, open_instance
from leadglass.dicom.elements import UNDEFINED, walk
from leadglass.errors import Malformed

if TYPE_CHECKING:
    from leadglass.archive import Archive

__all__ = ["document", "renderings_of"]

_STORAGE: Final = "1.2.840.10008.5.1.4.1.1."
_REPORTS: Final = _STORAGE + "88."
_ENCAPSULATED: Final = {
    _STORAGE + "104.1": "application/pdf", _STORAGE + "104.2": "text/xml", _STORAGE + "104.3": "model/stl",
    _STORAGE + "104.4": "model/obj", _STORAGE + "104.5": "model/mtl",
}
_DOCUMENT, _LENGTH = 0x00420011, 0x00420015


def renderings_of(row: InstanceRow) -> tuple[str, ...]:
    """Return the media types that `/rendered` of an instance can give, the preferred one first; none for neither."""
    if row.frames:
        return ("image/jpeg", "image/png", "image/gif")
    if row.sop_class_uid.startswith(_REPORTS):
        return ("text/html", "text/plain")
    kind = _ENCAPSULATED.get(row.sop_class_uid)
    return (kind,) if kind else ()


def document(archive: "Archive", row: InstanceRow, media_type: str) -> bytes:
    """Return a report or the document in an instance. Raises: Malformed, Busy, Missing, Damaged."""
    if media_type not in renderings_of(row) or row.frames:
        raise Malformed("the instance holds no document of this type.")
    with open_instance(archive, row) as reader:
        stored = StoredInstance(reader, row, archive.settings)
        header = stored.header
    if media_type in {"text/html", "text/plain"}:
        return archive.decoder.report(header, stored.encoding, is_html=media_type == "text/html")
    found, length = b"", -1
    for tag, _, _, at, size, depth in walk(
        header, explicit=stored.encoding.explicit, little=stored.encoding.little, limits=limits_of(archive.settings),
        nested=False,
    ):
        if depth == 0 and tag == _DOCUMENT and size != UNDEFINED:
            found = header[at : at + size]
        elif depth == 0 and tag == _LENGTH and size == 4:
            length = int.from_bytes(header[at : at + 4], "little" if stored.encoding.little else "big")
    if not found:
        raise Malformed("the instance holds no document.")
    if media_type == "application/pdf" and not found.startswith(b"%PDF-"):
        raise Malformed("the document is no PDF.")  # a browser would guess what else it is
    return found[:length] if 0 < length <= len(found) else found
