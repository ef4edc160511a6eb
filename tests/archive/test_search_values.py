"""Matching values as an attacker or a careless program writes them: an answer or a rule, never a fault of ours."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_house import ct_slice, put, small_house

from leadglass.archive.search import LEVELS, SEARCHABLE, SearchQuery, count, search
from leadglass.errors import Malformed


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with small_house(tmp_path_factory.mktemp("search")) as opened:
        put(opened, ct_slice(), ct_slice(PatientName="O'Neil^Shay"))
        yield opened


def ask(house, **query):
    import sqlalchemy as sa

    with house.database.read() as connection:
        rows = search(connection, SearchQuery(**query), sa.true())
        assert count(connection, SearchQuery(**query), sa.true()) == len(rows)
        return rows


@pytest.mark.parametrize("value", [",", " ", "\\", "\\\\", ", ,", "-", "'", '"', "\x00", "%", "!", "[", "?", "**", "\U0001f5a4", "*" * 300])
def test_values_of_nothing_but_marks(house, value):
    for keyword in sorted(SEARCHABLE):
        for level in LEVELS:
            try:
                ask(house, level=level, filters={keyword: value})
            except Malformed as e:
                assert str(e)


def test_a_list_of_no_uids_is_refused(house):
    with pytest.raises(Malformed):
        ask(house, filters={"StudyInstanceUID": ","})


def test_quotes_in_names_are_letters(house):
    assert len(ask(house, filters={"PatientName": "O'Neil*"})) == 1


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keyword=st.sampled_from(sorted(SEARCHABLE)), value=st.text(max_size=40), words=st.text(max_size=40), fuzzy=st.booleans())
def test_any_text_gives_rows_or_malformed(house, keyword, value, words, fuzzy):
    try:
        assert len(ask(house, filters={keyword: value}, words=words, fuzzy=fuzzy)) <= 2
    except Malformed as e:
        assert str(e)


@pytest.mark.parametrize("keyword", ["PatientName", "PatientID", "StudyDate", "ModalitiesInStudy", "SeriesDescription"])
def test_a_list_of_a_thousand_values_is_a_rule_and_no_fault(house, keyword):
    one = "20200101-20210101" if keyword == "StudyDate" else "A*"
    assert ask(house, filters={keyword: "\\".join([one] * 200)}) is not None
    for many in (201, 1000):
        with pytest.raises(Malformed):
            ask(house, filters={keyword: "\\".join([one] * many)})
