"""Re-read everything: each object must decrypt, have its length, and give the digest that was kept at ingest."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import sqlalchemy as sa

from leadglass.archive.retrieve import InstanceRow, open_instance
from leadglass.errors import LeadglassError
from leadglass.storage import tables as t

if TYPE_CHECKING:
    from leadglass.archive import Archive

__all__ = ["ScrubReport", "scrub"]

_PAGE = 500


@dataclass
class ScrubReport:
    """What was read and what was found; findings name objects, never a patient."""

    objects: int = 0
    verified: int = 0
    bytes: int = 0
    findings: list[str] = field(default_factory=list)


def scrub(archive: "Archive", *, progress: Callable[[int], None] | None = None) -> ScrubReport:
    """Verify every indexed object; counts in the index are compared with the rows. Damage is a finding, not an error."""
    report = ScrubReport()
    last = 0
    i = t.instances.c
    while True:
        with archive.database.read() as connection:
            rows = connection.execute(
                sa.select(i.id, t.studies.c.study_uid, i.sop_instance_uid, i.sop_class_uid, i.transfer_syntax_uid,
                          i.object_name, i.length, i.dataset_offset, i.pixel_offset, i.frames, i.rows, i.columns,
                          i.bits_allocated, i.digest)
                .join(t.studies, t.studies.c.id == i.study).where(i.id > last).order_by(i.id).limit(_PAGE)
            ).all()
        if not rows:
            break
        for row in rows:
            last = row.id
            _verify(archive, InstanceRow(row[1], "", *tuple(row)[2:]), report)
            if progress is not None:
                progress(report.objects)
    with archive.database.read() as connection:
        counted = connection.execute(sa.select(sa.func.coalesce(sa.func.sum(t.studies.c.instance_count), 0))).scalar_one()
        there = connection.execute(
            sa.select(sa.func.count()).select_from(t.instances).where(i.rejection.is_(None))).scalar_one()
    if counted != there:
        report.findings.append(f"index: studies count {counted} instances, {there} are there")
    return report


def _verify(archive: "Archive", row: InstanceRow, report: ScrubReport) -> None:
    report.objects += 1
    digest = hashlib.sha256()
    try:
        with open_instance(archive, row) as reader:
            for piece in reader.stream(row.dataset_offset):
                digest.update(piece)
            reader.read(0, row.dataset_offset)
    except (LeadglassError, OSError) as e:
        report.findings.append(f"object {row.object_name}: {e}")
        return
    if digest.digest() != row.digest:
        report.findings.append(f"object {row.object_name}: its content is not what was stored")
        return
    report.verified += 1
    report.bytes += row.length
