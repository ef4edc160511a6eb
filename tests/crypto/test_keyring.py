"""The keyring: the root lies outside the home, and without the right one nothing opens."""

import stat
from pathlib import Path

import pytest

from leadglass.crypto.keyring import Keyring, create_source
from leadglass.errors import Conflict, Damaged, Malformed, Missing


def _source(spec: str, home: Path, tmp_path: Path, credentials: Path | None = None):
    return create_source(spec, home, config_dir=tmp_path / "config", credentials_dir=credentials)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    path.mkdir()
    return path


@pytest.mark.parametrize("kind", ["", "file", "passphrase-file", "credential"])
def test_keys_are_the_same_at_each_start_and_wrapped_on_disk(kind: str, home: Path, tmp_path: Path) -> None:
    secret = tmp_path / "root"
    spec = f"{kind}:{secret}" if kind else ""
    credentials = None
    if kind == "passphrase-file":
        secret.write_text("seven quiet lamps above the reading room\n")
    if kind == "credential":
        credentials, spec = tmp_path, "credential:root"
        secret.write_text("ab" * 32)
    source = _source(spec, home, tmp_path, credentials)
    first = Keyring.create(home, source)
    again = Keyring.open(home, _source(spec, home, tmp_path, credentials))
    assert first.derive("index") == again.derive("index") != again.derive("other")
    version, wrapped = first.wrap(b"d" * 32, b"study 1")
    assert again.unwrap(version, wrapped, b"study 1") == b"d" * 32
    with pytest.raises(Damaged):
        again.unwrap(version, wrapped, b"study 2")  # two rows of the index changed places
    with pytest.raises(Damaged):
        again.unwrap(version + 1, wrapped, b"study 1")
    on_disk = b"".join(p.read_bytes() for p in home.rglob("*") if p.is_file())
    for known in (first.derive("index"), b"d" * 32):
        assert known not in on_disk
        assert known.hex().encode() not in on_disk
    assert first.derive("index").hex() not in repr(first)
    with pytest.raises(Conflict):
        Keyring.create(home, source)


def test_another_root_opens_nothing(home: Path, tmp_path: Path) -> None:
    Keyring.create(home, _source(f"file:{tmp_path / 'a'}", home, tmp_path))
    other = _source(f"file:{tmp_path / 'b'}", home, tmp_path)
    other.make()
    with pytest.raises(Damaged):
        Keyring.open(home, other)
    with pytest.raises(Missing):
        Keyring.open(home, _source(f"file:{tmp_path / 'nowhere'}", home, tmp_path))
    with pytest.raises(Missing):
        Keyring.open(tmp_path / "no-home", other)


def test_a_key_that_others_can_read_or_that_lies_in_the_home_is_refused(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "root"
    source = _source(f"file:{path}", home, tmp_path)
    Keyring.create(home, source)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    with pytest.raises(Malformed, match="chmod 600"):
        Keyring.open(home, source)
    for bad in (f"file:{home / 'key'}", "file:relative", "vault:/x"):
        with pytest.raises(Malformed):
            _source(bad, home, tmp_path)
    short = tmp_path / "phrase"
    short.write_text("short")
    with pytest.raises(Malformed):
        _source(f"passphrase-file:{short}", home, tmp_path).make()
