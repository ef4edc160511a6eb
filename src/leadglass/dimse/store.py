"""C-STORE: the bytes of the data set go through digest and cipher as they come. Ref: PS3.7 9.1.1, PS3.4 B."""

from collections.abc import Iterator
from typing import Any

from leadglass.access import ARCHIVE, OutcomeKind
from leadglass.dicom.command import Command
from leadglass.dicom.uids import is_valid_uid
from leadglass.dimse.exchange import Answer, Context, Exchange
from leadglass.dimse.status import OUT_OF_RESOURCES, SUCCESS, WARNING
from leadglass.errors import Malformed
from leadglass.terms import Action

__all__ = ["StoreReceiver"]


class StoreReceiver:
    """One instance on its way in."""

    def __init__(self, exchange: Exchange, command: Command, context: Context) -> None:
        """Raises: Malformed, Refused, Full, Unproven."""
        instance = str(command.get("AffectedSOPInstanceUID", ""))
        if not is_valid_uid(instance):
            raise Malformed("the command holds an instance UID that is none.")
        self._exchange = exchange
        self._house = exchange.house
        self._grant = self._house.door.enter(exchange.subject, Action.INSTANCE_STORE, ARCHIVE)
        self._intake: Any = self._house.operations.intake(
            self._grant, transfer_syntax=context.transfer_syntax, expected=(context.abstract_syntax, instance))

    def feed(self, data: memoryview) -> None:
        """Take the next bytes."""
        self._house.door.check(self._grant)  # a device revoked meanwhile sends no further byte
        self._intake.feed(data)

    def finish(self) -> Iterator[Answer]:
        """Make it durable, index and record it; only then success."""
        self._house.door.check(self._grant)  # before the object is made durable: `drop` still finds it
        staged = self._intake.finish()
        self._intake = None
        (outcome,) = self._house.operations.commit(self._grant, [staged])
        if outcome.kind is OutcomeKind.FULL:
            yield Answer(OUT_OF_RESOURCES, outcome.warning)
            return
        self._house.door.count(self._grant, instances=1, octets=staged.length)
        self._exchange.stored += 1
        yield Answer(WARNING, outcome.warning) if outcome.warning else Answer(SUCCESS)

    def cancel(self) -> None:
        """A C-STORE cannot be cancelled."""

    def drop(self) -> None:
        """Leave nothing of an unfinished instance."""
        if self._intake is not None:
            self._intake.discard()
            self._intake = None
