"""What the server builds of metadata and bulk data, judged by others: dciodvfy, DCMTK, Orthanc, dicomweb-client."""

import io
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicomweb_client.api import DICOMwebClient
from live_server import LiveServer
from orthanc_peer import Orthanc, Tls
from phantom import ct_slice, part10
from PIL import Image
from store_bodies import body_of, bulk_part, json_part, secondary_capture, uid_of, uri_of

from leadglass.dicom.xml_model import to_xml

pytestmark = pytest.mark.peer
JPEG = "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50"


def jpeg(value: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((16, 16), value, "u1")).save(out, "JPEG", quality=95)
    return out.getvalue()


def kinds() -> dict[str, tuple[dict[str, Any], list[Any]]]:
    """Return name -> (metadata, parts of bulk data)."""
    single, xml = secondary_capture(), secondary_capture()
    many, compressed = secondary_capture(frames=3), secondary_capture(frames=3)
    compressed |= {"00282110": {"vr": "CS", "Value": ["01"]}, "00282112": {"vr": "DS", "Value": [10]},
                   "00282114": {"vr": "CS", "Value": ["ISO_10918_1"]}}
    for model in (many, compressed):
        del model["00280009"], model["00181063"]
        model["00280009"] = {"vr": "AT", "Value": ["00181063"]}
        model["00181063"] = {"vr": "DS", "Value": [40]}
    return {
        "single frame": (single, [bulk_part(uri_of(single), bytes(256))]), "from XML": (xml, [bulk_part(uri_of(xml), bytes(256))]),
        "three frames": (many, [bulk_part(uri_of(many), bytes(768))]),
        "three JPEG frames": (compressed, [bulk_part(uri_of(compressed), jpeg(v), JPEG) for v in (9, 99, 199)]),
    }


@pytest.fixture(scope="module")
def built(server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Store each kind, fetch it back as a file."""
    folder = tmp_path_factory.mktemp("built")
    script = server.script("builder")
    files = {}
    for name, (model, parts) in kinds().items():
        is_xml = name == "from XML"
        first = ({"Content-Type": "application/dicom+xml"}, to_xml(model)) if is_xml else json_part(model)
        body, headers = body_of(first, *parts, inner="application/dicom+xml" if is_xml else "application/dicom+json")
        answer = script.post(f"{server.url}/dicomweb/studies", data=body, headers=headers)
        assert answer.status_code == 200, answer.text
        url = f"{server.url}/dicomweb/studies/{uid_of(model, '0020000D')}/series/{uid_of(model, '0020000E')}/instances/{uid_of(model)}"
        got = script.get(url, headers={"Accept": "application/dicom; transfer-syntax=*"})
        files[name] = folder / f"{name.replace(' ', '-')}.dcm"
        files[name].write_bytes(got.content)
    return files


@pytest.mark.parametrize("name", list(kinds()))
def test_dciodvfy_finds_no_error(built: dict[str, Path], name: str) -> None:
    done = subprocess.run(["dciodvfy", str(built[name])], capture_output=True, text=True, timeout=60, check=False)
    assert [line for line in done.stderr.splitlines() if line.startswith("Error")] == [], done.stderr


@pytest.mark.parametrize("name", list(kinds()))
def test_dcmtk_reads_it_to_the_end(built: dict[str, Path], name: str) -> None:
    done = subprocess.run(["/usr/bin/dcmdump", "+fo", "+U8", str(built[name])], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "Müller^Built=山田^太郎" in done.stdout
    if name == "three JPEG frames":
        assert done.stdout.count("pi ") == 4, "an offset table and three fragments"
        decoded = built[name].with_suffix(".raw")
        subprocess.run(["/usr/bin/dcmdjpeg", str(built[name]), str(decoded)], check=True, timeout=60)


def test_orthanc_takes_and_shows_what_we_built(built: dict[str, Path], tmp_path: Path, server: LiveServer) -> None:
    server.run("devices", "add", "ORTHANC", "--host", "127.0.0.1", "--role", "pacs")
    server.run("devices", "issue", "ORTHANC", "--out", str(tmp_path))
    with Orthanc(tmp_path, ca=server.ready["ca"], tls=Tls.issued(tmp_path, "ORTHANC")) as orthanc:
        for name, path in built.items():
            identifier = orthanc.upload(path.read_bytes())["ID"]
            picture = orthanc.call("GET", f"/instances/{identifier}/preview")
            assert picture.status_code == 200, name
            assert picture.content[:4] == b"\x89PNG", name
        token = str(server.script("orthanc").headers["Authorization"]).removeprefix("Bearer ")
        orthanc.know_web("up", f"{server.url}/dicomweb/", token)
        slices = [ct_slice(study="1.2.3.4.5.6.7", series="1.2.3.4.5.6.7.1", number=n, PatientID="STOW-UP") for n in range(1, 21)]
        sent = [orthanc.upload(part10(ds))["ID"] for ds in slices]
        orthanc.web_store("up", sent)
    found = server.script().get(f"{server.url}/dicomweb/studies/1.2.3.4.5.6.7/instances")
    assert {i["00080018"]["Value"][0] for i in found.json()} == {ds.SOPInstanceUID for ds in slices}


def test_dicomweb_client_sees_each_instances_outcome(server: LiveServer) -> None:
    client = DICOMwebClient(f"{server.url}/dicomweb", session=server.script("dicomweb"))
    mine, other = ct_slice(), ct_slice()
    answer = client.store_instances([mine, other], study_instance_uid=mine.StudyInstanceUID)
    assert [i.ReferencedSOPInstanceUID for i in answer.ReferencedSOPSequence] == [mine.SOPInstanceUID]
    assert [(i.ReferencedSOPInstanceUID, i.FailureReason) for i in answer.FailedSOPSequence] == [(other.SOPInstanceUID, 0xA900)]
