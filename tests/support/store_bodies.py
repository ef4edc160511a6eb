"""STOW-RS bodies of metadata and bulk data, good and bad, by hand."""

import copy
import json
from typing import Any

from pydicom.uid import generate_uid

BOUNDARY = "lg-meta"
Part = tuple[dict[str, str], bytes]


def secondary_capture(*, frames: int = 1, **changes: Any) -> dict[str, Any]:
    """Return the metadata of a multi-frame 8-bit secondary capture of 16 x 16 pixels; pixel data under `uri`."""
    instance = generate_uid(prefix=None)
    model: dict[str, Any] = {
        "00080016": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.7.2" if frames > 1 else "1.2.840.10008.5.1.4.1.1.7"]},
        "00080018": {"vr": "UI", "Value": [instance]}, "0020000D": {"vr": "UI", "Value": [generate_uid(prefix=None)]},
        "0020000E": {"vr": "UI", "Value": [generate_uid(prefix=None)]},
        "00080020": {"vr": "DA", "Value": ["20260102"]}, "00080030": {"vr": "TM", "Value": ["101112"]},
        "00080050": {"vr": "SH"}, "00080060": {"vr": "CS", "Value": ["OT"]}, "00080064": {"vr": "CS", "Value": ["WSD"]},
        "00080090": {"vr": "PN"}, "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Müller^Built", "Ideographic": "山田^太郎"}]},
        "00100020": {"vr": "LO", "Value": ["BUILT-1"]}, "00100030": {"vr": "DA"}, "00100040": {"vr": "CS", "Value": ["O"]},
        "00200010": {"vr": "SH", "Value": ["1"]}, "00200011": {"vr": "IS", "Value": [1]}, "00200013": {"vr": "IS", "Value": [1]},
        "00200020": {"vr": "CS"}, "00200060": {"vr": "CS"}, "00280002": {"vr": "US", "Value": [1]}, "00280004": {"vr": "CS", "Value": ["MONOCHROME2"]},
        "00280010": {"vr": "US", "Value": [16]}, "00280011": {"vr": "US", "Value": [16]}, "00280100": {"vr": "US", "Value": [8]},
        "00280101": {"vr": "US", "Value": [8]}, "00280102": {"vr": "US", "Value": [7]}, "00280103": {"vr": "US", "Value": [0]},
        "7FE00010": {"vr": "OB", "BulkDataURI": f"bulk/{instance}"},
    }
    if frames > 1:
        model |= {"00280008": {"vr": "IS", "Value": [frames]}, "00280009": {"vr": "AT", "Value": ["00181063"]},
                  "00181063": {"vr": "DS", "Value": [40]}, "00280301": {"vr": "CS", "Value": ["NO"]},
                  "20500020": {"vr": "CS", "Value": ["IDENTITY"]}, "00281052": {"vr": "DS", "Value": [0]},
                  "00281053": {"vr": "DS", "Value": [1]}, "00281054": {"vr": "LO", "Value": ["US"]}}
    model |= changes
    return copy.deepcopy(model)


def uri_of(model: dict[str, Any]) -> str:
    return str(model["7FE00010"]["BulkDataURI"])


def uid_of(model: dict[str, Any], tag: str = "00080018") -> str:
    return str(model[tag]["Value"][0])


def json_part(*models: dict[str, Any]) -> Part:
    return {"Content-Type": "application/dicom+json"}, json.dumps(list(models)).encode()


def bulk_part(uri: str, data: bytes, media_type: str = "application/octet-stream") -> Part:
    return {"Content-Type": media_type, "Content-Location": uri}, data


def body_of(*parts: Part, inner: str = "application/dicom+json") -> tuple[bytes, dict[str, str]]:
    """Return (body, headers) of a request."""
    body = b""
    for headers, data in parts:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        body += f"--{BOUNDARY}\r\n{lines}\r\n".encode() + data + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode(), {
        "Content-Type": f'multipart/related; type="{inner}"; boundary={BOUNDARY}', "Accept": "application/dicom+json"}
