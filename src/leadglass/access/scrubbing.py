"""Scrub rounds: when one is due, how far it is, what it found, and what mends it.

Progress, findings and their records are written in one transaction after each batch, so that a round that was cut goes on
where it was and tells each finding once. A finding stays open until its object verifies again, is replaced by the same
instance sent again, or is deleted.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
import structlog

from leadglass.archive.derived import drop
from leadglass.archive.life.retention import DAY
from leadglass.archive.life.scrub import Batch, Suspects, next_batch, total_of, verify_named
from leadglass.audit import Entry, Event, Outcome, append
from leadglass.storage import tables as t
from leadglass.terms import Action, Resource, ResourceKind, Subject

if TYPE_CHECKING:
    from leadglass.access.door import Door
    from leadglass.archive import Archive
    from leadglass.storage.database import Database

__all__ = ["ADVICE", "Scrubbing"]

_log = structlog.get_logger()
_SYSTEM: Final = Resource(kind=ResourceKind.SYSTEM)
_MAX_NAMED: Final = 50
_MAX_LISTED: Final = 500
_BATCH: Final = 500
_TELL_SECONDS: Final = DAY
ADVICE: Final = {
    "damaged": "does not verify and is given to nobody. Send the instance again (the same content mends it), or restore it.",
    "missing": "its file is not there. Send the instance again (the same content mends it), or restore it.",
    "content": "verifies, and is not what was stored. Restore the index and the objects from one backup.",
    "key": "the study's key does not open. Restore the index from a backup; without the key the study is lost.",
    "count": "the index counts other instances than there are. Report this fault; the images are not touched by it.",
}
_r, _f, _s = t.scrub_runs.c, t.findings.c, t.studies.c


@dataclass(frozen=True, kw_only=True)
class _Round:
    id: int
    phase: str
    cursor: int


class Scrubbing:
    """One process's view of the rounds. One thread of the chores process goes round; the command line may too."""

    def __init__(
        self, database: "Database", door: "Door", archive: "Archive", clock: Callable[[], float] = time.time,
        suspects: Suspects | None = None,
    ) -> None:
        self._database, self._door, self._archive, self._clock = database, door, archive, clock
        self._suspects = suspects or Suspects()
        self._days = archive.settings.scrub_days
        self._told_at = 0.0

    # --- a round --------------------------------------------------------------------------------------------------
    def run(self, subject: Subject, *, progress: Callable[[int, int], None] = lambda _done, _of: None) -> dict[str, Any]:
        """Go one whole round now, at full speed, and return its report. Raises: Refused."""
        self._door.enter(subject, Action.SYSTEM_SCRUB, _SYSTEM)
        with self._database.write() as connection:
            connection.execute(sa.update(t.scrub_runs).where(
                _r.state == "running", _r.started_by == subject.id).values(state="cut", ended_at=self._clock()))
            this = self._begin(connection, subject)
            total, _ = total_of(connection)
        done = 0
        while this.phase != "done":
            batch = next_batch(self._archive, this.phase, this.cursor)
            this = self._write(subject, this, batch)
            done += batch.objects
            progress(done, total)
        return self._report(this.id)

    def turn(self, subject: Subject, pace: Callable[[int], bool]) -> bool:
        """Do the next batch of the scheduled round, beginning one when it is due; return whether there is more to do now."""
        self._tell_overdue(subject)
        with self._database.read() as connection:
            row = connection.execute(sa.select(t.scrub_runs).where(
                _r.state == "running", _r.started_by == subject.id).order_by(_r.id.desc()).limit(1)).first()
            is_due = row is not None or self._is_due(connection)
        if not is_due:
            return False
        if row is None:
            self._door.enter(subject, Action.SYSTEM_SCRUB, _SYSTEM)
            with self._database.write() as connection:
                this = self._begin(connection, subject)
        else:
            this = _Round(id=row.id, phase=row.phase, cursor=row.cursor)
        return self._write(subject, this, next_batch(self._archive, this.phase, this.cursor, pace=pace)).phase != "done"

    def look(self, subject: Subject) -> int:
        """Verify what failed somebody's read in this process, so that it is a finding now and not in weeks; say how many."""
        names = self._suspects.take()
        if names:
            with self._database.read() as connection:
                known = set(connection.execute(
                    sa.select(_f.object_name).where(_f.state == "open", _f.object_name.in_(names))).scalars())
            names = [name for name in names if name not in known]
        if not names:
            return 0
        batch = verify_named(self._archive, names)
        self._suspects.take()  # what the verification itself has noted
        if batch.dropped and not batch.damages:
            drop(self._archive, batch.dropped)
        if batch.damages:
            with self._database.write() as connection:
                added = connection.execute(sa.insert(t.scrub_runs).values(
                    state="cut", started_by=subject.id, started_at=self._clock(), ended_at=self._clock()))
            run = int(added.inserted_primary_key[0])  # type: ignore[index]
            self._write(subject, _Round(id=run, phase="named", cursor=0), batch)
        return len(batch.damages)

    def _is_due(self, connection: sa.Connection) -> bool:
        """A round begins half its days after the last one ended: the other half is for the round itself."""
        last, now = _last_end(connection), self._clock()
        return last is None or now >= last + self._days * DAY / 2 or now < last - DAY  # the clock was set back

    def _begin(self, connection: sa.Connection, subject: Subject) -> _Round:
        added = connection.execute(sa.insert(t.scrub_runs).values(
            state="running", started_by=subject.id, started_at=self._clock()))
        return _Round(id=int(added.inserted_primary_key[0]), phase="instances", cursor=0)  # type: ignore[index]

    def _write(self, subject: Subject, this: _Round, batch: Batch) -> _Round:
        """Keep progress and findings; new ones are told now, and not again."""
        now = self._clock()
        if batch.dropped:
            _log.warning("derived_objects_dropped", objects=drop(self._archive, batch.dropped))
        with self._database.write() as connection:
            fresh = self._new_findings(connection, this, batch, now)
            _mend(connection, batch)
            connection.execute(sa.update(t.scrub_runs).where(_r.id == this.id).values(
                phase=batch.phase, cursor=batch.cursor, objects=_r.objects + batch.objects,
                verified=_r.verified + batch.verified, bytes=_r.bytes + batch.bytes, unknown=batch.unknown,
                findings=_r.findings + len(batch.damages),
                **({"state": "done", "ended_at": now} if batch.phase == "done" else {})))
            entries = []
            if fresh:
                entries.append(self._entry(subject, Event.ALERT, Outcome.FAILED, {
                    "what": "scrub finding", "findings": len(fresh),
                    "objects": [[f["what"], f["object_name"], f["study_uid"]] for f in fresh[:_MAX_NAMED]]}))
            if batch.phase == "done":
                row = connection.execute(sa.select(t.scrub_runs).where(_r.id == this.id)).one()
                entries.append(self._entry(subject, Event.SYSTEM, Outcome.DONE, {
                    "what": "scrub round", "objects": row.objects, "verified": row.verified, "bytes": row.bytes,
                    "findings": row.findings, "unknown": row.unknown, "seconds": int(now - row.started_at)}))
            if entries:
                append(connection, entries)
        for finding in fresh[:_MAX_NAMED]:
            _log.error("scrub_finding", what=finding["what"], object=finding["object_name"])
        return _Round(id=this.id, phase=batch.phase, cursor=batch.cursor)

    def _new_findings(self, connection: sa.Connection, this: _Round, batch: Batch, now: float) -> list[dict[str, Any]]:
        fresh = []
        for damage in batch.damages:
            same = sa.and_(_f.state == "open", _f.object_name == damage.object_name, _f.study_uid == damage.study_uid)
            if connection.execute(sa.select(_f.id).where(same)).first() is None:
                fresh.append({"run": this.id, "object_name": damage.object_name, "study_uid": damage.study_uid,
                              "what": damage.what, "found_at": now})
        if fresh:
            connection.execute(sa.insert(t.findings), fresh)
        return fresh

    @staticmethod
    def _entry(subject: Subject, event: str, outcome: str, details: dict[str, Any]) -> Entry:
        return Entry(event=event, action=Action.SYSTEM_SCRUB, outcome=outcome, subject=subject, details=details)

    # --- what is told ---------------------------------------------------------------------------------------------
    def _report(self, run: int) -> dict[str, Any]:
        with self._database.read() as connection:
            row = connection.execute(sa.select(t.scrub_runs).where(_r.id == run)).one()
            found = _open_findings(connection)
        return {"objects": row.objects, "verified": row.verified, "bytes": row.bytes, "unknown": row.unknown,
                "findings": [_sentence(f) for f in found]}

    def status(self, subject: Subject) -> dict[str, Any]:
        """Return when the last round ended, how far the present one is, and what is open. Raises: Refused."""
        self._door.enter(subject, Action.SYSTEM_SCRUB, _SYSTEM)
        return self.state()

    def state(self) -> dict[str, Any]:
        """Return the same for pages behind a door of their own."""
        with self._database.read() as connection:
            newest = sa.select(t.scrub_runs).order_by(_r.id.desc()).limit(1)
            last = connection.execute(newest.where(_r.state == "done")).first()
            now = connection.execute(newest.where(_r.state == "running")).first()
            total, octets = total_of(connection)
            found = _open_findings(connection)
            is_overdue, due_at = self._overdue(connection)
        return {
            "last_ended_at": last.ended_at if last else None, "last_objects": last.objects if last else 0,
            "last_verified": last.verified if last else 0, "last_bytes": last.bytes if last else 0,
            "last_unknown": last.unknown if last else 0, "days": self._days, "due_at": due_at, "is_overdue": is_overdue,
            "running_since": now.started_at if now else None, "running_phase": now.phase if now else "",
            "running_objects": now.objects if now else 0, "objects": total, "bytes": octets,
            "findings": [
                {**f, "advice": ADVICE.get(f["what"], ""), "sentence": _sentence(f)} for f in found],
        }

    def _overdue(self, connection: sa.Connection) -> tuple[bool, float | None]:
        """Return (is a round overdue, until when one must end); nothing is overdue in an empty archive."""
        last = _last_end(connection)
        if last is None:
            last = connection.execute(sa.select(sa.func.min(_s.received_at))).scalar()
        if last is None:
            return False, None
        return self._clock() > last + self._days * DAY, last + self._days * DAY

    def _tell_overdue(self, subject: Subject) -> None:
        """Alert once a day while a round is overdue."""
        now = self._clock()
        if now - self._told_at < _TELL_SECONDS:
            return
        with self._database.read() as connection:
            is_overdue, _ = self._overdue(connection)
        if is_overdue:
            self._told_at = now
            self._door.record([self._entry(subject, Event.ALERT, Outcome.FAILED, {"what": "scrub overdue", "days": self._days})])
            _log.error("scrub_overdue", days=self._days)

    def numbers(self) -> tuple[int, float, bool]:
        """Return (open findings, when the last round ended or 0, whether one is overdue), for monitors."""
        with self._database.read() as connection:
            count = connection.execute(sa.select(sa.func.count()).where(_f.state == "open")).scalar_one()
            return count, _last_end(connection) or 0.0, self._overdue(connection)[0]

    def gauges(self) -> dict[str, int]:
        """Return the same for /metrics, by name."""
        count, ended_at, is_overdue = self.numbers()
        return {"scrub_findings_open": count, "scrub_last_round_end_seconds": round(ended_at), "scrub_overdue": int(is_overdue)}

    def notices(self) -> list[str]:
        """Say what is damaged or overdue, in a sentence each."""
        count, _, is_overdue = self.numbers()
        said = []
        if count:
            said.append(f"{count} stored {'object needs' if count == 1 else 'objects need'} mending: a scrub found damage.")
        if is_overdue:
            said.append(f"The stored objects were not verified whole in the last {self._days} days.")
        return said


