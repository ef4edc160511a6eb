"""The DIMSE services as a table: command and SOP classes -> Action and receiver. A guard test walks it.

Negotiation accepts the SOP classes that stand here, and no others.
"""

from collections.abc import Iterator
from typing import Final

from leadglass.access import ARCHIVE
from leadglass.dicom.command import Command, CommandField
from leadglass.dicom.sop_classes import (
    FIND_SOP_CLASSES,
    GET_SOP_CLASSES,
    MOVE_SOP_CLASSES,
    STORAGE_COMMITMENT,
    STORAGE_SOP_CLASSES,
    VERIFICATION,
)
from leadglass.dimse.commitment import CommitmentReceiver
from leadglass.dimse.exchange import Answer, Context, Exchange, Identifier, Service
from leadglass.dimse.find import FIND_EXTENDED, FindReceiver
from leadglass.dimse.retrieval import GetReceiver, MoveReceiver
from leadglass.dimse.status import SUCCESS
from leadglass.dimse.store import StoreReceiver, settle
from leadglass.terms import Action

__all__ = ["HANDLERS", "is_known_command", "service_of"]


class EchoReceiver(Identifier):
    """C-ECHO; a data set, which it must not have, is dropped. Ref: PS3.7 9.1.5."""

    def __init__(self, exchange: Exchange, _command: Command, _context: Context) -> None:
        super().__init__()
        self._exchange = exchange

    def finish(self) -> Iterator[Answer]:
        """Answer."""
        self._exchange.house.door.enter(self._exchange.subject, Action.DICOM_VERIFY, ARCHIVE)
        yield Answer(SUCCESS)


_KEPT_WHOLE: Final = bytes((2, 0, 3, 0, 0, 0))  # level 2 (full), signatures kept (level 3), nothing is coerced
_RELATIONAL: Final = bytes((1,))  # a level's own key is enough, those above it may be left out. Ref: PS3.4 C.5.2.1
HANDLERS: Final[tuple[Service, ...]] = (
    Service(command=CommandField.C_ECHO_RQ, action=Action.DICOM_VERIFY, receive=EchoReceiver,
            sop_classes={VERIFICATION: "Verification"}),
    Service(command=CommandField.C_STORE_RQ, action=Action.INSTANCE_STORE, receive=StoreReceiver,
            sop_classes=STORAGE_SOP_CLASSES, extended=_KEPT_WHOLE, settle=settle),
    Service(command=CommandField.C_FIND_RQ, action=Action.STUDY_SEARCH, receive=FindReceiver,
            sop_classes=FIND_SOP_CLASSES, extended=FIND_EXTENDED),
    Service(command=CommandField.C_MOVE_RQ, action=Action.STUDY_SEND, receive=MoveReceiver,
            sop_classes=MOVE_SOP_CLASSES, extended=_RELATIONAL),
    Service(command=CommandField.C_GET_RQ, action=Action.STUDY_READ, receive=GetReceiver,
            sop_classes=GET_SOP_CLASSES, extended=_RELATIONAL),
    Service(command=CommandField.N_ACTION_RQ, action=Action.INSTANCE_COMMIT, receive=CommitmentReceiver,
            sop_classes={STORAGE_COMMITMENT: "Storage Commitment Push Model"}),
)
_BY_CLASS: Final = {(service.command, uid): service for service in HANDLERS for uid in service.sop_classes}
_COMMANDS: Final = frozenset(service.command for service in HANDLERS)


def service_of(command: int, sop_class: str) -> Service | None:
    """Return the row for a command in a context of `sop_class`, if there is one."""
    return _BY_CLASS.get((command, sop_class))


def is_known_command(command: int) -> bool:
    """Return whether any row has the command."""
    return command in _COMMANDS
