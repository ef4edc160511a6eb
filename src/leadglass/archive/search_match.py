"""The matching kinds as SQL, on any text column. Ref: PS3.4 C.2.2.2.

Single value, UID list, universal, wildcard, range, multiple values. Case counts, but for person names. A value that
is empty here matches no question but the universal one and the one for empty values.
"""

from typing import Any

import sqlalchemy as sa

from leadglass.archive.names import fold, sound
from leadglass.dicom.uids import is_valid_uid
from leadglass.dicom.values import parse_date_range, parse_datetime_range, parse_time_range
from leadglass.errors import Malformed

__all__ = ["between", "escape", "fuzzy", "match"]

_MAX_VALUES = 1000
_MAX_ALTERNATIVES = 200  # values that become conditions each: SQLite refuses an expression a thousand deep


def match(column: "sa.ColumnElement[Any]", kind: str, value: str) -> "sa.ColumnElement[bool]":
    """Return the condition that `value` of a question matches `column`. Raises: Malformed, naming no value."""
    if kind == "uid":
        uids = _split(value.replace(",", "\\"))
        if not uids or not all(is_valid_uid(uid) for uid in uids):
            raise Malformed("a UID list holds something that is no UID.")
        return column.in_(uids) if len(uids) > 1 else column == uids[0]
    if kind in {"date", "time", "datetime"}:
        return sa.or_(*[_range(column, kind, part) for part in _split(value, _MAX_ALTERNATIVES)])
    if kind == "modalities":
        wanted = _split(value.replace(",", "\\"), _MAX_ALTERNATIVES)
        if not wanted:
            raise Malformed("a list of modalities names none.")
        return sa.or_(*[column.like(f"%\\{_pattern(one)}\\%", escape="!") for one in wanted])
    if kind == "integer":
        numbers = _split(value)
        if not numbers or not all(n.isascii() and n.isdigit() and len(n) <= 9 for n in numbers):
            raise Malformed("a whole number is wanted.")
        return column.in_([int(n) for n in numbers])
    if kind == "name":
        names = _split(value, _MAX_ALTERNATIVES)
        return sa.or_(*[_wild(column, fold(part)) for part in names]) if names else column == ""
    parts = _split(value, _MAX_ALTERNATIVES)
    if kind == "whole":
        parts = [str(int(p)) if len(p) <= 16 and p.isascii() and p.lstrip("+").isdigit() else p for p in parts]
    return sa.or_(*[_wild(column, part) for part in parts]) if parts else column == value.strip()


def _split(value: str, most: int = _MAX_VALUES) -> list[str]:
    parts = [part for part in (one.strip() for one in value.split("\\")) if part]
    if len(parts) > most:
        raise Malformed(f"more than {most} values for one key.")
    return parts


def _range(column: "sa.ColumnElement[Any]", kind: str, value: str) -> "sa.ColumnElement[bool]":
    if kind == "date":
        first, last = parse_date_range(value)
        if first and first == last:
            return column == first
    elif kind == "time":
        first, last = parse_time_range(value)
    else:
        first, last = parse_datetime_range(value)
    return sa.and_(*_bounds(column, first, last))


def _bounds(column: "sa.ColumnElement[Any]", first: str, last: str) -> "list[sa.ColumnElement[bool]]":
    """Return the conditions of a range; a stored value that is less exact than the range begins with its bound."""
    bounds: list[sa.ColumnElement[bool]] = [column != ""]
    if first:
        bounds.append(sa.or_(column >= first, sa.literal(first).startswith(column)))
    if last:
        bounds.append(column <= last)
    return bounds


def between(
    day: "sa.ColumnElement[Any]", hour: "sa.ColumnElement[Any]", days: str, hours: str
) -> "sa.ColumnElement[bool]":
    """Return the condition of a date range and a time range taken as one. Ref: PS3.4 C.2.2.2.5.4 (combined)."""
    (first_day, last_day), (first, last) = parse_date_range(days), parse_time_range(hours)
    found: list[sa.ColumnElement[bool]] = [day != ""]
    if first_day:
        found.append(sa.or_(day > first_day, sa.and_(day == first_day, *_bounds(hour, first, ""))))
    if last_day:
        found.append(sa.or_(day < last_day, sa.and_(day == last_day, *_bounds(hour, "", last))))
    return sa.and_(*found)


def fuzzy(column: "sa.ColumnElement[Any]", sounds: Any, value: str) -> "sa.ColumnElement[bool]":
    """Return the condition that each word of a name begins a word here, in any order, or sounds like one.

    Args: sounds: gives the condition that the row has a word of that sound. Ref: PS3.4 C.2.2.2.1.1 (fuzzy semantic).
    """
    found: list[sa.ColumnElement[bool]] = []
    for word in fold(value.replace("*", " ").replace("?", " ")).split()[:8]:
        start = escape(word)
        ways = [column.like(start + "%", escape="!"), column.like("% " + start + "%", escape="!")]
        code = sound(word)
        if len(code) > 1:  # one letter is no sound to tell people apart by
            ways.append(sounds(code))
        found.append(sa.or_(*ways))
    return sa.and_(*found) if found else sa.true()


def _wild(column: "sa.ColumnElement[Any]", value: str) -> "sa.ColumnElement[bool]":
    """Wildcard matching: * any characters, ? one. A value that ends in * and has no other becomes a range (indexed)."""
    if "*" not in value and "?" not in value:
        return column == value
    head = value[:-1]
    if head and value.endswith("*") and "*" not in head and "?" not in head:
        return sa.and_(column >= head, column < head + "\U0010ffff")
    return sa.and_(column != "", column.like(_pattern(value), escape="!"))


def _pattern(value: str) -> str:
    return escape(value).replace("*", "%").replace("?", "_")


def escape(value: str) -> str:
    """Return `value` as LIKE takes it literally, with ! as the escape."""
    return value.replace("!", "!!").replace("%", "!%").replace("_", "!_")
