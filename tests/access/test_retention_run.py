"""The chore that deletes: what is due and nothing else, a few at a time, and nothing at all when it looks wrong."""

import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from small_house import ct_slice, put, small_house

from leadglass.access.retention import Retention
from leadglass.archive.life.retention import DAY
from leadglass.errors import Conflict, Malformed
from leadglass.storage import tables as t


class Clock:
    def __init__(self) -> None:
        self.now = time.time()
        self.steady = 1000.0

    def __call__(self) -> float:
        return self.now

    def pass_days(self, days: float) -> None:
        self.now += days * DAY
        self.steady += days * DAY


@pytest.fixture
def house(tmp_path: Path):
    with small_house(tmp_path, retention_run_studies=5, retention_guard_studies=30, retention_guard_percent=50) as opened:
        yield opened


def keeper(house: Any, clock: Clock) -> Retention:
    return Retention(house.database, house.door, house.settings, house.keeping.delete, clock, lambda: clock.steady)


def fill(house: Any, count: int, *, days_ago: float = 400) -> list[str]:
    put(house, *[ct_slice(size=8) for _ in range(count)])
    with house.database.write() as connection:
        connection.execute(sa.update(t.studies).values(received_at=time.time() - days_ago * DAY, study_date=""))
        return list(connection.execute(sa.select(t.studies.c.study_uid)).scalars())


def rule(house: Any, *, delete: int | None = 100, keep: int = 0, modality: str = "CT") -> None:
    """Write a rule that has been in force for long."""
    with house.database.write() as connection:
        connection.execute(sa.insert(t.retention_rules).values(
            site="", modality=modality, keep_days=keep, delete_after_days=delete, set_by="t", set_at=1.0, effective_at=2.0,
            is_removed=False))


def count(house: Any) -> int:
    with house.database.read() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(t.studies)).scalar_one()


def records(house: Any, event: str) -> list[dict[str, Any]]:
    found = house.ledger_reader.search(house.entrance.local("t"), limit=2000)
    return [r.record for r in found if r.record["event"] == event and r.record["action"] == "archive:study:delete"]


def test_what_is_due_goes_a_few_a_run_each_with_its_record(house) -> None:
    fill(house, 8)
    fresh = ct_slice()
    put(house, fresh)
    rule(house)
    who, retention = house.entrance.system("retention"), keeper(house, Clock())
    dry = retention.run(house.entrance.local("t"), is_dry=True)
    assert (dry["due"], dry["deleted"], count(house)) == (8, 0, 9)
    assert retention.run(who)["deleted"] == 5
    assert retention.run(who)["deleted"] == 3
    assert retention.run(who)["deleted"] == 0
    assert count(house) == 1
    gone = records(house, "deleted")
    assert len(gone) == 8
    assert {(r["subject"]["id"], r["details"]["reason"]) for r in gone} == {
        ("system:retention", "retention: site any, modality CT")}
    assert len(records(house, "system")) == 2
    assert house.keeping.scrubbing.run(house.entrance.local("t"))["findings"] == []


def test_without_a_rule_or_without_an_end_nothing_goes(house) -> None:
    fill(house, 3)
    who, retention = house.entrance.system("retention"), keeper(house, Clock())
    assert retention.run(who)["due"] == 0
    rule(house, delete=None, keep=10)
    assert retention.run(who)["due"] == 0
    assert count(house) == 3


def test_what_is_on_hold_stays(house) -> None:
    uids = fill(house, 3)
    rule(house)
    house.keeping.hold_set(house.entrance.local("t"), uids[0], reason="court of X")
    who, retention = house.entrance.system("retention"), keeper(house, Clock())
    assert retention.run(who)["deleted"] == 2
    assert count(house) == 1
    (row,) = retention.list_due(house.entrance.local("t"))
    assert (row["study"], row["on_hold"]) == (uids[0], True)


def test_a_hold_that_comes_while_the_run_is_under_way_counts(house) -> None:
    uids = fill(house, 3)
    rule(house)
    me = house.entrance.local("t")
    done = []

    def delete(subject: Any, uid: str, **how: Any) -> None:
        house.keeping.delete(subject, uid, **how)
        if not done:
            done.append(uid)
            for other in set(uids) - {uid}:
                house.keeping.hold_set(me, other, reason="court of X")

    clock = Clock()
    retention = Retention(house.database, house.door, house.settings, delete, clock, lambda: clock.steady)
    report = retention.run(house.entrance.system("retention"))
    assert (report["deleted"], report["failed"], count(house)) == (1, 2, 2)


