"""The order that acknowledgement rests on: objects durable, then the index and the ledger in one commit, then the answer."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from small_house import ct_slice, part10, small_house

from leadglass.access import ARCHIVE, House
from leadglass.errors import Full
from leadglass.storage import tables as t
from leadglass.terms import Action


def _staged(house: House, count: int) -> tuple[Any, list[Any]]:
    grant = house.door.enter(house.entrance.local("tester"), Action.INSTANCE_STORE, ARCHIVE)
    staged = []
    for number in range(count):
        intake = house.operations.intake(grant)
        intake.feed(part10(ct_slice(number=number)))
        staged.append(intake.finish())
    return grant, staged


def _indexed(house: House) -> int:
    with house.database.read() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(t.instances)).scalar_one())


def test_every_object_is_durable_before_the_index_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    with small_house(tmp_path) as house:
        grant, staged = _staged(house, 20)
        inodes = {(house.settings.home / "objects" / s.object_name[:2] / s.object_name).stat().st_ino for s in staged}
        data, whole = os.fdatasync, os.fsync

        def fdatasync(descriptor: int) -> None:
            data(descriptor)
            if os.fstat(descriptor).st_ino in inodes:
                seen.append("object")

        def fsync(descriptor: int) -> None:
            whole(descriptor)
            seen.append("directory")

        def statement(_c: Any, _cursor: Any, text: str, *_rest: Any) -> None:
            seen.extend(["index"] if text.startswith("INSERT INTO instances") else ["ledger"] if text.startswith("INSERT INTO ledger ") else [])

        monkeypatch.setattr(os, "fdatasync", fdatasync)
        monkeypatch.setattr(os, "fsync", fsync)
        sa.event.listen(house.database.engine, "before_cursor_execute", statement)
        for one in staged[:7]:
            one.object.settle_soon()
        house.operations.commit(grant, staged)
        assert seen.count("object") == 20
        assert "directory" in seen
        first = seen.index("index")
        assert {"object", "directory"}.isdisjoint(seen[first:])
        assert "ledger" in seen[first:]
        assert _indexed(house) == 20


def test_an_object_that_cannot_be_made_durable_is_not_acknowledged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with small_house(tmp_path) as house:
        grant, staged = _staged(house, 3)
        data = os.fdatasync
        count = iter(range(100))

        def fdatasync(descriptor: int) -> None:
            if next(count) == 1:
                raise OSError(errno.ENOSPC, "full")
            data(descriptor)

        monkeypatch.setattr(os, "fdatasync", fdatasync)
        with pytest.raises(Full):
            house.operations.commit(grant, staged)
        assert _indexed(house) == 0
        monkeypatch.undo()
        house.operations.commit(*_staged(house, 1))
        assert _indexed(house) == 1
        assert house.sweep(older_than_seconds=-1) == 3
