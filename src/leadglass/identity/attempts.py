"""What slows guessing: failures are counted by account and by address; things that open once are remembered."""

import hashlib
import hmac
from typing import Final

import sqlalchemy as sa

from leadglass.errors import Busy
from leadglass.storage import tables as t

__all__ = ["check_pace", "failed", "spend", "succeeded"]

_FREE: Final = 5
_WINDOW: Final = 900.0
_LONGEST: Final = 900.0


def _key(secret: bytes, kind: str, value: str) -> str:
    return kind + ":" + hmac.new(secret, value.encode("utf-8", "replace"), hashlib.sha256).hexdigest()[:32]


def check_pace(connection: sa.Connection, secret: bytes, marks: dict[str, str], now: float) -> None:
    """Raise Busy while any of the marks (kind -> value) has to wait: 1 s, 2 s, 4 s... after five failures."""
    f = t.failures.c
    for kind, value in marks.items():
        query = sa.select(f.count.label("failures"), f.last_at).where(f.key == _key(secret, kind, value))
        row = connection.execute(query).first()
        if row is None or row.failures < _FREE:
            continue
        wait = min(_LONGEST, 2.0 ** min(row.failures - _FREE, 10)) - (now - row.last_at)
        if wait > 0:
            raise Busy("too many wrong tries; please wait.", retry_after_seconds=int(wait) + 1)


def failed(connection: sa.Connection, secret: bytes, marks: dict[str, str], now: float) -> None:
    """Count a failure for each mark; old counts are forgotten."""
    f = t.failures.c
    connection.execute(sa.delete(t.failures).where(f.last_at < now - _WINDOW))
    for kind, value in marks.items():
        key = _key(secret, kind, value)
        changed = connection.execute(sa.update(t.failures).where(f.key == key).values(count=f.count + 1, last_at=now)).rowcount
        if not changed:
            connection.execute(sa.insert(t.failures).values(key=key, count=1, last_at=now))


def succeeded(connection: sa.Connection, secret: bytes, marks: dict[str, str]) -> None:
    """Forget the failures of the marks."""
    for kind, value in marks.items():
        connection.execute(sa.delete(t.failures).where(t.failures.c.key == _key(secret, kind, value)))


def spend(connection: sa.Connection, what: bytes, *, expires_at: float, now: float) -> bool:
    """Return whether `what` is used for the first time; it is remembered until it would have expired anyway."""
    digest = hashlib.sha256(what).digest()
    connection.execute(sa.delete(t.spent).where(t.spent.c.expires_at < now))
    if connection.execute(sa.select(t.spent.c.hash).where(t.spent.c.hash == digest)).first():
        return False
    connection.execute(sa.insert(t.spent).values(hash=digest, expires_at=expires_at))
    return True
