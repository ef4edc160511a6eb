"""Which library reads and writes the pixels of which transfer syntax; loaded in decode processes only.

Values are never converted: colours leave in the space in which the stream holds them, and the answer names it. That
keeps what is lossless exact. Ref: PS3.5 8.2, A.4. Licences and choices: docs/explanation/decisions/0013.
"""

import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from leadglass.archive.pixels.jpeg_markers import colours_of, without_application_data
from leadglass.dicom.image_pixel import ImagePixel

__all__ = ["DECODABLE", "ENCODABLE", "Undecodable", "by_plane", "decode_frame", "encode_frame", "native_bytes", "preload"]

_T: Final = "1.2.840.10008.1.2"
_RLE, _JPEG, _JPEG_LS, _J2K, _HTJ2K, _HTJ2K_RPCL = (
    _T + ".5", _T + ".4.70", _T + ".4.80", _T + ".4.90", _T + ".4.201", _T + ".4.202",
)
_SPACES: Final = {"RGB": "RGB", "YBR_FULL": "YCBCR", "YBR_FULL_422": "YCBCR"}


class Undecodable(Exception):
    """The frame cannot be read or written; the text is one reason, without any value of it."""


def preload() -> None:
    """Load every library of the tables, which import themselves lazily."""
    import imagecodecs
    import numpy.ma  # noqa: F401 - numpy loads it on first use
    import rle.utils  # noqa: F401 - loaded for later

    for name in ("jpeg8", "jpegls", "jpeg2k", "htj2k"):
        getattr(imagecodecs, name + "_encode"), getattr(imagecodecs, name + "_decode")
    getattr(imagecodecs, "jpegxl_decode")  # noqa: B009 - the access loads it


# --- decoding -------------------------------------------------------------------------------------------------
def _jpeg(frame: bytes, pixel: ImagePixel) -> tuple[Any, str]:
    import imagecodecs

    if pixel.samples == 1:
        return imagecodecs.jpeg8_decode(frame), pixel.photometric
    said = colours_of(frame) or ("RGB" if pixel.photometric == "RGB" else "YBR_FULL")
    space = _SPACES[said]
    return imagecodecs.jpeg8_decode(frame, colorspace=space, outcolorspace=space), said


def _jpeg_ls(frame: bytes, pixel: ImagePixel) -> tuple[Any, str]:
    import imagecodecs

    return imagecodecs.jpegls_decode(frame), pixel.photometric


def _j2k(frame: bytes, pixel: ImagePixel) -> tuple[Any, str]:
    import imagecodecs

    return imagecodecs.jpeg2k_decode(frame, planar=False, numthreads=1), _without_transform(pixel)


def _htj2k(frame: bytes, pixel: ImagePixel) -> tuple[Any, str]:
    import imagecodecs

    return imagecodecs.htj2k_decode(frame, planar=False), _without_transform(pixel)


def _jpeg_xl(frame: bytes, pixel: ImagePixel) -> tuple[Any, str]:
    import imagecodecs

    return imagecodecs.jpegxl_decode(frame, numthreads=1), "RGB" if pixel.samples == 3 else pixel.photometric


def _rle(frame: bytes, pixel: ImagePixel) -> tuple[Any, str]:
    import numpy as np
    from rle.utils import decode_pixel_data

    size = max(8, pixel.bits_allocated) // 8
    raw = decode_pixel_data(
        frame, version=2, rows=pixel.rows, columns=pixel.columns, bits_allocated=pixel.bits_allocated, byteorder="<",
    )
    planes = np.frombuffer(raw, f"<u{size}").reshape(pixel.samples, pixel.rows, pixel.columns)
    return np.moveaxis(planes, 0, 2), "YBR_FULL" if pixel.is_halved else pixel.photometric


def _native(frame: bytes, pixel: ImagePixel) -> tuple[Any, str]:
    """Read native little endian bytes; colours by plane, halved colours and packed bits are laid out by pixel."""
    import numpy as np

    length = (pixel.frame_bits + 7) // 8
    if len(frame) < length:
        raise Undecodable("the pixel data is shorter than its frame")
    if pixel.bits_allocated == 1:
        bits = np.unpackbits(np.frombuffer(frame, np.uint8, length), bitorder="little")
        return bits[: pixel.frame_bits].reshape(pixel.rows, pixel.columns), pixel.photometric
    values = np.frombuffer(frame[:length], f"<u{pixel.bits_allocated // 8}")
    if pixel.is_halved:
        pairs = values.reshape(-1, 4)  # Y1 Y2 Cb Cr
        whole = np.empty((pairs.shape[0], 2, 3), np.uint8)
        whole[:, 0, 0], whole[:, 1, 0], whole[:, :, 1], whole[:, :, 2] = (
            pairs[:, 0], pairs[:, 1], pairs[:, 2, None], pairs[:, 3, None])
        return whole.reshape(pixel.rows, pixel.columns, 3), pixel.photometric.removesuffix("_422")
    if pixel.samples > 1 and pixel.planar == 1:
        return np.moveaxis(values.reshape(pixel.samples, pixel.rows, pixel.columns), 0, 2), pixel.photometric
    return values.reshape(pixel.rows, pixel.columns, pixel.samples), pixel.photometric


