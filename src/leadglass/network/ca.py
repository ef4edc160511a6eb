"""The home's two certificate authorities and the certificates they give out.

Keys are P-256, kept as encrypted PKCS#8 under a password that the keyring derives. The web CA carries critical name
constraints: a browser that trusts it believes it about this home's host names and nothing else.
Ref: RFC 5280 4.2.1.10; CA/Browser Forum BR 6.3.2 (397 days).
"""

import datetime
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from leadglass.errors import Damaged, Malformed, Missing

__all__ = ["Authority", "Issued", "certificate_digest", "create_authority", "expires_at", "issue_device", "issue_server",
           "names_of", "open_authority", "permits", "proves_client"]

_CA_DAYS: Final = 3650
_LEAF_DAYS: Final = 397
_BACKDATED: Final = datetime.timedelta(hours=1)  # clocks of modalities run late


@dataclass(frozen=True, kw_only=True)
class Authority:
    """An opened authority; `key` is in memory only."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def pem(self) -> bytes:
        """Return the CA certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)


@dataclass(frozen=True, kw_only=True)
class Issued:
    """A key made for a device; it exists here and nowhere else."""

    private_key_pem: bytes
    certificate_pem: bytes
    ca_pem: bytes


def _names(hostname: str) -> list[x509.GeneralName]:
    """Return the names that are ours: the host name and the loopback."""
    names: list[x509.GeneralName] = [
        x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.IPAddress(ipaddress.ip_address("::1")),
    ]
    try:
        names.insert(0, x509.IPAddress(ipaddress.ip_address(hostname)))
    except ValueError:
        if hostname != "localhost":
            names.insert(0, x509.DNSName(hostname))
    return names


def _constraint(name: x509.GeneralName) -> x509.GeneralName:
    return x509.IPAddress(ipaddress.ip_network(name.value)) if isinstance(name, x509.IPAddress) else name


def create_authority(
    directory: Path, name: str, password: bytes, *, common_name: str, only_for: str | None, now: datetime.datetime
) -> None:
    """Make an authority in `directory`: `<name>.crt.pem` and the encrypted `<name>.key.pem`.

    Args: only_for: the host name that critical name constraints bind it to; None for the device CA, whose only reader
    is our own DICOM port.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = _builder(subject, subject, key.public_key(), now, _CA_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    purpose = ExtendedKeyUsageOID.SERVER_AUTH
    if only_for is not None:
        permitted = [_constraint(n) for n in _names(only_for)]
        builder = builder.add_extension(x509.NameConstraints(permitted, None), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    certificate = builder.sign(key, hashes.SHA256())
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write(directory / f"{name}.key.pem", _private_pem(key, password))
    _write(directory / f"{name}.crt.pem", certificate.public_bytes(serialization.Encoding.PEM))


def open_authority(directory: Path, name: str, password: bytes) -> Authority:
    """Return the authority. Raises: Missing, Damaged."""
    try:
        certificate = x509.load_pem_x509_certificate((directory / f"{name}.crt.pem").read_bytes())
        key = serialization.load_pem_private_key((directory / f"{name}.key.pem").read_bytes(), password)
    except FileNotFoundError as e:
        raise Missing(f"tls/{name}: its files are gone; restore them from a backup.") from e
    except (ValueError, TypeError) as e:
        raise Damaged(f"tls/{name}: cannot be read with this home's keys.") from e
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise Damaged(f"tls/{name}: key and certificate do not belong together.")
    return Authority(certificate=certificate, key=key)


def issue_server(
    authority: Authority, directory: Path, name: str, password: bytes, *, hostname: str, now: datetime.datetime,
    is_client: bool = False,
) -> None:
    """Write a fresh server key and its chain: `<name>.key.pem` (encrypted) and `<name>.crt.pem` (leaf, then CA).

    Args: is_client: it also proves us to those that we call, as the DICOM port's does.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname[:64])])
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH] + ([ExtendedKeyUsageOID.CLIENT_AUTH] if is_client else [])
    builder = _leaf(authority, subject, key.public_key(), now, *purposes)
    builder = builder.add_extension(x509.SubjectAlternativeName(_names(hostname)), critical=False)
    certificate = builder.sign(authority.key, hashes.SHA256())
    _write(directory / f"{name}.key.pem", _private_pem(key, password))
    _write(directory / f"{name}.crt.pem",
           certificate.public_bytes(serialization.Encoding.PEM) + authority.pem())


def issue_device(authority: Authority, ae_title: str, *, now: datetime.datetime) -> Issued:
    """Return a key and client certificate for an AE title; usable as a server too (C-STORE sub-operations)."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ae_title)])
    builder = _leaf(authority, subject, key.public_key(), now, ExtendedKeyUsageOID.CLIENT_AUTH,
                    ExtendedKeyUsageOID.SERVER_AUTH)
    certificate = builder.sign(authority.key, hashes.SHA256())
    return Issued(
        private_key_pem=key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        certificate_pem=certificate.public_bytes(serialization.Encoding.PEM), ca_pem=authority.pem(),
    )


def certificate_digest(pem: bytes) -> tuple[bytes, str]:
    """Return (PEM of the one certificate, hex SHA-256 of its DER). Raises: Malformed."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except ValueError as e:
        raise Malformed("the certificate is no PEM of an X.509 certificate.") from e
    return certificate.public_bytes(serialization.Encoding.PEM), certificate.fingerprint(hashes.SHA256()).hex()


def expires_at(path: Path) -> datetime.datetime | None:
    """Return when the first certificate of a PEM file ends; None where there is none."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except (FileNotFoundError, ValueError):
        return None


def names_of(path: Path) -> set[str]:
    """Return the subject alternative names of the first certificate of a PEM file."""
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (FileNotFoundError, ValueError, x509.ExtensionNotFound):
        return set()
    return {str(n.value) for n in names}


def proves_client(path: Path) -> bool:
    """Return whether the first certificate of a PEM file is good for client authentication."""
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (FileNotFoundError, ValueError, x509.ExtensionNotFound):
        return False
    return ExtendedKeyUsageOID.CLIENT_AUTH in usage


def permits(path: Path, hostname: str) -> bool:
    """Return whether the CA in `path` may speak for `hostname`, as its name constraints say."""
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        constraints = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    except (FileNotFoundError, ValueError, x509.ExtensionNotFound):
        return False
    return _constraint(_names(hostname)[0]) in (constraints.permitted_subtrees or [])


def _leaf(
    authority: Authority, subject: x509.Name, public: ec.EllipticCurvePublicKey, now: datetime.datetime,
    *purposes: x509.ObjectIdentifier,
) -> x509.CertificateBuilder:
    builder = _builder(subject, authority.certificate.subject, public, now, _LEAF_DAYS)
    for extension, is_critical in (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_usage(digital_signature=True), True),
        (x509.ExtendedKeyUsage(list(purposes)), False),
        (x509.SubjectKeyIdentifier.from_public_key(public), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), False),
    ):
        builder = builder.add_extension(extension, critical=is_critical)
    return builder


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: datetime.datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public)
        .serial_number(x509.random_serial_number()).not_valid_before(now - _BACKDATED)
        .not_valid_after(now - _BACKDATED + datetime.timedelta(days=days))
    )


def _usage(**true: bool) -> x509.KeyUsage:
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{n: true.get(n, False) for n in names})


def _private_pem(key: ec.EllipticCurvePrivateKey, password: bytes) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                             serialization.BestAvailableEncryption(password))


def _write(path: Path, data: bytes) -> None:
    """Write a whole file or none, readable by its owner only."""
    new = path.with_name(path.name + ".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())
    new.replace(path)
