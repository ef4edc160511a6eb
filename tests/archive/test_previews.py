"""Previews: made once, kept encrypted, found for the same content alone, and no obstacle when they cannot be kept."""

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from small_house import ct_slice, put, small_house

from leadglass.archive.pixels.previews import WANTED, kept_picture
from leadglass.archive.retrieve import locate
from leadglass.storage import tables as t
from leadglass.web.dicomweb.rendering_parameters import parse_rendering

STUDY = "1.2.826.0.1.3680043.10.999.8"


@pytest.fixture
def house(tmp_path: Path):
    with small_house(tmp_path) as opened:
        put(opened, ct_slice(study=STUDY))
        yield opened


def row_of(house: Any) -> Any:
    with house.database.read() as connection:
        return locate(connection, STUDY)[0]


def kept(house: Any) -> list[Any]:
    with house.database.read() as connection:
        return list(connection.execute(sa.select(t.derived_objects)))


def test_a_preview_is_made_once_and_lies_encrypted(house: Any) -> None:
    first = kept_picture(house.archive, row_of(house), [1], WANTED)
    (row,) = kept(house)
    assert first[1].startswith(b"\xff\xd8\xff")
    assert row.kind == "preview"
    path = house.settings.objects_dir / row.object_name[:2] / row.object_name
    assert b"\xff\xd8\xff" not in path.read_bytes()
    assert kept_picture(house.archive, row_of(house), [1], WANTED) == first
    assert kept(house) == [row]


def test_a_kept_preview_needs_no_decoder(house: Any) -> None:
    first = kept_picture(house.archive, row_of(house), [1], WANTED)
    house.archive.decoder.close()
    assert kept_picture(house.archive, row_of(house), [1], WANTED) == first


def test_any_other_picture_is_made_and_not_kept(house: Any) -> None:
    for change in ({"quality": 50}, {"window": [40.0, 400.0, "LINEAR"]}, {"viewport": [128.0, 128.0, None, None, None, None]}):
        kept_picture(house.archive, row_of(house), [1], WANTED | change)
    assert kept(house) == []


def test_a_damaged_preview_is_dropped_and_made_anew(house: Any) -> None:
    first = kept_picture(house.archive, row_of(house), [1], WANTED)
    (row,) = kept(house)
    path = house.settings.objects_dir / row.object_name[:2] / row.object_name
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    assert kept_picture(house.archive, row_of(house), [1], WANTED) == first
    (again,) = kept(house)
    assert again.object_name != row.object_name


def test_what_the_study_page_asks_for_is_what_is_kept() -> None:
    template = (Path(__file__).parents[2] / "src/leadglass/web/console/templates/study.html").read_text()
    assert "/thumbnail?viewport=256,256" in template
    assert parse_rendering([("viewport", "256,256")]) | {"media_type": "image/jpeg"} == WANTED
