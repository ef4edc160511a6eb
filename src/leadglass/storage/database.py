"""The encrypted index: connections, transactions, one writer at a time.

Trusts: the raw key it is given. Refuses: a database that the key does not open. SQLAlchemy Core is the only way
in, and the SQL is portable; the engine embedded here is SQLite with page encryption (SQLCipher 4).
"""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlcipher3 import dbapi2 as sqlcipher

from leadglass.errors import Busy, Damaged, Full

__all__ = ["Database"]

_BUSY_MS = 5000


class Database:
    """One process's door to the index. Make it after fork, never before.

    `read()` gives a snapshot; `write()` gives the only writer's transaction, durable when the block ends.
    Unsafe to rely on: the order in which two waiting writers go.
    """

    def __init__(self, path: Path, key: bytes) -> None:
        """Open `path` (created if missing) with a raw 32-byte key."""
        self._path = path
        self._key = key.hex()
        self._writers = threading.Lock()
        # A file lock queues writers of all processes; SQLite alone would poll with sleeps of up to 100 ms.
        self._lock_fd = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.engine = sa.create_engine(
            "sqlite://", module=sqlcipher, creator=self._connect, poolclass=sa.pool.QueuePool, pool_size=8,
            max_overflow=56, hide_parameters=True,  # an error message never holds a row
        )
        try:
            with self.engine.connect() as connection:
                connection.exec_driver_sql("SELECT count(*) FROM sqlite_master")
        except sa.exc.DatabaseError as e:
            raise Damaged(f"{path.name}: cannot be read with this home's key. Is the key source the right one?") from e

    def _connect(self) -> sqlcipher.Connection:
        connection = sqlcipher.connect(str(self._path), check_same_thread=False, isolation_level=None)
        connection.execute(f"PRAGMA key = \"x'{self._key}'\"")
        for pragma in ("journal_mode = WAL", "synchronous = FULL", f"busy_timeout = {_BUSY_MS}", "foreign_keys = ON",
                       "temp_store = MEMORY", "secure_delete = ON", "cache_size = -8000",
                       "case_sensitive_like = ON"):
            connection.execute("PRAGMA " + pragma)
        return connection

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Give a connection for reading; autocommit, no transaction is left open."""
        try:
            connection = self.engine.connect()
        except sa.exc.TimeoutError as e:
            raise Busy("too many readers at once") from e
        try:
            yield connection
        finally:
            connection.rollback()
            connection.close()

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Give the writer's transaction: committed and durable at the end, rolled back on any exception. Raises: Full."""
        with self._writers:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
            try:
                connection = self.engine.connect()
                try:
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                    try:
                        yield connection
                        connection.commit()
                    except BaseException:
                        connection.rollback()
                        raise
                except sa.exc.OperationalError as e:
                    if "disk is full" in str(e.orig):
                        raise Full("the disk is full: nothing was changed.", retry_after_seconds=60) from e
                    raise
                finally:
                    connection.close()
            finally:
                fcntl.flock(self._lock_fd, fcntl.LOCK_UN)

    def checkpoint(self) -> None:
        """Fold the write-ahead log into the database file."""
        with self.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()
        os.close(self._lock_fd)
