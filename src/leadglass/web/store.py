"""STOW-RS: store what arrives, part by part. Ref: PS3.18 10.5; failure reasons PS3.18 I.2.2.

The body is read as it comes, parsed and encrypted in a thread, and never built whole. Each instance is durable before
it is committed, and committed (in batches) before it is acknowledged. A bad part fails alone; a body that breaks off
is 400, and says how many instances before the break are stored.
"""

import asyncio
import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, Protocol

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response

from leadglass.access import ARCHIVE, Outcome, OutcomeKind, Staged
from leadglass.dicom.uids import is_valid_uid
from leadglass.errors import Busy, Full, LeadglassError, Malformed
from leadglass.terms import Action, Grant
from leadglass.web.media_types import parse_media_type
from leadglass.web.multipart import BodyData, MultipartParser, PartBegin, PartEnd
from leadglass.web.negotiation import base_url, want_json

if TYPE_CHECKING:
    from leadglass.access import House
    from leadglass.web.calls import Call

__all__ = ["StoreRun", "store"]

_HOP: Final = 1 << 18  # bytes gathered before a change of thread
_BATCH: Final = 64
_BATCH_BYTES: Final = 64 << 20
_BATCH_SECONDS: Final = 1.0
_DRAIN_BYTES: Final = 16 << 20
_DRAIN_SECONDS: Final = 5.0
CANNOT_UNDERSTAND: Final = 0xC000
NOT_THIS_STUDY: Final = 0xA900
OUT_OF_RESOURCES: Final = 0xA700
STORED_WITH_WARNING: Final = 0xB000  # kept apart for reconciliation, or rejected by a note


class _Parser(Protocol):
    def feed(self, data: bytes) -> Iterator[PartBegin | BodyData | PartEnd]: ...
    def end(self) -> None: ...


class _Single:
    """A body that is one instance: the same events as of a multipart body with one part."""

    def __init__(self, content_type: str) -> None:
        self._content_type = content_type
        self._is_begun = False

    def feed(self, data: bytes) -> Iterator[PartBegin | BodyData | PartEnd]:
        if not self._is_begun:
            self._is_begun = True
            yield PartBegin({"content-type": self._content_type})
        yield BodyData(data) if data else PartEnd()

    def end(self) -> None:
        """A single part ends with the request; HTTP has checked its length."""


class StoreRun:
    """One store transaction. Its methods run in a thread, one after the other."""

    def __init__(self, house: "House", grant: Grant, parser: _Parser, *, study: str = "") -> None:
        self._house = house
        self._grant = grant
        self._parser = parser
        self._study = study
        self._intake: Any = None
        self._staged: list[Staged] = []
        self._staged_bytes = 0
        self._staged_at = 0.0
        self.stored: list[tuple[Outcome, str]] = []  # with the Series Instance UID
        self.failed: list[tuple[str, str, int]] = []  # SOP class, SOP instance, reason
        self.unreadable: list[int] = []  # reasons of parts whose UIDs are not known

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
        if self._intake is not None:
            self._intake.discard()
            self._intake = None
        self._commit()

    def _begin(self, headers: dict[str, str]) -> None:
        kind = parse_media_type(headers.get("content-type", "application/dicom"))
        if kind.type != "application/dicom" or headers.get("content-transfer-encoding", "binary").lower() not in {
            "binary", "8bit"
        }:
            self.unreadable.append(CANNOT_UNDERSTAND)
            return
        self._intake = self._house.operations.intake(self._grant)

    def _data(self, piece: bytes) -> None:
        if self._intake is None:
            return
        try:
            self._intake.feed(piece)
        except Malformed:
            self._drop(CANNOT_UNDERSTAND)

    def _part_end(self) -> None:
        if self._intake is None:
            return
        try:
            staged = self._intake.finish()
        except Malformed:
            self._drop(CANNOT_UNDERSTAND)
            return
        if self._study and staged.head.study_uid != self._study:
            self._intake.discard()
            self._intake = None
            self.failed.append((staged.head.sop_class_uid, staged.head.sop_instance_uid, NOT_THIS_STUDY))
            return
        self._intake = None
        if not self._staged:
            self._staged_at = time.monotonic()
        self._staged.append(staged)
        self._staged_bytes += staged.length
        if len(self._staged) >= _BATCH or self._staged_bytes >= _BATCH_BYTES:
            self._commit()

    def _drop(self, reason: int) -> None:
        self._intake.discard()
        self._intake = None
        self.unreadable.append(reason)

    def _commit(self) -> None:
        """Make what is staged part of the archive: durable and recorded when this returns."""
        if not self._staged:
            return
        staged, self._staged, self._staged_bytes = self._staged, [], 0
        outcomes = self._house.operations.commit(self._grant, staged)
        for one, outcome in zip(staged, outcomes, strict=True):
            if outcome.kind is OutcomeKind.FULL:  # of the quarantine alone: new instances are taken on
                self.failed.append((outcome.sop_class_uid, outcome.sop_instance_uid, OUT_OF_RESOURCES))
            else:
                self.stored.append((outcome, one.head.series_uid))
                self._house.door.count(self._grant, instances=1)
        self._house.door.count(self._grant, octets=sum(s.length for s in staged))


async def store(call: "Call") -> Response:
    """Store the instances of the body. Raises: what problem.py translates."""
    want_json(call.request)
    study = call.params.get("study", "")
    if study and not is_valid_uid(study):
        raise Malformed("the path holds something that is no UID.")
    parser = _parser_of(call)
    state = call.request.app.state
    if state.uploads >= call.settings.max_associations:
        raise Busy("too many uploads at once.", retry_after_seconds=5)
    state.uploads += 1
    try:
        grant = await run_in_threadpool(call.house.door.enter, call.subject, Action.INSTANCE_STORE, ARCHIVE)
        run = StoreRun(call.house, grant, parser, study=study)
        await _receive(call, run)
    finally:
        state.uploads -= 1
    return _response(run, base_url(call.request))


