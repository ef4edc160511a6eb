"""Is it alive, is it ready, what has it done: for machines that watch. Nothing of a patient or a person."""

import os
import threading
from collections import Counter
from typing import TYPE_CHECKING, Final

from starlette.responses import JSONResponse, PlainTextResponse, Response

from leadglass.errors import Busy

if TYPE_CHECKING:
    from leadglass.web.calls import Call

__all__ = ["Counters", "healthz", "metrics", "readyz"]

_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"


class Counters:
    """Counts of one process: requests by route, method and status. Safe in threads; labels come from our own tables."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._seconds: Counter[str] = Counter()

    def add(self, route: str, method: str, status: int, microseconds: int) -> None:
        """Count one answer."""
        with self._lock:
            self._requests[route, method, status] += 1
            self._seconds[route] += microseconds

    def text(self) -> str:
        """Return the counts as Prometheus text. Each worker has its own, told apart by the label `worker`."""
        with self._lock:
            requests, seconds = sorted(self._requests.items()), sorted(self._seconds.items())
        worker = os.getpid()
        lines = ["# HELP leadglass_http_requests_total Answers by route.", "# TYPE leadglass_http_requests_total counter"]
        lines += [
            f'leadglass_http_requests_total{{worker="{worker}",route="{route}",method="{method}",status="{status}"}} {n}'
            for (route, method, status), n in requests
        ]
        lines += ["# HELP leadglass_http_seconds_total Time to the first byte, summed by route.",
                  "# TYPE leadglass_http_seconds_total counter"]
        lines += [
            f'leadglass_http_seconds_total{{worker="{worker}",route="{route}"}} {micro / 1e6:.6f}'
            for route, micro in seconds
        ]
        return "\n".join(lines) + "\n"


async def healthz(_: "Call") -> Response:
    """Return 200 while the process answers at all."""
    return JSONResponse({"status": "ok"})


def readyz(call: "Call") -> Response:
    """Return 200 when the index can be read, else 503. A full disk is still ready: reading goes on."""
    try:
        call.house.page.publish()
    except Busy:
        return JSONResponse({"status": "waiting"}, status_code=503, headers={"retry-after": "2"})
    return JSONResponse({"status": "ready"})


def metrics(call: "Call") -> Response:
    """Return this worker's counts, and what waits in the house."""
    values = call.house.reconciliation.gauges() | call.house.keeping.scrubbing.gauges()
    return PlainTextResponse(call.request.app.state.counters.text() + _gauges(values), media_type=_TEXT)


def _gauges(values: dict[str, int]) -> str:
    """Return numbers of the house; the same from every worker."""
    lines = []
    for name, value in values.items():
        lines += [f"# TYPE leadglass_{name} gauge", f"leadglass_{name} {value}"]
    return "\n".join(lines) + "\n"
