"""The console's rows of the route table."""

from collections.abc import Callable
from typing import Any, Final

from leadglass.terms import Action
from leadglass.web.calls import Call, Operation
from leadglass.web.console import (
    access_log,
    enrol,
    keeping,
    life,
    people,
    reconciliation,
    sign_in,
    static_files,
    step_up,
    studies,
    viewer,
)
from leadglass.web.console.pages import redirect

__all__ = ["PAGES"]

_A = Action


def _page(
    path: str, handler: Callable[[Call], Any], action: Action, *methods: str, is_for_locked: bool = False
) -> Operation:
    return Operation(path=path, methods=methods or ("GET",), action=action, handler=handler, face="page",
                     is_for_locked=is_for_locked)


def _public(path: str, handler: Callable[[Call], Any], reason: str, method: str = "GET") -> Operation:
    return Operation(path=path, methods=(method,), action=None, handler=handler, public_reason=reason, face="page")


def start(call: Call) -> Any:
    """Lead to the first page that the person may use."""
    from leadglass.web.console.pages import RAIL, may

    return redirect(next((p.href for p in RAIL if may(call, p.action, p.kind)), "/account"))


_LINK: Final = "the enrolment itself: a one-time secret, then the ceremony's handle, prove the person"
_LOOK: Final = "the console's look and scripts; nothing of a patient or person"
_PROOF: Final = "proves the person itself"

PAGES: Final[tuple[Operation, ...]] = (
    _page("/", start, _A.CONSOLE_USE),
    _public("/static/htmx.min.js", viewer.htmx_file, _LOOK),
    _public("/static/{name}", static_files.static_file, _LOOK),
    # sign-in
    _public("/sign-in", sign_in.sign_in_page, _PROOF),
    _public("/sign-in", sign_in.sign_in, _PROOF, "POST"),
    _public("/sign-in/passkey/begin", sign_in.begin_passkey, "a challenge, which proves nothing", "POST"),
    _public("/sign-in/passkey", sign_in.sign_in_passkey, _PROOF, "POST"),
    _page("/unlock", sign_in.unlock_page, _A.SELF_SIGN_IN, is_for_locked=True),
    _page("/unlock", sign_in.unlock, _A.SELF_SIGN_IN, "POST", is_for_locked=True),
    _page("/unlock/passkey", sign_in.unlock_passkey, _A.SELF_SIGN_IN, "POST", is_for_locked=True),
    _page("/step-up/passkey", step_up.prove_with_passkey, _A.SELF_SIGN_IN, "POST"),
    _page("/lock", sign_in.lock, _A.SELF_SIGN_OUT, "POST", is_for_locked=True),
    _page("/session", sign_in.session_state, _A.CONSOLE_USE),
    _page("/sign-out", sign_in.sign_out, _A.SELF_SIGN_OUT, "POST", is_for_locked=True),
    _page("/sign-out-everywhere", sign_in.sign_out_everywhere, _A.SELF_SIGN_OUT, "POST", is_for_locked=True),
    # enrolment
    _public("/enrol", enrol.open_page, _LINK),
    _public("/recover", enrol.recover_page, _LINK),
    _public("/recover", enrol.recover, "a recovery code, which opens an enrolment and no session", "POST"),
    _public("/enrol/open", enrol.open_link, _LINK, "POST"),
    _public("/enrol/steps", enrol.steps, _LINK),
    _public("/enrol/password", enrol.set_password, _LINK, "POST"),
    _public("/enrol/codes", enrol.set_totp, _LINK, "POST"),
    _public("/enrol/passkey/begin", enrol.begin_passkey, _LINK, "POST"),
    _public("/enrol/passkey", enrol.finish_passkey, _LINK, "POST"),
    _public("/enrol/finish", enrol.finish, _LINK, "POST"),
    # studies and the viewer
    _page("/studies", studies.studies, _A.STUDY_SEARCH, "GET", "POST"),
    _page("/studies/{study}", studies.study, _A.STUDY_SEARCH),
    _page("/studies/{study}/access", studies.study_access, _A.AUDIT_STUDY_READ),
    _page("/studies/{study}/life", life.study_life, _A.AUDIT_STUDY_READ),
    _page("/view/{study}", viewer.view, _A.CONSOLE_USE),
    _page("/viewer/app-config.js", viewer.app_config, _A.CONSOLE_USE),
    _page("/viewer", viewer.viewer_file, _A.CONSOLE_USE),
    _page("/viewer/{name:path}", viewer.viewer_file, _A.CONSOLE_USE),
    _page("/studies/{study}/delete", keeping.delete_study, _A.STUDY_DELETE, "POST"),
    _page("/studies/{study}/hold", keeping.set_hold, _A.HOLD_SET, "POST"),
    _page("/studies/{study}/release", keeping.release_hold, _A.HOLD_SET, "POST"),
    # reconciliation
    _page("/reconciliation", reconciliation.tasks, _A.TASK_LIST),
    _page("/reconciliation/lift", reconciliation.lift_rejection, _A.REJECTION_LIFT, "POST"),
    _page("/reconciliation/{task}", reconciliation.task, _A.TASK_LIST),
    _page("/reconciliation/{task}", reconciliation.settle, _A.TASK_SETTLE, "POST"),
    # administration
    _page("/keeping", keeping.keeping, _A.RETENTION_LIST),
    _page("/keeping/rule", keeping.set_rule, _A.RETENTION_SET, "POST"),
    _page("/keeping/rule/remove", keeping.remove_rule, _A.RETENTION_SET, "POST"),
    _page("/people", people.people, _A.PERSON_LIST),
    _page("/people", people.invite_person, _A.PERSON_ADD, "POST"),
    _page("/people/enrol", people.enrol_person, _A.PERSON_ENROL, "POST"),
    _page("/people/confirm", people.confirm_person, _A.PERSON_CONFIRM, "POST"),
    _page("/people/disable", people.disable_person, _A.PERSON_DISABLE, "POST"),
    _page("/devices", people.devices, _A.DEVICE_LIST),
    _page("/devices", people.register_device, _A.DEVICE_ADD, "POST"),
    _page("/devices/revoke", people.revoke_device, _A.DEVICE_REVOKE, "POST"),
    _page("/ledger", access_log.ledger, _A.AUDIT_READ, "GET", "POST"),
    _page("/account", people.account, _A.SELF_READ),
)
