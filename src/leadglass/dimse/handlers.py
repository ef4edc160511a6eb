"""DIMSE services as a table: command -> Action and receiver. A guard test walks it.

A receiver takes the data set of one message, piece by piece, and says at the end which status goes back.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from leadglass.access import ARCHIVE, House, OutcomeKind
from leadglass.dicom.command import CommandField
from leadglass.dicom.sop_classes import VERIFICATION
from leadglass.dicom.uids import is_valid_uid
from leadglass.dimse.negotiation import Context
from leadglass.dimse.status import DUPLICATE, NO_SUCH_SOP_CLASS, SUCCESS, status_of
from leadglass.errors import Malformed, Unproven
from leadglass.terms import Action, Grant, Subject

__all__ = ["HANDLERS", "Exchange", "Receiver", "Service"]


@dataclass
class Exchange:
    """What the messages of one association share."""

    house: House
    subject: Subject
    stored: int = 0
    failed: int = 0


class Receiver(Protocol):
    """One message in the making."""

    def feed(self, data: memoryview) -> None:
        """Take the next bytes of the data set. Never raises but Unproven: a fault is kept for `finish`."""

    def finish(self) -> tuple[int, str]:
        """Return (status, error comment). Raises: Unproven, when the device's access has ended."""

    def drop(self) -> None:
        """The message will not be finished: leave nothing behind."""


class EchoReceiver:
    """C-ECHO. Ref: PS3.7 9.1.5."""

    def __init__(self, exchange: Exchange, command: dict[str, str | int], context: Context) -> None:
        self._exchange = exchange
        self._is_other = command.get("AffectedSOPClassUID") != VERIFICATION or context[0] != VERIFICATION

    def feed(self, data: memoryview) -> None:
        """A C-ECHO has no data set; what comes is dropped."""

    def finish(self) -> tuple[int, str]:
        """Answer."""
        if self._is_other:
            return NO_SUCH_SOP_CLASS, "no such SOP class in this context"
        try:
            self._exchange.house.door.enter(self._exchange.subject, Action.DICOM_VERIFY, ARCHIVE)
        except Unproven:
            raise
        except Exception as e:  # noqa: BLE001 - status.py tells errors apart
            return status_of(e)
        return SUCCESS, ""

    def drop(self) -> None:
        """Nothing was begun."""


class StoreReceiver:
    """C-STORE: the bytes of the data set go through digest and cipher as they come. Ref: PS3.7 9.1.1, PS3.4 B."""

    def __init__(self, exchange: Exchange, command: dict[str, str | int], context: Context) -> None:
        sop_class = str(command.get("AffectedSOPClassUID", ""))
        instance = str(command.get("AffectedSOPInstanceUID", ""))
        self._exchange = exchange
        self._intake: Any = None
        self._error: Exception | None = None
        self._is_other = sop_class != context[0] or context[0] == VERIFICATION
        self._grant: Grant | None = None
        if self._is_other:  # C-ECHO's context is no way in for a data set
            return
        try:
            if not is_valid_uid(instance):
                raise Malformed("the command holds an instance UID that is none.")
            house = exchange.house
            self._grant = house.door.enter(exchange.subject, Action.INSTANCE_STORE, ARCHIVE)
            self._intake = house.operations.intake(
                self._grant, transfer_syntax=context[1], expected=(sop_class, instance))
        except Unproven:
            raise
        except Exception as e:  # noqa: BLE001 - told to the sender by `finish`
            self._error = e

    def feed(self, data: memoryview) -> None:
        """Take the next bytes; after a fault the rest is read and dropped, so that the association goes on."""
        if self._intake is None or self._grant is None:
            return
        try:
            self._exchange.house.door.check(self._grant)  # a device revoked meanwhile sends no further byte
            self._intake.feed(data)
        except Unproven:
            self.drop()
            raise
        except Exception as e:  # noqa: BLE001 - told to the sender by `finish`
            self._error = e
            self.drop()

    def finish(self) -> tuple[int, str]:
        """Make it durable, index and record it; only then success."""
        if self._is_other:
            self._exchange.failed += 1
            return NO_SUCH_SOP_CLASS, "no such SOP class in this context"
        if self._intake is None or self._grant is None:
            self._exchange.failed += 1
            return status_of(self._error or Malformed("nothing was received."))
        house = self._exchange.house
        try:
            house.door.check(self._grant)  # before the object is made durable: `drop` still finds it
            staged = self._intake.finish()
            self._intake = None
            (outcome,) = house.operations.commit(self._grant, [staged])
        except Unproven:
            self.drop()
            raise
        except Exception as e:  # noqa: BLE001 - status.py tells errors apart
            self.drop()
            self._exchange.failed += 1
            return status_of(e)
        if outcome.kind is OutcomeKind.CONFLICT:
            self._exchange.failed += 1
            return DUPLICATE, "this SOP Instance UID is stored with other content"
        house.door.count(self._grant, instances=1, octets=staged.length)
        self._exchange.stored += 1
        return SUCCESS, ""

    def drop(self) -> None:
        """Leave nothing of an unfinished instance."""
        if self._intake is not None:
            self._intake.discard()
            self._intake = None


@dataclass(frozen=True, kw_only=True)
class Service:
    """One row of the table."""

    action: Action
    response: int
    receive: Callable[[Exchange, dict[str, str | int], Context], Receiver]


HANDLERS: Final[dict[int, Service]] = {
    CommandField.C_ECHO_RQ: Service(
        action=Action.DICOM_VERIFY, response=CommandField.C_ECHO_RSP, receive=EchoReceiver),
    CommandField.C_STORE_RQ: Service(
        action=Action.INSTANCE_STORE, response=CommandField.C_STORE_RSP, receive=StoreReceiver),
}
