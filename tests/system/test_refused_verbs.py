"""What a command line that goes wrong says: one line with what to do, and nothing half done."""

from pathlib import Path

import pytest
from live_server import LiveServer


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> LiveServer:
    """A home that is made and not served."""
    return LiveServer(tmp_path_factory.mktemp("verbs"))


def _refusal(home: LiveServer, *arguments: str) -> str:
    done = home.run(*arguments, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("leadglass: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_a_key_that_is_there_is_not_overwritten_and_no_client_is_made(home: LiveServer, tmp_path: Path) -> None:
    key = tmp_path / "ada.pem"
    key.write_text("mine")
    assert "--public-key" in _refusal(home, "clients", "add", "ada-ws", "--role", "radiologist", "--key", str(key))
    assert key.read_text() == "mine"
    assert home.json("clients", "list", "--json") == []


def test_a_file_that_is_not_there_is_named(home: LiveServer) -> None:
    said = _refusal(home, "devices", "add", "CT1", "--certificate", "none.pem")
    assert said == "leadglass: none.pem: no such file or directory.\n"
    assert home.json("devices", "list", "--json") == []


@pytest.mark.parametrize(("arguments", "see"), [
    (("devices", "echo", "NOBODY"), "leadglass devices list"), (("devices", "revoke", "NOBODY"), "leadglass devices list"),
    (("people", "enrol", "nobody"), "leadglass people list"),
    (("devices", "add", "WS2", "--host", "10.1.2.7", "--owner", "nobody"), "leadglass people list"),
    (("reconcile", "accept", "12", "--reason", "none"), "leadglass reconcile list"),
    (("rejections", "lift", "3", "--reason", "none"), "leadglass rejections list"),
])
def test_a_name_that_is_not_there_is_looked_up_by_the_command_that_is_named(
    home: LiveServer, arguments: tuple[str, ...], see: str,
) -> None:
    assert see in _refusal(home, *arguments)
