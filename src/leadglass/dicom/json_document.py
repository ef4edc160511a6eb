"""DICOM JSON that a stranger sent, read within bounds. Ref: PS3.18 F.2; RFC 8259.

json.loads is quick and trusts its input. What is checked first, and why: size and the number of values (a few bytes
of "[[[[" cost a hundred times as much as objects), depth (a parser that recurses), then while reading: a key that
stands twice (two readers would see two patients), numbers that JSON does not have.
"""

import json
from typing import Any, Final

from leadglass.dicom.elements import Limits
from leadglass.errors import Malformed

__all__ = ["from_json"]

_VALUES_AN_ELEMENT: Final = 5  # JSON values that one data element may cost on average, with slack for lists of numbers


def from_json(data: bytes, limits: Limits, *, most_instances: int) -> list[dict[str, Any]]:
    """Return the models of a document: an array of data sets, or one data set alone.

    Args: data: untrusted, UTF-8, at most limits.max_header_bytes.
    Raises: Malformed. Not done here: what a data set may hold, see dicom/encode.py.
    """
    if len(data) > limits.max_header_bytes:
        raise Malformed(f"JSON: larger than {limits.max_header_bytes} bytes.")
    most = limits.max_elements * _VALUES_AN_ELEMENT
    if sum(data.count(mark) for mark in (b"[", b"{", b",")) > most:  # marks inside of strings count too: a bound, no census
        raise Malformed(f"JSON: more than {most} values.")
    try:
        found = json.loads(data.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_constant)
    except RecursionError as e:
        raise Malformed("JSON: nested too deeply.") from e
    except ValueError as e:  # not JSON, not UTF-8, a number of thousands of digits
        raise Malformed("JSON: the document is not well-formed.") from e
    if isinstance(found, dict):
        found = [found]
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise Malformed("JSON: an array of data sets is wanted.")
    if len(found) > most_instances:
        raise Malformed(f"JSON: more than {most_instances} instances.")
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Malformed("JSON: a name stands twice in one object.")
    return found


def _no_constant(_: str) -> Any:
    raise Malformed("JSON: NaN and Infinity are no JSON.")
