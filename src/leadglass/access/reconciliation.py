"""The door's side of reconciliation: what waits for a decision, and the decisions. Each is recorded with its reason.

An administrator decides without seeing images: keywords say what differs. Values are shown to those alone who may
read the study. Undo is possible until what lost is purged.
"""

import json
import time
from collections.abc import Callable
from typing import Any, Final

import sqlalchemy as sa

from leadglass.access.door import Door, Passage
from leadglass.access.search_scope import study_resource
from leadglass.archive import Archive
from leadglass.archive.index import study_values
from leadglass.archive.life.quarantine import usage
from leadglass.archive.life.reconcile import accept, accept_identity, dismiss, prepare, undo
from leadglass.archive.life.tasks import UNSORTED, facts_of
from leadglass.archive.life.versions import head_of, shown_row, values_of, version_row
from leadglass.audit import Entry, Event
from leadglass.audit import Outcome as Ended
from leadglass.dicom.comparison import differing_tags, is_demographic, name_of, text_of
from leadglass.errors import Conflict, Malformed, Missing
from leadglass.storage import tables as t
from leadglass.storage.database import Database
from leadglass.terms import Action, Resource, ResourceKind, Subject

__all__ = ["TASKS", "Reconciliation", "reason_of", "sender_names"]

TASKS: Final = Resource(kind=ResourceKind.ARCHIVE)
_MOST: Final = 500
_NAMED: Final = 200
_REASON: Final = (3, 300)
_k, _q = t.tasks.c, t.quarantine.c


