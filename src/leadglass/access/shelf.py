"""What a reader needs again for each frame of a series, kept at hand: its instances, as the index knew them.

A frame would else cost a question to the index that is asked three hundred times in a row. What is kept carries the revocation
epoch: each change that takes an instance away, hides it or puts another object in its place raises it, and what was kept under
an older one is not believed. What is added is not here, and is then looked for in the index. Nothing here is a right: whoever
takes something from the shelf has a Grant on its study.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable

from leadglass.archive.retrieve import InstanceRow

__all__ = ["LARGEST_SERIES", "Shelf"]

LARGEST_SERIES = 2000  # instances of a series that is kept; a larger one is asked for one by one
_MOST = 20_000  # instances of all series, in one process: about 20 MB

_Key = tuple[str, str]


class Shelf:
    """One process's shelf. Safe in threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._series: OrderedDict[_Key, tuple[int, dict[str, InstanceRow]]] = OrderedDict()
        self._count = 0

    def find(self, epoch: int, study_uid: str, series_uid: str, instance_uid: str) -> InstanceRow | None:
        """Return an instance of that very study and series, if it was put here under `epoch`."""
        kept = self._series.get((study_uid, series_uid))
        if kept is None or kept[0] != epoch:
            return None
        return kept[1].get(instance_uid)

    def put(self, epoch: int, study_uid: str, series_uid: str, rows: Iterable[InstanceRow]) -> None:
        """Keep a whole series. `epoch` was read before the rows were: they are never believed for longer than that."""
        kept = {row.sop_instance_uid: row for row in rows}
        with self._lock:
            old = self._series.pop((study_uid, series_uid), None)
            self._count -= len(old[1]) if old else 0
            self._series[study_uid, series_uid] = (epoch, kept)
            self._count += len(kept)
            while self._count > _MOST:
                _, (_, gone) = self._series.popitem(last=False)
                self._count -= len(gone)
