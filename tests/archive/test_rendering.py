"""A picture shows what PS3.3 C.11 makes of the stored values; compared with numbers by hand, pydicom and DCMTK."""

import io
import struct
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from phantom import ct_slice, part10
from PIL import Image, ImageCms
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from leadglass.archive.pixels.grey_levels import window_to_grey
from leadglass.archive.pixels.pixel_codecs import Undecodable
from leadglass.archive.pixels.rendering import render
from leadglass.dicom.image_pixel import ImagePixel

WANTED: dict[str, Any] = {"viewport": None, "window": None, "quality": 90, "annotation": [], "icc": "no", "media_type": "image/png",
                          "numbers": [1], "tag": 0x7FE00010}


def pixel_of(ds: Dataset) -> ImagePixel:
    return ImagePixel(
        rows=ds.Rows, columns=ds.Columns, samples=ds.SamplesPerPixel, bits_allocated=ds.BitsAllocated, bits_stored=ds.BitsStored,
        high_bit=ds.HighBit, representation=ds.get("PixelRepresentation", 0), planar=ds.get("PlanarConfiguration", 0) or 0,
        photometric=ds.PhotometricInterpretation, frames=int(ds.get("NumberOfFrames", 1) or 1))


def shown(ds: Dataset, **wanted: Any) -> Image.Image:
    """Return the picture of one frame of a native data set."""
    pixel = pixel_of(ds)
    size = pixel.frame_bits // 8
    numbers = wanted.get("numbers", [1])
    frames = [ds.PixelData[(n - 1) * size : n * size] for n in numbers]
    _, data = render(ds, frames, "", pixel, {**WANTED, **wanted})
    return Image.open(io.BytesIO(data))


def grey(values: list[int], **attributes: Any) -> Dataset:
    """Return a data set of one row of signed 16-bit values, with no window of its own."""
    ds = ct_slice(Rows=1, Columns=len(values), PixelData=np.asarray(values, "<i2").tobytes())
    del ds.WindowCenter, ds.WindowWidth, ds.PixelSpacing
    for name, value in attributes.items():
        setattr(ds, name, value)
    return ds


def line(ds: Dataset, **wanted: Any) -> list[int]:
    return np.asarray(shown(ds, **wanted)).ravel().tolist()


def lut(data: list[int], first: int = 0, bits: int = 8) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [len(data), first & 0xFFFF, bits]
    item.LUTData = data
    return item


@pytest.mark.parametrize(("window", "said"), [
    ([50.5, 101.0, "LINEAR"], [0, 0, 128, 255, 255]), ([50.0, 100.0, "LINEAR_EXACT"], [0, 0, 128, 255, 255]),
    ([50.0, 50.0, "SIGMOID"], [0, 5, 128, 250, 255]), ([50.0, 1.0, "LINEAR"], [0, 0, 255, 255, 255]),
])
def test_window_functions(window: list[Any], said: list[int]) -> None:
    assert line(grey([-100, 0, 50, 100, 200]), window=window) == said


def test_the_window_of_the_file_is_used_unless_another_is_asked_for() -> None:
    ds = grey([0, 50, 100], WindowCenter=["50.5", "900"], WindowWidth=["101", "1"])
    assert line(ds) == [0, 128, 255]
    assert line(ds, window=[100.0, 1.0, "LINEAR"]) == [0, 0, 255]
    ds.VOILUTFunction = "SIGMOID"
    assert line(ds)[1] == 126
    assert 0 < line(ds)[0] < 50


def test_rescale_comes_before_the_window() -> None:
    ds = grey([0, 1000, 2000], RescaleSlope="0.1", RescaleIntercept="-100", WindowCenter="0.5", WindowWidth="201")
    assert line(ds) == [0, 128, 255]


def test_lookup_tables_of_modality_and_voi() -> None:
    ds = grey([-5, 0, 1, 2, 9], VOILUTSequence=Sequence([lut([0, 100, 255])]))
    assert line(ds) == [0, 0, 100, 255, 255]
    ds = grey([-2, -1, 0], ModalityLUTSequence=Sequence([lut([7, 8, 9], first=-2, bits=16)]), WindowCenter="8.5", WindowWidth="3")
    assert line(ds) == [0, 128, 255]
    ds = grey([0, 1], VOILUTSequence=Sequence([lut([0, 4095], bits=12)]), WindowCenter="9", WindowWidth="9")
    assert line(ds) == [0, 255]
    assert line(ds, window=[1.0, 1.0, "LINEAR"]) == [0, 255]
    broken = Dataset()
    broken.LUTData = [1, 2]
    with pytest.raises(Undecodable):
        shown(grey([0], VOILUTSequence=Sequence([broken])))


