"""The query parameters of QIDO-RS as a question for the search. Ref: PS3.18 8.3.4, 10.6.1.2.

A parameter that is no attribute to match here is 400, never ignored: an ignored filter shows rows that nobody asked
for. Where the standard wants a warning instead (fuzzy matching of names that are not matched so), there is one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from leadglass.access import SearchQuery, is_matched
from leadglass.dicom.dictionary import keyword_of, tag_of, vr_of
from leadglass.dicom.uids import is_valid_uid
from leadglass.errors import Malformed

__all__ = ["Parameters", "parse_query"]

_DEFAULT_LIMIT: Final = 1000
_MAX_LIMIT: Final = 5000
_MAX_PARAMETERS: Final = 100
_MAX_INCLUDED: Final = 500
_MAX_VALUE: Final = 4096
_FUZZY: Final = frozenset({"PatientName", "ReferringPhysicianName"})
_SWITCHES: Final = ("fuzzymatching", "emptyvaluematching", "multiplevaluematching")


@dataclass(frozen=True)
class Parameters:
    """What a search request asks: the question (None for limit=0), what to include, what to warn of."""

    query: SearchQuery | None
    include: frozenset[str]  # keywords and paths; "*" = all
    warnings: tuple[str, ...] = ()


def parse_query(parameters: list[tuple[str, str]], *, level: str, path: dict[str, str]) -> Parameters:
    """Return what the parameters ask. Args: path: keyword -> UID, of the resource. Raises: Malformed, naming no value."""
    if len(parameters) > _MAX_PARAMETERS:
        raise Malformed(f"more than {_MAX_PARAMETERS} query parameters.")
    filters: dict[str, str] = {}
    include: set[str] = set()
    numbers = {"limit": _DEFAULT_LIMIT, "offset": 0}
    switches = dict.fromkeys(_SWITCHES, False)
    seen: set[str] = set()
    for name, value in parameters:
        if len(value) > _MAX_VALUE:
            raise Malformed(f"a query value takes at most {_MAX_VALUE} characters.")
        if name == "includefield":
            include.update(_included(value))
        elif name in numbers:
            if not value.isascii() or not value.isdigit() or len(value) > 9 or name in seen:
                raise Malformed(f"{name}: one whole number is wanted.")
            numbers[name] = int(value)
        elif name in switches:
            if value.lower() not in {"true", "false"}:
                raise Malformed(f"{name}: true or false.")
            switches[name] = value.lower() == "true"
        elif name in {"accept", "charset", ""}:
            pass  # accept: read by the negotiation; answers are in UTF-8; "": some clients write "?&"
        else:
            keyword = _matched(name)
            if keyword in filters:
                raise Malformed(f"{keyword}: stands twice; give a list of values in one.")
            filters[keyword] = value
        seen.add(name)
    if len(include) > _MAX_INCLUDED:
        raise Malformed(f"includefield names more than {_MAX_INCLUDED} attributes.")
    _add_path(filters, path)
    asked = Parameters(None, frozenset(include), tuple(_warnings(filters, is_fuzzy=switches["fuzzymatching"])))
    if numbers["limit"] == 0:
        return asked
    return replace(asked, query=SearchQuery(
        level=level, filters={k: _listed(k, v) for k, v in filters.items()}, limit=min(numbers["limit"], _MAX_LIMIT),
        offset=numbers["offset"], fuzzy=switches["fuzzymatching"], empties=switches["emptyvaluematching"],
        returns=frozenset(include),
    ))


def _add_path(filters: dict[str, str], path: dict[str, str]) -> None:
    """Add the UIDs of the resource to the filters. Raises: Malformed."""
    for keyword, value in path.items():
        if value and not is_valid_uid(value):
            raise Malformed("the path holds something that is no UID.")
        if value and filters.setdefault(keyword, value) != value:
            raise Malformed(f"{keyword}: the path names another one.")


def _warnings(filters: dict[str, str], *, is_fuzzy: bool) -> Iterator[str]:
    """Give what a client must hear. Ref: PS3.18 8.3.4.2."""
    literal = [k for k in filters if vr_of(tag_of(k.rpartition(".")[2]) or 0) == "PN" and k not in _FUZZY]
    if is_fuzzy and literal:
        yield "Fuzzy matching is done for PatientName and ReferringPhysicianName; literal matching for other names."


def _listed(keyword: str, value: str) -> str:
    """Return a comma-separated list of UIDs or codes as values with backslashes between; in text a comma is a letter."""
    is_list = vr_of(tag_of(keyword.rpartition(".")[2]) or 0) in {"UI", "CS"}
    return value.replace(",", "\\") if is_list else value


def _matched(name: str) -> str:
    """Return the keyword (or path) of a matching parameter. Raises: Malformed, naming no value."""
    path = _path(name)
    if not path or not is_matched(path):
        known = name if len(name) <= 128 and name.isascii() and name.replace(".", "").isalnum() else "a query parameter"
        raise Malformed(f"{known}: not a parameter of this search.")
    return path


def _path(name: str) -> str:
    """Return the path in keywords of keywords or tags of eight hex digits with dots between; "" where it is none."""
    parts = name.split(".")
    tags = [tag_of(part) for part in parts[:4]]
    names = [keyword_of(tag) or f"{tag:08X}" if tag is not None else "" for tag in tags]
    return ".".join(names) if all(names) and len(parts) == len(tags) else ""


def _included(value: str) -> Iterator[str]:
    for name in value.split(","):
        if name.strip().lower() == "all":
            yield "*"
        elif name.strip():
            path = _path(name.strip())
            if not path:
                raise Malformed("includefield: attributes by keyword or eight hex digits, with dots into sequences, or all.")
            yield path
