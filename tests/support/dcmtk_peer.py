"""DCMTK's programs as peers: always those of /usr/bin, since pynetdicom brings namesakes into a virtual environment."""

import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pydicom
from orthanc_peer import Tls, free_port

_FIELDS = {
    "Remaining Suboperations": "remaining", "Completed Suboperations": "completed", "Failed Suboperations": "failed",
    "Warning Suboperations": "warning",
}


@dataclass(frozen=True)
class Done:
    """How a program ended, and what it said (both streams)."""

    code: int
    output: str

    @property
    def responses(self) -> list[dict[str, int]]:
        """The DIMSE responses of a run with `-d`: status, remaining, completed, failed, warning; those that it has."""
        found: list[dict[str, int]] = []
        for line in self.output.splitlines():
            name, _, value = line.partition(": ")[2].partition(":")
            name, value = name.strip(), value.strip()
            if name == "Message Type" and value.endswith("RSP"):
                found.append({})
            elif found and name in _FIELDS and value.isdigit():
                found[-1][_FIELDS[name]] = int(value)
            elif found and name == "DIMSE Status" and "status" not in found[-1]:
                found[-1]["status"] = int(value[:6], 16)
        return found

    @property
    def last(self) -> dict[str, int]:
        """The last response of a run with `-d`."""
        return self.responses[-1]

    def count(self, pattern: str) -> int:
        """How often a pattern stands in the output."""
        return len(re.findall(pattern, self.output))


def run(name: str, *arguments: object, timeout: float = 120.0, cwd: Path | None = None) -> Done:
    """Run one of DCMTK's programs to its end."""
    program = Path("/usr/bin") / name
    assert program.exists(), f"{name} is not installed: tools/debian-packages.sh"
    done = subprocess.run(
        [str(program), *map(str, arguments)], capture_output=True, timeout=timeout, check=False, cwd=cwd,
        stdin=subprocess.DEVNULL)
    return Done(done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace"))


def tls_options(tls: Tls) -> list[str]:
    """Options of echoscu, findscu, storescu, storescp: DCMTK 3.6.7 knows no TLS in the others."""
    return ["+tls", str(tls.key), str(tls.certificate), "+cf", str(tls.ca)]


def _keys(keys: dict[str, str]) -> list[str]:
    return [part for name, value in keys.items() for part in ("-k", f"{name}={value}" if value else name)]


def find(
    port: int, keys: dict[str, str], *, calling: str = "CT1", called: str = "LEADGLASS", model: str = "-S", into: Path, more: tuple[str, ...] = (),
) -> tuple[Done, list[pydicom.Dataset]]:
    """findscu; return the run and the identifiers that came, in order. `into` is a folder of its own for this call."""
    into.mkdir(parents=True, exist_ok=True)
    done = run("findscu", "-d", model, "-X", "-od", into, "-aet", calling, "-aec", called, *more, "127.0.0.1", port, *_keys(keys))
    return done, [pydicom.dcmread(path, force=True) for path in sorted(into.glob("rsp*.dcm"))]


def get(
    port: int, keys: dict[str, str], *, calling: str = "CT1", called: str = "LEADGLASS", model: str = "-S", into: Path, more: tuple[str, ...] = (),
) -> tuple[Done, list[Path]]:
    """getscu, bit preserving; return the run and the files that came."""
    into.mkdir(parents=True, exist_ok=True)
    done = run("getscu", "-d", model, "+B", "-od", into, "-aet", calling, "-aec", called, *more, "127.0.0.1", port, *_keys(keys))
    return done, sorted(p for p in into.iterdir() if p.is_file())


def move(
    port: int, keys: dict[str, str], *, to: str, calling: str = "CT1", called: str = "LEADGLASS", model: str = "-S", more: tuple[str, ...] = (),
) -> Done:
    """movescu to the AE title `to`."""
    return run("movescu", "-d", model, "-aet", calling, "-aec", called, "-aem", to, *more, "127.0.0.1", port, *_keys(keys))


def send(port: int, *paths: Path, calling: str = "CT1", called: str = "LEADGLASS", timeout: float = 600.0, more: tuple[str, ...] = ()) -> Done:
    """dcmsend of files and whole folders: the right contexts for each file, on after a failure."""
    return run("dcmsend", "-v", "-aet", calling, "-aec", called, "+sd", "+r", "-dn", "--no-halt", *more, "127.0.0.1", port, *paths,
               timeout=timeout)


class StoreScp:
    """storescp as the destination of a move: takes every transfer syntax it knows, writes what it got bit by bit."""

    def __init__(self, root: Path, *, ae_title: str = "DEST", tls: Tls | None = None, more: tuple[str, ...] = ("+xa",)) -> None:
        """Args: more: options such as ("+xi",) for a destination that takes Implicit VR Little Endian only."""
        self.ae_title, self.port = ae_title, free_port()
        self.directory = root / f"storescp-{ae_title}"
        self.directory.mkdir()
        self.log = root / f"storescp-{ae_title}.log"
        self._command = ["/usr/bin/storescp", "-v", "+B", "-aet", ae_title, "-od", str(self.directory), *more,
                         *(tls_options(tls) if tls else []), str(self.port)]
        self._process: Any = None

    def __enter__(self) -> Self:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(shutil.which("setpriv")), "--pdeathsig", "KILL", *self._command], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                start_new_session=True)
        wanted = f":{self.port:04X} 00000000:0000 0A"  # listening; asked of the kernel, since a bare connection is an error to it
        end = time.monotonic() + 15
        while wanted not in Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text().replace("0" * 32, "0" * 8):
            assert self._process.poll() is None, self.log.read_text(errors="replace")[-2000:]
            assert time.monotonic() < end, "storescp does not listen"
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(10)

    def files(self) -> list[Path]:
        """Return what has come."""
        return sorted(self.directory.iterdir())
