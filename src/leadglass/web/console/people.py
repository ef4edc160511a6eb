"""People, devices and the own account: tables with the few forms that change them."""

from typing import TYPE_CHECKING, Any, Final

from starlette.responses import Response

from leadglass.errors import Conflict, LeadglassError, Malformed, Missing, Unproven
from leadglass.terms import Action, ResourceKind
from leadglass.web.console.access_log import story
from leadglass.web.console.pages import may, render

if TYPE_CHECKING:
    from leadglass.web.calls import Call

__all__ = [
    "account", "confirm_person", "devices", "disable_person", "enrol_person", "invite_person", "people", "register_device",
    "revoke_device",
]

_ROLES: Final = (
    "radiologist", "technologist", "referring", "administrator", "privacy-officer", "security-officer", "researcher",
)


def _sentence(error: LeadglassError) -> str:
    text = str(error)
    return text[:1].upper() + text[1:]


def people(call: "Call", *, link: Any = None, whom: str = "", error: str = "", said: str = "", status: int = 200) -> Response:
    """Show everyone, and the form that invites."""
    return render(
        call, "people.html", rows=call.house.administration.people_list(call.subject), roles=_ROLES, link=link, whom=whom,
        error=error, said=said, status=status, may_add=may(call, Action.PERSON_ADD, ResourceKind.PERSON),
        may_disable=may(call, Action.PERSON_DISABLE, ResourceKind.PERSON),
    )


def invite_person(call: "Call") -> Response:
    """Add a person; the one-time link is shown once."""
    name = call.form.get("name", "").strip().lower()
    try:
        link = call.house.administration.people_add(
            call.subject, name, [call.form.get("role", "")], display_name=call.form.get("display_name", ""),
            referring_name=call.form.get("referring_name", ""),
        )
    except (Malformed, Conflict) as e:
        return people(call, error=_sentence(e), status=400)
    return people(call, link=link, whom=name)


def enrol_person(call: "Call") -> Response:
    """Make a new link for someone who is there."""
    name = call.form.get("name", "")
    return people(call, link=call.house.administration.people_enrol(call.subject, name), whom=name)


def confirm_person(call: "Call") -> Response:
    """Make an account live, if the number is the one the person was shown."""
    name = call.form.get("name", "")
    try:
        call.house.administration.people_confirm(call.subject, name, call.form.get("number", ""))
    except (Unproven, Conflict, Missing) as e:
        return people(call, error=_sentence(e), status=400)
    return people(call, said=f"{name} is active and may sign in.")


def disable_person(call: "Call") -> Response:
    """End a person's access, and say in how many places."""
    name = call.form.get("name", "")
    ended = call.house.administration.people_disable(call.subject, name)
    return people(call, said=f"{name} is disabled. Sessions ended: {ended}.")


def devices(call: "Call", *, error: str = "", said: str = "", status: int = 200) -> Response:
    """Show devices, the form that registers one, and the command that does the same."""
    return render(
        call, "devices.html", rows=call.house.administration.devices_list(call.subject), error=error, said=said,
        status=status, may_add=may(call, Action.DEVICE_ADD, ResourceKind.DEVICE),
        may_revoke=may(call, Action.DEVICE_REVOKE, ResourceKind.DEVICE), ae_title=call.settings.ae_title,
        dicom_port=call.settings.dicom_port, dicom_tls_port=call.settings.dicom_tls_port,
    )


def register_device(call: "Call") -> Response:
    """Register a device by title and address, and the port on which it takes what is sent to it."""
    ae_title = call.form.get("ae_title", "").strip()
    port = call.form.get("port", "").strip()
    try:
        if port and (not port.isascii() or not port.isdigit() or len(port) > 5):
            raise Malformed("port: 1 to 65535, or nothing when it takes no studies.")
        call.house.administration.devices_add(
            call.subject, ae_title, host=call.form.get("host", ""), role=call.form.get("role", ""), port=int(port or 0))
    except (Malformed, Conflict) as e:
        return devices(call, error=_sentence(e), status=400)
    return devices(call, said=f"{ae_title} is registered and may connect now.")


def revoke_device(call: "Call") -> Response:
    """End a device's access, open associations too."""
    ae_title = call.form.get("ae_title", "")
    call.house.administration.devices_revoke(call.subject, ae_title)
    return devices(call, said=f"{ae_title} is revoked.")


def account(call: "Call") -> Response:
    """Show the own factors, sessions and latest accesses."""
    facts = call.house.administration.my_account(call.subject)
    return render(call, "account.html", facts=facts, this=call.subject.session_id,
                  lines=story(call.house.ledger_reader.mine(call.subject, limit=40)), roles=sorted(call.subject.roles))
