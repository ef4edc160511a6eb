"""One-time enrolment links, the ceremony behind them, and the short number that makes an account live.

open -> opened (the browser has a handle; the link is spent) -> done (factors kept, a number shown) -> confirmed.
Only hashes of the secret, the handle and the number are kept. Factors gathered on the way become credentials in one
transaction at the end: there is no half-enrolled account.
"""

import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from leadglass.errors import Conflict, Missing, Refused, Unproven
from leadglass.identity.people import Person, find_by_id, set_state
from leadglass.identity.sessions import secret_hash
from leadglass.storage import tables as t

__all__ = ["Ceremony", "confirm", "create", "find_ceremony", "finish", "open_link", "save_facts"]

_TRIES: Final = 3
_CONFIRM_SECONDS: Final = 86400.0
_i = t.invitations.c


@dataclass(frozen=True, kw_only=True)
class Ceremony:
    """An opened invitation: for whom, by whom, and what has been gathered so far."""

    person: Person
    invited_by: str
    expires_at: float
    facts: dict[str, Any]


def create(connection: sa.Connection, person_id: str, *, invited_by: str, seconds: float, now: float) -> str:
    """Return a new link's secret; older links of the person stop working."""
    connection.execute(
        sa.update(t.invitations).where(_i.person == person_id, _i.state.in_(["open", "opened"])).values(state="void")
    )
    secret = secrets.token_urlsafe(32)
    connection.execute(sa.insert(t.invitations).values(
        secret_hash=secret_hash(secret), person=person_id, invited_by=invited_by, created_at=now,
        expires_at=now + seconds, state="open", facts="{}",
    ))
    return secret


def open_link(connection: sa.Connection, secret: str, now: float) -> str:
    """Spend the link and return the ceremony's handle. Raises: Missing, one message for every fault."""
    handle = secrets.token_urlsafe(32)
    changed = connection.execute(
        sa.update(t.invitations)
        .where(_i.secret_hash == secret_hash(secret), _i.state == "open", _i.expires_at > now)
        .values(state="opened", ceremony_hash=secret_hash(handle))
    ).rowcount
    if not changed:
        raise Missing("this link is not good, or no longer. Ask the person who sent it for a new one.")
    return handle


def find_ceremony(connection: sa.Connection, handle: str, now: float) -> Ceremony:
    """Return the ceremony of a handle. Raises: Missing."""
    row = connection.execute(
        sa.select(t.invitations).where(
            _i.ceremony_hash == secret_hash(handle), _i.state == "opened", _i.expires_at > now)
    ).first()
    if row is None:
        raise Missing("this enrolment is over. Ask the person who invited you for a new link.")
    return Ceremony(
        person=find_by_id(connection, row.person), invited_by=row.invited_by, expires_at=row.expires_at,
        facts=json.loads(row.facts),
    )


def save_facts(connection: sa.Connection, handle: str, facts: dict[str, Any]) -> None:
    """Keep what the ceremony has gathered."""
    connection.execute(
        sa.update(t.invitations).where(_i.ceremony_hash == secret_hash(handle)).values(facts=json.dumps(facts))
    )


def check_factors(kinds: set[str]) -> None:
    """Raise Refused unless the factors make two: a passkey, or a password with one-time codes."""
    if "passkey" in kinds or {"password", "totp"} <= kinds:
        return
    raise Refused("one factor is not enough: add a passkey, or a password and one-time codes.")


def finish(connection: sa.Connection, handle: str, person: Person, *, now: float) -> str:
    """End the ceremony; return the six digits that the inviter must hear. The person is `enrolled`, not yet active."""
    connection.execute(
        sa.update(t.invitations).where(_i.ceremony_hash == secret_hash(handle)).values(state="done", facts="{}")
    )
    set_state(connection, person.id, "enrolled")
    number = f"{secrets.randbelow(1_000_000):06d}"
    salt = secrets.token_bytes(16)
    connection.execute(sa.delete(t.confirmations).where(t.confirmations.c.person == person.id))
    connection.execute(sa.insert(t.confirmations).values(
        person=person.id, number_hash=_number_hash(number, salt), salt=salt, tries_left=_TRIES,
        expires_at=now + _CONFIRM_SECONDS,
    ))
    return number


def _number_hash(number: str, salt: bytes) -> bytes:
    return hashlib.scrypt(number.encode("utf-8"), salt=salt, n=2**14, r=8, p=1, dklen=32)


def confirm(connection: sa.Connection, person: Person, number: str, *, now: float) -> bool:
    """Make the person active if the number is right; return whether it was. Three wrong tries end the enrolment.

    Raises: Conflict (nothing to confirm), Unproven (tries used up, or too late).
    """
    if person.state != "enrolled":
        raise Conflict(f"{person.name} is {person.state}: there is nothing to confirm.")
    c = t.confirmations.c
    row = connection.execute(sa.select(t.confirmations).where(c.person == person.id)).first()
    if row is None or row.expires_at <= now or row.tries_left <= 0:
        set_state(connection, person.id, "invited")
        raise Unproven(f"too late or too many tries. Start again: leadglass people enrol {person.name}")
    digits = "".join(ch for ch in number if ch.isdigit())
    if not hmac.compare_digest(_number_hash(digits, row.salt), row.number_hash):
        connection.execute(sa.update(t.confirmations).where(c.person == person.id).values(tries_left=row.tries_left - 1))
        return False
    connection.execute(sa.delete(t.confirmations).where(c.person == person.id))
    set_state(connection, person.id, "active")
    return True