def _parser_of(call: "Call") -> _Parser:
    """Return the parser of the body. Raises: HTTPException 415, Malformed."""
    if call.request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415, "Send the body without a content coding.")
    text = call.request.headers.get("content-type", "")
    kind = parse_media_type(text) if text else None
    if kind is not None and kind.type == "application/dicom":
        return _Single(text)
    if kind is None or not kind.is_multipart or kind.inner != "application/dicom":
        raise HTTPException(415, 'Send multipart/related; type="application/dicom", or application/dicom.')
    return MultipartParser(kind.parameters.get("boundary", ""))


async def _receive(call: "Call", run: StoreRun) -> None:
    """Read the body into `run`, within the limits of time. Raises: what `run` raises; HTTPException 408.

    While a thread parses and encrypts one piece, the next is read: two pieces in memory, and both cores at work.
    """
    settings = call.settings
    body = call.request.stream()
    working: asyncio.Future[None] | None = None
    try:
        async with asyncio.timeout(settings.max_request_seconds):
            while True:
                data, is_done = await _gather(body, settings.association_idle_seconds)
                if working is not None:
                    await working
                    working = None
                if is_done:
                    await run_in_threadpool(_finish, run, data)
                    return
                working = asyncio.ensure_future(run_in_threadpool(run.feed, data))
    except TimeoutError as e:
        await _abandon(run, working)
        raise HTTPException(408, "The upload took longer than is allowed.") from e
    except Full:
        await _abandon(run, working)
        await _drain(body)
        if not run.stored:
            raise
        run.unreadable.append(OUT_OF_RESOURCES)
    except Malformed as e:
        await _abandon(run, working)
        await _drain(body)
        raise Malformed(f"{e} Instances stored before that: {len(run.stored)}.") from e
    except LeadglassError:
        await _settle(working)
        await _drain(body)
        raise
    except BaseException:
        # The sender has gone, or something broke: nothing was acknowledged, nothing more is kept.
        await asyncio.shield(_abandon(run, working))
        raise


async def _gather(body: Any, idle_seconds: float) -> tuple[bytes, bool]:
    """Return (the next bytes of the body, whether they are the last). Raises: TimeoutError, for a stalled sender."""
    pieces: list[bytes] = []
    size = 0
    while size < _HOP:
        async with asyncio.timeout(idle_seconds):
            piece = await anext(body, b"")
        if not piece:
            return b"".join(pieces), True
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces), False


async def _settle(working: "asyncio.Future[None] | None") -> None:
    """Wait for the thread that still holds the run; its own error has been seen, or no longer matters."""
    if working is not None:
        await asyncio.wait([working])
        if not working.cancelled():
            working.exception()


async def _abandon(run: StoreRun, working: "asyncio.Future[None] | None") -> None:
    await _settle(working)
    await run_in_threadpool(run.abandon)


def _finish(run: StoreRun, data: bytes) -> None:
    if data:
        run.feed(data)
    if isinstance(run._parser, _Single):  # noqa: SLF001 - same file
        run.feed(b"")
    run.end()


async def _drain(body: Any) -> None:
    """Read a little more, so that a sender who is still writing gets to see the answer."""
    left = _DRAIN_BYTES
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for piece in body:
                left -= len(piece)
                if left < 0:
                    return
    except (TimeoutError, RuntimeError):
        return


def _response(run: StoreRun, root: str) -> Response:
    """Return the store instances response. Ref: PS3.18 10.5.3, table 10.5.3-1, I.2."""
    model: dict[str, Any] = {}
    studies = {outcome.study_uid for outcome, _ in run.stored if not outcome.warning}
    if len(studies) == 1:
        model["00081190"] = _uri(f"{root}/dicomweb/studies/{studies.pop()}")
    if run.failed:
        model["00081198"] = _sequence([{**_reference(c, i), "00081197": _us(reason)} for c, i, reason in run.failed])
    if run.stored:
        model["00081199"] = _sequence([
            {**_reference(o.sop_class_uid, o.sop_instance_uid),
             **({"00081196": _us(STORED_WITH_WARNING)} if o.warning else  # it cannot be had at its place
                {"00081190": _uri(f"{root}/dicomweb/studies/{o.study_uid}/series/{e}/instances/{o.sop_instance_uid}")})}
            for o, e in run.stored
        ])
    if run.unreadable:  # their UIDs could not be read, or may not be repeated
        model["0008119A"] = _sequence([{"00081197": _us(reason)} for reason in run.unreadable])
    has_failed = bool(run.failed or run.unreadable)
    if not has_failed and not run.stored:
        raise Malformed("the body holds no part.")
    has_warned = any(outcome.warning for outcome, _ in run.stored)
    status = 202 if run.stored and (has_failed or has_warned) else 409 if has_failed else 200
    return Response(json.dumps(model, separators=(",", ":")), status, media_type="application/dicom+json")


def _reference(sop_class: str, sop_instance: str) -> dict[str, Any]:
    return {
        "00081150": {"vr": "UI", "Value": [sop_class]},
        "00081155": {"vr": "UI", "Value": [sop_instance]},
    }


def _sequence(items: list[dict[str, Any]]) -> dict[str, Any]:
    return {"vr": "SQ", "Value": items}


def _uri(value: str) -> dict[str, Any]:
    return {"vr": "UR", "Value": [value]}


def _us(value: int) -> dict[str, Any]:
    return {"vr": "US", "Value": [value]}
