"""What the metadata of a series costs, step by step: CPU milliseconds for 300 slices, in one process without a network.

    python tools/bench_metadata.py                    # the table
    python tools/bench_metadata.py --seconds 20       # make it again and again for so long, for a profiler to look at
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

from asked_inside import Asked
from small_house import ct_slice, put, small_house

from leadglass.archive import series_models
from leadglass.archive.retrieve import header, locate, metadata
from leadglass.dicom.json_text import encoded
from leadglass.storage import tables as t

SLICES = 300


def cpu_ms(work: Callable[[], Any], before: Callable[[], Any] = lambda: None, *, rounds: int = 9) -> float:
    """Return the median CPU milliseconds of `work`, each time after `before`."""
    found = []
    for _ in range(rounds):
        before()
        started = time.process_time()
        work()
        found.append((time.process_time() - started) * 1e3)
    return sorted(found)[rounds // 2]


def measure(house: Any, *, seconds: float = 0.0) -> list[tuple[str, float]]:
    """Return (what, CPU ms) of each way to the same text."""
    asked = Asked(house)
    first = ct_slice(size=512)
    study = first.StudyInstanceUID
    path = f"/dicomweb/studies/{study}/metadata"
    for at in range(0, SLICES, 20):
        put(house, *[ct_slice(study=study, series=first.SeriesInstanceUID, size=512, number=n + 1) for n in range(at, at + 20)])
    with house.database.read() as connection:
        rows = locate(connection, study)
        heads = connection.execute(sa.select(t.instance_heads)).mappings().all()

    def execute(statement: Any, values: Any = None) -> None:
        with house.database.write() as connection:
            connection.execute(statement, values)

    def forget() -> None:
        house.operations._models._shelf.clear()  # noqa: SLF001 - as another process finds it

    def afresh() -> None:
        forget()
        execute(sa.delete(t.derived_objects))

    def slow() -> bytes:
        return b"[" + b",".join(encoded(metadata(house.archive, row, lambda p: "https://localhost" + p)).encode() for row in rows) + b"]"

    found = [("the ledger's and the framework's part: a view of nothing new", cpu_ms(lambda: asked.ask(path, if_none_match="*")))]
    asked.ask(path)
    found.append(("from memory, as it is", cpu_ms(lambda: asked.ask(path))))
    found.append(("from memory, packed", cpu_ms(lambda: asked.ask(path, accept_encoding="gzip"))))
    found.append(("from the prebuilt object", cpu_ms(lambda: asked.ask(path), forget)))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        afresh()
        asked.ask(path)
    found.append(("first of all, from headers kept at receipt", cpu_ms(lambda: asked.ask(path), afresh)))
    execute(sa.delete(t.instance_heads))
    found.append(("first of all, from 300 objects", cpu_ms(lambda: asked.ask(path), afresh)))
    execute(sa.insert(t.instance_heads), [dict(row) for row in heads])
    found.append(("   of it: open, decipher and read 300 headers", cpu_ms(lambda: [header(house.archive, row) for row in rows])))
    found.append(("   of it: the text, from headers", cpu_ms(lambda: series_models.make(house.archive, rows))))
    found.append(("before: each model from its object, for each request", cpu_ms(slow)))
    return found


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description="What the metadata of a series costs.")
    parser.add_argument("--seconds", type=float, default=0.0, help="make it again and again for so long before the end")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="leadglass-metadata-") as folder, small_house(Path(folder)) as house:
        for what, ms in measure(house, seconds=arguments.seconds):
            print(f"{ms:8.2f} ms  {what}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