def reason_of(text: str) -> str:
    """Return a reason that may stand in the ledger. Raises: Malformed."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if not _REASON[0] <= len(text) <= _REASON[1]:
        raise Malformed(f"a reason of {_REASON[0]} to {_REASON[1]} characters is wanted: it stands in the ledger.")
    return text


def sender_names(connection: sa.Connection, sources: set[str]) -> dict[str, str]:
    """Return what people call the senders with these subject ids: an AE title, the name of a script or a person."""
    names = {source: source.partition(":")[2] for source in sources}
    for kind, table in (("client", t.clients), ("person", t.people)):
        ids = [names[source] for source in sources if source.startswith(f"{kind}:")]
        for row in connection.execute(sa.select(table.c.id, table.c.name).where(table.c.id.in_(ids[:_MOST]))) if ids else ():
            names[f"{kind}:{row.id}"] = row.name
    return names


class Reconciliation:
    """One process's side. Safe in threads."""

    def __init__(self, database: Database, door: Door, archive: Archive, clock: Callable[[], float] = time.time) -> None:
        self._database, self._door, self._archive, self._clock = database, door, archive, clock

    # --- looking --------------------------------------------------------------------------------------------------
    def tasks(
        self, subject: Subject, *, overdue: bool = False, is_open: bool = True, study_uid: str = ""
    ) -> list[dict[str, Any]]:
        """Return the tasks, overdue ones first, then by due date; at most 500. Raises: Refused."""
        self._door.enter(subject, Action.TASK_LIST, TASKS)
        now = self._clock()
        statement = sa.select(t.tasks)
        if is_open:
            statement = statement.where(_k.state == "open").order_by(_k.due_at, _k.id)
        else:
            statement = statement.where(_k.state != "open").order_by(_k.closed_at.desc())
        if overdue:
            statement = statement.where(_k.due_at <= now)
        if study_uid:
            statement = statement.where(_k.study_uid == study_uid)
        with self._database.read() as connection:
            rows = connection.execute(statement.limit(_MOST)).all()
            names = sender_names(connection, {row.source for row in rows})
        return [_task(row, now) | {"sender": names[row.source]} for row in rows]

    def task(self, subject: Subject, task_id: int) -> dict[str, Any]:
        """Return a task with its versions (at most 200) by id and UID, no value. Raises: Missing, Refused."""
        self._door.enter(subject, Action.TASK_LIST, TASKS)
        with self._database.read() as connection:
            row = self._row(connection, task_id)
            versions = connection.execute(
                sa.select(t.quarantine).where(_q.task == task_id).order_by(_q.id).limit(_NAMED)).all()
            purge_at = connection.execute(sa.select(sa.func.min(_q.purge_at)).where(_q.task == task_id)).scalar()
            sender = sender_names(connection, {row.source})[row.source]
        return _task(row, self._clock()) | {
            "sender": sender, "versions": [_version(v) for v in versions], "purge_at": purge_at}

    def may_read(self, subject: Subject, study_uid: str) -> bool:
        """Return whether values of a study may be shown to the subject; decides, records nothing."""
        return self._door.decide(subject, Action.STUDY_READ, self._study(study_uid)).is_permitted

    def differences(self, subject: Subject, task_id: int, version_id: int) -> list[dict[str, Any]]:
        """Return in what a version differs from what is shown: keyword, both values, whether of patient or study.

        Values are cut to 200 characters, and come only with the right to read the study, which is recorded as a read.
        Raises: Missing, Refused, Malformed, Damaged.
        """
        self._door.enter(subject, Action.TASK_LIST, TASKS)
        with self._database.read() as connection:
            row = self._row(connection, task_id)
            version = connection.execute(
                sa.select(t.quarantine).where(_q.id == version_id, _q.task == task_id)).first()
            shown = shown_row(connection, version.sop_instance_uid) if version is not None else None
        if version is None or shown is None:
            raise Missing("no such version in this task.")
        with_values = self.may_read(subject, row.study_uid) and version.study_uid == row.study_uid
        if with_values:
            self._door.enter(subject, Action.STUDY_READ, self._study(row.study_uid))
        ours, theirs = values_of(self._archive, shown), values_of(self._archive, version_row(self._archive, version))
        return [
            {"keyword": name_of(tag), "is_demographic": is_demographic(tag)}
            | ({"shown": text_of(ours, tag), "held": text_of(theirs, tag)} if with_values else {})
            for tag in sorted(differing_tags(ours, theirs))[:_NAMED]
        ]

    def identity(self, subject: Subject, task_id: int) -> list[dict[str, Any]]:
        """Return what a new instance says of the patient beside what its study says; as `differences`."""
        self._door.enter(subject, Action.TASK_LIST, TASKS)
        with self._database.read() as connection:
            row = self._row(connection, task_id)
            study = connection.execute(sa.select(t.studies).where(t.studies.c.study_uid == row.study_uid)).first()
        if study is None or not self.may_read(subject, row.study_uid):
            return [{"keyword": keyword, "is_demographic": True} for keyword in facts_of(row).get("keywords", {})]
        self._door.enter(subject, Action.STUDY_READ, self._study(row.study_uid))
        new = self._named_patient(row)
        names = {"PatientID": "patient_id", "IssuerOfPatientID": "issuer_of_patient_id", "PatientName": "patient_name",
                 "PatientBirthDate": "patient_birth_date", "PatientSex": "patient_sex"}
        return [{"keyword": keyword, "is_demographic": True, "shown": getattr(study, column), "held": new[column]}
                for keyword, column in names.items() if getattr(study, column) != new[column]]

    def waiting(self, study_uid: str) -> int:
        """Return how many open tasks a study has; a number, for a page of someone who sees the study."""
        with self._database.read() as connection:
            return int(connection.execute(sa.select(sa.func.count()).where(
                _k.study_uid == study_uid, _k.state == "open")).scalar_one())

    def gauges(self) -> dict[str, int]:
        """Return counts for those who watch the machine: nothing of a patient, a person or a study."""
        now = self._clock()
        with self._database.read() as connection:
            count, overdue = connection.execute(sa.select(
                sa.func.count(), sa.func.coalesce(sa.func.sum(sa.case((_k.due_at <= now, 1), else_=0)), 0),
            ).where(_k.state == "open")).one()
            held = usage(connection).values()
        return {"tasks_open": int(count), "tasks_overdue": int(overdue),
                "quarantine_versions": sum(n for n, _ in held), "quarantine_bytes": sum(n for _, n in held)}

    # --- deciding -------------------------------------------------------------------------------------------------
    def accept(self, subject: Subject, task_id: int, reason: str) -> dict[str, Any]:
        """Show the held versions from now on; what was shown is kept until its last day.

        Raises: Missing, Conflict (decided already, changed meanwhile, of another study), Malformed, Refused.
        """
        reason = reason_of(reason)
        task = self._peek(subject, task_id)
        _is_open(task)
        if task.kind == "identity":
            values, swaps = self._named_patient(task), []
        else:
            values, swaps = {}, prepare(self._archive, task)
        keep_days, now = self._archive.settings.quarantine_keep_days, self._clock()
        with self._door.act(subject, Action.TASK_SETTLE, TASKS) as passage:
            _is_same(self._row(passage.connection, task_id), task)
            if task.kind == "identity":
                facts = accept_identity(passage.connection, task, values, now)
            else:
                facts = accept(passage.connection, task, swaps, now=now, keep_days=keep_days)
            self._close(passage, subject, task, "accepted", reason, facts)
            objects = [[s.new.row.sop_instance_uid, s.old.row.digest.hex(), s.new.row.digest.hex()] for s in swaps]
            self._record(passage, subject, task, "accepted", reason, objects)
        return {"task": task_id, "state": "accepted", "instances": len(swaps)}

    def dismiss(self, subject: Subject, task_id: int, reason: str) -> dict[str, Any]:
        """Leave what is shown; the held versions are kept until their last day. Raises: as `accept`."""
        reason = reason_of(reason)
        task = self._peek(subject, task_id)
        _is_open(task)
        with self._door.act(subject, Action.TASK_SETTLE, TASKS) as passage:
            _is_same(self._row(passage.connection, task_id), task)
            rows = passage.connection.execute(sa.select(_q.sop_instance_uid, _q.digest).where(_q.task == task_id)).all()
            dismiss(passage.connection, task, now=self._clock(), keep_days=self._archive.settings.quarantine_keep_days)
            self._close(passage, subject, task, "dismissed", reason, {})
            self._record(passage, subject, task, "dismissed", reason, [[r.sop_instance_uid, r.digest.hex()] for r in rows])
        return {"task": task_id, "state": "dismissed", "instances": task.instances}

    def undo(self, subject: Subject, task_id: int, reason: str = "") -> dict[str, Any]:
        """Take a decision back while everything is still there. Raises: as `accept`."""
        reason = reason_of(reason) if reason else ""
        task = self._peek(subject, task_id)
        if task.state == "open":
            raise Conflict("nothing has been decided in this task.")
        swaps = prepare(self._archive, task) if task.state == "accepted" and task.kind != "identity" else []
        with self._door.act(subject, Action.TASK_SETTLE, TASKS) as passage:
            _is_same(self._row(passage.connection, task_id), task)
            undo(passage.connection, task, swaps, now=self._clock())
            facts = {k: v for k, v in json.loads(task.facts).items() if k not in {"_study", "_series", "_versions"}}
            passage.connection.execute(sa.update(t.tasks).where(_k.id == task_id).values(
                state="open", closed_at=None, closed_by="", reason="", facts=json.dumps(facts)))
            self._record(passage, subject, task, "undone", reason, [
                [s.new.row.sop_instance_uid, s.old.row.digest.hex(), s.new.row.digest.hex()] for s in swaps])
        return {"task": task_id, "state": "open", "instances": task.instances}

    def _peek(self, subject: Subject, task_id: int) -> Any:
        """Return the task's row, for one who may list tasks: what is prepared from it changes nothing."""
        self._door.enter(subject, Action.TASK_LIST, TASKS)
        with self._database.read() as connection:
            return self._row(connection, task_id)

    def _row(self, connection: sa.Connection, task_id: int) -> Any:
        row = connection.execute(sa.select(t.tasks).where(_k.id == task_id)).first()
        if row is None:
            raise Missing("no such task. See: leadglass reconcile list")
        return row

    def _close(
        self, passage: Passage, subject: Subject, task: Any, state: str, reason: str, facts: dict[str, Any]
    ) -> None:
        count = passage.connection.execute(sa.select(sa.func.count()).where(_q.task == task.id)).scalar_one()
        passage.connection.execute(sa.update(t.tasks).where(_k.id == task.id).values(
            state=state, closed_at=self._clock(), closed_by=subject.name, reason=reason,
            facts=json.dumps(json.loads(task.facts) | facts | {"_versions": count})))

    def _record(
        self, passage: Passage, subject: Subject, task: Any, what: str, reason: str, objects: list[list[str]]
    ) -> None:
        passage.details |= {"task": task.id, "what": what}
        passage.entries.append(Entry(
            event=Event.CHANGE, action=Action.TASK_SETTLE, outcome=Ended.DONE, subject=subject, study_uid=task.study_uid,
            patient_id=task.patient_id, details={
                "task": task.id, "kind": task.kind, "what": what, "reason": reason, "instances": len(objects),
                "objects": objects[:_NAMED],
            }))

    def _named_patient(self, task: Any) -> dict[str, Any]:
        """Return what the instance of an identity task says, as columns of studies. Raises: Conflict."""
        with self._database.read() as connection:
            row = shown_row(connection, str(json.loads(task.facts).get("_instance", "")))
        if row is None:
            raise Conflict("the instance that named another patient is not here any more; dismiss the task.")
        return study_values(head_of(self._archive, row).attributes)

    def _study(self, study_uid: str) -> Resource:
        with self._database.read() as connection:
            row = connection.execute(sa.select(t.studies).where(t.studies.c.study_uid == study_uid)).first()
        return study_resource(study_uid, row, self._clock())


