"""leadglass people: who may sign in."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from leadglass.cli.terminal import HomeOption, JsonOption, in_house, say
from leadglass.terms import Role

app = typer.Typer(no_args_is_help=True)
_Name = Annotated[str, typer.Argument(help="Login name: letters, digits, dot, hyphen.", show_default=False)]
_PERSON_ROLES = ", ".join(
    r for r in Role if r not in {Role.MODALITY, Role.WORKSTATION, Role.PACS, Role.SERVICE, Role.OPERATOR, Role.CHORE}
)


@app.command(epilog="Example:  leadglass people add ada --role radiologist --display-name 'Dr Ada Byron'")
def add(
    name: _Name,
    role: Annotated[list[str], typer.Option("--role", help=f"One of: {_PERSON_ROLES}. May be given twice.")],
    display_name: Annotated[str, typer.Option("--display-name", help="As others see the person.")] = "",
    referring_name: Annotated[
        str, typer.Option("--referring-name", help="For role referring: the name in ReferringPhysicianName.")
    ] = "",
    home: HomeOption = None, as_json: JsonOption = False,
) -> None:
    """Add a person and print the one-time enrolment link (24 hours)."""
    with in_house(home) as (house, me):
        link = house.administration.people_add(
            me, name, role, display_name=display_name, referring_name=referring_name
        )
    say({"name": name, "link": link.url, "expires_at": link.expires_at}, as_json=as_json, text=_link_text(name, link.url, 24))


@app.command("list", epilog="Example:  leadglass people list --json")
def list_(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List people with roles, factors and state."""
    with in_house(home) as (house, me):
        rows = house.administration.people_list(me)
    if as_json:
        say(rows, as_json=True, text="")
        return
    table = Table("Name", "Shown as", "Roles", "State", "Factors")
    for row in rows:
        table.add_row(row["name"], row["display_name"], ", ".join(row["roles"]), row["state"], ", ".join(row["factors"]))
    Console().print(table)


@app.command(epilog="Example:  leadglass people confirm ada 493027")
def confirm(
    name: _Name,
    number: Annotated[str, typer.Argument(help="The six digits that the person reads to you.", show_default=False)] = "",
    home: HomeOption = None, as_json: JsonOption = False,
) -> None:
    """Confirm that the person who enrolled is the one you invited: the account lives from then on."""
    number = number or typer.prompt(f"The six digits that {name} reads to you")
    with in_house(home) as (house, me):
        house.administration.people_confirm(me, name, number)
    say({"name": name, "state": "active"}, as_json=as_json, text=f"{name} is active and may sign in.")


@app.command(epilog="Example:  leadglass people disable ada")
def disable(name: _Name, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """End a person's access now, in every session and process."""
    with in_house(home) as (house, me):
        ended = house.administration.people_disable(me, name)
    say({"name": name, "state": "disabled", "sessions_ended": ended}, as_json=as_json,
        text=f"{name} is disabled; {ended} sessions ended.")


@app.command(epilog="Example:  leadglass people enrol ada")
def enrol(name: _Name, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Print a new one-time enrolment link; an older one stops working."""
    with in_house(home) as (house, me):
        link = house.administration.people_enrol(me, name)
    say({"name": name, "link": link.url, "expires_at": link.expires_at}, as_json=as_json, text=_link_text(name, link.url, 24))


def _link_text(name: str, url: str, hours: int) -> str:
    return (
        f"One-time link for {name}, good for {hours} h. Send it by a way you trust:\n\n  {url}\n\n"
        f"When {name} has enrolled, they read you six digits. Then run:  leadglass people confirm {name}"
    )
