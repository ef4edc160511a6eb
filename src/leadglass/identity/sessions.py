"""Sessions of people: server-side, found by the hash of a 256-bit secret. None is made with one factor.

A session locks after the idle time, ends after the absolute time, and dies at once when it is revoked.
Ref: SP 800-63B-4 2.2.3 (AAL2), 2.3.3 (AAL3), 5.
"""

import hashlib
import json
import secrets
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from leadglass.errors import Refused, Unproven
from leadglass.identity.people import Person, find_by_id
from leadglass.storage import tables as t
from leadglass.storage.epoch import raise_epoch
from leadglass.terms import Assurance

__all__ = ["Session", "create", "end", "end_all", "find", "list_of", "lock", "renew", "secret_hash", "touch"]

_TOUCH_SECONDS: Final = 30.0
_KNOWLEDGE: Final = frozenset({"password"})
_POSSESSION: Final = frozenset({"totp", "passkey", "recovery"})  # look-up secrets: SP 800-63B-4 3.1.2


@dataclass(frozen=True, kw_only=True)
class Session:
    """A session as it stands now; `state` is active or locked, never ended."""

    id: str
    person: Person
    csrf: str
    factors: tuple[str, ...]
    assurance: Assurance
    authenticated_at: float
    last_seen_at: float
    expires_at: float
    state: str


def secret_hash(secret: str) -> bytes:
    """Return what is kept of a 256-bit secret. No slow hash: there is nothing to guess."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


def assurance_of(factors: tuple[str, ...]) -> Assurance:
    """Return the level of a set of factors. Raises: Refused, for anything that is one factor only.

    A passkey with user verification is two factors in one (SP 800-63B-4 3.1.7).
    """
    found = frozenset(factors)
    if "passkey" in found:
        return Assurance.AAL3 if "device-bound" in found else Assurance.AAL2
    if found & _KNOWLEDGE and found & _POSSESSION:
        return Assurance.AAL2
    raise Refused("two factors of different kinds are needed.")


def create(
    connection: sa.Connection, person: Person, factors: tuple[str, ...], *, now: float, absolute_seconds: float,
    address: str, agent: str,
) -> tuple[str, Session]:
    """Return (cookie secret, session). Raises: Refused (one factor), Unproven (person not active)."""
    assurance = assurance_of(factors)
    if person.state != "active":
        raise Unproven("this account is not active.")
    secret = secrets.token_urlsafe(32)
    session = Session(
        id=secrets.token_hex(16), person=person, csrf=secrets.token_urlsafe(24), factors=factors, assurance=assurance,
        authenticated_at=now, last_seen_at=now, expires_at=now + absolute_seconds, state="active",
    )
    connection.execute(sa.insert(t.sessions).values(
        secret_hash=secret_hash(secret), id=session.id, person=person.id, csrf=session.csrf,
        factors=json.dumps(factors), assurance=int(assurance), authenticated_at=now, last_seen_at=now,
        expires_at=session.expires_at, state="active", address=address, agent=agent[:200],
    ))
    connection.execute(sa.update(t.people).where(t.people.c.id == person.id).values(last_seen_at=now))
    return secret, session


def find(connection: sa.Connection, secret: str, *, now: float, idle_seconds: float) -> Session:
    """Return the session behind a cookie, locked where it was idle too long. Raises: Unproven."""
    row = connection.execute(sa.select(t.sessions).where(t.sessions.c.secret_hash == secret_hash(secret))).first()
    if row is None or row.state == "ended" or row.expires_at <= now:
        raise Unproven("sign in again.")
    person = find_by_id(connection, row.person)
    if person.state != "active":
        raise Unproven("this account is not active.")
    is_idle = now - row.last_seen_at > idle_seconds
    return Session(
        id=row.id, person=person, csrf=row.csrf, factors=tuple(json.loads(row.factors)),
        assurance=Assurance(row.assurance), authenticated_at=row.authenticated_at, last_seen_at=row.last_seen_at,
        expires_at=row.expires_at, state="locked" if is_idle or row.state == "locked" else "active",
    )


def wants_touch(session: Session, now: float) -> bool:
    """Return whether the last use is long enough ago to be written down."""
    return now - session.last_seen_at > _TOUCH_SECONDS


def touch(connection: sa.Connection, session_id: str, now: float) -> None:
    """Write down the last use of an active session."""
    connection.execute(
        sa.update(t.sessions).where(t.sessions.c.id == session_id, t.sessions.c.state == "active").values(last_seen_at=now)
    )


def lock(connection: sa.Connection, session_id: str) -> None:
    """Lock a session now; open streams end with the epoch."""
    connection.execute(
        sa.update(t.sessions).where(t.sessions.c.id == session_id, t.sessions.c.state == "active").values(state="locked")
    )
    raise_epoch(connection)


def renew(connection: sa.Connection, session_id: str, factors: tuple[str, ...], now: float) -> None:
    """Unlock after a fresh proof. Raises: Refused (one factor)."""
    assurance = assurance_of(factors)
    connection.execute(
        sa.update(t.sessions).where(t.sessions.c.id == session_id, t.sessions.c.state != "ended").values(
            state="active", last_seen_at=now, authenticated_at=now, factors=json.dumps(factors),
            assurance=int(assurance))
    )


def end(connection: sa.Connection, session_id: str) -> None:
    """End one session."""
    connection.execute(sa.update(t.sessions).where(t.sessions.c.id == session_id).values(state="ended"))
    raise_epoch(connection)


def end_all(connection: sa.Connection, person_id: str) -> int:
    """End every session of a person; return how many."""
    ended = connection.execute(
        sa.update(t.sessions).where(t.sessions.c.person == person_id, t.sessions.c.state != "ended").values(state="ended")
    ).rowcount
    raise_epoch(connection)
    return int(ended)


def list_of(connection: sa.Connection, person_id: str, now: float) -> list[dict[str, object]]:
    """Return the living sessions of a person, newest first."""
    s = t.sessions.c
    rows = connection.execute(
        sa.select(t.sessions).where(s.person == person_id, s.state != "ended", s.expires_at > now)
        .order_by(s.authenticated_at.desc())
    )
    return [
        {"id": r.id, "address": r.address, "agent": r.agent, "authenticated_at": r.authenticated_at,
         "last_seen_at": r.last_seen_at, "factors": json.loads(r.factors), "state": r.state}
        for r in rows
    ]
