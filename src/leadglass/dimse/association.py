"""One association on one connection, in one thread: request, messages, release. Ref: PS3.8 9.2, as an acceptor.

Steps: 1 the request is read within ARTIM; 2 who calls is proved, or rejected with one answer whatever was wrong;
3 contexts are agreed; 4 messages are taken, their data sets passed on as they come; 5 release, abort or silence ends it.
"""

import socket
import time
from collections.abc import Callable
from typing import Final

import structlog

from leadglass.access import House
from leadglass.dicom.command import NO_DATA_SET, CommandField, decode_command, encode_command
from leadglass.dimse import pdu
from leadglass.dimse.handlers import HANDLERS, Exchange, Receiver, Service
from leadglass.dimse.negotiation import Context, negotiate
from leadglass.dimse.status import UNRECOGNIZED_OPERATION, place_of
from leadglass.dimse.wire import PeerGone, Wire
from leadglass.errors import LeadglassError, Malformed, Unproven
from leadglass.settings import Settings
from leadglass.terms import Peer

__all__ = ["ARTIM_SECONDS", "Association"]

_log = structlog.get_logger()
ARTIM_SECONDS: Final = 10.0
_ANSWER_SECONDS: Final = 20.0
_MAX_COMMAND: Final = 65536
_USER: Final = 0
_PROVIDER: Final = 2


