"""The messages of one association: commands gather, data sets pass on as they come, answers go back in order.

Between two answers of one message the conversation looks, without waiting, whether the peer has cancelled it.
Ref: PS3.7 6.3, 9.3.
"""

import time
from collections.abc import Callable, Iterator
from typing import Final

from leadglass.dicom.command import HAS_DATA_SET, NO_DATA_SET, Command, CommandField, decode_command, encode_command
from leadglass.dimse import pdu
from leadglass.dimse.exchange import Answer, Context, Exchange, Receiver
from leadglass.dimse.handlers import is_known_command, service_of
from leadglass.dimse.status import NO_SUCH_SOP_CLASS, UNRECOGNIZED_OPERATION, is_failure, status_of
from leadglass.dimse.wire import PeerGone, Wire
from leadglass.errors import LeadglassError, Malformed, Unproven
from leadglass.settings import Settings

__all__ = ["Conversation"]

_ANSWER_SECONDS: Final = 20.0
_MAX_COMMAND: Final = 65536
_RESPONSE: Final = 0x8000
_ECHOED: Final = (  # what a response repeats of its request, and under which name
    ("AffectedSOPClassUID", "AffectedSOPClassUID"), ("AffectedSOPInstanceUID", "AffectedSOPInstanceUID"),
    ("RequestedSOPClassUID", "AffectedSOPClassUID"), ("RequestedSOPInstanceUID", "AffectedSOPInstanceUID"),
    ("ActionTypeID", "ActionTypeID"),
)


