"""STOW-RS of metadata and bulk data against a running server: what is built, what is refused, what is never fetched."""

import http.server
import io
import json
import socket
import ssl
import threading
import time
import zlib
from typing import Any

import numpy as np
import pydicom
import pytest
import requests
from live_server import LiveServer
from PIL import Image
from store_bodies import body_of, bulk_part, json_part, secondary_capture, uid_of, uri_of

from leadglass.dicom.xml_model import from_xml, to_xml

PIXELS = bytes(range(256))
XML = "application/dicom+xml"


def post(server: LiveServer, *parts: Any, inner: str = "application/dicom+json", path: str = "", **headers: str) -> requests.Response:
    body, plain = body_of(*parts, inner=inner)
    return script(server).post(f"{server.url}/dicomweb/studies{path}", data=body, headers=plain | headers, timeout=60)


_SCRIPTS: dict[int, requests.Session] = {}


def script(server: LiveServer) -> requests.Session:
    if id(server) not in _SCRIPTS:
        _SCRIPTS[id(server)] = server.script("loader")
    return _SCRIPTS[id(server)]


def reasons(answer: requests.Response) -> dict[str, int]:
    """Return SOP Instance UID -> failure reason; "" for those without a UID."""
    model = answer.json()
    found = {i["00081155"]["Value"][0]: i["00081197"]["Value"][0] for i in model.get("00081198", {}).get("Value", [])}
    others = [i["00081197"]["Value"][0] for i in model.get("0008119A", {}).get("Value", [])]
    return found | ({"": others[0]} if others else {})


def stored(server: LiveServer, model: dict[str, Any]) -> pydicom.Dataset:
    """Return the instance as it is given back."""
    url = f"{server.url}/dicomweb/studies/{uid_of(model, '0020000D')}/series/{uid_of(model, '0020000E')}/instances/{uid_of(model)}"
    answer = script(server).get(url, headers={"Accept": "application/dicom; transfer-syntax=*"})
    assert answer.status_code == 200, answer.text
    return pydicom.dcmread(io.BytesIO(answer.content))


def test_single_frame_from_json(server: LiveServer) -> None:
    model = secondary_capture()
    answer = post(server, json_part(model), bulk_part(uri_of(model), PIXELS))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/dicom+json"
    found = stored(server, model)
    assert found.PixelData == PIXELS
    assert found.PatientName.ideographic == "山田^太郎"
    assert found.SpecificCharacterSet == "ISO_IR 192"
    assert found.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"


def test_several_instances_from_xml_answered_in_xml(server: LiveServer) -> None:
    models = [secondary_capture() for _ in range(3)]
    parts = [({"Content-Type": XML}, to_xml(m)) for m in models] + [bulk_part(uri_of(m), PIXELS) for m in reversed(models)]
    answer = post(server, *parts, inner=XML, Accept=XML)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == XML
    from leadglass.dicom.elements import Limits

    done = from_xml(answer.content, Limits())["00081199"]["Value"]
    assert {i["00081155"]["Value"][0] for i in done} == {uid_of(m) for m in models}
    assert stored(server, models[2]).PixelData == PIXELS


@pytest.mark.parametrize("is_split", [False, True])
def test_multi_frame_native(server: LiveServer, is_split: bool) -> None:
    model = secondary_capture(frames=3)
    frames = [bytes([n]) * 256 for n in range(3)]
    parts = [bulk_part(uri_of(model), f) for f in frames] if is_split else [bulk_part(uri_of(model), b"".join(frames))]
    answer = post(server, json_part(model), *parts)
    assert answer.status_code == 200, answer.text
    assert stored(server, model).PixelData == b"".join(frames)
    url = f"{server.url}/dicomweb/studies/{uid_of(model, '0020000D')}/series/{uid_of(model, '0020000E')}/instances/{uid_of(model)}/frames/2"
    assert script(server).get(url, headers={"Accept": "application/octet-stream"}).content == frames[1]


def _jpeg(value: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((16, 16), value, "u1")).save(out, "JPEG", quality=95)
    return out.getvalue()


