"""The ledger in sentences: what a record says to a person who asks who did what."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import Response

from leadglass.dicom.uids import is_valid_uid
from leadglass.web.console.pages import render

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leadglass.access import LogRow
    from leadglass.web.calls import Call

__all__ = ["Line", "ledger", "sentence", "story"]

_PAGE: Final = 100
_SENTENCES: Final = {  # action: (what was done, what was tried)
    "archive:hold:list": ("looked at what is kept", "look at what is kept"),
    "archive:hold:set": ("changed a legal hold", "change a legal hold"),
    "archive:instance:commit": ("asked that images be kept for good", "ask that images be kept for good"),
    "archive:instance:reject": ("rejected images", "reject images"),
    "archive:instance:store": ("stored images", "store images"),
    "archive:rejection:lift": ("lifted a rejection", "lift a rejection"),
    "archive:retention:list": ("looked at the retention rules", "look at the retention rules"),
    "archive:retention:set": ("changed the retention rules", "change the retention rules"),
    "archive:study:delete": ("deleted images for good", "delete images for good"),
    "archive:study:export": ("took this study away as a file", "take this study away as a file"),
    "archive:study:read": ("viewed this study", "view this study"),
    "archive:study:search": ("searched", "search"),
    "archive:study:send": ("had this study sent", "have this study sent"),
    "archive:task:list": ("looked at what waits for a decision", "look at what waits for a decision"),
    "archive:task:settle": ("decided between versions", "decide between versions"),
    "audit:log:read": ("read the ledger", "read the ledger"),
    "audit:log:verify": ("verified the ledger", "verify the ledger"),
    "audit:study:read": ("asked who saw this study", "ask who saw this study"),
    "clients:client:add": ("registered a script", "register a script"),
    "clients:client:list": ("looked at the scripts", "look at the scripts"),
    "clients:client:revoke": ("revoked a script", "revoke a script"),
    "clients:client:token": ("got a token for a script", "get a token for a script"),
    "console:page:use": ("used the console", "use the console"),
    "devices:device:add": ("registered a device", "register a device"),
    "devices:device:echo": ("called a device", "call a device"),
    "devices:device:issue": ("issued a device certificate", "issue a device certificate"),
    "devices:device:list": ("looked at the devices", "look at the devices"),
    "devices:device:revoke": ("revoked a device", "revoke a device"),
    "dicom:association:verify": ("asked whether we are there", "connect as a device"),
    "keys:key:status": ("looked at the keys' state", "look at the keys' state"),
    "people:person:add": ("invited a person", "invite a person"),
    "people:person:confirm": ("confirmed a person", "confirm a person"),
    "people:person:disable": ("disabled a person", "disable a person"),
    "people:person:enrol": ("went on with an enrolment", "enrol"),
    "people:person:list": ("looked at the people", "look at the people"),
    "people:self:read": ("looked at the own account", "look at the own account"),
    "people:self:sign-in": ("signed in", "sign in"),
    "people:self:sign-out": ("signed out", "sign out"),
    "system:home:check": ("ran the doctor", "run the doctor"),
    "system:objects:scrub": ("verified the stored objects", "verify the stored objects"),
    "system:server:serve": ("ran the server", "run the server"),
}
_PLANES: Final = {
    "web": "browser or DICOMweb", "dimse": "DICOM", "dimse-tls": "DICOM TLS", "local": "command line",
}


@dataclass
class Line:
    """One line of a story."""

    index: int
    time: float
    who: str
    kind: str
    roles: list[str]
    did: str
    outcome: str
    where: str
    plane: str
    counts: dict[str, int] = field(default_factory=dict)
    study: str = ""
    details: dict[str, Any] = field(default_factory=dict)


def sentence(record: dict[str, Any]) -> str:
    """Return what the subject of a record did, or tried and was refused."""
    action = record["action"]
    done, tried = _SENTENCES.get(action, (action.replace(":", " "), action.replace(":", " ")))
    if record["event"] == "alert" and action == "archive:instance:store":
        if record["details"].get("differs"):
            return "stored images that name another patient than their study: a task says so"
        if record["details"].get("kind") == "full":
            return "sent other content under a known identifier: refused, the quarantine is full"
        return "sent other content under a known identifier: kept apart for reconciliation"
    if record["outcome"] == "refused":
        return f"tried to {tried}: refused"
    if record["outcome"] == "failed":
        return f"tried to {tried}: it failed"
    what = str(record["details"].get("what", ""))
    if what == "unlock":
        return "unlocked the session"
    if what == "step-up":
        return "proved both factors anew"
    if what == "lock":
        return "locked the session"
    return f"{done} ({what})" if what and what not in {"sign-in", "sign-out"} else done


def story(rows: "Sequence[LogRow]") -> list[Line]:
    """Return the rows as lines, newest first; a closing entry becomes the counts of the view that it closes."""
    closed: dict[int, dict[str, int]] = {}
    lines = []
    for row in rows:
        record = row.record
        if "subject" not in record:
            lines.append(Line(row.index, row.time, "erased", "", [], "record erased under law", "", "", ""))
            continue
        details = record["details"]
        if record["event"] == "outcome":
            if "closes" in details:
                closed[details["closes"]] = {k: details[k] for k in ("instances", "frames", "bytes")}
            continue
        if record["action"].startswith("people:self:"):
            details = {k: v for k, v in details.items() if k != "resource"}  # who else, and only as an id
        who, peer = record["subject"], record["peer"]
        lines.append(Line(
            index=row.index, time=row.time, who=who["name"] or who["id"], kind=who["kind"], roles=who["roles"],
            did=sentence(record), outcome=record["outcome"], where=peer["address"] or "this machine",
            plane=_PLANES.get(peer["plane"], peer["plane"]), study=record["study"], details=details,
            counts={"instances": details["instances"]} if record["event"] == "stored" else {},
        ))
    for line in lines:
        line.counts = closed.get(line.index, line.counts)
    return lines


def ledger(call: "Call") -> Response:
    """Show the ledger, newest first, narrowed by person and study. A POST: terms stand in no URL."""
    person = call.form.get("person", "").strip()[:64]
    study = call.form.get("study", "").strip()[:64]
    before = call.form.get("before", "")
    rows = call.house.ledger_reader.search(
        call.subject, study_uid=study if study and is_valid_uid(study) else None, subject_name=person or None,
        limit=_PAGE + 1, before_index=int(before) if before.isascii() and before.isdigit() else None,
    )
    return render(
        call, "ledger.html", lines=story(rows[:_PAGE]), person=person, study=study, has_more=len(rows) > _PAGE,
        last=rows[min(len(rows), _PAGE) - 1].index if rows else 0,
        error="That is no study identifier." if study and not is_valid_uid(study) else "",
    )
