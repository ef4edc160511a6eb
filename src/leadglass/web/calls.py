"""What a route is, and what its handler is given.

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

__all__ = ["SIGN_IN", "UNLOCK", "Call", "Operation"]

SIGN_IN = "/sign-in"
UNLOCK = "/unlock"


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
