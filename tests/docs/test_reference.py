"""The reference says what the code says, and no link in a document is dead."""

import re
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest
import typer

from leadglass.cli.app import app
from leadglass.settings import Settings
from leadglass.terms import Action, Role

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
LINK = re.compile(r"\]\(([^)\s]+)\)")


def rows(name: str) -> dict[str, list[str]]:
    """Return the rows of a document's tables, by their first cell in backticks."""
    lines = (REFERENCE / name).read_text("utf-8").splitlines()
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in lines if line.startswith("| `")]
    return {c[0].strip("`"): c[1:] for c in cells}


@pytest.mark.parametrize("setting", [f for f in fields(Settings) if f.name != "home"], ids=lambda f: f.name)
def test_settings_tell_default_and_bounds(setting):
    default, bounds, unit, meaning = rows("settings.md")[setting.name]
    bound = setting.metadata.get("bound")
    assert default.strip("`") == (str(setting.default) or '""')
    assert bounds == (f"{bound.low:.0f} to {bound.high:.0f}" if bound else "text")
    assert unit == (bound.unit if bound else "")
    assert meaning


def test_settings_name_none_that_is_gone():
    assert set(rows("settings.md")) == {f.name for f in fields(Settings)} - {"home"}


def test_actions_are_all_there():
    described = rows("actions.md")
    assert {a.value for a in Action} <= set(described)
    assert {name for name in described if ":" in name} == {a.value for a in Action}


def test_roles_are_all_there():
    assert set(rows("roles.md")) == {r.value for r in Role}


def test_commands_are_all_there_with_their_options():
    sections = {}
    for part in (REFERENCE / "commands.md").read_text("utf-8").split("\n## ")[1:]:
        title, _, text = part.partition("\n")
        sections[title.strip("`")] = text
    commands = dict(leaves(typer.main.get_command(app), "leadglass"))
    assert set(sections) == set(commands)
    for name, command in commands.items():
        for parameter in command.params:
            if parameter.param_type_name == "option" and parameter.name != "help":
                assert all(f"`{option}`" in sections[name] for option in parameter.opts), (name, parameter.opts)


def leaves(command, name):
    children = getattr(command, "commands", None)
    if not children:
        yield name, command
        return
    for child_name, child in children.items():
        yield from leaves(child, f"{name} {child_name}")


def test_no_relative_link_is_dead():
    names = subprocess.run(["git", "ls-files", "-z", "*.md"], cwd=ROOT, capture_output=True, check=True, timeout=30).stdout
    dead = []
    for name in filter(None, names.decode().split("\0")):
        path = ROOT / name
        if not path.exists():
            continue
        for target in LINK.findall(path.read_text("utf-8")):
            if re.match(r"[a-z]+:", target) or target.startswith("#"):
                continue
            if not (path.parent / target.partition("#")[0]).exists():
                dead.append(f"{name}: {target}")
    assert not dead
