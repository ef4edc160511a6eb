"""The reactions of the house: one class per reaction, not per place.

Each class says what the caller can do next. `web/problem.py` and `dimse/status.py` are the only translators to
a protocol's status. A message names rules and ids; never an attribute value, a token, a key or a whole URL.
"""

__all__ = [
    "Busy",
    "Conflict",
    "Damaged",
    "Full",
    "LeadglassError",
    "Malformed",
    "Missing",
    "Refused",
    "Unproven",
]


class LeadglassError(Exception):
    """Root of all domain errors; the message may be shown to the person or device that asked."""


class Unproven(LeadglassError):
    """Who is asking is not known well enough. 401, association reject."""


class Refused(LeadglassError):
    """Known, and not permitted. 403, 0x0124; on reads the faces show it as Missing."""


class Missing(LeadglassError):
    """Nothing here by that name, or nothing that the subject may see. 404, 0x0112."""


class Malformed(LeadglassError):
    """The input breaks its standard or a limit. 400, 0xA900, 0xCxxx."""


class Conflict(LeadglassError):
    """The input contradicts what is kept already. 409, 0x0111."""


class Busy(LeadglassError):
    """Right request, wrong moment. 503 with Retry-After, 0xA700."""

    def __init__(self, message: str, *, retry_after_seconds: int = 2) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Full(Busy):
    """The disk watermark is reached: reading goes on, storing does not. 507, 0xA700."""


class Damaged(LeadglassError):
    """Something kept does not verify. 500, 0x0110, and a security alert."""
