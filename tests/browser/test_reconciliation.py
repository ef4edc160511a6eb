"""A corrected name arrives: it waits, is looked at side by side, accepted with a reason, and taken back. By keyboard too."""

import copy
import re
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from browser_world import Person, chromium, fresh_link, look
from live_server import LiveServer
from notes import rejection_note
from phantom import ct_slice, multipart, part10
from playwright.sync_api import Browser, expect

pytestmark = [pytest.mark.browser, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    live = LiveServer(tmp_path_factory.mktemp("reconcile"))
    live.start()
    try:
        with chromium(live) as browser:
            yield _prepared(live, browser)
    finally:
        code = live.stop()
    assert code == 0


def _store(live: LiveServer, *datasets) -> None:
    body, headers = multipart([part10(d) for d in datasets])
    answer = live.script("loader").post(f"{live.url}/dicomweb/studies", data=body, headers=headers)
    assert answer.status_code in {200, 202}, answer.text


def _changed(ds, **attributes):
    other = copy.deepcopy(ds)
    for name, value in attributes.items():
        setattr(other, name, value)
    return other


def _prepared(live: LiveServer, browser: Browser) -> SimpleNamespace:
    first = ct_slice(PatientName="Wrong^Name", PatientID="R-1", study="1.2.826.0.1.999.1", series="1.2.826.0.1.999.1.1")
    slices = [first, ct_slice(PatientName="Wrong^Name", PatientID="R-1", study=first.StudyInstanceUID,
                              series=first.SeriesInstanceUID, number=2)]
    _store(live, *slices)
    _store(live, *[_changed(d, PatientName="<b>Right</b>^Name", PatientBirthDate="19800101") for d in slices])
    _store(live, _changed(first, PixelData=bytes(64 * 64 * 2)))
    _store(live, ct_slice(study=first.StudyInstanceUID, series=first.SeriesInstanceUID, number=3, PatientID="R-2",
                          PatientName="Wrong^Name"))
    bad = ct_slice(study=first.StudyInstanceUID, series=first.SeriesInstanceUID, number=4, PatientName="Wrong^Name", PatientID="R-1")
    _store(live, bad)
    _store(live, rejection_note(bad, PatientID="R-1"))
    end = time.monotonic() + 30
    while any(t["kind"] == "unsorted" for t in live.json("reconcile", "list", "--json")):
        assert time.monotonic() < end, "the chores sort nothing"
        time.sleep(0.5)
    admin = Person(browser, live)
    live.run("people", "confirm", "admin", admin.enrol_with_passkey(fresh_link(live)))
    admin.sign_in_with_passkey()
    link = live.json("people", "add", "rex", "--role", "radiologist", "--role", "administrator", "--json")["link"]
    rex = Person(browser, live)
    live.run("people", "confirm", "rex", rex.enrol_with_passkey(link))
    rex.sign_in_with_passkey()
    return SimpleNamespace(live=live, browser=browser, admin=admin, rex=rex, study=first.StudyInstanceUID)


def test_an_administrator_sees_what_differs_and_no_value(world: SimpleNamespace) -> None:
    world.admin.goto("/reconciliation")
    page = world.admin.page
    expect(page.locator("tbody tr.opens")).to_have_count(3)
    look(page, "reconciliation")
    page.get_by_role("link", name="Other patient or study data").click()
    expect(page.get_by_role("rowheader", name="PatientName")).to_be_visible()
    expect(page.locator("main")).not_to_contain_text("Wrong")
    look(page, "reconciliation-task-blind")


def test_a_reader_decides_side_by_side_by_keyboard_and_takes_it_back(world: SimpleNamespace) -> None:
    page = world.rex.page
    world.rex.goto(f"/studies/{world.study}")
    expect(page.get_by_role("status")).to_contain_text("3 tasks wait for a decision")
    look(page, "study-waiting")
    world.rex.goto("/reconciliation")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/reconciliation/\d+"))
    expect(page.get_by_role("heading", level=1)).to_have_text("Other patient or study data")
    row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="PatientName"))
    expect(row).to_contain_text("Wrong^Name")
    expect(row).to_contain_text("<b>Right</b>^Name")
    look(page, "reconciliation-task")
    page.get_by_label("Reason").fill("the ward has corrected the name")
    page.get_by_role("button", name="Show the held version").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("Can be undone until")).to_be_visible()
    look(page, "reconciliation-settled")
    world.rex.goto("/studies")
    expect(page.get_by_text("<b>Right</b>, Name").first).to_be_visible()
    world.rex.goto(f"/studies/{world.study}/life")
    expect(page.locator(".timeline")).to_contain_text("the ward has corrected the name")
    expect(page.locator(".timeline")).to_contain_text("Rejected for Quality Reasons: 1 hidden")
    look(page, "study-life")
    world.rex.goto("/reconciliation?view=settled")
    look(page, "reconciliation-settled-list")
    page.get_by_role("link", name="Other patient or study data").click()
    page.get_by_label("Reason to take it back").fill("not yet")
    page.get_by_role("button", name="Take the decision back").click()
    expect(page.get_by_role("button", name="Keep what is shown")).to_be_visible()
    world.rex.goto("/studies")
    expect(page.get_by_text("Wrong, Name").first).to_be_visible()


def test_a_rejection_is_lifted_with_a_reason(world: SimpleNamespace) -> None:
    page = world.rex.page
    world.rex.goto(f"/studies/{world.study}/life")
    page.get_by_label("Reason to lift rejection").fill("the image is good")
    page.get_by_role("button", name="Lift").click()
    expect(page.get_by_text("Rejection lifted: 1 shown again")).to_be_visible()
    (record,) = [r for r in world.live.ledger() if r["action"] == "archive:rejection:lift"]
    assert (record["details"]["reason"], record["subject"]["name"]) == ("the image is good", "rex")


def test_a_wrong_form_says_what_to_do(world: SimpleNamespace) -> None:
    page = world.rex.page
    world.rex.goto("/reconciliation")
    page.get_by_role("link", name="Another patient in this study").click()
    page.evaluate("document.querySelectorAll('input[name=reason]').forEach(i => { i.removeAttribute('required'); i.removeAttribute('minlength'); })")
    page.get_by_role("button", name="Keep what is shown").click()
    expect(page.get_by_role("alert")).to_contain_text("A reason of 3 to 300 characters is wanted")
    assert world.rex.problems == [] or all("400" in p for p in world.rex.problems)


def test_on_a_phone_the_rest_of_the_rail_is_under_more(world: SimpleNamespace) -> None:
    page = world.rex.page
    page.set_viewport_size({"width": 390, "height": 844})
    world.rex.goto("/reconciliation")
    expect(page.get_by_role("link", name="My account")).to_be_hidden()
    cut = "[...document.querySelectorAll('.rail .places span, .rail summary span')].filter(s => s.scrollWidth > s.clientWidth + 1 && s.clientWidth)"
    assert page.evaluate(f"{cut}.map(s => s.textContent)") == []
    page.locator(".rail summary").focus()
    page.keyboard.press("Enter")
    look(page, "more")
    page.set_viewport_size({"width": 390, "height": 844})
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    page.get_by_role("link", name="My account").click()
    page.wait_for_url("**/account")
    page.set_viewport_size({"width": 1400, "height": 900})
