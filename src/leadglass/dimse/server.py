"""The DICOM port: accepts connections, one thread each, up to a limit; stops cleanly."""

import hashlib
import select
import socket
import ssl
import threading
import time
from collections import Counter
from typing import Final

import structlog

from leadglass.access import House
from leadglass.dimse.association import ARTIM_SECONDS, Association
from leadglass.settings import Settings
from leadglass.terms import Peer, Plane

__all__ = ["DimseServer"]

_log = structlog.get_logger()
_STOP_SECONDS: Final = 8.0  # for messages in hand; then the connections are cut
_CUT_SECONDS: Final = 2.0
_OPENING: Final = 4  # connections, as a multiple of the associations: those who have not said who they are included


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
        self._admitted: set[threading.Thread] = set()
        self._opening: Counter[str] = Counter()  # connections not yet admitted, by address
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
        self._wake.close()
        self._waker.close()

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
            most, host = self._settings.max_associations, str(address[0])
            # Strangers who connect and say nothing take no device's place, and one address not all the doors.
            if len(self._running) >= _OPENING * most or self._opening[host] >= max(8, most):
                sock.close()
                return
            thread = threading.Thread(target=self._run, args=(sock, host, plane), name="association", daemon=True)
            self._running[thread] = None
            self._opening[host] += 1
        thread.start()

    def _admit(self, thread: threading.Thread, address: str) -> bool:
        """Count a proved caller in, if there is a place."""
        with self._lock:
            if len(self._admitted) >= self._settings.max_associations:
                return False
            self._admitted.add(thread)
            self._closed(address)
            return True

    def _closed(self, address: str) -> None:
        """Count one connection of `address` as opened; the caller holds the lock."""
        self._opening[address] -= 1
        if self._opening[address] <= 0:
            del self._opening[address]

    def _run(self, sock: socket.socket, address: str, plane: Plane) -> None:
        thread = threading.current_thread()
        try:
            sock.settimeout(ARTIM_SECONDS)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            certificate = None
            if plane is Plane.DIMSE_TLS:
                sock = self._context.wrap_socket(sock, server_side=True)
                der = sock.getpeercert(binary_form=True)
                certificate = hashlib.sha256(der).hexdigest() if der else None
            peer = Peer(plane=plane, address=address.removeprefix("::ffff:"), certificate_sha256=certificate)
            association = Association(
                sock, peer, self._house, self._settings, admit=lambda: self._admit(thread, address))
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
                if thread in self._admitted:
                    self._admitted.remove(thread)
                else:
                    self._closed(address)

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
        late = [t for t in running if t.is_alive()]
        for thread in late:
            association = self._running.get(thread)
            if association is not None:
                association.cut()
        deadline = time.monotonic() + _CUT_SECONDS
        for thread in late:
            thread.join(max(0.0, deadline - time.monotonic()))
