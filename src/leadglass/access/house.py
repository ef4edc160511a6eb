"""The house as its faces see it: one object, made by compose, handed to web, dimse and the command line."""

import time
from dataclasses import dataclass, field

import sqlalchemy as sa

from leadglass.access.administration import Administration
from leadglass.access.door import Door
from leadglass.access.enrolment import Enrolment
from leadglass.access.entrance import Entrance
from leadglass.access.keeping import Keeping
from leadglass.access.ledger_reader import LedgerReader
from leadglass.access.operations import Operations
from leadglass.access.reconcile_chores import ReconcileChores
from leadglass.access.reconciliation import Reconciliation
from leadglass.access.revocation import RevocationPage
from leadglass.access.sending import Sending
from leadglass.access.sign_in import SignIn
from leadglass.access.study_life import StudyLife
from leadglass.archive import Archive
from leadglass.archive.series_models import prepare
from leadglass.identity import devices
from leadglass.settings import Settings
from leadglass.storage import tables as t
from leadglass.storage.database import Database

__all__ = ["House"]


@dataclass(frozen=True, kw_only=True)
class House:
    """One process's house. Faces use the first nine; compose keeps the rest going."""

    settings: Settings
    entrance: Entrance
    door: Door
    sign_in: SignIn
    operations: Operations
    enrolment: Enrolment
    administration: Administration
    ledger_reader: LedgerReader
    sending: Sending
    keeping: Keeping
    reconciliation: Reconciliation
    life: StudyLife
    reconcile_chores: ReconcileChores

    page: RevocationPage
    database: Database
    archive: Archive
    import_secret: bytes = field(repr=False)

    def dicom_certificates(self) -> list[bytes]:
        """Return the registered certificates (PEM) of devices: anchors of the DICOM TLS port."""
        with self.database.read() as connection:
            return devices.certificates(connection)

    def import_key(self) -> bytes:
        """Return the key of the import journal's hashes."""
        return self.import_secret

    def free_bytes(self) -> int:
        """Return the free space where objects lie, in bytes."""
        return self.archive.blobs.free_bytes()

    def prepare_models(self, *, settled_seconds: float = 3.0) -> int:
        """Make the metadata of series of which nothing has come for so long; return how many were made.

        A chore that shows nothing to anybody: what is made is read behind the door, and recorded there.
        """
        return prepare(self.archive, before=time.time() - settled_seconds)

    def sweep(self, *, older_than_seconds: float) -> int:
        """Delete objects that no instance, version in quarantine or derived object names; return how many."""

        def is_known(name: str) -> bool:
            with self.database.read() as connection:
                for table in (t.instances, t.quarantine, t.derived_objects):
                    if connection.execute(sa.select(table.c.id).where(table.c.object_name == name)).first():
                        return True
            return False

        return self.archive.blobs.sweep(is_known, older_than_seconds)
