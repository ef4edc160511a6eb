"""Read a version in quarantine as one reads what is shown: the same row, from the facts that were kept with it."""

import json
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from leadglass.archive.retrieve import InstanceRow, header, open_instance
from leadglass.dicom.comparison import Leaf, leaves
from leadglass.dicom.elements import Limits
from leadglass.dicom.part10 import Head, parse_head
from leadglass.dicom.transfer_syntaxes import TRANSFER_SYNTAXES
from leadglass.errors import Malformed
from leadglass.storage import tables as t

if TYPE_CHECKING:
    from leadglass.archive import Archive

__all__ = ["facts_of_row", "head_of", "limits_of", "shown_row", "values_of", "version_row"]

_s, _e, _i = t.studies.c, t.series.c, t.instances.c
_SHOWN = (
    sa.select(
        _s.study_uid, _e.series_uid, _i.sop_instance_uid, _i.sop_class_uid, _i.transfer_syntax_uid, _i.object_name, _i.length,
        _i.dataset_offset, _i.pixel_offset, _i.frames, _i.rows, _i.columns, _i.bits_allocated, _i.digest,
    )
    .join_from(t.instances, t.series, _i.series == _e.id).join(t.studies, _i.study == _s.id)
    .where(_i.sop_instance_uid == sa.bindparam("uid"))
)


def shown_row(connection: sa.Connection, uid: str) -> InstanceRow | None:
    """Return the instance that the index names by a SOP Instance UID, rejected or not; None when there is none."""
    row = connection.execute(_SHOWN, {"uid": uid}).first()
    return InstanceRow(*tuple(row)) if row is not None else None


def version_row(archive: "Archive", row: Any) -> InstanceRow:
    """Return a version in quarantine as an instance row. Raises: Malformed, Damaged, Missing."""
    facts = json.loads(row.head)
    if not facts:  # held by an earlier release, which kept no facts: they are read from the object
        bare = InstanceRow(row.study_uid, "", row.sop_instance_uid, "", "", row.object_name, row.length, 0, 0, 0, None, None,
                           None, row.digest)
        head = head_of(archive, bare)
        a = head.attributes
        return InstanceRow(row.study_uid, head.series_uid, row.sop_instance_uid, head.sop_class_uid, head.transfer_syntax_uid,
                           row.object_name, row.length, head.dataset_offset, head.pixel_offset, a.frames, a.rows, a.columns,
                           a.bits_allocated, row.digest)
    return InstanceRow(
        row.study_uid, facts["series"], row.sop_instance_uid, facts["sop_class"], facts["syntax"], row.object_name, row.length,
        facts["dataset"], facts["pixels"], facts["frames"], facts["rows"], facts["columns"], facts["bits"], row.digest)


def facts_of_row(row: InstanceRow) -> dict[str, Any]:
    """Return what is kept with a version, so that `version_row` can read it back."""
    return {
        "sop_class": row.sop_class_uid, "syntax": row.transfer_syntax_uid, "series": row.series_uid,
        "dataset": row.dataset_offset, "pixels": row.pixel_offset, "frames": row.frames, "rows": row.rows,
        "columns": row.columns, "bits": row.bits_allocated,
    }


def limits_of(archive: "Archive") -> Limits:
    """Return what one data set may cost here."""
    s = archive.settings
    return Limits(max_depth=s.max_sequence_depth, max_elements=s.max_elements, max_header_bytes=s.max_header_bytes)


def head_of(archive: "Archive", row: InstanceRow) -> Head:
    """Return the head of a stored Part 10 file, as ingest saw it. Raises: Malformed, Damaged, Missing."""
    limits, size = limits_of(archive), 65536
    with open_instance(archive, row) as reader:
        while True:
            head = parse_head(reader.read(0, size), is_complete=size >= row.length, limits=limits)
            if head is not None:
                return head
            size *= 4
            if size > 4 * limits.max_header_bytes:
                raise Malformed("the header is larger than the limit.")


def values_of(archive: "Archive", row: InstanceRow) -> dict[str, Leaf]:
    """Return the decoded-to-be values of an instance's header. Raises: Malformed, Damaged, Missing."""
    buffer, offset = header(archive, row)
    syntax = TRANSFER_SYNTAXES[row.transfer_syntax_uid]
    return leaves(buffer, offset=offset, explicit=syntax.explicit, little=syntax.little, limits=limits_of(archive),
                  is_complete=row.pixel_offset in {-1, -2})
