"""Machine clients: OAuth 2.0 client credentials with private_key_jwt. Ref: RFC 7523 3, RFC 7521 4.2, IUA ITI-71."""

import json
import secrets
import time
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from joserfc import jwk, jwt
from joserfc.errors import JoseError

from leadglass.errors import Conflict, Malformed, Missing, Unproven
from leadglass.identity.sessions import secret_hash
from leadglass.storage import tables as t
from leadglass.storage.epoch import raise_epoch
from leadglass.terms import Role

__all__ = [
    "CLIENT_ROLES", "Client", "NewClient", "add", "find", "find_token", "list_clients", "make_token", "revoke",
    "verify_assertion",
]

CLIENT_ROLES: Final = frozenset({Role.SERVICE, Role.RADIOLOGIST, Role.RESEARCHER, Role.PRIVACY_OFFICER})
_ALGORITHMS: Final = ["ES256", "ES384", "EdDSA", "Ed25519", "PS256", "RS256"]
_MAX_LIFE: Final = 300
_SKEW: Final = 30
_MAX_ASSERTION: Final = 8192


@dataclass(frozen=True, kw_only=True)
class NewClient:
    """A client just made; the private key exists here and nowhere else, or not at all."""

    client_id: str
    private_key_pem: bytes


@dataclass(frozen=True, kw_only=True)
class Client:
    """A client as proved by a token."""

    id: str
    name: str
    role: str
    token_id: str
    factor: str
    created_at: float
    expires_at: float


def add(
    connection: sa.Connection, name: str, role: str, *, public_key_pem: bytes | None, created_by: str
) -> NewClient:
    """Add a client, with a fresh P-256 key unless a public key is given. Raises: Malformed, Conflict."""
    if not name.isascii() or not 0 < len(name) <= 64 or not name.replace("-", "").replace(".", "").replace("_", "").isalnum():
        raise Malformed("a client's name is 1 to 64 letters, digits, dots, hyphens, underscores.")
    if role not in CLIENT_ROLES:
        raise Malformed("role: one of " + ", ".join(sorted(CLIENT_ROLES)) + ".")
    if connection.execute(sa.select(t.clients.c.id).where(t.clients.c.name == name)).first():
        raise Conflict(f"a client {name} is there already, or was; choose another name.")
    private = b""
    if public_key_pem is None:
        key: Any = jwk.ECKey.generate_key("P-256")
        private = key.as_pem(private=True)
    else:
        key = _import(public_key_pem)
    client_id = secrets.token_hex(16)
    connection.execute(sa.insert(t.clients).values(
        id=client_id, name=name, role=role, public_jwk=json.dumps(key.as_dict(private=False)), state="active",
        created_at=time.time(), created_by=created_by,
    ))
    return NewClient(client_id=client_id, private_key_pem=private)


def _import(pem: bytes) -> Any:
    for kind in ("EC", "OKP", "RSA"):
        try:
            key: Any = jwk.import_key(pem, kind)
        except (JoseError, ValueError, TypeError):
            continue
        if kind == "RSA" and key.raw_value.key_size < 3072:
            raise Malformed("an RSA key needs 3072 bits or more.")
        return key
    raise Malformed("the public key is no PEM of an EC, Ed25519 or RSA key.")


