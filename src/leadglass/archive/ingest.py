"""One arriving instance: bounded parse, digest, encryption, object; then it waits for the index.

Steps of Intake: 1 bytes are buffered until the head is known (at most max_header_bytes); 2 the head is checked;
3 the study's key is found or made; 4 everything streams through digest and cipher into a new object; 5 `finish`
puts it in its place. Nothing of it is visible before archive.index has run. Left to the caller, access.committer: to
make the object durable (many at once cost little more than one), the index, the record.
"""

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from leadglass.archive.heads import header_to_keep
from leadglass.dicom.elements import Limits
from leadglass.dicom.key_objects import KEY_OBJECT_SELECTION, RejectionNote, parse_rejection
from leadglass.dicom.part10 import Head, file_meta, inflate, parse_head
from leadglass.dicom.transfer_syntaxes import TRANSFER_SYNTAXES
from leadglass.errors import Full, Malformed

if TYPE_CHECKING:
    from leadglass.archive import Archive
    from leadglass.storage.blobs import BlobWriter

__all__ = ["Intake", "Outcome", "OutcomeKind", "Staged"]

_FIRST_TRY = 4096


class OutcomeKind(StrEnum):
    """What became of a staged instance."""

    STORED = "stored"
    DUPLICATE = "duplicate"  # the same content again: a success that changes nothing
    CONFLICT = "conflict"  # the same SOP Instance UID, other content: kept in quarantine, a task says so
    FULL = "full"  # the same, and the quarantine is full: not kept


