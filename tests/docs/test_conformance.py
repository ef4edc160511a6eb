"""The conformance statement's tables say what the tables in the code say: no row too many, none too few."""

import re
from pathlib import Path

import pytest

from leadglass.dicom.assemble import BULK_SYNTAXES
from leadglass.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from leadglass.dicom.sop_classes import STORAGE_SOP_CLASSES
from leadglass.dicom.transfer_syntaxes import TRANSFER_SYNTAXES
from leadglass.dimse import status
from leadglass.dimse.handlers import HANDLERS
from leadglass.web.dicomweb import store_run
from leadglass.web.dicomweb.api_description import DESCRIBED
from leadglass.web.dicomweb.openapi import document
from leadglass.web.dicomweb.store_answer import STORED_WITH_WARNING
from leadglass.web.routes import api_table

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def rows(name: str, after: str = "") -> list[list[str]]:
    """Return the rows of a document whose first cell stands in backticks, from the heading `after` to the next."""
    text = (REFERENCE / name).read_text("utf-8")
    if after:
        text = re.split(r"^#+ ", text.split(after + "\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    cells = [[c.strip() for c in line.strip().strip("|").split("|")] for line in text.splitlines() if line.startswith("| `")]
    return [[c[0].strip("`"), *c[1:]] for c in cells]


def test_storage_sop_classes():
    assert rows("conformance/sop-classes.md") == [[uid, name] for uid, name in STORAGE_SOP_CLASSES.items()]


def test_transfer_syntaxes():
    assert rows("conformance/transfer-syntaxes.md") == [[s.uid, s.name, s.media_type] for s in TRANSFER_SYNTAXES.values()]


def test_dimse_services():
    text = (REFERENCE / "conformance-statement.md").read_text("utf-8")
    said = sorted((r[0], int(r[3], 16)) for r in rows("conformance-statement.md", "### DIMSE services") if "SCP" in r[4])
    done = sorted((uid, int(s.command)) for s in HANDLERS for uid in s.sop_classes if uid not in STORAGE_SOP_CLASSES)
    assert said == done
    storage = {int(s.command) for s in HANDLERS if set(s.sop_classes) >= set(STORAGE_SOP_CLASSES)}
    assert storage == {0x0001}
    assert "| each of [SOP classes](conformance/sop-classes.md) | Storage | C-STORE | 0x0001 |" in text
    for service in HANDLERS:
        if not set(service.sop_classes) & set(STORAGE_SOP_CLASSES):
            named = {r[0]: r[1] for r in rows("conformance-statement.md", "### DIMSE services")}
            assert {uid: named[uid] for uid in service.sop_classes} == dict(service.sop_classes)


def test_dicomweb_resources():
    said = [r[0] for r in rows("conformance-statement.md", "### DICOMweb services")]
    done = [f"{method} {row.path}" for row in api_table() for method in row.methods if row.action is not None]
    assert sorted(said) == sorted(done)


def test_media_types_of_dicomweb():
    handlers = {f"{method} {row.path}": row.handler for row in api_table() for method in row.methods}
    for request, _, types, _ in rows("conformance-statement.md", "### DICOMweb services"):
        given = [] if request.startswith("HEAD") else sorted(DESCRIBED[handlers[request]].answers[200])
        assert re.findall("`(.+?)`", types) == given, request


def test_status_codes_of_http():
    text = (REFERENCE / "conformance-statement.md").read_text("utf-8").split("### Status codes of HTTP\n", 1)[1].split("\n#", 1)[0]
    said = dict(re.findall(r"^\| ([0-9]{3}) \| (.+) \|$", text, re.MULTILINE))
    operations = [o for item in document(api_table(), DESCRIBED)["paths"].values() for o in item.values()]
    assert said == {code: answer["description"] for o in operations for code, answer in o["responses"].items()}


def test_media_types_of_bulk_data():
    said = {r[0]: r[1] for r in rows("conformance/storage.md", "### Metadata and bulk data") if "/" in r[0]}
    assert said == dict(BULK_SYNTAXES)


def test_failure_reasons_of_store():
    text = (REFERENCE / "conformance" / "storage.md").read_text("utf-8")
    said = {int(code, 16) for code in re.findall(r"^\| 0x([0-9A-F]{4}) ", text, re.MULTILINE)}
    done = {v for k, v in vars(store_run).items() if k.isupper() and not k.startswith("_") and type(v) is int}
    assert said == done | {STORED_WITH_WARNING}


def test_dimse_statuses():
    said = {int(code, 16) for code in re.findall(r"^\| `?0x([0-9A-F]{4})`? ", (REFERENCE / "statuses.md").read_text("utf-8"), re.MULTILINE)}
    done = {value for name, value in vars(status).items() if name.isupper() and not name.startswith("_") and isinstance(value, int)}
    assert done <= said


@pytest.mark.parametrize("value", [IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME])
def test_implementation_identity(value):
    assert f"| `{value}` |" in (REFERENCE / "conformance-statement.md").read_text("utf-8")


def test_each_part_is_linked():
    text = (REFERENCE / "conformance-statement.md").read_text("utf-8")
    for path in (REFERENCE / "conformance").glob("*.md"):
        assert f"(conformance/{path.name})" in text, path.name
        assert len(path.read_text("utf-8").splitlines()) < 600
