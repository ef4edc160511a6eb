"""A fresh proof in place: a form that needs one asks for both factors on the spot, and then does what was asked.

Steps around a form of our own pages: 1 proof fields, if they came, are used up and never reach the handler; 2 the handler
runs; 3 when the door wants a fresh proof, and no other tab has given one meanwhile, the page that asks is shown, with what
was typed in it. That page posts to the same path: nothing in a request names a place to go to, so there is no redirect to
turn. The CSRF value is part of the form, and was checked before (authentication.py step 5).
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from leadglass.access import NeedsProof
from leadglass.errors import Busy, LeadglassError, Unproven
from leadglass.web.authentication import session_of
from leadglass.web.console.pages import json_body, render, say_json

if TYPE_CHECKING:
    from leadglass.web.calls import Call

__all__ = ["prove_with_passkey", "with_fresh_proof"]

_PASSWORD: Final = "proof-password"  # noqa: S105 - the name of a field
_CODE: Final = "proof-code"
_WRONG: Final = "Password or code is wrong. A code opens once: if you have just used it, wait for the next one."


async def with_fresh_proof(call: "Call", run: Callable[["Call"], Awaitable[Any]]) -> Any:
    """Return the answer of `run`, or the page that asks for the proof it needs. Raises: what `run` raises."""
    typed = dict(call.form)
    password, code = typed.pop(_PASSWORD, ""), typed.pop(_CODE, "")
    call = replace(call, form=typed)
    if password or code:  # step 1
        error = await run_in_threadpool(_prove, call, password, code)
        if error is not None:
            return await run_in_threadpool(_ask, call, error)
        call = await run_in_threadpool(_reread, call)
    try:
        return await run(call)  # step 2
    except NeedsProof:
        fresh = await run_in_threadpool(_reread, call)  # step 3
    if fresh.subject.authenticated_at > call.subject.authenticated_at:
        return await run(fresh)
    return await run_in_threadpool(_ask, call, None)


def _prove(call: "Call", password: str, code: str) -> LeadglassError | None:
    try:
        call.house.sign_in.unlock_with_password(call.session, password, code, what="step-up")
    except (Unproven, Busy) as e:
        return e
    return None


def _reread(call: "Call") -> "Call":
    """Return the call with its session as the database has it now, whatever this process remembers."""
    session = session_of(call.request, call.house, call.peer, is_fresh=True)
    if session is None or str(session.state) != "active":
        raise Unproven("the session has ended; sign in again.")
    return replace(call, session=session, who=session.subject)


def _ask(call: "Call", error: LeadglassError | None) -> Response:
    """Show the page that asks; what was typed stands in it."""
    if call.body and not call.form:  # a script's request: it asks by itself
        return say_json({"error": "A fresh proof of both factors is wanted.", "prove": "/step-up/passkey"}, status=401)
    said, status, headers = "", 401, {}
    if isinstance(error, Busy):
        said, status = f"Too many wrong tries. Please wait {error.retry_after_seconds} seconds.", 429
        headers = {"retry-after": str(error.retry_after_seconds)}
    elif error is not None:
        said = _WRONG
    kept = [(name, value) for name, value in call.form.items() if name != "csrf"]
    return render(call, "step_up.html", kept=kept, error=said, name=call.session.name, status=status, headers=headers)


def prove_with_passkey(call: "Call") -> Response:
    """Take a fresh use of a passkey; the page then sends its form again."""
    body = json_body(call)
    response = body.get("response")
    try:
        call.house.sign_in.unlock_with_passkey(
            call.session, str(body.get("state", "")), response if isinstance(response, dict) else {}, what="step-up")
    except Busy as e:
        return say_json({"error": f"Too many wrong tries. Please wait {e.retry_after_seconds} seconds."}, status=429)
    except LeadglassError as e:
        return say_json({"error": str(e)}, status=401)
    return say_json({"proved": True})
