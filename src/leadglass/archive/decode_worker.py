"""The decode process: reads questions from standard input, answers on standard output, keeps nothing.

Run as `python -m leadglass.archive.decode_worker MEMORY_BYTES CPU_SECONDS`. The limits stand before any library that
reads pixels is loaded. The CPU limit counts the whole life, so the process ends itself and is replaced when half of
it is used up.
"""

import json
import resource
import struct
import sys
from typing import Any

from leadglass.archive.pixel_codecs import Undecodable, decode_frame, encode_frame
from leadglass.dicom.elements import Limits
from leadglass.dicom.image_pixel import ImagePixel
from leadglass.dicom.reencode import Encoding, reencode
from leadglass.errors import Malformed

__all__ = ["main"]

_HEAD = struct.Struct(">II")


def main() -> None:
    """Answer until standard input ends."""
    memory, seconds = int(sys.argv[1]), int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # no file may be written: pixels are a patient's
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    while True:
        head = stdin.read(_HEAD.size)
        if len(head) < _HEAD.size:
            return
        text_length, length = _HEAD.unpack(head)
        facts = json.loads(stdin.read(text_length))
        body = stdin.read(length)
        used = resource.getrusage(resource.RUSAGE_SELF)
        spent = int(used.ru_utime + used.ru_stime)
        resource.setrlimit(resource.RLIMIT_CPU, (spent + seconds, resource.RLIM_INFINITY))
        try:
            answer, data = _answer(facts, body)
        except MemoryError:
            answer, data = {"error": "it needs more memory than it may use"}, b""
        except (Undecodable, Malformed) as e:
            answer, data = {"error": str(e).rstrip(".")}, b""
        except Exception as e:  # noqa: BLE001 - a decoder's fault of any kind is one answer; no value goes into it
            answer, data = {"error": type(e).__name__}, b""
        text = json.dumps(answer).encode()
        stdout.write(_HEAD.pack(len(text), len(data)) + text)
        stdout.write(data)
        stdout.flush()


