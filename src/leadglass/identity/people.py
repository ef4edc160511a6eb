"""People: who there is. Changes run inside the caller's write transaction, so that access can record them with it."""

import json
import re
import secrets
import time
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from leadglass.errors import Conflict, Malformed, Missing
from leadglass.storage import tables as t
from leadglass.storage.epoch import raise_epoch
from leadglass.terms import Role

__all__ = ["PERSON_ROLES", "Person", "add", "disable", "find", "find_by_id", "list_people", "set_state"]

PERSON_ROLES: Final = frozenset({
    Role.ADMINISTRATOR, Role.RADIOLOGIST, Role.REFERRING, Role.TECHNOLOGIST, Role.PRIVACY_OFFICER,
    Role.SECURITY_OFFICER, Role.RESEARCHER,
})
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")


@dataclass(frozen=True, kw_only=True)
class Person:
    """One person as kept."""

    id: str
    name: str
    display_name: str
    roles: frozenset[str]
    referring_name: str
    state: str  # invited | enrolled | active | disabled
    user_handle: bytes


def _person(row: Any) -> Person:
    return Person(
        id=row.id, name=row.name, display_name=row.display_name or row.name, roles=frozenset(json.loads(row.roles)),
        referring_name=row.referring_name, state=row.state, user_handle=row.webauthn_user_handle,
    )


def find(connection: sa.Connection, name: str) -> Person:
    """Return the person with that login name. Raises: Missing."""
    row = connection.execute(sa.select(t.people).where(t.people.c.name == name.strip().lower())).first()
    if row is None:
        raise Missing("no person of that name. See: leadglass people list")
    return _person(row)


def find_by_id(connection: sa.Connection, person_id: str) -> Person:
    """Return the person. Raises: Missing."""
    row = connection.execute(sa.select(t.people).where(t.people.c.id == person_id)).first()
    if row is None:
        raise Missing("no such person.")
    return _person(row)


def add(
    connection: sa.Connection, name: str, roles: list[str], *, display_name: str, referring_name: str, created_by: str
) -> Person:
    """Add a person in state `invited`. Raises: Malformed, Conflict."""
    name = name.strip().lower()
    if not _NAME.fullmatch(name):
        raise Malformed("a login name is 1 to 64 small letters, digits, dots, hyphens; first and last a letter or digit.")
    if not roles or not set(roles) <= PERSON_ROLES:
        raise Malformed("role: one or more of " + ", ".join(sorted(PERSON_ROLES)) + ".")
    if Role.REFERRING in roles and not referring_name:
        raise Malformed("role referring needs --referring-name: the name as it stands in ReferringPhysicianName.")
    if len(display_name) > 120 or not (display_name or "x").isprintable():
        raise Malformed("a display name is at most 120 printable characters.")
    if connection.execute(sa.select(t.people.c.id).where(t.people.c.name == name)).first():
        raise Conflict(f"{name} is there already. For a new link: leadglass people enrol {name}")
    person_id = secrets.token_hex(16)
    connection.execute(sa.insert(t.people).values(
        id=person_id, name=name, display_name=display_name, roles=json.dumps(sorted(set(roles))),
        referring_name=referring_name, state="invited", created_at=time.time(), created_by=created_by,
        webauthn_user_handle=secrets.token_bytes(32),  # random: it is stored in authenticators (WebAuthn 14.6.1)
    ))
    return find_by_id(connection, person_id)


def set_state(connection: sa.Connection, person_id: str, state: str) -> None:
    """Set the state; the caller raises the epoch where something is taken away."""
    connection.execute(sa.update(t.people).where(t.people.c.id == person_id).values(state=state))


def disable(connection: sa.Connection, person_id: str) -> int:
    """End a person's access: state, sessions, open invitations, and the epoch; return how many sessions ended."""
    set_state(connection, person_id, "disabled")
    connection.execute(sa.update(t.invitations).where(t.invitations.c.person == person_id).values(state="void"))
    ended = connection.execute(
        sa.update(t.sessions).where(t.sessions.c.person == person_id, t.sessions.c.state != "ended").values(state="ended")
    ).rowcount
    raise_epoch(connection)
    return int(ended)


def list_people(connection: sa.Connection) -> list[dict[str, Any]]:
    """Return everyone, with roles, factors and last use."""
    kinds: dict[str, list[str]] = {}
    c = t.credentials.c
    for row in connection.execute(sa.select(c.person, c.kind).where(c.state == "active").order_by(c.created_at)):
        if row.kind != "recovery" and row.kind not in kinds.setdefault(row.person, []):
            kinds[row.person].append(row.kind)
    return [
        {
            "id": row.id, "name": row.name, "display_name": row.display_name or row.name, "roles": json.loads(row.roles),
            "referring_name": row.referring_name, "state": row.state, "factors": kinds.get(row.id, []),
            "last_seen_at": row.last_seen_at, "created_at": row.created_at,
        }
        for row in connection.execute(sa.select(t.people).order_by(t.people.c.name))
    ]
