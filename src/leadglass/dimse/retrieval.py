"""C-MOVE and C-GET: the same questions, the same counts; they differ in where the instances go.

Ref: PS3.4 C.4.2, C.4.3; PS3.7 9.1.3, 9.1.4. Statuses: docs/reference/statuses.md.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Final

from leadglass.access import Destination, Selected
from leadglass.dicom.command import Command
from leadglass.dicom.references import Keys, decode_keys, encode_failed
from leadglass.dicom.sop_classes import PATIENT_ROOT
from leadglass.dicom.transfer_syntaxes import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from leadglass.dimse.exchange import Answer, Context, Exchange, Identifier
from leadglass.dimse.requestor import MAX_CONTEXTS, association
from leadglass.dimse.status import (
    CANCELLED,
    DESTINATION_UNKNOWN,
    NONE_DONE,
    NOT_AUTHORIZED,
    NOT_THIS_INSTANCE,
    PENDING,
    PROCESSING_FAILURE,
    SOME_FAILED,
    SUCCESS,
)
from leadglass.dimse.suboperations import Item, Tally, transfer
from leadglass.dimse.wire import PeerGone, Severed
from leadglass.errors import LeadglassError, Malformed, Missing, Refused, Unproven
from leadglass.terms import Action

__all__ = ["GetReceiver", "MoveReceiver"]

_MOST_BREAKS: Final = 3  # associations that may break before the rest is given up
_PLAIN: Final = (EXPLICIT_LITTLE, IMPLICIT_LITTLE)
_UNIQUE: Final = {"PATIENT": "patient_id", "STUDY": "study_uids", "SERIES": "series_uids", "IMAGE": "instance_uids"}


class Retrieval(Identifier, ABC):
    """One C-MOVE or C-GET."""

    def __init__(self, exchange: Exchange, command: Command, context: Context) -> None:
        super().__init__()
        self._exchange = exchange
        self._house = exchange.house
        self._command = command
        self._context = context

    def finish(self) -> Iterator[Answer]:
        """Send what is asked for: pending answers with the counts, then how it ended."""
        keys = decode_keys(self.data, self._context.transfer_syntax)
        key = _UNIQUE.get(keys.level)
        is_known = keys.level != "PATIENT" or self._context.abstract_syntax.startswith(PATIENT_ROOT)
        if key is None or not is_known or not getattr(keys, key):
            yield Answer(NOT_THIS_INSTANCE, "the identifier lacks its level, or the unique key of it")
            return
        yield from self._answers(keys)

    @abstractmethod
    def _answers(self, keys: Keys) -> Iterator[Answer]:
        """Select what the keys name, and give the answers of sending it."""

    @abstractmethod
    def _ship(self, items: deque[Item], tally: Tally) -> Generator[None]:
        """Send the items, a step at a time, and keep the tally."""

    def _run(self, selected: list[Selected]) -> Iterator[Answer]:
        """Give the answers of the sub-operations on what was selected."""
        items = deque(Item(s, row) for s in selected for row in s.rows)
        tally = Tally(remaining=len(items))
        if items:
            yield Answer(PENDING, fields=tally.fields())
            with closing(self._ship(items, tally)) as steps:
                for _ in steps:
                    yield Answer(PENDING, fields=tally.fields())
        yield self._final(tally)

    def _final(self, tally: Tally) -> Answer:
        """Return the last answer. Ref: PS3.4 tables C.4-2, C.4-3."""
        if tally.remaining:
            status, comment = CANCELLED, "cancelled"
        elif not tally.failed and not tally.warning:
            return Answer(SUCCESS, fields=tally.fields(has_remaining=False))
        else:
            status, comment = SOME_FAILED if tally.completed or tally.warning else NONE_DONE, tally.why
        failed = encode_failed(tally.failed_uids, self._context.transfer_syntax) if tally.failed else None
        return Answer(status, comment[:64], failed, tally.fields(has_remaining=bool(tally.remaining)))


class MoveReceiver(Retrieval):
    """C-MOVE: to a registered device, over an association of our own."""

    def __init__(self, exchange: Exchange, command: Command, context: Context) -> None:
        super().__init__(exchange, command, context)
        self._begun: list[Selected] = []
        self._destination: Destination | None = None

    def _answers(self, keys: Keys) -> Iterator[Answer]:
        sending = self._house.sending
        selected = sending.select(self._exchange.subject, keys, Action.STUDY_SEND)
        try:
            self._destination = sending.receiver(str(self._command.get("MoveDestination", "")))
        except Missing:
            yield Answer(DESTINATION_UNKNOWN, "the destination is not registered to receive images")
            return
        yield from self._run(selected)

    def _ship(self, items: deque[Item], tally: Tally) -> Generator[None]:
        """Send in as many associations as the contexts need, and again after a break; record what reached it."""
        assert self._destination is not None
        breaks = 0
        allowed = self._allowed(items, tally)
        try:
            while allowed and not self.is_cancelled and breaks < _MOST_BREAKS:
                batch, proposals = self._batch(allowed)
                size = len(batch)
                try:
                    with association(self._house, self._destination, proposals) as requestor:
                        yield from transfer(
                            self._house, requestor.line, requestor.contexts, batch, tally,
                            originator=(self._exchange.subject.name, int(self._command.get("MessageID", 0))),
                            is_cancelled=lambda: self.is_cancelled, check=self._check)
                except Unproven:
                    raise  # the asker's: not a byte more
                except (LeadglassError, PeerGone) as e:
                    breaks += 1
                    tally.why = tally.why or _words(e)
                    if len(batch) == size:  # it came to nothing: it would again
                        breaks = _MOST_BREAKS
                allowed.extendleft(reversed(batch))
            if not self.is_cancelled:
                why = tally.why
                for item in allowed:
                    tally.settle(item, PROCESSING_FAILURE, why)
        finally:
            for selected in self._begun:
                sent, failed, octets = tally.sent.get(selected.grant.resource.id, (0, 0, 0))
                self._house.sending.end(selected, self._destination, sent=sent, failed=failed, octets=octets)

    def _allowed(self, items: deque[Item], tally: Tally) -> deque[Item]:
        """Return what the destination may have; each study is recorded with it before its first byte."""
        assert self._destination is not None
        allowed: deque[Item] = deque()
        studies: dict[str, bool] = {}
        for item in items:
            study = item.row.study_uid
            if study not in studies:
                try:
                    self._house.sending.begin(item.selected, self._destination)
                    self._begun.append(item.selected)
                    studies[study] = True
                except Refused:
                    studies[study] = False
            if studies[study]:
                allowed.append(item)
            else:
                tally.settle(item, NOT_AUTHORIZED, "the destination may not have it")
        return allowed

    def _batch(self, items: deque[Item]) -> tuple[deque[Item], list[tuple[str, tuple[str, ...]]]]:
        """Take from `items` what fits the contexts of one association; return it, and what is proposed for it.

        Each SOP class is proposed with each stored syntax in a context of its own, then plain, then in whatever else it
        can be given: a receiver that takes what is stored gets what is stored.
        """
        batch: deque[Item] = deque()
        stored: dict[tuple[str, str], None] = {}
        others: dict[str, dict[str, None]] = {}
        while items:
            row = items[0].row
            new = ((row.sop_class_uid, row.transfer_syntax_uid) not in stored) + 2 * (row.sop_class_uid not in others)
            if len(stored) + 2 * len(others) + new > MAX_CONTEXTS:
                break
            stored[row.sop_class_uid, row.transfer_syntax_uid] = None
            others.setdefault(row.sop_class_uid, {}).update(dict.fromkeys(self._house.operations.syntaxes_of(row)))
            batch.append(items.popleft())
        proposals: list[tuple[str, tuple[str, ...]]] = [(sop_class, (syntax,)) for sop_class, syntax in stored]
        for sop_class, syntaxes in others.items():
            rest = tuple(s for s in syntaxes if s not in _PLAIN and (sop_class, s) not in stored)
            proposals.append((sop_class, _PLAIN))
            proposals += [(sop_class, rest[:64])] if rest else []
        return batch, proposals

    def _check(self, _item: Item) -> None:
        """Stop when the destination has been revoked meanwhile."""
        assert self._destination is not None
        self._house.sending.check(self._destination)


class GetReceiver(Retrieval):
    """C-GET: to the asker itself, over the association that is there."""

    def _answers(self, keys: Keys) -> Iterator[Answer]:
        yield from self._run(self._house.sending.select(self._exchange.subject, keys, Action.STUDY_READ))

    def _ship(self, items: deque[Item], tally: Tally) -> Generator[None]:
        exchange = self._exchange
        assert exchange.line is not None
        contexts = {
            context: context_id for context_id, context in exchange.contexts.items()
            if exchange.roles.get(context.abstract_syntax, (True, False))[1]}  # the asker has said that it takes them
        try:
            yield from transfer(
                self._house, exchange.line, contexts, items, tally, originator=None,
                is_cancelled=lambda: self.is_cancelled, check=lambda _: None)
        except Malformed as e:
            raise Severed(str(e)) from e


def _words(error: Exception) -> str:
    """Return why an association broke, in the 64 characters of a comment."""
    if isinstance(error, PeerGone):
        return f"the destination {error}"[:64]
    if isinstance(error, Malformed):
        return "the destination breaks the protocol"
    return str(error).replace("\\", "/")[:64]