def _deflated(frame: bytes, pixel: ImagePixel) -> tuple[Any, str]:
    length = (pixel.frame_bits + 7) // 8
    try:
        raw = zlib.decompressobj(-15).decompress(frame, length + 1)
    except zlib.error as e:
        raise Undecodable("the frame cannot be inflated") from e
    return _native(raw[:length], pixel)


def _without_transform(pixel: ImagePixel) -> str:
    """Return the space after the decoder has undone a component transform of JPEG 2000. Ref: PS3.5 8.2.4."""
    return "RGB" if pixel.samples == 3 and pixel.photometric in {"YBR_RCT", "YBR_ICT"} else pixel.photometric


_Reader = Callable[[bytes, ImagePixel], tuple[Any, str]]
_DECODERS: Final[dict[str, _Reader]] = {
    _T + ".1.98": _native,
    **{_T + f".4.{n}": _jpeg for n in (50, 51, 53, 55, 57, 70)},
    **{_T + f".4.{n}": _jpeg_ls for n in (80, 81)},
    **{_T + f".4.{n}": _j2k for n in (90, 91, 92, 93)},
    **{_T + f".4.{n}": _jpeg_xl for n in (110, 111, 112)},
    **{_T + f".4.{n}": _htj2k for n in (201, 202, 203)},
    _RLE: _rle,
    _T + ".8.1": _deflated,
    "": _native,
}
DECODABLE: Final = frozenset(_DECODERS) - {""}


def decode_frame(frame: bytes, uid: str, pixel: ImagePixel) -> tuple[Any, ImagePixel]:
    """Return (array of rows x columns [x samples], what it is now); `uid` "" for native little endian pixels.

    The array's numbers are unsigned words of Bits Allocated; signed values stand in two's complement, with their sign
    in every upper bit. Raises: Undecodable, and what a library raises.
    """
    reader = _DECODERS.get(uid)
    if reader is None:
        raise Undecodable("no library here decodes this transfer syntax")
    try:
        array, photometric = reader(frame, pixel)
    except (MemoryError, Undecodable):
        raise
    except Exception as e:  # each library has errors of its own
        raise Undecodable("the compressed frame is broken") from e
    shape: tuple[int, ...] = (pixel.rows, pixel.columns)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.shape != shape + ((pixel.samples,) if pixel.samples > 1 else ()):
        raise Undecodable("the compressed image has other dimensions than its header says")
    size = max(8, pixel.bits_allocated) // 8
    if array.dtype.kind not in "iu" or array.dtype.itemsize > size:
        raise Undecodable("the compressed image has more bits than its header says")
    if pixel.representation == 1 and array.dtype.kind == "u" and uid and pixel.bits_stored < pixel.bits_allocated:
        array = _with_sign(array.astype(f"u{size}"), pixel.bits_stored)
    return array.astype(f"u{size}", copy=False), replace(pixel, photometric=photometric, planar=0)


def _with_sign(array: Any, bits: int) -> Any:
    """Return values of `bits` bits with their sign in the upper bits, unless these are used already."""
    if array.size == 0 or int(array.max()) >> bits:
        return array
    sign = array.dtype.type(1 << (bits - 1))
    return (array ^ sign) - sign


def native_bytes(array: Any, pixel: ImagePixel) -> bytes:
    """Return the native little endian bytes of a decoded frame, colour by pixel."""
    import numpy as np

    if pixel.bits_allocated == 1:
        return np.packbits(array.ravel(), bitorder="little").tobytes()
    return bytes(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes())


def by_plane(array: Any, pixel: ImagePixel) -> bytes:
    """Return the native little endian bytes of a decoded frame, one plane of colour after the other."""
    import numpy as np

    return native_bytes(np.moveaxis(array, 2, 0), pixel)


# --- encoding -------------------------------------------------------------------------------------------------
def _precision(array: Any, pixel: ImagePixel) -> int:
    """Return the bits that hold every value: Bits Stored where the others are unused, else Bits Allocated."""
    is_clean = pixel.representation == 0 and (array.size == 0 or int(array.max()) >> pixel.bits_stored == 0)
    return max(2, pixel.bits_stored) if is_clean else pixel.bits_allocated


