"""Reading in Chromium: the quality mark tells the truth, also of what is missing; the list loads the viewer ahead."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from browser_world import chromium, look
from live_server import LiveServer
from phantom import ct_slice, multipart, part10
from playwright.sync_api import Page, expect
from pydicom.uid import generate_uid
from signed_in import sign_in

from leadglass.web.authentication import COOKIE

pytestmark = pytest.mark.browser
SLICES = 8
DIST = Path(__file__).parents[2] / "viewer" / "dist"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A server with an even CT, and one that lacks its fourth slice; a signed-in reader."""
    live = LiveServer(tmp_path_factory.mktemp("first-image"))
    live.start()
    try:
        script = live.script("loader")
        studies = []
        for lacking in (0, 4):
            study, series = generate_uid(prefix=None), generate_uid(prefix=None)
            parts = [part10(ct_slice(
                study=study, series=series, number=n, size=256, ImagePositionPatient=[0, 0, 2.5 * n], PixelSpacing=[1, 1],
                ImageOrientationPatient=[1, 0, 0, 0, 1, 0], FrameOfReferenceUID=series + ".9",
            )) for n in range(1, SLICES + 1) if n != lacking]
            body, headers = multipart(parts)
            assert script.post(f"{live.url}/dicomweb/studies", data=body, headers=headers).status_code == 200
            studies.append(study)
        cookie = str(sign_in(live, "rita", "radiologist")[0].headers["Cookie"]).partition("=")[2]
        with chromium(live) as browser:
            context = browser.new_context(viewport={"width": 1400, "height": 900})
            context.add_cookies([{"name": COOKIE, "value": cookie, "domain": "localhost", "path": "/", "secure": True,
                                  "httpOnly": True, "sameSite": "Strict"}])
            yield SimpleNamespace(live=live, context=context, whole=studies[0], lacking=studies[1])
    finally:
        live.stop()


def _opened(world: SimpleNamespace, study: str) -> Page:
    page: Page = world.context.new_page()
    page.goto(f"{world.live.url}/view/{study}")
    return page


def test_complete_and_lossless_is_said_when_every_slice_is_there_and_not_before(world: SimpleNamespace) -> None:
    page = world.context.new_page()
    held: list[Any] = []
    is_open: list[bool] = []
    page.route(re.compile(r"/frames/1$"), lambda route: route.continue_() if is_open else held.append(route))
    page.goto(f"{world.live.url}/view/{world.whole}")
    mark = page.locator("#quality")
    expect(mark).to_contain_text(f"Loading 0/{SLICES}", timeout=40_000)
    assert held
    is_open.append(True)
    for route in held:
        route.continue_()
    expect(mark).to_have_text("Complete and lossless", timeout=40_000)
    assert mark.get_attribute("data-tone") == "good"
    expect(page.locator("#quality-said")).to_have_text("Complete and lossless")
    look(page, "view")
    page.close()


def test_a_slice_that_cannot_be_loaded_is_said(world: SimpleNamespace) -> None:
    page = world.context.new_page()
    refused: list[str] = []

    def answer(route: Any) -> None:
        if len(refused) < 2:
            refused.append(route.request.url)  # the first one opens the view, the second is lost for good
        if route.request.url == refused[-1] != refused[0]:
            route.fulfill(status=404, body="")
        else:
            route.continue_()

    page.route(re.compile(r"/frames/1$"), answer)
    page.goto(f"{world.live.url}/view/{world.whole}")
    mark = page.locator("#quality")
    expect(mark).to_contain_text(f"1 of {SLICES} not loaded", timeout=40_000)
    page.wait_for_timeout(2000)
    expect(mark).not_to_contain_text("Complete")
    assert mark.get_attribute("data-tone") == "bad"
    look(page, "view-incomplete")
    page.close()


def test_a_slice_that_never_came_is_said(world: SimpleNamespace) -> None:
    page = _opened(world, world.lacking)
    expect(page.locator("#quality")).to_contain_text("1 missing in the series", timeout=40_000)
    assert page.locator("#quality").get_attribute("data-tone") == "bad"
    page.close()


def test_an_image_that_is_there_in_part_is_a_preview(world: SimpleNamespace) -> None:
    page = _opened(world, world.whole)
    mark = page.locator("#quality")
    expect(mark).to_have_text("Complete and lossless", timeout=40_000)
    page.evaluate("""() => { const cs = document.getElementById("viewer").contentWindow.cornerstone;
        const id = cs.getRenderingEngines()[0].getViewports()[0].getCurrentImageId();
        cs.cache.getImage(id).imageQualityStatus = 5; cs.cache.getImageQuality = (one) => one === id ? 5 : 8; }""")
    expect(mark).to_contain_text("Preview (lossy)")
    assert mark.get_attribute("data-tone") == "warn"
    page.close()


def test_the_list_loads_ahead_what_the_viewer_then_asks_for_and_nothing_is_asked_for_twice(world: SimpleNamespace) -> None:
    assert (DIST / "needed.json").is_file(), "the viewer was fetched before it had a list; run: make setup"
    page = world.context.new_page()
    page.goto(f"{world.live.url}/studies")
    names = json.loads((DIST / "needed.json").read_text())
    page.wait_for_function(
        "n => performance.getEntriesByType('resource').filter((e) => e.name.includes('/viewer/')).length >= n",
        arg=len(names["preload"]) + len(names["prefetch"]), timeout=40_000)
    page.goto(f"{world.live.url}/view/{world.whole}")
    expect(page.locator("#quality")).to_have_text("Complete and lossless", timeout=40_000)
    needed = {*names["preload"], *names["prefetch"]}
    loaded = set(page.frames[1].evaluate("""() => performance.getEntriesByType("resource").filter((e) => /[.](js|css|woff2)$/.test(e.name))
        .filter((e) => /[/][0-9a-f]{16}[/]/.test(e.name)).map((e) => e.name.split("/").pop())"""))
    assert {n for n in loaded - needed if "worker" not in n} == set(), "the lock's `needed` lacks what the viewer loads"
    assert page.frames[1].evaluate("""() => performance.getEntriesByType("resource").filter((e) => /[/][0-9a-f]{16}[/]/.test(e.name))
        .filter((e) => e.transferSize > 300 && !e.name.includes("worker")).map((e) => e.name)""") == []
    page.close()