@dataclass(frozen=True, kw_only=True)
class Staged:
    """An object that the index does not know yet, and must not before `object.settle` has made it durable."""

    head: Head  # offsets count in the stored Part 10 file
    object: "BlobWriter" = field(repr=False, compare=False)
    object_name: str
    length: int  # bytes of the Part 10 file
    digest: bytes  # SHA-256 of the data set as received
    source: str
    key_id: bytes  # of the study key that encrypts it; it must still stand when the object is indexed
    header: bytes = b""  # the data set up to the pixel data's header; "" = too long to be kept, or deflated
    note: RejectionNote | None = None  # what it rejects, where it is a Key Object Selection with such a title


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the index made of a staged instance; `drop` names an object that is not needed."""

    sop_class_uid: str
    sop_instance_uid: str
    study_uid: str
    kind: OutcomeKind
    drop: str = ""
    warning: str = ""  # what the sender is told beside a success; at most 64 characters, no value
    instance: int = 0  # id of its row, where it is new
    task: int = 0  # the reconciliation task that waits for a person; 0 = none
    differs: tuple[str, ...] = ()  # keywords of the study's identity that a new instance contradicts
    is_mended: bool = False  # it took the place of an object that was damaged or lost


class Intake:
    """Takes the bytes of one instance in pieces of any size. Use `discard` when something goes wrong."""

    def __init__(
        self, archive: "Archive", *, transfer_syntax: str | None, expected: tuple[str, str] | None, source: str
    ) -> None:
        """Args: transfer_syntax: of a bare data set (DIMSE); None for a Part 10 file. expected: (SOP class, instance).

        Raises: Full, when the disk is below its reserve.
        """
        settings = archive.settings
        if archive.blobs.free_bytes() < settings.disk_reserve_bytes:
            raise Full("the disk is nearly full: storing stops, reading goes on.", retry_after_seconds=60)
        self._archive = archive
        self._syntax = transfer_syntax
        self._expected = expected
        self._source = source
        self._limits = Limits(
            max_depth=settings.max_sequence_depth, max_elements=settings.max_elements,
            max_header_bytes=settings.max_header_bytes,
        )
        self._buffer = bytearray()
        self._next_try = _FIRST_TRY
        self._head: Head | None = None
        self._note: RejectionNote | None = None
        self._header = b""
        self._writer: BlobWriter | None = None
        self._key_id = b""
        self._hash = hashlib.sha256()
        self._length = 0
        self._shift = 0  # bytes of group 2 that we put before a bare data set

    def feed(self, data: "bytes | bytearray | memoryview") -> None:
        """Take the next bytes. Raises: Malformed, Full."""
        self._length += len(data)
        if self._length > self._archive.settings.max_instance_bytes:
            raise Malformed(f"larger than {self._archive.settings.max_instance_bytes} bytes.")
        if self._writer is not None:
            self._hash.update(data)
            self._writer.write(data)
            return
        self._buffer += data
        if len(self._buffer) >= self._next_try:  # tries at 4 KiB, 16 KiB, 64 KiB...: linear work in all
            self._next_try = len(self._buffer) * 4
            self._try(is_complete=False)

    def finish(self) -> Staged:
        """Put the object in its place and return it; `Staged.object.settle` makes it durable. Raises: Malformed, Full."""
        if self._writer is None:
            self._try(is_complete=True)
        if self._writer is None or self._head is None:
            raise Malformed("the file ends before its data set does.")
        length = self._length + self._shift
        if self._head.pixel_end > length:
            raise Malformed("the pixel data is shorter than its length says.")
        if self._writer.end() != length:
            raise RuntimeError("an object was ended with another length than was fed")
        return Staged(
            head=self._head, object=self._writer, object_name=self._writer.name, length=length, digest=self._hash.digest(),
            source=self._source, key_id=self._key_id, header=self._header, note=self._note,
        )

    def discard(self) -> None:
        """Leave nothing behind."""
        if self._writer is not None:
            self._writer.discard()
            self._writer = None
        self._buffer = bytearray()  # an exception may still hold a view of the old one

    def _try(self, *, is_complete: bool) -> None:
        """Steps 1 to 3; at the end the buffer goes into the object."""
        head = parse_head(
            self._buffer, is_complete=is_complete, limits=self._limits, transfer_syntax=self._syntax
        )
        if head is None:
            return
        if self._expected is not None and self._expected != (head.sop_class_uid, head.sop_instance_uid):
            raise Malformed("the data set is not the instance that the command announced.")
        if head.sop_class_uid == KEY_OBJECT_SELECTION and head.pixel_offset == -1:
            self._note = self._rejection(head)
        self._key_id, key = self._archive.study_keys.for_study(head.study_uid, create=True)
        writer = self._archive.blobs.create(key, self._key_id)
        self._writer = writer
        start = head.dataset_offset
        meta = file_meta(head.sop_class_uid, head.sop_instance_uid, head.transfer_syntax_uid)
        # Group 2 and the preamble are always ours: what a sender put there (an executable, a name) is not kept.
        self._shift = len(meta) - start
        writer.write(meta)
        self._header = header_to_keep(self._buffer, head, is_complete=is_complete)
        view = memoryview(self._buffer)[start:]
        self._hash.update(view)
        writer.write(view)
        view.release()
        self._buffer = bytearray()
        self._head = Head(
            transfer_syntax_uid=head.transfer_syntax_uid, sop_class_uid=head.sop_class_uid,
            sop_instance_uid=head.sop_instance_uid, study_uid=head.study_uid, series_uid=head.series_uid,
            dataset_offset=len(meta),
            pixel_offset=head.pixel_offset + self._shift if head.pixel_offset >= 0 else head.pixel_offset,
            pixel_end=head.pixel_end + self._shift if head.pixel_end >= 0 else -1,
            attributes=head.attributes, kept=head.kept,
        )

    def _rejection(self, head: Head) -> RejectionNote | None:
        """Return what a key object selection rejects; without pixel data the buffer holds all of it."""
        syntax = TRANSFER_SYNTAXES[head.transfer_syntax_uid]
        body: bytes | bytearray = self._buffer
        start = head.dataset_offset
        if syntax.deflated:
            body, start = inflate(memoryview(self._buffer)[start:], self._limits.max_header_bytes)[0], 0
        return parse_rejection(body, offset=start, explicit=syntax.explicit, little=syntax.little, limits=self._limits)
