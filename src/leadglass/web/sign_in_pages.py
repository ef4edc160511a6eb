"""Sign-in, lock, unlock and sign-out. One message for every fault: a page tells nobody who has an account here."""

import json
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

from leadglass.errors import Busy, LeadglassError, Malformed, Unproven
from leadglass.web.authentication import clear_cookie, cookie_header
from leadglass.web.pages import render, see_other, words_of

if TYPE_CHECKING:
    from leadglass.web.routes import Call

__all__ = [
    "lock", "passkey_begin", "passkey_finish", "sign_in_form", "sign_in_password", "sign_out", "sign_out_everywhere",
    "unlock_form", "unlock_passkey", "unlock_password",
]

_START = "/studies"


def sign_in_form(call: "Call") -> Response:
    """Show the way in; who is in already goes on."""
    if call.session is not None:
        return see_other("/unlock" if call.session.state == "locked" else "/")
    return render(call, "sign_in.html", name="")


def sign_in_password(call: "Call") -> Response:
    """Take name, password and code from the form, together."""
    name = call.form.get("name", "")
    try:
        secret, _ = call.house.sign_in.with_password(
            name, call.form.get("password", ""), _code(call), call.peer, _agent(call))
    except (Unproven, Busy, Malformed) as e:
        return render(call, "sign_in.html", 503 if isinstance(e, Busy) else 401, name=name, error=words_of(e))
    return see_other("/", (cookie_header(secret),))


def passkey_begin(call: "Call") -> Response:
    """Return a challenge for navigator.credentials.get."""
    options, state = call.house.sign_in.begin()
    return JSONResponse({"options": options, "state": state})


def passkey_finish(call: "Call") -> Response:
    """Take the passkey's answer."""
    body = json_of(call)
    try:
        secret, _ = call.house.sign_in.with_passkey(
            str(body.get("state", "")), _answer(body), call.peer, _agent(call))
    except LeadglassError as e:
        return wrong(e)
    return JSONResponse({"go": "/"}, headers={"set-cookie": cookie_header(secret)})


def lock(call: "Call") -> Response:
    """Lock this session: images and lists need the factors again."""
    call.house.sign_in.lock(call.session)
    if wants_json(call):
        return JSONResponse({"state": "locked"})
    return see_other("/unlock")


def unlock_form(call: "Call") -> Response:
    """Show how to come back."""
    if call.session.state != "locked":
        return see_other("/")
    return render(call, "unlock.html")


def unlock_password(call: "Call") -> Response:
    """Unlock with password and code."""
    try:
        call.house.sign_in.unlock_with_password(call.session, call.form.get("password", ""), _code(call))
    except (Unproven, Busy, Malformed) as e:
        if wants_json(call):
            return wrong(e)
        return render(call, "unlock.html", 401, error=words_of(e))
    return JSONResponse({"state": "active"}) if wants_json(call) else see_other("/")


def unlock_passkey(call: "Call") -> Response:
    """Unlock with a fresh use of a passkey."""
    body = json_of(call)
    try:
        call.house.sign_in.unlock_with_passkey(call.session, str(body.get("state", "")), _answer(body))
    except LeadglassError as e:
        return wrong(e)
    return JSONResponse({"state": "active", "go": "/"})


def sign_out(call: "Call") -> Response:
    """End this session."""
    call.house.sign_in.out(call.session)
    return see_other("/sign-in", (clear_cookie(),))


def sign_out_everywhere(call: "Call") -> Response:
    """End every session of the person."""
    call.house.sign_in.out_everywhere(call.session)
    return see_other("/sign-in", (clear_cookie(),))


def json_of(call: "Call") -> dict[str, Any]:
    """Return the JSON object of a request's body. Raises: Malformed."""
    try:
        body = json.loads(call.body or b"{}")
    except (ValueError, RecursionError) as e:
        raise Malformed("the request is not JSON.") from e
    if not isinstance(body, dict):
        raise Malformed("the request is not a JSON object.")
    return body


def wants_json(call: "Call") -> bool:
    """Return whether one of our scripts asks, not a form."""
    return "application/json" in call.request.headers.get("accept", "")


def wrong(error: LeadglassError) -> Response:
    """Return a fault to one of our scripts, in words for the page."""
    status = 503 if isinstance(error, Busy) else 400
    return JSONResponse({"error": words_of(error)}, status)


def _answer(body: dict[str, Any]) -> dict[str, Any]:
    response = body.get("response")
    return response if isinstance(response, dict) else {}


def _code(call: "Call") -> str:
    return "".join(call.form.get("code", "").split())


def _agent(call: "Call") -> str:
    return str(call.request.headers.get("user-agent", ""))[:200]
