"""WADO-RS: frames and whole pixel data. Ref: PS3.18 10.4.1.1.6, 8.7.3.3.

Compressed frames leave as they are stored, under their media type or as octets for those who take any transfer
syntax; they are decoded for those who ask for plain pixels. A frame that is given as stored is given in ranges too
(a viewer shows the first tenth of an HTJ2K frame), and only the chunks that a range touches are decrypted.
A video has no frames of its own: it is given whole.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from leadglass.dicom.encapsulated import Spans
from leadglass.dicom.transfer_syntaxes import EXPLICIT_LITTLE, IMPLICIT_LITTLE, TRANSFER_SYNTAXES
from leadglass.errors import Missing
from leadglass.terms import Grant
from leadglass.web.dicomweb.conditional import boundary_of, etag_of
from leadglass.web.dicomweb.media_types import MediaRange, covers
from leadglass.web.dicomweb.negotiation import accepted, base_url, not_acceptable
from leadglass.web.dicomweb.retrieve import bulk_uri, find, inner_of, no_query, numbers_of
from leadglass.web.dicomweb.streaming import (
    Stretch,
    give,
    give_made,
    in_memory,
    multipart_body,
    multipart_stretches,
    not_modified,
)

if TYPE_CHECKING:
    from starlette.responses import Response

    from leadglass.web.calls import Call

__all__ = [
    "OCTETS", "Chosen", "choose", "etag_of_frames", "frames", "give_frames", "give_pixels", "is_as_stored", "part_type",
    "pixel_data", "pixel_parts", "stored_uid",
]

OCTETS: Final = "application/octet-stream"
_ALIASES: Final = {"image/x-jls": "image/jls", "image/x-dicom-rle": "image/dicom-rle"}  # of editions before 2017
_DEFAULTS: Final = {  # what an image type means where no transfer syntax is named. Ref: PS3.18 table 8.7.3-5
    "image/jpeg": "1.2.840.10008.1.2.4.70", "image/jls": "1.2.840.10008.1.2.4.80", "image/jp2": "1.2.840.10008.1.2.4.90",
    "image/jphc": "1.2.840.10008.1.2.4.201", "image/dicom-rle": "1.2.840.10008.1.2.5",
}
_MAX_RANGED: Final = 64  # frames of one request that a range is given of
_Parts = Iterator[tuple[dict[str, str], Iterable[bytes]]]


@dataclass(frozen=True)
class Chosen:
    """How pixel data of one instance goes out."""

    range: MediaRange  # the one that won
    media_type: str  # of a part, as the client has called it
    is_raw: bool  # plain little endian pixels, decoded if need be
    target: str = ""  # the compressed transfer syntax into which frames are converted, without loss

    @property
    def is_multipart(self) -> bool:
        """Whether the answer has parts: also for those who take anything."""
        return self.range.is_multipart or self.range.type in {"*/*", "multipart/*"}


def choose(wanted: list[MediaRange], row: Any, possible: tuple[str, ...] = (), *, is_one: bool) -> Chosen:
    """Return how frames or pixel data go out. Raises: HTTPException 406, with what there is.

    `transfer-syntax=*` takes what is stored. Plain octets without a syntax are Explicit VR Little Endian pixels
    (PS3.18 8.7.3.3.1), which is how native frames lie here anyhow. Args: possible: transfer syntaxes into which frames may
    be converted. is_one: False, where only parts can carry it.
    """
    syntax = TRANSFER_SYNTAXES[row.transfer_syntax_uid]
    stored = syntax.media_type.lower() if syntax.encapsulated else OCTETS
    is_video = stored.startswith("video/")
    for one in wanted:
        if not is_one and not one.is_multipart and one.type != "*/*":
            continue
        if one.type.startswith("multipart/") and not one.is_multipart and one.type != "multipart/*":
            continue
        inner, asked = "*/*" if one.type == "multipart/*" else inner_of(one), one.transfer_syntax
        name = _ALIASES.get(inner, inner)
        if inner == "*/*" or (covers(name, stored) and stored != OCTETS and asked in {"", "*", syntax.uid}):
            return Chosen(one, inner if name == stored else syntax.media_type if stored != OCTETS else OCTETS,
                          not syntax.encapsulated)
        target = _target(name, asked, possible)
        if target:
            return Chosen(one, inner, is_raw=False, target=target)
        if not covers(inner, OCTETS):
            continue
        if asked in {"*", syntax.uid}:  # octets in any transfer syntax: the client reads the part's own parameter
            return Chosen(one, OCTETS, not syntax.encapsulated)
        if asked in {"", EXPLICIT_LITTLE, IMPLICIT_LITTLE} and not is_video:
            return Chosen(one, OCTETS, is_raw=True)
    offer = f'multipart/related; type="{stored}"; transfer-syntax={syntax.uid}'
    if not is_video and stored != OCTETS:
        offer += f', multipart/related; type="{OCTETS}"; transfer-syntax={EXPLICIT_LITTLE}'
    raise not_acceptable(offer)


def _target(name: str, asked: str, possible: tuple[str, ...]) -> str:
    """Return the transfer syntax that a media type names, if frames can be converted into it. Ref: PS3.18 table 8.7.3-5."""
    uid = _DEFAULTS.get(name, "") if asked in {"", "*"} else asked
    return uid if uid in possible and TRANSFER_SYNTAXES[uid].media_type == name else ""


def is_as_stored(row: Any, *, is_raw: bool) -> bool:
    """Return whether what goes out lies like that in the file."""
    syntax = TRANSFER_SYNTAXES[row.transfer_syntax_uid]
    return not syntax.encapsulated and syntax.little if is_raw else syntax.encapsulated


def stored_uid(row: Any) -> str:
    """Return the transfer syntax that a part as stored is said to have: native little endian pixels have one name."""
    syntax = TRANSFER_SYNTAXES[row.transfer_syntax_uid]
    return syntax.uid if syntax.encapsulated or not syntax.little else EXPLICIT_LITTLE


def _is_video(row: Any) -> bool:
    return TRANSFER_SYNTAXES[row.transfer_syntax_uid].media_type.startswith("video/")


# --- frames ---------------------------------------------------------------------------------------------------
def frames(call: "Call") -> "Response":
    """Give frames, as stored or as plain pixels. Ref: PS3.18 10.4.1.1.6 (Frame Pixel Data)."""
    no_query(call)
    numbers = numbers_of(call.params["frames"])
    grant, rows = find(call)
    return give_frames(call, grant, rows[0], numbers)


def give_frames(call: "Call", grant: Grant, row: Any, numbers: list[int]) -> "Response":
    """Answer with frames of an instance, by their numbers. Raises: Missing, Malformed, HTTPException 406."""
    if not row.frames or max(numbers) > row.frames:
        raise Missing("no such frame in this instance.")
    if _is_video(row):
        raise not_acceptable("the whole video, at /pixeldata of this instance")
    possible = call.house.operations.syntaxes_of(row)
    chosen = choose(accepted(call.request), row, possible, is_one=len(numbers) == 1)
    is_stored = not chosen.target and is_as_stored(row, is_raw=chosen.is_raw)
    etag = etag_of_frames(row, numbers, chosen.target or chosen.media_type, is_multipart=chosen.is_multipart, is_stored=is_stored)
    known = not_modified(call, etag)
    if known is not None:
        return known
    boundary = boundary_of(etag)
    content_type = f'multipart/related; type="{chosen.media_type}"; boundary={boundary}'
    found = _with_lengths(call, grant, row, numbers, chosen, is_stored=is_stored)
    if not found:
        return give_made(call, multipart_body(boundary, _frame_parts(call, grant, row, numbers, chosen)), content_type, etag)
    parts = [({"Content-Type": part_type(chosen.media_type, uid)}, stretch) for uid, stretch in found]
    if not chosen.is_multipart:
        return give(call, [parts[0][1]], parts[0][0]["Content-Type"], etag)
    return give(call, multipart_stretches(boundary, parts), content_type, etag)


def etag_of_frames(row: Any, numbers: list[int], kind: str, *, is_multipart: bool, is_stored: bool) -> str:
    """Return the ETag of frames of an instance, given as the media type or transfer syntax `kind`."""
    return etag_of(["frames", row.digest, str(numbers), kind, str(is_multipart), str(is_stored)], is_weak=not is_stored)


def part_type(media_type: str, syntax: str) -> str:
    """Return the Content-Type of a frame."""
    return f"{media_type}; transfer-syntax={syntax}"


def _wants_lengths(call: "Call") -> bool:
    return call.request.method == "HEAD" or "range" in call.request.headers


def _with_lengths(
    call: "Call", grant: Grant, row: Any, numbers: list[int], chosen: Chosen, *, is_stored: bool
) -> list[tuple[str, Stretch]]:
    """Return (transfer syntax UID, frame) of each, where a range or a length of them all can be given; else nothing.

    One frame may be made in memory for it. Of several none is: ten thousand made frames (bit-packed, deflated) would be
    held at once for a request of 20 kB. Where many lie is not looked up either: that work ends with no client.
    """
    operations = call.house.operations
    is_found = is_stored and _wants_lengths(call) and len(numbers) <= _MAX_RANGED
    found: list[tuple[str, Stretch]] = []
    for number in numbers if is_found else ():
        spans = operations.spans(grant, row, number)
        if spans is None:
            break
        found.append((stored_uid(row), _lying(call, grant, row, spans)))
    else:
        if found:
            return found
    if len(numbers) > 1:
        return []
    uid, data = _made(call, grant, row, numbers[0], chosen)
    return [(uid, in_memory(data))]


def _lying(call: "Call", grant: Grant, row: Any, spans: Spans) -> Stretch:
    """Return what lies in the file; nothing of it is read yet."""
    return Stretch(sum(size for _, size in spans), lambda a, b: call.house.operations.part(grant, row, spans, a, b))


def _made(call: "Call", grant: Grant, row: Any, number: int, chosen: Chosen) -> tuple[str, bytes]:
    """Return (transfer syntax UID, bytes) of a frame as chosen."""
    if chosen.target:
        return chosen.target, call.house.operations.frame_in(grant, row, number, chosen.target)
    return call.house.operations.frame(grant, row, number, want_raw=chosen.is_raw)


def _frame_parts(call: "Call", grant: Grant, row: Any, numbers: list[int], chosen: Chosen, where: str = "") -> _Parts:
    for number in numbers:
        call.house.door.check(grant)
        uid, data = _made(call, grant, row, number, chosen)
        headers = {"Content-Type": f"{chosen.media_type}; transfer-syntax={uid}"}
        if where:
            headers["Content-Location"] = f"{where}/frames/{number}"
        yield headers, (data,)


# --- whole pixel data -----------------------------------------------------------------------------------------
def pixel_data(call: "Call") -> "Response":
    """Give all pixel data of a study, a series or an instance. Ref: PS3.18 10.4.1.1.6, 10.4.3.3.6."""
    no_query(call)
    grant, rows = find(call)
    images = [row for row in rows if row.frames]
    if not images:
        raise Missing("there is no pixel data here.")
    if "instance" in call.params:
        return give_pixels(call, grant, images[0])
    return give_pixel_parts(call, grant, images)


def give_pixel_parts(call: "Call", grant: Grant, images: list[Any]) -> "Response":
    """Answer with the pixel data of many instances as parts. Raises: HTTPException 406."""
    wanted = accepted(call.request)
    plan = [choose(wanted, row, is_one=False) for row in images]
    pairs = zip(images, plan, strict=True)
    etag = etag_of(["pixels", *(p for row, c in pairs for p in (row.digest, c.media_type, str(c.is_raw)))], is_weak=True)
    boundary = boundary_of(etag)
    types = {chosen.media_type for chosen in plan}
    kind = types.pop() if len(types) == 1 else OCTETS
    root = base_url(call.request)

    def parts() -> _Parts:
        for row, chosen in zip(images, plan, strict=True):
            yield from pixel_parts(call, grant, row, chosen, bulk_uri(root, row)("7FE00010"))

    return give_made(call, multipart_body(boundary, parts()), f'multipart/related; type="{kind}"; boundary={boundary}', etag)


def pixel_parts(call: "Call", grant: Grant, row: Any, chosen: Chosen, where: str) -> _Parts:
    """Give the parts of one instance's pixel data: one for plain pixels or a video, else one for each frame.

    Args: where: the BulkDataURI; a frame's part says which one it is. Ref: PS3.18 10.4.3.3.6.
    """
    if not chosen.is_raw and not _is_video(row):
        is_single = row.frames == 1
        yield from _frame_parts(call, grant, row, list(range(1, row.frames + 1)), chosen, "" if is_single else where)
        return
    uid, pieces = _whole(call, grant, row, is_raw=chosen.is_raw)
    yield {"Content-Type": f"{chosen.media_type}; transfer-syntax={uid}", "Content-Location": where}, pieces


def _whole(call: "Call", grant: Grant, row: Any, *, is_raw: bool) -> tuple[str, Iterable[bytes]]:
    """Return (transfer syntax UID, pieces) of all pixel data as one value."""
    stretch = _whole_stretch(call, grant, row, is_raw=is_raw)
    if stretch is not None:
        return stored_uid(row), stretch.read(0, stretch.length)
    operations = call.house.operations

    def made() -> Iterator[bytes]:
        for number in range(1, row.frames + 1):
            call.house.door.check(grant)
            yield operations.frame(grant, row, number, want_raw=True)[1]

    return EXPLICIT_LITTLE, made()


def _whole_stretch(call: "Call", grant: Grant, row: Any, *, is_raw: bool) -> Stretch | None:
    if not is_as_stored(row, is_raw=is_raw):
        return None
    operations = call.house.operations
    spans = operations.pixel_spans(grant, row)
    if spans is None:
        return None
    length = sum(size for _, size in spans)
    return Stretch(length, lambda a, b: operations.part(grant, row, spans, a, b))


def give_pixels(call: "Call", grant: Grant, row: Any) -> "Response":
    """Answer with the pixel data of one instance: in ranges where it is one value as stored. Raises: HTTPException 406."""
    is_one = _is_video(row) or row.frames == 1 or not TRANSFER_SYNTAXES[row.transfer_syntax_uid].encapsulated
    chosen = choose(accepted(call.request), row, is_one=is_one)
    stretch = None
    if chosen.is_raw or _is_video(row):
        stretch = _whole_stretch(call, grant, row, is_raw=chosen.is_raw)
    where = bulk_uri(base_url(call.request), row)("7FE00010")
    etag = etag_of(["pixels", row.digest, chosen.media_type, str(chosen.is_multipart), str(chosen.is_raw), where],
                   is_weak=stretch is None)
    boundary = boundary_of(etag)
    content_type = f'multipart/related; type="{chosen.media_type}"; boundary={boundary}'
    if stretch is not None:
        headers = {"Content-Type": f"{chosen.media_type}; transfer-syntax={stored_uid(row)}", "Content-Location": where}
        if not chosen.is_multipart:
            return give(call, [stretch], headers["Content-Type"], etag)
        return give(call, multipart_stretches(boundary, [(headers, stretch)]), content_type, etag)
    parts = pixel_parts(call, grant, row, chosen, where)
    if chosen.is_multipart:
        return give_made(call, multipart_body(boundary, parts), content_type, etag)
    headers, pieces = next(parts)
    return give_made(call, pieces, headers["Content-Type"], etag)
