"""What stands behind a keyword: the entity it describes, its column where it has one, and how it is matched.

Ref: PS3.4 C.6.1.1, C.6.2.1. Attributes without a column are rows of `sequence_values`, see archive/further.py.
"""

from functools import lru_cache
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from leadglass.dicom.dictionary import tag_of, vr_of
from leadglass.dicom.further import SERIES, STUDY
from leadglass.storage import tables as t

__all__ = ["COUNTS", "LEVELS", "SEARCHABLE", "Key", "key_of"]

LEVELS: Final = ("patient", "study", "series", "instance")
_s, _e, _i = t.studies.c, t.series.c, t.instances.c
# How a value of a VR is matched. Ref: PS3.4 C.2.2.2.1, C.2.2.2.5.
_KINDS: Final = {"UI": "uid", "DA": "date", "TM": "time", "DT": "datetime", "PN": "name", "IS": "whole", "DS": "number"}
_UNMATCHED: Final = frozenset({"FD", "FL", "OB", "OD", "OF", "OL", "OV", "OW", "SQ", "UN"})


class Key(NamedTuple):
    """One attribute that can be matched. A study's row carries its patient too, so both are "study" here."""

    keyword: str  # the path, for an attribute inside a sequence
    level: str
    kind: str
    column: "sa.Column[Any] | None" = None


def _columns() -> dict[str, Key]:
    rows: list[tuple[str, str, sa.Column[Any]]] = [
        ("study", "uid", _s.study_uid), ("series", "uid", _e.series_uid), ("instance", "uid", _i.sop_instance_uid),
    ]
    names = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]
    for keyword, column in {
        "PatientID": _s.patient_id, "IssuerOfPatientID": _s.issuer_of_patient_id, "PatientName": _s.patient_name_key,
        "PatientBirthDate": _s.patient_birth_date, "PatientSex": _s.patient_sex, "StudyDate": _s.study_date,
        "StudyTime": _s.study_time, "AccessionNumber": _s.accession_number, "StudyID": _s.study_id,
        "StudyDescription": _s.study_description, "ReferringPhysicianName": _s.referring_physician_key,
        "Modality": _e.modality, "SeriesNumber": _e.series_number, "SeriesDescription": _e.series_description,
        "SeriesDate": _e.series_date, "SeriesTime": _e.series_time, "BodyPartExamined": _e.body_part,
        "StationName": _e.station_name, "PerformedProcedureStepStartDate": _e.pps_start_date,
        "PerformedProcedureStepStartTime": _e.pps_start_time, "SOPClassUID": _i.sop_class_uid,
        "InstanceNumber": _i.instance_number, "Rows": _i.rows, "Columns": _i.columns, "BitsAllocated": _i.bits_allocated,
        "NumberOfFrames": _i.frames,
    }.items():
        level = {"studies": "study", "series": "series", "instances": "instance"}[column.table.name]
        kind = "integer" if isinstance(column.type, sa.Integer) else _KINDS.get(vr_of(tag_of(keyword) or 0), "text")
        names.append(keyword)
        rows.append((level, kind, column))
    keys = {name: Key(name, *row) for name, row in zip(names, rows, strict=True)}
    keys["ModalitiesInStudy"] = Key("ModalitiesInStudy", "study", "modalities", _s.modalities)
    keys["SOPClassesInStudy"] = Key("SOPClassesInStudy", "study", "classes")
    return keys


_KEYS: Final = _columns()
COUNTS: Final = frozenset({  # computed; they can be asked for, not matched
    "NumberOfPatientRelatedStudies", "NumberOfPatientRelatedSeries", "NumberOfPatientRelatedInstances",
    "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances", "NumberOfSeriesRelatedInstances",
})


@lru_cache(maxsize=2048)
def key_of(keyword: str) -> Key | None:
    """Return how a keyword, or a path of keywords into a sequence, is matched; None when it cannot be."""
    known = _KEYS.get(keyword)
    if known is not None:
        return known
    first, *inner = keyword.split(".")
    if first not in STUDY | SERIES or len(inner) > 2:
        return None
    tags = [tag_of(name) for name in (first, *inner)]
    vrs = [vr_of(tag) if tag is not None else "" for tag in tags]
    if any(vr != "SQ" for vr in vrs[:-1]) or not vrs[-1] or vrs[-1] in _UNMATCHED:
        return None
    return Key(keyword, "study" if first in STUDY else "series", _KINDS.get(vrs[-1], "text"))


SEARCHABLE: Final = frozenset({*_KEYS, *(name for name in STUDY | SERIES if key_of(name) is not None)})
