"""Enrolment: from a one-time link to two factors, with nothing but a browser.

The link's secret stands after `#`, so that no server, proxy or log sees it in a URL; the page's script posts it once.
From then on an HttpOnly cookie holds a handle that is good for the steps only.
"""

import ipaddress
from typing import TYPE_CHECKING, Final

import segno
from markupsafe import Markup
from starlette.responses import JSONResponse, Response

from leadglass.errors import LeadglassError, Missing
from leadglass.web.pages import render, see_other, words_of
from leadglass.web.sign_in_pages import json_of, wrong

if TYPE_CHECKING:
    from leadglass.web.routes import Call

__all__ = [
    "COOKIE", "finish", "landing", "open_link", "passkey_finish", "passkey_options", "password", "qr_svg", "steps",
    "totp_begin", "totp_finish",
]

COOKIE: Final = "__Host-enrolment"
_SECONDS: Final = 1800


def landing(call: "Call") -> Response:
    """The page that a link opens; it holds nothing but the script that posts the secret."""
    return render(call, "enrol.html", is_lost=False)


def open_link(call: "Call") -> Response:
    """Use the link up. The answer's cookie holds the handle of the steps."""
    try:
        handle = call.house.enrolment.open(str(json_of(call).get("secret", ""))[:200], call.peer)
    except LeadglassError:
        return JSONResponse({"error": "This link has been used, has ended or is incomplete. "
                                      "Nothing was changed. Ask the person who invited you for a new one."}, 404)
    cookie = f"{COOKIE}={handle}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age={_SECONDS}"
    return JSONResponse({"go": "/enrol/steps"}, headers={"set-cookie": cookie})


def steps(call: "Call") -> Response:
    """Show for whom this is, and the factors so far."""
    return _steps(call)


def _steps(call: "Call", status: int = 200, error: str = "", seed: str = "", uri: str = "") -> Response:
    try:
        view = call.house.enrolment.view(_handle(call))
    except Missing:
        return render(call, "enrol.html", 404, is_lost=True)
    is_enough = view.has_passkey or (view.has_password and view.has_totp)
    return render(
        call, "enrol_steps.html", status, view=view, error=error, seed=_groups(seed), uri=uri, is_enough=is_enough,
        qr=qr_svg(uri) if uri else "", is_address=is_address(call.request.url.hostname or ""),
    )


def password(call: "Call") -> Response:
    """Set the password."""
    if call.form.get("password", "") != call.form.get("again", ""):
        return _steps(call, 400, "The two passwords differ. Nothing was saved; type both again.")
    try:
        call.house.enrolment.set_password(_handle(call), call.form.get("password", ""))
    except LeadglassError as e:
        return _steps(call, 400, words_of(e))
    return see_other("/enrol/steps#code")


def totp_begin(call: "Call") -> Response:
    """Show a new seed for an authenticator app."""
    try:
        seed, uri = call.house.enrolment.totp_begin(_handle(call))
    except LeadglassError as e:
        return _steps(call, 400, words_of(e))
    return _steps(call, seed=seed, uri=uri)


def totp_finish(call: "Call") -> Response:
    """Check the first code."""
    try:
        call.house.enrolment.totp_finish(_handle(call), "".join(call.form.get("code", "").split()))
    except LeadglassError as e:
        # The seed is shown once more: the person is in the middle of typing it.
        return _steps(call, 400, words_of(e), call.form.get("seed", "").replace(" ", ""), _own_uri(call))
    return see_other("/enrol/steps")


def passkey_options(call: "Call") -> Response:
    """Return the options for navigator.credentials.create."""
    try:
        return JSONResponse({"options": call.house.enrolment.passkey_options(_handle(call))})
    except LeadglassError as e:
        return wrong(e)


def passkey_finish(call: "Call") -> Response:
    """Keep a new passkey."""
    body = json_of(call)
    response = body.get("response")
    label = str(body.get("label", "")).strip()[:64] or "Passkey"
    try:
        call.house.enrolment.passkey_finish(_handle(call), response if isinstance(response, dict) else {}, label)
    except LeadglassError as e:
        return wrong(e)
    return JSONResponse({"go": "/enrol/steps"})


def finish(call: "Call") -> Response:
    """End the enrolment; recovery codes and number are shown now and never again."""
    try:
        name = call.house.enrolment.view(_handle(call))
        done = call.house.enrolment.finish(_handle(call), call.peer)
    except LeadglassError as e:
        return _steps(call, 400, words_of(e))
    page = render(call, "enrol_done.html", codes=done.recovery_codes, number=done.number, view=name)
    page.headers.append("set-cookie", f"{COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0")
    return page


def qr_svg(text: str) -> Markup:
    """Return a QR code as inline SVG, dark on white in both themes: cameras want it so."""
    code = segno.make(text, error="m")
    picture = code.svg_inline(
        scale=1, border=3, dark="#000", light="#fff", omitsize=True, title="QR code for your authenticator app",
        svgclass="qr", lineclass=None,
    )
    return Markup(picture)  # noqa: S704 - segno's own drawing; the text is only modules of it


def is_address(host: str) -> bool:
    """Return whether a host name is an IP address: browsers make no passkeys for those."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _own_uri(call: "Call") -> str:
    uri = call.form.get("uri", "")
    return uri if uri.startswith("otpauth://totp/") and len(uri) < 512 else ""  # noqa: PLR2004 - a QR code's comfort


def _groups(seed: str) -> str:
    return " ".join(seed[i:i + 4] for i in range(0, len(seed), 4))


def _handle(call: "Call") -> str:
    return str(call.request.cookies.get(COOKIE, ""))[:200]
