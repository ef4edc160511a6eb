"""A fresh proof in place: asked for when it is wanted, from whom it helps, without losing what was typed."""

import re
import time
from typing import Any

import pyotp
import pytest
import requests
import sqlalchemy as sa
from live_server import LiveServer
from phantom import ct_slice, multipart, part10

from leadglass.identity import credentials, people, sessions
from leadglass.identity.passwords import hash_password
from leadglass.storage import tables as t
from leadglass.web.authentication import COOKIE

pytestmark = pytest.mark.timeout(300)
PASSWORD = "correct horse battery staple nine"


class Keeper:
    """A person at a browser without scripts: name, password, one-time codes, an hour-old session."""

    def __init__(self, server: LiveServer, name: str, *roles: str, age: float = 3600) -> None:
        self.server, self.name = server, name
        self.totp = pyotp.TOTP(pyotp.random_base32())

        def make(house: Any, connection: Any) -> tuple[str, Any]:
            person = people.add(connection, name, list(roles), display_name="", referring_name="", created_by="test")
            people.set_state(connection, person.id, "active")
            person = people.find(connection, name)
            credentials.add_password(connection, person.id, hash_password(PASSWORD))
            credentials.add_totp(connection, person.id, self.totp.secret, 0)
            return sessions.create(connection, person, ("password", "totp"), now=time.time() - age, absolute_seconds=43000,
                                   address="127.0.0.1", agent="")

        secret, session = server.inside(make)
        server.inside(lambda _, c: sessions.touch(c, session.id, time.time()))
        self.csrf, self.id = session.csrf, session.id
        self.browser = server.session()
        self.browser.headers.update({"Cookie": f"{COOKIE}={secret}", "Sec-Fetch-Site": "same-origin"})

    def post(self, path: str, **form: str) -> requests.Response:
        return self.browser.post(self.server.url + path, data={"csrf": self.csrf, **form}, allow_redirects=False)

    def proof(self, step: int = 0) -> dict[str, str]:
        return {"proof-password": PASSWORD, "proof-code": self.totp.at(time.time() + 30 * step)}

    def proved_at(self) -> float:
        return self.server.inside(lambda _, c: c.execute(
            sa.select(t.sessions.c.authenticated_at).where(t.sessions.c.id == self.id)).scalar_one())


def study(server: LiveServer) -> str:
    ds = ct_slice()
    body, headers = multipart([part10(ds)])
    server.script("loader").post(f"{server.url}/dicomweb/studies", data=body, headers=headers).raise_for_status()
    return str(ds.StudyInstanceUID)


def is_here(server: LiveServer, uid: str) -> bool:
    return server.json("studies", "show", uid, "--json")["is_here"]


def test_what_was_typed_is_kept_and_done_after_the_proof(server: LiveServer) -> None:
    uid = study(server)
    keeper = Keeper(server, "keeper", "administrator")
    why = 'wrong patient <b>"4711"</b>'
    asked = keeper.post(f"/studies/{uid}/delete", reason=why)
    assert asked.status_code == 401
    assert "Prove that it is you" in asked.text
    assert f'action="/studies/{uid}/delete"' in asked.text
    assert "<b>" not in asked.text
    assert 'value="wrong patient &lt;b&gt;&#34;4711&#34;&lt;/b&gt;"' in asked.text
    hidden = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', asked.text))
    assert set(hidden) >= {"csrf", "reason"}
    assert PASSWORD not in asked.text
    wrong = keeper.post(f"/studies/{uid}/delete", reason=why, **{"proof-password": "wrong", "proof-code": "000000"})
    assert wrong.status_code == 401
    assert "wrong" in wrong.text
    assert is_here(server, uid)
    before = keeper.proved_at()
    done = keeper.post(f"/studies/{uid}/delete", reason=why, **keeper.proof())
    assert done.status_code == 303
    assert done.headers["location"].startswith("/")
    assert keeper.proved_at() > before + 3000
    found = [r for r in server.ledger() if r["subject"]["name"] == "keeper"]
    assert [r["details"]["what"] for r in found
            if r["action"] == "people:self:sign-in" and r["outcome"] == "done"] == ["step-up"]
    (record,) = [r for r in found if r["event"] == "deleted" and r["outcome"] == "done"]
    assert record["details"]["reason"] == why
    assert time.time() - record["subject"]["authenticated_at"] < 60
    assert PASSWORD not in str(found)
    assert not is_here(server, uid)


