"""Frames at hand: the same answers as by the long way, with no question to the index, and only to whom they belong."""

import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from asked_inside import Answer, Asked
from phantom import ct_slice
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGLSLossless
from small_house import put, small_house

from leadglass.dicom.key_objects import RejectionNote
from leadglass.storage import tables as t
from leadglass.terms import Action, Peer, Plane

OCTETS = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'


class World(Asked):
    """A house, its application, a study of three slices, and someone who may read it."""

    def __init__(self, house: Any, root: Path) -> None:
        super().__init__(house)
        self.root = root
        first = ct_slice()
        self.slices = [ct_slice(study=first.StudyInstanceUID, series=first.SeriesInstanceUID, number=n) for n in (1, 2, 3)]
        put(house, *self.slices)
        self.token = self.client("reader", "service")

    def client(self, name: str, role: str) -> str:
        self.house.administration.clients_add(self.me, name, role)
        return self.house.administration.clients_token(self.me, name, seconds=600)[0]

    def path(self, ds: Any, frame: object = 1) -> str:
        return (f"/dicomweb/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/instances/{ds.SOPInstanceUID}"
                f"/frames/{frame}")

    def ask(self, path: str, *, token: str = "", query: str = "", method: str = "GET", **headers: str) -> Answer:
        """Ask for frames, as someone else with another `token`."""
        named = {"accept": OCTETS, "authorization": f"Bearer {token or self.token}", **headers}
        return super().ask(path, query=query, method=method, **named)

    @property
    def was_at_hand(self) -> bool:
        return not self.statements


@pytest.fixture
def world(tmp_path):
    with small_house(tmp_path) as house:
        yield World(house, tmp_path)


@pytest.mark.parametrize("accept", [
    OCTETS, "", "*/*", 'multipart/related; type="application/octet-stream"', "application/octet-stream; transfer-syntax=*",
    "application/octet-stream",
])
def test_the_answer_is_that_of_the_long_way_byte_for_byte(world, accept):
    long = world.ask(world.path(world.slices[0]), accept=accept)
    assert not world.was_at_hand
    again = world.ask(world.path(world.slices[0]), accept=accept)
    assert world.was_at_hand
    assert (again.status, again.body) == (200, long.body)
    assert again.headers == long.headers
    assert world.slices[0].PixelData in again.body


def test_the_first_frame_brings_the_series_and_the_next_asks_nothing(world):
    world.ask(world.path(world.slices[0]))
    for ds in world.slices[1:]:
        answer = world.ask(world.path(ds))
        assert world.was_at_hand
        assert ds.PixelData in answer.body


def test_compressed_frames_and_multi_frames_are_the_same_too(world):
    packed = ct_slice()
    packed.file_meta.TransferSyntaxUID = JPEGLSLossless
    packed.PixelData, packed.NumberOfFrames = encapsulate([b"first-frame-bytes!", b"second"]), 2
    packed["PixelData"].VR = "OB"
    many = ct_slice(size=8)
    many.NumberOfFrames, many.PixelData = 4, b"".join(bytes([n]) * 128 for n in range(4))
    put(world.house, packed, many)
    for ds, frame in ((packed, 1), (packed, 2), (many, 1), (many, 4)):
        for accept in (OCTETS, 'multipart/related; type="image/jls"', "image/jls", "*/*"):
            long = world.ask(world.path(ds, f"0{frame}"), accept=accept)  # "01" takes the long way always
            world.ask(world.path(ds, frame), accept=accept)
            again = world.ask(world.path(ds, frame), accept=accept)
            assert (again.status, again.body) == (long.status, long.body), (frame, accept)
            assert world.was_at_hand == (long.status == 200 and not long.headers["etag"].startswith("W/"))


@pytest.mark.parametrize(("query", "headers"), [
    ("accept=*/*", {}), ("", {"range": "bytes=0-9"}), ("", {"if_none_match": '"x"'}), ("", {"accept": "image/png"}),
    ("", {"accept": "no media type"}),
])
def test_what_is_more_than_a_frame_goes_the_long_way(world, query, headers):
    world.ask(world.path(world.slices[0]))
    answer = world.ask(world.path(world.slices[0]), query=query, **headers)
    assert not world.was_at_hand
    assert answer.status == {"bytes=0-9": 206}.get(headers.get("range", ""), 406 if headers.get("accept") == "image/png" else answer.status)
    assert answer.status in {200, 206, 400, 406}


def test_frames_that_are_not_there_and_other_paths_stay_as_they_were(world):
    world.ask(world.path(world.slices[0]))
    other = ct_slice()
    put(world.house, other)
    crossed = world.path(world.slices[0]).replace(world.slices[0].StudyInstanceUID, other.StudyInstanceUID, 1)
    world.ask(world.path(other))
    for path in (world.path(world.slices[0], 2), world.path(world.slices[0], 0), crossed, world.path(ct_slice())):
        assert world.ask(path).status in {400, 404}, path
    assert world.ask(world.path(world.slices[0]), method="HEAD").body == b""


