"""Which presentation contexts we take: those of the table of services; instances in any transfer syntax, kept as received.

Ref: PS3.8 9.3.3.2 (results), PS3.4 B.5, PS3.5 A.
"""

from typing import Final

from leadglass.dicom.sop_classes import STORAGE_SOP_CLASSES
from leadglass.dicom.transfer_syntaxes import EXPLICIT_LITTLE, IMPLICIT_LITTLE, TRANSFER_SYNTAXES
from leadglass.dimse.exchange import Context
from leadglass.dimse.handlers import HANDLERS
from leadglass.dimse.pdu import AssociateRequest

__all__ = ["negotiate"]

_ACCEPTED: Final = 0
_NO_ABSTRACT: Final = 3
_NO_TRANSFER: Final = 4
_PLAIN: Final = frozenset({IMPLICIT_LITTLE, EXPLICIT_LITTLE})  # for identifiers, which hold no pixels
_ABSTRACT_SYNTAXES: Final = frozenset(uid for service in HANDLERS for uid in service.sop_classes)


def negotiate(request: AssociateRequest) -> tuple[dict[int, tuple[int, str]], dict[int, Context]]:
    """Return (result of each context for the answer, accepted contexts by id).

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
    return results, accepted