def test_a_fresh_proof_counts_at_once_in_every_worker_and_a_code_opens_once(server: LiveServer) -> None:
    keeper = Keeper(server, "quick", "administrator")
    for _ in range(6):  # every worker remembers the old session now
        assert keeper.browser.get(f"{server.url}/keeping").status_code == 200
    proof = keeper.proof()
    assert keeper.post("/keeping/rule", site="east", keep_days="1", **proof).status_code == 303
    for number in range(8):
        assert keeper.post("/keeping/rule", site=f"east{number}", keep_days="1").status_code == 303
    server.inside(lambda _, c: c.execute(sa.update(t.sessions).where(t.sessions.c.id == keeper.id).values(
        authenticated_at=time.time() - 400)))
    time.sleep(5.5)  # longer than a worker remembers
    assert keeper.post("/keeping/rule", site="west", keep_days="1", **proof).status_code == 401


def test_who_lacks_the_right_is_refused_and_not_asked(server: LiveServer) -> None:
    uid = study(server)
    keeper = Keeper(server, "curious", "radiologist")
    answer = keeper.post(f"/studies/{uid}/delete", reason="I wish so")
    assert answer.status_code == 403
    assert "Prove" not in answer.text
    assert is_here(server, uid)


def test_nothing_in_a_request_names_where_to_go_on(server: LiveServer) -> None:
    keeper = Keeper(server, "lured", "administrator")
    evil = "https://evil.example/"
    answer = keeper.browser.post(
        f"{server.url}/keeping/rule?next={evil}&to={evil}", allow_redirects=False,
        data={"csrf": keeper.csrf, "site": "x", "keep_days": "1", "next": evil, "action": evil, **keeper.proof()})
    assert (answer.status_code, answer.headers["location"]) == (303, "/keeping")


def test_a_proof_without_csrf_or_from_another_site_proves_nothing(server: LiveServer) -> None:
    keeper = Keeper(server, "crossed", "administrator")
    before = keeper.proved_at()
    form = {"site": "x", "keep_days": "1", **keeper.proof()}
    assert keeper.browser.post(f"{server.url}/keeping/rule", data=form).status_code == 403
    assert keeper.browser.post(f"{server.url}/keeping/rule", data={"csrf": keeper.csrf, **form},
                               headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert keeper.browser.post(f"{server.url}/step-up/passkey", json={}, headers={"x-csrf-token": "no"}).status_code == 403
    assert keeper.browser.post(f"{server.url}/step-up/passkey", json={"state": "x"}, headers={"x-csrf-token": keeper.csrf}).status_code == 401
    assert keeper.proved_at() == before


def test_guessing_slows_down(server: LiveServer) -> None:
    keeper = Keeper(server, "guesser", "administrator")
    statuses = [keeper.post("/keeping/rule", site="x", keep_days="1", **{"proof-password": f"guess {n}", "proof-code": "123456"}).status_code
                for n in range(8)]
    assert statuses[:3] == [401] * 3  # others of this address may have failed before
    assert statuses[-1] == 429
    server.inside(lambda _, c: c.execute(sa.delete(t.failures)))


def test_a_locked_session_is_not_opened_by_a_form(server: LiveServer) -> None:
    keeper = Keeper(server, "locked", "administrator")
    server.inside(lambda _, c: sessions.lock(c, keeper.id))
    time.sleep(1.2)
    answer = keeper.post("/keeping/rule", site="x", keep_days="1", **keeper.proof())
    assert (answer.status_code, answer.headers["location"]) == (303, "/unlock")
