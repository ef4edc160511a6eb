"""Metadata of series is made when they have settled: a thread of the chores process, of the lowest priority."""

import threading

import structlog

from leadglass.access import House
from leadglass.compose.lowest_thread import LowestThread

__all__ = ["Preparer"]

_log = structlog.get_logger()
_LOOK_SECONDS = 1.0


class Preparer(LowestThread):
    """Looks for series of which nothing has come for some seconds. A turn that fails is logged and tried again."""

    def __init__(self, house: House) -> None:
        super().__init__("prepare", self._prepare)
        self._house = house

    def _prepare(self, stop: threading.Event) -> None:
        while not stop.wait(_LOOK_SECONDS):
            try:
                self._house.prepare_models()
            except Exception as e:  # noqa: BLE001 - tried again at the next turn
                _log.error("prepare_failed", error=type(e).__name__)
