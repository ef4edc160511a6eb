"""Connections that we open: to registered devices, by numeric address, in clear or over mutual TLS with a pinned peer."""

import hashlib
import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from leadglass.errors import Busy, Refused

__all__ = ["Dialler"]

_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"


@dataclass(frozen=True, kw_only=True)
class Dialler:
    """What we present to peers that we call: the DICOM port's own certificate."""

    chain: Path
    key: Path
    password: str = field(repr=False)

    def dial(
        self, host: str, port: int, *, pinned: tuple[bytes, str] | None, seconds: float
    ) -> "socket.socket | ssl.SSLSocket":
        """Return a connection to `host`, TCP_NODELAY; over TLS where a certificate is pinned.

        1 the TCP connection; 2 the handshake, ours presented, with the pinned certificate as the only anchor; 3 the
        certificate that was presented is the pinned one, not one that it has signed.
        Args: pinned: (PEM, hex SHA-256 of its DER). seconds: for all of it. Raises: Busy (not reached), Refused (another
        than the registered device answers).
        """
        try:
            sock = socket.create_connection((host, port), timeout=seconds)  # step 1
        except OSError as e:
            raise Busy(f"the device does not answer at {host} port {port}: {_why(e)}.") from e
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if pinned is None:
                return sock
            tls = self._context(pinned[0]).wrap_socket(sock)  # step 2
            der = tls.getpeercert(binary_form=True) or b""
            if hashlib.sha256(der).hexdigest() != pinned[1]:  # step 3
                tls.close()
                raise Refused("the device presents another certificate than the one registered for it.")
        except ssl.SSLCertVerificationError as e:
            sock.close()
            raise Refused("the device presents another certificate than the one registered for it, or an ended one.") from e
        except OSError as e:
            sock.close()
            raise Busy(f"the device at {host} port {port} does not speak TLS with us: {_why(e)}.") from e
        return tls

    def _context(self, pem: bytes) -> ssl.SSLContext:
        """Return a client context that believes one certificate. Ref: PS3.15 B.12, RFC 9325."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(_CIPHERS)
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        context.check_hostname = False  # the pin says more than a name: devices have addresses
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(cadata=pem.decode("ascii"))
        context.load_cert_chain(self.chain, self.key, self.password)
        return context


def _why(error: OSError) -> str:
    """Return what the operating system or the TLS library says, without what a peer could have put there."""
    if isinstance(error, ssl.SSLError):
        return str(error.reason or "handshake failed").lower().replace("_", " ")
    return "no answer in time" if isinstance(error, TimeoutError) else str(error.strerror or type(error).__name__).lower()
