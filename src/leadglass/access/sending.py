"""What leaves this archive by DICOM, and to whom: which instances, which device may have them, over which connection.

A destination gets only what it could read itself: the same policy decides it, on the plane by which it is reached. In
clear that is a device with a dated exception, and no other. See decision 0011.
"""

import contextlib
import ipaddress
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from leadglass.access.commitments import Commitments
from leadglass.access.door import Door
from leadglass.access.entrance import Entrance
from leadglass.access.operations import ARCHIVE, Operations
from leadglass.access.revocation import RevocationPage
from leadglass.access.search_scope import scope
from leadglass.archive.retrieve import InstanceRow
from leadglass.audit import Entry, Event, Outcome
from leadglass.dicom.references import Keys
from leadglass.errors import Busy, Missing, Refused
from leadglass.network.dial import Dialler
from leadglass.settings import Settings
from leadglass.storage import tables as t
from leadglass.storage.database import Database
from leadglass.terms import Action, Grant, Resource, ResourceKind, Subject

if TYPE_CHECKING:
    import socket

__all__ = ["Destination", "Selected", "Sending"]

_DIAL_SECONDS: Final = 10.0
_MOST_INSTANCES: Final = 65_535  # what the counts of a response can say. Ref: PS3.7 E.1


@dataclass(frozen=True, kw_only=True)
class Destination:
    """A registered device as we reach it."""

    subject: Subject
    ae_title: str
    host: str
    port: int
    pinned: tuple[bytes, str] | None  # its certificate: reached over TLS. None: in clear
    epoch: int


@dataclass(frozen=True, kw_only=True)
class Selected:
    """Instances of one study, under the grant that lets them out."""

    grant: Grant
    rows: list[InstanceRow]