# --- attacks --------------------------------------------------------------------------------------------------
def test_who_may_not_read_gets_nothing_of_what_another_has_at_hand(world):
    world.ask(world.path(world.slices[0]))
    officer = world.client("officer", "privacy-officer")
    for _ in range(3):
        assert world.ask(world.path(world.slices[0]), token=officer).status == 404
    for header in ("Bearer nonsense", "Basic eDp5", "Bearer", "Bearer " + "x" * 5000):
        assert world.ask(world.path(world.slices[0]), authorization=header).status == 401
        assert world.ask(world.path(world.slices[0]), authorization=header, cookie=f"__Host-session={world.token}").status == 401
    assert world.ask(world.path(world.slices[0]), authorization="").status == 401


def test_a_second_reader_is_recorded_by_itself(world):
    second = world.client("second", "service")
    for token in (world.token, world.token, second, second):
        assert world.ask(world.path(world.slices[0]), token=token).status == 200
    with world.house.database.read() as connection:
        rows = connection.execute(sa.select(t.ledger.c.subject_name).where(
            t.ledger.c.action == str(Action.STUDY_READ), t.ledger.c.event == "decision")).scalars().all()
    assert sorted(rows) == ["reader", "second"]


def test_a_revoked_client_gets_no_further_frame(world):
    world.ask(world.path(world.slices[0]))
    assert world.ask(world.path(world.slices[0])).status == 200
    assert world.was_at_hand
    world.house.administration.clients_revoke(world.me, "reader")
    assert world.ask(world.path(world.slices[0])).status == 401


def test_a_token_that_ends_is_not_remembered_beyond_its_end(world, monkeypatch):
    short, _ = world.house.administration.clients_token(world.me, "reader", seconds=2)
    world.ask(world.path(world.slices[0]), token=short)
    now = time.time()
    monkeypatch.setattr(world.house.entrance, "_clock", lambda: now + 3)
    assert world.ask(world.path(world.slices[0]), token=short).status == 401


def test_a_proof_is_asked_for_anew_after_seconds(world, monkeypatch):
    world.ask(world.path(world.slices[0]))
    now = time.time()
    monkeypatch.setattr(world.house.entrance, "_clock", lambda: now + 6)
    assert world.ask(world.path(world.slices[0])).status == 200
    assert not world.was_at_hand


def test_what_is_rejected_is_not_at_hand(world):
    from leadglass.archive.life.rejections import look_up, reject

    first, second, third = world.slices
    world.ask(world.path(first))
    note = RejectionNote(code="113001", instances=(first.SOPInstanceUID,))
    with world.house.database.write() as connection:
        reject(connection, note, look_up(connection, note.instances), note_uid="1.2.9", study_uid=first.StudyInstanceUID,
               source="t", is_own_only=False, now=time.time())
    assert world.ask(world.path(first)).status == 404
    assert world.ask(world.path(second)).status == 200
    assert world.ask(world.path(third)).status == 200
    assert world.was_at_hand


def test_what_is_deleted_is_not_at_hand(world):
    world.ask(world.path(world.slices[0]))
    world.house.keeping.delete(world.me, world.slices[0].StudyInstanceUID, reason="a test of what stays in memory")
    assert world.ask(world.path(world.slices[0])).status == 404


def test_damage_is_noticed_and_nothing_of_it_leaves(world):
    world.ask(world.path(world.slices[1]))
    subject = world.house.entrance.bearer(world.token, Peer(plane=Plane.WEB, address="127.0.0.1"))
    _, row = world.house.operations.at_hand(
        subject, world.slices[1].StudyInstanceUID, world.slices[1].SeriesInstanceUID, world.slices[1].SOPInstanceUID)
    (path,) = list((world.root / "home").rglob(row.object_name))
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    answer = world.ask(world.path(world.slices[1]))
    assert answer.status >= 500
    assert world.slices[1].PixelData[:100] not in answer.body


def test_what_is_given_is_counted(world):
    for _ in range(4):
        world.ask(world.path(world.slices[0]))
    world.house.door.flush_counts()
    with world.house.database.read() as connection:
        row = connection.execute(sa.select(t.grants).where(t.grants.c.action == str(Action.STUDY_READ))).one()
    assert (row.frames, row.bytes) == (4, 4 * len(world.slices[0].PixelData))
    assert 'route="/dicomweb/studies/{study}/series/{series}/instances/{instance}/frames/{frames}",method="GET",status="200"} 4' in (
        world.app.state.counters.text())
