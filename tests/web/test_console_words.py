"""What people type and what they read: search words, names, sizes; and which files the viewer may hand out."""

import json
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from leadglass.terms import Action
from leadglass.web.console import pages
from leadglass.web.console.access_log import sentence
from leadglass.web.console.static_files import resolve
from leadglass.web.console.studies import parse_words
from leadglass.web.console.viewer import app_config
from leadglass.web.dicomweb.media_types import parse_accept
from leadglass.web.dicomweb.pixel_data import choose

TODAY = date(2026, 11, 24)


@pytest.mark.parametrize(("typed", "words", "filters"), [
    ("", "", {}), ("  miller  anna ", "miller anna", {}), ("ct", "", {"ModalitiesInStudy": "CT"}),
    ("ct mr", "mr", {"ModalitiesInStudy": "CT"}), ("miller ct today", "miller", {"ModalitiesInStudy": "CT", "StudyDate": "20261124"}),
    ("yesterday", "", {"StudyDate": "20261123"}), ("last 7 days", "", {"StudyDate": "20261117-20261124"}),
    ("LAST 2 Weeks mr", "", {"StudyDate": "20261110-20261124", "ModalitiesInStudy": "MR"}),
    ("2026-11-02", "", {"StudyDate": "20261102"}), ("2026-01-02..2026-02-01", "", {"StudyDate": "20260102-20260201"}),
    ("2026-02-01..2026-01-02", "", {"StudyDate": "20260102-20260201"}), ("2026-13-45", "2026-13-45", {}),
    ("2026-02-30", "2026-02-30", {}), ("２０２６-01-01", "２０２６-01-01", {}), ("20260101", "20260101", {}), ("..", "..", {}),
    ("2026-01-02..", "2026-01-02..", {}),
])
def test_search_words(typed: str, words: str, filters: dict[str, str]) -> None:
    assert parse_words(typed, TODAY) == (words, filters)


def test_a_very_long_time_is_cut_to_what_a_calendar_holds() -> None:
    first, _, last = parse_words("last 9999 months", TODAY)[1]["StudyDate"].partition("-")
    assert last == "20261124"
    assert 1900 < int(first[:4]) < 2000


@pytest.mark.parametrize(("name", "shown"), [
    ("Doe^Jane", "Doe, Jane"), ("Doe^Jane^Ann^Dr^Jr", "Doe, Jane Ann Jr (Dr)"), ("Doe", "Doe"), ("^Jane", "Jane"), ("", ""),
    ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada, Tarou"), ("=山田^太郎", "山田 太郎"), ("A^B^C^D^E^F", "A, B C E (D)"),
])
def test_names(name: str, shown: str) -> None:
    assert pages.person_name(name) == shown


def test_small_words() -> None:
    assert pages.day("20261124") == "2026-11-24"
    assert pages.day("") == ""
    assert pages.clock("101112.5") == "10:11"
    assert pages.size(157_000_000) == "157 MB"
    assert pages.moment(None) == "–"
    assert pages.ago(None) == "never"


def test_only_files_below_the_viewer_are_given_out(tmp_path: Path) -> None:
    root = tmp_path / "ohif"
    (root / "assets").mkdir(parents=True)
    (root / "assets" / "a.js").write_text("x")
    (tmp_path / "secret").write_text("x")
    (root / "link").symlink_to(tmp_path / "secret")
    assert resolve(root, "assets/a.js") == root / "assets" / "a.js"
    for name in ("../secret", "assets/../../secret", "/etc/passwd", "link", "assets", "", "a\x00b", "assets\\a.js", "./assets/a.js", "assets//a.js"):
        assert resolve(root, name) is None, name


def test_the_viewer_knows_our_archive_and_no_other() -> None:
    text = bytes(app_config(None).body).decode()  # type: ignore[arg-type]
    config: dict[str, Any] = json.loads(text.split("window.config = ", 1)[1].split(";\n", 1)[0])
    (source,) = config["dataSources"]
    assert {source["configuration"][k] for k in ("qidoRoot", "wadoRoot", "wadoUriRoot")} == {"/dicomweb"}
    assert source["configuration"]["dicomUploadEnabled"] is False
    assert "http" not in json.dumps(config)
    assert config["routerBasename"] == "/viewer"
    assert config["maxNumRequests"]["prefetch"] <= 6  # what is under way when a reader scrolls stands before what they want


@pytest.mark.parametrize("action", list(Action))
def test_the_ledger_says_each_action_in_words(action: Action) -> None:
    said = sentence({"action": str(action), "event": "decision", "outcome": "done", "details": {}})
    assert ":" not in said
    assert said != str(action).replace(":", " ")


@pytest.mark.parametrize(("stored", "leaves"), [
    ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.202"), ("1.2.840.10008.1.2", "1.2.840.10008.1.2.4.202"),
    ("1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.202"), ("1.2.840.10008.1.2.4.50", ""), ("1.2.840.10008.1.2.4.70", ""),
    ("1.2.840.10008.1.2.4.80", ""), ("1.2.840.10008.1.2.4.91", ""), ("1.2.840.10008.1.2.4.203", ""),
])
def test_the_viewer_takes_what_came_compressed_as_it_is_and_all_else_as_htj2k(stored: str, leaves: str) -> None:
    text = bytes(app_config(None).body).decode()  # type: ignore[arg-type]
    config: dict[str, Any] = json.loads(text.split("window.config = ", 1)[1].split(";\n", 1)[0])
    wanted = parse_accept(config["dataSources"][0]["configuration"]["acceptHeader"])
    possible = (stored, "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.80")
    chosen = choose(wanted, SimpleNamespace(transfer_syntax_uid=stored), possible, is_one=True)
    assert (chosen.target, chosen.is_multipart) == (leaves, False)
    nothing = choose(wanted, SimpleNamespace(transfer_syntax_uid=stored), (stored,), is_one=True)  # cannot be converted
    assert nothing.target == ""
