"""Fetch the viewer: the packages pinned in viewer/viewer.lock.json, verified, unpacked to viewer/dist.

    python tools/fetch_viewer.py                 # by `npm pack`, with npm's own settings
    python tools/fetch_viewer.py --from DIR      # from tarballs that lie in DIR, without a network

Steps, in this order, and nothing is kept of a package that fails one:
1. `npm pack` writes the tarball; no script of the package runs.
2. The SHA-512 of the tarball must equal the lock's integrity.
3. Only plain files below package/dist are unpacked: no link, no absolute path, no "..", and within bounds.
4. Source maps, and what the lock's `leave_out` names, are left out.
5. Where the lock says `rewrite`, that text is replaced, as often as counted there, or the step fails. `{version}` in it
   is the tree's version, under which every file is served for good.
6. Where the lock says `minify`, those scripts lose comments and long names: by the tool that the lock pins, which is
   verified like the rest, sees no file but these and no environment, and is not kept. Licences stay beside them.
   WebAssembly loses its custom sections (names, debug information), which mean nothing to a browser.
7. What the lock's `needed` names is there, or the step fails: the list stays as needed.json (see web/console/viewer.py).
8. A .gz and a .br are written beside each file that shrinks, with nothing of the time in them: two runs, the same bytes.
9. The new tree takes the old one's place, and a stamp with the lock's digest is written last.

Needs Node 20: npm for step 1, its Brotli for step 8.
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
PACK_FROM_BYTES = 1024
VERSION_DIGITS = 16  # of the stamp: enough to tell two trees apart
# Quality 11 costs half a minute once and saves each reader a tenth of the wait behind 20 Mbit/s.
PACKER = """
const { readFileSync, writeFileSync } = require("fs"), zlib = require("zlib"), P = zlib.constants;
for (const name of JSON.parse(readFileSync(0, "utf-8"))) {
  const data = readFileSync(name);
  const params = { [P.BROTLI_PARAM_QUALITY]: 11, [P.BROTLI_PARAM_LGWIN]: 24, [P.BROTLI_PARAM_SIZE_HINT]: data.length };
  zlib.brotliCompress(data, { params }, (error, packed) => {
    if (error) throw error;
    if (packed.length < data.length * 0.95) writeFileSync(name + ".br", packed);
  });
}
"""
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
        locked = json.loads(text)
        for package in locked["packages"]:
            with tempfile.TemporaryDirectory(prefix="leadglass-viewer-") as work:
                tarball = _tarball(package, source, Path(work))
                verify(tarball, package["integrity"])
                count = unpack(tarball, new, package["directory"], package.get("leave_out", []))
            tree = new / package["directory"]
            rewrite(tree, package.get("rewrite", []), digest[:VERSION_DIGITS])
            if package.get("minify"):
                minify(tree, package["minify"], locked["minifier"], source)
                for path in tree.rglob("*.wasm"):
                    path.write_bytes(stripped(path.read_bytes()))
            if "needed" in package:
                need(tree, package["needed"])
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


def unpack(tarball: Path, to: Path, directory: str, leave_out: list[str], *, is_whole: bool = False) -> int:
    """Unpack package/dist to `to/directory` and the licence beside it; return the number of files: steps 3 and 4.

    `is_whole` takes all that is below package/ instead.
    """
    count = total = 0
    with tarfile.open(tarball, "r:gz") as archive:
        for member in archive:
            path = PurePosixPath(member.name)
            if member.isdir():
                continue
            if not member.isreg() or path.is_absolute() or ".." in path.parts or "\\" in member.name:
                raise NotFetchedError(f"{tarball.name}: holds a link, a device or a path that leads out. It was not unpacked.")
            if is_whole and path.parts[0] == PREFIX[0]:
                target = to / directory / "/".join(path.parts[1:])
            elif path.parts[:2] == PREFIX and len(path.parts) > 2:
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


def rewrite(tree: Path, changes: list[dict[str, Any]], version: str = "") -> None:
    """Make the lock's changes of text: step 5. Raises: NotFetchedError, when one is not found as often as counted."""
    for change in changes:
        count = 0
        for path in sorted(tree.glob(change["file"])):
            text = path.read_text("utf-8")
            if change["find"] in text:
                count += text.count(change["find"])
                path.write_text(text.replace(change["find"], change["put"].replace("{version}", version)), "utf-8")
        if count != change["count"]:
            raise NotFetchedError(f"{change['find']!r}: found {count} times, not {change['count']}; see the lock's `rewrite`.")


