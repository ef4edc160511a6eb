"""Nothing in the repository names a machine it was written on, or an address of a package registry."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Written in pieces, so that this file does not name them.
FORBIDDEN = re.compile("|".join([
    r"(?<![\w./-])/" + r"work/", r"(?<![\w./-])/" + r"root/(?!\*)", r"(?<![\w.-])/" + r"home/[a-z]+/",
    r"registry" + r"\.npmjs", r"files\.python" + r"hosted", r"pypi" + r"\.org/simple", r"index" + r"-url\s*[=:]\s*\S*http",
]))


def test_no_machine_paths_and_no_registry_addresses():
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, timeout=30).stdout
    found = []
    for name in names.decode().split("\0"):
        path = ROOT / name
        if not name or not path.is_file():
            continue
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{name}:{n}" for n, line in enumerate(text.splitlines(), 1) if FORBIDDEN.search(line)]
    assert not found
