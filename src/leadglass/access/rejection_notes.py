"""May this sender reject these instances? Asked for each stored rejection note, in the transaction that stores it.

Steps: 1 what the note names is looked up; 2 the policy decides for every study in which something is named, with the
fact whether all of it is the sender's own; 3 one refusal, or a fault, and the note has no effect at all; 4 either way
it is recorded, for each study that it changes, and the note itself stays an ordinary object. Ref: IHE RAD TF-3 4.66.
"""

from collections.abc import Callable

import sqlalchemy as sa

from leadglass.archive.ingest import Staged
from leadglass.archive.life.rejections import Named, look_up, newly_hidden, reject
from leadglass.audit import Entry, Event, Outcome
from leadglass.terms import Action, Decision, Resource, ResourceKind, Subject

__all__ = ["follow_note"]

Decide = Callable[[Subject, Action, Resource], Decision]


def follow_note(connection: sa.Connection, decide: Decide, subject: Subject, staged: Staged, now: float) -> list[Entry]:
    """Reject what a newly stored note names, if its sender may; return the records: one a study, one of a refusal."""
    note, head = staged.note, staged.head
    if note is None:
        raise ValueError("the instance is no rejection note")
    named = look_up(connection, note.instances)  # step 1
    study = head.study_uid
    resources = [_resource(uid, named, subject.id) for uid in (named or {study: []})]
    decisions = [decide(subject, Action.INSTANCE_REJECT, resource) for resource in resources]  # step 2
    refusal = next((d for d in decisions if not d.is_permitted), None)
    details = {"note": head.sop_instance_uid, "code": note.code, "named": len(note.instances), "studies": len(named)}
    if refusal is not None or note.fault:  # step 3
        why = note.fault or (refusal.reason if refusal is not None else "")
        return [Entry(
            event=Event.ALERT, action=Action.INSTANCE_REJECT, outcome=Outcome.REFUSED, subject=subject, study_uid=study,
            patient_id=head.attributes.patient_id, rule=refusal.rule if refusal is not None else "note-has-a-fault",
            details=details | {"here": sum(len(rows) for rows in named.values()), "why": why})]
    is_own_only = not decide(subject, Action.INSTANCE_REJECT, Resource(
        kind=ResourceKind.STUDY, id=study, facts={"is_own": False})).is_permitted
    rejection = reject(
        connection, note, named, note_uid=head.sop_instance_uid, study_uid=next(iter(named), study), source=subject.id,
        is_own_only=is_own_only, now=now)
    rules = {resource.id: decision.rule for resource, decision in zip(resources, decisions, strict=True)}
    return [  # step 4
        Entry(event=Event.CHANGE, action=Action.INSTANCE_REJECT, outcome=Outcome.DONE, subject=subject, study_uid=uid,
              patient_id=rows[0].patient_id if rows else head.attributes.patient_id, rule=rules[uid],
              details=details | {"rejection": rejection, "here": len(rows),
                                 "hidden": len(newly_hidden(rows, head.sop_instance_uid))})
        for uid, rows in (named or {study: []}).items()
    ]


def _resource(study_uid: str, named: Named, source: str) -> Resource:
    """Return the policy's view: a study, and whether all that is named in it is the sender's own."""
    is_own = named.is_own(study_uid, source) if named else True
    return Resource(kind=ResourceKind.STUDY, id=study_uid, facts={"is_own": is_own})
