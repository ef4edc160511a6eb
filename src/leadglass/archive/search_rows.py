"""From rows of the index to keyword -> value: what comes back for a level, with the levels above it.

Values that need a look at other rows (counts of a patient, SOP classes of a study) are read a page at a time.
"""

import json
from collections import defaultdict
from typing import Any, Final

import sqlalchemy as sa

from leadglass.archive.names import fold
from leadglass.archive.search_keys import COUNTS
from leadglass.dicom.dictionary import keyword_of
from leadglass.dicom.further import SERIES, STUDY
from leadglass.storage import tables as t

__all__ = ["complete", "is_given", "row_of", "select"]

_s, _e, _i = t.studies.c, t.series.c, t.instances.c
_NOT_OUT: Final = frozenset({"patient_name_key", "referring_physician_key"})


def select(level: str) -> "sa.Select[Any]":
    """Return the statement of all rows of a level that are shown, whatever the scope. Ref: IHE IOCM (rejected: hidden)."""
    study = [c for c in t.studies.c if c.name not in _NOT_OUT]
    if level in {"patient", "study"}:
        return sa.select(*study).where(_s.instance_count > 0)
    series = [c.label(f"e_{c.name}") for c in t.series.c]
    if level == "series":
        joined = sa.select(*study, *series).join_from(t.series, t.studies, _e.study == _s.id)
        return joined.where(_e.instance_count > 0)
    instance = [c.label(f"i_{c.name}") for c in t.instances.c]
    return (
        sa.select(*study, *series, *instance)
        .join_from(t.instances, t.series, _i.series == _e.id).join(t.studies, _i.study == _s.id)
        .where(_i.rejection.is_(None))
    )


_STUDY_OUT: Final = {
    "StudyInstanceUID": "study_uid", "PatientID": "patient_id", "IssuerOfPatientID": "issuer_of_patient_id",
    "PatientName": "patient_name", "PatientBirthDate": "patient_birth_date", "PatientSex": "patient_sex",
    "StudyDate": "study_date", "StudyTime": "study_time", "AccessionNumber": "accession_number", "StudyID": "study_id",
    "StudyDescription": "study_description", "ReferringPhysicianName": "referring_physician_name",
    "NumberOfStudyRelatedSeries": "series_count", "NumberOfStudyRelatedInstances": "instance_count",
}
_PATIENT_OUT: Final = ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex")
_SERIES_OUT: Final = {
    "SeriesInstanceUID": "e_series_uid", "Modality": "e_modality", "SeriesNumber": "e_series_number",
    "SeriesDescription": "e_series_description", "SeriesDate": "e_series_date", "SeriesTime": "e_series_time",
    "BodyPartExamined": "e_body_part", "StationName": "e_station_name",
    "PerformedProcedureStepStartDate": "e_pps_start_date", "PerformedProcedureStepStartTime": "e_pps_start_time",
    "NumberOfSeriesRelatedInstances": "e_instance_count",
}
_INSTANCE_OUT: Final = {
    "SOPClassUID": "i_sop_class_uid", "SOPInstanceUID": "i_sop_instance_uid", "InstanceNumber": "i_instance_number",
    "Rows": "i_rows", "Columns": "i_columns", "BitsAllocated": "i_bits_allocated", "NumberOfFrames": "i_frames",
    "AvailableTransferSyntaxUID": "i_transfer_syntax_uid",
}
_OF_PATIENT: Final = frozenset({
    "AdditionalPatientHistory", "EthnicGroup", "IssuerOfPatientIDQualifiersSequence", "OtherPatientIDs",
    "OtherPatientIDsSequence", "OtherPatientNames", "PatientBirthTime", "PatientComments",
    "PatientSpeciesDescription", "ReferencedPatientSequence", "ResponsiblePerson", "TypeOfPatientID",
})


_PATIENT_COUNTS: Final = frozenset(name for name in COUNTS if "Patient" in name)
_GIVEN: Final = {
    "patient": frozenset({*_PATIENT_OUT, *_OF_PATIENT, *_PATIENT_COUNTS}),
    "study": frozenset({*_STUDY_OUT, *STUDY, *_PATIENT_COUNTS, "ModalitiesInStudy", "SOPClassesInStudy"}),
}


def is_given(path: str, level: str) -> bool:
    """Return whether rows of a level can hold an attribute; those of instances can hold any, from their headers."""
    keyword = path.partition(".")[0]
    if level == "series":
        return keyword in _GIVEN["study"] | _SERIES_OUT.keys() | SERIES
    return level == "instance" or keyword in _GIVEN[level]


