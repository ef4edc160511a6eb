"""The DICOM JSON model against pydicom's own."""

from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file

from leadglass.dicom.elements import Limits
from leadglass.dicom.json_model import to_json
from leadglass.dicom.part10 import parse_head
from leadglass.dicom.transfer_syntaxes import TRANSFER_SYNTAXES

LIMITS = Limits()


def _ours(data: bytes) -> dict[str, Any]:
    head = parse_head(data, is_complete=True, limits=LIMITS)
    assert head is not None
    syntax = TRANSFER_SYNTAXES[head.transfer_syntax_uid]
    return to_json(data, offset=head.dataset_offset, explicit=syntax.explicit, little=syntax.little, limits=LIMITS,
                   bulk_uri=lambda path: "bulk/" + path)


def _plain(model: dict[str, Any]) -> dict[str, Any]:
    """Return what both must say: no bulk data, no group lengths, the character set left out, empty values dropped."""
    out = {}
    for key, entry in model.items():
        if key.endswith("0000") or key in {"00080005", "7FE00010", "FFFCFFFC"}:
            continue
        if "InlineBinary" in entry or "BulkDataURI" in entry:
            continue
        value = entry.get("Value", [])
        if entry["vr"] == "SQ":
            out[key] = {"vr": "SQ", "Value": [_plain(item) for item in value]}
        elif value and value != [None] and value != [""]:
            out[key] = {"vr": entry["vr"], "Value": [_number(v) for v in value]}
    return {k: v for k, v in out.items() if v["Value"]}


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, int | float) else value


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm", "rtplan.dcm", "reportsi.dcm", "SC_rgb_rle.dcm",
                                  "ExplVR_BigEnd.dcm", "liver_1frame.dcm", "MR_small_bigendian.dcm"])
def test_real_files(name: str) -> None:
    data = Path(str(get_testdata_file(name))).read_bytes()
    theirs = _plain(pydicom.dcmread(get_testdata_file(name)).to_json_dict(bulk_data_threshold=1 << 30))
    ours = _plain(_ours(data))
    for key, entry in theirs.items():
        assert ours.get(key) == entry, key
    assert not {k for k in ours if k not in theirs and not int(k[:4], 16) % 2}


def test_every_key_is_sorted_and_no_pixel_is_inside() -> None:
    data = Path(str(get_testdata_file("CT_small.dcm"))).read_bytes()
    model = _ours(data)
    assert list(model) == sorted(model)
    assert model["7FE00010"] == {"vr": "OW", "BulkDataURI": "bulk/7FE00010"}
