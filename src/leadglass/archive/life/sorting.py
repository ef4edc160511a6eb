"""What is a version that came under a known SOP Instance UID? Found out by a chore, outside of any transaction.

reencoded: every value the same, every pixel the same. demographics: only patient and study attributes differ.
content: all else, and all that could not be compared. Pixels of a compressed frame go through the decode processes.
"""

import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from leadglass.archive.life.tasks import UNSORTED, Place, join_task, recount
from leadglass.archive.life.versions import shown_row, values_of, version_row
from leadglass.archive.pixels.frames import frame_bytes
from leadglass.archive.retrieve import InstanceRow, open_instance
from leadglass.dicom.comparison import Leaf, differing_tags, is_demographic, name_of
from leadglass.errors import Busy, LeadglassError
from leadglass.storage import tables as t

if TYPE_CHECKING:
    from leadglass.archive import Archive

__all__ = ["Difference", "compare", "next_unsorted", "settle_kinds", "sort_one"]

_MAX_PIXEL_BYTES: Final = 2**29  # of both versions, decoded; above it only equal bytes are called equal
_MAX_KEYWORDS: Final = 50
_MONOCHROME: Final = 1
_SAYS_HOW: Final = frozenset({0x00082111, 0x00089215})  # DerivationDescription, DerivationCodeSequence: "lossless JPEG"
_q, _k = t.quarantine.c, t.tasks.c


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What tells a version from the one that is shown; keywords, no values."""

    kind: str
    keywords: tuple[str, ...] = ()
    has_other_pixels: bool = False
    is_compared: bool = True


def compare(archive: "Archive", shown: InstanceRow, held: InstanceRow) -> Difference:
    """Return what tells `held` from `shown`. Raises: Busy alone; what cannot be read is other content."""
    try:
        one, other = values_of(archive, shown), values_of(archive, held)
        tags = differing_tags(one, other)
        keywords = tuple(sorted(name_of(tag) for tag in tags))[:_MAX_KEYWORDS]
        if not _has_same_pixels(archive, (shown, one), (held, other)):
            return Difference(kind="content", keywords=keywords, has_other_pixels=True)
    except Busy:
        raise
    except LeadglassError:
        return Difference(kind="content", is_compared=False)
    if not tags - (_SAYS_HOW if shown.transfer_syntax_uid != held.transfer_syntax_uid else set()):
        return Difference(kind="reencoded", keywords=keywords)
    kind = "demographics" if all(is_demographic(tag) for tag in tags) else "content"
    return Difference(kind=kind, keywords=keywords)


def _has_same_pixels(archive: "Archive", *versions: tuple[InstanceRow, dict[str, Leaf]]) -> bool:
    (one, _), (other, _) = versions
    if (one.pixel_offset == -1) != (other.pixel_offset == -1):
        return False
    if one.pixel_offset == -1:
        return True
    if (one.frames, one.rows, one.columns) != (other.frames, other.rows, other.columns):
        return False
    if one.transfer_syntax_uid == other.transfer_syntax_uid and one.pixel_offset >= 0 and other.pixel_offset >= 0:
        a, b = (_digest(archive, row) for row, _ in versions)
        if a == b:
            return True
    if 2 * one.frames * (one.rows or 0) * (one.columns or 0) * ((one.bits_allocated or 8) // 8 or 1) > _MAX_PIXEL_BYTES:
        return False
    return all(_frame(archive, *versions[0], n) == _frame(archive, *versions[1], n) for n in range(1, one.frames + 1))


def _digest(archive: "Archive", row: InstanceRow) -> bytes:
    digest = hashlib.sha256()
    with open_instance(archive, row) as reader:
        for piece in reader.stream(row.pixel_offset + 12):
            digest.update(piece)
    return digest.digest()


def _number(values: dict[str, Leaf], tag: int, default: int) -> int:
    leaf = values.get(f"{tag:08X}")
    if leaf is None or len(leaf.raw) < 2:
        return default
    return int.from_bytes(leaf.raw[:2], "little" if leaf.is_little else "big")


def _frame(archive: "Archive", row: InstanceRow, values: dict[str, Leaf], number: int) -> tuple[int, int, bytes]:
    """Return (samples, bits allocated, pixels of a frame): little endian, by pixel, without what is above BitsStored."""
    _, data = frame_bytes(archive, row, number, want_raw=True)
    samples, bits = _number(values, 0x00280002, 1), row.bits_allocated or 8
    stored = _number(values, 0x00280101, bits)
    size = (row.rows or 0) * (row.columns or 0) * samples * bits // 8
    data = data[: size or len(data)]  # padding
    if samples > _MONOCHROME and _is_by_plane(values) and bits % 8 == 0:
        data = _by_pixel(data, samples, bits // 8)
    if stored < bits and bits in {8, 16, 32} and data:
        width = bits // 8
        mask = ((1 << stored) - 1).to_bytes(width, "little") * (len(data) // width)
        whole = int.from_bytes(data[: len(mask)], "little") & int.from_bytes(mask, "little")
        data = whole.to_bytes(len(mask), "little")
    return samples, bits, data


def _is_by_plane(values: dict[str, Leaf]) -> bool:
    return _number(values, 0x00280006, 0) == 1


def _by_pixel(data: bytes, samples: int, width: int) -> bytes:
    """Return planes as pixels: R R G G B B as R G B R G B."""
    plane = len(data) // samples
    out = bytearray(plane * samples)
    for sample in range(samples):
        for byte in range(width):
            start = sample * plane + byte
            out[sample * width + byte :: samples * width] = data[start : start + plane : width][: plane // width]
    return bytes(out)


def next_unsorted(archive: "Archive", limit: int) -> list[tuple[Any, InstanceRow | None]]:
    """Return versions that wait to be compared, oldest first, each with what is shown now."""
    with archive.database.read() as connection:
        rows = connection.execute(
            sa.select(t.quarantine).join(t.tasks, _k.id == _q.task)
            .where(_k.state == "open", _k.kind == UNSORTED, _q.state == "held").order_by(_q.id).limit(limit)).all()
        return [(row, shown_row(connection, row.sop_instance_uid)) for row in rows]


def sort_one(archive: "Archive", row: Any, shown: InstanceRow | None) -> Difference:
    """Return what a version is. Raises: Busy."""
    if shown is None or shown.study_uid != row.study_uid:
        return Difference(kind="content", is_compared=False)
    try:
        held = version_row(archive, row)
    except Busy:
        raise
    except LeadglassError:
        return Difference(kind="content", is_compared=False)
    return compare(archive, shown, held)


def settle_kinds(
    connection: sa.Connection, found: list[tuple[Any, InstanceRow | None, Difference]], *, now: float, days: int
) -> dict[str, int]:
    """Move compared versions into the tasks of their kinds; return kind -> versions. One that changed meanwhile waits.

    Args: found: (quarantine row, what was shown when it was compared, the difference).
    """
    counts: Counter[str] = Counter()
    left: set[int] = set()
    facts: dict[int, dict[str, Any]] = {}
    for row, shown, difference in found:
        is_there = connection.execute(
            sa.select(_k.id, _k.study_uid, _k.patient_id, _k.source, _k.opened_at, _k.due_at).join(t.quarantine, _q.task == _k.id)
            .where(_q.id == row.id, _k.kind == UNSORTED, _k.state == "open")).first()
        now_shown = shown_row(connection, row.sop_instance_uid)
        if is_there is None or (now_shown and now_shown.digest) != (shown and shown.digest):
            continue
        place = Place(study_uid=is_there.study_uid, patient_id=is_there.patient_id, source=is_there.source, kind=difference.kind)
        task = join_task(connection, place, now=now, days=days, instances=0)
        connection.execute(sa.update(t.quarantine).where(_q.id == row.id).values(task=task))
        connection.execute(sa.update(t.tasks).where(_k.id == task, _k.due_at > is_there.due_at).values(
            opened_at=is_there.opened_at, due_at=is_there.due_at))  # it waits since it came, not since it was compared
        _gather(facts.setdefault(task, {}), difference, version_syntax(row))
        left.add(is_there.id)
        counts[difference.kind] += 1
    for task, more in facts.items():
        known = json.loads(connection.execute(sa.select(_k.facts).where(_k.id == task)).scalar_one())
        connection.execute(sa.update(t.tasks).where(_k.id == task).values(facts=json.dumps(_merged(known, more))))
        recount(connection, task)
    for task in left:
        recount(connection, task)
    return dict(counts)


def version_syntax(row: Any) -> str:
    """Return the transfer syntax of a version in quarantine, "" where it was not kept."""
    return str(json.loads(row.head).get("syntax", ""))


def _gather(facts: dict[str, Any], difference: Difference, syntax: str) -> None:
    keywords = facts.setdefault("keywords", defaultdict(int))
    for keyword in difference.keywords:
        keywords[keyword] += 1
    facts["other_pixels"] = facts.get("other_pixels", 0) + difference.has_other_pixels
    facts["not_compared"] = facts.get("not_compared", 0) + (not difference.is_compared)
    facts.setdefault("syntaxes", set()).add(syntax)


def _merged(known: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of a task with those of more versions; bounded, whatever the versions hold."""
    keywords = Counter(known.get("keywords", {})) + Counter(more["keywords"])
    return known | {
        "keywords": dict(keywords.most_common(_MAX_KEYWORDS)),
        "other_pixels": known.get("other_pixels", 0) + more["other_pixels"],
        "not_compared": known.get("not_compared", 0) + more["not_compared"],
        "syntaxes": sorted({*known.get("syntaxes", []), *more["syntaxes"]} - {""}),
    }
