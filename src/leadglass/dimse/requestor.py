"""Associations that we open: propose, send, release. The socket comes from the door's side; all else is sans-I/O.

Whatever answers is untrusted: each wait is bounded, each unit is checked, and a fault ends this association alone.
"""

import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from leadglass.access import Destination, House
from leadglass.dicom.command import CommandField
from leadglass.dicom.sop_classes import VERIFICATION
from leadglass.dicom.transfer_syntaxes import IMPLICIT_LITTLE
from leadglass.dimse import pdu
from leadglass.dimse.associate import AssociateRequest, Proposal, decode_accept, encode_request
from leadglass.dimse.exchange import Context
from leadglass.dimse.line import ANSWER_SECONDS, Line
from leadglass.dimse.wire import PeerGone, Wire
from leadglass.errors import Busy, LeadglassError, Malformed, Refused
from leadglass.terms import Subject

__all__ = ["MAX_CONTEXTS", "WINDOW", "Requestor", "association", "echo"]

MAX_CONTEXTS: Final = 128
WINDOW: Final = 16  # instances that we would send ahead of their answers
_MAX_PDU: Final = 16384  # what we take: responses are small
_REJECTS: Final = {  # (source, reason) -> what to do. Ref: PS3.8 table 9-21
    (1, 3): "it does not know our AE title {own}: register it there",
    (1, 7): "it does not know itself as {ae}: check the AE title",
    (1, 2): "it does not take our application context",
    (2, 2): "it does not take our protocol version",
    (3, 1): "it is busy: try again later",
    (3, 2): "it has too many associations: try again later",
}


class Requestor:
    """One association with a device, as its requestor."""

    def __init__(self, sock: socket.socket, *, own_ae: str, ae: str) -> None:
        self._wire = Wire(sock, max_pdu=_MAX_PDU, is_ended=lambda: False)
        self._own, self._ae = own_ae, ae
        self.contexts: dict[Context, int] = {}
        self.line = Line(self._wire, max_length=0)

    def open(self, proposals: Iterable[tuple[str, tuple[str, ...]]], roles: Mapping[str, tuple[bool, bool]]) -> None:
        """Propose (abstract syntax, transfer syntaxes) each, and learn what is taken.

        Raises: Refused (rejected, with what to do), Busy (rejected for now), Malformed, PeerGone.
        """
        wanted = tuple(
            Proposal(id=2 * n + 1, abstract_syntax=abstract, transfer_syntaxes=syntaxes)
            for n, (abstract, syntaxes) in enumerate(proposals))
        request = AssociateRequest(
            called_ae=self._ae, calling_ae=self._own, proposals=wanted, max_length=_MAX_PDU, window=(WINDOW, 1),
            roles=dict(roles))
        self._wire.write(encode_request(request), within=ANSWER_SECONDS)
        kind, body = self._wire.read(wait=ANSWER_SECONDS, whole=ANSWER_SECONDS)
        if kind == pdu.ASSOCIATE_RJ:
            raise self._rejection(bytes(body))
        if kind == pdu.ABORT:
            raise PeerGone("has aborted")
        if kind != pdu.ASSOCIATE_AC:
            raise Malformed("something else than an answer to the association came.")
        accepted = decode_accept(bytes(body))
        for proposal in wanted:
            result, syntax = accepted.results.get(proposal.id, (1, ""))
            if result == 0 and syntax in proposal.transfer_syntaxes:
                self.contexts.setdefault(Context(proposal.abstract_syntax, syntax), proposal.id)
        window = (accepted.window or (1, 1))[0] or WINDOW
        self.line = Line(self._wire, max_length=accepted.max_length, window=min(window, WINDOW))

    def _rejection(self, body: bytes) -> LeadglassError:
        result, source, reason = body[1:4] if len(body) >= 4 else (1, 0, 0)
        why = _REJECTS.get((source, reason), "it gives no reason").format(own=self._own, ae=self._ae)
        text = f"the device rejects the association: {why}."
        return Busy(text) if result == 2 else Refused(text)

    def release(self) -> None:
        """End in order; a peer that does not answer is left."""
        try:
            self._wire.write(pdu.encode_release(), within=2.0)
            self._wire.read(wait=2.0, whole=2.0)
        except (PeerGone, LeadglassError):
            return

    def abort(self) -> None:
        """End at once."""
        try:
            self._wire.write(pdu.encode_abort(0, 0), within=1.0)
        except PeerGone:
            return


@contextmanager
def association(
    house: House, destination: Destination, proposals: Iterable[tuple[str, tuple[str, ...]]],
    roles: Mapping[str, tuple[bool, bool]] | None = None,
) -> Iterator[Requestor]:
    """Give an association with a device; released at the end, aborted when something goes wrong inside.

    Raises: Busy (not reached), Refused (another than it answers, or it rejects us), Malformed, PeerGone.
    """
    with house.sending.connection(destination) as sock:
        requestor = Requestor(sock, own_ae=house.settings.ae_title, ae=destination.ae_title)
        try:
            requestor.open(proposals, roles or {})
            yield requestor
        except BaseException:
            requestor.abort()
            raise
        requestor.release()


def echo(house: House, subject: Subject, ae_title: str) -> Destination:
    """Ask a registered device whether it is there (C-ECHO); return how it was reached.

    Raises: Missing (not registered, or takes no associations), Busy, Refused, Malformed: each says what to do.
    """
    destination = house.sending.echoed(subject, ae_title)
    try:
        with association(house, destination, [(VERIFICATION, (IMPLICIT_LITTLE,))]) as requestor:
            context_id = requestor.contexts.get(Context(VERIFICATION, IMPLICIT_LITTLE))
            if context_id is None:
                raise Refused("the device is there, and does not take C-ECHO.")
            requestor.line.send(context_id, {
                "AffectedSOPClassUID": VERIFICATION, "CommandField": CommandField.C_ECHO_RQ,
                "MessageID": requestor.line.next_id(),
            })
            status = requestor.line.command(ANSWER_SECONDS).get("Status", -1)
    except PeerGone as e:
        raise Busy(f"the device {e} before it answered: look at its log.") from e
    if status != 0:
        raise Refused("the device is there, and answers C-ECHO with a failure.")
    return destination
