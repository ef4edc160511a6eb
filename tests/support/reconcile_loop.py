"""A process to be killed: holds versions, sorts, accepts, undoes, dismisses and purges without end, and says what it did.

Run as `python reconcile_loop.py HOME`. Each acknowledged digest is a line on standard output before the next step.
"""

import copy
import sys
import time
from pathlib import Path
from typing import Any

from phantom import ct_slice, part10
from pydicom.uid import generate_uid

from leadglass.access import ARCHIVE
from leadglass.access.reconcile_chores import ReconcileChores
from leadglass.compose import Home
from leadglass.errors import Conflict
from leadglass.settings import load
from leadglass.terms import Action


def main(home: Path) -> None:
    with Home.open(load(home)).house() as house:
        me, system = house.entrance.local("loop"), house.entrance.system("chores")
        late = ReconcileChores(house.database, house.door, house.archive, clock=lambda: time.time() + 40 * 86400)

        def send(ds: Any) -> None:
            grant = house.door.enter(me, Action.INSTANCE_STORE, ARCHIVE)
            intake = house.operations.intake(grant)
            intake.feed(part10(ds))
            staged = intake.finish()
            house.operations.commit(grant, [staged])
            print(staged.digest.hex(), flush=True)

        while True:
            ds = ct_slice(study=generate_uid(prefix=None), size=32)
            send(ds)
            for name in ("Second^Name", "Third^Name"):
                other = copy.deepcopy(ds)
                other.PatientName = name
                send(other)
            house.reconcile_chores.sort(system)
            for verb in ("accept", "undo", "accept", "undo", "dismiss"):
                tasks = house.reconciliation.tasks(me, is_open=verb != "undo", study_uid=ds.StudyInstanceUID)
                for task in tasks:
                    try:
                        getattr(house.reconciliation, verb)(me, task["id"], "for a try")
                    except Conflict:
                        house.reconcile_chores.sort(system)
            late.purge(system)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
