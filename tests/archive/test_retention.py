"""How long a study is kept: which rule counts, from which day, and what a change does meanwhile."""

from datetime import datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from small_house import ct_slice, put, small_house

from leadglass.archive.life.rejections import recount_study
from leadglass.archive.life.retention import DAY, Rule, Rules, due_of, due_studies, is_on_hold, load_rules, set_rule, start_of
from leadglass.errors import Missing
from leadglass.storage import tables as t

NOW = datetime(2026, 11, 25, 12).astimezone().timestamp()
JANUARY = datetime(2026, 1, 2).astimezone().timestamp()


def rule(site: str, modality: str, keep: int, delete: int | None = None, *, at: float = 0.0, is_removed: bool = False) -> Rule:
    return Rule(site=site, modality=modality, keep_days=keep, delete_after_days=delete, set_by="t", set_at=at - DAY,
                effective_at=at, is_removed=is_removed)


def days(rules: list[Rule], *, site: str = "main", modalities: str = "CT", now: float = NOW) -> tuple[int, int | None]:
    """Return (keep, delete after) in days from the study's date; the receipt lies long ago."""
    due = Rules(rules, now).due(site=site, modalities=set(modalities.split()), study_date="20260102", received_at=JANUARY - 400 * DAY)
    keep = round((due.kept_until - JANUARY) / DAY) if due.kept_until else 0
    return keep, None if due.delete_at is None else round((due.delete_at - JANUARY) / DAY)


@pytest.mark.parametrize(("rules", "expected"), [
    ([], (0, None)),
    ([("", "", 10, 20)], (10, 20)),
    ([("", "", 10, 20), ("main", "CT", 3, 5)], (3, 5)),
    ([("", "", 10, 20), ("north", "CT", 3, 5)], (10, 20)),
    ([("", "", 1, 2), ("main", "", 7, 8)], (7, 8)),
    ([("", "", 1, 2), ("", "CT", 7, 8)], (7, 8)),
    ([("main", "", 7, 8), ("", "CT", 9, None)], (9, None)),  # equally specific: the longer
    ([("main", "", 7, 30), ("", "CT", 9, 10)], (9, 30)),
    ([("", "MR", 7, 8)], (0, None)),
    ([("", "", 30, 20)], (30, 30)),  # nothing is deleted before it may be
])
def test_the_most_specific_rule_wins_and_of_equal_ones_the_longest(rules, expected) -> None:
    assert days([rule(*r) for r in rules]) == expected


@pytest.mark.parametrize(("modalities", "expected"), [
    ("CT", (10, 20)), ("CT SR", (15, 40)), ("CT US", (10, None)), ("", (0, None)),
])
def test_a_study_of_several_modalities_is_kept_as_long_as_the_longest_says(modalities: str, expected) -> None:
    assert days([rule("", "CT", 10, 20), rule("", "SR", 15, 40)], modalities=modalities) == expected


@pytest.mark.parametrize(("text", "is_from_receipt"), [
    ("20260102", False), ("", True), ("2026", True), ("20261399", True), ("20270101", True), ("20260102-20260203", True),
    ("００００００００", True), ("00000000", True),
])
def test_days_count_from_the_study_date_or_else_from_the_receipt(text: str, is_from_receipt: bool) -> None:
    assert start_of(text, 5.0, NOW) == ((5.0, True) if is_from_receipt else (JANUARY, False))


def test_what_was_just_received_is_never_deleted_by_itself_at_once() -> None:
    due = Rules([rule("", "", 0, 10)], NOW).due(site="main", modalities={"CT"}, study_date="19000101", received_at=NOW)
    assert due.delete_at == NOW + 30 * DAY


