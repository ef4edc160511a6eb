"""WADO-RS on the wire: ranges, validators, codings, HEAD, bulk data and pixel data at each level; and what attackers ask."""

import re
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
import requests
import zstandard
from imagecodecs import jpegls_encode
from live_server import LiveServer
from phantom import ct_slice, multipart, part10
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.pixels.utils import pixel_array
from pydicom.uid import MPEG4HP41, ExplicitVRLittleEndian, JPEGBaseline8Bit, VideoPhotographicImageStorage

from leadglass.dicom.elements import Limits
from leadglass.dicom.xml_model import from_xml
from leadglass.web.dicomweb.multipart import BodyData, MultipartParser, PartBegin

ELE, JPEG_BASELINE, JPEG2000, JPEG_LS, RLE = (f"1.2.840.10008.1.2{n}" for n in (".1", ".4.50", ".4.91", ".4.80", ".5"))
ANY = 'multipart/related; type="application/dicom"; transfer-syntax=*'
PLAIN = "application/octet-stream"
LOADERS: dict[str, requests.Session] = {}


def parts_of(answer: requests.Response) -> list[tuple[dict[str, str], bytes]]:
    """Return (headers, body) of each part."""
    found: list[tuple[dict[str, str], bytearray]] = []
    boundary = re.search(r"boundary=([^;]+)", answer.headers["content-type"])
    assert boundary is not None
    parser = MultipartParser(boundary[1])
    for event in parser.feed(answer.content):
        if isinstance(event, PartBegin):
            found.append((event.headers, bytearray()))
        elif isinstance(event, BodyData):
            found[-1][1].extend(event.data)
    parser.end()
    return [(headers, bytes(body)) for headers, body in found]


def url_of(server: LiveServer, ds: Any, level: str = "instance") -> str:
    url = f"{server.url}/dicomweb/studies/{ds.StudyInstanceUID}"
    if level != "study":
        url += f"/series/{ds.SeriesInstanceUID}"
    return url + (f"/instances/{ds.SOPInstanceUID}" if level == "instance" else "")


def store(server: LiveServer, *files: bytes) -> None:
    body, headers = multipart(list(files))
    if server.url not in LOADERS:
        LOADERS[server.url] = server.script("loader")  # kept: a token costs two processes
    LOADERS[server.url].post(f"{server.url}/dicomweb/studies", data=body, headers=headers).raise_for_status()


@pytest.fixture(scope="module")
def world(server: LiveServer) -> dict[str, Any]:
    """Two slices (512 x 512, with an overlay as bulk data), a compressed image, a multi-frame one, a video."""
    one = ct_slice(size=512, ICCProfile=bytes(range(256)) * 300)
    two = ct_slice(study=one.StudyInstanceUID, series=one.SeriesInstanceUID, number=2, ICCProfile=bytes(2000))
    movie = ct_slice(SOPClassUID=VideoPhotographicImageStorage, NumberOfFrames=30)
    movie.file_meta.TransferSyntaxUID = MPEG4HP41
    movie.file_meta.MediaStorageSOPClassUID = VideoPhotographicImageStorage
    stream = b"\x00\x00\x00\x18ftypmp42" + bytes(range(256)) * 1000
    movie.PixelData = encapsulate([stream])
    movie["PixelData"].VR, movie["PixelData"].is_undefined_length = "OB", True
    store(server, part10(one), part10(two), part10(movie))
    plain = ct_slice(size=64)
    lossless, broken = ct_slice(), ct_slice(study=plain.StudyInstanceUID, number=9)
    for ds, data in ((lossless, jpegls_encode(lossless.pixel_array.astype("<u2"))), (broken, b"\xff\xd8" + bytes(5000))):
        ds.file_meta.TransferSyntaxUID = JPEG_LS
        ds.PixelData = encapsulate([data])
        ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    store(server, part10(lossless), part10(broken), part10(plain))
    found: dict[str, Any] = {"lossless": lossless, "broken": broken, "plain": plain, "one": one, "two": two, "movie": movie, "stream": stream, "file": part10(one)}
    cine = _cine()
    store(server, part10(cine))
    found["cine"] = cine
    for name in ("JPEG2000.dcm", "rtdose.dcm", "image_dfl.dcm"):
        path = Path(str(get_testdata_file(name)))
        store(server, path.read_bytes())
        found[name] = pydicom.dcmread(path)
    return found


