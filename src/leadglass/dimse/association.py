"""One association on one connection, in one thread: request, messages, release. Ref: PS3.8 9.2, as an acceptor.

Steps: 1 the request is read within ARTIM; 2 who calls is proved, or rejected with one answer whatever was wrong;
3 contexts are agreed; 4 messages are taken, see conversation.py; 5 release, abort or silence ends it.
"""

import socket
import time
from collections.abc import Callable
from typing import Final

import structlog

from leadglass.access import House
from leadglass.dimse import pdu
from leadglass.dimse.associate import AssociateRequest, decode_associate, encode_accept
from leadglass.dimse.conversation import Conversation
from leadglass.dimse.exchange import Exchange
from leadglass.dimse.negotiation import negotiate
from leadglass.dimse.status import place_of
from leadglass.dimse.wire import PeerGone, Severed, Wire
from leadglass.errors import LeadglassError, Malformed, Unproven
from leadglass.settings import Settings
from leadglass.terms import Peer

__all__ = ["ARTIM_SECONDS", "Association"]

_log = structlog.get_logger()
ARTIM_SECONDS: Final = 10.0
_ANSWER_SECONDS: Final = 20.0
_USER: Final = 0
_JWT: Final = 5  # the one user identity that proves anything here. Ref: PS3.7 D.3.3.7
_PROVIDER: Final = 2


class Association:
    """`run` in a thread of its own; `stop` and `cut` from another."""

    def __init__(
        self, sock: socket.socket, peer: Peer, house: House, settings: Settings, admit: Callable[[], bool]
    ) -> None:
        """Args: admit: asked once the caller is proved; False when all associations are in use."""
        self._admit = admit
        self._sock = sock
        self._peer = peer
        self._house = house
        self._settings = settings
        self._wire = Wire(
            sock, max_pdu=settings.max_pdu_bytes,
            is_ended=lambda: self._is_stopping and not (self._conversation and self._conversation.is_busy))
        self._is_stopping = False
        self._conversation: Conversation | None = None

    def stop(self) -> None:
        """End after the message in hand; at once when there is none."""
        self._is_stopping = True

    def cut(self) -> None:
        """End now, whatever is in hand."""
        try:
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)  # below TLS, whose state is the reader's
        except OSError:
            return

    def run(self) -> None:
        """Serve the connection to its end. Never raises."""
        exchange: Exchange | None = None
        started, end = time.monotonic(), "aborted"
        calling = ""
        try:
            request = self._request()
            calling = request.calling_ae
            exchange = self._enter(request)
            if exchange is None or self._conversation is None:
                end = "rejected"
                return
            end = self._conversation.serve()  # step 4
            self._leave(end)  # step 5
        except PeerGone as e:
            end = "stopped" if self._is_stopping else f"peer {e}"
            if self._is_stopping or isinstance(e, Severed):
                self._try_write(pdu.encode_abort(_PROVIDER, 0))
        except Unproven:
            end = "access ended"
            self._try_write(pdu.encode_abort(_USER, 0))
        except LeadglassError:
            end = "protocol fault"
            if exchange is None:  # whoever speaks no DICOM is a stranger too
                self._house.entrance.record_stranger(self._peer, calling)
            self._try_write(pdu.encode_abort(_PROVIDER, 6))  # invalid PDU parameter value
        except Exception as e:  # noqa: BLE001 - one association must not end the others
            _log.error("association_incident", error=type(e).__name__, place=place_of(e))
            self._try_write(pdu.encode_abort(_PROVIDER, 0))
        finally:
            if self._conversation is not None:
                self._conversation.drop()
            _log.info(
                "association", calling=calling, address=self._peer.address, plane=str(self._peer.plane), end=end,
                stored=exchange.stored if exchange else 0, failed=exchange.failed if exchange else 0,
                seconds=round(time.monotonic() - started, 3),
            )

    def _request(self) -> AssociateRequest:
        """Step 1."""
        kind, body = self._wire.read(wait=ARTIM_SECONDS, whole=ARTIM_SECONDS)
        if kind != pdu.ASSOCIATE_RQ:
            raise Malformed("something else than an association request came first.")
        return decode_associate(bytes(body))

    def _enter(self, request: AssociateRequest) -> Exchange | None:
        """Steps 2 and 3."""
        try:
            subject = self._house.entrance.device(self._peer, request.calling_ae, request.called_ae)
        except Unproven:
            self._try_write(pdu.encode_reject(1, 1, 3))  # permanent, user, calling AE title not recognised
            self._linger()
            return None
        if not self._admit():
            self._try_write(pdu.encode_reject(2, 3, 2))  # transient, provider (presentation), local limit exceeded
            self._linger()
            return None
        identity = request.identity
        if identity is not None and identity.kind == _JWT:
            try:
                subject = self._house.entrance.delegated(subject, identity.primary)
            except Unproven:
                self._try_write(pdu.encode_reject(1, 1, 1))  # permanent, user, no reason given
                self._linger()
                return None
        elif identity is not None:  # a name, a passcode, a ticket of others: nobody is proved by it, nobody is refused for it
            self._house.entrance.record_identity(subject, identity.kind)
        agreement, contexts = negotiate(request)
        agreement.has_identity_answer = subject.acting_for is not None and identity is not None and identity.wants_answer
        exchange = Exchange(self._house, subject, contexts, agreement.roles, agreement.extended)
        self._conversation = Conversation(
            self._wire, exchange, self._settings, max_length=request.max_length, window=agreement.window or (1, 1),
            is_stopping=lambda: self._is_stopping)
        accept = encode_accept(request, agreement, self._settings.max_pdu_bytes)
        self._wire.write(accept, within=_ANSWER_SECONDS)
        return exchange

    def _leave(self, end: str) -> None:
        """Step 5: answer a release; tell a peer that we stop."""
        if end == "released":
            self._try_write(pdu.encode_release_reply())
            self._linger()
        elif end == "stopped":
            self._try_write(pdu.encode_abort(_PROVIDER, 0))

    def _try_write(self, data: bytes) -> None:
        try:
            self._wire.write(data, within=2.0)
        except PeerGone:
            return

    def _linger(self) -> None:
        """Let the peer close first, so that what we have just sent is not lost in a reset. Ref: PS3.8 9.2, state 13."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
            self._wire.read(wait=1.0, whole=1.0)
        except (OSError, PeerGone, LeadglassError):
            return
