"""Attackers at the ports of a running server, hundreds at once: meanwhile a C-ECHO and a search are answered within two seconds.

The attackers come from 127.0.0.2, a machine that nobody registered; the device and the script from 127.0.0.1.
"""

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from dimse_world import CT, VERIFICATION, Client, associate, pdata
from live_server import LiveServer
from phantom import ct_slice, multipart, part10

ANSWER_SECONDS = 2.0
GROWTH = 300 << 20
MANY = 300
STRANGER = ("127.0.0.2", 0)
pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def besieged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    live = LiveServer(tmp_path_factory.mktemp("siege"), token_seconds=3600)
    live.run("devices", "add", "CT1", "--host", "127.0.0.1")
    live.run("devices", "add", "MAD", "--host", "127.0.0.2")  # a registered device that has gone mad
    live.start()
    body, headers = multipart([part10(ct_slice(PatientID="SIEGE"))])
    assert live.script().post(f"{live.url}/dicomweb/studies", data=body, headers=headers).status_code == 200
    yield live
    assert live.stop() == 0


class Siege:
    """Connections that are kept open, and threads that go on sending, until the siege is lifted."""

    def __init__(self, server: LiveServer) -> None:
        self.server = server
        self.https = int(server.url.rpartition(":")[2])
        self.tls = ssl.create_default_context(cafile=server.ready["ca"])
        self.device_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.is_over = threading.Event()
        self.open: list[socket.socket] = []
        self.threads: list[threading.Thread] = []

    def connect(self, port: int, *, tls: bool = False) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", port), timeout=20, source_address=STRANGER)
        self.open.append(sock)
        if tls:
            sock = self.tls.wrap_socket(sock, server_hostname="localhost")
            self.open[-1] = sock
        return sock

    def trickle(self, socks: list[socket.socket], data: bytes) -> None:
        """Send one byte of `data` to each connection, again and again."""
        def run() -> None:
            for at in range(len(data)):
                for sock in socks:
                    with contextlib.suppress(OSError):
                        sock.sendall(data[at : at + 1])
                if self.is_over.wait(0.3):
                    return

        self.threads.append(threading.Thread(target=run, daemon=True))
        self.threads[-1].start()

    def lift(self) -> None:
        self.is_over.set()
        for thread in self.threads:
            thread.join(20)
        for sock in self.open:
            sock.close()


def _silent_tcp(siege: Siege) -> None:
    for _ in range(MANY):
        siege.connect(siege.https)


def _slow_headers(siege: Siege) -> None:
    socks = [siege.connect(siege.https, tls=True) for _ in range(MANY)]
    siege.trickle(socks, b"GET /dicomweb/studies HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 4000)


def _huge_headers(siege: Siege) -> None:
    for _ in range(20):
        sock = siege.connect(siege.https, tls=True)
        with contextlib.suppress(OSError):
            sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"X-%d: " % n + b"a" * 8000 + b"\r\n" for n in range(400)))


def _plain_http_and_noise_for_tls(siege: Siege) -> None:
    for _ in range(MANY // 2):
        siege.connect(siege.https).sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        siege.connect(siege.server.dicom_tls_port).sendall(bytes(range(256)) * 4)


def _uploads_that_stall(siege: Siege) -> None:
    token = str(siege.server.script().headers["Authorization"]).encode()
    for _ in range(60):
        siege.connect(siege.https, tls=True).sendall(
            b"POST /dicomweb/studies HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000\r\nAccept: application/dicom+json\r\n"
            b'Content-Type: multipart/related; type="application/dicom"; boundary=x\r\nAuthorization: ' + token
            + b"\r\n\r\n--x\r\nContent-Type: application/dicom\r\n\r\n" + bytes(2000))


def _silent_dicom(siege: Siege) -> None:
    for port in (siege.server.dicom_port, siege.server.dicom_tls_port):
        for _ in range(MANY // 2):
            siege.connect(port)


def _slow_association_requests(siege: Siege) -> None:
    siege.trickle([siege.connect(siege.server.dicom_port) for _ in range(60)], associate())


def _four_gigabytes_claimed(siege: Siege) -> None:
    for kind in (1, 2, 4, 5, 7, 99):
        for _ in range(MANY // 6):
            with contextlib.suppress(OSError):
                siege.connect(siege.server.dicom_port).sendall(struct.pack(">BxI", kind, 0xFFFFFFFF) + bytes(70_000))


def _mad(siege: Siege) -> Client | None:
    """Return an accepted association of the mad device, or None when it is told to come later."""
    client = Client.__new__(Client)
    client.sock = siege.connect(siege.server.dicom_port)
    try:
        return client if client.open(calling="MAD")[0] == 2 else None
    except (EOFError, OSError):
        return None


def _associations_that_never_end(siege: Siege) -> None:
    accepted = [client for _ in range(50) if (client := _mad(siege))]
    assert len(accepted) == 50


def _messages_that_never_end(siege: Siege) -> None:
    for number in range(40):
        client = _mad(siege)
        assert client is not None
        client.begin_store(CT, f"1.2.3.{number}")
        client.sock.sendall(pdata(3, bytes(10_000), is_command=False, is_last=False))


def _four_gigabytes_of_data_claimed(siege: Siege) -> None:
    for _ in range(40):
        client = _mad(siege)
        assert client is not None
        with contextlib.suppress(OSError):
            client.sock.sendall(struct.pack(">BxI", 4, 0xFFFFFFFF) + bytes(70_000))


def _connect_and_leave(siege: Siege) -> None:
    for _ in range(MANY):
        for port in (siege.https, siege.server.dicom_port, siege.server.dicom_tls_port):
            with contextlib.suppress(OSError):
                sock = socket.create_connection(("127.0.0.1", port), timeout=5, source_address=STRANGER)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, not an end
                sock.close()


ATTACKS: list[Callable[[Siege], None]] = [
    _silent_tcp, _slow_headers, _huge_headers, _plain_http_and_noise_for_tls, _uploads_that_stall, _silent_dicom, _slow_association_requests,
    _four_gigabytes_claimed, _associations_that_never_end, _messages_that_never_end, _four_gigabytes_of_data_claimed, _connect_and_leave,
]


def _answers(server: LiveServer, session: object) -> tuple[float, float]:
    """Return the seconds of a C-ECHO on a new association, and of a search on a new connection."""
    started = time.monotonic()
    with Client(server.dicom_port) as client:
        assert client.open(((1, VERIFICATION, ("1.2.840.10008.1.2",)),))[0] == 2
        assert client.echo() == 0
        client.release()
    echoed = time.monotonic()
    session.close()
    answer = session.get(f"{server.url}/dicomweb/studies?PatientID=SIEGE", timeout=20)
    assert (answer.status_code, len(answer.json())) == (200, 1)
    return echoed - started, time.monotonic() - echoed


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.__name__.strip("_"))
def test_under_siege_the_honest_are_answered(besieged: LiveServer, attack: Callable[[Siege], None]) -> None:
    session = besieged.script()
    processes, before = besieged.processes(), besieged.pss_bytes()
    siege = Siege(besieged)
    try:
        attack(siege)
        for _ in range(3):
            assert max(_answers(besieged, session)) < ANSWER_SECONDS
        assert besieged.pss_bytes() - before < GROWTH
    finally:
        siege.lift()
    assert max(_answers(besieged, session)) < ANSWER_SECONDS
    assert set(processes) <= set(besieged.processes())
    log = besieged.log.read_text(errors="replace")
    assert "incident" not in log
    assert "Traceback" not in log
