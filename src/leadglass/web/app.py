"""The web application: from the route table to ASGI.

Before all, frames that are at hand are answered (frames_at_hand.py). Then, from the outside in: 1 the shell (a nonce,
safety headers, counts, every error to an answer); 2 routing; 3 who is asking (authentication.py) and CSRF; 4 the
handler, in a thread unless it is async; a form whose proof is too old asks for a fresh one first (step_up.py).
Nothing else is global. Query strings, headers and bodies are never logged.
"""

import inspect
import secrets
import threading
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

import structlog
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from leadglass.errors import Malformed, Unproven
from leadglass.terms import Action, Peer, Resource, ResourceKind
from leadglass.web.authentication import SAFE_METHODS, Locked, check_csrf, peer_of, prove, session_of
from leadglass.web.browser_safety import safety_headers
from leadglass.web.calls import SIGN_IN, UNLOCK, Call, Operation
from leadglass.web.console.step_up import with_fresh_proof
from leadglass.web.dicomweb.api_description import DESCRIBED
from leadglass.web.dicomweb.frames_at_hand import FramesAtHand
from leadglass.web.health import Counters
from leadglass.web.problem import translate
from leadglass.web.routes import table

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from leadglass.access import House
    from leadglass.settings import Settings

__all__ = ["create_app"]

_log = structlog.get_logger()
_MAX_FORM: Final = 65536
_MAX_FIELDS: Final = 100


def create_app(house: "House", settings: "Settings", operations: Iterable[Operation] | None = None) -> Starlette:
    """Return the application over `house`. `operations`: the route table; a part of it in tests."""
    rows = table() if operations is None else tuple(operations)
    counters = Counters()
    app = Starlette(
        routes=[_route(row, house, settings) for row in rows],
        middleware=[Middleware(FramesAtHand, house=house, counters=counters), Middleware(_Shell)],
        exception_handlers={HTTPException: _http_problem},
    )
    app.router.redirect_slashes = False
    app.state.counters = counters
    app.state.operations, app.state.described = rows, DESCRIBED  # of which the API says what it is
    app.state.uploads = 0
    app.state.metadata_turn = threading.Lock()  # see store_metadata.py
    return app


def _route(row: Operation, house: "House", settings: "Settings") -> Route:
    async def endpoint(request: Request) -> Response:
        request.scope["leadglass.route"] = row.path
        request.scope["leadglass.face"] = row.face
        return await _answer(row, request, house, settings)

    route = Route(row.path, endpoint, methods=list(row.methods), name=f"{row.methods[0]} {row.path}")
    if row.face == "api" and route.methods and "HEAD" not in row.methods:
        route.methods.discard("HEAD")  # a HEAD would read a whole study for nothing
    return route


async def _answer(row: Operation, request: Request, house: "House", settings: "Settings") -> Response:
    """Steps 3 and 4."""
    peer = peer_of(request)
    is_unsafe = request.method not in SAFE_METHODS
    body, form = b"", dict[str, str]()
    if row.face == "page" and is_unsafe:
        body = await _body(request)
        form = _form(request.headers.get("content-type", ""), body)
    facts: dict[str, Any] = {
        "request": request, "house": house, "settings": settings, "peer": peer, "body": body, "form": form,
        "nonce": request.scope["leadglass.nonce"],
    }
    if row.action is None:
        session = None
        if row.face == "page":
            session = await run_in_threadpool(_optional_session, request, house, peer)
            if is_unsafe:
                check_csrf(request, None, form)
        call = Call(**facts, session=session)
    else:
        who, session = await run_in_threadpool(_enter, row, request, house, peer, form)
        call = Call(**facts, who=who, session=session)
    async def run(call: Call) -> Any:
        if inspect.iscoroutinefunction(row.handler):
            return await row.handler(call)
        return await run_in_threadpool(row.handler, call)

    if call.session is not None and call.who is not None and row.face == "page" and is_unsafe:
        return await with_fresh_proof(call, run)  # type: ignore[no-any-return]
    return await run(call)  # type: ignore[no-any-return]


def _enter(row: Operation, request: Request, house: "House", peer: Peer, form: Mapping[str, str]) -> tuple[Any, Any]:
    """Prove who asks; for actions that have no resource of their own, go through the door here."""
    who, session = prove(request, house, peer, form=form, is_for_locked=row.is_for_locked)
    if row.action is Action.CONSOLE_USE:
        house.door.enter(who, row.action, Resource(kind=ResourceKind.SYSTEM))
    elif row.action is Action.SELF_READ:
        house.door.enter(who, row.action, Resource(kind=ResourceKind.PERSON, id=who.id.partition(":")[2]))
    return who, session


def _optional_session(request: Request, house: "House", peer: Peer) -> Any:
    try:
        return session_of(request, house, peer)
    except Unproven:
        return None


async def _body(request: Request) -> bytes:
    """Return the body of a request to a page. Raises: HTTPException 413."""
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > _MAX_FORM:
            raise HTTPException(413, f"A form takes at most {_MAX_FORM} bytes.")
        pieces.append(piece)
    return b"".join(pieces)


def _form(content_type: str, body: bytes) -> dict[str, str]:
    if content_type.partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        return {}
    try:
        return dict(parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=_MAX_FIELDS))
    except ValueError as e:
        raise Malformed("the form cannot be read.") from e


class _Shell:
    """Step 1: nothing leaves without the safety headers, and no error leaves untranslated."""

    def __init__(self, app: "ASGIApp") -> None:
        self._app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        nonce = scope["leadglass.nonce"] = secrets.token_urlsafe(16)
        started = time.perf_counter_ns()
        status = 0

        async def send_safely(message: "Message") -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in safety_headers(scope["path"], nonce):
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, send_safely)
        except ClientDisconnect:
            return
        except Exception as e:  # noqa: BLE001 - the one place where an error becomes an answer
            if status:
                _log.warning("answer_cut", route=scope.get("leadglass.route", ""), error=type(e).__name__)
                raise ConnectionAbortedError("the answer was cut") from None
            await _problem(scope, e)(scope, receive, send_safely)
        finally:
            counters: Counters = scope["app"].state.counters
            counters.add(
                scope.get("leadglass.route", "none"), _method(scope), status, (time.perf_counter_ns() - started) // 1000
            )


async def _http_problem(request: Request, error: Exception) -> Response:
    """Answer what the framework or a handler says by status alone (404, 405, 406...) in the shape of all errors."""
    return _problem(request.scope, error)


def _method(scope: "Scope") -> str:
    return scope["method"] if scope["method"] in {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"} else "other"


def _problem(scope: "Scope", error: Exception) -> Response:
    """Return the answer to `error` in the shape of the face that was asked."""
    problem = translate(error, method=scope["method"])
    if scope.get("leadglass.face") != "page":
        return problem.as_json()
    if isinstance(error, Unproven):
        return _to_sign_in(scope, UNLOCK if isinstance(error, Locked) else SIGN_IN)
    return problem.as_page()


def _to_sign_in(scope: "Scope", where: str) -> Response:
    """Send people to the page that proves them; a part of a page (htmx) moves the whole page."""
    request = Request(scope)
    if request.headers.get("hx-request") == "true":
        return Response(status_code=401, headers={"hx-redirect": where})
    if "application/json" in request.headers.get("accept", "") and scope["method"] not in SAFE_METHODS:
        return Response(status_code=401)
    return RedirectResponse(where, status_code=303)
