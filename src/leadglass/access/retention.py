"""Retention: the rules, what is due, and the chore that deletes it. Each study is a transaction and a record of its own.

Steps of `run`: 1 the clock is believed (it has not jumped since this process began); 2 what is due is counted, holds left
out; 3 more than the guard permits at once stops the run and alerts: a wrong rule or a wrong clock looks like that;
4 at most a run's number of studies is deleted, each asked once more inside its transaction.
"""

import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
import structlog

from leadglass.archive.life.retention import DAY, Rule, due_of, due_studies, is_on_hold, load_rules, set_rule
from leadglass.audit import Entry, Event, Outcome
from leadglass.errors import Conflict, LeadglassError, Malformed
from leadglass.storage import tables as t
from leadglass.terms import Action, Resource, ResourceKind, Subject

if TYPE_CHECKING:
    from leadglass.access.door import Door
    from leadglass.settings import Settings
    from leadglass.storage.database import Database

__all__ = ["Retention"]

_log = structlog.get_logger()
_ARCHIVE: Final = Resource(kind=ResourceKind.ARCHIVE)
_MODALITY: Final = re.compile(r"[A-Z0-9_]{0,16}")
_MOST_DAYS: Final = 36500
_FEW: Final = 20  # so many at once are never called a mass deletion for their share alone
_CLOCK_SLACK: Final = 3600.0
_NOTICE_SECONDS: Final = 26 * 3600.0
_MAX_LISTED: Final = 1000