def _cine() -> Any:
    """Return five frames, JPEG baseline."""
    frames = []
    for number in range(5):
        buffer = BytesIO()
        Image.effect_noise((128, 128), 40 + number).save(buffer, "JPEG", quality=90)
        frames.append(buffer.getvalue())
    ds = ct_slice(size=128, NumberOfFrames=5, BitsAllocated=8, BitsStored=8, HighBit=7, PixelRepresentation=0)
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    ds.PixelData = encapsulate(frames)
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    return ds


@pytest.fixture(scope="module")
def script(server: LiveServer) -> requests.Session:
    return server.script("reader")


def get(script: requests.Session, url: str, accept: str = ANY, **headers: str) -> requests.Response:
    return script.get(url, headers={"Accept": accept, **{k.replace("_", "-"): v for k, v in headers.items()}})


# --- ranges ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("path", "accept"), [
    ("", "application/dicom; transfer-syntax=*"), ("", ANY), ("/frames/1", PLAIN), ("/frames/1", "*/*"),
    ("/bulkdata/00282000", PLAIN), ("/bulkdata/00282000", "*/*"), ("/bulkdata/7FE00010", PLAIN), ("/pixeldata", PLAIN),
])
def test_a_range_is_that_part_of_the_whole(server, world, script, path: str, accept: str) -> None:
    url = url_of(server, world["one"]) + path
    whole = get(script, url, accept)
    assert whole.status_code == 200
    assert whole.headers["accept-ranges"] == "bytes"
    assert int(whole.headers["content-length"]) == len(whole.content) > 70_000
    etag = whole.headers["etag"]
    assert not etag.startswith("W/")
    for first, last in ((0, 0), (0, 99), (65_000, 66_000), (len(whole.content) - 5, len(whole.content) - 1), (100, 10**18)):
        part = get(script, url, accept, Range=f"bytes={first}-{last}")
        assert part.status_code == 206
        assert part.content == whole.content[first : last + 1]
        assert part.headers["content-range"] == f"bytes {first}-{min(last, len(whole.content) - 1)}/{len(whole.content)}"
        assert part.headers["etag"] == etag
    assert get(script, url, accept, Range="bytes=-10").content == whole.content[-10:]
    assert get(script, url, accept, Range="bytes=10-").content == whole.content[10:]
    beyond = get(script, url, accept, Range="bytes=99999999-")
    assert (beyond.status_code, beyond.content) == (416, b"")
    assert beyond.headers["content-range"] == f"bytes */{len(whole.content)}"
    assert get(script, url, accept, Range="bytes=0-9", If_Range=etag).status_code == 206
    assert get(script, url, accept, Range="bytes=0-9", If_Range='"other"').status_code == 200
    head = script.head(url, headers={"Accept": accept, "Range": "bytes=0-9"})
    assert (head.status_code, head.content) == (200, b"")
    assert {k: head.headers[k] for k in ("content-length", "etag", "content-type", "accept-ranges")} == \
        {k: whole.headers[k] for k in ("content-length", "etag", "content-type", "accept-ranges")}


def test_a_range_of_a_compressed_frame_and_of_a_study(server, world, script) -> None:
    url = url_of(server, world["JPEG2000.dcm"]) + "/frames/1"
    whole = get(script, url, "image/jp2")
    assert whole.content[4:8] == b"ftyp" or whole.content[:2] == b"\xff\x4f"
    assert get(script, url, "image/jp2", Range="bytes=5-99").content == whole.content[5:100]
    several = url_of(server, world["cine"]) + "/frames/3,1"
    whole = get(script, several, 'multipart/related; type="image/jpeg"')
    assert [body[:2] for _, body in parts_of(whole)] == [b"\xff\xd8"] * 2
    assert get(script, several, 'multipart/related; type="image/jpeg"', Range="bytes=100-5000").content == whole.content[100:5001]
    study = url_of(server, world["one"], "study")
    whole = get(script, study)
    files = [body for _, body in parts_of(whole)]
    assert [pydicom.dcmread(BytesIO(f)).InstanceNumber for f in files] == [1, 2]
    assert get(script, study, Range="bytes=300000-700000").content == whole.content[300_000:700_001]


