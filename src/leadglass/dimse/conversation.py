"""The messages of one association: commands gather, data sets pass on as they come, answers go back in order.

Between two answers of one message the conversation looks, without waiting, whether the peer has cancelled it.
Of a peer with an asynchronous window, messages that can be settled together wait for each other while more is coming
in: sixteen C-STOREs pay for one durable commit. Ref: PS3.7 6.3, 9.3, D.3.3.3.
"""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Final, NamedTuple

from leadglass.dicom.command import NO_DATA_SET, Command, CommandField, decode_command
from leadglass.dimse import pdu
from leadglass.dimse.exchange import Answer, Exchange, Receiver
from leadglass.dimse.handlers import is_known_command, service_of
from leadglass.dimse.line import Line
from leadglass.dimse.status import NO_SUCH_SOP_CLASS, UNRECOGNIZED_OPERATION, is_failure, status_of
from leadglass.dimse.wire import PeerGone, Wire
from leadglass.errors import LeadglassError, Malformed, Unproven
from leadglass.settings import Settings

__all__ = ["Conversation"]

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


class _Message(NamedTuple):
    context_id: int
    command: Command
    receiver: Any  # a Receiver
    settle: Callable[[Sequence[Any]], list[Answer]] | None  # its service's


class Conversation:
    """Steps from the first message to the release. One thread."""

    def __init__(
        self, wire: Wire, exchange: Exchange, settings: Settings, *, max_length: int, window: tuple[int, int],
        is_stopping: Callable[[], bool],
    ) -> None:
        """Args: max_length: of a P-DATA unit that the peer takes, bytes; 0 = any. window: operations that may be
        outstanding: those the peer invokes, those it performs for us.
        """
        self._wire = wire
        self._exchange = exchange
        self._settings = settings
        self._window = window[0]
        self._line = Line(wire, max_length=max_length, window=window[1], on_other=self._meanwhile)
        self._invoked: dict[int, Callable[[int | None], None]] = {}
        exchange.line, exchange.invoke = self._line, self.invoke
        self._is_stopping = is_stopping
        self._command = bytearray()
        self._message: _Message | None = None
        self._staged: list[_Message] = []  # received whole, not yet settled and answered
        self._until = 0.0  # when the message in hand must have come; 0 = there is none
        self._taken = 0  # bytes of its data set

    @property
    def is_busy(self) -> bool:
        """Whether a message is in hand."""
        return self._message is not None or bool(self._staged)

    def drop(self) -> None:
        """The association has ended: leave nothing behind of the message in hand.

        What was staged and not answered was never acknowledged; its objects are swept as unknown.
        """
        if self._message is not None:
            self._message.receiver.drop()
            self._message = None
        invoked, self._invoked = self._invoked, {}
        for then in invoked.values():
            then(None)

    def invoke(
        self, context_id: int, command: Command, data: bytes, then: Callable[[int | None], None], patience: float
    ) -> bool:
        """Send a request of our own and go on; `then` gets the status of its response, or None when none came.

        A peer that leaves within `patience` seconds is not bothered: False, and `then` is not called. Otherwise it is
        called once, in this thread, and must not raise. Raises: PeerGone.
        """
        if self._wire.wait_input(patience):
            found = self._wire.peek()
            if found is not None and found[0] in {pdu.RELEASE_RQ, pdu.ABORT}:
                return False
        message_id = self._line.next_id()
        self._line.send(context_id, command | {"MessageID": message_id}, data)
        self._invoked[message_id] = then
        return True

    def serve(self) -> str:
        """Take messages until the association ends; return how it ended.

        Raises: PeerGone, Unproven, Malformed (a fault of protocol).
        """
        idle = float(self._settings.association_idle_seconds)
        while True:
            if self._staged and not self._wire.has_input():
                self._settle()
            kind, body = self._wire.read(wait=idle, whole=idle)
            if kind == pdu.DATA:
                for value in pdu.decode_data(body):
                    self._value(value)
                if self._is_stopping() and self._message is None:
                    self._settle()
                    return "stopped"
            elif kind == pdu.RELEASE_RQ:
                return "released"
            elif kind == pdu.ABORT:
                return "aborted by peer"
            else:
                raise Malformed("a protocol data unit that has no place here.")

    def _value(self, value: pdu.Pdv) -> None:
        """Take one presentation data value."""
        if value.context_id not in self._exchange.contexts:
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
        if self._message is None or self._message.context_id != value.context_id:
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
        if field & _RESPONSE or field == CommandField.C_CANCEL_RQ:
            self._until = 0.0
            self._meanwhile(command)  # a cancel: what it cancels has been answered already
            return
        self._message = self._opened(field, command, context_id)
        if command.get("CommandDataSetType", NO_DATA_SET) == NO_DATA_SET:
            self._end_message()

    def _meanwhile(self, command: Command) -> None:
        """Take a command that is no request: a response to `invoke`, or a cancel. Raises: Malformed."""
        field = int(command.get("CommandField", -1))
        if field == CommandField.C_CANCEL_RQ:
            if self._message and command.get("MessageIDBeingRespondedTo") == self._message.command.get("MessageID"):
                self._message.receiver.cancel()
            return
        then = self._invoked.pop(int(command.get("MessageIDBeingRespondedTo", 0)), None)
        if not field & _RESPONSE or then is None or command.get("CommandDataSetType", NO_DATA_SET) != NO_DATA_SET:
            raise Malformed("a response came where a request is wanted, or a request where a response is.")
        then(int(command.get("Status", 0x0110)))

    def _opened(self, field: int, command: Command, context_id: int) -> _Message:
        """Return the message with what receives it."""
        context = self._exchange.contexts[context_id]
        service = service_of(field, context.abstract_syntax)
        named = command.get("AffectedSOPClassUID") or command.get("RequestedSOPClassUID")
        settle = None
        receiver: Receiver
        if not is_known_command(field):
            receiver = _Refusal(Answer(UNRECOGNIZED_OPERATION))
        elif service is None or named != context.abstract_syntax:  # C-ECHO's context is no way in for a data set
            receiver = _Refusal(Answer(NO_SUCH_SOP_CLASS, "no such SOP class in this context"))
        else:
            try:
                receiver, settle = service.receive(self._exchange, command, context), service.settle
            except (Unproven, PeerGone):
                raise
            except Exception as e:  # noqa: BLE001 - status.py tells errors apart
                receiver = _Refusal(Answer(*status_of(e)))
        return _Message(context_id, command, receiver, settle)

    def _feed(self, data: memoryview) -> None:
        """Pass bytes on; after a fault the rest is read and dropped, so that the association goes on."""
        assert self._message is not None
        try:
            self._message.receiver.feed(data)
        except (Unproven, PeerGone):
            raise
        except Exception as e:  # noqa: BLE001 - status.py tells errors apart
            self._message.receiver.drop()
            self._message = self._message._replace(receiver=_Refusal(Answer(*status_of(e))), settle=None)

    def _end_message(self) -> None:
        """Answer the message in hand, or let it wait for those that come right behind it."""
        assert self._message is not None
        message = self._message
        try:
            if self._window > 1 and message.settle is not None:
                message.receiver.stage()
                self._staged.append(message)
                if len(self._staged) >= self._window:
                    self._settle()
            else:
                self._settle()  # answers go in order
                self._answer(message)
        except (Unproven, PeerGone):
            raise
        except Exception as e:  # noqa: BLE001 - status.py tells errors apart
            message.receiver.drop()
            self._settle()
            self._write(message, Answer(*status_of(e)))
        self._message = None
        self._until, self._taken = 0.0, 0

    def _answer(self, message: _Message) -> None:
        """Send the answers as they are found; what goes on for them ends with them."""
        answers = message.receiver.finish()
        try:
            for answer in answers:
                self._write(message, answer)
                self._look_for_cancel()
        finally:
            if isinstance(answers, Generator):
                answers.close()

    def _settle(self) -> None:
        """Make what is staged part of the archive, all in one, and answer it."""
        staged, self._staged = self._staged, []
        if not staged or staged[0].settle is None:
            return
        try:
            answers = staged[0].settle([m.receiver for m in staged])
        except (Unproven, PeerGone):
            raise
        except Exception as e:  # noqa: BLE001 - status.py tells errors apart
            answers = [Answer(*status_of(e))] * len(staged)
        for message, answer in zip(staged, answers, strict=True):
            self._write(message, answer)

    def _look_for_cancel(self) -> None:
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
        if asked.get("CommandField") == CommandField.C_CANCEL_RQ:
            self._wire.read(wait=0.0, whole=0.0)
            self._meanwhile(asked)

    def _write(self, message: _Message, answer: Answer) -> None:
        """Send one response, with its identifier, in one go."""
        command = message.command
        self._exchange.failed += is_failure(answer.status)
        values: Command = {
            "CommandField": int(command.get("CommandField", 0)) | _RESPONSE,
            "MessageIDBeingRespondedTo": int(command.get("MessageID", 0)), "Status": answer.status,
        }
        values |= {answered: command[asked] for asked, answered in _ECHOED if command.get(asked)}
        if answer.comment:
            values["ErrorComment"] = answer.comment
        self._line.send(message.context_id, values | dict(answer.fields), answer.identifier)