def minify(tree: Path, pattern: str, tool: dict[str, str], source: Path | None) -> None:
    """Make the scripts that `pattern` names shorter, by the pinned tool: step 6. Raises: NotFetchedError."""
    names = sorted(path.name for path in tree.glob(pattern))
    with tempfile.TemporaryDirectory(prefix="leadglass-viewer-") as work:
        tarball = _tarball(tool, source, Path(work))
        verify(tarball, tool["integrity"])
        program, made = Path(work) / "tool", Path(work) / "made"
        unpack(tarball, Path(work), "tool", [], is_whole=True)
        _node([str(program / tool["run"]), *names, *tool["options"].split(), f"--outdir={made}"], tree, tool["name"])
        for name in names:
            if not (made / name).is_file():
                raise NotFetchedError(f"{tool['name']} made no {name}.")
        for path in made.iterdir():
            shutil.move(path, tree / path.name)


def _node(arguments: list[str], where: Path, what: str, text: str = "") -> None:
    """Run node with nothing of our environment. Raises: NotFetchedError."""
    node = shutil.which("node")
    if node is None:
        raise NotFetchedError("node is not here. Install Node 20 or newer, then run this again.")
    done = subprocess.run([node, *arguments], cwd=where, env={}, input=text, capture_output=True, text=True,
                          timeout=900, check=False)
    if done.returncode:
        raise NotFetchedError(f"{what} failed:\n{done.stderr.strip()[-2000:]}")


def stripped(module: bytes) -> bytes:
    """Return a WebAssembly module without its custom sections: step 6. Raises: NotFetchedError, for what is no module.

    Ref: WebAssembly core specification 5.5.2 (sections), 5.5.3 (custom sections are ignored by the semantics).
    """
    if module[:8] != b"\0asm\1\0\0\0":
        raise NotFetchedError("a .wasm file is no WebAssembly module.")
    kept, at = [module[:8]], 8
    while at < len(module):
        kind, start, size, shift = module[at], at, 0, 0
        at += 1
        while True:  # LEB128
            if at >= len(module):
                raise NotFetchedError("a WebAssembly module is cut short.")
            size |= (module[at] & 127) << shift
            shift, at = shift + 7, at + 1
            if module[at - 1] < 128:
                break
        at += size
        if at > len(module):
            raise NotFetchedError("a WebAssembly module is cut short.")
        if kind:
            kept.append(module[start:at])
    return b"".join(kept)


def need(tree: Path, names: dict[str, list[str]]) -> None:
    """Keep the list of what a reader's browser loads first: step 7. Raises: NotFetchedError, when one is not there."""
    for name in (*names["preload"], *names["prefetch"]):
        if not (tree / name).is_file():
            raise NotFetchedError(f"{name} is not in the package; see the lock's `needed`.")
    (tree.parent / "needed.json").write_text(json.dumps(names, indent=1) + "\n", "ascii")


def compress(tree: Path) -> None:
    """Write a .gz and a .br beside each compressible file over 1 kB that gets smaller by it: step 8."""
    found = sorted(p for p in tree.rglob("*") if p.suffix in COMPRESSIBLE and p.is_file() and p.stat().st_size > PACK_FROM_BYTES)
    for path in found:
        data = path.read_bytes()
        packed = gzip.compress(data, compresslevel=9, mtime=0)
        if len(packed) < len(data) * 0.95:
            path.with_name(path.name + ".gz").write_bytes(packed)
    _node(["-e", PACKER], tree, "Brotli", json.dumps([str(p.relative_to(tree)) for p in found]))


if __name__ == "__main__":
    sys.exit(main())
