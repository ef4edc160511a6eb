"""The command tree: which verbs there are."""

from typing import Annotated

import typer

from leadglass import __version__
from leadglass.cli import (
    audit,
    clients,
    devices,
    doctor,
    hold,
    imports,
    keys,
    people,
    reconcile,
    rejections,
    retention,
    scrub,
    serve,
    studies,
    trust,
)

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich", add_completion=False,
    help="Leadglass: a PACS that a hospital may open to radiologists who read from home. Each command takes --home DIR, or the "
         "home that LEADGLASS_HOME names; COMMAND --help has an example.",
    epilog="Example:  leadglass init --home /srv/leadglass  &&  leadglass serve --home /srv/leadglass",
)


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
    for branch in (serve, imports, trust, doctor, scrub):
        branch.attach(app)
    app.add_typer(people.app, name="people", help="People: add, list, confirm, disable, a new link.")
    app.add_typer(devices.app, name="devices", help="Devices: modalities, workstations and PACS, by AE title.")
    app.add_typer(clients.app, name="clients", help="Clients: scripts and services, by private_key_jwt.")
    app.add_typer(studies.app, name="studies", help="Studies: what is kept of one, and deleting it for good.")
    app.add_typer(reconcile.app, name="reconcile", help="Reconciliation: versions and identities that wait for a decision.")
    app.add_typer(rejections.app, name="rejections", help="Rejections: instances that a note has taken out of use.")
    app.add_typer(retention.app, name="retention", help="Retention: how long studies are kept, by site and modality.")
    app.add_typer(hold.app, name="hold", help="Legal holds: what nobody may delete until it is released.")
    app.add_typer(audit.app, name="audit", help="The ledger: who did what, and proof that it was not changed.")
    app.add_typer(keys.app, name="keys", help="Keys: their state.")


_grow()
