"""leadglass clients: machine identities."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from leadglass.cli.terminal import HomeOption, JsonOption, in_house, say
from leadglass.errors import Conflict

app = typer.Typer(no_args_is_help=True)
_Name = Annotated[str, typer.Argument(help="The client's name.", show_default=False)]


@app.command(epilog="Example:  leadglass clients add nightly --role service --key nightly.key.pem")
def add(
    name: _Name,
    role: Annotated[str, typer.Option("--role", help="service, or a reading role such as radiologist.")],
    key: Annotated[
        Path | None, typer.Option("--key", help="Where to write the new private key (mode 0600); else NAME.key.pem.")
    ] = None,
    public_key: Annotated[Path | None, typer.Option("--public-key", help="Register this public key (PEM) instead.")] = None,
    home: HomeOption = None, as_json: JsonOption = False,
) -> None:
    """Add a client that signs in with private_key_jwt (RFC 7523)."""
    pem = public_key.read_bytes() if public_key else None
    path = None if pem else key or Path(f"{name}.key.pem")
    if path is not None and path.exists():  # before the client is there: its key could not be kept
        raise Conflict(f"{path} is there already: name another file with --key, or give its public half with --public-key.")
    with in_house(home) as (house, me):
        facts = house.administration.clients_add(me, name, role, public_key_pem=pem)
    if path is not None:
        path.touch(mode=0o600, exist_ok=False)
        path.write_bytes(facts.private_key_pem)
    where = str(path or "")
    say({"name": name, "client_id": facts.client_id, "private_key": where}, as_json=as_json,
        text=f"{name} is client {facts.client_id}." + (f" Its private key is in {where}; there is no copy." if where else ""))


@app.command(epilog="Example:  leadglass clients token nightly --minutes 10")
def token(
    name: _Name,
    minutes: Annotated[int, typer.Option("--minutes", min=1, max=1440, help="How long it is good.")] = 60,
    home: HomeOption = None, as_json: JsonOption = False,
) -> None:
    """Print a bearer token for scripts."""
    with in_house(home) as (house, me):
        bearer, seconds = house.administration.clients_token(me, name, seconds=minutes * 60)
    say({"access_token": bearer, "token_type": "Bearer", "expires_in": seconds}, as_json=as_json, text=bearer)


@app.command("list", epilog="Example:  leadglass clients list")
def list_(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List clients."""
    with in_house(home) as (house, me):
        rows = house.administration.clients_list(me)
    if as_json:
        say(rows, as_json=True, text="")
        return
    table = Table("Name", "Client id", "Role", "State")
    for row in rows:
        table.add_row(row["name"], row["id"], row["role"], row["state"])
    Console().print(table)


@app.command(epilog="Example:  leadglass clients revoke nightly")
def revoke(name: _Name, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """End a client and its tokens now."""
    with in_house(home) as (house, me):
        house.administration.clients_revoke(me, name)
    say({"name": name, "state": "revoked"}, as_json=as_json, text=f"{name} is revoked.")
