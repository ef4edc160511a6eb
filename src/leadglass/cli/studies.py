"""leadglass studies: what is kept of one study, and deleting it for good."""

from datetime import datetime
from typing import Annotated, Any

import typer

from leadglass.cli.terminal import HomeOption, JsonOption, in_house, read_uid, say
from leadglass.errors import Malformed

app = typer.Typer(no_args_is_help=True)
_Uid = Annotated[str, typer.Argument(
    metavar="UID", help="Study Instance UID; - reads it from standard input.", show_default=False)]
_TAIL = 6


@app.command(epilog="Example:  leadglass studies show 1.2.840.113619.2.1")
def show(uid: _Uid, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Say what is kept of a study and until when: identifiers, counts and days, nothing of the patient."""
    with in_house(home) as (house, me):
        facts = house.keeping.show(me, read_uid(uid))
    say(facts, as_json=as_json, text="\n".join(_lines(facts)))


def _lines(facts: dict[str, Any]) -> list[str]:
    lines = [f"Study {facts['study']}: " + ("here" if facts["is_here"] else "not here")]
    if facts["is_here"]:
        lines += [
            (f"  {facts['instances']} instances in {len(facts['series'])} series, {facts['bytes']} bytes; "
             f"{facts['rejected']} rejected, {facts['versions']} versions in quarantine"),
            f"  received {_day(facts['received_at'])} at site {facts['site']}; {', '.join(facts['modalities']) or 'no modality'}",
            f"  kept until {_day(facts['kept_until'])} by the rule for {facts['rule']}, counted from {facts['counts_from']}"
            if facts["kept_until"] else "  no retention rule keeps it",
            f"  deletes itself on {_day(facts['delete_at'])}" if facts["delete_at"] else "  never deletes itself",
        ]
        lines += [f"  series {s['series']}: {s['modality']}, {s['instances']} instances" for s in facts["series"]]
    lines += [f"  on legal hold {h['id']} since {_day(h['set_at'])} by {h['set_by']}: {h['reason']}" for h in facts["holds"]]
    lines += [f"  deleted {_day(d['at'])} by {d['by']} ({d['instances']} instances, entry {d['entry']}): {d['reason']}"
              for d in facts["deleted"]]
    return lines


@app.command(epilog='Example:  leadglass studies delete 1.2.840.113619.2.1 --reason "wrong patient, order 4711"')
def delete(
    uid: _Uid,
    reason: Annotated[str, typer.Option("--reason", help="Why; it stands in the ledger for good.")],
    series: Annotated[str, typer.Option("--series", help="Only this series (Series Instance UID).")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for the last characters of the UID.")] = False,
    home: HomeOption = None, as_json: JsonOption = False,
) -> None:
    """Delete a study, or one series of it, for good: rows, files, and the key that opens what is left on the disk.

    Refused while a legal hold is open and before the days of its retention rule have passed. A backup still has it.
    """
    uid = read_uid(uid)
    with in_house(home) as (house, me):
        target = series or uid
        if not yes:
            typed = typer.prompt(f"This cannot be undone. Type the last {_TAIL} characters of {target}", err=True)
            if typed.strip() != target[-_TAIL:]:
                raise Malformed("those are other characters; nothing was deleted.")
        found = house.keeping.delete(me, uid, reason=reason, series_uid=series or None)
        house.keeping.fold_log()
    facts = {"study": uid, "series_uid": series, **{k: v for k, v in found.record().items() if k != "objects"}}
    what = "The whole study is gone, and its key is destroyed." if found.is_key_destroyed else "The rest of the study is there."
    text = f"Deleted {found.instances} instances, {found.versions} versions, {found.bytes} bytes. {what}"
    say(facts, as_json=as_json, text=text)


def _day(seconds: float | None) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d") if seconds else "never"
