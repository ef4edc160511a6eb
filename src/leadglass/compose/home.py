"""A home: its directory, its keys, its certificates, and the wiring of one process's house."""

import datetime
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from leadglass.access.administration import Administration, Keys
from leadglass.access.commitments import Commitments
from leadglass.access.door import Door
from leadglass.access.enrolment import Enrolment
from leadglass.access.entrance import Entrance
from leadglass.access.house import House
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
from leadglass.archive.life.scrub import Suspects
from leadglass.archive.pixels.decode import Decoder
from leadglass.audit import verify_ledger, write_checkpoint
from leadglass.crypto.keyring import Keyring, KeySource, create_source
from leadglass.crypto.signing import Signer, Verifier
from leadglass.errors import Malformed
from leadglass.identity.passkeys import RelyingParty
from leadglass.network import ca
from leadglass.network.dial import Dialler
from leadglass.network.tls import dicom_context, open_key
from leadglass.policy import load_policy
from leadglass.settings import Settings, config_dir, credentials_dir
from leadglass.storage.blobs import PosixBlobs
from leadglass.storage.database import Database
from leadglass.storage.migrate import is_current, migrate
from leadglass.storage.study_keys import StudyKeys

if TYPE_CHECKING:
    import ssl

_log = structlog.get_logger()

__all__ = ["Certificates", "Home", "init_home"]

_RENEW_DAYS = 30
_HOSTNAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """Where the server's certificates lie, and the password of their keys (never shown, never in argv)."""

    directory: Path
    password: str

    @property
    def web_ca_path(self) -> Path:
        """The CA that browsers are to trust."""
        return self.directory / "web-ca.crt.pem"

    @property
    def web_chain_path(self) -> Path:
        """The web server's certificate, then its CA."""
        return self.directory / "web.crt.pem"

    def open_web_key(self) -> Path:
        """Return a path to the web server's key, decrypted in this process's memory only."""
        return open_key(self.directory / "web.key.pem", self.password)

    def dicom_context(self) -> "ssl.SSLContext":
        """Return a fresh context of the DICOM TLS port."""
        return dicom_context(self.directory / "dicom.crt.pem", self.directory / "dicom.key.pem", self.password,
                             self.directory / "device-ca.crt.pem")

    def dialler(self) -> Dialler:
        """Return what opens our own connections to devices."""
        return Dialler(chain=self.directory / "dicom.crt.pem", key=self.directory / "dicom.key.pem", password=self.password)

    def __repr__(self) -> str:
        return f"<Certificates in {self.directory}>"


class Home:
    """An opened home. Opening reads keys and starts nothing; it is safe to fork afterwards."""

    def __init__(self, settings: Settings, keyring: Keyring, source: KeySource) -> None:
        self.settings = settings
        self._keyring = keyring
        self._source = source

    @classmethod
    def open(cls, settings: Settings, *, is_server: bool = False) -> "Home":
        """Open the home that `settings` name; a server also brings the schema up to date.

        Raises: Missing (no home, no root key), Damaged (wrong key), Malformed.
        """
        source = _source(settings)
        home = cls(settings, Keyring.open(settings.home, source), source)
        if is_server:
            database = home._database()
            if not is_current(database):
                migrate(database)
            database.close()  # nothing open may cross a fork
            load_policy(settings.policies_dir)  # a fault in it is said before the first port opens
        return home

    def with_ports(self, *, https: int, dicom: int, dicom_tls: int) -> "Home":
        """Return the same home with the ports that were really bound."""
        settings = replace(self.settings, https_port=https, dicom_port=dicom, dicom_tls_port=dicom_tls)
        return Home(settings, self._keyring, self._source)

    @property
    def key_source_name(self) -> str:
        """Say where the root key comes from."""
        return self._source.name

    @property
    def key_file(self) -> Path | None:
        """The file that holds the root secret, where it is a file."""
        return self._source.path()

    # --- certificates -------------------------------------------------------------------------------------------
    def certificates(self) -> Certificates:
        """Return where the certificates lie, without touching them."""
        return Certificates(directory=self.settings.home / "tls", password=self._keyring.derive("tls key password").hex())

    def device_authority(self) -> ca.Authority:
        """Open the device CA."""
        found = self.certificates()
        return ca.open_authority(found.directory, "device-ca", found.password.encode())

    def renew_certificates(self) -> Certificates:
        """Renew what ends within 30 days or names another host; return where they lie."""
        found = self.certificates()
        password, now = found.password.encode(), datetime.datetime.now(datetime.UTC)
        hostname = self.settings.hostname
        if not ca.permits(found.web_ca_path, hostname):
            # The name was changed: the old CA's constraints do not hold the new one, and passkeys die with the old.
            _log.warning("hostname_changed", now=hostname, passkeys="made for the old name work no more; invite their "
                         "owners anew: leadglass people enrol NAME", ca="is a new one; run leadglass trust again")
            _create_web_authority(found, hostname, now)
        for name, authority in (("web", "web-ca"), ("dicom", "device-ca")):
            path = found.directory / f"{name}.crt.pem"
            end = ca.expires_at(path)
            soon = now + datetime.timedelta(days=_RENEW_DAYS)
            is_client = name == "dicom"
            is_good = hostname in ca.names_of(path) and (not is_client or ca.proves_client(path))
            if end is None or end < soon or not is_good:
                signer = ca.open_authority(found.directory, authority, password)
                ca.issue_server(signer, found.directory, name, password, hostname=hostname, now=now, is_client=is_client)
        return found

    # --- the ledger's signature ---------------------------------------------------------------------------------
    @property
    def origin(self) -> str:
        """The name under which this home's ledger is signed."""
        return f"{self.settings.hostname}/leadglass"

    def _signer(self) -> Signer:
        return Signer(self.origin, self._keyring.derive("ledger checkpoint seed"))

    def write_checkpoint(self, database: Database) -> int:
        """Sign the present head of the ledger; return its size."""
        with database.read() as connection:
            return write_checkpoint(connection, self._signer(), self.origin, self.settings.home / "checkpoints")

    # --- the wiring ---------------------------------------------------------------------------------------------
    def _database(self) -> Database:
        return Database(self.settings.database_path, self._keyring.derive("index"))

    def base_url(self) -> str:
        """Return the URL that people type: of the running server, else as configured."""
        try:
            found: dict[str, Any] = json.loads((self.settings.run_dir / "ready.json").read_text("utf-8"))
            os.kill(int(found["pid"]), 0)
            return str(found["https"])
        except (OSError, ValueError, KeyError):
            return _origin(self.settings)

    @contextmanager
    def house(self) -> Iterator[House]:
        """Give one process's house; everything it opened is closed at the end."""
        settings = self.settings
        database = self._database()
        if not is_current(database):
            migrate(database)
        page = RevocationPage(database, settings.run_dir)
        door = Door(database, load_policy(settings.policies_dir), page, site=settings.site,
                    grant_seconds=settings.grant_seconds)
        study_keys = StudyKeys(database, self._keyring, page.current)
        suspects = Suspects()
        blobs = PosixBlobs(settings.objects_dir, suspects.add)
        archive = Archive(database, blobs, study_keys, settings, Decoder(settings))
        entrance = Entrance(database, door, page, settings)
        party = RelyingParty(rp_id=settings.hostname, origin=_origin(settings))
        keys = Keys(source_name=self.key_source_name, kek_version=self._keyring.kek_version,
                    device_authority=self.device_authority)
        verifier = Verifier(self._signer().vkey())
        operations = Operations(database, archive, door, site=settings.site)
        try:
            yield House(
                settings=settings, entrance=entrance, door=door,
                sign_in=SignIn(database, door, entrance, page, settings, party, self._keyring.derive("sign-in")),
                operations=operations,
                enrolment=Enrolment(database, entrance, settings, party, self._keyring.derive("sign-in")),
                administration=Administration(database, door, settings, keys, self.base_url),
                keeping=Keeping(database, door, archive, suspects=suspects),
                ledger_reader=LedgerReader(
                    database, door,
                    lambda c: verify_ledger(c, verifier, self.origin, settings.home / "checkpoints"), time.time),
                sending=Sending(database, door, entrance, operations, page, Commitments(database, archive, door),
                                self.certificates().dialler(), settings),
                reconciliation=Reconciliation(database, door, archive), life=StudyLife(database, door),
                reconcile_chores=ReconcileChores(database, door, archive),
                page=page, database=database, archive=archive, import_secret=self._keyring.derive("import journal"),
            )
            door.flush_counts()
        finally:
            page.close()
            archive.close()
            database.close()


