"""The entrance: who is asking, and how sure are we. The only maker of Subject; every failure is recorded.

People come with two factors (see sign_in.py in this room), devices with a title and an address or certificate,
scripts with a token, the command line as the operating system's user.
"""

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from leadglass.access.door import Door
from leadglass.access.revocation import RevocationPage
from leadglass.audit import Entry, Event, Outcome
from leadglass.errors import Unproven
from leadglass.identity import attempts, clients, devices, sessions
from leadglass.identity.people import Person
from leadglass.identity.sessions import Session
from leadglass.settings import Settings
from leadglass.storage.database import Database
from leadglass.terms import Action, Assurance, Peer, Plane, Role, Subject, SubjectKind

__all__ = ["Entrance", "SessionView", "person_subject"]

_CACHE = 2048
_CACHE_SECONDS = 5.0
_SAME_FAILURE_SECONDS = 10.0
_TOUCH_SECONDS = 60.0
_Proved = TypeVar("_Proved", Session, clients.Client)
_Proofs = OrderedDict[bytes, tuple[int, float, _Proved]]  # hash of the secret -> (epoch, when it was asked, what came out)


@dataclass(frozen=True, kw_only=True)
class SessionView:
    """A person's session as faces may see it; `state` is active or locked."""

    subject: Subject
    csrf: str
    state: str
    display_name: str
    name: str
    expires_at: float
    idle_seconds: int
    last_seen_at: float


def person_subject(session: Session, peer: Peer) -> Subject:
    """Return the subject of a living session."""
    person = session.person
    return Subject(
        kind=SubjectKind.PERSON, id=f"person:{person.id}", name=person.name, roles=person.roles,
        assurance=session.assurance, factors=session.factors, authenticated_at=session.authenticated_at,
        session_id=session.id, peer=peer, referring_name=person.referring_name,
    )


