"""Credentials of people: kept, found, used. Changes run inside the caller's write transaction."""

import hashlib
import hmac
import json
import secrets
import time
from typing import Any, Final

import sqlalchemy as sa

from leadglass.identity import totp
from leadglass.identity.passkeys import Registered
from leadglass.identity.passwords import verify_password
from leadglass.storage import tables as t

__all__ = [
    "add_passkey", "add_password", "add_recovery_codes", "add_totp", "find_passkey", "list_of",
    "remove_all", "use_recovery_code", "use_totp", "verify_password_of", "was_used",
]

_RECOVERY_CODES: Final = 10
_c = t.credentials.c


def _add(connection: sa.Connection, person_id: str, kind: str, secret: bytes, **more: Any) -> str:
    credential = secrets.token_hex(16)
    connection.execute(sa.insert(t.credentials).values(
        id=credential, person=person_id, kind=kind, secret=secret, created_at=time.time(), state="active", **more
    ))
    return credential


def add_password(connection: sa.Connection, person_id: str, stored: bytes) -> None:
    """Keep a password's PHC string; an older one goes."""
    connection.execute(sa.delete(t.credentials).where(_c.person == person_id, _c.kind == "password"))
    _add(connection, person_id, "password", stored, label="Password")


def add_totp(connection: sa.Connection, person_id: str, seed: str, last_step: int) -> None:
    """Keep a TOTP seed with the step that proved it."""
    connection.execute(sa.delete(t.credentials).where(_c.person == person_id, _c.kind == "totp"))
    _add(connection, person_id, "totp", seed.encode(), label="One-time codes", counter=last_step)


def add_passkey(connection: sa.Connection, person_id: str, key: Registered, label: str) -> None:
    """Keep a verified passkey."""
    _add(
        connection, person_id, "passkey", key.public_key, label=label[:60], credential_id=key.credential_id,
        counter=key.counter, facts=json.dumps({"device_bound": key.is_device_bound, "aaguid": key.aaguid}),
    )


def add_recovery_codes(connection: sa.Connection, person_id: str) -> list[str]:
    """Make ten fresh codes and return them; only hashes are kept, and older codes go."""
    connection.execute(sa.delete(t.credentials).where(_c.person == person_id, _c.kind == "recovery"))
    alphabet = "abcdefghjkmnpqrstuvwxyz23456789"  # without those that are read for another
    codes = []
    for _ in range(_RECOVERY_CODES):
        raw = "".join(secrets.choice(alphabet) for _ in range(16))  # 79 bits
        codes.append("-".join(raw[i : i + 4] for i in range(0, 16, 4)))
        _add(connection, person_id, "recovery", _code_hash(codes[-1]))
    return codes


def _code_hash(code: str) -> bytes:
    plain = "".join(c for c in code.lower() if c.isalnum())
    return hashlib.sha256(b"leadglass recovery\x00" + plain.encode("utf-8")).digest()


def use_recovery_code(connection: sa.Connection, person_id: str, code: str) -> bool:
    """Use up a recovery code; return whether it was good."""
    wanted = _code_hash(code)
    rows = connection.execute(
        sa.select(_c.id, _c.secret).where(_c.person == person_id, _c.kind == "recovery", _c.state == "active")
    ).all()
    found = [row.id for row in rows if hmac.compare_digest(row.secret, wanted)]
    if found:
        connection.execute(sa.update(t.credentials).where(_c.id == found[0]).values(state="used", last_used_at=time.time()))
    return bool(found)


def verify_password_of(connection: sa.Connection, person_id: str | None, password: str) -> bool:
    """Return whether the password is the person's; the same work is done for nobody."""
    stored = None
    if person_id is not None:
        stored = connection.execute(
            sa.select(_c.secret).where(_c.person == person_id, _c.kind == "password", _c.state == "active")
        ).scalar()
    return verify_password(stored, password)


def use_totp(connection: sa.Connection, person_id: str, code: str, now: float) -> bool:
    """Use a one-time code: right, in time, and never used before. Return whether it was good."""
    row = connection.execute(
        sa.select(_c.id, _c.secret, _c.counter).where(_c.person == person_id, _c.kind == "totp", _c.state == "active")
    ).first()
    if row is None:
        return False
    step = totp.matching_step(row.secret.decode(), code, now=now, last_step=row.counter)
    if step is None:
        return False
    # The condition on the counter makes the use atomic: two requests with one code cannot both win.
    changed = connection.execute(
        sa.update(t.credentials).where(_c.id == row.id, _c.counter < step).values(counter=step, last_used_at=now)
    ).rowcount
    return bool(changed)


def find_passkey(connection: sa.Connection, credential_id: bytes) -> Any:
    """Return the row of an active passkey (id, person, secret, counter), or None."""
    return connection.execute(
        sa.select(t.credentials).where(_c.credential_id == credential_id, _c.kind == "passkey", _c.state == "active")
    ).first()


def was_used(connection: sa.Connection, credential: str, counter: int, now: float) -> None:
    """Write down a use of a passkey."""
    connection.execute(sa.update(t.credentials).where(_c.id == credential).values(counter=counter, last_used_at=now))


def list_of(connection: sa.Connection, person_id: str) -> list[dict[str, Any]]:
    """Return the active credentials of a person, recovery codes as one row with their count."""
    rows = connection.execute(
        sa.select(t.credentials).where(_c.person == person_id, _c.state == "active").order_by(_c.created_at)
    ).all()
    found = [
        {"id": r.id, "kind": r.kind, "label": r.label, "created_at": r.created_at, "last_used_at": r.last_used_at, "count": 1}
        for r in rows if r.kind != "recovery"
    ]
    codes = [r for r in rows if r.kind == "recovery"]
    if codes:
        found.append({"id": "", "kind": "recovery", "label": "Recovery codes", "created_at": codes[0].created_at,
                      "last_used_at": None, "count": len(codes)})
    return found


def remove_all(connection: sa.Connection, person_id: str) -> None:
    """Forget every credential of a person (before a new enrolment takes effect)."""
    connection.execute(sa.delete(t.credentials).where(_c.person == person_id))
