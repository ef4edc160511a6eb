"""Which foreign programs this machine has, and of which version: printed at the end of a run that used one."""

import json
import re
import subprocess
from importlib import metadata
from pathlib import Path

_PROGRAMS = {
    "DCMTK": ["/usr/bin/storescu", "--version"], "Orthanc": ["/usr/sbin/Orthanc", "--version"],
    "Orthanc DICOMweb plugin": ["/usr/bin/dpkg-query", "-W", "-f", "${Version}", "orthanc-dicomweb"],
    "dicom3tools": ["/usr/bin/dpkg-query", "-W", "-f", "${Version}", "dicom3tools"],
    "Chromium": ["/usr/bin/chromium", "--version"],
}
_LIBRARIES = ("pydicom", "pynetdicom", "dicomweb-client", "schemathesis", "playwright", "atheris")
_VIEWER = Path(__file__).resolve().parents[2] / "viewer" / "viewer.lock.json"


def peer_versions() -> dict[str, str]:
    """Return name -> version of every peer; "not installed" where it is missing."""
    found = {name: _of(command) for name, command in _PROGRAMS.items()}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    if _VIEWER.exists():
        found["OHIF"] = next(str(p["version"]) for p in json.loads(_VIEWER.read_text())["packages"] if p["directory"] == "ohif")
    return found


def _of(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "not installed"
    match = re.search(r"\d+\.\d+[^\s]*", done.stdout + done.stderr)
    return match[0] if match and done.returncode == 0 else "not installed"
