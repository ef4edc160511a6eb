"""C-STORE: the bytes of the data set go through digest and cipher as they come. Ref: PS3.7 9.1.1, PS3.4 B."""

from collections.abc import Iterator, Sequence
from typing import Any

from leadglass.access import ARCHIVE, OutcomeKind, Staged
from leadglass.dicom.command import Command
from leadglass.dicom.uids import is_valid_uid
from leadglass.dimse.exchange import Answer, Context, Exchange
from leadglass.dimse.status import OUT_OF_RESOURCES, SUCCESS, WARNING
from leadglass.errors import Malformed
from leadglass.terms import Action

__all__ = ["StoreReceiver", "settle"]


class StoreReceiver:
    """One instance on its way in."""

    def __init__(self, exchange: Exchange, command: Command, context: Context) -> None:
        """Raises: Malformed, Refused, Full, Unproven."""
        instance = str(command.get("AffectedSOPInstanceUID", ""))
        if not is_valid_uid(instance):
            raise Malformed("the command holds an instance UID that is none.")
        self.exchange = exchange
        self._house = exchange.house
        self.grant = self._house.door.enter(exchange.subject, Action.INSTANCE_STORE, ARCHIVE)
        self.staged: Staged | None = None
        self._intake: Any = self._house.operations.intake(
            self.grant, transfer_syntax=context.transfer_syntax, expected=(context.abstract_syntax, instance))

    def feed(self, data: memoryview) -> None:
        """Take the next bytes."""
        self._house.door.check(self.grant)  # a device revoked meanwhile sends no further byte
        self._intake.feed(data)

    def stage(self) -> None:
        """Put the object in its place; nothing of it is visible before it is settled. Raises: Malformed, Full, Unproven."""
        self._house.door.check(self.grant)  # before the object is ended: `drop` still finds it
        self.staged = self._intake.finish()
        self._intake = None

    def finish(self) -> Iterator[Answer]:
        """End it, make it durable, index and record it; only then success."""
        self.stage()
        yield from settle([self])

    def cancel(self) -> None:
        """A C-STORE cannot be cancelled."""

    def drop(self) -> None:
        """Leave nothing of an unfinished instance."""
        if self._intake is not None:
            self._intake.discard()
            self._intake = None


def settle(receivers: Sequence[StoreReceiver]) -> list[Answer]:
    """Index and record what was staged, in one durable commit; return one answer each, in order. Raises: what it met.

    A window of outstanding C-STOREs pays for one commit. Ref: PS3.7 D.3.3.3.
    """
    first = receivers[0]
    staged = [r.staged for r in receivers if r.staged is not None]
    house = first.exchange.house
    answers = []
    for receiver, outcome in zip(receivers, house.operations.commit(first.grant, staged), strict=True):
        if outcome.kind is OutcomeKind.FULL:
            answers.append(Answer(OUT_OF_RESOURCES, outcome.warning))
            continue
        house.door.count(first.grant, instances=1, octets=receiver.staged.length if receiver.staged else 0)
        first.exchange.stored += 1
        answers.append(Answer(WARNING, outcome.warning) if outcome.warning else Answer(SUCCESS))
    return answers
