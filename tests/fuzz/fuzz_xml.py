"""The Native DICOM Model as XML.

Promises: only Malformed comes out; what was read is written and read again the same; the document that is written is
no more than a fixed multiple of the one that came. Ref: PS3.19 A.1.
"""

import json
from collections.abc import Iterator

from leadglass.dicom.elements import Limits
from leadglass.dicom.xml_model import NAMESPACE, from_xml, to_xml
from leadglass.errors import Malformed

LIMITS = Limits(max_depth=32, max_elements=2000, max_header_bytes=1 << 18)
AMPLIFICATION = 64


def one_input(data: bytes) -> None:
    """The bytes are the document."""
    try:
        model = from_xml(data, LIMITS)
    except Malformed as e:
        assert str(e)
        return
    json.dumps(model, allow_nan=False)
    written = to_xml(model)
    assert len(written) <= AMPLIFICATION * len(data) + 1000
    again = from_xml(written, Limits(max_depth=32, max_elements=4000, max_header_bytes=1 << 24))
    assert from_xml(to_xml(again), LIMITS) == again


def seeds() -> Iterator[bytes]:
    """Give documents that are right, and the classics that must be refused."""
    head = f'<?xml version="1.0" encoding="UTF-8"?>\n<NativeDicomModel xmlns="{NAMESPACE}" xml:space="preserve">'
    yield (head + '<DicomAttribute tag="00100010" vr="PN" keyword="PatientName"><PersonName number="1"><Alphabetic><FamilyName>A</FamilyName>'
           '<GivenName>B</GivenName></Alphabetic><Ideographic><FamilyName>山</FamilyName></Ideographic></PersonName></DicomAttribute>'
           '<DicomAttribute tag="00081140" vr="SQ"><Item number="1"><DicomAttribute tag="00081155" vr="UI"><Value number="1">1.2</Value>'
           '</DicomAttribute></Item><Item number="2"/></DicomAttribute></NativeDicomModel>').encode()
    yield (head + '<DicomAttribute tag="00091001" vr="OB" privateCreator="ACME &amp; &#233;"><InlineBinary>AAEC</InlineBinary></DicomAttribute>'
           '<DicomAttribute tag="00280010" vr="US"><Value number="1">512</Value></DicomAttribute><DicomAttribute tag="00281052" vr="DS">'
           '<Value number="2">-1.5e3</Value></DicomAttribute><DicomAttribute tag="00720074" vr="FD"><Value number="1">NaN</Value></DicomAttribute>'
           '<DicomAttribute tag="7FE00010" vr="OW"><BulkData uri="https://x/1"/></DicomAttribute></NativeDicomModel>').encode()
    yield b'<!DOCTYPE a [<!ENTITY b "cc"><!ENTITY d "&b;&b;">]><NativeDicomModel>&d;</NativeDicomModel>'
    yield '<?xml version="1.0" encoding="UTF-16"?><NativeDicomModel/>'.encode("utf-16")
