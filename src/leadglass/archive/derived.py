"""Objects made from stored instances: prebuilt metadata, copies in another transfer syntax, previews.

Each is an encrypted blob under its study's key, like an original, so that the end of the key is its end too. It can
always be made anew: nobody is told that it is there, no count and no export holds it, and one that is damaged is dropped.
`made_from` is a digest over what it shows; what was made from other content is never found, whatever happened meanwhile.

    found = find(connection, "htj2k", row.digest)
    with open_derived(archive, study_uid, found) as reader: ...   # Missing, Damaged: drop it and make it anew
"""

import hashlib
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from leadglass.errors import Missing
from leadglass.storage import tables as t

if TYPE_CHECKING:
    from leadglass.archive import Archive
    from leadglass.storage.blobs import BlobReader

__all__ = ["KINDS", "Derived", "Place", "drop", "find", "find_all", "forget", "made_from", "open_derived", "put"]

KINDS: Final = ("series-metadata", "htj2k", "preview")
_BATCH: Final = 500
_d, _s, _e, _i = t.derived_objects.c, t.studies.c, t.series.c, t.instances.c
_COLUMNS: Final = (_d.object_name, _d.length, _d.made_from)
_FIND: Final = sa.select(*_COLUMNS).where(_d.kind == sa.bindparam("of_kind"), _d.made_from == sa.bindparam("source"))


@dataclass(frozen=True, kw_only=True)
class Place:
    """What a derived object belongs to; it goes when that goes. Without a series it is of the study."""

    study_uid: str
    series_uid: str | None = None
    sop_instance_uid: str | None = None  # with series_uid


@dataclass(frozen=True)
class Derived:
    """A derived object as the index knows it."""

    object_name: str
    length: int  # plaintext bytes
    made_from: bytes


def made_from(digests: Iterable[bytes], *more: str) -> bytes:
    """Return the digest over content digests in their order, and over whatever else decides what is made (a version)."""
    machine = hashlib.sha256()
    for part in more:
        data = part.encode()
        machine.update(len(data).to_bytes(8, "big") + data)  # lengths: "ab","c" is not "a","bc"
    for digest in digests:
        machine.update(digest)
    return machine.digest()


def find(connection: sa.Connection, kind: str, source: bytes) -> Derived | None:
    """Return the object of `kind` that was made from `source` (a `made_from`), or None: then it is to be made."""
    row = connection.execute(_FIND, {"of_kind": kind, "source": source}).first()
    return Derived(*row) if row is not None else None


def find_all(connection: sa.Connection, kind: str, sources: list[bytes]) -> dict[bytes, Derived]:
    """Return those of `kind` that are there, by their `made_from`: one statement for 500."""
    found: dict[bytes, Derived] = {}
    for at in range(0, len(sources), _BATCH):
        part = sources[at : at + _BATCH]
        for row in connection.execute(sa.select(*_COLUMNS).where(_d.kind == kind, _d.made_from.in_(part))):
            found[row.made_from] = Derived(*row)
    return found


def open_derived(archive: "Archive", study_uid: str, found: Derived) -> "BlobReader":
    """Return a reader. Raises: Missing, Damaged: another process may have replaced it since it was found."""
    _, key = archive.study_keys.for_study(study_uid, create=False)
    return archive.blobs.open(found.object_name, key, found.length)


