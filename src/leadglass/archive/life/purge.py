"""Delete versions that were decided against, after their last day. A row goes first, in a committed transaction.

Killed between row and object, the object is unknown and swept within the hour; the other way round, an acknowledged
object could be missing while its row says that it is there. What is under a legal hold stays.
"""

from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from leadglass.archive import derived
from leadglass.storage import tables as t

if TYPE_CHECKING:
    from leadglass.archive import Archive

__all__ = ["drop_objects", "due_studies", "forget"]

_AT_ONCE: Final = 500
_q, _h, _i = t.quarantine.c, t.holds.c, t.instances.c
_NOT_HELD: Final = sa.not_(sa.exists().where(_h.study_uid == _q.study_uid, _h.released_at.is_(None)))


def due_studies(connection: sa.Connection, now: float) -> list[str]:
    """Return the studies of which versions may go now, at most 100."""
    rows = connection.execute(
        sa.select(_q.study_uid).where(_q.purge_at <= now, _NOT_HELD).distinct().limit(100))
    return [str(uid) for (uid,) in rows]


def forget(connection: sa.Connection, study_uid: str, now: float) -> tuple[list[Any], list[str]]:
    """Remove the rows of a study's versions whose last day is over, at most 500; return them, and what to unlink.

    What was made from these instances goes too: one that was made while a decision was taken may show what lost.
    """
    rows = list(connection.execute(
        sa.select(_q.id, _q.object_name, _q.digest, _q.sop_instance_uid, _q.task, _q.length)
        .where(_q.study_uid == study_uid, _q.purge_at <= now, _NOT_HELD).order_by(_q.id).limit(_AT_ONCE)).all())
    if rows:
        connection.execute(sa.delete(t.quarantine).where(_q.id.in_([row.id for row in rows])))
    names = [row.object_name for row in rows]
    shown = sa.select(_i.id).where(_i.sop_instance_uid.in_([row.sop_instance_uid for row in rows]))
    for number in connection.execute(shown).scalars().all():
        names += derived.forget(connection, instance=number)
    return rows, names


def drop_objects(archive: "Archive", names: list[str]) -> None:
    """Delete the objects of rows that are gone; what cannot be deleted is swept later."""
    for name in names:
        archive.blobs.delete(name)
