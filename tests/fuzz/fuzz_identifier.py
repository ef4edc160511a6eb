"""Identifiers of queries, and the question that the archive's search makes of them.

Promises: only Malformed comes out; an answer of everything that was asked can be written, and read again with the same
keys, in the asker's character set or in UTF-8. Ref: PS3.4 C.4.1.
"""

from collections.abc import Iterator
from typing import Any

from leadglass.dicom.identifier import Asked, decode_identifier, encode_identifier
from leadglass.dicom.query_model import element
from leadglass.dicom.transfer_syntaxes import BIG_ENDIAN, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from leadglass.errors import Malformed

SYNTAXES = (IMPLICIT_LITTLE, EXPLICIT_LITTLE, BIG_ENDIAN)


def one_input(data: bytes) -> None:
    """The first byte chooses the transfer syntax, the rest is the identifier."""
    syntax = SYNTAXES[data[0] % 3] if data else IMPLICIT_LITTLE
    try:
        question = decode_identifier(data[1:], syntax)
    except Malformed as e:
        assert str(e)
        return
    model = _echo(question.keys)
    written = encode_identifier(model, syntax, question.character_set)
    assert len(written) <= 8 * len(data) + 1000
    again = decode_identifier(written, syntax)
    assert {k.tag for k in again.keys} == {int(key, 16) for key in model}


def _echo(keys: list[Asked]) -> dict[str, Any]:
    """Return the model of an answer that repeats the question; the last of two keys with one tag counts."""
    return {f"{k.tag:08X}": {"vr": "SQ", "Value": [_echo(k.inner)]} if k.vr == "SQ" else element(k.vr, k.text) for k in keys}


def seeds() -> Iterator[bytes]:
    """Give questions as workstations write them."""
    for number, syntax in enumerate(SYNTAXES):
        for charset, name in (("", "SMITH*"), ("ISO_IR 100", "Müller^*"), ("ISO_IR 192", "王^*"), ("\\ISO 2022 IR 149", "홍^*")):
            yield bytes([number]) + encode_identifier({
                "00080052": {"vr": "CS", "Value": ["STUDY"]}, "00100010": {"vr": "PN", "Value": [{"Alphabetic": name}]},
                "00080020": {"vr": "DA", "Value": ["20260101-"]}, "0020000D": {"vr": "UI", "Value": ["1.2", "1.3"]},
                "00400275": {"vr": "SQ", "Value": [{"00400009": {"vr": "SH", "Value": ["S1"]}}]}, "00280010": {"vr": "US", "Value": [512]},
            }, syntax, charset)
