"""Value Representations as data: how each is spelt, how long it may be, how it is told apart. Ref: PS3.5 6.2."""

from enum import Enum, auto
from typing import Final, NamedTuple

__all__ = ["VALUE_REPRESENTATIONS", "Kind", "ValueRepresentation"]


class Kind(Enum):
    """How the values of a VR are written."""

    ASCII = auto()  # short strings of the default repertoire, "\" between values
    TEXT = auto()  # strings in the data set's character set, "\" between values
    PARAGRAPH = auto()  # one string in the data set's character set; "\" is text
    URI = auto()  # one string of ASCII; "\" does not occur
    NAME = auto()  # component groups
    DECIMAL = auto()  # DS
    INTEGER = auto()  # IS
    TAG = auto()  # AT
    NUMBER = auto()  # binary numbers, see `code`
    BINARY = auto()  # bytes as they are
    SEQUENCE = auto()


class ValueRepresentation(NamedTuple):
    """One VR. `most` counts characters of one value (of one component group for PN); 0 = no limit of its own."""

    kind: Kind
    most: int = 0
    code: str = ""  # of struct, for numbers
    unit: int = 1  # bytes of one number, for what is made of numbers
    is_long: bool = False  # 32-bit length under explicit VR


_K = Kind
VALUE_REPRESENTATIONS: Final = {
    "AE": ValueRepresentation(_K.ASCII, 16),
    "AS": ValueRepresentation(_K.ASCII, 4),
    "AT": ValueRepresentation(_K.TAG, unit=4),
    "CS": ValueRepresentation(_K.ASCII, 16),
    "DA": ValueRepresentation(_K.ASCII, 8),
    "DS": ValueRepresentation(_K.DECIMAL, 16),
    "DT": ValueRepresentation(_K.ASCII, 26),
    "FD": ValueRepresentation(_K.NUMBER, code="d", unit=8),
    "FL": ValueRepresentation(_K.NUMBER, code="f", unit=4),
    "IS": ValueRepresentation(_K.INTEGER, 12),
    "LO": ValueRepresentation(_K.TEXT, 64),
    "LT": ValueRepresentation(_K.PARAGRAPH, 10240),
    "OB": ValueRepresentation(_K.BINARY, is_long=True),
    "OD": ValueRepresentation(_K.BINARY, unit=8, is_long=True),
    "OF": ValueRepresentation(_K.BINARY, unit=4, is_long=True),
    "OL": ValueRepresentation(_K.BINARY, unit=4, is_long=True),
    "OV": ValueRepresentation(_K.BINARY, unit=8, is_long=True),
    "OW": ValueRepresentation(_K.BINARY, unit=2, is_long=True),
    "PN": ValueRepresentation(_K.NAME, 64),
    "SH": ValueRepresentation(_K.TEXT, 16),
    "SL": ValueRepresentation(_K.NUMBER, code="i", unit=4),
    "SQ": ValueRepresentation(_K.SEQUENCE, is_long=True),
    "SS": ValueRepresentation(_K.NUMBER, code="h", unit=2),
    "ST": ValueRepresentation(_K.PARAGRAPH, 1024),
    "SV": ValueRepresentation(_K.NUMBER, code="q", unit=8, is_long=True),
    "TM": ValueRepresentation(_K.ASCII, 16),
    "UC": ValueRepresentation(_K.TEXT, is_long=True),
    "UI": ValueRepresentation(_K.ASCII, 64),
    "UL": ValueRepresentation(_K.NUMBER, code="I", unit=4),
    "UN": ValueRepresentation(_K.BINARY, is_long=True),
    "UR": ValueRepresentation(_K.URI, is_long=True),
    "US": ValueRepresentation(_K.NUMBER, code="H", unit=2),
    "UT": ValueRepresentation(_K.PARAGRAPH, is_long=True),
    "UV": ValueRepresentation(_K.NUMBER, code="Q", unit=8, is_long=True),
}
