"""Settings: read once from `<home>/leadglass.toml` and `LEADGLASS_*`, typed, bounded and frozen.

An insecure choice does not exist as a setting. Unknown keys are refused. Secrets stand as file paths.
Each field is documented in docs/reference/settings.md; a test holds the two together.
"""

import os
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from leadglass.errors import Malformed

__all__ = ["Bound", "Settings", "config_dir", "credentials_dir", "home_from_environment", "load", "notify_socket"]


@dataclass(frozen=True, kw_only=True)
class Bound:
    """Smallest and largest value a number may take, with its unit."""

    low: float
    high: float
    unit: str


def _number(default: float, low: float, high: float, unit: str) -> Any:
    return field(default=default, metadata={"bound": Bound(low=low, high=high, unit=unit)})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings of a home; see docs/reference/settings.md."""

    home: Path
    hostname: str = "localhost"  # DNS name in people's browsers; also the WebAuthn RP ID
    bind: str = "127.0.0.1"
    https_port: int = _number(8443, 0, 65535, "port")
    dicom_port: int = _number(11112, 0, 65535, "port")
    dicom_tls_port: int = _number(2762, 0, 65535, "port")
    ae_title: str = "LEADGLASS"
    site: str = "main"
    key_source: str = ""  # "file:/path", "passphrase-file:/path" or "credential:NAME"; "" = the default key file
    viewer_dir: str = ""  # finished viewer; "" = beside the source tree or /usr/share/leadglass/viewer

    web_workers: int = _number(2, 1, 64, "processes")
    dimse_workers: int = _number(2, 1, 64, "processes")
    decode_workers: int = _number(1, 1, 16, "processes per web worker")

    session_idle_seconds: int = _number(900, 60, 1800, "seconds")  # lock; SP 800-63B-4 AAL2/3
    session_absolute_seconds: int = _number(43200, 600, 43200, "seconds")
    grant_seconds: int = _number(300, 10, 900, "seconds")
    token_seconds: int = _number(300, 60, 86400, "seconds")  # access token of machine clients

    max_associations: int = _number(64, 1, 1000, "associations per process")
    max_outgoing: int = _number(8, 1, 100, "associations that one process opens itself")
    association_idle_seconds: int = _number(60, 1, 3600, "seconds")
    max_pdu_bytes: int = _number(262144, 4096, 1048576, "bytes")
    max_instance_bytes: int = _number(8 * 2**30, 2**20, 64 * 2**30, "bytes")
    max_header_bytes: int = _number(64 * 2**20, 2**16, 256 * 2**20, "bytes before the pixel data")
    max_sequence_depth: int = _number(32, 4, 128, "levels")
    max_elements: int = _number(200_000, 1000, 2_000_000, "data elements of a header")
    max_metadata_bytes: int = _number(16 * 2**20, 2**16, 128 * 2**20, "bytes of metadata in one upload")
    max_request_seconds: int = _number(900, 10, 7200, "seconds for one upload")
    max_find_answers: int = _number(10_000, 1, 1_000_000, "answers of one C-FIND")
    max_frame_pixels: int = _number(100_000_000, 10**6, 10**9, "pixels of a decoded frame")
    decode_seconds: int = _number(20, 1, 300, "seconds of CPU for one decode")
    decode_memory_bytes: int = _number(2**31, 2**28, 2**34, "bytes for one decode process")

    reconcile_days: int = _number(7, 1, 365, "days until a reconciliation task is due")
    quarantine_keep_days: int = _number(30, 1, 3650, "days a version that was decided against is kept")
    quarantine_max_bytes: int = _number(20 * 2**30, 2**16, 2**44, "bytes of versions beside the shown ones")
    quarantine_max_instances: int = _number(20_000, 2, 1_000_000, "versions beside the shown ones")

    disk_reserve_bytes: int = _number(512 * 2**20, 16 * 2**20, 2**40, "bytes kept free; below it ingest stops")
    ledger_reserve_bytes: int = _number(64 * 2**20, 2**20, 2**36, "bytes of ballast kept for the ledger")

    scrub_days: int = _number(30, 1, 365, "days in which every stored object is re-read")
    scrub_megabytes_per_second: int = _number(20, 1, 10_000, "megabytes per second read by the scheduled scrub")
    retention_run_studies: int = _number(200, 1, 100_000, "studies deleted by one run")
    retention_guard_studies: int = _number(500, 1, 1_000_000, "studies due at once, above which nothing is deleted")
    retention_guard_percent: int = _number(5, 1, 100, "percent of all studies due at once, above which nothing is deleted")

    @property
    def run_dir(self) -> Path:
        """Sockets, ready.json, the revocation page: nothing that must outlive the server."""
        return self.home / "run"

    @property
    def database_path(self) -> Path:
        """The encrypted index."""
        return self.home / "index.db"

    @property
    def objects_dir(self) -> Path:
        """Encrypted objects."""
        return self.home / "objects"

    @property
    def policies_dir(self) -> Path:
        """The site's own Cedar policies, on top of the shipped ones."""
        return self.home / "policies"


def home_from_environment() -> Path | None:
    """Return LEADGLASS_HOME, or None."""
    value = os.environ.get("LEADGLASS_HOME", "")  # noqa: TID251 - the one reader of the environment
    return Path(value) if value else None


def load(home: Path, overrides: dict[str, Any] | None = None) -> Settings:
    """Return the settings of `home`: defaults, then leadglass.toml, then LEADGLASS_*, then overrides.

    Raises: Malformed, with the name of the unknown or unbounded key.
    """
    known = {f.name: f for f in fields(Settings) if f.name != "home"}
    values: dict[str, Any] = {}
    path = home / "leadglass.toml"
    if path.exists():
        try:
            values.update(tomllib.loads(path.read_text("utf-8")))
        except tomllib.TOMLDecodeError as e:
            raise Malformed(f"{path}: not TOML: {e}. Mend the line named, or move the file away.") from e
    for name in known:
        text = os.environ.get("LEADGLASS_" + name.upper())  # noqa: TID251 - the one reader of the environment
        if text is not None:
            values[name] = text
    values.update({k: v for k, v in (overrides or {}).items() if v is not None})
    for name, value in values.items():
        if name not in known:
            raise Malformed(f"{path}: unknown setting {name!r}. See docs/reference/settings.md for the names.")
        values[name] = _typed(name, value, known[name].metadata.get("bound"))
    return Settings(home=home.absolute(), **values)


def _typed(name: str, value: Any, bound: Bound | None) -> Any:
    """Return the value as the field's type, inside its bound."""
    if bound is None:
        return str(value)
    try:
        number = int(value)
    except (TypeError, ValueError) as e:
        raise Malformed(f"setting {name}: a whole number of {bound.unit} is wanted.") from e
    if not bound.low <= number <= bound.high:
        raise Malformed(f"setting {name}: between {bound.low:.0f} and {bound.high:.0f} {bound.unit}.")
    return number


def notify_socket() -> str:
    """Return the address on which systemd waits to hear that the server is ready, or ""."""
    return os.environ.get("NOTIFY_SOCKET", "")  # noqa: TID251 - the one reader of the environment


def credentials_dir() -> Path | None:
    """Return systemd's credentials directory of this unit, or None."""
    value = os.environ.get("CREDENTIALS_DIRECTORY", "")  # noqa: TID251 - the one reader of the environment
    return Path(value) if value else None


def config_dir() -> Path:
    """Return where this user's keys lie by default: outside every home."""
    value = os.environ.get("XDG_CONFIG_HOME", "")  # noqa: TID251 - the one reader of the environment
    return (Path(value) if value else Path.home() / ".config") / "leadglass"
