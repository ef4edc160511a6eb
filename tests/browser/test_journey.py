"""From the invitation to the image, and from the image to the ledger: exactly this person saw exactly this study."""

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from browser_world import Person, chromium, digits, fresh_link, look
from live_server import LiveServer
from phantom import ct_slice, multipart, part10
from playwright.sync_api import Browser, Page, expect
from pydicom.uid import generate_uid

pytestmark = [pytest.mark.browser, pytest.mark.timeout(400)]
SLICES = 5


def _pattern(number: int, size: int = 256) -> np.ndarray:
    """Return pixels without any symmetry, different on each slice, inside the window 0 to 1000."""
    y, x = np.mgrid[:size, :size]
    image = 100 + 300 * (x / size) + 150 * (y / size)
    image[20:90, 30:110] = 950
    image[150:230, 40 + 20 * number : 90 + 20 * number] = 20
    image[(x - 190) ** 2 + (y - 70) ** 2 < 40**2] = 700
    return image.astype("<i2")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A running server with a CT of five slices and one other study, a browser, and a signed-in administrator."""
    live = LiveServer(tmp_path_factory.mktemp("browser"))
    live.start()
    try:
        with chromium(live) as browser:
            yield _prepared(live, browser)
    finally:
        code = live.stop()
    assert code == 0


def _prepared(live: LiveServer, browser: Browser) -> SimpleNamespace:
    study, series = generate_uid(prefix=None), generate_uid(prefix=None)
    slices = []
    for number in range(1, SLICES + 1):
        ds = ct_slice(study=study, series=series, number=number, size=256, PatientName="Journey^Anna Maria",
                      PatientID="JOURNEY-7", StudyDescription="Thorax")
        ds.PixelData = _pattern(number).tobytes()
        slices.append(ds)
    other = ct_slice(PatientName="Other^Someone", PatientID="OTHER-1", StudyDescription='<b>bold</b> "quoted"')
    body, headers = multipart([part10(d) for d in [*slices, other]])
    script = live.script("loader")
    assert script.post(f"{live.url}/dicomweb/studies", data=body, headers=headers).status_code == 200
    admin = Person(browser, live)
    number = admin.enrol_with_passkey(fresh_link(live))
    look(admin.page, "enrol-done")
    live.run("people", "confirm", "admin", number)
    admin.sign_in_with_passkey()
    return SimpleNamespace(live=live, browser=browser, admin=admin, study=study, slices=slices)


def _invite(admin: Person, name: str, role: str) -> str:
    """Invite someone in the console; return the one-time link."""
    admin.goto("/people")
    page = admin.page
    page.get_by_text("Invite a person").click()
    page.get_by_label("Login name").fill(name)
    page.get_by_label("Shown as").fill(name.title())
    page.get_by_label("Role").select_option(role)
    page.get_by_role("button", name="Invite").click()
    return page.locator("#link").inner_text()


def _confirm(admin: Person, name: str, number: str) -> None:
    admin.goto("/people")
    admin.page.get_by_label(f"Six digits of {name}").fill(number)
    admin.page.get_by_role("button", name="Confirm").click()
    expect(admin.page.get_by_text(f"{name} is active and may sign in.")).to_be_visible()


def _canvas(page: Page) -> np.ndarray:
    """Return the grey values of the viewer's canvas, waiting until an image is on it."""
    frame = page.frame_locator("#viewer")
    canvas = frame.locator("canvas.cornerstone-canvas").first
    canvas.wait_for(timeout=60_000)
    handle = canvas.element_handle()
    read = """c => { const g = c.getContext('2d').getImageData(0, 0, c.width, c.height);
        const out = new Uint8Array(c.width * c.height); for (let i = 0; i < out.length; i++) out[i] = g.data[4 * i];
        let s = ''; for (let i = 0; i < out.length; i += 8192) s += String.fromCharCode(...out.subarray(i, i + 8192));
        return [c.width, c.height, btoa(s)]; }"""
    import base64

    for _ in range(120):
        width, height, text = handle.evaluate(read)
        grey = np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width)
        if grey.max() > 200:
            return grey
        page.wait_for_timeout(250)
    raise AssertionError("no image came on the canvas")


def _wanted(ds_pixels: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, tuple[slice, slice]]:
    """Return what the window of the file makes of its pixels, at the canvas's scale, and where it lies."""
    from PIL import Image

    side = min(shape)
    grey = np.clip((ds_pixels - 499.5) / 999.0 + 0.5, 0, 1) * 255
    scaled = np.asarray(Image.fromarray(grey.astype(np.uint8)).resize((side, side), Image.Resampling.BILINEAR), float)
    top, left = (shape[0] - side) // 2, (shape[1] - side) // 2
    return scaled, (slice(top, top + side), slice(left, left + side))


