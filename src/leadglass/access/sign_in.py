"""Sign-in, lock, unlock and sign-out of people. Two factors or nothing; one answer for every fault.

Steps of each way in: 1 the pace is checked (guessing slows down); 2 the factors are verified together; 3 what opens
once is used up; 4 the policy may still say no; 5 the session and its record are written in one transaction.
"""

import base64
import hmac
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from leadglass.access.door import Door
from leadglass.access.entrance import Entrance, SessionView, person_subject
from leadglass.access.revocation import RevocationPage
from leadglass.audit import Entry, Event, Outcome, append
from leadglass.errors import LeadglassError, Missing, Refused, Unproven
from leadglass.identity import attempts, credentials, people, sessions
from leadglass.identity.passkeys import RelyingParty, credential_id_of
from leadglass.identity.people import Person
from leadglass.settings import Settings
from leadglass.storage.database import Database
from leadglass.storage.epoch import raise_epoch
from leadglass.terms import Action, Peer, Resource, ResourceKind

__all__ = ["SignIn"]

_STATE_SECONDS = 180.0
_FAULT = "name, password or code is wrong."


class SignIn:
    """One process's sign-in. Safe in threads; the challenge's state travels sealed with the browser."""

    def __init__(
        self, database: Database, door: Door, entrance: Entrance, page: RevocationPage, settings: Settings,
        relying_party: RelyingParty, secret: bytes, clock: Callable[[], float] = time.time,
    ) -> None:
        self._database, self._door, self._entrance, self._page = database, door, entrance, page
        self._settings = settings
        self._party = relying_party
        self._secret = secret
        self._clock = clock

    def begin(self) -> tuple[dict[str, Any], str]:
        """Return (options for navigator.credentials.get, state to hand back with the answer)."""
        challenge = secrets.token_bytes(32)
        body = json.dumps({"c": challenge.hex(), "e": self._clock() + _STATE_SECONDS}).encode()
        mark = hmac.digest(self._secret, b"challenge" + body, "sha256")
        state = base64.urlsafe_b64encode(mark + body).decode()
        return self._party.authentication_options(challenge=challenge), state

    def with_passkey(self, state: str, response: dict[str, Any], peer: Peer, agent: str) -> tuple[str, SessionView]:
        """Return (cookie secret, session). Raises: Unproven (recorded), Busy."""
        now = self._clock()
        name = ""
        try:
            with self._database.write() as connection:
                attempts.check_pace(connection, self._secret, {"address": peer.address}, now)
                person, factors = self._prove_passkey(connection, state, response, now)
                name = person.name
                return self._enter(connection, person, factors, peer, agent, now)
        except (Unproven, Missing, Refused) as e:
            self._fail(peer, {"address": peer.address}, name)
            raise Unproven("this passkey does not open an account here.") from e

    def with_password(self, name: str, password: str, code: str, peer: Peer, agent: str) -> tuple[str, SessionView]:
        """Return (cookie secret, session) for a password and a one-time or recovery code, verified together.

        Raises: Unproven, with one message whichever was wrong (recorded); Busy.
        """
        marks = {"name": name.strip().lower()[:64], "address": peer.address}
        now = self._clock()
        with self._database.read() as connection:
            attempts.check_pace(connection, self._secret, marks, now)
            person = self._someone(connection, name)
            # The slow hash runs outside any write transaction, also for a name that nobody has.
            is_right = credentials.verify_password_of(connection, person.id if person else None, password)
        try:
            with self._database.write() as connection:
                second = self._second_factor(connection, person, code, now)
                if person is None or not (is_right and second):
                    raise Unproven(_FAULT)
                attempts.succeeded(connection, self._secret, marks)
                return self._enter(connection, person, ("password", second), peer, agent, now)
        except (Unproven, Refused) as e:
            self._fail(peer, marks, person.name if person else "")
            raise Unproven(_FAULT) from e

    def _second_factor(self, connection: sa.Connection, person: Person | None, code: str, now: float) -> str:
        """Use up a code; return which factor it was, or "" for none. Step 3."""
        if person is None:
            return ""
        if credentials.use_totp(connection, person.id, code, now):
            return "totp"
        return "recovery" if credentials.use_recovery_code(connection, person.id, code) else ""

    # --- lock and unlock ----------------------------------------------------------------------------------------
    def lock(self, view: SessionView) -> None:
        """Lock a session now."""
        self._change(view, "lock", lambda c: sessions.lock(c, view.subject.session_id))

    def unlock_with_passkey(
        self, view: SessionView, state: str, response: dict[str, Any], *, what: str = "unlock"
    ) -> None:
        """Prove the session anew with a fresh use of a passkey of the same person; what was locked is open then.

        Args: what: unlock, or step-up, for the record.   Raises: Unproven.
        """
        now = self._clock()
        try:
            with self._database.write() as connection:
                person, factors = self._prove_passkey(connection, state, response, now)
                if f"person:{person.id}" != view.subject.id:
                    raise Unproven(_FAULT)
                self._renew(connection, view, factors, now, what)
        except (Unproven, Missing, Refused) as e:
            self._fail(view.subject.peer, {"address": view.subject.peer.address}, view.name)
            raise Unproven("this passkey does not open this session.") from e
        self._page.publish()

    def unlock_with_password(self, view: SessionView, password: str, code: str, *, what: str = "unlock") -> None:
        """Prove the session anew with password and one-time code. Raises: Unproven, Busy."""
        marks = {"name": view.name, "address": view.subject.peer.address}
        now = self._clock()
        person_id = view.subject.id.partition(":")[2]
        with self._database.read() as connection:
            attempts.check_pace(connection, self._secret, marks, now)
            is_right = credentials.verify_password_of(connection, person_id, password)
        try:
            with self._database.write() as connection:
                if not (credentials.use_totp(connection, person_id, code, now) and is_right):
                    raise Unproven(_FAULT)
                attempts.succeeded(connection, self._secret, marks)
                self._renew(connection, view, ("password", "totp"), now, what)
        except Unproven:
            self._fail(view.subject.peer, marks, view.name)
            raise
        self._page.publish()

    def _renew(
        self, connection: sa.Connection, view: SessionView, factors: tuple[str, ...], now: float, what: str
    ) -> None:
        sessions.renew(connection, view.subject.session_id, factors, now)
        raise_epoch(connection)
        entry = self._entry(view, what, Action.SELF_SIGN_IN)
        append(connection, [replace(entry, details={**entry.details, "factors": list(factors)})])

    # --- sign out -------------------------------------------------------------------------------------------------
    def out(self, view: SessionView) -> None:
        """End this session and close its books."""
        self._change(view, "sign-out", lambda c: sessions.end(c, view.subject.session_id))
        self._door.close_grants(view.subject, session_id=view.subject.session_id)

    def out_everywhere(self, view: SessionView) -> None:
        """End every session of the person."""
        self._change(view, "sign-out everywhere", lambda c: sessions.end_all(c, view.subject.id.partition(":")[2]))

    def _change(self, view: SessionView, what: str, change: Callable[[sa.Connection], object]) -> None:
        with self._database.write() as connection:
            change(connection)
            append(connection, [self._entry(view, what, Action.SELF_SIGN_OUT)])
        self._page.publish()

    # --- the steps ------------------------------------------------------------------------------------------------
    def _prove_passkey(
        self, connection: sa.Connection, state: str, response: dict[str, Any], now: float
    ) -> tuple[Person, tuple[str, ...]]:
        challenge = self._challenge(state, now)
        if not attempts.spend(connection, b"challenge " + challenge, expires_at=now + _STATE_SECONDS, now=now):  # step 3
            raise Unproven(_FAULT)
        row = credentials.find_passkey(connection, credential_id_of(response))
        if row is None:
            raise Unproven(_FAULT)
        used = self._party.verify_use(response, challenge, public_key=row.secret, counter=row.counter)  # step 2
        credentials.was_used(connection, row.id, used.counter, now)
        factors = ("passkey", "user-verification", *(("device-bound",) if used.is_device_bound else ()))
        return people.find_by_id(connection, row.person), factors

    def _challenge(self, state: str, now: float) -> bytes:
        """Return the challenge of a state that we made ourselves, in time. Raises: Unproven."""
        try:
            raw = base64.urlsafe_b64decode(state)
            body = raw[32:]
            if not hmac.compare_digest(raw[:32], hmac.digest(self._secret, b"challenge" + body, "sha256")):
                raise ValueError
            facts = json.loads(body)
            if facts["e"] < now:
                raise ValueError
            return bytes.fromhex(facts["c"])
        except (ValueError, KeyError, TypeError) as e:
            raise Unproven("the sign-in took too long; please try again.") from e

    def _someone(self, connection: sa.Connection, name: str) -> Person | None:
        try:
            person = people.find(connection, name)
        except LeadglassError:
            return None
        return person if person.state == "active" else None

    def _enter(
        self, connection: sa.Connection, person: Person, factors: tuple[str, ...], peer: Peer, agent: str, now: float
    ) -> tuple[str, SessionView]:
        secret, session = sessions.create(
            connection, person, factors, now=now, absolute_seconds=self._settings.session_absolute_seconds,
            address=peer.address, agent=agent,
        )
        subject = person_subject(session, peer)
        resource = Resource(kind=ResourceKind.PERSON, id=person.id)
        decision = self._door.decide(subject, Action.SELF_SIGN_IN, resource)  # step 4
        if not decision.is_permitted:
            raise Refused(f"sign-in is not permitted ({decision.rule}).")
        append(connection, [Entry(  # step 5
            event=Event.AUTHENTICATION, action=Action.SELF_SIGN_IN, outcome=Outcome.DONE, subject=subject,
            rule=decision.rule, details={"what": "sign-in"},
        )])
        return secret, self._entrance.view(session, peer)

    def _entry(self, view: SessionView, what: str, action: Action) -> Entry:
        return Entry(event=Event.AUTHENTICATION, action=action, outcome=Outcome.DONE, subject=view.subject,
                     details={"what": what})

    def _fail(self, peer: Peer, marks: dict[str, str], name: str) -> None:
        with self._database.write() as connection:
            attempts.failed(connection, self._secret, marks, self._clock())
        self._entrance.record_failure(peer, "person", Action.SELF_SIGN_IN, name)
