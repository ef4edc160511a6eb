"""A browser's session of a new person, made by the identity room itself: for tests that are not about signing in."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import requests
from live_server import LiveServer

from leadglass.access import House
from leadglass.compose import Home
from leadglass.identity import people, sessions
from leadglass.settings import load
from leadglass.web.authentication import COOKIE


@contextmanager
def house_of(server: LiveServer) -> Iterator[House]:
    """Give the server's house in this process, under the server's environment."""
    before = dict(os.environ)
    os.environ.update(server.environment)
    try:
        with Home.open(load(server.home)).house() as house:
            yield house
    finally:
        os.environ.clear()
        os.environ.update(before)


def sign_in(server: LiveServer, name: str, *roles: str, referring: str = "") -> tuple[requests.Session, str, str]:
    """Return (the browser's session, its CSRF value, the session's id)."""
    with house_of(server) as house, house.database.write() as connection:
        person = people.add(connection, name, list(roles), display_name="", referring_name=referring, created_by="test")
        people.set_state(connection, person.id, "active")
        person = people.find(connection, name)
        secret, session = sessions.create(
            connection, person, ("passkey",), now=time.time(), absolute_seconds=3600, address="127.0.0.1", agent="")
    browser = server.session()
    browser.headers["Cookie"] = f"{COOKIE}={secret}"
    browser.headers["Sec-Fetch-Site"] = "same-origin"
    return browser, session.csrf, session.id


def lock(server: LiveServer, session_id: str) -> None:
    """Lock a session, as its own page does."""
    with house_of(server) as house:
        with house.database.write() as connection:
            sessions.lock(connection, session_id)
        house.page.publish()  # else it is heard of within a second
