"""What a request accepts, and under what name it reached us: shared by the DICOMweb services. Ref: PS3.18 8.7."""

from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException

from leadglass.web.media_types import MediaRange, parse_accept

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["accepted", "accepts_gzip", "base_url", "not_acceptable", "want_json"]


def accepted(request: "Request") -> list[MediaRange]:
    """Return the ranges of the `accept` query parameter, else of the header, best first. Raises: Malformed."""
    return parse_accept(request.query_params.getlist("accept") or request.headers.getlist("accept"))


def not_acceptable(offer: str) -> HTTPException:
    """Return 406 with what there is instead. Ref: PS3.18 8.7.5."""
    return HTTPException(406, f"None of the types asked for can be given here. There is: {offer}")


def want_json(request: "Request") -> None:
    """Return when the DICOM JSON model is acceptable. Raises: HTTPException 406, Malformed."""
    for wanted in accepted(request):
        if wanted.covers("application/dicom+json") or wanted.covers("application/json"):
            return
    raise not_acceptable("application/dicom+json")


def accepts_gzip(request: "Request") -> bool:
    """Return whether the answer may be compressed with gzip. Ref: RFC 9110 12.5.3."""
    for coding in request.headers.get("accept-encoding", "").split(","):
        name, _, quality = coding.partition(";")
        if name.strip().lower() in {"gzip", "*"} and quality.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00"}:
            return True
    return False


def base_url(request: "Request") -> str:
    """Return scheme and host as the client wrote them, for URLs in answers."""
    return f"{request.url.scheme}://{request.url.netloc}"
