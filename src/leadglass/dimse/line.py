"""Messages that we send over an association, and the responses to them: the same for both ends.

An instance goes out as it is read, piece by piece; a peer that stalls ends it in bounded time.
"""

import time
from collections.abc import Callable, Iterable
from typing import Final

from leadglass.dicom.command import HAS_DATA_SET, NO_DATA_SET, Command, CommandField, decode_command, encode_command
from leadglass.dimse import pdu
from leadglass.dimse.wire import PeerGone, Severed, Wire
from leadglass.errors import LeadglassError, Malformed, Unproven

__all__ = ["ANSWER_SECONDS", "Line"]

ANSWER_SECONDS: Final = 20.0  # for a peer to take what we write
_STORE_SECONDS: Final = 60.0  # for an instance to be taken and answered, and on top of it:
_SLOWEST: Final = 50_000  # bytes a second
_MAX_COMMAND: Final = 65536


class Line:
    """One association's outgoing messages. One thread."""

    def __init__(
        self, wire: Wire, *, max_length: int, window: int = 1, on_other: Callable[[Command], None] | None = None
    ) -> None:
        """Args: max_length: of a P-DATA unit that the peer takes, bytes; 0 = any. window: stores that may wait.

        on_other: gets the commands that are no response to a store, while one is waited for; raises Malformed where
        such a command has no place.
        """
        self._wire = wire
        self._max_length = max_length
        self._on_other = on_other
        self._message_id = 0
        self._until = 0.0
        self.window = window

    def next_id(self) -> int:
        """Return a fresh message id."""
        self._message_id = self._message_id % 0xFFFF + 1
        return self._message_id

    def send(self, context_id: int, command: Command, data: bytes | None = None) -> None:
        """Send a message in one go. Raises: PeerGone."""
        values = command | {"CommandDataSetType": NO_DATA_SET if data is None else HAS_DATA_SET}
        raw = pdu.encode_data(context_id, encode_command(values), is_command=True, max_length=self._max_length)
        if data is not None:
            raw += pdu.encode_data(context_id, data, is_command=False, max_length=self._max_length)
        self._wire.write(raw, within=ANSWER_SECONDS)

    def store(self, context_id: int, command: Command, data: Iterable[bytes], length: int) -> None:
        """Send a C-STORE request, its data set as it comes.

        Args: length: about how many bytes: what the peer's time for it depends on. Raises: PeerGone; Unproven, from
        `data`; Severed, when `data` ends with a fault: a data set has no other end than its own.
        """
        values = command | {"CommandField": CommandField.C_STORE_RQ, "CommandDataSetType": HAS_DATA_SET}
        head = pdu.encode_data(context_id, encode_command(values), is_command=True, max_length=self._max_length)
        self._until = max(self._until, time.monotonic()) + _STORE_SECONDS + length / _SLOWEST
        try:
            for unit in pdu.encode_pieces(context_id, data, max_length=self._max_length):
                left = self._until - time.monotonic()
                if left <= 0:
                    raise PeerGone("stalled")
                self._wire.write(head + unit, within=min(left, ANSWER_SECONDS))
                head = b""
        except Unproven:
            raise
        except LeadglassError as e:
            raise Severed(f"an instance could not be read to its end ({type(e).__name__})") from e

    def response(self) -> tuple[int, int]:
        """Return (message id, status) of the next response to a store. Raises: PeerGone, Malformed."""
        while True:
            command = self.command(self._until - time.monotonic())
            if command.get("CommandField") == CommandField.C_STORE_RSP:
                if "Status" not in command or "MessageIDBeingRespondedTo" not in command:
                    raise Malformed("a response without status or message id.")
                return int(command["MessageIDBeingRespondedTo"]), int(command["Status"])
            if self._on_other is None:
                raise Malformed("something else than the response came.")
            self._on_other(command)

    def settled(self) -> None:
        """Nothing waits any more: the next store gets its own time."""
        self._until = 0.0

    def command(self, within: float) -> Command:
        """Return the next command set; one that has a data set is refused. Raises: PeerGone, Malformed."""
        until = time.monotonic() + within
        raw = bytearray()
        while True:
            left = until - time.monotonic()
            if left <= 0:
                raise PeerGone("stalled")
            kind, body = self._wire.read(wait=left, whole=left)
            if kind == pdu.ABORT:
                raise PeerGone("has aborted")
            if kind == pdu.RELEASE_RQ:
                raise PeerGone("has left")
            if kind != pdu.DATA:
                raise Malformed("a protocol data unit that has no place here.")
            for value in pdu.decode_data(body):
                if not value.is_command or len(raw) + len(value.data) > _MAX_COMMAND:
                    raise Malformed("a data set out of turn, or a command set too long.")
                raw += value.data
                if value.is_last:
                    found = decode_command(bytes(raw))
                    if found.get("CommandDataSetType", NO_DATA_SET) != NO_DATA_SET:
                        raise Malformed("a request came while an answer is waited for.")
                    return found
