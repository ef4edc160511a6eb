"""What waits for a decision: the list, one task with its versions side by side, accept and dismiss with a reason."""

from typing import TYPE_CHECKING, Any, Final

from starlette.responses import Response

from leadglass.access import TASKS
from leadglass.errors import Conflict, Damaged, LeadglassError, Malformed, Missing, Refused
from leadglass.terms import Action, Resource, ResourceKind
from leadglass.web.console.pages import could, redirect, render

if TYPE_CHECKING:
    from leadglass.web.calls import Call

__all__ = ["KIND_WORDS", "lift_rejection", "settle", "task", "tasks"]

KIND_WORDS: Final = {
    "unsorted": ("Being compared", "It came a moment ago; what differs is being found out."),
    "reencoded": ("Same content, other encoding", "Every value and every pixel is the same."),
    "demographics": ("Other patient or study data", "Only attributes of the patient or the study differ; the image is the same."),
    "content": ("Other content", "Pixels or attributes of the image differ, or they could not be compared."),
    "identity": ("Another patient in this study", "A new instance joined this study and names another patient."),
}
_VIEWS: Final = ("open", "overdue", "settled")


def tasks(call: "Call", *, error: str = "", said: str = "", status: int = 200) -> Response:
    """Show the tasks, overdue ones first, and below them the rejections."""
    view = call.request.query_params.get("view", "open")
    view = view if view in _VIEWS else "open"
    rows = call.house.reconciliation.tasks(call.subject, overdue=view == "overdue", is_open=view != "settled")
    may_lift = could(call, Action.REJECTION_LIFT, Resource(kind=ResourceKind.STUDY))
    return render(
        call, "reconciliation.html", rows=rows, view=view, views=_VIEWS, words=KIND_WORDS, error=error, said=said,
        rejections=call.house.life.rejections(call.subject), may_lift=may_lift, status=status)


def task(call: "Call", *, error: str = "", said: str = "", status: int = 200) -> Response:
    """Show one task: what differs in the version that is chosen, with both values for those who may read the study."""
    number = _number(call.params["task"])
    house = call.house
    found = house.reconciliation.task(call.subject, number)
    versions = found["versions"]
    wanted = _number(call.request.query_params.get("version", "0")) if call.request.query_params.get("version") else 0
    chosen = next((v for v in versions if v["id"] == wanted), versions[0] if versions else None)
    differences: list[dict[str, Any]] = []
    why = ""
    try:
        if found["kind"] == "identity":
            differences = house.reconciliation.identity(call.subject, number)
        elif chosen is not None and chosen["state"] == "held":
            differences = house.reconciliation.differences(call.subject, number, chosen["id"])
    except (Malformed, Missing, Conflict, Damaged):
        why = "The two versions could not be read side by side."
    may_settle = could(call, Action.TASK_SETTLE, TASKS)
    return render(
        call, "reconciliation_task.html", row=found, versions=versions, chosen=chosen, differences=differences, why=why,
        words=KIND_WORDS, error=error, said=said, status=status, may_settle=may_settle,
        sees_values=any("shown" in d for d in differences), is_study_here=house.reconciliation.may_read(
            call.subject, found["study_uid"]))


def settle(call: "Call") -> Response:
    """Accept, dismiss or take back; the reason goes into the ledger."""
    number = _number(call.params["task"])
    verbs = {"accept": call.house.reconciliation.accept, "dismiss": call.house.reconciliation.dismiss,
             "undo": call.house.reconciliation.undo}
    verb = verbs.get(call.form.get("do", ""))
    if verb is None:
        raise Malformed("accept, dismiss or undo.")
    try:
        verb(call.subject, number, call.form.get("reason", ""))
    except Refused:
        raise
    except (Malformed, Conflict) as e:
        return task(call, error=_sentence(e), status=400 if isinstance(e, Malformed) else 409)
    return redirect(f"/reconciliation/{number}")


def lift_rejection(call: "Call") -> Response:
    """Show again what a note has rejected; the reason goes into the ledger."""
    back = call.form.get("back", "")
    try:
        call.house.life.lift(call.subject, _number(call.form.get("rejection", "")), call.form.get("reason", ""))
    except (Malformed, Conflict) as e:
        return tasks(call, error=_sentence(e), status=400 if isinstance(e, Malformed) else 409)
    return redirect("/reconciliation" if back != "life" else f"/studies/{_uid(call)}/life")


def _uid(call: "Call") -> str:
    from leadglass.dicom.uids import is_valid_uid

    uid = call.form.get("study", "")
    if not is_valid_uid(uid):
        raise Malformed("that is no study identifier.")
    return uid


def _number(text: str) -> int:
    """Return the number of a task, version or rejection. Raises: Missing."""
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise Missing("nothing here by that number.")
    return int(text)


def _sentence(error: LeadglassError) -> str:
    text = str(error)
    return text[:1].upper() + text[1:]
