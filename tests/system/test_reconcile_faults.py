"""kill -9 between any two steps of holding, deciding and purging: what was acknowledged is kept, or its purge is recorded."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from small_house import ct_slice, put, small_house

from leadglass.access.reconcile_chores import ReconcileChores
from leadglass.archive import Archive
from leadglass.storage import tables as t

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]
SUPPORT = Path(__file__).resolve().parents[1] / "support"


def _kept(house: Any) -> tuple[set[str], set[str]]:
    """Return (digests, object names) that the index has."""
    digests, names = set(), set()
    with house.database.read() as connection:
        for table in (t.instances, t.quarantine):
            for row in connection.execute(sa.select(table.c.digest, table.c.object_name)):
                digests.add(row.digest.hex())
                names.add(row.object_name)
    return digests, names


def _purged(house: Any) -> set[str]:
    """Return the digests of which the ledger says that they were purged."""
    rows = house.ledger_reader.search(house.entrance.local("t"), events=["change"], limit=5000)
    return {digest for r in rows if r.record["action"] == "archive:study:delete" for _, digest in r.record["details"].get("objects", [])}


def test_every_acknowledged_version_survives_kill_9(tmp_path: Path) -> None:
    with small_house(tmp_path):
        pass
    acknowledged: set[str] = set()
    moments = random.Random(int(os.environ.get("LEADGLASS_TEST_SEED", "11")))
    log = tmp_path / "acknowledged"
    for _ in range(6):
        with log.open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, str(SUPPORT / "reconcile_loop.py"), str(tmp_path / "home")], stdout=out, stderr=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": str(SUPPORT)})
            before = log.stat().st_size
            end = time.monotonic() + 60
            while log.stat().st_size == before:
                assert process.poll() is None, process.stderr.read().decode()[-2000:] if process.stderr else ""
                assert time.monotonic() < end
                time.sleep(0.05)
            time.sleep(moments.random() * 2)
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=20)
        acknowledged |= {line for line in log.read_text().split("\n")[:-1] if line}
    from leadglass.compose import Home
    from leadglass.settings import load

    with Home.open(load(tmp_path / "home")).house() as house:
        digests, names = _kept(house)
        assert acknowledged, "nothing was acknowledged"
        assert acknowledged - digests <= _purged(house)
        assert names <= set(house.archive.blobs.names())  # no row without its object
        assert house.keeping.scrubbing.run(house.entrance.local("t"))["findings"] == []
        assert house.ledger_reader.verify(house.entrance.local("t")).findings == []
        house.archive.blobs.sweep(lambda name: name in names, -1.0)
        assert set(house.archive.blobs.names()) == names  # what a kill left over is swept


class Dead(BaseException):
    """As if the process ended here."""


class Dying:
    """A store in which a process dies when it is about to delete."""

    def delete(self, name: str) -> None:
        raise Dead


def test_killed_between_row_and_object_the_object_is_swept(tmp_path: Path) -> None:
    import copy

    with small_house(tmp_path) as house:
        ds = ct_slice()
        other = copy.deepcopy(ds)
        other.PatientName = "New^Name"
        put(house, ds, other)
        me, system = house.entrance.local("t"), house.entrance.system("chores")
        house.reconcile_chores.sort(system, seconds=60)
        (task,) = house.reconciliation.tasks(me)
        house.reconciliation.dismiss(me, task["id"], "for a try")

        dying = Archive(house.database, Dying(), house.archive.study_keys, house.settings, house.archive.decoder)
        late = ReconcileChores(house.database, house.door, dying, clock=lambda: time.time() + 31 * 86400)
        with pytest.raises(Dead):
            late.purge(system)
        digests, names = _kept(house)
        assert len(digests) == 1
        assert len(set(house.archive.blobs.names())) == 2
        assert house.sweep(older_than_seconds=-1.0) == 1
        assert set(house.archive.blobs.names()) == names
        assert len(_purged(house)) == 1
