"""Decide between versions: the one that is shown and the one that was held change places, or do not.

`prepare` reads what the index needs from the objects, outside of any transaction; `accept`, `dismiss` and `undo` then
change rows only, in the caller's transaction, and refuse when something has moved meanwhile. No object is touched
here: what loses keeps its object until archive/life/purge.py has removed its row.
"""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from leadglass.archive.derived import forget
from leadglass.archive.further import keep, models_of
from leadglass.archive.heads import forget_heads
from leadglass.archive.index import names_of, series_values, study_values
from leadglass.archive.life.rejections import recount_study
from leadglass.archive.life.tasks import UNSORTED, Place, join_task, recount
from leadglass.archive.life.versions import facts_of_row, head_of, shown_row, version_row
from leadglass.errors import Conflict
from leadglass.storage import tables as t
from leadglass.storage.epoch import raise_epoch

if TYPE_CHECKING:
    from leadglass.archive import Archive
    from leadglass.archive.retrieve import InstanceRow
    from leadglass.dicom.part10 import Head

__all__ = ["Swap", "accept", "accept_identity", "dismiss", "prepare", "undo"]

_DAY: Final = 86400.0
_LONG: Final = 36500  # days; the due date of the task that it comes from follows
_IDENTITY: Final = (
    "patient_id", "issuer_of_patient_id", "patient_name", "patient_name_key", "patient_birth_date", "patient_sex",
)
_MOVED: Final = "this task has changed meanwhile; look at it again, then decide."
_q, _k, _i, _s, _e = t.quarantine.c, t.tasks.c, t.instances.c, t.studies.c, t.series.c


@dataclass(frozen=True, kw_only=True)
class _Described:
    """What the index keeps of a version."""

    row: "InstanceRow"
    number: str
    study: dict[str, Any]  # columns of studies
    series: dict[str, Any]  # columns of series


@dataclass(frozen=True, kw_only=True)
class Swap:
    """One instance whose versions may change places."""

    version: int  # id in quarantine
    old: _Described  # shown now
    new: _Described  # to be shown


def prepare(archive: "Archive", task: Any) -> list[Swap]:
    """Return what accepting an open task, or undoing an accepted one, would change; the newest version of each instance.

    Args: task: row of tasks.   Raises: Conflict (nothing to choose; versions of another study), Malformed, Damaged.
    """
    state = "held" if task.state == "open" else "superseded"
    with archive.database.read() as connection:
        rows = connection.execute(sa.select(t.quarantine).where(_q.task == task.id, _q.state == state).order_by(_q.id)).all()
        newest = {row.sop_instance_uid: row for row in rows}
        pairs = [(row, shown_row(connection, uid)) for uid, row in newest.items()]
    known: dict[str, dict[str, Any]] = {}
    swaps = []
    for row, shown in pairs:
        if shown is None:
            raise Conflict("the instance that this version belongs to is not here any more; dismiss the task.")
        if shown.study_uid != row.study_uid:
            raise Conflict("these versions name another study: they can only be dismissed.")
        new, old = version_row(archive, row), shown
        swaps.append(Swap(version=row.id, old=_describe(old, head_of(archive, old), known),
                          new=_describe(new, head_of(archive, new), known)))
    return swaps


def _describe(row: "InstanceRow", head: "Head", known: dict[str, dict[str, Any]]) -> _Described:
    """Return the columns; versions of one series share them, so that a thousand cost little memory."""
    study_model, series_model = models_of(head)
    study = study_values(head.attributes) | {"attributes": json.dumps(study_model)}
    series = series_values(head.attributes) | {"attributes": json.dumps(series_model)}
    return _Described(row=row, number=head.attributes.instance_number, study=known.setdefault(json.dumps(study), study),
                      series=known.setdefault(json.dumps(series), series))


def accept(connection: sa.Connection, task: Any, swaps: list[Swap], *, now: float, keep_days: int) -> dict[str, Any]:
    """Show the held versions of an open task; what was shown is superseded. Return the facts to keep with the task.

    Raises: Conflict, when anything has moved since `prepare`.
    """
    purge_at = now + keep_days * _DAY
    study = _study(connection, task.study_uid)
    if study is None:
        raise Conflict("the study is not here any more; dismiss the task.")
    for swap in swaps:
        _change_places(connection, study.id, swap, task=task.id, was="held", becomes="superseded", purge_at=purge_at)
    connection.execute(  # older variants of the same instances: decided against
        sa.update(t.quarantine).where(_q.task == task.id, _q.state == "held").values(purge_at=purge_at))
    facts = {"_study": _columns(connection, t.studies, study.id, [(s.old.study, s.new.study) for s in swaps])}
    by_series: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {}
    for swap in swaps:
        by_series.setdefault(swap.new.row.series_uid, []).append((swap.old.series, swap.new.series))
    facts["_series"] = {
        uid: _columns(connection, t.series, _series_id(connection, study.id, uid, pairs[-1][1]), pairs)
        for uid, pairs in by_series.items()
    }
    _finish(connection, task, study.id, [s.new.row.sop_instance_uid for s in swaps], now)
    return facts


