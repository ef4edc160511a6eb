"""Metadata of series is made when they have settled: a thread of the chores process, of the lowest priority."""

import contextlib
import os
import threading

import structlog

from leadglass.access import House

__all__ = ["Preparer"]

_log = structlog.get_logger()
_LOOK_SECONDS = 1.0
_LOWEST = 19


class Preparer:
    """Looks for series of which nothing has come for some seconds. A turn that fails is logged and tried again."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="prepare", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the series that it makes."""
        self._stop.set()
        self._thread.join(10)

    def _work(self) -> None:
        with contextlib.suppress(OSError):  # on Linux a priority is a thread's own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST)
        while not self._stop.wait(_LOOK_SECONDS):
            try:
                self._house.prepare_models()
            except Exception as e:  # noqa: BLE001 - tried again at the next turn
                _log.error("prepare_failed", error=type(e).__name__)