class Entrance:
    """One process's entrance. Safe in threads."""

    def __init__(
        self, database: Database, door: Door, page: RevocationPage, settings: Settings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._door = door
        self._page = page
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: _Proofs[Session] = OrderedDict()
        self._clients: _Proofs[clients.Client] = OrderedDict()
        self._touched: dict[str, float] = {}
        self._failures: dict[tuple[str, str], tuple[float, int]] = {}

    # --- people -----------------------------------------------------------------------------------------------
    def session(self, secret: str, peer: Peer, *, is_fresh: bool = False) -> SessionView:
        """Return the session behind a cookie, at most 5 s old and of the current epoch. Raises: Unproven.

        A fresh proof raises the epoch, so it counts at once in every process. What is remembered can only hold an older
        proof than the database does, and that counts as older. `is_fresh`: ask the database, whatever is remembered.
        """
        epoch, now = self._page.current(), self._clock()
        key = sessions.secret_hash(secret)
        idle = self._settings.session_idle_seconds
        session = None if is_fresh else self._remembered(self._sessions, key)
        if session is None:
            with self._database.read() as connection:
                session = sessions.find(connection, secret, now=now, idle_seconds=idle)
            if session.state == "active" and sessions.wants_touch(session, now):
                with self._database.write() as connection:
                    sessions.touch(connection, session.id, now)
                session = replace(session, last_seen_at=now)
            self._remember(self._sessions, key, epoch, now, session)
        return self.view(session, peer)

    def _remembered(self, proofs: "_Proofs[_Proved]", key: bytes) -> "_Proved | None":
        """Return what was proved in the last seconds, under the current epoch, and has not ended."""
        known, now = proofs.get(key), self._clock()
        if known is None or known[0] != self._page.current() or now - known[1] >= _CACHE_SECONDS:
            return None
        return known[2] if known[2].expires_at > now else None

    def _remember(self, proofs: "_Proofs[_Proved]", key: bytes, epoch: int, now: float, proved: "_Proved") -> None:
        """Keep what was proved. `epoch` and `now` were read before the database was asked."""
        with self._lock:
            proofs[key] = (epoch, now, proved)
            while len(proofs) > _CACHE:
                proofs.popitem(last=False)

    def view(self, session: Session, peer: Peer) -> SessionView:
        """Return a session as faces may see it."""
        return SessionView(
            subject=person_subject(session, peer), csrf=session.csrf, state=session.state,
            display_name=session.person.display_name, name=session.person.name, expires_at=session.expires_at,
            idle_seconds=self._settings.session_idle_seconds, last_seen_at=session.last_seen_at,
        )

    def invited(self, person: Person, peer: Peer) -> Subject:
        """Return the subject of an enrolment: a person who holds a one-time link and has no right yet."""
        return Subject(
            kind=SubjectKind.PERSON, id=f"person:{person.id}", name=person.name, roles=frozenset(),
            assurance=Assurance.DEVICE, factors=("one-time-link",), authenticated_at=self._clock(), session_id="",
            peer=peer,
        )

    # --- devices ----------------------------------------------------------------------------------------------
    def device(self, peer: Peer, calling_ae: str, called_ae: str, certificate_sha256: str | None = None) -> Subject:
        """Return the device that calls. Raises: Unproven (recorded, at most once in ten seconds for the same caller)."""
        now = self._clock()
        certificate = certificate_sha256 or peer.certificate_sha256
        try:
            if called_ae != self._settings.ae_title:
                raise Unproven("called AE title not recognised.")
            with self._database.read() as connection:
                device = devices.recognise(connection, calling_ae, peer.address, certificate, now)
        except Unproven:
            self.record_stranger(peer, calling_ae)
            raise
        if now - self._touched.get(device.ae_title, 0.0) > _TOUCH_SECONDS:
            self._touched[device.ae_title] = now
            with self._database.write() as connection:
                devices.touch(connection, device.ae_title, now)
        return Subject(
            kind=SubjectKind.DEVICE, id=f"device:{device.ae_title}", name=device.ae_title,
            roles=frozenset({device.role}), assurance=Assurance.DEVICE, factors=device.factors, authenticated_at=now,
            session_id=secrets.token_hex(16), peer=peer, may_query_in_clear=device.is_excepted,
        )

    def destination(self, ae_title: str) -> tuple[Subject, Any]:
        """Return (subject, row) of a registered device that we would call, for questions about its rights.

        It is proved by whoever answers: its pinned certificate, or in clear its address. Raises: Missing.
        """
        now = self._clock()
        with self._database.read() as connection:
            row = devices.find(connection, ae_title, now)
        is_tls = bool(row.certificate_sha256)
        peer = Peer(plane=Plane.DIMSE_TLS if is_tls else Plane.DIMSE, address=row.host.partition("/")[0],
                    certificate_sha256=row.certificate_sha256 or None)
        return Subject(
            kind=SubjectKind.DEVICE, id=f"device:{ae_title}", name=ae_title, roles=frozenset({row.role}),
            assurance=Assurance.DEVICE, factors=("address", "certificate") if is_tls else ("address",), authenticated_at=now,
            session_id="", peer=peer, may_query_in_clear=bool(row.owner and row.until),
        ), row

    def delegated(self, device: Subject, assertion: bytes) -> Subject:
        """Return the device as it acts for the registered client that has signed `assertion`.

        1 the association is over TLS; 2 the assertion is by an active client, for our AE title, in time, at most five
        minutes long; 3 it opens once. Ref: PS3.7 D.3.3.7 (type 5), RFC 7523 3. What the client may do is what the device
        may do too, see Door.decide.
        Raises: Unproven (recorded, never with the assertion).
        """
        now = self._clock()
        try:
            if device.peer.plane is not Plane.DIMSE_TLS:  # step 1: who listens has it now
                raise Unproven("a user identity in clear is not taken.")
            with self._database.write() as connection:
                client_id, jti = clients.verify_assertion(  # step 2
                    connection, assertion.decode("ascii", "replace"), audiences={f"dicom:{self._settings.ae_title}"}, now=now)
                if not attempts.spend(connection, f"jti {client_id} {jti}".encode(), expires_at=now + 600, now=now):  # step 3
                    raise Unproven("the client assertion does not verify.")
                client = clients.find(connection, client_id)
        except Unproven:
            self.record_identity(device, 5)
            raise
        acting_for = Subject(
            kind=SubjectKind.CLIENT, id=f"client:{client_id}", name=client.name, roles=frozenset({client.role}),
            assurance=Assurance.AAL2, factors=("private_key_jwt", "user-identity"), authenticated_at=now,
            session_id=device.session_id, peer=device.peer,
        )
        subject = replace(device, acting_for=acting_for)
        self._door.record([Entry(
            event=Event.AUTHENTICATION, action=Action.DICOM_VERIFY, outcome=Outcome.DONE, subject=subject,
            details={"user_identity": 5})])
        return subject

    def record_identity(self, device: Subject, kind: int) -> None:
        """Record that a user identity came and proved nothing; its values are nobody's business."""
        seldom = self._seldom((device.peer.address, f"{device.name} identity {kind}"))
        if seldom is not None:
            self._door.record([Entry(
                event=Event.AUTHENTICATION, action=Action.DICOM_VERIFY, outcome=Outcome.REFUSED, subject=device,
                details={"user_identity": kind, "not_recorded_before": seldom})])

    def _seldom(self, key: tuple[str, str]) -> int | None:
        """Return how many of the same came without a record, or None when this one is to be counted only."""
        now = self._clock()
        with self._lock:
            since, count = self._failures.get(key, (0.0, 0))
            if now - since < _SAME_FAILURE_SECONDS:
                self._failures[key] = (since, count + 1)
                return None
            if len(self._failures) > _CACHE:
                self._failures.clear()
            self._failures[key] = (now, 0)
        return count

    def record_stranger(self, peer: Peer, calling_ae: str) -> None:
        """Record a rejected association; a flood of the same becomes one record with a count."""
        count = self._seldom((peer.address, calling_ae))
        if count is None:
            return
        stranger = Subject(
            kind=SubjectKind.DEVICE, id="device:unknown", name=calling_ae[:16], roles=frozenset(),
            assurance=Assurance.DEVICE, factors=(), authenticated_at=self._clock(), session_id="", peer=peer,
        )
        self._door.record([Entry(
            event=Event.AUTHENTICATION, action=Action.DICOM_VERIFY, outcome=Outcome.REFUSED, subject=stranger,
            details={"why": "calling AE title, address or certificate not recognised", "not_recorded_before": count},
        )])

    # --- machines ---------------------------------------------------------------------------------------------
    def bearer(self, token: str, peer: Peer) -> Subject:
        """Return the client behind a bearer token, at most 5 s old and of the current epoch. Raises: Unproven."""
        key = sessions.secret_hash(token)
        known = self._remembered(self._clients, key)
        if known is None:
            epoch, now = self._page.current(), self._clock()
            with self._database.read() as connection:
                known = clients.find_token(connection, token, now)
            self._remember(self._clients, key, epoch, now, known)
        return _client_subject(known, peer)

    def at_hand(self, token: str, secret: str, peer: Peer) -> Subject | None:
        """Return who was proved in the last 5 s by that bearer token, or else by that cookie of an active session.

        No database call. None: prove it in the way that asks. Raises: Busy.
        """
        if token:
            client = self._remembered(self._clients, sessions.secret_hash(token))
            return None if client is None else _client_subject(client, peer)
        session = self._remembered(self._sessions, sessions.secret_hash(secret))
        return person_subject(session, peer) if session is not None and session.state == "active" else None

    def client_token(self, assertion: str, peer: Peer, audiences: set[str]) -> tuple[str, int]:
        """Return (access token, seconds) for a private_key_jwt assertion. Raises: Unproven (recorded).

        Ref: RFC 7523 3; an assertion opens once.
        """
        now = self._clock()
        seconds = self._settings.token_seconds
        try:
            with self._database.write() as connection:
                client_id, jti = clients.verify_assertion(connection, assertion, audiences=audiences, now=now)
                if not attempts.spend(connection, f"jti {client_id} {jti}".encode(), expires_at=now + 600, now=now):
                    raise Unproven("the client assertion does not verify.")
                token = clients.make_token(connection, client_id, seconds=seconds, factor="private_key_jwt", now=now)
                subject = _client_subject(clients.find_token(connection, token, now), peer)
        except Unproven:
            self.record_failure(peer, "client", Action.CLIENT_TOKEN)
            raise
        self._door.record([Entry(
            event=Event.AUTHENTICATION, action=Action.CLIENT_TOKEN, outcome=Outcome.DONE, subject=subject,
            details={"seconds": seconds},
        )])
        return token, seconds

    def record_failure(self, peer: Peer, kind: str, action: Action, name: str = "") -> None:
        """Record that someone was not proved. A name stands only where it is the name of a person we know."""
        nobody = Subject(
            kind=SubjectKind.CLIENT if kind == "client" else SubjectKind.PERSON, id=f"{kind}:unknown", name=name,
            roles=frozenset(), assurance=Assurance.DEVICE, factors=(), authenticated_at=self._clock(), session_id="",
            peer=peer,
        )
        self._door.record([Entry(
            event=Event.AUTHENTICATION, action=action, outcome=Outcome.REFUSED, subject=nobody, details={})])

    # --- ourselves --------------------------------------------------------------------------------------------
    def local(self, os_user: str) -> Subject:
        """Return the subject of the command line."""
        return self._own(SubjectKind.LOCAL, f"local:{os_user}", os_user, Role.OPERATOR, ("os-user",))

    def system(self, chore: str) -> Subject:
        """Return the subject of a chore."""
        return self._own(SubjectKind.SYSTEM, f"system:{chore}", chore, Role.CHORE, ())

    def _own(self, kind: SubjectKind, subject_id: str, name: str, role: Role, factors: tuple[str, ...]) -> Subject:
        return Subject(
            kind=kind, id=subject_id, name=name, roles=frozenset({role}), assurance=Assurance.AAL2, factors=factors,
            authenticated_at=self._clock(), session_id=secrets.token_hex(16), peer=Peer(plane=Plane.LOCAL, address=""),
        )


def _client_subject(client: clients.Client, peer: Peer) -> Subject:
    return Subject(
        kind=SubjectKind.CLIENT, id=f"client:{client.id}", name=client.name, roles=frozenset({client.role}),
        assurance=Assurance.AAL2, factors=(client.factor,), authenticated_at=client.created_at,
        session_id=client.token_id, peer=peer,
    )
