"""The pool of decode processes: pixels are never decoded in a server process.

Each child has limits on memory and CPU time, no core dumps, and sees nothing but what comes through its pipes: no
environment, no file, no network (decode_walls). A crash or a timeout is one error to one caller; the child is replaced.
"""

import contextlib
import json
import struct
import subprocess
import sys
import threading
from dataclasses import replace
from typing import Any

from leadglass.dicom.image_pixel import ImagePixel
from leadglass.dicom.reencode import Encoding
from leadglass.errors import Busy, Malformed
from leadglass.settings import Settings

__all__ = ["Decoder"]

_HEAD = struct.Struct(">II")  # length of the JSON, length of the bytes
_MAX_TEXT = 65536
_COLOURS = frozenset({"RGB", "YBR_FULL", "YBR_PARTIAL", "YBR_RCT", "YBR_ICT"})  # what a conversion may make of colours
_PICTURES = frozenset({"image/jpeg", "image/png", "image/gif"})
_WAIT_SECONDS = 30.0


class Decoder:
    """Decodes and renders through children. Safe in threads; at most `decode_workers` at once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._free = threading.Semaphore(settings.decode_workers)
        self._lock = threading.Lock()
        self._idle: list[subprocess.Popen[bytes]] = []
        self._at_work: list[subprocess.Popen[bytes]] = []
        self.is_walled = False  # whether the children said that the filter of decode_walls stands; False before the first
        self._is_closed = False

    def recode(
        self, frame: bytes, source: str, target: str, pixel: ImagePixel, *, planar: int = 0
    ) -> tuple[bytes, ImagePixel]:
        """Return (frame in `target`, what it is now), without loss; "" is native little endian. Raises: Malformed, Busy.

        `planar` is how native colours are laid out: 0 by pixel, 1 by plane.
        """
        answer, data = self._exchange(
            {"do": "recode", "from": source, "to": target, "pixel": pixel.facts(), "planar": planar}, frame,
        )
        return data, _described(answer, pixel)

    def header(
        self, data: bytes, source: Encoding, target: Encoding, changes: dict[int, tuple[str, bytes] | None], syntax: str
    ) -> bytes:
        """Return the elements in another encoding, with changes: see dicom.reencode; `syntax` is that of icons in them.

        Raises: Malformed, Busy.
        """
        named = [[tag, change and [change[0], change[1].hex()]] for tag, change in changes.items()]
        return self._exchange({
            "do": "header", "from": [source.explicit, source.little], "to": [target.explicit, target.little],
            "changes": named, "limits": self._limits, "syntax": syntax,
        }, data)[1]

    def render(
        self, header: bytes, encoding: Encoding, frames: list[bytes], source: str, pixel: ImagePixel, wanted: dict[str, Any]
    ) -> tuple[str, bytes]:
        """Return (media type, picture); the arguments are those of archive.pixels.rendering.render. Raises: Malformed, Busy."""
        answer, data = self._exchange({
            "do": "render", "from": [encoding.explicit, encoding.little], "sizes": [len(header), *map(len, frames)],
            "source": source, "pixel": pixel.facts(), "wanted": wanted, "limits": self._limits,
        }, b"".join([header, *frames]))
        if answer.get("media_type") not in _PICTURES:  # it becomes a header: a taken over child would make it a page
            raise Malformed("the image could not be decoded within its limits.")
        return str(answer["media_type"]), data

    def report(self, header: bytes, encoding: Encoding, *, is_html: bool) -> bytes:
        """Return a Structured Report as HTML or as plain text: see archive.pixels.report. Raises: Malformed, Busy."""
        return self._exchange({
            "do": "report", "from": [encoding.explicit, encoding.little], "is_html": is_html, "limits": self._limits,
        }, header)[1]

    @property
    def _limits(self) -> list[int]:
        s = self._settings
        return [s.max_sequence_depth, s.max_elements, s.max_header_bytes]

    def _exchange(self, facts: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        if not self._free.acquire(timeout=_WAIT_SECONDS):
            raise Busy("every decoder is at work.")
        try:
            child = self._child()
            timer = threading.Timer(self._settings.decode_seconds + 5.0, child.kill)
            timer.start()
            with self._lock:
                self._at_work.append(child)
            try:
                answer = _talk(child, facts, body, self._settings.decode_memory_bytes // 2)
            except (OSError, EOFError, ValueError) as e:
                child.kill()
                child.wait()
                _close(child)
                raise Malformed("the image could not be decoded within its limits.") from e
            finally:
                timer.cancel()
                with self._lock:
                    self._at_work.remove(child)
            self.is_walled = bool(answer[0].get("is_walled"))
            with self._lock:
                if self._is_closed:
                    _end(child)
                else:
                    self._idle.append(child)
        finally:
            self._free.release()
        if "error" in answer[0]:
            raise Malformed("the image could not be decoded: " + str(answer[0]["error"]))
        return answer

    def _child(self) -> "subprocess.Popen[bytes]":
        with self._lock:
            while self._idle:
                child = self._idle.pop()
                if child.poll() is None:
                    return child
                _close(child)
        s = self._settings
        return subprocess.Popen(  # noqa: S603 - our own interpreter and module, no shell, nothing of a caller
            [sys.executable, "-E", "-s", "-m", "leadglass.archive.pixels.decode_worker", str(s.decode_memory_bytes),
             str(s.decode_seconds)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, close_fds=True, cwd="/",
            env={"OPENBLAS_NUM_THREADS": "1"},  # nothing of ours; a thread of its own would stay outside the filter
        )

    def close(self) -> None:
        """End the idle children."""
        with self._lock:
            self._is_closed = True
            children, self._idle = self._idle, []
        for child in children:
            _end(child)


def _talk(
    child: "subprocess.Popen[bytes]", facts: dict[str, Any], body: bytes, most: int
) -> tuple[dict[str, Any], bytes]:
    """Send one question, return its answer of at most `most` bytes. Raises: OSError, EOFError, ValueError.

    A child may have been taken over by what it decodes: nothing that it says is believed, its lengths neither.
    """
    assert child.stdin is not None
    assert child.stdout is not None
    text = json.dumps(facts).encode()
    child.stdin.write(_HEAD.pack(len(text), len(body)) + text)
    child.stdin.write(body)
    child.stdin.flush()
    head = child.stdout.read(_HEAD.size)
    if len(head) < _HEAD.size:
        raise EOFError
    text_length, length = _HEAD.unpack(head)
    if text_length > _MAX_TEXT or length > most:
        raise ValueError
    text, data = child.stdout.read(text_length), child.stdout.read(length)
    if len(text) < text_length or len(data) < length:
        raise EOFError
    try:
        answer = json.loads(text)
    except RecursionError as e:
        raise ValueError from e
    if not isinstance(answer, dict):
        raise ValueError  # noqa: TRY004 - whatever is wrong with an answer is one error
    return answer, data


def _described(answer: dict[str, Any], asked: ImagePixel) -> ImagePixel:
    """Return how the frame is described now: a conversion changes its colours, nothing else. Raises: Malformed."""
    try:
        now = ImagePixel.of(answer["pixel"])
    except (KeyError, TypeError) as e:
        raise Malformed("the image could not be decoded within its limits.") from e
    is_same = now == replace(asked, photometric=now.photometric, planar=now.planar) and now.planar in {0, 1}
    if not is_same or now.photometric not in _COLOURS | {asked.photometric}:
        raise Malformed("the image could not be decoded within its limits.")
    return now


def _close(child: "subprocess.Popen[bytes]") -> None:
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def _end(child: "subprocess.Popen[bytes]") -> None:
    _close(child)
    try:
        child.wait(timeout=2)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