class _Refusal:
    """Receives a message that was turned down, so that the association goes on."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def feed(self, data: memoryview) -> None:
        """Drop it."""

    def finish(self) -> Iterator[Answer]:
        """Say why."""
        yield self._answer

    def cancel(self) -> None:
        """Nothing goes on."""

    def drop(self) -> None:
        """Nothing was begun."""


class Conversation:
    """Steps from the first message to the release. One thread."""

    def __init__(
        self, wire: Wire, exchange: Exchange, contexts: dict[int, Context], settings: Settings, *, max_length: int,
        is_stopping: Callable[[], bool],
    ) -> None:
        """Args: max_length: of a P-DATA unit that the peer takes, bytes; 0 = any."""
        self._wire = wire
        self._exchange = exchange
        self._contexts = contexts
        self._settings = settings
        self._max_length = max_length
        self._is_stopping = is_stopping
        self._command = bytearray()
        self._message: tuple[int, Command, Receiver] | None = None  # context id, command, receiver
        self._until = 0.0  # when the message in hand must have come; 0 = there is none
        self._taken = 0  # bytes of its data set

    @property
    def is_busy(self) -> bool:
        """Whether a message is in hand."""
        return self._message is not None

    def drop(self) -> None:
        """The association has ended: leave nothing behind of the message in hand."""
        if self._message is not None:
            self._message[2].drop()
            self._message = None

    def serve(self) -> str:
        """Take messages until the association ends; return how it ended.

        Raises: PeerGone, Unproven, Malformed (a fault of protocol).
        """
        idle = float(self._settings.association_idle_seconds)
        while True:
            kind, body = self._wire.read(wait=idle, whole=idle)
            if kind == pdu.DATA:
                for value in pdu.decode_data(body):
                    self._value(value)
                if self._is_stopping() and self._message is None:
                    return "stopped"
            elif kind == pdu.RELEASE_RQ:
                return "released"
            elif kind == pdu.ABORT:
                return "aborted by peer"
            else:
                raise Malformed("a protocol data unit that has no place here.")

    def _value(self, value: pdu.Pdv) -> None:
        """Take one presentation data value."""
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
                self._begin(command, value.context_id)
            return
        if self._message is None or self._message[0] != value.context_id:
            raise Malformed("a data set without its command.")
        self._taken += len(value.data)
        if self._taken > 2 * self._settings.max_instance_bytes:  # what is refused is read and dropped, up to here
            raise Malformed("a data set without end.")
        if value.data:
            self._feed(value.data)
        if value.is_last:
            self._end_message()

    def _begin(self, command: Command, context_id: int) -> None:
        field = int(command.get("CommandField", -1))
        if field == CommandField.C_CANCEL_RQ:
            self._until = 0.0
            return  # what it cancels has been answered already
        if field & _RESPONSE:
            raise Malformed("a response came where a request is wanted.")
        self._message = (context_id, command, self._receiver(field, command, self._contexts[context_id]))
        if command.get("CommandDataSetType", NO_DATA_SET) == NO_DATA_SET:
            self._end_message()

    def _receiver(self, field: int, command: Command, context: Context) -> Receiver:
        if not is_known_command(field):
            return _Refusal(Answer(UNRECOGNIZED_OPERATION))
        service = service_of(field, context.abstract_syntax)
        named = command.get("AffectedSOPClassUID") or command.get("RequestedSOPClassUID")
        if service is None or named != context.abstract_syntax:  # C-ECHO's context is no way in for a data set
            return _Refusal(Answer(NO_SUCH_SOP_CLASS, "no such SOP class in this context"))
        try:
            return service.receive(self._exchange, command, context)
        except (Unproven, PeerGone):
            raise
        except Exception as e:  # noqa: BLE001 - status.py tells errors apart
            return _Refusal(Answer(*status_of(e)))

    def _feed(self, data: memoryview) -> None:
        """Pass bytes on; after a fault the rest is read and dropped, so that the association goes on."""
        assert self._message is not None
        context_id, command, receiver = self._message
        try:
            receiver.feed(data)
        except (Unproven, PeerGone):
            raise
        except Exception as e:  # noqa: BLE001 - status.py tells errors apart
            receiver.drop()
            self._message = (context_id, command, _Refusal(Answer(*status_of(e))))

    def _end_message(self) -> None:
        """Answer the message in hand."""
        assert self._message is not None
        context_id, command, receiver = self._message
        try:
            for answer in receiver.finish():
                self._write(context_id, command, answer)
                self._look_for_cancel(command, receiver)
        except (Unproven, PeerGone):
            raise
        except Exception as e:  # noqa: BLE001 - status.py tells errors apart
            receiver.drop()
            self._write(context_id, command, Answer(*status_of(e)))
        self._message = None
        self._until, self._taken = 0.0, 0

    def _look_for_cancel(self, command: Command, receiver: Receiver) -> None:
        """Tell the receiver when the peer has sent a C-CANCEL for its message. Never waits. Ref: PS3.7 9.3.2.3.

        What else stands there is left for later: with an asynchronous window the next request may have come.
        """
        found = self._wire.peek()
        if found is None:
            return
        kind, body = found
        if kind == pdu.ABORT:
            raise PeerGone("has aborted")
        if kind != pdu.DATA:
            return
        values = list(pdu.decode_data(body))
        if not all(v.is_command for v in values) or not values[-1].is_last:
            return
        try:
            asked = decode_command(b"".join(bytes(v.data) for v in values))
        except LeadglassError:
            return  # it is read again in its turn, and refused there
        if asked.get("CommandField") != CommandField.C_CANCEL_RQ:
            return
        self._wire.read(wait=0.0, whole=0.0)
        if asked.get("MessageIDBeingRespondedTo") == command.get("MessageID"):
            receiver.cancel()

    def _write(self, context_id: int, command: Command, answer: Answer) -> None:
        """Send one response, with its identifier, in one go."""
        self._exchange.failed += is_failure(answer.status)
        values: Command = {
            "CommandField": int(command.get("CommandField", 0)) | _RESPONSE,
            "MessageIDBeingRespondedTo": int(command.get("MessageID", 0)),
            "CommandDataSetType": NO_DATA_SET if answer.identifier is None else HAS_DATA_SET, "Status": answer.status,
        }
        values |= {answered: command[asked] for asked, answered in _ECHOED if command.get(asked)}
        if answer.comment:
            values["ErrorComment"] = answer.comment
        values |= answer.fields
        data = pdu.encode_data(context_id, encode_command(values), is_command=True, max_length=self._max_length)
        if answer.identifier is not None:
            data += pdu.encode_data(context_id, answer.identifier, is_command=False, max_length=self._max_length)
        self._wire.write(data, within=_ANSWER_SECONDS)
