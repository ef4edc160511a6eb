"""What is kept and until when: the page of rules, holds and the scrub; and what a study's page does with its own."""

from typing import TYPE_CHECKING, Any, Final

from starlette.responses import Response

from leadglass.dicom.uids import is_valid_uid
from leadglass.errors import Conflict, LeadglassError, Malformed, Missing
from leadglass.terms import Action, Resource, ResourceKind
from leadglass.web.console.life import study_life
from leadglass.web.console.pages import could, may, redirect, render

if TYPE_CHECKING:
    from leadglass.web.calls import Call

__all__ = ["delete_study", "keeping", "release_hold", "remove_rule", "set_hold", "set_rule"]

_SOON_DAYS: Final = 30
_SHOWN: Final = 50


def _sentence(error: LeadglassError) -> str:
    text = str(error)
    return text[:1].upper() + text[1:]


# --- the page ---------------------------------------------------------------------------------------------------------
def keeping(call: "Call", *, error: str = "", said: str = "", status: int = 200) -> Response:
    """Show rules, what is due soon, holds, how the scrub stands, and the room that is left."""
    house = call.house.keeping
    rules = house.retention.list_rules(call.subject)
    due = house.retention.list_due(call.subject, within_days=_SOON_DAYS)
    holds = house.hold_list(call.subject) if may(call, Action.HOLD_LIST, ResourceKind.STUDY) else []
    return render(
        call, "keeping.html", status=status, error=error, said=said, rules=rules, due=due[:_SHOWN], due_count=len(due),
        soon_days=_SOON_DAYS, holds=holds[:_SHOWN], holds_count=len(holds), scrub=house.scrubbing.state(), room=house.room(),
        typed=call.form, may_set=could(call, Action.RETENTION_SET, Resource(kind=ResourceKind.ARCHIVE)),
    )


def set_rule(call: "Call") -> Response:
    """Set a rule; it waits for a day before it counts."""
    try:
        call.house.keeping.retention.set_rule(
            call.subject, site=call.form.get("site", ""), modality=call.form.get("modality", ""),
            keep_days=_days(call.form.get("keep_days", ""), "days to keep") or 0,
            delete_after_days=_days(call.form.get("delete_after_days", ""), "days until deletion"))
    except Malformed as e:
        return keeping(call, error=_sentence(e), status=400)
    return redirect("/keeping")


def remove_rule(call: "Call") -> Response:
    """Remove a rule; that waits for a day too."""
    try:
        call.house.keeping.retention.remove_rule(
            call.subject, site=call.form.get("site", ""), modality=call.form.get("modality", ""))
    except (Malformed, Missing) as e:
        return keeping(call, error=_sentence(e), status=400)
    return redirect("/keeping")


def _days(text: str, what: str) -> int | None:
    text = text.strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 7):
        raise Malformed(f"{what}: a whole number is wanted.")
    return int(text)


# --- one study --------------------------------------------------------------------------------------------------------
def delete_study(call: "Call") -> Response:
    """Delete the study, or one series of it; the page then shows what the ledger remembers."""
    return _change(call, lambda uid: call.house.keeping.delete(
        call.subject, uid, reason=call.form.get("reason", ""), series_uid=call.form.get("series", "") or None))


def set_hold(call: "Call") -> Response:
    """Put a legal hold on the study."""
    return _change(call, lambda uid: call.house.keeping.hold_set(call.subject, uid, reason=call.form.get("reason", "")))


def release_hold(call: "Call") -> Response:
    """Release a legal hold of the study."""
    return _change(call, lambda uid: call.house.keeping.hold_release(
        call.subject, uid, reason=call.form.get("reason", ""), number=_days(call.form.get("number", ""), "hold") or 0))


def _change(call: "Call", act: Any) -> Response:
    uid = call.params["study"]
    if not is_valid_uid(uid):
        raise Missing("no such study here.")
    try:
        act(uid)
    except (Malformed, Conflict) as e:
        return study_life(call, error=_sentence(e), status=400 if isinstance(e, Malformed) else 409)
    return redirect(f"/studies/{uid}/life")
