"""What is kept and what is deleted: studies deleted for good, legal holds, and what stands behind a study's days.

Steps of `delete`: 1 the door decides (a person's proof is at most five minutes old); 2 in one transaction rows, grants and
the study's key go, the epoch is raised and the record is written; 3 objects are unlinked. A crash between 2 and 3 leaves
files that no row names and, of a whole study, no key opens: the sweep removes them.
"""

import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
import structlog

from leadglass.access.search_scope import study_resource
from leadglass.archive.life.deletion import Deleted, delete_rows
from leadglass.archive.life.retention import due_of, load_rules, open_holds
from leadglass.audit import Event, Outcome, read_rows
from leadglass.dicom.uids import is_valid_uid
from leadglass.errors import Conflict, LeadglassError, Malformed, Missing
from leadglass.storage import tables as t
from leadglass.storage.epoch import raise_epoch
from leadglass.terms import Action, Resource, ResourceKind, Subject

if TYPE_CHECKING:
    from leadglass.access.door import Door
    from leadglass.archive import Archive
    from leadglass.archive.life.scrub import Suspects
    from leadglass.storage.database import Database

__all__ = ["Keeping", "said_reason"]

_log = structlog.get_logger()
_ABSENT: Final = "no such study here."
_s, _q, _h = t.studies.c, t.quarantine.c, t.holds.c


def said_reason(text: str) -> str:
    """Return the reason that a person typed, on one line. Raises: Malformed, when it says nothing or too much."""
    found = " ".join(text.split())
    if not 4 <= len(found) <= 300 or not found.isprintable():
        raise Malformed("a reason is wanted, 4 to 300 characters: it stands in the ledger for good.")
    return found


