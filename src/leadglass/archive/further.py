"""Keep what questions need beside the columns: the models of new rows, and their values for matching.

Runs only when a study or a series is new: an instance of a known series costs nothing here.
"""

from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from leadglass.archive.names import fold, groups_of, sound, words_of
from leadglass.dicom.further import further, values_of
from leadglass.storage import tables as t

if TYPE_CHECKING:
    from leadglass.dicom.part10 import Head

__all__ = ["SOUND", "keep", "models_of"]

SOUND: Final = "~"  # PatientName~: what the words of the name sound like
_ADD: Final = sa.insert(t.sequence_values)


def models_of(head: "Head") -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the JSON models of the further attributes of the study and of the series. Never raises."""
    return further(head.kept, head.transfer_syntax_uid)


def keep(
    connection: sa.Connection, study: int, series: int | None, model: dict[str, Any], *, names: dict[str, str] | None = None
) -> None:
    """Make the model's values findable; `names` are person names of columns, of which groups and sounds are kept.

    A name of one group is matched by its column alone; of another, each group is a row here.
    """
    rows: list[tuple[str, int, str]] = []
    for keyword, item, vr, value in values_of(model):
        rows.extend((keyword, item, text) for text in (_names(value) if vr == "PN" else [value.strip()]))
    for keyword, name in (names or {}).items():
        rows.extend((keyword, 0, group) for group in groups_of(name))
        rows.extend((keyword + SOUND, 0, code) for code in {sound(word) for word in words_of(name)} if code)
    if rows:
        connection.execute(_ADD, [
            {"study": study, "series": series, "keyword": keyword, "item": item, "value": value} for keyword, item, value in rows
        ])


def _names(value: str) -> list[str]:
    return list(dict.fromkeys([fold(value), *groups_of(value)]))
