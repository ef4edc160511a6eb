"""leadglass doctor: the home looks at its own configuration."""

import typer

from leadglass.cli.app import HomeOption, JsonOption, in_house, say

__all__ = ["attach"]


def attach(app: typer.Typer) -> None:
    """Hang the verb of this file on the tree."""
    app.command(epilog="Example:  leadglass doctor --json")(doctor)


def doctor(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Check keys, permissions, space, certificates, policy and clear text on disk; exit 1 on a finding."""
    from leadglass.compose.examination import examine

    with in_house(home) as (house, me):
        findings = examine(house, me)
    lines = [f"[{f.severity}] {f.what}\n    {f.do}" for f in findings]
    say({"findings": [vars(f) for f in findings]}, as_json=as_json,
        text="\n".join(lines) if lines else "Nothing to mend.")
    if findings:
        raise typer.Exit(1)
