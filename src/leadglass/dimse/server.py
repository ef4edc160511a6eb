"""The DICOM port: accepts connections, one thread each, up to a limit; stops cleanly."""

import hashlib
import select
import socket
import ssl
import threading
import time
from typing import Final

import structlog

from leadglass.access import House
from leadglass.dimse import pdu
from leadglass.dimse.association import ARTIM_SECONDS, Association
from leadglass.settings import Settings
from leadglass.terms import Peer, Plane

__all__ = ["DimseServer"]

_log = structlog.get_logger()
_STOP_SECONDS: Final = 10.0
_REJECTING: Final = 32  # threads that only say "too many": more are dropped without a word


class DimseServer:
    """One process's DICOM service on two listening sockets, which other processes may share."""

    def __init__(
        self, house: House, settings: Settings, *, plain: socket.socket, tls: socket.socket,
        tls_context: ssl.SSLContext,
    ) -> None:
        self._house, self._settings = house, settings
        self._planes = {plain: Plane.DIMSE, tls: Plane.DIMSE_TLS}
        self._context = tls_context
        self._wake, self._waker = socket.socketpair()
        self._lock = threading.Lock()
        self._running: dict[threading.Thread, Association | None] = {}
        self._rejecting = 0
        self._is_stopping = False

    def serve_forever(self) -> None:
        """Accept until `stop`."""
        poller = select.poll()
        by_fd: dict[int, socket.socket] = {}
        for sock in (*self._planes, self._wake):
            sock.setblocking(False)  # another process may have taken the connection that woke us
            poller.register(sock, select.POLLIN)
            by_fd[sock.fileno()] = sock
        while not self._is_stopping:
            for fd, _ in poller.poll():
                sock = by_fd[fd]
                if sock is not self._wake:
                    self._accept(sock)
        self._drain()

    def _accept(self, listening: socket.socket) -> None:
        try:
            sock, address = listening.accept()
        except OSError as e:
            if not isinstance(e, BlockingIOError | ConnectionAbortedError):
                _log.warning("accept_failed", error=type(e).__name__)
                time.sleep(0.05)  # out of descriptors: do not spin
            return
        plane = self._planes[listening]
        with self._lock:
            is_full = len(self._running) - self._rejecting >= self._settings.max_associations
            if is_full and self._rejecting >= _REJECTING:
                sock.close()
                return
            thread = threading.Thread(
                target=self._run, args=(sock, str(address[0]), plane, is_full), name="association", daemon=True)
            self._running[thread] = None
            self._rejecting += is_full
        thread.start()

    def _run(self, sock: socket.socket, address: str, plane: Plane, is_full: bool) -> None:
        thread = threading.current_thread()
        try:
            sock.settimeout(ARTIM_SECONDS)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            certificate = None
            if plane is Plane.DIMSE_TLS:
                sock = self._context.wrap_socket(sock, server_side=True)
                der = sock.getpeercert(binary_form=True)
                certificate = hashlib.sha256(der).hexdigest() if der else None
            if is_full:
                self._too_many(sock)
                return
            peer = Peer(plane=plane, address=address.removeprefix("::ffff:"), certificate_sha256=certificate)
            association = Association(sock, peer, self._house, self._settings)
            with self._lock:
                self._running[thread] = association
                is_late = self._is_stopping
            if is_late:
                association.stop()
            association.run()
        except (OSError, ssl.SSLError) as e:
            _log.info("connection_failed", address=address, plane=str(plane), error=type(e).__name__)
        finally:
            sock.close()
            with self._lock:
                del self._running[thread]
                self._rejecting -= is_full

    def _too_many(self, sock: socket.socket) -> None:
        """Answer that all associations are in use: the sender may try again. Ref: PS3.8 9.3.4."""
        sock.settimeout(2.0)
        sock.recv(65536)
        sock.sendall(pdu.encode_reject(2, 3, 2))  # transient, provider (presentation), local limit exceeded
        sock.shutdown(socket.SHUT_WR)
        sock.recv(65536)

    def stop(self) -> None:
        """Stop accepting; associations end after the message in hand. Safe from any thread, more than once."""
        self._is_stopping = True
        try:
            self._waker.send(b"x")
        except OSError:
            return

    def _drain(self) -> None:
        with self._lock:
            running = dict(self._running)
        for association in running.values():
            if association is not None:
                association.stop()
        deadline = time.monotonic() + _STOP_SECONDS
        for thread in running:
            thread.join(max(0.0, deadline - time.monotonic()))
