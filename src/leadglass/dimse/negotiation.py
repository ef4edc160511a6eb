"""What we agree to: the SOP classes of the table of services, instances in any transfer syntax, kept as received.

Ref: PS3.8 9.3.3.2 (results), PS3.7 D.3.3.3 (window), D.3.3.4 (roles), D.3.3.5 (extended), PS3.4 B.5, C.5, PS3.5 A.
"""

from typing import Final

from leadglass.dicom.command import CommandField
from leadglass.dicom.sop_classes import GET_SOP_CLASSES, STORAGE_SOP_CLASSES
from leadglass.dicom.transfer_syntaxes import EXPLICIT_LITTLE, IMPLICIT_LITTLE, TRANSFER_SYNTAXES
from leadglass.dimse.associate import Agreement, AssociateRequest
from leadglass.dimse.exchange import Context
from leadglass.dimse.handlers import HANDLERS

__all__ = ["WINDOW", "negotiate"]

WINDOW: Final = 16  # operations that may be outstanding: what one durable commit then pays for
_ACCEPTED: Final = 0
_NO_ABSTRACT: Final = 3
_NO_TRANSFER: Final = 4
_PLAIN: Final = frozenset({IMPLICIT_LITTLE, EXPLICIT_LITTLE})  # for identifiers, which hold no pixels
_ABSTRACT_SYNTAXES: Final = frozenset(uid for service in HANDLERS for uid in service.sop_classes)
_EXTENDED: Final = {uid: service.extended for service in HANDLERS for uid in service.sop_classes if service.extended}
_STORES: Final = frozenset(
    uid for service in HANDLERS if service.command == CommandField.C_STORE_RQ for uid in service.sop_classes)


def negotiate(request: AssociateRequest) -> tuple[Agreement, dict[int, Context]]:
    """Return (what the answer says, accepted contexts by id).

    Of the transfer syntaxes that a peer proposes in one context, the first that we know: its own preference.
    """
    results: dict[int, tuple[int, str]] = {}
    accepted: dict[int, Context] = {}
    for proposal in request.proposals:
        if proposal.abstract_syntax not in _ABSTRACT_SYNTAXES:
            results[proposal.id] = (_NO_ABSTRACT, IMPLICIT_LITTLE)
            continue
        takes = TRANSFER_SYNTAXES if proposal.abstract_syntax in STORAGE_SOP_CLASSES else _PLAIN
        known = [uid for uid in proposal.transfer_syntaxes if uid in takes]
        if not known:
            results[proposal.id] = (_NO_TRANSFER, IMPLICIT_LITTLE)
            continue
        results[proposal.id] = (_ACCEPTED, known[0])
        accepted[proposal.id] = Context(proposal.abstract_syntax, known[0])
    classes = {context.abstract_syntax for context in accepted.values()}
    is_get = bool(classes & set(GET_SOP_CLASSES))
    agreement = Agreement(
        results=results, window=_window(request.window, is_get=is_get),
        # Each proposed role is answered. Who fetches by C-GET is the SCP of what comes; nobody else is an SCP here.
        roles={uid: (scu, scp and is_get and uid in _STORES) for uid, (scu, scp) in request.roles.items() if uid in classes},
        extended={uid: _extended(uid, asked) for uid, asked in request.extended.items() if uid in classes & set(_EXTENDED)},
    )
    return agreement, accepted


def _window(asked: tuple[int, int] | None, *, is_get: bool) -> tuple[int, int] | None:
    """Return how many operations may be outstanding, each way; 0 in a proposal is without limit.

    Who fetches by C-GET asks one thing at a time: its own answers come in between.
    """
    if asked is None:
        return None
    invoked, performed = (min(n or WINDOW, WINDOW) for n in asked)
    return 1 if is_get else invoked, performed


def _extended(uid: str, asked: bytes) -> bytes:
    """Return byte by byte what we do of what is asked: for query/retrieve no more than that, for storage what is so."""
    own = _EXTENDED[uid]
    if uid in _STORES:
        return own[: len(asked)]
    return bytes(min(a, b) for a, b in zip(asked, own.ljust(len(asked), b"\x00"), strict=False))
