"""Metadata that is made while the process is killed, at each statement: nothing is lost, nothing is left, nothing alarms."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from bombs import die_before_statement, in_child
from small_house import ct_slice, put

from leadglass.archive import series_models
from leadglass.archive.retrieve import locate
from leadglass.compose.home import Home, init_home
from leadglass.settings import load
from leadglass.storage import tables as t

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]
STUDY, SERIES = "1.2.826.0.1.3680043.10.999.31", "1.2.826.0.1.3680043.10.999.32"


def make_home(root: Path) -> Path:
    init_home(load(root / "home", {}), hostname="localhost", key_source=f"file:{root / 'root.key'}")

    def store(house: Any) -> None:
        put(house, *[ct_slice(study=STUDY, series=SERIES, number=n, size=8) for n in range(9)])

    assert in_child(root / "home", store) == 0
    return root / "home"


def test_killed_at_each_statement(tmp_path: Path) -> None:
    deaths = 0
    for number in range(1, 40):
        home = make_home(tmp_path / str(number))

        def work(house: Any, number: int = number) -> None:
            die_before_statement(house, number)
            house.prepare_models(settled_seconds=0)

        status = in_child(home, work)
        assert status == 0 or os.WTERMSIG(status) == signal.SIGKILL
        deaths += status != 0
        with Home.open(load(home)).house() as house:
            report = house.keeping.scrubbing.run(house.entrance.local("t"))
            assert (report["objects"], report["findings"]) == (9, [])
            assert house.sweep(older_than_seconds=-1) == report["unknown"] <= 1
            house.prepare_models(settled_seconds=0)  # what was left to do is done
            with house.database.read() as connection:
                rows = locate(connection, STUDY)
                assert connection.execute(sa.select(sa.func.count()).select_from(t.instance_heads)).scalar_one() == 0
                names = set(connection.execute(sa.select(t.derived_objects.c.object_name)).scalars())
            assert series_models.kept_of(house.archive, rows) is not None
            assert len(names) == 1
            assert set(house.archive.blobs.names()) == {row.object_name for row in rows} | names
        if status == 0:
            break
    assert deaths > 3
