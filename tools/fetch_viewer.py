"""Fetch the viewer: the packages pinned in viewer/viewer.lock.json, verified, unpacked to viewer/dist.

    python tools/fetch_viewer.py                 # by `npm pack`, with npm's own settings
    python tools/fetch_viewer.py --from DIR      # from tarballs that lie in DIR, without a network

Steps, in this order, and nothing is kept of a package that fails one:
1. `npm pack` writes the tarball; no script of the package runs.
2. The SHA-512 of the tarball must equal the lock's integrity.
3. Only plain files below package/dist are unpacked: no link, no absolute path, no "..", and within bounds.
4. Source maps, and what the lock's `leave_out` names, are left out.
5. Where the lock says `rewrite`, that text is replaced, as often as counted there, or the step fails.
6. A .gz is written beside each file that shrinks, with a fixed time, so that two runs give the same bytes.
7. The new tree takes the old one's place, and a stamp with the lock's digest is written last.
"""

import argparse
import base64
import fnmatch
import gzip
import hashlib
import hmac
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "viewer" / "viewer.lock.json"
DIST = ROOT / "viewer" / "dist"
STAMP = ".lock.sha256"
PREFIX = ("package", "dist")
MAX_FILES = 5_000
MAX_BYTES = 512 * 2**20
GZIP_FROM_BYTES = 1024
COMPRESSIBLE = {".css", ".html", ".js", ".json", ".jsonc", ".mjs", ".svg", ".txt", ".wasm", ".webapp", ".xml"}


class NotFetchedError(Exception):
    """The viewer cannot be fetched; the message says why and what to do."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Fetch the pinned viewer into viewer/dist.")
    parser.add_argument("--from", dest="source", type=Path, help="directory of tarballs made by `npm pack`")
    parser.add_argument("--lock", type=Path, default=LOCK, help=argparse.SUPPRESS)
    parser.add_argument("--dist", type=Path, default=DIST, help=argparse.SUPPRESS)
    options = parser.parse_args()
    try:
        fetch(options.lock, options.dist, options.source)
    except NotFetchedError as e:
        print(f"fetch_viewer: {e}", file=sys.stderr)
        return 1
    return 0


def fetch(lock: Path, dist: Path, source: Path | None) -> bool:
    """Make `dist` what `lock` says; return whether anything had to be done. Raises: NotFetchedError."""
    text = lock.read_bytes()
    digest = hashlib.sha256(text + Path(__file__).read_bytes()).hexdigest()
    stamp = dist / STAMP
    if stamp.exists() and stamp.read_text("ascii").strip() == digest:
        return False
    new = dist.with_name(dist.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    try:
        for package in json.loads(text)["packages"]:
            with tempfile.TemporaryDirectory(prefix="leadglass-viewer-") as work:
                tarball = _tarball(package, source, Path(work))
                verify(tarball, package["integrity"])
                count = unpack(tarball, new, package["directory"], package.get("leave_out", []))
            rewrite(new / package["directory"], package.get("rewrite", []))
            print(f"{package['name']} {package['version']}: verified, {count} files")
        compress(new)
        (new / STAMP).write_text(digest + "\n", "ascii")
        old = dist.with_name(dist.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        if dist.exists():
            dist.rename(old)
        new.rename(dist)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return True


def tarball_name(package: dict[str, str]) -> str:
    """Return the file name that `npm pack` gives: @ohif/app 3.13.2 -> ohif-app-3.13.2.tgz."""
    return f"{package['name'].lstrip('@').replace('/', '-')}-{package['version']}.tgz"


def _tarball(package: dict[str, str], source: Path | None, work: Path) -> Path:
    """Return the path of the package's tarball: step 1."""
    name = tarball_name(package)
    if source is not None:
        path = source / name
        if not path.is_file():
            raise NotFetchedError(f"{path} is not there. Make it with: npm pack {package['name']}@{package['version']}")
        return path
    npm = shutil.which("npm")
    if npm is None:
        raise NotFetchedError("npm is not here. Install Node 20 or newer, then run this again.")
    print(f"{package['name']} {package['version']}: fetching")
    command = [npm, "pack", f"{package['name']}@{package['version']}", "--ignore-scripts", "--loglevel=error"]
    try:
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=900, check=False)
    except subprocess.TimeoutExpired as e:
        raise NotFetchedError("npm pack took more than 15 minutes. Look at the network, then run this again.") from e
    path = work / name
    if done.returncode or not path.is_file():
        raise NotFetchedError(f"npm pack failed for {package['name']}:\n{done.stderr.strip()[-2000:]}")
    return path


