"""Headers of instances that have come lately, kept in the index until the metadata of their series is made of them.

To make it from three hundred objects is to open, and to decipher 64 KiB of, three hundred files; to make it from here is one
question. A header that is kept costs 15 us at its receipt and saves 60 later. The table is at the same time the list of what is
still to be made, so that a restart forgets nothing. It holds nothing that the object does not hold, and goes before it does.
"""

import threading
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa
import zstandard

from leadglass.dicom.transfer_syntaxes import TRANSFER_SYNTAXES
from leadglass.storage import tables as t

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leadglass.archive.ingest import Outcome, Staged
    from leadglass.dicom.part10 import Head

__all__ = ["due_series", "forget_heads", "forget_series", "header_to_keep", "heads_of", "keep_heads"]

_LONGEST: Final = 16384  # bytes of a header that is kept: most are 1 to 5 kB
_PIXEL_HEADER: Final = 12  # bytes: tag, VR, length
_AT_ONCE: Final = 5000
_MOST_SERIES: Final = 50
_LONG_SECONDS: Final = 600.0  # a series that never comes to rest keeps no other one waiting
_BATCH: Final = 500
_PACKER: Final = zstandard.ZstdCompressor(level=1)  # a new one costs more than what it packs here
_TURN: Final = threading.Lock()  # it serves one thread at a time
_h, _i, _e, _s = t.instance_heads.c, t.instances.c, t.series.c, t.studies.c
_KEEP: Final = sa.insert(t.instance_heads)
_OF_SERIES: Final = (
    sa.select(_i.digest, _h.head).join_from(t.instance_heads, t.instances, _i.id == _h.instance)
    .where(_i.series == sa.select(_e.id).join(t.studies, _s.id == _e.study).where(
        _s.study_uid == sa.bindparam("study"), _e.series_uid == sa.bindparam("of_series")).scalar_subquery()))


def header_to_keep(buffer: "bytes | bytearray", head: "Head", *, is_complete: bool) -> bytes:
    """Return the data set's bytes up to the pixel data and its header, as archive.retrieve reads them back; or b"".

    Args: head: of the buffer. is_complete: whether the buffer holds the whole data set.
    """
    if TRANSFER_SYNTAXES[head.transfer_syntax_uid].deflated or head.pixel_offset < -1:
        return b""
    end = head.pixel_offset + _PIXEL_HEADER if head.pixel_offset >= 0 else len(buffer)
    if end - head.dataset_offset > _LONGEST or (end > len(buffer) and not is_complete):
        return b""
    return bytes(memoryview(buffer)[head.dataset_offset : end])


def keep_heads(connection: sa.Connection, pairs: "Sequence[tuple[Staged, Outcome]]") -> None:
    """Keep the headers of new instances, in the transaction that indexes them."""
    with _TURN:
        rows = [{"instance": outcome.instance, "head": _PACKER.compress(staged.header)}
                for staged, outcome in pairs if outcome.instance and staged.header]
    if rows:
        connection.execute(_KEEP, rows)


def heads_of(connection: sa.Connection, study_uid: str, series_uid: str) -> dict[bytes, bytes]:
    """Return the headers of a series that are kept, by the digest of the instance: the data set from its first byte."""
    unpack = zstandard.ZstdDecompressor().decompress
    found = connection.execute(_OF_SERIES, {"study": study_uid, "of_series": series_uid})
    return {digest: unpack(head, max_output_size=_LONGEST) for digest, head in found}


def due_series(connection: sa.Connection, before: float) -> list[tuple[int, str, str, int]]:
    """Return (id, Study UID, Series UID, newest instance's id) of series with headers that rest since `before`, or never do."""
    oldest = sa.select(_h.instance).order_by(_h.instance).limit(_AT_ONCE).subquery()
    rows = connection.execute(
        sa.select(_i.series, _s.study_uid, _e.series_uid, sa.func.max(_i.id))
        .join_from(oldest, t.instances, _i.id == oldest.c.instance).join(t.series, _e.id == _i.series)
        .join(t.studies, _s.id == _e.study)
        .group_by(_i.series, _s.study_uid, _e.series_uid).having(sa.or_(
            sa.func.max(_i.received_at) < before, sa.func.min(_i.received_at) < before - _LONG_SECONDS))
        .order_by(sa.func.min(_i.id)).limit(_MOST_SERIES))
    return [(int(series), study, uid, int(newest)) for series, study, uid, newest in rows]


def forget_series(connection: sa.Connection, series: int, newest: int) -> None:
    """Remove the headers of a series, of instances up to the id `newest`."""
    inside = sa.select(_i.id).where(_i.series == series, _i.id <= newest)
    connection.execute(sa.delete(t.instance_heads).where(_h.instance.in_(inside)))


def forget_heads(connection: sa.Connection, instances: list[int]) -> None:
    """Remove the headers of instances (ids of rows) that go, or get another object."""
    for at in range(0, len(instances), _BATCH):
        connection.execute(sa.delete(t.instance_heads).where(_h.instance.in_(instances[at : at + _BATCH])))
