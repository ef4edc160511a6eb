"""The query parameters of rendered resources, parsed and bounded. Ref: PS3.18 8.3.5."""

from math import isfinite
from typing import Any, Final

from leadglass.errors import Malformed

__all__ = ["ANNOTATIONS", "FUNCTIONS", "KNOWN", "MAX_SIDE", "PROFILES", "parse_rendering"]

MAX_SIDE: Final = 8192
KNOWN: Final = ("accept", "annotation", "charset", "iccprofile", "quality", "viewport", "window")
FUNCTIONS: Final = {"linear": "LINEAR", "linear-exact": "LINEAR_EXACT", "sigmoid": "SIGMOID"}
ANNOTATIONS: Final = ("patient", "technique")
PROFILES: Final = ("no", "yes", "srgb")
_PLAIN: Final[dict[str, Any]] = {"viewport": None, "window": None, "quality": 90, "annotation": [], "icc": "no"}


def parse_rendering(parameters: list[tuple[str, str]]) -> dict[str, Any]:
    """Return what a rendering is asked for, complete. Args: parameters: untrusted. Raises: Malformed."""
    given = dict(parameters)
    if len(given) != len(parameters) or set(given) - set(KNOWN):
        raise Malformed("rendering takes annotation, iccprofile, quality, viewport and window, each once.")
    wanted = dict(_PLAIN)
    if "window" in given:
        wanted["window"] = _window(given["window"])
    if "viewport" in given:
        wanted["viewport"] = _viewport(given["viewport"])
    if "quality" in given:
        wanted["quality"] = _quality(given["quality"])
    if "annotation" in given:
        wanted["annotation"] = [word.strip() for word in given["annotation"].split(",")]
        if len(wanted["annotation"]) > len(ANNOTATIONS) or not set(wanted["annotation"]) <= set(ANNOTATIONS):
            raise Malformed("annotation: patient, technique or both, with a comma between them.")
    if "iccprofile" in given:
        wanted["icc"] = given["iccprofile"].strip().lower()
        if wanted["icc"] not in PROFILES:
            raise Malformed("iccprofile: no, yes or srgb; other colour spaces are not made here.")
    return wanted


def _window(text: str) -> list[Any]:
    parts = text.split(",")
    name = parts[2].strip().lower() if len(parts) == 3 else "linear"
    if len(parts) not in {2, 3} or name not in FUNCTIONS:
        raise Malformed("window: centre,width,function; the function is linear, linear-exact or sigmoid.")
    centre, width = (_float(p, "window") for p in parts[:2])
    if width <= 0 or (name == "linear" and width < 1):
        raise Malformed("window: the width is above 0, and at least 1 with linear.")
    return [centre, width, FUNCTIONS[name]]


def _viewport(text: str) -> list[float | None]:
    """Return [vw, vh, sx, sy, sw, sh]; what is left out is None. Ref: PS3.18 8.3.5.1.3."""
    parts = [p.strip() for p in text.split(",")]
    if len(parts) not in {2, 6}:
        raise Malformed("viewport: vw,vh or vw,vh,sx,sy,sw,sh.")
    for side in parts[:2]:
        if not (side.isascii() and side.isdigit() and 0 < int(side[:6]) <= MAX_SIDE):
            raise Malformed(f"viewport: width and height are 1 to {MAX_SIDE} pixels.")
    values: list[float | None] = [float(p) for p in parts[:2]]
    values += [_float(p, "viewport") if p else None for p in parts[2:]] or [None] * 4
    left, top, width, height = values[2:]
    if (left or 0) < 0 or (top or 0) < 0 or width == 0 or height == 0:
        raise Malformed("viewport: the region begins at 0 or above and has a width and a height.")
    return values


def _quality(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:4]) <= 100):
        raise Malformed("quality: 1 to 100.")
    return int(text)


def _float(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if len(text) > 32 or not isfinite(value) or abs(value) > 1e12:
        raise Malformed(f"{name}: numbers are wanted.")
    return value
