"""The route table as data, and what a handler is given.

A handler takes one `Call` and returns a Starlette response. A plain `def` runs in a thread and may touch the
database; an `async def` may not. Who is asking is proved, and CSRF refused, before a handler runs: see
authentication.py. What a handler raises is translated by problem.py, and nowhere else.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from leadglass.terms import Action, Peer, Subject

if TYPE_CHECKING:
    from starlette.requests import Request

    from leadglass.access import House
    from leadglass.settings import Settings

__all__ = ["SIGN_IN", "UNLOCK", "Call", "Operation", "table"]

SIGN_IN = "/sign-in"
UNLOCK = "/unlock"
STUDY = "/dicomweb/studies/{study}"
SERIES = STUDY + "/series/{series}"
INSTANCE = SERIES + "/instances/{instance}"


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One row: a path with its methods, the Action it needs, and its handler.

    Without an Action there must be a `public_reason`. The handler (or the house's operation it calls) enters the door
    with the Action; for CONSOLE_USE and SELF_READ, which have no resource of their own, the wrapper in app.py does.
    """

    path: str
    methods: tuple[str, ...]
    action: Action | None
    handler: Callable[["Call"], Any]
    public_reason: str = ""
    face: Literal["api", "page"] = "api"
    is_for_locked: bool = False  # also answers a session that is locked (unlock, sign out)


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request, with what has been proved about it."""

    request: "Request"  # path_params, headers, query_params; bodies of uploads by request.stream()
    house: "House"
    settings: "Settings"
    peer: Peer
    nonce: str  # of the content security policy: <script nonce="...">
    session: Any = None  # access.entrance's session view; on public pages too, when the cookie is good
    who: Subject | None = None
    body: bytes = b""  # of an unsafe request to a page: at most 64 KiB
    form: Mapping[str, str] = field(default_factory=dict)  # the same, when it is a form: last value of each name

    @property
    def subject(self) -> Subject:
        """The proved subject. A public operation that asks for it is a bug."""
        if self.who is None:
            raise RuntimeError("a public operation asked who is calling")
        return self.who

    @property
    def params(self) -> dict[str, str]:
        """The parts of the path."""
        return {k: str(v) for k, v in self.request.path_params.items()}


def table() -> tuple[Operation, ...]:
    """Return every operation of the web face, in the order in which paths are matched."""
    from leadglass.web.pages_table import PAGES

    return (*api_table(), *PAGES)


def api_table() -> tuple[Operation, ...]:
    """Return DICOMweb, tokens and health. Ref: PS3.18 10.3-10.6; RFC 6749 4.4; RFC 8414."""
    from leadglass.web import health, oauth, rendered, retrieve, search, store

    read = Action.STUDY_READ

    def get(path: str, handler: Callable[[Call], Any], action: Action) -> Operation:
        return Operation(path=path, methods=("GET",), action=action, handler=handler)

    def public(path: str, handler: Callable[[Call], Any], reason: str, method: str = "GET") -> Operation:
        return Operation(path=path, methods=(method,), action=None, handler=handler, public_reason=reason)

    rows = [
        public("/healthz", health.healthz, "says only that the process answers"),
        public("/readyz", health.readyz, "says only whether the index answers"),
        public("/metrics", health.metrics, "counts of requests by route and status; nothing of a patient or person"),
        public("/.well-known/oauth-authorization-server", oauth.metadata, "RFC 8414: how to ask for a token"),
        public("/oauth/token", oauth.token, "proves the client itself, by private_key_jwt", "POST"),
    ]
    rows += [
        Operation(path=path, methods=("POST",), action=Action.INSTANCE_STORE, handler=store.store)
        for path in ("/dicomweb/studies", STUDY)
    ]
    rows += [
        get(path, search.search, Action.STUDY_SEARCH)
        for path in ("/dicomweb/studies", "/dicomweb/series", "/dicomweb/instances", STUDY + "/series",
                     STUDY + "/instances", SERIES + "/instances")
    ]
    for level in (STUDY, SERIES, INSTANCE):
        rows += [
            get(level, retrieve.instances, read),
            get(level + "/metadata", retrieve.metadata, read),
            get(level + "/rendered", rendered.rendered, read),
            get(level + "/thumbnail", rendered.thumbnail, read),
        ]
    rows += [
        get(INSTANCE + "/bulkdata/{path:path}", retrieve.bulk, read),
        get(INSTANCE + "/frames/{frames}", retrieve.frames, read),
        get(INSTANCE + "/frames/{frames}/rendered", rendered.rendered, read),
        get(INSTANCE + "/frames/{frames}/thumbnail", rendered.thumbnail, read),
    ]
    return tuple(rows)
