"""The first image of a reader at home: cold, warm, and 40 slices further, behind a slow line of its own.

    .venv/bin/python tools/bench_first_image.py               # medians of three, 300 slices
    .venv/bin/python tools/bench_first_image.py --turns 1 --json

A server of its own over HTTPS, a signed-in reader, Chromium, and between them a line of 20 Mbit/s and 20 ms each way. First image:
the first moment at which a viewport's canvas is not of one colour, from navigation to the viewer's page. Further: until the last slice is
shown. `list`: the same from /view, after the study list has loaded the viewer ahead. `preview`: the study page, until its picture is there.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, Page, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

import numpy as np
from live_server import LiveServer
from phantom import ct_slice, multipart, part10
from signed_in import sign_in

FLAGS = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
PIECE = 16384
LIMIT_SECONDS = 60.0
PAINTED = """(root) => { const doc = root ? document.getElementById("viewer")?.contentDocument : document;
  for (const c of doc?.querySelectorAll("canvas") ?? []) { if (c.width < 300) continue;
  const t = document.createElement("canvas"); t.width = t.height = 32; const g = t.getContext("2d"); g.drawImage(c, 0, 0, 32, 32);
  const d = g.getImageData(0, 0, 32, 32).data; let lo = 255, hi = 0;
  for (let i = 0; i < d.length; i += 4) { lo = Math.min(lo, d[i]); hi = Math.max(hi, d[i]); }
  if (hi - lo > 8) return true; } return false; }"""


# --- the line -------------------------------------------------------------------------------------------------
class Direction:
    """One direction of a line: every connection's bytes leave in turn, and arrive a delay later."""

    def __init__(self, mbit: float, delay_seconds: float) -> None:
        self._seconds_per_byte = 8e-6 / mbit
        self._delay = delay_seconds
        self._is_free_at = 0.0

    def arrives(self, octets: int) -> float:
        """Return when bytes that are handed in now are at the other end."""
        self._is_free_at = max(self._is_free_at, time.monotonic()) + octets * self._seconds_per_byte
        return self._is_free_at + self._delay


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Direction) -> None:
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)

    async def deliver() -> None:
        while True:
            due, data = await under_way.get()
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if not data:
                writer.close()
                return
            writer.write(data)
            await writer.drain()

    task = asyncio.ensure_future(deliver())
    try:
        while data := await reader.read(PIECE):
            await under_way.put((way.arrives(len(data)), data))
    except OSError:
        pass
    await under_way.put((0.0, b""))
    await asyncio.gather(task, return_exceptions=True)


@contextmanager
def slow_line(target: int, *, mbit: float = 20, delay_ms: float = 20) -> Iterator[int]:
    """Give the port of a line to `target`: all connections together share its rate in each direction."""
    loop, ready, ports = asyncio.new_event_loop(), threading.Event(), []

    async def serve() -> None:
        up, down = Direction(mbit, delay_ms / 1e3), Direction(mbit, delay_ms / 1e3)

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            near, far = await asyncio.open_connection("127.0.0.1", target)
            await asyncio.gather(_carry(reader, far, up), _carry(near, writer, down))

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        ports.append(server.sockets[0].getsockname()[1])
        ready.set()

    loop.create_task(serve())
    threading.Thread(target=loop.run_forever, daemon=True).start()
    ready.wait(10)
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(loop.stop)


# --- the reader -----------------------------------------------------------------------------------------------
def first_image(page: Page, url: str, *, is_framed: bool = False) -> float:
    """Return seconds from navigation to the first image."""
    started = time.monotonic()
    page.goto(url, wait_until="commit")
    while not page.evaluate(PAINTED, is_framed):
        if time.monotonic() - started > LIMIT_SECONDS:
            raise TimeoutError("no image was shown")
        page.wait_for_timeout(25)
    return time.monotonic() - started


def further(page: Page, slices: int) -> float:
    """Return seconds to scroll `slices` further, until the last of them is shown."""
    page.mouse.move(800, 450)
    started = time.monotonic()
    for _ in range(slices):
        page.mouse.wheel(0, 100)
        page.wait_for_timeout(40)
    while f"({slices + 1}/" not in page.inner_text("body"):
        if time.monotonic() - started > LIMIT_SECONDS:
            raise TimeoutError("the last slice was not shown")
        page.wait_for_timeout(25)
    return time.monotonic() - started


