"""Take a study, or one series of it, out of the index for good, inside the caller's transaction.

Steps: 1 nothing on hold, nothing that a rule still keeps, nothing of another study that waits for a decision here;
2 rows go, with all that was made from them; 3 when nothing of the study is left its wrapped key goes too, so that what
remains on disk is noise.
Left to the caller: the decision and the record (access/keeping.py), to raise the epoch in the same transaction, and to
unlink `Deleted.objects` after it; what a crash leaves of them is unknown to the index, and swept.
"""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from leadglass.archive.derived import forget
from leadglass.archive.heads import forget_heads
from leadglass.archive.life.rejections import recount_study
from leadglass.archive.life.retention import due_of, is_on_hold, load_rules
from leadglass.errors import Conflict, Missing
from leadglass.storage import tables as t

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leadglass.storage.study_keys import StudyKeys

__all__ = ["Deleted", "delete_rows", "refuse_if_kept"]

_MAX_NAMED: Final = 200  # instances named in the record; digest and counts are always whole
_BATCH: Final = 500
_s, _e, _i, _q, _k = t.studies.c, t.series.c, t.instances.c, t.quarantine.c, t.tasks.c


@dataclass(kw_only=True)
class Deleted:
    """What was taken out."""

    study_uid: str
    patient_id: str
    is_whole_study: bool  # nothing of the study is left
    is_key_destroyed: bool = False
    series: int = 0
    instances: int = 0
    versions: int = 0  # quarantined ones
    bytes: int = 0
    tasks: int = 0
    objects: list[str] = field(default_factory=list)  # names of files to unlink
    named: list[list[str]] = field(default_factory=list)  # [SOP Instance UID, digest], the first 200
    digest: str = ""  # SHA-256 over "UID digest\n" of every instance, in the order of UIDs

    def record(self) -> dict[str, Any]:
        """Return what the ledger keeps of it."""
        return {
            "series": self.series, "instances": self.instances, "versions": self.versions, "bytes": self.bytes,
            "tasks_closed": self.tasks, "whole_study": self.is_whole_study, "key_destroyed": self.is_key_destroyed,
            "digest": self.digest, "objects": self.named,
        }


def refuse_if_kept(connection: sa.Connection, study: Any, now: float) -> None:
    """Step 1, for a study row. Raises: Conflict, with the day until when, or the hold to release."""
    if is_on_hold(connection, study.study_uid):
        raise Conflict("a legal hold is open on this study; nothing of it was deleted. See: leadglass hold list")
    due = due_of(connection, load_rules(connection, now), study)
    if due.kept_until > now:
        day = datetime.fromtimestamp(due.kept_until).astimezone()
        raise Conflict(f"kept until {day:%Y-%m-%d} by the retention rule for {due.rule}; nothing was deleted.")


