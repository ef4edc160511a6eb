"""What a request accepts, and under what name it reached us: shared by the DICOMweb services. Ref: PS3.18 8.7."""

from typing import TYPE_CHECKING, Final

from starlette.exceptions import HTTPException

from leadglass.dicom.transfer_syntaxes import EXPLICIT_LITTLE, TRANSFER_SYNTAXES
from leadglass.web.dicomweb.media_types import MediaRange, parse_accept

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["DICOM_OFFER", "accepted", "accepts", "base_url", "not_acceptable", "syntax_for", "want_json"]

DICOM_OFFER: Final = 'multipart/related; type="application/dicom"; transfer-syntax=*'
# Without a transfer-syntax parameter these go out as stored: their pixels have lost something already, and a client
# that did not ask is not given more bytes for the same loss. Ref: PS3.18 8.7.3.4.
_LOSSY: Final = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in ("50", "51", "53", "55", "81", "91", "93", "112", "203"))


def accepted(request: "Request") -> list[MediaRange]:
    """Return the ranges of the `accept` query parameter, else of the header, best first. Raises: Malformed."""
    return parse_accept(request.query_params.getlist("accept") or request.headers.getlist("accept"))


def accepts(request: "Request", media_type: str) -> bool:
    """Return whether the client names exactly `media_type` (not by a wildcard). Raises: Malformed."""
    return any(wanted.type == media_type for wanted in accepted(request))


def not_acceptable(offer: str) -> HTTPException:
    """Return 406 with what there is instead. Ref: PS3.18 8.7.5."""
    return HTTPException(406, f"None of the types asked for can be given here. There is: {offer}")


def want_json(request: "Request") -> None:
    """Return when the DICOM JSON model is acceptable. Raises: HTTPException 406, Malformed."""
    for wanted in accepted(request):
        if wanted.covers("application/dicom+json") or wanted.covers("application/json"):
            return
    raise not_acceptable("application/dicom+json")


def syntax_for(wanted: MediaRange, stored: str, possible: tuple[str, ...]) -> str | None:
    """Return the transfer syntax in which an instance goes out under the range `wanted`, or None. Ref: PS3.18 8.7.8.2.

    `transfer-syntax=*`, and a range that names no DICOM type at all, take what is stored: nothing is converted for
    those who did not ask. A UID takes that. Without the parameter it is Explicit VR Little Endian, the standard's
    default, but for what lost something in its compression or cannot be converted (8.7.3.4 permits both).
    Args: possible: the syntaxes that the instance can be given in.
    """
    asked = wanted.transfer_syntax
    if asked == "*" or (not asked and (wanted.inner if wanted.is_multipart else wanted.type) == "*/*"):
        return stored
    if asked:
        return asked if asked in possible else None
    if stored in _LOSSY or TRANSFER_SYNTAXES[stored].media_type.startswith("video/") or EXPLICIT_LITTLE not in possible:
        return stored
    return EXPLICIT_LITTLE


def base_url(request: "Request") -> str:
    """Return scheme and host as the client wrote them, for URLs in answers."""
    return f"{request.url.scheme}://{request.url.netloc}"
