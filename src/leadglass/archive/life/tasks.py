"""Reconciliation tasks: what a person has to decide, by when. Rows only, inside the caller's transaction.

One open task for each (study, kind, source), so that a modality that sends a series again makes one line and not a
thousand. A version starts as `unsorted`; archive/life/sorting.py finds out what it is and moves it to its kind.
"""

import json
from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa

from leadglass.storage import tables as t

__all__ = ["KINDS", "UNSORTED", "Place", "facts_of", "join_task", "recount"]

UNSORTED: Final = "unsorted"
KINDS: Final = (UNSORTED, "reencoded", "demographics", "content", "identity")
_SECONDS: Final = 86400.0
_k, _q = t.tasks.c, t.quarantine.c
_FIND: Final = sa.select(_k.id, _k.facts).where(
    _k.study_uid == sa.bindparam("study"), _k.kind == sa.bindparam("of_kind"), _k.source == sa.bindparam("of"),
    _k.state == "open").order_by(_k.id)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a version or an instance belongs: the key of its open task."""

    study_uid: str
    patient_id: str
    source: str  # subject id of the sender
    kind: str = UNSORTED
    is_other_study: bool = False  # the version names another study than the instance that is shown
    facts: dict[str, Any] = field(default_factory=dict)  # of a task that is new; names with _ are shown to nobody as they are


def join_task(connection: sa.Connection, place: Place, *, now: float, days: int, instances: int = 1) -> int:
    """Return the id of the open task of `place`, a new one if there is none, with `instances` more in it."""
    where = {"study": place.study_uid, "of_kind": place.kind, "of": place.source}
    for row in connection.execute(_FIND, where):
        if bool(json.loads(row.facts).get("other_study")) == place.is_other_study:
            connection.execute(sa.update(t.tasks).where(_k.id == row.id).values(instances=_k.instances + instances))
            return int(row.id)
    facts = place.facts | ({"other_study": True} if place.is_other_study else {})
    added = connection.execute(sa.insert(t.tasks).values(
        kind=place.kind, study_uid=place.study_uid, patient_id=place.patient_id, source=place.source, state="open",
        instances=instances, facts=json.dumps(facts), opened_at=now, due_at=now + days * _SECONDS,
    ))
    return int(added.inserted_primary_key[0])  # type: ignore[index]


def facts_of(row: Any) -> dict[str, Any]:
    """Return the facts of a task that anyone who may see tasks may see: counts and keywords, no value."""
    return {name: value for name, value in json.loads(row.facts).items() if not name.startswith("_")}


def recount(connection: sa.Connection, task: int) -> int:
    """Set a task's count to the versions that wait in it, and return it; an open one without any is removed."""
    count = connection.execute(
        sa.select(sa.func.count(_q.sop_instance_uid.distinct())).where(_q.task == task, _q.state == "held")).scalar_one()
    if count:
        connection.execute(sa.update(t.tasks).where(_k.id == task).values(instances=count))
    else:
        connection.execute(sa.delete(t.tasks).where(_k.id == task, _k.state == "open"))
    return int(count)
