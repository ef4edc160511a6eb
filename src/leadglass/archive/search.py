"""One search for C-FIND, QIDO-RS and the console. Ref: PS3.4 C.2.2.2, C.4.1; PS3.18 10.6.

A scope (which rows the subject may see) is ANDed in by the caller; there is no search without one. Relational by
nature: attributes of any level may be asked for at any level, and what is below a row is looked for in one and the
same series or instance.
"""

from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa

from leadglass.archive.further import SOUND
from leadglass.archive.names import fold
from leadglass.archive.search_keys import LEVELS, SEARCHABLE, Key, key_of
from leadglass.archive.search_match import between, escape, fuzzy, match
from leadglass.archive.search_rows import complete, row_of, select
from leadglass.errors import Malformed
from leadglass.storage import tables as t

__all__ = ["LEVELS", "SEARCHABLE", "SearchQuery", "conditions", "count", "fold", "is_matched", "search"]

_MAX_LIMIT: Final = 5000  # and one more, by which a face knows that there are more
_EMPTY: Final = '""'
_s, _e, _i, _v = t.studies.c, t.series.c, t.instances.c, t.sequence_values.c


@dataclass(frozen=True, kw_only=True)
class SearchQuery:
    """One question. `filters` maps DICOM keywords, or paths of them, to matching values as in PS3.4 C.2.2.2."""

    level: str = "study"
    filters: dict[str, str] = field(default_factory=dict)
    words: str = ""  # the console's one field: any of name, ID, accession, description, modality
    returns: frozenset[str] = frozenset()  # further attributes to give, by keyword or path; "*" = all that is kept
    fuzzy: bool = False  # names: words in any order, as beginnings, or by sound
    empties: bool = False  # the value "" (two quotation marks) matches what is empty. Ref: PS3.4 C.2.2.2.7
    combined: bool = False  # a range of dates and one of times are one range. Ref: PS3.4 C.2.2.2.5.4
    limit: int = 100
    offset: int = 0
    order: str = "newest"  # newest | oldest | name | patient | modality | received | stored
    after: int = 0  # with "stored": rows after this "RowNumber", so that pages neither repeat nor skip


_ORDERS: Final = {
    "newest": (_s.study_date.desc(), _s.study_time.desc(), _s.id.desc()),
    "oldest": (_s.study_date, _s.study_time, _s.id), "name": (_s.patient_name_key, _s.id),
    "patient": (_s.patient_id, _s.id), "modality": (_s.modalities, _s.id), "received": (_s.received_at.desc(), _s.id.desc()),
    "stored": (_s.id,),
}
_ROW_NUMBER: Final = {"patient": _s.id, "study": _s.id, "series": _e.id, "instance": _i.id}


def search(connection: sa.Connection, query: SearchQuery, scope: "sa.ColumnElement[bool]") -> list[dict[str, Any]]:
    """Return at most `query.limit` rows as keyword -> value, inside the scope, in a stable order. Raises: Malformed.

    Values are text, numbers or lists of them; further attributes are elements of the DICOM JSON model.
    """
    _check(query)
    statement = _matching(query, scope)
    if query.order == "stored":
        number = _ROW_NUMBER[query.level]
        statement = statement.where(number > query.after).order_by(number)
    elif query.level in {"patient", "study"}:
        statement = statement.order_by(*_ORDERS[query.order])
    elif query.level == "series":
        statement = statement.order_by(_s.id, sa.cast(_e.series_number, sa.Integer), _e.id)
    else:
        statement = statement.order_by(_s.id, _e.id, sa.cast(_i.instance_number, sa.Integer), _i.id)
    found = connection.execute(statement.limit(query.limit).offset(query.offset)).mappings()
    rows = [row_of(query.level, row, query.returns) for row in found]
    complete(connection, rows, query.level, query.returns, scope)
    return rows


def count(connection: sa.Connection, query: SearchQuery, scope: "sa.ColumnElement[bool]") -> int:
    """Return how many rows match inside the scope."""
    _check(query)
    inner = _matching(query, scope).with_only_columns(sa.literal(1), maintain_column_froms=True).subquery()
    return int(connection.execute(sa.select(sa.func.count()).select_from(inner)).scalar_one())


