"""Metadata as text that is kept: always what the slow way says, packed or not, and never of what is not there any more."""

import copy
import gzip
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import zstandard
from asked_inside import Answer, Asked
from notes import rejection_note
from phantom import ct_slice
from small_house import put, reader, small_house

from leadglass.archive import series_models
from leadglass.archive.retrieve import locate, metadata
from leadglass.storage import tables as t
from leadglass.terms import Action

STUDY, SERIES = "1.2.826.0.1.3680043.10.999.11", "1.2.826.0.1.3680043.10.999.12"
PATH = f"/dicomweb/studies/{STUDY}/metadata"


def slices(count: int, series: str = SERIES, first: int = 1, **more: Any) -> list[Any]:
    return [ct_slice(study=STUDY, series=series, number=n, size=8, **more) for n in range(first, first + count)]


class World(Asked):
    def fresh(self, root: str = "https://localhost", series: str | None = None) -> list[dict[str, Any]]:
        """Return what the slow way says: each header read and each model made now."""
        with self.house.database.read() as connection:
            rows = locate(connection, STUDY, series)
        return [metadata(self.house.archive, row, lambda path, row=row: root + series_models.bulk_path(row) + path) for row in rows]

    def check(self, answer: Answer, **how: Any) -> None:
        assert answer.status == 200
        assert json.loads(answer.body) == self.fresh(**how)

    def kept(self) -> list[Any]:
        with self.house.database.read() as connection:
            return list(connection.execute(sa.select(t.derived_objects)))

    def forget(self) -> None:
        """Drop what this process keeps in memory, as another process would not have it."""
        with self.house.database.write() as connection:
            connection.execute(sa.update(t.epoch).values(value=t.epoch.c.value + 1))
        self.house.page.publish()
        self.house.operations.forget_old()


@pytest.fixture
def world(tmp_path: Path):
    with small_house(tmp_path) as house:
        put(house, *slices(10))
        yield World(house)


def test_first_kept_and_from_memory_are_the_same_bytes(world: World) -> None:
    first = world.ask(PATH)
    world.check(first)
    (kept,) = world.kept()
    assert kept.kind == "series-metadata"
    again = world.ask(PATH)
    world.forget()
    from_disk = world.ask(PATH)
    assert (again.body, again.headers) == (first.body, first.headers) == (from_disk.body, from_disk.headers)
    assert world.kept() == [kept]
    assert first.headers["content-type"] == "application/dicom+json"
    assert int(first.headers["content-length"]) == len(first.body)


def test_a_second_look_reads_no_instance_and_few_rows(world: World) -> None:
    world.ask(PATH)
    world.ask(PATH)
    assert len(world.statements) <= 2  # the study, and the stamp
    assert not [s for s in world.statements if "instances.object_name" in s]
    objects = [p for p in world.house.settings.objects_dir.rglob("*") if p.is_file()]
    for path in objects:
        path.unlink()
    assert world.ask(PATH).status == 200


def test_what_is_prebuilt_opens_no_original(world: World) -> None:
    assert world.house.prepare_models(settled_seconds=0) == 1
    (kept,) = world.kept()
    fresh = world.fresh()
    for path in world.house.settings.objects_dir.rglob("*"):
        if path.is_file() and path.name != kept.object_name:
            path.unlink()
    assert json.loads(world.ask(PATH).body) == fresh


def test_packed_as_the_client_takes_it_and_packed_once(world: World) -> None:
    plain = world.ask(PATH)
    packed = {coding: world.ask(PATH, accept_encoding=coding) for coding in ("gzip", "zstd", "gzip;q=0.1, zstd", "br")}
    assert gzip.decompress(packed["gzip"].body) == plain.body
    assert zstandard.decompress(packed["zstd"].body) == plain.body
    assert packed["gzip;q=0.1, zstd"].headers["content-encoding"] == "zstd"
    assert "content-encoding" not in packed["br"].headers
    assert packed["br"].body == plain.body
    assert len(packed["gzip"].body) < len(plain.body) / 5
    assert len({answer.headers["etag"] for answer in (plain, packed["gzip"], packed["zstd"])}) == 3
    for answer in (plain, *packed.values()):
        assert answer.headers["vary"] == "accept, accept-encoding"
        assert int(answer.headers["content-length"]) == len(answer.body)


def test_uris_are_those_of_the_name_that_the_asker_used(world: World) -> None:
    for host in ("localhost", "pacs.example.org:8443", "10.0.0.7", "localhost"):
        world.check(world.ask(PATH, host=host), root=f"https://{host}")
    assert len(world.kept()) == 1
    (row,) = world.kept()
    with world.house.database.read() as connection:
        rows = locate(connection, STUDY)
    kept = series_models.kept_of(world.house.archive, rows)
    assert b"localhost" not in zstandard.decompress(kept)
    odd = 'https://x"y\\z\n'  # a host that no request can name
    assert json.loads(b"[" + series_models.text_of(kept, odd) + b"]") == world.fresh(odd)
    assert row.length == len(kept)


