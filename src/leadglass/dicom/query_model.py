"""Rows of a search as the DICOM JSON model: the one form from which both C-FIND and QIDO-RS answer. Ref: PS3.18 F."""

from typing import Any

from leadglass.dicom.dictionary import tag_of, vr_of
from leadglass.dicom.json_model import pn_json

__all__ = ["element", "row_model"]

_INTEGERS = frozenset({"IS", "SL", "SS", "SV", "UL", "US", "UV"})


def row_model(row: dict[str, Any], paths: set[str]) -> dict[str, Any]:
    """Return the elements of a row that `paths` name, ordered by tag.

    Args: row: keyword (or eight hex digits) -> value, or -> element of the JSON model. paths: keywords, or paths of
        them into a sequence, of whose items nothing else is given.
    """
    model: dict[str, Any] = {}
    inner: dict[str, list[list[str]]] = {}
    for path in paths:
        keyword, *rest = path.split(".")
        if rest and keyword not in paths:
            inner.setdefault(keyword, []).append(rest)
            continue
        tag = tag_of(keyword)
        if tag is not None and keyword in row:
            model[f"{tag:08X}"] = element(vr_of(tag), row[keyword])
    for keyword, rests in inner.items():
        tag, found = tag_of(keyword), row.get(keyword)
        if tag is not None and isinstance(found, dict) and found["vr"] == "SQ":
            items = [_only(item, rests) for item in found.get("Value", [])]
            model[f"{tag:08X}"] = {"vr": "SQ", "Value": items}
    return dict(sorted(model.items()))


def _only(item: dict[str, Any], paths: list[list[str]]) -> dict[str, Any]:
    """Return what `paths` name of an item."""
    found: dict[str, Any] = {}
    for keyword in {path[0] for path in paths}:
        tag = tag_of(keyword)
        key = f"{tag:08X}" if tag is not None else ""
        if key not in item:
            continue
        deeper = [path[1:] for path in paths if path[0] == keyword and len(path) > 1]
        is_whole = any(path == [keyword] for path in paths) or item[key]["vr"] != "SQ"
        found[key] = item[key] if is_whole else {
            "vr": "SQ", "Value": [_only(one, deeper) for one in item[key].get("Value", [])]}
    return dict(sorted(found.items()))


def element(vr: str, value: Any) -> dict[str, Any]:
    """Return one element; an empty value has no Value. What is an element already stays one. Ref: PS3.18 F.2.2, F.2.5."""
    if isinstance(value, dict):
        return value
    values = value if isinstance(value, list) else str(value).split("\\") if isinstance(value, str) else [value]
    values = [v for v in values if v not in (None, "")]
    if not values:
        return {"vr": vr}
    if vr == "PN":
        return {"vr": vr, "Value": [pn_json(str(v)) for v in values]}
    if vr in _INTEGERS:
        numbers = [_number(v) for v in values]
        return {"vr": vr, "Value": numbers} if None not in numbers else {"vr": vr}
    return {"vr": vr, "Value": [str(v) for v in values]}


def _number(value: Any) -> int | None:
    try:
        return int(str(value).strip())
    except ValueError:
        return None