def test_monochrome1_and_presentation_shape() -> None:
    window = {"WindowCenter": "50.5", "WindowWidth": "101"}
    assert line(grey([0, 50, 100], PhotometricInterpretation="MONOCHROME1", **window)) == [255, 127, 0]
    assert line(grey([0, 50, 100], PresentationLUTShape="INVERSE", **window)) == [255, 127, 0]
    assert line(grey([0, 100], PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="IDENTITY", **window)) == [0, 255]
    both = grey([0, 100], PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE", **window)
    assert line(both) == [255, 0]


def test_padding_is_black_and_does_not_stretch_the_window() -> None:
    ds = grey([-2000, 0, 50, 100])
    ds.add_new(0x00280120, "SS", -2000)
    assert line(ds) == [0, 0, 128, 255]
    ds.PhotometricInterpretation = "MONOCHROME1"
    assert line(ds) == [0, 255, 127, 0]


def test_functional_groups_of_each_frame() -> None:
    ds = grey([0, 100, 0, 100], Rows=1, Columns=2, NumberOfFrames=2)
    shared, frames = Dataset(), []
    transform = Dataset()
    transform.RescaleSlope, transform.RescaleIntercept = "2", "0"
    shared.PixelValueTransformationSequence = Sequence([transform])
    for centre in ("100.5", "400.5"):
        own, item = Dataset(), Dataset()
        item.WindowCenter, item.WindowWidth = centre, "201"
        own.FrameVOILUTSequence = Sequence([item])
        frames.append(own)
    ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence = Sequence([shared]), Sequence(frames)
    assert line(ds) == [0, 255]
    assert line(ds, numbers=[2]) == [0, 0]


def test_high_bits_do_not_reach_the_picture_but_as_overlay() -> None:
    ds = grey([0, 0], BitsStored=12, HighBit=11, PixelRepresentation=0, WindowCenter="50.5", WindowWidth="101")
    ds.PixelData = np.asarray([0x8000, 100], "<u2").tobytes()
    assert line(ds) == [0, 255]
    ds.add_new(0x60000010, "US", 1)
    ds.add_new(0x60000011, "US", 2)
    ds.add_new(0x60000050, "SS", [1, 1])
    ds.add_new(0x60000102, "US", 15)
    assert line(ds) == [255, 255]


def test_overlay_planes_are_drawn_at_their_origin_and_frame() -> None:
    ds = ct_slice(size=8, PixelData=bytes(2 * 8 * 8 * 2), NumberOfFrames=2)
    ds.add_new(0x60020010, "US", 2)
    ds.add_new(0x60020011, "US", 3)
    ds.add_new(0x60020050, "SS", [8, 0])  # one row below the edge, one column left of it
    ds.add_new(0x60023000, "OW", b"\x3f\x00")
    picture = np.asarray(shown(ds))
    assert picture[7].tolist() == [255, 255, 0, 0, 0, 0, 0, 0]
    assert picture[:7].max() == 0
    ds.add_new(0x60020015, "IS", "1")
    ds.add_new(0x60020051, "US", 2)
    assert np.asarray(shown(ds)).max() == 0
    assert np.asarray(shown(ds, numbers=[2])).max() == 255
    ds[0x60020010].value = 60000
    ds[0x60020011].value = 60000
    assert np.asarray(shown(ds, numbers=[2])).max() == 0


def colour(**attributes: Any) -> Dataset:
    ds = ct_slice(Rows=2, Columns=2, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0, BitsAllocated=8,
                  BitsStored=8, HighBit=7, PixelRepresentation=0, PixelData=bytes([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9]))
    del ds.PixelSpacing
    for name, value in attributes.items():
        setattr(ds, name, value)
    return ds


def test_colours_by_pixel_by_plane_and_in_ybr() -> None:
    wanted = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]]
    assert np.asarray(shown(colour())).reshape(-1, 3).tolist() == wanted
    planes = bytes([255, 0, 0, 9, 0, 255, 0, 9, 0, 0, 255, 9])
    assert np.asarray(shown(colour(PlanarConfiguration=1, PixelData=planes))).reshape(-1, 3).tolist() == wanted
    ybr = colour(PhotometricInterpretation="YBR_FULL", PixelData=bytes([76, 85, 255, 150, 44, 21, 29, 255, 107, 9, 128, 128]))
    assert np.abs(np.asarray(shown(ybr)).reshape(-1, 3).astype(int) - np.asarray(wanted)).max() <= 2


