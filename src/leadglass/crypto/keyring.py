"""Keys: a root that lies outside the home, key-encryption keys by version, and derived secrets.

Hierarchy: root (key source) -> key-encryption key, versioned -> study data key. `keyring.json` in the home holds the
key-encryption keys and the home's secret, each wrapped by the root with AES-256-GCM under a random nonce. A copy of
the home without the root is noise.
"""

import base64
import contextlib
import hashlib
import hmac
import json
import os
import secrets
from pathlib import Path
from typing import Any, Protocol

from argon2.low_level import Type, hash_secret_raw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from leadglass.errors import Conflict, Damaged, Malformed, Missing

__all__ = ["KeySource", "Keyring", "create_source"]

_NONCE = 12


class KeySource(Protocol):
    """Where the root key comes from. Asked once a start."""

    name: str  # for people: says the kind and the place, never the key

    def root(self) -> bytes:
        """Return the 32-byte root key. Raises: Missing, Malformed."""

    def make(self) -> None:
        """Make a root key where the source can; does nothing where one is there already."""

    def path(self) -> Path | None:
        """Return the file that holds the secret, where it is a file."""


class _FileSource:
    """A key file, mode 0600, 64 hex digits."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name = f"key file {path}"

    def root(self) -> bytes:
        try:
            if self._path.stat().st_mode & 0o077:
                raise Malformed(f"{self.name} can be read by others. Mend: chmod 600 {self._path}")
            return _key_of(self._path.read_text("ascii"), self.name)
        except OSError as e:
            raise Missing(f"{self.name} cannot be read. Put the copy back that you keep in a safe place.") from e

    def make(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as f:
                f.write(secrets.token_hex(32) + "\n")
                f.flush()
                os.fsync(f.fileno())

    def path(self) -> Path | None:
        return self._path


class _CredentialSource(_FileSource):
    """A systemd credential (LoadCredential= or LoadCredentialEncrypted=)."""

    def __init__(self, name: str, directory: Path | None) -> None:
        if directory is None:
            raise Missing(f"credential {name}: not started by systemd with LoadCredential={name}:PATH.")
        super().__init__(directory / name)
        self.name = f"systemd credential {name}"

    def root(self) -> bytes:
        try:
            return _key_of((self._path).read_text("ascii"), self.name)
        except OSError as e:
            raise Missing(f"{self.name} cannot be read. See LoadCredential= in the unit.") from e

    def make(self) -> None:
        self.root()


class _PassphraseSource:
    """A passphrase in a file (or pipe), stretched by Argon2id with a salt that is kept in the home."""

    def __init__(self, path: Path, home: Path) -> None:
        self._path = path
        self._salt = home / "keys" / "root.salt"
        self.name = f"passphrase in {path}"

    def root(self) -> bytes:
        try:
            phrase = self._path.read_bytes().rstrip(b"\r\n")
            salt = self._salt.read_bytes()
        except OSError as e:
            raise Missing(f"{self.name} cannot be read.") from e
        if len(phrase) < 20:
            raise Malformed(f"{self.name}: at least 20 characters, please; six random words are good.")
        return hash_secret_raw(phrase, salt, time_cost=3, memory_cost=262144, parallelism=4, hash_len=32, type=Type.ID)

    def make(self) -> None:
        self._salt.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._salt.exists():
            self._salt.write_bytes(secrets.token_bytes(32))
        self.root()

    def path(self) -> Path | None:
        return self._path


def _key_of(text: str, name: str) -> bytes:
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) != 32:
        raise Malformed(f"{name}: 64 hex digits are wanted. Make one: openssl rand -hex 32")
    return key


def create_source(spec: str, home: Path, *, config_dir: Path, credentials_dir: Path | None) -> KeySource:
    """Return the source that settings.key_source names; "" is a key file of this user, outside the home.

    Raises: Malformed, for an unknown kind and for a key inside the home it would open.
    """
    kind, _, rest = spec.partition(":")
    if not spec:
        home_id = hashlib.sha256(str(home.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:16]
        return _FileSource(config_dir / "keys" / f"{home_id}.key")
    if kind == "credential":
        return _CredentialSource(rest, credentials_dir)
    path = Path(rest).expanduser()
    if kind not in {"file", "passphrase-file"} or not path.is_absolute():
        raise Malformed("key_source: file:/PATH, passphrase-file:/PATH or credential:NAME.")
    if path.resolve().is_relative_to(home.resolve()):
        raise Malformed("key_source: the root key must lie outside the home that it opens.")
    return _FileSource(path) if kind == "file" else _PassphraseSource(path, home)


class Keyring:
    """The opened keys of a home. Holds secrets: never printed, pickled or logged."""

    def __init__(self, keks: dict[int, bytes], secret: bytes) -> None:
        self._keks = keks
        self._secret = secret
        self.kek_version = max(keks)

    def __repr__(self) -> str:
        return f"<Keyring, key-encryption key {self.kek_version}>"

    @classmethod
    def create(cls, home: Path, source: KeySource) -> "Keyring":
        """Make the keyring of a new home. Raises: Conflict, where one is there already."""
        path = _path(home)
        if path.exists():
            raise Conflict("this home has its keys already.")
        source.make()
        root = source.root()
        keks, secret = {1: secrets.token_bytes(32)}, secrets.token_bytes(32)
        document = {
            "version": 1,
            "keks": {"1": _wrap(root, keks[1], b"leadglass kek 1")},
            "secret": _wrap(root, secret, b"leadglass home secret"),
        }
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as f:
            json.dump(document, f, indent=1)
            f.flush()
            os.fsync(f.fileno())
        new.replace(path)
        return cls(keks, secret)

    @classmethod
    def open(cls, home: Path, source: KeySource) -> "Keyring":
        """Open the keyring of a home. Raises: Missing, Damaged (also for a wrong root key)."""
        try:
            document: dict[str, Any] = json.loads(_path(home).read_text("ascii"))
            wrapped = {int(v): _bytes(w) for v, w in document["keks"].items()}
            secret = _bytes(document["secret"])
        except FileNotFoundError as e:
            raise Missing(f"{home} is no home yet. Make it one: leadglass init --home {home}") from e
        except (ValueError, KeyError, AttributeError, TypeError) as e:
            raise Damaged("keys/keyring.json cannot be read; restore it from a backup.") from e
        root = source.root()
        wrong = f"{source.name} does not open this home's keys: another home's key, or keyring.json was changed."
        keks = {v: _unwrap(root, w, b"leadglass kek %d" % v, wrong) for v, w in wrapped.items()}
        return cls(keks, _unwrap(root, secret, b"leadglass home secret", wrong))

    def wrap(self, key: bytes, context: bytes) -> tuple[int, bytes]:
        """Return (version, wrapped key), bound to `context` so that two keys cannot be swapped."""
        nonce = secrets.token_bytes(_NONCE)
        return self.kek_version, nonce + AESGCM(self._keks[self.kek_version]).encrypt(nonce, key, context)

    def unwrap(self, version: int, wrapped: bytes, context: bytes) -> bytes:
        """Return the key. Raises: Damaged."""
        kek = self._keks.get(version)
        if kek is None:
            raise Damaged(f"key-encryption key {version} is not in this home's keyring.")
        return _unwrap(kek, wrapped, context, "a wrapped key does not verify.")

    def derive(self, label: str) -> bytes:
        """Return a 32-byte secret of this home for one purpose; the same at each start."""
        return hmac.digest(self._secret, b"leadglass derive v1\x00" + label.encode(), "sha256")


def _path(home: Path) -> Path:
    return home / "keys" / "keyring.json"


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _wrap(root: bytes, key: bytes, context: bytes) -> str:
    nonce = secrets.token_bytes(_NONCE)
    return base64.b64encode(nonce + AESGCM(root).encrypt(nonce, key, context)).decode()


def _unwrap(root: bytes, wrapped: bytes, context: bytes, message: str) -> bytes:
    try:
        return AESGCM(root).decrypt(wrapped[:_NONCE], wrapped[_NONCE:], context)
    except (InvalidTag, ValueError) as e:
        raise Damaged(message) from e
