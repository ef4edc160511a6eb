"""WADO-URI on the wire: objects and pictures by a query, behind the same door, in the same ledger, in no log."""

from io import BytesIO
from typing import Any

import pydicom
import pytest
import requests
from live_server import LiveServer
from phantom import ct_slice, multipart, part10
from PIL import Image
from pydicom.data import get_testdata_file

NAME = "Zqxwadoname"
CLIENTS: dict[str, requests.Session] = {}


@pytest.fixture(scope="module")
def world(server: LiveServer) -> dict[str, Any]:
    one = ct_slice(PatientName=f"{NAME}^Anna", size=128)
    report = pydicom.dcmread(str(get_testdata_file("reportsi.dcm")))
    cine = ct_slice(size=32, NumberOfFrames=3)
    cine.PixelData = one.PixelData[: 32 * 32 * 2 * 3]
    body, headers = multipart([part10(one), part10(report), part10(cine)])
    server.script("loader").post(f"{server.url}/dicomweb/studies", data=body, headers=headers).raise_for_status()
    return {"one": one, "report": report, "cine": cine}


@pytest.fixture(scope="module", autouse=True)
def client(server: LiveServer) -> requests.Session:
    """The session of an old client; kept, since a token costs two processes."""
    CLIENTS[server.url] = server.script("old-client")
    return CLIENTS[server.url]


def ask(server: LiveServer, ds: Any, *, session: requests.Session | None = None, accept: str = "*/*", **more: str) -> requests.Response:
    query = {"requestType": "WADO", "studyUID": ds.StudyInstanceUID, "seriesUID": ds.SeriesInstanceUID, "objectUID": ds.SOPInstanceUID}
    return (session or CLIENTS[server.url]).get(f"{server.url}/wado", params={**query, **more}, headers={"Accept": accept})


def test_the_object_itself(server: LiveServer, world: dict[str, Any]) -> None:
    answer = ask(server, world["one"], contentType="application/dicom")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/dicom; transfer-syntax=1.2.840.10008.1.2.1"
    assert pydicom.dcmread(BytesIO(answer.content)).PixelData == world["one"].PixelData
    other = ask(server, world["one"], contentType="application/dicom", transferSyntax="1.2.840.10008.1.2.5")
    assert pydicom.dcmread(BytesIO(other.content)).file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.5"
    assert ask(server, world["one"], contentType="application/dicom", transferSyntax="1.2.840.10008.1.2.4.100").status_code == 406
    assert ask(server, world["one"], contentType="application/dicom", transferSyntax="1.2.3.4").status_code == 400


def test_a_picture(server: LiveServer, world: dict[str, Any]) -> None:
    answer = ask(server, world["one"])
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg"), "the default of one frame"
    assert Image.open(BytesIO(answer.content)).size == (128, 128)
    small = ask(server, world["one"], contentType="image/png", rows="50", columns="60", windowCenter="400", windowWidth="800")
    assert small.headers["content-type"] == "image/png"
    assert max(Image.open(BytesIO(small.content)).size) <= 60
    assert ask(server, world["one"], accept="image/png").headers["content-type"] == "image/png"
    part = ask(server, world["one"], contentType="image/png", region="0.25,0.25,0.75,0.75")
    assert Image.open(BytesIO(part.content)).size == (64, 64)
    assert Image.open(BytesIO(ask(server, world["one"], contentType="image/gif").content)).format == "GIF"
    assert len(ask(server, world["one"], contentType="image/jpeg", imageQuality="5").content) < len(answer.content)
    third = ask(server, world["cine"], contentType="image/png", frameNumber="3")
    assert Image.open(BytesIO(third.content)).size == (32, 32)


def test_the_default_of_other_objects_is_the_object(server: LiveServer, world: dict[str, Any]) -> None:
    assert ask(server, world["cine"]).headers["content-type"].startswith("application/dicom;")
    page = ask(server, world["report"])
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "sandbox" in page.headers["content-security-policy"]
    assert ask(server, world["report"], contentType="text/plain").headers["content-type"] == "text/plain; charset=utf-8"
    assert ask(server, world["report"], contentType="image/jpeg").status_code == 406
    models = ask(server, world["report"], contentType="application/dicom+json").json()
    assert models[0]["00080018"]["Value"] == [world["report"].SOPInstanceUID]


@pytest.mark.parametrize(("more", "status"), [
    ({"anonymize": "yes"}, 501), ({"anonymize": "no"}, 400), ({"presentationUID": "1.2", "presentationSeriesUID": "1.3"}, 501),
    ({"charset": "ISO-8859-1"}, 406), ({"charset": "UTF-8"}, 200), ({"contentType": "video/mpeg"}, 406), ({"contentType": "x"}, 400),
    ({"contentType": "application/dicom", "rows": "10"}, 400), ({"contentType": "application/dicom", "frameNumber": "1"}, 400),
    ({"contentType": "image/png", "transferSyntax": "1.2.840.10008.1.2.1"}, 400), ({"contentType": "image/png", "imageQuality": "5"}, 400),
    ({"contentType": "application/dicom;transfer-syntax=*"}, 400), ({"frameNumber": "2"}, 400), ({"frameNumber": "0"}, 400),
    ({"imageQuality": "101"}, 400), ({"rows": "99999"}, 400), ({"windowCenter": "a", "windowWidth": "b"}, 400), ({"nonsense": "1"}, 400),
    ({"objectUID": "1.2.3.4"}, 404), ({"studyUID": "1.2.3.4"}, 404), ({"seriesUID": "1.2.3.4"}, 404),
])
def test_what_is_refused(server: LiveServer, world: dict[str, Any], more: dict[str, str], status: int) -> None:
    answer = ask(server, world["one"], **more)
    assert answer.status_code == status, answer.text[:300]
    if status != 200:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"]


def test_strangers_get_nothing_and_the_query_is_in_no_log(server: LiveServer, world: dict[str, Any]) -> None:
    answer = ask(server, world["one"], session=server.session())
    assert (answer.status_code, answer.content) == (401, b"")
    ask(server, world["one"])
    log = server.log.read_text()
    assert world["one"].StudyInstanceUID not in log
    assert NAME not in log
    reads = [r for r in server.ledger() if r["study"] == world["one"].StudyInstanceUID and r["action"] == "archive:study:read"]
    assert reads[-1]["subject"]["name"] == "old-client"


def test_what_there_is_can_be_asked_for(server: LiveServer) -> None:
    from xml.etree import ElementTree

    for path in ("/dicomweb", "/dicomweb/"):
        answer = server.session().request("OPTIONS", server.url + path, headers={"Accept": "application/vnd.sun.wadl+xml"})
        assert answer.status_code == 200
        found = {r.get("path") for r in ElementTree.fromstring(answer.text).iter("{http://wadl.dev.java.net/2009/02}resource")}
        assert {"studies", "studies/{study}/series/{series}/instances/{instance}/frames/{frames}"} <= found
    assert "openapi" in server.session().get(server.url + "/dicomweb", headers={"Accept": "application/json"}).json()
    assert server.session().get(server.url + "/dicomweb", headers={"Accept": "text/html"}).status_code == 406
    assert server.session().get(server.url + "/dicomweb?x=1").status_code == 400
    assert "access-control-allow-origin" not in server.session().get(server.url + "/dicomweb", headers={"Origin": "https://evil.example"}).headers
