"""What schemathesis cannot know: real UIDs, and how the parts of a store request are laid out."""

import json
import os
from typing import Any

import schemathesis

BOUNDARY = "lg-schemathesis"
UIDS = dict(zip(("study", "series", "instance", "path"), os.environ.get("LEADGLASS_TEST_UIDS", "").split(), strict=False))
_turn = [0]


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    """Put real UIDs in two of three requests: a UID by chance names nothing, and everything would be 404."""
    _turn[0] += 1
    if path_parameters and _turn[0] % 3 and all(isinstance(v, str) for v in path_parameters.values()):
        return path_parameters | {name: uid for name, uid in UIDS.items() if name in path_parameters}
    return path_parameters


@schemathesis.serializer("multipart/related")
def multipart_related(context: Any, value: Any) -> bytes:
    """Lay out metadata and bulk data as parts; what has another shape goes out as one part of JSON."""
    parts = []
    if isinstance(value, dict):
        parts.append(("Content-Type: application/dicom+json", json.dumps(value.get("metadata")).encode()))
        bulk = value.get("bulkdata")
        for name, data in (bulk if isinstance(bulk, dict) else {}).items():
            location = "".join(c for c in str(name) if " " < c <= "~") or "x"
            parts.append((f"Content-Type: application/octet-stream\r\nContent-Location: {location}", str(data).encode("utf-8", "replace")))
    else:
        parts.append(("Content-Type: application/dicom+json", json.dumps(value, default=str).encode()))
    body = b"".join(f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode() + data + b"\r\n" for head, data in parts)
    return body + f"--{BOUNDARY}--\r\n".encode()


@schemathesis.serializer("application/dicom")
def dicom(context: Any, value: Any) -> bytes:
    """Send what was made as it is: a file that is none."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Name the boundary of a multipart body."""
    if case.media_type == "multipart/related" and case.headers is not None:
        case.headers["Content-Type"] = f'multipart/related; type="application/dicom+json"; boundary={BOUNDARY}'
