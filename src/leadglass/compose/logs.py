"""Log lines: JSON on standard error. An exception is its type and places, never its message or its variables:
those may hold a patient's name or a key.
"""

import sys
import traceback
from collections.abc import MutableMapping
from typing import Any

import structlog

__all__ = ["configure_logs"]

_FRAMES = 8


def configure_logs() -> None:
    """Set the one shape of log lines for this process and those it forks."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _places_only,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )


def _places_only(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if event.pop("exc_info", None):
        kind, _error, trace = sys.exc_info()
        if kind is not None:
            frames = traceback.extract_tb(trace)[-_FRAMES:]
            event["error"] = kind.__name__
            event["where"] = [f"{f.filename.rsplit('/', 1)[-1]}:{f.lineno}:{f.name}" for f in frames]
    return event