class Retention:
    """One process's retention. `delete` is Keeping.delete."""

    def __init__(
        self, database: "Database", door: "Door", settings: "Settings", delete: Callable[..., Any],
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
    ) -> None:
        self._database, self._door, self._settings, self._delete = database, door, settings, delete
        self._clock, self._steady = clock, steady
        self._began = clock() - steady()

    # --- rules ------------------------------------------------------------------------------------------------------
    def set_rule(
        self, subject: Subject, *, site: str, modality: str, keep_days: int, delete_after_days: int | None
    ) -> Rule:
        """Set the rule of a site and modality ("" = any); it takes effect after 24 h.

        Raises: NeedsProof, Refused, Malformed.
        """
        site, modality = _named(site, modality)
        if not 0 <= keep_days <= _MOST_DAYS:
            raise Malformed(f"days to keep: 0 to {_MOST_DAYS}.")
        if delete_after_days is not None and not max(1, keep_days) <= delete_after_days <= _MOST_DAYS:
            raise Malformed(f"days until deletion: at least the days to keep, 1 to {_MOST_DAYS}; empty for never.")
        return self._write(subject, site=site, modality=modality, keep_days=keep_days, delete_after_days=delete_after_days)

    def remove_rule(self, subject: Subject, *, site: str, modality: str) -> Rule:
        """Remove a rule; that too takes effect after 24 h. Raises: NeedsProof, Refused, Missing, Malformed."""
        site, modality = _named(site, modality)
        return self._write(subject, site=site, modality=modality, keep_days=0, delete_after_days=None, is_removed=True)

    def _write(self, subject: Subject, **values: Any) -> Rule:
        with self._door.act(subject, Action.RETENTION_SET, _ARCHIVE) as passage:
            rule = set_rule(passage.connection, **values, set_by=subject.name, now=self._clock())
            passage.details |= {
                "what": "rule removed" if rule.is_removed else "rule set", "site": rule.site, "modality": rule.modality,
                "keep_days": rule.keep_days, "delete_after_days": rule.delete_after_days, "effective_at": rule.effective_at,
            }
        return rule

    def list_rules(self, subject: Subject) -> list[dict[str, Any]]:
        """Return the rules in force, and the changes that wait out their grace. Raises: Refused."""
        self._door.enter(subject, Action.RETENTION_LIST, _ARCHIVE)
        with self._database.read() as connection:
            rules = load_rules(connection, self._clock())
        found = [_facts(r, "in force") for r in rules.current.values()]
        found += [_facts(r, "ends soon" if r.is_removed else "not yet") for r in rules.pending.values()]
        return sorted(found, key=lambda f: (f["site"], f["modality"], f["effective_at"]))

    # --- what is due --------------------------------------------------------------------------------------------------
    def list_due(self, subject: Subject, *, within_days: int = 0) -> list[dict[str, Any]]:
        """Return what deletes itself within so many days, soonest first, at most 1000. Raises: Refused."""
        self._door.enter(subject, Action.RETENTION_LIST, _ARCHIVE)
        with self._database.read() as connection:
            found = [
                {"study": row.study_uid, "site": row.site, "modalities": [m for m in row.modalities.split("\\") if m],
                 "instances": row.instance_count, "delete_at": due.delete_at, "rule": due.rule,
                 "on_hold": is_on_hold(connection, row.study_uid)}
                for row, due in due_studies(connection, self._clock(), within_seconds=max(0, within_days) * DAY)
            ]
        return sorted(found, key=lambda f: f["delete_at"])[:_MAX_LISTED]

    # --- the run ------------------------------------------------------------------------------------------------------
    def run(self, subject: Subject, *, is_dry: bool = False, expect: int | None = None) -> dict[str, Any]:
        """Delete what is due, and say how many were due, deleted and left.

        Args: expect: so many are due, as a person has seen: the guard of step 3 lets exactly that number pass.
        Raises: Refused; Conflict, when step 1 or 3 stops the run (recorded as an alert).
        """
        now = self._clock()
        self._door.enter(subject, Action.RETENTION_LIST if is_dry else Action.STUDY_DELETE,
                         _ARCHIVE if is_dry else Resource(kind=ResourceKind.STUDY))
        with self._database.read() as connection:
            due = [(row.study_uid, what.rule) for row, what in due_studies(connection, now)
                   if not is_on_hold(connection, row.study_uid)]  # step 2
            total = connection.execute(sa.select(sa.func.count()).select_from(t.studies)).scalar_one()
        report: dict[str, Any] = {"due": len(due), "deleted": 0, "failed": 0, "studies": total, "is_dry": is_dry,
                  "guard": self._guard(len(due), total)}
        if is_dry or not due:
            return report
        if abs(self._clock() - self._steady() - self._began) > _CLOCK_SLACK:  # step 1
            self._stop(subject, "the clock has jumped", report)
        if report["guard"] and expect != len(due):  # step 3
            self._stop(subject, report["guard"], report)
        for study_uid, rule in due[: self._settings.retention_run_studies]:  # step 4
            try:
                self._delete(subject, study_uid, reason=f"retention: {rule}"[:300], check=self._still_due(study_uid))
                report["deleted"] += 1
            except LeadglassError as e:  # put on hold, grown or gone meanwhile: recorded by the door
                report["failed"] += 1
                _log.warning("retention_skipped", error=type(e).__name__)
        self._door.record([Entry(
            event=Event.SYSTEM, action=Action.STUDY_DELETE, outcome=Outcome.DONE, subject=subject,
            details={"what": "retention run", **{k: report[k] for k in ("due", "deleted", "failed", "studies")}},
        )])
        return report

    def _guard(self, due: int, total: int) -> str:
        """Return why so many at once are suspicious, or ""."""
        most, percent = self._settings.retention_guard_studies, self._settings.retention_guard_percent
        if due > most:
            return f"{due} studies are due at once, more than retention_guard_studies ({most})"
        if due > _FEW and due * 100 > percent * total:
            return f"{due} of {total} studies are due at once, more than retention_guard_percent ({percent})"
        return ""

    def _stop(self, subject: Subject, why: str, report: dict[str, Any]) -> None:
        self._door.record([Entry(
            event=Event.ALERT, action=Action.STUDY_DELETE, outcome=Outcome.REFUSED, subject=subject,
            details={"what": "retention stopped", "why": why, "due": report["due"], "studies": report["studies"]},
        )])
        _log.error("retention_stopped", due=report["due"], studies=report["studies"])
        raise Conflict(
            f"nothing was deleted: {why}. Look at the clock, at leadglass retention list and at leadglass retention due; if all "
            f"is right: leadglass retention run --expect {report['due']}")

    def _still_due(self, study_uid: str) -> Callable[[sa.Connection], None]:
        """Return the question that the transaction asks once more; holds and days to keep are asked there anyway."""

        def check(connection: sa.Connection) -> None:
            s = t.studies.c
            row = connection.execute(sa.select(t.studies).where(s.study_uid == study_uid)).first()
            now = self._clock()
            if row is None:
                return  # said as Missing by what follows
            due = due_of(connection, load_rules(connection, now), row)
            if due.delete_at is None or due.delete_at > now:
                raise Conflict("no longer due.")

        return check

    def notices(self) -> list[str]:
        """Say that the last run was stopped, until one goes through."""
        c = t.ledger.c
        with self._database.read() as connection:
            row = connection.execute(
                sa.select(c.event).where(
                    c.time > self._clock() - _NOTICE_SECONDS, c.action == str(Action.STUDY_DELETE),
                    c.event.in_([Event.ALERT, Event.SYSTEM]))
                .order_by(c.index.desc()).limit(1)).first()
        if row is None or row.event != Event.ALERT:
            return []
        return [("Retention has stopped itself: unusually many studies are due at once, or the clock has jumped. "
                "Nothing was deleted.")]


def _named(site: str, modality: str) -> tuple[str, str]:
    site, modality = site.strip(), modality.strip().upper()
    if len(site) > 64 or not site.isprintable():
        raise Malformed("a site's name is at most 64 characters.")
    if not _MODALITY.fullmatch(modality):
        raise Malformed("a modality is a code such as CT, MR or DX; empty for any.")
    return site, modality


def _facts(rule: Rule, state: str) -> dict[str, Any]:
    return {
        "site": rule.site, "modality": rule.modality, "keep_days": rule.keep_days,
        "delete_after_days": rule.delete_after_days, "state": state, "set_by": rule.set_by, "set_at": rule.set_at,
        "effective_at": rule.effective_at,
    }
