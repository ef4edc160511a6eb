"""A decode process that has been taken over: whatever it answers is one error to one caller, in bounded time and memory."""

import contextlib
import json
import struct
import subprocess
import sys
import threading
import time
import tracemalloc

import pytest

from leadglass.archive.pixels.decode import _described, _talk
from leadglass.dicom.image_pixel import ImagePixel
from leadglass.errors import Malformed

PIXEL = ImagePixel(rows=4, columns=4, samples=1, bits_allocated=16, bits_stored=12, high_bit=11, representation=0, planar=0,
                   photometric="MONOCHROME2", frames=1)
MOST = 1 << 20
_READ = "import sys, struct; i, o = sys.stdin.buffer, sys.stdout.buffer; a, b = struct.unpack('>II', i.read(8)); i.read(a + b); "


def _answer(text: bytes, data: bytes = b"", *, length: int | None = None) -> str:
    whole = struct.pack(">II", len(text), len(data) if length is None else length) + text + data
    return _READ + f"o.write({whole!r}); o.flush()"


def _ask(program: str, *, killed_after: float = 20.0) -> tuple[dict, bytes]:
    child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    timer = threading.Timer(killed_after, child.kill)
    timer.start()
    try:
        return _talk(child, {"do": "raw"}, bytes(100), MOST)
    finally:
        timer.cancel()
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            with contextlib.suppress(OSError):
                pipe.close()


def test_an_honest_answer_comes_through() -> None:
    assert _ask(_answer(b'{"a": 1}', b"pixels")) == ({"a": 1}, b"pixels")


@pytest.mark.parametrize("program", [
    "pass", _READ + "sys.exit(0)", _READ + "import os; os.kill(os.getpid(), 11)", _READ + "o.write(b'\\0\\0\\0'); o.flush()",
    _answer(b"{}", length=MOST + 1), _answer(b"{}", length=2**32 - 1), _answer(b"{" * 70_000), _answer(b"not JSON"), _answer(b"[]"),
    _answer(b"3"), _answer(b"null"), _answer(b"[" * 60_000), _answer(b'"\xff"'), _answer(b"{}", bytes(10), length=1000),
    _READ + "[o.write(b'\\xff' * 65536) for _ in iter(int, 1)]",
], ids=["ends at once", "reads and ends", "SIGSEGV", "three bytes", "too long", "4 GiB", "long text", "no JSON", "a list", "a number",
        "null", "deep", "no UTF-8", "cut", "endless"])
def test_a_broken_answer_is_one_error(program: str) -> None:
    started = time.monotonic()
    with pytest.raises((OSError, EOFError, ValueError)):
        _ask(program)
    assert time.monotonic() - started < 15


def test_an_endless_answer_of_a_permitted_length_is_cut_at_that_length() -> None:
    tracemalloc.start()
    program = _READ + f"o.write(struct.pack('>II', 2, {MOST}) + b'{{}}'); [o.write(bytes(65536)) for _ in iter(int, 1)]"
    assert _ask(program) == ({}, bytes(MOST))
    assert tracemalloc.get_traced_memory()[1] < 4 * MOST
    tracemalloc.stop()


def test_a_silent_child_ends_with_its_timer() -> None:
    started = time.monotonic()
    with pytest.raises((OSError, EOFError)):
        _ask(_READ + "import time; time.sleep(60)", killed_after=2.0)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("change", [
    {"rows": 5}, {"frames": 2}, {"bits_stored": 16}, {"photometric": "X" * 1000}, {"photometric": "R\r\nG"}, {"planar": 7}, {"planar": "0"},
    {"rows": None}, {"more": 1},
])
def test_a_description_that_contradicts_the_question_is_refused(change: dict) -> None:
    facts = json.loads(json.dumps(PIXEL.facts() | change))
    with pytest.raises(Malformed):
        _described({"pixel": facts}, PIXEL)
    assert _described({"pixel": PIXEL.facts()}, PIXEL) == PIXEL
    for answer in ({}, {"pixel": 3}, {"pixel": []}, {"pixel": {}}):
        with pytest.raises(Malformed):
            _described(answer, PIXEL)
