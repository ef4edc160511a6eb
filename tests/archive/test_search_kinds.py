"""All matching kinds at all levels, relational questions, sequences: each rule of PS3.4 C.2.2.2 once, on real rows."""

import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset
from small_house import ct_slice, put, small_house

from leadglass.archive.search import SearchQuery, count, search
from leadglass.errors import Malformed
from leadglass.storage import tables as t

STUDIES = [f"1.2.840.99.{n}" for n in range(1, 5)]


def request(step: str, procedure: str, code: str = "") -> Dataset:
    item = Dataset()
    item.ScheduledProcedureStepID, item.RequestedProcedureID = step, procedure
    if code:
        inner = Dataset()
        inner.CodeValue, inner.CodingSchemeDesignator, inner.CodeMeaning = code, "99T", "Meaning"
        item.ScheduledProtocolCodeSequence = [inner]
    return item


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "P1-100", "99T", "Head"
    utf = {"SpecificCharacterSet": "ISO_IR 192"}
    with small_house(tmp_path_factory.mktemp("kinds")) as opened:
        put(
            opened,
            ct_slice(study=STUDIES[0], series=STUDIES[0] + ".1", PatientID="P1", PatientName="Müller^Jörg", StudyDate="20260101",
                     StudyTime="0930", StudyDescription="Head_CT 100%", InstitutionName="North", OperatorsName=["A^Op", "B^Op"],
                     RequestAttributesSequence=[request("S1", "R1", "C1"), request("S2", "R2", "C2")],
                     ProcedureCodeSequence=[code], PatientComments="walks", SeriesNumber="007", InstanceNumber=12, **utf),
            ct_slice(study=STUDIES[0], series=STUDIES[0] + ".2", PatientID="P1", PatientName="Müller^Jörg", StudyDate="20260101",
                     StudyTime="0930", Modality="SR", SeriesDescription="Report", SeriesNumber=2, **utf),
            ct_slice(study=STUDIES[1], PatientID="P1", PatientName="Müller^Jörg", StudyDate="20260102", StudyTime="101530.5",
                     Modality="MR", StudyDescription="head_ct 1000", IssuerOfPatientID="", **utf),
            ct_slice(study=STUDIES[2], PatientID="P1", IssuerOfPatientID="ELSEWHERE", PatientName="Mueller^Jorg",
                     StudyDate="20260103", StudyTime="235959", Modality="CT", SeriesDescription="Report", AccessionNumber=""),
            ct_slice(study=STUDIES[3], PatientID="P4", PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう", StudyDate="", StudyTime="",
                     Modality="XA", **utf),
        )
        yield opened


def ask(house, level="study", key="StudyInstanceUID", **query):
    filters = query.pop("filters", {})
    with house.database.read() as connection:
        question = SearchQuery(level=level, filters=filters, **query)
        rows = search(connection, question, sa.true())
        assert count(connection, question, sa.true()) == len(rows)
    return sorted(str(row[key]) for row in rows)


def studies(house, **filters):
    """Return the last digit of each study that matches."""
    return "".join(uid[-1] for uid in ask(house, filters={k.replace("__", "."): v for k, v in filters.items()}))


