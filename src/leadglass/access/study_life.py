"""The life of a study, and the rejections that end a part of it: what happened, in order, and how to take it back."""

import time
from collections.abc import Callable
from typing import Any, Final

import sqlalchemy as sa

from leadglass.access.door import Door
from leadglass.access.reconciliation import TASKS, reason_of, sender_names
from leadglass.access.search_scope import study_resource
from leadglass.archive.life.rejections import lift
from leadglass.archive.life.tasks import facts_of
from leadglass.audit import read_rows
from leadglass.dicom.key_objects import REJECTION_TITLES
from leadglass.errors import Conflict, Missing, Refused
from leadglass.storage import tables as t
from leadglass.storage.database import Database
from leadglass.terms import Action, Resource, ResourceKind, Subject

__all__ = ["StudyLife"]

_MOST: Final = 500
_ABSENT: Final = "no such study here, or none that you may see."
_TOLD: Final = frozenset({str(a) for a in (
    Action.INSTANCE_STORE, Action.INSTANCE_REJECT, Action.TASK_SETTLE, Action.REJECTION_LIFT, Action.STUDY_DELETE,
    Action.HOLD_SET, Action.STUDY_SEND, Action.STUDY_EXPORT,
)})
_r, _k, _s, _i = t.rejections.c, t.tasks.c, t.studies.c, t.instances.c


class StudyLife:
    """One process's side. Safe in threads."""

    def __init__(self, database: Database, door: Door, clock: Callable[[], float] = time.time) -> None:
        self._database, self._door, self._clock = database, door, clock

    def life(self, subject: Subject, study_uid: str) -> dict[str, Any]:
        """Return what happened to a study, oldest first, with its tasks and rejections; counts and names, no values.

        Seen by whoever may see who saw it: auditors, administrators, and readers of that very study. Raises: Missing.
        """
        with self._database.read() as connection:
            row = connection.execute(sa.select(t.studies).where(_s.study_uid == study_uid)).first()
        resource = study_resource(study_uid, row, self._clock())
        try:
            self._door.enter(subject, Action.AUDIT_STUDY_READ, resource)
        except Refused:
            raise Missing(_ABSENT) from None
        is_auditor = self._door.decide(subject, Action.AUDIT_READ, Resource(kind=ResourceKind.LEDGER)).is_permitted
        if not is_auditor and not self._door.decide(subject, Action.STUDY_READ, resource).is_permitted:
            raise Missing(_ABSENT)
        with self._database.read() as connection:
            rows = [row.record for row in read_rows(connection, study_uid=study_uid, limit=2000)]
            found = connection.execute(
                sa.select(t.tasks).where(_k.study_uid == study_uid).order_by(_k.due_at).limit(_MOST)).all()
            names = sender_names(connection, {task.source for task in found})
            tasks = [self._task(task) | {"sender": names[task.source]} for task in found]
            rejections = _rejections(connection, study_uid)
            verified = connection.execute(sa.select(sa.func.max(t.scrub_runs.c.ended_at)).where(
                t.scrub_runs.c.state == "done", t.scrub_runs.c.findings == 0)).scalar()
        events = [_event(record) for record in rows if record.get("action") in _TOLD and record["event"] != "decision"]
        if row is not None and verified and verified > row.received_at:
            events.append({"time": verified, "what": "verified", "who": "scrub", "outcome": "done", "details": {}})
        return {"events": sorted(events, key=lambda e: float(e["time"])), "tasks": tasks, "rejections": rejections,
                "is_here": row is not None, "instances": row.instance_count if row is not None else 0,
                "waiting": sum(task["state"] == "open" for task in tasks)}

    def rejections(self, subject: Subject, *, study_uid: str = "") -> list[dict[str, Any]]:
        """Return the rejections, newest first, at most 500. Raises: Refused."""
        self._door.enter(subject, Action.TASK_LIST, TASKS)
        with self._database.read() as connection:
            return _rejections(connection, study_uid)

    def lift(self, subject: Subject, rejection_id: int, reason: str) -> dict[str, Any]:
        """Show again what a note has rejected, unless another note names it too. Raises: Missing, Conflict, Refused."""
        reason = reason_of(reason)
        with self._database.read() as connection:
            row = connection.execute(sa.select(t.rejections).where(_r.id == rejection_id)).first()
        if row is None:
            raise Missing("no such rejection. See: leadglass rejections list")
        resource = Resource(kind=ResourceKind.STUDY, id=row.study_uid)
        with self._door.act(subject, Action.REJECTION_LIFT, resource) as passage:
            state = passage.connection.execute(sa.select(_r.state).where(_r.id == rejection_id)).scalar()
            if state != "active":
                raise Conflict("this rejection is lifted already.")
            shown = lift(passage.connection, rejection_id, by=subject.name, now=self._clock())
            passage.details |= {"rejection": rejection_id, "note": row.note_uid, "code": row.code, "shown": shown,
                                "reason": reason}
        return {"rejection": rejection_id, "state": "lifted", "shown": shown}

    def _task(self, row: Any) -> dict[str, Any]:
        return {"id": row.id, "kind": row.kind, "state": row.state, "instances": row.instances, "source": row.source,
                "opened_at": row.opened_at, "due_at": row.due_at, "closed_at": row.closed_at, "facts": facts_of(row),
                "is_overdue": row.state == "open" and row.due_at <= self._clock()}


def _rejections(connection: sa.Connection, study_uid: str) -> list[dict[str, Any]]:
    statement = sa.select(t.rejections).order_by(_r.id.desc()).limit(_MOST)
    if study_uid:
        statement = statement.where(_r.study_uid == study_uid)
    hidden = {row[0]: row[1] for row in connection.execute(
        sa.select(_i.rejection, sa.func.count()).where(_i.rejection.is_not(None)).group_by(_i.rejection))}
    rows = connection.execute(statement).all()
    names = sender_names(connection, {row.source for row in rows})
    return [
        {"id": row.id, "code": row.code, "title": REJECTION_TITLES[row.code], "study_uid": row.study_uid,
         "note_uid": row.note_uid, "source": row.source, "sender": names[row.source], "named": row.instances,
         "hidden": hidden.get(row.id, 0),
         "created_at": row.created_at, "state": row.state, "lifted_at": row.lifted_at, "lifted_by": row.lifted_by}
        for row in rows
    ]


_WHAT: Final = {
    "archive:instance:store": "received", "archive:instance:reject": "rejected", "archive:task:settle": "settled",
    "archive:rejection:lift": "lifted", "archive:study:delete": "deleted", "archive:hold:set": "hold",
    "archive:study:send": "sent", "archive:study:export": "exported",
}


def _event(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record of the ledger as a moment in the life of its study."""
    details = record["details"]
    what = _WHAT[record["action"]]
    if what == "received" and details.get("kind") in {"conflict", "full", "duplicate"}:
        what = {"conflict": "held", "full": "refused", "duplicate": "received again"}[details["kind"]]
    return {"time": record["time"], "what": what, "who": record["subject"]["name"], "outcome": record["outcome"],
            "details": {k: v for k, v in details.items() if k in _SHOWN}}


_SHOWN: Final = frozenset({"instances", "task", "kind", "what", "reason", "code", "hidden", "shown", "bytes"})
