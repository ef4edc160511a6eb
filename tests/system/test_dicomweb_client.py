"""A client that others wrote: dicomweb-client stores, searches and retrieves."""

import numpy as np
import pytest
from dicomweb_client.api import DICOMwebClient
from live_server import LiveServer
from phantom import ct_slice
from requests import HTTPError

pytestmark = pytest.mark.peer


def test_store_search_retrieve(server: LiveServer) -> None:
    client = DICOMwebClient(f"{server.url}/dicomweb", session=server.script("dicomweb"))
    first = ct_slice(PatientID="CLIENT-1", PatientName="Client^One")
    second = ct_slice(study=first.StudyInstanceUID, series=first.SeriesInstanceUID, number=2, PatientID="CLIENT-1", PatientName="Client^One")
    answer = client.store_instances([first, second])
    assert {i.ReferencedSOPInstanceUID for i in answer.ReferencedSOPSequence} == {first.SOPInstanceUID, second.SOPInstanceUID}
    (study,) = client.search_for_studies(search_filters={"PatientID": "CLIENT-1"})
    assert study["0020000D"]["Value"] == [first.StudyInstanceUID]
    (series,) = client.search_for_series(study_instance_uid=first.StudyInstanceUID)
    assert series["00201209"]["Value"] == [2]
    assert len(client.search_for_instances(study_instance_uid=first.StudyInstanceUID, limit=1)) == 1
    got = client.retrieve_study(first.StudyInstanceUID)
    assert {d.SOPInstanceUID for d in got} == {first.SOPInstanceUID, second.SOPInstanceUID}
    one = client.retrieve_instance(first.StudyInstanceUID, first.SeriesInstanceUID, first.SOPInstanceUID)
    assert one.PixelData == first.PixelData
    (frame,) = client.retrieve_instance_frames(
        first.StudyInstanceUID, first.SeriesInstanceUID, first.SOPInstanceUID, [1], media_types=("application/octet-stream",))
    assert frame == first.PixelData
    metadata = client.retrieve_series_metadata(first.StudyInstanceUID, first.SeriesInstanceUID)
    assert [m["00200013"]["Value"] for m in metadata] == [[1], [2]]
    picture = client.retrieve_instance_rendered(first.StudyInstanceUID, first.SeriesInstanceUID, first.SOPInstanceUID,
                                                media_types=("image/png",))
    assert picture[:4] == b"\x89PNG"
    assert np.frombuffer(frame, "<i2").size == first.Rows * first.Columns
    with pytest.raises(HTTPError):
        client.retrieve_study("1.2.3.4")
