"""Re-read everything: each object must decrypt, have its length, and give the digest that was kept at ingest.

A round goes through phases: instances (rejected ones too), quarantine, what was made from them, wrapped keys, the index's own
counts together with files that no row names. What was made can be made anew: a bad one is dropped, and is no finding and no
object of a report. `next_batch` reads and judges, and writes nothing: who calls keeps the cursor, so that a round goes
on where it was after a restart. What was deleted or replaced while it was read is no finding.
"""

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from leadglass.errors import LeadglassError, Missing
from leadglass.storage import tables as t

if TYPE_CHECKING:
    from leadglass.archive import Archive

__all__ = ["PHASES", "Batch", "Damage", "Suspects", "next_batch", "total_of", "verify_named"]

PHASES: Final = ("instances", "quarantine", "derived", "keys", "index", "done")
_PAGE: Final = 200
_NAMES: Final = 500
_BATCH_SECONDS: Final = 2.0  # progress is written about so often
_MOST_COUNTS: Final = 100
_MOST_SUSPECTS: Final = 100
_i, _s, _q, _d = t.instances.c, t.studies.c, t.quarantine.c, t.derived_objects.c


@dataclass(frozen=True, kw_only=True)
class Damage:
    """One thing that is not as it should be. `what`: damaged, missing, content, key or count."""

    what: str
    object_name: str = ""
    study_uid: str = ""


@dataclass(kw_only=True)
class Batch:
    """What a step found; the next one begins at `phase` and `cursor`."""

    phase: str
    cursor: int
    objects: int = 0
    verified: int = 0
    bytes: int = 0
    unknown: int = 0
    damages: list[Damage] = field(default_factory=list)
    whole: list[str] = field(default_factory=list)  # objects that verified
    dropped: list[str] = field(default_factory=list)  # derived objects that did not: to be removed, and made anew when wanted
    covers: tuple[str, ...] = ()  # kinds of damage that this batch has looked for everywhere


