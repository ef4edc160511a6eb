"""Who is asking: sessions, links, codes, passwords, devices. Each rule with the attack that it stops."""

import time
from collections.abc import Iterator
from pathlib import Path

import pyotp
import pytest
import sqlalchemy as sa
from small_house import small_house

from leadglass.access import House
from leadglass.errors import Busy, Malformed, Missing, Refused, Unproven
from leadglass.identity import attempts, credentials, devices, invitations, people, sessions, totp
from leadglass.identity.passwords import check_rules, hash_password, is_common, verify_password

NOW = 1_800_000_000.0


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with small_house(tmp_path_factory.mktemp("identity")) as opened:
        yield opened


@pytest.fixture
def connection(house: House) -> Iterator[sa.Connection]:
    """A write transaction that is undone at the end."""
    with pytest.raises(ZeroDivisionError), house.database.write() as opened:
        yield opened
        raise ZeroDivisionError


@pytest.fixture
def ada(connection: sa.Connection) -> people.Person:
    person = people.add(connection, "ada", ["radiologist"], display_name="Ada", referring_name="", created_by="t")
    people.set_state(connection, person.id, "active")
    return people.find(connection, "ada")


def _session(connection: sa.Connection, person: people.Person, factors: tuple[str, ...] = ("passkey",)) -> tuple[str, sessions.Session]:
    return sessions.create(connection, person, factors, now=NOW, absolute_seconds=3600, address="", agent="")


@pytest.mark.parametrize("factors", [(), ("password",), ("totp",), ("password", "password"), ("recovery",), ("totp", "totp"),
                                     ("user-verification",)])
def test_no_session_with_one_factor_can_exist(connection: sa.Connection, ada: people.Person, factors: tuple[str, ...]) -> None:
    with pytest.raises(Refused):
        _session(connection, ada, factors)
    assert connection.execute(sa.text("SELECT count(*) FROM sessions")).scalar_one() == 0


def test_a_session_locks_when_idle_and_ends_in_any_case(connection: sa.Connection, ada: people.Person) -> None:
    secret, session = _session(connection, ada)
    assert sessions.find(connection, secret, now=NOW + 899, idle_seconds=900).state == "active"
    assert sessions.find(connection, secret, now=NOW + 901, idle_seconds=900).state == "locked"
    sessions.renew(connection, session.id, ("passkey",), NOW + 1000)
    assert sessions.find(connection, secret, now=NOW + 1001, idle_seconds=900).state == "active"
    with pytest.raises(Unproven):
        sessions.find(connection, secret, now=NOW + 3600, idle_seconds=900)
    with pytest.raises(Unproven):
        sessions.find(connection, "guess", now=NOW, idle_seconds=900)
    stored = connection.execute(sa.text("SELECT * FROM sessions")).mappings().one()
    assert secret not in str(dict(stored))


def test_disabling_a_person_ends_every_session_and_link(connection: sa.Connection, ada: people.Person) -> None:
    secrets = [_session(connection, ada)[0] for _ in range(3)]
    link = invitations.create(connection, ada.id, invited_by="t", seconds=60, now=NOW)
    assert people.disable(connection, ada.id) == 3
    for secret in secrets:
        with pytest.raises(Unproven):
            sessions.find(connection, secret, now=NOW, idle_seconds=900)
    with pytest.raises(Missing):
        invitations.open_link(connection, link, NOW)


def test_a_link_opens_once_in_time_and_the_newest_alone(connection: sa.Connection, ada: people.Person) -> None:
    old = invitations.create(connection, ada.id, invited_by="t", seconds=60, now=NOW)
    link = invitations.create(connection, ada.id, invited_by="t", seconds=60, now=NOW)
    with pytest.raises(Missing):
        invitations.open_link(connection, old, NOW)
    with pytest.raises(Missing):
        invitations.open_link(connection, link, NOW + 61)
    handle = invitations.open_link(connection, link, NOW + 1)
    with pytest.raises(Missing):
        invitations.open_link(connection, link, NOW + 2)
    assert invitations.find_ceremony(connection, handle, NOW + 2).person.name == "ada"


def test_three_wrong_numbers_end_the_enrolment(connection: sa.Connection, ada: people.Person) -> None:
    handle = invitations.open_link(connection, invitations.create(connection, ada.id, invited_by="t", seconds=60, now=NOW), NOW)
    number = invitations.finish(connection, handle, ada, now=NOW)
    wrong = f"{(int(number) + 1) % 1_000_000:06d}"
    for _ in range(3):
        assert not invitations.confirm(connection, people.find(connection, "ada"), wrong, now=NOW)
    with pytest.raises(Unproven):
        invitations.confirm(connection, people.find(connection, "ada"), number, now=NOW)
    assert people.find(connection, "ada").state == "invited"


def test_the_right_number_makes_the_account_live(connection: sa.Connection, ada: people.Person) -> None:
    handle = invitations.open_link(connection, invitations.create(connection, ada.id, invited_by="t", seconds=60, now=NOW), NOW)
    number = invitations.finish(connection, handle, ada, now=NOW)
    assert people.find(connection, "ada").state == "enrolled"
    assert invitations.confirm(connection, people.find(connection, "ada"), number[:3] + " " + number[3:], now=NOW)
    assert people.find(connection, "ada").state == "active"


