"""The viewer's files: only what the lock names, only below its folder, and nothing of a package that fails a step."""

import base64
import hashlib
import importlib.util
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

_spec = importlib.util.spec_from_file_location("fetch_viewer", Path(__file__).parents[2] / "tools" / "fetch_viewer.py")
assert _spec is not None
assert _spec.loader is not None
fetch_viewer = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fetch_viewer)


def _tarball(folder: Path, members: list[tarfile.TarInfo | tuple[str, bytes]]) -> Path:
    path = folder / "pkg-1.0.0.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return path


def _lock(folder: Path, tarball: Path, **more: Any) -> Path:
    digest = base64.b64encode(hashlib.sha512(tarball.read_bytes()).digest()).decode()
    package = {"directory": "d", "name": "pkg", "version": "1.0.0", "integrity": f"sha512-{digest}", "licence": "MIT"} | more
    lock = folder / "lock.json"
    lock.write_text(json.dumps({"packages": [package]}))
    return lock


def _link(name: str, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info


GOOD = [("package/dist/a.js", b'p = "/";' + b"x" * 3000), ("package/dist/a.js.map", b"m"), ("package/LICENSE", b"MIT"), ("package/x.js", b"no")]


def test_what_is_locked_is_unpacked_packed_beside_and_done_once(tmp_path: Path) -> None:
    lock = _lock(tmp_path, _tarball(tmp_path, GOOD), rewrite=[{"file": "*.js", "find": 'p = "/";', "put": 'p = "/v/";', "count": 1}])
    dist = tmp_path / "dist"
    assert fetch_viewer.fetch(lock, dist, tmp_path) is True
    assert sorted(p.name for p in (dist / "d").iterdir()) == ["a.js", "a.js.gz"]
    assert (dist / "d" / "a.js").read_bytes().startswith(b'p = "/v/";')
    assert (dist / "licences" / "d.txt").read_bytes() == b"MIT"
    assert fetch_viewer.fetch(lock, dist, tmp_path) is False


@pytest.mark.parametrize("member", [
    ("package/dist/../../evil.js", b"x"), ("/package/dist/evil.js", b"x"), _link("package/dist/evil.js", "/etc/passwd"),
])
def test_a_path_or_a_link_that_leads_out_is_refused(tmp_path: Path, member: Any) -> None:
    lock = _lock(tmp_path, _tarball(tmp_path, [*GOOD, member]))
    with pytest.raises(fetch_viewer.NotFetchedError):
        fetch_viewer.fetch(lock, tmp_path / "dist", tmp_path)
    assert not (tmp_path / "dist").exists()
    assert not list(tmp_path.rglob("evil.js"))


def test_other_bytes_than_the_locked_ones_are_refused_and_the_old_tree_stays(tmp_path: Path) -> None:
    lock = _lock(tmp_path, _tarball(tmp_path, GOOD))
    fetch_viewer.fetch(lock, tmp_path / "dist", tmp_path)
    _tarball(tmp_path, [("package/dist/a.js", b"poisoned")])
    lock.write_text(lock.read_text() + " ")
    with pytest.raises(fetch_viewer.NotFetchedError, match="SHA-512"):
        fetch_viewer.fetch(lock, tmp_path / "dist", tmp_path)
    assert b"poisoned" not in (tmp_path / "dist" / "d" / "a.js").read_bytes()


def test_a_change_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    lock = _lock(tmp_path, _tarball(tmp_path, GOOD), rewrite=[{"file": "*.js", "find": "nowhere", "put": "x", "count": 1}])
    with pytest.raises(fetch_viewer.NotFetchedError, match="rewrite"):
        fetch_viewer.fetch(lock, tmp_path / "dist", tmp_path)
