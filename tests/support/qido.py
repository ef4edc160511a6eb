"""QIDO-RS questions to a house in this process: the handler as the application calls it, no server, no sockets."""

import asyncio
import gzip
import json
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request

from leadglass.access import House
from leadglass.terms import Subject
from leadglass.web.calls import Call
from leadglass.web.dicomweb.search import search


class Reply:
    """Status, headers (lower case) and body of an answer."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers = status, headers
        self.body = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body

    @property
    def models(self) -> list[dict[str, Any]]:
        return list(json.loads(self.body)) if self.body else []


def qido(house: House, subject: Subject, path: str = "/studies", *, accept: str = "application/dicom+json", **parameters: Any) -> Reply:
    """Ask; `parameters` as of the query string ("__" for a dot), a list for one that stands more than once."""
    parts = path.strip("/").split("/")
    found = {name: parts[parts.index(level) + 1] for name, level in (("study", "studies"), ("series", "series"))
             if level in parts[:-1]}
    query = urlencode({k.replace("__", "."): v for k, v in parameters.items()}, doseq=True)
    scope = {"type": "http", "http_version": "1.1", "method": "GET", "scheme": "https", "server": ("localhost", 443), "root_path": "",
             "path": "/dicomweb" + path, "raw_path": ("/dicomweb" + path).encode(), "query_string": query.encode(), "path_params": found,
             "headers": [(b"host", b"localhost"), (b"accept", accept.encode())]}
    call = Call(request=Request(scope), house=house, settings=house.settings, peer=subject.peer, nonce="", who=subject)
    response = search(call)
    sent: list[dict[str, Any]] = []

    async def run() -> None:
        async def receive() -> dict[str, Any]:
            await asyncio.sleep(3600)
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await response(scope, receive, send)

    asyncio.run(run())
    headers = {k.decode().lower(): v.decode() for k, v in sent[0]["headers"]}
    return Reply(sent[0]["status"], headers, b"".join(m.get("body", b"") for m in sent[1:]))