def _check(query: SearchQuery) -> None:
    if query.level not in LEVELS or query.order not in _ORDERS:
        raise Malformed("no such level or order.")
    if not 0 <= query.offset <= 10_000_000 or not 0 < query.limit <= _MAX_LIMIT + 1:
        raise Malformed(f"limit: 1 to {_MAX_LIMIT}; offset: 0 or more.")


def _matching(query: SearchQuery, scope: "sa.ColumnElement[bool]") -> "sa.Select[Any]":
    """Return the rows of the level that match; of a patient, the study received last stands for the patient."""
    if query.level != "patient":
        return select(query.level).where(scope, *conditions(query))
    # Studies without a Patient ID are one patient only if they bear one name.
    unnamed = sa.case((_s.patient_id == "", _s.patient_name_key), else_="")
    last = sa.select(sa.func.max(_s.id)).where(scope, *conditions(query)).group_by(
        _s.patient_id, _s.issuer_of_patient_id, unnamed)
    return select("patient").where(_s.id.in_(last))


def is_matched(keyword: str) -> bool:
    """Return whether a keyword, or a path of keywords, can be matched."""
    return key_of(keyword) is not None


def conditions(query: SearchQuery) -> "list[sa.ColumnElement[bool]]":
    """Return the SQL conditions of the filters. Raises: Malformed, for values that break their VR."""
    by_level: dict[str, list[sa.ColumnElement[bool]]] = {"study": [], "series": [], "instance": []}
    items: dict[tuple[str, str], list[tuple[Key, str]]] = {}
    filters = {keyword: value.strip(" \x00\\") for keyword, value in query.filters.items()}
    if query.combined and all(filters.get(name, "*") != "*" for name in ("StudyDate", "StudyTime")):
        by_level["study"].append(between(_s.study_date, _s.study_time, filters.pop("StudyDate"), filters.pop("StudyTime")))
    for keyword, value in filters.items():
        key = key_of(keyword)
        if key is None:
            raise Malformed(f"{keyword}: not a key that can be matched here.")
        if not value or value == "*":  # universal matching
            continue
        if query.empties and value == _EMPTY:
            by_level[key.level].append(_is_empty(key))
        elif key.column is None and "." in keyword:
            items.setdefault((key.level, keyword.partition(".")[0]), []).append((key, value))
        else:
            by_level[key.level].append(_condition(key, value, is_fuzzy=query.fuzzy))
            items.setdefault((key.level, ""), []).append((key, value))
    for (level, sequence), keys in items.items():
        if sequence:
            by_level[level].append(_same_item(level, keys))
        if level == "series" and query.level in {"patient", "study"}:
            by_level["study"].extend(_in_study(key, value) for key, value in keys if key.column is None)
    found = by_level["study"] + _below(query.level, by_level["series"], by_level["instance"])
    if query.words:
        found.extend(_words(query.words))
    return found


def _below(
    level: str, series: "list[sa.ColumnElement[bool]]", instance: "list[sa.ColumnElement[bool]]"
) -> "list[sa.ColumnElement[bool]]":
    """Return the conditions on what lies below the level: one series or instance must fulfil all of them at once."""
    if level in {"patient", "study"}:
        if instance:
            joined = sa.select(sa.literal(1)).select_from(t.instances).join(t.series, _i.series == _e.id)
            return [joined.where(_i.study == _s.id, _i.rejection.is_(None), *series, *instance).correlate(t.studies).exists()]
        if series:
            inner = sa.select(sa.literal(1)).select_from(t.series).where(_e.study == _s.id, _e.instance_count > 0, *series)
            return [inner.correlate(t.studies).exists()]
        return []
    if level == "series" and instance:
        inner = sa.select(sa.literal(1)).select_from(t.instances).where(
            _i.series == _e.id, _i.rejection.is_(None), *instance)
        return [*series, inner.correlate(t.series).exists()]
    return series + instance


