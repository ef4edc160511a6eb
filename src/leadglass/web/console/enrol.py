"""Enrolment pages: the link is opened once, factors are proved one by one, codes and a number are shown once.

The link's secret stands in the fragment, which no server and no log sees; a script posts it once. The browser then
holds the ceremony's handle in a cookie of its own, and every later step works without a script but passkeys.
"""

import ipaddress
from typing import TYPE_CHECKING, Final

import segno
from starlette.responses import Response

from leadglass.errors import Busy, LeadglassError, Malformed, Missing, Refused, Unproven
from leadglass.web.console.pages import json_body, redirect, render, say_json

if TYPE_CHECKING:
    from leadglass.web.calls import Call

__all__ = [
    "begin_passkey", "finish", "finish_passkey", "open_link", "open_page", "recover", "recover_page", "set_password",
    "set_totp", "steps",
]

_COOKIE: Final = "__Host-enrolment"
_ROLES: Final = {
    "administrator": "run the system: people, devices and settings. No images come with this role.",
    "radiologist": "search and read the studies of this site.",
    "referring": "read the studies of your own patients.",
    "technologist": "check today's acquisitions.",
    "privacy-officer": "read the access log.",
    "security-officer": "watch devices and the state of the system.",
    "researcher": "read de-identified copies.",
}


def _handle(call: "Call") -> str:
    handle = call.request.cookies.get(_COOKIE, "")
    if not handle or len(handle) > 200:
        raise Missing("this enrolment is over. Ask the person who invited you for a new link.")
    return handle


def open_page(call: "Call") -> Response:
    """The page that a link leads to: its script reads the fragment, clears it, and posts it once."""
    return render(call, "enrol_open.html")


def open_link(call: "Call") -> Response:
    """Spend the link. The answer is the same for every fault."""
    secret = str(json_body(call).get("secret", ""))
    try:
        handle = call.house.enrolment.open(secret[:200], call.peer)
    except Missing as e:
        return say_json({"error": str(e)}, status=404)
    return say_json({"next": "/enrol/steps"}, cookies=(_cookie(handle),))


def recover_page(call: "Call") -> Response:
    """Ask for a recovery code."""
    return render(call, "recover.html", error="", name="")


def recover(call: "Call") -> Response:
    """A recovery code leads to new factors; it signs nobody in."""
    name = call.form.get("name", "")
    try:
        handle = call.house.enrolment.recover(name, call.form.get("code", ""), call.peer)
    except (Unproven, Busy) as e:
        return render(call, "recover.html", error=_sentence(e), name=name, status=401)
    return redirect("/enrol/steps", (_cookie(handle),))


def _cookie(handle: str) -> str:
    return f"{_COOKIE}={handle}; Path=/; Secure; HttpOnly; SameSite=Strict"


def steps(call: "Call", *, error: str = "", status: int = 200) -> Response:
    """Show for whom, by whom and for what the account is, and what is still wanted."""
    handle = _handle(call)
    view = call.house.enrolment.view(handle)
    seed, uri = ("", "") if view.has_totp else call.house.enrolment.totp_begin(handle)
    picture = segno.make(uri, error="m").svg_inline(scale=5, border=3, dark="#000", light="#fff") if uri else ""
    is_two = view.has_passkey or (view.has_password and view.has_totp)
    return render(
        call, "enrol_steps.html", view=view, error=error, status=status, is_two=is_two, qr=picture,
        seed=" ".join(seed[i : i + 4] for i in range(0, len(seed), 4)), is_address=_is_address(call.settings.hostname),
        rights=[(role, _ROLES.get(role, "")) for role in view.roles],
    )


def _is_address(hostname: str) -> bool:
    """Return whether the server goes by a bare address, where no browser offers passkeys."""
    try:
        ipaddress.ip_address(hostname)
    except ValueError:
        return False
    return True


def set_password(call: "Call") -> Response:
    """Keep a password that passes the rules."""
    password = call.form.get("password", "")
    if password != call.form.get("again", ""):
        return steps(call, error="The two passwords are not the same. Please type them again.", status=400)
    try:
        call.house.enrolment.set_password(_handle(call), password)
    except Malformed as e:
        return steps(call, error=_sentence(e), status=400)
    return redirect("/enrol/steps")


def set_totp(call: "Call") -> Response:
    """Keep one-time codes that have been proved by one."""
    try:
        call.house.enrolment.totp_finish(_handle(call), call.form.get("code", ""))
    except Malformed as e:
        return steps(call, error=_sentence(e), status=400)
    return redirect("/enrol/steps")


def begin_passkey(call: "Call") -> Response:
    """Give the options for a new passkey."""
    return say_json({"options": call.house.enrolment.passkey_options(_handle(call))})


def finish_passkey(call: "Call") -> Response:
    """Keep a passkey that verifies."""
    body = json_body(call)
    response = body.get("response")
    try:
        call.house.enrolment.passkey_finish(
            _handle(call), response if isinstance(response, dict) else {}, str(body.get("label", "")))
    except LeadglassError as e:
        return say_json({"error": _sentence(e)}, status=400)
    return say_json({"next": "/enrol/steps"})


def finish(call: "Call") -> Response:
    """End the ceremony: recovery codes and the number, shown once."""
    handle = _handle(call)
    view = call.house.enrolment.view(handle)
    try:
        enrolled = call.house.enrolment.finish(handle, call.peer)
    except Refused as e:
        return steps(call, error=_sentence(e), status=400)
    response = render(call, "enrol_done.html", view=view, codes=enrolled.recovery_codes, number=enrolled.number)
    response.headers.append("set-cookie", f"{_COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0")
    return response


def _sentence(error: LeadglassError) -> str:
    text = str(error)
    return text[:1].upper() + text[1:]
