"""leadglass scrub: verify what is stored, now; or say how the scheduled rounds stand."""

from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from leadglass.cli.terminal import HomeOption, JsonOption, in_house, say

__all__ = ["attach"]


def attach(app: typer.Typer) -> None:
    """Hang the verb of this file on the tree."""
    app.command(epilog="Example:  leadglass scrub --json    or:  leadglass scrub --status")(scrub)


def scrub(
    status: Annotated[
        bool, typer.Option("--status", help="Read nothing: say how the rounds stand and what they found.")] = False,
    home: HomeOption = None, as_json: JsonOption = False,
) -> None:
    """Re-read, decrypt and verify every stored object; exit 1 on damage.

    With --status: when the last round ended, how far the present one is, what is open; exit 1 when something is open or overdue.
    """
    with in_house(home) as (house, me):
        if status:
            _status(house.keeping.scrubbing.status(me), as_json=as_json)
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), disable=as_json) as progress:
            task = progress.add_task("Verifying", total=None)
            report = house.keeping.scrubbing.run(
                me, progress=lambda done, total: progress.update(task, completed=done, total=max(done, total)))
    text = f"{report['verified']} of {report['objects']} objects verified, {report['bytes']} bytes.\n"
    if report["unknown"]:
        text += (f"{report['unknown']} files are in no index: uploads under way, or left by a crash. The server removes them "
                 "within two hours.\n")
    text += "\n".join(report["findings"]) if report["findings"] else "Nothing is damaged."
    say(report, as_json=as_json, text=text)
    if report["findings"]:
        raise typer.Exit(1)


def _status(facts: dict[str, Any], *, as_json: bool) -> None:
    lines = [
        (f"Last round ended: {_moment(facts['last_ended_at'])}; {facts['last_verified']} of {facts['last_objects']} objects "
         "verified."),
        f"Present round: {facts['running_phase']}, {facts['running_objects']} of {facts['objects']} objects, since "
        f"{_moment(facts['running_since'])}." if facts["running_since"] else "No round is under way.",
        f"A round must end every {facts['days']} days; the next by {_moment(facts['due_at'])}"
        + (": OVERDUE." if facts["is_overdue"] else "."),
        *(f["sentence"] for f in facts["findings"]),
    ]
    say(facts, as_json=as_json, text="\n".join(lines))
    if facts["findings"] or facts["is_overdue"]:
        raise typer.Exit(1)


def _moment(seconds: float | None) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M") if seconds else "never"
