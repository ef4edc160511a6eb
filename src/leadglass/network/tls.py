"""TLS of the DICOM port: mutual, 1.2 or 1.3, forward secret, authenticated encryption only.

Ref: PS3.15 B.12 (BCP 195 profile), RFC 9325. Trust anchors are the device CA and the certificates that were
registered one by one; which device a certificate belongs to is decided by its digest, in identity/devices.py.
"""

import os
import ssl
from collections.abc import Iterable
from pathlib import Path, PosixPath
from typing import Self

from cryptography.hazmat.primitives import serialization

__all__ = ["dicom_context", "open_key", "trust_certificates"]

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


class _MemoryPath(PosixPath):
    """A path that must not be resolved: what it links to has no name."""

    def resolve(self, strict: bool = False) -> Self:  # noqa: ARG002 - the signature is the library's
        """Return itself."""
        return self


def dicom_context(chain: Path, key: Path, password: str, device_ca: Path) -> ssl.SSLContext:
    """Return the context of the DICOM TLS port. A peer without a certificate that we know gets no byte."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.verify_mode = ssl.CERT_REQUIRED
    # A registered certificate is an anchor by itself, also when a CA that we do not know has signed it.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_cert_chain(chain, key, password)
    context.load_verify_locations(device_ca)
    return context


def open_key(key: Path, password: str) -> Path:
    """Return a path to the decrypted key in anonymous memory, good in this process until it ends.

    The web server's TLS library opens no encrypted P-256 key; in clear the key never has a name on any disk.
    """
    opened = serialization.load_pem_private_key(key.read_bytes(), password.encode())
    descriptor = os.memfd_create("key", os.MFD_CLOEXEC)
    os.write(descriptor, opened.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    os.lseek(descriptor, 0, os.SEEK_SET)
    return _MemoryPath(f"/proc/self/fd/{descriptor}")


def trust_certificates(context: ssl.SSLContext, pems: Iterable[bytes]) -> None:
    """Add registered certificates to a live context.

    None is taken out: a revoked one still makes a TLS connection, and identity/devices.py then refuses the device.
    """
    for pem in pems:
        try:
            context.load_verify_locations(cadata=pem.decode("ascii"))
        except ssl.SSLError:  # OpenSSL 3 says so when it is there already
            continue
