"""How console pages are made: one Jinja environment, one frame around every page, words for times and names."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from leadglass.errors import Malformed
from leadglass.terms import Action, Resource, ResourceKind
from leadglass.web.console.static_files import static_url

if TYPE_CHECKING:
    from leadglass.terms import Subject
    from leadglass.web.calls import Call

__all__ = ["RAIL", "could", "json_body", "may", "redirect", "render", "say_json"]

_TEMPLATES: Final = Path(__file__).parent / "templates"


@dataclass(frozen=True, kw_only=True)
class Place:
    """One entry of the rail; shown only to those who may use it."""

    href: str
    label: str
    icon: str
    action: Action
    kind: ResourceKind


RAIL: Final = (
    Place(href="/studies", label="Studies", icon="studies", action=Action.STUDY_SEARCH, kind=ResourceKind.ARCHIVE),
    Place(href="/people", label="People", icon="people", action=Action.PERSON_LIST, kind=ResourceKind.PERSON),
    Place(href="/devices", label="Devices", icon="devices", action=Action.DEVICE_LIST, kind=ResourceKind.DEVICE),
    Place(href="/reconciliation", label="Reconciliation", icon="reconciliation", action=Action.TASK_LIST,
          kind=ResourceKind.ARCHIVE),
    Place(href="/ledger", label="Ledger", icon="ledger", action=Action.AUDIT_READ, kind=ResourceKind.LEDGER),
    Place(href="/keeping", label="Retention", icon="keeping", action=Action.RETENTION_LIST, kind=ResourceKind.ARCHIVE),
    Place(href="/account", label="My account", icon="account", action=Action.SELF_READ, kind=ResourceKind.PERSON),
)


def may(call: "Call", action: Action, kind: ResourceKind, subject: "Subject | None" = None) -> bool:
    """Return whether the subject may do this with some resource of the kind; decides what is shown, grants nothing."""
    return call.house.door.decide(subject or call.subject, action, Resource(kind=kind)).is_permitted


def could(call: "Call", action: Action, resource: Resource) -> bool:
    """Return whether the person may do this, perhaps after a fresh proof: then its form is shown, and asks (step_up.py)."""
    return call.house.door.would_permit(call.subject, action, resource)


def render(call: "Call", template: str, *, status: int = 200, headers: dict[str, str] | None = None, **facts: Any) -> Response:
    """Return a page: `template` with `facts`, in the frame that fits who is asking."""
    session = call.session
    is_in = session is not None and str(session.state) == "active"
    context = {
        "nonce": call.nonce, "csrf": session.csrf if session is not None else "",
        "me": session.display_name if session is not None else "", "is_in": is_in, "path": call.request.url.path,
        "rail": [p for p in RAIL if may(call, p.action, p.kind, session.subject)] if is_in else [],
        "notices": call.house.keeping.notices() if is_in and may(
            call, Action.RETENTION_LIST, ResourceKind.ARCHIVE, session.subject) else [],
        "is_part": call.request.headers.get("hx-request") == "true", "hostname": call.settings.hostname, **facts,
    }
    return HTMLResponse(_environment().get_template(template).render(context), status, headers=headers)


def redirect(where: str, cookies: tuple[str, ...] = ()) -> Response:
    """Send the browser on after a change; a reload does not repeat the change."""
    response = RedirectResponse(where, status_code=303)
    for cookie in cookies:
        response.headers.append("set-cookie", cookie)
    return response


def say_json(facts: dict[str, Any], *, status: int = 200, cookies: tuple[str, ...] = ()) -> Response:
    """Answer a script of our own pages."""
    response = JSONResponse(facts, status)
    for cookie in cookies:
        response.headers.append("set-cookie", cookie)
    return response


def json_body(call: "Call") -> dict[str, Any]:
    """Return the JSON object of a request of our own scripts. Raises: Malformed."""
    try:
        found = json.loads(call.body)
    except (ValueError, RecursionError) as e:  # a body of 60,000 opening brackets is small
        raise Malformed("the request cannot be read.") from e
    if not isinstance(found, dict):
        raise Malformed("the request cannot be read.")
    return found


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "moment": moment, "ago": ago, "day": day, "clock": clock, "person_name": person_name, "tail": tail, "size": size,
    }
    environment.globals["asset"] = static_url
    return environment


def moment(seconds: float | None) -> str:
    """Return local date and time, or a dash."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S") if seconds else "–"


def ago(seconds: float | None) -> str:
    """Return how long ago, for a tooltip."""
    if not seconds:
        return "never"
    passed = max(0, int(datetime.now(UTC).timestamp() - seconds))
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if passed >= length:
            count = passed // length
            return f"{count} {unit}{'s' if count != 1 else ''} ago"
    return "just now"


def day(text: str) -> str:
    """Return a DICOM date as YYYY-MM-DD."""
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}" if len(text) == 8 and text.isdigit() else text


def clock(text: str) -> str:
    """Return a DICOM time as HH:MM."""
    return f"{text[:2]}:{text[2:4]}" if len(text) >= 4 and text[:4].isdigit() else text


def person_name(text: str) -> str:
    """Return a DICOM person name as people write it: Family, Given Middle Suffix (Prefix)."""
    first = text.split("=", maxsplit=1)[0]
    family, given, middle, prefix, suffix = (*(p.strip() for p in first.split("^")), "", "", "", "", "")[:5]
    rest = " ".join(p for p in (given, middle, suffix) if p)
    shown = ", ".join(p for p in (family, rest) if p) + (f" ({prefix})" if prefix else "")
    return shown.strip() or text.replace("^", " ").replace("=", " ").strip()


def tail(text: str) -> str:
    """Return the end of a long identifier."""
    return "…" + text[-12:] if len(text) > 14 else text


def size(octets: float) -> str:
    """Return a number of bytes for people."""
    value = float(octets)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"
