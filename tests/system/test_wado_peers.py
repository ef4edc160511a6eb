"""Clients that others wrote retrieve from us: dicomweb-client by each of its functions, Orthanc over HTTPS."""

import gzip
from typing import Any

import numpy as np
import pytest
from dicomweb_client.api import DICOMwebClient
from live_server import LiveServer
from orthanc_peer import Orthanc
from phantom import ct_slice, multipart, part10

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def study(server: LiveServer) -> list[Any]:
    """Two slices of one series."""
    first = ct_slice(PatientID="PEER-1", ICCProfile=bytes(range(256)) * 10)
    second = ct_slice(study=first.StudyInstanceUID, series=first.SeriesInstanceUID, number=2, PatientID="PEER-1")
    body, headers = multipart([part10(first), part10(second)])
    server.script("loader").post(f"{server.url}/dicomweb/studies", data=body, headers=headers).raise_for_status()
    return [first, second]


def test_dicomweb_client_by_each_of_its_functions(server: LiveServer, study: list[Any]) -> None:
    client = DICOMwebClient(f"{server.url}/dicomweb", session=server.script("dicomweb-client"))
    first, second = study
    uids = (first.StudyInstanceUID, first.SeriesInstanceUID, first.SOPInstanceUID)
    names = {first.SOPInstanceUID, second.SOPInstanceUID}
    assert {d.SOPInstanceUID for d in client.retrieve_study(uids[0])} == names
    assert {d.SOPInstanceUID for d in client.iter_study(uids[0])} == names
    assert {d.SOPInstanceUID for d in client.retrieve_series(*uids[:2])} == names
    assert {d.SOPInstanceUID for d in client.iter_series(*uids[:2])} == names
    assert client.retrieve_instance(*uids).PixelData == first.PixelData
    for syntax in ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.5", "*"):
        got = client.retrieve_instance(*uids, media_types=(("application/dicom", syntax),))
        assert got.file_meta.TransferSyntaxUID == (syntax if syntax != "*" else first.file_meta.TransferSyntaxUID)
    models = [client.retrieve_study_metadata(uids[0]), client.retrieve_series_metadata(*uids[:2]), [client.retrieve_instance_metadata(*uids)]]
    assert [len(m) for m in models] == [2, 2, 1]
    octets = (("application/octet-stream", "*"),)
    assert client.retrieve_instance_frames(*uids, [1], media_types=octets) == [first.PixelData]
    assert list(client.iter_instance_frames(*uids, [1], media_types=octets)) == [first.PixelData]
    # It leaves the port out of Host (RFC 9110 7.2 wants it), where it does not stream: URIs then name the default port.
    named = {tag: models[2][0][tag]["BulkDataURI"].replace("https://localhost/", f"{server.url}/") for tag in ("00282000", "7FE00010")}
    uri = named["00282000"]
    assert client.retrieve_bulkdata(uri) == [first.ICCProfile]
    assert list(client.iter_bulkdata(uri)) == [first.ICCProfile]
    assert client.retrieve_bulkdata(named["7FE00010"]) == [first.PixelData]
    for picture in (client.retrieve_instance_rendered(*uids, media_types=("image/png",)), client.retrieve_series_rendered(*uids[:2], media_types=("image/png",)),
                    client.retrieve_instance_frames_rendered(*uids, [1], media_types=("image/png",))):
        assert picture[:4] == b"\x89PNG"
    assert np.frombuffer(first.PixelData, "<i2").size == first.Rows * first.Columns


def test_orthanc_retrieves_over_https(server: LiveServer, study: list[Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("orthanc")
    token = str(server.script("orthanc").headers["Authorization"]).removeprefix("Bearer ")
    uid = study[0].StudyInstanceUID
    with Orthanc(root, ca=server.ready["ca"]) as orthanc:
        orthanc.know_web("lg", f"{server.url}/dicomweb/", token)
        orthanc.web_retrieve("lg", [{"Study": uid}])
        assert len(orthanc.instances()) == 2
        orthanc.forget()
        orthanc.web_retrieve("lg", [{"Study": uid, "Series": study[0].SeriesInstanceUID, "Instance": study[1].SOPInstanceUID}])
        (one,) = orthanc.instances()
        assert orthanc.json("GET", f"/instances/{one}/simplified-tags")["SOPInstanceUID"] == study[1].SOPInstanceUID
        assert orthanc.file(one)[-len(study[1].PixelData):] == study[1].PixelData
        answer = orthanc.web_get("lg", f"/studies/{uid}/metadata", HttpHeaders={"Accept": "application/dicom+json"})
        content = gzip.decompress(answer.content) if answer.content[:2] == b"\x1f\x8b" else answer.content
        assert study[0].SOPInstanceUID.encode() in content