def test_no_value_can_pass_for_a_place_of_the_base_url(tmp_path: Path) -> None:
    words = ["https://localhost", "\x00", "{}", "%s", "BulkDataURI", "0" * 32, '","BulkDataURI":"', "/dicomweb/studies/"]
    with small_house(tmp_path) as house:
        put(house, *[ct_slice(study=STUDY, series=SERIES, number=n, size=8, SeriesDescription=word, StudyComments=word * 3)
                     for n, word in enumerate(words, 1)])
        world = World(house)
        for _ in range(2):
            for host in ("localhost", "other.example"):
                answer = world.ask(PATH, host=host)
                world.check(answer, root=f"https://{host}")
                assert answer.body.count(b"other.example") == (len(words) if host == "other.example" else 0)
            world.forget()
        assert len(world.kept()) == 1


def test_conditions_and_head(world: World) -> None:
    whole = world.ask(PATH, accept_encoding="gzip")
    etag = whole.headers["etag"]
    again = world.ask(PATH, accept_encoding="gzip", if_none_match=etag)
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", etag)
    assert world.ask(PATH, accept_encoding="gzip", if_none_match='"other"').status == 200
    assert world.ask(PATH, if_none_match=etag).status == 200  # another coding, another body
    head = world.ask(PATH, method="HEAD", accept_encoding="gzip")
    assert (head.status, head.body, head.headers["etag"], head.headers["content-encoding"]) == (200, b"", etag, "gzip")
    assert world.ask(PATH, host="other").headers["etag"] != world.ask(PATH).headers["etag"]
    assert world.ask(PATH, accept_encoding="identity;q=0, br").status == 406


def test_each_change_makes_another_text_and_another_etag(world: World) -> None:
    seen: list[str] = []

    def changed() -> None:
        answer = world.ask(PATH)
        world.check(answer)
        assert world.ask(PATH).body == answer.body
        assert answer.headers["etag"] not in seen
        seen.append(answer.headers["etag"])

    changed()
    more = slices(2, first=11)
    put(world.house, *more)  # added
    changed()
    put(world.house, *slices(9, series="1.2.826.0.1.3680043.10.999.13"))  # a series more
    changed()
    note = rejection_note(more[0])
    put(world.house, note)  # rejected: hidden, and the note itself is there
    changed()
    (rejection,) = world.house.life.rejections(world.me)
    world.house.life.lift(world.me, rejection["id"], "shown again")
    changed()
    newer = ct_slice(study=STUDY, series=SERIES, instance=more[1].SOPInstanceUID, number=12, size=8, PatientName="Right^Name")
    put(world.house, newer)  # held
    world.house.reconcile_chores.sort(world.house.entrance.system("chores"), seconds=60)
    assert world.ask(PATH).headers["etag"] == seen[-1]
    (task,) = world.house.reconciliation.tasks(world.me)
    world.house.reconciliation.accept(world.me, task["id"], "the name was wrong")  # replaced
    changed()
    world.house.reconciliation.undo(world.me, task["id"], "it was right")  # and back: what it was before the newer one came
    back = world.ask(PATH)
    world.check(back)
    assert back.headers["etag"] == seen[-2]
    world.house.keeping.delete(world.me, STUDY, series_uid="1.2.826.0.1.3680043.10.999.13", reason="a test of deletion")
    changed()
    world.house.keeping.delete(world.me, STUDY, reason="a test of deletion")
    assert world.ask(PATH).status == 404
    assert world.kept() == []
    put(world.house, *slices(10))
    changed()


def test_a_study_that_was_deleted_does_not_linger_in_memory(world: World) -> None:
    world.ask(PATH, accept_encoding="gzip")
    models = world.house.operations._models
    assert len(models._shelf) == 1
    world.house.operations.forget_old()
    assert len(models._shelf) == 1
    world.house.keeping.delete(world.me, STUDY, reason="a test of deletion")
    world.house.page.publish()
    world.house.operations.forget_old()
    assert len(models._shelf) == 0


def test_series_and_small_studies_and_instances(world: World) -> None:
    few = "1.2.826.0.1.3680043.10.999.14"
    put(world.house, *slices(2, series=few))
    for series in (SERIES, few):
        world.check(world.ask(f"/dicomweb/studies/{STUDY}/series/{series}/metadata"), series=series)
    world.check(world.ask(PATH))
    assert [k.kind for k in world.kept()] == ["series-metadata"]  # two slices are made as quickly as they are read
    one = world.fresh(series=few)[0]
    path = f"/dicomweb/studies/{STUDY}/series/{few}/instances/{one['00080018']['Value'][0]}/metadata"
    assert json.loads(world.ask(path).body) == [one]
    assert world.ask(f"/dicomweb/studies/{STUDY}/series/1.2.3/metadata").status == 404
    assert world.ask("/dicomweb/studies/1.2.3/metadata").status == 404
    assert world.ask(PATH, query="limit=1").status == 400


