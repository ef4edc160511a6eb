"""STOW-RS of metadata and bulk data: the instance is built here. Ref: PS3.18 10.5.2, 8.6.1.3, 8.7.3.

1 Metadata parts come first: they are parsed within bounds and become drafts, encoded already but for the bulk data.
2 A bulk data part is known by its Content-Location, which is a BulkDataURI of a draft, word for word ("/frames/{n}"
may follow, for a part that is one frame). It waits in an encrypted scratch file without a name. 3 When the body is
whole, each draft and its bulk data become a data set, which goes the way that every instance goes.
A BulkDataURI is a name, and nothing else: it is never fetched, whatever host, file or scheme it points to. Several
parts of one URI are the frames of its pixel data, in order; anything else that comes twice fails its instance. One
BulkDataURI belongs to one attribute: a small body must not become a large archive.
"""

import re
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from leadglass.dicom.assemble import Bulk, assemble, syntax_of_bulk
from leadglass.dicom.elements import PIXEL_DATA, Limits
from leadglass.dicom.encode import BulkPlace, Draft, Identity, identity_of, plan
from leadglass.dicom.json_document import from_json
from leadglass.dicom.xml_model import from_xml
from leadglass.errors import Busy, Malformed
from leadglass.terms import Grant
from leadglass.web.dicomweb.media_types import MediaRange, parse_media_type
from leadglass.web.dicomweb.store_run import (
    CANNOT_UNDERSTAND,
    NO_SUCH_SYNTAX,
    OUT_OF_RESOURCES,
    Parser,
    Run,
    is_binary,
)

if TYPE_CHECKING:
    from leadglass.access import House

__all__ = ["METADATA", "MetadataRun"]

JSON: Final = "application/dicom+json"
XML: Final = "application/dicom+xml"
METADATA: Final = frozenset({JSON, XML})
_FRAME: Final = re.compile(r"(.{1,4096})/frames/([1-9][0-9]{0,8})", re.DOTALL)  # as our own answers name the parts of pixel data
_SMALL: Final = 1 << 20  # bytes of metadata that are read without waiting for a turn
_TURN_SECONDS: Final = 3.0  # a thread that waits longer is missed elsewhere
_MOST_INSTANCES: Final = 20_000  # as many as a multipart body can have parts


@dataclass
class _Instance:
    """One instance on its way; `reason` is why it fails, once that is known."""

    identity: Identity
    draft: Draft | None
    reason: int = 0


@dataclass
class _Arrived:
    """What has come under one URI."""

    owner: _Instance
    is_pixels: bool
    syntax: str = ""
    length: int = 0
    spans: list[tuple[int, int]] = field(default_factory=list)

    def takes(self, syntax: str, frame: int) -> bool:
        """Return whether one more part fits: frames of pixel data, in order, all in one syntax. `frame`: 0 = not said."""
        if not self.spans and not frame:
            return True
        return self.is_pixels and frame in {0, len(self.spans) + 1} and self.syntax in {"", syntax}