def preview(page: Page, url: str) -> float:
    """Return seconds from the wish for a study's page to the picture of its first series."""
    started = time.monotonic()
    page.goto(url, wait_until="commit")
    page.wait_for_function("() => { const i = document.querySelector('ul.series img'); return i && i.complete && i.naturalWidth > 0; }",
                           polling=10, timeout=LIMIT_SECONDS * 1e3)
    return time.monotonic() - started


def prepared(root: Path, slices: int) -> tuple[LiveServer, str, str]:
    """Return (a running server that holds a CT, its Study Instance UID, a reader's cookie)."""
    live = LiveServer(root, session_idle_seconds=1800)
    live.start()
    first = ct_slice(size=512)
    y, x = np.mgrid[0:512, 0:512]
    noise, script = np.random.default_rng(1), live.script("bench")
    for start in range(1, slices + 1, 20):
        parts = []
        for n in range(start, min(start + 20, slices + 1)):
            inside = np.hypot(x - 256, (y - 256) * 1.2) < 200 + 20 * np.sin(n / 9)
            image = np.where(inside, 1040 + 30 * np.sin(x / 17 + n / 5) * np.cos(y / 23), 24) + noise.normal(0, 12, (512, 512))
            one = ct_slice(study=first.StudyInstanceUID, series=first.SeriesInstanceUID, size=512, number=n,
                           ImagePositionPatient=[-180, -180, float(n)], ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
            one.PixelData = np.clip(image, 0, 4095).astype("<i2").tobytes()
            parts.append(part10(one))
        body, headers = multipart(parts)
        script.post(f"{live.url}/dicomweb/studies", data=body, headers=headers).raise_for_status()
    cookie = str(sign_in(live, "reader", "radiologist")[0].headers["Cookie"]).partition("=")[2]
    return live, str(first.StudyInstanceUID), cookie


def _turn(context: BrowserContext, root: str, study: str, slices: int) -> dict[str, float]:
    viewer, found = f"{root}/viewer/viewer?StudyInstanceUIDs={study}", {}
    for name in ("cold", "warm"):
        page = context.new_page()
        found[name] = first_image(page, viewer)
        found[f"{name} further"] = further(page, slices)
        page.close()
    page = context.new_page()
    page.goto(f"{root}/studies", wait_until="networkidle")
    found["preview"] = preview(page, f"{root}/studies/{study}")
    found["list"] = first_image(page, f"{root}/view/{study}", is_framed=True)
    page.close()
    return found


def measure(*, turns: int = 3, images: int = 300, slices: int = 40, mbit: float = 20, delay_ms: float = 20) -> dict[str, float]:
    """Return medians in seconds: cold, warm, each with `further`, list (from the study list) and preview. For `make bench`."""
    with tempfile.TemporaryDirectory(prefix="leadglass-bench-") as folder:
        live, study, cookie = prepared(Path(folder), images)
        found: list[dict[str, float]] = []
        try:
            with slow_line(int(live.url.rpartition(":")[2]), mbit=mbit, delay_ms=delay_ms) as port, sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
                for _ in range(turns):  # a new context each time: nothing is kept of the turn before
                    context = browser.new_context(ignore_https_errors=True, viewport={"width": 1400, "height": 900})
                    context.add_cookies([{"name": "__Host-session", "value": cookie, "domain": "localhost", "path": "/",
                                          "secure": True, "httpOnly": True, "sameSite": "Strict"}])
                    found.append(_turn(context, f"https://localhost:{port}", study, slices))
                    context.close()
                browser.close()
        finally:
            live.stop()
    return {name: statistics.median(one[name] for one in found) for name in found[0]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--mbit", type=float, default=20)
    parser.add_argument("--delay-ms", type=float, default=20)
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args()
    found: dict[str, Any] = measure(turns=a.turns, images=a.images, mbit=a.mbit, delay_ms=a.delay_ms)
    print(json.dumps(found) if a.json else "\n".join(f"{name:14} {seconds:5.2f} s" for name, seconds in found.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
