"""leadglass hold: legal holds on studies."""

from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from leadglass.cli.terminal import HomeOption, JsonOption, in_house, read_uid, say

app = typer.Typer(no_args_is_help=True)
_Uid = Annotated[str, typer.Argument(
    metavar="UID", help="Study Instance UID; - reads it from standard input.", show_default=False)]
_Reason = Annotated[str, typer.Option("--reason", help="Why; it stands in the ledger for good.")]


@app.command("set", epilog='Example:  leadglass hold set 1.2.840.113619.2.1 --reason "court order 12/26"')
def set_(uid: _Uid, reason: _Reason, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Put a legal hold on a study: nobody deletes anything of it, held and superseded versions included."""
    uid = read_uid(uid)
    with in_house(home) as (house, me):
        number = house.keeping.hold_set(me, uid, reason=reason)
    say({"hold": number, "study": uid, "state": "open"}, as_json=as_json, text=f"Hold {number} is on the study.")


@app.command(epilog='Example:  leadglass hold release 1.2.840.113619.2.1 --reason "case closed"')
def release(
    uid: _Uid, reason: _Reason,
    number: Annotated[int, typer.Option("--number", min=0, help="Which hold, when several are open.")] = 0,
    home: HomeOption = None, as_json: JsonOption = False,
) -> None:
    """Release the legal hold of a study."""
    uid = read_uid(uid)
    with in_house(home) as (house, me):
        released = house.keeping.hold_release(me, uid, reason=reason, number=number)
    say({"hold": released, "study": uid, "state": "released"}, as_json=as_json, text=f"Hold {released} is released.")


@app.command("list", epilog="Example:  leadglass hold list --json")
def list_(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the open holds, oldest first."""
    with in_house(home) as (house, me):
        rows = house.keeping.hold_list(me)
    facts = [{k: r[k] for k in ("id", "study_uid", "reason", "set_by", "set_at")} for r in rows]
    if as_json:
        say(facts, as_json=True, text="")
        return
    table = Table("Number", Column("Study", overflow="fold"), "Since", "By", "Reason")
    for r in facts:
        when = datetime.fromtimestamp(r["set_at"]).astimezone().strftime("%Y-%m-%d")
        table.add_row(str(r["id"]), r["study_uid"], when, r["set_by"], r["reason"])
    Console().print(table)
