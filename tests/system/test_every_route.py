"""The real route table and the DIMSE table: nothing without an Action, nothing for strangers, nothing unrecorded."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from joserfc import jwk, jwt
from live_server import LiveServer
from phantom import ct_slice, multipart, part10
from signed_in import sign_in

from leadglass.dimse.handlers import HANDLERS
from leadglass.policy import load_policy
from leadglass.terms import Action
from leadglass.web.routes import table

ROWS = [pytest.param(row, method, id=f"{method} {row.path}") for row in table() for method in row.methods]
GUARDED = [p for p in ROWS if p.values[0].action is not None]
SELF_MADE = {Action.SELF_SIGN_IN, Action.SELF_SIGN_OUT}  # recorded by the act itself: see the browser's journey


@pytest.fixture(scope="module")
def world(server: LiveServer) -> Iterator[dict[str, Any]]:
    """A stored study, and a session of someone who has every role."""
    ds = ct_slice()
    body, headers = multipart([part10(ds)])
    server.script("loader").post(f"{server.url}/dicomweb/studies", data=body, headers=headers).raise_for_status()
    yield {"server": server, "ds": ds}


def _person(server: LiveServer, name: str, *roles: str) -> tuple[requests.Session, str]:
    """Return (a browser's session of a new person, its CSRF value)."""
    browser, csrf, _ = sign_in(server, name, *roles)
    return browser, csrf


def _path(row: Any, ds: Any) -> str:
    values = {"study": ds.StudyInstanceUID, "series": ds.SeriesInstanceUID, "instance": ds.SOPInstanceUID, "frames": "1", "task": "1",
              "path:path": "00091001", "name": "leadglass.css", "name:path": "viewer"}
    path = row.path
    for name, value in values.items():
        path = path.replace("{" + name + "}", value)
    return path


def test_every_row_has_an_action_or_a_reason() -> None:
    for row in table():
        assert (row.action is None) == bool(row.public_reason), row.path
    paths = [(row.path, method) for row in table() for method in row.methods]
    assert len(paths) == len(set(paths))


def test_every_dimse_command_has_an_action() -> None:
    assert {service.command for service in HANDLERS} == {0x0001, 0x0010, 0x0020, 0x0021, 0x0030, 0x0130}
    for service in HANDLERS:
        assert isinstance(service.action, Action)
        assert service.sop_classes


def test_every_action_is_in_the_policy_schema(tmp_path: Any) -> None:
    from leadglass.policy.document import shipped_schema, shipped_texts

    load_policy(tmp_path)
    for action in Action:
        assert f'action "{action}"' in shipped_schema()
        assert any(f'Action::"{action}"' in text for text in shipped_texts().values()), f"{action}: no rule permits it to anyone"


@pytest.mark.parametrize(("row", "method"), GUARDED)
def test_strangers_get_nothing(world: dict[str, Any], row: Any, method: str) -> None:
    server: LiveServer = world["server"]
    answer = server.session().request(method, server.url + _path(row, world["ds"]), allow_redirects=False,
                                      headers={"Sec-Fetch-Site": "same-origin"})
    if row.face == "page":
        assert answer.status_code == 303
        assert answer.headers["location"] == "/sign-in"
        assert answer.content == b""
    else:
        assert (answer.status_code, answer.content) == (401, b"")


@pytest.mark.parametrize(("row", "method"), [p for p in GUARDED if p.values[1] == "GET" and p.values[0].action not in SELF_MADE])
def test_every_read_is_recorded(world: dict[str, Any], row: Any, method: str) -> None:
    server: LiveServer = world["server"]
    if "browsers" not in world:
        world["browsers"] = _person(
            server, "everyone", "administrator", "radiologist", "privacy-officer", "technologist")
    browser, _ = world["browsers"]
    answer = browser.get(server.url + _path(row, world["ds"]), allow_redirects=False)
    assert answer.status_code in {200, 206, 303, 400, 404, 406}, answer.text[:300]
    found = [r for r in server.ledger() if r["subject"]["name"] == "everyone" and r["action"] == str(row.action)]
    assert found, f"{row.action}: no record"


@pytest.mark.parametrize(("row", "method"), [p for p in GUARDED if p.values[0].face == "page" and p.values[1] == "POST"])
def test_a_form_of_another_site_or_without_csrf_is_refused(world: dict[str, Any], row: Any, method: str) -> None:
    server: LiveServer = world["server"]
    if "victim" not in world:
        world["victim"] = _person(server, "victim", "administrator", "radiologist")
    browser, csrf = world["victim"]
    url = server.url + _path(row, world["ds"])
    assert browser.post(url, data={"q": ""}, allow_redirects=False).status_code == 403
    assert browser.post(url, data={"csrf": csrf}, headers={"Sec-Fetch-Site": "cross-site"},
                        allow_redirects=False).status_code == 403
    wrong = browser.post(url, data={"csrf": csrf}, headers={"Sec-Fetch-Site": "", "Origin": "https://evil.example"},
                         allow_redirects=False)
    assert wrong.status_code == 403


def test_a_client_proves_itself_with_a_signed_assertion_once(world: dict[str, Any]) -> None:
    server: LiveServer = world["server"]
    key_path = server.root / "jwt.pem"
    client = server.json("clients", "add", "jwt-client", "--role", "service", "--key", str(key_path), "--json")["client_id"]
    key = jwk.import_key(key_path.read_bytes(), "EC")
    session = server.session()
    endpoint = session.get(f"{server.url}/.well-known/oauth-authorization-server").json()["token_endpoint"]
    now = int(time.time())

    def ask(**changes: Any) -> requests.Response:
        claims = {"iss": client, "sub": client, "aud": endpoint, "iat": now, "exp": now + 60, "jti": f"id-{now}-0001"} | changes
        assertion = jwt.encode({"alg": "ES256"}, claims, key)
        return session.post(endpoint, data={
            "grant_type": "client_credentials", "client_assertion": assertion,
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"})

    for changes in ({"aud": "https://other.example"}, {"exp": now - 100}, {"exp": now + 86400}, {"jti": ""}, {"sub": "x"}):
        assert ask(**changes).status_code == 401, changes
    good = ask()
    assert good.status_code == 200, good.text
    assert ask().status_code == 401, "an assertion opens once"
    token = good.json()["access_token"]
    assert server.session(token).get(f"{server.url}/dicomweb/studies").status_code == 200
    assert token not in json.dumps(server.ledger())


def test_answers_carry_the_safety_headers(world: dict[str, Any]) -> None:
    server: LiveServer = world["server"]
    for path in ("/sign-in", "/dicomweb/studies", "/viewer/", "/nothing-here"):
        headers = server.session().get(server.url + path, allow_redirects=False).headers
        assert "max-age=" in headers["strict-transport-security"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
        csp = headers["content-security-policy"]
        assert "default-src 'none'" in csp
        assert "unsafe-inline" not in csp.replace("style-src 'self' 'unsafe-inline'", "")  # the viewer's styles alone
        assert "unsafe-eval" not in csp.replace("wasm-unsafe-eval", "")
