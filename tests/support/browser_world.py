"""Chromium as a person uses it: trusts the home's CA because `leadglass trust` put it there, holds passkeys, types."""

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from live_server import LiveServer
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-dev-shm-usage"]
SIZES = {"wide": (1400, 900), "phone": (390, 844)}


def trust(live: LiveServer, *arguments: str) -> str:
    """Run `leadglass trust` at a terminal, and say yes; return what it printed."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-m", "leadglass", "trust", *arguments], env=live.environment, stdin=theirs,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=live.root)
    os.close(theirs)
    os.write(ours, b"y\n")
    text = process.communicate(timeout=60)[0].decode()
    os.close(ours)
    assert process.returncode == 0, text
    return text


@contextmanager
def chromium(live: LiveServer) -> Iterator[Browser]:
    """Give a browser of a user whose home directory is the server's test root."""
    trust(live)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=FLAGS, env={"HOME": str(live.root), "PATH": os.environ["PATH"]})
        try:
            yield browser
        finally:
            browser.close()


class Person:
    """One person at one browser, with an authenticator of their own."""

    def __init__(self, browser: Browser, live: LiveServer, *, has_authenticator: bool = True, **options: Any) -> None:
        self.live = live
        self.context: BrowserContext = browser.new_context(viewport={"width": 1400, "height": 900}, **options)
        self.page: Page = self.context.new_page()
        self.problems: list[str] = []
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda e: self.problems.append(f"error: {e}"))
        if has_authenticator:
            session = self.context.new_cdp_session(self.page)
            session.send("WebAuthn.enable")
            session.send("WebAuthn.addVirtualAuthenticator", {"options": {
                "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
                "isUserVerified": True, "automaticPresenceSimulation": True,
            }})

    def _note(self, message: Any) -> None:
        if message.type == "error":
            self.problems.append(message.text)

    def goto(self, path: str) -> None:
        self.page.goto(self.live.url + path)

    def enrol_with_passkey(self, link: str) -> str:
        """Open the link, add a passkey, finish; return the six digits."""
        self.page.goto(link)
        self.page.wait_for_url("**/enrol/steps")
        self.page.get_by_role("button", name="Add a passkey").click()
        self.page.get_by_role("button", name="Finish").click()
        return digits(self.page)

    def sign_in_with_passkey(self) -> None:
        self.goto("/sign-in")
        self.page.get_by_role("button", name="Use a passkey").click()
        self.page.wait_for_url(re.compile(r"/(studies|people|account|ledger)$"))


def digits(page: Page) -> str:
    """Return the number that the last page of an enrolment shows."""
    return "".join(c for c in page.locator("#number").inner_text() if c.isdigit())


def fresh_link(live: LiveServer) -> str:
    """Return the first administrator's link, for the port that the server really has."""
    return str(live.json("init", "--json")["link"])


def look(page: Page, name: str) -> None:
    """Check a page with axe at both sizes and in both themes; keep pictures where LEADGLASS_SHOTS names a folder."""
    shots = os.environ.get("LEADGLASS_SHOTS", "")
    before = page.viewport_size
    for size, (width, height) in SIZES.items():
        page.set_viewport_size({"width": width, "height": height})
        for theme in ("dark", "light"):
            page.emulate_media(color_scheme=theme, reduced_motion="reduce")  # type: ignore[arg-type]
            report = Axe().run(page, options={"resultTypes": ["violations"]}).response
            if shots:
                page.screenshot(path=str(Path(shots) / f"{name}-{size}-{theme}.png"))
            found = [(v["id"], [n["html"][:160] + " | " + json.dumps(n.get("any", [{}])[:1])[:300] for n in v["nodes"][:3]])
                     for v in report["violations"]]
            assert found == [], f"{name}, {size}, {theme}: {found}"
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"{name} scrolls sideways: {size}"
    page.emulate_media(color_scheme="dark")
    if before:
        page.set_viewport_size(before)
