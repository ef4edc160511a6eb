"""The study list and the page of one study. Searches are POST: nothing of a patient stands in a console URL's query."""

import re
from collections import defaultdict
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import Response

from leadglass.access import SearchQuery
from leadglass.dicom.uids import is_valid_uid
from leadglass.errors import Missing
from leadglass.terms import Action, ResourceKind
from leadglass.web.console.access_log import story
from leadglass.web.console.pages import may, render
from leadglass.web.console.viewer import needed

if TYPE_CHECKING:
    from leadglass.web.calls import Call

__all__ = ["parse_words", "studies", "study", "study_access"]

_PAGE: Final = 50
_ORDERS: Final = ("newest", "oldest", "name", "patient", "modality", "received")
_MODALITIES: Final = frozenset({
    "CR", "CT", "DX", "ES", "IO", "IVUS", "MG", "MR", "NM", "OP", "OPT", "OT", "PT", "PX", "RF", "RG", "SC", "SEG",
    "SM", "SR", "US", "XA", "XC", "ECG", "RTSTRUCT", "RTPLAN", "RTDOSE", "RTIMAGE", "KO", "PR",
})
_DATE: Final = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")


def parse_words(text: str, today: date) -> tuple[str, dict[str, str]]:
    """Return (words left to match, filters by DICOM keyword) of what a person typed into the one search field.

    Understood: today, yesterday, last N days|weeks|months, YYYY-MM-DD (also as A..B), modalities in any case.
    """
    filters: dict[str, str] = {}
    text = text.strip()[:200]

    def last(match: re.Match[str]) -> str:
        days = int(match[1]) * {"d": 1, "w": 7, "m": 30}[match[2][0].lower()]
        filters["StudyDate"] = f"{today - timedelta(days=min(days, 36500)):%Y%m%d}-{today:%Y%m%d}"
        return " "

    text = re.sub(r"\blast ([0-9]{1,4}) (days?|weeks?|months?)\b", last, text, flags=re.IGNORECASE)
    words = []
    for word in text.split():
        first, dots, second = word.partition("..")
        days = [found for found in (_day(first), _day(second) if dots else "") if found]
        if word.lower() in {"today", "yesterday"}:
            wanted = today - timedelta(days=int(word.lower() == "yesterday"))
            filters["StudyDate"] = f"{wanted:%Y%m%d}"
        elif len(days) == 1 + bool(dots):
            filters["StudyDate"] = "-".join(sorted(days))  # a range is meant whichever end was typed first
        elif word.upper() in _MODALITIES and "ModalitiesInStudy" not in filters:
            filters["ModalitiesInStudy"] = word.upper()
        else:
            words.append(word)
    return " ".join(words), filters


def _day(text: str) -> str:
    """Return YYYYMMDD of a day that is in the calendar, or ""."""
    match = _DATE.fullmatch(text)
    try:
        return f"{date(*(int(g) for g in match.groups())):%Y%m%d}" if match else ""
    except ValueError:
        return ""


def studies(call: "Call") -> Response:
    """Show the list: the newest studies, or those that match what was typed."""
    typed = call.form.get("q", "")
    order = call.form.get("order", "newest")
    order = order if order in _ORDERS else "newest"
    page = _number(call.form.get("page", "0"))
    words, filters = parse_words(typed, date.today())  # noqa: DTZ011 - people mean their own day
    query = SearchQuery(words=words, filters=filters, limit=_PAGE + 1, offset=page * _PAGE, order=order)
    rows = call.house.operations.search(call.subject, query, says=typed)
    template = "_studies.html" if call.request.headers.get("hx-request") == "true" else "studies.html"
    return render(
        call, template, rows=rows[:_PAGE], has_more=len(rows) > _PAGE, page=page, q=typed, order=order,
        first=page * _PAGE + 1, why=_why(call), ahead=needed(call),
    )


def _number(text: str) -> int:
    return min(int(text), 100_000) if text.isascii() and text.isdigit() else 0


def _why(call: "Call") -> str:
    """Say why the person sees these rows."""
    roles = call.subject.roles
    if "radiologist" in roles:
        return "You see the studies of this site, as a radiologist."
    if "technologist" in roles:
        return "You see what was acquired today at this site, as a technologist."
    if "referring" in roles:
        return "You see the studies that name you as the referrer."
    return "You see what your role permits."


def _one(call: "Call", uid: str) -> dict[str, Any]:
    """Return the row of a study that the subject may see. Raises: Missing."""
    if not is_valid_uid(uid):
        raise Missing("no such study here, or none that you may see.")
    rows = call.house.operations.search(call.subject, SearchQuery(filters={"StudyInstanceUID": uid}, limit=1))
    if not rows:
        raise Missing("no such study here, or none that you may see.")
    return rows[0]


def study(call: "Call") -> Response:
    """Show one study: its header and its series."""
    uid = call.params["study"]
    row = _one(call, uid)
    instances = call.house.operations.search(
        call.subject, SearchQuery(level="instance", filters={"StudyInstanceUID": uid}, limit=5000))
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for instance in instances:
        groups[instance["SeriesInstanceUID"]].append(instance)
    series = [{**found[len(found) // 2], "count": len(found)} for found in groups.values()]
    return render(call, "study.html", row=row, series=series, tab="series", ahead=needed(call),
                  may_export=call.house.operations.may(call.subject, uid, Action.STUDY_EXPORT),
                  waiting=call.house.reconciliation.waiting(uid),
                  may_audit=may(call, Action.AUDIT_STUDY_READ, ResourceKind.STUDY))


def study_access(call: "Call") -> Response:
    """Show who saw this study: one line a view, newest first."""
    uid = call.params["study"]
    rows = call.house.ledger_reader.study(call.subject, uid, limit=1000)
    header: dict[str, Any] = {"StudyInstanceUID": uid, "PatientName": "", "PatientID": ""}
    if may(call, Action.STUDY_SEARCH, ResourceKind.ARCHIVE):
        header = _one(call, uid)
    return render(call, "study_access.html", row=header, lines=story(rows), tab="access", may_audit=True, may_export=False)
