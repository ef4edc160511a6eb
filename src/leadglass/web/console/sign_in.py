"""Sign-in, lock, unlock and sign-out pages: forms in, sessions out. The proof itself is access/sign_in.py's."""

from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from leadglass.errors import Busy, LeadglassError, Unproven
from leadglass.web.authentication import clear_cookie, cookie_header
from leadglass.web.console.pages import json_body, redirect, render, say_json

if TYPE_CHECKING:
    from leadglass.web.calls import Call

__all__ = [
    "begin_passkey", "lock", "session_state", "sign_in", "sign_in_page", "sign_in_passkey", "sign_out",
    "sign_out_everywhere", "unlock", "unlock_page", "unlock_passkey",
]

_START = "/"


def _agent(call: "Call") -> str:
    return call.request.headers.get("user-agent", "")[:200]


def sign_in_page(call: "Call") -> Response:
    """Show the ways in; someone who is in already goes on."""
    if call.session is not None and str(call.session.state) == "active":
        return redirect(_START)
    return render(call, "sign_in.html", error="", name="")


def sign_in(call: "Call") -> Response:
    """Password and one-time code, verified together."""
    name = call.form.get("name", "")
    try:
        secret, _ = call.house.sign_in.with_password(
            name, call.form.get("password", ""), call.form.get("code", ""), call.peer, _agent(call))
    except Busy as e:
        wait = f"Too many wrong tries. Please wait {e.retry_after_seconds} seconds."
        return render(call, "sign_in.html", error=wait, name=name, status=429,
                      headers={"retry-after": str(e.retry_after_seconds)})
    except Unproven:
        return render(call, "sign_in.html", error="Name, password or code is wrong.", name=name, status=401)
    return redirect(_START, (cookie_header(secret),))


def begin_passkey(call: "Call") -> Response:
    """Give a challenge; the state travels sealed with the browser."""
    options, state = call.house.sign_in.begin()
    return say_json({"options": options, "state": state})


def sign_in_passkey(call: "Call") -> Response:
    """A passkey with user verification: two factors in one."""
    body = json_body(call)
    try:
        secret, _ = call.house.sign_in.with_passkey(
            str(body.get("state", "")), _response(body), call.peer, _agent(call))
    except LeadglassError as e:
        return _refusal(e)
    return say_json({"next": _START}, cookies=(cookie_header(secret),))


def _response(body: dict[str, Any]) -> dict[str, Any]:
    found = body.get("response")
    return found if isinstance(found, dict) else {}


def _refusal(error: LeadglassError) -> Response:
    if isinstance(error, Busy):
        return say_json({"error": f"Too many wrong tries. Please wait {error.retry_after_seconds} seconds."}, status=429)
    return say_json({"error": str(error)}, status=401)


# --- lock and unlock --------------------------------------------------------------------------------------------
def unlock_page(call: "Call") -> Response:
    """Show how to go on; a session that is not locked goes on at once."""
    if str(call.session.state) == "active":
        return redirect(_START)
    return render(call, "unlock.html", error="", name=call.session.name)


def unlock(call: "Call") -> Response:
    """Unlock with password and code: from the page, or from the viewer's overlay (which asks for JSON)."""
    is_script = "application/json" in call.request.headers.get("accept", "")
    try:
        call.house.sign_in.unlock_with_password(call.session, call.form.get("password", ""), call.form.get("code", ""))
    except (Unproven, Busy) as e:
        if is_script:
            return _refusal(e)
        return render(call, "unlock.html", error="Password or code is wrong.", name=call.session.name, status=401)
    return say_json({"next": _START}) if is_script else redirect(_START)


def unlock_passkey(call: "Call") -> Response:
    """Unlock with a fresh use of a passkey."""
    body = json_body(call)
    try:
        call.house.sign_in.unlock_with_passkey(call.session, str(body.get("state", "")), _response(body))
    except LeadglassError as e:
        return _refusal(e)
    return say_json({"next": _START})


def lock(call: "Call") -> Response:
    """Lock now: images already on the screen are hidden by the page, new bytes are refused by the door."""
    call.house.sign_in.lock(call.session)
    if "application/json" in call.request.headers.get("accept", ""):
        return say_json({"state": "locked"})
    return redirect("/unlock")


def session_state(call: "Call") -> Response:
    """Say how the session stands, for the viewer's clock. Asking counts as use."""
    session = call.session
    return say_json({"state": str(session.state), "idle_seconds": session.idle_seconds, "expires_at": session.expires_at})


def sign_out(call: "Call") -> Response:
    """End this session."""
    call.house.sign_in.out(call.session)
    return redirect("/sign-in", (clear_cookie(),))


def sign_out_everywhere(call: "Call") -> Response:
    """End every session of this person."""
    call.house.sign_in.out_everywhere(call.session)
    return redirect("/sign-in", (clear_cookie(),))
