"""The authorities: bound to the home's names, apart from each other, keys never in clear on disk."""

import datetime
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from live_server import LiveServer

from leadglass.errors import Damaged
from leadglass.network import ca

NOW = datetime.datetime(2026, 11, 24, tzinfo=datetime.UTC)


def _verify(root: Path, chain: Path, host: str) -> bool:
    """Ask openssl whether it takes the chain for the host, trusting the CA."""
    done = subprocess.run(["openssl", "verify", "-CAfile", str(root / "a.crt.pem"), "-verify_hostname", host, "-purpose", "sslserver",
                           "-attime", str(int(NOW.timestamp()) + 60), str(chain)], capture_output=True, text=True, check=False)
    return done.returncode == 0


def test_the_web_ca_speaks_for_its_own_names_alone(tmp_path: Path) -> None:
    ca.create_authority(tmp_path, "a", b"password", common_name="A", only_for="pacs.example.org", now=NOW)
    authority = ca.open_authority(tmp_path, "a", b"password")
    for host, is_good in (("pacs.example.org", True), ("localhost", True), ("bank.example.com", False), ("example.org", False)):
        ca.issue_server(authority, tmp_path, "leaf", b"password", hostname=host, now=NOW)
        assert _verify(tmp_path, tmp_path / "leaf.crt.pem", host) is is_good, host
        assert ca.permits(tmp_path / "a.crt.pem", host) is (host in {"pacs.example.org", "localhost"})
    extension = authority.certificate.extensions.get_extension_for_class(x509.NameConstraints)
    assert extension.critical
    leaf = x509.load_pem_x509_certificate((tmp_path / "leaf.crt.pem").read_bytes())
    assert (leaf.not_valid_after_utc - leaf.not_valid_before_utc).days <= 397


def test_keys_are_encrypted_and_open_with_their_password_alone(tmp_path: Path) -> None:
    ca.create_authority(tmp_path, "a", b"password", common_name="A", only_for=None, now=NOW)
    text = (tmp_path / "a.key.pem").read_text()
    assert "ENCRYPTED PRIVATE KEY" in text
    assert (tmp_path / "a.key.pem").stat().st_mode & 0o077 == 0
    with pytest.raises(Damaged):
        ca.open_authority(tmp_path, "a", b"another")


def test_another_host_name_is_never_taken_in_silence(tmp_path: Path) -> None:
    live = LiveServer(tmp_path)
    refused = live.run("init", "--hostname", "pacs.example.org", check=False)
    assert refused.returncode == 1
    assert "every passkey dies" in refused.stderr
    before = (live.home / "tls" / "web-ca.crt.pem").read_bytes()
    live.start(hostname="pacs.example.org")
    live.stop()
    assert "hostname_changed" in live.log.read_text()
    assert (live.home / "tls" / "web-ca.crt.pem").read_bytes() != before
    assert ca.permits(live.home / "tls" / "web-ca.crt.pem", "pacs.example.org")
