"""The OpenAPI document says what the route table says: no row without its description, no description without a row."""

import json
import re

from leadglass.terms import Action
from leadglass.web.calls import Operation
from leadglass.web.dicomweb.api_description import DESCRIBED
from leadglass.web.dicomweb.openapi import document
from leadglass.web.routes import api_table, table

DOCUMENT = document(table(), DESCRIBED)


def plain(path):
    return re.sub(r":path\}", "}", path)


def test_every_operation_of_the_api_is_there_and_no_other():
    said = {(path, method.upper()) for path, item in DOCUMENT["paths"].items() for method in item}
    assert said == {(plain(row.path), method) for row in table() if row.face == "api" for method in row.methods}


def test_every_description_has_a_row():
    assert set(DESCRIBED) == {row.handler for row in api_table()}


def test_rights_and_reasons_are_the_rows():
    for row in api_table():
        for method in row.methods:
            said = DOCUMENT["paths"][plain(row.path)][method.lower()]
            if row.action is None:
                assert said["security"] == []
                assert row.public_reason in said["description"]
                assert "401" not in said["responses"] or row.path == "/oauth/token"
            else:
                assert said["security"] == [{"bearer": []}, {"session": []}]
                assert f"`{row.action}`" in said["description"]
                assert said["responses"]["401"] == {"description": "Not proved who asks; no body", "headers": {
                    "WWW-Authenticate": {"schema": {"type": "string"}}}}


def test_the_parts_of_a_path_are_parameters():
    for path, item in DOCUMENT["paths"].items():
        for operation in item.values():
            said = [p["name"] for p in operation["parameters"] if p["in"] == "path"]
            assert said == re.findall(r"\{(\w+)\}", path)
            assert all(p["schema"] for p in operation["parameters"])


def test_operation_ids_are_unique_and_references_are_there():
    ids = [o["operationId"] for item in DOCUMENT["paths"].values() for o in item.values()]
    assert len(ids) == len(set(ids))
    for name in set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(DOCUMENT))):
        assert name in DOCUMENT["components"]["schemas"]


def test_a_row_more_is_an_operation_more():
    more = Operation(path="/dicomweb/more/{study}", methods=("GET",), action=Action.STUDY_READ, handler=api_table()[-1].handler)
    assert "/dicomweb/more/{study}" in document([*table(), more], DESCRIBED)["paths"]
