"""The doctor: looks at the home's own configuration, and attacks the running server from outside."""

import datetime
import http.client
import json
import os
import socket
import ssl
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leadglass.errors import LeadglassError
from leadglass.network import ca
from leadglass.policy import load_policy
from leadglass.terms import Action, Resource, ResourceKind

if TYPE_CHECKING:
    from leadglass.access import House
    from leadglass.compose.home import Home
    from leadglass.terms import Subject

__all__ = ["Finding", "examine"]

_SAMPLES = 200


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing to mend: how bad, what it is, what to do."""

    severity: str  # "danger" or "warning"
    what: str
    do: str


def examine(home: "Home", house: "House", subject: "Subject") -> list[Finding]:
    """Return what should be mended; recorded. Raises: Refused."""
    house.door.enter(subject, Action.SYSTEM_CHECK, Resource(kind=ResourceKind.SYSTEM))
    return [*_keys(home), *_permissions(home), *_clear_text(home), *_space(house), *_certificates(home), *_policy(home),
            *_attack(home)]


def _keys(home: "Home") -> Iterator[Finding]:
    key = home.key_file
    if key is not None and key.exists() and key.stat().st_dev == home.settings.home.stat().st_dev:
        yield Finding(
            severity="warning", what=f"the root key ({key}) lies on the same volume as the home.",
            do="Whoever takes the disk has both. Put it on another volume, or use a systemd credential: key_source in "
               "leadglass.toml.")


def _permissions(home: "Home") -> Iterator[Finding]:
    for path in (home.settings.home, *sorted(home.settings.home.glob("*")), *sorted(home.settings.home.glob("keys/*")),
                 *sorted(home.settings.home.glob("tls/*"))):
        mode = path.stat().st_mode
        if path.parent != home.settings.home.parent and not _is_open(home.settings.home):
            continue  # behind a closed directory nobody gets to it
        if mode & 0o077:
            yield Finding(severity="danger", what=f"{path} can be reached by other users ({stat.filemode(mode)}).",
                          do=f"chmod go-rwx {path}")


def _is_open(path: Path) -> bool:
    return bool(path.stat().st_mode & 0o077)


def _clear_text(home: "Home") -> Iterator[Finding]:
    with home.settings.database_path.open("rb") as f:
        if f.read(15) == b"SQLite format 3":
            yield Finding(severity="danger", what="index.db is not encrypted.",
                          do="Stop the server and restore the home from a backup; report this.")
    for number, path in enumerate(p for p in home.settings.objects_dir.rglob("*") if p.is_file()):
        if number >= _SAMPLES:
            break
        with path.open("rb") as f:
            start = f.read(132)
        if start[128:] == b"DICM":
            yield Finding(severity="danger", what=f"{path.name} among the objects is not encrypted.",
                          do="Find out who put it there; remove it, and import it with leadglass import.")


def _space(house: "House") -> Iterator[Finding]:
    free = house.free_bytes()
    if free < 2 * house.settings.disk_reserve_bytes:
        yield Finding(severity="warning", what=f"only {free >> 20} MiB are free where objects lie.",
                      do="Add space: below disk_reserve_bytes nothing more is stored.")


def _certificates(home: "Home") -> Iterator[Finding]:
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=30)
    for name in ("web", "dicom", "web-ca", "device-ca"):
        end = ca.expires_at(home.certificates().directory / f"{name}.crt.pem")
        if end is None or end < soon:
            when = "is missing" if end is None else f"ends {end:%Y-%m-%d}"
            yield Finding(severity="warning", what=f"certificate {name} {when}.", do="Restart the server: it renews them.")


def _policy(home: "Home") -> Iterator[Finding]:
    try:
        load_policy(home.settings.policies_dir)
    except LeadglassError as e:
        yield Finding(severity="danger", what=str(e), do="Mend the file: the server does not start with it.")


# --- attacks on the running server ------------------------------------------------------------------------------
def _attack(home: "Home") -> Iterator[Finding]:
    try:
        ready: dict[str, Any] = json.loads((home.settings.run_dir / "ready.json").read_text("utf-8"))
        os.kill(int(ready["pid"]), 0)
    except (OSError, ValueError, KeyError):
        return  # not running: nothing to attack
    host = "127.0.0.1" if home.settings.bind in {"0.0.0.0", "::", ""} else home.settings.bind  # noqa: S104 - compared
    port = int(ready["https"].rpartition(":")[2])
    try:
        yield from _attack_web(home, host, port)
        yield from _attack_dicom(host, int(ready["dicom"]["port"]), home.settings.ae_title)
    except OSError as e:
        yield Finding(severity="warning", what=f"the running server could not be asked ({type(e).__name__}).",
                      do="Is it still starting? Run doctor again.")


def _attack_web(home: "Home", host: str, port: int) -> Iterator[Finding]:
    context = ssl.create_default_context(cafile=home.certificates().web_ca_path)
    for path in ("/dicomweb/studies", "/dicomweb/studies/1.2.3/metadata", "/ledger"):
        connection = http.client.HTTPSConnection(host, port, timeout=5, context=_named(context))
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        if answer.status not in {401, 303} or (answer.status == 401 and body):
            yield Finding(severity="danger", what=f"{path} answered a stranger with {answer.status}.",
                          do="Stop the server and report this.")
    old = ssl.create_default_context(cafile=home.certificates().web_ca_path)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    try:
        with socket.create_connection((host, port), timeout=5) as sock, old.wrap_socket(sock, server_hostname="localhost"):
            yield Finding(severity="danger", what="the web port speaks a TLS older than 1.3.", do="Report this.")
    except (ssl.SSLError, ConnectionError):
        return


def _named(context: ssl.SSLContext) -> ssl.SSLContext:
    """Addresses of the loopback are in our certificate; another bind address may not be."""
    context.check_hostname = False  # the chain is still verified: we want our own server, under whatever address
    return context


def _attack_dicom(host: str, port: int, ae_title: str) -> Iterator[Finding]:
    titles = ae_title.ljust(16).encode() + b"NOBODY-KNOWS-ME "
    context = b"\x10\x00\x00\x15" + b"1.2.840.10008.3.1.1.1"
    syntaxes = b"\x30\x00\x00\x11" + b"1.2.840.10008.1.1" + b"\x40\x00\x00\x11" + b"1.2.840.10008.1.2"
    context += b"\x20\x00" + (4 + len(syntaxes)).to_bytes(2, "big") + b"\x01\x00\x00\x00" + syntaxes
    body = b"\x00\x01\x00\x00" + titles + bytes(32) + context
    with socket.create_connection((host, port), timeout=5) as sock:
        sock.sendall(b"\x01\x00" + len(body).to_bytes(4, "big") + body)
        answer = sock.recv(10)
    if answer[:1] != b"\x03":
        yield Finding(severity="danger", what="the DICOM port answered an unknown AE title with something else than a "
                      "reject.", do="Stop the server and report this.")
