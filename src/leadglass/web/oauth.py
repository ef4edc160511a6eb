"""Tokens for machine clients: client credentials with private_key_jwt, and nothing else.

Ref: RFC 6749 4.4, 5.2; RFC 7523 2.2, 3; RFC 8414. A client proves itself with a signed assertion for this server;
what comes back is opaque and lives for minutes.
"""

from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from leadglass.errors import Malformed, Refused, Unproven

if TYPE_CHECKING:
    from leadglass.web.calls import Call

__all__ = ["issuer", "metadata", "token"]

_ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_MAX_BODY: Final = 16384
_TOKEN_PATH: Final = "/oauth/token"  # noqa: S105 - a path


def issuer(call: "Call") -> str:
    """Return the server's own URL: the host name is the setting's, so that no Host header can widen an audience."""
    port = call.request.url.port
    return f"https://{call.settings.hostname}" + (f":{port}" if port and port != 443 else "")


async def metadata(call: "Call") -> Response:
    """Answer what RFC 8414 asks."""
    own = issuer(call)
    return JSONResponse({
        "issuer": own,
        "token_endpoint": own + _TOKEN_PATH,
        "grant_types_supported": ["client_credentials"],
        "response_types_supported": [],
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ["EdDSA", "ES256"],
        "scopes_supported": [],
    })


async def token(call: "Call") -> Response:
    """Give a token to a client that proves itself. Errors are RFC 6749's; they never say which part was wrong."""
    try:
        form = await _form(call)
    except Malformed:
        return _error(400, "invalid_request")
    if form.get("grant_type") != "client_credentials":
        return _error(400, "unsupported_grant_type" if form.get("grant_type") else "invalid_request")
    assertion = form.get("client_assertion", "")
    if form.get("client_assertion_type") != _ASSERTION_TYPE or not assertion:
        return _error(401, "invalid_client")
    audiences = {issuer(call), issuer(call) + _TOKEN_PATH}  # RFC 7523 3: either stands for this server
    try:
        secret, seconds = await run_in_threadpool(call.house.entrance.client_token, assertion, call.peer, audiences)
    except (Unproven, Refused, Malformed):
        return _error(401, "invalid_client")
    return JSONResponse(
        {"access_token": secret, "token_type": "Bearer", "expires_in": int(seconds)}, headers={"pragma": "no-cache"}
    )


async def _form(call: "Call") -> dict[str, str]:
    kind = call.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise Malformed("a form is wanted.")
    body = b""
    async for piece in call.request.stream():
        body += piece
        if len(body) > _MAX_BODY:
            raise Malformed("the form is too long.")
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=20, strict_parsing=True)
    except ValueError as e:
        raise Malformed("the form cannot be read.") from e
    if len(dict(pairs)) != len(pairs):  # RFC 6749 3.2: parameters must not stand twice
        raise Malformed("a parameter stands twice.")
    return dict(pairs)


def _error(status: int, code: str) -> Response:
    return JSONResponse({"error": code}, status_code=status)
