"""Reading the ledger is itself behind the door and recorded. Ref: PS3.15 A.5.3.2 (audit log used)."""

from collections.abc import Callable, Sequence

import sqlalchemy as sa

from leadglass.access.door import Door
from leadglass.access.search_scope import study_resource
from leadglass.audit import Entry, Event, LogRow, Outcome, Verification, read_rows
from leadglass.errors import Missing, Refused
from leadglass.storage import tables as t
from leadglass.storage.database import Database
from leadglass.terms import Action, Resource, ResourceKind, Subject

__all__ = ["LEDGER", "LedgerReader"]

LEDGER = Resource(kind=ResourceKind.LEDGER)


class LedgerReader:
    """The access log as faces may see it."""

    def __init__(self, database: Database, door: Door, verify: Callable[[sa.Connection], Verification],
                 clock: Callable[[], float]) -> None:
        self._database = database
        self._door = door
        self._verify = verify
        self._clock = clock

    def study(self, subject: Subject, study_uid: str, *, limit: int = 200) -> list[LogRow]:
        """Return who did what with a study, newest first. Raises: Missing."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(t.studies).where(t.studies.c.study_uid == study_uid)).first()
        try:
            self._door.enter(subject, Action.AUDIT_STUDY_READ, study_resource(study_uid, row, self._clock()))
            # A person who reads images sees who saw a study only where that person may read it.
            is_auditor = self._door.decide(subject, Action.AUDIT_READ, LEDGER).is_permitted
            if not is_auditor and not self._door.decide(
                subject, Action.STUDY_READ, study_resource(study_uid, row, self._clock())
            ).is_permitted:
                raise Missing("no such study here, or none that you may see.")
        except Refused:
            raise Missing("no such study here, or none that you may see.") from None
        with self._database.read() as connection:
            return list(read_rows(connection, study_uid=study_uid, limit=limit))

    def search(
        self, subject: Subject, *, study_uid: str | None = None, subject_name: str | None = None,
        events: Sequence[str] = (), limit: int = 200, before_index: int | None = None,
    ) -> list[LogRow]:
        """Return entries newest first; the reading is recorded with its terms. Raises: Refused."""
        self._door.enter(subject, Action.AUDIT_READ, LEDGER)
        with self._database.read() as connection:
            rows = list(read_rows(connection, study_uid=study_uid, subject_name=subject_name, events=events,
                                  limit=limit, before_index=before_index))
        self._door.record([Entry(
            event=Event.SEARCHED, action=Action.AUDIT_READ, outcome=Outcome.DONE, subject=subject,
            study_uid=study_uid or "", details={"of": subject_name or "", "rows": len(rows)},
        )])
        return rows

    def mine(self, subject: Subject, *, limit: int = 50) -> list[LogRow]:
        """Return the subject's own latest entries."""
        self._door.enter(subject, Action.SELF_READ,
                         Resource(kind=ResourceKind.PERSON, id=subject.id.partition(":")[2]))
        with self._database.read() as connection:
            return list(read_rows(connection, subject_name=subject.name, limit=limit))

    def verify(self, subject: Subject) -> Verification:
        """Return what a verification of the whole ledger finds; recorded. Raises: Refused."""
        self._door.enter(subject, Action.AUDIT_VERIFY, LEDGER)
        with self._database.read() as connection:
            report = self._verify(connection)
        self._door.record([Entry(
            event=Event.ALERT if report.findings else Event.SYSTEM, action=Action.AUDIT_VERIFY,
            outcome=Outcome.FAILED if report.findings else Outcome.DONE, subject=subject,
            details={"entries": report.size, "findings": len(report.findings)},
        )])
        return report
