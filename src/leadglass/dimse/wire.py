"""Whole protocol data units from a socket, into one buffer that is used again: nothing grows with what a peer claims."""

import select
import socket
import ssl
import time
from collections.abc import Callable

from leadglass.dimse.pdu import ABORT, DATA, HEADER, MAX_ASSOCIATE
from leadglass.errors import Malformed

__all__ = ["PeerGone", "Severed", "Wire"]

_READ_AHEAD = 1 << 16
_TICK_SECONDS = 0.5  # how soon a waiting reader hears of a stop


class PeerGone(Exception):
    """The peer has closed, reset or stalled the connection: nobody is left to answer."""


class Severed(PeerGone):
    """We cannot go on, in the middle of what we were sending: the association must be aborted."""


class Wire:
    """One connection. `read` gives views that are good until the next `read`."""

    def __init__(self, sock: socket.socket, *, max_pdu: int, is_ended: Callable[[], bool]) -> None:
        self._sock = sock
        self._limit = max_pdu
        self._is_ended = is_ended
        self._buffer = bytearray(max(max_pdu, MAX_ASSOCIATE) + HEADER.size + _READ_AHEAD)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0

    def read(self, *, wait: float, whole: float) -> tuple[int, memoryview]:
        """Return (type, body) of the next unit. Raises: PeerGone, Malformed (too large, unknown type).

        Args: wait: seconds until its first byte. whole: seconds for all of it once it has begun: a sender who trickles
        bytes to hold a thread is cut off.
        """
        if self._end - self._start < 1:
            self._fill(1, time.monotonic() + wait)
        deadline = time.monotonic() + whole
        self._fill(HEADER.size, deadline)
        kind, length = self._header()
        self._fill(HEADER.size + length, deadline)
        start = self._start + HEADER.size
        self._start = start + length
        return kind, self._view[start : self._start]

    def peek(self) -> tuple[int, memoryview] | None:
        """Return the next whole unit if it is here already, and leave it for `read`; None when it is not. Never waits.

        Raises: PeerGone, Malformed.
        """
        self._take_what_is_here()
        if self._end - self._start < HEADER.size:
            return None
        kind, length = self._header()
        if self._end - self._start < HEADER.size + length:
            return None
        start = self._start + HEADER.size
        return kind, self._view[start : start + length]

    def has_input(self) -> bool:
        """Return whether the peer has sent something that was not read yet. Never waits. Raises: PeerGone."""
        if self._start == self._end:
            self._take_what_is_here()
        return self._end > self._start

    def wait_input(self, seconds: float) -> bool:
        """Return whether something comes within `seconds`. Raises: PeerGone."""
        until = time.monotonic() + seconds
        while not self.has_input():
            left = until - time.monotonic()
            if left <= 0 or self._is_ended():
                return False
            select.select([self._sock], [], [], min(left, _TICK_SECONDS))
        return True

    def _take_what_is_here(self) -> None:
        """Read once, without waiting, into what is free of the buffer."""
        self._make_room(1)
        if self._end == len(self._buffer):
            return
        try:
            self._sock.settimeout(0.0)
            count = self._sock.recv_into(self._view[self._end :])
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError as e:
            raise PeerGone(type(e).__name__) from e
        if count == 0:
            raise PeerGone("closed")
        self._end += count

    def _header(self) -> tuple[int, int]:
        """Return (type, length) of the unit that begins at _start. Raises: Malformed."""
        kind, length = HEADER.unpack_from(self._buffer, self._start)
        limit = self._limit if kind == DATA else MAX_ASSOCIATE
        if not 1 <= kind <= ABORT or length > limit or HEADER.size + length > len(self._buffer):
            raise Malformed("a protocol data unit of unknown type, or larger than was agreed.")
        return kind, length

    def _make_room(self, need: int) -> None:
        """Have room for `need` bytes from _start on."""
        if self._start == self._end:
            self._start = self._end = 0
        if self._start + need > len(self._buffer) or self._end == len(self._buffer):
            rest = self._end - self._start
            self._view[:rest] = bytes(self._view[self._start : self._end])
            self._start, self._end = 0, rest

    def _fill(self, need: int, deadline: float) -> None:
        """Have `need` bytes from _start on."""
        self._make_room(need)
        while self._end - self._start < need:
            left = deadline - time.monotonic()
            if left <= 0:
                raise PeerGone("stalled")
            if self._is_ended():  # asked, not woken by shutdown(), which would take TLS off the socket
                raise PeerGone("stopped")
            try:
                self._sock.settimeout(min(left, _TICK_SECONDS))
                count = self._sock.recv_into(self._view[self._end :])
            except TimeoutError:
                continue
            except OSError as e:  # ssl.SSLError too
                raise PeerGone(type(e).__name__) from e
            if count == 0:
                raise PeerGone("closed")
            self._end += count

    def write(self, data: bytes, *, within: float) -> None:
        """Send `data` in one go (Nagle is off: an answer never waits for an acknowledgement). Raises: PeerGone."""
        try:
            self._sock.settimeout(within)
            self._sock.sendall(data)
        except OSError as e:
            raise PeerGone(type(e).__name__) from e
