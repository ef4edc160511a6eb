"""The only translator from the house's errors to DIMSE statuses. Ref: PS3.7 C, PS3.4 B.2.3."""

import traceback
from pathlib import Path
from typing import Final

import structlog

from leadglass.errors import Busy, Conflict, Damaged, LeadglassError, Malformed, Missing, Refused, Unproven

__all__ = [
    "CANCELLED", "CANNOT_UNDERSTAND", "DESTINATION_UNKNOWN", "DUPLICATE", "INVALID_ARGUMENT", "NONE_DONE", "NOT_AUTHORIZED",
    "NOT_THIS_INSTANCE", "NO_SUCH_ACTION", "NO_SUCH_INSTANCE", "NO_SUCH_SOP_CLASS", "OUT_OF_RESOURCES", "PENDING",
    "PENDING_WARNING", "PROCESSING_FAILURE", "SOME_FAILED", "SUCCESS", "UNRECOGNIZED_OPERATION", "WARNING", "is_failure",
    "place_of", "status_of",
]

_log = structlog.get_logger()

SUCCESS: Final = 0x0000
PENDING: Final = 0xFF00
PENDING_WARNING: Final = 0xFF01  # of a C-FIND: a match, and an optional key is not supported
CANCELLED: Final = 0xFE00
SOME_FAILED: Final = 0xB000  # of a C-MOVE's or C-GET's sub-operations
NONE_DONE: Final = 0xA702  # none of them
DESTINATION_UNKNOWN: Final = 0xA801
PROCESSING_FAILURE: Final = 0x0110
DUPLICATE: Final = 0x0111
WARNING: Final = 0xB000  # stored, and something is to be said. Ref: PS3.4 B.2.3
NO_SUCH_INSTANCE: Final = 0x0112
INVALID_ARGUMENT: Final = 0x0115
NO_SUCH_ACTION: Final = 0x0123
NOT_AUTHORIZED: Final = 0x0124
NO_SUCH_SOP_CLASS: Final = 0x0122
UNRECOGNIZED_OPERATION: Final = 0x0211
OUT_OF_RESOURCES: Final = 0xA700
NOT_THIS_INSTANCE: Final = 0xA900  # of a C-STORE; of query/retrieve: the identifier does not fit the SOP class
CANNOT_UNDERSTAND: Final = 0xC000
_COMMENT: Final = 64
_FRAMES: Final = 4


def status_of(error: Exception) -> tuple[int, str]:
    """Return (status, error comment of at most 64 characters; it never holds a value of the data set)."""
    match error:
        case Malformed():
            is_other = "announced" in str(error)
            return (NOT_THIS_INSTANCE if is_other else CANNOT_UNDERSTAND), _short(error)
        case Busy():
            return OUT_OF_RESOURCES, _short(error)
        case Conflict():
            return DUPLICATE, _short(error)
        case Refused() | Unproven():
            return NOT_AUTHORIZED, "not permitted"
        case Damaged() | Missing():
            _log.error("dimse_damage", error=type(error).__name__)
            return PROCESSING_FAILURE, "something kept here does not verify"
        case _:
            _log.error("dimse_incident", error=type(error).__name__, place=place_of(error))
            return PROCESSING_FAILURE, "processing failure"


def is_failure(status: int) -> bool:
    """Return whether a status is neither success, pending, cancel nor warning. Ref: PS3.7 C."""
    return status not in {SUCCESS, 0x0001, 0x0107, 0x0116, CANCELLED, PENDING, 0xFF01} and status >> 12 != 0xB


def place_of(error: BaseException) -> list[str]:
    """Return where an error was raised: the only thing of a foreign error that may stand in a log.

    Its message and its traceback's values may hold what a statement was run with: a patient's name.
    """
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames[:-1] if "leadglass" in f.filename][-_FRAMES:]
    return [f"{Path(frame.filename).name}:{frame.lineno}" for frame in (*ours, *frames[-1:])]


def _short(error: LeadglassError) -> str:
    return str(error).encode("ascii", "replace").decode().replace("\\", "/")[:_COMMENT]