def test_a_range_over_many_frames_gathers_none_in_memory(server, world, script) -> None:
    packed = ct_slice(size=5, NumberOfFrames=3, BitsAllocated=1, BitsStored=1, HighBit=0, PixelData=bytes(10))
    store(server, part10(packed))
    url, parts = url_of(server, packed) + "/frames/", f'multipart/related; type="{PLAIN}"'
    few = get(script, url + "1,2,3", parts, Range="bytes=0-9")
    assert (few.status_code, [len(body) for _, body in parts_of(few)]) == (200, [4, 4, 4]), "made one by one, as they leave"
    for url_ in (url, url_of(server, world["one"]) + "/frames/"):
        many = get(script, url_ + ",".join("1" * 65), parts, Range="bytes=0-9")
        assert (many.status_code, len(parts_of(many))) == (200, 65)
        assert script.head(url_ + ",".join("1" * 65), headers={"Accept": parts}).status_code == 200


def test_a_thousand_ranges_are_answered_once(server, world, script) -> None:
    url = url_of(server, world["one"]) + "/frames/1"
    for text in ("bytes=" + ",".join(f"{n}-{n}" for n in range(300)), "bytes=0-1,0-1", "bytes=" + "9" * 300 + "-", "bytes=5-1", "x=0-1"):
        answer = get(script, url, PLAIN, Range=text)
        assert (answer.status_code, len(answer.content)) == (200, 512 * 512 * 2), text[:30]


# --- validators -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("level", "path", "accept"), [
    ("instance", "", ANY), ("instance", "/metadata", "application/dicom+json"), ("series", "/metadata", "application/dicom+json"),
    ("study", "/metadata", "application/dicom+json"), ("study", "", ANY), ("instance", "/frames/1", "*/*"),
    ("study", "/bulkdata", "*/*"), ("series", "/pixeldata", "*/*"), ("instance", "/bulkdata/00282000", "*/*"),
])
def test_a_copy_that_is_still_good_costs_no_bytes(server, world, script, level: str, path: str, accept: str) -> None:
    url = url_of(server, world["one"], level) + path
    first = get(script, url, accept)
    assert first.status_code == 200
    assert first.headers["cache-control"] == "no-store"
    again = get(script, url, accept, If_None_Match=f'"other", {first.headers["etag"]}')
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert again.headers["vary"] == first.headers["vary"]
    assert get(script, url, accept, If_None_Match='"other"').status_code == 200
    stranger = server.session().get(url, headers={"Accept": accept, "If-None-Match": first.headers["etag"]})
    assert (stranger.status_code, stranger.content) == (401, b""), "a 304 would say that the study is still as it was"


def test_the_etag_of_a_study_changes_with_what_is_in_it(server, script) -> None:
    one = ct_slice()
    store(server, part10(one))
    study, series, instance = (url_of(server, one, level) + "/metadata" for level in ("study", "series", "instance"))
    before = [get(script, u, "*/*").headers["etag"] for u in (study, series, instance)]
    store(server, part10(ct_slice(study=one.StudyInstanceUID, series=one.SeriesInstanceUID, number=2)))
    after = [get(script, u, "*/*").headers["etag"] for u in (study, series, instance)]
    assert [a != b for a, b in zip(before, after, strict=True)] == [True, True, False]
    assert get(script, study, "*/*", If_None_Match=before[0]).status_code == 200