@pytest.mark.parametrize(("filters", "found"), [
    # single value: case counts, but for names
    ({"PatientID": "P1"}, "123"), ({"PatientID": "p1"}, ""), ({"StudyDescription": "Head_CT 100%"}, "1"),
    ({"StudyDescription": "head_CT 100%"}, ""), ({"PatientName": "müller^jörg"}, "12"), ({"PatientName": "MULLER^JORG"}, "12"),
    ({"PatientName": "MULLER^JORG^^"}, "12"), ({"PatientName": "MULLER"}, ""),
    # across component groups
    ({"PatientName": "Yamada^Tarou"}, "4"), ({"PatientName": "山田^太郎"}, "4"), ({"PatientName": "やまだ^たろう"}, "4"),
    ({"PatientName": "やまた^たろう"}, ""), ({"PatientName": "Yamada^Tarou=山田^太郎"}, "4"),
    ({"PatientName": "Yamada^Tarou=山本^太郎"}, ""), ({"PatientName": "=山田*"}, "4"), ({"PatientName": "山?^*"}, "4"),
    # UID list, universal
    ({"StudyInstanceUID": STUDIES[0] + "\\" + STUDIES[3]}, "14"), ({"StudyInstanceUID": ""}, "1234"),
    ({"StudyInstanceUID": "*"}, "1234"), ({"PatientName": "*"}, "1234"), ({"StudyDate": ""}, "1234"),
    # wildcard; what LIKE takes for one is a letter here
    ({"PatientID": "?1"}, "123"), ({"PatientID": "P*"}, "1234"), ({"PatientID": "*4"}, "4"), ({"PatientID": "p*"}, ""),
    ({"StudyDescription": "*_CT*"}, "1"), ({"StudyDescription": "*100%"}, "1"), ({"StudyDescription": "Head?CT 100?"}, "1"),
    ({"PatientName": "M?ller*"}, "12"), ({"PatientName": "*jörg"}, "123"), ({"Modality": "?R"}, "12"), ({"AccessionNumber": "*?"}, "124"),
    # ranges; a stored time of two parts spans its minute
    ({"StudyDate": "20260101-20260102"}, "12"), ({"StudyDate": "20260102-"}, "23"), ({"StudyDate": "-20260101"}, "1"),
    ({"StudyDate": "20260102"}, "2"), ({"StudyDate": "20260101\\20260103"}, "13"), ({"StudyTime": "0900-1000"}, "1"),
    ({"StudyTime": "093000"}, "1"), ({"StudyTime": "093015-"}, "123"), ({"StudyTime": "10"}, "2"), ({"StudyTime": "-101530"}, "12"),
    ({"StudyTime": "101530"}, "2"),
    # multiple values
    ({"PatientID": "P1\\P4"}, "1234"), ({"Modality": "MR\\XA"}, "24"), ({"ModalitiesInStudy": "SR\\MR"}, "12"),
    ({"ModalitiesInStudy": "S?"}, "1"), ({"OperatorsName": "b^op"}, "1"), ({"OperatorsName": "A*"}, "1"),
    # whole numbers
    ({"SeriesNumber": "7"}, "1"), ({"SeriesNumber": "007"}, "1"), ({"Rows": "64"}, "1234"), ({"Rows": "65"}, ""),
    # relational: one series must fulfil both
    ({"Modality": "SR"}, "1"), ({"SeriesDescription": "Report"}, "13"), ({"SeriesDescription": "Report", "Modality": "CT"}, "3"),
    ({"InstanceNumber": "12"}, "1"), ({"InstanceNumber": "12", "Modality": "SR"}, ""), ({"InstitutionName": "North"}, "1"),
    ({"SOPClassesInStudy": "1.2.840.10008.5.1.4.1.1.2"}, "1234"), ({"SOPClassUID": "1.2.3"}, ""),
    # sequences: the keys of one question in one item
    ({"RequestAttributesSequence__ScheduledProcedureStepID": "S1"}, "1"),
    ({"RequestAttributesSequence__ScheduledProcedureStepID": "S1", "RequestAttributesSequence__RequestedProcedureID": "R1"}, "1"),
    ({"RequestAttributesSequence__ScheduledProcedureStepID": "S1", "RequestAttributesSequence__RequestedProcedureID": "R2"}, ""),
    ({"RequestAttributesSequence__ScheduledProcedureStepID": "S*"}, "1"),
    ({"RequestAttributesSequence__ScheduledProtocolCodeSequence.CodeValue": "C2",
      "RequestAttributesSequence__RequestedProcedureID": "R2"}, "1"),
    ({"ProcedureCodeSequence__CodeValue": "P1-100", "ProcedureCodeSequence__CodingSchemeDesignator": "99T"}, "1"),
    ({"ProcedureCodeSequence__CodeMeaning": "head"}, ""), ({"PatientComments": "wal*"}, "1"), ({"PatientComments": "WAL*"}, ""),
])
def test_kinds(house, filters, found):
    assert studies(house, **filters) == found