def _slice_shown(grey: np.ndarray) -> tuple[int, float]:
    """Return (number of the slice that is on the canvas, mean absolute difference to the file's)."""
    found = []
    for number in range(1, SLICES + 1):
        wanted, where = _wanted(_pattern(number).astype(float), grey.shape)
        found.append((float(np.abs(grey[where] - wanted).mean()), number))
    difference, number = min(found)
    return number, difference


def test_pages_are_accessible_before_sign_in(world: SimpleNamespace, browser_person: Person) -> None:
    browser_person.goto("/sign-in")
    look(browser_person.page, "sign-in")
    browser_person.goto("/enrol#not-a-good-secret")
    expect(browser_person.page.get_by_text("this link is not good")).to_be_visible()
    assert "#" not in browser_person.page.url
    browser_person.goto("/studies")
    assert browser_person.page.url.endswith("/sign-in")


@pytest.fixture
def browser_person(world: SimpleNamespace) -> Iterator[Person]:
    person = Person(world.browser, world.live)
    yield person
    person.context.close()


@pytest.mark.peer  # OHIF
def test_from_the_invitation_to_the_image_to_the_ledger(world: SimpleNamespace) -> None:
    live: LiveServer = world.live
    link = _invite(world.admin, "rita", "radiologist")
    look(world.admin.page, "people")
    rita = Person(world.browser, live)
    number = rita.enrol_with_passkey(link)
    # The account does not live before the inviter has heard the number.
    rita.goto("/sign-in")
    rita.page.get_by_role("button", name="Use a passkey").click()
    expect(rita.page.locator("#passkey-says")).to_contain_text("does not open an account")
    _confirm(world.admin, "rita", number)
    rita.problems.clear()
    rita.sign_in_with_passkey()
    page = rita.page
    assert page.url.endswith("/studies")
    expect(page.get_by_role("link", name="Journey, Anna Maria", exact=True)).to_be_visible()
    look(page, "studies")
    # Search as one types; nothing of a patient comes into the address.
    page.keyboard.press("/")
    page.keyboard.type("journey ct")
    expect(page.get_by_text("Other, Someone")).to_have_count(0)
    expect(page.get_by_role("link", name="Journey, Anna Maria", exact=True)).to_be_visible()
    assert page.url.endswith("/studies")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/view/{world.study}")
    grey = _canvas(page)
    shown, difference = _slice_shown(grey)
    assert difference < 6, f"the canvas is not the file's slice: {difference:.1f} grey levels off"
    # To another slice, lock, and back: the same slice.
    viewport = page.frame_locator("#viewer").locator("canvas.cornerstone-canvas").first
    viewport.hover()
    page.mouse.wheel(0, 120)
    page.wait_for_timeout(1500)
    after_scroll, difference = _slice_shown(_canvas(page))
    assert difference < 6
    assert after_scroll != shown
    page.screenshot(path=str(_shot("viewer"))) if _shot("viewer") else None
    page.get_by_role("button", name="Lock").click()
    expect(page.locator("#veil")).to_be_visible()
    expect(page.locator("#viewer")).to_be_hidden()
    page.wait_for_timeout(1200)
    refused = page.evaluate(f"fetch('/dicomweb/studies/{world.study}/metadata').then(a => a.status)")
    assert refused == 401
    page.locator("#veil").get_by_role("button", name="Use a passkey").click()
    expect(page.locator("#veil")).to_be_hidden()
    assert _slice_shown(_canvas(page))[0] == after_scroll
    # Who saw this: rita, this study, once; and nobody saw the other one.
    page.goto(f"{live.url}/studies/{world.study}/access")
    expect(page.locator("#who-saw-this")).to_contain_text("rita")
    viewed = page.locator("#who-saw-this li", has_text="viewed this study")
    expect(viewed).to_have_count(1)
    expect(viewed).to_contain_text("rita")
    look(page, "who-saw-this")
    page.goto(f"{live.url}/studies/{world.study}")
    look(page, "study")
    reads = [r for r in live.ledger() if r["action"] == "archive:study:read" and r["event"] == "decision"]
    assert [(r["subject"]["name"], r["study"], r["outcome"]) for r in reads] == [("rita", world.study, "done")]
    with page.expect_download() as taken:  # a file to take away, under a right of its own
        page.get_by_role("link", name="Export").click()
    assert taken.value.suggested_filename == "study.zip"
    with zipfile.ZipFile(taken.value.path()) as archive:
        assert archive.testzip() is None
        assert len([name for name in archive.namelist() if name.startswith("DICOM/")]) == len(world.slices)
    page.goto(f"{live.url}/studies/{world.study}/access")
    expect(page.get_by_text("took this study away as a file (whole", exact=False)).to_be_visible()
    page.goto(f"{live.url}/account")
    look(page, "account")
    # Out at once when disabled.
    live.run("people", "disable", "rita")
    page.wait_for_timeout(1000)
    page.goto(f"{live.url}/studies")
    assert page.url.endswith("/sign-in")
    assert [p for p in rita.problems if "401" not in p and "404" not in p] == []
    rita.context.close()


