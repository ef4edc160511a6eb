"""Whatever the order of storing, deciding, undoing, rejecting, lifting and purging: nothing is lost, and counts are right."""

import copy
import hashlib
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from notes import rejection_note
from pydicom.uid import generate_uid
from small_house import ct_slice, part10, small_house

from leadglass.access import ARCHIVE
from leadglass.access.reconcile_chores import ReconcileChores
from leadglass.errors import Conflict
from leadglass.storage import tables as t
from leadglass.terms import Action

DAY = 86400.0
VARIANTS: list[dict[str, Any]] = [
    {}, {"PatientName": "Second^Name"}, {"PatientName": "Third^Name", "StudyDate": "20260103"}, {"PixelData": bytes(16 * 16 * 2)},
    {"SpecificCharacterSet": "ISO_IR 192"}, {"SeriesInstanceUID": "1.2.826.0.1.999.77", "SeriesNumber": 7, "Modality": "MR"},
]


class Life(RuleBasedStateMachine):
    """One study of three instances in a house that all runs share."""

    house: Any = None

    def __init__(self) -> None:
        super().__init__()
        study, series = generate_uid(prefix=None), generate_uid(prefix=None)
        self.slices = [ct_slice(study=study, series=series, number=n, size=16) for n in (1, 2, 3)]
        self.study = study
        self.me = self.house.entrance.local("tester")
        self.acknowledged: set[bytes] = set()
        self.purged: set[bytes] = set()

    # --- what can happen ------------------------------------------------------------------------------------------
    def _send(self, ds: Any) -> str:
        house = self.house
        grant = house.door.enter(self.me, Action.INSTANCE_STORE, ARCHIVE)
        intake = house.operations.intake(grant)
        intake.feed(part10(ds))
        staged = intake.finish()
        (outcome,) = house.operations.commit(grant, [staged])
        assert str(outcome.kind) in {"stored", "duplicate", "conflict"}
        self.acknowledged.add(staged.digest)
        self.purged.discard(staged.digest)
        return str(outcome.kind)

    @rule(which=st.integers(0, 2), variant=st.integers(0, len(VARIANTS) - 1))
    def store(self, which: int, variant: int) -> None:
        ds = copy.deepcopy(self.slices[which])
        for name, value in VARIANTS[variant].items():
            setattr(ds, name, value)
        self._send(ds)

    @rule()
    def sort(self) -> None:
        self._chores().sort(self.house.entrance.system("chores"), seconds=60)

    def _chores(self, after_days: float = 0.0) -> ReconcileChores:
        house = self.house
        return ReconcileChores(house.database, house.door, house.archive, clock=lambda: time.time() + after_days * DAY)

    def _tasks(self, *, is_open: bool) -> list[dict[str, Any]]:
        return self.house.reconciliation.tasks(self.me, is_open=is_open, study_uid=self.study)

    @rule(number=st.integers(0, 5), verb=st.sampled_from(["accept", "dismiss"]))
    def decide(self, number: int, verb: str) -> None:
        found = self._tasks(is_open=True)
        if not found:
            return
        task = found[number % len(found)]
        try:
            getattr(self.house.reconciliation, verb)(self.me, task["id"], "for a try")
        except Conflict:
            assert task["kind"] == "unsorted"

    @rule(number=st.integers(0, 5))
    def undo(self, number: int) -> None:
        found = self._tasks(is_open=False)
        if found:
            try:
                self.house.reconciliation.undo(self.me, found[number % len(found)]["id"])
            except Conflict as e:
                assert "later decision" in str(e) or "deleted" in str(e) or "meanwhile" in str(e)

    @rule(which=st.sets(st.integers(0, 2), min_size=1), title=st.sampled_from(["113001", "113039"]))
    def reject(self, which: set[int], title: str) -> None:
        self._send(rejection_note(*[self.slices[n] for n in sorted(which)], title=title))

    @rule(number=st.integers(0, 5))
    def lift(self, number: int) -> None:
        found = [r for r in self.house.life.rejections(self.me, study_uid=self.study) if r["state"] == "active"]
        if found:
            self.house.life.lift(self.me, found[number % len(found)]["id"], "for a try")

    @precondition(lambda self: self.acknowledged)
    @rule()
    def purge(self) -> None:
        with self.house.database.read() as connection:
            rows = connection.execute(sa.select(t.quarantine.c.digest).where(
                t.quarantine.c.study_uid == self.study, t.quarantine.c.purge_at.is_not(None))).all()
        self._chores(after_days=31).purge(self.house.entrance.system("chores"))
        self.purged |= {row.digest for row in rows}

    # --- what must hold -------------------------------------------------------------------------------------------
    def _rows(self) -> tuple[list[Any], list[Any]]:
        with self.house.database.read() as connection:
            shown = connection.execute(
                sa.select(t.instances, t.series.c.series_uid, t.series.c.modality)
                .join(t.studies, t.studies.c.id == t.instances.c.study).join(t.series, t.series.c.id == t.instances.c.series)
                .where(t.studies.c.study_uid == self.study)).all()
            held = connection.execute(sa.select(t.quarantine).where(t.quarantine.c.study_uid == self.study)).all()
        return list(shown), list(held)

    @invariant()
    def nothing_acknowledged_is_lost(self) -> None:
        shown, held = self._rows()
        assert self.acknowledged - self.purged <= {row.digest for row in [*shown, *held]}
        for row in shown:
            _, key = self.house.archive.study_keys.for_study(self.study, create=False)
            with self.house.archive.blobs.open(row.object_name, key, row.length) as reader:
                assert hashlib.sha256(b"".join(reader.stream(row.dataset_offset))).digest() == row.digest
        _, key = self.house.archive.study_keys.for_study(self.study, create=True)
        for row in held:
            self.house.archive.blobs.open(row.object_name, key, row.length).close()

    @invariant()
    def counts_are_right(self) -> None:
        shown, _ = self._rows()
        visible = [row for row in shown if row.rejection is None]
        with self.house.database.read() as connection:
            study = connection.execute(sa.select(t.studies).where(t.studies.c.study_uid == self.study)).first()
            series = connection.execute(sa.select(t.series).join(t.studies, t.studies.c.id == t.series.c.study).where(
                t.studies.c.study_uid == self.study)).all()
        if study is None:
            assert not shown
            return
        assert study.instance_count == len(visible)
        assert study.series_count == len({row.series for row in visible})
        assert {row.id: row.instance_count for row in series if row.instance_count} == {
            row.id: sum(v.series == row.id for v in visible) for row in series if any(v.series == row.id for v in visible)}
        assert {m for m in study.modalities.split("\\") if m} == {row.modality for row in visible}

    @invariant()
    def every_version_that_waits_is_in_an_open_task(self) -> None:
        _, held = self._rows()
        with self.house.database.read() as connection:
            rows = connection.execute(sa.select(t.tasks).where(t.tasks.c.study_uid == self.study)).all()
        states = {row.id: row.state for row in rows}
        assert all(states[row.task] == "open" for row in held if row.purge_at is None)
        waiting = [row for row in rows if row.state == "open"]
        assert len({(row.kind, row.source) for row in waiting}) == len(waiting)
        for row in waiting:
            assert row.kind == "identity" or row.instances == len({v.sop_instance_uid for v in held if v.task == row.id and v.state == "held"})


@pytest.mark.timeout(600)  # random orders, and each one commits for real
def test_whatever_the_order() -> None:
    root = Path(tempfile.mkdtemp())
    try:
        with small_house(root) as house:
            Life.house = house
            Life.TestCase.settings = settings(
                max_examples=8, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck))
            from hypothesis.stateful import run_state_machine_as_test

            run_state_machine_as_test(Life, settings=Life.TestCase.settings)
            assert house.keeping.scrubbing.run(house.entrance.local("tester"))["findings"] == []
    finally:
        shutil.rmtree(root)
