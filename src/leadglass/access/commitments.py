"""Storage commitment: a promise is asked for, durable before it is answered, and kept until its report was taken.

A row of `commitments` waits with a lease: whoever reports it (the association that asked, then the chores) holds it for a
while; a kill in between loses nothing, for the lease ends. Ref: PS3.4 J.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from leadglass.access.door import Door
from leadglass.access.operations import ARCHIVE
from leadglass.archive import Archive
from leadglass.archive.commitment import Examined, examine, located
from leadglass.audit import Entry, Event, Outcome
from leadglass.dicom.references import CommitmentRequest, Reference
from leadglass.errors import Busy, Conflict, Full
from leadglass.storage import tables as t
from leadglass.storage.database import Database
from leadglass.terms import Action, Subject

__all__ = ["GIVE_UP_SECONDS", "Commitment", "Commitments"]

_LEASE_SECONDS: Final = 120.0
_FIRST_PAUSE_SECONDS: Final = 10.0
_LONGEST_PAUSE_SECONDS: Final = 6 * 3600.0
GIVE_UP_SECONDS: Final = 7 * 86400.0
_KEPT_SECONDS: Final = 30 * 86400.0  # what has ended; the ledger keeps its record
_MOST_WAITING: Final = 5000  # of one device: a week of a busy one whose receiver is away
_c = t.commitments.c


@dataclass(frozen=True, kw_only=True)
class Commitment:
    """One request that waits for its report."""

    id: int
    transaction_uid: str
    ae_title: str
    references: tuple[Reference, ...]
    tries: int
    requested_at: float


class Commitments:
    """One process's commitments. Safe in threads."""

    def __init__(self, database: Database, archive: Archive, door: Door, clock: Callable[[], float] = time.time) -> None:
        self._database, self._archive, self._door = database, archive, door
        self._clock = clock

    def request(self, subject: Subject, asked: CommitmentRequest) -> Commitment:
        """Keep a request, durable and recorded when this returns; the caller holds its lease.

        The same request again, after its report, is reported again; what ended a month ago is forgotten.
        Raises: Refused, Unproven; Conflict, when the transaction UID was used for other instances; Full and Busy: a device
        that asks without end would fill the disk with its questions, below the reserve that the ledger needs.
        """
        now = self._clock()
        if self._archive.blobs.free_bytes() < self._archive.settings.disk_reserve_bytes:
            raise Full("the disk is nearly full: no more is promised.", retry_after_seconds=60)
        rows = located(self._archive, asked.references)
        instances = json.dumps(asked.references, separators=(",", ":"))
        values = {"state": "waiting", "tries": 0, "next_try_at": now + _LEASE_SECONDS, "requested_at": now, "ended_at": None}
        with self._door.act(subject, Action.INSTANCE_COMMIT, ARCHIVE) as passage:
            passage.connection.execute(
                sa.delete(t.commitments).where(_c.state.in_(("done", "given-up")), _c.next_try_at < now - _KEPT_SECONDS))
            known = passage.connection.execute(
                sa.select(_c.id, _c.instances)
                .where(_c.ae_title == subject.name, _c.transaction_uid == asked.transaction_uid)).first()
            if known is None:
                waiting = sa.select(_c.id).where(
                    _c.state == "waiting", _c.ae_title == subject.name).limit(_MOST_WAITING).subquery()
                if passage.connection.execute(sa.select(sa.func.count()).select_from(waiting)).scalar_one() >= _MOST_WAITING:
                    raise Busy("too many commitments of this device wait for their report.", retry_after_seconds=60)
                found = passage.connection.execute(sa.insert(t.commitments).values(
                    transaction_uid=asked.transaction_uid, ae_title=subject.name, source=subject.id, instances=instances,
                    study_uids=json.dumps(sorted({row.study_uid for row in rows.values()})), **values))
                key = found.inserted_primary_key
                commitment_id = int(key[0]) if key is not None else 0
            elif known.instances != instances:
                raise Conflict("this transaction UID was used for other instances.")
            else:
                commitment_id = int(known.id)
                passage.connection.execute(sa.update(t.commitments).where(_c.id == commitment_id).values(**values))
            passage.details |= {"transaction": asked.transaction_uid, "instances": len(asked.references), "here": len(rows)}
        return Commitment(
            id=commitment_id, transaction_uid=asked.transaction_uid, ae_title=subject.name, references=asked.references,
            tries=0, requested_at=now)

    def octets(self, commitment: Commitment) -> int:
        """Return how many bytes an examination would read."""
        return sum(row.length for row in located(self._archive, commitment.references).values())

    def examine(self, commitment: Commitment) -> Examined:
        """Say which instances are safe: each object is read and verified once."""
        return examine(self._archive, commitment.references)

    def claim(self) -> Commitment | None:
        """Return the commitment that has waited longest for its next report, leased to the caller; None when none is due."""
        now = self._clock()
        with self._database.read() as connection:  # the usual answer, without a write
            due = connection.execute(sa.select(_c.id).where(_c.state == "waiting", _c.next_try_at <= now).limit(1)).first()
        if due is None:
            return None
        with self._database.write() as connection:
            row = connection.execute(
                sa.select(t.commitments).where(_c.state == "waiting", _c.next_try_at <= now)
                .order_by(_c.next_try_at).limit(1)).first()
            if row is None:
                return None
            connection.execute(sa.update(t.commitments).where(_c.id == row.id).values(
                tries=row.tries + 1, next_try_at=now + _LEASE_SECONDS))
        references = tuple((str(c), str(i)) for c, i in json.loads(row.instances))
        return Commitment(
            id=row.id, transaction_uid=row.transaction_uid, ae_title=row.ae_title, references=references,
            tries=row.tries + 1, requested_at=row.requested_at)

    def release(self, commitment: Commitment) -> None:
        """Give the lease back: the chores report it at once."""
        self._update(commitment, next_try_at=self._clock())

    def recover(self) -> None:
        """End the leases of processes that are gone: nobody holds one when the server starts."""
        with self._database.write() as connection:
            connection.execute(sa.update(t.commitments).where(_c.state == "waiting").values(next_try_at=self._clock()))

    def done(self, subject: Subject, commitment: Commitment, examined: Examined) -> None:
        """Record that the report was taken."""
        self._update(commitment, state="done", ended_at=self._clock())
        self._record(subject, commitment, Event.OUTCOME, Outcome.DONE, {
            "safe": len(examined.safe), "failed": len(examined.failed)})

    def not_taken(self, subject: Subject, commitment: Commitment, why: str) -> None:
        """Try again after a growing pause; after a week give up, with a record that somebody must look at."""
        now = self._clock()
        if now - commitment.requested_at > GIVE_UP_SECONDS:
            self._update(commitment, state="given-up", ended_at=now)
            self._record(subject, commitment, Event.ALERT, Outcome.FAILED, {"what": "report given up", "why": why[:200]})
            return
        pause = min(_FIRST_PAUSE_SECONDS * 3 ** min(commitment.tries - 1, 10), _LONGEST_PAUSE_SECONDS)
        self._update(commitment, next_try_at=now + pause)

    def _update(self, commitment: Commitment, **values: float | str) -> None:
        with self._database.write() as connection:
            connection.execute(sa.update(t.commitments).where(_c.id == commitment.id).values(**values))

    def _record(self, subject: Subject, commitment: Commitment, event: str, outcome: str, details: dict[str, int | str]) -> None:
        self._door.record([Entry(
            event=event, action=Action.INSTANCE_COMMIT, outcome=outcome, subject=subject, details={
                "transaction": commitment.transaction_uid, "device": commitment.ae_title, "tries": commitment.tries,
            } | details)])
