"""What administrators do with people, devices and clients. Each verb passes the door and is recorded with its change."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from leadglass.access.door import Door
from leadglass.errors import Malformed, Missing, Unproven
from leadglass.identity import clients, credentials, devices, invitations, people, sessions
from leadglass.identity.clients import NewClient
from leadglass.network.ca import Authority, Issued, certificate_digest, issue_device
from leadglass.settings import Settings
from leadglass.storage import tables as t
from leadglass.storage.database import Database
from leadglass.storage.epoch import raise_epoch
from leadglass.terms import Action, Resource, ResourceKind, Role, Subject

__all__ = ["Administration", "Keys", "Link"]

_FIRST_SECONDS = 3600.0
_LINK_SECONDS = 86400.0
_EXCEPTION_SECONDS = 90 * 86400.0
_SYSTEM = Resource(kind=ResourceKind.SYSTEM)


@dataclass(frozen=True, kw_only=True)
class Link:
    """A one-time enrolment link; the secret stands in the fragment, which browsers send to nobody."""

    url: str
    expires_at: float


@dataclass(frozen=True, kw_only=True)
class Keys:
    """What administration may say and do about keys: names and numbers, and the device CA on demand."""

    source_name: str
    kek_version: int
    device_authority: Callable[[], Authority]


class Administration:
    """One process's administration. Safe in threads."""

    def __init__(
        self, database: Database, door: Door, settings: Settings, keys: Keys,
        base_url: Callable[[], str], clock: Callable[[], float] = time.time,
    ) -> None:
        self._database, self._door, self._settings = database, door, settings
        self._keys = keys
        self._base_url = base_url
        self._clock = clock

    # --- people -------------------------------------------------------------------------------------------------
    def people_add(
        self, subject: Subject, name: str, roles: list[str], *, display_name: str = "", referring_name: str = ""
    ) -> Link:
        """Add a person and return the enrolment link (24 h). Raises: Malformed, Conflict, Refused."""
        from leadglass.archive.search import fold

        with self._door.act(subject, Action.PERSON_ADD, _person(name)) as passage:
            person = people.add(
                passage.connection, name, [str(r) for r in roles], display_name=display_name.strip(),
                referring_name=fold(referring_name) if referring_name else "", created_by=subject.id,
            )
            passage.details |= {"roles": sorted(person.roles), "person": person.id}
            return self._link(passage.connection, person.id, subject, _LINK_SECONDS)

    def first_administrator(self, subject: Subject, name: str) -> Link | None:
        """Return a link (1 h) while no administrator has enrolled; None from then on. Raises: Refused."""
        with self._door.act(subject, Action.PERSON_ENROL, _person(name)) as passage:
            rows = passage.connection.execute(sa.select(t.people.c.id, t.people.c.name, t.people.c.roles, t.people.c.state))
            administrators = [r for r in rows if Role.ADMINISTRATOR in r.roles]
            if any(r.state in {"active", "enrolled", "disabled"} for r in administrators):
                passage.details["what"] = "nothing: an administrator is there"
                return None
            known = [r.id for r in administrators if r.name == name.strip().lower()]
            person_id = known[0] if known else people.add(
                passage.connection, name, [Role.ADMINISTRATOR], display_name="", referring_name="",
                created_by=subject.id).id
            passage.details["what"] = "first administrator"
            return self._link(passage.connection, person_id, subject, _FIRST_SECONDS)

    def people_list(self, subject: Subject) -> list[dict[str, Any]]:
        """Return everyone, with roles, factors and last use. Raises: Refused."""
        self._door.enter(subject, Action.PERSON_LIST, Resource(kind=ResourceKind.PERSON))
        with self._database.read() as connection:
            return people.list_people(connection)

    def people_confirm(self, subject: Subject, name: str, number: str) -> None:
        """Make an enrolled person active, if the number is right. Raises: Unproven, Conflict, Missing, Refused."""
        try:
            with self._door.act(subject, Action.PERSON_CONFIRM, _person(name)) as passage:
                person = people.find(passage.connection, name)
                passage.details["person"] = person.id
                is_right = self._confirm(passage.connection, person, number, passage.details)
        except Missing:
            raise Missing(f"no person {name!r} here. See: leadglass people list") from None
        if not is_right:
            raise Unproven("that is not the number. After three wrong tries a new link is needed.")

    def _confirm(self, connection: sa.Connection, person: people.Person, number: str, details: dict[str, Any]) -> bool:
        try:
            is_right = invitations.confirm(connection, person, number, now=self._clock())
        except Unproven:
            is_right = False
        details["what"] = "confirmed" if is_right else "wrong number"
        return is_right

    def people_disable(self, subject: Subject, name: str) -> int:
        """End a person's access at once; return how many sessions ended. Raises: Missing, Refused."""
        with self._door.act(subject, Action.PERSON_DISABLE, _person(name)) as passage:
            person = people.find(passage.connection, name)
            ended = people.disable(passage.connection, person.id)
            passage.details |= {"person": person.id, "sessions_ended": ended}
        return ended

    def people_enrol(self, subject: Subject, name: str) -> Link:
        """Return a fresh link: a person who was disabled may come back, one who lost all factors too.

        Old factors and sessions end when the new enrolment is finished. Raises: Missing, Refused.
        """
        with self._door.act(subject, Action.PERSON_ENROL, _person(name)) as passage:
            person = people.find(passage.connection, name)
            passage.details["person"] = person.id
            return self._link(passage.connection, person.id, subject, _LINK_SECONDS)

    def _link(self, connection: sa.Connection, person_id: str, subject: Subject, seconds: float) -> Link:
        now = self._clock()
        secret = invitations.create(connection, person_id, invited_by=subject.name, seconds=seconds, now=now)
        return Link(url=f"{self._base_url()}/enrol#{secret}", expires_at=now + seconds)

    def my_account(self, subject: Subject) -> dict[str, Any]:
        """Return the subject's own factors and living sessions."""
        person_id = subject.id.partition(":")[2]
        self._door.enter(subject, Action.SELF_READ, Resource(kind=ResourceKind.PERSON, id=person_id))
        with self._database.read() as connection:
            return {
                "factors": credentials.list_of(connection, person_id),
                "sessions": sessions.list_of(connection, person_id, self._clock()),
            }

    # --- clients ------------------------------------------------------------------------------------------------
    def clients_add(self, subject: Subject, name: str, role: str, *, public_key_pem: bytes | None = None) -> NewClient:
        """Add a machine client. Raises: Malformed, Conflict, Refused."""
        with self._door.act(subject, Action.CLIENT_ADD, Resource(kind=ResourceKind.CLIENT, id=name)) as passage:
            client = clients.add(
                passage.connection, name, role, public_key_pem=public_key_pem, created_by=subject.id)
            passage.details |= {"client": client.client_id, "role": role}
        return client

    def clients_token(self, subject: Subject, name: str, *, seconds: float) -> tuple[str, int]:
        """Return (bearer token, seconds) for scripts of the operator. Raises: Missing, Refused."""
        with self._door.act(subject, Action.CLIENT_TOKEN, Resource(kind=ResourceKind.CLIENT, id=name)) as passage:
            client_id = clients.client_id_of(passage.connection, name)
            token = clients.make_token(
                passage.connection, client_id, seconds=seconds, factor="operator", now=self._clock())
            passage.details |= {"client": client_id, "seconds": int(seconds)}
        return token, int(seconds)

    def clients_list(self, subject: Subject) -> list[dict[str, Any]]:
        """Return all clients. Raises: Refused."""
        self._door.enter(subject, Action.CLIENT_LIST, Resource(kind=ResourceKind.CLIENT))
        with self._database.read() as connection:
            return clients.list_clients(connection)

    def clients_revoke(self, subject: Subject, name: str) -> None:
        """End a client and its tokens now. Raises: Missing, Refused."""
        with self._door.act(subject, Action.CLIENT_REVOKE, Resource(kind=ResourceKind.CLIENT, id=name)) as passage:
            clients.revoke(passage.connection, name)

    # --- devices ------------------------------------------------------------------------------------------------
    def devices_add(
        self, subject: Subject, ae_title: str, *, host: str = "", role: str = Role.MODALITY,
        certificate_pem: bytes | None = None, owner: str = "", until: float | None = None, port: int = 0,
    ) -> None:
        """Register a device. Raises: Malformed, Conflict, Missing (owner), Refused.

        A workstation or PACS without a certificate is a dated exception: it has an owner (whoever adds it, where none
        is named) and a last day (90 days from now, where none is given).
        """
        with self._door.act(subject, Action.DEVICE_ADD, _device(ae_title)) as passage:
            if owner:
                owner = people.find(passage.connection, owner).name
            if role in {Role.WORKSTATION, Role.PACS} and certificate_pem is None:
                owner, until = owner or subject.name, until or self._clock() + _EXCEPTION_SECONDS
            certificate = certificate_digest(certificate_pem) if certificate_pem else None
            devices.add(
                passage.connection, ae_title, host=host.strip(), role=str(role), certificate=certificate, owner=owner,
                until=until, created_by=subject.id, port=port,
            )
            raise_epoch(passage.connection)  # the DICOM TLS port learns of the certificate
            passage.details |= {"role": str(role), "host": host, "port": port, "owner": owner, "until": until or 0,
                                "certificate": certificate[1] if certificate else ""}

    def devices_issue(self, subject: Subject, ae_title: str) -> Issued:
        """Issue a certificate from the device CA and pin it to the device. Raises: Missing, Refused."""
        from datetime import UTC, datetime

        with self._door.act(subject, Action.DEVICE_ISSUE, _device(ae_title)) as passage:
            issued = issue_device(self._keys.device_authority(), ae_title, now=datetime.now(UTC))
            certificate = certificate_digest(issued.certificate_pem)
            devices.pin_certificate(passage.connection, ae_title, certificate)
            passage.details["certificate"] = certificate[1]
        return issued

    def devices_list(self, subject: Subject) -> list[dict[str, Any]]:
        """Return all devices. Raises: Refused."""
        self._door.enter(subject, Action.DEVICE_LIST, Resource(kind=ResourceKind.DEVICE))
        with self._database.read() as connection:
            return devices.list_devices(connection)

    def devices_revoke(self, subject: Subject, ae_title: str) -> None:
        """End a device's access now, open associations too. Raises: Missing, Refused."""
        with self._door.act(subject, Action.DEVICE_REVOKE, _device(ae_title)) as passage:
            devices.revoke(passage.connection, ae_title)

    # --- the home -----------------------------------------------------------------------------------------------
    def keys_status(self, subject: Subject) -> dict[str, Any]:
        """Say where the root key comes from, and what it opens; never a key. Raises: Refused."""
        self._door.enter(subject, Action.KEY_STATUS, _SYSTEM)
        with self._database.read() as connection:
            count = connection.execute(sa.select(sa.func.count()).select_from(t.study_keys)).scalar_one()
        return {"root_key": self._keys.source_name, "key_encryption_key": self._keys.kek_version, "study_keys": count}


def _person(name: str) -> Resource:
    if len(name) > 64:
        raise Malformed("a login name is at most 64 characters.")
    return Resource(kind=ResourceKind.PERSON, id=name.strip().lower())


def _device(ae_title: str) -> Resource:
    if len(ae_title) > 16:
        raise Malformed("an AE title is at most 16 characters.")
    return Resource(kind=ResourceKind.DEVICE, id=ae_title)