class Suspects:
    """Objects that failed somebody's read, until they are looked at; at most 100. Safe in threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._names: set[str] = set()

    def add(self, name: str) -> None:
        """Note an object; past 100 the scheduled round finds the rest."""
        with self._lock:
            if len(self._names) < _MOST_SUSPECTS:
                self._names.add(name)

    def take(self) -> list[str]:
        """Return what was noted, and forget it."""
        with self._lock:
            names, self._names = self._names, set()
        return sorted(names)


def total_of(connection: sa.Connection) -> tuple[int, int]:
    """Return (objects, bytes) that a round reads."""
    found = [connection.execute(sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(c.length), 0))).one()
             for c in (_i, _q)]
    return sum(int(f[0]) for f in found), sum(int(f[1]) for f in found)


def next_batch(
    archive: "Archive", phase: str, cursor: int, *, pace: Callable[[int], bool] = lambda _: True,
    clock: Callable[[], float] = time.monotonic,
) -> Batch:
    """Verify the next objects of a round, at most 200 or for about two seconds, or the whole of a small phase.

    Args: pace: told how many bytes were read; may sleep, and returns False to stop after this object.
    """
    if phase == "keys":
        return _keys(archive)
    if phase == "index":
        return _index(archive)
    rows = _rows(archive, phase, cursor)
    batch = Batch(phase=phase, cursor=cursor)
    if not rows:
        batch.phase, batch.cursor = PHASES[PHASES.index(phase) + 1], 0
        return batch
    end = clock() + _BATCH_SECONDS
    for row in rows:
        is_wanted = _verify(archive, phase, row, batch, pace)
        if is_wanted is None:
            break  # stopped in the middle of an object: it is read again
        batch.cursor = row.id
        if not is_wanted or clock() > end:
            break
    return batch


def verify_named(archive: "Archive", names: list[str]) -> Batch:
    """Verify these objects alone, those that the index still names."""
    batch = Batch(phase="named", cursor=0)
    for phase, column in (("instances", _i.object_name), ("quarantine", _q.object_name), ("derived", _d.object_name)):
        with archive.database.read() as connection:
            rows = list(connection.execute(_SELECT[phase].where(column.in_(names))))
        for row in rows:
            _verify(archive, phase, row, batch, lambda _: True)
    return batch


_SELECT: Final = {
    "instances": sa.select(_i.id, _s.study_uid, _i.object_name, _i.length, _i.dataset_offset, _i.digest).join(
        t.studies, _s.id == _i.study),
    "quarantine": sa.select(_q.id, _q.study_uid, _q.object_name, _q.length, _q.head, _q.digest),
    "derived": sa.select(_d.id, _s.study_uid, _d.object_name, _d.length).join(t.studies, _s.id == _d.study),
}
_TABLES: Final = {"instances": t.instances, "quarantine": t.quarantine, "derived": t.derived_objects}


def _rows(archive: "Archive", phase: str, cursor: int) -> list[Any]:
    number = _TABLES[phase].c.id
    with archive.database.read() as connection:
        return list(connection.execute(_SELECT[phase].where(number > cursor).order_by(number).limit(_PAGE)).all())


def _verify(archive: "Archive", phase: str, row: Any, batch: Batch, pace: Callable[[int], bool]) -> bool | None:
    """Judge one object; return whether to go on, None when it was not read to its end."""
    what = "key"
    goes_on = True
    try:
        _, key = archive.study_keys.for_study(row.study_uid, create=False)
        what = ""
        with archive.blobs.open(row.object_name, key, row.length) as reader:
            start = _start(phase, row)
            digest = hashlib.sha256()
            reader.read(0, start)
            for piece in reader.stream(start):
                digest.update(piece)
                goes_on = pace(len(piece))
                if not goes_on and reader.length > start + len(piece):
                    return None
            if start and digest.digest() != row.digest:
                what = "content"
    except Missing:
        what = what or "missing"
    except (LeadglassError, OSError):
        what = what or "damaged"
    if what and not _is_still(archive, phase, row):
        return goes_on
    if phase == "derived":
        batch.dropped += [row.object_name] if what else []
        return goes_on
    batch.objects += 1
    batch.bytes += row.length
    if what:
        batch.damages.append(Damage(what=what, object_name=row.object_name, study_uid=row.study_uid))
    else:
        batch.verified += 1
        batch.whole.append(row.object_name)
    return goes_on


def _start(phase: str, row: Any) -> int:
    """Return where the bytes with a kept digest begin; 0, where there is none: in derived objects, in an older quarantine."""
    import json

    if phase != "quarantine":
        return int(row.dataset_offset) if phase == "instances" else 0
    head = row.head
    found = json.loads(head or "{}").get("dataset", 0)
    return found if isinstance(found, int) else 0


def _is_still(archive: "Archive", phase: str, row: Any) -> bool:
    """Return whether the index still names this object: it may have been deleted, or replaced, meanwhile."""
    table = _TABLES[phase]
    with archive.database.read() as connection:
        return connection.execute(sa.select(table.c.id).where(table.c.object_name == row.object_name)).first() is not None


def _keys(archive: "Archive") -> Batch:
    batch = Batch(phase="index", cursor=0, covers=("key",))
    last = ""
    while True:
        page = archive.study_keys.verify_page(last, _NAMES)
        batch.damages += [Damage(what="key", study_uid=uid) for uid, is_good in page if not is_good]
        if len(page) < _NAMES:
            return batch
        last = page[-1][0]


def _index(archive: "Archive") -> Batch:
    """Compare the counts of studies with the rows, and the files with the tables that name files."""
    batch = Batch(phase="done", cursor=0, covers=("count",))
    shown = sa.select(sa.func.count()).where(_i.study == _s.id, _i.rejection.is_(None)).scalar_subquery()
    with archive.database.read() as connection:
        wrong = connection.execute(sa.select(_s.study_uid).where(_s.instance_count != shown).limit(_MOST_COUNTS)).scalars()
        batch.damages += [Damage(what="count", study_uid=uid) for uid in wrong]
    names: list[str] = []
    for name in archive.blobs.names():
        names.append(name)
        if len(names) == _NAMES:
            batch.unknown += _unknown(archive, names)
            names = []
    batch.unknown += _unknown(archive, names)
    return batch


def _unknown(archive: "Archive", names: list[str]) -> int:
    with archive.database.read() as connection:
        known = {
            name for column in (_i.object_name, _q.object_name, _d.object_name)
            for name in connection.execute(sa.select(column).where(column.in_(names))).scalars()
        }
    return len(set(names) - known)
