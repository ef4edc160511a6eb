"""Bad uploads: a clear answer with the standard's status, bounded memory and time, and the server goes on."""

import socket
import ssl
import struct
import time

import pytest
from live_server import LiveServer
from phantom import ct_slice, multipart, part10

GROWTH = 200 << 20


def _post(server: LiveServer, parts: list[bytes]) -> tuple[int, float]:
    script = server.script()
    body, headers = multipart(parts)
    started = time.monotonic()
    answer = script.post(f"{server.url}/dicomweb/studies", data=body, headers=headers, timeout=60)
    return answer.status_code, time.monotonic() - started


def _head() -> bytes:
    """Return a good file, cut before its pixel data."""
    data = part10(ct_slice())
    return data[: data.index(b"\xe0\x7f\x10\x00")]


def _element(group: int, element: int, vr: bytes, value: bytes, claimed: int | None = None) -> bytes:
    length = len(value) if claimed is None else claimed
    long_form = vr in {b"OB", b"OW", b"SQ", b"UN", b"UT"}
    head = struct.pack("<HH", group, element) + vr
    return head + (struct.pack("<HI", 0, length) if long_form else struct.pack("<H", length)) + value


def _nested(depth: int) -> bytes:
    opening = _element(0x0040, 0xA730, b"SQ", b"", 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    closing = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    return _head() + opening * depth + closing * depth


def _without(tag_and_vr: bytes) -> bytes:
    data = part10(ct_slice())
    at = data.index(tag_and_vr, 400)
    length = struct.unpack_from("<H", data, at + 6)[0]
    return data[:at] + data[at + 8 + length :]


def _with_uid(uid: bytes) -> bytes:
    ds = ct_slice(study="1.2.3.4.5.6")
    return part10(ds).replace(b"1.2.3.4.5.6\x00", uid.ljust(12, b"\x00")[:12])


@pytest.mark.parametrize(("name", "data"), [
    ("not DICOM", b"%PDF-1.4 " + bytes(5000)),
    ("empty", b""),
    ("truncated head", part10(ct_slice())[:400]),
    ("truncated pixels", part10(ct_slice())[:-1000]),
    ("no study UID", _without(b"\x20\x00\x0d\x00UI")),
    ("hostile UID", _with_uid(b"../../etc/p")),
    ("3 GB claimed", _head() + _element(0x7FE0, 0x0010, b"OW", bytes(100), 3_000_000_000)),
    ("3 GB claimed early", _head() + _element(0x0042, 0x0011, b"OB", bytes(100), 3_000_000_000)),
    ("20,000 deep", _nested(20_000)),
])
def test_a_bad_instance_is_refused_and_the_server_goes_on(server: LiveServer, name: str, data: bytes) -> None:
    before = server.pss_bytes()
    status, seconds = _post(server, [data])
    assert status in {400, 409}, name
    assert seconds < 5
    assert server.pss_bytes() - before < GROWTH
    assert _post(server, [part10(ct_slice())])[0] == 200


def test_a_bad_part_fails_alone(server: LiveServer) -> None:
    good = ct_slice()
    body, headers = multipart([part10(good), b"nonsense" * 100])
    answer = server.script().post(f"{server.url}/dicomweb/studies", data=body, headers=headers)
    assert answer.status_code == 202
    assert answer.json()["00081199"]["Value"][0]["00081155"]["Value"] == [good.SOPInstanceUID]


def test_a_body_without_an_end_is_refused(server: LiveServer) -> None:
    body, headers = multipart([part10(ct_slice())])
    answer = server.script().post(f"{server.url}/dicomweb/studies", data=body[:-12], headers=headers)
    assert answer.status_code == 400
    assert "Instances stored before that: " in answer.text


def test_a_slow_sender_is_cut_off(tmp_path_factory: pytest.TempPathFactory) -> None:
    live = LiveServer(tmp_path_factory.mktemp("slow"), association_idle_seconds=2)
    live.start()
    try:
        token = live.script().headers["Authorization"]
        context = ssl.create_default_context(cafile=live.ready["ca"])
        port = int(live.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as raw, context.wrap_socket(raw, server_hostname="localhost") as sock:
            sock.sendall(
                b"POST /dicomweb/studies HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n"
                b"Accept: application/dicom+json\r\n"
                b'Content-Type: multipart/related; type="application/dicom"; boundary=x\r\nAuthorization: '
                + str(token).encode() + b"\r\n\r\n--x\r\n")
            sock.settimeout(10)
            started = time.monotonic()
            answer = sock.recv(4096)
        assert b" 408 " in answer.split(b"\r\n")[0]
        assert time.monotonic() - started < 6
    finally:
        assert live.stop() == 0


@pytest.mark.parametrize("path", ["/sign-in/passkey", "/enrol/open"])
@pytest.mark.parametrize("body", [b"[" * 60_000, b"{}", b"[]", b"null", b'{"secret": 5, "state": [], "response": "x"}', b"\xff", b""])
def test_a_hostile_json_body_is_refused_and_is_no_incident(server: LiveServer, path: str, body: bytes) -> None:
    answer = server.session().post(server.url + path, data=body, headers={
        "Sec-Fetch-Site": "same-origin", "Content-Type": "application/json", "Accept": "application/json"})
    assert answer.status_code in {400, 401, 404}
    assert "web_incident" not in server.log.read_text()
