"""One data key a study, wrapped by the key-encryption key, kept in the index."""

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

import sqlalchemy as sa

from leadglass.crypto.keyring import Keyring
from leadglass.errors import Damaged, Missing
from leadglass.storage.database import Database
from leadglass.storage.tables import study_keys

__all__ = ["StudyKeys"]

_CACHE = 512


class StudyKeys:
    """Finds, makes and destroys study keys. Safe in threads.

    The cache is dropped whole when `version` (the revocation epoch) moves: a destroyed key is forgotten in every process.
    Unsafe to rely on: that a key from `for_study` still stands when its object is indexed; ask `stands` in that transaction.
    """

    def __init__(self, database: Database, keyring: Keyring, version: Callable[[], int] = lambda: 0) -> None:
        self._database = database
        self._keyring = keyring
        self._version = version
        self._seen = 0
        self._lock = threading.Lock()
        self._cache: OrderedDict[str, tuple[bytes, bytes]] = OrderedDict()

    def for_study(self, study_uid: str, *, create: bool) -> tuple[bytes, bytes]:
        """Return (key id, data key). With `create`, two processes that come at once get the same new key.

        Raises: Missing, Damaged.
        """
        version = self._version()
        self._drop_old(version)
        with self._lock:
            known = self._cache.get(study_uid)
            if known is not None:
                self._cache.move_to_end(study_uid)
                return known
        with self._database.read() as connection:
            found = self._find(connection, study_uid)
        if found is None:
            if not create:
                raise Missing("no key for this study: it was never stored, or its key was destroyed.")
            with self._database.write() as connection:
                found = self._find(connection, study_uid) or self._make(connection, study_uid)
        with self._lock:
            if self._seen == version:
                self._cache[study_uid] = found
            while len(self._cache) > _CACHE:
                self._cache.popitem(last=False)
        return found

    def stands(self, connection: sa.Connection, study_uid: str, key_id: bytes) -> bool:
        """Return whether this is the study's key in the caller's transaction: what it encrypts can be read later."""
        row = connection.execute(sa.select(study_keys.c.key_id).where(study_keys.c.study_uid == study_uid)).first()
        return row is not None and row.key_id == key_id

    def destroy(self, connection: sa.Connection, study_uid: str) -> bool:
        """Destroy a study's wrapped key, in the caller's transaction, which must raise the epoch; say if there was one."""
        return bool(connection.execute(sa.delete(study_keys).where(study_keys.c.study_uid == study_uid)).rowcount)

    def verify_page(self, after: str, limit: int) -> list[tuple[str, bool]]:
        """Return (Study Instance UID, whether its wrapped key opens) of the next keys after `after`, in order."""
        k = study_keys.c
        with self._database.read() as connection:
            rows = connection.execute(sa.select(study_keys).where(k.study_uid > after).order_by(k.study_uid).limit(limit)).all()
        return [(row.study_uid, self._opens(row)) for row in rows]

    def _opens(self, row: "sa.Row[tuple[object, ...]]") -> bool:
        try:
            self._keyring.unwrap(row.kek_version, row.wrapped, _context(row.study_uid, row.key_id))
        except Damaged:
            return False
        return True

    def forget(self, study_uid: str) -> None:
        """Drop a key from this process's memory."""
        with self._lock:
            self._cache.pop(study_uid, None)

    def forget_old(self) -> None:
        """Drop every key that was read under an older epoch. Called now and then, so that a destroyed key does not linger."""
        self._drop_old(self._version())

    def _drop_old(self, version: int) -> None:
        with self._lock:
            if self._seen != version:
                self._cache.clear()
                self._seen = version

    def _find(self, connection: sa.Connection, study_uid: str) -> tuple[bytes, bytes] | None:
        row = connection.execute(sa.select(study_keys).where(study_keys.c.study_uid == study_uid)).first()
        if row is None:
            return None
        return row.key_id, self._keyring.unwrap(row.kek_version, row.wrapped, _context(study_uid, row.key_id))

    def _make(self, connection: sa.Connection, study_uid: str) -> tuple[bytes, bytes]:
        key_id, key = secrets.token_bytes(16), secrets.token_bytes(32)
        version, wrapped = self._keyring.wrap(key, _context(study_uid, key_id))
        connection.execute(sa.insert(study_keys).values(
            study_uid=study_uid, key_id=key_id, kek_version=version, wrapped=wrapped, created_at=time.time()))
        return key_id, key


def _context(study_uid: str, key_id: bytes) -> bytes:
    """Bind a wrapped key to its study: two rows swapped by someone with the database do not open."""
    return b"leadglass study key\x00" + study_uid.encode() + b"\x00" + key_id