def test_multi_frame_jpeg_keeps_each_bit_stream(server: LiveServer) -> None:
    model = secondary_capture(frames=3)
    frames = [_jpeg(v) for v in (10, 120, 240)]
    kind = "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50"
    answer = post(server, json_part(model), *(bulk_part(uri_of(model), f, kind) for f in frames))
    assert answer.status_code == 200, answer.text
    found = stored(server, model)
    assert found.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.50"
    assert abs(int(found.pixel_array[1].mean()) - 120) < 3
    url = f"{server.url}/dicomweb/studies/{uid_of(model, '0020000D')}/series/{uid_of(model, '0020000E')}/instances/{uid_of(model)}/frames/3"
    raw = script(server).get(url, headers={"Accept": "image/jpeg; transfer-syntax=*"}).content
    assert raw.rstrip(b"\x00") == frames[2].rstrip(b"\x00")


def test_what_we_give_as_metadata_and_pixel_data_can_be_stored_elsewhere(server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    model = secondary_capture(frames=3)
    kind = "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50"
    post(server, json_part(model), *(bulk_part(f"{uri_of(model)}/frames/{n}", _jpeg(n * 40), kind) for n in (1, 2, 3))).raise_for_status()
    study = f"{server.url}/dicomweb/studies/{uid_of(model, '0020000D')}"
    metadata = script(server).get(study + "/metadata", headers={"Accept": "application/dicom+json"})
    pixels = script(server).get(study + "/pixeldata", headers={"Accept": 'multipart/related; type="image/jpeg"; transfer-syntax=*'})
    assert pixels.status_code == 200, pixels.text
    boundary = pixels.headers["content-type"].partition("boundary=")[2].strip('"')
    first = (f"--{boundary}\r\nContent-Type: application/dicom+json\r\n\r\n").encode() + metadata.content + b"\r\n"
    other = LiveServer(tmp_path_factory.mktemp("other"))
    other.start()
    try:
        answer = other.script("copier").post(f"{other.url}/dicomweb/studies", data=first + pixels.content, headers={
            "Content-Type": f'multipart/related; type="application/dicom+json"; boundary={boundary}', "Accept": "application/dicom+json"})
        assert answer.status_code == 200, answer.text
    finally:
        assert other.stop() == 0


@pytest.mark.parametrize("numbers", [(2, 1, 3), (1, 1, 2), (1, 3, 2), (1, 2), (1, 2, 3, 4)])
def test_frames_by_number_come_in_order_and_each_once(server: LiveServer, numbers: tuple[int, ...]) -> None:
    model = secondary_capture(frames=3)
    answer = post(server, json_part(model), *(bulk_part(f"{uri_of(model)}/frames/{n}", bytes(256)) for n in numbers))
    assert reasons(answer) == {uid_of(model): 0xC000}


@pytest.mark.parametrize(("syntax", "media_type", "encode"), [
    ("1.2.840.10008.1.2.4.80", "image/jls", "jpegls_encode"), ("1.2.840.10008.1.2.4.90", "image/jp2", "jpeg2k_encode"),
    ("1.2.840.10008.1.2.4.201", "image/jphc", "htj2k_encode"),
])
def test_other_compressed_frames(server: LiveServer, syntax: str, media_type: str, encode: str) -> None:
    import imagecodecs

    pixels = np.arange(256, dtype="u1").reshape(16, 16)
    options: dict[str, Any] = {"jpeg2k_encode": {"codecformat": "j2k", "reversible": True}, "htj2k_encode": {"reversible": True}}.get(encode, {})
    frame = getattr(imagecodecs, encode)(pixels, **options)
    model = secondary_capture()
    answer = post(server, json_part(model), bulk_part(uri_of(model), frame, f"{media_type}; transfer-syntax={syntax}"))
    assert answer.status_code == 200, answer.text
    assert stored(server, model).file_meta.TransferSyntaxUID == syntax


def test_bulk_data_inside_of_a_sequence_and_beside_the_pixels(server: LiveServer) -> None:
    model = secondary_capture()
    model["60003000"] = {"vr": "OW", "BulkDataURI": "overlay"}
    model |= {"60000010": {"vr": "US", "Value": [16]}, "60000011": {"vr": "US", "Value": [16]}}
    model["00282000"] = {"vr": "OB", "BulkDataURI": "https://elsewhere.example/icc"}
    model["00880200"] = {"vr": "SQ", "Value": [{
        "00280010": {"vr": "US", "Value": [2]}, "00280011": {"vr": "US", "Value": [2]}, "00280002": {"vr": "US", "Value": [1]},
        "00280100": {"vr": "US", "Value": [8]}, "7FE00010": {"vr": "OB", "BulkDataURI": "icon"}}]}
    answer = post(server, json_part(model), bulk_part("icon", b"abcd"), bulk_part(uri_of(model), PIXELS), bulk_part("overlay", bytes(32)),
                  bulk_part("https://elsewhere.example/icc", b"profile"))
    assert answer.status_code == 200, answer.text
    found = stored(server, model)
    assert found.IconImageSequence[0].PixelData == b"abcd"
    assert found[0x60003000].value == bytes(32)
    assert found.ICCProfile == b"profile\x00"


def test_metadata_without_bulk_data(server: LiveServer) -> None:
    model = secondary_capture()
    del model["7FE00010"]
    model["00080016"]["Value"] = ["1.2.840.10008.5.1.4.1.1.88.11"]
    assert post(server, json_part(model)).status_code == 200
    assert "PixelData" not in stored(server, model)


# --- instance by instance ---------------------------------------------------------------------------------------
def test_each_instance_has_its_own_outcome(server: LiveServer) -> None:
    good, no_part, short, syntax, odd_class, broken = (secondary_capture() for _ in range(6))
    odd_class["00080016"]["Value"] = ["1.2.3.4.5"]
    broken["00080060"]["Value"] = ["lower case"]
    without = secondary_capture()
    del without["00080018"]
    answer = post(server, json_part(good, no_part, short, syntax, odd_class, broken, without), bulk_part(uri_of(good), PIXELS),
                  bulk_part(uri_of(short), PIXELS[:-1]), bulk_part(uri_of(syntax), PIXELS, "image/png"),
                  bulk_part(uri_of(odd_class), PIXELS), bulk_part(uri_of(broken), PIXELS))
    assert answer.status_code == 202, answer.text
    assert reasons(answer) == {
        uid_of(no_part): 0xC000, uid_of(short): 0xC000, uid_of(syntax): 0xC122, uid_of(odd_class): 0x0122, uid_of(broken): 0xC000, "": 0xC000}
    assert [i["00081155"]["Value"] for i in answer.json()["00081199"]["Value"]] == [[uid_of(good)]]


def test_the_study_of_the_path_is_the_only_one(server: LiveServer) -> None:
    mine, other = secondary_capture(), secondary_capture()
    answer = post(server, json_part(mine, other), bulk_part(uri_of(mine), PIXELS), bulk_part(uri_of(other), PIXELS),
                  path="/" + uid_of(mine, "0020000D"))
    assert answer.status_code == 202
    assert reasons(answer) == {uid_of(other): 0xA900}
    assert post(server, json_part(other), bulk_part(uri_of(other), PIXELS), path="/1.2.3").status_code == 409
    assert script(server).get(f"{server.url}/dicomweb/studies/{uid_of(other, '0020000D')}").status_code == 404


def test_a_part_that_nobody_named_is_said_and_not_kept(server: LiveServer) -> None:
    model = secondary_capture()
    answer = post(server, json_part(model), bulk_part(uri_of(model), PIXELS), bulk_part("nobody", bytes(1000)),
                  ({"Content-Type": "application/octet-stream"}, b"without a location"))
    assert answer.status_code == 202
    assert reasons(answer) == {"": 0xC000}


def test_bulk_data_before_its_metadata_is_not_taken(server: LiveServer) -> None:
    model = secondary_capture()
    answer = post(server, bulk_part(uri_of(model), PIXELS), json_part(model))
    assert answer.status_code == 409
    assert reasons(answer) == {uid_of(model): 0xC000, "": 0xC000}


def test_the_same_location_twice_fails_its_instance(server: LiveServer) -> None:
    twice, attribute, frames, syntax = secondary_capture(), secondary_capture(), secondary_capture(frames=3), secondary_capture(frames=2)
    attribute["00282000"] = {"vr": "OB", "BulkDataURI": "icc"}
    kind = "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50"
    answer = post(
        server, json_part(twice, attribute, frames, syntax), bulk_part(uri_of(twice), PIXELS), bulk_part(uri_of(twice), PIXELS),
        bulk_part(uri_of(attribute), PIXELS), bulk_part("icc", b"a"), bulk_part("icc", b"b"),
        bulk_part(uri_of(frames), _jpeg(1), kind), bulk_part(uri_of(frames), _jpeg(2), kind),
        bulk_part(uri_of(syntax), _jpeg(1), kind), bulk_part(uri_of(syntax), PIXELS))
    assert answer.status_code == 409
    assert reasons(answer) == dict.fromkeys(map(uid_of, (twice, attribute, frames, syntax)), 0xC000)


def test_one_part_does_not_fill_many_instances(server: LiveServer) -> None:
    models = [secondary_capture() for _ in range(50)]
    for model in models:
        model["7FE00010"]["BulkDataURI"] = "shared"
    answer = post(server, json_part(*models), bulk_part("shared", PIXELS))
    assert answer.status_code == 409
    assert set(reasons(answer).values()) == {0xC000}


# --- attacks ----------------------------------------------------------------------------------------------------
def test_a_bulk_data_uri_is_never_fetched(server: LiveServer) -> None:
    seen: list[str] = []

    class Trap(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(PIXELS)

    trap = http.server.HTTPServer(("127.0.0.1", 0), Trap)
    threading.Thread(target=trap.serve_forever, daemon=True).start()
    try:
        urls = [f"http://127.0.0.1:{trap.server_port}/bulk", "http://169.254.169.254/latest/meta-data/", "file:///etc/passwd", "/etc/passwd",
                "../../index.db", f"{server.url}/dicomweb/studies", "gopher://127.0.0.1:11112/x", "\\\\127.0.0.1\\share", "data:,AAAA"]
        models = [secondary_capture() for _ in urls]
        for model, url in zip(models, urls, strict=True):
            model["7FE00010"]["BulkDataURI"] = url
        started = time.monotonic()
        answer = post(server, json_part(*models))
        assert answer.status_code == 409
        assert reasons(answer) == dict.fromkeys(map(uid_of, models), 0xC000)
        assert time.monotonic() - started < 5
        assert seen == []
    finally:
        trap.shutdown()
        trap.server_close()


def _doctype(model: dict[str, Any]) -> bytes:
    entities = "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    return to_xml(model).replace(b"?>\n", f'?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">{entities}]>'.encode()).replace(b"BUILT-1", b"&i;")


@pytest.mark.parametrize(("name", "inner", "data"), [
    ("50,000 deep", "application/dicom+json", b'[{"a":' * 50_000 + b"1" + b"}]" * 50_000), ("a million items", "application/dicom+json", b"[" + b"{}," * 5_000_000 + b"{}]"),
    ("15 MB of digits", "application/dicom+json", b'[{"a":' + b"9" * 15_000_000 + b"}]"), ("more than is allowed", "application/dicom+json", b" " * 17_000_000),
    ("a key twice", "application/dicom+json", b'[{"00100020":{"vr":"LO"},"00100020":{"vr":"LO"}}]'), ("not JSON", "application/dicom+json", b"\xff\xfe{"),
    ("no array", "application/dicom+json", b"5"), ("entities", XML, _doctype(secondary_capture())), ("not XML", XML, b"<html>"),
    ("a file", XML, b'<!DOCTYPE x [<!ENTITY x SYSTEM "file:///etc/passwd">]><NativeDicomModel>&x;</NativeDicomModel>'),
    ("50,000 deep in XML", XML, b'<NativeDicomModel xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM">'
     + b'<DicomAttribute tag="00081140" vr="SQ"><Item number="1">' * 50_000),
])
def test_hostile_metadata_is_400_soon_and_cheaply(server: LiveServer, name: str, inner: str, data: bytes) -> None:
    before = server.pss_bytes()
    started = time.monotonic()
    answer = post(server, ({"Content-Type": inner}, data), inner=inner)
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert time.monotonic() - started < 10
    assert server.pss_bytes() - before < 200 << 20
    assert "passwd" not in answer.text
    model = secondary_capture()
    assert post(server, json_part(model), bulk_part(uri_of(model), PIXELS)).status_code == 200, "the server goes on"


@pytest.mark.parametrize("uid", ["../../../etc/passwd", "1.2/../3", "1.2\x00.3", "1" * 65, "", "1.2.840.10008.1.2.1\n", "${jndi:x}", 5, None, {"a": 1}])
@pytest.mark.parametrize("tag", ["00080018", "0020000D"])
def test_a_uid_that_is_none_is_refused_and_not_repeated(server: LiveServer, tag: str, uid: Any) -> None:
    model = secondary_capture()
    model[tag]["Value"] = [uid]
    answer = post(server, json_part(model), bulk_part(uri_of(model), PIXELS))
    assert answer.status_code == 409
    assert set(reasons(answer)) == {""}
    assert "passwd" not in answer.text
    assert "jndi" not in answer.text


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd", "br", "gzip, identity"])
def test_a_content_coding_is_refused_with_a_reason(server: LiveServer, coding: str) -> None:
    bomb = zlib.compress(bytes(10_000_000), 9)
    answer = post(server, ({"Content-Type": "application/dicom+json"}, bomb), **{"Content-Encoding": coding})
    assert answer.status_code == 415
    assert answer.headers["accept-encoding"] == "identity"
    assert "content coding" in answer.json()["detail"]


def test_a_content_coding_of_a_part_is_refused(server: LiveServer) -> None:
    model = secondary_capture()
    headers, data = bulk_part(uri_of(model), zlib.compress(PIXELS))
    answer = post(server, json_part(model), (headers | {"Content-Encoding": "gzip"}, data))
    assert answer.status_code == 409


@pytest.mark.parametrize("content_type", [
    "", "text/plain", "application/json", "application/dicom+json", 'multipart/related; type="text/html"; boundary=x',
    "multipart/related; boundary=x", "multipart/form-data; boundary=x", 'multipart/mixed; type="application/dicom"; boundary=x',
])
def test_what_is_no_store_request_is_415(server: LiveServer, content_type: str) -> None:
    answer = script(server).post(f"{server.url}/dicomweb/studies", data=b"--x--", headers={"Content-Type": content_type, "Accept": "*/*"})
    assert answer.status_code == 415


@pytest.mark.parametrize("content_type", [
    'multipart/related; type="application/dicom+json"', 'multipart/related; type="application/dicom+json"; boundary=""',
    'multipart/related; type="application/dicom+json"; boundary="a b\x01"', "multipart", "multipart/related; type",
    f'multipart/related; type="application/dicom+json"; boundary={"b" * 3000}',
])
def test_a_boundary_that_is_none_is_400(server: LiveServer, content_type: str) -> None:
    answer = script(server).post(f"{server.url}/dicomweb/studies", data=b"--x--", headers={"Content-Type": content_type, "Accept": "*/*"})
    assert answer.status_code in {400, 415}


def test_a_body_that_breaks_off_stores_nothing(server: LiveServer) -> None:
    model = secondary_capture()
    body, headers = body_of(json_part(model), bulk_part(uri_of(model), PIXELS))
    answer = script(server).post(f"{server.url}/dicomweb/studies", data=body[:-8], headers=headers)
    assert answer.status_code == 400
    assert script(server).get(f"{server.url}/dicomweb/studies/{uid_of(model, '0020000D')}").status_code == 404


def test_metadata_of_another_type_than_the_request_names_is_not_read(server: LiveServer) -> None:
    model = secondary_capture()
    answer = post(server, ({"Content-Type": XML}, to_xml(model)), bulk_part(uri_of(model), PIXELS))
    assert answer.status_code == 409


def test_an_answer_that_cannot_be_given_is_406_before_the_body_is_read(server: LiveServer) -> None:
    assert post(server, json_part(secondary_capture()), Accept="text/html").status_code == 406


def test_nothing_waits_on_disk_in_clear_or_by_name(server: LiveServer) -> None:
    canary = b"CANARY-IN-BULK-DATA" * 20_000
    model = secondary_capture()
    model["00420011"] = {"vr": "OB", "BulkDataURI": "big"}
    assert post(server, json_part(model), bulk_part("big", canary), bulk_part(uri_of(model), PIXELS)).status_code == 200
    incoming = server.home / "objects" / "incoming"
    assert list(incoming.iterdir()) == []
    for path in server.root.rglob("*"):
        if path.is_file():
            assert b"CANARY-IN-BULK" not in path.read_bytes(), path.name


def test_the_ledger_names_what_was_built(server: LiveServer) -> None:
    model = secondary_capture()
    post(server, json_part(model), bulk_part(uri_of(model), PIXELS))
    found = [r for r in server.ledger() if r["study"] == uid_of(model, "0020000D") and r["action"] == "archive:instance:store"]
    assert found
    assert uid_of(model) in json.dumps(found[0]["details"])


def _raw(server: LiveServer, head: str, body: bytes) -> tuple[bytes, bytes]:
    """Return (what comes before the body is sent, what comes after); the body goes out only after a 100."""
    context = ssl.create_default_context(cafile=server.ready["ca"])
    port = int(server.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as raw, context.wrap_socket(raw, server_hostname="localhost") as sock:
        sock.settimeout(20)
        sock.sendall(f"POST /dicomweb/studies HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
                     f"Expect: 100-continue\r\nConnection: close\r\n{head}\r\n".encode())
        first = sock.recv(65536)
        if not first.startswith(b"HTTP/1.1 100"):
            return first, b""
        sock.sendall(body)
        after = b""
        while piece := sock.recv(65536):
            after += piece
        return first, after


def test_a_client_that_waits_for_100_is_told_first(server: LiveServer) -> None:
    model = secondary_capture()
    body, headers = body_of(json_part(model), bulk_part(uri_of(model), PIXELS))
    head = "".join(f"{k}: {v}\r\n" for k, v in (headers | {"Authorization": str(script(server).headers["Authorization"])}).items())
    first, after = _raw(server, head, body)
    assert first.startswith(b"HTTP/1.1 100")
    assert b" 200 " in after.split(b"\r\n")[0]
    assert stored(server, model).PixelData == PIXELS


@pytest.mark.parametrize(("change", "status"), [
    ({"Authorization": "Bearer wrong"}, b" 401 "), ({"Content-Type": "text/plain"}, b" 415 "), ({"Content-Encoding": "gzip"}, b" 415 "),
    ({"Accept": "text/html"}, b" 406 "),
])
def test_what_is_refused_is_refused_before_the_body_is_sent(server: LiveServer, change: dict[str, str], status: bytes) -> None:
    _, headers = body_of(json_part(secondary_capture()))
    both = headers | {"Authorization": str(script(server).headers["Authorization"])} | change
    first, after = _raw(server, "".join(f"{k}: {v}\r\n" for k, v in both.items()), bytes(1000))
    assert status in first.split(b"\r\n")[0]
    assert after == b""


def test_a_nearly_full_disk_is_507_and_nothing_waits(tmp_path_factory: pytest.TempPathFactory) -> None:
    full = LiveServer(tmp_path_factory.mktemp("full"), disk_reserve_bytes=2**40)
    full.start()
    try:
        model = secondary_capture()
        answer = post(full, json_part(model), bulk_part(uri_of(model), PIXELS))
        assert answer.status_code == 507
        assert answer.headers["content-type"] == "application/problem+json"
        assert list((full.home / "objects" / "incoming").iterdir()) == []
    finally:
        _SCRIPTS.pop(id(full), None)
        assert full.stop() == 0