def test_a_change_waits_for_a_day_and_the_stricter_holds_meanwhile() -> None:
    old = rule("", "CT", 10, 20)
    assert days([old, rule("", "CT", 0, 1, at=NOW + 1)]) == (10, 20)
    assert days([old, rule("", "CT", 0, 1, at=NOW - 1)]) == (0, 1)
    assert days([old, rule("", "CT", 50, None, at=NOW + 1)]) == (50, None)
    assert days([old, rule("", "CT", 0, None, at=NOW + 1, is_removed=True)]) == (10, None)
    assert days([old, rule("", "CT", 0, None, at=NOW - 1, is_removed=True)]) == (0, None)
    assert days([rule("", "CT", 0, 1, at=NOW + 1)]) == (0, None)


def test_rules_holds_and_what_is_due_in_the_index(tmp_path: Path) -> None:
    with small_house(tmp_path) as house:
        ds, other = ct_slice(), ct_slice(StudyDate="20261120")
        put(house, ds, other)
        with house.database.write() as connection:
            connection.execute(sa.update(t.studies).values(received_at=NOW - 100 * DAY))
            assert list(due_studies(connection, NOW)) == []
            set_rule(connection, site="main", modality="CT", keep_days=10, delete_after_days=30, set_by="t", now=NOW)
            assert list(due_studies(connection, NOW)) == []
            found = [row.study_uid for row, _ in due_studies(connection, NOW + DAY)]
            assert found == [ds.StudyInstanceUID]
            assert len(list(due_studies(connection, NOW + DAY, within_seconds=40 * DAY))) == 2
            with pytest.raises(Missing):
                set_rule(connection, site="", modality="CT", keep_days=0, delete_after_days=None, set_by="t", now=NOW,
                         is_removed=True)
            set_rule(connection, site="main", modality="CT", keep_days=0, delete_after_days=None, set_by="t", now=NOW + DAY,
                     is_removed=True)
            assert list(due_studies(connection, NOW + 2.5 * DAY)) == []
            assert len(load_rules(connection, NOW).pending) == 1
            assert not is_on_hold(connection, ds.StudyInstanceUID)
            connection.execute(sa.insert(t.holds).values(
                study_uid=ds.StudyInstanceUID, reason="court", set_by="t", set_at=NOW))
            assert is_on_hold(connection, ds.StudyInstanceUID)
            assert not is_on_hold(connection, other.StudyInstanceUID)


def test_images_that_a_note_rejects_are_kept_as_long_as_before(tmp_path: Path) -> None:
    with small_house(tmp_path) as house:
        put(house, ct_slice())
        with house.database.write() as connection:
            set_rule(connection, site="", modality="CT", keep_days=3650, delete_after_days=None, set_by="t", now=NOW)
            connection.execute(sa.update(t.instances).values(rejection=1))
            study = connection.execute(sa.select(t.studies.c.id)).scalar_one()
            recount_study(connection, study)
            row = connection.execute(sa.select(t.studies)).one()
            assert (row.instance_count, row.modalities) == (0, "")
            assert due_of(connection, load_rules(connection, NOW), row).kept_until == JANUARY + 3650 * DAY


@pytest.mark.parametrize("days_ago", [0, 29, 30, 31, 99, 100, 101, 400])
@pytest.mark.parametrize("text", ["", "garbage", "20270101", "19000101", "20260817", "20260816", "20260801"])
def test_the_quick_question_misses_nothing_that_is_due(text: str, days_ago: int, shared: list) -> None:
    house = shared[0]
    with house.database.write() as connection:
        connection.execute(sa.update(t.studies).values(study_date=text, received_at=NOW - days_ago * DAY))
        rules = load_rules(connection, NOW)
        row = connection.execute(sa.select(t.studies)).one()
        due = due_of(connection, rules, row)
        assert bool(list(due_studies(connection, NOW))) == (due.delete_at is not None and due.delete_at <= NOW)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory):
    """A house with one study and a rule of 100 days."""
    with small_house(tmp_path_factory.mktemp("shared")) as house:
        put(house, ct_slice())
        with house.database.write() as connection:
            set_rule(connection, site="", modality="CT", keep_days=0, delete_after_days=100, set_by="t", now=1.0)
        yield [house]
