"""A delete that is killed at each of its steps, a full disk, and two processes that delete and store at once."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from bombs import die_before_removal, die_before_statement, in_child
from small_house import ct_slice, part10, put

from leadglass.access import ARCHIVE
from leadglass.compose.home import Home, init_home
from leadglass.errors import Busy, Full, Missing
from leadglass.settings import load
from leadglass.storage import tables as t
from leadglass.terms import Action

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]
STUDY, OTHER = "1.2.826.0.1.3680043.10.999.1", "1.2.826.0.1.3680043.10.999.2"
WHY = "a test of deletion"


def make_home(root: Path, **overrides: Any) -> Path:
    settings = load(root / "home", overrides)
    init_home(settings, hostname="localhost", key_source=f"file:{root / 'root.key'}")
    with (root / "home" / "leadglass.toml").open("a") as f:
        f.writelines(f"{name} = {value}\n" for name, value in overrides.items())
    with Home.open(load(root / "home"), is_server=True).house():
        pass
    return root / "home"


def fill(home: Path) -> None:
    def store(house: Any) -> None:
        put(house, *[ct_slice(study=STUDY, number=n, size=16) for n in range(3)])

    assert in_child(home, store) == 0


def state(home: Path) -> tuple[int, int, int]:
    """Return (instances of the study, its keys, files nobody knows) after the fault; all else must be whole."""
    with Home.open(load(home)).house() as house:
        me = house.entrance.local("t")
        report = house.keeping.scrubbing.run(me)
        assert report["findings"] == []
        assert house.ledger_reader.verify(me).findings == []
        swept = house.sweep(older_than_seconds=-1)
        assert swept == report["unknown"]
        with house.database.read() as connection:
            names = set(connection.execute(sa.select(t.instances.c.object_name)).scalars())
            keys = list(connection.execute(sa.select(t.study_keys.c.study_uid)).scalars())
            done = [r.record for r in house.ledger_reader.search(me, study_uid=STUDY, limit=5000)
                    if r.record["event"] == "deleted" and r.record["outcome"] == "done"]
        assert set(house.archive.blobs.names()) == names
        assert OTHER in keys
        return len(names) - 1, keys.count(STUDY), len(done)


def delete(house: Any) -> None:
    house.keeping.delete(house.entrance.local("t"), STUDY, reason=WHY)


def test_a_delete_that_is_killed_before_any_statement_is_whole_or_has_not_been(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    with Home.open(load(home)).house() as house:
        put(house, ct_slice(study=OTHER, size=16))
    fill(home)
    deleted = kills = 0
    for number in range(1, 80):
        def work(house: Any, number: int = number) -> None:
            die_before_statement(house, number)
            delete(house)

        status = in_child(home, work)
        if os.WIFEXITED(status):
            assert status == 0
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
        kills += 1
        instances, keys, records = state(home)
        assert (instances, keys) in {(3, 1), (0, 0)}, number
        assert records == deleted + (instances == 0)
        if instances == 0:
            deleted = records
            fill(home)
    else:
        pytest.fail("the delete never came to its end")
    assert kills > 10
    assert state(home)[:2] == (0, 0)


def test_a_delete_that_is_killed_between_two_files_leaves_only_noise(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    with Home.open(load(home)).house() as house:
        put(house, ct_slice(study=OTHER, size=16))
    for number in (1, 2, 3):
        fill(home)

        def work(house: Any, number: int = number) -> None:
            die_before_removal(number)
            delete(house)

        assert os.WTERMSIG(in_child(home, work)) == signal.SIGKILL
        files = [p for p in (home / "objects").rglob("*") if p.is_file()]
        assert len(files) == 1 + 4 - number  # the other study's, and what was not removed yet
        assert state(home)[:2] == (0, 0)


def test_two_processes_that_delete_and_store_at_once_lose_nothing_acknowledged(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    with Home.open(load(home)).house() as house:
        put(house, ct_slice(study=OTHER, size=16))
    seconds = 6.0
    children = []
    for number in range(3):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                with Home.open(load(home)).house() as house:
                    (_delete_often if number == 0 else _store_often)(house, tmp_path / f"count-{number}", seconds, number)
                code = 0
            finally:
                os._exit(code)
        children.append(pid)
    for pid in children:
        assert os.waitpid(pid, 0)[1] == 0
    deleted, *stored = [int((tmp_path / f"count-{n}").read_text()) for n in range(3)]
    assert deleted > 0
    assert sum(stored) > 0
    assert state(home)[0] == sum(stored) - deleted


def _store_often(house: Any, count: Path, seconds: float, seed: int) -> None:
    end, stored = time.monotonic() + seconds, 0
    grant = house.door.enter(house.entrance.local("t"), Action.INSTANCE_STORE, ARCHIVE)
    number = 0
    while time.monotonic() < end:
        staged = []
        for _ in range(1 + number % 3):
            number += 1
            intake = house.operations.intake(grant)
            intake.feed(part10(ct_slice(study=STUDY, size=16, number=number, seed=seed)))
            staged.append(intake.finish())
        try:
            stored += len(house.operations.commit(grant, staged))
        except Busy:
            continue
    count.write_text(str(stored))


def _delete_often(house: Any, count: Path, seconds: float, _: int) -> None:
    end, deleted = time.monotonic() + seconds, 0
    me = house.entrance.local("t")
    while time.monotonic() < end:
        try:
            deleted += house.keeping.delete(me, STUDY, reason=WHY).instances
        except Missing:
            time.sleep(0.01)
    count.write_text(str(deleted))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 48 MiB of its own."""
    assert os.geteuid() == 0, "this test mounts a small file system: run it as root"
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_on_a_full_disk_a_delete_is_whole_or_has_not_been_and_works_again_with_the_ballast(small_disk: Path) -> None:
    home = make_home(small_disk, disk_reserve_bytes=16 << 20)
    with Home.open(load(home)).house() as house:
        put(house, ct_slice(study=OTHER, size=16))
    fill(home)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(4 << 20))
    with Home.open(load(home)).house() as house:
        me = house.entrance.local("t")
        filler = os.open(small_disk / "filler", os.O_WRONLY | os.O_CREAT)
        try:
            while os.write(filler, bytes(1 << 16)):
                pass
        except OSError:
            pass
        try:
            while os.write(filler, b"x" * 512):
                pass
        except OSError:
            os.close(filler)
        failed = 0
        for _ in range(40):  # the log of the index may have some room left in its last page
            try:
                house.keeping.scrubbing.run(me)
                house.door.record([])
                house.keeping.hold_set(me, OTHER, reason="room is used up")
            except Full:
                failed += 1
                break
        assert failed, "the disk was never full"
        with pytest.raises(Full):
            house.keeping.delete(me, STUDY, reason=WHY)
        with house.database.read() as connection:
            assert connection.execute(sa.select(sa.func.count()).select_from(t.instances)).scalar_one() == 4
            assert connection.execute(sa.select(sa.func.count()).select_from(t.study_keys)).scalar_one() == 2
        with pytest.raises(Full):
            house.keeping.scrubbing.run(me)
        ballast.unlink()
        assert house.keeping.delete(me, STUDY, reason=WHY).is_key_destroyed
    (small_disk / "filler").unlink()
    assert state(home)[:2] == (0, 0)
