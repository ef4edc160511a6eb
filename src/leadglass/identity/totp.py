"""One-time codes. Ref: RFC 6238; one use a step, one step of drift either way."""

from typing import Final

import pyotp

from leadglass.errors import Malformed

__all__ = ["STEP_SECONDS", "check_code_shape", "enrolment_uri", "matching_step", "new_seed"]

STEP_SECONDS: Final = 30
_DRIFT: Final = 1


def new_seed() -> str:
    """Return a fresh 160-bit seed in base 32."""
    return pyotp.random_base32(32)


def enrolment_uri(seed: str, name: str, issuer: str) -> str:
    """Return the otpauth URI that an authenticator app scans."""
    return pyotp.TOTP(seed, interval=STEP_SECONDS).provisioning_uri(name=name, issuer_name=issuer)


def matching_step(seed: str, code: str, *, now: float, last_step: int) -> int | None:
    """Return the time step that `code` belongs to, newer than `last_step`; None when it is wrong or was used.

    The caller keeps the step with the credential in the same transaction: a code opens once (RFC 6238 5.2).
    """
    code = code.replace(" ", "")
    if len(code) != 6 or not code.isascii() or not code.isdigit():
        return None
    machine = pyotp.TOTP(seed, interval=STEP_SECONDS)
    present = int(now) // STEP_SECONDS
    found = None
    for step in range(present - _DRIFT, present + _DRIFT + 1):  # no early end: time tells nothing
        if pyotp.utils.strings_equal(code, machine.at(step * STEP_SECONDS)) and step > last_step:
            found = step
    return found


def check_code_shape(code: str) -> None:
    """Raise Malformed for what cannot be a code (enrolment only: there the person should hear why)."""
    if len(code.replace(" ", "")) != 6 or not code.replace(" ", "").isdigit():
        raise Malformed("the code has six digits.")
