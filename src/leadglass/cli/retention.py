"""leadglass retention: how long studies are kept, by site and modality, and what deletes itself when."""

from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from leadglass.cli.terminal import HomeOption, JsonOption, in_house, say

app = typer.Typer(no_args_is_help=True)
_Site = Annotated[str, typer.Option("--site", help="The site; left out = any.")]
_Modality = Annotated[str, typer.Option("--modality", help="A code such as CT; left out = any.")]


@app.command("set", epilog="Example:  leadglass retention set --modality MG --keep-days 3650 --delete-after-days 5475")
def set_(
    keep_days: Annotated[int, typer.Option("--keep-days", help="Earlier nobody deletes; counted from the study's date.")],
    site: _Site = "", modality: _Modality = "",
    delete_after_days: Annotated[
        int | None, typer.Option("--delete-after-days", help="Then it deletes itself; left out = never.")] = None,
    home: HomeOption = None, as_json: JsonOption = False,
) -> None:
    """Set a rule. It takes effect after 24 hours; until then the stricter of old and new holds."""
    with in_house(home) as (house, me):
        rule = house.keeping.retention.set_rule(
            me, site=site, modality=modality, keep_days=keep_days, delete_after_days=delete_after_days)
    facts = {"site": rule.site, "modality": rule.modality, "keep_days": rule.keep_days,
             "delete_after_days": rule.delete_after_days, "effective_at": rule.effective_at}
    say(facts, as_json=as_json, text=f"The rule for {rule.name} takes effect {_moment(rule.effective_at)}.")


@app.command(epilog="Example:  leadglass retention remove --modality MG")
def remove(site: _Site = "", modality: _Modality = "", home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Remove a rule; that too takes effect after 24 hours."""
    with in_house(home) as (house, me):
        rule = house.keeping.retention.remove_rule(me, site=site, modality=modality)
    say({"site": rule.site, "modality": rule.modality, "effective_at": rule.effective_at}, as_json=as_json,
        text=f"The rule for {rule.name} ends {_moment(rule.effective_at)}.")


@app.command("list", epilog="Example:  leadglass retention list --json")
def list_(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the rules in force, and the changes that wait out their 24 hours."""
    with in_house(home) as (house, me):
        rows = house.keeping.retention.list_rules(me)
    if as_json:
        say(rows, as_json=True, text="")
        return
    table = Table("Site", "Modality", "Keep days", "Delete after days", "State", "Effective", "Set by")
    for r in rows:
        last = "never" if r["delete_after_days"] is None else str(r["delete_after_days"])
        table.add_row(r["site"] or "any", r["modality"] or "any", str(r["keep_days"]), last, r["state"],
                      _moment(r["effective_at"]), r["set_by"])
    Console().print(table)


@app.command(epilog="Example:  leadglass retention due --within 30")
def due(
    within: Annotated[int, typer.Option("--within", min=0, max=36500, help="Days from now.")] = 0,
    home: HomeOption = None, as_json: JsonOption = False,
) -> None:
    """List the studies that delete themselves, soonest first, at most 1000."""
    with in_house(home) as (house, me):
        rows = house.keeping.retention.list_due(me, within_days=within)
    if as_json:
        say(rows, as_json=True, text="")
        return
    table = Table(Column("Study", overflow="fold"), "Modalities", "Instances", "On", "Rule", "Held")
    for r in rows:
        table.add_row(r["study"], ", ".join(r["modalities"]), str(r["instances"]), _moment(r["delete_at"]), r["rule"],
                      "legal hold" if r["on_hold"] else "")
    Console().print(table)


@app.command(epilog="Example:  leadglass retention run --dry-run")
def run(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Delete nothing; say what a run would do.")] = False,
    expect: Annotated[
        int | None, typer.Option("--expect", min=1, help="So many are due and shall go, although the guard has stopped.")] = None,
    home: HomeOption = None, as_json: JsonOption = False,
) -> None:
    """Delete what is due now, as the server does once a day, at most retention_run_studies of them."""
    with in_house(home) as (house, me):
        report = house.keeping.retention.run(me, is_dry=dry_run, expect=expect)
        if report["deleted"]:
            house.keeping.fold_log()
    text = f"{report['due']} of {report['studies']} studies are due; {report['deleted']} deleted, {report['failed']} not."
    if report["guard"]:
        text += f"\nA run stops itself: {report['guard']}."
    say(report, as_json=as_json, text=text)
    if report["failed"]:
        raise typer.Exit(1)


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M")
