"""/rendered and /thumbnail on the wire: pictures, films, reports, documents; what an attacker puts into them."""

import time
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from live_server import LiveServer
from phantom import ct_slice, multipart, part10
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import BasicTextSRStorage, EncapsulatedCDAStorage, EncapsulatedPDFStorage

MARKUP = '<script>alert(1)</script><img src=x onerror=alert(2)>"\'&'
GROWTH = 200 << 20


_sessions: dict[int, tuple[float, requests.Session]] = {}


def script(server: LiveServer) -> requests.Session:
    """Return a script's session, made anew before its token ends."""
    made, session = _sessions.get(id(server), (0.0, None))
    if session is None or time.monotonic() - made > 200:
        session = server.script("viewer")
        _sessions[id(server)] = (time.monotonic(), session)
    return session


def store(server: LiveServer, *datasets: Dataset) -> None:
    body, headers = multipart([part10(ds) for ds in datasets])
    script(server).post(f"{server.url}/dicomweb/studies", data=body, headers=headers).raise_for_status()


def get(server: LiveServer, ds: Any, what: str = "/rendered", accept: str = "*/*", level: str = "instance") -> requests.Response:
    url = f"{server.url}/dicomweb/studies/{ds.StudyInstanceUID}"
    url += "" if level == "study" else f"/series/{ds.SeriesInstanceUID}"
    url += f"/instances/{ds.SOPInstanceUID}" if level == "instance" else ""
    return script(server).get(url + what, headers={"Accept": accept})


def picture(answer: requests.Response) -> Image.Image:
    assert answer.status_code == 200, answer.text
    return Image.open(BytesIO(answer.content))


def other(sop_class: str, **attributes: Any) -> Dataset:
    """Return an instance without pixels."""
    ds = ct_slice(SOPClassUID=sop_class)
    ds.file_meta.MediaStorageSOPClassUID = sop_class
    for keyword in ("PixelData", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel",
                    "PhotometricInterpretation"):
        delattr(ds, keyword)
    for name, value in attributes.items():
        setattr(ds, name, value)
    return ds


def item(name: str, kind: str, **attributes: Any) -> Dataset:
    ds, code = Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "1", "99T", name
    ds.ConceptNameCodeSequence, ds.ValueType, ds.RelationshipType = Sequence([code]), kind, "CONTAINS"
    for key, value in attributes.items():
        setattr(ds, key, value)
    return ds


@pytest.fixture(scope="module")
def slices(server: LiveServer) -> list[Dataset]:
    first = ct_slice(size=64, WindowCenter="500", WindowWidth="1000")
    more = [ct_slice(size=64, study=first.StudyInstanceUID, series=first.SeriesInstanceUID, number=n, PixelData=np.full(
        (64, 64), 400 * (n - 1), "<i2").tobytes()) for n in (2, 3)]
    store(server, first, *more)
    return [first, *more]


def test_types_windows_and_viewports(server: LiveServer, slices: list[Dataset]) -> None:
    one = slices[0]
    assert picture(get(server, one)).format == "JPEG"
    assert picture(get(server, one, accept="image/png")).size == (64, 64)
    assert picture(get(server, one, "/rendered?viewport=16,32", "image/png")).size == (16, 16)
    part = picture(get(server, one, "/rendered?viewport=8,8,0,0,8,8&window=0,1", "image/png"))
    assert np.asarray(part).min() == 255  # all above -0.5
    sharp, poor = (len(get(server, one, f"/rendered?quality={q}").content) for q in (95, 5))
    assert poor < sharp
    assert get(server, one, "/frames/1/rendered?annotation=patient").status_code == 200
    assert get(server, one, "/rendered", "image/webp").status_code == 406
    assert get(server, one, "/rendered?window=x").status_code == 400
    assert get(server, one, "/rendered?viewport=64,64,64,64,8,8").status_code == 406


def test_thumbnails_show_the_middle_and_stay_small(server: LiveServer, slices: list[Dataset]) -> None:
    for level in ("study", "series"):
        middle = picture(get(server, slices[0], "/thumbnail", "image/png", level))
        assert middle.size == (256, 256)
        assert abs(int(np.asarray(middle.convert("L")).mean()) - 102) <= 2  # 400 of 0 to 1000
    assert max(picture(get(server, slices[0], "/thumbnail?viewport=8000,8000", "image/png")).size) == 1024
    assert picture(get(server, slices[0], "/thumbnail?viewport=20,20")).size == (20, 20)


def test_a_film_and_frames_of_it(server: LiveServer) -> None:
    ds = ct_slice(size=32, NumberOfFrames=4, FrameTime="50")
    ds.PixelData = b"".join(np.full((32, 32), 300 * n, "<i2").tobytes() for n in range(4))
    store(server, ds)
    assert picture(get(server, ds, accept="image/gif")).n_frames == 4
    assert picture(get(server, ds, "/frames/2,3/rendered", "image/gif")).n_frames == 2
    assert get(server, ds, "/frames/2,3/rendered", "image/jpeg").status_code == 406
    assert get(server, ds, "/frames/5/rendered").status_code == 404


