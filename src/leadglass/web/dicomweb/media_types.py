"""Media types and their negotiation, sans I/O. Ref: PS3.18 8.7; RFC 9110 8.3.1, 12.5.1.

An Accept header is parsed with quoted parameters (type="application/dicom; ..."), at most 4 KiB and 64 ranges; `q`
orders, what is first wins among equals. `accept` as a query parameter (PS3.18 8.3.3.1) comes in by the same parser.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from leadglass.errors import Malformed

__all__ = ["MediaRange", "parse_accept", "parse_media_type"]

_MAX_LENGTH: Final = 4096
_MAX_RANGES: Final = 64
_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110 5.6.2
_TYPE: Final = re.compile(rf"\s*({_TOKEN})/({_TOKEN})\s*")
# Values such as 1.2.840.* and application/dicom are sent without quotes by real clients: they are taken.
_PARAMETER: Final = re.compile(rf';\s*(?:({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s";,]*))\s*)?')


@dataclass(frozen=True)
class MediaRange:
    """A media type, or a range of them. `type` and names of parameters are lower case, values as sent."""

    type: str  # "multipart/related", "image/*", "*/*"
    parameters: dict[str, str] = field(default_factory=dict)
    quality: float = 1.0

    @property
    def inner(self) -> str:
        """The type of the parts, for multipart/related without one: anything."""
        return self.parameters.get("type", "*/*").lower()

    @property
    def transfer_syntax(self) -> str:
        """The transfer syntax asked for; "" when none is named."""
        return self.parameters.get("transfer-syntax", "")

    @property
    def is_multipart(self) -> bool:
        """Whether the answer may be (or must be) multipart/related."""
        return self.type == "multipart/related"

    def covers(self, media_type: str) -> bool:
        """Return whether this range covers `media_type`."""
        return covers(self.type, media_type)


def covers(wanted: str, media_type: str) -> bool:
    """Return whether the range `wanted` covers `media_type`."""
    return wanted in {media_type, "*/*"} or (wanted.endswith("/*") and media_type.startswith(wanted[:-1]))


def parse_media_type(text: str) -> MediaRange:
    """Return the one media type of a Content-Type. Raises: Malformed."""
    found = list(_ranges(text))
    if len(found) != 1:
        raise Malformed("a media type is wanted, such as application/dicom.")
    return found[0]


def parse_accept(values: Iterable[str]) -> list[MediaRange]:
    """Return the ranges of all Accept values, best first; none at all means "*/*". Raises: Malformed."""
    text = ",".join(value for value in values if value.strip())
    ranges = list(_ranges(text)) or [MediaRange("*/*")]
    return sorted((r for r in ranges if r.quality > 0), key=lambda r: -r.quality)


def _ranges(text: str) -> Iterator[MediaRange]:
    if len(text) > _MAX_LENGTH:
        raise Malformed(f"a list of media types takes more than {_MAX_LENGTH} characters.")
    at = 0
    count = 0
    while at < len(text):
        if text[at] in ", \t":
            at += 1
            continue
        match = _TYPE.match(text, at)
        count += 1
        if match is None or count > _MAX_RANGES:
            raise Malformed("a list of media types cannot be read.")
        at = match.end()
        parameters: dict[str, str] = {}
        quality = 1.0
        while at < len(text) and text[at] == ";":
            parameter = _PARAMETER.match(text, at)
            if parameter is None:
                raise Malformed("a parameter of a media type cannot be read.")
            at = parameter.end()
            name, quoted, plain = parameter.groups()
            if name is None:
                continue
            value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain
            if name.lower() == "q":
                quality = _quality(value)
            else:
                parameters.setdefault(name.lower(), value)
        if at < len(text) and text[at] != ",":
            raise Malformed("a list of media types cannot be read.")
        yield MediaRange(f"{match[1]}/{match[2]}".lower(), parameters, quality)


def _quality(text: str) -> float:
    if re.fullmatch(r"[01](\.\d{0,3})?", text) is None:
        raise Malformed("q of a media type is a number from 0 to 1.")
    return min(1.0, float(text))
