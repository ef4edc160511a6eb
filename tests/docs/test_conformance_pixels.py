"""The pixel tables of the conformance statement say what the tables in the code say."""

import re
from pathlib import Path

from leadglass.archive.pixels import conversions, pixel_codecs
from leadglass.archive.pixels.documents import renderings_of
from leadglass.archive.pixels.frames import MAX_FRAMES_OF_A_FILM
from leadglass.archive.retrieve import InstanceRow
from leadglass.dicom.transfer_syntaxes import BIG_ENDIAN, TRANSFER_SYNTAXES
from leadglass.web.dicomweb.rendering_parameters import ANNOTATIONS, FUNCTIONS, KNOWN, MAX_SIDE, PROFILES

TEXT = (Path(__file__).parents[2] / "docs/reference/conformance/pixels.md").read_text("utf-8")


def section(heading: str) -> str:
    return re.split(r"^##", TEXT.split(heading + "\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def rows(heading: str) -> list[list[str]]:
    lines = [line for line in section(heading).splitlines() if line.startswith("| `")]
    return [[c.strip().strip("`") for c in line.strip().strip("|").split("|")] for line in lines]


def row(**facts: object) -> InstanceRow:
    plain = {"study_uid": "1", "series_uid": "1", "sop_instance_uid": "1", "sop_class_uid": "1", "transfer_syntax_uid": "1.2.840.10008.1.2.1",
             "object_name": "", "length": 1, "dataset_offset": 0, "pixel_offset": 10, "frames": 1, "rows": 4, "columns": 4,
             "bits_allocated": 16, "digest": b""}
    return InstanceRow(**{**plain, **facts})  # type: ignore[arg-type]


def test_what_is_read() -> None:
    assert [(r[0], r[1]) for r in rows("### Read")] == [
        (uid, s.name) for uid, s in TRANSFER_SYNTAXES.items() if uid in pixel_codecs.DECODABLE]
    assert conversions.SOURCES == pixel_codecs.DECODABLE


def test_what_is_written() -> None:
    said = {r[0] for r in rows("### Written")}
    assert said == {*conversions.NATIVE, *conversions.COMPRESSED_TARGETS, BIG_ENDIAN}
    assert all(TRANSFER_SYNTAXES[r[0]].name in r[1] for r in rows("### Written"))
    assert set(conversions.targets_of(row())) == said
    assert set(conversions.targets_of(row(bits_allocated=32))) == set(conversions.NATIVE)
    assert set(conversions.targets_of(row(pixel_offset=-1, frames=0))) == {*conversions.NATIVE, BIG_ENDIAN}
    video = row(transfer_syntax_uid="1.2.840.10008.1.2.4.102")
    assert conversions.targets_of(video) == ("1.2.840.10008.1.2.4.102",)


def test_parameters_and_media_types() -> None:
    assert sorted(r[0] for r in rows("## Rendering") if len(r) == 3) == sorted(KNOWN)
    said = section("## Rendering")
    for word in (*ANNOTATIONS, *FUNCTIONS, *PROFILES, str(MAX_SIDE), str(MAX_FRAMES_OF_A_FILM)):
        assert word in said
    for one in (row(), row(frames=0, sop_class_uid="1.2.840.10008.5.1.4.1.1.88.11"),
                *(row(frames=0, sop_class_uid=f"1.2.840.10008.5.1.4.1.1.104.{n}") for n in range(1, 6))):
        assert all(f"`{kind}`" in said for kind in renderings_of(one))
