"""A house and its web application in this process: asked as the server asks it, and what the index was asked meanwhile."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from leadglass.web import create_app


@dataclass
class Answer:
    """What came out."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    pieces: int = 0  # messages with bytes in them


class Asked:
    """A house, its application, and someone who may read."""

    def __init__(self, house: Any) -> None:
        self.house = house
        self.app = create_app(house, house.archive.settings)
        self.me = house.entrance.local("tester")
        house.administration.clients_add(self.me, "asked", "service")
        self.token = house.administration.clients_token(self.me, "asked", seconds=600)[0]
        self.statements: list[str] = []
        sa.event.listen(house.database.engine, "before_cursor_execute", lambda *a: self.statements.append(a[2]))

    def ask(self, path: str, *, query: str = "", method: str = "GET", **headers: str) -> Answer:
        """Ask; `statements` then holds what the index was asked."""
        self.house.page.publish()
        self.statements.clear()
        named = {"host": "localhost", "accept": "application/dicom+json", "authorization": f"Bearer {self.token}", **headers}
        answer = Answer()

        async def receive() -> dict[str, Any]:
            await asyncio.sleep(30)
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = {k.decode().lower(): v.decode("latin-1") for k, v in message["headers"]}
            else:
                answer.body += message.get("body", b"")
                answer.pieces += bool(message.get("body"))

        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "https", "path": path,
            "raw_path": path.encode(), "query_string": query.encode(), "root_path": "", "client": ("127.0.0.1", 5),
            "server": ("h", 443),
            "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in named.items() if v],
        }
        asyncio.run(self.app(scope, receive, send))
        return answer
