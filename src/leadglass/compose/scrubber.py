"""The scheduled scrub: a thread of the chores process, of the lowest priority, no faster than the settings say."""

import contextlib
import os
import threading
import time
from collections.abc import Callable

import structlog

from leadglass.access import House

__all__ = ["Pace", "Scrubber"]

_log = structlog.get_logger()
_LOOK_SECONDS = 10.0
_AHEAD = 0.05  # seconds; shorter sleeps cost more than they save
_LOWEST = 19


class Pace:
    """Holds a reader to so many bytes a second; `wait` sleeps, and says whether to stop."""

    def __init__(
        self, bytes_per_second: float, wait: Callable[[float], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate, self._wait, self._clock = bytes_per_second, wait, clock
        self._began, self._read = clock(), 0

    def __call__(self, octets: int) -> bool:
        """Count what was read and sleep when it was too fast; return False when the work is to stop."""
        self._read += octets
        ahead = self._read / self._rate - (self._clock() - self._began)
        if ahead > _AHEAD:
            return not self._wait(ahead)
        if ahead < -1.0:  # what was not read in time is not made up for in a burst
            self._began, self._read = self._clock(), 0
        return True


class Scrubber:
    """Goes round by round. A batch that fails is logged and tried again."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._subject = house.entrance.system("scrub")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="scrub", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the piece that it reads; the round goes on at the next start."""
        self._stop.set()
        self._thread.join(10)

    def _work(self) -> None:
        with contextlib.suppress(OSError):  # on Linux a priority is a thread's own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST)
        pace = Pace(self._house.settings.scrub_megabytes_per_second * 1e6, self._stop.wait)
        is_more = False
        while not self._stop.wait(0.0 if is_more else _LOOK_SECONDS):
            try:
                self._house.keeping.scrubbing.look(self._subject)
                is_more = self._house.keeping.scrubbing.turn(self._subject, pace)
            except Exception as e:  # noqa: BLE001 - one fault must not end the rounds
                is_more = False
                _log.error("scrub_failed", error=type(e).__name__)
