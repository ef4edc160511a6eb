"""The command tree: which verbs there are, and what all of them share."""

import getpass
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from leadglass import __version__
from leadglass.errors import Malformed
from leadglass.settings import Settings, home_from_environment, load

__all__ = ["HomeOption", "JsonOption", "app", "in_house", "local_user", "read_uid", "say", "settings_of"]

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich", add_completion=False,
    help="Leadglass: a PACS that a hospital may open to radiologists who read from home.",
    epilog="Example:  leadglass init --home /srv/leadglass  &&  leadglass serve --home /srv/leadglass",
)

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


def _version(value: bool) -> None:
    if value:
        print(f"leadglass {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass


def _grow() -> None:
    """Hang the branches: each file brings the verbs of one noun."""
    from leadglass.cli import audit, clients, devices, doctor, imports, keys, people, serve, trust

    for branch in (serve, imports, doctor, trust):
        branch.attach(app)
    app.add_typer(people.app, name="people", help="People: add, list, confirm, disable, a new link.")
    app.add_typer(devices.app, name="devices", help="Devices: modalities, workstations and PACS, by AE title.")
    app.add_typer(clients.app, name="clients", help="Clients: scripts and services, by private_key_jwt.")
    app.add_typer(keys.app, name="keys", help="Keys: their state.")
    app.add_typer(audit.app, name="audit", help="The ledger: who did what, and proof that it was not changed.")


_grow()