class Keeping:
    """One process's keeping. Safe in threads. `retention` and `scrubbing` are its two long works."""

    def __init__(
        self, database: "Database", door: "Door", archive: "Archive", clock: Callable[[], float] = time.time,
        suspects: "Suspects | None" = None,
    ) -> None:
        from leadglass.access.retention import Retention
        from leadglass.access.scrubbing import Scrubbing

        self._database, self._door, self._archive, self._clock = database, door, archive, clock
        self.retention: Retention = Retention(database, door, archive.settings, self.delete, clock)
        self.scrubbing: Scrubbing = Scrubbing(database, door, archive, clock, suspects)

    # --- delete ---------------------------------------------------------------------------------------------------
    def delete(
        self, subject: Subject, study_uid: str, *, reason: str, series_uid: str | None = None,
        check: Callable[[sa.Connection], None] | None = None,
    ) -> Deleted:
        """Delete a study, or one series of it, for good; recorded with counts and digests.

        Args: check: asked inside the transaction; what it raises undoes everything.
        Raises: NeedsProof, Refused, Missing, Malformed, Conflict (hold, retention, versions that wait).
        Ref: PS3.15 A.5.3.8 (Study Deleted).
        """
        reason, now = said_reason(reason), self._clock()
        resource = self._resource(study_uid, now)
        self._door.flush_counts()
        with self._door.act(subject, Action.STUDY_DELETE, resource, event=Event.DELETED) as passage:  # step 1
            if check is not None:
                check(passage.connection)
            found = delete_rows(  # step 2
                passage.connection, self._archive.study_keys, study_uid, series_uid, by=subject.id, reason=reason, now=now)
            passage.details |= {"reason": reason, "series_uid": series_uid or "", **found.record()}
            passage.details["grants_closed"] = self._door.close_study(passage, study_uid, subject)
            raise_epoch(passage.connection)
        self._archive.study_keys.forget(study_uid)
        for name in found.objects:  # step 3
            try:
                self._archive.blobs.delete(name)
            except OSError as e:
                _log.warning("object_not_deleted", object=name, error=type(e).__name__)
        return found

    def fold_log(self) -> None:
        """Fold the write-ahead log, so that old pages with a destroyed key leave it; tried again when readers are at work."""
        with contextlib.suppress(sa.exc.SQLAlchemyError):
            self._database.checkpoint()

    def _resource(self, study_uid: str, now: float) -> Resource:
        if not is_valid_uid(study_uid):
            raise Malformed("that is no Study Instance UID.")
        with self._database.read() as connection:
            row = connection.execute(sa.select(t.studies).where(_s.study_uid == study_uid)).first()
        return study_resource(study_uid, row, now)

    # --- look -----------------------------------------------------------------------------------------------------
    def show(self, subject: Subject, study_uid: str) -> dict[str, Any]:
        """Return what is kept of a study and until when: identifiers, counts and days, nothing of the patient.

        Raises: Refused, Missing (never here, not even deleted).
        """
        now = self._clock()
        self._door.enter(subject, Action.HOLD_LIST, self._resource(study_uid, now))
        with self._database.read() as connection:
            study = connection.execute(sa.select(t.studies).where(_s.study_uid == study_uid)).first()
            deleted = [
                {"at": r.time, "by": r.record["subject"]["name"], "entry": r.index,
                 "instances": r.record["details"].get("instances", 0), "reason": r.record["details"].get("reason", ""),
                 "is_whole": bool(r.record["details"].get("whole_study"))}
                for r in read_rows(connection, study_uid=study_uid, events=[Event.DELETED], limit=50)
                if r.record.get("outcome") == Outcome.DONE
            ]
            if study is None and not deleted:
                raise Missing(_ABSENT)
            facts: dict[str, Any] = {"study": study_uid, "is_here": study is not None, "deleted": deleted, "holds": [
                {k: h[k] for k in ("id", "reason", "set_by", "set_at")} for h in open_holds(connection, study_uid)]}
            if study is None:
                return facts
            due = due_of(connection, load_rules(connection, now), study)
            i, e = t.instances.c, t.series.c
            counted = connection.execute(sa.select(
                sa.func.count(), sa.func.coalesce(sa.func.sum(i.length), 0), sa.func.count(i.rejection)
            ).where(i.study == study.id)).one()
            facts |= {
                "site": study.site, "modalities": [m for m in study.modalities.split("\\") if m],
                "received_at": study.received_at, "changed_at": study.changed_at,
                "series": [
                    {"series": r.series_uid, "modality": r.modality, "instances": r.instance_count}
                    for r in connection.execute(sa.select(e.series_uid, e.modality, e.instance_count)
                                                .where(e.study == study.id).order_by(e.id).limit(500))],
                "instances": counted[0], "bytes": int(counted[1]), "rejected": counted[2],
                "versions": connection.execute(
                    sa.select(sa.func.count()).select_from(t.quarantine).where(_q.study_uid == study_uid)).scalar_one(),
                "kept_until": due.kept_until or None, "delete_at": due.delete_at, "rule": due.rule,
                "counts_from": "receipt" if due.is_from_receipt else "StudyDate", "is_kept": due.kept_until > now,
            }
        return facts

    # --- holds ----------------------------------------------------------------------------------------------------
    def hold_set(self, subject: Subject, study_uid: str, *, reason: str) -> int:
        """Put a legal hold on a study; return its number. Raises: NeedsProof, Refused, Missing, Malformed."""
        reason, now = said_reason(reason), self._clock()
        with self._door.act(subject, Action.HOLD_SET, self._resource(study_uid, now)) as passage:
            if passage.connection.execute(sa.select(_s.id).where(_s.study_uid == study_uid)).first() is None:
                raise Missing(_ABSENT)
            added = passage.connection.execute(sa.insert(t.holds).values(
                study_uid=study_uid, reason=reason, set_by=subject.name, set_at=now))
            number = int(added.inserted_primary_key[0])  # type: ignore[index]
            passage.details |= {"what": "hold set", "hold": number, "reason": reason}
        return number

    def hold_release(self, subject: Subject, study_uid: str, *, reason: str, number: int = 0) -> int:
        """Release the open hold of a study, or the one of that number; return its number.

        Raises: NeedsProof, Refused, Missing, Malformed; Conflict, when several are open and no number is given.
        """
        reason, now = said_reason(reason), self._clock()
        with self._door.act(subject, Action.HOLD_SET, self._resource(study_uid, now)) as passage:
            found = [h for h in open_holds(passage.connection, study_uid) if number in {0, h["id"]}]
            if not found:
                raise Missing("no such open hold on this study. See: leadglass hold list")
            if len(found) > 1:
                numbers = ", ".join(str(h["id"]) for h in found)
                raise Conflict(f"several holds are open on this study: name one of {numbers} with --number.")
            passage.connection.execute(sa.update(t.holds).where(_h.id == found[0]["id"]).values(
                released_by=subject.name, released_at=now))
            passage.details |= {"what": "hold released", "hold": found[0]["id"], "reason": reason}
        return int(found[0]["id"])

    def hold_list(self, subject: Subject) -> list[dict[str, Any]]:
        """Return every open hold, oldest first. Raises: Refused."""
        self._door.enter(subject, Action.HOLD_LIST, Resource(kind=ResourceKind.STUDY))
        with self._database.read() as connection:
            return open_holds(connection)

    def room(self) -> dict[str, int]:
        """Return bytes stored, free and held in reserve, and what the quarantine uses of what it may; for a page."""
        settings = self._archive.settings
        i = t.instances.c
        with self._database.read() as connection:
            stored = int(connection.execute(sa.select(sa.func.coalesce(sa.func.sum(i.length), 0))).scalar_one())
            versions, octets = connection.execute(
                sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(_q.length), 0))).one()
        return {"stored": stored + int(octets), "free": self._archive.blobs.free_bytes(), "reserve": settings.disk_reserve_bytes,
                "versions": versions, "version_bytes": int(octets), "version_most": settings.quarantine_max_bytes}

    # --- what a console and a monitor ask ---------------------------------------------------------------------------
    def notices(self) -> list[str]:
        """Return what an administrator must hear on every page; no door: it says numbers and nothing of a patient."""
        try:
            return [*self.scrubbing.notices(), *self.retention.notices()]
        except (LeadglassError, sa.exc.SQLAlchemyError):
            return []
