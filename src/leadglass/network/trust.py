"""Put the web CA into this user's browser and OS stores, and take it out again. Changes nothing without being told.

Stores: NSS databases (Chromium's, and each Firefox profile) by certutil; the OS store by update-ca-certificates,
where this user may write there.
"""

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from leadglass.errors import LeadglassError, Malformed

__all__ = ["Store", "stores_here", "trust_ca", "untrust_ca"]

_OS_DIR = Path("/usr/local/share/ca-certificates")


@dataclass(frozen=True, kw_only=True)
class Store:
    """One place where this user's programs look for CAs."""

    kind: str  # "nss" or "os"
    path: Path

    def __str__(self) -> str:
        return f"{'browser store' if self.kind == 'nss' else 'operating system store'} {self.path}"


def stores_here() -> list[Store]:
    """Return the stores that can be changed here."""
    found = []
    if shutil.which("certutil"):
        found.append(Store(kind="nss", path=Path.home() / ".pki" / "nssdb"))
        found += [
            Store(kind="nss", path=database.parent)
            for pattern in (".mozilla/firefox/*/cert9.db", "snap/firefox/common/.mozilla/firefox/*/cert9.db")
            for database in sorted(Path.home().glob(pattern))
        ]
    if shutil.which("update-ca-certificates") and os.access(_OS_DIR, os.W_OK):
        found.append(Store(kind="os", path=_OS_DIR))
    return found


def _nickname(ca: Path) -> str:
    """Return a name that two homes do not share."""
    return "Leadglass " + hashlib.sha256(ca.read_bytes()).hexdigest()[:12]


def trust_ca(ca: Path) -> list[str]:
    """Put `ca` into every store; return what was done. Raises: Malformed, naming the store that refused."""
    done = []
    for store in stores_here():
        if store.kind == "nss":
            if not (store.path / "cert9.db").exists():
                store.path.mkdir(mode=0o700, parents=True, exist_ok=True)
                _run(store, "certutil", "-N", "-d", f"sql:{store.path}", "--empty-password")
            _run(store, "certutil", "-A", "-d", f"sql:{store.path}", "-t", "C,,", "-n", _nickname(ca), "-i", str(ca))
        else:
            shutil.copyfile(ca, _os_path(ca))
            _run(store, "update-ca-certificates")
        done.append(str(store))
    return done


def untrust_ca(ca: Path) -> list[str]:
    """Take `ca` out of every store that holds it; return which."""
    done = []
    for store in stores_here():
        if store.kind == "nss":
            if (store.path / "cert9.db").exists() and _is_there(store, ca):
                _run(store, "certutil", "-D", "-d", f"sql:{store.path}", "-n", _nickname(ca))
                done.append(str(store))
        elif _os_path(ca).exists():
            _os_path(ca).unlink()
            _run(store, "update-ca-certificates", "--fresh")
            done.append(str(store))
    return done


def _os_path(ca: Path) -> Path:
    return _OS_DIR / (_nickname(ca).lower().replace(" ", "-") + ".crt")


def _is_there(store: Store, ca: Path) -> bool:
    try:
        _run(store, "certutil", "-L", "-d", f"sql:{store.path}", "-n", _nickname(ca))
    except LeadglassError:
        return False
    return True


def _run(store: Store, *command: str) -> None:
    result = subprocess.run(command, capture_output=True, timeout=60, check=False)  # noqa: S603 - fixed verbs, no shell
    if result.returncode:
        raise Malformed(f"{store}: {command[0]} refused. Close the browser and try again, or import the CA by hand.")