def accept_identity(connection: sa.Connection, task: Any, values: dict[str, Any], now: float) -> dict[str, Any]:
    """Give a study the patient that a newer instance names; return the facts to keep. `values`: columns of studies."""
    study = _study(connection, task.study_uid)
    if study is None:
        raise Conflict("the study is not here any more; dismiss the task.")
    old = {name: getattr(study, name) for name in _IDENTITY}
    facts = {"_study": _columns(connection, t.studies, study.id, [(old, {name: values[name] for name in _IDENTITY})])}
    _finish(connection, task, study.id, [], now)
    return facts


def dismiss(connection: sa.Connection, task: Any, *, now: float, keep_days: int) -> None:
    """Leave what is shown; the held versions are kept until their last day."""
    connection.execute(sa.update(t.quarantine).where(_q.task == task.id, _q.state == "held").values(
        purge_at=now + keep_days * _DAY))


def undo(connection: sa.Connection, task: Any, swaps: list[Swap], *, now: float) -> None:
    """Take a decision back: what was shown before is shown again, and the task waits once more.

    Raises: Conflict, when a version was deleted since, or a later decision builds on this one.
    """
    facts = json.loads(task.facts)
    there = connection.execute(sa.select(sa.func.count()).where(_q.task == task.id)).scalar_one()
    if there < int(facts.get("_versions", 0)):
        raise Conflict("the versions that were decided against have been deleted; nothing to go back to.")
    study = _study(connection, task.study_uid)
    if study is None:
        raise Conflict("the study is not here any more.")
    for swap in swaps:
        reason = connection.execute(sa.select(_q.reason).where(_q.id == swap.version)).scalar()
        if reason != _superseded_by(swap.old.row.digest):
            raise Conflict("a later decision builds on this one; undo that one first.")
        _change_places(connection, study.id, swap, task=task.id, was="superseded", becomes="held", purge_at=None)
    connection.execute(sa.update(t.quarantine).where(_q.task == task.id, _q.state == "held").values(purge_at=None))
    _put_back(connection, t.studies, study.id, facts.get("_study", {}))
    for uid, change in facts.get("_series", {}).items():
        series = connection.execute(sa.select(_e.id).where(_e.study == study.id, _e.series_uid == uid)).scalar()
        if series is not None:
            _put_back(connection, t.series, series, change)
    _join_again(connection, task)
    _finish(connection, task, study.id, [s.new.row.sop_instance_uid for s in swaps], now)


def _study(connection: sa.Connection, uid: str) -> Any:
    return connection.execute(sa.select(t.studies).where(_s.study_uid == uid)).first()


def _superseded_by(digest: bytes) -> str:
    return f"superseded by {digest.hex()}"


def _change_places(
    connection: sa.Connection, study: int, swap: Swap, *, task: int, was: str, becomes: str, purge_at: float | None
) -> None:
    """Make the version the instance's, and the instance's a version. Raises: Conflict."""
    new, old = swap.new, swap.old
    version = connection.execute(
        sa.select(t.quarantine).where(_q.id == swap.version, _q.task == task, _q.state == was)).first()
    shown = connection.execute(sa.select(t.instances).where(_i.sop_instance_uid == old.row.sop_instance_uid)).first()
    if version is None or shown is None or shown.digest != old.row.digest:
        raise Conflict(_MOVED)
    connection.execute(sa.delete(t.quarantine).where(_q.id == version.id))
    connection.execute(sa.insert(t.quarantine).values(
        task=task, state=becomes, sop_instance_uid=shown.sop_instance_uid, study_uid=old.row.study_uid,
        object_name=shown.object_name, length=shown.length, digest=shown.digest, source=shown.source,
        reason=_superseded_by(version.digest) if becomes == "superseded" else "taken back", received_at=shown.received_at,
        head=json.dumps(facts_of_row(old.row)), purge_at=purge_at,
    ))
    forget_heads(connection, [shown.id])
    forget(connection, instance=shown.id)  # made from what is shown no more; the files are swept
    row = new.row
    connection.execute(sa.update(t.instances).where(_i.id == shown.id).values(
        series=_series_id(connection, study, row.series_uid, new.series), sop_class_uid=row.sop_class_uid,
        transfer_syntax_uid=row.transfer_syntax_uid, instance_number=new.number, rows=row.rows, columns=row.columns,
        bits_allocated=row.bits_allocated, frames=row.frames, object_name=row.object_name, length=row.length,
        dataset_offset=row.dataset_offset, pixel_offset=row.pixel_offset, digest=row.digest, source=version.source,
        received_at=version.received_at,
    ))
    raise_epoch(connection)  # what any process keeps in memory names the old object


