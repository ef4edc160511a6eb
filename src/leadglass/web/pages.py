"""What every page of the console is made of: one Jinja2 environment, the rail, and how values are shown.

A page is rendered whole on the server; `render` takes the Call, so that the rail holds only what the person may use.
"""

import functools
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, RedirectResponse, Response

from leadglass.errors import LeadglassError
from leadglass.terms import Action, Resource, ResourceKind
from leadglass.web.statics import asset

if TYPE_CHECKING:
    from leadglass.web.routes import Call

__all__ = ["environment", "may", "render", "see_other", "words_of"]

_TEMPLATES: Final = Path(__file__).with_name("templates")
_DATE_DIGITS: Final = 8
_NAME_PARTS: Final = 5

# (key, path, label, icon, action, resource kind)
_RAIL: Final = (
    ("studies", "/studies", "Studies", "studies", Action.STUDY_SEARCH, ResourceKind.ARCHIVE),
    ("people", "/people", "People", "people", Action.PERSON_LIST, ResourceKind.PERSON),
    ("devices", "/devices", "Devices", "devices", Action.DEVICE_LIST, ResourceKind.DEVICE),
    ("ledger", "/ledger", "Ledger", "ledger", Action.AUDIT_READ, ResourceKind.LEDGER),
)


def may(call: "Call", action: Action, kind: ResourceKind) -> bool:
    """Return whether the caller may use something, for the rail and for buttons. Never a guard by itself."""
    return call.who is not None and call.house.door.decide(call.who, action, Resource(kind=kind)).is_permitted


def render(call: "Call", template: str, status: int = 200, **facts: Any) -> Response:
    """Return a page. `facts` are what the template names; a name it lacks is an error, not an empty space."""
    session = call.session
    is_inside = session is not None and call.who is not None
    known: dict[str, Any] = {
        "nonce": call.nonce, "csrf": session.csrf if session is not None else "", "session": session,
        "rail": _rail(call) if is_inside else [], "here": "", "error": "", "notice": "",
        "hostname": call.settings.hostname, "now": datetime.now(UTC).timestamp(),
    }
    text = environment().get_template(template).render(known | facts)
    return HTMLResponse(text, status)


def see_other(path: str, cookies: tuple[str, ...] = ()) -> Response:
    """Return a redirect after a form was posted, with Set-Cookie values."""
    response = RedirectResponse(path, status_code=303)
    for cookie in cookies:
        response.headers.append("set-cookie", cookie)
    return response


def words_of(error: LeadglassError) -> str:
    """Return what went wrong as a sentence for a page."""
    text = str(error).strip() or "That did not work"
    text = text[0].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else text + "."


def _rail(call: "Call") -> list[dict[str, str]]:
    items = [
        {"key": key, "path": path, "label": label, "icon": icon}
        for key, path, label, icon, action, kind in _RAIL if may(call, action, kind)
    ]
    return [*items, {"key": "account", "path": "/account", "label": "My account", "icon": "account"}]


@functools.cache
def environment() -> Environment:
    """Return the one environment: everything is escaped, and a misspelt name is an error."""
    made = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, auto_reload=False,
    )
    made.filters.update(
        person_name=person_name, dicom_date=dicom_date, dicom_time=dicom_time, moment=moment, ago=ago, tail=tail,
        sex=sex, octets=octets,
    )
    made.globals["asset"] = asset
    return made


def person_name(value: object) -> str:
    """Return a PN as people write it: `Family, Given Middle`; the alphabetic group, or the first that is there."""
    groups = [group for group in str(value or "").split("=") if group.replace("^", "").strip()]
    if not groups:
        return "No name"
    family, given, middle, prefix, suffix = ([*groups[0].split("^"), *[""] * _NAME_PARTS])[:_NAME_PARTS]
    rest = " ".join(part.strip() for part in (prefix, given, middle, suffix) if part.strip())
    return ", ".join(part for part in (family.strip(), rest) if part)


def dicom_date(value: object) -> str:
    """Return a DA as YYYY-MM-DD; what is no date stands as it is."""
    text = str(value or "")
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}" if len(text) == _DATE_DIGITS and text.isdigit() else text


def dicom_time(value: object) -> str:
    """Return a TM as HH:MM."""
    text = str(value or "").replace(":", "")
    return f"{text[:2]}:{text[2:4]}" if text[:4].isdigit() and len(text) >= 4 else ""  # noqa: PLR2004 - HHMM


def moment(value: float | None, what: str = "minute") -> str:
    """Return a Unix time in UTC, absolute."""
    if not value:
        return ""
    return datetime.fromtimestamp(value, UTC).strftime({
        "second": "%Y-%m-%d %H:%M:%S", "day": "%Y-%m-%d", "time": "%H:%M:%S"}.get(what, "%Y-%m-%d %H:%M"))


def ago(value: float | None, now: float) -> str:
    """Return how long ago, for tooltips."""
    if not value:
        return ""
    seconds = max(0, int(now - value))
    for size, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = seconds // size
            return f"{count} {name}{'s' if count > 1 else ''} ago"
    return "just now"


def tail(value: object, length: int = 8) -> str:
    """Return the end of a UID or hash."""
    text = str(value or "")
    return text if len(text) <= length + 1 else "…" + text[-length:]


def sex(value: object) -> str:
    """Return PatientSex as a word."""
    return {"F": "female", "M": "male", "O": "other"}.get(str(value or ""), "")


def octets(value: object) -> str:
    """Return a count of bytes for people."""
    number = float(value) if isinstance(value, int | float) else 0.0
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000 or unit == "GB":  # noqa: PLR2004 - SI
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return ""
