"""leadglass audit: read and verify the ledger."""

from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from leadglass.cli.terminal import HomeOption, JsonOption, in_house, read_uid, say

app = typer.Typer(no_args_is_help=True)


@app.command(epilog="Example:  leadglass audit verify")
def verify(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Verify every record, the tree over them, and the signed checkpoints; exit 1 on damage."""
    with in_house(home) as (house, me):
        report = house.ledger_reader.verify(me)
    facts = {
        "entries": report.size, "root": report.root.hex(), "erased": report.erased, "checkpoints": report.checkpoints,
        "findings": report.findings,
    }
    text = f"{report.size} entries, {report.checkpoints} signed checkpoints, root {report.root.hex()[:16]}...\n"
    text += "\n".join(report.findings) if report.findings else "The ledger is whole."
    say(facts, as_json=as_json, text=text)
    if report.findings:
        raise typer.Exit(1)


@app.command(epilog="Example:  echo 1.2.3 | leadglass audit search --study -")
def search(
    study: Annotated[str, typer.Option("--study", help="Study Instance UID; - reads it from standard input.")] = "",
    person: Annotated[str, typer.Option("--person", help="Login name or AE title.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=5000)] = 200,
    home: HomeOption = None, as_json: JsonOption = False,
) -> None:
    """Show who did what, newest first. Reading the ledger is recorded too."""
    with in_house(home) as (house, me):
        rows = house.ledger_reader.search(me, study_uid=read_uid(study) or None, subject_name=person or None, limit=limit)
    if as_json:
        say([{"index": r.index, **r.record} for r in rows], as_json=True, text="")
        return
    table = Table("#", "When", "Who", Column("Did", overflow="fold"), "Outcome", "Study", "From")
    for row in rows:
        record = row.record
        if "subject" not in record:
            table.add_row(str(row.index), "", "(erased)", "", "", "", "")
            continue
        when = datetime.fromtimestamp(row.time).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        table.add_row(str(row.index), when, record["subject"]["name"], record["action"], record["outcome"],
                      record["study"][-12:], record["peer"]["address"] or record["peer"]["plane"])
    Console().print(table)
