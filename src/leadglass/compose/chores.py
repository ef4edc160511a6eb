"""The chores of a running server: one process does them for all."""

import contextlib
import os
import time
from pathlib import Path

import structlog

from leadglass.access import House
from leadglass.audit import Entry, Event, Outcome
from leadglass.compose.home import Home
from leadglass.compose.preparer import Preparer
from leadglass.compose.scrubber import Scrubber
from leadglass.errors import Conflict
from leadglass.terms import Action

__all__ = ["Chores"]

_log = structlog.get_logger()
_CLOSE_SECONDS = 5.0
_CHECKPOINT_SECONDS = 60.0
_SWEEP_SECONDS = 3600.0
_RESERVE_SECONDS = 10.0
_SORT_SECONDS = 2.0
_TELL_SECONDS = 30.0
_PURGE_SECONDS = 300.0
_RETENTION_SECONDS = 86400.0
_RETENTION_FIRST_SECONDS = 600.0  # after a start: long enough to look at a clock that is wrong


class Chores:
    """What is due when. `tick` never raises: a chore that fails is logged and tried again."""

    def __init__(self, home: Home, house: House) -> None:
        self._home = home
        self._house = house
        self._subject = house.entrance.system("chores")
        now = time.time()
        self._due = {
            self._close_grants: now + _CLOSE_SECONDS, self._checkpoint: now + _CHECKPOINT_SECONDS,
            self._sweep: now + 30.0, self._keep_reserve: now, self._sort: now + 1.0, self._tell_overdue: now + 5.0,
            self._purge: now + 20.0, self._retain: now + _RETENTION_FIRST_SECONDS,
        }
        self._every = {
            self._close_grants: _CLOSE_SECONDS, self._checkpoint: _CHECKPOINT_SECONDS, self._sweep: _SWEEP_SECONDS,
            self._keep_reserve: _RESERVE_SECONDS, self._sort: _SORT_SECONDS, self._tell_overdue: _TELL_SECONDS,
            self._purge: _PURGE_SECONDS, self._retain: _RETENTION_SECONDS,
        }
        self._scrubber = Scrubber(house)
        self._preparer = Preparer(house)

    def start(self) -> None:
        """Publish the epoch, record the start. Ref: PS3.15 A.5.3.1, event type 110120."""
        self._house.page.publish()
        self._house.page.watch()
        self._record("start")
        self._scrubber.start()
        self._preparer.start()

    def stop(self) -> None:
        """Record the stop (110121), sign a last checkpoint, fold the write-ahead log."""
        self._preparer.stop()
        self._scrubber.stop()
        self._close_grants()
        self._record("stop")
        self._checkpoint()
        self._house.page.close()
        self._house.database.checkpoint()

    def tick(self, now: float) -> None:
        """Do what is due."""
        for chore, due in list(self._due.items()):
            if now < due:
                continue
            self._due[chore] = now + self._every[chore]
            try:
                chore()
            except Exception as e:  # noqa: BLE001 - one chore must not end the others
                _log.error("chore_failed", chore=chore.__name__.strip("_"), error=type(e).__name__)

    def _record(self, what: str) -> None:
        self._house.door.record([Entry(
            event=Event.SYSTEM, action=Action.SYSTEM_SERVE, outcome=Outcome.DONE, subject=self._subject,
            details={"what": what, "pid": os.getpid()},
        )])

    def _close_grants(self) -> None:
        while self._house.door.close_grants(self._subject) == 500:
            pass

    def _checkpoint(self) -> None:
        self._home.write_checkpoint(self._house.database)

    def _sweep(self) -> None:
        """Delete objects that no row names: leftovers of a kill between write and commit, an hour old at least."""
        removed = self._house.sweep(older_than_seconds=3600.0)
        if removed:
            _log.info("swept", objects=removed)

    def _sort(self) -> None:
        """Find out what the versions are that came under known identifiers."""
        self._house.reconcile_chores.sort(self._subject)

    def _tell_overdue(self) -> None:
        """Put what is overdue into the ledger, once each."""
        self._house.reconcile_chores.tell_overdue(self._subject)

    def _purge(self) -> None:
        """Delete versions that were decided against, after their last day."""
        removed = self._house.reconcile_chores.purge(self._subject)
        if removed:
            _log.info("versions_purged", objects=removed)
    def _retain(self) -> None:
        """Delete what retention has ended. What is stopped there (a guard, the clock) is an alert already."""
        with contextlib.suppress(Conflict):
            report = self._house.keeping.retention.run(self._house.entrance.system("retention"))
            if report["deleted"]:
                self._house.keeping.fold_log()
                _log.info("retention", deleted=report["deleted"], due=report["due"], failed=report["failed"])

    def _keep_reserve(self) -> None:
        """Keep a ballast file, and give it up to the ledger when the disk is nearly full."""
        settings = self._home.settings
        path = Path(settings.home) / "ledger.reserve"
        free = self._house.free_bytes()
        if path.exists():
            if free < settings.ledger_reserve_bytes // 8:
                path.unlink()
                _log.error("ledger_reserve_released", free_bytes=free)
        elif free > settings.disk_reserve_bytes + 2 * settings.ledger_reserve_bytes:
            with path.open("wb") as f:
                os.posix_fallocate(f.fileno(), 0, settings.ledger_reserve_bytes)
