"""Versions of an instance beside the one that is shown: kept, encrypted, bounded, never shown.

Nothing is ever overwritten: the same SOP Instance UID with other content comes here and waits for a person. A sender
that makes variants without end fills its own share (half) and then hears that it is full; all else goes on.
"""

import json
from typing import Any, Final

import sqlalchemy as sa

from leadglass.archive.ingest import Outcome, OutcomeKind, Staged
from leadglass.archive.life.tasks import Place, join_task
from leadglass.settings import Settings
from leadglass.storage import tables as t

__all__ = ["HELD", "Quarantine", "facts_of_version", "usage"]

HELD: Final = "held for reconciliation"
_DECIDED: Final = "kept apart: this version was decided against"
_FULL: Final = "the quarantine is full: not stored"
_DAY: Final = 86400.0
_q, _k = t.quarantine.c, t.tasks.c
_USAGE: Final = sa.select(_q.source, sa.func.count(), sa.func.sum(_q.length)).group_by(_q.source)


def usage(connection: sa.Connection) -> dict[str, tuple[int, int]]:
    """Return source -> (versions, bytes) of all that is in quarantine."""
    return {source: (int(count), int(octets or 0)) for source, count, octets in connection.execute(_USAGE)}


def facts_of_version(staged: Staged) -> dict[str, Any]:
    """Return what is needed to read a version back, without its values. Kept as JSON in quarantine.head."""
    head = staged.head
    a = head.attributes
    return {
        "sop_class": head.sop_class_uid, "syntax": head.transfer_syntax_uid, "series": head.series_uid,
        "dataset": head.dataset_offset, "pixels": head.pixel_offset, "frames": a.frames, "rows": a.rows,
        "columns": a.columns, "bits": a.bits_allocated,
    }


class Quarantine:
    """The quarantine as one transaction sees it. Make one for each transaction of the committer."""

    def __init__(self, connection: sa.Connection, settings: Settings, now: float) -> None:
        self._connection = connection
        self._settings = settings
        self._now = now
        self._usage: dict[str, tuple[int, int]] | None = None

    @property
    def days(self) -> int:
        """Days until a task is due."""
        return self._settings.reconcile_days

    def hold(self, staged: Staged, *, study_uid: str, patient_id: str) -> Outcome:
        """Keep a version of an instance that is shown in `study_uid`, within the bounds, and put it into a task.

        What is kept already is not kept twice; what was decided against stays so, and its last day moves on.
        """
        uid = staged.head.sop_instance_uid
        known = self._connection.execute(
            sa.select(_q.id, _q.task, _q.purge_at).where(_q.sop_instance_uid == uid, _q.digest == staged.digest)).first()
        if known is not None and known.purge_at is None:
            return _outcome(staged, OutcomeKind.CONFLICT, HELD, drop=staged.object_name, task=known.task or 0)
        if known is not None:
            self._connection.execute(sa.update(t.quarantine).where(_q.id == known.id).values(
                purge_at=max(known.purge_at, self._now + self._settings.quarantine_keep_days * _DAY)))
            return _outcome(staged, OutcomeKind.CONFLICT, _DECIDED, drop=staged.object_name, task=known.task or 0)
        if not self._has_room(staged.source, staged.length):
            return _outcome(staged, OutcomeKind.FULL, _FULL, drop=staged.object_name)
        is_other_study = staged.head.study_uid != study_uid
        place = Place(study_uid=study_uid, patient_id=patient_id, source=staged.source,
                      kind="content" if is_other_study else "unsorted", is_other_study=is_other_study)
        task = join_task(self._connection, place, now=self._now, days=self.days, instances=0)
        is_another = self._connection.execute(sa.select(_q.id).where(
            _q.sop_instance_uid == uid, _q.task == task, _q.purge_at.is_(None)).limit(1)).first() is not None
        if not is_another:  # a task counts instances, not their variants
            self._connection.execute(sa.update(t.tasks).where(_k.id == task).values(instances=_k.instances + 1))
        self._connection.execute(sa.insert(t.quarantine).values(
            task=task, state="held", sop_instance_uid=uid, study_uid=staged.head.study_uid,
            object_name=staged.object_name, length=staged.length, digest=staged.digest,
            reason="other content under a SOP Instance UID that is stored", source=staged.source,
            received_at=self._now, head=json.dumps(facts_of_version(staged)),
        ))
        return _outcome(staged, OutcomeKind.CONFLICT, HELD, task=task)

    def _has_room(self, source: str, length: int) -> bool:
        """Return whether one more version fits: into the whole, and into the half that one source may fill."""
        if self._usage is None:
            self._usage = usage(self._connection)
        most_bytes, most = self._settings.quarantine_max_bytes, self._settings.quarantine_max_instances
        count, octets = self._usage.get(source, (0, 0))
        all_count = sum(n for n, _ in self._usage.values())
        all_bytes = sum(n for _, n in self._usage.values())
        if all_count + 1 > most or all_bytes + length > most_bytes or count + 1 > most // 2 or octets + length > most_bytes // 2:
            return False
        self._usage[source] = (count + 1, octets + length)
        return True


def _outcome(staged: Staged, kind: OutcomeKind, warning: str, *, drop: str = "", task: int = 0) -> Outcome:
    head = staged.head
    return Outcome(
        sop_class_uid=head.sop_class_uid, sop_instance_uid=head.sop_instance_uid, study_uid=head.study_uid, kind=kind,
        drop=drop, warning=warning, task=task,
    )