def verify(tarball: Path, integrity: str) -> None:
    """Compare the tarball's digest with the lock's: step 2. Raises: NotFetchedError."""
    algorithm, _, wanted = integrity.partition("-")
    if algorithm != "sha512":
        raise NotFetchedError(f"the lock names {algorithm!r}; only sha512 is taken.")
    with tarball.open("rb") as f:
        found = base64.b64encode(hashlib.file_digest(f, "sha512").digest()).decode("ascii")
    if not hmac.compare_digest(found, wanted):
        raise NotFetchedError(f"{tarball.name}: its SHA-512 is not the lock's. It was not unpacked. Do not use this file.")


def unpack(tarball: Path, to: Path, directory: str, leave_out: list[str]) -> int:
    """Unpack package/dist to `to/directory` and the licence beside it; return the number of files: steps 3 and 4."""
    count = total = 0
    with tarfile.open(tarball, "r:gz") as archive:
        for member in archive:
            path = PurePosixPath(member.name)
            if member.isdir():
                continue
            if not member.isreg() or path.is_absolute() or ".." in path.parts or "\\" in member.name:
                raise NotFetchedError(f"{tarball.name}: holds a link, a device or a path that leads out. It was not unpacked.")
            if path.parts[:2] == PREFIX and len(path.parts) > 2:
                inner = "/".join(path.parts[2:])
                if inner.endswith(".map") or any(fnmatch.fnmatchcase(inner, pattern) for pattern in leave_out):
                    continue
                target = to / directory / inner
            elif len(path.parts) == 2 and path.name.upper().startswith("LICEN"):
                target = to / "licences" / f"{directory}.txt"
            else:
                continue
            count, total = count + 1, total + member.size
            if count > MAX_FILES or total > MAX_BYTES:
                raise NotFetchedError(f"{tarball.name}: more than {MAX_FILES} files or {MAX_BYTES} bytes. It was not unpacked.")
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.extractfile(member) as inside, target.open("xb") as f:
                shutil.copyfileobj(inside, f)
    if not count:
        raise NotFetchedError(f"{tarball.name}: has no package/dist.")
    return count


def rewrite(tree: Path, changes: list[dict[str, Any]]) -> None:
    """Make the lock's changes of text: step 5. Raises: NotFetchedError, when one is not found as often as counted."""
    for change in changes:
        count = 0
        for path in sorted(tree.glob(change["file"])):
            text = path.read_text("utf-8")
            if change["find"] in text:
                count += text.count(change["find"])
                path.write_text(text.replace(change["find"], change["put"]), "utf-8")
        if count != change["count"]:
            raise NotFetchedError(f"{change['find']!r}: found {count} times, not {change['count']}; see the lock's `rewrite`.")


def compress(tree: Path) -> None:
    """Write a .gz beside each compressible file over 1 kB that gets smaller by it: step 6."""
    for path in sorted(p for p in tree.rglob("*") if p.is_file() and p.suffix in COMPRESSIBLE):
        data = path.read_bytes()
        if len(data) <= GZIP_FROM_BYTES:
            continue
        packed = gzip.compress(data, compresslevel=6, mtime=0)
        if len(packed) < len(data) * 0.95:
            path.with_name(path.name + ".gz").write_bytes(packed)


if __name__ == "__main__":
    sys.exit(main())
