"""The metadata of a study or a series as text: read where it is prebuilt, else made and kept for the next who asks.

What was given out lately is kept in memory, too, packed as it left. It carries a stamp, read from the index each time: the
revocation epoch, which study row it is, and how many of its instances are shown. Under one epoch that number only grows, with
each instance that is added; what hides, replaces or deletes one raises the epoch. Whoever takes a text from here has a Grant.
"""

import contextlib
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from operator import add
from typing import TYPE_CHECKING, Final, NamedTuple

import sqlalchemy as sa
import structlog

from leadglass.access.leaving import fitted, withheld
from leadglass.archive import series_models as kept_models
from leadglass.archive.retrieve import InstanceRow, locate, metadata
from leadglass.dicom.json_text import encoded
from leadglass.errors import LeadglassError, Missing
from leadglass.storage import tables as t

if TYPE_CHECKING:
    from leadglass.access.door import Door
    from leadglass.archive import Archive
    from leadglass.terms import Grant

__all__ = ["Models", "StudyModels"]

_log = structlog.get_logger()
_MOST_BYTES: Final = 16 << 20  # kept in memory by one process
_MOST_STUDIES: Final = 64  # the same: answers
_MOST_TEXT: Final = 8 << 20  # bytes of an answer that is made whole; above, series after series
_ROW: Final = 1500  # bytes of an instance row in memory
_MOST_PACKED: Final = 4  # packed texts of one answer: codings, and names under which we are asked
_s = t.studies.c
_STAMP: Final = sa.select(
    sa.select(t.epoch.c.value).scalar_subquery(), _s.id, _s.received_at, _s.instance_count,
).where(_s.study_uid == sa.bindparam("uid"))


class _Stamp(NamedTuple):
    epoch: int
    study: int
    received_at: float
    instances: int


class Models:
    """The models of all that is shown of a study or a series, for those who hold a Grant on it. Safe in threads."""

    def __init__(self, archive: "Archive", rows: list[InstanceRow], on_growth: Callable[[], None] = lambda: None) -> None:
        """Args: rows: all that is shown. on_growth: told when it takes more memory."""
        self._archive, self._rows, self._on_growth = archive, rows, on_growth
        self._lock = threading.Lock()  # made once, by the first of those who ask at the same time
        self._kept: list[bytes] | None = None
        self._new: list[tuple[list[InstanceRow], bytes]] = []
        self._packed: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        machine = hashlib.sha256()
        for row in rows:
            machine.update(row.digest + row.transfer_syntax_uid.encode() + b"\x00")
        self.validator: bytes = machine.digest()  # over all that is shown: what is added, replaced or hidden makes another

    def body(self, root: str, coding: str, pack: Callable[[bytes], bytes]) -> bytes | None:
        """Return the whole text, packed by `pack` where there is a `coding`; None, where that is too long: see `pieces`.

        Args: root: scheme and host under which the asker reaches us.   Raises: Malformed, Damaged, Missing.
        """
        found = self._packed.get((root, coding))
        if found is not None:
            return found
        with self._lock:
            kept = self._kept = self._kept or self._made()
        if kept is None:
            return None
        body = b"[" + b",".join([kept_models.text_of(one, root) for one in kept]) + b"]"
        if coding:
            body = pack(body)
            with self._lock:
                self._packed[root, coding] = body
                while len(self._packed) > _MOST_PACKED:
                    self._packed.popitem(last=False)
        self._on_growth()
        return body

    def pieces(self, root: str) -> Iterator[bytes]:
        """Give the same text piece by piece, of any length. Raises: as `body`."""
        separator = b"["
        for run in kept_models.by_series(self._rows):
            kept = kept_models.kept_of(self._archive, run) if len(run) <= kept_models.MOST else None
            for text in (kept_models.text_of(kept, root),) if kept else _bytes(kept_models.texts_of(self._archive, run, root)):
                yield separator + text
                separator = b","
        yield b"]"

    def keep(self) -> None:
        """Keep what `body` has made, for others and for later; call it when the answer is out. What fails is logged."""
        with self._lock:
            new, self._new = self._new, []
        for run, kept in new:
            try:
                kept_models.keep(self._archive, run, kept)
            except (LeadglassError, OSError, sa.exc.SQLAlchemyError) as e:
                _log.warning("series_metadata_not_kept", error=type(e).__name__)

    @property
    def size(self) -> int:
        """About how many bytes it takes in memory."""
        return _ROW * len(self._rows) + sum(map(len, self._kept or ())) + sum(map(len, list(self._packed.values())))

    def _made(self) -> list[bytes] | None:
        """Return what is kept of each series, made where it is not there; None, where all of it is too much for one text."""
        if len(self._rows) > kept_models.MOST:
            return None
        found, size = [], 0
        for run in kept_models.by_series(self._rows):
            kept = kept_models.kept_of(self._archive, run) if len(run) >= kept_models.FEWEST else None
            if kept is None:
                kept = kept_models.make(self._archive, run)
                if kept is not None and len(run) >= kept_models.FEWEST:
                    self._new.append((run, kept))
            size += kept_models.length_of(kept) if kept is not None else _MOST_TEXT + 1
            if kept is None or size > _MOST_TEXT:
                return None
            found.append(kept)
        self._rows = []
        return found