class MetadataRun(Run):
    """Parts that are metadata, then parts that are bulk data."""

    def __init__(self, house: "House", grant: Grant, parser: Parser, *, study: str, inner: str, turn: threading.Lock) -> None:
        """Args: inner: the media type of the metadata parts. turn: of this process, for large metadata."""
        super().__init__(house, grant, parser, study=study)
        settings = house.settings
        self._inner = inner
        self._turn = turn
        self._limits = Limits(
            max_depth=settings.max_sequence_depth, max_elements=settings.max_elements,
            max_header_bytes=settings.max_metadata_bytes,
        )
        self._left = settings.max_metadata_bytes
        self._most_bytes = settings.max_instance_bytes
        self._scratch: Any = None
        self._instances: list[_Instance] = []
        self._arrived: dict[str, _Arrived] = {}
        self._metadata: bytearray | None = None
        self._bulk: _Arrived | None = None
        self._bulk_start = 0
        self._next = 0  # instances before this one are built, or have failed

    # --- parts --------------------------------------------------------------------------------------------------
    def _begin(self, headers: dict[str, str]) -> None:
        kind = parse_media_type(headers.get("content-type", "application/octet-stream"))
        if not is_binary(headers):
            self.results.unreadable.append(CANNOT_UNDERSTAND)
        elif kind.type in METADATA:
            if kind.type == self._inner:
                self._metadata = bytearray()
            else:
                self.results.unreadable.append(CANNOT_UNDERSTAND)
        else:
            self._begin_bulk(headers.get("content-location", ""), kind)

    def _begin_bulk(self, location: str, kind: MediaRange) -> None:
        """Step 2: find whose it is; what is nobody's is passed over without a byte kept."""
        arrived, frame = self._arrived.get(location), 0
        if arrived is None:
            named = _FRAME.fullmatch(location)
            if named is not None:
                arrived, frame = self._arrived.get(named[1]), int(named[2])
        if arrived is None:
            self.results.unreadable.append(CANNOT_UNDERSTAND)
            return
        if arrived.owner.reason:
            return
        syntax = syntax_of_bulk(kind.type, kind.transfer_syntax)
        if not syntax:
            arrived.owner.reason = NO_SUCH_SYNTAX
        elif not arrived.takes(syntax, frame):
            arrived.owner.reason = CANNOT_UNDERSTAND
        else:
            if self._scratch is None:
                self._scratch = self._house.operations.scratch(self._grant)
            arrived.syntax = syntax
            self._bulk, self._bulk_start = arrived, self._scratch.length

    def _data(self, piece: bytes) -> None:
        if self._metadata is not None:
            self._left -= len(piece)
            if self._left < 0:
                raise Malformed(f"the metadata takes more than {self._limits.max_header_bytes} bytes.")
            self._metadata += piece
        elif self._bulk is not None:
            self._bulk.length += len(piece)
            if self._bulk.length > self._most_bytes:
                self._bulk.owner.reason = CANNOT_UNDERSTAND
                self._bulk = None
            else:
                self._scratch.write(piece)

    def _part_end(self) -> None:
        if self._metadata is not None:
            data, self._metadata = bytes(self._metadata), None
            self._in_turn(data)
        elif self._bulk is not None:
            self._bulk.spans.append((self._bulk_start, self._scratch.length - self._bulk_start))
            self._bulk = None

    def _in_turn(self, data: bytes) -> None:
        """Read metadata; large ones one at a time in a process, as each costs ten times its size. Raises: Busy."""
        if len(data) <= _SMALL:
            self._read_metadata(data)
            return
        if not self._turn.acquire(timeout=_TURN_SECONDS):
            raise Busy("much metadata is being read already.", retry_after_seconds=5)
        try:
            self._read_metadata(data)
        finally:
            self._turn.release()

    # --- step 1: metadata ---------------------------------------------------------------------------------------
    def _read_metadata(self, data: bytes) -> None:
        if self._inner == JSON:
            models = from_json(data, self._limits, most_instances=_MOST_INSTANCES)
        else:
            models = [from_xml(data, self._limits)]
        models.reverse()
        while models:  # each is let go before the next is encoded
            self._draft(models.pop())

    def _draft(self, model: dict[str, Any]) -> None:
        try:
            identity = identity_of(model)
        except Malformed:
            self.results.unreadable.append(CANNOT_UNDERSTAND)
            return
        instance = _Instance(identity, None, self._reason_against(identity.sop_class_uid, identity.study_uid))
        self._instances.append(instance)
        try:
            instance.draft = plan(model, self._limits)
        except Malformed:
            instance.reason = instance.reason or CANNOT_UNDERSTAND
            return
        for piece in instance.draft.pieces:
            if isinstance(piece, BulkPlace):
                self._expect(instance, piece)

    def _expect(self, instance: _Instance, place: BulkPlace) -> None:
        known = self._arrived.get(place.uri)
        if known is not None:  # one body of bulk data for many attributes: the amplification of a small request
            instance.reason = known.owner.reason = CANNOT_UNDERSTAND
            return
        self._arrived[place.uri] = _Arrived(instance, is_pixels=place.is_top and place.tag in PIXEL_DATA)

    # --- step 3: instances --------------------------------------------------------------------------------------
    def end(self) -> None:
        """Build what came whole. Raises: Malformed, when the body broke off: then nothing is built."""
        self._parser.end()
        if self._scratch is not None:
            self._scratch.finish()
        bulk = {
            uri: Bulk(spans=tuple(a.spans), syntax=a.syntax, read=self._scratch.read)
            for uri, a in self._arrived.items() if a.spans
        }
        for instance in self._instances:
            self._build(instance, bulk)
            self._next += 1
        self._commit()

    def close(self) -> None:
        """Let go of what is open."""
        super().close()
        if self._scratch is not None:
            self._scratch.close()
            self._scratch = None

    def is_out_of_resources(self) -> None:
        """Say of each instance that is not built yet that there was no room for it."""
        self._fail_rest(OUT_OF_RESOURCES)

    def _fail_rest(self, reason: int) -> None:
        for instance in self._instances[self._next :]:
            self._fail(instance, instance.reason or reason)
        self._next = len(self._instances)

    def _fail(self, instance: _Instance, reason: int) -> None:
        self.results.failed.append((instance.identity.sop_class_uid, instance.identity.sop_instance_uid, reason))

    def _build(self, instance: _Instance, bulk: dict[str, Bulk]) -> None:
        draft, instance.draft = instance.draft, None
        if instance.reason or draft is None:
            self._fail(instance, instance.reason)
            return
        identity = instance.identity
        try:
            syntax, pieces = assemble(draft, bulk)
            self._intake = self._house.operations.intake(
                self._grant, transfer_syntax=syntax, expected=(identity.sop_class_uid, identity.sop_instance_uid)
            )
            for piece in pieces:
                self._intake.feed(piece)
            self._stage(self._intake.finish())
        except Malformed:
            self._drop()
            self._fail(instance, CANNOT_UNDERSTAND)
