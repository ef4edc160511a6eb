"""Which transfer syntaxes are decoded here, and which an instance can be given in: tables, without any library.

Held to archive.pixels.pixel_codecs and to docs/reference/conformance/pixels.md by tests. Ref: PS3.5 8.2, 10, A.
"""

from typing import Final

from leadglass.archive.retrieve import InstanceRow
from leadglass.dicom.transfer_syntaxes import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    TRANSFER_SYNTAXES,
)

__all__ = ["COMPRESSED_TARGETS", "NATIVE", "SOURCES", "targets_of", "why_not_decoded"]

_T: Final = "1.2.840.10008.1.2"
NATIVE: Final = (EXPLICIT_LITTLE, IMPLICIT_LITTLE, DEFLATED)
COMPRESSED_TARGETS: Final = (
    _T + ".4.70", _T + ".4.80", _T + ".4.90", _T + ".4.201", _T + ".4.202", _T + ".5",
)
SOURCES: Final = frozenset({  # compressed ones that are decoded here: held to archive.pixels.pixel_codecs by a test
    _T + ".1.98", _T + ".5", _T + ".8.1",
    *(f"{_T}.4.{n}" for n in (50, 51, 53, 55, 57, 70, 80, 81, 90, 91, 92, 93, 110, 111, 112, 201, 202, 203)),
})


def targets_of(row: InstanceRow) -> tuple[str, ...]:
    """Return the transfer syntaxes that the instance can be given in, the stored one first.

    Decided by what the index knows: a header or a frame that breaks its own description is refused at conversion.
    """
    stored = row.transfer_syntax_uid
    syntax = TRANSFER_SYNTAXES[stored]
    bits = row.bits_allocated or 0
    is_image = row.pixel_offset != -1
    if syntax.encapsulated and is_image and (stored not in SOURCES or not row.rows or not row.columns):
        return (stored,)
    if "JPIP" in syntax.name:
        return (stored,)
    targets = [stored, *NATIVE]
    if is_image and bits in {8, 16} and row.rows and row.columns:
        targets += COMPRESSED_TARGETS
    if not is_image or bits in {1, 8, 16}:
        targets.append(BIG_ENDIAN)
    return tuple(dict.fromkeys(targets))


def why_not_decoded(uid: str) -> str:
    """Return why frames of a transfer syntax are not decoded here, or ""."""
    syntax = TRANSFER_SYNTAXES[uid]
    if (not syntax.encapsulated and "JPIP" not in syntax.name) or uid in SOURCES:
        return ""
    if syntax.media_type.startswith("video/"):
        return "video is not decoded here; it is given as it is stored."
    return "no library here decodes this transfer syntax."