def _to_jpeg(array: Any, pixel: ImagePixel) -> bytes:
    """Write JPEG Lossless SV1. Colours are labelled RGB for the library, which gives them one Huffman table: other
    decoders fail on the two that it makes for YCbCr.
    """
    import imagecodecs

    space = None if pixel.samples == 1 else "RGB"
    data = bytes(imagecodecs.jpeg8_encode(
        array, lossless=True, predictor=1, bitspersample=_precision(array, pixel), colorspace=space, outcolorspace=space,
    ))
    return without_application_data(data, is_rgb=pixel.photometric == "RGB")


def _to_jpeg_ls(array: Any, _: ImagePixel) -> bytes:
    import imagecodecs

    return without_application_data(bytes(imagecodecs.jpegls_encode(
        array, level=0, out=2 * array.nbytes + 4096,  # noise grows: the library's own guess is too small for it
    )))


def _to_j2k(array: Any, pixel: ImagePixel) -> bytes:
    import imagecodecs

    bits = pixel.bits_stored if pixel.representation else _precision(array, pixel)
    if pixel.representation:
        array = array.view(array.dtype.str.replace("u", "i"))
        limit = 1 << (bits - 1)
        if array.size and not -limit <= int(array.min()) <= int(array.max()) < limit:
            bits = pixel.bits_allocated
    return bytes(imagecodecs.jpeg2k_encode(
        array, level=0, codecformat="J2K", reversible=True, mct=pixel.photometric == "RGB", bitspersample=bits,
        resolutions=_levels(pixel) + 1, numthreads=1, planar=False,
        colorspace="SRGB" if pixel.samples == 3 else "GRAY",
    ))


def _to_htj2k(array: Any, pixel: ImagePixel) -> bytes:
    import imagecodecs

    if pixel.representation:
        array = array.view(array.dtype.str.replace("u", "i"))
    return bytes(imagecodecs.htj2k_encode(
        array, reversible=True, rgb=pixel.photometric == "RGB", planar=False, resolutions=_levels(pixel),
    ))


def _to_htj2k_rpcl(array: Any, pixel: ImagePixel) -> bytes:
    import imagecodecs

    if pixel.representation:
        array = array.view(array.dtype.str.replace("u", "i"))
    return bytes(imagecodecs.htj2k_encode(
        array, reversible=True, rgb=pixel.photometric == "RGB", planar=False, resolutions=_levels(pixel), tlm=True,
    ))


def _levels(pixel: ImagePixel) -> int:
    """Return the decompositions after which the longer side is 64 pixels or less. Ref: PS3.5 8.2.14."""
    levels = 0
    while max(pixel.rows, pixel.columns) >> levels > 64 and min(pixel.rows, pixel.columns) >> (levels + 1) > 0 and levels < 6:
        levels += 1
    return levels


def _to_rle(array: Any, pixel: ImagePixel) -> bytes:
    from rle.utils import encode_pixel_data

    return bytes(encode_pixel_data(
        native_bytes(array, pixel), byteorder="<", rows=pixel.rows, columns=pixel.columns,
        samples_per_pixel=pixel.samples, bits_allocated=pixel.bits_allocated,
    ))


_Writer = Callable[[Any, ImagePixel], bytes]
# transfer syntax -> (writer, photometric interpretation that RGB becomes, planar configuration of colours)
_ENCODERS: Final[dict[str, tuple[_Writer, str, int]]] = {
    _RLE: (_to_rle, "RGB", 1),
    _JPEG: (_to_jpeg, "RGB", 0),
    _JPEG_LS: (_to_jpeg_ls, "RGB", 0),
    _J2K: (_to_j2k, "YBR_RCT", 0),
    _HTJ2K: (_to_htj2k, "YBR_RCT", 0),
    _HTJ2K_RPCL: (_to_htj2k_rpcl, "YBR_RCT", 0),
}
ENCODABLE: Final = frozenset(_ENCODERS)
_COLOURS: Final = frozenset({"RGB", "YBR_FULL"})


def encode_frame(array: Any, uid: str, pixel: ImagePixel) -> tuple[bytes, ImagePixel]:
    """Return (frame in transfer syntax `uid`, what it is now), without loss; `uid` "" gives native pixels.

    Raises: Undecodable, and what a library raises.
    """
    import numpy as np

    if not uid:
        return native_bytes(array, pixel), pixel
    writer, rgb, planar = _ENCODERS[uid]
    if pixel.bits_allocated not in {8, 16} or pixel.samples not in {1, 3}:
        raise Undecodable("pixels of this depth are not written in this transfer syntax")
    if pixel.samples == 3 and pixel.photometric not in _COLOURS:
        raise Undecodable("colours of this space are not written in this transfer syntax")
    data = writer(np.ascontiguousarray(array), pixel)
    photometric = rgb if pixel.photometric == "RGB" else pixel.photometric
    return data + b"\x00" * (len(data) % 2), replace(pixel, photometric=photometric, planar=planar if pixel.samples > 1 else 0)