def verify_assertion(connection: sa.Connection, assertion: str, *, audiences: set[str], now: float) -> tuple[str, str]:
    """Return (client id, jti) of a good client assertion. Raises: Unproven, one message for every fault.

    1 it names an active client in iss and sub; 2 its signature is by that client's key, with an algorithm of ours;
    3 aud is this server; 4 it is in time and short-lived; 5 it has a jti. Left to the caller: a jti is used once.
    """
    fault = Unproven("the client assertion does not verify.")
    if len(assertion) > _MAX_ASSERTION or assertion.count(".") != 2:
        raise fault
    import base64

    try:
        part = assertion.split(".")[1]
        claimed = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        client_id = str(claimed["iss"])
        row = connection.execute(
            sa.select(t.clients).where(t.clients.c.id == client_id, t.clients.c.state == "active")
        ).first()
        if row is None:  # step 1
            raise fault
        token = jwt.decode(assertion, jwk.import_key(json.loads(row.public_jwk)), algorithms=_ALGORITHMS)  # step 2
        claims = token.claims
        audience = claims.get("aud")
        found = {audience} if isinstance(audience, str) else set(audience or ())
        issued, expires = float(claims.get("iat", now)), float(claims["exp"])
        is_good = (
            claims.get("sub") == client_id and bool(found & audiences)  # steps 1 and 3
            and now - _SKEW < expires <= now + _MAX_LIFE + _SKEW and issued <= now + _SKEW  # step 4
            and isinstance(claims.get("jti"), str) and 8 <= len(claims["jti"]) <= 128  # step 5
        )
    except (JoseError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as e:  # the last two: 1e999, [[[[
        raise fault from e
    if not is_good:
        raise fault
    return client_id, claims["jti"]


def make_token(connection: sa.Connection, client_id: str, *, seconds: float, factor: str, now: float) -> str:
    """Return a new opaque bearer token; only its hash is kept. Raises: Missing."""
    row = connection.execute(
        sa.select(t.clients.c.id).where(t.clients.c.id == client_id, t.clients.c.state == "active")
    ).first()
    if row is None:
        raise Missing("no active client of that name.")
    token = "lg_" + secrets.token_urlsafe(32)
    connection.execute(sa.delete(t.tokens).where(t.tokens.c.expires_at < now - 86400))
    connection.execute(sa.insert(t.tokens).values(
        secret_hash=secret_hash(token), id=secrets.token_hex(16), client=client_id, created_at=now,
        expires_at=now + seconds, factor=factor,
    ))
    connection.execute(sa.update(t.clients).where(t.clients.c.id == client_id).values(last_used_at=now))
    return token


def client_id_of(connection: sa.Connection, name: str) -> str:
    """Return the id of the active client of that name. Raises: Missing."""
    found = connection.execute(
        sa.select(t.clients.c.id).where(t.clients.c.name == name, t.clients.c.state == "active")
    ).scalar()
    if found is None:
        raise Missing("no active client of that name.")
    return str(found)


def find_token(connection: sa.Connection, token: str, now: float) -> Client:
    """Return the client behind a bearer token. Raises: Unproven."""
    row = connection.execute(
        sa.select(t.clients.c.id, t.clients.c.name, t.clients.c.role, t.tokens.c.id.label("token_id"),
                  t.tokens.c.factor, t.tokens.c.created_at, t.tokens.c.expires_at)
        .join(t.clients, t.clients.c.id == t.tokens.c.client)
        .where(t.tokens.c.secret_hash == secret_hash(token), t.tokens.c.expires_at > now, t.clients.c.state == "active")
    ).first()
    if row is None:
        raise Unproven("the token is not good, or no longer.")
    return Client(id=row.id, name=row.name, role=row.role, token_id=row.token_id, factor=row.factor, created_at=row.created_at,
                  expires_at=row.expires_at)


def find(connection: sa.Connection, client_id: str) -> Any:
    """Return the row of an active client. Raises: Unproven."""
    row = connection.execute(
        sa.select(t.clients.c.name, t.clients.c.role).where(t.clients.c.id == client_id, t.clients.c.state == "active")).first()
    if row is None:
        raise Unproven("the client assertion does not verify.")
    return row


def revoke(connection: sa.Connection, name: str) -> None:
    """End a client and its tokens. Raises: Missing."""
    client_id = client_id_of(connection, name)
    connection.execute(sa.update(t.clients).where(t.clients.c.id == client_id).values(state="revoked"))
    connection.execute(sa.delete(t.tokens).where(t.tokens.c.client == client_id))
    raise_epoch(connection)


def list_clients(connection: sa.Connection) -> list[dict[str, Any]]:
    """Return all clients."""
    return [
        {k: row[k] for k in ("id", "name", "role", "state", "created_at", "last_used_at")}
        for row in connection.execute(sa.select(t.clients).order_by(t.clients.c.name)).mappings()
    ]
