"""The OpenAPI document of a running server, and what schemathesis makes of it: no 5xx, nothing that is not written there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from live_server import LiveServer
from phantom import ct_slice, multipart, part10
from schemathesis.openapi.loaders import from_dict

from leadglass.web.dicomweb.api_description import DESCRIBED
from leadglass.web.dicomweb.openapi import document
from leadglass.web.routes import table

SUPPORT = Path(__file__).parents[1] / "support"
CHECKS = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
          "response_headers_conformance", "negative_data_rejection", "ignored_auth")


def test_the_document_is_public_and_is_the_table(server: LiveServer) -> None:
    answer = server.session().get(f"{server.url}/openapi.json")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == document(table(), DESCRIBED)


@pytest.mark.peer
@pytest.mark.timeout(400)
def test_schemathesis_finds_nothing(server: LiveServer, tmp_path: Path) -> None:
    script = server.script("schemathesis")
    ds = ct_slice()
    ds.add_new(0x00090010, "LO", "TEST")
    ds.add_new(0x00091001, "OB", bytes(2000))
    (tmp_path / "schemathesis.toml").write_text('[checks.negative_data_rejection]\nexpected-statuses = ["4xx"]\n')
    for one in (ds, ct_slice(study=ds.StudyInstanceUID, series=ds.SeriesInstanceUID, number=2), ct_slice()):
        body, headers = multipart([part10(one)])
        script.post(f"{server.url}/dicomweb/studies", data=body, headers=headers).raise_for_status()
    command = Path(sys.executable).with_name("schemathesis")
    done = subprocess.run(
        [command, "--config-file", str(tmp_path / "schemathesis.toml"), "run", f"{server.url}/openapi.json", "--header", f"Authorization: {script.headers['Authorization']}",
         "--tls-verify", server.ready["ca"], "--phases", "examples,coverage,fuzzing", "--checks", ",".join(CHECKS),
         "--max-examples", "15", "--workers", "2", "--max-time", "90", "--no-color", "--seed", "1", "--continue-on-failure"],
        capture_output=True, text=True, timeout=390, check=False, cwd=tmp_path, env={
            "PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(SUPPORT),
            "SCHEMATHESIS_HOOKS": "schemathesis_hooks", "LEADGLASS_TEST_UIDS": f"{ds.StudyInstanceUID} {ds.SeriesInstanceUID} {ds.SOPInstanceUID} 00091001"},
    )
    said = "\n".join(line[:200] for line in done.stdout.splitlines())  # headers of a megabyte stand in it
    print(said[-6000:])
    assert done.returncode == 0, said[-12000:] + done.stderr[-2000:]
    assert "web_incident" not in server.log.read_text()


def test_a_method_that_is_not_in_the_document_is_405(server: LiveServer) -> None:
    script = server.script("methods")
    for path, item in document(table(), DESCRIBED)["paths"].items():
        url = server.url + path.replace("{study}", "1.2").replace("{series}", "1.3").replace("{instance}", "1.4").replace("{frames}", "1")
        for method in {"PUT", "PATCH", "TRACE", "DELETE"} - {m.upper() for m in item}:
            answer = script.request(method, url.replace("{path}", "00091001"))
            assert answer.status_code == 405, f"{method} {path}"
            assert answer.headers["allow"]


def test_the_document_can_be_loaded_by_others() -> None:
    assert from_dict(document(table(), DESCRIBED)) is not None