def _condition(key: Key, value: str, *, is_fuzzy: bool) -> "sa.ColumnElement[bool]":
    """Return the condition of one key and its value. Raises: Malformed."""
    if key.kind == "classes":
        return _s.id.in_(sa.select(_i.study).where(match(_i.sop_class_uid, "uid", value), _i.rejection.is_(None)))
    if key.column is None:
        return _kept(key, match(_v.value, key.kind, value))
    if key.kind != "name":
        return match(key.column, key.kind, value)
    if is_fuzzy:
        return fuzzy(key.column, lambda code: _s.id.in_(
            sa.select(_v.study).where(_v.keyword == key.keyword + SOUND, _v.value == code)), value)
    groups = [group for group in value.split("=") if group.strip()]
    return sa.and_(*[
        sa.or_(match(key.column, "name", group), _kept(key, match(_v.value, "name", group))) for group in groups
    ]) if groups else key.column == ""


def _kept(key: Key, condition: "sa.ColumnElement[bool]") -> "sa.ColumnElement[bool]":
    """Return the condition that a value kept beside the columns fulfils `condition`."""
    if key.level == "study":
        return _s.id.in_(sa.select(_v.study).where(_v.keyword == key.keyword, _v.series.is_(None), condition))
    return _e.id.in_(sa.select(_v.series).where(_v.keyword == key.keyword, _v.series.is_not(None), condition))


def _in_study(key: Key, value: str) -> "sa.ColumnElement[bool]":
    """Return what must hold of a study for one of its series to have a kept value: it lets the index begin with the value."""
    return _s.id.in_(sa.select(_v.study).where(_v.keyword == key.keyword, match(_v.value, key.kind, _folded(key, value))))


def _same_item(level: str, keys: list[tuple[Key, str]]) -> "sa.ColumnElement[bool]":
    """Return the condition that one item of a sequence fulfils all keys. Ref: PS3.4 C.2.2.2.6."""
    first, *others = [t.sequence_values.alias(f"item_{at}") for at in range(len(keys))]
    owner = first.c.study if level == "study" else first.c.series
    of_study = first.c.series.is_(None)
    found: list[sa.ColumnElement[bool]] = [of_study if level == "study" else sa.not_(of_study)]
    found += [
        sa.and_(table.c.keyword == key.keyword, match(table.c.value, key.kind, _folded(key, value)))
        for table, (key, value) in zip([first, *others], keys, strict=True)
    ]
    found += [
        sa.and_(table.c.study == first.c.study, table.c.item == first.c.item,
                sa.func.coalesce(table.c.series, 0) == sa.func.coalesce(first.c.series, 0))
        for table in others
    ]
    return (_s.id if level == "study" else _e.id).in_(sa.select(owner).where(*found))


def _folded(key: Key, value: str) -> str:
    return value.replace("=", " ") if key.kind == "name" else value


def _is_empty(key: Key) -> "sa.ColumnElement[bool]":
    if key.kind == "classes":
        return sa.false()
    if key.kind == "integer":
        return sa.or_(key.column.is_(None), key.column == 0) if key.column is not None else sa.false()
    if key.column is not None:
        return key.column == ""
    return sa.not_(_kept(key, _v.value != ""))


def _words(words: str) -> "list[sa.ColumnElement[bool]]":
    """Return a condition a word of the console's search field: each must be found in some column."""
    found = []
    for word in words.split()[:8]:
        folded = escape(fold(word)[:64])
        plain = escape(word[:64].lower())
        found.append(sa.or_(
            _s.patient_name_key.like(folded + "%", escape="!"), _s.patient_name_key.like("% " + folded + "%", escape="!"),
            sa.func.lower(_s.patient_id).like(plain + "%", escape="!"),
            sa.func.lower(_s.accession_number).like(plain + "%", escape="!"),
            sa.func.lower(_s.study_description).like("%" + plain + "%", escape="!"),
            _s.modalities.like("%\\" + plain.upper() + "\\%", escape="!"),
        ))
    return found
