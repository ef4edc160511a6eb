"""STOW-RS of metadata and bulk data against a running server: what is built, and what its parts must be."""

import io
from typing import Any

import numpy as np
import pytest
from live_server import LiveServer
from PIL import Image
from store_bodies import bulk_part, json_part, secondary_capture, uid_of, uri_of
from store_posts import PIXELS, XML, post, reasons, script, stored

from leadglass.dicom.xml_model import from_xml, to_xml


def test_single_frame_from_json(server: LiveServer) -> None:
    model = secondary_capture()
    answer = post(server, json_part(model), bulk_part(uri_of(model), PIXELS))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/dicom+json"
    found = stored(server, model)
    assert found.PixelData == PIXELS
    assert found.PatientName.ideographic == "山田^太郎"
    assert found.SpecificCharacterSet == "ISO_IR 192"
    assert found.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"


def test_several_instances_from_xml_answered_in_xml(server: LiveServer) -> None:
    models = [secondary_capture() for _ in range(3)]
    parts = [({"Content-Type": XML}, to_xml(m)) for m in models] + [bulk_part(uri_of(m), PIXELS) for m in reversed(models)]
    answer = post(server, *parts, inner=XML, Accept=XML)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == XML
    from leadglass.dicom.elements import Limits

    done = from_xml(answer.content, Limits())["00081199"]["Value"]
    assert {i["00081155"]["Value"][0] for i in done} == {uid_of(m) for m in models}
    assert stored(server, models[2]).PixelData == PIXELS


@pytest.mark.parametrize("is_split", [False, True])
def test_multi_frame_native(server: LiveServer, is_split: bool) -> None:
    model = secondary_capture(frames=3)
    frames = [bytes([n]) * 256 for n in range(3)]
    parts = [bulk_part(uri_of(model), f) for f in frames] if is_split else [bulk_part(uri_of(model), b"".join(frames))]
    answer = post(server, json_part(model), *parts)
    assert answer.status_code == 200, answer.text
    assert stored(server, model).PixelData == b"".join(frames)
    url = f"{server.url}/dicomweb/studies/{uid_of(model, '0020000D')}/series/{uid_of(model, '0020000E')}/instances/{uid_of(model)}/frames/2"
    assert script(server).get(url, headers={"Accept": "application/octet-stream"}).content == frames[1]


def _jpeg(value: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((16, 16), value, "u1")).save(out, "JPEG", quality=95)
    return out.getvalue()


def test_multi_frame_jpeg_keeps_each_bit_stream(server: LiveServer) -> None:
    model = secondary_capture(frames=3)
    frames = [_jpeg(v) for v in (10, 120, 240)]
    kind = "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50"
    answer = post(server, json_part(model), *(bulk_part(uri_of(model), f, kind) for f in frames))
    assert answer.status_code == 200, answer.text
    found = stored(server, model)
    assert found.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.50"
    assert abs(int(found.pixel_array[1].mean()) - 120) < 3
    url = f"{server.url}/dicomweb/studies/{uid_of(model, '0020000D')}/series/{uid_of(model, '0020000E')}/instances/{uid_of(model)}/frames/3"
    raw = script(server).get(url, headers={"Accept": "image/jpeg; transfer-syntax=*"}).content
    assert raw.rstrip(b"\x00") == frames[2].rstrip(b"\x00")