class Sending:
    """One process's way out. Safe in threads."""

    def __init__(
        self, database: Database, door: Door, entrance: Entrance, operations: Operations, page: RevocationPage,
        commitments: Commitments, dialler: Dialler, settings: Settings, clock: Callable[[], float] = time.time,
    ) -> None:
        self._database, self._door, self._entrance, self._operations = database, door, entrance, operations
        self._page = page
        self.commitments = commitments
        self._dialler = dialler
        self._site = settings.site
        self._clock = clock
        self._places = threading.BoundedSemaphore(settings.max_outgoing)

    # --- who ------------------------------------------------------------------------------------------------------
    def destination(self, ae_title: str) -> Destination:
        """Return a registered device that takes associations. Raises: Missing (unknown, revoked, ended, no port)."""
        epoch = self._page.current()
        subject, row = self._entrance.destination(ae_title)
        network = ipaddress.ip_network(row.host) if row.host else None
        if network is None or network.num_addresses != 1 or not row.port:
            raise Missing("no device of that AE title takes associations: leadglass devices add AE --host IP --port PORT.")
        pinned = (bytes(row.certificate_pem), row.certificate_sha256) if row.certificate_sha256 else None
        return Destination(
            subject=subject, ae_title=ae_title, host=str(network.network_address), port=row.port, pinned=pinned, epoch=epoch)

    def receiver(self, ae_title: str) -> Destination:
        """Return a device that may be sent images. Raises: Missing, also where the policy gives it no right to read."""
        destination = self.destination(ae_title)
        if not self._door.decide(destination.subject, Action.STUDY_SEARCH, ARCHIVE).is_permitted:
            raise Missing("no device of that AE title may receive images.")
        return destination

    def check(self, destination: Destination) -> None:
        """Return if the device is still registered as it was. No database call unless the epoch has moved. Raises: Missing."""
        if self._page.current() == destination.epoch:
            return
        _, row = self._entrance.destination(destination.ae_title)
        if (row.certificate_sha256 or None) != (destination.pinned[1] if destination.pinned else None):
            raise Missing("the device was registered anew.")

    @contextlib.contextmanager
    def connection(self, destination: Destination) -> "Iterator[socket.socket]":
        """Give a connection to the device, closed at the end. Raises: Busy (not reached, too many), Refused (not it)."""
        if not self._places.acquire(blocking=False):
            raise Busy("too many associations go out at this moment.", retry_after_seconds=10)
        try:
            sock = self._dialler.dial(
                destination.host, destination.port, pinned=destination.pinned, seconds=_DIAL_SECONDS)
            with sock:
                yield sock
        finally:
            self._places.release()

    def echoed(self, subject: Subject, ae_title: str) -> Destination:
        """Return a device that the subject may call to see whether it answers. Raises: Refused, Missing."""
        self._door.enter(subject, Action.DEVICE_ECHO, Resource(kind=ResourceKind.DEVICE, id=ae_title))
        return self.destination(ae_title)

    # --- what -----------------------------------------------------------------------------------------------------
    def select(self, subject: Subject, keys: Keys, action: Action) -> list[Selected]:
        """Return the instances that `keys` name and `subject` may have, by study; each study is decided and recorded.

        What is refused is recorded, and looks to the asker as if it were not there.
        Args: action: STUDY_READ for what goes to the asker, STUDY_SEND for what goes to another.
        Raises: Refused, when the subject may not even search; Unproven, Busy.
        """
        self._door.enter(subject, Action.STUDY_SEARCH, ARCHIVE)
        found: list[Selected] = []
        room = _MOST_INSTANCES
        for study_uid in self._studies(subject, keys):
            try:
                grant = self._operations.study(subject, study_uid, action)
                rows = self._operations.locate(grant)
            except Missing:
                continue
            rows = [
                r for r in rows
                if (not keys.series_uids or r.series_uid in keys.series_uids)
                and (not keys.instance_uids or r.sop_instance_uid in keys.instance_uids)
            ]
            if len(rows) > room:
                raise Busy("more than 65,535 instances in one request; ask for less.")
            room -= len(rows)
            if rows:
                found.append(Selected(grant=grant, rows=rows))
        return found

    def _studies(self, subject: Subject, keys: Keys) -> list[str]:
        """Return the studies that hold what `keys` name; those of a patient only as far as the subject sees them."""
        s, e, i = t.studies.c, t.series.c, t.instances.c
        statement = sa.select(s.study_uid).distinct().order_by(s.study_uid)
        if keys.series_uids or keys.instance_uids:
            statement = statement.join_from(t.studies, t.series, e.study == s.id)
        if keys.series_uids:
            statement = statement.where(e.series_uid.in_(keys.series_uids))
        if keys.instance_uids:
            statement = statement.join(t.instances, i.series == e.id).where(i.sop_instance_uid.in_(keys.instance_uids))
        if keys.study_uids:
            statement = statement.where(s.study_uid.in_(keys.study_uids))
        if keys.patient_id:
            statement = statement.where(s.patient_id == keys.patient_id)
        if not (keys.study_uids or keys.series_uids or keys.instance_uids):
            statement = statement.where(scope(subject, site=self._site, now=self._clock()))
        with self._database.read() as connection:
            return [str(uid) for uid in connection.execute(statement).scalars()]

    # --- the record -----------------------------------------------------------------------------------------------
    def begin(self, selected: Selected, destination: Destination) -> None:
        """Record to whom a study goes, before its first byte. Raises: Refused (recorded): the device may not have it."""
        resource = selected.grant.resource
        decision = self._door.decide(destination.subject, Action.STUDY_READ, resource)
        self._door.record([self._entry(
            selected, destination, Event.DECISION, Outcome.DONE if decision.is_permitted else Outcome.REFUSED,
            {"instances": len(selected.rows), "destination_rule": decision.rule, "plane": str(destination.subject.peer.plane)})])
        if not decision.is_permitted:
            raise Refused("the destination may not have this study.")

    def end(self, selected: Selected, destination: Destination, *, sent: int, failed: int, octets: int) -> None:
        """Record what of a study has reached the destination."""
        self._door.record([self._entry(
            selected, destination, Event.OUTCOME, Outcome.FAILED if failed else Outcome.DONE,
            {"instances": sent, "failed": failed, "bytes": octets})])

    def _entry(
        self, selected: Selected, destination: Destination, event: str, outcome: str, details: dict[str, int | str]
    ) -> Entry:
        grant = selected.grant
        return Entry(
            event=event, action=Action.STUDY_SEND, outcome=outcome, subject=grant.subject, study_uid=grant.resource.id,
            patient_id=grant.resource.patient_id,
            details={"destination": destination.ae_title, "address": destination.host, "under": grant.receipt.index} | details,
        )