class Association:
    """`run` in a thread of its own; `stop` and `cut` from another."""

    def __init__(
        self, sock: socket.socket, peer: Peer, house: House, settings: Settings, admit: Callable[[], bool]
    ) -> None:
        """Args: admit: asked once the caller is proved; False when all associations are in use."""
        self._admit = admit
        self._sock = sock
        self._peer = peer
        self._house = house
        self._settings = settings
        self._wire = Wire(
            sock, max_pdu=settings.max_pdu_bytes, is_ended=lambda: self._is_stopping and not self._is_busy)
        self._is_stopping = self._is_busy = False
        self._command = bytearray()
        self._receiver: Receiver | None = None
        self._message: tuple[Service | None, int, dict[str, str | int]] | None = None  # service, context id, command
        self._contexts: dict[int, Context] = {}
        self._max_length = 0
        self._until = 0.0  # when the message in hand must have ended; 0 = there is none
        self._taken = 0  # bytes of its data set

    def stop(self) -> None:
        """End after the message in hand; at once when there is none."""
        self._is_stopping = True

    def cut(self) -> None:
        """End now, whatever is in hand."""
        try:
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)  # below TLS, whose state is the reader's
        except OSError:
            return

    def run(self) -> None:
        """Serve the connection to its end. Never raises."""
        exchange: Exchange | None = None
        started, end = time.monotonic(), "aborted"
        calling = ""
        try:
            request = self._request()  # step 1
            calling = request.calling_ae
            exchange = self._enter(request)  # step 2
            if exchange is None:
                end = "rejected"
                return
            end = self._serve(exchange)  # step 4
        except PeerGone as e:
            end = "stopped" if self._is_stopping else f"peer {e}"
            if self._is_stopping:
                self._try_write(pdu.encode_abort(_PROVIDER, 0))
        except Unproven:
            end = "access ended"
            self._try_write(pdu.encode_abort(_USER, 0))
        except LeadglassError:
            end = "protocol fault"
            if exchange is None:  # whoever speaks no DICOM is a stranger too
                self._house.entrance.record_stranger(self._peer, calling)
            self._try_write(pdu.encode_abort(_PROVIDER, 6))  # invalid PDU parameter value
        except Exception as e:  # noqa: BLE001 - one association must not end the others
            _log.error("association_incident", error=type(e).__name__, place=place_of(e))
            self._try_write(pdu.encode_abort(_PROVIDER, 0))
        finally:
            if self._receiver is not None:
                self._receiver.drop()
            _log.info(
                "association", calling=calling, address=self._peer.address, plane=str(self._peer.plane), end=end,
                stored=exchange.stored if exchange else 0, failed=exchange.failed if exchange else 0,
                seconds=round(time.monotonic() - started, 3),
            )

    def _request(self) -> pdu.AssociateRequest:
        kind, body = self._wire.read(wait=ARTIM_SECONDS, whole=ARTIM_SECONDS)
        if kind != pdu.ASSOCIATE_RQ:
            raise Malformed("something else than an association request came first.")
        return pdu.decode_associate(bytes(body))

    def _enter(self, request: pdu.AssociateRequest) -> Exchange | None:
        """Steps 2 and 3."""
        try:
            subject = self._house.entrance.device(self._peer, request.calling_ae, request.called_ae)
        except Unproven:
            self._try_write(pdu.encode_reject(1, 1, 3))  # permanent, user, calling AE title not recognised
            self._linger()
            return None
        if not self._admit():
            self._try_write(pdu.encode_reject(2, 3, 2))  # transient, provider (presentation), local limit exceeded
            self._linger()
            return None
        results, self._contexts = negotiate(request)
        self._max_length = request.max_length
        self._write(pdu.encode_accept(request, results, self._settings.max_pdu_bytes))
        return Exchange(self._house, subject)

    def _serve(self, exchange: Exchange) -> str:
        """Step 4; return how it ended."""
        idle = float(self._settings.association_idle_seconds)
        while True:
            kind, body = self._wire.read(wait=idle, whole=idle)
            if kind == pdu.DATA:
                for value in pdu.decode_data(body):
                    self._value(value, exchange)
                if self._is_stopping and self._message is None:
                    self._try_write(pdu.encode_abort(_PROVIDER, 0))
                    return "stopped"
            elif kind == pdu.RELEASE_RQ:
                self._try_write(pdu.encode_release_reply())
                self._linger()
                return "released"
            elif kind == pdu.ABORT:
                return "aborted by peer"
            else:
                raise Malformed("a protocol data unit that has no place here.")

    def _value(self, value: pdu.Pdv, exchange: Exchange) -> None:
        """Take one presentation data value: command sets gather, data sets pass on."""
        if value.context_id not in self._contexts:
            raise Malformed("a value for a context that was not accepted.")
        now = time.monotonic()
        self._until = self._until or now + self._settings.max_request_seconds
        if now > self._until:  # each unit in time, the message never: a sender who would hold a place for ever
            raise Malformed("a message that takes too long.")
        if value.is_command:
            if self._message is not None or len(self._command) + len(value.data) > _MAX_COMMAND:
                raise Malformed("a command set out of turn, or too long.")
            self._command += value.data
            if value.is_last:
                command, self._command = decode_command(bytes(self._command)), bytearray()
                self._begin(command, value.context_id, exchange)
            return
        if self._message is None or self._message[1] != value.context_id:
            raise Malformed("a data set without its command.")
        self._taken += len(value.data)
        if self._taken > 2 * self._settings.max_instance_bytes:  # what is refused is read and dropped, up to here
            raise Malformed("a data set without end.")
        if self._receiver is not None and value.data:
            self._receiver.feed(value.data)
        if value.is_last:
            self._end_message()

    def _begin(self, command: dict[str, str | int], context_id: int, exchange: Exchange) -> None:
        field = int(command.get("CommandField", -1))
        if field == CommandField.C_CANCEL_RQ:
            self._until = 0.0
            return  # nothing here takes long enough to be cancelled
        if field & 0x8000:
            raise Malformed("a response came where a request is wanted.")
        self._is_busy = True
        service = HANDLERS.get(field)
        self._message = (service, context_id, command)
        self._receiver = service.receive(exchange, command, self._contexts[context_id]) if service else None
        if command.get("CommandDataSetType", NO_DATA_SET) == NO_DATA_SET:
            self._end_message()

    def _end_message(self) -> None:
        """Answer the message in hand. Ref: PS3.7 9.3."""
        assert self._message is not None
        service, context_id, command = self._message
        status, comment = UNRECOGNIZED_OPERATION, ""
        if self._receiver is not None:
            status, comment = self._receiver.finish()
        self._receiver = self._message = None
        field = service.response if service else int(command.get("CommandField", 0)) | 0x8000
        answer: dict[str, str | int] = {
            "CommandField": field, "MessageIDBeingRespondedTo": int(command.get("MessageID", 0)),
            "CommandDataSetType": NO_DATA_SET, "Status": status,
        }
        answer |= {k: command[k] for k in ("AffectedSOPClassUID", "AffectedSOPInstanceUID") if command.get(k)}
        if comment:
            answer["ErrorComment"] = comment
        self._write(pdu.encode_data(context_id, encode_command(answer), is_command=True, max_length=self._max_length))
        self._is_busy = False
        self._until, self._taken = 0.0, 0

    def _write(self, data: bytes) -> None:
        self._wire.write(data, within=_ANSWER_SECONDS)

    def _try_write(self, data: bytes) -> None:
        try:
            self._wire.write(data, within=2.0)
        except PeerGone:
            return

    def _linger(self) -> None:
        """Let the peer close first, so that what we have just sent is not lost in a reset. Ref: PS3.8 9.2, state 13."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
            self._wire.read(wait=1.0, whole=1.0)
        except (OSError, PeerGone, LeadglassError):
            return
