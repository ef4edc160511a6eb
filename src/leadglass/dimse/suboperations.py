"""The C-STORE sub-operations of a C-MOVE or a C-GET: counted, pipelined as far as the receiver takes it, never half sent.

Ref: PS3.4 C.4.2.2, C.4.3.2; PS3.7 9.1.3, 9.1.4.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

from leadglass.access import House, InstanceRow, Selected
from leadglass.dicom.command import Command
from leadglass.dimse.exchange import Context
from leadglass.dimse.line import Line
from leadglass.dimse.status import NO_SUCH_SOP_CLASS, PROCESSING_FAILURE, SUCCESS, is_failure
from leadglass.errors import LeadglassError, Malformed, Unproven

__all__ = ["Item", "Tally", "transfer"]

_MOST: Final = 0xFFFF


@dataclass(frozen=True)
class Item:
    """One instance that is to go out, and the study under whose grant it does."""

    selected: Selected
    row: InstanceRow


@dataclass
class Tally:
    """The counts of sub-operations. Each instance stands in exactly one of the four."""

    remaining: int
    completed: int = 0
    failed: int = 0
    warning: int = 0
    failed_uids: list[str] = field(default_factory=list)
    why: str = ""  # of the last failure, for the comment
    sent: dict[str, list[int]] = field(default_factory=dict)  # study -> [instances, failed, bytes]

    def settle(self, item: Item, status: int, why: str = "") -> None:
        """Count one instance by the status of its C-STORE."""
        self.remaining -= 1
        counts = self.sent.setdefault(item.row.study_uid, [0, 0, 0])
        if is_failure(status):
            self.failed += 1
            self.failed_uids.append(item.row.sop_instance_uid)
            self.why = why or f"the receiver answers {status:#06x}"
            counts[1] += 1
            return
        if status == SUCCESS:
            self.completed += 1
        else:
            self.warning += 1
        counts[0] += 1
        counts[2] += item.row.length

    def fields(self, *, has_remaining: bool = True) -> dict[str, str | int]:
        """Return the counts as elements of a response; the last one has none that remain, unless it was cancelled."""
        found: dict[str, str | int] = {
            "NumberOfCompletedSuboperations": min(self.completed, _MOST),
            "NumberOfFailedSuboperations": min(self.failed, _MOST),
            "NumberOfWarningSuboperations": min(self.warning, _MOST),
        }
        if has_remaining:
            found["NumberOfRemainingSuboperations"] = min(self.remaining, _MOST)
        return found


def transfer(
    house: House, line: Line, contexts: Mapping[Context, int], items: deque[Item], tally: Tally, *,
    originator: tuple[str, int] | None, is_cancelled: Callable[[], bool], check: Callable[[Item], None],
) -> Iterator[None]:
    """Send `items`, taking each out of the deque as it begins; give control back after each that is settled.

    1 a context is chosen, the stored transfer syntax before others; 2 the first piece is read, so that what cannot be
    given fails alone; 3 the instance goes out; 4 its answer is counted, at the latest when the window is full.
    Args: originator: (AE title, message id) of the C-MOVE. check: before each piece; raises when the receiver may have
    no more. Raises: PeerGone, Malformed (the association is of no use; what was under way is counted as failed),
    Unproven (the asker's access has ended).
    """
    waiting: dict[int, Item] = {}

    def settle_one() -> None:
        message_id, status = line.response()
        if message_id not in waiting:
            raise Malformed("a response to nothing that was sent.")
        tally.settle(waiting.pop(message_id), status)
        if not waiting:
            line.settled()

    try:
        while items and not is_cancelled():
            item = items.popleft()
            syntax = next((s for s in house.operations.syntaxes_of(item.row)
                           if Context(item.row.sop_class_uid, s) in contexts), None)  # step 1
            if syntax is None:
                tally.settle(item, NO_SUCH_SOP_CLASS, "no transfer syntax that both sides have")
                yield
                continue
            pieces = _checked(house.operations.stream_dataset(item.selected.grant, item.row, syntax), item, check)
            try:
                first = next(pieces, b"")  # step 2
            except Unproven:
                raise
            except LeadglassError as e:
                tally.settle(item, PROCESSING_FAILURE, f"not given: {type(e).__name__.lower()}")
                yield
                continue
            message_id = line.next_id()
            waiting[message_id] = item
            line.store(  # step 3
                contexts[Context(item.row.sop_class_uid, syntax)], _command(item.row, message_id, originator),
                chain((first,), pieces), item.row.length)
            while len(waiting) >= line.window:
                settle_one()  # step 4
                yield
        while waiting:
            settle_one()
            yield
    finally:
        for item in waiting.values():
            tally.settle(item, PROCESSING_FAILURE, "the receiver did not answer")


def _checked(pieces: Iterator[bytes], item: Item, check: Callable[[Item], None]) -> Iterator[bytes]:
    for piece in pieces:
        check(item)
        yield piece


def _command(row: InstanceRow, message_id: int, originator: tuple[str, int] | None) -> Command:
    command: Command = {
        "AffectedSOPClassUID": row.sop_class_uid, "AffectedSOPInstanceUID": row.sop_instance_uid, "MessageID": message_id,
        "Priority": 0,
    }
    if originator is not None:
        command |= {"MoveOriginatorApplicationEntityTitle": originator[0], "MoveOriginatorMessageID": originator[1]}
    return command