class _Fitted(Models):
    """The same for one from whom something is withheld: made anew for each answer, and kept nowhere."""

    def __init__(self, archive: "Archive", rows: list[InstanceRow], keys: frozenset[str]) -> None:
        super().__init__(archive, rows)
        self._keys = keys
        self.validator = hashlib.sha256(self.validator + "\\".join(sorted(keys)).encode()).digest()

    def body(self, root: str, coding: str, pack: Callable[[bytes], bytes]) -> bytes | None:
        """Return None: see `pieces`."""

    def pieces(self, root: str) -> Iterator[bytes]:
        """Give each model without what is withheld."""
        separator = b"["
        for row in self._rows:
            base = root + kept_models.bulk_path(row)
            model = fitted(metadata(self._archive, row, partial(add, base)), self._keys)
            yield from _bytes([separator.decode() + encoded(model)])
            separator = b","
        yield b"]"


class StudyModels:
    """One process's texts. Safe in threads."""

    def __init__(self, archive: "Archive", door: "Door") -> None:
        self._archive, self._door = archive, door
        self._lock = threading.Lock()
        self._shelf: OrderedDict[tuple[str, str | None], tuple[_Stamp, Models]] = OrderedDict()

    def of(self, grant: "Grant", series_uid: str | None) -> Models:
        """Return the models of what is shown of the granted study, or of one series. The caller has checked the Grant.

        Raises: Missing.
        """
        study = grant.resource.id
        with self._archive.database.read() as connection:
            row = connection.execute(_STAMP, {"uid": study}).first()
            stamp = _Stamp(*row) if row is not None else None
            known = self._shelf.get((study, series_uid))
            keys = withheld(grant)
            if known is not None and known[0] == stamp and not keys:
                with self._lock, contextlib.suppress(KeyError):
                    self._shelf.move_to_end((study, series_uid))
                return known[1]
            rows = locate(connection, study, series_uid)
        if not rows or stamp is None:
            raise Missing("no such series or instance in this study.")
        if keys:
            return _Fitted(self._archive, rows, keys)
        models = Models(self._archive, rows, self._trim)
        if len(rows) <= kept_models.MOST:
            with self._lock:
                self._shelf[study, series_uid] = (stamp, models)
            self._trim()
        return models

    def forget_old(self) -> None:
        """Drop what was kept under an older epoch. Called now and then, so that what was deleted does not linger in memory."""
        epoch = self._door.epoch()
        with self._lock:
            for key in [key for key, (stamp, _) in self._shelf.items() if stamp.epoch != epoch]:
                del self._shelf[key]

    def _trim(self) -> None:
        with self._lock:
            size = sum(models.size for _, models in self._shelf.values())
            while self._shelf and (size > _MOST_BYTES or len(self._shelf) > _MOST_STUDIES):
                _, (_, models) = self._shelf.popitem(last=False)
                size -= models.size


def _bytes(texts: Iterable[str]) -> Iterator[bytes]:
    return (text.encode("utf-8", "replace") for text in texts)
