"""What is converted is read by decoders that others wrote: DCMTK's, and pydicom's with OpenJPEG and GDCM."""

import io
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.encaps import get_frame
from pydicom.pixels.utils import pixel_array
from small_house import put, reader, small_house

from leadglass.archive.pixels.conversions import COMPRESSED_TARGETS
from leadglass.archive.pixels.pixel_codecs import decode_frame
from leadglass.dicom.image_pixel import image_pixel

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
FILES = (  # grey of 8, 10, 12, 16 bits, signed; colour by pixel, by plane, halved; palette; several frames; big endian; 1 bit
    "syntaxes/small/CT_small.dcm", "syntaxes/small/MR_small_bigendian.dcm", "syntaxes/small/emri_small_RLE.dcm",
    "syntaxes/small/color-pl.dcm", "syntaxes/small/SC_ybr_full_422_uncompressed.dcm", "syntaxes/small/SC_rgb_rle_16bit.dcm",
    "syntaxes/small/JPGExtended.dcm", "syntaxes/small/SC_rgb_small_odd.dcm", "syntaxes/small/mlut_18.dcm",
    "modalities/us/US-PAL-8-10x-echo.dcm", "syntaxes/wg04/MR1_JPLL.dcm",
)
DCMTK = {  # transfer syntax -> the tool that makes it Explicit VR Little Endian
    "1.2.840.10008.1.2": ["dcmconv", "+te"], "1.2.840.10008.1.2.2": ["dcmconv", "+te"], "1.2.840.10008.1.2.1.99": ["dcmconv", "+te"],
    "1.2.840.10008.1.2.1": ["dcmconv", "+te"], "1.2.840.10008.1.2.4.70": ["dcmdjpeg", "+cn"], "1.2.840.10008.1.2.4.80": ["dcmdjpls"],
    "1.2.840.10008.1.2.5": ["dcmdrle"],
}
PLUGINS = {"1.2.840.10008.1.2.4.90": "gdcm", "1.2.840.10008.1.2.4.201": "pylibjpeg", "1.2.840.10008.1.2.4.202": "pylibjpeg"}

pytestmark = [pytest.mark.corpus, pytest.mark.peer, pytest.mark.filterwarnings("ignore"),
              pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not here")]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with small_house(tmp_path_factory.mktemp("peers")) as opened:
        yield opened, reader(opened)


def native(ds: pydicom.Dataset) -> np.ndarray:
    """Return the values of native pixel data by nothing but their bytes: frames x pixels x samples."""
    frames, samples, bits = int(ds.get("NumberOfFrames", 1) or 1), ds.SamplesPerPixel, ds.BitsAllocated
    count = frames * ds.Rows * ds.Columns * samples
    kind = "i" if ds.PixelRepresentation else "u"
    values = np.frombuffer(ds.PixelData, f"<{kind}{bits // 8}")[:count]
    unused = bits - ds.BitsStored
    values = (values << unused) >> unused
    if samples > 1 and ds.get("PlanarConfiguration"):
        return values.reshape(frames, samples, -1).transpose(0, 2, 1)
    return values.reshape(frames, -1, samples)


def by_dcmtk(tool: list[str], data: bytes, tmp_path: Path) -> np.ndarray:
    source, out = tmp_path / "in.dcm", tmp_path / "out.dcm"
    source.write_bytes(data)
    result = subprocess.run([f"/usr/bin/{tool[0]}", *tool[1:], str(source), str(out)], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    assert "E:" not in result.stderr
    assert "Corrupt" not in result.stderr
    return native(pydicom.dcmread(out))


def by_pydicom(plugin: str, data: bytes) -> np.ndarray:
    ds = pydicom.dcmread(io.BytesIO(data))
    frames = int(ds.get("NumberOfFrames", 1) or 1)
    arrays = [np.asarray(pixel_array(ds, index=n, raw=True, decoding_plugin=plugin)) for n in range(frames)]
    unused = ds.BitsAllocated - ds.BitsStored
    return (np.stack(arrays).reshape(frames, ds.Rows * ds.Columns, -1) << unused) >> unused


@pytest.mark.parametrize("name", FILES)
def test_foreign_decoders_read_the_same_values(house: Any, tmp_path: Path, name: str) -> None:
    opened, who = house
    (outcome,) = put(opened, (DATA / name).read_bytes())
    grant = opened.operations.study(who, outcome.study_uid)
    (row,) = opened.operations.locate(grant, None, outcome.sop_instance_uid)
    plain = b"".join(opened.operations.stream_instance(grant, row, "1.2.840.10008.1.2.1"))
    ds = pydicom.dcmread(io.BytesIO(plain))
    if str(ds.PhotometricInterpretation) == "YBR_FULL_422":  # halved colours: the decoded stand beside the compressed
        plain = b"".join(opened.operations.stream_instance(grant, row, "1.2.840.10008.1.2.5"))
        wanted = by_dcmtk(DCMTK["1.2.840.10008.1.2.5"], plain, tmp_path)
        halved = np.frombuffer(ds.PixelData, "u1").reshape(-1, 4)
        assert np.array_equal(wanted[0, 0::2, 0], halved[:, 0])
        assert np.array_equal(wanted[0, 1::2, 1], halved[:, 2])
    else:
        wanted = native(ds)
    seen = 0
    for target in opened.operations.syntaxes_of(row):
        if target == row.transfer_syntax_uid or (str(ds.PhotometricInterpretation) == "YBR_FULL_422" and target not in COMPRESSED_TARGETS):
            continue
        data = b"".join(opened.operations.stream_instance(grant, row, target))
        found = by_dcmtk(DCMTK[target], data, tmp_path) if target in DCMTK else by_pydicom(PLUGINS[target], data)
        assert np.array_equal(found, wanted), target
        seen += 1
    assert seen >= 5


def test_the_same_image_in_fifteen_syntaxes_decodes_to_the_same_values() -> None:
    """Lossless ones exactly; lossy ones, which pydicom does not all read, near."""
    paths = sorted((DATA / "syntaxes" / "ctimage-16").glob("*.dcm"))
    assert len(paths) == 15
    native_path = next(p for p in paths if p.name.endswith("_1.2.840.10008.1.2.1.dcm"))
    first = pydicom.dcmread(native_path)
    plain = native(first)[0, :, 0] * float(first.RescaleSlope) + float(first.RescaleIntercept)
    far = {}
    for path in paths:
        ds = pydicom.dcmread(path)
        uid = str(ds.file_meta.TransferSyntaxUID)
        if not ds.file_meta.TransferSyntaxUID.is_compressed or ds.file_meta.TransferSyntaxUID.is_deflated:
            continue
        described = {int(e.tag): e.value if isinstance(e.value, bytes) else str(e.value).encode() if isinstance(e.value, str)
                  else int(e.value).to_bytes(2, "little") for e in ds.group_dataset(0x0028) if e.VR in {"US", "CS"} and e.VM == 1}
        array, now = decode_frame(get_frame(ds.PixelData, 0), uid, image_pixel(described))
        found = array.view("i2" if now.representation else "u2") if now.bits_allocated == 16 else array
        values = found.ravel() * float(ds.RescaleSlope) + float(ds.RescaleIntercept)  # the lossy ones have scales of their own
        far[uid] = float(np.abs(values - plain).mean())
    assert {uid for uid, apart in far.items() if apart == 0} >= {f"1.2.840.10008.1.2.{n}" for n in ("4.57", "4.70", "4.80", "4.90", "5")}
    assert all(apart < (40 if uid.endswith(".50") else 4) for uid, apart in far.items()), far  # .50 keeps 8 bits of 16
    assert len(far) == 11
