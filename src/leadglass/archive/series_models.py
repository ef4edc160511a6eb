"""The metadata of a series, made once and kept: the DICOM JSON models of its instances as one text. Ref: PS3.18 F, 10.4.1.1.2.

Kept as a derived object, so that one read, and not one for each of three hundred slices, answers who opens a study. The text
is whole: what a reader may not see is taken out where it leaves (access/leaving.py). The base URL that an asker used is not in
it. While it is made, a random mark stands for that; no value can hold the mark, since the values were there before it. What is
kept is the text without the marks, and where they stood: nothing that a data set says is ever taken for one.
"""

import contextlib
import secrets
import struct
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate, groupby, pairwise
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import zstandard

from leadglass import __version__
from leadglass.archive import derived
from leadglass.archive.derived import Place
from leadglass.archive.heads import due_series, forget_series, heads_of
from leadglass.archive.life.versions import limits_of
from leadglass.archive.retrieve import InstanceRow, header, locate, own_entries
from leadglass.dicom.json_text import JsonTexts, encoded
from leadglass.dicom.transfer_syntaxes import TRANSFER_SYNTAXES
from leadglass.errors import Damaged, Malformed, Missing

if TYPE_CHECKING:
    from leadglass.archive import Archive

__all__ = [
    "FEWEST", "KIND", "MOST", "bulk_path", "by_series", "keep", "kept_of", "length_of", "make",
    "prepare", "source_of", "text_of", "texts_of",
]

KIND: Final = "series-metadata"
FEWEST: Final = 8  # instances of a series that is kept: below, to make it costs no more than to read it
MOST: Final = 4000  # above, it is made piece by piece for each asker
_MOST_BYTES: Final = 16 << 20  # of text
_FORM: Final = "1"  # of what is kept; another one is not found and made anew
_NUMBER: Final = struct.Struct("<I")


def bulk_path(row: InstanceRow) -> str:
    """Return the path under which the bulk data of an instance lies, without scheme and host."""
    return f"/dicomweb/studies/{row.study_uid}/series/{row.series_uid}/instances/{row.sop_instance_uid}/bulkdata/"


def by_series(rows: Iterable[InstanceRow]) -> list[list[InstanceRow]]:
    """Return the rows of `locate` in runs of one series each."""
    return [list(run) for _, run in groupby(rows, key=lambda row: row.series_uid)]


def texts_of(archive: "Archive", rows: list[InstanceRow], root: str) -> Iterator[str]:
    """Give the model of each instance of one series as text, with bulk data under the URL `root`.

    Raises: Malformed, Damaged, Missing.
    """
    mark = secrets.token_hex(16)
    limits = limits_of(archive)
    texts = JsonTexts(limits, lambda path: mark + quote(path))
    with archive.database.read() as connection:
        heads = heads_of(connection, rows[0].study_uid, rows[0].series_uid)
    for row in rows:
        buffer, pixels, offset = heads.get(row.digest, b""), row.pixel_offset, 0
        if buffer:
            pixels -= row.dataset_offset if pixels >= 0 else 0
        else:
            buffer, offset = header(archive, row)
        syntax = TRANSFER_SYNTAXES[row.transfer_syntax_uid]
        text = texts.text(
            buffer, offset=offset, explicit=syntax.explicit, little=syntax.little,
            pixels=pixels if pixels >= -1 else len(buffer) + 1,  # deflated: nowhere, so that nothing is taken for them
            is_complete=row.pixel_offset == -1, more=_more(row, mark))
        yield text.replace(mark, encoded(root + bulk_path(row))[1:-1])


def _more(row: InstanceRow, mark: str) -> Callable[[dict[str, str]], dict[str, Any]]:
    return lambda known: own_entries(row, known, lambda path: mark + quote(path))


def make(archive: "Archive", rows: list[InstanceRow]) -> bytes | None:
    """Return what is kept of a series; None, where its text is too long for that. Raises: Malformed, Damaged, Missing."""
    mark = secrets.token_hex(16)
    pieces: list[bytes] = []
    size = 0
    for text in texts_of(archive, rows, mark):
        data = text.encode("utf-8", "replace")
        size += len(data)
        if size > _MOST_BYTES:
            return None
        pieces.append(data)
    cut = b",".join(pieces).split(mark.encode())
    lengths = struct.pack(f"<{len(cut)}I", *map(len, cut))
    return zstandard.compress(_NUMBER.pack(len(cut)) + lengths + b"".join(cut), 3)


def text_of(kept: bytes, root: str) -> bytes:
    """Return the models of a series with commas between them, bulk data under the URL `root`. Raises: Damaged."""
    try:
        data = zstandard.decompress(kept, max_output_size=2 * _MOST_BYTES)
        (count,) = _NUMBER.unpack_from(data)
        start = 4 + 4 * count
        ends = accumulate(struct.unpack_from(f"<{count}I", data, 4), initial=start)
        return encoded(root)[1:-1].encode("utf-8", "replace").join([data[a:b] for a, b in pairwise(ends)])
    except (zstandard.ZstdError, struct.error) as e:
        raise Damaged("prebuilt metadata cannot be read.") from e


def length_of(kept: bytes) -> int:
    """Return about how many bytes `text_of` gives, without making them."""
    return zstandard.frame_content_size(kept)


def source_of(archive: "Archive", rows: list[InstanceRow]) -> bytes:
    """Return the `made_from` of a series: all that its text depends on."""
    limits = limits_of(archive)
    bounds = (limits.max_depth, limits.max_elements, limits.max_header_bytes)
    syntaxes = (row.transfer_syntax_uid for row in rows)
    return derived.made_from(
        [row.digest for row in rows], _FORM, __version__, str(bounds), rows[0].study_uid, rows[0].series_uid, "\\".join(syntaxes))


def kept_of(archive: "Archive", rows: list[InstanceRow]) -> bytes | None:
    """Return what is kept of a series, or None. What is damaged is None too: it is dropped by the scrub."""
    with archive.database.read() as connection:
        found = derived.find(connection, KIND, source_of(archive, rows))
    if found is None:
        return None
    try:
        with derived.open_derived(archive, rows[0].study_uid, found) as reader:
            return reader.read(0, found.length)
    except (Missing, Damaged):
        return None


def keep(archive: "Archive", rows: list[InstanceRow], kept: bytes) -> None:
    """Keep what `make` made of these rows, which are all that is shown of their series. Raises: Full."""
    place = Place(study_uid=rows[0].study_uid, series_uid=rows[0].series_uid)
    derived.put(archive, KIND, place, source_of(archive, rows), [kept])


def prepare(archive: "Archive", *, before: float) -> int:
    """Make and keep the metadata of series of which something has come, and nothing since `before`; return how many were made.

    At most 50 at a time; the headers that were kept for that are gone then. What cannot be read is left to who asks for it.
    """
    with archive.database.read() as connection:
        due = due_series(connection, before)
    made = 0
    for series, study_uid, series_uid, newest in due:
        with archive.database.read() as connection:
            rows = locate(connection, study_uid, series_uid, limit=MOST + 1)
        kept = None
        if FEWEST <= len(rows) <= MOST and kept_of(archive, rows) is None:
            with contextlib.suppress(Malformed, Damaged, Missing):
                kept = make(archive, rows)
        if kept is not None:
            keep(archive, rows, kept)
            made += 1
        with archive.database.write() as connection:
            forget_series(connection, series, newest)
    return made