def test_metadata_is_packed_as_the_client_takes_it(server, world, script) -> None:
    url = url_of(server, world["one"], "study") + "/metadata"

    def raw(coding: str) -> tuple[bytes, dict[str, str]]:
        answer = script.get(url, headers={"Accept-Encoding": coding}, stream=True)
        assert answer.status_code == 200
        return answer.raw.read(decode_content=False), dict(answer.headers)

    plain, headers = raw("identity")
    assert "content-encoding" not in headers
    assert "accept-encoding" in headers["vary"]
    tags = {headers["etag"]}
    for coding, unpack in (("gzip", lambda d: zlib.decompress(d, wbits=31)), ("zstd", lambda d: zstandard.ZstdDecompressor().decompressobj().decompress(d))):
        data, headers = raw(coding)
        assert headers["content-encoding"] == coding
        assert unpack(data) == plain
        assert len(data) < len(plain) / 2
        tags.add(headers["etag"])
    assert len(tags) == 3
    assert raw("gzip;q=0.5, identity")[0] == plain
    assert script.get(url, headers={"Accept-Encoding": "identity;q=0"}).status_code == 406


def test_metadata_as_xml_says_the_same(server, world, script) -> None:
    url = url_of(server, world["one"], "study") + "/metadata"
    models = get(script, url, "application/dicom+json").json()
    parts = parts_of(get(script, url, 'multipart/related; type="application/dicom+xml"'))
    assert [headers["content-type"] for headers, _ in parts] == ["application/dicom+xml"] * 2
    assert [from_xml(body, Limits()) for _, body in parts] == models
    one = get(script, url_of(server, world["one"]) + "/metadata", "application/dicom+xml")
    assert from_xml(one.content, Limits()) == models[0]
    refused = get(script, url, "application/dicom+xml")
    assert refused.status_code == 406
    assert "application/dicom+xml" in refused.json()["detail"]


# --- bulk data and pixel data ---------------------------------------------------------------------------------
def test_every_bulk_data_uri_of_the_metadata_is_there(server, world, script) -> None:
    for name in ("one", "JPEG2000.dcm", "rtdose.dcm", "image_dfl.dcm", "cine"):
        ds = world[name]
        (model,) = get(script, url_of(server, ds) + "/metadata", "application/dicom+json").json()
        uris = [element["BulkDataURI"] for element in model.values() if "BulkDataURI" in element]
        assert uris
        for uri in uris:
            assert get(script, uri, "*/*").status_code == 200, uri
        every = parts_of(get(script, url_of(server, ds) + "/bulkdata", "*/*"))
        assert {headers["content-location"].partition("/frames/")[0] for headers, _ in every if "content-location" in headers} <= set(uris)


@pytest.mark.parametrize("level", ["study", "series", "instance"])
def test_all_bulk_data_and_all_pixel_data_of_a_level(server, world, script, level: str) -> None:
    one, two = world["one"], world["two"]
    chosen = [one] if level == "instance" else [one, two]
    every = parts_of(get(script, url_of(server, one, level) + "/bulkdata", "*/*"))
    assert [body for _, body in every] == [v for ds in chosen for v in (ds.ICCProfile, ds.PixelData)]
    pixels = parts_of(get(script, url_of(server, one, level) + "/pixeldata", "*/*"))
    assert [body for _, body in pixels] == [ds.PixelData for ds in chosen]
    assert pixels[0][0]["content-location"] == url_of(server, one) + "/bulkdata/7FE00010"
    assert pixels[0][0]["content-type"] == f"{PLAIN}; transfer-syntax={ExplicitVRLittleEndian}"


def test_pixel_data_that_is_compressed_comes_by_frames_or_decoded(server, world, script) -> None:
    ds = world["cine"]
    url = url_of(server, ds) + "/pixeldata"
    stored = parts_of(get(script, url, 'multipart/related; type="image/jpeg"'))
    assert len(stored) == int(ds.NumberOfFrames)
    assert stored[4][0]["content-location"].endswith("/bulkdata/7FE00010/frames/5")
    assert parts_of(get(script, stored[4][0]["content-location"], 'multipart/related; type="image/jpeg"'))[0][1] == stored[4][1]
    plain = get(script, url_of(server, world["JPEG2000.dcm"]) + "/pixeldata", PLAIN)
    assert len(plain.content) == 1024 * 256 * 2
    assert plain.headers["etag"].startswith("W/"), "made by a decoder: the same thing, perhaps not the same bytes"


