"""The life of one study: received, held, rejected, settled, verified, in order; a strip of dots, and the same in words."""

from typing import TYPE_CHECKING, Any, Final

from starlette.responses import Response

from leadglass.access import SearchQuery
from leadglass.dicom.key_objects import REJECTION_TITLES
from leadglass.dicom.uids import is_valid_uid
from leadglass.errors import Missing
from leadglass.terms import Action, Resource, ResourceKind
from leadglass.web.console.pages import could, may, render
from leadglass.web.console.reconciliation import KIND_WORDS

if TYPE_CHECKING:
    from leadglass.web.calls import Call

__all__ = ["header_of", "kept_of", "moments", "study_life"]

_WIDTH: Final = 1000
_MARGIN: Final = 12
_DOTS: Final = 200
_TONES: Final = {
    "received": "good", "verified": "good", "lifted": "good", "settled": "good", "held": "warn", "rejected": "bad",
    "refused": "bad", "deleted": "bad",
}


def header_of(call: "Call", uid: str) -> dict[str, Any]:
    """Return the study's row for those who may find it; else, and where nothing of it is shown, its identifier alone."""
    if may(call, Action.STUDY_SEARCH, ResourceKind.ARCHIVE):
        rows = call.house.operations.search(call.subject, SearchQuery(filters={"StudyInstanceUID": uid}, limit=1))
        if rows:
            return rows[0]
    return {"StudyInstanceUID": uid, "PatientName": "", "PatientID": ""}


def study_life(call: "Call", *, error: str = "", status: int = 200) -> Response:
    """Show what happened to a study and what waits. Seen by readers of it, auditors and administrators."""
    uid = call.params["study"]
    if not is_valid_uid(uid):
        raise Missing("no such study here, or none that you may see.")
    life = call.house.life.life(call.subject, uid)
    may_lift = could(call, Action.REJECTION_LIFT, Resource(kind=ResourceKind.STUDY, id=uid))
    events = moments(life["events"])
    return render(
        call, "study_life.html", status=status, error=error, kept=kept_of(call, uid),
        row=header_of(call, uid), tab="life", may_audit=True, life=life, events=events[::-1],
        dots=_dots(events), words=KIND_WORDS, may_lift=may_lift, waiting=life["waiting"],
        may_export=call.house.operations.may(call.subject, uid, Action.STUDY_EXPORT),
        may_list=may(call, Action.TASK_LIST, ResourceKind.ARCHIVE))


def kept_of(call: "Call", uid: str) -> dict[str, Any] | None:
    """Return what the page of a study shows of its keeping, for those who may see it; else None."""
    if not call.house.door.decide(call.subject, Action.HOLD_LIST, Resource(kind=ResourceKind.STUDY, id=uid)).is_permitted:
        return None
    try:
        facts = call.house.keeping.show(call.subject, uid)
    except Missing:
        return None
    study = Resource(kind=ResourceKind.STUDY, id=uid)
    return facts | {"may_hold": could(call, Action.HOLD_SET, study), "may_delete": could(call, Action.STUDY_DELETE, study)}


def moments(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the events with a sentence and a tone each."""
    return [event | {"says": _says(event), "tone": _tone(event)} for event in events]


def _tone(event: dict[str, Any]) -> str:
    return "bad" if event["outcome"] in {"refused", "failed"} else _TONES.get(event["what"], "quiet")


def _says(event: dict[str, Any]) -> str:
    details, what = event["details"], event["what"]
    count = details.get("instances")
    some = f"{count} {'instance' if count == 1 else 'instances'}" if count else ""
    if event["outcome"] == "failed":
        return f"Tried, and nothing was changed: {what}"
    if what == "rejected":
        if event["outcome"] == "refused":
            return "A rejection note was not followed"
        title = REJECTION_TITLES.get(str(details.get("code", "")), "Rejected")
        return f"{title}: {details.get('hidden', 0)} hidden"
    if what == "settled":
        return f"Task {details.get('task')}: {details.get('what', '')}"
    if what == "lifted":
        return f"Rejection lifted: {details.get('shown', 0)} shown again"
    if what == "held":
        return f"Held for reconciliation: {some}"
    if what == "verified":
        return "Every stored object was read and verified"
    if what == "hold":
        return f"Legal {details.get('what', 'hold changed')}"
    words = f"{what[:1].upper()}{what[1:]}"
    return f"{words}: {some}" if some else words


def _dots(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return where the events lie on the strip, by their time: x from 0 to 1000."""
    events = events[-_DOTS:]
    if not events:
        return []
    first, last = events[0]["time"], events[-1]["time"]
    room = _WIDTH - 2 * _MARGIN
    return [{"x": round(_MARGIN + room * ((e["time"] - first) / (last - first) if last > first else 0.5), 1),
             "tone": e["tone"]} for e in events]
