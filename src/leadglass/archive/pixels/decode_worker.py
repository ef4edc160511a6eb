"""The decode process: reads questions from standard input, answers on standard output, keeps nothing.

Run as `python -m leadglass.archive.pixels.decode_worker MEMORY_BYTES CPU_SECONDS`. Steps: 1 the limit on memory stands before
any library that reads pixels is loaded; 2 the libraries are loaded, and all that they would open later; 3 the walls
close (decode_walls): no file, no network, no other process; 4 questions are answered, each with a limit on CPU time.
"""

import io
import json
import resource
import struct
import sys
import warnings
from typing import Any

from leadglass.archive.pixels.decode_walls import close_in, limit_memory
from leadglass.archive.pixels.pixel_codecs import Undecodable, by_plane, decode_frame, encode_frame
from leadglass.archive.pixels.pixel_codecs import preload as preload_codecs
from leadglass.dicom.elements import Limits
from leadglass.dicom.image_pixel import ImagePixel, image_pixel
from leadglass.dicom.reencode import Encoding, reencode
from leadglass.errors import Malformed

__all__ = ["main"]

_HEAD = struct.Struct(">II")


def main() -> None:
    """Answer until standard input ends."""
    memory, seconds = int(sys.argv[1]), int(sys.argv[2])
    limit_memory(memory)
    warnings.simplefilter("ignore")  # pydicom warns with values
    _preload()
    is_walled = close_in()
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    while True:
        head = stdin.read(_HEAD.size)
        if len(head) < _HEAD.size:
            return
        text_length, length = _HEAD.unpack(head)
        facts = json.loads(stdin.read(text_length))
        body = stdin.read(length)
        used = resource.getrusage(resource.RUSAGE_SELF)
        spent = int(used.ru_utime + used.ru_stime)
        resource.setrlimit(resource.RLIMIT_CPU, (spent + seconds, resource.RLIM_INFINITY))
        try:
            answer, data = _answer(facts, body)
        except MemoryError:
            answer, data = {"error": "it needs more memory than it may use"}, b""
        except (Undecodable, Malformed) as e:
            answer, data = {"error": str(e).rstrip(".")}, b""
        except Exception as e:  # noqa: BLE001 - a decoder's fault of any kind is one answer; no value goes into it
            answer, data = {"error": type(e).__name__}, b""
        text = json.dumps({**answer, "is_walled": is_walled}).encode()
        stdout.write(_HEAD.pack(len(text), len(data)) + text)
        stdout.write(data)
        stdout.flush()


def _preload() -> None:
    """Load what answers need: behind the walls nothing can be opened."""
    import codecs

    from pydicom import filereader  # noqa: F401 - loaded for later
    from pydicom.charset import python_encoding

    from leadglass.archive.pixels import picture, rendering, report  # noqa: F401 - all of them are loaded for later

    preload_codecs()
    picture.preload()
    for name in {"utf-8", "latin-1", "ascii", *python_encoding.values()}:
        try:
            codecs.lookup(name)
        except LookupError:
            continue


def _answer(facts: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
    if facts["do"] == "recode":
        array, pixel = decode_frame(body, facts["from"], ImagePixel.of(facts["pixel"]))
        if not facts["to"] and facts["planar"] and pixel.samples > 1:
            return {"pixel": pixel.facts()}, by_plane(array, pixel)
        data, pixel = encode_frame(array, facts["to"], pixel)
        return {"pixel": pixel.facts()}, data
    if facts["do"] == "header":
        return {}, _header(facts, body)
    if facts["do"] == "report":
        return {}, _report(facts, body)
    return _render(facts, body)


def _header(facts: dict[str, Any], body: bytes) -> bytes:
    depth, elements, size = facts["limits"]

    def icon(fragments: bytes, described: dict[int, bytes]) -> bytes:
        pixel = image_pixel(described)
        if facts.get("without_icons"):
            return b""
        array, now = decode_frame(fragments, facts["syntax"], pixel)
        if (now.photometric, now.planar) != (pixel.photometric, pixel.planar):
            raise Undecodable("the header holds an icon whose colours would change")
        return encode_frame(array, "", now)[0]

    return reencode(
        body, source=Encoding(*facts["from"]), target=Encoding(*facts["to"]),
        limits=Limits(max_depth=depth, max_elements=elements, max_header_bytes=size),
        changes={tag: change and (change[0], bytes.fromhex(change[1])) for tag, change in facts["changes"]},
        decompress=icon,
    )


def _dataset(facts: dict[str, Any], header: bytes) -> Any:
    """Return a pydicom data set. The bounded walk goes first: pydicom recurses, and would meet what a header claims."""
    from pydicom.filereader import read_dataset

    head = _header({**facts, "to": [True, True], "changes": [], "without_icons": True}, header)
    return read_dataset(io.BytesIO(head), is_implicit_VR=False, is_little_endian=True)


def _render(facts: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
    from leadglass.archive.pixels.rendering import render

    at = facts["sizes"][0]
    ds = _dataset(facts, body[:at])
    frames = []
    for size in facts["sizes"][1:]:
        frames.append(body[at : at + size])
        at += size
    media_type, data = render(ds, frames, facts["source"], ImagePixel.of(facts["pixel"]), facts["wanted"])
    return {"media_type": media_type}, data


def _report(facts: dict[str, Any], body: bytes) -> bytes:
    from leadglass.archive.pixels.report import report

    return report(_dataset(facts, body), is_html=facts["is_html"])


if __name__ == "__main__":
    main()
