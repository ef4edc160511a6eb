"""What each forked process does. Each opens its own house (database, archive, door) after the fork."""

import asyncio
import os
import signal
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from leadglass.compose.chores import Chores
from leadglass.compose.home import Certificates, Home
from leadglass.dimse import DimseServer, report_due
from leadglass.network.tls import trust_certificates
from leadglass.web import create_app

if TYPE_CHECKING:
    import ssl

    from leadglass.access import House

__all__ = ["Sockets", "run_chores", "run_dimse_worker", "run_web_worker"]

_log = structlog.get_logger()
_FLUSH_SECONDS = 2.0
_MAX_STREAMS = 32  # answers at once on one HTTP/2 connection: each that nobody takes holds up to 1.5 MiB
_REPORT_SECONDS = 1.0


@dataclass
class Sockets:
    """Bound before the fork, so that every worker has the same ports."""

    https: socket.socket  # reserves the port; workers bind it again with SO_REUSEPORT
    dicom: socket.socket
    dicom_tls: socket.socket


def run_web_worker(home: Home, sockets: Sockets, certificates: Certificates, ready_fd: int) -> None:
    """Serve HTTPS (TLS 1.3 only, HTTP/1.1 and HTTP/2) until SIGTERM."""
    asyncio.run(_serve_web(home, sockets, certificates, ready_fd))


async def _serve_web(home: Home, sockets: Sockets, certificates: Certificates, ready_fd: int) -> None:
    from granian.constants import Interfaces, SSLProtocols
    from granian.http import HTTP2Settings
    from granian.server.embed import Server

    with home.house() as house:
        app = create_app(house, home.settings)
        server = Server(
            app, address=home.settings.bind, port=sockets.https.getsockname()[1], interface=Interfaces.ASGI,
            websockets=False, log_enabled=False, backlog=1024, ssl_cert=certificates.web_chain_path,
            ssl_key=certificates.open_web_key(), ssl_protocol_min=SSLProtocols.tls13,
            http2_settings=HTTP2Settings(max_concurrent_streams=_MAX_STREAMS),
        )
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, server.stop)
        stop = _flush_often(house)
        loop.call_later(0.05, os.write, ready_fd, b"w")
        await server.serve()
        stop.set()
        house.door.flush_counts()


def run_dimse_worker(home: Home, sockets: Sockets, certificates: Certificates, ready_fd: int) -> None:
    """Serve DICOM, in clear to registered addresses and over TLS to registered certificates, until SIGTERM."""
    with home.house() as house:
        context = certificates.dicom_context()
        server = DimseServer(house, home.settings, plain=sockets.dicom, tls=sockets.dicom_tls, tls_context=context)
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.stop, name="stop").start())
        stop = _flush_often(house)
        trust_certificates(context, house.dicom_certificates())
        _follow_devices(house, context, stop)
        os.write(ready_fd, b"d")
        server.serve_forever()
        stop.set()
        house.door.flush_counts()


def run_chores(home: Home, ready_fd: int) -> None:
    """Publish revocations, close grants, sign checkpoints, keep the reserve, until SIGTERM."""
    with home.house() as house:
        chores = Chores(home, house)
        stopping = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stopping.set())
        chores.start()
        house.sending.commitments.recover()
        threading.Thread(target=_report_commitments, args=(house, stopping), name="commitments", daemon=True).start()
        os.write(ready_fd, b"c")
        while not stopping.wait(1.0):
            chores.tick(time.time())
        chores.stop()


def _report_commitments(house: "House", stopping: threading.Event) -> None:
    """Report storage commitments as they fall due; a device that does not answer keeps no other chore waiting."""
    while not stopping.wait(_REPORT_SECONDS):
        try:
            report_due(house, is_stopping=stopping.is_set)
        except Exception as e:  # noqa: BLE001 - tried again at the next turn
            _log.warning("commitments_not_read", error=type(e).__name__)


def _follow_devices(house: "House", context: "ssl.SSLContext", stop: threading.Event) -> None:
    """Start the thread that makes the port believe a newly registered certificate, within a second."""

    def work() -> None:
        seen = house.page.current()
        while not stop.wait(0.5):
            try:
                epoch = house.page.current()
                if epoch != seen:
                    trust_certificates(context, house.dicom_certificates())
                    seen = epoch
            except Exception as e:  # noqa: BLE001 - tried again at the next turn
                _log.warning("certificates_not_read", error=type(e).__name__)

    threading.Thread(target=work, name="certificates", daemon=True).start()


def _flush_often(house: "House") -> threading.Event:
    """Start the thread that writes this process's counts, forgets destroyed keys and looks at what failed a read."""
    stop = threading.Event()
    subject = house.entrance.system("scrub")

    def work() -> None:
        while not stop.wait(_FLUSH_SECONDS):
            try:
                house.door.flush_counts()
                house.archive.study_keys.forget_old()
                house.operations.forget_old()
                house.keeping.scrubbing.look(subject)
            except Exception as e:  # noqa: BLE001 - counts are written at the next turn
                _log.warning("counts_not_written", error=type(e).__name__)

    threading.Thread(target=work, name="counts", daemon=True).start()
    return stop
