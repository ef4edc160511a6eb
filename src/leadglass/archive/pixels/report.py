"""A Structured Report as text that a person can read. Ref: PS3.3 C.17.3, A.35; PS3.18 8.7.4 (text/html, text/plain).

Runs in decode processes only. Every word comes from the file, so every word is escaped; the page holds no script, no
link and no picture. The tree is walked with a stack of its own, to a number of items and of letters.
"""

from collections.abc import Iterator
from html import escape
from typing import Any, Final

from pydicom.dataset import Dataset

from leadglass.archive.pixels.pixel_codecs import Undecodable

__all__ = ["report"]

_MAX_ITEMS: Final = 20_000
_MAX_LETTERS: Final = 4_000_000
_MAX_VALUE: Final = 64_000
_HEAD: Final = (
    ("PatientName", "Patient"), ("PatientID", "Patient ID"), ("PatientBirthDate", "Born"), ("PatientSex", "Sex"),
    ("StudyDate", "Study date"), ("AccessionNumber", "Accession number"), ("ReferringPhysicianName", "Referring physician"),
    ("ContentDate", "Content date"), ("CompletionFlag", "Completion"), ("VerificationFlag", "Verification"),
)
_STYLE: Final = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "dl{display:grid;grid-template-columns:max-content auto;gap:0 1rem}dd{margin:0}ul{padding-left:1.25rem}"
    "p{margin:0;white-space:pre-wrap}"
)


def report(ds: Dataset, *, is_html: bool) -> bytes:
    """Return the report in UTF-8. Args: ds: untrusted, nested no deeper than the limits. Raises: Undecodable."""
    title = _meaning(ds.get("ConceptNameCodeSequence")) or "Structured report"
    head = [(label, _text(ds.get(keyword))) for keyword, label in _HEAD]
    head = [(label, text) for label, text in head if text]
    lines = list(_lines(ds))
    if is_html:
        return _html(title, head, lines).encode("utf-8", "replace")
    text = [title, "", *(f"{label}: {value}" for label, value in head), ""]
    text += ["  " * depth + (f"{name}: {value}" if name and value else name or value) for depth, name, value in lines]
    return ("\n".join(text) + "\n").encode("utf-8", "replace")


def _html(title: str, head: list[tuple[str, str]], lines: list[tuple[int, str, str]]) -> str:
    out = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Report</title><style>{_STYLE}</style></head><body>',
        f"<h1>{escape(title)}</h1><dl>", *(f"<dt>{escape(a)}</dt><dd>{escape(b)}</dd>" for a, b in head), "</dl>",
    ]
    depth = -1
    for level, name, value in lines:
        while depth < level:
            out.append("<ul>")
            depth += 1
        while depth > level:
            out.append("</ul>")
            depth -= 1
        label = f"<b>{escape(name)}</b>" if name else ""
        out.append(f"<li>{label}" + (f"<p>{escape(value)}</p>" if value else "") + "</li>")
    return "".join(out) + "</ul>" * (depth + 1) + "</body></html>"


def _lines(ds: Dataset) -> Iterator[tuple[int, str, str]]:
    """Give (depth, concept name, value) of each content item, in order. Raises: Undecodable."""
    waiting: list[tuple[int, Dataset]] = [(0, item) for item in reversed(ds.get("ContentSequence") or [])]
    items = letters = 0
    while waiting:
        depth, item = waiting.pop()
        name, value = _meaning(item.get("ConceptNameCodeSequence")), _value(item)
        items += 1
        letters += len(name) + len(value)
        if items > _MAX_ITEMS or letters > _MAX_LETTERS:
            raise Undecodable("the report is longer than is rendered")
        yield depth, name, value
        waiting += [(depth + 1, child) for child in reversed(item.get("ContentSequence") or [])]


def _value(item: Dataset) -> str:
    """Return the value of a content item by its Value Type. Ref: PS3.3 C.17.3.2.1, C.18."""
    kind = str(item.get("ValueType", ""))
    simple = {"TEXT": "TextValue", "DATETIME": "DateTime", "DATE": "Date", "TIME": "Time", "UIDREF": "UID", "PNAME": "PersonName"}
    if kind in simple:
        return _text(item.get(simple[kind]))
    if kind == "CODE":
        return _meaning(item.get("ConceptCodeSequence"))
    if kind == "NUM":
        measured = (item.get("MeasuredValueSequence") or [None])[0]
        if measured is None:
            return ""
        unit = (measured.get("MeasurementUnitsCodeSequence") or [None])[0]
        return f"{_text(measured.get('NumericValue'))} {_text(unit.get('CodeValue')) if unit is not None else ''}".strip()
    if kind in {"IMAGE", "COMPOSITE", "WAVEFORM"}:
        referenced = (item.get("ReferencedSOPSequence") or [None])[0]
        return f"{kind.lower()} {_text(referenced.get('ReferencedSOPInstanceUID'))}" if referenced is not None else kind.lower()
    if kind in {"SCOORD", "SCOORD3D", "TCOORD"}:
        return _text(item.get("GraphicType") or item.get("TemporalRangeType")).lower()
    if item.get("ReferencedContentItemIdentifier"):
        return "see item " + ".".join(_text(item.get("ReferencedContentItemIdentifier")).split(", "))
    return ""


def _meaning(sequence: Any) -> str:
    """Return the meaning of a code, else its value."""
    if not sequence:
        return ""
    return _text(sequence[0].get("CodeMeaning")) or _text(sequence[0].get("CodeValue"))


def _text(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, (str, bytes)) and hasattr(value, "__iter__") and not hasattr(value, "components"):
        value = ", ".join(str(v) for v in value)
    return "".join(c for c in str(value)[:_MAX_VALUE] if c.isprintable() or c in "\n\t").strip()
