"""Values to bytes, strictly: what a value may be, by its VR. Ref: PS3.5 6.2, table 6.2-1; PS3.18 F.2.

The caller pads and sets the length. Text is UTF-8. A message names the rule and never the value.
"""

import re
import struct
from collections.abc import Callable
from math import isfinite
from typing import Any, Final

from leadglass.dicom.uids import is_valid_uid
from leadglass.dicom.value_representations import VALUE_REPRESENTATIONS, Kind, ValueRepresentation
from leadglass.errors import Malformed

__all__ = ["decimal_text", "encode_value"]

_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_TIME: Final = r"(?:[01][0-9]|2[0-3])(?:[0-5][0-9](?:(?:[0-5][0-9]|60)(?:\.[0-9]{1,6})?)?)?"
_DATE: Final = r"[0-9]{4}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])"
_FORMS: Final = {
    "AE": re.compile(r"[ -\[\]-~]{0,16}"),
    "AS": re.compile(r"[0-9]{3}[DWMY]"),
    "CS": re.compile(r"[A-Z0-9 _]{0,16}"),
    "DA": re.compile(_DATE),
    "DT": re.compile(rf"(?:[0-9]{{4}}|[0-9]{{4}}(?:0[1-9]|1[0-2])|{_DATE}(?:{_TIME})?)(?:[+-][01][0-9][0-5][0-9])?"),
    "TM": re.compile(_TIME),
}
_DECIMAL: Final = re.compile(r" *[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)? *")
_INTEGER: Final = re.compile(r" *[+-]?[0-9]+ *")
_PARAGRAPH_CONTROLS: Final = str.maketrans(dict.fromkeys("\t\n\f\r"))
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_NOT_FINITE: Final = {"NaN": float("nan"), "INF": float("inf"), "-INF": float("-inf"),
                      "Infinity": float("inf"), "-Infinity": float("-inf")}
_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}")


def encode_value(vr: str, values: list[Any]) -> bytes:
    """Return the value field of `values`, without padding; b"" for none. Raises: Malformed.

    Args: values: untrusted JSON values; None is an empty value where the VR can hold one.
    """
    representation = VALUE_REPRESENTATIONS[vr]
    if not values:
        return b""
    encode = _BY_KIND[representation.kind]
    if representation.kind in {Kind.PARAGRAPH, Kind.URI} and len(values) > 1:
        raise Malformed("a VR of one value holds several.")
    separator = b"" if representation.kind in {Kind.NUMBER, Kind.TAG} else b"\\"
    return separator.join(encode(vr, representation, value) for value in values)


def _ascii(vr: str, representation: ValueRepresentation, value: Any) -> bytes:
    if value is None or value == "":
        return b""
    if not isinstance(value, str) or len(value) > representation.most:
        raise Malformed("a string is no string, or longer than its VR allows.")
    if not (is_valid_uid(value) if vr == "UI" else _FORMS[vr].fullmatch(value)):
        raise Malformed("a string has not the form of its VR.")
    return value.encode("ascii")


def _text(_: str, representation: ValueRepresentation, value: Any) -> bytes:
    if value is None:
        return b""
    if not isinstance(value, str) or (representation.most and len(value) > representation.most):
        raise Malformed("a text is no text, or longer than its VR allows.")
    if "\\" in value or _CONTROL.search(value):
        raise Malformed("a text holds a backslash or a control character.")
    return value.encode("utf-8")


def _paragraph(_: str, representation: ValueRepresentation, value: Any) -> bytes:
    if value is None:
        return b""
    if not isinstance(value, str) or (representation.most and len(value) > representation.most):
        raise Malformed("a text is no text, or longer than its VR allows.")
    if _CONTROL.search(value.translate(_PARAGRAPH_CONTROLS)):
        raise Malformed("a text holds a control character.")
    return value.encode("utf-8")


def _uri(_: str, __: ValueRepresentation, value: Any) -> bytes:
    if value is None or value == "":
        return b""
    if not isinstance(value, str) or re.fullmatch(r"[!-\[\]-~]+", value) is None:
        raise Malformed("a URI holds characters that no URI has.")
    return value.encode("ascii")


def _name(_: str, representation: ValueRepresentation, value: Any) -> bytes:
    if value is None:
        return b""
    if not isinstance(value, dict) or set(value) - set(_GROUPS):
        raise Malformed("a person name is no set of component groups.")
    groups = [value.get(group) or "" for group in _GROUPS]
    for group in groups:
        if not isinstance(group, str) or len(group) > representation.most or group.count("^") > 4:
            raise Malformed("a component group of a person name is longer than 64 characters, or has more than 5 components.")
        if "=" in group or "\\" in group or _CONTROL.search(group):
            raise Malformed("a person name holds a delimiter or a control character.")
    return "=".join(groups).rstrip("=").encode("utf-8")


def decimal_text(number: float) -> str:
    """Return the most exact decimal string of at most 16 characters. Ref: PS3.5 6.2 (DS). Raises: Malformed."""
    if isinstance(number, int) and abs(number) < 10**15:
        return str(number)
    try:
        number = float(number)
    except OverflowError as e:
        raise Malformed("a number is too large for its VR.") from e
    if not isfinite(number):
        raise Malformed("a decimal string is no finite number.")
    text = repr(number)
    digits = 16
    while len(text) > 16:
        digits -= 1
        text = f"{number:.{digits}g}"
    return text


def _decimal(_: str, representation: ValueRepresentation, value: Any) -> bytes:
    if value is None or value == "":
        return b""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return decimal_text(value).encode("ascii")
    if not isinstance(value, str) or len(value) > representation.most or _DECIMAL.fullmatch(value) is None:
        raise Malformed("a decimal string is no number of at most 16 characters.")
    return value.encode("ascii")


def _integer(_: str, representation: ValueRepresentation, value: Any) -> bytes:
    if value is None or value == "":
        return b""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**31:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= 2**31:
        value = str(value)
    if not isinstance(value, str) or len(value) > representation.most or _INTEGER.fullmatch(value) is None:
        raise Malformed("an integer string is no whole number of at most 12 characters.")
    if not -(2**31) <= int(value) < 2**31:
        raise Malformed("an integer string is outside of 32 bits.")
    return value.encode("ascii")


def _tag(_: str, __: ValueRepresentation, value: Any) -> bytes:
    if not isinstance(value, str) or _TAG.fullmatch(value) is None:
        raise Malformed("an attribute tag is eight hexadecimal digits.")
    return struct.pack("<HH", int(value[:4], 16), int(value[4:], 16))


def _number(_: str, representation: ValueRepresentation, value: Any) -> bytes:
    is_float = representation.code in "fd"
    if isinstance(value, str):  # PS3.18 F.2.3: a 64-bit number may stand as a string
        if is_float:
            value = _NOT_FINITE.get(value, value)
        elif len(value) <= 20 and _INTEGER.fullmatch(value):
            value = int(value)
    if isinstance(value, float) and not is_float and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Malformed("a number is wanted.")
    try:
        return struct.pack("<" + representation.code, value)
    except (struct.error, OverflowError) as e:
        raise Malformed("a number does not fit its VR.") from e


_BY_KIND: Final[dict[Kind, Callable[[str, ValueRepresentation, Any], bytes]]] = {
    Kind.ASCII: _ascii, Kind.TEXT: _text, Kind.PARAGRAPH: _paragraph, Kind.URI: _uri, Kind.NAME: _name,
    Kind.DECIMAL: _decimal, Kind.INTEGER: _integer, Kind.TAG: _tag, Kind.NUMBER: _number,
}