def row_of(level: str, row: "sa.RowMapping", returns: frozenset[str]) -> dict[str, Any]:
    """Return a row as keyword -> value, with the levels above it; further attributes where they are asked for."""
    if level == "patient":
        found: dict[str, Any] = {keyword: row[_STUDY_OUT[keyword]] for keyword in _PATIENT_OUT}
    else:
        found = {keyword: row[column] for keyword, column in _STUDY_OUT.items()}
        found["ModalitiesInStudy"] = [m for m in row["modalities"].split("\\") if m]
    found["ReceivedAt"] = row["received_at"]  # ours, for the console
    found["RowNumber"] = row["id"]  # ours, for pages
    first = {path.partition(".")[0] for path in returns}
    if "*" in first or first & STUDY:
        found |= _further(row["attributes"], STUDY if level != "patient" else _OF_PATIENT, first)
    if level in {"series", "instance"}:
        found |= {keyword: row[column] for keyword, column in _SERIES_OUT.items()}
        found["RowNumber"] = row["e_id"]
        if "*" in first or first & SERIES:
            found |= _further(row["e_attributes"], SERIES, first)
    if level == "instance":
        found |= {keyword: row[column] for keyword, column in _INSTANCE_OUT.items()}
        found["RowNumber"] = row["i_id"]
        if not found["NumberOfFrames"]:  # no pixel data
            del found["NumberOfFrames"]
    return found


def _further(text: str, kept: frozenset[str], asked: set[str]) -> dict[str, Any]:
    """Return the elements of a JSON model that are asked for, by keyword."""
    by_keyword = {keyword_of(int(key, 16)): element for key, element in json.loads(text).items()}
    return {k: element for k, element in by_keyword.items() if k in kept and ("*" in asked or k in asked)}


def complete(
    connection: sa.Connection, rows: list[dict[str, Any]], level: str, returns: frozenset[str],
    scope: "sa.ColumnElement[bool]",
) -> None:
    """Add to a page of rows what is counted or gathered over other rows; only what the scope shows is counted."""
    if not rows:
        return
    is_all = "*" in returns
    if level == "patient" or is_all or returns & _PATIENT_COUNTS:
        _count_patients(connection, rows, scope)
    if level != "patient" and (is_all or "SOPClassesInStudy" in returns):
        uids = {row["StudyInstanceUID"] for row in rows}
        classes: dict[str, set[str]] = defaultdict(set)
        for part in _parts(sorted(uids)):
            for uid, sop_class in connection.execute(
                sa.select(_s.study_uid, _i.sop_class_uid).join_from(t.instances, t.studies, _i.study == _s.id)
                .where(_s.study_uid.in_(part), _i.rejection.is_(None)).distinct()
            ):
                classes[uid].add(sop_class)
        for row in rows:
            row["SOPClassesInStudy"] = sorted(classes[row["StudyInstanceUID"]])


def _count_patients(connection: sa.Connection, rows: list[dict[str, Any]], scope: "sa.ColumnElement[bool]") -> None:
    sums: dict[tuple[str, str, str], tuple[int, int, int]] = {}
    unnamed = sa.case((_s.patient_id == "", _s.patient_name_key), else_="")
    for part in _parts(sorted({row["PatientID"] for row in rows})):
        found = connection.execute(
            sa.select(_s.patient_id, _s.issuer_of_patient_id, unnamed, sa.func.count(), sa.func.sum(_s.series_count),
                      sa.func.sum(_s.instance_count))
            .where(scope, _s.instance_count > 0, _s.patient_id.in_(part))
            .group_by(_s.patient_id, _s.issuer_of_patient_id, unnamed)
        )
        for patient, issuer, name, studies, series, instances in found:
            sums[patient, issuer, name] = (int(studies), int(series), int(instances))
    for row in rows:
        name = "" if row["PatientID"] else fold(row["PatientName"])
        studies, series, instances = sums.get((row["PatientID"], row["IssuerOfPatientID"], name), (0, 0, 0))
        row["NumberOfPatientRelatedStudies"] = studies
        row["NumberOfPatientRelatedSeries"] = series
        row["NumberOfPatientRelatedInstances"] = instances


def _parts(values: list[str]) -> list[list[str]]:
    return [values[at : at + 500] for at in range(0, len(values), 500)]