def test_a_code_opens_once_and_drifts_by_one_step(connection: sa.Connection, ada: people.Person) -> None:
    seed = totp.new_seed()
    credentials.add_totp(connection, ada.id, seed, 0)
    code = pyotp.TOTP(seed).at(int(NOW))
    assert credentials.use_totp(connection, ada.id, code, NOW + 30)
    assert not credentials.use_totp(connection, ada.id, code, NOW + 30)
    assert not credentials.use_totp(connection, ada.id, pyotp.TOTP(seed).at(int(NOW) - 30), NOW)  # older than the one used
    assert not credentials.use_totp(connection, ada.id, pyotp.TOTP(seed).at(int(NOW) + 90), NOW)
    for bad in ("", "12345", "1234567", "abcdef", "１２３４５６"):
        assert not credentials.use_totp(connection, ada.id, bad, NOW + 60)


def test_recovery_codes_open_once_and_only_hashes_are_kept(connection: sa.Connection, ada: people.Person) -> None:
    codes = credentials.add_recovery_codes(connection, ada.id)
    assert len(set(codes)) == 10
    assert credentials.use_recovery_code(connection, ada.id, codes[3].upper().replace("-", " "))
    assert not credentials.use_recovery_code(connection, ada.id, codes[3])
    stored = [bytes(s) for s in connection.execute(sa.text("SELECT secret FROM credentials")).scalars()]
    assert not [s for s in stored for c in codes if c.encode() in s]


@pytest.mark.parametrize("password", ["short", "aaaaaaaaaa", "password1", "Password123!", "summer2026", "qwertyuiop", "hospital1",
                                      "adaadaada", "Leadglass1!", "x" * 257])
def test_bad_passwords_are_refused_with_a_reason(password: str) -> None:
    with pytest.raises(Malformed):
        check_rules(password, words=("ada", "byron"))


def test_good_passwords_are_taken_and_verified() -> None:
    for password in ("four walls and a lamp", "tränenreich-ölig", "w8;Kd/tLq2"):
        check_rules(password, words=("ada",))
        assert not is_common(password)
    stored = hash_password("four walls and a lamp")
    assert stored.startswith(b"$argon2id$")
    assert verify_password(stored, "four walls and a lamp")
    assert not verify_password(stored, "four walls and a lamq")
    assert not verify_password(None, "a password that nobody has")


def test_guessing_slows_down_by_name_and_by_address(connection: sa.Connection) -> None:
    marks = {"name": "ada", "address": "192.0.2.1"}
    for _ in range(5):
        attempts.check_pace(connection, b"s", marks, NOW)
        attempts.failed(connection, b"s", marks, NOW)
    with pytest.raises(Busy):
        attempts.check_pace(connection, b"s", {"name": "ada", "address": "192.0.2.9"}, NOW)
    with pytest.raises(Busy):
        attempts.check_pace(connection, b"s", {"name": "bob", "address": "192.0.2.1"}, NOW)
    attempts.check_pace(connection, b"s", marks, NOW + 2)
    stored = connection.execute(sa.text("SELECT key FROM failures")).scalars().all()
    assert not [k for k in stored if "ada" in k or "192" in k]


def test_a_device_is_its_title_and_its_address_or_certificate(connection: sa.Connection) -> None:
    devices.add(connection, "CT1", host="10.1.2.0/28", role="modality", certificate=None, owner="", until=NOW, created_by="t")
    devices.add(connection, "WS1", host="", role="workstation", certificate=(b"pem", "ab" * 32), owner="", until=None, created_by="t")
    assert devices.recognise(connection, "CT1", "10.1.2.3", None, NOW - 1).factors == ("ae-title", "address")
    assert devices.recognise(connection, "WS1", "192.0.2.1", "ab" * 32, NOW).factors == ("ae-title", "certificate")
    for title, address, certificate, now in (
        ("CT1", "10.1.2.77", None, NOW - 1), ("CT1", "10.1.2.3", None, NOW + 1), ("ct1", "10.1.2.3", None, NOW - 1),
        ("WS1", "192.0.2.1", None, NOW), ("WS1", "192.0.2.1", "cd" * 32, NOW), ("NEW", "10.1.2.3", None, NOW),
    ):
        with pytest.raises(Unproven):
            devices.recognise(connection, title, address, certificate, now)
    with pytest.raises(Malformed, match="alone proves nothing"):
        devices.add(connection, "X", host="", role="modality", certificate=None, owner="", until=None, created_by="t")


def test_revocation_is_seen_by_another_house_within_a_second(tmp_path: Path) -> None:
    from leadglass.compose.home import Home
    from leadglass.settings import load

    with small_house(tmp_path) as first, Home.open(load(tmp_path / "home")).house() as second:
        first.page.watch()
        before = second.page.current()
        operator = first.entrance.local("op")
        first.administration.devices_add(operator, "CT1", host="127.0.0.1")
        started = time.monotonic()
        while second.page.current() == before:
            assert time.monotonic() - started < 1.0
            time.sleep(0.01)
