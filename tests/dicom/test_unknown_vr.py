"""Elements that were sent on with VR UN by somebody who did not know them. Ref: PS3.5 6.2.2."""

import struct

from wire import SEQUENCE_END, el, item

from leadglass.dicom.elements import Limits
from leadglass.dicom.json_model import to_json


def _model(data: bytes, *, little: bool = True) -> dict:
    return to_json(data, offset=0, explicit=True, little=little, limits=Limits(), bulk_uri=str)


def test_a_known_element_is_shown_with_its_own_vr() -> None:
    model = _model(el(0x00100020, "UN", b"ID-1") + el(0x00280010, "UN", b"\x00\x02") + el(0x00091001, "UN", b"ab"))
    assert model["00100020"] == {"vr": "LO", "Value": ["ID-1"]}
    assert model["00280010"] == {"vr": "US", "Value": [512]}
    assert model["00091001"] == {"vr": "UN", "InlineBinary": "YWI="}  # private: nobody knows


def test_its_value_is_little_endian_whatever_the_data_set_is() -> None:
    data = struct.pack(">HH2sHI", 0x0028, 0x0010, b"UN", 0, 2) + b"\x00\x02"
    assert _model(data, little=False)["00280010"] == {"vr": "US", "Value": [512]}


def test_a_sequence_stays_unknown() -> None:
    assert _model(el(0x00081140, "UN", b"\xfe\xff\x00\xe0\x00\x00\x00\x00"))["00081140"]["vr"] == "UN"


def test_unknown_of_undefined_length_is_little_endian_in_a_big_endian_data_set() -> None:
    inner = b"\x28\x00\x10\x00\x02\x00\x00\x00\x00\x02"  # Rows, implicit VR little endian
    unknown = struct.pack(">HH2sHI", 0x0009, 0x1010, b"UN", 0, 0xFFFFFFFF) + item(inner) + SEQUENCE_END
    after = struct.pack(">HH2sHH", 0x0028, 0x0011, b"US", 2, 7)
    model = _model(unknown + after, little=False)
    assert model["00091010"] == {"vr": "SQ", "Value": [{"00280010": {"vr": "US", "Value": [512]}}]}
    assert model["00280011"] == {"vr": "US", "Value": [7]}
