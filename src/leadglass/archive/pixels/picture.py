"""From 8 bits to a picture: overlays, viewport, the pixel's shape, text, colour profile, media type. Ref: PS3.18 8.3.5.

Runs in decode processes only. The font is Pillow's own (Aileron, CC0), which knows Latin letters.
"""

import io
from typing import Any, Final

import numpy as np
from PIL import Image, ImageCms, ImageDraw, ImageFont
from pydicom.dataset import Dataset

from leadglass.archive.pixels.grey_levels import macro
from leadglass.archive.pixels.pixel_codecs import Undecodable

__all__ = ["annotated", "encoded", "fitted", "preload", "to_srgb", "with_overlays"]

_MAX_LINE: Final = 64
_MAX_SIDE: Final = 16384


def preload() -> None:
    """Load what Pillow opens on first use: afterwards it opens nothing."""
    Image.init()
    ImageFont.load_default(16).getbbox("a")
    ImageCms.createProfile("sRGB")


def with_overlays(image: Any, ds: Dataset, array: Any, number: int, *, is_grey: bool) -> Any:
    """Return the picture with its overlay planes in white. Ref: PS3.3 C.9.2, C.9.3; PS3.5 8.1.2 (in unused bits)."""
    for group in range(0x6000, 0x6020, 2):
        plane = _plane(ds, group, array, number)
        if plane is None:
            continue
        top, left = (int(v) - 1 for v in _value(ds, group, 0x0050) or (1, 1))
        height, width = image.shape[:2]
        y0, x0, y1, x1 = max(0, top), max(0, left), min(height, top + plane.shape[0]), min(width, left + plane.shape[1])
        if y0 < y1 and x0 < x1:
            image = image if image.flags.writeable else image.copy()
            part = plane[y0 - top : y1 - top, x0 - left : x1 - left]
            image[y0:y1, x0:x1][part] = 255 if is_grey else (255, 255, 255)
    return image


def _value(ds: Dataset, group: int, element: int) -> Any:
    """Return the value of an element of a repeating group, or None."""
    found = ds.get(group << 16 | element)
    return getattr(found, "value", None) or None


