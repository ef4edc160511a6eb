"""The unit is valid and shut: as far as systemd itself can tell without starting it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "deploy" / "systemd"
needs_analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")


def test_install_script_is_valid_bash():
    subprocess.run(["bash", "-n", FOLDER / "install.sh"], check=True, timeout=20)


def test_install_script_without_a_verb_says_what_there_is():
    done = subprocess.run([FOLDER / "install.sh"], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    assert all(verb in done.stdout for verb in ("install", "upgrade", "rollback", "uninstall"))


@needs_analyze
def test_unit_verifies(tmp_path):
    unit = tmp_path / "leadglass.service"
    text = (FOLDER / "leadglass.service").read_text()
    unit.write_text(re.sub(r"^ExecStart=.*$", "ExecStart=/bin/true", text, flags=re.MULTILINE))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, timeout=60, check=False)
    ours = [line for line in done.stderr.splitlines() if "leadglass.service" in line]
    assert done.returncode == 0, done.stderr
    assert not ours, ours


@needs_analyze
def test_unit_is_shut():
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", FOLDER / "leadglass.service"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) < 2.5, done.stdout
