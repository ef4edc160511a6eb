"""Matching and return keys on the index. Ref: PS3.4 C.2.2.2, PS3.18 10.6.

A scope (which rows the subject may see) is ANDed in by the caller; there is no search without one.
"""

import unicodedata
from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa

from leadglass.dicom.uids import is_valid_uid
from leadglass.dicom.values import parse_date_range, parse_time_range
from leadglass.errors import Malformed
from leadglass.storage import tables as t

__all__ = ["LEVELS", "SEARCHABLE", "SearchQuery", "count", "fold", "search"]

LEVELS: Final = ("study", "series", "instance")
_MAX_LIMIT: Final = 5000
_s, _e, _i = t.studies.c, t.series.c, t.instances.c


@dataclass(frozen=True, kw_only=True)
class SearchQuery:
    """One question. `filters` maps DICOM keywords to matching values as in PS3.4 (text, UID list, range, wildcard)."""

    level: str = "study"
    filters: dict[str, str] = field(default_factory=dict)
    words: str = ""  # the console's one field: any of name, ID, accession, description, modality
    fuzzy: bool = False
    limit: int = 100
    offset: int = 0
    order: str = "newest"  # newest | oldest | name | patient | modality | received


def fold(text: str) -> str:
    """Return a name for matching: case folded, accents dropped, carets and spaces as one space."""
    text = unicodedata.normalize("NFKD", text)
    kept = "".join(c for c in text if not unicodedata.combining(c)).casefold()
    return " ".join(kept.replace("^", " ").replace("=", " ").split())


# What stands behind a keyword is its level, its column and how it is matched.
_KEYS: Final[dict[str, tuple[str, "sa.Column[Any]", str]]] = {
    "StudyInstanceUID": ("study", _s.study_uid, "uid"), "PatientID": ("study", _s.patient_id, "text"),
    "IssuerOfPatientID": ("study", _s.issuer_of_patient_id, "text"), "PatientName": ("study", _s.patient_name_key, "name"),
    "PatientBirthDate": ("study", _s.patient_birth_date, "date"), "PatientSex": ("study", _s.patient_sex, "text"),
    "StudyDate": ("study", _s.study_date, "date"), "StudyTime": ("study", _s.study_time, "time"),
    "AccessionNumber": ("study", _s.accession_number, "text"), "StudyID": ("study", _s.study_id, "text"),
    "StudyDescription": ("study", _s.study_description, "folded"),
    "ReferringPhysicianName": ("study", _s.referring_physician_key, "name"),
    "ModalitiesInStudy": ("study", _s.modalities, "modalities"),
    "SeriesInstanceUID": ("series", _e.series_uid, "uid"), "Modality": ("series", _e.modality, "text"),
    "SeriesNumber": ("series", _e.series_number, "text"),
    "SeriesDescription": ("series", _e.series_description, "folded"), "BodyPartExamined": ("series", _e.body_part, "text"),
    "PerformedProcedureStepStartDate": ("series", _e.pps_start_date, "date"),
    "PerformedProcedureStepStartTime": ("series", _e.pps_start_time, "time"),
    "StationName": ("series", _e.station_name, "text"), "SeriesDate": ("series", _e.series_date, "date"),
    "SOPInstanceUID": ("instance", _i.sop_instance_uid, "uid"), "SOPClassUID": ("instance", _i.sop_class_uid, "uid"),
    "InstanceNumber": ("instance", _i.instance_number, "text"),
}
SEARCHABLE: Final = frozenset(_KEYS)
_ORDERS: Final = {
    "newest": (_s.study_date.desc(), _s.study_time.desc(), _s.id.desc()),
    "oldest": (_s.study_date, _s.study_time, _s.id), "name": (_s.patient_name_key, _s.id),
    "patient": (_s.patient_id, _s.id), "modality": (_s.modalities, _s.id), "received": (_s.received_at.desc(), _s.id.desc()),
}


def search(connection: sa.Connection, query: SearchQuery, scope: "sa.ColumnElement[bool]") -> list[dict[str, Any]]:
    """Return at most `query.limit` rows as keyword -> value, inside the scope, in a stable order. Raises: Malformed."""
    if query.level not in LEVELS or query.order not in _ORDERS:
        raise Malformed("no such level or order.")
    if not 0 <= query.offset <= 10_000_000 or not 0 < query.limit <= _MAX_LIMIT:
        raise Malformed(f"limit: 1 to {_MAX_LIMIT}; offset: 0 or more.")
    statement = _select(query.level).where(scope, *conditions(query))
    if query.level == "study":
        statement = statement.order_by(*_ORDERS[query.order])
    elif query.level == "series":
        statement = statement.order_by(_s.id, sa.cast(_e.series_number, sa.Integer), _e.id)
    else:
        statement = statement.order_by(_s.id, _e.id, sa.cast(_i.instance_number, sa.Integer), _i.id)
    rows = connection.execute(statement.limit(query.limit).offset(query.offset)).mappings()
    return [_row(query.level, row) for row in rows]


def count(connection: sa.Connection, query: SearchQuery, scope: "sa.ColumnElement[bool]") -> int:
    """Return how many rows match inside the scope."""
    rows = _select(query.level).where(scope, *conditions(query))
    inner = rows.with_only_columns(sa.literal(1), maintain_column_froms=True).subquery()
    return int(connection.execute(sa.select(sa.func.count()).select_from(inner)).scalar_one())


