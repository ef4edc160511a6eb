"""Frames that a reader scrolls through: answered at once, where everything they need is in memory.

Before routing, and in the event loop itself: a change of thread costs as much as such a frame. Only what needs no waiting is
answered here, and everything else goes the way through the route table, which also fills what is kept. Numbered steps:
1 one frame, GET, no query, no condition, no range; 2 who asks was proved in the last seconds (entrance); 3 they hold a live Grant
on the study and the series is on the shelf; 4 the frame leaves as stored; 5 its bytes are in memory; 6 it is counted.
The answer is the one that pixel_data.py gives, byte for byte; tests compare them.
"""

import re
import time
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from starlette.exceptions import HTTPException

from leadglass.errors import LeadglassError
from leadglass.terms import Peer, Plane
from leadglass.web.authentication import COOKIE, bearer_of
from leadglass.web.browser_safety import safety_headers
from leadglass.web.dicomweb.conditional import boundary_of
from leadglass.web.dicomweb.media_types import parse_accept
from leadglass.web.dicomweb.pixel_data import choose, etag_of_frames, is_as_stored, part_type, stored_uid
from leadglass.web.dicomweb.streaming import around_part

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from leadglass.access import House
    from leadglass.web.health import Counters

__all__ = ["ROUTE", "FramesAtHand"]

ROUTE: Final = "/dicomweb/studies/{study}/series/{series}/instances/{instance}/frames/{frames}"
_PATH: Final = re.compile(ROUTE.replace("{frames}", "([1-9][0-9]{0,8})").replace("{study}", "([0-9.]{1,64})").replace(
    "{series}", "([0-9.]{1,64})").replace("{instance}", "([0-9.]{1,64})"))
_SLOW: Final = frozenset({b"range", b"if-range", b"if-none-match"})
_WANTED: Final = frozenset({b"accept", b"authorization", b"cookie"})
_SAFE: Final = [(name.encode(), value.encode()) for name, value in safety_headers("/dicomweb", "")]


class _Chosen(NamedTuple):
    """What `choose` says of an Accept header for one kind of instance."""

    media_type: str
    is_multipart: bool


class _Kind(NamedTuple):
    """What `choose` looks at of an instance."""

    transfer_syntax_uid: str


class FramesAtHand:
    """ASGI middleware."""

    def __init__(self, app: "ASGIApp", *, house: "House", counters: "Counters") -> None:
        self._app = app
        self._house = house
        self._counters = counters

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer, or hand on."""
        if scope["type"] == "http" and scope["method"] == "GET" and not scope["query_string"]:
            match = _PATH.fullmatch(scope["path"])
            if match is not None:
                started = time.perf_counter_ns()
                answer = self._answer(scope, *match.groups())
                if answer is not None:
                    await send({"type": "http.response.start", "status": 200, "headers": answer[0]})
                    await send({"type": "http.response.body", "body": answer[1]})
                    self._counters.add(ROUTE, "GET", 200, (time.perf_counter_ns() - started) // 1000)
                    return
        await self._app(scope, receive, send)

    def _answer(
        self, scope: "Scope", study: str, series: str, instance: str, number: str
    ) -> tuple[list[tuple[bytes, bytes]], bytes] | None:
        """Return (headers, body), or None for the other way: there errors get their status, too."""
        asked = _headers(scope["headers"])
        if asked is None:  # step 1
            return None
        token, secret = bearer_of(asked.get(b"authorization", "")), _secret(asked.get(b"cookie", ""))
        if not token and (not secret or b"authorization" in asked):  # a bad token is not rescued by a cookie
            return None
        client = scope.get("client")
        operations = self._house.operations
        try:
            subject = self._house.entrance.at_hand(
                token, secret, Peer(plane=Plane.WEB, address=client[0] if client else ""))  # step 2
            found = None if subject is None else operations.at_hand(subject, study, series, instance)  # step 3
            if found is None:
                return None
            grant, row = found
            chosen = _choose(asked.get(b"accept", ""), row.transfer_syntax_uid, operations.syntaxes_of(row))  # step 4
            if chosen is None or int(number) > row.frames:
                return None
            etag = etag_of_frames(row, [int(number)], chosen.media_type, is_multipart=chosen.is_multipart, is_stored=True)
            content_type, before, after = _frame(etag, chosen, part_type(chosen.media_type, stored_uid(row)))
            body = operations.frame_at_hand(grant, row, int(number), before, after)  # steps 5 and 6
        except LeadglassError:
            return None
        if body is None:
            return None
        headers = [(b"content-type", content_type.encode()), (b"content-length", b"%d" % len(body)), (b"vary", b"accept"),
                   (b"etag", etag.encode()), (b"accept-ranges", b"bytes"), *_SAFE]
        return headers, body


def _frame(etag: str, chosen: _Chosen, kind: str) -> tuple[str, bytes, bytes]:
    """Return (content type, bytes before the frame, bytes after it)."""
    if not chosen.is_multipart:
        return kind, b"", b""
    boundary = boundary_of(etag)
    return f'multipart/related; type="{chosen.media_type}"; boundary={boundary}', *around_part(boundary, {"Content-Type": kind})


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[bytes, str] | None:
    """Return the headers that matter, each once; None, where one asks for more than a frame, or comes twice."""
    found: dict[bytes, str] = {}
    for name, value in raw:
        if name in _WANTED:
            if name in found:
                return None
            found[name] = value.decode("latin-1")
        elif name in _SLOW:
            return None
    return found


def _secret(cookies: str) -> str:
    """Return the session's secret; "" where there is none, or more than one."""
    values = [part.strip()[len(COOKIE) + 1 :] for part in cookies.split(";") if part.strip().startswith(COOKIE + "=")]
    return values[0] if len(values) == 1 else ""


@lru_cache(maxsize=256)
def _choose(accept: str, syntax: str, possible: tuple[str, ...]) -> _Chosen | None:
    """Return how a frame leaves, if it leaves as stored. Pure: the same header and kind of instance, the same answer."""
    try:
        chosen = choose(parse_accept([accept] if accept else []), _Kind(syntax), possible, is_one=True)
    except (HTTPException, LeadglassError):
        return None
    if chosen.target or chosen.media_type.startswith("video/") or not is_as_stored(_Kind(syntax), is_raw=chosen.is_raw):
        return None
    return _Chosen(chosen.media_type, chosen.is_multipart)
