"""The pool of decode processes: pixels are never decoded in a server process.

Each child has limits on memory and CPU time, no core dumps, and sees nothing but what comes through its pipes. A
crash or a timeout is one error to one caller; the child is replaced.
"""

import contextlib
import json
import struct
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

from leadglass.archive.retrieve import InstanceRow, header, open_instance
from leadglass.dicom.image_pixel import ImagePixel
from leadglass.dicom.reencode import Encoding
from leadglass.errors import Busy, Malformed
from leadglass.settings import Settings

if TYPE_CHECKING:
    from leadglass.archive import Archive

__all__ = ["Decoder"]

_HEAD = struct.Struct(">II")  # length of the JSON, length of the bytes
_MAX_ANSWER = 2**31 - 1
_WAIT_SECONDS = 30.0


class Decoder:
    """Decodes and renders through children. Safe in threads; at most `decode_workers` at once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._free = threading.Semaphore(settings.decode_workers)
        self._lock = threading.Lock()
        self._idle: list[subprocess.Popen[bytes]] = []
        self._is_closed = False

    def raw(self, archive: "Archive", row: InstanceRow, number: int, *, frame: bytes | None = None) -> bytes:
        """Return little endian native pixels of frame `number`. Raises: Malformed, Busy."""
        return self._ask(archive, row, number, frame, {"do": "raw"})[1]

    def render(
        self, archive: "Archive", row: InstanceRow, *, number: int = 1, media_type: str = "image/jpeg",
        viewport: tuple[int, int] | None = None, window: tuple[float, float] | None = None, quality: int = 90,
    ) -> tuple[str, bytes]:
        """Return (media type, picture) of a frame. Ref: PS3.18 8.3.5.

        Args: viewport: greatest width and height in pixels. window: centre and width; else the file's, else min-max.
        Raises: Malformed (cannot be rendered), Busy, Missing.
        """
        facts = {
            "do": "render", "media_type": media_type, "viewport": viewport, "window": window, "quality": quality,
        }
        answer, data = self._ask(archive, row, number, None, facts)
        return str(answer["media_type"]), data

    def recode(self, frame: bytes, source: str, target: str, pixel: ImagePixel) -> tuple[bytes, ImagePixel]:
        """Return (frame in `target`, what it is now), without loss; "" is native little endian. Raises: Malformed, Busy."""
        answer, data = self._exchange({"do": "recode", "from": source, "to": target, "pixel": pixel.facts()}, frame)
        return data, ImagePixel.of(answer["pixel"])

    def header(
        self, data: bytes, source: Encoding, target: Encoding, changes: dict[int, tuple[str, bytes] | None]
    ) -> bytes:
        """Return the elements in another encoding, with changes: see dicom.reencode. Raises: Malformed, Busy."""
        s = self._settings
        named = [[tag, change and [change[0], change[1].hex()]] for tag, change in changes.items()]
        return self._exchange({
            "do": "header", "from": [source.explicit, source.little], "to": [target.explicit, target.little],
            "changes": named, "limits": [s.max_sequence_depth, s.max_elements, s.max_header_bytes],
        }, data)[1]

    def _ask(
        self, archive: "Archive", row: InstanceRow, number: int, frame: bytes | None, facts: dict[str, Any]
    ) -> tuple[dict[str, Any], bytes]:
        from leadglass.archive.frames import stored_frame

        pixels = (row.rows or 0) * (row.columns or 0)
        if row.pixel_offset == -1 or pixels <= 0:
            raise Malformed("this instance holds no image.")
        if pixels > self._settings.max_frame_pixels:
            raise Malformed("the frame has more pixels than may be decoded.")
        whole = row.pixel_offset == -2 or (row.bits_allocated == 1 and row.frames > 1 and pixels % 8 != 0)
        if whole:
            with open_instance(archive, row) as reader:
                if row.length > self._settings.decode_memory_bytes // 4:
                    raise Malformed("too large to be decoded whole.")
                body, head_length = reader.read(0, row.length), 0
        else:
            head = header(archive, row)[0][: row.pixel_offset]
            head_length = len(head)
            body = head + (stored_frame(archive, row, number) if frame is None else frame)
        facts |= {
            "syntax": row.transfer_syntax_uid, "head": head_length, "number": number if whole else 1,
            "max_pixels": self._settings.max_frame_pixels,
        }
        return self._exchange(facts, body)

    def _exchange(self, facts: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        if not self._free.acquire(timeout=_WAIT_SECONDS):
            raise Busy("every decoder is at work.")
        try:
            child = self._child()
            timer = threading.Timer(self._settings.decode_seconds + 5.0, child.kill)
            timer.start()
            try:
                answer = _talk(child, facts, body)
            except (OSError, EOFError, ValueError) as e:
                child.kill()
                child.wait()
                _close(child)
                raise Malformed("the image could not be decoded within its limits.") from e
            finally:
                timer.cancel()
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
            [sys.executable, "-E", "-s", "-m", "leadglass.archive.decode_worker", str(s.decode_memory_bytes),
             str(s.decode_seconds)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, close_fds=True, cwd="/", env={},
        )

    def close(self) -> None:
        """End the idle children."""
        with self._lock:
            self._is_closed = True
            children, self._idle = self._idle, []
        for child in children:
            _end(child)


def _talk(child: "subprocess.Popen[bytes]", facts: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
    """Send one question, return its answer. Raises: OSError, EOFError, ValueError."""
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
    if text_length > 65536 or length > _MAX_ANSWER:
        raise ValueError
    text, data = child.stdout.read(text_length), child.stdout.read(length)
    if len(text) < text_length or len(data) < length:
        raise EOFError
    return json.loads(text), data


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
