"""Previews: the small picture that stands for a series on the console's page, kept once it has been made.

A kept one costs a range read and no decoder. It is a derived object: encrypted under the study's key, found only for the
same content and release, and gone with what it shows. Whoever asks has a Grant, as for any picture (access/operations.py).
"""

import contextlib
from typing import TYPE_CHECKING, Any, Final

from leadglass import __version__
from leadglass.archive import derived
from leadglass.archive.derived import Place
from leadglass.archive.pixels.frames import picture
from leadglass.archive.retrieve import InstanceRow
from leadglass.errors import Busy, Damaged, Full, Missing

if TYPE_CHECKING:
    from leadglass.archive import Archive

__all__ = ["KIND", "WANTED", "kept_picture"]

KIND: Final = "preview"
_MOST_BYTES: Final = 1 << 20
WANTED: Final[dict[str, Any]] = {  # the one rendering that is kept: one for each instance bounds what there is
    "viewport": [256.0, 256.0, None, None, None, None], "window": None, "quality": 90, "annotation": [], "icc": "no",
    "media_type": "image/jpeg",
}


def kept_picture(archive: "Archive", row: InstanceRow, numbers: list[int], wanted: dict[str, Any]) -> tuple[str, bytes]:
    """Return what `picture` returns; from what is kept, where it is a preview, and else kept then.

    Raises: as `picture`. A full disk or a busy writer keeps nobody from seeing it.
    """
    if wanted != WANTED or len(numbers) != 1 or row.pixel_offset == -1 or not 1 <= numbers[0] <= row.frames:
        return picture(archive, row, numbers, wanted)
    source = derived.made_from([row.digest], KIND, __version__, str(numbers[0]))
    with archive.database.read() as connection:
        found = derived.find(connection, KIND, source)
    if found is not None and found.length <= _MOST_BYTES:
        try:
            with derived.open_derived(archive, row.study_uid, found) as reader:
                return "image/jpeg", reader.read(0, found.length)
        except (Missing, Damaged):
            derived.drop(archive, [found.object_name])
    media_type, data = picture(archive, row, numbers, wanted)
    place = Place(study_uid=row.study_uid, series_uid=row.series_uid, sop_instance_uid=row.sop_instance_uid)
    with contextlib.suppress(Full, Busy):
        derived.put(archive, KIND, place, source, [data])
    return media_type, data
