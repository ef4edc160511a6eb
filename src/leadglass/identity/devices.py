"""Application entities: known by AE title together with an address or a certificate. A title alone proves nothing."""

import ipaddress
import time
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from leadglass.dicom.values import is_valid_ae
from leadglass.errors import Conflict, Malformed, Missing, Unproven
from leadglass.storage import tables as t
from leadglass.storage.epoch import raise_epoch
from leadglass.terms import Role

__all__ = [
    "DEVICE_ROLES", "Device", "add", "certificates", "find", "list_devices", "pin_certificate", "recognise", "revoke", "touch",
]

DEVICE_ROLES: Final = frozenset({Role.MODALITY, Role.WORKSTATION, Role.PACS})


@dataclass(frozen=True, kw_only=True)
class Device:
    """One device as recognised, and how."""

    ae_title: str
    role: str
    factors: tuple[str, ...]
    is_excepted: bool = False  # has an owner and a last day: a dated exception, see policy


def add(
    connection: sa.Connection, ae_title: str, *, host: str, role: str, certificate: tuple[bytes, str] | None,
    owner: str, until: float | None, created_by: str, port: int = 0,
) -> None:
    """Register a device.

    Args: certificate: (PEM, hex SHA-256 of its DER). port: where it takes associations itself (C-MOVE); 0 = nowhere.
    Raises: Malformed, Conflict.
    """
    pem, certificate_sha256 = certificate or (None, "")
    if not is_valid_ae(ae_title):
        raise Malformed("an AE title is 1 to 16 characters, without backslash.")
    if role not in DEVICE_ROLES:
        raise Malformed("role: one of " + ", ".join(sorted(DEVICE_ROLES)) + ".")
    if not host and not certificate_sha256:
        raise Malformed("a device needs --host or --certificate: an AE title alone proves nothing.")
    if not 0 <= port <= 65535:
        raise Malformed("port: 1 to 65535.")
    if port and "/" in host:
        raise Malformed("a device that takes associations has one address, not a network.")
    if host:
        try:
            host = str(ipaddress.ip_network(host, strict=False))
        except ValueError as e:
            raise Malformed("host: a numeric address such as 10.1.2.3, or a network such as 10.1.2.0/28.") from e
    known = connection.execute(sa.select(t.devices.c.state).where(t.devices.c.ae_title == ae_title)).first()
    if known is not None and known.state == "active":
        raise Conflict(f"{ae_title} is registered already. To change it: leadglass devices revoke {ae_title}, then add.")
    if known is not None:
        connection.execute(sa.delete(t.devices).where(t.devices.c.ae_title == ae_title))
    connection.execute(sa.insert(t.devices).values(
        ae_title=ae_title, host=host, role=role, certificate_sha256=certificate_sha256,
        certificate_pem=pem, port=port, owner=owner, until=until, state="active", created_at=time.time(), created_by=created_by,
    ))


def recognise(
    connection: sa.Connection, ae_title: str, address: str, certificate_sha256: str | None, now: float
) -> Device:
    """Return the device that calls. Raises: Unproven, with nothing that tells which check failed.

    1 the title is registered, active and in time; 2 its network holds the address, where it has one; 3 its
    certificate is the one presented, where it has one. A device with a certificate is not taken without it.
    """
    row = connection.execute(sa.select(t.devices).where(t.devices.c.ae_title == ae_title)).first()
    is_known = row is not None and row.state == "active" and (row.until is None or row.until > now)  # step 1
    if not is_known or row is None:
        raise Unproven("calling AE title not recognised.")
    factors = ["ae-title"]
    if row.host:  # step 2
        if ipaddress.ip_address(address) not in ipaddress.ip_network(row.host):
            raise Unproven("calling AE title not recognised.")
        factors.append("address")
    if row.certificate_sha256:  # step 3
        if certificate_sha256 != row.certificate_sha256:
            raise Unproven("calling AE title not recognised.")
        factors.append("certificate")
    return Device(ae_title=ae_title, role=row.role, factors=tuple(factors), is_excepted=bool(row.owner and row.until))


def find(connection: sa.Connection, ae_title: str, now: float) -> Any:
    """Return the row of an active device whose time has not ended. Raises: Missing."""
    row = connection.execute(
        sa.select(t.devices).where(t.devices.c.ae_title == ae_title, t.devices.c.state == "active")).first()
    if row is None or (row.until is not None and row.until <= now):
        raise Missing("no active device of that AE title. See: leadglass devices list")
    return row


def pin_certificate(connection: sa.Connection, ae_title: str, certificate: tuple[bytes, str]) -> None:
    """Bind a certificate (PEM, digest) to an active device; an older one is no longer taken. Raises: Missing."""
    changed = connection.execute(
        sa.update(t.devices).where(t.devices.c.ae_title == ae_title, t.devices.c.state == "active")
        .values(certificate_pem=certificate[0], certificate_sha256=certificate[1])
    ).rowcount
    if not changed:
        raise Missing("no active device of that AE title. See: leadglass devices list")
    raise_epoch(connection)


def revoke(connection: sa.Connection, ae_title: str) -> None:
    """End a device's access; open associations end with the epoch. Raises: Missing."""
    changed = connection.execute(
        sa.update(t.devices).where(t.devices.c.ae_title == ae_title, t.devices.c.state == "active").values(state="revoked")
    ).rowcount
    if not changed:
        raise Missing("no active device of that AE title. See: leadglass devices list")
    raise_epoch(connection)


def touch(connection: sa.Connection, ae_title: str, now: float) -> None:
    """Write down when a device was last seen."""
    connection.execute(sa.update(t.devices).where(t.devices.c.ae_title == ae_title).values(last_seen_at=now))


def list_devices(connection: sa.Connection) -> list[dict[str, Any]]:
    """Return all devices, revoked ones too."""
    columns = [c for c in t.devices.c if c.name != "certificate_pem"]
    return [dict(row) for row in connection.execute(sa.select(*columns).order_by(t.devices.c.ae_title)).mappings()]


def certificates(connection: sa.Connection) -> list[bytes]:
    """Return the registered certificates (PEM) of active devices: the DICOM TLS port's anchors."""
    d = t.devices.c
    query = sa.select(d.certificate_pem).where(d.state == "active", d.certificate_pem.is_not(None))
    return [bytes(pem) for pem in connection.execute(query).scalars()]
