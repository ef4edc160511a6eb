"""Storage commitment, push model: N-ACTION answered at once, N-EVENT-REPORT on the same association or on a new one.

Ref: PS3.4 J.3, PS3.7 10.1.1, 10.1.4. What waits, and for how long: access/commitments.py.
"""

import time
from collections.abc import Callable, Iterator
from typing import Final

import structlog

from leadglass.access import Commitment, Examined, House
from leadglass.dicom.command import Command, CommandField
from leadglass.dicom.references import decode_commitment, encode_commitment
from leadglass.dicom.sop_classes import STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE
from leadglass.dicom.transfer_syntaxes import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from leadglass.dimse.exchange import Answer, Context, Exchange, Identifier
from leadglass.dimse.line import ANSWER_SECONDS
from leadglass.dimse.requestor import association
from leadglass.dimse.status import INVALID_ARGUMENT, NO_SUCH_ACTION, NO_SUCH_INSTANCE, SUCCESS, is_failure, place_of
from leadglass.dimse.wire import PeerGone
from leadglass.errors import Conflict, LeadglassError, Malformed, Refused, Unproven

__all__ = ["CommitmentReceiver", "report_due"]

_log = structlog.get_logger()
_REQUEST: Final = 1  # action type: request storage commitment
_ALL_SAFE: Final = 1  # event types. Ref: PS3.4 table J.3-2
_SOME_FAILED: Final = 2
_AT_ONCE: Final = 256 * 2**20  # bytes that are verified while the asker waits for the report
_PATIENCE_SECONDS: Final = 0.25  # for an asker that leaves right after the answer, as most do


class CommitmentReceiver(Identifier):
    """N-ACTION."""

    limit = 4 * 2**20  # some 30,000 references

    def __init__(self, exchange: Exchange, command: Command, context: Context) -> None:
        super().__init__()
        self._exchange = exchange
        self._commitments = exchange.house.sending.commitments
        self._command = command
        self._context = context

    def finish(self) -> Iterator[Answer]:
        """Keep the request, answer, then report on this association when the asker stays."""
        if self._command.get("RequestedSOPInstanceUID") != STORAGE_COMMITMENT_INSTANCE:
            yield Answer(NO_SUCH_INSTANCE, "not the well-known instance of storage commitment")
            return
        if self._command.get("ActionTypeID") != _REQUEST:
            yield Answer(NO_SUCH_ACTION, "no such action of storage commitment")
            return
        try:
            asked = decode_commitment(self.data, self._context.transfer_syntax)
            commitment = self._commitments.request(self._exchange.subject, asked)
        except (Malformed, Conflict) as e:
            yield Answer(INVALID_ARGUMENT, str(e)[:64])
            return
        is_invoked = False
        try:
            yield Answer(SUCCESS)
            is_invoked = self._report(commitment)
        except (PeerGone, Unproven):
            raise
        except Exception as e:  # noqa: BLE001 - the request is answered: what fails now is the report, and it has its retries
            _log.warning("commitment_not_reported", error=type(e).__name__, place=place_of(e))
        finally:
            if not is_invoked:
                self._commitments.release(commitment)

    def _report(self, commitment: Commitment) -> bool:
        """Send the report here; False when that is for the chores: too much to read, or the asker leaves."""
        exchange = self._exchange
        assert exchange.invoke is not None
        if self._commitments.octets(commitment) > _AT_ONCE:
            return False
        context_id = next(n for n, context in exchange.contexts.items() if context == self._context)
        until = time.monotonic() + _PATIENCE_SECONDS
        examined = self._commitments.examine(commitment)
        event, data = _event(exchange.house, commitment, examined, self._context.transfer_syntax)

        def taken(status: int | None) -> None:
            if status is not None and not is_failure(status):
                self._commitments.done(exchange.subject, commitment, examined)
            else:
                self._commitments.release(commitment)

        return exchange.invoke(context_id, event, data, taken, max(0.0, until - time.monotonic()))


def _event(house: House, commitment: Commitment, examined: Examined, transfer_syntax: str) -> tuple[Command, bytes]:
    """Return (command, data set) of the N-EVENT-REPORT."""
    command: Command = {
        "AffectedSOPClassUID": STORAGE_COMMITMENT, "AffectedSOPInstanceUID": STORAGE_COMMITMENT_INSTANCE,
        "CommandField": CommandField.N_EVENT_REPORT_RQ, "EventTypeID": _SOME_FAILED if examined.failed else _ALL_SAFE,
    }
    return command, encode_commitment(
        commitment.transaction_uid, examined.safe, examined.failed, transfer_syntax, retrieve_ae=house.settings.ae_title)


def report_due(house: House, *, is_stopping: Callable[[], bool] = lambda: False) -> int:
    """Report the commitments that are due, each on an association of its own; return how many were taken. Never raises."""
    subject = house.entrance.system("commitment")
    commitments = house.sending.commitments
    taken = 0
    while not is_stopping():
        commitment = commitments.claim()
        if commitment is None:
            return taken
        try:
            examined = commitments.examine(commitment)
            _deliver(house, commitment, examined)
            commitments.done(subject, commitment, examined)
            taken += 1
        except (LeadglassError, PeerGone) as e:
            why = str(e) if isinstance(e, LeadglassError) else f"the device {e}"
            _log.info("commitment_not_taken", device=commitment.ae_title, tries=commitment.tries, error=type(e).__name__)
            commitments.not_taken(subject, commitment, why)
        except Exception as e:  # noqa: BLE001 - one report must not end the others
            _log.error("commitment_incident", error=type(e).__name__, place=place_of(e))
            commitments.not_taken(subject, commitment, type(e).__name__)
    return taken


def _deliver(house: House, commitment: Commitment, examined: Examined) -> None:
    """Send the report to where the device is registered. Raises: whatever keeps it from being taken."""
    destination = house.sending.destination(commitment.ae_title)
    proposal = (STORAGE_COMMITMENT, (EXPLICIT_LITTLE, IMPLICIT_LITTLE))
    with association(house, destination, [proposal], {STORAGE_COMMITMENT: (False, True)}) as requestor:  # we are the SCP
        found = [(context, n) for context, n in requestor.contexts.items() if context.abstract_syntax == STORAGE_COMMITMENT]
        if not found:
            raise Refused("the device takes no storage commitment reports.")
        context, context_id = found[0]
        event, data = _event(house, commitment, examined, context.transfer_syntax)
        message_id = requestor.line.next_id()
        requestor.line.send(context_id, event | {"MessageID": message_id}, data)
        answer = requestor.line.command(ANSWER_SECONDS)
        is_ours = answer.get("CommandField") == CommandField.N_EVENT_REPORT_RSP
        if not is_ours or answer.get("MessageIDBeingRespondedTo") != message_id:
            raise Malformed("something else than the response came.")
        if is_failure(int(answer.get("Status", -1))):
            raise Refused("the device does not take the report.")