def test_a_report_is_text_and_its_markup_is_harmless(server: LiveServer) -> None:
    deep = item("Findings", "CONTAINER", ContentSequence=Sequence([item("Note " + MARKUP, "TEXT", TextValue=MARKUP)]))
    ds = other(BasicTextSRStorage, PatientName=MARKUP, ContentSequence=Sequence([deep]), ValueType="CONTAINER",
               ConceptNameCodeSequence=item(MARKUP, "CODE").ConceptNameCodeSequence)
    store(server, ds)
    answer = get(server, ds)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src" not in answer.headers["content-security-policy"]
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    page = answer.text
    assert "<script" not in page
    assert "<img" not in page
    assert page.count("&lt;script&gt;") >= 4
    assert "Findings" in page
    plain = get(server, ds, accept="text/plain")
    assert plain.headers["content-type"] == "text/plain; charset=utf-8"
    assert MARKUP in plain.text
    assert get(server, ds, accept="image/png").status_code == 406
    assert get(server, ds, "/thumbnail").status_code == 404


def test_a_report_deeper_or_longer_than_the_limits_is_one_error(server: LiveServer) -> None:
    leaf = item("leaf", "TEXT", TextValue="x")
    for _ in range(14):
        leaf = item("node", "CONTAINER", ContentSequence=Sequence([leaf]))
    store(server, good := other(BasicTextSRStorage, ContentSequence=Sequence([leaf])))
    assert get(server, good).status_code == 200
    many = [item("n", "TEXT", TextValue="x" * 10) for _ in range(20_001)]
    wide = other(BasicTextSRStorage, ContentSequence=Sequence(many[:1]))
    store(server, wide)
    assert get(server, wide).status_code == 200


def test_documents_leave_as_what_they_are(server: LiveServer) -> None:
    pdf = other(EncapsulatedPDFStorage, MIMETypeOfEncapsulatedDocument="application/pdf", EncapsulatedDocument=b"%PDF-1.4\nx\n%%EOF\n\x00",
                EncapsulatedDocumentLength=17)
    cda = other(EncapsulatedCDAStorage, MIMETypeOfEncapsulatedDocument="text/xml",
                EncapsulatedDocument=b'<x xmlns:h="http://www.w3.org/1999/xhtml"><h:script>alert(1)</h:script></x>')
    lie = other(EncapsulatedPDFStorage, MIMETypeOfEncapsulatedDocument="text/html", EncapsulatedDocument=b"<script>alert(1)</script>")
    store(server, pdf, cda, lie)
    answer = get(server, pdf)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/pdf")
    assert answer.content == b"%PDF-1.4\nx\n%%EOF\n"[:17]
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    answer = get(server, cda)
    assert answer.headers["content-type"] == "text/xml"
    assert answer.headers["content-disposition"] == "attachment"
    assert "sandbox" in answer.headers["content-security-policy"]
    answer = get(server, lie)
    assert answer.status_code in {400, 406}
    assert "alert" not in answer.text


def test_what_cannot_be_shown_says_why(server: LiveServer) -> None:
    broken = ct_slice(size=32, Rows=33)
    plan = other("1.2.840.10008.5.1.4.1.1.481.5")
    store(server, broken, plan)
    answer = get(server, broken)
    assert answer.status_code == 406
    assert "shorter than its frames" in answer.text
    assert get(server, plan).status_code == 404


@pytest.mark.corpus
def test_hostile_images_cost_one_answer_each(server: LiveServer) -> None:
    """Bombs, garbage and lies of ../shared/data/odd/made: an answer with a reason, and the server goes on."""
    made = Path(__file__).resolve().parents[3] / "shared" / "data" / "odd" / "made"
    if not made.exists():
        pytest.skip("../shared/data is not here")
    import pydicom

    before = server.pss_bytes()
    seen = 0
    for path in sorted(made.glob("px-*.dcm")):
        data = path.read_bytes()
        body, headers = multipart([data])
        if script(server).post(f"{server.url}/dicomweb/studies", data=body, headers=headers).status_code != 200:
            continue
        ds = pydicom.dcmread(path, force=True, stop_before_pixels=True)
        answer = get(server, ds)
        assert answer.status_code in {200, 404, 406}, (path.name, answer.text)
        seen += 1
    assert seen >= 5
    assert server.pss_bytes() - before < GROWTH
    sound = Path(str(get_testdata_file("CT_small.dcm"))).read_bytes()
    body, headers = multipart([sound])
    script(server).post(f"{server.url}/dicomweb/studies", data=body, headers=headers)
    assert picture(get(server, pydicom.dcmread(BytesIO(sound)))).size == (128, 128)
