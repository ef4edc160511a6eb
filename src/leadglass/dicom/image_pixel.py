"""How the pixels of an instance are described by its header, and what that makes of a frame. Ref: PS3.3 C.7.6.3."""

from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from leadglass.dicom.elements import Limits, walk
from leadglass.errors import Malformed

__all__ = ["ImagePixel", "image_pixel", "read_image_pixel"]

_NUMBERS: Final = {
    0x00280002: "samples", 0x00280006: "planar", 0x00280010: "rows", 0x00280011: "columns", 0x00280100: "bits_allocated",
    0x00280101: "bits_stored", 0x00280102: "high_bit", 0x00280103: "representation",
}
_PHOTOMETRIC: Final = 0x00280004
_FRAMES: Final = 0x00280008
_HALVED: Final = frozenset({"YBR_FULL_422", "YBR_PARTIAL_422"})  # native: Cb and Cr stand once for two pixels


@dataclass(frozen=True, kw_only=True)
class ImagePixel:
    """The attributes of the Image Pixel Module that say how to read a frame."""

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    representation: int  # 1 = two's complement
    planar: int  # 0 = colour by pixel, 1 = by plane
    photometric: str
    frames: int

    @property
    def is_halved(self) -> bool:
        """Whether native pixels share their colours in pairs. Ref: PS3.3 C.7.6.3.1.2."""
        return self.samples == 3 and self.bits_allocated == 8 and self.photometric in _HALVED

    @property
    def frame_bits(self) -> int:
        """Bits of one native frame, without padding."""
        samples = 2 if self.is_halved else self.samples
        return self.rows * self.columns * samples * self.bits_allocated

    def facts(self) -> dict[str, Any]:
        """Return what goes to a decode process."""
        return asdict(self)

    @classmethod
    def of(cls, facts: dict[str, Any]) -> Self:
        """Return what came from the server process."""
        return cls(**facts)


def read_image_pixel(buffer: "bytes | memoryview", *, explicit: bool, little: bool, limits: Limits) -> ImagePixel:
    """Return the description in a header. Raises: Malformed, when it cannot describe an image.

    Args: buffer: untrusted, the elements before the pixel data.
    """
    values: dict[int, bytes] = {}
    for tag, _, _, at, length, depth in walk(
        buffer, explicit=explicit, little=little, limits=limits, nested=False,
    ):
        if depth == 0 and tag >> 16 > 0x0028:
            break
        if depth == 0 and tag >> 16 == 0x0028 and length <= 16:
            value = bytes(buffer[at : at + length])
            values[tag] = value[1::-1] if not little and tag in _NUMBERS else value
    return image_pixel(values)


def image_pixel(values: dict[int, bytes]) -> ImagePixel:
    """Return the description in the values of group 0028, little endian. Raises: Malformed."""
    found: dict[str, Any] = {
        name: int.from_bytes(values[tag][:2], "little") for tag, name in _NUMBERS.items() if len(values.get(tag, b"")) >= 2
    }
    found["photometric"] = values.get(_PHOTOMETRIC, b"").decode("latin-1").strip("\x00 ").upper() or "MONOCHROME2"
    text = values.get(_FRAMES, b"").strip(b"\x00 ")
    found["frames"] = int(text) if text.isdigit() and int(text) > 0 else 1
    bits = found.get("bits_allocated", 0)
    stored = found.get("bits_stored") or bits
    described = {
        "samples": 1, "planar": 0, "representation": 0, **found, "bits_allocated": bits, "bits_stored": stored,
        "high_bit": found.get("high_bit", stored - 1),
    }
    if not described.get("rows") or not described.get("columns"):
        raise Malformed("the image has no rows or no columns.")
    if bits not in {1, 8, 16, 32, 64} or not 1 <= stored <= bits or not stored - 1 <= described["high_bit"] < bits:
        raise Malformed("the bits of a pixel contradict each other.")
    if described["samples"] not in {1, 3, 4} or described["planar"] not in {0, 1} or described["representation"] not in {0, 1}:
        raise Malformed("the samples of a pixel contradict each other.")
    return ImagePixel(**described)
