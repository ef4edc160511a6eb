"""Errors to answers: the only translator of the web face. Ref: RFC 9457; PS3.18 8.5 (status codes).

The house's messages name rules and ids, never a patient's data, so they may be shown. What is not an error of the
house is shown as an incident number and logged by its type and place alone: a foreign message may hold anything.
"""

import html
import json
import secrets
import traceback
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import assert_never

import structlog
from starlette.exceptions import HTTPException
from starlette.responses import Response

from leadglass.errors import Busy, Conflict, Damaged, Full, Malformed, Missing, Refused, Unproven

__all__ = ["Problem", "translate"]

_log = structlog.get_logger()
_Reaction = Busy | Conflict | Damaged | Malformed | Missing | Refused | Unproven
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_FRAMES = 3


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What the asker is told."""

    status: int
    detail: str
    headers: dict[str, str] = field(default_factory=dict)
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The phrase of the status."""
        return HTTPStatus(self.status).phrase

    def as_json(self) -> Response:
        """Return application/problem+json; 401 has an empty body."""
        if self.status == HTTPStatus.UNAUTHORIZED:
            return Response(status_code=self.status, headers=self.headers)
        body = {"type": "about:blank", "title": self.title, "status": self.status, "detail": self.detail, **self.extra}
        return Response(
            json.dumps(body), self.status, headers=self.headers, media_type="application/problem+json"
        )

    def as_page(self) -> Response:
        """Return a plain page: everything escaped, nothing loaded but the console's style."""
        title, detail = html.escape(self.title), html.escape(self.detail)
        text = (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<title>{title} - Leadglass</title><link rel="stylesheet" href="/static/leadglass.css"></head>'
            f'<body><main class="problem"><h1>{title}</h1><p>{detail}</p><p><a href="/">Back to the start</a></p>'
            "</main></body></html>"
        )
        return Response(text, self.status, headers=self.headers, media_type="text/html; charset=utf-8")


def translate(error: Exception, *, method: str = "GET") -> Problem:
    """Return the answer for `error`. A refused read looks like an absence; a refused change says that it is refused."""
    if isinstance(error, HTTPException):
        return Problem(
            status=error.status_code, detail=error.detail or "", headers=dict(error.headers or {})
        )
    if isinstance(error, _Reaction):
        return _reaction(error, method)
    return _incident(error)


def _reaction(error: _Reaction, method: str) -> Problem:
    match error:
        case Unproven():
            return Problem(status=401, detail="", headers={"www-authenticate": "Bearer"})
        case Refused():
            if method in _SAFE_METHODS:
                return Problem(status=404, detail="Nothing here by that name, or nothing that you may see.")
            return Problem(status=403, detail="You may not do this. Ask an administrator for the right.")
        case Missing():
            return Problem(status=404, detail=str(error) or "Nothing here by that name.")
        case Malformed():
            return Problem(status=400, detail=str(error))
        case Conflict():
            return Problem(status=409, detail=str(error))
        case Full():
            return Problem(status=507, detail="The store is full: reading goes on, storing does not.")
        case Busy():
            return Problem(
                status=503, detail=str(error), headers={"retry-after": str(max(1, error.retry_after_seconds))}
            )
        case Damaged():
            return _incident(error, detail="Something kept here does not verify. It was reported.")
        case _:
            assert_never(error)


def _incident(error: BaseException, *, detail: str = "Something went wrong here.") -> Problem:
    """Log where it happened, without the message: it may quote its input."""
    incident = secrets.token_hex(6)
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    where = [f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}:{frame.name}" for frame in frames]
    _log.error("web_incident", incident=incident, error=type(error).__name__, where=where)
    return Problem(
        status=500, detail=f"{detail} Tell your administrator the incident number {incident}.",
        extra={"incident": incident},
    )