def _origin(settings: Settings) -> str:
    """Return the web origin, as browsers write it."""
    host = f"[{settings.hostname}]" if ":" in settings.hostname else settings.hostname
    return f"https://{host}" + ("" if settings.https_port == 443 else f":{settings.https_port}")


def _source(settings: Settings) -> KeySource:
    return create_source(settings.key_source, settings.home, config_dir=config_dir(), credentials_dir=credentials_dir())


def init_home(settings: Settings, *, hostname: str, key_source: str = "") -> bool:
    """Make keys, database, settings file and both CAs in an empty directory; return whether it is new.

    Raises: Malformed (name, key source), Conflict, OSError. A home that is there is left as it is.
    """
    home = settings.home
    if (home / "keys" / "keyring.json").exists():
        return False
    hostname = hostname.strip().lower().rstrip(".")
    if not _HOSTNAME.fullmatch(hostname):
        raise Malformed("hostname: a DNS name such as pacs.example.org. Passkeys work with no bare address.")
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(p.name not in {"leadglass.toml", "policies", "lost+found"} for p in home.iterdir()):
        raise Malformed(f"{home} holds other files; choose an empty directory.")
    home.chmod(0o700)
    settings = replace(settings, hostname=hostname, key_source=key_source or settings.key_source)
    source = _source(settings)
    _write_settings(home, hostname, settings.key_source)
    keyring = Keyring.create(home, source)
    opened = Home(settings, keyring, source)
    found = opened.certificates()
    now = datetime.datetime.now(datetime.UTC)
    _create_web_authority(found, hostname, now)
    ca.create_authority(found.directory, "device-ca", found.password.encode(), only_for=None, now=now,
                        common_name=f"Leadglass device CA of {hostname}"[:64])
    opened.renew_certificates()
    settings.policies_dir.mkdir(mode=0o700, exist_ok=True)
    database = opened._database()  # noqa: SLF001 - our own
    migrate(database)
    database.close()
    return True


def _create_web_authority(found: Certificates, hostname: str, now: datetime.datetime) -> None:
    ca.create_authority(found.directory, "web-ca", found.password.encode(), only_for=hostname, now=now,
                        common_name=f"Leadglass web CA of {hostname}"[:64])


def _write_settings(home: Path, hostname: str, key_source: str) -> None:
    path = home / "leadglass.toml"
    known = path.read_text("utf-8") if path.exists() else "# Settings of this home: docs/reference/settings.md\n"
    for name, value in (("hostname", hostname), ("key_source", key_source)):
        if value and not re.search(rf"^{name}\s*=", known, re.MULTILINE):
            known += f"{name} = {json.dumps(value)}\n"
    path.write_text(known, "utf-8")
    path.chmod(0o600)
