"""What browsers are told to refuse: one pure function from a path to its headers.

Three policies: the console (own scripts by nonce), the viewer (WebAssembly and blob workers, as OHIF needs), and
answers to programs (nothing runs). All are cross-origin isolated. A header that a handler has set is left as it is.
Ref: CSP Level 3; Fetch Metadata; RFC 6797; Reporting is not used: it would send URLs out.
"""

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

__all__ = ["api_csp", "console_csp", "decoder_csp", "is_own_origin", "safety_headers", "viewer_csp"]

_COMMON: Final = (
    ("strict-transport-security", "max-age=31536000; includeSubDomains"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-embedder-policy", "require-corp"),
    ("cross-origin-resource-policy", "same-origin"),
    (
        "permissions-policy",
        (
            "publickey-credentials-get=(self), publickey-credentials-create=(self), fullscreen=(self), camera=(), "
            "microphone=(), geolocation=(), payment=(), usb=(), serial=(), display-capture=(), browsing-topics=()"
        ),
    ),
    ("cache-control", "no-store"),  # all of it may be a patient's; static files set their own
)
_VIEWER: Final = "/viewer"
_CONSOLE_FREE: Final = ("/dicomweb", "/wado", "/oauth", "/.well-known", "/healthz", "/readyz", "/metrics")


def console_csp(nonce: str) -> str:
    """Return the policy of our own pages."""
    return (
        "default-src 'none'; "
        f"script-src 'self' 'nonce-{nonce}'; style-src 'self' 'nonce-{nonce}'; img-src 'self' data:; "
        "font-src 'self'; connect-src 'self'; manifest-src 'self'; frame-src 'self'; form-action 'self'; "
        "base-uri 'none'; object-src 'none'; frame-ancestors 'self'"
    )


def viewer_csp(nonce: str = "", script_hashes: tuple[str, ...] = ()) -> str:
    """Return the policy of the viewer's files. `script_hashes`: such as "sha256-...", of inline scripts in its page."""
    scripts = " ".join(["'self'", "'wasm-unsafe-eval'", *(["'nonce-" + nonce + "'"] if nonce else []),
                        *(f"'{h}'" for h in script_hashes)])
    return (
        f"default-src 'none'; script-src {scripts} blob:; worker-src 'self' blob:; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' blob:; connect-src 'self' blob: data:; "
        "manifest-src 'self'; form-action 'none'; base-uri 'self'; object-src 'none'; frame-ancestors 'self'"
    )


def decoder_csp() -> str:
    """Return the policy of the viewer's decode worker, which has no page, no DOM and no storage of a session.

    The glue of its codecs makes functions from text of its own. What it is fed are images, never text; it may load and
    fetch from here alone. The page that starts it stays without 'unsafe-eval'.
    """
    return "default-src 'none'; script-src 'self' 'unsafe-eval' 'wasm-unsafe-eval'; connect-src 'self'"


def api_csp() -> str:
    """Return the policy of answers to programs: should a browser show one, nothing in it runs."""
    return "default-src 'none'; frame-ancestors 'none'; sandbox"


def safety_headers(path: str, nonce: str) -> list[tuple[str, str]]:
    """Return the headers of every answer to `path`; the caller adds those that the handler has not set."""
    if path == _VIEWER or path.startswith(_VIEWER + "/"):
        policy = viewer_csp(nonce)
    elif path.startswith(_CONSOLE_FREE):
        policy = api_csp()
    else:
        policy = console_csp(nonce)
    return [("content-security-policy", policy), *_COMMON]


def is_own_origin(headers: Mapping[str, str], *, scheme: str) -> bool:
    """Return whether a browser says that the request comes from our own pages.

    `Sec-Fetch-Site: same-origin` says so by itself: no page can forge it, and with our Referrer-Policy the Origin of a
    form is `null`. A browser without it must send an Origin equal to our own; a request with neither is not taken for
    ours.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    parts = urlsplit(headers.get("origin", ""))
    own = f"{scheme}://{headers.get('host', '')}"
    return f"{parts.scheme}://{parts.netloc}".lower() == own.lower()