def _answer(facts: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
    if facts["do"] == "recode":
        array, pixel = decode_frame(body, facts["from"], ImagePixel.of(facts["pixel"]))
        data, pixel = encode_frame(array, facts["to"], pixel)
        return {"pixel": pixel.facts()}, data
    if facts["do"] == "header":
        return {}, _header(facts, body)
    dataset = _dataset(facts, body)
    if facts["do"] == "raw":
        from pydicom.pixels.decoders.base import get_decoder

        syntax = dataset.file_meta.TransferSyntaxUID
        if syntax.is_compressed and not syntax.is_deflated:
            return {}, _as_described(*get_decoder(syntax).as_buffer(dataset, index=facts["number"] - 1, raw=True), dataset)
        array = _pixels(dataset, facts["number"], raw=True)
        return {}, array.astype(array.dtype.newbyteorder("<")).tobytes()
    return _render(dataset, facts)


def _header(facts: dict[str, Any], body: bytes) -> bytes:
    depth, elements, size = facts["limits"]
    return reencode(
        body, source=Encoding(*facts["from"]), target=Encoding(*facts["to"]),
        limits=Limits(max_depth=depth, max_elements=elements, max_header_bytes=size),
        changes={tag: change and (change[0], bytes.fromhex(change[1])) for tag, change in facts["changes"]},
    )


def _dataset(facts: dict[str, Any], body: bytes) -> Any:
    """Return a pydicom data set with one frame, or with all of them where frames share bytes."""
    import io
    import warnings

    import pydicom
    from pydicom.encaps import encapsulate

    warnings.simplefilter("ignore")
    if not facts["head"]:
        return pydicom.dcmread(io.BytesIO(body), force=True)
    dataset = pydicom.dcmread(io.BytesIO(body[: facts["head"]]), force=True, stop_before_pixels=True)
    frame = body[facts["head"] :]
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        dataset.PixelData = encapsulate([frame])
        dataset["PixelData"].is_undefined_length = True
        dataset["PixelData"].VR = "OB"
    else:
        dataset.PixelData = frame + b"\x00" * (len(frame) % 2)
        dataset["PixelData"].VR = "OW" if int(dataset.BitsAllocated) > 8 else "OB"
    dataset.NumberOfFrames = 1
    for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        if keyword in dataset:
            del dataset[keyword]
    return dataset


def _as_described(buffer: Any, found: dict[str, Any], dataset: Any) -> bytes:
    """Return a decoded frame with its colours in the order that the header says: by pixel (0) or by plane (1).

    Decoders give their own order (RLE by plane), and who reads the frame has only the header. Ref: PS3.3 C.7.6.3.1.3.
    """
    import numpy as np

    samples, said = found["samples_per_pixel"], int(dataset.get("PlanarConfiguration") or 0)
    if samples == 1 or found.get("planar_configuration", said) == said:
        return bytes(buffer)
    pixels = np.frombuffer(buffer, f"u{found['bits_allocated'] // 8}")
    return (pixels.reshape(-1, samples) if said else pixels.reshape(samples, -1)).T.tobytes()


def _pixels(dataset: Any, number: int, *, raw: bool) -> Any:
    from pydicom.pixels.utils import pixel_array

    return pixel_array(dataset, index=number - 1, raw=raw)


def _render(dataset: Any, facts: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Return a picture in 8 bits: modality LUT, VOI window, inversion, palette. Ref: PS3.3 C.11, C.7.6.3."""
    import io

    import numpy as np
    from PIL import Image
    from pydicom.pixels.processing import apply_color_lut, apply_modality_lut

    Image.MAX_IMAGE_PIXELS = facts["max_pixels"]
    array = _pixels(dataset, facts["number"], raw=False)
    photometric = str(dataset.get("PhotometricInterpretation", "MONOCHROME2"))
    if photometric == "PALETTE COLOR":
        array = apply_color_lut(array, dataset)
        array = (array >> 8).astype(np.uint8) if array.dtype.itemsize == 2 else array
    if array.ndim == 2:
        values = np.asarray(apply_modality_lut(array, dataset), dtype=np.float32)
        low, high = _window(dataset, facts.get("window"), values)
        grey = np.clip((values - low) * (255.0 / max(high - low, 1e-6)), 0, 255).astype(np.uint8)
        if (photometric == "MONOCHROME1") != (str(dataset.get("PresentationLUTShape", "")) == "INVERSE"):
            grey = 255 - grey
        image = Image.fromarray(grey)
    else:
        if array.dtype != np.uint8:
            bits = int(dataset.get("BitsStored", 16))
            array = (array >> max(0, bits - 8)).astype(np.uint8)
        image = Image.fromarray(np.ascontiguousarray(array[..., :3]))
    if facts.get("viewport"):
        width, height = facts["viewport"]
        ratio = min(width / image.width, height / image.height)
        size = (max(1, round(image.width * ratio)), max(1, round(image.height * ratio)))
        image = image.resize(size, Image.Resampling.LANCZOS if ratio < 1 else Image.Resampling.BICUBIC)
    out = io.BytesIO()
    if facts["media_type"] == "image/png":
        image.save(out, "PNG", compress_level=3)
        return {"media_type": "image/png"}, out.getvalue()
    image.save(out, "JPEG", quality=min(100, max(1, int(facts["quality"]))))
    return {"media_type": "image/jpeg"}, out.getvalue()


def _window(dataset: Any, wanted: list[float] | None, values: Any) -> tuple[float, float]:
    """Return the values shown as black and as white. Ref: PS3.3 C.11.2.1.2 (linear)."""
    import numpy as np

    if not wanted:
        centre, width = dataset.get("WindowCenter"), dataset.get("WindowWidth")
        if centre is not None and width is not None and str(centre) and str(width):
            wanted = [float(v[0]) if hasattr(v, "__getitem__") and not isinstance(v, str) else float(v) for v in (centre, width)]
    if wanted and wanted[1] >= 1:
        return wanted[0] - 0.5 - (wanted[1] - 1) / 2, wanted[0] - 0.5 + (wanted[1] - 1) / 2
    low, high = np.percentile(values, (0.5, 99.5)) if values.size else (0.0, 1.0)
    return (float(low), float(high)) if high > low else (float(values.min()), float(values.max()))


if __name__ == "__main__":
    main()
