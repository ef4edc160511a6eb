"""Attributes of instances that the index does not keep: read from the instances' headers, when asked for, and bounded."""

from typing import TYPE_CHECKING, Any, Final

import structlog

from leadglass.archive.retrieve import locate, metadata
from leadglass.archive.search_keys import COUNTS, SEARCHABLE
from leadglass.dicom.dictionary import tag_of
from leadglass.dicom.further import SERIES, STUDY
from leadglass.errors import LeadglassError

if TYPE_CHECKING:
    import sqlalchemy as sa

    from leadglass.archive import Archive

__all__ = ["MAX_HEADERS", "UNREAD", "add_headers", "is_in_header"]

MAX_HEADERS: Final = 200  # headers read for one question
_MAX_BYTES: Final = 64 * 2**20  # of all of them
UNREAD: Final = "HeaderUnread"  # ours: the row lacks what only its header holds
_OURS: Final = frozenset({"AvailableTransferSyntaxUID", "InstanceAvailability", "RetrieveURL", "RetrieveAETitle"})
_log = structlog.get_logger()


def is_in_header(path: str) -> bool:
    """Return whether an attribute is not kept by the index, so that only an instance's header can have it."""
    keyword = path.partition(".")[0]
    return keyword not in SEARCHABLE | COUNTS | STUDY | SERIES | _OURS and tag_of(keyword) is not None


def add_headers(archive: "Archive", connection: "sa.Connection", rows: list[dict[str, Any]], paths: frozenset[str]) -> int:
    """Add what `paths` name, and no row has yet, from each instance's header; return how many headers were read.

    A header that cannot be read, or is one too many, leaves a mark in its row: what is asked for may be there.
    """
    wanted = {path.partition(".")[0] for path in paths if is_in_header(path)}
    read, left = 0, _MAX_BYTES
    for row in rows:
        missing = wanted - row.keys()
        if not missing:
            continue
        if read >= MAX_HEADERS or left <= 0:
            row[UNREAD] = True
            continue
        read += 1
        try:
            (found,) = locate(connection, row["StudyInstanceUID"], row["SeriesInstanceUID"], row["SOPInstanceUID"])
            left -= found.pixel_offset if found.pixel_offset >= 0 else found.length
            if left < 0:
                row[UNREAD] = True
                continue
            model = metadata(archive, found, lambda _: "")
        except (LeadglassError, ValueError) as e:
            _log.warning("header_unread", error=type(e).__name__)
            row[UNREAD] = True
            continue
        for keyword in missing:
            tag = tag_of(keyword)
            element = model.get(f"{tag:08X}")
            if element is not None and "BulkDataURI" not in element:
                row[keyword] = element
    return read