def _plane(ds: Dataset, group: int, array: Any, number: int) -> Any:
    """Return one overlay plane as booleans, or None when there is nothing to draw for this frame."""
    rows, columns = int(_value(ds, group, 0x0010) or 0), int(_value(ds, group, 0x0011) or 0)
    if not 0 < rows <= _MAX_SIDE or not 0 < columns <= _MAX_SIDE:
        return None
    data = _value(ds, group, 0x3000)
    if not isinstance(data, bytes):
        position = int(_value(ds, group, 0x0102) or 0)
        if array.ndim != 2 or not 0 < position < 8 * array.dtype.itemsize:
            return None
        return ((array >> position) & 1).astype(bool)[:rows, :columns]
    count, first = int(_value(ds, group, 0x0015) or 1), int(_value(ds, group, 0x0051) or 0)
    index = number - (first or 1)
    if count == 1:  # one plane for all frames, unless it names its own
        index = 0 if first == 0 or index == 0 else -1
    if not 0 <= index < count:
        return None
    start = index * rows * columns
    raw = np.frombuffer(data, np.uint8)[start // 8 : (start + rows * columns + 7) // 8 + 1]
    bits = np.unpackbits(raw, bitorder="little")[start % 8 :][: rows * columns]
    return bits.reshape(rows, columns).astype(bool) if bits.size == rows * columns else None


def _aspect(ds: Dataset, number: int) -> float:
    """Return a pixel's height divided by its width. Ref: PS3.3 C.7.6.3.1.7, 10.7."""
    measures = macro(ds, number, "PixelMeasuresSequence")
    values: tuple[Any, ...] = (ds.get("PixelAspectRatio"), ds.get("PixelSpacing"), ds.get("ImagerPixelSpacing"),
                  measures.get("PixelSpacing") if measures is not None else None)
    for value in values:
        try:
            height, width = (float(v) for v in value)
        except (TypeError, ValueError):
            continue
        if height > 0 and width > 0 and 0.05 <= height / width <= 20:
            return height / width
    return 1.0


def fitted(
    image: Image.Image, ds: Dataset, number: int, viewport: list[float | None] | None
) -> Image.Image:
    """Return the region of a viewport (vw, vh, sx, sy, sw, sh), turned and scaled with square pixels.

    Negative sw or sh turn the picture about. Ref: PS3.18 8.3.5.1.3. Raises: Undecodable.
    """
    aspect = _aspect(ds, number)
    box = (0.0, 0.0, float(image.width), float(image.height))
    if viewport:
        _, _, sx, sy, sw, sh = viewport
        left, top = sx or 0.0, sy or 0.0
        width = image.width - left if sw is None else abs(sw)
        height = image.height - top if sh is None else abs(sh)
        box = (max(0.0, left), max(0.0, top), min(image.width, left + width), min(image.height, top + height))
        if box[2] - box[0] < 1 or box[3] - box[1] < 1:
            raise Undecodable("the viewport lies outside the image")
    width, height = box[2] - box[0], (box[3] - box[1]) * aspect
    if not viewport:
        scale = 1.0 if aspect >= 1 else 1.0 / aspect  # never smaller than it is
    else:
        scale = min((viewport[0] or width) / width, (viewport[1] or height) / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if size != image.size or box != (0.0, 0.0, float(image.width), float(image.height)):
        shrinks = size[0] < box[2] - box[0]
        image = image.resize(size, Image.Resampling.LANCZOS if shrinks else Image.Resampling.BICUBIC, box=box)
    if viewport and viewport[4] is not None and viewport[4] < 0:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if viewport and viewport[5] is not None and viewport[5] < 0:
        image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    return image


def annotated(image: Image.Image, ds: Dataset, kinds: list[str]) -> Image.Image:
    """Return the picture with text burnt in: patient top left, technique bottom left. Ref: PS3.18 8.3.5.1.1."""
    if not kinds:
        return image
    size = max(9, min(24, image.height // 32))
    font = ImageFont.load_default(size)
    draw = ImageDraw.Draw(image)
    white, black = ((255, 0) if image.mode == "L" else ((255, 255, 255), (0, 0, 0)))

    def lines(texts: list[str], top: float) -> None:
        for number, text in enumerate(texts):
            draw.text((size / 2, top + number * size * 1.25), text, fill=white, font=font, stroke_width=1, stroke_fill=black)

    if "patient" in kinds:
        lines(_texts(ds, ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")), size / 2)
    if "technique" in kinds:
        texts = _texts(ds, ("Modality", "StudyDate", "StudyTime", "SeriesDescription", "KVP", "SliceThickness", "EchoTime"))
        lines(texts, image.height - (len(texts) + 0.5) * size * 1.25)
    return image


def _texts(ds: Dataset, keywords: tuple[str, ...]) -> list[str]:
    labels = {"KVP": "kVp ", "SliceThickness": "Thickness ", "EchoTime": "TE "}
    texts = []
    for keyword in keywords:
        value = ds.get(keyword)
        text = "".join(c for c in str("" if value is None else value) if c.isprintable()).strip()
        if text:
            texts.append((labels.get(keyword, "") + text)[:_MAX_LINE])
    return texts


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Return the picture in sRGB, from the profile of the file. Raises: Undecodable."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        out = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"))
    except (ImageCms.PyCMSError, OSError, ValueError) as e:
        raise Undecodable("the colour profile of the image cannot be used") from e
    return image if out is None else out


def encoded(images: list[Image.Image], media_type: str, quality: int, profile: bytes | None, milliseconds: int) -> bytes:
    """Return the picture, or with image/gif all of them as one that moves."""
    out = io.BytesIO()
    first = images[0]
    extra: dict[str, Any] = {"icc_profile": profile} if profile else {}
    if media_type == "image/png":
        first.save(out, "PNG", compress_level=3, **extra)
    elif media_type == "image/gif":
        first.save(out, "GIF", save_all=True, append_images=images[1:], duration=milliseconds, loop=0)
    else:
        first.save(out, "JPEG", quality=quality, **extra)
    return out.getvalue()
