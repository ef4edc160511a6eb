"""From a request to a Subject, and the refusal of requests that another site made a browser send.

Numbered steps: 1 the Peer is what the wire says; 2 a bearer token, if there is one, and nothing else is looked at;
3 else the `__Host-session` cookie; 4 an unsafe request with a cookie must come from our own pages (Fetch Metadata or
Origin) and 5 carry the session's CSRF value; 6 a locked session answers only what is for locked ones.
Left to the caller (app.py): to translate Unproven into an empty 401 or the way to the sign-in page.
"""

import hmac
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from leadglass.errors import Refused, Unproven
from leadglass.terms import Peer, Plane, Subject
from leadglass.web.browser_safety import is_own_origin

if TYPE_CHECKING:
    from starlette.requests import Request

    from leadglass.access import House

__all__ = ["COOKIE", "bearer_of", "check_csrf", "clear_cookie", "cookie_header", "peer_of", "prove", "session_of"]

COOKIE: Final = "__Host-session"
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_MAX_SECRET: Final = 4096


def peer_of(request: "Request") -> Peer:
    """Step 1: return what the network proved. Forwarded headers are not believed: no proxy stands before us."""
    return Peer(plane=Plane.WEB, address=request.client.host if request.client else "")


def prove(
    request: "Request", house: "House", peer: Peer, *, form: Mapping[str, str], is_for_locked: bool
) -> tuple[Subject, Any]:
    """Return (subject, session or None). Touches the database. Raises: Unproven, Refused (cross-site)."""
    header = request.headers.get("authorization", "")
    if header:  # step 2
        token = bearer_of(header)
        if not token:
            raise Unproven("a bearer token is wanted.")
        return house.entrance.bearer(token, peer), None
    session = session_of(request, house, peer)  # step 3
    if session is None:
        raise Unproven("no token and no session.")
    if request.method not in SAFE_METHODS:
        check_csrf(request, session.csrf, form)  # steps 4 and 5
    if str(session.state) != "active" and not is_for_locked:  # step 6
        raise Locked("the session is locked.")
    return session.subject, session


def bearer_of(header: str) -> str:
    """Return the token of an Authorization header; "" where it holds none."""
    scheme, _, token = header.partition(" ")
    return token.strip() if scheme.lower() == "bearer" and len(token) <= _MAX_SECRET else ""


class Locked(Unproven):
    """The session is good and locked: pages lead to the unlock page."""


def session_of(request: "Request", house: "House", peer: Peer, *, is_fresh: bool = False) -> Any:
    """Return the session of the cookie, or None when there is none; `is_fresh` asks the database itself.

    Raises: Unproven, for one that has ended.
    """
    secret = request.cookies.get(COOKIE, "")
    if not secret or len(secret) > _MAX_SECRET:
        return None
    return house.entrance.session(secret, peer, is_fresh=is_fresh)


def check_csrf(request: "Request", csrf: str | None, form: Mapping[str, str]) -> None:
    """Return if the request is our own page's doing. Raises: Refused.

    Args: csrf: the session's value; None on public pages, where only the origin can be looked at (login CSRF).
    """
    if not is_own_origin(request.headers, scheme=request.url.scheme):  # step 4
        raise Refused("the request came from another site.")
    if csrf is None:
        return
    sent = request.headers.get("x-csrf-token") or form.get("csrf", "")  # step 5
    if not csrf or not hmac.compare_digest(sent.encode("utf-8", "replace"), csrf.encode()):
        raise Refused("the request lacks this session's CSRF value.")


def cookie_header(secret: str) -> str:
    """Return the Set-Cookie value of a session: the browser keeps it until it closes, and shows it to no script."""
    return f"{COOKIE}={secret}; Path=/; Secure; HttpOnly; SameSite=Strict"


def clear_cookie() -> str:
    """Return the Set-Cookie value that ends it."""
    return f"{COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0"
