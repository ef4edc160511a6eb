"""What a DIMSE service is made of: Service (a row of the table), Receiver (one message), Answer (one response).

A new service is one file with a Receiver, and one line in handlers.py. A receiver takes the data set of one message,
piece by piece, then gives its answers one by one; between two answers the conversation looks for C-CANCEL.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

from leadglass.access import House
from leadglass.dicom.command import Command
from leadglass.dimse.line import Line
from leadglass.errors import Malformed
from leadglass.terms import Action, Subject

__all__ = ["MAX_IDENTIFIER", "Answer", "Context", "Exchange", "Identifier", "Receiver", "Service"]

MAX_IDENTIFIER: Final = 2**20  # bytes of a query's or retrieve's identifier


class Context(NamedTuple):
    """A presentation context as agreed."""

    abstract_syntax: str
    transfer_syntax: str


@dataclass(frozen=True)
class Answer:
    """One response. `fields` go into its command set by keyword; `identifier` is in the context's transfer syntax."""

    status: int
    comment: str = ""  # at most 64 characters, never a value of a data set
    identifier: bytes | None = None
    fields: Mapping[str, str | int] = field(default_factory=dict)


@dataclass
class Exchange:
    """What the messages of one association share."""

    house: House
    subject: Subject
    contexts: Mapping[int, Context] = field(default_factory=dict)
    roles: Mapping[str, tuple[bool, bool]] = field(default_factory=dict)  # as agreed: the peer is (SCU, SCP)
    extended: Mapping[str, bytes] = field(default_factory=dict)  # SOP class -> what was agreed. Ref: PS3.7 D.3.3.5
    line: Line | None = None  # for operations that we invoke on the same association
    invoke: "Callable[[int, Command, bytes, Callable[[int | None], None], float], bool] | None" = None  # Conversation.invoke
    stored: int = 0
    failed: int = 0


class Receiver(Protocol):
    """One message in the making.

    Whatever `feed` and `finish` raise becomes a status, by status.py, and the association goes on; only Unproven (the
    asker's access has ended) and PeerGone end it.
    """

    def feed(self, data: memoryview) -> None:
        """Take the next bytes of the data set; the view is good until this returns."""

    def finish(self) -> Iterator[Answer]:
        """Give the answers: pending ones, then the final one. The data set is whole."""

    def cancel(self) -> None:
        """The asker wants no more: `finish` ends soon, with a final answer that says so. Ref: PS3.7 9.3.2.3."""

    def drop(self) -> None:
        """The message will not be finished: leave nothing behind."""


class Identifier:
    """A receiver's part that gathers a small data set, up to its limit."""

    limit = MAX_IDENTIFIER

    def __init__(self) -> None:
        self.data = bytearray()
        self.is_cancelled = False

    def feed(self, data: memoryview) -> None:
        """Take the next bytes. Raises: Malformed."""
        if len(self.data) + len(data) > self.limit:
            raise Malformed(f"a data set larger than {self.limit} bytes.")
        self.data += data

    def cancel(self) -> None:
        """Remember it; `finish` looks at `is_cancelled` before each answer."""
        self.is_cancelled = True

    def drop(self) -> None:
        """Nothing was begun."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """One row of the table: the command, the SOP classes that it is defined for, and what is done with it."""

    command: int
    action: Action
    sop_classes: Mapping[str, str]  # UID -> name: these abstract syntaxes are accepted
    receive: Callable[[Exchange, Command, Context], Receiver]
    extended: bytes = b""  # service class application information: what we do of each. Ref: PS3.4 B.3.1, C.5
    settle: "Callable[[Sequence[Any]], list[Answer]] | None" = None  # answers several receivers at once: PS3.7 D.3.3.3
