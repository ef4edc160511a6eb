"""Scrub rounds: nothing unread, nothing told twice, resumed where it was; and what mends."""

import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from small_house import ct_slice, put, small_house

from leadglass.access.scrubbing import Scrubbing
from leadglass.archive.life.retention import DAY
from leadglass.compose.home import Home
from leadglass.errors import LeadglassError
from leadglass.settings import load
from leadglass.storage import tables as t


@pytest.fixture
def house(tmp_path: Path):
    with small_house(tmp_path) as opened:
        yield opened


class Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


def rounds(house: Any, clock: Clock) -> Scrubbing:
    return Scrubbing(house.database, house.door, house.archive, clock)


def system(house: Any) -> Any:
    return house.entrance.system("scrub")


def finish(scrubbing: Scrubbing, who: Any) -> int:
    turns = 1
    while scrubbing.turn(who, lambda _: True):
        turns += 1
        assert turns < 100
    return turns


def rows(house: Any, table: Any) -> list[Any]:
    with house.database.read() as connection:
        return list(connection.execute(sa.select(table)))


def files(house: Any) -> list[Path]:
    return sorted(p for p in house.settings.objects_dir.rglob("*") if p.is_file())


def flip(path: Path, at: int = 5000) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


def alerts(house: Any) -> list[dict[str, Any]]:
    found = house.ledger_reader.search(house.entrance.local("t"), limit=1000)
    return [r.record["details"] for r in found if r.record["event"] == "alert" and r.record["action"] == "system:objects:scrub"]


def test_a_round_reads_everything_and_the_next_waits_for_its_day(house) -> None:
    ds = ct_slice()
    put(house, ds, ct_slice(), ct_slice())
    put(house, ct_slice(instance=ds.SOPInstanceUID, study=ds.StudyInstanceUID, seed=3))  # a version in quarantine
    clock, who = Clock(), system(house)
    scrubbing = rounds(house, clock)
    finish(scrubbing, who)
    (run,) = rows(house, t.scrub_runs)
    assert (run.state, run.phase, run.objects, run.verified, run.findings) == ("done", "done", 4, 4, 0)
    clock.now += 14 * DAY
    assert not scrubbing.turn(who, lambda _: True)
    assert len(rows(house, t.scrub_runs)) == 1
    clock.now += 2 * DAY
    finish(scrubbing, who)
    assert [r.state for r in rows(house, t.scrub_runs)] == ["done", "done"]
    clock.now -= 400 * DAY  # the clock was set back: one round, not none for a year and not one after the other
    finish(scrubbing, who)
    assert not scrubbing.turn(who, lambda _: True)
    assert len(rows(house, t.scrub_runs)) == 3


def test_a_round_that_was_cut_goes_on_where_it_was(house) -> None:
    put(house, *[ct_slice() for _ in range(6)])
    who = system(house)
    scrubbing = rounds(house, Clock())
    left = [2]

    def pace(_: int) -> bool:
        left[0] -= 1
        return left[0] > 0

    assert scrubbing.turn(who, pace)
    (run,) = rows(house, t.scrub_runs)
    assert (run.state, run.objects) == ("running", 2)
    with Home.open(load(house.settings.home)).house() as again:
        finish(again.keeping.scrubbing, system(again))
    (run,) = rows(house, t.scrub_runs)
    assert (run.state, run.objects, run.verified) == ("done", 6, 6)


def test_an_object_that_is_cut_in_the_middle_is_read_again(house) -> None:
    put(house, ct_slice(size=1024))
    scrubbing, who = rounds(house, Clock()), system(house)
    assert scrubbing.turn(who, lambda _: False)
    assert rows(house, t.scrub_runs)[0].objects == 0
    finish(scrubbing, who)
    assert rows(house, t.scrub_runs)[0].verified == 1