def _last_end(connection: sa.Connection) -> float | None:
    query = sa.select(_r.ended_at).where(_r.state == "done").order_by(_r.id.desc()).limit(1)
    return connection.execute(query).scalar()


def _open_findings(connection: sa.Connection) -> list[dict[str, Any]]:
    columns = sa.select(_f.what, _f.object_name, _f.study_uid, _f.found_at)
    rows = connection.execute(columns.where(_f.state == "open").order_by(_f.id).limit(_MAX_LISTED))
    return [dict(row) for row in rows.mappings()]


def _sentence(finding: dict[str, Any]) -> str:
    name = f"object {finding['object_name']}" if finding["object_name"] else f"study {finding['study_uid']}"
    return f"{name}: {ADVICE.get(finding['what'], finding['what'])}"


def _mend(connection: sa.Connection, batch: Batch) -> None:
    """Close findings whose object verifies now, or that a batch which looked everywhere did not see again."""
    is_open = _f.state == "open"
    if connection.execute(sa.select(_f.id).where(is_open).limit(1)).first() is None:
        return
    for at in range(0, len(batch.whole), _BATCH):
        connection.execute(sa.update(t.findings).where(
            is_open, _f.object_name.in_(batch.whole[at : at + _BATCH])).values(state="mended"))
    for what in batch.covers:
        seen = [d.study_uid for d in batch.damages if d.what == what]
        connection.execute(sa.update(t.findings).where(
            is_open, _f.what == what, _f.object_name == "", _f.study_uid.not_in(seen)).values(state="mended"))
