"""Readers who take nothing: they hold no thread, the server's memory stays where it is, and they are cut off."""

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator

import pytest
from live_server import LiveServer
from phantom import ct_slice, multipart, part10

SLOW = 60  # more than the threads of a worker


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LiveServer, str]]:
    """A server whose patience is three seconds, and the path of a study of 34 MB."""
    live = LiveServer(tmp_path_factory.mktemp("slow"), association_idle_seconds=3)
    live.start()
    one = ct_slice()
    files = [part10(ct_slice(size=1448, study=one.StudyInstanceUID, series=one.SeriesInstanceUID, number=n)) for n in range(1, 9)]
    body, headers = multipart(files)
    live.script().post(f"{live.url}/dicomweb/studies", data=body, headers=headers).raise_for_status()
    yield live, f"/dicomweb/studies/{one.StudyInstanceUID}"
    assert live.stop() == 0


def _open(live: LiveServer, path: str, accept: str, token: str) -> ssl.SSLSocket:
    """Ask for `path`, read the first bytes of the answer, and no more. The socket takes little by itself."""
    context = ssl.create_default_context(cafile=live.ready["ca"])
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.connect(("127.0.0.1", int(live.url.rpartition(":")[2])))
    sock = context.wrap_socket(raw, server_hostname="localhost")
    sock.settimeout(20)
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\nAuthorization: {token}\r\n\r\n".encode())
    assert b" 200 " in sock.recv(512).split(b"\r\n")[0]
    return sock


@pytest.mark.parametrize("accept", ["*/*", "application/zip"])
def test_readers_who_take_nothing_are_cut_and_nobody_waits_for_them(world: tuple[LiveServer, str], accept: str) -> None:
    live, path = world
    script = live.script("brisk")
    assert script.get(f"{live.url}{path}", headers={"Accept": accept}).status_code == 200  # what the first one costs is not theirs
    before, cut_before = live.pss_bytes(), live.log.read_text().count("answer_cut")
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(_open(live, path, accept, str(script.headers["Authorization"]))) for _ in range(SLOW)]
        started = time.monotonic()
        assert script.get(f"{live.url}{path}/metadata", timeout=10).status_code == 200
        assert time.monotonic() - started < 5, "no thread is held by those who sleep"
        assert live.pss_bytes() - before < SLOW * 4e6, "a reader costs pieces, not a study"
        until = time.monotonic() + 30
        while live.log.read_text().count("answer_cut") < cut_before + SLOW:
            assert time.monotonic() < until, "they were not cut"
            time.sleep(0.2)
        for sock in slow:
            size = 0
            with contextlib.suppress(OSError):
                while piece := sock.recv(65536):
                    size += len(piece)
            assert size < 30e6
    assert script.get(f"{live.url}{path}/metadata", timeout=10).status_code == 200
