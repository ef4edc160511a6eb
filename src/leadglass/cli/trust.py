"""leadglass trust: put the home's web CA into this user's browser and OS stores, or take it out again."""

import sys
from typing import Annotated

import typer

from leadglass.cli.terminal import HomeOption, settings_of
from leadglass.errors import Malformed

__all__ = ["attach"]


def attach(app: typer.Typer) -> None:
    """Hang the verb of this file on the tree."""
    app.command(epilog="Example:  leadglass trust --home /srv/leadglass    (take it back: leadglass trust --undo)")(trust)


def trust(
    home: HomeOption = None,
    undo: Annotated[bool, typer.Option("--undo", help="Take the CA out of the stores again.")] = False,
) -> None:
    """Let this user's browsers trust this home's pages: passkeys work on no page with a certificate warning.

    The CA is good for this home's own host names only (critical name constraints) and is not the CA of devices.
    """
    from leadglass.compose import Home
    from leadglass.network.trust import stores_here, trust_ca, untrust_ca

    opened = Home.open(settings_of(home))
    path = opened.certificates().web_ca_path
    stores = stores_here()
    if not stores:
        raise Malformed("no store found here that can be changed; install libnss3-tools for browsers' stores, "
                        f"or import {path} by hand.")
    verb = "take the CA of this home out of" if undo else "put the CA of this home into"
    print(f"This will {verb}:")
    for store in stores:
        print(f"  {store}")
    if not sys.stdin.isatty():
        raise Malformed("no terminal to ask at: nothing was changed. Run it at a terminal.")
    if not typer.confirm("Go on?", default=False):
        print("Nothing was changed.")
        raise typer.Exit(1)
    for done in (untrust_ca if undo else trust_ca)(path):
        print(f"done: {done}")