@pytest.mark.parametrize("where", ["kept", "original"])
def test_damage_is_never_given_out(world: World, where: str) -> None:
    if where == "kept":
        world.ask(PATH)
        world.forget()
    else:
        with world.house.database.write() as connection:
            connection.execute(sa.delete(t.instance_heads))
    names = {k.object_name for k in world.kept()}
    for path in world.house.settings.objects_dir.rglob("*"):
        if path.is_file() and (path.name in names or not names):
            data = bytearray(path.read_bytes())
            data[300] ^= 1
            path.write_bytes(data)
    answer = world.ask(PATH)
    if where == "original":
        assert answer.status == 500
        assert world.kept() == []
    else:
        world.check(answer)  # made anew
        world.house.keeping.scrubbing.look(world.house.entrance.system("scrub"))
        assert world.kept() == []
        world.forget()
        world.check(world.ask(PATH))
        assert len(world.kept()) == 1


def test_what_is_too_long_for_one_text_goes_out_in_pieces(tmp_path: Path) -> None:
    with small_house(tmp_path) as house:
        put(house, *slices(12, TextValue="x" * 900_000))
        world = World(house)
        answer = world.ask(PATH)
        world.check(answer)
        assert answer.pieces > 5
        packed = world.ask(PATH, accept_encoding="zstd")
        assert zstandard.ZstdDecompressor().decompressobj().decompress(packed.body) == answer.body
        put(house, *slices(3, series="1.2.3.4", TextValue="y" * 1_000_000))
        part = world.ask(f"/dicomweb/studies/{STUDY}/series/1.2.3.4/metadata")  # made whole, sent piece by piece
        world.check(part, series="1.2.3.4")
        assert part.pieces > 5


def test_what_a_grant_withholds_leaves_by_no_way(world: World) -> None:
    operations, who = world.house.operations, reader(world.house)
    world.ask(PATH)  # kept whole, in memory and on disk
    grant = operations.study(who, STUDY, Action.STUDY_READ)
    less = replace(grant, resource=replace(grant.resource, facts={**grant.resource.facts, "withheld": "00100010 00100020"}))
    models = operations.models(less)
    assert models.body("https://h", "", lambda data: data) is None
    text = b"".join(models.pieces("https://h"))
    (row, *_) = operations.locate(less)
    for model in [*json.loads(text), operations.metadata(less, row, str)]:
        assert not {"00100010", "00100020"} & set(model)
        assert "00100030" in model
    assert b"PHANTOM" not in text
    assert models.validator != operations.models(grant).validator
    assert b"PHANTOM" in operations.models(grant).body("https://h", "", lambda data: data)


def test_a_grant_that_ended_stops_the_next_piece(world: World) -> None:
    operations = world.house.operations
    grant = operations.study(reader(world.house), STUDY, Action.STUDY_READ)
    pieces = operations.checked(grant, iter([b"1", b"2"]))
    assert next(pieces) == b"1"
    world.house.administration.clients_revoke(world.me, "reader")
    world.house.page.publish()
    with pytest.raises(Exception, match="session has ended"):
        next(pieces)


@pytest.mark.parametrize("seed", range(4))
def test_after_any_changes_in_any_order_it_is_what_the_slow_way_says(world: World, seed: int) -> None:
    """What is kept in memory is believed by a stamp: no order of changes may bring an old stamp back."""
    choice, house, me = random.Random(seed), world.house, world.me
    shown = slices(4, first=100)
    put(house, *shown)

    def add() -> None:
        shown.append(slices(1, first=choice.randrange(200, 999))[0])
        put(house, shown[-1])

    def reject() -> None:
        if shown:
            put(house, rejection_note(shown.pop()))

    def lift() -> None:
        active = [r for r in house.life.rejections(me) if r["state"] == "active"]
        if active:
            house.life.lift(me, choice.choice(active)["id"], "a test of lifting")

    def correct() -> None:
        old = choice.choice(shown or slices(1, first=50))
        newer = copy.deepcopy(old)
        newer.PatientName = f"Right^{choice.random()}"
        put(house, newer)
        house.reconcile_chores.sort(house.entrance.system("chores"), seconds=60)
        for task in house.reconciliation.tasks(me):
            house.reconciliation.accept(me, task["id"], "a test of correcting")

    def delete() -> None:
        house.keeping.delete(me, STUDY, reason="a test of deletion")
        shown.clear()
        put(house, *slices(choice.randrange(1, 12)))

    def prepare() -> None:
        house.prepare_models(settled_seconds=0)

    changes = [add, add, add, reject, reject, lift, correct, prepare, delete]
    for _ in range(25):
        for change in choice.sample(changes, choice.randrange(1, 4)):
            change()
        answer = world.ask(PATH, accept_encoding=choice.choice(["", "gzip"]))
        if answer.headers.get("content-encoding"):
            answer.body = gzip.decompress(answer.body)
        world.check(answer)
