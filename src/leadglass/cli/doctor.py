"""leadglass doctor: the home looks at its own configuration."""

import typer

from leadglass.cli.terminal import HomeOption, JsonOption, local_user, say, settings_of

__all__ = ["attach"]


def attach(app: typer.Typer) -> None:
    """Hang the verb of this file on the tree."""
    app.command(epilog="Example:  leadglass doctor --json")(doctor)


def doctor(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Check keys, permissions, space, certificates, policy and clear text on disk; exit 1 on a finding."""
    from leadglass.compose import Home
    from leadglass.compose.examination import examine

    opened = Home.open(settings_of(home))
    with opened.house() as house:
        findings = examine(opened, house, house.entrance.local(local_user()))
    lines = [f"[{f.severity}] {f.what}\n    {f.do}" for f in findings]
    say({"findings": [vars(f) for f in findings]}, as_json=as_json,
        text="\n".join(lines) if lines else "Nothing to mend.")
    if findings:
        raise typer.Exit(1)
