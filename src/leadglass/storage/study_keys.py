"""One data key a study, wrapped by the key-encryption key, kept in the index."""

import secrets
import threading
import time
from collections import OrderedDict

import sqlalchemy as sa

from leadglass.crypto.keyring import Keyring
from leadglass.errors import Missing
from leadglass.storage.database import Database
from leadglass.storage.tables import study_keys

__all__ = ["StudyKeys"]

_CACHE = 512


class StudyKeys:
    """Finds and makes study keys. Safe in threads."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring
        self._lock = threading.Lock()
        self._cache: OrderedDict[str, tuple[bytes, bytes]] = OrderedDict()

    def for_study(self, study_uid: str, *, create: bool) -> tuple[bytes, bytes]:
        """Return (key id, data key). With `create`, two processes that come at once get the same new key.

        Raises: Missing, Damaged.
        """
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
            self._cache[study_uid] = found
            while len(self._cache) > _CACHE:
                self._cache.popitem(last=False)
        return found

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
