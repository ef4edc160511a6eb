"""Machine clients: every fault of an assertion is one refusal, and nothing in it is believed before its signature."""

import base64
import hmac
import json
import time

import pytest
import sqlalchemy as sa
from joserfc import jwk, jwt

from leadglass.errors import Conflict, Malformed, Missing, Unproven
from leadglass.identity import clients
from leadglass.storage import tables as t
from leadglass.storage.database import Database
from leadglass.storage.migrate import migrate

AUDIENCE = "https://pacs.example/token"
NOW = time.time()


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    found = Database(tmp_path_factory.mktemp("clients") / "a.db", b"k" * 32)
    migrate(found)
    yield found
    found.close()


@pytest.fixture(scope="module")
def client(database):
    with database.write() as connection:
        return clients.add(connection, "router", "service", public_key_pem=None, created_by="t")


def good(client, **changes):
    claims = {"iss": client.client_id, "sub": client.client_id, "aud": AUDIENCE, "exp": int(NOW) + 120, "iat": int(NOW), "jti": "j" * 16}
    claims |= changes
    return {name: value for name, value in claims.items() if value is not None}


def signed(client, claims, *, key=None, alg="ES256"):
    return jwt.encode({"alg": alg}, claims, key or jwk.ECKey.import_key(client.private_key_pem), algorithms=[alg])


def verify(database, assertion):
    with database.read() as connection:
        return clients.verify_assertion(connection, assertion, audiences={AUDIENCE}, now=NOW)


def part(value):
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@pytest.mark.parametrize("changes", [{}, {"aud": [AUDIENCE, "https://other.example"]}, {"iat": None}, {"exp": int(NOW) + 300}])
def test_a_good_assertion_names_its_client(database, client, changes):
    assert verify(database, signed(client, good(client, **changes))) == (client.client_id, "j" * 16)


@pytest.mark.parametrize("changes", [
    {"iss": "0" * 32}, {"iss": None}, {"iss": ["a"]}, {"sub": "another"}, {"sub": None}, {"aud": "https://other.example"},
    {"aud": None}, {"aud": []}, {"aud": 7}, {"aud": [{}]}, {"aud": AUDIENCE + "/"}, {"exp": None}, {"exp": int(NOW) - 31},
    {"exp": int(NOW) + 331}, {"exp": 10**400}, {"exp": "soon"}, {"exp": [1]}, {"exp": float("nan")}, {"exp": float("inf")},
    {"iat": int(NOW) + 31}, {"iat": 10**400}, {"jti": None}, {"jti": "short"}, {"jti": "j" * 129}, {"jti": 12345678},
], ids=str)
def test_a_wrong_claim_is_refused(database, client, changes):
    with pytest.raises(Unproven):
        verify(database, signed(client, good(client, **changes)))


def test_another_key_is_refused(database, client):
    with pytest.raises(Unproven):
        verify(database, signed(client, good(client), key=jwk.ECKey.generate_key("P-256")))


def test_a_public_key_used_as_a_secret_is_refused(database, client):
    public = jwk.ECKey.import_key(client.private_key_pem).as_pem(private=False)
    with pytest.raises(Unproven):
        head, body = part({"alg": "HS256"}), part(good(client))
        mac = hmac.digest(public, f"{head}.{body}".encode(), "sha256")
        verify(database, f"{head}.{body}.{part(mac)}")


@pytest.mark.parametrize("head", [{"alg": "none"}, {"alg": "ES256", "crit": ["x"], "x": 1}, {"alg": "ES256", "b64": False}, {}, [], "x", None])
def test_a_header_of_ones_own_is_refused(database, client, head):
    body = part(good(client))
    for mac in ("", part(bytes(64))):
        with pytest.raises(Unproven):
            verify(database, f"{part(head)}.{body}.{mac}")


@pytest.mark.parametrize("text", [
    "", "..", "a.b.c", "a.b", "a.b.c.d", "\u00e9.\u00e9.\u00e9", f"x.{part([])}.x", f"x.{part(7)}.x", f"x.{part({'iss': chr(0xD800)})}.x", f"x.{part(b'[' * 5000)}.x",
    f"x.{part(b'{' * 10)}.x", "x" * 9000, f"x.{part({'iss': 'a' * 9000})}.x",
], ids=lambda text: text[:12])
def test_noise_is_refused(database, text):
    with pytest.raises(Unproven):
        verify(database, text)


def test_a_changed_assertion_is_refused_at_each_place(database, client):
    text = signed(client, good(client))
    for at in range(0, len(text), 7):
        other = "A" if text[at] != "A" else "B"
        with pytest.raises(Unproven):
            verify(database, text[:at] + other + text[at + 1 :])


def test_a_revoked_client_and_its_tokens_end(database):
    with database.write() as connection:
        made = clients.add(connection, "short-lived", "radiologist", public_key_pem=None, created_by="t")
        token = clients.make_token(connection, made.client_id, seconds=60, factor="key", now=NOW)
        assert clients.find_token(connection, token, NOW).name == "short-lived"
        with pytest.raises(Unproven):
            clients.find_token(connection, token, NOW + 60)
        with pytest.raises(Unproven):
            clients.find_token(connection, token[:-1], NOW)
        assert token.encode() not in b"".join(r.secret_hash for r in connection.execute(sa.select(t.tokens)))
        clients.revoke(connection, "short-lived")
    assertion = signed(made, good(made))
    with pytest.raises(Unproven):
        verify(database, assertion)
    with database.write() as connection:
        with pytest.raises(Unproven):
            clients.find_token(connection, token, NOW)
        with pytest.raises(Missing):
            clients.make_token(connection, made.client_id, seconds=60, factor="key", now=NOW)
        with pytest.raises(Conflict):  # a name is never given to another
            clients.add(connection, "short-lived", "service", public_key_pem=None, created_by="t")


def test_keys_of_ones_own_are_public_and_strong(database):
    rsa = jwk.RSAKey.generate_key(2048)
    with database.write() as connection:
        for number, pem in enumerate((rsa.as_pem(private=False), b"", b"-----BEGIN NOTHING-----", b"\xff" * 99)):
            with pytest.raises(Malformed):
                clients.add(connection, f"weak{number}", "service", public_key_pem=pem, created_by="t")
        ec = jwk.ECKey.generate_key("P-384")
        clients.add(connection, "own", "service", public_key_pem=ec.as_pem(private=True), created_by="t")
        kept = connection.execute(sa.select(t.clients.c.public_jwk).where(t.clients.c.name == "own")).scalar_one()
    assert "d" not in json.loads(kept)  # of a private key given by mistake, the public half is kept


@pytest.mark.parametrize(("name", "role"), [("", "service"), ("a" * 65, "service"), ("a b", "service"), ("\u0430", "service"),
                                            ("x", "administrator"), ("x", "god"), ("../x", "service")])
def test_names_and_roles_that_are_none(database, name, role):
    with database.write() as connection, pytest.raises(Malformed):
        clients.add(connection, name, role, public_key_pem=None, created_by="t")
