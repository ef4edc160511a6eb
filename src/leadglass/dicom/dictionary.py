"""The data dictionary: VR and keyword of a tag. Ref: PS3.6."""

from functools import cache

from pydicom._dicom_dict import DicomDictionary

__all__ = ["choices_of", "keyword_of", "tag_of", "vr_of"]


def _entry(tag: int) -> tuple[str, str, str, str, str] | None:
    found = DicomDictionary.get(tag)
    if found is None and 0x50 <= tag >> 24 <= 0x60 and tag >> 24 in {0x50, 0x60}:  # repeating groups: curves, overlays
        return _overlay(tag)
    return found


def _overlay(tag: int) -> tuple[str, str, str, str, str] | None:
    from pydicom._dicom_dict import RepeatersDictionary

    return RepeatersDictionary.get(f"{tag >> 24:02X}xx{tag & 0xFFFF:04X}")


@cache
def vr_of(tag: int) -> str:
    """Return the VR of a tag; the first where PS3.6 gives a choice; "UN" for unknown and private tags."""
    if tag & 0xFFFF == 0:
        return "UL"
    if tag >> 16 & 1:
        return "LO" if 0x10 <= tag & 0xFFFF <= 0xFF else "UN"
    found = _entry(tag)
    if found is None:
        return "UN"
    vr = found[0].split(" or ")[-1]  # "US or SS" -> SS is wrong for pixels' unsigned; see values.py
    return "US" if found[0].startswith("US or") else vr.strip() or "UN"


@cache
def choices_of(tag: int) -> tuple[str, ...]:
    """Return the VRs that PS3.6 allows for a tag; none for unknown and private ones."""
    found = _entry(tag)
    return tuple(found[0].split(" or ")) if found else ()


@cache
def keyword_of(tag: int) -> str:
    """Return the keyword of a tag, or ""."""
    found = _entry(tag)
    return found[4] if found else ""


@cache
def _by_keyword() -> dict[str, int]:
    return {entry[4]: tag for tag, entry in DicomDictionary.items() if entry[4]}


def tag_of(keyword: str) -> int | None:
    """Return the tag of a keyword, or of eight hex digits; None where there is none."""
    tag = _by_keyword().get(keyword)
    if tag is None and len(keyword) == 8:
        try:
            return int(keyword, 16)
        except ValueError:
            return None
    return tag
