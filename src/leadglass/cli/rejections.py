"""leadglass rejections: what a rejection note has taken out of use, and how to take that back."""

from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from leadglass.cli.terminal import HomeOption, JsonOption, in_house, say

app = typer.Typer(no_args_is_help=True)


@app.command("list", epilog="Example:  leadglass rejections list --json")
def list_(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List rejections, newest first: why, by whom, how many instances are hidden."""
    with in_house(home) as (house, me):
        rows = house.life.rejections(me)
    if as_json:
        say(rows, as_json=True, text="")
        return
    table = Table("ID", "Code", "Why", "From", "Hidden", Column("Study", overflow="fold"), "When", "State")
    for row in rows:
        when = datetime.fromtimestamp(row["created_at"]).astimezone().strftime("%Y-%m-%d %H:%M")
        table.add_row(str(row["id"]), row["code"], row["title"], row["sender"], f"{row['hidden']} of {row['named']}",
                      row["study_uid"], when, row["state"])
    Console().print(table)


@app.command(epilog="Example:  leadglass rejections lift 3 --reason 'the note named the wrong series'")
def lift(
    rejection: Annotated[int, typer.Argument(metavar="ID", help="Number of the rejection.", show_default=False)],
    reason: Annotated[str, typer.Option("--reason", help="Why; it stands in the ledger.", show_default=False)],
    home: HomeOption = None, as_json: JsonOption = False,
) -> None:
    """Show the instances again, unless another note names them too."""
    with in_house(home) as (house, me):
        facts = house.life.lift(me, rejection, reason)
    say(facts, as_json=as_json, text=f"Rejection {rejection} is lifted. Instances shown again: {facts['shown']}.")
