"""The route table as data: every operation of the web face, with the Action that it needs."""

from collections.abc import Callable
from typing import Any

from leadglass.terms import Action
from leadglass.web import health, oauth
from leadglass.web.calls import Call, Operation
from leadglass.web.console.pages_table import PAGES
from leadglass.web.dicomweb import (
    api_description,
    bulk_data,
    capabilities,
    export,
    metadata,
    pixel_data,
    rendered,
    retrieve,
    search,
    store,
    wado_uri,
)

__all__ = ["api_table", "table"]

STUDY = "/dicomweb/studies/{study}"
SERIES = STUDY + "/series/{series}"
INSTANCE = SERIES + "/instances/{instance}"


def table() -> tuple[Operation, ...]:
    """Return every operation of the web face, in the order in which paths are matched."""
    return (*api_table(), *PAGES)


def api_table() -> tuple[Operation, ...]:
    """Return DICOMweb, tokens and health. Ref: PS3.18 10.3-10.6; RFC 6749 4.4; RFC 8414."""
    read = Action.STUDY_READ

    def get(path: str, handler: Callable[[Call], Any], action: Action) -> Operation:
        return Operation(path=path, methods=("GET",), action=action, handler=handler)

    def heads(path: str, handler: Callable[[Call], Any]) -> Operation:
        """Give HEAD too: its headers are made without reading the study."""
        return Operation(path=path, methods=("GET", "HEAD"), action=read, handler=handler)

    def public(path: str, handler: Callable[[Call], Any], reason: str, method: str = "GET") -> Operation:
        return Operation(path=path, methods=(method,), action=None, handler=handler, public_reason=reason)

    rows = [
        public("/healthz", health.healthz, "says only that the process answers"),
        public("/readyz", health.readyz, "says only whether the index answers"),
        public("/metrics", health.metrics, "counts of requests by route and status; nothing of a patient or person"),
        *(public(path, capabilities.capabilities, "what there is, the same for everyone; nothing of a patient", method)
          for path in ("/dicomweb", "/dicomweb/") for method in ("GET", "OPTIONS")),
        public("/openapi.json", api_description.openapi, "what the API is, the same for everyone; nothing of a patient"),
        public("/.well-known/oauth-authorization-server", oauth.metadata, "RFC 8414: how to ask for a token"),
        public("/oauth/token", oauth.token, "proves the client itself, by private_key_jwt", "POST"),
    ]
    rows += [
        Operation(path=path, methods=("POST",), action=Action.INSTANCE_STORE, handler=store.store)
        for path in ("/dicomweb/studies", STUDY)
    ]
    rows += [
        get(path, search.search, Action.STUDY_SEARCH)
        for path in ("/dicomweb/studies", "/dicomweb/series", "/dicomweb/instances", STUDY + "/series",
                     STUDY + "/instances", SERIES + "/instances")
    ]
    for level in (STUDY, SERIES, INSTANCE):
        rows += [
            heads(level, retrieve.instances if level == INSTANCE else export.files),
            heads(level + "/metadata", metadata.metadata),
            heads(level + "/bulkdata", bulk_data.all_bulk_data),
            heads(level + "/pixeldata", pixel_data.pixel_data),
            get(level + "/rendered", rendered.rendered, read),
            get(level + "/thumbnail", rendered.thumbnail, read),
        ]
    rows += [
        heads(INSTANCE + "/bulkdata/{path:path}", bulk_data.bulk),
        heads(INSTANCE + "/frames/{frames}", pixel_data.frames),
        get("/wado", wado_uri.wado_uri, read),
        get(INSTANCE + "/frames/{frames}/rendered", rendered.rendered, read),
        get(INSTANCE + "/frames/{frames}/thumbnail", rendered.thumbnail, read),
    ]
    return tuple(rows)
