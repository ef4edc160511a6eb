"""Each input that once broke a parser: explained beside it, and harmless now."""

import importlib
import re
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
KEPT = sorted(HERE.glob("*.bin"))


def test_each_input_is_explained_and_nothing_else_lies_here() -> None:
    assert KEPT
    assert {p.with_suffix(".txt").name for p in KEPT} == {p.name for p in HERE.glob("*.txt")}
    for path in KEPT:
        text = path.with_suffix(".txt").read_text("utf-8")
        assert {"Date:", "Made by:", "Broke:", "Mended by:"} <= set(re.findall(r"^[A-Z][a-z]+(?: by)?:", text, re.MULTILINE)), path.name


@pytest.mark.timeout(30)
@pytest.mark.parametrize("path", KEPT, ids=lambda p: p.stem)
def test_what_broke_a_parser_once_breaks_it_no_more(path: Path) -> None:
    parser, _, date = path.stem.partition("-")
    assert re.match(r"\d{4}-\d\d-\d\d-[a-z-]+$", date), path.name
    importlib.import_module(f"fuzz_{parser}").one_input(path.read_bytes())
