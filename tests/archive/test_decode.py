"""A decode process is behind walls; a crash, a bomb or a hang in it is one error to one caller."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from leadglass.archive.pixels.decode import Decoder
from leadglass.archive.pixels.pixel_codecs import DECODABLE, ENCODABLE, encode_frame
from leadglass.dicom.image_pixel import ImagePixel
from leadglass.dicom.reencode import Encoding
from leadglass.errors import Malformed
from leadglass.settings import load

PIXEL = ImagePixel(rows=48, columns=80, samples=1, bits_allocated=16, bits_stored=12, high_bit=11, representation=0, planar=0,
                   photometric="MONOCHROME2", frames=1)
VALUES = (np.arange(48 * 80, dtype=np.uint32).reshape(48, 80) * 7 % 4096).astype("u2")


@pytest.fixture
def decoder(tmp_path: Path) -> Iterator[Decoder]:
    pool = Decoder(load(tmp_path, {"decode_workers": 2, "decode_seconds": 2, "decode_memory_bytes": 2**29}))
    yield pool
    pool.close()


def _works(decoder: Decoder) -> None:
    assert decoder.recode(VALUES.tobytes(), "", "", PIXEL)[0] == VALUES.tobytes()


def test_walls_leave_nothing_but_the_pipes() -> None:
    """Run in a process of its own: after the walls there is no file, no network, no program, no other process."""
    script = textwrap.dedent("""
        import os, socket, subprocess, sys
        from leadglass.archive.pixels.decode_walls import close_in, limit_memory
        limit_memory(2**29)
        parent = os.getppid()
        assert close_in()
        def refused(act):
            try:
                act()
            except (PermissionError, OSError):
                return True
            return False
        acts = {
            "read": lambda: open("/etc/hostname"), "write": lambda: open("/tmp/leadglass-test", "w"),
            "list": lambda: os.listdir("/"), "network": lambda: socket.socket(),
            "fork": os.fork, "run": lambda: subprocess.run(["/bin/true"]), "signal": lambda: os.kill(parent, 0),
            "remove": lambda: os.unlink("/tmp/none"), "environment of another": lambda: open(f"/proc/{parent}/environ"),
        }
        print([name for name, act in acts.items() if not refused(act)])
    """)
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout.strip() == "[]"


def test_a_child_sees_no_environment_and_says_that_it_is_walled(decoder: Decoder) -> None:
    os.environ["LEADGLASS_SECRET_OF_A_TEST"] = "x"
    try:
        _works(decoder)
        (child,) = decoder._idle
        seen = Path(f"/proc/{child.pid}/environ").read_bytes()
        assert b"SECRET" not in seen
        assert b"PATH=" not in seen
        status = Path(f"/proc/{child.pid}/status").read_text()
        assert "Seccomp:\t2" in status
        assert "NoNewPrivs:\t1" in status
        assert decoder.is_walled
    finally:
        del os.environ["LEADGLASS_SECRET_OF_A_TEST"]


def test_a_killed_child_is_one_error_and_is_replaced(decoder: Decoder) -> None:
    _works(decoder)
    os.kill(decoder._idle[0].pid, signal.SIGKILL)
    time.sleep(0.1)
    _works(decoder)
    busy = threading.Timer(0.3, lambda: [c.kill() for c in decoder._at_work])
    busy.start()
    big = replace(PIXEL, rows=6000, columns=6000, bits_stored=16, high_bit=15)
    with pytest.raises(Malformed):
        decoder.recode(np.random.default_rng(1).integers(0, 65536, 36_000_000, dtype=np.uint16).tobytes(), "", "1.2.840.10008.1.2.4.90", big)
    _works(decoder)


def test_memory_beyond_the_limit_is_one_error(decoder: Decoder) -> None:
    huge = replace(PIXEL, rows=30000, columns=30000)
    with pytest.raises(Malformed):
        decoder.recode(b"\x00" * 64, "1.2.840.10008.1.2.8.1", "", huge)
    bomb = (b"\x02" * 4 + b"\x81\x00" * 100).ljust(200, b"\x00")
    with pytest.raises(Malformed):
        decoder.recode(bomb, "1.2.840.10008.1.2.5", "", huge)
    _works(decoder)


def test_time_beyond_the_limit_is_one_error(decoder: Decoder) -> None:
    noise = np.random.default_rng(2).integers(0, 65536, 64_000_000, dtype=np.uint16).tobytes()
    big = replace(PIXEL, rows=8000, columns=8000, bits_stored=16, high_bit=15)
    started = time.monotonic()
    with pytest.raises(Malformed):
        decoder.recode(noise, "", "1.2.840.10008.1.2.4.90", big)
    assert time.monotonic() - started < 60
    _works(decoder)


@pytest.mark.parametrize("uid", sorted(DECODABLE))
def test_garbage_is_one_reason_without_a_value(decoder: Decoder, uid: str) -> None:
    for junk in (b"", b"\xff\xd8\xff\xc3" + b"GARBAGE" * 40, os.urandom(400)):
        with pytest.raises(Malformed, match=r"^the image could not be decoded") as caught:
            decoder.recode(junk, uid, "", PIXEL)
        assert "GARBAGE" not in str(caught.value)
    _works(decoder)


@pytest.mark.parametrize("uid", sorted(ENCODABLE))
def test_each_encoder_is_undone_by_its_decoder(decoder: Decoder, uid: str) -> None:
    rng = np.random.default_rng(3)
    for bits, stored, signed, samples in ((8, 8, 0, 1), (8, 7, 0, 1), (16, 12, 0, 1), (16, 16, 1, 1), (16, 12, 1, 1), (8, 8, 1, 1),
                                          (8, 8, 0, 3), (16, 16, 0, 3), (8, 2, 0, 1), (8, 1, 0, 1)):
        pixel = replace(PIXEL, bits_allocated=bits, bits_stored=stored, high_bit=stored - 1, representation=signed, samples=samples,
                        photometric="RGB" if samples == 3 else "MONOCHROME2")
        shape = (48, 80, 3) if samples == 3 else (48, 80)
        low, high = (-(1 << (stored - 1)), 1 << (stored - 1)) if signed else (0, 1 << stored)
        array = rng.integers(low, high, shape).astype(f"{'i' if signed else 'u'}{bits // 8}").view(f"u{bits // 8}")
        data, now = encode_frame(array, uid, pixel)
        assert len(data) % 2 == 0
        again, _ = decoder.recode(data, uid, "", now)
        assert again == array.tobytes(), (bits, stored, signed, samples)


def test_a_stream_of_other_dimensions_or_depth_is_refused(decoder: Decoder) -> None:
    for uid in sorted(ENCODABLE - {"1.2.840.10008.1.2.5"}):
        data, _ = encode_frame(VALUES, uid, PIXEL)
        with pytest.raises(Malformed, match="other dimensions"):
            decoder.recode(data, uid, "", replace(PIXEL, rows=47))
        with pytest.raises(Malformed, match=r"more bits|other dimensions"):
            decoder.recode(data, uid, "", replace(PIXEL, bits_allocated=8, bits_stored=8, high_bit=7))


def test_a_hostile_header_is_refused_in_the_child(decoder: Decoder) -> None:
    explicit = Encoding(explicit=True, little=True)
    with pytest.raises(Malformed, match="longer than what holds it"):
        decoder.header(b"\x10\x00\x10\x00PN\xff\x7fAB", explicit, Encoding(explicit=False, little=True), {}, "")
