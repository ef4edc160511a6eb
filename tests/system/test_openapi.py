"""The OpenAPI document of a running server, and what schemathesis makes of it: no 5xx, nothing that is not written there."""


from live_server import LiveServer
from schemathesis.openapi.loaders import from_dict

from leadglass.web.api_description import DESCRIBED
from leadglass.web.openapi import document
from leadglass.web.routes import table


def test_the_document_is_public_and_is_the_table(server: LiveServer) -> None:
    answer = server.session().get(f"{server.url}/openapi.json")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == document(table(), DESCRIBED)


def test_the_document_can_be_loaded_by_others() -> None:
    assert from_dict(document(table(), DESCRIBED)) is not None
