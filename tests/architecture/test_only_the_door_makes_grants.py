"""A Grant is made by the door alone, a Subject by the entrance alone: all else receives them."""

import ast
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src" / "leadglass"


def makers(name: str) -> set[str]:
    found = set()
    for path in SRC.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            called = node.func if isinstance(node, ast.Call) else None
            if (isinstance(called, ast.Name) and called.id == name) or (isinstance(called, ast.Attribute) and called.attr == name):
                found.add(path.relative_to(SRC).as_posix())
    return found


@pytest.mark.parametrize(("name", "maker"), [("Grant", "access/door.py"), ("Subject", "access/entrance.py")])
def test_only_one_file_makes_it(name, maker):
    assert makers(name) == {maker}
