"""Decode processes that crash, hang or swell, in a running server under parallel load: one error each, while others go on."""

import os
import signal
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from live_server import LiveServer
from phantom import ct_slice, multipart, part10
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, RLELossless

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]
GROWTH = 300 << 20


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("decoders"), decode_workers=2, decode_seconds=2, decode_memory_bytes=2**29, token_seconds=3600)
    server.start()
    yield server
    assert server.stop() == 0


def _store(live: LiveServer, *files: bytes) -> None:
    body, headers = multipart(list(files))
    answer = live.script().post(f"{live.url}/dicomweb/studies", data=body, headers=headers)
    assert answer.status_code == 200, answer.text


def _url(live: LiveServer, ds: Any) -> str:
    return f"{live.url}/dicomweb/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/instances/{ds.SOPInstanceUID}/rendered"


def _decoders(live: LiveServer) -> list[int]:
    return [p for p in live.processes() if b"decode_worker" in Path(f"/proc/{p}/cmdline").read_bytes()]


def _hostile(kind: str) -> tuple[Any, bytes]:
    """Return (data set, file) whose one frame claims far more than it holds."""
    ds = ct_slice(size=16)
    ds.Rows = ds.Columns = 9000
    if kind == "RLE bomb":
        segment = b"\x81\x00" * 2000  # 129 zeros each
        frame = b"\x02\x00\x00\x00\x40\x00\x00\x00" + (64 + len(segment)).to_bytes(4, "little") + bytes(52) + segment + segment
        ds.file_meta.TransferSyntaxUID = RLELossless
    else:
        packer = zlib.compressobj(9, wbits=-15)
        frame = packer.compress(bytes(400 << 20)) + packer.flush()
        frame += b"\x00" * (len(frame) % 2)
        ds.file_meta.TransferSyntaxUID = JPEG2000Lossless
    ds.PixelData = encapsulate([frame])
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    data = part10(ds)
    if kind != "RLE bomb":  # pydicom does not know Deflated Image Frame Compression
        data = data.replace(b"1.2.840.10008.1.2.4.90", b"1.2.840.10008.1.2.8.1\x00")
    return ds, data


class Load:
    """Readers who go on asking for a picture, each time on a new connection: so every worker and each of its decode processes
    is asked soon. `stop` returns how their answers were.
    """

    def __init__(self, live: LiveServer, url: str) -> None:
        self._session, self._url = live.script(), url
        self._is_over = threading.Event()
        self._pool = ThreadPoolExecutor(3)
        self._runs = [self._pool.submit(self._run) for _ in range(3)]

    def _run(self) -> Counter[int]:
        seen: Counter[int] = Counter()
        while not self._is_over.is_set():
            answer = self._session.get(self._url, headers={"Accept": "image/png", "Connection": "close"}, timeout=60)
            seen[answer.status_code] += 1
        return seen

    def stop(self) -> Counter[int]:
        self._is_over.set()
        found = sum((run.result() for run in self._runs), Counter())
        self._pool.shutdown()
        return found


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS])
def test_a_crash_is_one_error_to_one_caller(live: LiveServer, signum: int) -> None:
    ds = ct_slice(size=512)
    _store(live, part10(ds))
    servers = [p for p in live.processes() if p not in _decoders(live)]
    load = Load(live, _url(live, ds))
    killed = 0
    end = time.monotonic() + 4
    while time.monotonic() < end:
        for pid in _decoders(live)[:1]:
            try:
                os.kill(pid, signum)
                killed += 1
            except ProcessLookupError:
                continue
        time.sleep(0.4)
    seen = load.stop()
    assert killed >= 3
    assert seen[200] >= 3, seen
    assert set(seen) <= {200, 400, 404, 406, 409, 503}, seen  # one clear error each, and no 500
    assert sum(n for status, n in seen.items() if status != 200) <= killed
    assert set(servers) <= set(live.processes())
    assert live.script().get(_url(live, ds), headers={"Accept": "image/png"}).status_code == 200


def test_a_hang_ends_with_the_time_limit_while_others_go_on(live: LiveServer) -> None:
    ds = ct_slice(size=512)
    _store(live, part10(ds))
    session = live.script()
    assert session.get(_url(live, ds)).status_code == 200
    stopped = _decoders(live)[:1]
    os.kill(stopped[0], signal.SIGSTOP)  # it hangs: no crash, no answer
    load = Load(live, _url(live, ds))
    time.sleep(12)
    seen = load.stop()
    assert seen[200] >= 10, seen
    assert sum(n for status, n in seen.items() if status != 200) <= 1, seen
    assert stopped[0] not in _decoders(live)


@pytest.mark.parametrize("kind", ["RLE bomb", "deflate bomb"])
def test_a_memory_bomb_is_refused_while_others_go_on(live: LiveServer, kind: str) -> None:
    good, (bad, data) = ct_slice(size=512), _hostile(kind)
    _store(live, part10(good), data)
    before = live.pss_bytes()
    load = Load(live, _url(live, good))
    session, most = live.script(), 0
    for _ in range(4):
        started = time.monotonic()
        answer = session.get(_url(live, bad), headers={"Accept": "image/png"}, timeout=60)
        assert answer.status_code not in {200, 500}, answer.status_code
        assert time.monotonic() - started < 30
        most = max(most, live.pss_bytes())
    seen = load.stop()
    assert set(seen) <= {200, 503}, seen
    assert seen[200] >= 3
    time.sleep(0.5)
    assert live.pss_bytes() - before < GROWTH
    assert most - before < GROWTH + 2 * 2**29  # two children at their limit
    assert "incident" not in live.log.read_text(errors="replace")
