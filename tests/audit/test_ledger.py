"""The ledger: every change of what was written is found, and says where."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from small_house import ct_slice, put, small_house

from leadglass.audit import Entry, Event, Outcome, append, read_rows
from leadglass.compose.home import Home
from leadglass.identity import clients
from leadglass.settings import load
from leadglass.storage import tables as t
from leadglass.terms import Action, Resource, ResourceKind


def _check(root: Path) -> list[str]:
    with Home.open(load(root / "home")).house() as house:
        return house.ledger_reader.verify(house.entrance.local("auditor")).findings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A home with a few records and two signed checkpoints."""
    with small_house(tmp_path) as house:
        home = Home.open(load(tmp_path / "home"))
        put(house, ct_slice(), ct_slice())
        home.write_checkpoint(house.database)
        for number in range(5):
            house.administration.clients_add(house.entrance.local("op"), f"c{number}", "service")
        home.write_checkpoint(house.database)
    return tmp_path


def _change(root: Path, statement: sa.Executable) -> None:
    with Home.open(load(root / "home")).house() as house, house.database.write() as connection:
        connection.execute(statement)


L = t.ledger.c


def test_an_untouched_ledger_is_whole(root: Path) -> None:
    assert _check(root) == []


@pytest.mark.parametrize("column", ["record", "salt", "leaf_hash", "subject", "subject_name", "action", "outcome", "event",
                                    "study_uid", "patient_id"])
def test_each_changed_column_is_found(root: Path, column: str) -> None:
    value = b"x" * 32 if column in {"record", "salt", "leaf_hash"} else "someone else"
    _change(root, sa.update(t.ledger).where(L.index == 2).values({column: value}))
    findings = _check(root)
    assert findings
    assert any("entry 2" in f or "checkpoint" in f or "tree head" in f for f in findings)


def test_a_deleted_and_a_cut_ledger_are_found(root: Path) -> None:
    _change(root, sa.delete(t.ledger).where(L.index == 3))
    assert any("entry 3: missing" in f for f in _check(root))


def test_a_rewritten_ledger_does_not_match_what_was_signed(root: Path) -> None:
    """An attacker with the database's key rebuilds everything consistently, but for the signatures outside of it."""
    from leadglass.audit.entry import commitment_entry
    from leadglass.crypto.merkle import Edge, leaf_hash

    with Home.open(load(root / "home")).house() as house, house.database.write() as connection:
        row = connection.execute(sa.select(t.ledger).where(L.index == 1)).one()
        record = row.record.replace(b'"outcome":"done"', b'"outcome":"lost"')
        assert record != row.record
        connection.execute(sa.update(t.ledger).where(L.index == 1).values(
            record=record, outcome="lost", leaf_hash=leaf_hash(commitment_entry(row.salt, record))))
        edge = Edge()
        for leaf in connection.execute(sa.select(L.leaf_hash).order_by(L.index)).scalars():
            edge.append(leaf)
        connection.execute(sa.update(t.ledger_head).values(edge=edge.to_bytes()))
    assert any("are not those that were signed" in f for f in _check(root))


def test_a_lawful_erasure_keeps_the_rest_provable(root: Path) -> None:
    _change(root, sa.update(t.ledger).where(L.index == 2).values(record=None, salt=None))
    assert _check(root) == []


def test_entries_come_back_in_order_with_what_was_said(tmp_path: Path) -> None:
    with small_house(tmp_path) as house:
        me = house.entrance.local("op")
        with house.database.write() as connection:
            receipts = append(connection, [
                Entry(event=Event.SYSTEM, action=Action.SYSTEM_CHECK, outcome=Outcome.DONE, subject=me, details={"n": n}) for n in range(3)
            ])
        assert [r.index for r in receipts] == list(range(receipts[0].index, receipts[0].index + 3))
        with house.database.read() as connection:
            rows = list(read_rows(connection, events=[Event.SYSTEM], limit=3))
        assert [r.record["details"]["n"] for r in rows] == [2, 1, 0]
        assert rows[0].record["subject"]["id"] == "local:op"


def test_a_record_that_cannot_be_written_undoes_what_it_witnesses(tmp_path: Path) -> None:
    with small_house(tmp_path) as house:
        me = house.entrance.local("op")
        with house.database.read() as connection:
            before = connection.execute(sa.select(sa.func.count()).select_from(t.clients)).scalar_one()
        resource = Resource(kind=ResourceKind.CLIENT, id="big")
        with pytest.raises(ValueError, match="too large"), house.door.act(me, Action.CLIENT_ADD, resource) as passage:
            clients.add(passage.connection, "big", "service", public_key_pem=None, created_by="x")
            passage.details["far"] = "x" * 100_000
        with house.database.read() as connection:
            assert connection.execute(sa.select(sa.func.count()).select_from(t.clients)).scalar_one() == before