def test_a_colour_profile_is_embedded_or_applied_when_asked() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    ds = colour(ICCProfile=profile)
    assert "icc_profile" not in shown(ds).info
    assert shown(ds, icc="yes").info["icc_profile"] == profile
    assert np.abs(np.asarray(shown(ds, icc="srgb")).astype(int) - np.asarray(shown(ds)).astype(int)).max() <= 1
    with pytest.raises(Undecodable, match="profile"):
        shown(colour(ICCProfile=b"no profile" * 20), icc="srgb")


def test_palettes_and_their_supplement() -> None:
    ds = ct_slice(Rows=1, Columns=3, PhotometricInterpretation="PALETTE COLOR", BitsAllocated=8, BitsStored=8, HighBit=7,
                  PixelRepresentation=0, PixelData=bytes([0, 1, 2, 0]))
    del ds.PixelSpacing
    for name, data in (("Red", [0, 65535]), ("Green", [0, 0]), ("Blue", [65535, 0])):
        setattr(ds, f"{name}PaletteColorLookupTableDescriptor", [2, 1, 16])
        setattr(ds, f"{name}PaletteColorLookupTableData", struct.pack("<2H", *data))
    assert np.asarray(shown(ds)).reshape(-1, 3).tolist() == [[0, 0, 255], [0, 0, 255], [255, 0, 0]]
    ds.PhotometricInterpretation, ds.PixelPresentation, ds.WindowCenter, ds.WindowWidth = "MONOCHROME2", "COLOR", "0.5", "3"
    assert np.asarray(shown(ds)).reshape(-1, 3).tolist() == [[128, 128, 128], [0, 0, 255], [255, 0, 0]]


def test_segmented_palettes() -> None:
    ds = ct_slice(Rows=1, Columns=4, PhotometricInterpretation="PALETTE COLOR", BitsAllocated=8, BitsStored=8, HighBit=7,
                  PixelRepresentation=0, PixelData=bytes([0, 1, 2, 3]))
    del ds.PixelSpacing
    for name in ("Red", "Green", "Blue"):
        setattr(ds, f"{name}PaletteColorLookupTableDescriptor", [4, 0, 16])
        setattr(ds, f"Segmented{name}PaletteColorLookupTableData", struct.pack("<6H", 0, 1, 0, 1, 3, 65535))
    assert np.asarray(shown(ds))[0, :, 0].tolist() == [0, 85, 170, 255]
    ds.SegmentedRedPaletteColorLookupTableData = struct.pack("<4H", 2, 1, 0, 0)
    with pytest.raises(Undecodable):
        shown(ds)


def test_viewport_fits_cuts_and_turns() -> None:
    ds = ct_slice(size=64, WindowCenter="500", WindowWidth="1000")
    whole = np.asarray(shown(ds)).astype(int)
    assert shown(ds, viewport=[32, 200, None, None, None, None]).size == (32, 32)
    assert shown(ds, viewport=[200, 100, None, None, None, None]).size == (100, 100)
    part = np.asarray(shown(ds, viewport=[16, 8, 10, 20, 16, 8]))
    assert np.array_equal(part, whole[20:28, 10:26])
    turned = np.asarray(shown(ds, viewport=[64, 64, 0, 0, -64, 64]))
    assert np.array_equal(turned, whole[:, ::-1])
    turned = np.asarray(shown(ds, viewport=[64, 64, 0, 0, 64, -64]))
    assert np.array_equal(turned, whole[::-1])
    with pytest.raises(Undecodable, match="outside"):
        shown(ds, viewport=[64, 64, 64, 0, 10, 10])


def test_pixels_that_are_not_square_are_shown_as_squares() -> None:
    assert shown(ct_slice(size=64, PixelSpacing=["2", "1"])).size == (64, 128)
    assert shown(ct_slice(size=64, PixelSpacing=["1", "2"])).size == (128, 64)
    assert shown(ct_slice(size=64, PixelAspectRatio=["1", "2"], PixelSpacing=["1", "1"])).size == (128, 64)
    assert shown(ct_slice(size=64, PixelSpacing=["2", "1"]), viewport=[32, 32, None, None, None, None]).size == (16, 32)


