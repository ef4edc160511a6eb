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
    assert sorted(p.name for p in (dist / "d").iterdir()) == ["a.js", "a.js.br", "a.js.gz"]
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


TOOL = b"""
const { readFileSync, writeFileSync, mkdirSync } = require("fs");
const out = process.argv.find((a) => a.startsWith("--outdir=")).slice(9);
mkdirSync(out);
for (const name of process.argv.slice(2).filter((a) => !a.startsWith("--")))
  writeFileSync(out + "/" + name, "short:" + readFileSync(name, "utf-8").length + ":" + Object.keys(process.env).length);
"""


def _minifier(folder: Path, content: bytes = TOOL) -> dict[str, str]:
    path = _tarball(folder, [("package/bin/tool", content)]).rename(folder / "tool-2.0.0.tgz")
    digest = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    return {"name": "tool", "version": "2.0.0", "integrity": f"sha512-{digest}", "run": "bin/tool", "options": "--minify"}


def _with_minifier(folder: Path, minifier: dict[str, str]) -> Path:
    lock = _lock(folder, _tarball(folder, GOOD), minify="*.js", needed={"preload": ["a.js"], "prefetch": []})
    lock.write_text(json.dumps(json.loads(lock.read_text()) | {"minifier": minifier}))
    return lock


def test_scripts_are_made_shorter_by_the_pinned_tool_which_sees_no_environment_and_is_not_kept(tmp_path: Path) -> None:
    lock = _with_minifier(tmp_path, _minifier(tmp_path))
    fetch_viewer.fetch(lock, tmp_path / "dist", tmp_path)
    assert (tmp_path / "dist" / "d" / "a.js").read_text() == f"short:{len(GOOD[0][1])}:0"
    assert json.loads((tmp_path / "dist" / "needed.json").read_text())["preload"] == ["a.js"]
    assert not [p for p in (tmp_path / "dist").rglob("*") if "tool" in p.name]


@pytest.mark.parametrize("content", [b"process.exit(3)", b"", b"throw new Error('x')"])
def test_a_tool_that_fails_or_makes_nothing_leaves_no_tree(tmp_path: Path, content: bytes) -> None:
    lock = _with_minifier(tmp_path, _minifier(tmp_path, content))
    with pytest.raises(fetch_viewer.NotFetchedError, match="tool"):
        fetch_viewer.fetch(lock, tmp_path / "dist", tmp_path)
    assert not (tmp_path / "dist").exists()


def test_another_tool_than_the_pinned_one_is_not_run(tmp_path: Path) -> None:
    lock = _with_minifier(tmp_path, _minifier(tmp_path))
    _tarball(tmp_path, [("package/bin/tool", b"require('fs').writeFileSync('/tmp/evil', '')")]).rename(tmp_path / "tool-2.0.0.tgz")
    _tarball(tmp_path, GOOD)
    with pytest.raises(fetch_viewer.NotFetchedError, match="SHA-512"):
        fetch_viewer.fetch(lock, tmp_path / "dist", tmp_path)
    assert not Path("/tmp/evil").exists()


def test_what_the_browser_needs_first_must_be_there(tmp_path: Path) -> None:
    lock = _lock(tmp_path, _tarball(tmp_path, GOOD), needed={"preload": ["b.js"], "prefetch": []})
    with pytest.raises(fetch_viewer.NotFetchedError, match="needed"):
        fetch_viewer.fetch(lock, tmp_path / "dist", tmp_path)


def test_the_version_stands_in_what_is_rewritten_and_changes_with_the_lock(tmp_path: Path) -> None:
    tarball, found = _tarball(tmp_path, GOOD), set()
    for note in ("", " "):
        lock = _lock(tmp_path, tarball, rewrite=[{"file": "*.js", "find": 'p = "/";', "put": 'p = "/{version}/";', "count": 1}])
        lock.write_text(lock.read_text() + note)
        fetch_viewer.fetch(lock, tmp_path / "dist", tmp_path)
        version = (tmp_path / "dist" / ".lock.sha256").read_text()[:16]
        assert (tmp_path / "dist" / "d" / "a.js").read_text().startswith(f'p = "/{version}/";')
        found.add(version)
    assert len(found) == 2


HEAD = b"\0asm\1\0\0\0"


def test_webassembly_loses_its_custom_sections_and_nothing_else() -> None:
    body = b"\x01\x04abcd"
    assert fetch_viewer.stripped(HEAD + b"\x00\x03\x01nx" + body + b"\x00\x80\x01" + bytes(128) + body) == HEAD + body + body


@pytest.mark.parametrize("module", [b"", b"MZ", HEAD + b"\x01", HEAD + b"\x01\xff", HEAD + b"\x01\x05abc"])
def test_what_is_no_whole_webassembly_module_is_refused(module: bytes) -> None:
    with pytest.raises(fetch_viewer.NotFetchedError):
        fetch_viewer.stripped(module)
