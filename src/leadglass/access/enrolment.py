"""Enrolment: from a one-time link to an account with two factors, alive once the inviter has heard a number.

Steps: 1 the link is spent and the browser gets a handle; 2 factors are proved one by one and wait in the invitation;
3 `finish` makes them credentials in one transaction, if they are two; 4 the inviter confirms six digits (see
administration.py): only then can anyone sign in. Whoever has stolen a link cannot say who they are to the inviter.
"""

import secrets
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from leadglass.access.entrance import Entrance
from leadglass.audit import Entry, Event, Outcome, append
from leadglass.errors import Malformed, Missing, Unproven
from leadglass.identity import attempts, credentials, invitations, people, sessions, totp
from leadglass.identity.invitations import Ceremony
from leadglass.identity.passkeys import Registered, RelyingParty
from leadglass.identity.passwords import check_rules, hash_password
from leadglass.settings import Settings
from leadglass.storage.database import Database
from leadglass.terms import Action, Peer

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Enrolled", "Enrolment", "EnrolmentView"]

_MAX_PASSKEYS = 5
_RECOVERY_SECONDS = 3600.0


@dataclass(frozen=True, kw_only=True)
class EnrolmentView:
    """What the page shows: for whom, by whom, for what, and what has been gathered."""

    name: str
    display_name: str
    roles: list[str]
    invited_by: str
    expires_at: float
    has_password: bool
    has_totp: bool
    has_passkey: bool


@dataclass(frozen=True, kw_only=True)
class Enrolled:
    """Shown once, on one page: nothing of it can be had again."""

    recovery_codes: list[str]
    number: str  # six digits that the person reads to the inviter


