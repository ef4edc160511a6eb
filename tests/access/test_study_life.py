"""Who sees the life of a study: its readers, auditors, administrators; no values, and nobody else."""

import copy
import time
from dataclasses import replace
from pathlib import Path

import pytest
from notes import rejection_note
from small_house import ct_slice, put, small_house, subject

from leadglass.access import NeedsProof
from leadglass.errors import Missing, Refused
from leadglass.identity import people, sessions
from leadglass.terms import Peer, Plane


@pytest.fixture
def house(tmp_path: Path):
    with small_house(tmp_path) as opened:
        yield opened


def person(house, *roles: str, age: float = 0.0):
    """Return a person with a living session, whose proof is `age` seconds old."""
    with house.database.write() as connection:
        name = f"p{time.monotonic_ns()}"
        found = people.add(connection, name, list(roles), display_name="", referring_name="house gregory", created_by="test")
        people.set_state(connection, found.id, "active")
        found = people.find(connection, name)
        secret, _ = sessions.create(connection, found, ("passkey",), now=time.time(), absolute_seconds=3600, address="127.0.0.1",
                                    agent="")
    who = house.entrance.session(secret, Peer(plane=Plane.WEB, address="127.0.0.1")).subject
    return replace(who, authenticated_at=who.authenticated_at - age)


@pytest.fixture
def study(house) -> str:
    ds = ct_slice(PatientName="Secret^Person")
    other = copy.deepcopy(ds)
    other.PatientName = "Hidden^Person"
    put(house, ds, other, rejection_note(ds))
    house.reconcile_chores.sort(house.entrance.system("chores"), seconds=60)
    return str(ds.StudyInstanceUID)


@pytest.mark.parametrize("role", ["administrator", "privacy-officer", "radiologist"])
def test_it_says_what_happened_and_no_value(house, study: str, role: str) -> None:
    life = house.life.life(person(house, role), study)
    assert {event["what"] for event in life["events"]} == {"received", "held", "rejected"}
    assert [e["time"] for e in life["events"]] == sorted(e["time"] for e in life["events"])
    assert [t["kind"] for t in life["tasks"]] == ["demographics"]
    assert (life["waiting"], life["instances"]) == (1, 1)  # the note is shown, the image is not
    assert "Person" not in str(life)


@pytest.mark.parametrize("role", ["referring", "technologist", "researcher", "security-officer"])
def test_nobody_else_sees_it(house, study: str, role: str) -> None:
    with pytest.raises(Missing):
        house.life.life(person(house, role), study)


def test_a_decision_needs_a_right_and_a_fresh_proof(house, study: str) -> None:
    admin = person(house, "administrator")
    (task,) = house.reconciliation.tasks(admin)
    (rejection,) = house.life.rejections(admin)
    for who in (person(house, "administrator", age=400), subject("radiologist")):
        with pytest.raises((Refused, NeedsProof)):
            house.life.lift(who, rejection["id"], "for a try")
        with pytest.raises((Refused, NeedsProof)):
            house.reconciliation.dismiss(who, task["id"], "for a try")
    house.life.lift(admin, rejection["id"], "it is good")
    house.reconciliation.dismiss(admin, task["id"], "not ours")
    assert house.reconciliation.tasks(admin) == []


def test_values_are_shown_to_readers_alone_and_the_reading_is_recorded(house, study: str) -> None:
    blind, reader = person(house, "administrator"), person(house, "administrator", "radiologist")
    (task,) = house.reconciliation.tasks(blind)
    (version,) = house.reconciliation.task(blind, task["id"])["versions"]
    house.life.lift(blind, house.life.rejections(blind)[0]["id"], "for the test")
    assert house.reconciliation.differences(blind, task["id"], version["id"]) == [
        {"keyword": "PatientName", "is_demographic": True}]
    assert house.reconciliation.differences(reader, task["id"], version["id"]) == [
        {"keyword": "PatientName", "is_demographic": True, "shown": "Secret^Person", "held": "Hidden^Person"}]
    reads = [r.record["subject"]["name"] for r in house.ledger_reader.search(house.entrance.local("t"), study_uid=study)
             if r.record["action"] == "archive:study:read" and r.record["outcome"] == "done"]
    assert reads == [reader.name]
