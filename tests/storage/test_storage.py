"""At rest: the schema, one writer, objects that are whole or absent, and nothing in clear."""

import multiprocessing
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from counting import count_up
from small_house import ct_slice, put, small_house

from leadglass.errors import Damaged, Malformed, Missing
from leadglass.storage import tables as t
from leadglass.storage.blobs import PosixBlobs
from leadglass.storage.database import Database
from leadglass.storage.migrate import is_current, migrate

KEY = b"k" * 32


def test_the_migrated_schema_is_the_tables_schema(tmp_path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    database = Database(tmp_path / "a.db", KEY)
    assert not is_current(database)
    migrate(database)
    assert is_current(database)
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, t.metadata) == []
        assert connection.execute(sa.select(t.ledger_head.c.size)).scalar_one() == 0
        connection.rollback()
    migrate(database)  # a second time changes nothing
    database.close()


def test_another_key_opens_nothing_and_pages_are_noise(tmp_path: Path) -> None:
    database = Database(tmp_path / "a.db", KEY)
    migrate(database)
    with database.write() as connection:
        connection.execute(sa.insert(t.spent).values(hash=b"CANARY-CANARY-CANARY", expires_at=1.0))
    database.checkpoint()
    database.close()
    for path in tmp_path.iterdir():
        assert b"CANARY" not in path.read_bytes()
    assert (tmp_path / "a.db").read_bytes()[:6] != b"SQLite"
    with pytest.raises(Damaged):
        Database(tmp_path / "a.db", b"x" * 32)


def test_two_processes_never_lose_an_update(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    database = Database(path, KEY)
    migrate(database)
    database.close()
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=count_up, args=(path, KEY, 60)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
        worker.close()
    database = Database(path, KEY)
    with database.read() as connection:
        assert connection.execute(sa.select(t.epoch.c.value)).scalar_one() == 121
    database.close()


def test_an_error_in_a_write_undoes_all_of_it(tmp_path: Path) -> None:
    with small_house(tmp_path) as house:
        with pytest.raises(ZeroDivisionError), house.database.write() as connection:
            connection.execute(sa.update(t.epoch).values(value=99))
            raise ZeroDivisionError
        with house.database.read() as connection:
            assert connection.execute(sa.select(t.epoch.c.value)).scalar_one() != 99


def test_an_object_is_whole_or_not_there(tmp_path: Path) -> None:
    blobs = PosixBlobs(tmp_path / "objects")
    writer = blobs.create(KEY, b"i" * 16)
    writer.write(b"CANARY" * 50_000)
    assert list(blobs.names()) == []
    assert writer.seal() == 300_000
    assert list(blobs.names()) == [writer.name]
    with blobs.open(writer.name, KEY, 300_000) as reader:
        assert b"".join(reader.stream()) == b"CANARY" * 50_000
        assert reader.read(100_000, 12) == (b"CANARY" * 50_000)[100_000:100_012]
    left = blobs.create(KEY, b"i" * 16)
    left.write(b"CANARY" * 100_000)
    left.discard()
    left.discard()
    assert list((tmp_path / "objects" / "incoming").iterdir()) == []
    assert not [p for p in (tmp_path / "objects").rglob("*") if p.is_file() and b"CANARY" in p.read_bytes()]
    with pytest.raises(Missing):
        blobs.open("0" * 32, KEY, 5)
    for name in ("../../etc/passwd", "A" * 32, ""):
        with pytest.raises((Missing, Damaged, Malformed, ValueError)):
            blobs.open(name, KEY, 5)


def test_sweep_takes_what_nobody_knows_and_nothing_else(tmp_path: Path) -> None:
    with small_house(tmp_path) as house:
        put(house, ct_slice(), ct_slice())
        known = set(house.archive.blobs.names())
        stray = house.archive.blobs.create(KEY, b"i" * 16)
        stray.write(b"x")
        stray.seal()
        assert house.sweep(older_than_seconds=3600) == 0  # it may be about to be indexed
        assert house.sweep(older_than_seconds=-1) == 1
        assert set(house.archive.blobs.names()) == known


def test_two_threads_that_meet_at_a_new_study_get_one_key(tmp_path: Path) -> None:
    with small_house(tmp_path) as house:
        found: list[tuple[bytes, bytes]] = []
        barrier = threading.Barrier(4)

        def work() -> None:
            barrier.wait()
            found.append(house.archive.study_keys.for_study("1.2.3", create=True))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(found)) == 1
        assert house.archive.study_keys.for_study("1.2.4", create=True)[1] != found[0][1]
        with pytest.raises(Missing):
            house.archive.study_keys.for_study("1.2.5", create=False)
