"""STOW-RS of metadata and bulk data under attack: what is refused, what is never fetched, what does not wait in clear."""

import http.server
import json
import socket
import ssl
import threading
import time
import zlib
from typing import Any

import pytest
from live_server import LiveServer
from store_bodies import body_of, bulk_part, json_part, secondary_capture, uid_of, uri_of
from store_posts import PIXELS, SCRIPTS, XML, post, reasons, script, stored

from leadglass.dicom.xml_model import to_xml


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
        SCRIPTS.pop(id(full), None)
        assert full.stop() == 0