def _is_open(task: Any) -> None:
    if task.state != "open":
        raise Conflict(f"this task is {task.state} already.")
    if task.kind == UNSORTED:
        raise Conflict("the versions are being compared; please try again in a moment.")


def _is_same(row: Any, task: Any) -> None:
    if (row.state, row.kind, row.instances) != (task.state, task.kind, task.instances):
        raise Conflict("this task has changed meanwhile; look at it again, then decide.")


def _task(row: Any, now: float) -> dict[str, Any]:
    return {
        "id": row.id, "kind": row.kind, "study_uid": row.study_uid, "source": row.source, "state": row.state,
        "instances": row.instances, "facts": facts_of(row), "opened_at": row.opened_at, "due_at": row.due_at,
        "is_overdue": row.state == "open" and row.due_at <= now, "closed_at": row.closed_at, "closed_by": row.closed_by,
        "reason": row.reason,
    }


def _version(row: Any) -> dict[str, Any]:
    return {
        "id": row.id, "state": row.state, "sop_instance_uid": row.sop_instance_uid, "study_uid": row.study_uid,
        "length": row.length, "digest": row.digest.hex(), "source": row.source, "received_at": row.received_at,
        "purge_at": row.purge_at, "syntax": str(json.loads(row.head).get("syntax", "")),
    }