def test_a_finding_is_told_once_until_it_is_mended(house) -> None:
    put(house, ct_slice(), ct_slice(), ct_slice())
    clock, who = Clock(), system(house)
    scrubbing = rounds(house, clock)
    flip(files(house)[0])
    files(house)[1].unlink()
    for _ in range(3):
        finish(scrubbing, who)
        clock.now += 16 * DAY
    assert sorted(f.what for f in rows(house, t.findings)) == ["damaged", "missing"]
    assert [a["findings"] for a in alerts(house)] == [2]
    assert scrubbing.numbers()[0] == 2
    assert any("2 stored objects" in n for n in scrubbing.notices())
    assert "PHANTOM" not in str(alerts(house))


@pytest.mark.parametrize("harm", ["flip", "cut", "lost"])
def test_the_same_instance_sent_again_mends_its_object(house, harm: str) -> None:
    ds = ct_slice(size=256)
    put(house, ds)
    path = files(house)[0]
    scrubbing, me = house.keeping.scrubbing, house.entrance.local("t")
    if harm == "flip":
        flip(path, 40_000)
        assert str(put(house, ds)[0].kind) == "duplicate"
        assert files(house) == [path]  # nobody knows yet
        assert len(scrubbing.run(me)["findings"]) == 1
    elif harm == "cut":
        path.chmod(0o600)
        path.write_bytes(path.read_bytes()[:-10])
    else:
        path.unlink()
    other = ct_slice(instance=ds.SOPInstanceUID, study=ds.StudyInstanceUID, series=ds.SeriesInstanceUID, size=256, seed=9)
    assert str(put(house, other)[0].kind) == "conflict"  # other content mends nothing
    (outcome,) = put(house, ds)
    assert str(outcome.kind) == "duplicate"
    assert outcome.is_mended
    report = scrubbing.run(me)
    assert report["findings"] == []
    assert report["unknown"] == 0
    assert (path.exists(), len(files(house))) == (False, 2)
    assert {f.state for f in rows(house, t.findings)} <= {"mended"}
    stored = [r.record["details"] for r in house.ledger_reader.search(me, study_uid=ds.StudyInstanceUID) if r.record["event"] == "stored"]
    assert stored[0]["mended"] == 1


def test_a_restored_file_closes_its_finding(house) -> None:
    put(house, ct_slice())
    path = files(house)[0]
    kept = path.read_bytes()
    me = house.entrance.local("t")
    flip(path)
    assert len(house.keeping.scrubbing.run(me)["findings"]) == 1
    path.write_bytes(kept)
    assert house.keeping.scrubbing.run(me)["findings"] == []
    assert [f.state for f in rows(house, t.findings)] == ["mended"]


def test_a_wrapped_key_that_does_not_open_and_a_wrong_count_are_found(house) -> None:
    ds = ct_slice()
    put(house, ds, ct_slice())
    me = house.entrance.local("t")
    with house.database.write() as connection:
        connection.execute(sa.update(t.study_keys).where(t.study_keys.c.study_uid == ds.StudyInstanceUID).values(wrapped=b"x" * 60))
        connection.execute(sa.update(t.studies).where(t.studies.c.study_uid == ds.StudyInstanceUID).values(instance_count=7))
    with Home.open(load(house.settings.home)).house() as fresh:
        assert len(fresh.keeping.scrubbing.run(me)["findings"]) >= 2
    found = {f.what for f in rows(house, t.findings)}
    assert "key" in found
    with house.database.write() as connection:
        connection.execute(sa.update(t.studies).values(instance_count=1))
    house.keeping.scrubbing.run(me)
    assert {f.what for f in rows(house, t.findings) if f.state == "open"} == {"key"}


def test_files_that_no_row_names_are_counted(house) -> None:
    put(house, ct_slice())
    stray = house.archive.blobs.create(b"k" * 32, b"i" * 16)
    stray.write(b"x")
    stray.seal()
    report = house.keeping.scrubbing.run(house.entrance.local("t"))
    assert (report["unknown"], report["findings"]) == (1, [])


