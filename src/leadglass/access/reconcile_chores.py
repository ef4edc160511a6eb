"""What the server does by itself with tasks: compares versions, tells what is overdue, deletes what lost and is old."""

import time
from collections.abc import Callable
from typing import Final

import sqlalchemy as sa

from leadglass.access.door import Door
from leadglass.access.reconciliation import TASKS
from leadglass.archive import Archive
from leadglass.archive.life.purge import drop_objects, due_studies, forget
from leadglass.archive.life.sorting import next_unsorted, settle_kinds, sort_one
from leadglass.audit import Event
from leadglass.errors import Busy
from leadglass.storage import tables as t
from leadglass.storage.database import Database
from leadglass.terms import Action, Resource, ResourceKind, Subject

__all__ = ["ReconcileChores"]

_AT_ONCE: Final = 32
_SECONDS: Final = 5.0
_NAMED: Final = 200
_k = t.tasks.c


class ReconcileChores:
    """Run by the chores process; safe to be killed at any step, and to be run by two at once."""

    def __init__(self, database: Database, door: Door, archive: Archive, clock: Callable[[], float] = time.time) -> None:
        self._database, self._door, self._archive, self._clock = database, door, archive, clock

    def sort(self, subject: Subject, *, seconds: float = _SECONDS) -> int:
        """Compare versions that wait for it, for at most about `seconds`; return how many were sorted.

        Objects are read and frames decoded outside of any transaction, so that storing goes on.
        """
        end, done = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            found = []
            for row, shown in next_unsorted(self._archive, _AT_ONCE):
                try:
                    found.append((row, shown, sort_one(self._archive, row, shown)))
                except Busy:
                    break  # decoders are at work for people: later
                if time.monotonic() > end:
                    break
            if not found:
                return done
            with self._door.act(subject, Action.TASK_LIST, TASKS, event=Event.SYSTEM) as passage:
                kinds = settle_kinds(passage.connection, found, now=self._clock(), days=self._archive.settings.reconcile_days)
                passage.details |= {"what": "versions compared", "kinds": kinds}
            done += sum(kinds.values())
            if not kinds:
                return done
        return done

    def tell_overdue(self, subject: Subject) -> int:
        """Put one alert into the ledger for each task whose due date has come; return how many."""
        now = self._clock()
        late = sa.and_(_k.state == "open", _k.due_at <= now, _k.told_at.is_(None))
        with self._database.read() as connection:
            if connection.execute(sa.select(_k.id).where(late).limit(1)).first() is None:
                return 0
        told = 0
        with self._door.act(subject, Action.TASK_LIST, TASKS, event=Event.ALERT) as passage:
            rows = passage.connection.execute(
                sa.select(_k.id, _k.kind, _k.instances, _k.due_at).where(late).order_by(_k.due_at).limit(_NAMED)).all()
            for row in rows:
                passage.connection.execute(sa.update(t.tasks).where(_k.id == row.id).values(told_at=now))
                told += 1
            passage.details |= {"what": "reconciliation overdue", "tasks": [[r.id, r.kind, r.instances] for r in rows]}
        return told

    def purge(self, subject: Subject) -> int:
        """Delete versions whose last day is over, study by study; return how many. First the row, then the object."""
        now, gone = self._clock(), 0
        with self._database.read() as connection:
            studies = due_studies(connection, now)
        for study_uid in studies:
            resource = Resource(kind=ResourceKind.STUDY, id=study_uid)
            with self._door.act(subject, Action.STUDY_DELETE, resource) as passage:
                rows, names = forget(passage.connection, study_uid, now)
                passage.details |= {
                    "what": "versions that were decided against", "instances": len(rows),
                    "tasks": sorted({row.task for row in rows if row.task})[:_NAMED],
                    "objects": [[row.sop_instance_uid, row.digest.hex()] for row in rows[:_NAMED]],
                }
            drop_objects(self._archive, names)
            gone += len(rows)
        return gone