class Enrolment:
    """One process's enrolment. Safe in threads; all state is in the invitation."""

    def __init__(
        self, database: Database, entrance: Entrance, settings: Settings, relying_party: RelyingParty,
        secret: bytes, clock: Callable[[], float] = time.time,
    ) -> None:
        self._database, self._entrance, self._settings = database, entrance, settings
        self._party = relying_party
        self._secret = secret
        self._clock = clock

    def open(self, secret: str, peer: Peer) -> str:
        """Step 1: spend the link, return the handle. Raises: Missing (recorded), one message for every fault."""
        now = self._clock()
        try:
            with self._database.write() as connection:
                handle = invitations.open_link(connection, secret, now)
                ceremony = invitations.find_ceremony(connection, handle, now)
                append(connection, [self._entry(ceremony, peer, "link opened")])
        except Missing:
            self._entrance.record_failure(peer, "person", Action.PERSON_ENROL)
            raise
        return handle

    def recover(self, name: str, code: str, peer: Peer) -> str:
        """Open an enrolment for someone who has lost the other factors; return the handle.

        A recovery code alone signs nobody in: it leads to new factors, and the account lives again only after an
        administrator has heard the number. Raises: Unproven (recorded), with one message whatever was wrong; Busy.
        """
        now = self._clock()
        marks = {"name": name.strip().lower()[:64], "address": peer.address}
        fault = Unproven("name or recovery code is wrong.")
        with self._database.read() as connection:
            attempts.check_pace(connection, self._secret, marks, now)
        try:
            with self._database.write() as connection:
                try:
                    person = people.find(connection, name)
                except Missing:
                    raise fault from None
                if person.state != "active" or not credentials.use_recovery_code(connection, person.id, code):
                    raise fault
                secret = invitations.create(
                    connection, person.id, invited_by="a recovery code", seconds=_RECOVERY_SECONDS, now=now)
                handle = invitations.open_link(connection, secret, now)
                append(connection, [self._entry(
                    invitations.find_ceremony(connection, handle, now), peer, "recovery code used")])
        except Unproven:
            with self._database.write() as connection:
                attempts.failed(connection, self._secret, marks, now)
            self._entrance.record_failure(peer, "person", Action.PERSON_ENROL)
            raise
        return handle

    def view(self, handle: str) -> EnrolmentView:
        """Return what has been gathered. Raises: Missing."""
        with self._database.read() as connection:
            ceremony = invitations.find_ceremony(connection, handle, self._clock())
        person, facts = ceremony.person, ceremony.facts
        return EnrolmentView(
            name=person.name, display_name=person.display_name, roles=sorted(person.roles),
            invited_by=ceremony.invited_by, expires_at=ceremony.expires_at, has_password="password" in facts,
            has_totp="totp" in facts, has_passkey=bool(facts.get("passkeys")),
        )

    # --- step 2 -------------------------------------------------------------------------------------------------
    def passkey_options(self, handle: str) -> dict[str, Any]:
        """Return the options for navigator.credentials.create; an older challenge dies."""
        challenge = secrets.token_bytes(32)
        with self._changed(handle) as ceremony:
            known = [bytes.fromhex(k["id"]) for k in ceremony.facts.get("passkeys", [])]
            ceremony.facts["challenge"] = challenge.hex()
        person = ceremony.person
        return self._party.registration_options(
            user_handle=person.user_handle, name=person.name, display_name=person.display_name, challenge=challenge,
            exclude=known,
        )

    def passkey_finish(self, handle: str, response: dict[str, Any], label: str) -> None:
        """Keep a verified passkey. Raises: Malformed; the challenge opens once, whatever comes of it."""
        with self._changed(handle) as ceremony:
            challenge = ceremony.facts.pop("challenge", "")
        if not challenge:
            raise Malformed("the passkey took too long; please try again.")
        key = self._party.verify_registration(response, bytes.fromhex(challenge))
        with self._changed(handle) as ceremony:
            kept = ceremony.facts.setdefault("passkeys", [])
            if len(kept) >= _MAX_PASSKEYS:
                raise Malformed(f"at most {_MAX_PASSKEYS} passkeys at once.")
            kept.append({
                "id": key.credential_id.hex(), "key": key.public_key.hex(), "counter": key.counter,
                "bound": key.is_device_bound, "aaguid": key.aaguid, "label": label.strip()[:60] or "Passkey",
            })

    def set_password(self, handle: str, password: str) -> None:
        """Keep a password's hash. Raises: Malformed, saying why it may not be used."""
        with self._database.read() as connection:
            person = invitations.find_ceremony(connection, handle, self._clock()).person
        words = (person.name, *person.display_name.split(), self._settings.site, self._settings.hostname.split(".")[0])
        check_rules(password, words=words)
        stored = hash_password(password)  # slow: outside the transaction
        with self._changed(handle) as ceremony:
            ceremony.facts["password"] = stored.decode()

    def totp_begin(self, handle: str) -> tuple[str, str]:
        """Return (seed, otpauth URI); the same seed until it is proved, so that a page can be loaded again."""
        with self._changed(handle) as ceremony:
            seed = ceremony.facts.setdefault("totp_seed", totp.new_seed())
        issuer = "Leadglass" if self._settings.hostname == "localhost" else f"Leadglass {self._settings.hostname}"
        return seed, totp.enrolment_uri(seed, ceremony.person.name, issuer)

    def totp_finish(self, handle: str, code: str) -> None:
        """Keep the seed that a right code has proved. Raises: Malformed."""
        totp.check_code_shape(code)
        with self._changed(handle) as ceremony:
            seed = ceremony.facts.get("totp_seed", "")
            step = totp.matching_step(seed, code, now=self._clock(), last_step=0) if seed else None
            if step is None:
                raise Malformed("this code is not right now. Is the clock of your phone right? Wait for the next code.")
            ceremony.facts["totp"] = {"seed": seed, "step": step}

    # --- step 3 -------------------------------------------------------------------------------------------------
    def finish(self, handle: str, peer: Peer) -> Enrolled:
        """Make the factors credentials. Raises: Refused, when they are not two; Missing."""
        now = self._clock()
        with self._database.write() as connection:
            ceremony = invitations.find_ceremony(connection, handle, now)
            person, facts = ceremony.person, ceremony.facts
            kinds = {k for k, f in (("password", "password"), ("totp", "totp"), ("passkey", "passkeys")) if facts.get(f)}
            invitations.check_factors(kinds)
            credentials.remove_all(connection, person.id)
            sessions.end_all(connection, person.id)  # what a thief of the old factors still holds
            if "password" in facts:
                credentials.add_password(connection, person.id, facts["password"].encode())
            if "totp" in facts:
                credentials.add_totp(connection, person.id, facts["totp"]["seed"], facts["totp"]["step"])
            for key in facts.get("passkeys", []):
                registered = Registered(
                    credential_id=bytes.fromhex(key["id"]), public_key=bytes.fromhex(key["key"]), counter=key["counter"],
                    is_device_bound=key["bound"], aaguid=key["aaguid"],
                )
                credentials.add_passkey(connection, person.id, registered, key["label"])
            codes = credentials.add_recovery_codes(connection, person.id)
            number = invitations.finish(connection, handle, person, now=now)
            append(connection, [self._entry(ceremony, peer, "enrolled: " + ", ".join(sorted(kinds)))])
        return Enrolled(recovery_codes=codes, number=number)

    @contextmanager
    def _changed(self, handle: str) -> "Iterator[Ceremony]":
        """Give the ceremony and keep what the block has changed in its facts."""
        with self._database.write() as connection:
            ceremony = invitations.find_ceremony(connection, handle, self._clock())
            yield ceremony
            invitations.save_facts(connection, handle, ceremony.facts)

    def _entry(self, ceremony: Ceremony, peer: Peer, what: str) -> Entry:
        return Entry(
            event=Event.AUTHENTICATION, action=Action.PERSON_ENROL, outcome=Outcome.DONE,
            subject=self._entrance.invited(ceremony.person, peer),
            details={"what": what, "invited_by": ceremony.invited_by},
        )

