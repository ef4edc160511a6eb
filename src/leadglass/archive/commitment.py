"""Is an instance safe here? Its row is there, and its object decrypts to what was received. Ref: PS3.4 J.3."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from leadglass.archive.retrieve import InstanceRow, open_instance
from leadglass.dicom.references import Reference
from leadglass.errors import LeadglassError
from leadglass.storage import tables as t

if TYPE_CHECKING:
    from leadglass.archive import Archive

__all__ = ["Examined", "examine", "located"]

NO_SUCH_INSTANCE: Final = 0x0112
CLASS_CONFLICT: Final = 0x0119
PROCESSING_FAILURE: Final = 0x0110
_BATCH: Final = 500


@dataclass(kw_only=True)
class Examined:
    """What was found of the references; each stands in exactly one of the two. Failure reasons: PS3.3 C.14."""

    safe: list[Reference] = field(default_factory=list)
    failed: list[tuple[Reference, int]] = field(default_factory=list)


def located(archive: "Archive", references: Sequence[Reference]) -> dict[str, InstanceRow]:
    """Return SOP Instance UID -> row of those that are here; rejected ones too: they are kept as safe as others."""
    i = t.instances.c
    found: dict[str, InstanceRow] = {}
    with archive.database.read() as connection:
        for at in range(0, len(references), _BATCH):
            uids = [uid for _, uid in references[at : at + _BATCH]]
            rows = connection.execute(
                sa.select(t.studies.c.study_uid, t.series.c.series_uid, i.sop_instance_uid, i.sop_class_uid,
                          i.transfer_syntax_uid, i.object_name, i.length, i.dataset_offset, i.pixel_offset, i.frames, i.rows,
                          i.columns, i.bits_allocated, i.digest)
                .join_from(t.instances, t.series, i.series == t.series.c.id).join(t.studies, i.study == t.studies.c.id)
                .where(i.sop_instance_uid.in_(uids)))
            found |= {row.sop_instance_uid: InstanceRow(*tuple(row)) for row in rows}
    return found


def examine(archive: "Archive", references: Sequence[Reference]) -> Examined:
    """Read and verify each object once; say of each reference whether it is safe, or why not."""
    rows = located(archive, references)
    examined = Examined()
    for reference in references:
        sop_class, uid = reference
        row = rows.get(uid)
        if row is None:
            examined.failed.append((reference, NO_SUCH_INSTANCE))
        elif row.sop_class_uid != sop_class:
            examined.failed.append((reference, CLASS_CONFLICT))
        elif not _is_whole(archive, row):
            examined.failed.append((reference, PROCESSING_FAILURE))
        else:
            examined.safe.append(reference)
    return examined


def _is_whole(archive: "Archive", row: InstanceRow) -> bool:
    """Return whether the object decrypts and gives the digest that was kept at ingest."""
    digest = hashlib.sha256()
    try:
        with open_instance(archive, row) as reader:
            for piece in reader.stream(row.dataset_offset):
                digest.update(piece)
    except (LeadglassError, OSError):
        return False
    return digest.digest() == row.digest
