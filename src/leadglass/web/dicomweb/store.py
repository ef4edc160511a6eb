"""STOW-RS: store what arrives, part by part. Ref: PS3.18 10.5.

The body is read as it comes, parsed and encrypted in a thread, and never built whole. Each instance is durable before
it is committed, and committed (in batches) before it is acknowledged. A bad part fails alone; a body that breaks off
is 400, and says how many instances before the break are stored. A content coding is 415: what a kilobyte inflates to
is the sender's choice, and DICOM has compressed transfer syntaxes (decision 0017).
"""

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response

from leadglass.access import ARCHIVE
from leadglass.dicom.uids import is_valid_uid
from leadglass.errors import Busy, Full, LeadglassError, Malformed
from leadglass.terms import Action, Grant
from leadglass.web.dicomweb.media_types import MediaRange, parse_media_type
from leadglass.web.dicomweb.multipart import BodyData, MultipartParser, PartBegin, PartEnd
from leadglass.web.dicomweb.negotiation import base_url
from leadglass.web.dicomweb.store_answer import answer, choose_type
from leadglass.web.dicomweb.store_metadata import METADATA, MetadataRun
from leadglass.web.dicomweb.store_run import Parser, Run, StoreRun

if TYPE_CHECKING:
    from leadglass.web.calls import Call

__all__ = ["store"]

_HOP: Final = 1 << 18  # bytes gathered before a change of thread
_DRAIN_BYTES: Final = 16 << 20
_DRAIN_SECONDS: Final = 5.0
_DICOM: Final = "application/dicom"
_TAKEN: Final = frozenset({_DICOM, *METADATA})


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


async def store(call: "Call") -> Response:
    """Store the instances of the body. Raises: what problem.py translates."""
    media_type = choose_type(call.request)
    study = call.params.get("study", "")
    if study and not is_valid_uid(study):
        raise Malformed("the path holds something that is no UID.")
    kind = _kind_of(call)
    parser: Parser = MultipartParser(kind.parameters.get("boundary", "")) if kind.is_multipart else _Single(kind.type)
    state = call.request.app.state
    if state.uploads >= call.settings.max_associations:
        raise Busy("too many uploads at once.", retry_after_seconds=5)
    state.uploads += 1
    try:
        grant = await run_in_threadpool(call.house.door.enter, call.subject, Action.INSTANCE_STORE, ARCHIVE)
        run = _run(call, grant, parser, kind, study)
        await _receive(call, run)
    finally:
        state.uploads -= 1
    return answer(run.results, base_url(call.request), media_type)


def _kind_of(call: "Call") -> MediaRange:
    """Return the media type of the body. Raises: HTTPException 415, Malformed."""
    if call.request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415, "Send the body without a content coding.", headers={"accept-encoding": "identity"})
    text = call.request.headers.get("content-type", "")
    kind = parse_media_type(text) if text else MediaRange("")
    if kind.type != _DICOM and not (kind.is_multipart and kind.inner in _TAKEN):
        raise HTTPException(415, "Send application/dicom, or multipart/related with the type application/dicom, "
                                 "application/dicom+json or application/dicom+xml.")
    return kind


def _run(call: "Call", grant: Grant, parser: Parser, kind: MediaRange, study: str) -> Run:
    if kind.is_multipart and kind.inner in METADATA:
        return MetadataRun(call.house, grant, parser, study=study, inner=kind.inner, turn=call.request.app.state.metadata_turn)
    return StoreRun(call.house, grant, parser, study=study)


async def _receive(call: "Call", run: Run) -> None:
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
                    await asyncio.shield(working)  # time may be up for us, and not for the thread: see _settle
                if is_done:
                    working = asyncio.ensure_future(run_in_threadpool(_finish, run, data))
                    await asyncio.shield(working)
                    run.close()
                    return
                working = asyncio.ensure_future(run_in_threadpool(run.feed, data))
    except TimeoutError as e:
        await _abandon(run, working)
        raise HTTPException(408, "The upload took longer than is allowed.") from e
    except Full:
        await _abandon(run, working)
        await _drain(body)
        if not run.results.stored:
            raise
        run.is_out_of_resources()
    except Malformed as e:
        await _abandon(run, working)
        await _drain(body)
        raise Malformed(f"{e} Instances stored before that: {len(run.results.stored)}.") from e
    except LeadglassError:
        await _settle(working)
        run.close()
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


async def _abandon(run: Run, working: "asyncio.Future[None] | None") -> None:
    await _settle(working)
    await run_in_threadpool(run.abandon)


def _finish(run: Run, data: bytes) -> None:
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