def _shot(name: str) -> Path | None:
    import os

    folder = os.environ.get("LEADGLASS_SHOTS", "")
    return Path(folder) / f"{name}.png" if folder else None


def test_password_and_one_time_codes_and_one_factor_never(world: SimpleNamespace) -> None:
    import time

    import pyotp

    link = _invite(world.admin, "toni", "radiologist")
    toni = Person(world.browser, world.live, has_authenticator=False)
    page = toni.page
    page.goto(link)
    page.wait_for_url("**/enrol/steps")
    look(page, "enrol-steps")
    page.get_by_label("Password 8 characters").fill("toni1234")
    page.get_by_label("Once more").fill("toni1234")
    page.get_by_role("button", name="Set the password").click()
    expect(page.get_by_role("alert").first).to_be_visible()
    page.get_by_label("Password 8 characters").fill("four walls and a lamp")
    page.get_by_label("Once more").fill("four walls and a lamp")
    page.get_by_role("button", name="Set the password").click()
    expect(page.get_by_role("button", name="Finish")).to_have_count(0)  # one factor is none
    seed = re.sub(r"\s", "", page.locator(".qr code").inner_text())
    page.get_by_label("The code that it shows now").fill(pyotp.TOTP(seed).now())
    page.get_by_role("button", name="Prove the codes").click()
    page.get_by_role("button", name="Finish").click()
    recovery = page.locator("#codes li").all_inner_texts()
    _confirm(world.admin, "toni", digits(page))
    used = pyotp.TOTP(seed).now()

    def sign_in(password: str, code: str) -> None:
        toni.goto("/sign-in")
        page.get_by_label("Name").fill("toni")
        page.get_by_label("Password").fill(password)
        page.get_by_label("One-time code").fill(code)
        page.get_by_role("button", name="Sign in with password and code").click()

    sign_in("four walls and a lamp", "000000")
    expect(page.get_by_role("alert").first).to_contain_text("Name, password or code is wrong")
    while pyotp.TOTP(seed).now() == used:
        time.sleep(0.5)
    code = pyotp.TOTP(seed).now()
    sign_in("wrong walls and a lamp", code)
    expect(page.get_by_role("alert").first).to_contain_text("Name, password or code is wrong")
    while pyotp.TOTP(seed).now() == code:  # the wrong password has used that code up
        time.sleep(0.5)
    sign_in("four walls and a lamp", pyotp.TOTP(seed).now())
    page.wait_for_url("**/studies")
    page.get_by_role("button", name="Sign out").click()
    toni.goto("/studies")
    assert page.url.endswith("/sign-in")
    # A recovery code stands in for a one-time code, once; without the password it opens no session.
    sign_in("four walls and a lamp", recovery[0])
    page.wait_for_url("**/studies")
    page.get_by_role("button", name="Sign out").click()
    sign_in("four walls and a lamp", recovery[0])
    expect(page.get_by_role("alert").first).to_contain_text("Name, password or code is wrong")
    toni.goto("/recover")
    look(page, "recover")
    page.get_by_label("Name").fill("toni")
    page.get_by_label("Recovery code").fill(recovery[1])
    page.get_by_role("button", name="Choose new factors").click()
    page.wait_for_url("**/enrol/steps")
    toni.goto("/studies")
    assert page.url.endswith("/sign-in")
    toni.context.close()


def test_an_administrator_sees_no_images_and_runs_devices(world: SimpleNamespace) -> None:
    page: Page = world.admin.page
    world.admin.goto("/devices")
    look(page, "devices-empty")
    page.get_by_label("AE title").fill("CT7")
    page.get_by_label("Address or network").fill("127.0.0.1")
    page.get_by_role("button", name="Register").click()
    expect(page.get_by_text("CT7 is registered")).to_be_visible()
    look(page, "devices")
    assert page.get_by_role("link", name="Studies").count() == 0
    status = page.evaluate(f"fetch('/dicomweb/studies/{world.study}/metadata').then(a => a.status)")
    assert status == 404
    world.admin.goto("/ledger")
    expect(page.get_by_text("tried to view this study: refused").first).to_be_visible()
    look(page, "ledger")


def test_the_ca_goes_into_the_stores_at_a_terminal_alone_and_out_again(world: SimpleNamespace) -> None:
    import subprocess

    from browser_world import trust

    database = f"sql:{world.live.root}/.pki/nssdb"

    def known() -> str:
        return subprocess.run(["certutil", "-L", "-d", database], capture_output=True, text=True, check=True).stdout

    assert "Leadglass" in known()
    refused = world.live.run("trust", "--undo", check=False)
    assert refused.returncode == 1
    assert "terminal" in refused.stderr
    assert "Leadglass" in known()
    assert "browser store" in trust(world.live, "--undo")
    assert "Leadglass" not in known()
    trust(world.live)
    assert "Leadglass" in known()