def put(archive: "Archive", kind: str, place: Place, source: bytes, pieces: Iterable[bytes]) -> Derived | None:
    """Keep a derived object and return it; what was kept for the same place and kind before is gone then.

    Steps: 1 the object is durable; 2 in one transaction the study's key still stands, the place is still there, and nobody
    was faster; 3 what is not named by a row is unlinked. Killed between, the rest is unknown to the index, and swept.
    Args: source: a `made_from`; `kind` and `source` together decide the content, so that whoever comes second changes nothing.
    Returns: the one that is kept, perhaps another process's; None, when the place is not there any more.
    Raises: Full, Busy, and what `pieces` raises; nothing is left behind then.
    """
    if kind not in KINDS:
        raise RuntimeError(f"no such kind of derived object: {kind}")
    try:
        key_id, key = archive.study_keys.for_study(place.study_uid, create=False)
    except Missing:
        return None
    writer = archive.blobs.create(key, key_id)
    try:
        for piece in pieces:
            writer.write(piece)
        length = writer.seal()  # step 1
        with archive.database.write() as connection:  # step 2
            ids = _ids(connection, place) if archive.study_keys.stands(connection, place.study_uid, key_id) else None
            kept = find(connection, kind, source)
            old: list[str] = []
            if ids is not None and kept is None:
                old = _remove(connection, _d.kind == kind, *(_d[name] == value for name, value in ids.items()))
                connection.execute(sa.insert(t.derived_objects).values(
                    **ids, kind=kind, made_from=source, object_name=writer.name, length=length, made_at=time.time()))
    except BaseException:
        writer.discard()
        raise
    if ids is None or kept is not None:
        writer.discard()
        return kept if ids is not None else None
    for name in old:  # step 3
        archive.blobs.delete(name)
    return Derived(writer.name, length, source)


def _ids(connection: sa.Connection, place: Place) -> dict[str, int | None] | None:
    """Return the columns of a place, or None when it is not there any more."""
    row: Any
    if place.sop_instance_uid is not None:
        row = connection.execute(
            sa.select(_s.id, _i.series, _i.id).join_from(t.instances, t.studies, _i.study == _s.id)
            .where(_s.study_uid == place.study_uid, _i.sop_instance_uid == place.sop_instance_uid)).first()
    elif place.series_uid is not None:
        row = connection.execute(
            sa.select(_s.id, _e.id, sa.null()).join_from(t.series, t.studies, _e.study == _s.id)
            .where(_s.study_uid == place.study_uid, _e.series_uid == place.series_uid)).first()
    else:
        row = connection.execute(sa.select(_s.id, sa.null(), sa.null()).where(_s.study_uid == place.study_uid)).first()
    return dict(zip(("study", "series", "instance"), row, strict=True)) if row is not None else None


def forget(
    connection: sa.Connection, *, study: int | None = None, series: int | None = None, instance: int | None = None
) -> list[str]:
    """Remove the rows of all that was made from a study, a series or an instance, in the caller's transaction.

    What shows a part shows the whole's past too: with a series go those of its study, with an instance those of its series
    and of its study. Args: ids of rows.   Returns: names of objects to unlink after the commit; else they are swept.
    """
    if study is not None:
        return _remove(connection, _d.study == study)
    if series is not None:
        of = sa.select(_e.study).where(_e.id == series).scalar_subquery()
        return _remove(connection, sa.or_(_d.series == series, sa.and_(_d.study == of, _d.series.is_(None))))
    if instance is None:
        raise RuntimeError("forget: of what?")
    of = sa.select(_i.study).where(_i.id == instance).scalar_subquery()
    inside = sa.select(_i.series).where(_i.id == instance).scalar_subquery()
    return _remove(connection, sa.or_(
        _d.instance == instance, sa.and_(_d.series == inside, _d.instance.is_(None)),
        sa.and_(_d.study == of, _d.series.is_(None))))


def drop(archive: "Archive", names: list[str]) -> int:
    """Remove derived objects by name: those that do not open. Return how many there were; all else is left alone."""
    gone: list[str] = []
    with archive.database.write() as connection:
        for at in range(0, len(names), _BATCH):
            gone += _remove(connection, _d.object_name.in_(names[at : at + _BATCH]))
    for name in gone:
        archive.blobs.delete(name)
    return len(gone)


def _remove(connection: sa.Connection, *where: Any) -> list[str]:
    names = list(connection.execute(sa.select(_d.object_name).where(*where)).scalars())
    if names:
        connection.execute(sa.delete(t.derived_objects).where(*where))
    return names