def test_a_video_is_given_whole_and_has_no_frames(server, world, script) -> None:
    movie, stream = world["movie"], world["stream"]
    whole = get(script, url_of(server, movie) + "/pixeldata", "video/mp4")
    assert whole.headers["content-type"] == f"video/mp4; transfer-syntax={MPEG4HP41}"
    assert whole.content == stream
    assert get(script, url_of(server, movie) + "/bulkdata/7FE00010", "video/*", Range="bytes=1000-70000").content == stream[1000:70_001]
    assert parts_of(get(script, url_of(server, movie, "study") + "/pixeldata", 'multipart/related; type="video/mp4"'))[0][1] == stream
    refused = get(script, url_of(server, movie) + "/frames/1", "*/*")
    assert refused.status_code == 406
    assert "/pixeldata" in refused.json()["detail"]
    assert get(script, url_of(server, movie) + "/pixeldata", PLAIN).status_code == 406


# --- transfer syntaxes ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(("name", "asked", "given_in"), [
    ("JPEG2000.dcm", "; transfer-syntax=*", JPEG2000), ("JPEG2000.dcm", "", JPEG2000), ("cine", "", JPEG_BASELINE),
    ("cine", f"; transfer-syntax={ELE}", ELE), ("JPEG2000.dcm", f"; transfer-syntax={ELE}", ELE), ("lossless", "", ELE),
    ("lossless", "; transfer-syntax=*", JPEG_LS), ("one", "; transfer-syntax=1.2.840.10008.1.2.4.80", JPEG_LS),
    ("one", "; transfer-syntax=1.2.840.10008.1.2.5", RLE), ("image_dfl.dcm", "", ELE), ("movie", "", MPEG4HP41),
])
def test_an_instance_goes_out_in_the_syntax_that_was_asked_for(server, world, script, name: str, asked: str, given_in: str) -> None:
    ds = world[name]
    answer = get(script, url_of(server, ds), "application/dicom" + asked)
    assert answer.status_code == 200, answer.text[:300]
    assert answer.headers["content-type"] == f"application/dicom; transfer-syntax={given_in}"
    got = pydicom.dcmread(BytesIO(answer.content))
    assert got.file_meta.TransferSyntaxUID == given_in
    is_stored = given_in == ds.file_meta.TransferSyntaxUID
    assert answer.headers["etag"].startswith("W/") is not is_stored
    assert get(script, url_of(server, ds), "application/dicom" + asked, If_None_Match=answer.headers["etag"]).status_code == 304
    if name != "movie":
        assert (pixel_array(got, raw=True) == pixel_array(ds, raw=True)).all()
    (part,) = parts_of(get(script, url_of(server, ds), f'multipart/related; type="application/dicom"{asked}'))
    assert part[0]["content-type"] == f"application/dicom; transfer-syntax={given_in}"
    assert len(part[1]) == len(answer.content)


def test_parts_of_one_answer_may_have_different_syntaxes(server, world, script) -> None:
    one, broken = world["plain"], world["broken"]
    assert broken.StudyInstanceUID == one.StudyInstanceUID
    url = url_of(server, one, "study")
    parts = parts_of(get(script, url, 'multipart/related; type="application/dicom"'))
    assert [h["content-type"].rpartition("=")[2] for h, _ in parts] == [JPEG_LS, ELE], "what no decoder reads goes out as stored"
    named = get(script, url_of(server, broken), f"application/dicom; transfer-syntax={ELE}")
    assert named.status_code in {400, 406}
    prefers = get(script, url, ", ".join(f'multipart/related; type="application/dicom"; transfer-syntax={uid}' for uid in (JPEG_LS, ELE)))
    assert [h["content-type"].rpartition("=")[2] for h, _ in parts_of(prefers)] == [JPEG_LS] * 2