def test_a_rule_that_changes_while_the_run_is_under_way_counts(house) -> None:
    fill(house, 2)
    rule(house)
    me = house.entrance.local("t")

    def delete(subject: Any, uid: str, **how: Any) -> None:
        house.keeping.retention.set_rule(me, site="", modality="CT", keep_days=36500, delete_after_days=None)
        house.keeping.delete(subject, uid, **how)

    clock = Clock()
    retention = Retention(house.database, house.door, house.settings, delete, clock, lambda: clock.steady)
    assert retention.run(house.entrance.system("retention"))["deleted"] == 0
    assert count(house) == 2


def test_a_clock_ten_years_ahead_deletes_nothing_and_alerts(house) -> None:
    fill(house, 25, days_ago=1)
    rule(house, delete=3650)
    clock = Clock()
    retention, who = keeper(house, clock), house.entrance.system("retention")
    assert retention.run(who)["due"] == 0
    clock.now += 3660 * DAY  # the steady clock does not follow: someone has set it
    with pytest.raises(Conflict, match="clock has jumped"):
        retention.run(who, expect=25)  # not even then
    restarted = Clock()  # after a restart nothing tells but the number
    restarted.now = clock.now
    retention = keeper(house, restarted)
    with pytest.raises(Conflict, match="25 of 25 studies are due at once"):
        retention.run(who)
    assert count(house) == 25
    assert [r["details"]["what"] for r in records(house, "alert")] == ["retention stopped"] * 2


def test_more_than_the_guard_go_only_by_their_exact_number(house) -> None:
    fill(house, 35)
    fill(house, 40, days_ago=400)
    with house.database.write() as connection:  # many others that are not due: the share alone would pass
        ids = list(connection.execute(sa.select(t.studies.c.id).order_by(t.studies.c.id).offset(31)).scalars())
        connection.execute(sa.update(t.studies).where(t.studies.c.id.in_(ids)).values(received_at=time.time()))
    rule(house)
    retention, who = keeper(house, Clock()), house.entrance.local("t")
    assert retention.run(who, is_dry=True)["guard"].startswith("31 studies are due at once")
    for expect in (None, 30, 32):
        with pytest.raises(Conflict, match="--expect 31"):
            retention.run(who, expect=expect)
    assert any("stopped itself" in n for n in house.keeping.retention.notices())
    assert retention.run(who, expect=31)["deleted"] == 5
    assert house.keeping.retention.notices() == []
    assert retention.run(who)["deleted"] == 5  # 26 are within the guard


def test_a_few_studies_of_a_small_archive_are_no_mass(house) -> None:
    fill(house, 20)
    rule(house)
    assert keeper(house, Clock()).run(house.entrance.system("retention"))["deleted"] == 5


@pytest.mark.parametrize("values", [
    {"keep_days": -1, "delete_after_days": None}, {"keep_days": 40000, "delete_after_days": None},
    {"keep_days": 10, "delete_after_days": 9}, {"keep_days": 0, "delete_after_days": 0},
    {"keep_days": 0, "delete_after_days": None, "modality": "no such"}, {"keep_days": 0, "delete_after_days": None, "site": "x" * 65},
    {"keep_days": 0, "delete_after_days": None, "site": "a\x00b"},
])
def test_a_rule_that_makes_no_sense_is_refused(house, values) -> None:
    with pytest.raises(Malformed):
        house.keeping.retention.set_rule(house.entrance.local("t"), **{"site": "", "modality": "", **values})


def test_rules_are_listed_with_what_waits(house) -> None:
    rule(house)
    me, retention = house.entrance.local("t"), house.keeping.retention
    retention.set_rule(me, site="", modality="ct", keep_days=1, delete_after_days=2)
    retention.set_rule(me, site="north", modality="", keep_days=1, delete_after_days=2)
    assert [(r["site"], r["modality"], r["state"]) for r in retention.list_rules(me)] == [
        ("", "CT", "in force"), ("", "CT", "not yet"), ("north", "", "not yet")]
    retention.remove_rule(me, site="", modality="CT")
    assert ("", "CT", "ends soon") in [(r["site"], r["modality"], r["state"]) for r in retention.list_rules(me)]
