"""The ledger in sentences: what a record says to a person who asks who did what."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import Response

from leadglass.dicom.uids import is_valid_uid
from leadglass.web.pages import render

if TYPE_CHECKING:
    from leadglass.access import LogRow
    from leadglass.web.routes import Call

__all__ = ["Line", "ledger", "sentence", "story"]

_PAGE: Final = 100
_SENTENCES: Final = {
    ("decision", "archive:study:read"): "viewed this study",
    ("decision", "archive:study:search"): "began to search",
    ("decision", "audit:study:read"): "asked who saw this study",
    ("decision", "audit:log:read"): "opened the ledger",
    ("decision", "archive:instance:store"): "began to store",
    ("decision", "console:page:use"): "used the console",
    ("decision", "people:self:read"): "looked at the own account",
    ("searched", "archive:study:search"): "searched",
    ("searched", "audit:log:read"): "searched the ledger",
    ("stored", "archive:instance:store"): "stored images",
    ("alert", "archive:instance:store"): "sent other content under a known identifier; kept apart",
    ("change", "people:person:add"): "invited a person",
    ("change", "people:person:confirm"): "confirmed a person",
    ("change", "people:person:disable"): "disabled a person",
    ("change", "people:person:enrol"): "made a new enrolment link",
    ("change", "devices:device:add"): "registered a device",
    ("change", "devices:device:issue"): "issued a device certificate",
    ("change", "devices:device:revoke"): "revoked a device",
    ("change", "clients:client:add"): "registered a script",
    ("change", "clients:client:token"): "made a token for a script",
    ("change", "clients:client:revoke"): "revoked a script",
    ("authentication", "people:self:sign-in"): "signed in",
    ("authentication", "people:self:sign-out"): "signed out",
    ("authentication", "people:person:enrol"): "enrolled",
    ("authentication", "clients:client:token"): "proved to be a script",
    ("authentication", "dicom:association:verify"): "called as an unknown device",
    ("system", "system:server:serve"): "ran the server",
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
    """Return the verb phrase of a record."""
    found = _SENTENCES.get((record["event"], record["action"]), record["action"].replace(":", " "))
    what = record["details"].get("what", "")
    if record["event"] in {"authentication", "system"} and what:
        found = f"{found} ({what})" if what not in {"sign-in", "sign-out"} else found
    return "was refused: " + found if record["outcome"] == "refused" else found


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
