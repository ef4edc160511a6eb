"""What the verbs share: which home, who is at the terminal, how facts are printed."""

import getpass
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from leadglass.errors import Malformed
from leadglass.settings import Settings, home_from_environment, load

__all__ = ["HomeOption", "JsonOption", "in_house", "local_user", "read_uid", "say", "settings_of"]

HomeOption = Annotated[
    Path | None, typer.Option("--home", help="The home directory; else LEADGLASS_HOME.", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print facts as JSON.")]


def settings_of(home: Path | None, **overrides: Any) -> Settings:
    """Return the settings of the home named by --home or LEADGLASS_HOME. Raises: Malformed."""
    chosen = home or home_from_environment()
    if chosen is None:
        raise Malformed("no home: give --home DIR, or set LEADGLASS_HOME.")
    return load(chosen, overrides)


def local_user() -> str:
    """Return the name of the operating system's user behind this command (behind sudo too)."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"


@contextmanager
def in_house(home: Path | None) -> Iterator[Any]:
    """Give (house, local subject) of an initialised home; both closed at the end."""
    from leadglass.compose import Home

    opened = Home.open(settings_of(home))
    with opened.house() as house:
        yield house, house.entrance.local(local_user())


def say(facts: Any, *, as_json: bool, text: str) -> None:
    """Print facts as JSON, or as text for people."""
    if as_json:
        print(json.dumps(facts, indent=1, ensure_ascii=False, default=str))
    elif text:
        print(text)


def read_uid(value: str) -> str:
    """Return a UID given on the command line; "-" reads it from standard input, so that it is in no process list."""
    return sys.stdin.readline().strip() if value == "-" else value
