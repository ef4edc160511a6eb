"""Keeping in the console: an old proof is renewed on the spot, holds and rules are set, a study is deleted; by keyboard too."""

import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from browser_world import Person, chromium, fresh_link, look
from live_server import LiveServer
from phantom import ct_slice, multipart, part10
from playwright.sync_api import Page, expect

from leadglass.storage import tables as t

pytestmark = [pytest.mark.browser, pytest.mark.timeout(500)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A server with two studies and an administrator with a passkey."""
    live = LiveServer(tmp_path_factory.mktemp("keeping"))
    live.start()
    try:
        slices = [ct_slice(number=n, size=64, PatientName="Kept^Anna") for n in (1, 2)]
        for ds in slices[1:]:
            ds.StudyInstanceUID = slices[0].StudyInstanceUID
        other = ct_slice(PatientName="Other^Someone")
        body, headers = multipart([part10(d) for d in [*slices, other]])
        live.script("loader").post(f"{live.url}/dicomweb/studies", data=body, headers=headers).raise_for_status()
        live.run("retention", "set", "--modality", "MG", "--keep-days", "3650", "--delete-after-days", "4000")
        with chromium(live) as browser:
            admin = Person(browser, live)
            live.run("people", "confirm", "admin", admin.enrol_with_passkey(fresh_link(live)))
            admin.sign_in_with_passkey()
            yield SimpleNamespace(live=live, browser=browser, admin=admin, page=admin.page, study=slices[0].StudyInstanceUID,
                                  other=other.StudyInstanceUID)
    finally:
        live.stop()


def grow_old(live: LiveServer) -> None:
    """Make every session's proof ten minutes old, also in the workers' memory."""
    live.inside(lambda _, c: c.execute(sa.update(t.sessions).values(authenticated_at=time.time() - 600)))
    time.sleep(5.5)


def heading(page: Page) -> str:
    return page.get_by_role("heading", level=1).inner_text()


def test_the_page_of_retention(world: SimpleNamespace) -> None:
    page = world.page
    world.admin.goto("/keeping")
    assert heading(page) == "Retention"
    expect(page.get_by_role("link", name="Retention")).to_be_visible()
    expect(page.get_by_text("not yet", exact=True)).to_be_visible()
    page.get_by_text("Set a rule").click()
    look(page, "keeping")
    page.get_by_label("Modality").fill("ct")
    page.get_by_label("Keep days").fill("30")
    page.get_by_label("Delete after days").fill("10")
    page.get_by_role("button", name="Set the rule").click()
    expect(page.get_by_role("alert")).to_contain_text("at least the days to keep")
    expect(page.get_by_label("Keep days")).to_have_value("30")


def test_a_rule_is_set_with_a_fresh_passkey_and_what_was_typed_is_kept(world: SimpleNamespace) -> None:
    page = world.page
    grow_old(world.live)
    world.admin.goto("/keeping")
    page.get_by_text("Set a rule").click()
    page.get_by_label("Site").fill("north")
    page.get_by_label("Modality").fill("us")
    page.get_by_label("Keep days").fill("365")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Prove that it is you")).to_be_visible()
    look(page, "step-up")
    page.get_by_role("button", name="Use a passkey and go on").click()
    page.wait_for_url("**/keeping")
    row = page.get_by_role("row").filter(has_text="north")
    expect(row).to_contain_text("US")
    expect(row).to_contain_text("365")
    expect(row).to_contain_text("not yet")


def test_hold_release_and_delete_on_the_life_tab(world: SimpleNamespace) -> None:
    page = world.page
    grow_old(world.live)
    world.admin.goto(f"/studies/{world.study}/life")
    page.get_by_text("Put a legal hold on this study").click()
    page.get_by_label("Reason for the hold").fill("court order 12/26")
    page.get_by_role("button", name="Hold this study").click()
    page.get_by_role("button", name="Use a passkey and go on").click()
    page.wait_for_url("**/life")
    expect(page.get_by_text("“court order 12/26”").first).to_be_visible()
    page.get_by_text("Delete for good").first.click()
    expect(page.get_by_text("Not while a legal hold is open.")).to_be_visible()
    look(page, "life-held")
    page.get_by_label("Reason to release hold").fill("case closed")
    page.keyboard.press("Enter")
    page.wait_for_url("**/life")
    page.get_by_text("Delete for good").first.click()
    page.get_by_label("Reason for deleting").fill("wrong patient <b>4711</b>")
    look(page, "life-delete")
    page.get_by_role("button", name="Delete for good").click()
    page.wait_for_url("**/life")
    expect(page.get_by_text("Nothing of this study is kept here.")).to_be_visible()
    expect(page.get_by_text("“wrong patient <b>4711</b>”")).to_be_visible()
    look(page, "life-deleted")
    assert not world.live.json("studies", "show", world.study, "--json")["is_here"]


def test_damage_is_said_on_every_page_and_on_this_one_what_to_do(world: SimpleNamespace) -> None:
    path = next(p for p in (world.live.home / "objects").rglob("*") if p.is_file())
    data = bytearray(path.read_bytes())
    data[3000] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)
    world.live.run("scrub", check=False)
    page = world.page
    world.admin.goto("/people")
    expect(page.get_by_text("1 stored object needs mending")).to_be_visible()
    page.get_by_role("link", name="See retention").click()
    expect(page.get_by_text("Send the instance again")).to_be_visible()
    look(page, "keeping-damage")