def test_annotation_burns_text_in_where_it_is_asked_for() -> None:
    ds = ct_slice(size=256, PatientName="ANNOTATED^NAME", PixelData=bytes(256 * 256 * 2))
    plain = np.asarray(shown(ds)).astype(int)
    patient = np.asarray(shown(ds, annotation=["patient"])).astype(int)
    both = np.asarray(shown(ds, annotation=["patient", "technique"])).astype(int)
    assert np.abs(patient - plain)[:128].max() > 200
    assert np.abs(patient - plain)[128:].max() == 0
    assert np.abs(both - patient)[128:].max() > 200
    assert np.asarray(shown(colour(), annotation=["patient"])).shape == (2, 2, 3)


def test_a_film_has_each_frame_and_its_time() -> None:
    ds = ct_slice(size=16, NumberOfFrames=3, FrameTime="40", WindowCenter="500", WindowWidth="1000")
    ds.PixelData = b"".join(np.full(256, value, "<i2").tobytes() for value in (0, 500, 1000))
    film = shown(ds, numbers=[1, 2, 3], media_type="image/gif")
    assert (film.format, film.n_frames, film.info["duration"]) == ("GIF", 3, 40)


def test_floats_are_rendered_by_their_values() -> None:
    ds = grey([0, 0, 0, 0], Rows=1, Columns=2, BitsAllocated=32, BitsStored=32, HighBit=31, PixelRepresentation=0)
    ds.PixelData = struct.pack("<2f", -1.5, float("nan"))
    assert line(ds, tag=0x7FE00008) == [0, 0]
    ds.PixelData = struct.pack("<2f", -1.5, 2.5)
    assert line(ds, tag=0x7FE00008) == [0, 255]
    assert line(ds, tag=0x7FE00008, window=[0.5, 2.0, "LINEAR_EXACT"]) == [0, 255]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm"])
def test_windows_agree_with_pydicom(name: str) -> None:
    from pydicom.pixels.processing import apply_modality_lut, apply_windowing

    ds = pydicom.dcmread(str(get_testdata_file(name)))
    ds.WindowCenter, ds.WindowWidth = "200", "400"
    values = np.append(apply_modality_lut(ds.pixel_array, ds).astype(float), [-30000.0, 30000.0])  # both ends are reached
    wanted = apply_windowing(values, ds).astype(float)
    ours = window_to_grey(values, 200.0, 400.0, "LINEAR")
    assert np.abs(ours - (wanted - wanted.min()) / (wanted.max() - wanted.min())).max() < 0.001


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "window"), [
    ("CT_small.dcm", (50, 400)), ("MR_small.dcm", (600, 1600)), ("examples_rgb_color.dcm", None), ("examples_palette.dcm", None),
    ("SC_rgb_small_odd.dcm", None), ("mlut_18.dcm", None), ("vlut_04.dcm", None),
])
def test_pictures_agree_with_dcmtk(tmp_path: Path, name: str, window: tuple[int, int] | None) -> None:
    found = get_testdata_file(name) if name not in {"mlut_18.dcm", "vlut_04.dcm"} else None
    source = Path(str(found)) if found else Path(__file__).resolve().parents[3] / "shared/data/syntaxes/small" / name
    if not source.exists():
        pytest.skip("../shared/data is not here")
    out = tmp_path / "peer.png"
    view = ["+Ww", str(window[0]), str(window[1])] if window else ["+Wl", "1"] if name == "vlut_04.dcm" else []
    subprocess.run(["/usr/bin/dcm2pnm", "+on", *view, str(source), str(out)], check=True, capture_output=True, timeout=60)
    ds = pydicom.dcmread(source)
    ours = shown(ds, window=[*map(float, window), "LINEAR"] if window else None).convert("RGB")
    peer = Image.open(out).convert("RGB")
    assert ours.size == peer.size
    difference = np.abs(np.asarray(ours).astype(int) - np.asarray(peer).astype(int))
    assert difference.max() <= 2, (name, difference.max(), difference.mean())


def test_the_depth_of_an_attack_is_no_depth_here() -> None:
    """What reaches this module went through the bounded walk first: see decode_worker._dataset."""
    ds = pydicom.dcmread(io.BytesIO(part10(ct_slice())))
    with pytest.raises(Undecodable):
        render(ds, [b"\x00" * 10], "", replace(pixel_of(ds), rows=9), WANTED)