@pytest.mark.parametrize(("name", "accept", "given_in"), [
    ("plain", "image/jls", JPEG_LS), ("plain", 'multipart/related; type="image/jp2"', "1.2.840.10008.1.2.4.90"), ("plain", "image/dicom-rle", RLE),
    ("plain", "image/jphc", "1.2.840.10008.1.2.4.201"), ("plain", "image/jpeg", "1.2.840.10008.1.2.4.70"), ("lossless", "image/x-dicom-rle", RLE),
    ("plain", f"image/jls; transfer-syntax={JPEG_LS}", JPEG_LS), ("lossless", "image/x-jls", JPEG_LS), ("lossless", "image/*", JPEG_LS),
])
def test_a_frame_goes_out_under_the_media_type_that_was_asked_for(server, world, script, name: str, accept: str, given_in: str) -> None:
    ds = world[name]
    answer = get(script, url_of(server, ds) + "/frames/1", accept)
    assert answer.status_code == 200, answer.text[:300]
    kind, data = answer.headers["content-type"], answer.content
    if accept.startswith("multipart"):
        ((headers, data),) = parts_of(answer)
        kind = headers["content-type"]
    asked = accept.split(";", maxsplit=1)[0] if not accept.startswith("multipart") else "image/jp2"
    assert kind == f"{asked if not asked.endswith('*') else 'image/jls'}; transfer-syntax={given_in}"
    again = pydicom.dcmread(BytesIO(part10(ds)))
    again.file_meta.TransferSyntaxUID = given_in
    again.PixelData = encapsulate([data])
    again["PixelData"].VR, again["PixelData"].is_undefined_length = "OB", True
    assert (pixel_array(pydicom.dcmread(BytesIO(part10(again))), raw=True) == pixel_array(ds, raw=True)).all()
    assert get(script, url_of(server, ds) + "/frames/1", "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50").status_code == 406


# --- negotiation ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("accept", "status"), [
    ("text/html", 406), ("image/jpeg", 406), ("application/dicom; transfer-syntax=1.2.3", 406),
    ('multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.100', 406), ("*/*", 200),
    ("application/dicom;q=0", 406), (",".join(["a/b"] * 65), 400), ("a/b;" + "x" * 5000, 400), ("///", 400),
])
def test_what_cannot_be_given_is_refused_with_an_offer(server, world, script, accept: str, status: int) -> None:
    answer = get(script, url_of(server, world["one"]), accept)
    assert answer.status_code == status
    if status == 406:
        assert "transfer-syntax=*" in answer.json()["detail"]
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", [
    "?x=1", "/metadata?accept=*/*&y=", "/frames/0", "/frames/1,0", "/frames/a", "/frames/1,,2", "/frames/" + "1," * 3000 + "1" * 12,
    "/frames/1?window=1,2", "/bulkdata/" + "0" * 2000, "/pixeldata?q=1", "/frames/%31%00",
])
def test_a_bad_question_is_400(server, world, script, path: str) -> None:
    answer = get(script, url_of(server, world["one"]) + path, "*/*")
    assert answer.status_code == 400, path[:40]
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/frames/2", "/frames/999999999", "/bulkdata/00091001", "/bulkdata/7FE00010/frames/9", "/bulkdata/%2e%2e/%2e%2e/metadata", "/bulkdata/00282000/0/00282000"])
def test_what_is_not_there_is_404(server, world, script, path: str) -> None:
    assert get(script, url_of(server, world["one"]) + path, "*/*").status_code == 404


@pytest.mark.parametrize("uid", ["...", "1.2/..%2f", "1" * 65, "1.2.x", "%00", "1.2.3%0d%0aX: y"])
@pytest.mark.parametrize("path", ["", "/metadata", "/bulkdata", "/pixeldata", "/series/1.2/pixeldata"])
def test_a_path_without_uids_is_refused(server, script, uid: str, path: str) -> None:
    answer = get(script, f"{server.url}/dicomweb/studies/{uid}{path}", "*/*")
    assert answer.status_code in {400, 404, 405}
    assert "web_incident" not in server.log.read_text()
