"""A picture of a frame, as PS3.18 8.3.5 asks. Runs in decode processes only.

Order, after PS3.4 N.2: stored values, modality LUT, VOI LUT, presentation LUT; or palette, or colours to RGB; then
overlays, viewport, text. What a file says wrongly is one reason in an Undecodable, never a guess that looks right.
"""

from typing import Any, Final

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset

from leadglass.archive.pixels.grey_levels import coloured, grey, stored_values
from leadglass.archive.pixels.picture import annotated, encoded, fitted, to_srgb, with_overlays
from leadglass.archive.pixels.pixel_codecs import Undecodable, decode_frame
from leadglass.dicom.image_pixel import ImagePixel

__all__ = ["render"]

_FLOATS: Final = {0x7FE00008: ("<u4", "<f4"), 0x7FE00009: ("<u8", "<f8")}
_MAX_DELAY, _MIN_DELAY = 2000, 20  # milliseconds


def render(ds: Dataset, frames: list[bytes], source: str, pixel: ImagePixel, wanted: dict[str, Any]) -> tuple[str, bytes]:
    """Return (media type, picture) of frames; more than one only for image/gif.

    Args: ds: the header, explicit VR little endian. frames: as stored, native ones little endian. source: their
        transfer syntax, "" for native. wanted: numbers, tag, media_type, viewport, window, quality, annotation, icc.
    Raises: Undecodable, and what a library raises.
    """
    Image.MAX_IMAGE_PIXELS = None  # the server has counted the pixels already
    profile = _profile(ds) if wanted["icc"] != "no" else None
    images = []
    for number, frame in zip(wanted["numbers"], frames, strict=True):
        array, now = decode_frame(frame, source, pixel)
        image = fitted(Image.fromarray(_shown(ds, array, now, number, wanted)), ds, number, wanted["viewport"])
        if wanted["icc"] == "srgb" and profile and image.mode == "RGB":
            image = to_srgb(image, profile)
        images.append(annotated(image, ds, wanted["annotation"]))
    keep = profile if wanted["icc"] == "yes" and images[0].mode == "RGB" else None
    return wanted["media_type"], encoded(images, wanted["media_type"], wanted["quality"], keep, _delay(ds))


def _shown(ds: Dataset, array: Any, pixel: ImagePixel, number: int, wanted: dict[str, Any]) -> Any:
    """Return uint8, rows x columns or rows x columns x 3."""
    if wanted["tag"] in _FLOATS:
        before, after = _FLOATS[wanted["tag"]]
        array = array.astype(before).view(after)
    if pixel.samples == 1:
        if pixel.photometric == "PALETTE COLOR":
            image = coloured(ds, array, pixel)
        elif pixel.bits_allocated == 1 and not wanted["window"]:
            image = grey(ds, array, pixel, number, (0.5, 1.0, "LINEAR_EXACT"))
        else:
            image = grey(ds, array, pixel, number, wanted["window"])
            if str(ds.get("PixelPresentation", "")) in {"COLOR", "MIXED"} and "RedPaletteColorLookupTableDescriptor" in ds:
                image = coloured(ds, array, pixel, base=image)
    else:
        image = _colours(array, pixel)
    return with_overlays(np.ascontiguousarray(image), ds, array, number, is_grey=image.ndim == 2)


def _colours(array: Any, pixel: ImagePixel) -> Any:
    """Return RGB in 8 bits. Ref: PS3.3 C.7.6.3.1.2."""
    values = stored_values(array, pixel)[..., :3]
    if pixel.representation == 1:
        raise Undecodable("colours with a sign are not rendered")
    if pixel.bits_stored > 8:
        values = values >> (pixel.bits_stored - 8)
    elif pixel.bits_stored < 8:
        values = values.astype(np.uint16) * 255 // ((1 << pixel.bits_stored) - 1)
    values = values.astype(np.uint8)
    if not pixel.photometric.startswith("YBR"):
        return values
    parts = values.astype(np.float64)
    y, cb, cr = parts[..., 0], parts[..., 1] - 128.0, parts[..., 2] - 128.0
    if "PARTIAL" in pixel.photometric:
        y, cb, cr = (y - 16.0) * (255.0 / 219.0), cb * (255.0 / 224.0), cr * (255.0 / 224.0)
    rgb = np.stack((y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb), axis=-1)
    return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)


def _profile(ds: Dataset) -> bytes | None:
    """Return the ICC profile of the image or of its first optical path. Ref: PS3.3 C.11.15, C.8.12.5."""
    found = ds.get("ICCProfile")
    if not found:
        paths = ds.get("OpticalPathSequence") or []
        found = paths[0].get("ICCProfile") if len(paths) else None
    return bytes(found) if found else None


def _delay(ds: Dataset) -> int:
    """Return the milliseconds between frames. Ref: PS3.3 C.7.6.5."""
    for keyword, turn in (("FrameTime", False), ("CineRate", True), ("RecommendedDisplayFrameRate", True)):
        try:
            value = float(ds.get(keyword) or 0)
        except (TypeError, ValueError):
            continue
        if value > 0:
            return int(min(_MAX_DELAY, max(_MIN_DELAY, 1000 / value if turn else value)))
    return 100
