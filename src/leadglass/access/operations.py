"""What can be done with images, each behind a Grant: store, search, retrieve, render."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import sqlalchemy as sa

from leadglass.access.committer import Committer
from leadglass.access.door import Door
from leadglass.access.leaving import fitted, withheld
from leadglass.access.search_scope import scope, study_resource
from leadglass.access.shelf import LARGEST_SERIES, Shelf
from leadglass.access.study_models import Models, StudyModels
from leadglass.archive import Archive
from leadglass.archive.ingest import Intake, Outcome, Staged
from leadglass.archive.pixels.conversions import targets_of
from leadglass.archive.pixels.documents import document, renderings_of
from leadglass.archive.pixels.frames import frame_at_hand, frame_bytes, frame_in
from leadglass.archive.pixels.previews import kept_picture
from leadglass.archive.pixels.spans import bulk_paths, read_spans, spans_of, spans_of_pixels
from leadglass.archive.pixels.transcode import converted
from leadglass.archive.retrieve import InstanceRow, locate, metadata
from leadglass.archive.search import SearchQuery, count, search
from leadglass.archive.search_headers import add_headers
from leadglass.audit import Entry, Event
from leadglass.audit import Outcome as Ended
from leadglass.dicom.encapsulated import Spans
from leadglass.errors import Missing, Refused
from leadglass.storage import tables as t
from leadglass.storage.database import Database
from leadglass.storage.scratch import Scratch
from leadglass.terms import Action, Grant, Resource, ResourceKind, Subject

__all__ = ["ARCHIVE", "Operations"]

_READS = frozenset({Action.STUDY_READ, Action.STUDY_EXPORT, Action.STUDY_SEND})  # each lets the bytes of a study out
ARCHIVE = Resource(kind=ResourceKind.ARCHIVE)


class Operations:
    """The archive as faces may see it."""

    def __init__(self, database: Database, archive: Archive, door: Door, *, site: str) -> None:
        self._database = database
        self._archive = archive
        self._door = door
        self._site = site
        self._shelf = Shelf()
        self._models = StudyModels(archive, door)
        self._committer = Committer(database, archive, door.decide, site=site)

    # --- store ------------------------------------------------------------------------------------------------
    def intake(
        self, grant: Grant, *, transfer_syntax: str | None = None, expected: tuple[str, str] | None = None
    ) -> Intake:
        """Return a place to feed one arriving instance into. Raises: Full, Unproven, Refused."""
        _need(grant, Action.INSTANCE_STORE)
        self._door.check(grant)
        return Intake(self._archive, transfer_syntax=transfer_syntax, expected=expected, source=grant.subject.id)

    def scratch(self, grant: Grant) -> Scratch:
        """Return an encrypted place for bulk data that waits for its instance. Raises: Full, Unproven, Refused."""
        _need(grant, Action.INSTANCE_STORE)
        self._door.check(grant)
        return self._archive.blobs.scratch(self._archive.settings.disk_reserve_bytes)

    def commit(self, grant: Grant, staged: list[Staged]) -> list[Outcome]:
        """Index and record what was staged; durable when it returns. Raises: Unproven, Refused, Busy."""
        _need(grant, Action.INSTANCE_STORE)
        self._door.check(grant)
        return self._committer.commit(grant, staged)

    # --- search -----------------------------------------------------------------------------------------------
    def search(self, subject: Subject, query: SearchQuery, *, says: str = "") -> list[dict[str, Any]]:
        """Return the rows that match and that the subject may see; recorded with its terms and its count.

        `says` is the query in the asker's words, for the ledger. Raises: Refused, Unproven, Malformed.
        """
        grant = self._door.enter(subject, Action.STUDY_SEARCH, ARCHIVE)
        with self._database.read() as connection:
            rows = search(connection, query, scope(subject, site=self._site))
            headers = add_headers(self._archive, connection, rows, query.returns) if query.level == "instance" else 0
        self._door.record([Entry(
            event=Event.SEARCHED, action=Action.STUDY_SEARCH, outcome=Ended.DONE, subject=subject,
            study_uid=str(query.filters.get("StudyInstanceUID", "")) if query.level != "study" else "",
            details={
                "level": str(query.level), "terms": {k: str(v)[:200] for k, v in list(query.filters.items())[:40]},
                "says": says[:200], "rows": len(rows), "limit": query.limit, "offset": query.offset,
                "headers": headers, "under": grant.receipt.index,
            },
        )])
        return rows

    def count(self, subject: Subject, query: SearchQuery) -> int:
        """Return how many rows match that the subject may see; the search itself is recorded, this is not. Raises: as it."""
        self._door.enter(subject, Action.STUDY_SEARCH, ARCHIVE)
        with self._database.read() as connection:
            return count(connection, query, scope(subject, site=self._site))

    # --- retrieve ---------------------------------------------------------------------------------------------
    def study(self, subject: Subject, study_uid: str, action: Action = Action.STUDY_READ) -> Grant:
        """Return a Grant on a study. Raises: Missing, both for what is not there and for what is not permitted.

        A refusal is recorded as refused; to the asker it looks like an absence (no oracle for who is a patient here).
        """
        now = time.time()
        with self._database.read() as connection:
            row = connection.execute(sa.select(t.studies).where(
                t.studies.c.study_uid == study_uid, t.studies.c.instance_count > 0)).first()  # all rejected: not there
        try:
            grant = self._door.enter(subject, action, study_resource(study_uid, row, now))
        except Refused:
            raise Missing("no such study here, or none that you may see.") from None
        if row is None:
            raise Missing("no such study here, or none that you may see.")
        return grant

    def locate(self, grant: Grant, series: str | None = None, instance: str | None = None) -> list[InstanceRow]:
        """Return the instances of the granted study, in series and instance order. Raises: Missing, Unproven."""
        self._readable(grant)
        study = grant.resource.id
        if series is not None and instance is not None:
            row = self._shelved(study, series, instance)
            if row is not None:
                return [row]
        with self._database.read() as connection:
            rows = locate(connection, study, series, instance)
        if not rows:
            raise Missing("no such series or instance in this study.")
        return rows

    def _shelved(self, study: str, series: str, instance: str) -> InstanceRow | None:
        """Return an instance from the shelf, where its series is put when it is not there; None: ask the index for it alone."""
        epoch = self._door.epoch()
        row = self._shelf.find(epoch, study, series, instance)
        if row is None:
            with self._database.read() as connection:
                rows = locate(connection, study, series, limit=LARGEST_SERIES + 1)
            if len(rows) <= LARGEST_SERIES:
                self._shelf.put(epoch, study, series, rows)
                row = self._shelf.find(epoch, study, series, instance)
        return row

    def at_hand(
        self, subject: Subject, study_uid: str, series_uid: str, instance_uid: str
    ) -> tuple[Grant, InstanceRow] | None:
        """Return (live Grant, instance) of a study that the subject reads already; None: take the way through `study`.

        No database call, and no record: the Grant has its own, see Door.enter.
        """
        grant = self._door.known(subject, Action.STUDY_READ, ResourceKind.STUDY, study_uid)
        if grant is None:
            return None
        row = self._shelf.find(grant.epoch, study_uid, series_uid, instance_uid)
        return None if row is None else (grant, row)

    def frame_at_hand(self, grant: Grant, row: InstanceRow, number: int, before: bytes, after: bytes) -> bytes | None:
        """Return a frame as it lies, between `before` and `after`, without waiting; None: take the way through `frame`.

        Raises: Malformed, Damaged, Missing, Unproven, Refused.
        """
        self._readable(grant)
        data = frame_at_hand(self._archive, row, number, before, after)
        if data is not None:
            self._door.count(grant, frames=1, octets=len(data) - len(before) - len(after))
        return data

    def syntaxes_of(self, row: InstanceRow) -> tuple[str, ...]:
        """Return the transfer syntaxes that the instance can be given in, the stored one first."""
        return targets_of(row)

    def stream_instance(self, grant: Grant, row: InstanceRow, transfer_syntax: str | None = None) -> Iterator[bytes]:
        """Give the Part 10 file, as stored or without loss in another syntax; the grant is checked before each piece.

        Raises: Malformed before the first byte, when it cannot be given so; Damaged, Unproven, Busy.
        """
        return self._stream(grant, row, transfer_syntax or row.transfer_syntax_uid, is_file=True)

    def stream_dataset(self, grant: Grant, row: InstanceRow, transfer_syntax: str) -> Iterator[bytes]:
        """Give the same without preamble and group 2, as DIMSE sends it."""
        return self._stream(grant, row, transfer_syntax, is_file=False)

    def _stream(self, grant: Grant, row: InstanceRow, transfer_syntax: str, *, is_file: bool) -> Iterator[bytes]:
        self._readable(grant)
        pieces = converted(self._archive, row, transfer_syntax, is_file=is_file)
        is_first = True
        for piece in pieces:
            self._door.check(grant)
            self._door.count(grant, instances=int(is_first), octets=len(piece))
            is_first = False
            yield piece

    def stored_part(self, grant: Grant, row: InstanceRow, start: int, stop: int) -> Iterator[bytes]:
        """Give bytes `start` to `stop` of the Part 10 file as stored, decrypting no more; otherwise as `part`."""
        is_counted = (start, stop) != (0, row.length)
        for piece in self.part(grant, row, [(0, row.length)], start, stop):
            if piece and not is_counted:
                self._door.count(grant, instances=1)
                is_counted = True
            yield piece

    def spans(self, grant: Grant, row: InstanceRow, what: int | str) -> Spans | None:
        """Return where a frame (number from 1) or a bulk value (path) lies as stored; None, when it has to be made.

        Raises: Missing, Malformed, Damaged, Unproven, Refused.
        """
        self._readable(grant)
        return spans_of(self._archive, row, what)

    def pixel_spans(self, grant: Grant, row: InstanceRow) -> Spans | None:
        """Return where all pixel data lies as stored (a native value, a video); None, when it has to be made."""
        self._readable(grant)
        return spans_of_pixels(self._archive, row)

    def part(self, grant: Grant, row: InstanceRow, spans: Spans, start: int, stop: int) -> Iterator[bytes]:
        """Give bytes `start` to `stop` of spans of the stored file, in a row; the grant is checked before each piece.

        An empty piece stands before one that has to be waited for: then pull the next one in a thread.
        """
        self._readable(grant)
        for piece in read_spans(self._archive, row, spans, start, stop, says_waits=True):
            if piece:
                self._door.check(grant)
                self._door.count(grant, octets=len(piece))
            yield piece

    def bulk_paths(self, grant: Grant, row: InstanceRow) -> list[str]:
        """Return the paths of the BulkDataURIs of `metadata`, in order, without pixel data."""
        self._readable(grant)
        return bulk_paths(self._archive, row)

    def metadata(self, grant: Grant, row: InstanceRow, bulk_uri: Callable[[str], str]) -> dict[str, Any]:
        """Return the DICOM JSON model of an instance, without bulk data. Ref: PS3.18 Annex F."""
        self._readable(grant)
        return fitted(metadata(self._archive, row, bulk_uri), withheld(grant))

    def models(self, grant: Grant, series: str | None = None) -> Models:
        """Return the same models, of a whole study or series, as text that is kept. Raises: Missing, Unproven, Refused."""
        self._readable(grant)
        return self._models.of(grant, series)

    def checked(self, grant: Grant, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Give pieces of an answer; the grant is checked before each. Raises: Unproven, Refused, Missing."""
        for piece in pieces:
            self._door.check(grant)
            yield piece

    def forget_old(self) -> None:
        """Drop from memory what was made under an older epoch: it may show what was deleted since."""
        self._models.forget_old()

    def frame(self, grant: Grant, row: InstanceRow, number: int, *, want_raw: bool) -> tuple[str, bytes]:
        """Return (transfer syntax UID, bytes) of frame `number` (from 1); `want_raw` decodes what is compressed."""
        self._readable(grant)
        uid, data = frame_bytes(self._archive, row, number, want_raw=want_raw)
        self._door.count(grant, frames=1, octets=len(data))
        return uid, data

    def frame_in(self, grant: Grant, row: InstanceRow, number: int, target: str) -> bytes:
        """Return frame `number` (from 1) in a compressed transfer syntax of `syntaxes_of`. Raises: Missing, Malformed, Busy."""
        self._readable(grant)
        data = frame_in(self._archive, row, number, target)
        self._door.count(grant, frames=1, octets=len(data))
        return data

    def bulk(self, grant: Grant, row: InstanceRow, path: str) -> bytes:
        """Return the value of the element that a BulkDataURI of `metadata` named. Raises: Missing."""
        from leadglass.archive.retrieve import bulk_value

        self._readable(grant)
        data = bulk_value(self._archive, row, path)
        self._door.count(grant, octets=len(data))
        return data

    def record_export(
        self, grant: Grant, *, what: str, instances: int, octets: int = 0, is_done: bool = True
    ) -> None:
        """Write into the ledger that a study leaves as a file, or how that ended. Ref: PS3.15 A.5.3.4 (110106 Export)."""
        _need(grant, Action.STUDY_EXPORT)
        self._door.record([Entry(
            event=Event.EXPORTED, action=grant.action, outcome=Ended.DONE if is_done else Ended.FAILED,
            subject=grant.subject, study_uid=grant.resource.id, patient_id=grant.resource.patient_id,
            details={"what": what, "instances": instances, "bytes": octets, "under": grant.receipt.index},
        )])

    def may(self, subject: Subject, study_uid: str, action: Action) -> bool:
        """Return whether the policy would permit it; decides what is shown, grants and records nothing."""
        now = time.time()
        with self._database.read() as connection:
            row = connection.execute(sa.select(t.studies).where(t.studies.c.study_uid == study_uid)).first()
        return self._door.decide(subject, action, study_resource(study_uid, row, now)).is_permitted

    def render(self, grant: Grant, row: InstanceRow, numbers: list[int], wanted: dict[str, Any]) -> tuple[str, bytes]:
        """Return (media type, bytes) of a picture of frames; `wanted` as archive.pixels.rendering.render. Ref: PS3.18 8.3.5."""
        self._readable(grant)
        media_type, data = kept_picture(self._archive, row, numbers, wanted)
        self._door.count(grant, frames=len(numbers), octets=len(data))
        return media_type, data

    def renderings_of(self, row: InstanceRow) -> tuple[str, ...]:
        """Return the media types that an instance can be rendered as. Ref: PS3.18 8.7.4."""
        return renderings_of(row)

    def document(self, grant: Grant, row: InstanceRow, media_type: str) -> bytes:
        """Return a report as text, or the document that an instance encapsulates. Raises: Malformed, Busy."""
        self._readable(grant)
        data = document(self._archive, row, media_type)
        self._door.count(grant, instances=1, octets=len(data))
        return data

    def _readable(self, grant: Grant) -> None:
        if grant.action not in _READS:
            _need(grant, Action.STUDY_READ)
        self._door.check(grant)


def _need(grant: Grant, action: Action) -> None:
    """Refuse a grant for another action: a caller's bug, not an attack, and never let through."""
    if grant.action is not action:
        raise RuntimeError(f"a grant for {grant.action} was used for {action}")