def _series_id(connection: sa.Connection, study: int, uid: str, values: dict[str, Any]) -> int:
    """Return the id of a series of the study, made if a version brings a new one."""
    found = connection.execute(sa.select(_e.id).where(_e.study == study, _e.series_uid == uid)).scalar()
    if found is not None:
        return int(found)
    added = connection.execute(sa.insert(t.series).values(**values, study=study, series_uid=uid, instance_count=0))
    return int(added.inserted_primary_key[0])  # type: ignore[index]


def _columns(
    connection: sa.Connection, table: sa.Table, row_id: int, pairs: list[tuple[dict[str, Any], dict[str, Any]]]
) -> dict[str, Any]:
    """Set the columns in which a version differs from what it replaces; return {"before", "after"} of them."""
    changed: dict[str, Any] = {}
    for old, new in pairs:
        changed |= {name: value for name, value in new.items() if old[name] != value}
    if not changed:
        return {}
    before = connection.execute(sa.select(*[table.c[name] for name in changed]).where(table.c.id == row_id)).one()
    connection.execute(sa.update(table).where(table.c.id == row_id).values(changed))
    return {"before": dict(zip(changed, before, strict=True)), "after": changed}


def _put_back(connection: sa.Connection, table: sa.Table, row_id: int, change: dict[str, Any]) -> None:
    """Set the columns back that still hold what the decision made of them."""
    for name, value in change.get("after", {}).items():
        column = table.c[name]
        connection.execute(
            sa.update(table).where(table.c.id == row_id, column == value).values({name: change["before"][name]}))


def _finish(connection: sa.Connection, task: Any, study: int, uids: list[str], now: float) -> None:
    """Counts, values inside sequences, and other versions of the same instances, which must be compared anew."""
    recount_study(connection, study, now)
    _keep_anew(connection, study)
    moved = set()
    for uid in uids:
        rows = connection.execute(
            sa.select(_q.id, _q.task, _q.source, _q.sop_instance_uid, _k.opened_at, _k.due_at)
            .join(t.tasks, _k.id == _q.task).where(
                _q.sop_instance_uid == uid, _q.state == "held", _q.study_uid == task.study_uid, _k.state == "open",
                _k.id != task.id, _k.kind != UNSORTED)).all()
        for row in rows:
            place = Place(study_uid=task.study_uid, patient_id=task.patient_id, source=row.source)
            other = join_task(connection, place, now=now, days=_LONG, instances=0)
            connection.execute(sa.update(t.tasks).where(_k.id == other, _k.due_at > row.due_at).values(
                opened_at=row.opened_at, due_at=row.due_at))
            connection.execute(sa.update(t.quarantine).where(_q.id == row.id).values(task=other))
            moved |= {row.task, other}
    for other in moved:
        recount(connection, other)


def _keep_anew(connection: sa.Connection, study: int) -> None:
    """Write the values that are matched beside the columns again, from what the rows say now."""
    v = t.sequence_values.c
    connection.execute(sa.delete(t.sequence_values).where(v.study == study))
    row = connection.execute(sa.select(t.studies).where(_s.id == study)).one()
    keep(connection, study, None, json.loads(row.attributes), names=names_of(row))
    for series in connection.execute(sa.select(_e.id, _e.attributes).where(_e.study == study)):
        keep(connection, study, series.id, json.loads(series.attributes))


def _join_again(connection: sa.Connection, task: Any) -> None:
    """Take in a task of the same kind, study and source that was opened meanwhile: there is one of each."""
    facts = json.loads(task.facts)
    for row in connection.execute(sa.select(t.tasks).where(
        _k.study_uid == task.study_uid, _k.kind == task.kind, _k.source == task.source, _k.state == "open", _k.id != task.id
    )).all():
        if bool(json.loads(row.facts).get("other_study")) == bool(facts.get("other_study")):
            connection.execute(sa.update(t.quarantine).where(_q.task == row.id).values(task=task.id))
            connection.execute(sa.delete(t.tasks).where(_k.id == row.id))
