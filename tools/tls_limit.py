"""What TLS lets through on this machine, with nothing behind it: the limit that no archive here can exceed.

    python tools/tls_limit.py           # prints MB/s of one whole answer, and of many small ones over 8 connections

The same web server as ours, with the same settings, sends bytes that lie in memory: no archive, no policy, no cipher but that of
TLS. The client is the one that measures studies (curl) or frames (wrk), on the same cores.
"""

import argparse
import asyncio
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = ["measure"]

ANSWER = 157_000_000  # bytes: a study of 300 CT slices
SMALL = 525_000  # bytes: one slice
_PIECE = 1 << 18
_ONCE = 1 << 20


def measure(*, answer_bytes: int = ANSWER, connections: int = 1, rounds: int = 5, seconds: int = 3) -> float:
    """Return MB/s of answers of `answer_bytes` over TLS 1.3: the median of `rounds` by curl one after the other.

    With more than one connection: what wrk takes on all of them in `seconds`.
    """
    with tempfile.TemporaryDirectory(prefix="tls-limit-") as folder:
        chain, key = Path(folder) / "chain.pem", Path(folder) / "key.pem"
        _make_certificate(chain, key)
        server = subprocess.Popen(
            [sys.executable, __file__, "--serve", str(chain), str(key), str(answer_bytes)], stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            _wait_for(port)
            url = f"https://127.0.0.1:{port}/"
            if connections > 1:
                return _many(url, answer_bytes, connections, seconds)
            return statistics.median(_one(url, chain, answer_bytes) for _ in range(rounds))
        finally:
            server.terminate()
            server.communicate(timeout=20)


def _wait_for(port: int) -> None:
    end = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
        else:
            return


def _one(url: str, chain: Path, size: int) -> float:
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--fail", "--http1.1", "--cacert", str(chain), "--output", "/dev/null",
         "--write-out", "%{time_total} %{size_download}", url], capture_output=True, text=True, check=True, timeout=120)
    seconds, got = done.stdout.split()
    assert int(got) == size, f"{got} of {size} bytes"
    return size / float(seconds) / 1e6


def _many(url: str, size: int, connections: int, seconds: int) -> float:
    done = subprocess.run(["wrk", "-t2", f"-c{connections}", f"-d{seconds}s", url], capture_output=True, text=True, check=True,
                          timeout=seconds + 60)
    found = re.search(r"Requests/sec:\s+([0-9.]+)", done.stdout)
    assert found, done.stdout
    return float(found[1]) * size / 1e6


def _make_certificate(chain: Path, key_path: Path) -> None:
    """Write a certificate for the loopback that is good for an hour, of the kind that our own authority makes."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tls-limit")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.touch(mode=0o600)
    key_path.write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


# --- the server -----------------------------------------------------------------------------------------------
def _application(size: int) -> Callable[..., Awaitable[None]]:
    """Return an ASGI application that answers everything with `size` bytes of memory, in pieces."""
    step = size if size <= _ONCE else _PIECE  # what went fastest here
    piece = bytes(step)
    pieces = [piece] * (size // step) + ([piece[: size % step]] if size % step else [])

    async def application(scope: dict[str, Any], receive: object, send: Callable[..., Awaitable[None]]) -> None:
        del receive
        if scope["type"] != "http":
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % size)]})
        for data in pieces:
            await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return application


async def _serve(chain: Path, key: Path, size: int) -> None:
    """Serve as compose/workers.py does, until the end of the process."""
    from granian.constants import Interfaces, SSLProtocols
    from granian.server.embed import Server

    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    server = Server(
        _application(size), address="127.0.0.1", port=port, interface=Interfaces.ASGI, websockets=False, log_enabled=False,
        backlog=1024, ssl_cert=chain, ssl_key=key, ssl_protocol_min=SSLProtocols.tls13,
    )
    print(port, flush=True)
    await server.serve()


def main() -> int:
    """Print both limits."""
    parser = argparse.ArgumentParser(description="What TLS lets through here.")
    parser.add_argument("--serve", nargs=3, metavar=("CHAIN", "KEY", "BYTES"), help=argparse.SUPPRESS)
    given = parser.parse_args().serve
    if given:
        asyncio.run(_serve(Path(given[0]), Path(given[1]), int(given[2])))
        return 0
    print(f"one answer of {ANSWER / 1e6:.0f} MB: {measure():.0f} MB/s")
    print(f"answers of {SMALL / 1e3:.0f} kB over 8 connections: {measure(answer_bytes=SMALL, connections=8):.0f} MB/s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