def conditions(query: SearchQuery) -> "list[sa.ColumnElement[bool]]":
    """Return one SQL condition a filter. Raises: Malformed, for values that break their VR."""
    found = []
    depth = LEVELS.index(query.level)
    for keyword, value in query.filters.items():
        key = _KEYS.get(keyword)
        if key is None:
            raise Malformed(f"{keyword}: not a key that can be matched here.")
        level, column, kind = key
        if not value or value == "*":  # universal matching
            continue
        condition = _match(column, kind, value, fuzzy=query.fuzzy)
        if LEVELS.index(level) > depth:  # a study by something of its series: relational
            condition = _some(level, condition)
        found.append(condition)
    found.extend(_words(query.words))
    return found


def _some(level: str, condition: "sa.ColumnElement[bool]") -> "sa.ColumnElement[bool]":
    if level == "series":
        return sa.exists().where(_e.study == _s.id, condition)
    return sa.exists().where(_i.study == _s.id, condition)


def _match(column: "sa.Column[Any]", kind: str, value: str, *, fuzzy: bool) -> "sa.ColumnElement[bool]":
    if kind == "uid":
        uids = [uid.strip() for uid in value.replace(",", "\\").split("\\") if uid.strip()]
        if not 0 < len(uids) <= 1000 or not all(is_valid_uid(uid) for uid in uids):
            raise Malformed("a UID list holds something that is no UID.")
        return column.in_(uids) if len(uids) > 1 else column == uids[0]
    if kind in {"date", "time"}:
        first, last = parse_date_range(value) if kind == "date" else parse_time_range(value)
        bounds = [column != ""]
        if first and first == last:
            return column == first
        if first:
            bounds.append(column >= first)
        if last:
            bounds.append(column <= last)
        return sa.and_(*bounds)
    if kind == "modalities":
        wanted = [m.strip() for m in value.replace(",", "\\").split("\\") if m.strip()]
        if not wanted:
            raise Malformed("a list of modalities names none.")
        return sa.or_(*[column.like(f"%\\{_escape(m)}\\%", escape="!") for m in wanted])
    if kind == "name":
        folded = fold(value)
        if fuzzy:
            starts = [sa.or_(column.like(_escape(w) + "%", escape="!"), column.like("% " + _escape(w) + "%", escape="!"))
                      for w in folded.replace("*", " ").split()]
            return sa.and_(*starts) if starts else sa.true()
        return _wild(column, folded)
    if kind == "folded":
        return _wild(sa.func.lower(column), value.lower())
    return _wild(column, value.strip())


def _wild(column: "sa.ColumnElement[Any]", value: str) -> "sa.ColumnElement[bool]":
    """Wildcard matching: * any characters, ? one. A value that ends in * and has no other becomes a range (indexed)."""
    if "*" not in value and "?" not in value:
        return column == value
    head = value[:-1]
    if value.endswith("*") and "*" not in head and "?" not in head:
        return sa.and_(column >= head, column < head + "\U0010ffff")
    return column.like(_escape(value).replace("*", "%").replace("?", "_"), escape="!")


def _escape(value: str) -> str:
    return value.replace("!", "!!").replace("%", "!%").replace("_", "!_")


def _words(words: str) -> "list[sa.ColumnElement[bool]]":
    """Return a condition a word of the console's search field: each must be found in some column."""
    found = []
    for word in words.split()[:8]:
        folded = _escape(fold(word)[:64])
        plain = _escape(word[:64])
        found.append(sa.or_(
            _s.patient_name_key.like(folded + "%", escape="!"), _s.patient_name_key.like("% " + folded + "%", escape="!"),
            _s.patient_id.like(plain + "%", escape="!"), _s.accession_number.like(plain + "%", escape="!"),
            sa.func.lower(_s.study_description).like("%" + _escape(word[:64].lower()) + "%", escape="!"),
            _s.modalities.like("%\\" + plain.upper() + "\\%", escape="!"),
        ))
    return found


def _select(level: str) -> "sa.Select[Any]":
    study = [c for c in t.studies.c if c.name not in {"patient_name_key", "referring_physician_key"}]
    if level == "study":
        return sa.select(*study)
    series = [c.label(f"e_{c.name}") for c in t.series.c]
    if level == "series":
        return sa.select(*study, *series).join_from(t.series, t.studies, _e.study == _s.id)
    instance = [c.label(f"i_{c.name}") for c in t.instances.c]
    return (
        sa.select(*study, *series, *instance)
        .join_from(t.instances, t.series, _i.series == _e.id).join(t.studies, _i.study == _s.id)
    )


_STUDY_OUT: Final = {
    "StudyInstanceUID": "study_uid", "PatientID": "patient_id", "IssuerOfPatientID": "issuer_of_patient_id",
    "PatientName": "patient_name", "PatientBirthDate": "patient_birth_date", "PatientSex": "patient_sex",
    "StudyDate": "study_date", "StudyTime": "study_time", "AccessionNumber": "accession_number", "StudyID": "study_id",
    "StudyDescription": "study_description", "ReferringPhysicianName": "referring_physician_name",
    "NumberOfStudyRelatedSeries": "series_count", "NumberOfStudyRelatedInstances": "instance_count",
}
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


def _row(level: str, row: "sa.RowMapping") -> dict[str, Any]:
    """Return a row as keyword -> value, with the levels above it."""
    found: dict[str, Any] = {keyword: row[column] for keyword, column in _STUDY_OUT.items()}
    found["ModalitiesInStudy"] = [m for m in row["modalities"].split("\\") if m]
    found["ReceivedAt"] = row["received_at"]  # ours, for the console
    if level != "study":
        found |= {keyword: row[column] for keyword, column in _SERIES_OUT.items()}
    if level == "instance":
        found |= {keyword: row[column] for keyword, column in _INSTANCE_OUT.items()}
    return found
