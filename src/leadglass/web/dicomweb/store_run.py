"""One store transaction: parts become staged instances, staged instances become part of the archive, in batches.

`StoreRun` takes parts that are DICOM files. `store_metadata.MetadataRun` takes metadata and bulk data. Both keep what
happened, instance by instance, in `Results`. Ref: PS3.18 10.5; failure reasons PS3.18 I.2.2.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from leadglass.access import Outcome, OutcomeKind, Staged
from leadglass.dicom.sop_classes import STORAGE_SOP_CLASSES
from leadglass.errors import Full, Malformed
from leadglass.terms import Grant
from leadglass.web.dicomweb.media_types import parse_media_type
from leadglass.web.dicomweb.multipart import BodyData, PartBegin, PartEnd

if TYPE_CHECKING:
    from leadglass.access import House

__all__ = [
    "CANNOT_UNDERSTAND", "NOT_THIS_STUDY", "NO_SUCH_SOP_CLASS", "NO_SUCH_SYNTAX", "OUT_OF_RESOURCES",
    "Parser", "Results", "Run", "StoreRun", "is_binary",
]

_BATCH: Final = 64
_BATCH_BYTES: Final = 64 << 20
_BATCH_SECONDS: Final = 1.0
NO_SUCH_SOP_CLASS: Final = 0x0122
OUT_OF_RESOURCES: Final = 0xA700
NOT_THIS_STUDY: Final = 0xA900
CANNOT_UNDERSTAND: Final = 0xC000
NO_SUCH_SYNTAX: Final = 0xC122  # of bulk data: none that we know, or none that its media type can carry


class Parser(Protocol):
    """What gives the events of a body: of a multipart one, or of a single part."""

    def feed(self, data: bytes) -> Iterator[PartBegin | BodyData | PartEnd]:
        """Give the events that `data` completes. Raises: Malformed."""
        ...

    def end(self) -> None:
        """Say that nothing more comes. Raises: Malformed."""
        ...


@dataclass
class Results:
    """What became of each instance."""

    stored: list[tuple[Outcome, str]] = field(default_factory=list)  # with the Series Instance UID
    failed: list[tuple[str, str, int]] = field(default_factory=list)  # SOP class, SOP instance, reason
    unreadable: list[int] = field(default_factory=list)  # reasons of parts whose UIDs are not known


class Run(ABC):
    """What both kinds have in common. Methods run in a thread, one after the other."""

    def __init__(self, house: "House", grant: Grant, parser: Parser, *, study: str = "") -> None:
        self._house = house
        self._grant = grant
        self._parser = parser
        self._study = study
        self._intake: Any = None
        self._staged: list[Staged] = []
        self._staged_bytes = 0
        self._staged_at = 0.0
        self.results = Results()

    # --- of each kind -------------------------------------------------------------------------------------------
    @abstractmethod
    def _begin(self, headers: dict[str, str]) -> None:
        """Take the headers of the next part."""

    @abstractmethod
    def _data(self, piece: bytes) -> None:
        """Take the next bytes of its body."""

    @abstractmethod
    def _part_end(self) -> None:
        """The part has ended."""

    def is_out_of_resources(self) -> None:
        """Keep, as results, what a full disk leaves undone."""
        self.results.unreadable.append(OUT_OF_RESOURCES)

    # --- of both ------------------------------------------------------------------------------------------------
    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body. Raises: Malformed (of the body as a whole), Full, Busy, Unproven."""
        for event in self._parser.feed(data):
            match event:
                case PartBegin(headers):
                    self._begin(headers)
                case BodyData(piece):
                    self._data(piece)
                case PartEnd():
                    self._part_end()
        if self._staged and time.monotonic() - self._staged_at > _BATCH_SECONDS:
            self._commit()

    def end(self) -> None:
        """The body is over: commit what waits. Raises: Malformed, when it broke off."""
        self._commit()
        self._parser.end()
        self._commit()

    def abandon(self) -> None:
        """Leave nothing half done: the open instance is dropped, what is staged is committed if it can be."""
        self.close()
        self._commit()

    def close(self) -> None:
        """Let go of what is open; may be called twice, and only when no thread is at work here."""
        self._drop()

    def _drop(self) -> None:
        if self._intake is not None:
            self._intake.discard()
            self._intake = None

    def _reason_against(self, sop_class: str, study: str) -> int:
        """Return why an instance is not stored here; 0 = it is."""
        if self._study and study != self._study:
            return NOT_THIS_STUDY
        return 0 if sop_class in STORAGE_SOP_CLASSES else NO_SUCH_SOP_CLASS

    def _stage(self, staged: Staged) -> None:
        self._intake = None
        staged.object.settle_soon()  # the disk works while the next part is parsed; the commit waits for all of them
        if not self._staged:
            self._staged_at = time.monotonic()
        self._staged.append(staged)
        self._staged_bytes += staged.length
        if len(self._staged) >= _BATCH or self._staged_bytes >= _BATCH_BYTES:
            self._commit()

    def _commit(self) -> None:
        """Make what is staged part of the archive: durable and recorded when this returns."""
        if not self._staged:
            return
        staged, self._staged, self._staged_bytes = self._staged, [], 0
        try:
            outcomes = self._house.operations.commit(self._grant, staged)
        except Full:  # a disk may say so only when the bytes are to be durable
            for one in staged:
                self.results.failed.append((one.head.sop_class_uid, one.head.sop_instance_uid, OUT_OF_RESOURCES))
            raise
        for one, outcome in zip(staged, outcomes, strict=True):
            if outcome.kind is OutcomeKind.FULL:  # of the quarantine alone: new instances are taken on
                self.results.failed.append((outcome.sop_class_uid, outcome.sop_instance_uid, OUT_OF_RESOURCES))
            else:
                self.results.stored.append((outcome, one.head.series_uid))
                self._house.door.count(self._grant, instances=1)
        self._house.door.count(self._grant, octets=sum(s.length for s in staged))


class StoreRun(Run):
    """Parts that are DICOM files. A bad one fails alone."""

    def _begin(self, headers: dict[str, str]) -> None:
        kind = parse_media_type(headers.get("content-type", "application/dicom"))
        if kind.type != "application/dicom" or not is_binary(headers):
            self.results.unreadable.append(CANNOT_UNDERSTAND)
            return
        self._intake = self._house.operations.intake(self._grant)

    def _data(self, piece: bytes) -> None:
        if self._intake is None:
            return
        try:
            self._intake.feed(piece)
        except Malformed:
            self._unreadable()

    def _part_end(self) -> None:
        if self._intake is None:
            return
        try:
            staged = self._intake.finish()
        except Malformed:
            self._unreadable()
            return
        reason = self._reason_against(staged.head.sop_class_uid, staged.head.study_uid)
        if reason:
            self._drop()
            self.results.failed.append((staged.head.sop_class_uid, staged.head.sop_instance_uid, reason))
            return
        self._stage(staged)

    def _unreadable(self) -> None:
        self._drop()
        self.results.unreadable.append(CANNOT_UNDERSTAND)


def is_binary(headers: dict[str, str]) -> bool:
    """Return whether the body of a part stands as it is, without a coding on top."""
    return (
        headers.get("content-transfer-encoding", "binary").lower() in {"binary", "8bit"}
        and headers.get("content-encoding", "identity").lower() == "identity"
    )