def test_what_is_deleted_while_it_is_read_is_no_finding(house) -> None:
    ds = ct_slice(size=512)
    put(house, ds)
    me = house.entrance.local("t")

    def pace(_: int) -> bool:
        if rows(house, t.studies):
            house.keeping.delete(me, ds.StudyInstanceUID, reason="deleted under the scrub")
        return True

    scrubbing, who = rounds(house, Clock()), system(house)
    put(house, ct_slice(study=ds.StudyInstanceUID, number=2))  # the second object is not open yet when it goes
    while scrubbing.turn(who, pace):
        pass
    assert rows(house, t.findings) == []


def test_a_finding_of_a_deleted_object_is_closed(house) -> None:
    ds = ct_slice()
    put(house, ds)
    me = house.entrance.local("t")
    flip(files(house)[0])
    house.keeping.scrubbing.run(me)
    house.keeping.delete(me, ds.StudyInstanceUID, reason="it was damaged")
    assert [f.state for f in rows(house, t.findings)] == ["gone"]
    assert house.keeping.scrubbing.numbers()[0] == 0


def test_a_round_that_is_overdue_is_told_once_a_day(house) -> None:
    put(house, ct_slice())
    clock, who = Clock(), system(house)
    scrubbing = rounds(house, clock)
    finish(scrubbing, who)
    assert not scrubbing.state()["is_overdue"]
    clock.now += 31 * DAY
    assert scrubbing.state()["is_overdue"]
    scrubbing.turn(who, lambda _: False)
    scrubbing.turn(who, lambda _: False)
    assert [a["what"] for a in alerts(house)] == ["scrub overdue"]
    assert any("30 days" in n for n in scrubbing.notices())
    finish(scrubbing, who)
    assert scrubbing.notices() == []


def test_damaged_bytes_are_given_to_nobody(house) -> None:
    ds = ct_slice(size=256)
    put(house, ds)
    house.administration.clients_add(house.entrance.local("t"), "reader", "service")
    token, _ = house.administration.clients_token(house.entrance.local("t"), "reader", seconds=60)
    from leadglass.terms import Peer, Plane

    who = house.entrance.bearer(token, Peer(plane=Plane.WEB, address="127.0.0.1"))
    flip(files(house)[0], 90_000)
    grant = house.operations.study(who, ds.StudyInstanceUID)
    row = house.operations.locate(grant)[0]
    with pytest.raises(LeadglassError):
        b"".join(house.operations.stream_instance(grant, row))
    with pytest.raises(LeadglassError):
        house.operations.frame(grant, row, 1, want_raw=False)


@pytest.mark.parametrize("harm", ["flip", "lost"])
def test_what_fails_a_read_is_a_finding_at_once_and_told_once(house, harm: str) -> None:
    from leadglass.terms import Peer, Plane

    ds = ct_slice(size=256)
    put(house, ds)
    me = house.entrance.local("t")
    house.administration.clients_add(me, "reader", "service")
    token, _ = house.administration.clients_token(me, "reader", seconds=60)
    who = house.entrance.bearer(token, Peer(plane=Plane.WEB, address="127.0.0.1"))
    grant = house.operations.study(who, ds.StudyInstanceUID)
    row = house.operations.locate(grant)[0]
    assert house.keeping.scrubbing.look(system(house)) == 0
    if harm == "flip":
        flip(files(house)[0], 90_000)
    else:
        files(house)[0].unlink()
    for found in (1, 0, 0):
        with pytest.raises(LeadglassError):
            b"".join(house.operations.stream_instance(grant, row))
        assert house.keeping.scrubbing.look(system(house)) == found
    assert [a["findings"] for a in alerts(house)] == [1]
    assert house.keeping.scrubbing.state()["last_ended_at"] is None  # a look is no round
    (outcome,) = put(house, ds)
    assert outcome.is_mended
    grant = house.operations.study(who, ds.StudyInstanceUID)
    assert ds.PixelData in b"".join(house.operations.stream_instance(grant, house.operations.locate(grant)[0]))
    assert house.keeping.scrubbing.numbers()[0] == 0
