"""leadglass import: bulk load from disk, resumable, with a report of what was refused and why."""

import hashlib
import hmac
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from leadglass.access import ARCHIVE
from leadglass.cli.terminal import HomeOption, JsonOption, in_house, say
from leadglass.errors import Full, LeadglassError
from leadglass.terms import Action

__all__ = ["attach"]

_BATCH = 32
_PIECE = 1 << 20


def attach(app: typer.Typer) -> None:
    """Hang the verb of this file on the tree."""
    app.command("import", epilog="Example:  leadglass import /mnt/cdrom --home /srv/leadglass")(import_)


def import_(
    paths: Annotated[list[Path], typer.Argument(help="Files and directories.", exists=True, show_default=False)],
    home: HomeOption = None,
    as_json: JsonOption = False,
    again: Annotated[bool, typer.Option("--again", help="Also look at files that an earlier run has done.")] = False,
) -> None:
    """Load DICOM files. A run that was cut goes on where it was; exit 1 when something was refused."""
    with in_house(home) as (house, me):
        grant = house.door.enter(me, Action.INSTANCE_STORE, ARCHIVE)
        journal = _Journal(house.settings.home / "imports.journal", house.import_key(), is_used=not again)
        files = [f for f in _files(paths) if not journal.has(f)]
        report = _Report()
        batch: list[tuple[Path, Any]] = []
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, disable=as_json) as progress:
            task = progress.add_task("Importing", total=len(files))
            for path in files:
                try:
                    batch.append((path, _stage(house, grant, path)))
                except Full:
                    raise
                except (LeadglassError, OSError) as e:
                    report.refuse(path, str(e) if isinstance(e, LeadglassError) else "cannot be read")
                if len(batch) >= _BATCH:
                    _commit(house, grant, batch, journal, report)
                progress.advance(task)
            _commit(house, grant, batch, journal, report)
    _show(report, as_json)
    if report.refused:
        raise typer.Exit(1)


class _Report:
    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.refused: list[tuple[Path, str]] = []

    def refuse(self, path: Path, reason: str) -> None:
        self.refused.append((path, reason))


class _Journal:
    """What was done, as keyed hashes of path, size and time: a path may hold a patient's name."""

    def __init__(self, path: Path, key: bytes, *, is_used: bool) -> None:
        self._path, self._key = path, key
        self._done = set(path.read_text("ascii").split()) if is_used and path.exists() else set()

    def _line(self, file: Path) -> str:
        status = file.stat()
        text = f"{file.resolve()}\0{status.st_size}\0{status.st_mtime_ns}"
        return hmac.new(self._key, text.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()

    def has(self, file: Path) -> bool:
        return bool(self._done) and self._line(file) in self._done

    def add(self, files: list[Path]) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "a", encoding="ascii") as f:
            f.writelines(self._line(file) + "\n" for file in files)


def _files(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            for directory, names, files in os.walk(path):
                names.sort()
                yield from (Path(directory) / name for name in sorted(files) if name != "DICOMDIR")
        else:
            yield path


def _stage(house: Any, grant: Any, path: Path) -> Any:
    intake = house.operations.intake(grant)
    try:
        with path.open("rb") as f:
            while piece := f.read(_PIECE):
                intake.feed(piece)
        staged = intake.finish()
    except BaseException:
        intake.discard()
        raise
    staged.object.settle_soon()
    return staged


def _commit(house: Any, grant: Any, batch: list[tuple[Path, Any]], journal: _Journal, report: _Report) -> None:
    if not batch:
        return
    outcomes = house.operations.commit(grant, [staged for _, staged in batch])
    for (path, _), outcome in zip(batch, outcomes, strict=True):
        kind = str(outcome.kind)
        if kind == "full":
            report.refuse(path, "other content under a stored SOP Instance UID, and the quarantine is full")
        else:
            report.kinds[kind] += 1
    journal.add([path for path, _ in batch])
    batch.clear()


def _show(report: _Report, as_json: bool) -> None:
    facts = {
        "stored": report.kinds["stored"], "duplicate": report.kinds["duplicate"], "held": report.kinds["conflict"],
        "refused": [{"path": str(path), "reason": reason} for path, reason in report.refused],
    }
    if as_json:
        say(facts, as_json=True, text="")
        return
    print(f"{facts['stored']} stored, {facts['duplicate']} here already, {facts['held']} held for reconciliation, "
          f"{len(report.refused)} refused.")
    if report.kinds["conflict"]:
        print("Held: other content under an identifier that is stored. See: leadglass reconcile list")
    if report.refused:
        table = Table("Refused", "Why")
        for path, reason in report.refused:
            table.add_row(str(path), reason)
        Console().print(table)