def delete_rows(
    connection: sa.Connection, keys: "StudyKeys", study_uid: str, series_uid: str | None, *, by: str, reason: str, now: float
) -> Deleted:
    """Take the rows out (steps 1 to 3) and say what they were.

    Raises: Missing, Conflict (a hold, a rule, held versions of another study).
    """
    study = connection.execute(sa.select(t.studies).where(_s.study_uid == study_uid)).first()
    if study is None:
        raise Missing("no such study here.")
    refuse_if_kept(connection, study, now)  # step 1
    series = _series_ids(connection, study.id, series_uid)
    rows = connection.execute(
        sa.select(_i.id, _i.sop_instance_uid, _i.object_name, _i.length, _i.digest)
        .where(_i.study == study.id, _i.series.in_(series)).order_by(_i.sop_instance_uid)).all()
    versions = _versions(connection, study_uid, [r.sop_instance_uid for r in rows], is_whole=series_uid is None)
    found = Deleted(
        study_uid=study_uid, patient_id=study.patient_id, is_whole_study=False, series=len(series), instances=len(rows),
        versions=len(versions), bytes=sum(r.length for r in [*rows, *versions]),
        objects=[r.object_name for r in [*rows, *versions]],
        named=[[r.sop_instance_uid, r.digest.hex()] for r in rows[:_MAX_NAMED]],
        digest=hashlib.sha256("".join(f"{r.sop_instance_uid} {r.digest.hex()}\n" for r in rows).encode()).hexdigest(),
    )
    _remove(connection, t.quarantine, [v.id for v in versions])  # step 2
    for number in series:
        found.objects += forget(connection, series=number)
    forget_heads(connection, [r.id for r in rows])
    _remove(connection, t.instances, [r.id for r in rows])
    connection.execute(sa.delete(t.sequence_values).where(t.sequence_values.c.series.in_(series)))
    connection.execute(sa.delete(t.series).where(_e.id.in_(series)))
    _close_findings(connection, found.objects)
    if connection.execute(sa.select(_e.id).where(_e.study == study.id).limit(1)).first() is None:
        found.is_whole_study = True
        found.objects += forget(connection, study=study.id)
        connection.execute(sa.delete(t.sequence_values).where(t.sequence_values.c.study == study.id))
        connection.execute(sa.delete(t.studies).where(_s.id == study.id))
    else:
        recount_study(connection, study.id, now)
    found.tasks = _close_tasks(connection, study_uid, {v.task for v in versions} - {None}, by=by, reason=reason, now=now,
                               is_whole=found.is_whole_study)
    if found.is_whole_study and connection.execute(sa.select(_q.id).where(_q.study_uid == study_uid).limit(1)).first() is None:
        found.is_key_destroyed = keys.destroy(connection, study_uid)  # step 3
    return found


def _series_ids(connection: sa.Connection, study: int, series_uid: str | None) -> list[int]:
    query = sa.select(_e.id).where(_e.study == study)
    found = list(connection.execute(query if series_uid is None else query.where(_e.series_uid == series_uid)).scalars())
    if not found and series_uid is not None:
        raise Missing("no such series in this study.")
    return found


def _versions(connection: sa.Connection, study_uid: str, instances: list[str], *, is_whole: bool) -> list[Any]:
    """Return the quarantined versions that go too. Raises: Conflict, for one that names another study."""
    columns = sa.select(_q.id, _q.object_name, _q.length, _q.task, _q.study_uid, _q.purge_at)
    found = {r.id: r for part in _batches(instances) for r in connection.execute(columns.where(_q.sop_instance_uid.in_(part)))}
    if is_whole:
        found |= {r.id: r for r in connection.execute(columns.where(_q.study_uid == study_uid))}
    if any(r.study_uid != study_uid and r.purge_at is None for r in found.values()):
        raise Conflict("versions of these instances that name another study wait for a decision: settle them first. "
                       "Nothing was deleted.")
    return list(found.values())


def _close_findings(connection: sa.Connection, objects: list[str]) -> None:
    f = t.findings.c
    for part in _batches(objects):
        connection.execute(
            sa.update(t.findings).where(f.object_name.in_(part), f.state == "open").values(state="gone"))


def _close_tasks(
    connection: sa.Connection, study_uid: str, tasks: set[int], *, by: str, reason: str, now: float, is_whole: bool
) -> int:
    """Close what nobody has to decide any more; return how many."""
    left = sa.exists().where(_q.task == _k.id, _q.purge_at.is_(None))
    which = _k.id.in_(tasks) if not is_whole else sa.or_(_k.id.in_(tasks), _k.study_uid == study_uid)
    return connection.execute(
        sa.update(t.tasks).where(_k.state == "open", which, ~left)
        .values(state="dismissed", closed_at=now, closed_by=by, reason=f"deleted: {reason}"[:500])
    ).rowcount


def _remove(connection: sa.Connection, table: sa.Table, ids: list[int]) -> None:
    for part in _batches(ids):
        connection.execute(sa.delete(table).where(table.c.id.in_(part)))


def _batches(found: list[Any]) -> "Iterator[list[Any]]":
    """Give the list in pieces that a statement's parameters hold."""
    for at in range(0, len(found), _BATCH):
        yield found[at : at + _BATCH]
