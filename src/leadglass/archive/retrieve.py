"""Find instances and read them back. Ref: PS3.18 10.4."""

from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from leadglass.dicom.elements import Limits
from leadglass.dicom.json_model import to_json
from leadglass.dicom.part10 import inflate
from leadglass.dicom.transfer_syntaxes import TRANSFER_SYNTAXES
from leadglass.errors import Malformed, Missing
from leadglass.storage import tables as t

if TYPE_CHECKING:
    from leadglass.archive import Archive
    from leadglass.storage.blobs import BlobReader

__all__ = [
    "InstanceRow", "bulk_places", "bulk_value", "header", "locate", "metadata", "open_instance", "own_entries", "stored_pieces",
]

_s, _e, _i = t.studies.c, t.series.c, t.instances.c


@dataclass(frozen=True)
class InstanceRow:
    """One instance as the index knows it; offsets count in the stored Part 10 file."""

    study_uid: str
    series_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    object_name: str
    length: int
    dataset_offset: int
    pixel_offset: int
    frames: int
    rows: int | None
    columns: int | None
    bits_allocated: int | None
    digest: bytes


def locate(
    connection: sa.Connection, study_uid: str, series_uid: str | None = None, instance_uid: str | None = None, *,
    limit: int | None = None,
) -> list[InstanceRow]:
    """Return the instances of a study, a series or one, in series and instance order; at most `limit`."""
    statement = (
        sa.select(
            _s.study_uid, _e.series_uid, _i.sop_instance_uid, _i.sop_class_uid, _i.transfer_syntax_uid, _i.object_name,
            _i.length, _i.dataset_offset, _i.pixel_offset, _i.frames, _i.rows, _i.columns, _i.bits_allocated, _i.digest,
        )
        .join_from(t.instances, t.series, _i.series == _e.id).join(t.studies, _i.study == _s.id)
        .where(_s.study_uid == study_uid, _i.rejection.is_(None))
        .order_by(sa.cast(_e.series_number, sa.Integer), _e.id, sa.cast(_i.instance_number, sa.Integer), _i.id).limit(limit)
    )
    if series_uid is not None:
        statement = statement.where(_e.series_uid == series_uid)
    if instance_uid is not None:
        statement = statement.where(_i.sop_instance_uid == instance_uid)
    return [InstanceRow(*tuple(row)) for row in connection.execute(statement)]


def open_instance(archive: "Archive", row: InstanceRow, *, is_at_hand: bool = False) -> "BlobReader":
    """Return a reader of the Part 10 file. Raises: Missing, Damaged; BlockingIOError, see BlobStore.open."""
    _, key = archive.study_keys.for_study(row.study_uid, create=False)
    return archive.blobs.open(row.object_name, key, row.length, is_at_hand=is_at_hand)


def stored_pieces(
    archive: "Archive", row: InstanceRow, spans: Iterable[tuple[int, int]], *, says_waits: bool = False
) -> Iterator[bytes]:
    """Give stretches (offset, length) of the Part 10 file in a row, in pieces. Raises: Missing, Damaged.

    With `says_waits` an empty piece stands before what has to be waited for, see BlobReader.stream.
    """
    try:
        reader = open_instance(archive, row, is_at_hand=says_waits)
    except BlockingIOError:
        yield b""
        reader = open_instance(archive, row)
    with reader:
        for offset, length in spans:
            yield from reader.stream(offset, length, says_waits=says_waits)


def header(archive: "Archive", row: InstanceRow) -> tuple[bytes, int]:
    """Return (bytes up to the pixel data, offset of the data set in them); deflated data sets come inflated.

    Raises: Malformed, when it is larger than the limit; Damaged, Missing.
    """
    limit = archive.settings.max_header_bytes
    with open_instance(archive, row) as reader:
        if row.pixel_offset == -2 or TRANSFER_SYNTAXES[row.transfer_syntax_uid].deflated:
            return inflate(reader.read(row.dataset_offset, min(row.length, limit)), limit)[0], 0
        end = row.pixel_offset if row.pixel_offset >= 0 else row.length
        if end > limit + row.dataset_offset:
            raise Malformed("the header is larger than the limit.")
        # The pixel data's own tag, VR and length are read too, so that the model names them.
        return reader.read(0, min(row.length, end + 12)), row.dataset_offset


def _model(
    archive: "Archive", row: InstanceRow, bulk_uri: Callable[[str], str], spans: dict[str, tuple[int, int]] | None = None
) -> tuple[dict[str, Any], bytes]:
    buffer, offset = header(archive, row)
    syntax = TRANSFER_SYNTAXES[row.transfer_syntax_uid]
    settings = archive.settings
    limits = Limits(
        max_depth=settings.max_sequence_depth, max_elements=settings.max_elements,
        max_header_bytes=settings.max_header_bytes,
    )
    model = to_json(
        buffer, offset=offset, explicit=syntax.explicit, little=syntax.little, limits=limits, bulk_uri=bulk_uri,
        is_complete=row.pixel_offset == -1, spans=spans,
    )
    return model, buffer


def metadata(archive: "Archive", row: InstanceRow, bulk_uri: Callable[[str], str]) -> dict[str, Any]:
    """Return the DICOM JSON model; pixel data and long binary values by URI. Ref: PS3.18 F, 10.4.1.1.2."""
    model, _ = _model(archive, row, bulk_uri)
    return model | own_entries(row, model, bulk_uri)


def own_entries(row: InstanceRow, known: Container[str], bulk_uri: Callable[[str], str]) -> dict[str, Any]:
    """Return what we say of an instance beside its data set's own entries, or in their place. Args: known: keys of those."""
    entries: dict[str, Any] = {}
    if row.pixel_offset != -1 and not any(key in known for key in ("7FE00010", "7FE00009", "7FE00008")):
        entries["7FE00010"] = {"vr": "OW", "BulkDataURI": bulk_uri("7FE00010")}
    entries["00083002"] = {"vr": "UI", "Value": [row.transfer_syntax_uid]}  # AvailableTransferSyntaxUID
    return entries


def bulk_places(archive: "Archive", row: InstanceRow) -> tuple[dict[str, tuple[int, int]], bytes]:
    """Return (path of each bulk value -> (offset, length) in the header, the header). Pixel data is not among them."""
    spans: dict[str, tuple[int, int]] = {}
    _, buffer = _model(archive, row, lambda p: p, spans)
    return spans, buffer


def bulk_value(archive: "Archive", row: InstanceRow, path: str) -> bytes:
    """Return the value behind a BulkDataURI's path (not pixel data: those are frames). Raises: Missing."""
    spans, buffer = bulk_places(archive, row)
    if path not in spans:
        raise Missing("no such bulk data in this instance.")
    at, length = spans[path]
    return buffer[at : at + length]
