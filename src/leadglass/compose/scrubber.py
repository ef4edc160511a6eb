"""The scheduled scrub: a thread of the chores process, of the lowest priority, no faster than the settings say."""

import threading
import time
from collections.abc import Callable

import structlog

from leadglass.access import House
from leadglass.compose.lowest_thread import LowestThread

__all__ = ["Pace", "Scrubber"]

_log = structlog.get_logger()
_LOOK_SECONDS = 10.0
_AHEAD = 0.05  # seconds; shorter sleeps cost more than they save


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


class Scrubber(LowestThread):
    """Goes round by round; after a stop the round goes on at the next start. A batch that fails is logged and tried again."""

    def __init__(self, house: House) -> None:
        super().__init__("scrub", self._scrub)
        self._house = house
        self._subject = house.entrance.system("scrub")

    def _scrub(self, stop: threading.Event) -> None:
        pace = Pace(self._house.settings.scrub_megabytes_per_second * 1e6, stop.wait)
        is_more = False
        while not stop.wait(0.0 if is_more else _LOOK_SECONDS):
            try:
                self._house.keeping.scrubbing.look(self._subject)
                is_more = self._house.keeping.scrubbing.turn(self._subject, pace)
            except Exception as e:  # noqa: BLE001 - one fault must not end the rounds
                is_more = False
                _log.error("scrub_failed", error=type(e).__name__)
