"""A thread of the chores process that never comes before what a user waits for."""

import contextlib
import os
import threading
from collections.abc import Callable

__all__ = ["LowestThread"]

_LOWEST = 19


class LowestThread:
    """One thread of the lowest priority. `work` is given the event that says when to end, and looks at it often."""

    def __init__(self, name: str, work: Callable[[threading.Event], None]) -> None:
        self._stop = threading.Event()
        self._work = work
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start it."""
        self._thread.start()

    def stop(self) -> None:
        """Ask it to end, and wait for the piece of work that it has begun."""
        self._stop.set()
        self._thread.join(10)

    def _run(self) -> None:
        with contextlib.suppress(OSError):  # on Linux a priority is a thread's own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST)
        self._work(self._stop)
