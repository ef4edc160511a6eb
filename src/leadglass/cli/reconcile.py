"""leadglass reconcile: what came again with other content, or names another patient. Ids and keywords, no values."""

from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from leadglass.cli.terminal import HomeOption, JsonOption, in_house, say

app = typer.Typer(no_args_is_help=True)
_Id = Annotated[int, typer.Argument(metavar="ID", help="Number of the task.", show_default=False)]
_Reason = Annotated[str, typer.Option("--reason", help="Why; it stands in the ledger. No patient's name.", show_default=False)]


@app.command("list", epilog="Example:  leadglass reconcile list --overdue")
def list_(
    overdue: Annotated[bool, typer.Option("--overdue", help="Only those whose due date has come.")] = False,
    settled: Annotated[bool, typer.Option("--settled", help="Those that are decided.")] = False,
    home: HomeOption = None, as_json: JsonOption = False,
) -> None:
    """List what waits for a decision, earliest due date first."""
    with in_house(home) as (house, me):
        rows = house.reconciliation.tasks(me, overdue=overdue, is_open=not settled)
    if as_json:
        say(rows, as_json=True, text="")
        return
    table = Table("ID", "Kind", "Instances", Column("Differs in", overflow="fold"), "From", "Due", "State")
    for row in rows:
        table.add_row(str(row["id"]), row["kind"], str(row["instances"]), _differs(row["facts"]), row["sender"],
                      _day(row["due_at"]), "overdue" if row["is_overdue"] else row["state"])
    Console().print(table)


@app.command(epilog="Example:  leadglass reconcile show 12")
def show(task: _Id, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show a task and its versions: identifiers, digests, keywords that differ."""
    with in_house(home) as (house, me):
        found = house.reconciliation.task(me, task)
    lines = [
        f"Task {found['id']}: {found['kind']}, {found['state']}" + (", overdue" if found["is_overdue"] else ""),
        f"Study {found['study_uid']}, from {found['sender']}, {_instances(found['instances'])}",
        f"Came {_moment(found['opened_at'])}, due {_moment(found['due_at'])}",
        f"Differs in: {_differs(found['facts'])}",
        *[f"  {v['state']} {v['sop_instance_uid']} {v['syntax']} sha256:{v['digest'][:16]}" for v in found["versions"]],
    ]
    if found["purge_at"]:
        lines.append(f"Can be undone until {_moment(found['purge_at'])}")
    say(found, as_json=as_json, text="\n".join(lines))


@app.command(epilog="Example:  leadglass reconcile accept 12 --reason 'wrong worklist entry, corrected by the ward'")
def accept(task: _Id, reason: _Reason, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show the held versions from now on; what was shown is kept for quarantine_keep_days."""
    with in_house(home) as (house, me):
        facts = house.reconciliation.accept(me, task, reason)
    say(facts, as_json=as_json, text=f"Task {task} is accepted: {_instances(facts['instances'])} changed. "
        f"Back: leadglass reconcile undo {task}")


@app.command(epilog="Example:  leadglass reconcile dismiss 12 --reason 'sent twice in error'")
def dismiss(task: _Id, reason: _Reason, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Leave what is shown; the held versions are kept for quarantine_keep_days."""
    with in_house(home) as (house, me):
        facts = house.reconciliation.dismiss(me, task, reason)
    say(facts, as_json=as_json, text=f"Task {task} is dismissed. Back: leadglass reconcile undo {task}")


@app.command(epilog="Example:  leadglass reconcile undo 12")
def undo(
    task: _Id,
    reason: Annotated[str, typer.Option("--reason", help="Why; it stands in the ledger.")] = "",
    home: HomeOption = None, as_json: JsonOption = False,
) -> None:
    """Take a decision back, while the version that lost is still kept."""
    with in_house(home) as (house, me):
        facts = house.reconciliation.undo(me, task, reason)
    say(facts, as_json=as_json, text=f"Task {task} is open again.")


def _instances(count: int) -> str:
    return f"{count} instance" if count == 1 else f"{count} instances"


def _differs(facts: dict[str, Any]) -> str:
    words = list(facts.get("keywords", {}))[:4]
    if facts.get("other_pixels"):
        words.append("pixels")
    if facts.get("other_study"):
        words.append("another study")
    return ", ".join(words) or "-"


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d")


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")
