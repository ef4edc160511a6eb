"""The revocation page: one shared mapping that says which epoch is current.

The epoch is raised in the database transaction that takes something away. A watcher publishes it here together with a
time stamp; whoever takes away publishes too. A worker compares numbers, without a database call. A page that is older
than one second is not believed: the worker then asks the database itself, and refuses if it cannot.
"""

import contextlib
import mmap
import os
import struct
import threading
import time
from pathlib import Path

import sqlalchemy as sa

from leadglass.errors import Busy
from leadglass.storage import tables as t
from leadglass.storage.database import Database

__all__ = ["RevocationPage"]

_PAGE = struct.Struct("<QQ")  # epoch, CLOCK_MONOTONIC in ns (one clock for all processes of a machine)
_STALE_NS = 1_000_000_000
_POLL_SECONDS = 0.2


class RevocationPage:
    """The current epoch, for one process. Safe in threads."""

    def __init__(self, database: Database, run_dir: Path) -> None:
        """Map `run_dir/epoch`, making it if need be."""
        self._database = database
        run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(run_dir / "epoch", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, mmap.PAGESIZE)
            self._page = mmap.mmap(descriptor, mmap.PAGESIZE)
        finally:
            os.close(descriptor)
        self._stop = threading.Event()

    def current(self) -> int:
        """Return the epoch as of at most one second ago. Raises: Busy, when neither page nor database answers."""
        epoch, stamp = _PAGE.unpack_from(self._page)
        if 0 <= time.monotonic_ns() - stamp < _STALE_NS:
            return int(epoch)
        return self.publish()

    def publish(self) -> int:
        """Read the epoch from the database, put it on the page, and return it."""
        stamp = time.monotonic_ns()  # taken before the read: the page never claims to be fresher than it is
        try:
            with self._database.read() as connection:
                epoch = int(connection.execute(sa.select(t.epoch.c.value).where(t.epoch.c.id == 0)).scalar_one())
        except sa.exc.SQLAlchemyError as e:
            raise Busy("the revocation state cannot be read; nothing is given out until it can.") from e
        shown, shown_at = _PAGE.unpack_from(self._page)
        # Another process may have published a later one since our read: the page goes back only when it is stale.
        if epoch >= shown or not 0 <= stamp - shown_at < _STALE_NS:
            _PAGE.pack_into(self._page, 0, epoch, stamp)
        return epoch

    def watch(self) -> threading.Thread:
        """Start the watcher (one process of the server runs it)."""
        thread = threading.Thread(target=self._watch, name="revocation", daemon=True)
        thread.start()
        return thread

    def _watch(self) -> None:
        while not self._stop.wait(_POLL_SECONDS):
            with contextlib.suppress(Busy):  # the page goes stale, and workers see that
                self.publish()

    def close(self) -> None:
        """Stop the watcher."""
        self._stop.set()
