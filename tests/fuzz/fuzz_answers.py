"""Answers of queries, in any character set.

Promises: only Malformed comes out of a question; what a data set holds can be written as an answer, in any declared
character set, and be read again. Ref: PS3.4 C.4.1.1.3, PS3.5 6.1.
"""

from collections.abc import Iterator

from wire import EXPLICIT, IMPLICIT, el, item, open_item, sequence

from leadglass.dicom.elements import Limits
from leadglass.dicom.identifier import decode_identifier, encode_identifier
from leadglass.dicom.json_model import to_json
from leadglass.errors import Malformed

LIMITS = Limits(max_depth=8, max_elements=1000)
CHARACTER_SETS = ("", "ISO_IR 100", "ISO_IR 192", "\\ISO 2022 IR 87", "ISO 2022 IR 6\\ISO 2022 IR 149", "GB18030", "ISO_IR 999", "ISO_IR 13\\ISO 2022 IR 87")


def one_input(data: bytes) -> None:
    """Byte 0 chooses transfer syntax and character set of the answer; the rest is the identifier."""
    if not data:
        return
    syntax = IMPLICIT if data[0] & 1 else EXPLICIT
    body, declared = data[1:], CHARACTER_SETS[(data[0] >> 1) % len(CHARACTER_SETS)]
    try:
        question = decode_identifier(body, syntax)
    except Malformed as e:
        assert str(e)
    else:
        assert sum(len(key.text) for key in question.keys) <= 20 * len(body) + 100
    model = to_json(body, offset=0, explicit=syntax == EXPLICIT, little=True, limits=LIMITS, bulk_uri=str)
    for target in (IMPLICIT, EXPLICIT):
        answer = encode_identifier(model, target, declared)
        assert len(answer) % 2 == 0
        assert len(answer) <= 20 * len(body) + 200
        to_json(answer, offset=0, explicit=target == EXPLICIT, little=True, limits=Limits(), bulk_uri=str)


def seeds() -> Iterator[bytes]:
    """Give questions that are right."""
    keys = (el(0x00080005, "CS", b"ISO_IR 100") + el(0x00080020, "DA", b"20200101-20201231") + el(0x00080052, "CS", b"STUDY")
            + el(0x00080061, "CS", b"CT\\MR") + el(0x00100010, "PN", b"M\xfcller^*=x") + el(0x00200010, "SH", b"") + el(0x00280010, "US", b"\x00\x02")
            + sequence(0x00400275, open_item(el(0x00400007, "LO", b"a?b") + el(0x00400008, "SQ", item(el(0x00080100, "SH", b"T")))))
            + el(0x00420011, "OB", b"12") + el(0x0020000D, "UI", b"1.2\\1.3"))
    for choice in (0, 4, 6, 8):
        yield bytes((choice,)) + keys
    yield b"\x06" + el(0x00080005, "CS", b"\\ISO 2022 IR 87") + el(0x00100010, "PN", b"A^B=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B")
    yield b"\x01" + b"\x08\x00\x52\x00\x06\x00\x00\x00STUDY " + b"\x10\x00\x10\x00\x04\x00\x00\x00A^B*"