def test_levels_and_the_rows_of_a_patient(house):
    assert ask(house, "patient", "PatientID") == ["P1", "P1", "P4"]
    assert ask(house, "patient", "IssuerOfPatientID", filters={"PatientID": "P1"}) == ["", "ELSEWHERE"]
    assert ask(house, "patient", "PatientID", filters={"StudyDate": "20260102"}) == ["P1"]
    assert ask(house, "patient", "NumberOfPatientRelatedStudies", filters={"StudyDate": "20260102"}) == ["2"]
    assert ask(house, "patient", "NumberOfPatientRelatedInstances", filters={"PatientID": "P1"}) == ["1", "3"]
    assert ask(house, "series", "Modality", filters={"PatientName": "muller*"}) == ["CT", "MR", "SR"]
    assert ask(house, "series", "Modality", filters={"InstanceNumber": "12"}) == ["CT"]
    assert ask(house, "series", "SeriesNumber", filters={"SeriesNumber": "7"}) == ["7"]
    assert ask(house, "instance", "Modality", filters={"StudyInstanceUID": STUDIES[0]}) == ["CT", "SR"]
    assert ask(house, "instance", "Modality", filters={"InstitutionName": "North"}) == ["CT"]
    assert ask(house, "study", "SOPClassesInStudy", filters={"StudyInstanceUID": STUDIES[0]},
               returns=frozenset({"SOPClassesInStudy"})) == ["['1.2.840.10008.5.1.4.1.1.2']"]


def test_what_is_counted_and_shown_is_inside_the_scope(house):
    with house.database.read() as connection:
        (row,) = search(connection, SearchQuery(level="patient", filters={"PatientID": "P1", "IssuerOfPatientID": ""}),
                        t.studies.c.study_date == "20260101")
        assert row["NumberOfPatientRelatedStudies"] == 1


def test_empty_values_and_combined_ranges(house):
    def last(**query):
        return "".join(uid[-1] for uid in ask(house, **query))

    assert last(filters={"AccessionNumber": '""'}, empties=True) == "3"
    assert last(filters={"AccessionNumber": '""'}) == ""
    assert last(filters={"StudyDate": '""'}, empties=True) == "4"
    assert last(filters={"PatientComments": '""'}, empties=True) == "234"
    both = {"StudyDate": "20260101-20260102", "StudyTime": "1000-1100"}
    assert last(filters=both) == "2"
    assert last(filters=both, combined=True) == "2"
    assert last(filters=both | {"StudyTime": "0900-0800"}) == ""
    assert last(filters=both | {"StudyTime": "0900-0800"}, combined=True) == "1"


@pytest.mark.parametrize(("name", "found"), [
    ("jörg müller", "123"), ("JORG", "123"), ("muel", "3"), ("Maier", ""), ("Miller Jorg", "123"), ("tarou yama", "4"),
    ("太郎", "4"), ("xyz", ""), ("Muller Tarou", ""),
])
def test_fuzzy_names(house, name, found):
    rows = ask(house, filters={"PatientName": name}, fuzzy=True)
    assert "".join(uid[-1] for uid in rows) == found


def test_pages_by_row_number_neither_repeat_nor_skip(house):
    for level, total in (("patient", 3), ("study", 4), ("series", 5), ("instance", 5)):
        seen, after = [], 0
        with house.database.read() as connection:
            while rows := search(connection, SearchQuery(level=level, limit=2, order="stored", after=after), sa.true()):
                seen += [row["RowNumber"] for row in rows]
                after = seen[-1]
        assert len(seen) == len(set(seen)) == total


def test_further_attributes_come_when_asked_for(house):
    with house.database.read() as connection:
        def one(returns, level="series"):
            return search(connection, SearchQuery(level=level, filters={"InstitutionName": "North"}, returns=frozenset(returns)),
                          sa.true())[0]
        assert "PatientComments" not in one(())
        assert one({"PatientComments"})["PatientComments"] == {"vr": "LT", "Value": ["walks"]}
        row = one({"*"})
        assert row["InstitutionName"]["Value"] == ["North"]
        assert len(row["RequestAttributesSequence"]["Value"]) == 2
        assert "InstitutionName" not in one({"*"}, "study")


@pytest.mark.parametrize("filters", [
    {"NoSuchKey": "1"}, {"NumberOfStudyRelatedSeries": "1"}, {"RequestAttributesSequence": "x"},
    {"RequestAttributesSequence.NoSuchKey": "x"}, {"ProtocolName.CodeValue": "x"}, {"StudyDate": "2026-99-99"}, {"StudyTime": "9x"},
    {"Rows": "many"}, {"StudyInstanceUID": "1.2.x"},
])
def test_what_cannot_be_matched_is_refused(house, filters):
    with pytest.raises(Malformed) as caught:
        ask(house, filters=filters)
    assert all(value not in str(caught.value) for value in filters.values() if len(value) > 1)
