"""The single witnessed door: decide, record, and only then a Grant. The only maker of Grant.

Steps of `enter`: 1 the epoch is read; 2 the policy decides on facts; 3 the decision is durable in the ledger;
4 a Grant comes out. No receipt, no grant; no grant, no bytes. `check` is for each answer and chunk.
Left to the caller: `check` before bytes leave, `count` after.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import sqlalchemy as sa

from leadglass.access.revocation import RevocationPage
from leadglass.access.standing import is_in_good_standing
from leadglass.audit import Entry, Event, Outcome, append
from leadglass.errors import Missing, Refused, Unproven
from leadglass.policy import Policy
from leadglass.storage import tables as t
from leadglass.storage.database import Database
from leadglass.terms import Action, Decision, Grant, Receipt, Resource, ResourceKind, Subject

__all__ = ["Door", "NeedsProof", "Passage"]

_CACHE = 4096
_Key = tuple[str, str, str]


class NeedsProof(Unproven):
    """Permitted, once the person has proved both factors again: the proof of this session is too old."""


@dataclass
class Passage:
    """What a change may use: the writer's transaction, and a place for facts that belong in its record."""

    connection: sa.Connection
    details: dict[str, Any] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)


class Door:
    """One process's door. Safe in threads."""

    def __init__(
        self, database: Database, policy: Policy, page: RevocationPage, *, site: str, grant_seconds: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._policy = policy
        self._page = page
        self._site = site
        self._seconds = grant_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._grants: dict[_Key, Grant] = {}
        self._counts: dict[_Key, tuple[Grant, list[int]]] = {}

    def decide(self, subject: Subject, action: Action, resource: Resource) -> Decision:
        """Return the policy's answer; records nothing (for lists of what a person may use).

        Where a device acts for a client, both must be permitted: the rights are those that they share.
        """
        return self._decide(subject, action, resource, self._clock())

    def _decide(self, subject: Subject, action: Action, resource: Resource, now: float) -> Decision:
        decision = self._policy.decide(subject, action, resource, site=self._site, now=now)
        if not decision.is_permitted or subject.acting_for is None:
            return decision
        other = self._decide(subject.acting_for, action, resource, now)
        return decision if other.is_permitted else other

    def would_permit(self, subject: Subject, action: Action, resource: Resource) -> bool:
        """Return whether the policy says yes, now or after a fresh proof; records nothing (for forms that may be shown)."""
        return self._decide(subject, action, resource, subject.authenticated_at).is_permitted

    def enter(self, subject: Subject, action: Action, resource: Resource) -> Grant:
        """Return a Grant, with its decision durable in the ledger.

        A session that has a live Grant for the same thing gets that one, in every process: one view, one entry.
        Raises: Refused and NeedsProof (recorded), Busy.
        """
        epoch = self._page.current()  # step 1
        key = _key(subject, action, resource)
        known = self._grants.get(key)
        now = self._clock()
        if known is not None and known.epoch == epoch and known.expires_at > now:
            return known
        decision = self.decide(subject, action, resource)  # step 2
        if not decision.is_permitted:
            self._refuse(subject, action, resource, decision)
        grant = self._grant(subject, action, resource, decision, epoch, now)  # steps 3 and 4
        with self._lock:
            if len(self._grants) >= _CACHE:
                self._grants = {k: g for k, g in self._grants.items() if g.expires_at > now}
                if len(self._grants) >= _CACHE:
                    self._grants.clear()
            self._grants[key] = grant
        return grant

    def known(self, subject: Subject, action: Action, kind: ResourceKind, resource_id: str) -> Grant | None:
        """Return the live Grant that this process knows, of the current epoch; no database call. Raises: Busy."""
        known = self._grants.get((subject.session_id, str(action), f"{kind}:{resource_id}"))
        if known is None or known.epoch != self._page.current() or known.expires_at <= self._clock():
            return None
        return known

    def _grant(
        self, subject: Subject, action: Action, resource: Resource, decision: Decision, epoch: int, now: float
    ) -> Grant:
        """Steps 3 and 4: find the live grant that another worker made, or record and make one."""
        session, act, what = _key(subject, action, resource)
        match = sa.and_(t.grants.c.session_id == session, t.grants.c.action == act, t.grants.c.resource == what)
        with self._database.write() as connection:
            if not is_in_good_standing(connection, subject, now):
                raise Unproven("the session has ended; sign in again.")
            row = connection.execute(sa.select(t.grants).where(match)).first()
            if row is not None and row.expires_at > now:
                receipt = Receipt(index=row.receipt_index, leaf_hash=row.leaf_hash)
                return Grant(subject=subject, action=action, resource=resource, receipt=receipt,
                             expires_at=row.expires_at, epoch=epoch)
            entries = [] if row is None else [closing_entry(row, subject)]
            entries.append(self._entry(subject, action, resource, decision, Outcome.DONE))
            receipt = append(connection, entries)[-1]
            connection.execute(sa.delete(t.grants).where(match))
            connection.execute(sa.insert(t.grants).values(
                session_id=session, action=act, resource=what, receipt_index=receipt.index,
                leaf_hash=receipt.leaf_hash, expires_at=now + self._seconds, epoch=epoch, subject=subject.id,
                subject_name=subject.name,
            ))
        return Grant(subject=subject, action=action, resource=resource, receipt=receipt,
                     expires_at=now + self._seconds, epoch=epoch)

    def epoch(self) -> int:
        """Return the current epoch, under which something may be kept in memory. Raises: Busy."""
        return self._page.current()

    def check(self, grant: Grant) -> None:
        """Return if the grant is good at this moment. Call it before each answer and each chunk; no database call.

        When the epoch has moved, the session's standing, the study's presence and the policy are asked once more.
        Raises: Unproven, Refused, Missing (the study was deleted, also when it was stored anew), Busy.
        """
        epoch = self._page.current()
        if grant.epoch == epoch:
            # A stream may outlive the minutes of its grant; it may not outlive a revocation, which moves the epoch.
            return
        key = _key(grant.subject, grant.action, grant.resource)
        known = self._grants.get(key)
        if known is not None and known.epoch == epoch and _since(known) == _since(grant):
            return
        with self._database.read() as connection:
            is_good = is_in_good_standing(connection, grant.subject, self._clock())
            is_there = _is_there(connection, grant)
        if not is_good or not is_there:
            with self._lock:
                self._grants.pop(key, None)
            if is_good:
                raise Missing("the study was deleted.")
            raise Unproven("the session has ended; sign in again.")
        if not self.decide(grant.subject, grant.action, grant.resource).is_permitted:
            raise Refused(f"{grant.action}: no longer permitted.")
        with self._lock:
            self._grants[key] = replace(grant, epoch=epoch)

    def count(self, grant: Grant, *, instances: int = 0, frames: int = 0, octets: int = 0) -> None:
        """Add to what the closing entry of this grant will say. Written out by `flush_counts`."""
        key = _key(grant.subject, grant.action, grant.resource)
        with self._lock:
            _, sums = self._counts.setdefault(key, (grant, [0, 0, 0]))
            sums[0] += instances
            sums[1] += frames
            sums[2] += octets

    def flush_counts(self) -> None:
        """Write the counts of this process to the grants in the database; to the ledger, where the grant is closed."""
        with self._lock:
            counts, self._counts = self._counts, {}
        if not counts:
            return
        g = t.grants.c
        late = []
        with self._database.write() as connection:
            for (session, action, resource), (grant, (instances, frames, octets)) in counts.items():
                changed = connection.execute(
                    sa.update(t.grants)
                    .where(g.session_id == session, g.action == action, g.resource == resource)
                    .values(instances=g.instances + instances, frames=g.frames + frames, bytes=g.bytes + octets)
                ).rowcount
                if not changed:
                    late.append(_late_entry(grant, instances, frames, octets))
            if late:
                append(connection, late)

    @contextmanager
    def act(self, subject: Subject, action: Action, resource: Resource, *, event: str = Event.CHANGE) -> Iterator[Passage]:
        """Give the transaction of a permitted change; its record is appended in the same transaction.

        Raises: Refused and NeedsProof (recorded), Unproven; any error inside the block undoes the change and records a failure.
        """
        decision = self.decide(subject, action, resource)
        if not decision.is_permitted:
            self._refuse(subject, action, resource, decision)
        try:
            with self._database.write() as connection:
                if not is_in_good_standing(connection, subject, self._clock()):
                    raise Unproven("the session has ended; sign in again.")
                passage = Passage(connection)
                yield passage
                entry = self._entry(subject, action, resource, decision, Outcome.DONE, event=event)
                append(connection, [replace(entry, details={**entry.details, **passage.details}), *passage.entries])
        except Exception as e:
            entry = self._entry(subject, action, resource, decision, Outcome.FAILED, event=event)
            self.record([replace(entry, details={**entry.details, "error": type(e).__name__})])
            raise
        self._page.publish()

    def record(self, entries: list[Entry]) -> list[Receipt]:
        """Append entries that are not decisions (authentication, findings); durable when it returns."""
        with self._database.write() as connection:
            return append(connection, entries)

    def _refuse(self, subject: Subject, action: Action, resource: Resource, decision: Decision) -> NoReturn:
        """Record a no, and raise it: NeedsProof where a fresh proof alone would make it a yes, else Refused."""
        self.record([self._entry(subject, action, resource, decision, Outcome.REFUSED)])
        if self.would_permit(subject, action, resource):
            raise NeedsProof(f"{action}: a fresh proof of both factors is wanted ({decision.rule}).")
        raise Refused(f"{action}: not permitted ({decision.rule}).")

    def _entry(
        self, subject: Subject, action: Action, resource: Resource, decision: Decision, outcome: str,
        *, event: str = Event.DECISION,
    ) -> Entry:
        is_study = resource.kind is ResourceKind.STUDY
        return Entry(
            event=event, action=action, outcome=outcome, subject=subject, rule=decision.rule,
            study_uid=resource.id if is_study else "", patient_id=resource.patient_id,
            details={} if is_study or not resource.id else {"resource": f"{resource.kind}:{resource.id}"},
        )

    def close_grants(self, subject: Subject, *, session_id: str | None = None, settled_seconds: float = 30) -> int:
        """Write closing entries for grants that ended (of one session, or all expired ones); return how many.

        `subject` is the chore or person on whose behalf the books are closed.
        """
        g = t.grants.c
        ended = g.session_id == session_id if session_id else g.expires_at < self._clock() - settled_seconds
        with self._database.write() as connection:
            rows = connection.execute(sa.select(t.grants).where(ended).limit(500)).all()
            if rows:
                append(connection, [closing_entry(row, subject) for row in rows])
                for row in rows:
                    connection.execute(sa.delete(t.grants).where(
                        g.session_id == row.session_id, g.action == row.action, g.resource == row.resource))
        return len(rows)


    def close_study(self, passage: Passage, study_uid: str, subject: Subject) -> int:
        """Close every grant on a study inside a change that takes it away; return how many."""
        g = t.grants.c
        mine = g.resource == f"{ResourceKind.STUDY}:{study_uid}"
        rows = passage.connection.execute(sa.select(t.grants).where(mine)).all()
        passage.entries.extend(closing_entry(row, subject) for row in rows)
        passage.connection.execute(sa.delete(t.grants).where(mine))
        return len(rows)


def closing_entry(row: Any, subject: Subject) -> Entry:
    """Return the entry that closes a grant: who had it, and what it was used for."""
    kind, _, name = row.resource.partition(":")
    return Entry(
        event=Event.OUTCOME, action=Action(row.action), outcome=Outcome.DONE, subject=subject,
        study_uid=name if kind == ResourceKind.STUDY else "",
        details={
            "closes": row.receipt_index, "of": row.subject, "of_name": row.subject_name, "session": row.session_id,
            "instances": row.instances, "frames": row.frames, "bytes": row.bytes,
        },
    )


def _late_entry(grant: Grant, instances: int, frames: int, octets: int) -> Entry:
    """Return the entry for what was given out under a grant whose books were closed meanwhile."""
    is_study = grant.resource.kind is ResourceKind.STUDY
    return Entry(
        event=Event.OUTCOME, action=grant.action, outcome=Outcome.DONE, subject=grant.subject,
        study_uid=grant.resource.id if is_study else "",
        details={"late": True, "under": grant.receipt.index, "instances": instances, "frames": frames, "bytes": octets},
    )


def _since(grant: Grant) -> object:
    """Return which life of a study the grant is for: one that is stored anew after its deletion is another."""
    return grant.resource.facts.get("since")


def _is_there(connection: sa.Connection, grant: Grant) -> bool:
    if grant.resource.kind is not ResourceKind.STUDY or _since(grant) is None:
        return True
    s = t.studies.c
    row = connection.execute(sa.select(s.received_at).where(s.study_uid == grant.resource.id)).first()
    return row is not None and int(row.received_at * 1e6) == _since(grant)


def _key(subject: Subject, action: Action, resource: Resource) -> _Key:
    return subject.session_id, str(action), f"{resource.kind}:{resource.id}"
