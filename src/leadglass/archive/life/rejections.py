"""Instances that a rejection note takes out of use: kept and verified, not searched, read, sent or counted.

Rows only, inside the caller's transaction; who may reject what is decided in access/rejection_notes.py.
Ref: IHE RAD TF-3 4.66 (IOCM).
"""

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from leadglass.archive.names import listed
from leadglass.dicom.key_objects import STAYS_REJECTED, RejectionNote
from leadglass.storage import tables as t
from leadglass.storage.epoch import raise_epoch

__all__ = [
    "REJECTED", "Named", "find_rejection", "lift", "look_up", "newly_hidden", "recount_study", "reject", "take_again",
]

REJECTED: Final = "kept, and not shown: rejected by a note"
_CHUNK: Final = 500
_i, _s, _e = t.instances.c, t.studies.c, t.series.c
_r, _n = t.rejections.c, t.rejection_targets.c
_FIND: Final = (
    sa.select(_r.id, _r.code, _r.source, _r.is_own_only)
    .join_from(t.rejection_targets, t.rejections, _n.rejection == _r.id)
    .where(_n.sop_instance_uid == sa.bindparam("uid"), _r.state == "active").order_by(_r.id)
)


class Named(dict[str, list[Any]]):
    """The instances that a note names and that are here, by Study Instance UID; rows: id, study, uid, source, rejection,
    patient.
    """

    def is_own(self, study_uid: str, source: str) -> bool:
        """Return whether every named instance of a study came from `source`."""
        return all(row.source == source for row in self[study_uid])


def find_rejection(connection: sa.Connection, uid: str, source: str) -> int | None:
    """Return the note that rejects an instance which `source` has just sent, or None.

    A sender that may reject only its own rejects nothing that another sends later. What was rejected as too old to
    keep may come again.
    """
    for row in connection.execute(_FIND, {"uid": uid}):
        if row.code in STAYS_REJECTED and (row.source == source or not row.is_own_only):
            return int(row.id)
    return None


def take_again(connection: sa.Connection, known: Any) -> bool:
    """Show a rejected instance again that has been sent again, if its note's code allows that; return whether it did.

    Args: known: row of the instance: id, study, rejection.
    """
    code = connection.execute(sa.select(_r.code).where(_r.id == known.rejection)).scalar()
    if code in STAYS_REJECTED:
        return False
    uid = connection.execute(sa.select(_i.sop_instance_uid).where(_i.id == known.id)).scalar_one()
    others = [row.id for row in connection.execute(_FIND, {"uid": uid}) if row.code in STAYS_REJECTED]
    connection.execute(sa.update(t.instances).where(_i.id == known.id).values(rejection=others[0] if others else None))
    recount_study(connection, known.study)
    return not others


def look_up(connection: sa.Connection, uids: Sequence[str]) -> Named:
    """Return which of the named instances are here."""
    found = Named()
    for at in range(0, len(uids), _CHUNK):
        rows = connection.execute(
            sa.select(_i.id, _i.study, _i.sop_instance_uid, _i.source, _i.rejection, _s.study_uid, _s.patient_id)
            .join_from(t.instances, t.studies, _i.study == _s.id)
            .where(_i.sop_instance_uid.in_(uids[at : at + _CHUNK])))
        for row in rows:
            found.setdefault(row.study_uid, []).append(row)
    return found


def reject(
    connection: sa.Connection, note: RejectionNote, named: Named, *, note_uid: str, study_uid: str, source: str,
    is_own_only: bool, now: float,
) -> int:
    """Take the named instances out of use; return the id of the rejection.

    All names are kept, so that what comes later is rejected too. A note does not reject itself.
    """
    uids = [uid for uid in note.instances if uid != note_uid]
    added = connection.execute(sa.insert(t.rejections).values(
        note_uid=note_uid, code=note.code, study_uid=study_uid, source=source, instances=len(uids), created_at=now,
        state="active", is_own_only=is_own_only))
    rejection = int(added.inserted_primary_key[0])  # type: ignore[index]
    if uids:
        connection.execute(
            sa.insert(t.rejection_targets), [{"rejection": rejection, "sop_instance_uid": uid} for uid in uids])
    hidden = [row for rows in named.values() for row in newly_hidden(rows, note_uid)]
    for at in range(0, len(hidden), _CHUNK):
        ids = [row.id for row in hidden[at : at + _CHUNK]]
        connection.execute(sa.update(t.instances).where(_i.id.in_(ids)).values(rejection=rejection))
    for study in {row.study for row in hidden}:
        recount_study(connection, study, now)
    if hidden:
        raise_epoch(connection)  # what any process keeps of these studies in memory is not believed any more
    return rejection


def newly_hidden(rows: Sequence[Any], note_uid: str) -> list[Any]:
    """Return those of the named instances that were shown until now, without the note itself."""
    return [row for row in rows if row.rejection is None and row.sop_instance_uid != note_uid]


def lift(connection: sa.Connection, rejection: int, *, by: str, now: float) -> int:
    """End a rejection; return how many instances are shown again. What another active note names stays hidden."""
    connection.execute(sa.update(t.rejections).where(_r.id == rejection).values(state="lifted", lifted_at=now, lifted_by=by))
    rows = connection.execute(
        sa.select(_i.id, _i.study, _i.sop_instance_uid, _i.source).where(_i.rejection == rejection)).all()
    shown = 0
    for row in rows:
        other = next((r.id for r in connection.execute(_FIND, {"uid": row.sop_instance_uid})
                      if r.source == row.source or not r.is_own_only), None)
        connection.execute(sa.update(t.instances).where(_i.id == row.id).values(rejection=other))
        shown += other is None
    for study in {row.study for row in rows}:
        recount_study(connection, study, now)
    return shown


def recount_study(connection: sa.Connection, study: int, now: float | None = None) -> None:
    """Make the counts and modalities of a study those of its shown instances; a study without any is not found."""
    inside = sa.select(sa.func.count()).where(_i.series == _e.id, _i.rejection.is_(None)).scalar_subquery()
    connection.execute(sa.update(t.series).where(_e.study == study).values(instance_count=inside))
    rows = connection.execute(
        sa.select(_e.modality, _e.instance_count).where(_e.study == study, _e.instance_count > 0)).all()
    connection.execute(sa.update(t.studies).where(_s.id == study).values(
        series_count=len(rows), instance_count=sum(row.instance_count for row in rows),
        modalities=listed(row.modality for row in rows), **({"changed_at": now} if now else {})))