def test_what_we_give_as_metadata_and_pixel_data_can_be_stored_elsewhere(server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    model = secondary_capture(frames=3)
    kind = "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50"
    post(server, json_part(model), *(bulk_part(f"{uri_of(model)}/frames/{n}", _jpeg(n * 40), kind) for n in (1, 2, 3))).raise_for_status()
    study = f"{server.url}/dicomweb/studies/{uid_of(model, '0020000D')}"
    metadata = script(server).get(study + "/metadata", headers={"Accept": "application/dicom+json"})
    pixels = script(server).get(study + "/pixeldata", headers={"Accept": 'multipart/related; type="image/jpeg"; transfer-syntax=*'})
    assert pixels.status_code == 200, pixels.text
    boundary = pixels.headers["content-type"].partition("boundary=")[2].strip('"')
    first = (f"--{boundary}\r\nContent-Type: application/dicom+json\r\n\r\n").encode() + metadata.content + b"\r\n"
    other = LiveServer(tmp_path_factory.mktemp("other"))
    other.start()
    try:
        answer = other.script("copier").post(f"{other.url}/dicomweb/studies", data=first + pixels.content, headers={
            "Content-Type": f'multipart/related; type="application/dicom+json"; boundary={boundary}', "Accept": "application/dicom+json"})
        assert answer.status_code == 200, answer.text
    finally:
        assert other.stop() == 0


@pytest.mark.parametrize("numbers", [(2, 1, 3), (1, 1, 2), (1, 3, 2), (1, 2), (1, 2, 3, 4)])
def test_frames_by_number_come_in_order_and_each_once(server: LiveServer, numbers: tuple[int, ...]) -> None:
    model = secondary_capture(frames=3)
    answer = post(server, json_part(model), *(bulk_part(f"{uri_of(model)}/frames/{n}", bytes(256)) for n in numbers))
    assert reasons(answer) == {uid_of(model): 0xC000}


@pytest.mark.parametrize(("syntax", "media_type", "encode"), [
    ("1.2.840.10008.1.2.4.80", "image/jls", "jpegls_encode"), ("1.2.840.10008.1.2.4.90", "image/jp2", "jpeg2k_encode"),
    ("1.2.840.10008.1.2.4.201", "image/jphc", "htj2k_encode"),
])
def test_other_compressed_frames(server: LiveServer, syntax: str, media_type: str, encode: str) -> None:
    import imagecodecs

    pixels = np.arange(256, dtype="u1").reshape(16, 16)
    options: dict[str, Any] = {"jpeg2k_encode": {"codecformat": "j2k", "reversible": True}, "htj2k_encode": {"reversible": True}}.get(encode, {})
    frame = getattr(imagecodecs, encode)(pixels, **options)
    model = secondary_capture()
    answer = post(server, json_part(model), bulk_part(uri_of(model), frame, f"{media_type}; transfer-syntax={syntax}"))
    assert answer.status_code == 200, answer.text
    assert stored(server, model).file_meta.TransferSyntaxUID == syntax


def test_bulk_data_inside_of_a_sequence_and_beside_the_pixels(server: LiveServer) -> None:
    model = secondary_capture()
    model["60003000"] = {"vr": "OW", "BulkDataURI": "overlay"}
    model |= {"60000010": {"vr": "US", "Value": [16]}, "60000011": {"vr": "US", "Value": [16]}}
    model["00282000"] = {"vr": "OB", "BulkDataURI": "https://elsewhere.example/icc"}
    model["00880200"] = {"vr": "SQ", "Value": [{
        "00280010": {"vr": "US", "Value": [2]}, "00280011": {"vr": "US", "Value": [2]}, "00280002": {"vr": "US", "Value": [1]},
        "00280100": {"vr": "US", "Value": [8]}, "7FE00010": {"vr": "OB", "BulkDataURI": "icon"}}]}
    answer = post(server, json_part(model), bulk_part("icon", b"abcd"), bulk_part(uri_of(model), PIXELS), bulk_part("overlay", bytes(32)),
                  bulk_part("https://elsewhere.example/icc", b"profile"))
    assert answer.status_code == 200, answer.text
    found = stored(server, model)
    assert found.IconImageSequence[0].PixelData == b"abcd"
    assert found[0x60003000].value == bytes(32)
    assert found.ICCProfile == b"profile\x00"


def test_metadata_without_bulk_data(server: LiveServer) -> None:
    model = secondary_capture()
    del model["7FE00010"]
    model["00080016"]["Value"] = ["1.2.840.10008.5.1.4.1.1.88.11"]
    assert post(server, json_part(model)).status_code == 200
    assert "PixelData" not in stored(server, model)


# --- instance by instance ---------------------------------------------------------------------------------------
def test_each_instance_has_its_own_outcome(server: LiveServer) -> None:
    good, no_part, short, syntax, odd_class, broken = (secondary_capture() for _ in range(6))
    odd_class["00080016"]["Value"] = ["1.2.3.4.5"]
    broken["00080060"]["Value"] = ["lower case"]
    without = secondary_capture()
    del without["00080018"]
    answer = post(server, json_part(good, no_part, short, syntax, odd_class, broken, without), bulk_part(uri_of(good), PIXELS),
                  bulk_part(uri_of(short), PIXELS[:-1]), bulk_part(uri_of(syntax), PIXELS, "image/png"),
                  bulk_part(uri_of(odd_class), PIXELS), bulk_part(uri_of(broken), PIXELS))
    assert answer.status_code == 202, answer.text
    assert reasons(answer) == {
        uid_of(no_part): 0xC000, uid_of(short): 0xC000, uid_of(syntax): 0xC122, uid_of(odd_class): 0x0122, uid_of(broken): 0xC000, "": 0xC000}
    assert [i["00081155"]["Value"] for i in answer.json()["00081199"]["Value"]] == [[uid_of(good)]]


def test_the_study_of_the_path_is_the_only_one(server: LiveServer) -> None:
    mine, other = secondary_capture(), secondary_capture()
    answer = post(server, json_part(mine, other), bulk_part(uri_of(mine), PIXELS), bulk_part(uri_of(other), PIXELS),
                  path="/" + uid_of(mine, "0020000D"))
    assert answer.status_code == 202
    assert reasons(answer) == {uid_of(other): 0xA900}
    assert post(server, json_part(other), bulk_part(uri_of(other), PIXELS), path="/1.2.3").status_code == 409
    assert script(server).get(f"{server.url}/dicomweb/studies/{uid_of(other, '0020000D')}").status_code == 404


def test_a_part_that_nobody_named_is_said_and_not_kept(server: LiveServer) -> None:
    model = secondary_capture()
    answer = post(server, json_part(model), bulk_part(uri_of(model), PIXELS), bulk_part("nobody", bytes(1000)),
                  ({"Content-Type": "application/octet-stream"}, b"without a location"))
    assert answer.status_code == 202
    assert reasons(answer) == {"": 0xC000}


def test_bulk_data_before_its_metadata_is_not_taken(server: LiveServer) -> None:
    model = secondary_capture()
    answer = post(server, bulk_part(uri_of(model), PIXELS), json_part(model))
    assert answer.status_code == 409
    assert reasons(answer) == {uid_of(model): 0xC000, "": 0xC000}


def test_the_same_location_twice_fails_its_instance(server: LiveServer) -> None:
    twice, attribute, frames, syntax = secondary_capture(), secondary_capture(), secondary_capture(frames=3), secondary_capture(frames=2)
    attribute["00282000"] = {"vr": "OB", "BulkDataURI": "icc"}
    kind = "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50"
    answer = post(
        server, json_part(twice, attribute, frames, syntax), bulk_part(uri_of(twice), PIXELS), bulk_part(uri_of(twice), PIXELS),
        bulk_part(uri_of(attribute), PIXELS), bulk_part("icc", b"a"), bulk_part("icc", b"b"),
        bulk_part(uri_of(frames), _jpeg(1), kind), bulk_part(uri_of(frames), _jpeg(2), kind),
        bulk_part(uri_of(syntax), _jpeg(1), kind), bulk_part(uri_of(syntax), PIXELS))
    assert answer.status_code == 409
    assert reasons(answer) == dict.fromkeys(map(uid_of, (twice, attribute, frames, syntax)), 0xC000)


def test_one_part_does_not_fill_many_instances(server: LiveServer) -> None:
    models = [secondary_capture() for _ in range(50)]
    for model in models:
        model["7FE00010"]["BulkDataURI"] = "shared"
    answer = post(server, json_part(*models), bulk_part("shared", PIXELS))
    assert answer.status_code == 409
    assert set(reasons(answer).values()) == {0xC000}


# --- attacks ----------------------------------------------------------------------------------------------------
