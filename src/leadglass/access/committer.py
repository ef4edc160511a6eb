"""Make staged instances part of the archive: object durable; then index and ledger row in one transaction; then the answer.

Group commit: the first thread that comes becomes the leader and takes along whatever has queued up meanwhile, so
that sixteen associations pay for one durable commit. An instance is acknowledged only when `commit` has returned.
"""

import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field, replace

import sqlalchemy as sa
import structlog

from leadglass.access.rejection_notes import Decide, follow_note
from leadglass.archive import Archive
from leadglass.archive.heads import keep_heads
from leadglass.archive.index import index_staged
from leadglass.archive.ingest import Outcome, OutcomeKind, Staged
from leadglass.archive.life.mending import mend
from leadglass.archive.life.quarantine import Quarantine
from leadglass.audit import Entry, Event, append
from leadglass.audit import Outcome as Ended
from leadglass.errors import Busy
from leadglass.storage.database import Database
from leadglass.terms import Action, Grant

__all__ = ["Committer"]

_log = structlog.get_logger()
_MAX_NAMED = 200  # instances named in one record; the counts are always whole


@dataclass
class _Waiting:
    grant: Grant
    staged: list[Staged]
    done: threading.Event = field(default_factory=threading.Event)
    outcomes: list[Outcome] = field(default_factory=list)
    error: BaseException | None = None


class Committer:
    """One process's group commit."""

    def __init__(self, database: Database, archive: Archive, decide: Decide, *, site: str) -> None:
        self._database = database
        self._archive = archive
        self._decide = decide
        self._site = site
        self._queue: list[_Waiting] = []
        self._queue_lock = threading.Lock()
        self._leader = threading.Lock()

    def commit(self, grant: Grant, staged: list[Staged]) -> list[Outcome]:
        """Return one outcome for each staged instance, in order; durable, with its ledger record.

        Raises: what the transaction raised, for every instance in it; Busy, for those whose study was deleted since they
        were encrypted. The objects are then swept as unknown.
        """
        for one in staged:  # step 1, each thread its own: nothing names an object that a power cut could take
            one.object.settle()
        waiting = _Waiting(grant, staged)  # step 2
        with self._queue_lock:
            self._queue.append(waiting)
        with self._leader:
            if not waiting.done.is_set():
                with self._queue_lock:
                    batch, self._queue = self._queue, []
                self._run(batch)
        if waiting.error is not None:
            raise waiting.error
        return waiting.outcomes

    def _run(self, batch: list[_Waiting]) -> None:
        now = time.time()
        try:
            with self._database.write() as connection:
                entries: list[Entry] = []
                quarantine = Quarantine(connection, self._archive.settings, now)
                for waiting in batch:
                    waiting.error = self._deleted_meanwhile(connection, waiting.staged)
                    if waiting.error is not None:
                        continue
                    notes: list[Entry] = []
                    waiting.outcomes = []
                    for staged in waiting.staged:
                        outcome = self._mended(connection, staged, index_staged(connection, staged, now, self._site, quarantine))
                        waiting.outcomes.append(outcome)
                        if staged.note is not None and outcome.kind is OutcomeKind.STORED:
                            notes.extend(follow_note(connection, self._decide, waiting.grant.subject, staged, now))
                    entries.extend(_entries(waiting))
                    entries.extend(notes)
                keep_heads(connection, [pair for w in batch if not w.error for pair in zip(w.staged, w.outcomes, strict=True)])
                if entries:
                    append(connection, entries)
        except BaseException as e:  # noqa: BLE001 - handed to every waiter, never swallowed
            for waiting in batch:
                waiting.error = e
        else:
            for waiting in batch:
                self._drop(waiting.outcomes)
        finally:
            for waiting in batch:
                waiting.done.set()

    def _deleted_meanwhile(self, connection: sa.Connection, staged: list[Staged]) -> Busy | None:
        """Return the refusal of objects whose study's key was destroyed since they were encrypted.

        To index them would be to acknowledge what nobody can read. Sent again, they come under the study's new key.
        """
        for study_uid, key_id in {(s.head.study_uid, s.key_id) for s in staged}:
            if not self._archive.study_keys.stands(connection, study_uid, key_id):
                self._archive.study_keys.forget(study_uid)
                return Busy("the study was deleted while this was sent; send it again.")
        return None

    def _mended(self, connection: sa.Connection, staged: Staged, outcome: Outcome) -> Outcome:
        """Return the outcome of a duplicate with what it mended: then the damaged object is the one to drop."""
        if outcome.kind is not OutcomeKind.DUPLICATE or outcome.drop != staged.object_name:
            return outcome
        old = mend(connection, self._archive.blobs, staged)
        return replace(outcome, drop=old, is_mended=True) if old else outcome

    def _drop(self, outcomes: list[Outcome]) -> None:
        """Delete the second copies of what was there already; a leftover is swept later."""
        for outcome in outcomes:
            if outcome.drop:
                try:
                    self._archive.blobs.delete(outcome.drop)
                except OSError as e:
                    _log.warning("duplicate_not_deleted", object=outcome.drop, error=type(e).__name__)


def _entries(waiting: _Waiting) -> list[Entry]:
    """Return one record a study, kind of outcome and task. Ref: PS3.15 A.5.3.7 (studies, not instances)."""
    groups: dict[tuple[str, OutcomeKind, int, str], list[tuple[Staged, Outcome]]] = defaultdict(list)
    for staged, outcome in zip(waiting.staged, waiting.outcomes, strict=True):
        groups[outcome.study_uid, outcome.kind, outcome.task, outcome.warning].append((staged, outcome))
    return [_entry(waiting.grant, study_uid, kind, pairs) for (study_uid, kind, _, _), pairs in groups.items()]


def _entry(grant: Grant, study_uid: str, kind: OutcomeKind, pairs: list[tuple[Staged, Outcome]]) -> Entry:
    outcome = pairs[0][1]
    details = {
        "kind": str(kind), "instances": len(pairs), "bytes": sum(s.length for s, _ in pairs), "under": grant.receipt.index,
        "objects": [[o.sop_instance_uid, s.digest.hex()] for s, o in pairs[:_MAX_NAMED]],
    }
    if mended := sum(o.is_mended for _, o in pairs):
        details["mended"] = mended
    if outcome.task:
        details["task"] = outcome.task
    if outcome.warning:
        details["warning"] = outcome.warning
    if outcome.differs:
        details["differs"] = sorted({keyword for _, o in pairs for keyword in o.differs})
    needs_a_look = kind in {OutcomeKind.CONFLICT, OutcomeKind.FULL} or outcome.differs
    return Entry(
        event=Event.ALERT if needs_a_look else Event.STORED, action=Action.INSTANCE_STORE,
        outcome=Ended.REFUSED if kind is OutcomeKind.FULL else Ended.DONE, subject=grant.subject, study_uid=study_uid,
        patient_id=pairs[0][0].head.attributes.patient_id, details=details,
    )
