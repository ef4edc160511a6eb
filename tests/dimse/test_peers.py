"""Foreign programs as peers."""

import pytest
from dcmtk_peer import run
from dimse_world import world
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

pytestmark = pytest.mark.peer
FILES = [
    "CT_small.dcm", "MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "rtplan.dcm", "waveform_ecg.dcm",
    "JPEG2000.dcm", "JPEG-lossy.dcm", "examples_palette.dcm", "MR_small_RLE.dcm", "image_dfl.dcm",
]


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    with world(tmp_path_factory.mktemp("peers")) as running:
        yield running


def test_echoscu(port):
    done = run("echoscu", "-v", "-aet", "CT1", "-aec", "LEADGLASS", "127.0.0.1", port.plain)
    assert done.code == 0, done.output


def test_echoscu_of_a_stranger(port):
    done = run("echoscu", "-v", "-aet", "NOBODY", "-aec", "LEADGLASS", "127.0.0.1", port.plain)
    assert done.code != 0
    assert "Calling AE Title Not Recognized" in done.output


@pytest.mark.parametrize("name", FILES)
def test_storescu(port, tmp_path, name):
    path = tmp_path / name
    dataset = dcmread(get_testdata_file(name))
    uid = generate_uid()  # some of the files are one instance in several encodings, which would be a conflict
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
    dataset.save_as(path)
    before = port.instances
    chosen = {"JPEG2000.dcm": ["-xw"], "JPEG-lossy.dcm": ["-xx"], "MR_small_RLE.dcm": ["-xr"], "image_dfl.dcm": ["-xd"],
              "MR_small_bigendian.dcm": ["-xb"], "MR_small_implicit.dcm": ["-xi"]}.get(name, [])
    done = run("storescu", "-v", *chosen, "-aet", "CT1", "-aec", "LEADGLASS", "127.0.0.1", port.plain, path)
    assert done.code == 0, done.output
    assert "Success" in done.output
    assert port.instances == before + 1
